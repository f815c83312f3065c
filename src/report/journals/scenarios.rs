//! The journals.

use super::*;

/// Everything goes well.
pub(crate) fn passed() -> Vec<Entry> {
    let mut journal = Journal::rehearsal();
    journal.planned().baseline().kill_half();
    journal
        .samples(35..40, 0.96, 2.0)
        .samples(40..50, 0.98, 3.0)
        .samples(50..62, 1.0, 4.0)
        .ended(62.0, "step-2");
    journal.drain(62.0).samples(65..75, 0.995, 3.0).samples(75..95, 1.0, 4.0);
    journal.reverting(94.5, &["lose-a-node.0"]);
    journal.reverted(94.9, "lose-a-node.0", RevertOutcome::Restored, "uncordoned");
    journal.ended(95.0, "lose-a-node").started(95.0, "still-two").samples(95..96, 1.0, 4.0);
    let detail = "replicas is 4".to_owned();
    journal.push(95.2, Record::Checked { step: "still-two".to_owned(), outcome: CheckOutcome::Held, detail });
    journal.ended(95.2, "still-two").push(95.3, Record::MethodEnded {});
    journal.push(95.4, Record::AllReverted { residue: Vec::new() }).samples(100..111, 1.0, 4.0);
    let since = start() + Duration::from_secs(75);
    journal.push(110.2, Record::Recovered { since });
    journal.push(110.3, Record::DeployedSeen { moment: Moment::After, workloads: deployed("3", "aa11") });
    journal.decided(
        110.4,
        Verdict::Passed,
        "HypothesisHeld",
        "the hypothesis held and every objective was met",
    );
    let clocks = Clocks {
        rto_ms: Some(43_200),
        recovery_ms: Some(0),
        revert_ms: Some(400),
        resolution_ms: Some(5_000),
        ..Clocks::default()
    };
    journal.finished(110.5, Verdict::Passed, clocks, Vec::new()).entries.clone()
}

/// Normal is lost during a drain: abort, revert, slow recovery.
pub(crate) fn failed() -> Vec<Entry> {
    let mut journal = Journal::real();
    journal.planned().baseline().kill_half().samples(35..62, 1.0, 4.0).ended(62.0, "step-2");
    journal.drain(62.0).samples(65..70, 0.97, 3.0).samples(70..81, 0.62, 1.0);
    let since = start() + Duration::from_secs(70);
    journal.push(80.1, Record::Violated { probe: "availability".to_owned(), since, missing: false });
    journal.push(80.1, Record::Violated { probe: "replicas".to_owned(), since, missing: false });
    journal.decided(80.1, Verdict::Failed, "Violated", "availability was outside value >= 0.95 for 10s");
    journal.push(80.1, Record::StopRequested { reason: StopReason::Violated, by: "availability".to_owned() });
    journal.reverting(80.1, &["lose-a-node.0"]);
    let error = "uncordoning node/n1: the API server answered 503".to_owned();
    journal.push(
        80.4,
        Record::RevertFailed { injection: id("lose-a-node.0"), error, forbidden: false, attempt: 1 },
    );
    journal.reverted(81.3, "lose-a-node.0", RevertOutcome::Restored, "uncordoned").ended(81.3, "lose-a-node");
    journal.push(81.4, Record::AllReverted { residue: Vec::new() });
    journal.samples(85..110, 0.7, 2.0).samples(110..125, 1.0, 4.0);
    journal.push(120.2, Record::Recovered { since: start() + Duration::from_secs(110) });
    journal.push(120.3, Record::DeployedSeen { moment: Moment::After, workloads: deployed("4", "bb22") });
    let clocks = Clocks {
        detection_ms: Some(48_300),
        alert_ms: None,
        abort_ms: Some(1_300),
        revert_ms: Some(1_200),
        rpo_ms: None,
        rto_ms: Some(78_200),
        recovery_ms: Some(28_700),
        resolution_ms: Some(5_000),
    };
    journal.finished(120.4, Verdict::Failed, clocks, Vec::new()).entries.clone()
}

/// Not normal to begin with.
pub(crate) fn not_steady() -> Vec<Entry> {
    let mut journal = Journal::real();
    journal.planned().samples(1..16, 0.91, 4.0);
    journal.decided(
        16.0,
        Verdict::NotSteady,
        "NotSteady",
        "availability is 0.91 and expect is value >= 0.99; nothing was changed",
    );
    journal.finished(
        16.1,
        Verdict::NotSteady,
        Clocks { resolution_ms: Some(5_000), ..Clocks::default() },
        Vec::new(),
    );
    journal.entries
}

/// The metrics go away while a fault is in force.
pub(crate) fn no_data() -> Vec<Entry> {
    let mut journal = Journal::real();
    journal.planned().baseline().kill_half().samples(35..40, 0.97, 2.0);
    for secs in [40.0, 45.0, 50.0] {
        journal.sample(secs, "availability", None).sample(secs, "replicas", Some(3.0));
    }
    let since = start() + Duration::from_secs(40);
    journal.push(50.1, Record::Violated { probe: "availability".to_owned(), since, missing: true });
    journal.push(50.1, Record::StopRequested { reason: StopReason::NoData, by: "availability".to_owned() });
    journal.decided(50.1, Verdict::Inconclusive, "NoData", "availability had no data for 10s");
    journal.push(50.2, Record::AllReverted { residue: Vec::new() });
    journal.push(170.2, Record::NotRecovered { probes: vec!["availability".to_owned()] });
    let clocks = Clocks { resolution_ms: Some(5_000), ..Clocks::default() };
    journal.finished(170.4, Verdict::Inconclusive, clocks, Vec::new()).entries.clone()
}

/// Aborted by hand; one of three scaled workloads cannot be put back, one was changed by somebody.
pub(crate) fn residue() -> Vec<Entry> {
    let mut file = experiment();
    file["spec"]["method"] = json!([
        {"name": "shrink", "target": {"workload": "deployment/checkout"}, "scale": {"replicas": 1}, "duration": "2m"},
    ]);
    let mut journal =
        Journal::of(file, Environment { cluster: "staging-eu-1".to_owned(), ..Environment::default() });
    journal.planned().baseline().started(31.0, "shrink");
    let names = ["checkout", "cart", "orders"];
    let workload = |name: &str| ObjectRef::namespaced("apps/v1", "Deployment", "shop", name).with_uid(name);
    let injections =
        names.iter().enumerate().map(|(n, name)| injection("shrink", n, "scale", workload(name)));
    journal.push(
        31.1,
        Record::InjectIntended {
            step: "shrink".to_owned(),
            injections: injections.collect(),
            owners: Vec::new(),
        },
    );
    for n in 0..3 {
        journal.injected(31.5, &format!("shrink.{n}"), "replicas 4 → 1");
    }
    for n in 0..3 {
        journal.seen(33.0, &format!("shrink.{n}"), "status.readyReplicas is 1");
    }
    journal.push(
        40.0,
        Record::StopRequested { reason: StopReason::UserAbort, by: "grace@example.com".to_owned() },
    );
    journal.decided(40.0, Verdict::Aborted, "UserAbort", "grace@example.com aborted it");
    journal.reverting(40.0, &["shrink.0", "shrink.1", "shrink.2"]);
    journal.reverted(40.4, "shrink.0", RevertOutcome::Restored, "replicas 1 → 4");
    journal.reverted(40.5, "shrink.1", RevertOutcome::ChangedSince, "replicas is 6, set by kubectl since");
    let error = "scaling deployment/shop/orders back to 4: forbidden".to_owned();
    for attempt in 1..=3 {
        journal.push(
            40.0 + f64::from(attempt),
            Record::RevertFailed {
                injection: id("shrink.2"),
                error: error.clone(),
                forbidden: true,
                attempt,
            },
        );
    }
    let left = vec![Residue {
        injection: id("shrink.2"),
        target: workload("orders"),
        what: "replicas is 1 and was 4; the right to patch deployments/scale was withdrawn".to_owned(),
        remedy: "kubectl -n shop scale deployment/orders --replicas=4".to_owned(),
    }];
    journal.push(640.0, Record::AllReverted { residue: left.clone() });
    let clocks = Clocks { revert_ms: Some(600_000), resolution_ms: Some(5_000), ..Clocks::default() };
    journal.finished(640.2, Verdict::Aborted, clocks, left).entries.clone()
}

/// The runner dies with a drain in force.
pub(crate) fn died() -> Vec<Entry> {
    let mut journal = Journal::real();
    journal.planned().baseline().kill_half().samples(35..62, 1.0, 4.0).ended(62.0, "step-2");
    journal.drain(62.0).samples(65..75, 0.97, 3.0);
    journal.entries
}

/// A hundred pods killed, in two records of intent; one was gone, one shows no effect, answers are mixed up.
pub(crate) fn hundred() -> Vec<Entry> {
    let mut journal = Journal::rehearsal();
    journal.started(1.0, "lose-half");
    for chunk in [0..50, 50..100] {
        let injections =
            chunk.map(|n| injection("lose-half", n, "podKill", pod(&format!("{n:05}")))).collect();
        journal.push(
            1.1,
            Record::InjectIntended { step: "lose-half".to_owned(), injections, owners: Vec::new() },
        );
    }
    for n in 0..99 {
        journal.injected(1.5, &format!("lose-half.{n}"), "deleted, grace period 0s");
        if n != 7 {
            journal.seen(1.6, &format!("lose-half.{n}"), "its UID is gone, and gone from all endpoints");
        }
    }
    let injection = id("lose-half.99");
    journal
        .push(1.7, Record::Injected { injection, outcome: InjectOutcome::TargetGone, detail: String::new() });
    let why = "it still serves after 1m".to_owned();
    journal.push(61.1, Record::EffectMissed { injection: id("lose-half.7"), why });
    journal.entries
}

/// Names and messages by somebody who means no good.
pub(crate) fn hostile() -> Vec<Entry> {
    const EVIL: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}x|y`z` <script>alert(1)</script> [a](http://evil) *b* _c_ @ops \u{202e}txt\r\n# heading\u{9b}31m";
    let mut file = experiment();
    file["metadata"]["name"] = json!(EVIL);
    file["spec"]["hypothesis"] = json!(format!("- {EVIL}"));
    file["spec"]["steadyState"][0]["description"] = json!(EVIL);
    file["spec"]["steadyState"][0]["prometheus"]["query"] = json!(EVIL);
    file["spec"]["steadyState"][0]["expect"] = json!(EVIL);
    file["spec"]["method"][0]["description"] = json!(EVIL);
    file["spec"]["method"][0]["name"] = json!(EVIL);
    let environment =
        Environment { cluster: EVIL.to_owned(), server: EVIL.to_owned(), ..Environment::default() };
    let mut journal = Journal::of(file, environment);
    let finding = Finding::error(guard::NO_RIGHT, EVIL, EVIL).remedy(EVIL);
    let unknown = Finding::warning(crate::types::Code(EVIL.to_owned().into()), EVIL, EVIL);
    journal.push(
        1.0,
        Record::Planned { findings: vec![finding.clone(), unknown], earliest_abort_ms: 0, calls: 0 },
    );
    journal.started(2.0, EVIL).sample(2.0, EVIL, None).sample(2.0, "availability", Some(0.5));
    let target = ObjectRef::namespaced(EVIL, EVIL, EVIL, EVIL);
    let mut evil = injection(EVIL, 0, EVIL, target.clone());
    evil.displaced = vec![target.clone()];
    let evil_id = evil.id.clone();
    journal.push(
        3.0,
        Record::InjectIntended { step: EVIL.to_owned(), injections: vec![evil], owners: Vec::new() },
    );
    journal.injected(4.0, &evil_id.0, EVIL).seen(5.0, &evil_id.0, EVIL).reverting(6.0, &[&evil_id.0]);
    journal.push(
        6.5,
        Record::RevertFailed {
            injection: evil_id.clone(),
            error: EVIL.to_owned(),
            forbidden: false,
            attempt: 1,
        },
    );
    journal.reverted(7.0, &evil_id.0, RevertOutcome::ChangedSince, EVIL);
    journal.push(7.5, Record::StepRefused { step: "lose-a-node".to_owned(), findings: vec![finding] });
    journal.push(8.0, Record::Violated { probe: EVIL.to_owned(), since: start(), missing: true });
    journal.push(8.0, Record::StopRequested { reason: StopReason::Signal, by: EVIL.to_owned() });
    journal.push(8.5, Record::Noted { text: EVIL.to_owned(), written: None });
    journal.push(
        8.6,
        Record::OwnerChanged {
            holder: EVIL.to_owned(),
            by: EVIL.to_owned(),
            why: EVIL.to_owned(),
            goes_on: false,
        },
    );
    let mut seen = deployed(EVIL, EVIL);
    seen[0].commit = Some(EVIL.to_owned());
    journal.push(8.7, Record::DeployedSeen { moment: Moment::After, workloads: seen });
    journal.push(8.8, Record::NotRecovered { probes: vec![EVIL.to_owned()] });
    journal.decided(9.0, Verdict::Aborted, EVIL, EVIL);
    let residue = Residue { injection: evil_id, target, what: EVIL.to_owned(), remedy: EVIL.to_owned() };
    journal.finished(9.5, Verdict::Aborted, Clocks::default(), vec![residue]).entries.clone()
}

/// All of them, by name.
pub(crate) fn all() -> Vec<(&'static str, Vec<Entry>)> {
    vec![
        ("passed", passed()),
        ("failed", failed()),
        ("not-steady", not_steady()),
        ("no-data", no_data()),
        ("residue", residue()),
        ("died", died()),
        ("hostile", hostile()),
    ]
}
