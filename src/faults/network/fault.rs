//! The network faults of agents: one for each kind of effect, the same in everything else.

use std::{marker::PhantomData, time::Duration};

use futures::future::BoxFuture;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Action, Traffic};
use crate::{
    agent::wire::Effect,
    faults::{self, Fault, FaultError, FaultInfo, Injected, Injection, Prepare, Reverted, World},
    types::{Finding, ObjectRef},
};

/// What such a fault has of its own: the fields beside those that say which traffic.
pub(in crate::faults) trait Disturb: DeserializeOwned + 'static {
    const INFO: &'static FaultInfo;

    /// What happens to packets.
    fn effect(&self) -> Effect;

    /// What is wrong with the fields.
    fn lint(&self) -> Vec<Finding> {
        Vec::new()
    }
}

/// The fault whose own fields are `P`.
pub struct Disturbing<P>(PhantomData<fn() -> P>);

impl<P> Disturbing<P> {
    pub(in crate::faults) const fn new() -> Self {
        Self(PhantomData)
    }
}

/// A delay from which on nobody waits for an answer: clients, probes and gateways have given up by then.
pub(in crate::faults) const CUT_FROM: Duration = Duration::from_secs(10);

/// Whether nothing reaches a pod and it reaches nothing: as good as gone.
fn cut_off(effect: &Effect, traffic: &Traffic) -> bool {
    let nothing = match effect {
        Effect::Latency { delay_us, .. } => Duration::from_micros(*delay_us) >= CUT_FROM,
        Effect::Loss { share_percent } => *share_percent >= 100.0,
        Effect::Partition => true,
    };
    nothing && traffic.everything()
}

fn cuts_off(injection: &Injection) -> bool {
    Action::deserialize(&injection.action).is_ok_and(|action| cut_off(&action.effect, &action.traffic))
}

impl<P: Disturb> Fault for Disturbing<P> {
    fn info(&self) -> &'static FaultInfo {
        P::INFO
    }

    fn lint(&self, params: &Value) -> Vec<Finding> {
        let mut findings = super::lint(P::INFO.name, params);
        // What does not have the shape is the schema's to say.
        findings.extend(P::deserialize(params).map(|own| own.lint()).unwrap_or_default());
        findings
    }

    fn prepare(&self, ask: &Prepare<'_>) -> Result<Vec<Injection>, Vec<Finding>> {
        let own: P = faults::params(ask)?;
        let findings = self.lint(ask.params);
        if findings.is_empty() { super::prepare(ask, P::INFO.name, &own.effect()) } else { Err(findings) }
    }

    fn empties(&self, params: &Value) -> bool {
        let traffic = Traffic::deserialize(params);
        P::deserialize(params).is_ok_and(|own| traffic.is_ok_and(|traffic| cut_off(&own.effect(), &traffic)))
    }

    fn evicts(&self, _injection: &Injection, _pod: &ObjectRef) -> bool {
        false
    }

    fn degrades(&self, injection: &Injection) -> Vec<ObjectRef> {
        if cuts_off(injection) { Vec::new() } else { vec![injection.target.clone()] }
    }

    fn hides(&self, injection: &Injection, other: &Value) -> bool {
        let read = (Action::deserialize(&injection.action), Traffic::deserialize(other));
        matches!(read, (Ok(action), Ok(other)) if super::hides(&action, &other))
    }

    fn asks(&self, injection: &Injection) -> String {
        injection.action["traffic"].to_string()
    }

    fn doubts<'a>(&'a self, world: &'a World, injection: &'a Injection) -> BoxFuture<'a, Vec<Finding>> {
        Box::pin(super::doubts::of(world, injection))
    }

    fn meets(&self) -> bool {
        true
    }

    fn rehearse<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<(), FaultError>> {
        Box::pin(super::rehearse(world, injection))
    }

    fn inject<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<Injected, FaultError>> {
        Box::pin(super::inject(world, injection))
    }

    fn observe<'a>(&'a self, world: &'a World, injection: &'a Injection) -> BoxFuture<'a, String> {
        Box::pin(super::observe(world, injection))
    }

    fn attend<'a>(&'a self, world: &'a World, injection: &'a Injection) -> Option<BoxFuture<'a, String>> {
        Some(Box::pin(super::attend(world, injection)))
    }

    fn revert<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<Reverted, FaultError>> {
        Box::pin(super::revert(world, injection))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::faults::{network_latency, network_loss, network_partition};

    use super::*;

    /// However it is said that a pod is cut off from everybody, it counts as gone.
    #[test]
    fn who_is_cut_off_from_everybody_counts_as_gone() {
        let (partition, loss) = (&network_partition::FAULT, &network_loss::FAULT);
        for everybody in [
            json!({}),
            json!({"ports": ["1-65535"]}),
            json!({"from": [{"cidr": "0.0.0.0/0"}]}),
            json!({"to": [{"service": "db"}, {"cidr": "::/0"}]}),
            json!({"to": [{"cidr": "128.0.0.0/1"}, {"cidr": "0.0.0.0/2"}, {"cidr": "64.0.0.0/2"}]}),
            json!({"ports": ["20000-65535", "1-30000"]}),
            json!({"protocol": "TCP"}),
        ] {
            assert!(partition.empties(&everybody), "{everybody}");
            let mut all = everybody.clone();
            all["share"] = "100%".into();
            assert!(loss.empties(&all), "{all}");
            all["share"] = "99%".into();
            assert!(!loss.empties(&all), "{all}");
        }
        for some in [
            json!({"to": [{"service": "db"}]}),
            json!({"ports": [80]}),
            json!({"protocol": "UDP"}),
            json!({"from": [{"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}]}),
            json!({"from": [{"cidr": "0.0.0.0/1"}], "to": [{"cidr": "128.0.0.0/1"}]}),
            json!({"ports": ["1-100", "102-65535"]}),
        ] {
            assert!(!partition.empties(&some), "{some}");
        }
        // Nobody waits for so long.
        for (delay, gone) in [("9999ms", false), ("10s", true), ("1m", true)] {
            assert_eq!(network_latency::FAULT.empties(&json!({"delay": delay})), gone, "{delay}");
        }
        assert!(!network_latency::FAULT.empties(&json!({"delay": "1m", "ports": [80]})));
    }

    /// Whoever swallows the round trips of another fault hides it, whatever its peers are.
    #[test]
    fn what_swallows_round_trips_hides_other_faults() {
        let partition = &network_partition::FAULT;
        let cut = |traffic: Value| Injection {
            id: crate::types::InjectionId::new("cut", 0),
            fault: "networkPartition".to_owned(),
            target: ObjectRef::pod("shop", "web"),
            action: json!({"node": "n1", "agents": "a", "traffic": traffic, "effect": "partition"}),
            before: Value::Null,
            displaced: Vec::new(),
            replicas_lost: 0,
            effect_within: crate::types::Length::from_secs(1),
            until: jiff::Timestamp::MAX,
        };
        for (first, second, hidden) in [
            (json!({}), json!({"delay": "1s"}), true),
            (json!({"to": [{"cidr": "0.0.0.0/0"}]}), json!({"delay": "1s"}), true),
            (json!({"to": [{"cidr": "0.0.0.0/1"}, {"cidr": "128.0.0.0/1"}]}), json!({}), true),
            (json!({"to": [{"service": "db"}]}), json!({"from": [{"service": "api"}]}), true),
            (json!({"protocol": "TCP"}), json!({"delay": "1s"}), true),
            (json!({"protocol": "TCP"}), json!({"protocol": "ICMP"}), false),
            (json!({"ports": [5432]}), json!({"ports": [5432]}), true),
            (json!({"ports": [5432]}), json!({"ports": [80]}), false),
            (json!({"ports": [5432]}), json!({}), false),
            (json!({"ports": ["1-65535"]}), json!({"ports": [80]}), true),
            (
                json!({"from": [{"service": "a"}], "ports": [80]}),
                json!({"to": [{"service": "b"}], "ports": [80]}),
                false,
            ),
        ] {
            assert_eq!(partition.hides(&cut(first.clone()), &second), hidden, "{first} {second}");
        }
        let mut late = cut(json!({}));
        for (delay_us, hidden) in [(999_999, false), (1_000_000, true)] {
            late.action["effect"] = json!({"latency": {"delayUs": delay_us, "jitterUs": 0,
                "correlationPercent": 0.0, "distribution": "Normal"}});
            assert_eq!(network_latency::FAULT.hides(&late, &json!({})), hidden, "{delay_us}");
        }
    }
}
