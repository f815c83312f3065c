//! What was done to whom, what was seen of it, how it was put back, and what was deployed.

use super::{badge, chart::called, end_table, section, table};
use crate::{
    journal::{Deployed, InjectOutcome, RevertOutcome},
    report::{
        Facts, InjectionFacts, StepFacts, Tone,
        markup::Markup,
        phrases::{state_of, took},
        words,
    },
    types::{ObjectRef, codes::on_node},
};

/// So many rows a step: targets to which the same happened share one.
const ROWS: usize = 60;
/// So many names have room in a cell.
const FEW: usize = 4;
/// So many are named at all.
const NAMED: usize = 60;

/// The steps, each with its targets.
pub(super) fn section_of(facts: &Facts, id: &str, markup: &mut Markup) {
    section("What was done", &format!("{id}-method"), markup);
    if facts.steps.is_empty() {
        markup.leaf("p", &[], "Nothing: the file has no method.");
    }
    markup.open("ol", &[("class", "steps")]);
    for step in &facts.steps {
        self::step(facts, step, markup);
    }
    markup.close();
    markup.close();
}

fn step(facts: &Facts, step: &StepFacts, markup: &mut Markup) {
    let (tone, state) = state_of(step, facts.outcome.stop.is_some());
    markup.open("li", &[]);
    markup.open("div", &[("class", "title")]);
    markup.leaf("h3", &[], called(step));
    if !state.is_empty() {
        badge(tone, &state, markup);
    }
    let at = step.started.map_or(String::new(), |at| words::moment(facts.since_start(at)));
    markup.leaf("span", &[("class", "at")], &at);
    markup.close();
    if !step.what.is_empty() && called(step) != step.what {
        markup.leaf("p", &[("class", "what")], &step.what);
    }
    if !step.description.is_empty() {
        markup.leaf("p", &[], &step.description);
    }
    if let Some(check) = step.check.as_ref().filter(|check| !check.detail.is_empty()) {
        markup.leaf("p", &[], &check.detail);
    }
    for finding in &step.refusals {
        markup.open("p", &[]);
        markup.leaf("code", &[], &finding.subject);
        markup.text(&format!(" {} {}", finding.code, finding.message));
        markup.close();
    }
    if !step.injections.is_empty() {
        injections(step, markup);
    }
    markup.close();
}

/// What became of an injection, apart from how long it took.
#[derive(PartialEq)]
struct Fate {
    done: (Tone, String),
    seen: (Tone, String),
    back: (Tone, String),
}

fn injections(step: &StepFacts, markup: &mut Markup) {
    let mut groups: Vec<(Fate, Vec<&InjectionFacts>)> = Vec::new();
    for injection in &step.injections {
        let fate = Fate { done: done(injection), seen: seen(injection), back: back(injection) };
        match groups.iter().position(|(other, _)| *other == fate) {
            Some(place) => groups[place].1.push(injection),
            // Beyond the rows that are shown, fates are not told apart any more.
            None if groups.len() > ROWS => groups[ROWS].1.push(injection),
            None => groups.push((fate, vec![injection])),
        }
    }
    let caption = match step.injections.len() {
        1 => format!("The target of {}", step.name),
        many => format!("The {many} targets of {}", step.name),
    };
    table(&caption, &["Target", "Done", "Seen in", "Put back"], markup);
    for (fate, group) in groups.iter().take(ROWS) {
        let targets: Vec<&ObjectRef> = group.iter().map(|injection| &injection.target).collect();
        let displaced: Vec<&ObjectRef> = group.iter().flat_map(|injection| &injection.displaced).collect();
        let many = targets.len().max(displaced.len()) > FEW;
        markup.open("tr", &[("class", if many { "of-many" } else { "of-few" })]);
        markup.open("td", &[]);
        named("target", &targets, markup);
        if !displaced.is_empty() {
            markup.open("div", &[("class", "remark")]);
            markup.text("displaced ");
            named("pod", &displaced, markup);
            markup.close();
        }
        markup.close();
        let after = took(group);
        let seen = (fate.seen.0, format!("{}{after}", fate.seen.1));
        for (tone, text) in [&fate.done, &seen, &fate.back] {
            markup.open("td", &[]);
            match tone {
                Tone::Good | Tone::Plain | Tone::Faint | Tone::Strong => markup.text(text),
                tone => badge(*tone, text, markup),
            }
            markup.close();
        }
        markup.close();
        if many {
            markup.open("tr", &[]);
            markup.open("td", &[("colspan", "4"), ("class", "names")]);
            for (word, objects) in [("", &targets), ("Displaced", &displaced)] {
                if objects.len() > FEW {
                    if !word.is_empty() {
                        markup.leaf("p", &[("class", "remark")], word);
                    }
                    list(objects, "objects columns", markup);
                }
            }
            markup.close();
            markup.close();
        }
    }
    end_table(markup);
    let more: usize = groups.iter().skip(ROWS).map(|(_, group)| group.len()).sum();
    if more > 0 {
        let text = format!("And {more} more, each with a fate of its own: the JSON report has them all.");
        markup.leaf("p", &[("class", "remark")], &text);
    }
}

/// A few names; of many how many there are, as they are named below.
fn named(word: &str, objects: &[&ObjectRef], markup: &mut Markup) {
    if objects.len() > FEW {
        markup.text(&words::count(objects.len(), word));
    } else {
        list(objects, "objects", markup);
    }
}

fn list(all: &[&ObjectRef], class: &str, markup: &mut Markup) {
    markup.open("ul", &[("class", class)]);
    for object in all.iter().take(NAMED) {
        markup.open("li", &[]);
        markup.leaf("code", &[], &object.to_string());
        markup.close();
    }
    let more = all.len().saturating_sub(NAMED);
    if more > 0 {
        markup.leaf("li", &[], &format!("and {more} more"));
    }
    markup.close();
}

fn or<'a>(detail: &'a str, otherwise: &'a str) -> String {
    if detail.is_empty() { otherwise.to_owned() } else { detail.to_owned() }
}

fn done(injection: &InjectionFacts) -> (Tone, String) {
    match &injection.injected {
        None => (Tone::Warning, "no record whether it was applied".to_owned()),
        Some(told) => match told.outcome {
            InjectOutcome::Done => (Tone::Good, or(&told.detail, "applied")),
            InjectOutcome::TargetGone => (Tone::Warning, "gone before it was hit".to_owned()),
            InjectOutcome::Failed => {
                (Tone::Bad, format!("not applied: {}", or(&told.detail, "no reason given")))
            }
        },
    }
}

fn seen(injection: &InjectionFacts) -> (Tone, String) {
    let applied = injection.injected.as_ref().is_some_and(|told| told.outcome == InjectOutcome::Done);
    match &injection.effect {
        Some(told) if told.outcome => (Tone::Good, told.detail.clone()),
        Some(told) => (Tone::Bad, format!("no effect seen: {}", told.detail)),
        None if applied => (Tone::Warning, "effect not seen".to_owned()),
        None => (Tone::Faint, String::new()),
    }
}

fn back(injection: &InjectionFacts) -> (Tone, String) {
    let (mut tone, mut text) = match &injection.reverted {
        None if injection.may_be_in_force() => (Tone::Bad, "no revert on record".to_owned()),
        None => (Tone::Faint, if injection.lasting { "" } else { "instant: nothing to put back" }.to_owned()),
        Some(told) => match told.outcome {
            RevertOutcome::Restored => (Tone::Good, format!("{}, verified", or(&told.detail, "as before"))),
            RevertOutcome::TargetGone => (Tone::Warning, "gone by then, nothing to put back".to_owned()),
            RevertOutcome::NothingToDo if !injection.lasting => {
                (Tone::Faint, "instant: nothing to put back".to_owned())
            }
            RevertOutcome::NothingToDo => (Tone::Good, or(&told.detail, "nothing to put back")),
            RevertOutcome::ChangedSince if injection.brought_back.is_some() => {
                (Tone::Good, format!("nothing to put back: {}", told.detail))
            }
            RevertOutcome::ChangedSince => {
                (Tone::Warning, format!("left alone, changed by somebody else since: {}", told.detail))
            }
            RevertOutcome::ExpiredByItself => (Tone::Good, "ended by itself".to_owned()),
        },
    };
    if injection.met_nobody() {
        tone = tone.max(Tone::Warning);
        text = format!("{text} · it met nobody's traffic [{}]", on_node::NO_TRAFFIC);
    }
    if injection.revert_failures > 0 {
        tone = tone.max(Tone::Warning);
        let tries = match injection.revert_failures {
            1 => "after 1 failed try".to_owned(),
            many => format!("after {many} failed tries"),
        };
        text = format!("{text} ({tries}, the last: {})", injection.revert_error);
    }
    (tone, text)
}

/// What ran before and after.
pub(super) fn deployed(facts: &Facts, id: &str, markup: &mut Markup) {
    if facts.deployed.is_empty() {
        return;
    }
    section("What was deployed", &format!("{id}-deployed"), markup);
    table("Revision, commit and images of each workload", &["Workload", "Before", "After", ""], markup);
    for deployed in &facts.deployed {
        let Some(known) = deployed.before.as_ref().or(deployed.after.as_ref()) else { continue };
        markup.open("tr", &[]);
        markup.open("th", &[("scope", "row")]);
        markup.leaf("code", &[], &known.workload.to_string());
        markup.close();
        build(deployed.before.as_ref(), markup);
        build(deployed.after.as_ref(), markup);
        markup.open("td", &[("class", "answer")]);
        match deployed.changed {
            Some(true) if deployed.rolled_out() => badge(Tone::Plain, "rolled out, the same", markup),
            Some(true) => badge(Tone::Warning, "changed during the run", markup),
            Some(false) => badge(Tone::Plain, "the same", markup),
            None => badge(Tone::Faint, "not known", markup),
        }
        markup.close();
        markup.close();
    }
    end_table(markup);
    markup.close();
}

fn build(seen: Option<&Deployed>, markup: &mut Markup) {
    markup.open("td", &[]);
    let Some(seen) = seen else {
        markup.text("not seen");
        return markup.close();
    };
    markup.open("dl", &[("class", "build")]);
    let images = seen.images.iter().map(|image| ("image", image.as_str()));
    let revision = seen.revision.as_deref().map(|revision| ("revision", revision));
    let commit = ("commit", seen.commit.as_deref().unwrap_or("unknown"));
    for (term, what) in revision.into_iter().chain([commit]).chain(images) {
        markup.open("div", &[]);
        markup.leaf("dt", &[], term);
        markup.open("dd", &[]);
        markup.leaf("code", &[], what);
        markup.close();
        markup.close();
    }
    markup.close();
    markup.close();
}
