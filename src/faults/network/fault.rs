//! The network faults of agents: one for each kind of effect, the same in everything else.

use std::marker::PhantomData;

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

/// Whether nothing reaches a pod and it reaches nothing: as good as gone.
fn cut_off(effect: &Effect, traffic: &Traffic) -> bool {
    let nothing = match effect {
        Effect::Latency { .. } => false,
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

    fn hides(&self, injection: &Injection) -> bool {
        cuts_off(injection)
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
        ] {
            assert!(!partition.empties(&some), "{some}");
        }
        assert!(!network_latency::FAULT.empties(&json!({"delay": "1m"})));
    }
}
