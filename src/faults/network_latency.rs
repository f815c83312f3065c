//! `networkLatency`: packets of pods that take longer.

use std::time::Duration;

use futures::future::BoxFuture;
use serde::Deserialize;
use serde_json::Value;

use super::{
    Fault, FaultError, FaultInfo, Injected, Injection, Lifetime, LimitKind, Prepare, Reverted, TargetKind,
    World,
    agent_pod::DELAY_MAX,
    network::{self, FROM, PORTS, PROTOCOL, TO, field},
};
use crate::{
    agent::wire::{Distribution, Effect},
    types::{
        FieldSchema, Finding, Length, ObjectRef,
        codes::{guard, hazard},
    },
};

/// See [`INFO`].
pub struct NetworkLatency;

/// Packets take longer.
pub static INFO: FaultInfo = FaultInfo {
    name: "networkLatency",
    summary: "Have what pods send, or receive from some peers, take longer.",
    example: "name: slow-database\ntarget: {workload: deployment/checkout, count: 50%, follow: true}\nnetworkLatency: {to: [{service: postgres}], ports: [5432], delay: 200ms, jitter: 20ms}\nduration: 2m\n",
    lifetime: Lifetime::Lasting,
    targets: &[TargetKind::Pods, TargetKind::WorkloadPods],
    limits: &[LimitKind::DegradedPods],
    writes: &[],
    agent: true,
    fields: &[
        TO,
        FROM,
        PORTS,
        PROTOCOL,
        FieldSchema {
            required: true,
            ..field("delay", "duration", "How much longer, on average; up to 1m.")
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
struct Params {
    delay: Length,
    #[serde(default)]
    jitter: Length,
    #[serde(default)]
    correlation: Option<network::Share>,
    #[serde(default)]
    distribution: Distribution,
}

impl Params {
    fn effect(&self) -> Effect {
        let micros = |length: Length| u64::try_from(length.0.as_micros()).unwrap_or(u64::MAX);
        Effect::Latency {
            delay_us: micros(self.delay),
            jitter_us: micros(self.jitter),
            correlation_percent: self.correlation.as_ref().map_or(0.0, |share| share.percent()),
            distribution: self.distribution,
        }
    }
}

impl Fault for NetworkLatency {
    fn info(&self) -> &'static FaultInfo {
        &INFO
    }

    fn lint(&self, params: &Value) -> Vec<Finding> {
        let mut findings = network::lint(INFO.name, params);
        let refused =
            |why: String, remedy: &str| Finding::error(guard::FIELDS, INFO.name, why).remedy(remedy);
        // What does not have the shape is the schema's to say.
        let Ok(params) = serde_json::from_value::<Params>(params.clone()) else { return findings };
        if params.delay.0 > DELAY_MAX {
            let why =
                format!("a delay of {} is above what an agent allows, {}", params.delay, Length(DELAY_MAX));
            findings.push(refused(why, "ask for less; what takes so long is as good as networkPartition"));
        }
        if params.delay.0 < Duration::from_micros(1) {
            findings.push(refused("a delay of less than 1µs is none".to_owned(), "ask for more"));
        }
        if params.jitter > params.delay {
            let why = format!("a jitter of {} is above the delay, {}", params.jitter, params.delay);
            findings.push(refused(why, "packets cannot come before they are sent: lower it"));
        }
        findings
    }

    fn prepare(&self, ask: &Prepare<'_>) -> Result<Vec<Injection>, Vec<Finding>> {
        let params: Params = super::params(ask)?;
        let findings = self.lint(ask.params);
        if findings.is_empty() { network::prepare(ask, INFO.name, &params.effect()) } else { Err(findings) }
    }

    fn degrades(&self, injection: &Injection) -> Vec<ObjectRef> {
        vec![injection.target.clone()]
    }

    fn rehearse<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<(), FaultError>> {
        Box::pin(network::rehearse(world, injection))
    }

    fn inject<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<Injected, FaultError>> {
        Box::pin(network::inject(world, injection))
    }

    fn observe<'a>(&'a self, world: &'a World, injection: &'a Injection) -> BoxFuture<'a, String> {
        Box::pin(network::observe(world, injection))
    }

    fn attend<'a>(&'a self, world: &'a World, injection: &'a Injection) -> Option<BoxFuture<'a, String>> {
        Some(Box::pin(network::attend(world, injection)))
    }

    fn revert<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<Reverted, FaultError>> {
        Box::pin(network::revert(world, injection))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused_from_the_file_alone() {
        let lint = |params: Value| {
            let findings = NetworkLatency.lint(&params);
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
        ] {
            assert_eq!(lint(wrong.clone()), 1, "{wrong}");
        }
        for right in [
            json!({"delay": "60s", "jitter": "60s"}),
            json!({"delay": "10ms", "ports": [1, "8000-8100", "65535"], "protocol": "UDP"}),
            json!({"delay": "10ms", "to": [{"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}, {"host": "a.example.com"}]}),
        ] {
            assert_eq!(lint(right.clone()), 0, "{right}");
        }
    }
}
