//! The report as a whole, on hand-made journals.

use super::{Chapter, Facts, ReportError, Style, html, ink::hidden, journals, json, markdown, text};
use crate::{
    journal::{Entry, Record},
    types::{Finding, Phase, Verdict, codes::guard, load::LoadTally},
};

fn facts(entries: &[Entry]) -> Facts {
    Facts::from_entries(entries).expect("a journal")
}

#[test]
fn every_journal_reads_as_its_golden_files() {
    for (name, entries) in journals::all() {
        let facts = facts(&entries);
        journals::golden(&format!("{name}.txt"), &text::render(&facts, &Style::default()));
        journals::golden(&format!("{name}.md"), &markdown::render(&facts));
    }
    let ascii = Style { unicode: false, width: 72, ..Style::default() };
    journals::golden("failed-ascii.txt", &text::render(&facts(&journals::failed()), &ascii));
    let colour = Style { colour: true, ..Style::default() };
    journals::golden("failed-colour.txt", &text::render(&facts(&journals::failed()), &colour));
    journals::golden("failed.json", &json::render(&facts(&journals::failed())));
}

#[test]
fn every_prefix_of_every_journal_is_told_truthfully() {
    for (name, entries) in journals::all() {
        for end in 1..entries.len() {
            let facts = facts(&entries[..end]);
            assert!(!facts.outcome.finished, "{name} up to {end}");
            assert_eq!(facts.outcome.exit_code, None, "{name} up to {end}");
            assert!(facts.outcome.message.contains("no end"), "{name} up to {end}");
            let text = text::render(&facts, &Style::default());
            assert!(text.contains("NO END"), "{name} up to {end}");
            let _ = (markdown::render(&facts), json::render(&facts));
        }
    }
}

#[test]
fn a_narrow_terminal_is_written_for() {
    for columns in [40, 50, 61] {
        let narrow = Style { width: columns, ..Style::default() };
        // A hostile file has probes whose names are sentences, which `check` takes none of.
        for (name, entries) in journals::all().into_iter().filter(|(name, _)| *name != "hostile") {
            for line in text::render(&facts(&entries), &narrow).lines() {
                // A word is never broken, and a label stays before the first.
                let long = line.split_whitespace().any(|word| word.chars().count() > columns - 16);
                assert!(line.chars().count() <= columns || long, "{name} in {columns} columns: {line}");
            }
        }
    }
}

#[test]
fn a_step_refused_in_a_rehearsal_sends_nobody_to_a_cluster() {
    let advice = "kubectl get deploy,sts,ds,rs -n shop";
    let finding = || Finding::error(guard::NO_TARGET, "step lose-half", "nobody is there").remedy(advice);
    for (mut journal, sends) in [(journals::Journal::rehearsal(), false), (journals::Journal::real(), true)] {
        journal.push(3.0, Record::StepRefused { step: "lose-half".to_owned(), findings: vec![finding()] });
        let facts = facts(&journal.entries);
        for told in [text::render(&facts, &Style::default()), markdown::render(&facts), json::render(&facts)]
        {
            assert_eq!(told.contains("kubectl"), sends, "{told}");
            assert!(told.contains("in the manifests") != sends, "{told}");
        }
        let page = html::render(&[Chapter::Run(Box::new(facts))]);
        assert_eq!(page.contains("kubectl"), sends, "{page}");
    }
}

#[test]
fn a_load_is_told_with_what_became_of_it() {
    let mut journal = journals::Journal::rehearsal();
    let tally = LoadTally {
        sent: 12_000,
        answered: 11_990,
        timed_out: 10,
        overflowed: 2,
        p50_us: Some(21_000),
        p99_us: Some(180_500),
        longest_us: Some(5_000_000),
        ..LoadTally::default()
    };
    let what = "GET http://checkout.shop.svc/cart, 200 requests/s".to_owned();
    let load = || "shoppers".to_owned();
    journal
        .push(0.0, Record::LoadStarted { load: load(), of_step: false, what })
        .push(60.0, Record::LoadEnded { load: load(), tally: Box::new(tally) });
    let whole = facts(&journal.entries);
    assert_eq!(whole.fault_window, None, "the experiment's own load disturbs nothing");
    let words = "sent 12000, answered 11990, failed 12 (10 out of time, 2 beyond maxInFlight, not sent)";
    let wide = Style { width: 400, ..Style::default() };
    let page = html::render(&[super::Chapter::Run(Box::new(whole.clone()))]);
    for report in [text::render(&whole, &wide), page] {
        assert!(report.contains(words) && report.contains("p99 180.5 ms"), "{report}");
    }
    assert!(markdown::render(&whole).contains("answered 11990"));
    assert!(json::render(&whole).contains("\"timedOut\": 10"));
    // Without its end the load is there all the same.
    let cut = facts(&journal.entries[..journal.entries.len() - 1]);
    assert!(text::render(&cut, &wide).contains("it ended with its runner"));
}

#[test]
fn nothing_to_read_is_an_error() {
    assert_eq!(Facts::from_entries(&[]), Err(ReportError::Empty));
    assert_eq!(Facts::from_entries(&journals::passed()[1..]), Err(ReportError::NoHeader));
}

#[test]
fn a_pass_is_whole() {
    let facts = facts(&journals::passed());
    assert_eq!((facts.outcome.verdict, facts.outcome.exit_code), (Some(Verdict::Passed), Some(0)));
    assert!(facts.violations.is_empty() && facts.residue.is_empty() && facts.in_force.is_empty());
    assert!(facts.objectives.iter().all(|objective| objective.met == Some(true)));
    let availability = facts.probe("availability").expect("a probe");
    // First fault seen in force at 31.8 s: out at 35 s (0.96), in for good at 50 s, as the drain costs nothing.
    assert_eq!((availability.left_ms, availability.back_ms), (Some(3_200), Some(18_200)));
    let fault = availability.fault.expect("samples");
    assert_eq!((fault.min, fault.max, fault.outside), (Some(0.96), Some(1.0), 0));
    assert_eq!(availability.before.map(|before| before.samples), Some(6));
}

#[test]
fn the_first_violation_has_its_value_and_expression() {
    let facts = facts(&journals::failed());
    let first = facts.violations.first().expect("a violation");
    assert_eq!((first.probe.as_str(), first.value), ("availability", Some(0.62)));
    assert_eq!((first.expression.as_str(), first.patience.as_str()), ("value >= 0.95", "for 10s"));
    assert_eq!(facts.objectives[0].met, Some(false));
    assert_eq!(facts.deployed[0].changed, Some(true));
}

#[test]
fn a_signal_without_a_probe_is_not_measured() {
    let facts = facts(&journals::passed());
    let unmeasured: Vec<_> =
        facts.lanes.iter().filter(|lane| lane.probes.is_empty()).map(|lane| lane.signal).collect();
    assert_eq!(unmeasured, [Some(crate::api::Signal::Traffic), Some(crate::api::Signal::Saturation)]);
    assert!(facts.lanes.last().is_some_and(|lane| lane.signal.is_none() && lane.probes == ["replicas"]));
}

#[test]
fn a_dead_runner_leaves_what_may_be_in_force() {
    let facts = facts(&journals::died());
    assert_eq!(facts.outcome.phase, Phase::Observing);
    let open: Vec<_> =
        facts.in_force.iter().map(|open| (open.target.to_string(), open.remedy.clone())).collect();
    // The drain, and not the pods: a killed pod is never put back.
    let remedy = "firedrill rollback checkout-survives-pod-loss-x7k2p".to_owned();
    assert_eq!(open, [("node/n1".to_owned(), remedy)]);
    assert_eq!(facts.fault_window.and_then(|window| window.end), None);
}

#[test]
fn a_decision_without_an_end_is_no_exit_code() {
    let entries = journals::failed();
    let decided =
        entries.iter().position(|entry| matches!(entry.record, Record::Decided { .. })).expect("decided");
    let facts = facts(&entries[..=decided]);
    assert_eq!((facts.outcome.verdict, facts.outcome.exit_code), (Some(Verdict::Failed), None));
    assert_eq!(facts.clocks.detection_ms, Some(48_300));
}

#[test]
fn residue_outranks_the_verdict() {
    let facts = facts(&journals::residue());
    assert_eq!((facts.outcome.verdict, facts.outcome.exit_code), (Some(Verdict::Aborted), Some(6)));
}

#[test]
fn a_file_that_cannot_be_decoded_costs_details_only() {
    let mut entries = journals::failed();
    if let Record::RunStarted(header) = &mut entries[0].record {
        header.experiment["spec"]["steadyState"] = serde_json::json!("of a later version");
    }
    let facts = facts(&entries);
    assert_eq!(facts.outcome.verdict, Some(Verdict::Failed));
    assert_eq!(facts.probes.len(), 3);
    assert!(facts.notes[0].text.contains("cannot be decoded"));
    assert!(facts.hypothesis.starts_with("Checkout keeps"));
}

#[test]
fn nothing_from_outside_reaches_a_terminal_as_it_is() {
    let facts = facts(&journals::hostile());
    let style = Style::default();
    for (kind, text) in [
        ("text", text::render(&facts, &style)),
        ("ascii", text::render(&facts, &Style { unicode: false, ..style })),
        ("markdown", markdown::render(&facts)),
        ("json", json::render(&facts)),
    ] {
        let raw = text.chars().find(|&c| c != '\n' && hidden(c));
        assert_eq!(raw, None, "{kind}");
    }
    assert!(text::render(&facts, &Style { unicode: false, ..style }).is_ascii());
    let markdown = markdown::render(&facts);
    let prose = markdown.lines().map(without_code).collect::<Vec<_>>().join("\n");
    for markup in ["<script", " @ops", "[a]("] {
        assert!(!prose.contains(markup), "{markup}");
    }
    assert!(!markdown.lines().any(|line| line.starts_with("# heading")));
    // A table's row has as many cells as its head, whatever is in them.
    for table in markdown.split("\n\n").filter(|block| block.starts_with("| ")) {
        let cells = |line: &str| line.replace("\\|", "").matches('|').count();
        let head = table.lines().next().map(cells);
        assert!(table.lines().all(|line| Some(cells(line)) == head), "{table}");
    }
}

/// A line of Markdown without its code spans (fences of any length).
fn without_code(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line.to_owned();
    while let Some(start) = rest.find('`').filter(|&start| !rest[..start].ends_with('\\')) {
        out.push_str(&rest[..start]);
        let ticks: String = rest[start..].chars().take_while(|&c| c == '`').collect();
        let after = rest[start + ticks.len()..].to_owned();
        let Some(end) = after.find(&ticks) else { return out + &after };
        rest = after[end + ticks.len()..].to_owned();
    }
    out + &rest
}

#[test]
fn json_reads_back_with_what_was_said() {
    let facts = facts(&journals::hostile());
    let value: serde_json::Value = serde_json::from_str(&json::render(&facts)).expect("JSON");
    assert_eq!(value["schemaVersion"], 1);
    assert_eq!(value["outcome"]["exitCode"], 6);
    // Nothing is lost by the escapes.
    assert_eq!(value["outcome"]["message"].as_str(), Some(facts.outcome.message.as_str()));
    let samples = value["probes"]
        .as_array()
        .map(|probes| probes.iter().filter_map(|p| p["samples"].as_array()).map(Vec::len).sum::<usize>());
    assert_eq!(samples, Some(2));
}

#[test]
fn many_targets_make_few_sentences_and_the_odd_ones_their_own() {
    let facts = facts(&journals::hundred());
    let told: Vec<&str> = facts.timeline.iter().map(|event| event.text.as_str()).collect();
    assert_eq!(told.len(), 8, "{told:#?}");
    assert!(told.iter().any(|text| text.contains("checkout-7d9c5b-00099 was gone")));
    assert!(told.iter().any(|text| text.starts_with("no effect seen on pod/shop/checkout-7d9c5b-00007")));
    assert!(told.iter().any(|text| text.contains("99 of 100 targets")));
    assert!(told.iter().any(|text| text.contains("seen in force on 98 targets after 500ms")));
    let text = text::render(&facts, &Style::default());
    assert!(text.contains("and 90 more"));
    assert!(text.contains("no effect seen: it still serves after 1m"));
}

#[test]
fn an_abort_in_the_middle_says_how_far_it_was() {
    let mut entries = journals::residue();
    let last =
        entries.iter().rposition(|entry| matches!(entry.record, Record::Injected { .. })).expect("injected");
    entries.remove(last);
    let told = facts(&entries).timeline;
    assert!(told.iter().any(|event| event.text == "shrink: 2 of 3 targets when this came"), "{told:#?}");
}
