//! Hand-made journals for tests, and the comparison with golden files.

mod scenarios;

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
        AgentSettings, Epoch, Finding, InjectionId, Length, ObjectRef, RunId, Verdict,
        codes::{guard, hazard},
    },
};

pub(crate) use scenarios::*;

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
        replicas_lost: 0,
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
            approvals: 0,
            asked_by: String::new(),
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
            image: String::new(),
            agents: AgentSettings::default(),
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
            image: String::new(),
            agents: AgentSettings::default(),
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
            alerting: false,
            awaited: false,
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
        self.push(
            secs,
            Record::Reverted { injection: id(injection), outcome, detail: detail.to_owned(), met: None },
        )
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
            Record::InjectIntended {
                step: "lose-half".to_owned(),
                injections: injections.collect(),
                owners: Vec::new(),
            },
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
            Record::InjectIntended {
                step: "lose-a-node".to_owned(),
                injections: vec![drain],
                owners: Vec::new(),
            },
        );
        self.injected(from + 2.0, "lose-a-node.0", "cordoned, 2 pods evicted");
        self.seen(from + 2.4, "lose-a-node.0", "no evictable pod is left on it")
    }
}

fn id(text: &str) -> InjectionId {
    InjectionId(text.to_owned())
}
