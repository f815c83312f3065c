//! What one has to see first: the verdict, what is left to do, the circumstances, the clocks.

use super::{badge, end_table, section, table, verdict_word};
use crate::{
    report::{Facts, Objective, Tone, markup::Markup, words},
    types::Length,
};

/// The name of the experiment and how it ended.
pub(in crate::report) fn heading(name: &str, tone: Tone, word: &str, markup: &mut Markup) {
    let (class, sign) = super::looks(tone);
    markup.open("h1", &[]);
    markup.leaf("span", &[("class", "name")], name);
    markup.text(" ");
    markup.open("span", &[("class", &format!("verdict {class}"))]);
    if !sign.is_empty() {
        markup.leaf("span", &[("class", "sign"), ("aria-hidden", "true")], sign);
    }
    markup.text(word);
    markup.close();
    markup.close();
}

/// The verdict with the hypothesis and the reason, and where to find what.
pub(super) fn head(facts: &Facts, id: &str, markup: &mut Markup) {
    let (tone, word) = verdict_word(facts);
    markup.open("header", &[("class", "head")]);
    markup.open("p", &[("class", "eyebrow")]);
    if facts.place.rehearsal {
        markup.leaf("strong", &[], "Rehearsal on the embedded cluster: nothing real was touched");
    } else {
        markup.leaf("strong", &[], &facts.place.cluster);
    }
    markup.text(" \u{b7} ");
    markup.text(&words::clock(facts.started));
    markup.close();
    heading(&facts.experiment, tone, &word, markup);
    if !facts.hypothesis.is_empty() {
        markup.leaf("p", &[("class", "lead")], &facts.hypothesis);
    }
    why(facts, markup);
    markup.close();
    markup.open("nav", &[("aria-label", "Sections")]);
    for (name, title, there) in [
        ("clocks", "Clocks", true),
        ("signals", "Golden signals", true),
        ("method", "What was done", true),
        ("deployed", "Deployed", !facts.deployed.is_empty()),
        ("timeline", "Timeline", true),
        ("findings", "Findings", !facts.findings().is_empty()),
        ("review", "Review", true),
    ] {
        if there {
            markup.leaf("a", &[("href", &format!("#{id}-{name}"))], title);
            markup.text(" ");
        }
    }
    markup.close();
}

fn why(facts: &Facts, markup: &mut Markup) {
    let outcome = &facts.outcome;
    let moment = |at| words::moment(facts.since_start(at));
    markup.leaf("p", &[("class", "why")], &words::meaning(outcome));
    if let Some(stop) = &outcome.stop {
        let by = if stop.by.is_empty() { String::new() } else { format!(" ({})", stop.by) };
        markup.leaf("p", &[], &format!("Stopped at {}: {}{by}.", moment(stop.at), stop.why));
    }
    if !outcome.finished {
        let text = format!("Last record at {}, in phase {}.", moment(facts.last_seen), outcome.phase);
        markup.leaf("p", &[], &text);
    }
    if !facts.not_recovered.is_empty() {
        let text = format!("Not steady again in time: {}.", facts.not_recovered.join(", "));
        markup.leaf("p", &[], &text);
    }
    let Some(first) = facts.violations.first() else { return };
    markup.open("p", &[("class", "first")]);
    markup.leaf("strong", &[], if first.missing { "First loss of data" } else { "First violation" });
    markup.text(" ");
    markup.leaf("code", &[], &first.probe);
    markup.text(if first.missing { " had no data" } else { " was " });
    if !first.missing {
        markup.leaf("strong", &[], &words::seen(first.value, &first.note));
    }
    if !first.expression.is_empty() {
        markup.text(" and wants ");
        markup.leaf("code", &[], &first.expression);
    }
    markup.text(&format!("; since {}, {} until {}", moment(first.since), first.patience, moment(first.at)));
    match facts.violations.len() - 1 {
        0 => markup.text("."),
        more => markup.text(&format!("; {} after it.", words::count(more, "more violation"))),
    }
    markup.close();
}

/// What is not back, where nobody can miss it.
pub(super) fn open_ends(facts: &Facts, markup: &mut Markup) {
    let left = facts.residue.iter().map(|left| (&left.target, &left.what, &left.remedy));
    let open = facts.in_force.iter().map(|open| (&open.target, &open.what, &open.remedy));
    alarm("Left behind", "This is not back as it was. Finish by hand:", left.collect(), markup);
    let words = "No record says that this is back. If nobody is at work on it:";
    alarm("May still be in force", words, open.collect(), markup);
}

fn alarm(
    title: &str,
    words: &str,
    what: Vec<(&crate::types::ObjectRef, &String, &String)>,
    markup: &mut Markup,
) {
    if what.is_empty() {
        return;
    }
    markup.open("section", &[("class", "alarm"), ("role", "alert")]);
    markup.open("h2", &[]);
    markup.leaf("span", &[("aria-hidden", "true")], "\u{26a0} ");
    markup.text(title);
    markup.close();
    markup.leaf("p", &[], words);
    markup.open("ul", &[]);
    for (target, what, remedy) in what {
        markup.open("li", &[]);
        markup.leaf("code", &[("class", "target")], &target.to_string());
        markup.leaf("p", &[], what);
        markup.leaf("code", &[("class", "command")], remedy);
        markup.close();
    }
    markup.close();
    markup.close();
}

/// Where, who, when, from what.
pub(super) fn circumstances(facts: &Facts, markup: &mut Markup) {
    let source = &facts.source;
    let place = &facts.place;
    let code =
        facts.outcome.exit_code.map_or_else(|| "none: the run has no end".to_owned(), |c| c.to_string());
    let took = u64::try_from(facts.since_start(facts.last_seen)).unwrap_or(0);
    let when = match facts.ended {
        Some(_) => format!("{}, for {}", words::clock(facts.started), words::length(took)),
        None => format!("{}, last record {} later", words::clock(facts.started), words::length(took)),
    };
    let location = if place.rehearsal {
        format!("embedded cluster, namespace {}", place.namespace)
    } else {
        words::place(place)
    };
    markup.open("dl", &[("class", "facts")]);
    for (term, what) in [
        ("Run", facts.run.as_str()),
        ("Where", &location),
        ("Who", &words::people(&facts.people)),
        ("When", &when),
        ("File", &source.file),
        ("Seed", &source.seed.to_string()),
        ("Metrics", &place.metrics),
        ("Limits", &words::limits(&facts.limits)),
        ("Exit code", &code),
    ] {
        if !what.is_empty() {
            markup.open("div", &[]);
            markup.leaf("dt", &[], term);
            markup.leaf("dd", &[], what);
            markup.close();
        }
    }
    for load in &facts.loads {
        markup.open("div", &[]);
        markup.leaf("dt", &[], "Load");
        markup.leaf("dd", &[], &words::load(load));
        markup.close();
    }
    markup.close();
}

/// What was promised against what was measured.
pub(super) fn clocks(facts: &Facts, id: &str, markup: &mut Markup) {
    section("Clocks", &format!("{id}-clocks"), markup);
    let longest = facts.objectives.iter().flat_map(|o| [o.promised_ms, o.measured_ms]).flatten().max();
    table("What was promised against what was measured", &["Clock", "Measured", "Promised", "", ""], markup);
    for objective in &facts.objectives {
        row(objective, longest.unwrap_or(1).max(1), markup);
    }
    for (name, meaning, ms) in [
        ("detection", "first fault in force to the first violation or alert", facts.clocks.detection_ms),
        (
            "abort",
            "the sample that completed the violation to the last verified revert",
            facts.clocks.abort_ms,
        ),
        ("revert", "begin of reverting to the last verified revert", facts.clocks.revert_ms),
    ] {
        // A clock that has nothing to measure is no news.
        if let Some(ms) = ms {
            markup.open("tr", &[]);
            clock(name, meaning, markup);
            markup.leaf("td", &[("class", "number")], &words::length(ms));
            for class in ["number", "bars", ""] {
                markup.leaf("td", &[("class", class)], "");
            }
            markup.close();
        }
    }
    end_table(markup);
    if let Some(ms) = facts.clocks.resolution_ms {
        let text = format!("Each \u{b1} {}, the longest sampling interval.", words::length(ms));
        markup.leaf("p", &[("class", "remark")], &text);
    }
    breakdown(facts, markup);
    markup.close();
}

fn clock(name: &str, meaning: &str, markup: &mut Markup) {
    markup.open("th", &[("scope", "row")]);
    markup.leaf("code", &[], name);
    markup.text(" ");
    markup.leaf("span", &[("class", "remark")], meaning);
    markup.close();
}

fn row(objective: &Objective, longest: u64, markup: &mut Markup) {
    markup.open("tr", &[]);
    clock(objective.name, objective.meaning, markup);
    let measured = objective.measured_ms.map_or_else(|| "not measured".to_owned(), words::length);
    markup.leaf("td", &[("class", "number")], &measured);
    let promised = objective.promised_ms.map(|ms| Length::from_millis(ms).to_string());
    markup.leaf("td", &[("class", "number")], &promised.unwrap_or_else(|| "not judged".to_owned()));
    markup.open("td", &[("class", "bars")]);
    let percent = |ms: u64| format!("{:.1}%", 100.0 * ms as f64 / longest as f64);
    markup.open("svg", &[("class", "bars"), ("width", "100%"), ("height", "16"), ("aria-hidden", "true")]);
    markup.void("rect", &[("y", "6"), ("width", "100%"), ("height", "4"), ("class", "track"), ("rx", "2")]);
    if let Some(ms) = objective.measured_ms {
        let class = if objective.met == Some(false) { "measured bad" } else { "measured" };
        let width = percent(ms);
        markup.void("rect", &[("y", "6"), ("width", &width), ("height", "4"), ("class", class), ("rx", "2")]);
    }
    if let Some(ms) = objective.promised_ms {
        let x = percent(ms);
        markup.void("line", &[("x1", &x), ("x2", &x), ("y1", "1"), ("y2", "15"), ("class", "promised")]);
    }
    markup.close();
    markup.close();
    markup.open("td", &[("class", "answer")]);
    let barely = if objective.close { ", barely" } else { "" };
    match objective.met {
        Some(true) => badge(Tone::Good, &format!("met{barely}"), markup),
        Some(false) => badge(Tone::Bad, &format!("missed{barely}"), markup),
        None => {}
    }
    markup.close();
    markup.close();
}

fn breakdown(facts: &Facts, markup: &mut Markup) {
    if facts.breakdown.is_empty() {
        return;
    }
    markup.leaf("h3", &[], "From the first fault in force");
    markup.open("ol", &[("class", "milestones")]);
    for milestone in &facts.breakdown {
        let class = if milestone.after_ms.is_some() { "reached" } else { "open" };
        markup.open("li", &[("class", class)]);
        markup.leaf("span", &[("class", "what")], words::milestone(milestone.name));
        let after =
            milestone.after_ms.map_or_else(|| "\u{2013}".to_owned(), |ms| format!("+{}", words::length(ms)));
        markup.leaf("strong", &[], &after);
        markup.leaf("span", &[("class", "remark")], &milestone.remark);
        markup.close();
    }
    markup.close();
}
