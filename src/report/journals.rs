//! Hand-made journals for tests, and the comparison with golden files.

use std::{collections::BTreeMap, path::Path, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    faults::Injection,
    journal::{
        CheckOutcome, Clocks, Deployed, Entry, Environment, Header, InjectOutcome, Moment, ProbeStats,
        Record, Residue, RevertOutcome, SampleState, StopReason,
    },
    types::{
        Epoch, Finding, InjectionId, Length, ObjectRef, RunId, Verdict,
        codes::{guard, hazard},
    },
};

/// Compares `text` with `src/report/testdata/NAME`, or writes it there when `UPDATE_GOLDEN=1`.
pub(crate) fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/report/testdata").join(name);
    if std::env::var("UPDATE_GOLDEN").is_ok_and(|value| value == "1") {
        std::fs::write(&path, text).expect("the golden file can be written");
    }
    let wanted = std::fs::read_to_string(&path).expect("the golden file is there; UPDATE_GOLDEN=1 writes it");
    assert!(wanted == text, "{name} differs; UPDATE_GOLDEN=1 rewrites it. Now it is:\n{text}");
}

/// A journal being made; `at` counts seconds from its start.
pub(crate) struct Journal {
    pub(crate) entries: Vec<Entry>,
    at: Timestamp,
}

const RUN: &str = "checkout-survives-pod-loss-x7k2p";

/// The experiment of most journals, as `check` hands it on.
pub(crate) fn experiment() -> Value {
    json!({
        "apiVersion": "firedrill.dev/v1alpha1",
        "kind": "Experiment",
        "metadata": {"name": "checkout-survives-pod-loss", "namespace": "shop"},
        "spec": {
            "hypothesis": "Checkout keeps serving while half of its pods are killed, and heals within a minute.",
            "steadyState": [
                {"name": "availability", "signal": "Errors", "description": "share of requests that did not fail",
                 "prometheus": {"query": "sum(rate(http_requests_total{app=\"checkout\",code!~\"5..\"}[1m]))\n  / sum(rate(http_requests_total{app=\"checkout\"}[1m]))\n"},
                 "expect": "value >= 0.99", "during": "value >= 0.95", "every": "5s", "for": "10s"},
                {"name": "p99", "signal": "Latency", "role": "Informational",
                 "prometheus": {"query": "histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket[1m])))"}},
                {"name": "replicas", "kubernetes": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"},
                 "value": "object.status.readyReplicas", "expect": "value >= 4", "during": "value >= 2", "every": "5s", "for": "10s"},
            ],
            "baseline": {"duration": "30s"},
            "method": [
                {"name": "lose-half", "target": {"workload": "deployment/checkout", "count": "50%"}, "podKill": {"gracePeriod": "0s"}},
                {"wait": "30s"},
                {"name": "lose-a-node", "target": {"nodes": {"matchLabels": {"pool": "shop"}}, "count": 1}, "nodeDrain": {}, "duration": "30s"},
                {"name": "still-two", "check": {"probe": "replicas", "expect": "value >= 2", "within": "1m"}},
            ],
            "objectives": {"rto": "1m", "recoverWithin": "2m"},
            "limits": {"pods": "60%", "duration": "15m"},
        },
    })
}

fn stats(value: f64, low: f64) -> ProbeStats {
    ProbeStats {
        min: low,
        max: value,
        mean: value,
        p50: value,
        p95: value,
        p99: value,
        first: value,
        last: value,
        count: 7,
    }
}

fn deployed(revision: &str, digest: &str) -> Vec<Deployed> {
    vec![Deployed {
        workload: ObjectRef::namespaced("apps/v1", "Deployment", "shop", "checkout"),
        revision: Some(revision.to_owned()),
        images: vec![format!("registry.example.com/checkout@sha256:{digest}")],
        commit: Some("4f1c2aa".to_owned()),
    }]
}

fn injection(step: &str, number: usize, fault: &str, target: ObjectRef) -> Injection {
    let (action, before) = match fault {
        "podKill" => (json!({"gracePeriod": "0s"}), Value::Null),
        "nodeDrain" => (json!({"evict": 2}), json!({"unschedulable": false})),
        _ => (json!({"replicas": 1}), json!({"replicas": 4})),
    };
    Injection {
        id: InjectionId::new(step, number),
        fault: fault.to_owned(),
        target,
        action,
        before,
        displaced: Vec::new(),
        effect_within: Length::from_secs(60),
        until: Timestamp::UNIX_EPOCH + Duration::from_secs(1_795_000_000),
    }
}

/// A pod of checkout.
pub(crate) fn pod(name: &str) -> ObjectRef {
    ObjectRef::pod("shop", &format!("checkout-7d9c5b-{name}")).with_uid(&format!("uid-{name}"))
}

fn start() -> Timestamp {
    "2026-11-24T10:00:00Z".parse().expect("a timestamp")
}

impl Journal {
    /// One that begins with `experiment`.
    pub(crate) fn of(experiment: Value, environment: Environment) -> Self {
        let mut journal = Self { entries: Vec::new(), at: start() };
        let header = Header {
            run: RunId::parse(RUN).expect("a name"),
            version: "0.1.0".to_owned(),
            experiment,
            file: "experiments/checkout-survives-pod-loss.yaml".to_owned(),
            seed: 7,
            by: "ada@example.com".to_owned(),
            holder: "workstation/4242".to_owned(),
            environment,
            namespace: "shop".to_owned(),
            namespaces: vec!["shop".to_owned()],
            limits: BTreeMap::from([
                ("pods".to_owned(), "60%".to_owned()),
                ("duration".to_owned(), "15m".to_owned()),
            ]),
            metrics: "the embedded cluster".to_owned(),
            server_ahead_ms: 0,
        };
        journal.push(0.0, Record::RunStarted(Box::new(header)));
        journal
    }

    /// A rehearsal of [`experiment`].
    pub(crate) fn rehearsal() -> Self {
        let environment = Environment {
            cluster: "embedded".to_owned(),
            server: "http://embedded".to_owned(),
            context: String::new(),
            version: "v1.36.3".to_owned(),
            rehearsal: true,
        };
        Self::of(experiment(), environment)
    }

    /// A real run of [`experiment`].
    pub(crate) fn real() -> Self {
        let environment = Environment {
            cluster: "staging-eu-1".to_owned(),
            server: "https://api.staging.example.com:6443".to_owned(),
            context: "ada@staging-eu-1".to_owned(),
            version: "v1.36.3".to_owned(),
            rehearsal: false,
        };
        Self::of(experiment(), environment)
    }

    /// One more record, `secs` after the start.
    pub(crate) fn push(&mut self, secs: f64, record: Record) -> &mut Self {
        self.at = start() + Duration::from_secs_f64(secs);
        let seq = self.entries.len() as u64;
        self.entries.push(Entry { seq, at: self.at, epoch: Epoch(1), record });
        self
    }

    /// A sample as the judge of [`experiment`] would record it.
    pub(crate) fn sample(&mut self, secs: f64, probe: &str, value: Option<f64>) -> &mut Self {
        let guarded = self.entries.iter().any(|entry| matches!(entry.record, Record::InjectIntended { .. }));
        let (expect, during) = match (probe, value) {
            ("availability", Some(value)) => (Some(value >= 0.99), Some(value >= 0.95)),
            ("replicas", Some(value)) => (Some(value >= 4.0), Some(value >= 2.0)),
            _ => (None, None),
        };
        let state = match (value, if guarded { during } else { expect }) {
            (None, _) => SampleState::Missing,
            (_, Some(true)) => SampleState::Within,
            (_, Some(false)) => SampleState::Outside,
            (_, None) => SampleState::Recorded,
        };
        let note = if value.is_none() { "the query gave no series" } else { "" };
        let record = Record::Sampled {
            probe: probe.to_owned(),
            state,
            value,
            expect,
            during,
            check: None,
            note: note.to_owned(),
        };
        self.push(secs, record)
    }

    /// All three probes every five seconds over `range`.
    fn samples(&mut self, range: std::ops::Range<u32>, availability: f64, replicas: f64) -> &mut Self {
        for secs in range.step_by(5) {
            let secs = f64::from(secs);
            self.sample(secs, "availability", Some(availability)).sample(
                secs,
                "p99",
                Some(0.12 + (1.0 - availability)),
            );
            self.sample(secs, "replicas", Some(replicas));
        }
        self
    }

    fn planned(&mut self) -> &mut Self {
        let hazard = Finding::warning(
            hazard::PDB_BYPASSED,
            "pod/shop/checkout-7d9c5b-bbbbb",
            "podKill does not ask poddisruptionbudget/shop/checkout",
        )
        .remedy("use podEvict to stay within the budget");
        self.push(0.2, Record::Planned { findings: vec![hazard], earliest_abort_ms: 75_000, calls: 46 });
        self.push(0.3, Record::DeployedSeen { moment: Moment::Before, workloads: deployed("3", "aa11") });
        self.push(0.4, Record::BaselineStarted {})
    }

    fn baseline(&mut self) -> &mut Self {
        self.samples(1..31, 1.0, 4.0);
        let stats = BTreeMap::from([
            ("availability".to_owned(), stats(1.0, 0.9985)),
            ("p99".to_owned(), stats(0.12, 0.12)),
            ("replicas".to_owned(), stats(4.0, 4.0)),
        ]);
        self.push(30.5, Record::BaselineHeld { stats })
    }

    fn started(&mut self, secs: f64, step: &str) -> &mut Self {
        self.push(secs, Record::StepStarted { step: step.to_owned() })
    }

    fn ended(&mut self, secs: f64, step: &str) -> &mut Self {
        self.push(secs, Record::StepEnded { step: step.to_owned() })
    }

    fn injected(&mut self, secs: f64, injection: &str, detail: &str) -> &mut Self {
        let outcome = InjectOutcome::Done;
        self.push(secs, Record::Injected { injection: id(injection), outcome, detail: detail.to_owned() })
    }

    fn seen(&mut self, secs: f64, injection: &str, evidence: &str) -> &mut Self {
        self.push(secs, Record::EffectSeen { injection: id(injection), evidence: evidence.to_owned() })
    }

    fn reverting(&mut self, secs: f64, injections: &[&str]) -> &mut Self {
        let injections = injections.iter().map(|injection| id(injection)).collect();
        self.push(secs, Record::RevertStarted { injections })
    }

    fn reverted(&mut self, secs: f64, injection: &str, outcome: RevertOutcome, detail: &str) -> &mut Self {
        self.push(secs, Record::Reverted { injection: id(injection), outcome, detail: detail.to_owned() })
    }

    fn decided(&mut self, secs: f64, verdict: Verdict, reason: &str, message: &str) -> &mut Self {
        self.push(secs, Record::Decided { verdict, reason: reason.to_owned(), message: message.to_owned() })
    }

    fn finished(&mut self, secs: f64, verdict: Verdict, clocks: Clocks, residue: Vec<Residue>) -> &mut Self {
        self.push(secs, Record::Finished { verdict, clocks, residue })
    }

    fn kill_half(&mut self) -> &mut Self {
        self.started(31.0, "lose-half");
        let injections = ["bbbbb", "ccccc"]
            .into_iter()
            .enumerate()
            .map(|(n, name)| injection("lose-half", n, "podKill", pod(name)));
        self.push(
            31.1,
            Record::InjectIntended { step: "lose-half".to_owned(), injections: injections.collect() },
        );
        self.injected(31.2, "lose-half.0", "deleted, grace period 0s");
        self.injected(31.25, "lose-half.1", "deleted, grace period 0s");
        self.seen(31.8, "lose-half.0", "its UID is gone, and gone from all endpoints");
        self.seen(31.9, "lose-half.1", "its UID is gone, and gone from all endpoints");
        self.ended(32.0, "lose-half");
        self.started(32.0, "step-2")
    }

    fn drain(&mut self, from: f64) -> &mut Self {
        self.started(from, "lose-a-node");
        let mut drain = injection("lose-a-node", 0, "nodeDrain", ObjectRef::node("n1").with_uid("uid-n1"));
        drain.displaced = vec![pod("ddddd"), ObjectRef::pod("shop", "cart-5f6d7-kkkkk")];
        self.push(
            from + 0.1,
            Record::InjectIntended { step: "lose-a-node".to_owned(), injections: vec![drain] },
        );
        self.injected(from + 2.0, "lose-a-node.0", "cordoned, 2 pods evicted");
        self.seen(from + 2.4, "lose-a-node.0", "no evictable pod is left on it")
    }
}

fn id(text: &str) -> InjectionId {
    InjectionId(text.to_owned())
}

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
    journal.push(80.4, Record::RevertFailed { injection: id("lose-a-node.0"), error, attempt: 1 });
    journal.reverted(81.3, "lose-a-node.0", RevertOutcome::Restored, "uncordoned").ended(81.3, "lose-a-node");
    journal.push(81.4, Record::AllReverted { residue: Vec::new() });
    journal.samples(85..110, 0.7, 2.0).samples(110..125, 1.0, 4.0);
    journal.push(120.2, Record::Recovered { since: start() + Duration::from_secs(110) });
    journal.push(120.3, Record::DeployedSeen { moment: Moment::After, workloads: deployed("4", "bb22") });
    let clocks = Clocks {
        detection_ms: Some(48_300),
        abort_ms: Some(1_300),
        revert_ms: Some(1_200),
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
    journal
        .push(31.1, Record::InjectIntended { step: "shrink".to_owned(), injections: injections.collect() });
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
            Record::RevertFailed { injection: id("shrink.2"), error: error.clone(), attempt },
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
        journal.push(1.1, Record::InjectIntended { step: "lose-half".to_owned(), injections });
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
    journal.push(3.0, Record::InjectIntended { step: EVIL.to_owned(), injections: vec![evil] });
    journal.injected(4.0, &evil_id.0, EVIL).seen(5.0, &evil_id.0, EVIL).reverting(6.0, &[&evil_id.0]);
    journal
        .push(6.5, Record::RevertFailed { injection: evil_id.clone(), error: EVIL.to_owned(), attempt: 1 });
    journal.reverted(7.0, &evil_id.0, RevertOutcome::ChangedSince, EVIL);
    journal.push(7.5, Record::StepRefused { step: "lose-a-node".to_owned(), findings: vec![finding] });
    journal.push(8.0, Record::Violated { probe: EVIL.to_owned(), since: start(), missing: true });
    journal.push(8.0, Record::StopRequested { reason: StopReason::Signal, by: EVIL.to_owned() });
    journal.push(8.5, Record::Noted { text: EVIL.to_owned() });
    journal.push(
        8.6,
        Record::OwnerChanged { holder: EVIL.to_owned(), by: EVIL.to_owned(), why: EVIL.to_owned() },
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
