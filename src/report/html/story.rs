//! What happened, what the plan said about it, and the review to hold together.

use super::{end_table, looks, section, table};
use crate::{
    report::{Event, Facts, Tone, markup::Markup, rehearsed::resolution, words},
    types::{Finding, Length},
};

/// So many events are told from the beginning, and from the end.
const FIRST: usize = 400;
const LAST: usize = 200;
/// A silence that is worth a word, in milliseconds.
const SILENCE: i64 = 10_000;

/// What happened, in order.
pub(super) fn timeline(facts: &Facts, id: &str, markup: &mut Markup) {
    section("Timeline", &format!("{id}-timeline"), markup);
    let text = format!("Since {}; times of day in UTC.", words::clock(facts.started));
    markup.leaf("p", &[("class", "remark")], &text);
    let events = &facts.timeline;
    let skipped = events.len().saturating_sub(FIRST + LAST);
    let (first, last) = if skipped > 0 {
        (&events[..FIRST], &events[events.len() - LAST..])
    } else {
        (events.as_slice(), &[] as &[Event])
    };
    markup.open("ol", &[("class", "timeline")]);
    told(first, markup);
    if skipped > 0 {
        let text = format!("{} left out here: the JSON report has them all", words::count(skipped, "event"));
        markup.leaf("li", &[("class", "silence")], &text);
    }
    told(last, markup);
    markup.close();
    markup.close();
}

fn told(events: &[Event], markup: &mut Markup) {
    let mut last: Option<&Event> = None;
    for event in events {
        let silence = last.map(|last| event.since_start_ms - last.since_start_ms);
        if let Some(ms) = silence.filter(|ms| *ms >= SILENCE).and_then(|ms| u64::try_from(ms).ok()) {
            markup.leaf("li", &[("class", "silence")], &format!("{} later", words::length(ms / 1000 * 1000)));
        }
        let (class, sign) = looks(event.tone);
        markup.open("li", &[("class", class)]);
        let moment = words::moment(event.since_start_ms);
        let same = last.is_some_and(|last| words::moment(last.since_start_ms) == moment);
        let clock = event.at.strftime("%H:%M:%S").to_string();
        let at = event.at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
        markup.open("time", &[("datetime", &at), ("class", if same { "same" } else { "new" })]);
        markup.leaf("span", &[("class", "moment")], &moment);
        markup.text(" ");
        markup.leaf("span", &[("class", "clock")], &clock);
        markup.close();
        markup.text(" ");
        markup.leaf("span", &[("class", "dot"), ("aria-hidden", "true")], sign);
        markup.text(" ");
        let said = match event.tone {
            Tone::Bad => "strong",
            _ => "span",
        };
        markup.leaf(said, &[("class", "said")], &event.text);
        markup.close();
        last = Some(event);
    }
}

/// What the plan and refused steps said, with what to do about it.
pub(super) fn findings(facts: &Facts, id: &str, markup: &mut Markup) {
    let findings = facts.findings();
    if findings.is_empty() {
        return;
    }
    section("Findings", &format!("{id}-findings"), markup);
    for finding in findings {
        explain(facts, finding, markup);
    }
    markup.close();
}

fn explain(facts: &Facts, finding: &Finding, markup: &mut Markup) {
    let (tone, word) = if finding.is_error() { (Tone::Bad, "refuses") } else { (Tone::Warning, "hazard") };
    let info = finding.code.info();
    markup.open("div", &[("class", "finding")]);
    markup.open("div", &[("class", "title")]);
    markup.open("h3", &[]);
    markup.leaf("code", &[], &finding.code.0);
    markup.text(" ");
    markup.text(info.map_or("a code that this version does not know", |info| info.title));
    markup.close();
    super::badge(tone, word, markup);
    markup.close();
    markup.open("p", &[]);
    markup.leaf("code", &[], &finding.subject);
    markup.text(&format!(" {}", finding.message));
    markup.close();
    let remedy = Some(("Remedy", finding.remedy.as_str())).filter(|(_, remedy)| !remedy.is_empty());
    let known = info.map(|info| {
        let resolution = resolution(facts, info).map(|text| ("Resolution", text));
        [("Standard", info.standard), ("Discovery", info.discovery)].into_iter().chain(resolution)
    });
    let all: Vec<(&str, &str)> = remedy.into_iter().chain(known.into_iter().flatten()).collect();
    if !all.is_empty() {
        markup.open("dl", &[]);
        for (term, text) in all {
            markup.open("div", &[]);
            markup.leaf("dt", &[], term);
            markup.leaf("dd", &[], text);
            markup.close();
        }
        markup.close();
    }
    markup.close();
}

/// What is worth knowing besides.
pub(super) fn notes(facts: &Facts, markup: &mut Markup) {
    if facts.notes.is_empty() {
        return;
    }
    markup.open("section", &[]);
    markup.leaf("h2", &[], "Notes");
    markup.open("ul", &[("class", "notes")]);
    for note in &facts.notes {
        markup.leaf("li", &[], &format!("{} {}", words::moment(facts.since_start(note.at)), note.text));
    }
    markup.close();
    markup.close();
}

/// The review: what is known is filled in, the rest is for the people.
pub(super) fn review(facts: &Facts, id: &str, markup: &mut Markup) {
    markup.open("section", &[("id", &format!("{id}-review")), ("class", "review")]);
    markup.leaf("h2", &[], "Review");
    let text = "Blameless: we ask what made each step sensible at the time, not who took it. The boxes can be \
                written in, here and on paper; the browser saves or prints the page with what is in them.";
    markup.leaf("p", &[("class", "remark")], text);
    markup.leaf("h3", &[], "What we expected");
    markup.leaf("p", &[], &facts.hypothesis);
    markup.open("ul", &[]);
    for objective in &facts.objectives {
        if let Some(promised) = objective.promised_ms {
            markup.open("li", &[]);
            markup.leaf("code", &[], objective.name);
            markup.text(&format!(" within {}", Length::from_millis(promised)));
            markup.close();
        }
    }
    for probe in facts.probes.iter().filter(|probe| !probe.during.is_empty()) {
        markup.open("li", &[]);
        markup.leaf("code", &[], &probe.name);
        markup.text(" stays ");
        markup.leaf("code", &[], &probe.during);
        markup.close();
    }
    markup.close();
    markup.leaf("h3", &[], "What happened");
    markup.open("p", &[]);
    markup.text(&words::meaning(&facts.outcome));
    markup.text(". The ");
    markup.leaf("a", &[("href", &format!("#{id}-timeline"))], "timeline");
    markup.text(" has it in order.");
    markup.close();
    for title in ["What went well", "What surprised us"] {
        markup.leaf("h3", &[], title);
        let attributes = [
            ("class", "write"),
            ("contenteditable", "true"),
            ("role", "textbox"),
            ("aria-multiline", "true"),
            ("aria-label", title),
        ];
        markup.leaf("div", &attributes, "");
    }
    actions(markup);
    markup.close();
}

fn actions(markup: &mut Markup) {
    markup.leaf("h3", &[], "Actions");
    table("What will be done about it, by whom, until when", &["Action", "Owner", "Due"], markup);
    for number in 1..=4 {
        markup.open("tr", &[("class", "action")]);
        for column in ["Action", "Owner", "Due date"] {
            let label = format!("{column} {number}");
            markup.leaf("td", &[("contenteditable", "true"), ("aria-label", &label)], "");
        }
        markup.close();
    }
    end_table(markup);
}
