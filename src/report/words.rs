//! How times, lengths, numbers and targets are written.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::{
    facts::{Facts, LoadFacts, Outcome, People, Place, Source},
    shift::Shift,
};
use crate::{
    api::{Action, Patience, ProbeSpec, Step, Target},
    journal::StopReason,
    types::{Finding, Length, ObjectRef, load::LoadTally},
};

pub use crate::types::significant as number;

/// Milliseconds from `from` to `to`, negative when `to` is earlier.
pub(super) fn millis(from: Timestamp, to: Timestamp) -> i64 {
    to.as_millisecond() - from.as_millisecond()
}

/// A moment counted from the start of the run, in whole seconds: `+42s`, `+1m02s`, `+1h00m05s`.
pub fn moment(ms: i64) -> String {
    let sign = if ms < 0 { '-' } else { '+' };
    let secs = ms.unsigned_abs() / 1000;
    match (secs / 3600, secs / 60 % 60, secs % 60) {
        (0, 0, s) => format!("{sign}{s}s"),
        (0, m, s) => format!("{sign}{m}m{s:02}s"),
        (h, m, s) => format!("{sign}{h}h{m:02}m{s:02}s"),
    }
}

/// A length of time, as exact as a reader needs: milliseconds below a second, hundredths below ten, tenths
/// below an hour, seconds beyond.
pub fn length(ms: u64) -> String {
    let step = match ms {
        0..1_000 => 1,
        1_000..10_000 => 10,
        10_000..3_600_000 => 100,
        _ => 1_000,
    };
    Length::from_millis(ms.saturating_add(step / 2) / step * step).to_string()
}

/// A number, or that there is none.
pub(super) fn value(value: Option<f64>) -> String {
    value.map_or_else(|| "no data".to_owned(), number)
}

/// What was seen of a probe that is outside: what its sample says of it, or else the number.
pub(super) fn seen(number: Option<f64>, note: &str) -> String {
    if note.is_empty() { value(number) } else { note.to_owned() }
}

/// `p50 moved by +0.12 (+0.1 to +0.15)`: how far a quantile moved, with at least 95 % confidence.
pub(super) fn shift(shift: &Shift) -> String {
    let signed = |value: f64| format!("{}{}", if value > 0.0 { "+" } else { "" }, number(value));
    let Shift { quantile, baseline, fault, low, high } = *shift;
    format!("{quantile} moved by {} ({} to {})", signed(fault - baseline), signed(low), signed(high))
}

/// `1 pod`, `2 pods`.
pub(super) fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// The first few names and how many more there are.
pub(super) fn names<'a>(objects: impl ExactSizeIterator<Item = &'a ObjectRef>, shown: usize) -> String {
    let total = objects.len();
    let shown = if total == shown + 1 { total } else { shown };
    let mut text = objects.take(shown).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if total > shown {
        text.push_str(&format!(" and {} more", total - shown));
    }
    text
}

/// How long a probe may be lost, in words; what judges by itself has no patience.
pub(super) fn patience_of(probe: &ProbeSpec) -> String {
    if probe.by_rule() { "at once".to_owned() } else { patience(probe.patience) }
}

/// How long something may be lost: `for 10s`, `3 of 5 samples`.
fn patience(patience: Patience) -> String {
    match patience {
        Patience::For(Duration::ZERO) => "at the first sample".to_owned(),
        Patience::For(length) => format!("for {}", Length(length)),
        Patience::Samples { outside, of } => format!("in {outside} of {of} samples"),
    }
}

/// What a probe looks at: its query, or the object.
pub(super) fn measured_from(probe: &ProbeSpec) -> String {
    let field = |name: &str| probe.params.get(name).and_then(|value| value.as_str());
    let in_a_line = |query: &str| query.split_whitespace().collect::<Vec<_>>().join(" ");
    if let (Some(good), Some(total)) = (field("good"), field("total")) {
        return format!("{} / {}", in_a_line(good), in_a_line(total));
    }
    match (field("query"), field("kind"), field("name")) {
        (Some(query), _, _) => in_a_line(query),
        (_, Some(kind), Some(name)) => format!("{}/{name}", kind.to_lowercase()),
        (_, Some(kind), None) => format!("list of {kind}"),
        (None, None, Some(name)) => name.to_owned(),
        _ => probe.params.to_string(),
    }
}

/// What a step does: `podKill on 50% of deployment/checkout`, `wait 30s`.
pub(super) fn step(step: &Step) -> String {
    let mut text = match &step.action {
        Action::Fault { kind, .. } => match &step.target {
            Some(aim) => format!("{kind} on {}", target(aim)),
            None => kind.clone(),
        },
        Action::Wait(duration) => format!("wait {}", Length(*duration)),
        Action::Check(check) => {
            let expect = check.expect.as_deref().unwrap_or("holds");
            let mut text = format!("check {}: {expect}", check.probe);
            if !check.within.is_zero() {
                text.push_str(&format!(", within {}", check.within));
            }
            if !check.hold.is_zero() {
                text.push_str(&format!(", for {}", check.hold));
            }
            text
        }
        Action::Load(load) => format!("load: {}", load.in_words()),
        Action::Revert(name) => format!("revert {name}"),
        Action::Manual(manual) => {
            let line = manual.instructions.lines().next().unwrap_or_default();
            let more = if manual.instructions.lines().nth(1).is_some() { " …" } else { "" };
            format!("by hand, within {}: {line}{more}", manual.timeout)
        }
    };
    if let Some(duration) = step.duration {
        text.push_str(&format!(", for {}", Length(duration)));
    }
    if let Some(repeat) = step.repeat {
        let end = match (repeat.times, repeat.length) {
            (Some(times), _) => format!(", {times} times"),
            (None, length) => length.map_or_else(String::new, |length| format!(", for {length}")),
        };
        text.push_str(&format!(", every {}{end}", repeat.every));
    }
    if let Some(rolling) = step.rolling {
        text.push_str(&format!(", {} at a time", rolling.batch));
    }
    if step.background {
        text.push_str(", in the background");
    }
    text
}

/// What became of a load: `sent 12000, answered 11990, failed 12 (10 out of time, 2 beyond maxInFlight); p50 …`.
pub(super) fn tally(tally: &LoadTally) -> String {
    let mut text = format!("sent {}, answered {}, failed {}", tally.sent, tally.answered, tally.failed());
    let reasons = [
        (tally.refused_by_status, "with a status of 400 or more"),
        (tally.timed_out, "out of time"),
        (tally.not_connected, "without a connection"),
        (tally.broken, "broken off"),
        (tally.overflowed, "beyond maxInFlight, not sent"),
    ];
    let reasons: Vec<String> =
        reasons.iter().filter(|(count, _)| *count > 0).map(|(count, why)| format!("{count} {why}")).collect();
    if !reasons.is_empty() {
        text.push_str(&format!(" ({})", reasons.join(", ")));
    }
    if tally.unfinished > 0 {
        text.push_str(&format!(", {} unfinished at its end", tally.unfinished));
    }
    let ms = |micros: u64| format!("{} ms", number(micros as f64 / 1000.0));
    if let (Some(p50), Some(p99), Some(longest)) = (tally.p50_us, tally.p99_us, tally.longest_us) {
        text.push_str(&format!("; p50 {}, p99 {}, longest {}", ms(p50), ms(p99), ms(longest)));
    }
    text
}

/// A load on one line.
pub(super) fn load(load: &LoadFacts) -> String {
    let became = load.tally.as_ref().map_or_else(|| "it ended with its runner".to_owned(), tally);
    format!("{}: {}: {became}", load.name, load.what)
}

/// A finding on one line.
pub(super) fn finding(finding: &Finding) -> String {
    format!("{} {}: {}", finding.code, finding.subject, finding.message)
}

/// A step's kind as the file writes it.
pub(super) fn step_kind(step: &Step) -> String {
    match &step.action {
        Action::Fault { kind, .. } => kind.clone(),
        Action::Wait(_) => "wait".to_owned(),
        Action::Check(_) => "check".to_owned(),
        Action::Revert(_) => "revert".to_owned(),
        Action::Manual(_) => "manual".to_owned(),
        Action::Load(_) => "load".to_owned(),
    }
}

fn target(target: &Target) -> String {
    let mut parts = Vec::new();
    if let Some(workload) = &target.workload {
        parts.push(workload.clone());
    }
    if let Some(selector) = &target.pods {
        parts.push(format!("pods {}", labels(selector)));
    }
    if let Some(selector) = &target.nodes {
        parts.push(format!("nodes {}", labels(selector)));
    }
    if let Some(workload) = &target.nodes_running {
        parts.push(format!("nodes running {workload}"));
    }
    if let Some(zone) = &target.zone {
        parts.push(format!("zone {zone}"));
    }
    if !target.names.is_empty() {
        parts.push(format!("named {}", target.names.join(", ")));
    }
    let whom = parts.join(", ");
    let whom = if target.follow == Some(true) { format!("{whom}, born later too") } else { whom };
    match target.count {
        Some(count) => format!("{count} of {whom}"),
        None => whom,
    }
}

/// `app=checkout,tier in (web,api)`, as kubectl writes a selector.
fn labels(selector: &LabelSelector) -> String {
    let equal = selector.match_labels.iter().flatten().map(|(key, value)| format!("{key}={value}"));
    let rules = selector.match_expressions.iter().flatten().map(|rule| {
        let values = rule.values.clone().unwrap_or_default().join(",");
        match rule.operator.as_str() {
            "In" => format!("{} in ({values})", rule.key),
            "NotIn" => format!("{} notin ({values})", rule.key),
            "DoesNotExist" => format!("!{}", rule.key),
            _ => rule.key.clone(),
        }
    });
    equal.chain(rules).collect::<Vec<_>>().join(",")
}

/// Why a method ended early, in words.
pub(super) fn stop_reason(reason: StopReason) -> &'static str {
    match reason {
        StopReason::Violated => "normal was lost",
        StopReason::StopCondition => "a stop condition was met",
        StopReason::NoData => "there is no data to judge by",
        StopReason::CheckFailed => "a check failed",
        StopReason::NoEffect => "no effect was seen",
        StopReason::NoTraffic => "a fault met nobody's traffic",
        StopReason::Signal => "interrupted",
        StopReason::UserAbort => "aborted by hand",
        StopReason::DurationExceeded => "limits.duration is over",
        StopReason::RunnerLost => "the runner was gone",
        StopReason::RolloutNoticed => "a rollout that is not ours began",
        StopReason::AccountGone => "the account that it acts as is gone",
        StopReason::Deleted => "the Run was deleted",
        StopReason::Halted => "everything is halted",
        StopReason::GuardrailChanged => "a Guardrail forbids it",
        StopReason::NamespaceTerminating => "the namespace is being deleted",
        StopReason::JournalLost => "the journal cannot be written",
        StopReason::Internal => "an internal error",
    }
}

/// Where a run happened.
pub(super) fn place(place: &Place) -> String {
    let namespace = format!("namespace {}", place.namespace);
    if place.rehearsal {
        return format!("REHEARSAL on the embedded cluster (nothing real was touched), {namespace}");
    }
    let mut text = format!("cluster {}, {namespace}", place.cluster);
    for (word, what) in
        [("context", &place.context), ("server", &place.server), ("Kubernetes", &place.version)]
    {
        if !what.is_empty() {
            text.push_str(&format!(", {word} {what}"));
        }
    }
    text
}

/// Who ran it, and who took it over.
pub(super) fn people(people: &People) -> String {
    let mut text = match people.asked_by.as_str() {
        "" => format!("{} ({})", people.by, people.holder),
        asked => format!("{asked}; run by {} ({})", people.by, people.holder),
    };
    for owner in &people.owners {
        text.push_str(&format!("; {} by {} ({})", owner.why, owner.by, owner.holder));
    }
    text
}

/// When it began and how long it took.
pub(super) fn when(facts: &Facts) -> String {
    let began = clock(facts.started);
    let took = length(u64::try_from(millis(facts.started, facts.last_seen)).unwrap_or(0));
    match facts.ended {
        Some(_) => format!("{began}, for {took}"),
        None => format!("{began}, last record {took} later"),
    }
}

/// A moment by the clock on the wall, in UTC, to the second.
pub(super) fn clock(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// What was run.
pub(super) fn source(source: &Source) -> String {
    format!("{}, seed {}, firedrill {}", source.file, source.seed, source.version)
}

/// The limits that held.
pub(super) fn limits(limits: &BTreeMap<String, String>) -> String {
    limits.iter().map(|(name, limit)| format!("{name} {limit}")).collect::<Vec<_>>().join(", ")
}

/// What the verdict was, in words, with its reason where that says more than the verdict.
pub(super) fn meaning(outcome: &Outcome) -> String {
    let same = outcome.verdict.is_some_and(|verdict| verdict.to_string() == outcome.reason);
    match (outcome.reason.as_str(), outcome.message.as_str()) {
        ("", message) => message.to_owned(),
        (reason, "") => reason.to_owned(),
        (_, message) if same => message.to_owned(),
        (reason, message) => format!("{reason}: {message}"),
    }
}

/// A milestone's name in words.
pub(super) fn milestone(name: &str) -> &str {
    match name {
        "leftNormal" => "left normal",
        "broughtBack" => "brought back",
        name => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_count_in_whole_seconds() {
        for (ms, text) in
            [(0, "+0s"), (999, "+0s"), (62_000, "+1m02s"), (3_605_000, "+1h00m05s"), (-3_000, "-3s")]
        {
            assert_eq!(moment(ms), text);
        }
    }

    #[test]
    fn lengths_are_as_exact_as_needed() {
        for (ms, text) in [
            (0, "0s"),
            (42, "42ms"),
            (1_234, "1.23s"),
            (42_123, "42.1s"),
            (62_000, "1m2s"),
            (3_600_400, "1h"),
        ] {
            assert_eq!(length(ms), text);
        }
    }

    #[test]
    fn a_number_never_passes_for_a_whole_one_that_it_is_not() {
        for (value, text) in [
            (0.0, "0"),
            (4.0, "4"),
            (0.98765, "0.9877"),
            (0.99998, "0.99998"),
            (2.000_04, "2.00004"),
            (123.456, "123.5"),
            (123_456.7, "123457"),
            (0.000_012_34, "1.234e-5"),
            (-0.5, "-0.5"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn long_lists_are_cut_but_never_to_hide_a_single_name() {
        let pods: Vec<_> = (0..5).map(|i| ObjectRef::pod("shop", &format!("p{i}"))).collect();
        assert_eq!(names(pods[..2].iter(), 1), "pod/shop/p0, pod/shop/p1");
        assert_eq!(names(pods.iter(), 2), "pod/shop/p0, pod/shop/p1 and 3 more");
    }
}
