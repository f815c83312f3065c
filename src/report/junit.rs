//! The report for a CI system: JUnit's XML as Jenkins (`junit-10.xsd` of its xUnit plugin), GitLab and the
//! Ant task read it.
//!
//! A suite is an experiment. Its cases keep their names from run to run: each judged probe, each check, each
//! fault seen, each objective, that everything was restored, and that the run came to its end. What makes a
//! run Failed is a failure; what makes it end otherwise (exit codes 3 to 7) is an error.

use super::{
    Chapter, Facts, Style,
    facts::StepFacts,
    markup::Markup,
    phrases::{measured_words, state_of},
    probes::ProbeFacts,
    text, words,
};
use crate::{
    api::Role,
    journal::{CheckOutcome, InjectOutcome, SampleState},
    types::{Finding, Length, Verdict},
};

/// So many targets are named in a message; the other reports have them all.
const NAMED: usize = 8;

/// A case and its answer.
pub(super) struct Case {
    pub name: String,
    /// How long it was looked at, in milliseconds.
    pub ms: i64,
    pub answer: Answer,
    /// What was seen, for the reader of a case that held.
    pub seen: String,
}

pub(super) enum Answer {
    Held,
    /// The system did not do what was expected of it.
    Failure(Why),
    /// It could not be found out, or not to the end.
    Error(Why),
    Skipped(String),
}

pub(super) struct Why {
    /// CamelCase and stable.
    kind: String,
    message: String,
}

impl Answer {
    pub fn failure(kind: &str, message: String) -> Self {
        Self::Failure(Why { kind: kind.to_owned(), message })
    }

    pub fn error(kind: &str, message: String) -> Self {
        Self::Error(Why { kind: kind.to_owned(), message })
    }

    /// What was not as hoped for: a failure if that is what the run came to, otherwise an error.
    fn bad(facts: &Facts, kind: &str, message: String) -> Self {
        match facts.outcome.verdict {
            Some(Verdict::Failed) => Self::failure(kind, message),
            _ => Self::error(kind, message),
        }
    }
}

/// A suite before it is written.
struct Suite<'a> {
    name: &'a str,
    facts: Option<&'a Facts>,
    cases: Vec<Case>,
}

/// The document, ending in a line break; one suite a chapter.
pub fn render(chapters: &[Chapter]) -> String {
    let suites: Vec<Suite<'_>> = chapters.iter().map(suite).collect();
    let cases = || suites.iter().flat_map(|suite| &suite.cases);
    let mut markup = Markup::new("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let [tests, failures, errors, _] = counts(cases());
    let time = seconds(suites.iter().map(Suite::ms).sum());
    markup.open(
        "testsuites",
        &[
            ("name", "firedrill"),
            ("tests", &tests),
            ("failures", &failures),
            ("errors", &errors),
            ("time", &time),
        ],
    );
    markup.verbatim("\n");
    for (number, suite) in suites.iter().enumerate() {
        suite.write(number, &mut markup);
    }
    markup.finish()
}

fn suite(chapter: &Chapter) -> Suite<'_> {
    let alone = |name: &str, answer| Case { name: name.to_owned(), ms: 0, answer, seen: String::new() };
    match chapter {
        Chapter::Run(facts) => Suite { name: &facts.experiment, facts: Some(facts), cases: cases(facts) },
        Chapter::Lost { experiment, error } => {
            let answer = Answer::error("NotBegun", error.clone());
            Suite { name: experiment, facts: None, cases: vec![alone(RAN, answer)] }
        }
        Chapter::Skipped { experiment, why } => {
            let answer = Answer::Skipped(why.clone());
            Suite { name: experiment, facts: None, cases: vec![alone(RAN, answer)] }
        }
        Chapter::Day(day) => Suite { name: &day.game_day, facts: None, cases: super::day::cases(day) },
    }
}

impl Suite<'_> {
    fn ms(&self) -> i64 {
        self.facts.map_or(0, |facts| facts.since_start(facts.last_seen))
    }

    fn write(&self, number: usize, markup: &mut Markup) {
        let [tests, failures, errors, skipped] = counts(self.cases.iter());
        let (time, id) = (seconds(self.ms()), number.to_string());
        let facts = self.facts;
        // The schemas want no zone here; it is UTC.
        let at = facts.map(|facts| facts.started.strftime("%Y-%m-%dT%H:%M:%S").to_string());
        let namespace = facts.map_or("firedrill", |facts| facts.place.namespace.as_str());
        let mut attributes = vec![
            ("name", self.name),
            ("id", &id),
            ("package", namespace),
            ("tests", &tests),
            ("failures", &failures),
            ("errors", &errors),
            ("skipped", &skipped),
            ("time", &time),
        ];
        attributes.extend(at.as_deref().map(|at| ("timestamp", at)));
        attributes.extend(facts.map(|facts| ("hostname", facts.place.cluster.as_str())));
        markup.open("testsuite", &attributes);
        markup.verbatim("\n");
        if let Some(facts) = facts {
            properties(facts, markup);
        }
        let class = format!("{namespace}.{}", self.name);
        for case in &self.cases {
            case.write(&class, markup);
        }
        if let Some(facts) = facts {
            markup.open("system-out", &[]);
            markup.lines(&text::render(facts, &Style::default()));
            markup.close();
        }
        markup.close();
    }
}

impl Case {
    fn write(&self, class: &str, markup: &mut Markup) {
        let time = seconds(self.ms);
        markup.open("testcase", &[("name", &self.name), ("classname", class), ("time", &time)]);
        match &self.answer {
            Answer::Held => {}
            Answer::Failure(why) => why.write("failure", markup),
            Answer::Error(why) => why.write("error", markup),
            Answer::Skipped(message) => markup.void("skipped", &[("message", message)]),
        }
        if !self.seen.is_empty() {
            markup.leaf("system-out", &[], &self.seen);
        }
        markup.close();
    }
}

impl Why {
    fn write(&self, element: &'static str, markup: &mut Markup) {
        // Jenkins shows the attribute, GitLab the text.
        let attributes = [("type", self.kind.as_str()), ("message", self.message.as_str())];
        markup.leaf(element, &attributes, &self.message);
    }
}

/// How many there are, how many of them failures, errors, skipped.
fn counts<'a>(cases: impl Iterator<Item = &'a Case>) -> [String; 4] {
    let mut counts = [0_usize; 4];
    for case in cases {
        counts[0] += 1;
        match case.answer {
            Answer::Held => {}
            Answer::Failure(_) => counts[1] += 1,
            Answer::Error(_) => counts[2] += 1,
            Answer::Skipped(_) => counts[3] += 1,
        }
    }
    counts.map(|count| count.to_string())
}

fn seconds(ms: i64) -> String {
    let ms = ms.max(0);
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

fn properties(facts: &Facts, markup: &mut Markup) {
    let outcome = &facts.outcome;
    let verdict = outcome.verdict.map(|verdict| verdict.to_string()).unwrap_or_default();
    let code = outcome.exit_code.map(|code| code.to_string()).unwrap_or_default();
    let seed = facts.source.seed.to_string();
    markup.open("properties", &[]);
    markup.verbatim("\n");
    for (name, value) in [
        ("run", facts.run.as_str()),
        ("hypothesis", &facts.hypothesis),
        ("verdict", &verdict),
        ("reason", &outcome.reason),
        ("exitCode", &code),
        ("where", &words::place(&facts.place)),
        ("who", &words::people(&facts.people)),
        ("file", &facts.source.file),
        ("seed", &seed),
        ("firedrill", &facts.source.version),
    ] {
        if !value.is_empty() {
            markup.void("property", &[("name", name), ("value", value)]);
            markup.verbatim("\n");
        }
    }
    markup.close();
    markup.verbatim("\n");
}

/// The case that carries whatever no other does.
const RAN: &str = "run to its end";

fn cases(facts: &Facts) -> Vec<Case> {
    let judged = |probe: &&ProbeFacts| !probe.expect.is_empty() && probe.role != Some(Role::Informational);
    let mut cases: Vec<Case> =
        facts.probes.iter().filter(judged).map(|probe| of_probe(facts, probe)).collect();
    for step in &facts.steps {
        match step.kind.as_str() {
            "check" => cases.push(of_check(facts, step)),
            "wait" | "revert" | "load" | "manual" => {}
            "" if step.injections.is_empty() => {}
            _ => cases.push(of_fault(facts, step)),
        }
    }
    cases.extend(facts.objectives.iter().filter_map(|objective| {
        let promised = Length::from_millis(objective.promised_ms?);
        let measured = objective.measured_ms.map_or_else(|| "not measured".to_owned(), words::length);
        let seen = format!("{}: {measured}, promised {promised}", objective.meaning);
        let answer = match objective.met {
            Some(true) => Answer::Held,
            Some(false) => Answer::bad(facts, "ObjectiveMissed", seen.clone()),
            None => Answer::Skipped("not measured".to_owned()),
        };
        let ms = objective.measured_ms.and_then(|ms| i64::try_from(ms).ok()).unwrap_or(0);
        Some(Case { name: format!("objective: {}", objective.name), ms, answer, seen })
    }));
    cases.push(restored(facts));
    let failed = cases.iter().any(|case| matches!(case.answer, Answer::Failure(_)));
    cases.push(ran(facts, failed));
    cases
}

fn of_probe(facts: &Facts, probe: &ProbeFacts) -> Case {
    let wants = |expression: &str| match expression {
        "" => String::new(),
        expression => format!(", wants {expression}"),
    };
    let moment = |at| words::moment(facts.since_start(at));
    let last = probe.samples.last();
    let verdict = facts.outcome.verdict;
    let answer = if let Some(violation) = facts.violations.iter().find(|found| found.probe == probe.name) {
        let what = if violation.missing {
            "no data".to_owned()
        } else {
            words::seen(violation.value, &violation.note)
        };
        let (since, at) = (moment(violation.since), moment(violation.at));
        let message = format!(
            "{what}{}; since {since}, {} until {at}",
            wants(&violation.expression),
            violation.patience
        );
        if violation.missing {
            Answer::error("NoData", message)
        } else {
            Answer::bad(facts, "Violated", message)
        }
    } else if facts.not_recovered.contains(&probe.name) {
        Answer::bad(facts, "NotRecovered", "not steady again in time".to_owned())
    } else {
        match last {
            None => Answer::Skipped("never measured".to_owned()),
            Some(last) if verdict == Some(Verdict::NotSteady) && last.expect == Some(false) => {
                let message = format!("{}{}", words::seen(last.value, &last.note), wants(&probe.expect));
                Answer::error("NotSteady", message)
            }
            Some(last) if verdict == Some(Verdict::Inconclusive) && last.state == SampleState::Missing => {
                Answer::error("NoData", format!("no data: {}", last.note))
            }
            Some(_) => Answer::Held,
        }
    };
    let ms = probe.samples.first().zip(last).map_or(0, |(first, last)| words::millis(first.at, last.at));
    Case { name: format!("hypothesis: {}", probe.name), ms, answer, seen: measured_words(probe) }
}

fn lasted(facts: &Facts, step: &StepFacts) -> i64 {
    step.started.map_or(0, |from| words::millis(from, step.ended.unwrap_or(facts.last_seen)))
}

fn not_reached(facts: &Facts, step: &StepFacts) -> Answer {
    let (_, state) = state_of(step, facts.outcome.stop.is_some());
    Answer::Skipped(if state.is_empty() { "nothing is on record".to_owned() } else { state })
}

fn of_check(facts: &Facts, step: &StepFacts) -> Case {
    let detail = step.check.as_ref().map(|check| check.detail.clone()).unwrap_or_default();
    let answer = match step.check.as_ref().map(|check| check.outcome) {
        Some(CheckOutcome::Held) => Answer::Held,
        Some(CheckOutcome::Failed) => Answer::bad(facts, "CheckFailed", detail.clone()),
        Some(CheckOutcome::NoData) => Answer::error("NoData", detail.clone()),
        None if !step.refusals.is_empty() => Answer::error("StepRefused", told(&step.refusals)),
        None => not_reached(facts, step),
    };
    Case { name: format!("check: {}", step.name), ms: lasted(facts, step), answer, seen: detail }
}

fn of_fault(facts: &Facts, step: &StepFacts) -> Case {
    let outcome = |wanted| {
        move |injection: &&super::InjectionFacts| {
            injection.injected.as_ref().is_some_and(|told| told.outcome == wanted)
        }
    };
    let all = &step.injections;
    let targets = |found: &[&super::InjectionFacts]| {
        let targets: Vec<_> = found.iter().map(|injection| injection.target.clone()).collect();
        words::names(targets.iter(), NAMED)
    };
    let failed: Vec<_> = all.iter().filter(outcome(InjectOutcome::Failed)).collect();
    let gone: Vec<_> = all.iter().filter(outcome(InjectOutcome::TargetGone)).collect();
    let effect = |wanted: bool| {
        move |injection: &&super::InjectionFacts| {
            injection.effect.as_ref().is_some_and(|told| told.outcome == wanted)
        }
    };
    let seen: Vec<_> = all.iter().filter(effect(true)).collect();
    let missed: Vec<_> = all.iter().filter(effect(false)).collect();
    let answer = if !step.refusals.is_empty() {
        Answer::error("StepRefused", told(&step.refusals))
    } else if let Some(first) = missed.first() {
        let why = first.effect.as_ref().map(|told| told.detail.as_str()).unwrap_or_default();
        Answer::error("NoEffect", format!("no effect seen on {}: {why}", targets(&missed)))
    } else if let Some(first) = failed.first() {
        let why = first.injected.as_ref().map(|told| told.detail.as_str()).unwrap_or_default();
        Answer::error("NotInjected", format!("could not be applied to {}: {why}", targets(&failed)))
    } else if !all.is_empty() && gone.len() == all.len() {
        Answer::error("TargetGone", format!("gone before it was hit: {}", targets(&gone)))
    } else if !seen.is_empty() && seen.iter().all(|injection| injection.met_nobody()) {
        Answer::error("NoTraffic", format!("no packet of others was met on {}", targets(&seen)))
    } else if !all.is_empty() && seen.len() + gone.len() == all.len() {
        Answer::Held
    } else {
        not_reached(facts, step)
    };
    let evidence = seen.first().and_then(|injection| injection.effect.as_ref()).map(|told| &told.detail);
    let seen = evidence.map_or(String::new(), |evidence| format!("{}: {evidence}", targets(&seen)));
    Case { name: format!("fault seen: {}", step.name), ms: lasted(facts, step), answer, seen }
}

fn restored(facts: &Facts) -> Case {
    let left = facts.residue.iter().map(|left| (&left.target, &left.what, &left.remedy));
    let open = facts.in_force.iter().map(|open| (&open.target, &open.what, &open.remedy));
    let said = |(target, what, remedy)| format!("{target}: {what}; finish with: {remedy}");
    let answer = if !facts.residue.is_empty() {
        Answer::error("Residue", left.map(said).collect::<Vec<_>>().join("; "))
    } else if !facts.in_force.is_empty() {
        Answer::error("NoRevertOnRecord", open.map(said).collect::<Vec<_>>().join("; "))
    } else if facts.fault_window.is_none() {
        Answer::Skipped("nothing was changed".to_owned())
    } else {
        Answer::Held
    };
    let ms = facts.clocks.revert_ms.and_then(|ms| i64::try_from(ms).ok()).unwrap_or(0);
    Case { name: "everything restored".to_owned(), ms, answer, seen: String::new() }
}

/// `failed` is whether some other case is a failure.
fn ran(facts: &Facts, failed: bool) -> Case {
    let outcome = &facts.outcome;
    let meaning = words::meaning(outcome);
    let kind = if outcome.reason.is_empty() { "NoEnd" } else { outcome.reason.as_str() };
    let refusing: Vec<Finding> =
        facts.findings().into_iter().filter(|finding| finding.is_error()).cloned().collect();
    let message = match outcome.verdict {
        Some(Verdict::Refused) if !refusing.is_empty() => format!("{meaning}: {}", told(&refusing)),
        _ => meaning,
    };
    let answer = match outcome.verdict {
        _ if !outcome.finished => Answer::error("NoEnd", message),
        Some(Verdict::Passed) => Answer::Held,
        Some(Verdict::Failed) if failed => Answer::Held,
        Some(Verdict::Failed) => Answer::failure(kind, message),
        _ => Answer::error(kind, message),
    };
    Case { name: RAN.to_owned(), ms: facts.since_start(facts.last_seen), answer, seen: String::new() }
}

fn told(findings: &[Finding]) -> String {
    let told = findings.iter().map(|finding| {
        let remedy =
            if finding.remedy.is_empty() { String::new() } else { format!(" (remedy: {})", finding.remedy) };
        format!("{} {}: {}{remedy}", finding.code, finding.subject, finding.message)
    });
    told.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        journal::Entry,
        report::{journals, markup::reader},
    };

    fn chapter(entries: &[Entry]) -> Chapter {
        Chapter::Run(Box::new(Facts::from_entries(entries).expect("a journal")))
    }

    /// Cases of the document, each with what it came to: `failure`, `error`, `skipped` or nothing.
    fn read(document: &str) -> Vec<(String, String)> {
        let elements = reader::read(document).expect("well-formed");
        let mut cases: Vec<(String, String)> = Vec::new();
        for element in elements {
            match element.name.as_str() {
                "testcase" => {
                    let name = element.attribute("name").expect("a name").to_owned();
                    assert!(element.attribute("time").is_some_and(|time| time.parse::<f64>().is_ok()));
                    cases.push((name, String::new()));
                }
                "failure" | "error" | "skipped" => {
                    let last = cases.last_mut().expect("within a case");
                    assert_eq!(last.1, "", "one answer a case");
                    last.1 = element.name;
                }
                _ => {}
            }
        }
        cases
    }

    #[test]
    fn every_journal_reads_as_its_golden_file() {
        for (name, entries) in journals::all() {
            let document = render(&[chapter(&entries)]);
            // What is below is the report as text, which has golden files of its own.
            let (above, below) = document.rsplit_once("<system-out>").expect("the report as text");
            assert!(below.ends_with("</testsuite>\n</testsuites>\n"));
            journals::golden(&format!("{name}.junit.xml"), above);
        }
    }

    #[test]
    fn the_document_says_what_the_exit_code_says() {
        for (name, entries) in journals::all() {
            for end in 1..=entries.len() {
                let chapter = chapter(&entries[..end]);
                let code = chapter.run().and_then(|facts| facts.outcome.exit_code);
                let cases = read(&render(std::slice::from_ref(&chapter)));
                let some = |answer: &str| cases.iter().any(|(_, other)| other == answer);
                let said = (some("failure"), some("error"));
                match code {
                    Some(0) => assert_eq!(said, (false, false), "{name}"),
                    Some(1) => assert_eq!(said, (true, false), "{name}"),
                    _ => assert!(said.1, "{name} up to {end}: {cases:?}"),
                }
            }
        }
    }

    #[test]
    fn each_thing_that_is_judged_is_a_case() {
        let names = |entries: &[Entry]| {
            read(&render(&[chapter(entries)])).into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        let wanted = [
            "hypothesis: availability",
            "hypothesis: replicas",
            "fault seen: lose-half",
            "fault seen: lose-a-node",
            "check: still-two",
            "objective: rto",
            "objective: recoverWithin",
            "everything restored",
            "run to its end",
        ];
        assert_eq!(names(&journals::passed()), wanted);
        // The same cases, whatever becomes of them: a CI system compares by name.
        assert_eq!(names(&journals::failed()), wanted);
        assert_eq!(names(&journals::not_steady()), wanted);
    }

    #[test]
    fn counts_are_those_of_the_cases_and_all_chapters_are_there() {
        let chapters = [
            chapter(&journals::failed()),
            Chapter::Lost { experiment: "b".to_owned(), error: "no cluster".to_owned() },
            Chapter::Skipped {
                experiment: "c".to_owned(),
                why: "an experiment before it did not pass".to_owned(),
            },
        ];
        let document = render(&chapters);
        let cases = read(&document);
        let count = |answer: &str| cases.iter().filter(|(_, other)| other == answer).count().to_string();
        let elements = reader::read(&document).expect("well-formed");
        let root = &elements[0];
        assert_eq!(root.attribute("tests"), Some(cases.len().to_string().as_str()));
        assert_eq!(root.attribute("failures"), Some(count("failure").as_str()));
        assert_eq!(root.attribute("errors"), Some("1"));
        let suites: Vec<_> = elements.iter().filter(|element| element.name == "testsuite").collect();
        assert_eq!(suites.len(), 3);
        assert_eq!(suites[0].attribute("timestamp"), Some("2026-11-24T10:00:00"));
        assert_eq!(suites[0].attribute("time"), Some("120.400"));
        assert_eq!(suites[2].attribute("skipped"), Some("1"));
    }

    #[test]
    fn residue_is_an_error_with_its_remedy() {
        let document = render(&[chapter(&journals::residue())]);
        let elements = reader::read(&document).expect("well-formed");
        let left = elements.iter().find(|element| element.attribute("type") == Some("Residue"));
        assert!(left.is_some_and(|left| left.text.contains("kubectl -n shop scale deployment/orders")));
    }
}
