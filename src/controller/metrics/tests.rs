use serde_json::Value;

use super::*;
use crate::{
    journal::{Residue, RevertOutcome},
    types::{Epoch, Length, ObjectRef},
};

fn run() -> RunId {
    RunId::new("trial", 1)
}

fn injection(fault: &str, number: usize) -> Injection {
    Injection {
        id: InjectionId::new("step", number),
        fault: fault.to_owned(),
        target: ObjectRef::namespaced("apps/v1", "Deployment", "shop", "web"),
        action: Value::Null,
        before: Value::Null,
        displaced: Vec::new(),
        replicas_lost: 0,
        effect_within: Length::from_secs(1),
        until: Timestamp::UNIX_EPOCH,
    }
}

fn intended(injections: Vec<Injection>) -> Record {
    Record::InjectIntended { step: "step".to_owned(), injections, owners: Vec::new() }
}

fn reverted(number: usize) -> Record {
    let injection = InjectionId::new("step", number);
    Record::Reverted { injection, outcome: RevertOutcome::Restored, detail: String::new(), met: None }
}

fn failed(number: usize) -> Record {
    let injection = InjectionId::new("step", number);
    Record::RevertFailed { injection, error: "no".to_owned(), forbidden: false, attempt: 1 }
}

fn finished(clocks: Clocks, left: &[usize]) -> Record {
    let residue = left.iter().map(|number| Residue {
        injection: InjectionId::new("step", *number),
        target: ObjectRef::namespaced("apps/v1", "Deployment", "shop", "web"),
        what: "still there".to_owned(),
        remedy: "by hand".to_owned(),
    });
    Record::Finished { verdict: Verdict::Failed, clocks, residue: residue.collect() }
}

fn entry(record: Record) -> Entry {
    Entry { seq: 0, at: Timestamp::UNIX_EPOCH, epoch: Epoch(1), record }
}

/// What a sample says.
fn value(metrics: &Metrics, sample: &str) -> String {
    let text = metrics.render();
    let found = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {sample} in\n{text}")).to_owned()
}

#[test]
fn what_is_in_force_goes_back_to_nothing() {
    let metrics = Metrics::default();
    let working = metrics.working(&run());
    let says = |expected: [&str; 4]| {
        let names = ["changes_in_force", "residue", "runs_in_force", "runs_stuck"];
        let said = names.map(|name| value(&metrics, &format!("firedrill_{name}")));
        assert_eq!(said, expected);
    };
    says(["0", "0", "0", "0"]);
    let on = |record| metrics.on(&run(), &entry(record));
    // What is over at once is never in force.
    on(intended(vec![injection("scale", 1), injection("scale", 2), injection("podKill", 3)]));
    says(["2", "0", "1", "0"]);
    on(failed(2));
    on(failed(2));
    says(["2", "1", "1", "1"]);
    on(reverted(1));
    says(["1", "1", "1", "1"]);
    on(reverted(2));
    says(["0", "0", "0", "0"]);
    assert_eq!(value(&metrics, "firedrill_runs_in_progress"), "1");
    // Whoever loses the run in force has nothing in force any more: another replica has.
    on(intended(vec![injection("scale", 4)]));
    says(["1", "0", "1", "0"]);
    drop(working);
    says(["0", "0", "0", "0"]);
    assert_eq!(value(&metrics, "firedrill_runs_in_progress"), "0");
}

#[test]
fn what_a_dead_replica_left_in_force_is_seen_and_what_it_has_ended_is_not_counted_again() {
    let metrics = Metrics::default();
    let _working = metrics.working(&run());
    let open = [intended(vec![injection("scale", 1), injection("scale", 2)]), reverted(1)].map(entry);
    metrics.replay(&run(), &open);
    assert_eq!(value(&metrics, "firedrill_changes_in_force"), "1");
    metrics.replay(&run(), &[entry(finished(Clocks::default(), &[]))]);
    assert_eq!(value(&metrics, "firedrill_changes_in_force"), "0");
    assert_eq!(value(&metrics, "firedrill_runs_total{verdict=\"Failed\"}"), "0");
}

#[test]
fn an_end_counts_its_verdict_and_the_clocks_that_it_has() {
    let metrics = Metrics::default();
    let working = metrics.working(&run());
    metrics.on(&run(), &entry(intended(vec![injection("scale", 1)])));
    let clocks = Clocks { rto_ms: Some(12_500), revert_ms: Some(400), ..Clocks::default() };
    metrics.on(&run(), &entry(finished(clocks, &[1])));
    metrics.ended(Verdict::Refused);
    // It says so for as long as it is at hand here; then the Run's status does.
    assert_eq!(value(&metrics, "firedrill_residue"), "1");
    drop(working);
    assert_eq!(value(&metrics, "firedrill_residue"), "0");
    for (verdict, count) in [("Failed", "1"), ("Refused", "1"), ("Passed", "0"), ("NotSteady", "0")] {
        assert_eq!(value(&metrics, &format!("firedrill_runs_total{{verdict=\"{verdict}\"}}")), count);
    }
    assert_eq!(value(&metrics, "firedrill_run_rto_seconds_sum"), "12.5");
    assert_eq!(value(&metrics, "firedrill_run_rto_seconds_bucket{le=\"10\"}"), "0");
    assert_eq!(value(&metrics, "firedrill_run_rto_seconds_bucket{le=\"20\"}"), "1");
    assert_eq!(value(&metrics, "firedrill_run_revert_seconds_sum"), "0.4");
    assert_eq!(value(&metrics, "firedrill_run_abort_seconds_count"), "0");
}

fn seen(name: &str, spec: Value, status: Value) -> RunSeen {
    let object = serde_json::json!({
        "apiVersion": crate::api::API_VERSION, "kind": "Run",
        "metadata": {"name": name, "namespace": "shop", "uid": name}, "spec": spec, "status": status,
    });
    RunSeen::read(&serde_json::from_value(object).expect("an object")).expect("a Run")
}

#[test]
fn what_waits_is_due_and_nobodys() {
    let spec = |start: &str| serde_json::json!({"experimentRef": {"name": "trial"}, "startTime": start});
    let over = |residue: u64| serde_json::json!({"phase": "Finished", "residue": {"count": residue}});
    let runs = [
        seen("due", spec("2026-01-01T00:00:00Z"), Value::Null),
        seen("later", spec("2026-01-03T00:00:00Z"), Value::Null),
        seen("claimed", spec("2026-01-01T00:00:00Z"), Value::Null),
        seen("here", spec("2026-01-01T00:00:00Z"), Value::Null),
        seen("clean", spec("2026-01-01T00:00:00Z"), over(0)),
        seen("left", spec("2026-01-01T00:00:00Z"), over(2)),
    ];
    let metrics = Metrics::default();
    let _working = metrics.working(&runs[3].id);
    let now: Timestamp = "2026-01-02T00:00:00Z".parse().expect("a time");
    metrics.see(runs.iter(), |run| *run != runs[2].id, now);
    assert_eq!(value(&metrics, "firedrill_runs_waiting"), "1");
    assert_eq!(value(&metrics, "firedrill_finished_runs_with_residue"), "1");
    metrics.see(runs[..0].iter(), |_| true, now);
    assert_eq!(value(&metrics, "firedrill_runs_waiting"), "0");
}

#[test]
fn a_game_day_is_told_until_it_is_forgotten() {
    let metrics = Metrics::default();
    let at: Timestamp = "2026-11-24T10:00:00Z".parse().expect("a time");
    metrics.set_game_day("shop", "weekly", GameDayTold { overdue: true, ..GameDayTold::default() });
    let held = GameDayTold { overdue: false, verdict: Some(Verdict::Passed), succeeded: Some(at) };
    metrics.set_game_day("shop", "monthly", held);
    let place = |name: &str| format!("namespace=\"shop\",name=\"{name}\"");
    let overdue = |name: &str| value(&metrics, &format!("firedrill_gameday_overdue{{{}}}", place(name)));
    assert_eq!([overdue("weekly"), overdue("monthly")], ["1", "0"]);
    let monthly = place("monthly");
    let last = format!("firedrill_gameday_last_success_timestamp_seconds{{{monthly}}}");
    assert_eq!(value(&metrics, &last), at.as_second().to_string());
    let verdict = format!("firedrill_gameday_last_verdict{{{monthly},verdict=\"Passed\"}}");
    assert_eq!(value(&metrics, &verdict), "1");
    // One that was never held has no last.
    assert_eq!(metrics.render().matches("name=\"weekly\"").count(), 1);
    metrics.forget_game_day("shop", "weekly");
    metrics.forget_game_day("shop", "monthly");
    assert!(!metrics.render().contains("name=\""));
}

#[tokio::test(start_paused = true)]
async fn it_lives_as_long_as_its_loop_comes_round() {
    let metrics = Metrics::default();
    assert!(metrics.alive() && !metrics.ready(), "it begins");
    metrics.round(false);
    assert!(metrics.alive() && !metrics.ready(), "it does not know all Runs yet");
    metrics.round(true);
    assert!(metrics.alive() && metrics.ready());
    tokio::time::sleep(HANGS).await;
    assert!(!metrics.alive() && !metrics.ready());
    metrics.round(true);
    assert!(metrics.ready());
}

#[test]
fn the_same_is_told_in_the_same_words_and_every_line_is_a_sample_or_about_one() {
    let metrics = Metrics::default();
    metrics.called("get", "2xx");
    metrics.set_game_day("shop", "weekly", GameDayTold::default());
    let text = metrics.render();
    assert_eq!(text, metrics.render());
    let mut families = BTreeSet::new();
    let mut family = "";
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            family = help.split(' ').next().unwrap_or_default();
            assert!(families.insert(family), "{family} is told twice");
            assert!(help.ends_with('.') && !help.contains('\\'), "{help}");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            assert!(kind.starts_with(&format!("{family} ")), "{kind} after {family}");
        } else {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            let suffix = name.strip_prefix(family).unwrap_or_else(|| panic!("{line} in {family}"));
            assert!(["", "_bucket", "_sum", "_count"].contains(&suffix), "{line}");
            let value = line.rsplit(' ').next().unwrap_or_default();
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
    }
    assert!(families.len() > 15, "{families:?}");
}
