//! The four golden signals: a chart for each probe, in its lane.

use super::{badge, chart, section};
use crate::{
    api::Role,
    report::{Facts, Lane, ProbeFacts, Spread, Tone, markup::Markup, words},
};

/// The lanes with their charts.
pub(super) fn section_of(facts: &Facts, id: &str, markup: &mut Markup) {
    section("Golden signals", &format!("{id}-signals"), markup);
    let moment = |at| words::moment(facts.since_start(at));
    let text = match facts.fault_window {
        Some(window) => match window.end {
            Some(end) => format!(
                "From +0s to {}; disturbed from {} to {}.",
                moment(facts.last_seen),
                moment(window.begin),
                moment(end)
            ),
            None => format!(
                "From +0s to {}; disturbed from {} on, no end on record.",
                moment(facts.last_seen),
                moment(window.begin)
            ),
        },
        None => format!("From +0s to {}; no fault was injected.", moment(facts.last_seen)),
    };
    markup.leaf("p", &[("class", "remark")], &text);
    if facts.probes.iter().any(|probe| !probe.samples.is_empty()) {
        chart::strip(facts, &format!("{id}-strip"), markup);
        legend(markup);
    }
    for lane in &facts.lanes {
        self::lane(facts, lane, id, markup);
    }
    markup.close();
}

fn legend(markup: &mut Markup) {
    markup.open("ul", &[("class", "legend"), ("aria-label", "Legend of the charts")]);
    for (class, words) in [
        ("k-line", "measured"),
        ("k-usual", "range in baseline"),
        ("k-wanted", "wanted"),
        ("k-fault", "fault in force, by number of its step"),
        ("k-instant", "instant fault"),
        ("k-outside", "sample outside"),
        ("k-gap", "no data"),
    ] {
        markup.open("li", &[]);
        markup.leaf("span", &[("class", &format!("key {class}")), ("aria-hidden", "true")], "");
        markup.text(words);
        markup.close();
    }
    markup.close();
}

fn lane(facts: &Facts, lane: &Lane, id: &str, markup: &mut Markup) {
    let name = lane.signal.map_or_else(|| "Other".to_owned(), |signal| format!("{signal:?}"));
    let class = if lane.probes.is_empty() { "lane empty" } else { "lane" };
    markup.open("section", &[("class", class)]);
    markup.leaf("h3", &[], &name);
    if lane.probes.is_empty() {
        let text = format!("Not measured: no probe of this experiment has signal: {name}.");
        markup.leaf("p", &[("class", "unmeasured")], &text);
    }
    for (place, probe) in facts.probes.iter().enumerate() {
        if lane.probes.contains(&probe.name) && probe.signal == lane.signal {
            self::probe(facts, probe, &format!("{id}-probe-{place}"), markup);
        }
    }
    markup.close();
}

fn probe(facts: &Facts, probe: &ProbeFacts, id: &str, markup: &mut Markup) {
    markup.open("figure", &[]);
    markup.open("figcaption", &[]);
    markup.open("div", &[("class", "title")]);
    markup.leaf("h4", &[], &probe.name);
    if let Some((tone, word)) = answer(facts, probe) {
        badge(tone, &word, markup);
    }
    markup.close();
    if !probe.description.is_empty() {
        markup.leaf("p", &[], &probe.description);
    }
    spreads(probe, markup);
    markup.close();
    if probe.samples.is_empty() {
        markup.leaf("p", &[("class", "unmeasured")], "Never measured.");
    } else {
        chart::draw(facts, probe, id, markup);
    }
    markup.open("p", &[("class", "source")]);
    wants(probe, markup);
    if !probe.source.is_empty() {
        markup.text(" Reads ");
        markup.leaf("code", &[], &probe.source);
    }
    markup.close();
    markup.close();
}

fn wants(probe: &ProbeFacts, markup: &mut Markup) {
    if probe.expect.is_empty() {
        markup.text("Recorded, not judged.");
        return;
    }
    markup.text("Wants ");
    markup.leaf("code", &[], &probe.expect);
    if probe.during != probe.expect && !probe.during.is_empty() {
        markup.text(", during the fault ");
        markup.leaf("code", &[], &probe.during);
    }
    let every = match probe.every_ms {
        0 => String::new(),
        ms => format!(", every {}", words::length(ms)),
    };
    markup.text(&format!("{every}; may be lost {}.", probe.patience));
}

/// What became of a probe, in a few words; None: not judged.
fn answer(facts: &Facts, probe: &ProbeFacts) -> Option<(Tone, String)> {
    let violation = facts.violations.iter().find(|violation| violation.probe == probe.name);
    if probe.expect.is_empty() || probe.role == Some(Role::Informational) {
        return Some((Tone::Faint, "recorded".to_owned()));
    }
    if let Some(violation) = violation {
        let word = if violation.missing { "no data" } else { "violated" };
        return Some((Tone::Bad, format!("{word} at {}", words::moment(facts.since_start(violation.at)))));
    }
    if facts.not_recovered.contains(&probe.name) {
        return Some((Tone::Bad, "not back in time".to_owned()));
    }
    match (probe.left_ms, probe.back_ms) {
        _ if facts.fault_window.is_none() => {
            let last = probe.samples.last()?;
            let bad = last.expect == Some(false);
            bad.then(|| (Tone::Bad, format!("{}, not steady", words::value(last.value))))
        }
        _ if probe.fault.is_none() && probe.after.is_none() => None,
        (None, _) => Some((Tone::Good, "never left".to_owned())),
        (Some(left), Some(back)) => Some((
            Tone::Good,
            format!("left after {}, back after {}", words::length(left), words::length(back)),
        )),
        (Some(left), None) => Some((Tone::Warning, format!("left after {}, not back", words::length(left)))),
    }
}

/// The numbers of the chart.
fn spreads(probe: &ProbeFacts, markup: &mut Markup) {
    let usual = probe.baseline.map(|stats| Spread {
        min: Some(stats.min),
        max: Some(stats.max),
        mean: Some(stats.mean),
        ..Spread::default()
    });
    let all = [("Baseline", usual.or(probe.before)), ("Fault", probe.fault), ("After", probe.after)];
    if all.iter().all(|(_, spread)| spread.is_none()) {
        return;
    }
    markup.open("dl", &[("class", "spreads")]);
    for (name, spread) in all {
        let Some(spread) = spread else { continue };
        markup.open("div", &[]);
        markup.leaf("dt", &[], name);
        markup.open("dd", &[]);
        markup.leaf("strong", &[], &words::value(spread.mean));
        markup.text(&range(&spread));
        markup.close();
        markup.close();
    }
    let moved: Vec<String> = probe.shifts.iter().filter(|shift| shift.moved()).map(words::shift).collect();
    if !moved.is_empty() {
        markup.open("div", &[]);
        markup.leaf("dt", &[("title", "Fault window against Baseline, 95 % confidence")], "Moved");
        markup.leaf("dd", &[], &moved.join(", "));
        markup.close();
    }
    markup.close();
}

fn range(spread: &Spread) -> String {
    let mut text = match spread.min.zip(spread.max) {
        Some((min, max)) if min < max => format!(" ({} to {})", words::number(min), words::number(max)),
        _ => String::new(),
    };
    if spread.missing > 0 && spread.min.is_some() {
        text.push_str(&format!(", {} without data", words::count(spread.missing as usize, "sample")));
    }
    text
}
