//! What became of steps, targets and probes, in a phrase each: for the terminal and for Markdown.

use super::{
    Tone,
    facts::{InjectionFacts, StepFacts, StepState},
    probes::{ProbeFacts, Spread},
    words,
};
use crate::{
    journal::{CheckOutcome, Deployed, InjectOutcome, RevertOutcome},
    types::codes::on_node,
};

/// What ran, in words: revision, commit, images.
pub(super) fn build(seen: &Deployed) -> String {
    let revision = seen.revision.as_ref().map(|revision| format!("revision {revision}"));
    let commit =
        seen.commit.as_ref().map_or("commit unknown".to_owned(), |commit| format!("commit {commit}"));
    let images = if seen.images.is_empty() { "no image seen".to_owned() } else { seen.images.join(", ") };
    revision.into_iter().chain([commit, images]).collect::<Vec<_>>().join(", ")
}

/// How far a step came, and what to think of it; `stopped` is whether the method was ended early.
pub(super) fn state_of(step: &StepFacts, stopped: bool) -> (Tone, String) {
    let check = step.check.as_ref().map(|check| match check.outcome {
        CheckOutcome::Held => (Tone::Good, "held"),
        CheckOutcome::Failed => (Tone::Bad, "failed"),
        CheckOutcome::NoData => (Tone::Bad, "no data"),
    });
    let (tone, state) = match (step.state, check) {
        (_, Some(check)) => check,
        (StepState::NotReached, _) => (Tone::Faint, "not reached"),
        (StepState::Begun, _) if stopped => (Tone::Warning, "cut short"),
        (StepState::Begun, _) if step.back_with_the_method() => (Tone::Good, "until the end of the method"),
        (StepState::Begun, _) => (Tone::Warning, "no end on record"),
        (StepState::Refused, _) => (Tone::Bad, "refused, nothing was changed"),
        (StepState::Ended, _) => (Tone::Good, ""),
    };
    (tone, state.to_owned())
}

/// What became of an injection, in words, and what to think of it.
/// `took` is how long it took until the effect was seen, in words.
pub(super) fn fate(injection: &InjectionFacts, took: &str) -> (Tone, String) {
    let mut parts = Vec::new();
    let mut tone = Tone::Good;
    let mut say = |weight: Tone, text: String| {
        tone = tone.max(weight);
        parts.push(text);
    };
    let detail =
        |word: &str, detail: &str| if detail.is_empty() { word.to_owned() } else { detail.to_owned() };
    match &injection.injected {
        None => say(Tone::Warning, "no record whether it was applied".to_owned()),
        Some(told) => match told.outcome {
            InjectOutcome::Done => say(Tone::Good, detail("applied", &told.detail)),
            InjectOutcome::TargetGone => say(Tone::Warning, "it was gone before it was hit".to_owned()),
            InjectOutcome::Failed => {
                say(Tone::Bad, format!("not applied: {}", detail("no reason given", &told.detail)))
            }
        },
    }
    match &injection.effect {
        Some(told) if told.outcome => say(Tone::Good, format!("seen{took}: {}", told.detail)),
        Some(told) => say(Tone::Bad, format!("no effect seen: {}", told.detail)),
        None if matches!(&injection.injected, Some(told) if told.outcome != InjectOutcome::Done) => {}
        None => say(Tone::Warning, "effect not seen".to_owned()),
    }
    match &injection.reverted {
        Some(told) => match told.outcome {
            RevertOutcome::Restored => {
                say(Tone::Good, format!("back, verified: {}", detail("as before", &told.detail)))
            }
            RevertOutcome::TargetGone => say(Tone::Warning, "gone by then, nothing to put back".to_owned()),
            RevertOutcome::NothingToDo if !injection.lasting => {}
            RevertOutcome::NothingToDo => say(Tone::Good, format!("nothing to put back: {}", told.detail)),
            RevertOutcome::ChangedSince if injection.brought_back.is_some() => {
                say(Tone::Good, format!("nothing to put back: {}", told.detail));
            }
            RevertOutcome::ChangedSince => {
                say(Tone::Warning, format!("left alone, changed by somebody else since: {}", told.detail));
            }
            RevertOutcome::ExpiredByItself => say(Tone::Good, "ended by itself".to_owned()),
        },
        None if injection.may_be_in_force() => say(Tone::Bad, "no revert on record".to_owned()),
        None => {}
    }
    if injection.met_nobody() {
        say(Tone::Warning, format!("it met nobody's traffic [{}]", on_node::NO_TRAFFIC));
    }
    if injection.revert_failures > 0 {
        let tries = words::count(injection.revert_failures as usize, "failed try");
        let tries = tries.replace("trys", "tries");
        say(Tone::Warning, format!("{tries} to put it back, the last: {}", injection.revert_error));
    }
    (tone, parts.join(" · "))
}

/// ` after 700ms`, ` after 700ms to 1.2s`: from the intent to the effect seen.
pub(super) fn took(injections: &[&InjectionFacts]) -> String {
    let seen = |injection: &&InjectionFacts| {
        let effect = injection.effect.as_ref().filter(|told| told.outcome)?;
        u64::try_from(words::millis(injection.intended, effect.at)).ok()
    };
    let all = || injections.iter().filter_map(seen);
    match (all().min(), all().max()) {
        (Some(first), Some(last)) if first == last => format!(" after {}", words::length(first)),
        (Some(first), Some(last)) => format!(" after {} to {}", words::length(first), words::length(last)),
        _ => String::new(),
    }
}

/// What a probe measured, in words.
pub(super) fn measured_words(probe: &ProbeFacts) -> String {
    let spread = |name: &str, spread: &Spread| {
        let mut text = match (spread.min, spread.max, spread.mean) {
            (Some(min), Some(max), _) if min == max => format!("{name} {}", words::number(min)),
            (Some(min), Some(max), Some(mean)) => {
                format!(
                    "{name} {} to {}, mean {}",
                    words::number(min),
                    words::number(max),
                    words::number(mean)
                )
            }
            _ => format!("{name} no data"),
        };
        if spread.missing > 0 && spread.min.is_some() {
            text.push_str(&format!(", {} without data", words::count(spread.missing as usize, "sample")));
        }
        text
    };
    let before = match (&probe.baseline, &probe.before) {
        (Some(stats), _) => {
            let same = stats.min == stats.max;
            let range = if same {
                String::new()
            } else {
                format!(" ({} to {})", words::number(stats.min), words::number(stats.max))
            };
            Some(format!("baseline {}{range}", words::number(stats.mean)))
        }
        (None, Some(before)) => Some(spread("before", before)),
        (None, None) => None,
    };
    let fault = probe.fault.as_ref().map(|fault| spread("fault", fault));
    let after = probe.after.as_ref().map(|after| match after.last {
        Some(last) => format!("after {}", words::number(last)),
        None => "after no data".to_owned(),
    });
    let moved = probe.shifts.iter().filter(|shift| shift.moved()).map(words::shift);
    let parts: Vec<String> = before.into_iter().chain(fault).chain(moved).chain(after).collect();
    if parts.is_empty() { "never measured".to_owned() } else { parts.join(" · ") }
}
