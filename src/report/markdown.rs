//! The report to hand round: everything that happened, and an empty review to fill in together.

use super::{
    Facts, Tone,
    facts::StepFacts,
    ink::clean,
    phrases::{build, fate, measured_words, state_of, took},
    probes::ProbeFacts,
    rehearsed::resolution,
    text::headline,
    words,
};
use crate::types::{Finding, Length};

/// So many injections of a step are listed; the JSON report has them all.
const LISTED: usize = 100;

/// The report as Markdown (GitHub's flavour), ending in a line break.
pub fn render(facts: &Facts) -> String {
    let mut out = String::new();
    head(facts, &mut out);
    open_ends(facts, &mut out);
    clocks(facts, &mut out);
    method(facts, &mut out);
    signals(facts, &mut out);
    deployed(facts, &mut out);
    findings(facts, &mut out);
    notes(facts, &mut out);
    review(facts, &mut out);
    out
}

/// Text from outside as ordinary text: nothing in it is markup, a table's border or HTML.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in clean(text).trim().chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // A mention would call people; a comment breaks it, and an address stays readable.
            '@' if !out.ends_with(char::is_alphanumeric) => out.push_str("@<!-- -->"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '#' | '$' | '!' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    // A block begins only at the start of a line: a list, a rule, a heading underlined.
    let number = out.find(['.', ')']).filter(|&end| is_number(&out[..end]));
    if let Some(place) = number.or(out.starts_with(['-', '+', '=']).then_some(0)) {
        out.insert(place, '\\');
    }
    out
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit())
}

/// Text from outside as code, fit for a table's cell: no backtick in it can end it, no pipe the cell.
fn code(text: &str) -> String {
    let text = clean(text);
    let text = text.trim();
    if text.is_empty() {
        return String::new();
    }
    // In a table GFM takes the backslash before a pipe away, also in code; outside it would stay. A code
    // element with entities is the same in both.
    if text.contains('|') {
        return format!("<code>{}</code>", escape(text).replace("\\|", "&#124;"));
    }
    let mut longest = 0;
    let mut ticks = 0;
    for c in text.chars() {
        ticks = if c == '`' { ticks + 1 } else { 0 };
        longest = longest.max(ticks);
    }
    let fence = "`".repeat(longest + 1);
    let pad = if longest > 0 { " " } else { "" };
    format!("{fence}{pad}{text}{pad}{fence}")
}

pub(super) fn row(cells: &[String], out: &mut String) {
    out.push_str("| ");
    out.push_str(&cells.join(" | "));
    out.push_str(" |\n");
}

pub(super) fn table(head: &[&str], out: &mut String) {
    row(&head.iter().map(ToString::to_string).collect::<Vec<_>>(), out);
    out.push_str(&format!("|{}\n", "---|".repeat(head.len())));
}

pub(super) fn section(title: &str, out: &mut String) {
    out.push_str(&format!("\n## {title}\n\n"));
}

fn head(facts: &Facts, out: &mut String) {
    let (_, word) = headline(facts);
    out.push_str(&format!("# {}: {word}\n\n", escape(&facts.experiment)));
    if !facts.hypothesis.is_empty() {
        out.push_str(&format!("> {}\n\n", escape(&facts.hypothesis)));
    }
    let outcome = &facts.outcome;
    out.push_str(&format!("**{}**\n\n", escape(&words::meaning(outcome))));
    if !facts.not_recovered.is_empty() {
        out.push_str(&format!("Not steady again in time: {}.\n\n", escape(&facts.not_recovered.join(", "))));
    }
    if let Some(stop) = &outcome.stop {
        let at = words::moment(facts.since_start(stop.at));
        let by = if stop.by.is_empty() { String::new() } else { format!(" ({})", stop.by) };
        out.push_str(&format!("Stopped at {at}: {}.\n\n", escape(&format!("{}{by}", stop.why))));
    }
    table(&["", ""], out);
    let code_word =
        outcome.exit_code.map_or_else(|| "none, the run has no end".to_owned(), |code| code.to_string());
    for (label, text) in [
        ("Run", code(facts.run.as_str())),
        ("Exit code", code_word),
        ("Where", escape(&words::place(&facts.place))),
        ("Who", escape(&words::people(&facts.people))),
        ("When", escape(&words::when(facts))),
        ("File", escape(&words::source(&facts.source))),
        ("Limits", escape(&words::limits(&facts.limits))),
        ("Metrics", escape(&facts.place.metrics)),
    ] {
        if !text.is_empty() {
            row(&[label.to_owned(), text], out);
        }
    }
    for load in &facts.loads {
        row(&["Load".to_owned(), escape(&words::load(load))], out);
    }
}

fn open_ends(facts: &Facts, out: &mut String) {
    if !facts.residue.is_empty() {
        section("Left behind", out);
        table(&["Object", "What", "Finish with"], out);
        for residue in &facts.residue {
            row(&[code(&residue.target.to_string()), escape(&residue.what), code(&residue.remedy)], out);
        }
    }
    if !facts.in_force.is_empty() {
        section("May still be in force", out);
        table(&["Object", "What", "If nobody is at work on it"], out);
        for open in &facts.in_force {
            row(&[code(&open.target.to_string()), escape(&open.what), code(&open.remedy)], out);
        }
    }
}

fn clocks(facts: &Facts, out: &mut String) {
    section("Clocks", out);
    let length = |ms: Option<u64>| ms.map_or_else(|| "not measured".to_owned(), words::length);
    table(&["Clock", "Promised", "Measured", ""], out);
    for objective in &facts.objectives {
        let promised = objective.promised_ms.map(|ms| Length::from_millis(ms).to_string());
        let promised = promised.unwrap_or_else(|| "not judged".to_owned());
        let met = match (objective.met, objective.close) {
            (Some(true), false) => "met",
            (Some(true), true) => "met, barely",
            (Some(false), false) => "**missed**",
            (Some(false), true) => "**missed, barely**",
            (None, _) => "",
        };
        let name = format!("`{}`, {}", objective.name, objective.meaning);
        row(&[name, promised, length(objective.measured_ms), met.to_owned()], out);
    }
    for (name, ms) in [
        ("detection: first fault in force to the first violation or alert", facts.clocks.detection_ms),
        ("abort: the sample that completed the violation to the last verified revert", facts.clocks.abort_ms),
        ("revert: begin of reverting to the last verified revert", facts.clocks.revert_ms),
    ] {
        row(&[name.to_owned(), String::new(), length(ms), String::new()], out);
    }
    if let Some(ms) = facts.clocks.resolution_ms {
        out.push_str(&format!("\nEach ± {}, the longest sampling interval.\n", words::length(ms)));
    }
    if !facts.breakdown.is_empty() {
        out.push_str("\nFrom the first fault in force:\n\n");
    }
    for milestone in &facts.breakdown {
        let after = milestone.after_ms.map_or(String::new(), |ms| format!(" after {}", words::length(ms)));
        out.push_str(&format!(
            "- {}{after}: {}\n",
            words::milestone(milestone.name),
            escape(&milestone.remark)
        ));
    }
}

fn method(facts: &Facts, out: &mut String) {
    section("What was done", out);
    if facts.steps.is_empty() {
        out.push_str("Nothing: the file has no method.\n");
        return;
    }
    for (number, step) in facts.steps.iter().enumerate() {
        let (_, state) = state_of(step, facts.outcome.stop.is_some());
        let at =
            step.started.map_or(String::new(), |at| format!(" at {}", words::moment(facts.since_start(at))));
        let state = if state.is_empty() { String::new() } else { format!(" ({state})") };
        let what = if step.what.is_empty() { String::new() } else { format!(": {}", escape(&step.what)) };
        out.push_str(&format!("{}. **{}**{what}{at}{state}\n", number + 1, escape(&step.name)));
        if !step.description.is_empty() {
            out.push_str(&format!("   {}\n", escape(&step.description)));
        }
        if let Some(check) = &step.check {
            out.push_str(&format!("   {}\n", escape(&check.detail)));
        }
        for finding in &step.refusals {
            out.push_str(&format!("   - {}: {}\n", code(&finding.subject), escape(&finding.message)));
        }
    }
    let hit: Vec<&StepFacts> = facts.steps.iter().filter(|step| !step.injections.is_empty()).collect();
    if !hit.is_empty() {
        out.push('\n');
        table(&["Step", "Fault", "Target", "What became of it", "Displaced"], out);
    }
    for step in hit {
        for injection in step.injections.iter().take(LISTED) {
            let displaced = words::names(injection.displaced.iter(), LISTED);
            let (_, fate) = fate(injection, &took(&[injection]));
            let target = injection.target.to_string();
            row(
                &[
                    escape(&step.name),
                    code(&injection.fault),
                    code(&target),
                    escape(&fate),
                    escape(&displaced),
                ],
                out,
            );
        }
        let more = step.injections.len().saturating_sub(LISTED);
        if more > 0 {
            let all = format!("and {more} more; the JSON report has them all");
            row(&[escape(&step.name), String::new(), String::new(), all, String::new()], out);
        }
    }
}

fn signals(facts: &Facts, out: &mut String) {
    section("Golden signals", out);
    table(&["Signal", "Probe", "Wants", "Measured", "Left and back"], out);
    for lane in &facts.lanes {
        let label = lane.signal.map_or_else(|| "Other".to_owned(), |signal| format!("{signal:?}"));
        if lane.probes.is_empty() {
            row(
                &[label.clone(), "*not measured*".to_owned(), String::new(), String::new(), String::new()],
                out,
            );
        }
        for probe in lane.probes.iter().filter_map(|probe| facts.probe(probe)) {
            let name = if probe.description.is_empty() {
                code(&probe.name)
            } else {
                format!("{}, {}", code(&probe.name), escape(&probe.description))
            };
            row(
                &[label.clone(), name, wants(probe), escape(&measured_words(probe)), left_and_back(probe)],
                out,
            );
        }
    }
    if !facts.probes.is_empty() {
        out.push('\n');
    }
    for probe in facts.probes.iter().filter(|probe| !probe.source.is_empty()) {
        out.push_str(&format!("- {} reads {}\n", code(&probe.name), code(&probe.source)));
    }
    let Some(first) = facts.violations.first() else { return };
    let what =
        if first.missing { "no data".to_owned() } else { words::seen(first.value, &escape(&first.note)) };
    let wants = if first.expression.is_empty() {
        String::new()
    } else {
        format!(", wants {}", code(&first.expression))
    };
    out.push_str(&format!(
        "\nFirst violation: {} {what}{wants}; since {}, {} until {}.\n",
        code(&first.probe),
        words::moment(facts.since_start(first.since)),
        escape(&first.patience),
        words::moment(facts.since_start(first.at)),
    ));
}

fn wants(probe: &ProbeFacts) -> String {
    match (probe.expect.is_empty(), probe.during == probe.expect) {
        (true, _) => "not judged".to_owned(),
        (false, true) => code(&probe.expect),
        (false, false) => format!("{}, during the fault {}", code(&probe.expect), code(&probe.during)),
    }
}

fn left_and_back(probe: &ProbeFacts) -> String {
    match (probe.left_ms, probe.back_ms) {
        _ if probe.expect.is_empty() || (probe.fault.is_none() && probe.after.is_none()) => String::new(),
        (None, _) => "never left".to_owned(),
        (Some(left), Some(back)) => {
            format!("left after {}, back after {}", words::length(left), words::length(back))
        }
        (Some(left), None) => format!("left after {}, not back", words::length(left)),
    }
}

fn deployed(facts: &Facts, out: &mut String) {
    if facts.deployed.is_empty() {
        return;
    }
    section("What was deployed", out);
    table(&["Workload", "Before", "After", ""], out);
    for deployed in &facts.deployed {
        let Some(seen) = deployed.before.as_ref().or(deployed.after.as_ref()) else { continue };
        let build = |seen: &Option<_>| {
            seen.as_ref().map_or_else(|| "not seen".to_owned(), |seen| escape(&build(seen)))
        };
        let changed = match deployed.changed {
            Some(true) if deployed.rolled_out() => "rolled out, the same",
            Some(true) => "**changed during the run**",
            Some(false) => "the same",
            None => "not known",
        };
        let workload = code(&seen.workload.to_string());
        row(&[workload, build(&deployed.before), build(&deployed.after), changed.to_owned()], out);
    }
}

fn findings(facts: &Facts, out: &mut String) {
    let findings = facts.findings();
    if findings.is_empty() {
        return;
    }
    section("Findings", out);
    for finding in findings {
        explain(facts, finding, out);
    }
}

fn explain(facts: &Facts, finding: &Finding, out: &mut String) {
    let word = if finding.is_error() { "refuses" } else { "hazard" };
    let subject = code(&finding.subject);
    out.push_str(&format!(
        "- **{}** ({word}) {subject}: {}\n",
        escape(&finding.code.0),
        escape(&finding.message)
    ));
    if !finding.remedy.is_empty() {
        out.push_str(&format!("  - Remedy: {}\n", escape(&finding.remedy)));
    }
    match finding.code.info() {
        Some(info) => {
            out.push_str(&format!("  - Standard: {}\n", escape(info.standard)));
            out.push_str(&format!("  - Discovery: {}\n", escape(info.discovery)));
            if let Some(resolution) = resolution(facts, info) {
                out.push_str(&format!("  - Resolution: {}\n", escape(resolution)));
            }
        }
        None => out.push_str("  - This version of firedrill has no entry for this code.\n"),
    }
}

fn notes(facts: &Facts, out: &mut String) {
    if facts.notes.is_empty() {
        return;
    }
    section("Notes", out);
    for note in &facts.notes {
        out.push_str(&format!("- {} {}\n", words::moment(facts.since_start(note.at)), escape(&note.text)));
    }
}

fn review(facts: &Facts, out: &mut String) {
    section("Review", out);
    out.push_str("Blameless: we ask what made each step sensible at the time, not who took it.\n");
    out.push_str("\n### What we expected\n\n");
    out.push_str(&format!("{}\n", escape(&facts.hypothesis)));
    let promises = facts.objectives.iter().filter_map(|objective| Some((objective, objective.promised_ms?)));
    for (objective, promised) in promises {
        out.push_str(&format!("- `{}` within {}\n", objective.name, Length::from_millis(promised)));
    }
    for probe in facts.probes.iter().filter(|probe| !probe.during.is_empty()) {
        out.push_str(&format!("- {} stays {}\n", code(&probe.name), code(&probe.during)));
    }
    out.push_str("\n### What happened\n\n");
    table(&["Time", "UTC", "Event"], out);
    for event in &facts.timeline {
        let text = escape(&event.text);
        let text = if event.tone == Tone::Bad { format!("**{text}**") } else { text };
        let at = event.at.strftime("%H:%M:%S").to_string();
        row(&[words::moment(event.since_start_ms), at, text], out);
    }
    out.push_str("\n### What went well\n\n- \n");
    out.push_str("\n### What surprised us\n\n- \n");
    out.push_str("\n### Actions\n\n");
    table(&["Action", "Owner", "Due"], out);
    for _ in 0..3 {
        row(&[String::new(), String::new(), String::new()], out);
    }
}
