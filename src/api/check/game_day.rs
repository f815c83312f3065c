//! What only the meaning of a GameDay's parts can tell, and everything that it runs, resolved.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::api::schema::{API_VERSION, KindSchema, kind};
use crate::api::yaml::{Entry, Node, Span, Value};
use crate::api::{
    Act, Acts, Cron, Experiment, GATE, GameDay, Hours, PREREQUISITES, game_day::DURATION, is_day,
};
use crate::types::codes::format as codes;
use crate::types::{Finding, Length, nearest};

use super::report::Report;
use super::{Given, Source, document, resolve};

/// So many times of a schedule are held against its windows: more than a year of weeks.
const TIMES: usize = 400;
/// Longest name: its Runs are called by it and the minutes since 1970, and theirs are values of labels.
pub(super) const NAME_MAX: usize = 52;

/// The documents that a GameDay may refer to.
pub(super) struct Library<'a> {
    pub documents: Vec<(&'a Source, &'a Node)>,
    pub shared: &'a resolve::Shared,
    pub given: &'a Given,
}

impl<'a> Library<'a> {
    /// The Experiment of that name in that namespace; a file that names no namespace fits into any.
    fn find(&self, namespace: Option<&str>, name: &str) -> Option<(&'a Source, &'a Node)> {
        self.experiments()
            .find(|(_, document)| {
                let at = |key: &str| document.at(&["metadata", key]).and_then(Node::text);
                let apart = at("namespace").zip(namespace).is_some_and(|(one, two)| one != two);
                at("name") == Some(name) && !apart
            })
            .copied()
    }

    fn experiments(&self) -> impl Iterator<Item = &(&'a Source, &'a Node)> {
        let is = |(_, document): &&(&Source, &Node)| {
            document.get("kind").and_then(Node::text) == Some("Experiment")
        };
        self.documents.iter().filter(is)
    }
}

/// Names of the Experiments that a GameDay refers to.
pub(super) fn referred(document: &Node) -> Vec<String> {
    let entries = document.at(&["spec", "experiments"]).map(Node::items).unwrap_or_default();
    let is_game_day = document.get("kind").and_then(Node::text) == Some("GameDay");
    let name = |entry: &Node| {
        let name = entry.at(&["experimentRef", "name"]).or_else(|| entry.get("name"))?;
        name.text().map(str::to_owned)
    };
    entries.iter().filter(|_| is_game_day).filter_map(name).collect()
}

/// Blackouts are days of the calendar: of a GameDay and of a Guardrail.
pub(super) fn blackouts(spec: &Node, report: &mut Report<'_>) {
    let blackouts = spec.get("blackouts").map(Node::items).unwrap_or_default();
    for (index, blackout) in blackouts.iter().enumerate() {
        for key in ["from", "to"] {
            let Some(day) = blackout.get(key) else { continue };
            // One that does not even look like a day was told already.
            let whole = day.text().filter(|text| text.len() == 5 || text.len() == 10);
            if let Some(text) = whole.filter(|text| !is_day(text)) {
                let path = format!("spec.blackouts[{index}].{key}");
                let message = format!("the calendar has no day `{text}`");
                report.error(codes::FORM, (&path, day.span), &message, "");
            }
        }
    }
}

/// Holds the parts of a GameDay against each other, and resolves everything that it runs.
pub(super) fn check(
    node: &Node,
    library: &Library<'_>,
    errors_before: usize,
    report: &mut Report<'_>,
) -> Acts {
    let Some(spec) = node.get("spec") else { return Acts::default() };
    schedule(spec, report);
    if report.errors() == errors_before
        && let Ok(day) = GameDay::from_value(&node.to_json())
    {
        windows(spec, &day, report);
    }
    acts(node, spec, library, report)
}

/// Reads the schedule; what is wrong with it is shown at its field.
fn schedule(spec: &Node, report: &mut Report<'_>) {
    let Some(schedule) = spec.get("schedule") else { return };
    let Some(Err(error)) = schedule.text().map(Cron::parse) else { return };
    let span = within(schedule, error.at, report);
    report.error(codes::SCHEDULE, ("spec.schedule", span), &error.message, &error.remedy);
}

/// Part of a text, where it is written as it is meant.
fn within(node: &Node, (from, to): (usize, usize), report: &Report<'_>) -> Span {
    let written = report.text().get(node.span.start..node.span.end).unwrap_or_default();
    let begin = node.text().and_then(|text| written.find(text)).map(|at| node.span.start + at);
    begin.map_or(node.span, |begin| Span::new(begin + from, begin + to))
}

/// Whether there is any time at which the whole of it fits into its windows.
fn windows(spec: &Node, day: &GameDay, report: &mut Report<'_>) {
    let Some(node) = spec.entry("windows") else { return };
    let rule = &day.spec;
    let Ok(hours) = Hours::new(rule.time_zone.as_deref(), &rule.windows, &[]) else { return };
    let length = rule.duration();
    let whole = Length(length);
    if hours.longest().is_some_and(|longest| longest < length) {
        let given = if rule.limits.duration.is_some() { "" } else { ", the default" };
        let message = format!("no window is as long as the whole game day may take: {whole}{given}");
        let remedy = "widen a window, or lower limits.duration";
        return report.error(codes::SCHEDULE, ("spec.windows", node.key_span), &message, remedy);
    }
    let Some(cron) = rule.schedule.as_deref().and_then(|text| Cron::parse(text).ok()) else { return };
    // Any year will do: what is asked is how days and hours lie to each other.
    let begin = Timestamp::from_second(1_767_225_600).unwrap_or(Timestamp::UNIX_EPOCH);
    let mut times = cron.after(begin, hours.zone()).take(TIMES);
    if !rule.windows.is_empty() && !times.any(|due| hours.closed_for(due.at, length).is_none()) {
        let message = format!("it never comes when the whole of it ({whole}) fits into the windows");
        let span = spec.get("schedule").map_or(node.key_span, |schedule| schedule.span);
        let remedy = "move the schedule or the windows, or lower limits.duration";
        report.error(codes::SCHEDULE, ("spec.schedule", span), &message, remedy);
    }
}

fn acts(node: &Node, spec: &Node, library: &Library<'_>, report: &mut Report<'_>) -> Acts {
    let namespace = node.at(&["metadata", "namespace"]).and_then(Node::text);
    let name = node.at(&["metadata", "name"]).and_then(Node::text).unwrap_or_default();
    let mut acts = Acts::default();
    let entries = spec.get("experiments").map(Node::items).unwrap_or_default();
    for (index, entry) in entries.iter().enumerate() {
        let act = act(entry, (index, namespace), library, report);
        act.iter().for_each(|act| answers(entry, (index, act), spec, report));
        acts.experiments.extend(act);
    }
    let within = within_default(spec);
    if let Some(named) = spec.get("steadyStateFrom").filter(|named| !named.items().is_empty()) {
        let steady = steady((&format!("{name}-steady"), namespace), named.clone(), Some(within));
        acts.between = verify(&steady, library, report);
    }
    let prerequisites = spec.get("prerequisites").map(Node::items).unwrap_or_default();
    for prerequisite in prerequisites {
        let Some(named) = prerequisite.get("steadyStateFrom") else { continue };
        let Some(called) = prerequisite.get("name").and_then(Node::text) else { continue };
        let list = Node { value: Value::Seq(vec![named.clone()]), ..named.clone() };
        let steady = steady((&format!("{name}-{called}"), namespace), list, None);
        let act = verify(&steady, library, report);
        acts.prerequisites.extend(act.map(|act| (called.to_owned(), act)));
    }
    acts
}

/// How long the steady state between experiments may take to come: as long as the game day may.
fn within_default(spec: &Node) -> Length {
    let written = spec.at(&["limits", "duration"]).and_then(Node::text);
    written.and_then(|text| text.parse().ok()).unwrap_or(Length(DURATION))
}

/// The experiment of an entry, with the entry's parameters.
fn act(
    entry: &Node,
    (index, namespace): (usize, Option<&str>),
    library: &Library<'_>,
    report: &mut Report<'_>,
) -> Option<Act> {
    let reference = entry.at(&["experimentRef", "name"]);
    let named = reference.or_else(|| entry.get("name"))?;
    let (name, path) = (named.text()?, format!("spec.experiments[{index}]"));
    let Some((source, document)) = library.find(namespace, name) else {
        let names = library.experiments().filter_map(|(_, node)| node.at(&["metadata", "name"])?.text());
        let remedy = match nearest(name, names) {
            Some(near) if near == name => "it is in another namespace than the game day".to_owned(),
            Some(near) => format!("did you mean `{near}`?"),
            None => "name its file too, or put it into the same folder or the one above".to_owned(),
        };
        let message = format!("there is no Experiment `{name}` in what was read or beside it");
        report.error(codes::REFERENCE, (&path, named.span), &message, &remedy);
        return None;
    };
    let given = given(entry, (document, &path), library.given, report)?;
    let mut own = Report::new(source);
    let resolved = resolved(document, (library, &given), &mut own)?;
    let (errors, open) = (own.errors(), own.open());
    if errors + open > 0 {
        let found = own.finish();
        let worst = found.iter().find(|finding| finding.is_error()).or(found.first())?;
        let place = worst.place.as_ref().map_or_else(String::new, |at| format!("{}:{}: ", at.file, at.line));
        let message = format!("Experiment `{name}` cannot be run as it is here: {place}{}", worst.message);
        let finding = match errors {
            0 => Finding::warning(worst.code.clone(), &path, message),
            _ => Finding::error(worst.code.clone(), &path, message),
        };
        report.push(finding.remedy(&worst.remedy), named.span);
        return None;
    }
    decoded(&resolved, source)
}

/// Who answers names a gate and a prerequisite as steps are named: one answer is for one question.
fn answers(entry: &Node, (index, act): (usize, &Act), spec: &Node, report: &mut Report<'_>) {
    let Some(called) = entry.get("name").filter(|name| name.text().is_some()) else { return };
    let name = called.text().unwrap_or_default();
    let gate = entry.get("gate").and_then(Node::text) == Some("Manual");
    let prerequisites = spec.get("prerequisites").map(Node::items).unwrap_or_default();
    let asked = |step: &str| {
        let is =
            |one: &Node| one.get("manual").is_some() && one.get("name").and_then(Node::text) == Some(step);
        let manual = name == PREREQUISITES && prerequisites.iter().any(is);
        manual.then_some("a prerequisite").or((gate && step == GATE).then_some("the gate"))
    };
    for step in &act.experiment.spec.method {
        let Some(what) = asked(&step.name) else { continue };
        let message = format!("`{name}/{}` is {what} and a step: one answer would be for both", step.name);
        let (path, remedy) = (format!("spec.experiments[{index}]"), "rename the step or the entry");
        report.error(codes::SAME_NAME, (&path, called.span), &message, remedy);
    }
}

/// The values that an entry gives to its experiment; what the command line gives wins.
fn given(
    entry: &Node,
    (document, path): (&Node, &str),
    outer: &Given,
    report: &mut Report<'_>,
) -> Option<Given> {
    let mut parameters = BTreeMap::new();
    let before = report.errors();
    for parameter in entry.get("parameters").map(Node::items).unwrap_or_default() {
        let (Some(name), Some(value)) = (parameter.get("name"), parameter.get("value").and_then(Node::text))
        else {
            continue;
        };
        let Some(text) = name.text() else { continue };
        let declared: Vec<String> = resolve::declared(document).collect();
        if !declared.iter().any(|declared| declared == text) {
            let message = format!("its Experiment declares no parameter `{text}`");
            let remedy = nearest(text, declared.iter().map(String::as_str));
            let remedy = remedy.map_or_else(String::new, |near| format!("did you mean `{near}`?"));
            let path = format!("{path}.parameters");
            report.error(codes::REFERENCE, (&path, name.span), &message, &remedy);
        }
        parameters.insert(text.to_owned(), value.to_owned());
    }
    parameters.extend(outer.parameters.clone());
    let whole = outer.must_be_whole;
    (report.errors() == before).then_some(Given { parameters, beside: Vec::new(), must_be_whole: whole })
}

/// A document with what is given filled in, checked as a whole.
fn resolved(node: &Node, (library, given): (&Library<'_>, &Given), report: &mut Report<'_>) -> Option<Node> {
    let schema: &KindSchema = kind("Experiment")?;
    let resolved = resolve::resolve(node, library.shared, given, report);
    document(&resolved, schema, report);
    Some(resolved)
}

/// An experiment without a method, of which every word is ours but what it borrows. What is wrong with that is shown
/// where it is named.
fn verify(steady: &Node, library: &Library<'_>, report: &mut Report<'_>) -> Option<Act> {
    let before = report.errors();
    let given = Given { parameters: library.given.parameters.clone(), ..Given::default() };
    let resolved = resolved(steady, (library, &given), report);
    report.declare(None);
    // What a borrowed probe leaves open nobody fills in: no value is asked for here.
    if resolved.as_ref().is_some_and(|node| node.to_json().to_string().contains("$(params.")) {
        let message = "a probe that is borrowed here refers to a parameter without a value";
        let remedy = "give it a default where it is declared, or --param NAME=VALUE";
        report.error(codes::PARAMETER, ("spec.steadyStateFrom", steady.span), message, remedy);
    }
    (report.errors() == before).then(|| decoded(&resolved?, report.source())).flatten()
}

fn decoded(resolved: &Node, source: &Source) -> Option<Act> {
    let json = resolved.to_json();
    let experiment = Experiment::from_value(&json).ok()?;
    Some(Act { experiment, json, source: source.name.clone() })
}

/// `kind: Experiment` that verifies what others call normal.
fn steady((name, namespace): (&str, Option<&str>), borrowed: Node, within: Option<Length>) -> Node {
    let span = borrowed.span;
    let node = |value: Value| Node { value, span, ambiguous: None };
    let text = |text: &str| node(Value::Str(text.to_owned()));
    let map = |entries: Vec<(&str, Node)>| {
        let entry = |(key, value): (&str, Node)| Entry { key: key.to_owned(), key_span: span, value };
        node(Value::Map(entries.into_iter().map(entry).collect()))
    };
    let names = borrowed.items().iter().filter_map(|item| item.get("name")?.text());
    let hypothesis = format!("What {} calls normal holds.", names.collect::<Vec<_>>().join(", "));
    let short: String = name.chars().take(63).collect();
    let mut metadata = vec![("name", text(short.trim_end_matches(['-', '.'])))];
    metadata.extend(namespace.map(|namespace| ("namespace", text(namespace))));
    let mut spec = vec![("hypothesis", text(&hypothesis)), ("steadyStateFrom", borrowed.clone())];
    spec.extend(within.map(|within| ("baseline", map(vec![("within", text(&within.to_string()))]))));
    map(vec![
        ("apiVersion", text(API_VERSION)),
        ("kind", text("Experiment")),
        ("metadata", map(metadata)),
        ("spec", map(spec)),
    ])
}
