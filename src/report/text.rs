//! The report for a terminal: the verdict first, then what is left to do, then the evidence.

use super::{
    Facts, Style, Tone,
    facts::{InjectionFacts, StepFacts},
    ink::{NARROWEST, wrap},
    phrases::{build, fate, measured_words, state_of, took},
    probes::ProbeFacts,
    sparkline, words,
};
use crate::types::{Finding, Length, ObjectRef, Verdict};

/// So many names are listed, and so many different fates of a step's targets.
const LISTED: usize = 8;
/// Columns of a label in the head of the report.
const LABEL: usize = 12;
/// Columns that the tables need side by side; in fewer they are written below one another.
const TABLE: usize = 62;

/// The report as text, ending in a line break.
pub fn render(facts: &Facts, style: &Style) -> String {
    let width = style.width.max(NARROWEST);
    let mut page = Page { facts, style, width, out: String::new() };
    page.verdict();
    page.left_behind();
    page.first_violation();
    page.head();
    page.clocks();
    page.method();
    page.signals();
    page.deployed();
    page.timeline();
    page.findings();
    page.notes();
    page.out
}

/// One word for how it ended, as shown first.
pub(super) fn headline(facts: &Facts) -> (Tone, String) {
    let outcome = &facts.outcome;
    let word = outcome.verdict.map_or_else(|| "NO VERDICT".to_owned(), word_of);
    let tone = match outcome.verdict {
        Some(Verdict::Passed) if facts.residue.is_empty() => Tone::Good,
        Some(Verdict::Failed) => Tone::Bad,
        _ if !facts.residue.is_empty() || !outcome.finished => Tone::Bad,
        _ => Tone::Warning,
    };
    let more = match (outcome.finished, facts.residue.is_empty()) {
        (false, _) => ", NO END",
        (true, false) => ", SOMETHING IS LEFT BEHIND",
        (true, true) => "",
    };
    (tone, format!("{word}{more}"))
}

fn word_of(verdict: Verdict) -> String {
    match verdict {
        Verdict::NotSteady => "NOT STEADY".to_owned(),
        other => other.to_string().to_uppercase(),
    }
}

struct Page<'a> {
    facts: &'a Facts,
    style: &'a Style,
    width: usize,
    out: String,
}

impl Page<'_> {
    fn line(&mut self, text: &str) {
        self.out.push_str(text.trim_end());
        self.out.push('\n');
    }

    fn heading(&mut self, text: &str) {
        self.out.push('\n');
        self.block(0, Tone::Strong, text);
    }

    /// `text` wrapped, each line `indent` columns in.
    fn block(&mut self, indent: usize, tone: Tone, text: &str) {
        let safe = self.style.plain(text);
        for part in wrap(&safe, self.width.saturating_sub(indent)) {
            let part = self.style.paint(tone, &part);
            self.line(&format!("{:indent$}{part}", ""));
        }
    }

    /// A label and what belongs to it, wrapped under itself.
    fn labelled(&mut self, label: &str, text: &str) {
        let safe = self.style.plain(text);
        let indent = LABEL + 2;
        for (number, part) in wrap(&safe, self.width.saturating_sub(indent)).into_iter().enumerate() {
            let label = if number == 0 { label } else { "" };
            let label = self.style.paint(Tone::Faint, &format!("{label:<LABEL$}"));
            self.line(&format!("  {label}{part}"));
        }
    }

    fn verdict(&mut self) {
        let (tone, word) = headline(self.facts);
        let run = self.style.paint(Tone::Strong, self.facts.run.as_str());
        let code = self.facts.outcome.exit_code.map_or(String::new(), |code| format!("  (exit code {code})"));
        let line = format!("{} {}", self.style.mark(tone), self.style.paint(tone, &word));
        let one =
            word.chars().count() + self.facts.run.as_str().chars().count() + code.len() + 4 <= self.width;
        if one {
            self.line(&format!("{line}  {run}{code}"));
        } else {
            self.line(&line);
            self.line(&format!("  {run}"));
            self.block(2, Tone::Plain, &code);
        }
        let outcome = self.facts.outcome.clone();
        let message = words::meaning(&outcome);
        self.block(2, Tone::Plain, &message);
        if let Some(stop) = &outcome.stop {
            let at = words::moment(self.facts.since_start(stop.at));
            let by = if stop.by.is_empty() { String::new() } else { format!(" ({})", stop.by) };
            self.block(2, Tone::Plain, &format!("Stopped at {at}: {}{by}", stop.why));
        }
        if !self.facts.not_recovered.is_empty() {
            let probes = self.facts.not_recovered.join(", ");
            self.block(2, Tone::Bad, &format!("Not steady again in time: {probes}"));
        }
        if !outcome.finished {
            let at = words::moment(self.facts.since_start(self.facts.last_seen));
            self.block(2, Tone::Plain, &format!("Last record at {at}, in phase {}", outcome.phase));
        }
    }

    fn left_behind(&mut self) {
        if !self.facts.residue.is_empty() {
            self.heading("LEFT BEHIND");
            for residue in &self.facts.residue {
                self.block(2, Tone::Bad, &format!("{}: {}", residue.target, residue.what));
                self.block(4, Tone::Plain, &format!("finish with: {}", residue.remedy));
            }
        }
        if !self.facts.in_force.is_empty() {
            self.heading("MAY STILL BE IN FORCE");
            for open in &self.facts.in_force {
                self.block(2, Tone::Bad, &format!("{}: {}", open.target, open.what));
            }
            let remedy = self.facts.in_force[0].remedy.clone();
            self.block(4, Tone::Plain, &format!("if nobody is at work on it: {remedy}"));
        }
    }

    fn first_violation(&mut self) {
        let Some(first) = self.facts.violations.first() else { return };
        self.heading(if first.missing { "FIRST LOSS OF DATA" } else { "FIRST VIOLATION" });
        let since = words::moment(self.facts.since_start(first.since));
        let at = words::moment(self.facts.since_start(first.at));
        let wants =
            if first.expression.is_empty() { String::new() } else { format!(", wants {}", first.expression) };
        let what = if first.missing { "no data".to_owned() } else { words::seen(first.value, &first.note) };
        let text = format!("{}: {what}{wants}; since {since}, {} until {at}", first.probe, first.patience);
        self.block(2, Tone::Bad, &text);
        let more = self.facts.violations.len() - 1;
        if more > 0 {
            self.block(2, Tone::Plain, &format!("{} after it", words::count(more, "more violation")));
        }
    }

    fn head(&mut self) {
        let facts = self.facts;
        self.out.push('\n');
        self.labelled("Hypothesis", &facts.hypothesis);
        self.labelled("Where", &words::place(&facts.place));
        self.labelled("Who", &words::people(&facts.people));
        self.labelled("When", &words::when(facts));
        self.labelled("File", &words::source(&facts.source));
        if !facts.place.metrics.is_empty() {
            self.labelled("Metrics", &facts.place.metrics);
        }
        if !facts.limits.is_empty() {
            self.labelled("Limits", &words::limits(&facts.limits));
        }
        for load in &facts.loads {
            self.labelled("Load", &words::load(load));
        }
    }

    fn clocks(&mut self) {
        let facts = self.facts;
        let exact =
            facts.clocks.resolution_ms.map_or(String::new(), |ms| format!(", each ± {}", words::length(ms)));
        self.heading(&format!("CLOCKS{exact}"));
        for objective in &facts.objectives {
            let promised = objective.promised_ms.map(|ms| format!("promised {}", Length::from_millis(ms)));
            let promised = promised.unwrap_or_else(|| "not judged".to_owned());
            let (tone, met) = match objective.met {
                Some(true) => (Tone::Good, if objective.close { "met, barely" } else { "met" }),
                Some(false) => (Tone::Bad, if objective.close { "missed, barely" } else { "missed" }),
                None => (Tone::Plain, ""),
            };
            let measured = measured(objective.measured_ms);
            if self.width < TABLE {
                let met = if met.is_empty() { String::new() } else { format!(": {met}") };
                self.block(2, tone, &format!("{} {measured}, {promised}{met}", objective.name));
                continue;
            }
            let met = self.style.paint(tone, met);
            let line = format!("  {:<15}{measured:<14}{promised:<18}{met}", objective.name);
            self.line(&line);
        }
        for (name, ms) in [
            ("detection", facts.clocks.detection_ms),
            ("abort", facts.clocks.abort_ms),
            ("revert", facts.clocks.revert_ms),
        ] {
            self.line(&format!("  {name:<15}{}", measured(ms)));
        }
        let breakdown = facts.breakdown.iter().map(|milestone| {
            let name = words::milestone(milestone.name);
            match milestone.after_ms {
                Some(ms) => format!("{name} after {}", words::length(ms)),
                None => format!("{name}: {}", milestone.remark),
            }
        });
        let breakdown = breakdown.collect::<Vec<_>>().join(" · ");
        if !breakdown.is_empty() {
            self.block(2, Tone::Faint, &format!("from the first fault in force: {breakdown}"));
        }
    }

    fn method(&mut self) {
        self.heading("WHAT WAS DONE");
        if self.facts.steps.is_empty() {
            self.block(2, Tone::Plain, "nothing: the file has no method");
        }
        for step in &self.facts.steps {
            let (tone, state) = state_of(step, self.facts.outcome.stop.is_some());
            let at = step.started.map_or(String::new(), |at| words::moment(self.facts.since_start(at)));
            let what = if step.what.is_empty() { &step.name } else { &step.what };
            let named =
                if step.name.starts_with("step-") { String::new() } else { format!("{}: ", step.name) };
            let state = if state.is_empty() { String::new() } else { format!(" ({state})") };
            let text = format!("{named}{what}{state}");
            let mark = self.style.paint(tone, self.style.mark(tone));
            let safe = self.style.plain(&text);
            for (number, part) in wrap(&safe, self.width.saturating_sub(12)).into_iter().enumerate() {
                let (mark, at) = if number == 0 { (mark.as_str(), at.as_str()) } else { (" ", "") };
                self.line(&format!("  {at:<8}{mark} {part}"));
            }
            if let Some(check) = &step.check {
                self.block(14, Tone::Plain, &check.detail);
            }
            for finding in &step.refusals {
                self.finding(14, finding);
            }
            self.injections(step);
        }
    }

    /// Targets to which the same happened, together.
    fn injections(&mut self, step: &StepFacts) {
        let mut groups: Vec<(Tone, String, Vec<&InjectionFacts>)> = Vec::new();
        for injection in &step.injections {
            let (tone, alike) = fate(injection, "");
            match groups.iter_mut().find(|(_, other, _)| *other == alike) {
                Some((.., group)) => group.push(injection),
                None => groups.push((tone, alike, vec![injection])),
            }
        }
        // What there is no room for is what went as it should.
        if groups.len() > LISTED {
            groups.sort_by_key(|(tone, ..)| std::cmp::Reverse(*tone));
        }
        for (tone, _, group) in groups.iter().take(LISTED) {
            let targets: Vec<ObjectRef> = group.iter().map(|injection| injection.target.clone()).collect();
            self.block(12, *tone, &words::names(targets.iter(), LISTED));
            let (_, fate) = fate(group[0], &took(group));
            self.block(14, Tone::Plain, &fate);
            let displaced: Vec<ObjectRef> =
                group.iter().flat_map(|injection| injection.displaced.clone()).collect();
            if !displaced.is_empty() {
                let whom = words::names(displaced.iter(), LISTED);
                self.block(14, Tone::Faint, &format!("displaced {whom}"));
            }
        }
        let more: usize = groups.iter().skip(LISTED).map(|(.., group)| group.len()).sum();
        if more > 0 {
            self.block(
                12,
                Tone::Warning,
                &format!("and {more} more, each with a fate of its own: see the JSON report"),
            );
        }
    }

    fn signals(&mut self) {
        let facts = self.facts;
        let moment = |at| words::moment(facts.since_start(at));
        let fault = facts.fault_window.map(|window| match window.end {
            Some(end) => format!(", fault from {} to {}", moment(window.begin), moment(end)),
            None => format!(", fault from {} on", moment(window.begin)),
        });
        self.heading(&format!("SIGNALS, +0s to {}{}", moment(facts.last_seen), fault.unwrap_or_default()));
        let name =
            facts.probes.iter().map(|probe| probe.name.chars().count()).max().unwrap_or(0).clamp(8, 24);
        let beside = self.width >= TABLE;
        let columns = self.width.saturating_sub(if beside { 14 + name + 2 } else { 4 }).clamp(20, 60);
        let total = words::millis(facts.started, facts.last_seen).max(1);
        if let Some(axis) = axis(facts, total, columns, self.style.unicode) {
            let axis = self.style.paint(Tone::Faint, &axis);
            let indent = if beside { 14 + name + 2 } else { 4 };
            self.line(&format!("{:indent$}{axis}", ""));
        }
        for lane in &facts.lanes {
            let mut label = lane.signal.map_or_else(|| "Other".to_owned(), |signal| format!("{signal:?}"));
            if lane.probes.is_empty() {
                let unmeasured = self.style.paint(Tone::Faint, "not measured");
                self.line(&format!("  {label:<12}{unmeasured}"));
            }
            for probe in lane.probes.iter().filter_map(|probe| facts.probe(probe)) {
                let curve = curve(facts, probe, (total, columns), self.style.unicode);
                let safe = self.style.plain(&probe.name);
                if beside {
                    self.line(&format!("  {label:<12}{safe:<name$}  {curve}"));
                } else {
                    self.line(&format!("  {label:<12}{safe}"));
                    self.line(&format!("    {curve}"));
                }
                label.clear();
                self.block(if beside { 14 } else { 4 }, Tone::Plain, &measured_words(probe));
            }
        }
    }

    fn deployed(&mut self) {
        if self.facts.deployed.is_empty() {
            return;
        }
        self.heading("DEPLOYED");
        for facts in &self.facts.deployed {
            let (tone, changed) = match facts.changed {
                Some(false) => (Tone::Plain, "the same before and after"),
                Some(true) if facts.rolled_out() => {
                    (Tone::Plain, "rolled out during the run, and the same as before")
                }
                Some(true) => (Tone::Warning, "changed during the run"),
                None if facts.before.is_some() => (Tone::Plain, "seen before the run only"),
                None => (Tone::Plain, "seen after the run only"),
            };
            let Some(seen) = facts.before.as_ref().or(facts.after.as_ref()) else { continue };
            self.block(2, tone, &format!("{}: {changed}", seen.workload));
            self.block(4, Tone::Plain, &build(seen));
            if let (Some(true), Some(after)) = (facts.changed, &facts.after) {
                self.block(4, tone, &format!("then {}", build(after)));
            }
        }
    }

    fn timeline(&mut self) {
        self.heading("TIMELINE");
        for event in &self.facts.timeline {
            let at = words::moment(event.since_start_ms);
            let mark = self.style.paint(event.tone, self.style.mark(event.tone));
            let safe = self.style.plain(&event.text);
            for (number, part) in wrap(&safe, self.width.saturating_sub(12)).into_iter().enumerate() {
                let (mark, at) = if number == 0 { (mark.as_str(), at.as_str()) } else { (" ", "") };
                let part =
                    self.style.paint(if event.tone == Tone::Bad { Tone::Bad } else { Tone::Plain }, &part);
                self.line(&format!("  {at:<8}{mark} {part}"));
            }
        }
    }

    fn findings(&mut self) {
        let Some(plan) = &self.facts.plan else { return };
        if plan.findings.is_empty() {
            return;
        }
        self.heading("WHAT THE PLAN SAID");
        for finding in &plan.findings {
            self.finding(2, finding);
        }
    }

    fn finding(&mut self, indent: usize, finding: &Finding) {
        let tone = if finding.is_error() { Tone::Bad } else { Tone::Warning };
        self.block(indent, tone, &format!("{} {}: {}", finding.code, finding.subject, finding.message));
        if !finding.remedy.is_empty() {
            self.block(indent + 2, Tone::Plain, &format!("remedy: {}", finding.remedy));
        }
    }

    fn notes(&mut self) {
        if self.facts.notes.is_empty() {
            return;
        }
        self.heading("NOTES");
        for note in &self.facts.notes {
            let at = words::moment(self.facts.since_start(note.at));
            self.block(2, Tone::Plain, &format!("{at} {}", note.text));
        }
    }
}

fn measured(ms: Option<u64>) -> String {
    ms.map_or_else(|| "not measured".to_owned(), words::length)
}

fn curve(facts: &Facts, probe: &ProbeFacts, (total, columns): (i64, usize), unicode: bool) -> String {
    let samples: Vec<(i64, Option<f64>)> =
        probe.samples.iter().map(|sample| (facts.since_start(sample.at), sample.value)).collect();
    let first = || samples.iter().find_map(|(_, value)| *value);
    let usual = probe.baseline.map(|stats| stats.mean).or_else(first).unwrap_or_default();
    sparkline::draw(&sparkline::columns(&samples, total, columns, usual), unicode)
}

/// Start and end of the run, and between them the fault: `+0s     ├─ fault ─┤   +4m10s`.
fn axis(facts: &Facts, total: i64, columns: usize, unicode: bool) -> Option<String> {
    let window = facts.fault_window?;
    let place = |at| sparkline::column(facts.since_start(at), total, columns);
    let (from, to) = (place(window.begin), place(window.end.unwrap_or(facts.last_seen)));
    let (left, rule, right) = if unicode { ('├', '─', '┤') } else { ('[', '-', ']') };
    let mut cells: Vec<char> = vec![' '; columns];
    for cell in &mut cells[from..=to] {
        *cell = rule;
    }
    cells[from] = left;
    if to > from && window.end.is_some() {
        cells[to] = right;
    }
    let label = " fault ";
    if to - from > label.len() + 2 {
        let middle = from + (to - from - label.len()) / 2 + 1;
        cells.splice(middle..middle + label.len(), label.chars());
    }
    Some(cells.into_iter().collect())
}
