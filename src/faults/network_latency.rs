//! `networkLatency`: packets of pods that take longer.

use std::time::Duration;

use serde::Deserialize;

use super::{
    FaultInfo, Lifetime, LimitKind, TargetKind,
    agent_pod::DELAY_MAX,
    network::{self, Disturb, Disturbing, FROM, PORTS, PROTOCOL, TO, field},
};
use crate::{
    agent::wire::{Distribution, Effect},
    types::{
        FieldSchema, Finding, Length,
        codes::{guard, hazard},
    },
};

/// See [`INFO`].
pub static FAULT: Disturbing<Latency> = Disturbing::new();

/// Packets take longer.
pub static INFO: FaultInfo = FaultInfo {
    name: "networkLatency",
    summary: "Have what pods send, or receive from some peers, take longer.",
    example: "name: slow-database\ntarget: {workload: deployment/checkout, count: 50%, follow: true}\nnetworkLatency: {to: [{service: postgres}], ports: [5432], delay: 200ms, jitter: 20ms}\nduration: 2m\n",
    lifetime: Lifetime::Lasting,
    targets: &[TargetKind::Pods, TargetKind::WorkloadPods],
    limits: &[LimitKind::Pods, LimitKind::DegradedPods],
    writes: &[],
    agent: true,
    fields: &[
        TO,
        FROM,
        PORTS,
        PROTOCOL,
        FieldSchema {
            required: true,
            ..field(
                "delay",
                "duration",
                "How much longer, on average; up to 1m. From 10s on it counts as a cut.",
            )
        },
        FieldSchema {
            default: Some("0s"),
            ..field("jitter", "duration", "By how much that varies; at most the delay.")
        },
        FieldSchema {
            default: Some("0%"),
            ..field("correlation", "percent", "How much one packet's delay resembles the last one's.")
        },
        FieldSchema {
            default: Some("Normal"),
            ..field(
                "distribution",
                r#"{"type":"string","enum":["Normal","Uniform","Pareto"]}"#,
                "How it varies.",
            )
        },
    ],
    rights: &network::RIGHTS,
    hazards: &[hazard::ROOT_ON_NODE],
};

/// The fields of its own, as in the file.
#[derive(Deserialize)]
pub struct Latency {
    delay: Length,
    #[serde(default)]
    jitter: Length,
    #[serde(default)]
    correlation: Option<network::Share>,
    #[serde(default)]
    distribution: Distribution,
}

impl Disturb for Latency {
    const INFO: &'static FaultInfo = &INFO;

    fn effect(&self) -> Effect {
        let micros = |length: Length| u64::try_from(length.0.as_micros()).unwrap_or(u64::MAX);
        Effect::Latency {
            delay_us: micros(self.delay),
            jitter_us: micros(self.jitter),
            correlation_percent: self.correlation.as_ref().map_or(0.0, |share| share.percent()),
            distribution: self.distribution,
        }
    }

    fn lint(&self) -> Vec<Finding> {
        let refused = |field: &str, why: String, remedy: &str| {
            Finding::error(guard::FIELDS, format!("{}.{field}", INFO.name), why).remedy(remedy)
        };
        let Self { delay, jitter, .. } = *self;
        let mut findings = Vec::new();
        if delay.0 > DELAY_MAX {
            let why = format!("a delay of {delay} is above what an agent allows, {}", Length(DELAY_MAX));
            findings.push(refused(
                "delay",
                why,
                "ask for less; what takes so long is as good as networkPartition",
            ));
        }
        if delay.0 < Duration::from_micros(1) {
            findings.push(refused("delay", "a delay of less than 1µs is none".to_owned(), "ask for more"));
        }
        if jitter > delay {
            let why = format!("a jitter of {jitter} is above the delay, {delay}");
            findings.push(refused("jitter", why, "packets cannot come before they are sent: lower it"));
        }
        findings
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{super::Fault, *};

    #[test]
    fn what_makes_no_sense_is_refused_from_the_file_alone() {
        let lint = |params: Value| {
            let findings = FAULT.lint(&params);
            assert!(findings.iter().all(|finding| finding.code == guard::FIELDS), "{findings:?}");
            findings.len()
        };
        for wrong in [
            json!({"delay": "10ms", "jitter": "11ms"}),
            json!({"delay": "61s"}),
            json!({"delay": "10ms", "ports": [0]}),
            json!({"delay": "10ms", "ports": [65536]}),
            json!({"delay": "10ms", "ports": ["9000-8000"]}),
            json!({"delay": "10ms", "ports": [80], "protocol": "ICMP"}),
            json!({"delay": "10ms", "to": [{"cidr": "192.0.2.7"}]}),
            json!({"delay": "10ms", "to": [{"service": "db", "except": ["192.0.2.0/24"]}]}),
            json!({"delay": "10ms", "from": [{"cidr": "10.0.0.0/8", "except": ["0.0.0.0/0"]}]}),
            json!({"delay": "10ms", "from": [{"cidr": "10.0.0.0/8", "except": ["192.168.0.0/16"]}]}),
            json!({"delay": "10ms", "to": [{"host": "http://db.example.com"}]}),
            json!({"delay": "10ms", "to": [{"host": "db.example.com:5432"}]}),
            json!({"delay": "10ms", "to": [{"host": "db example"}]}),
            // Nobody could see it.
            json!({"delay": "10ms", "protocol": "UDP"}),
        ] {
            assert_eq!(lint(wrong.clone()), 1, "{wrong}");
        }
        for right in [
            json!({"delay": "60s", "jitter": "60s"}),
            json!({"delay": "10ms", "ports": [1, "8000-8100", "65535"], "protocol": "TCP"}),
            json!({"delay": "10ms", "to": [{"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}, {"host": "a.example.com"}, {"host": "fd00::1"}]}),
        ] {
            assert_eq!(lint(right.clone()), 0, "{right}");
        }
    }
}
