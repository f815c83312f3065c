//! What the faults that send signals have in common: which processes are meant, and what shows that they got it.

use std::{collections::BTreeMap, marker::PhantomData, time::Duration};

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    Fault, FaultError, FaultInfo, Injected, Injection, Prepare, World,
    agent_pod::{agent_of, unexpected},
    agent_tier, decode, encode, pods,
};
use crate::{
    agent::wire::{Order, Process, Report, Signal},
    cluster::{Pod, Snapshot},
    types::{
        Finding, InjectionId, Length, ObjectRef,
        codes::{guard, on_node},
    },
};

/// Until the effect is seen: the agent of a node that was not armed has to be placed first.
const SEEN_WITHIN: Duration = Duration::from_secs(180);

/// The signals, as files have them: none that would have to be taken back.
pub(super) const SIGNAL: &str =
    r#"{"type":"string","enum":["KILL","TERM","INT","QUIT","HUP","ABRT","SEGV","USR1","USR2"]}"#;

/// Unless the file says otherwise.
pub(super) fn kill() -> Signal {
    Signal::Kill
}

/// What is done, to one pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Action {
    node: String,
    /// The namespace of agents.
    agents: String,
    /// The containers that are meant, by name, each with its id and how often it had been started again.
    pub containers: BTreeMap<String, (String, u32)>,
    /// Only this one; none: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Only processes of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    pub signal: Signal,
}

/// Which processes, as the fields of such a fault say it.
pub(super) trait Kills: DeserializeOwned + 'static {
    const INFO: &'static FaultInfo;

    fn meant(self) -> Meant;

    /// What is wrong with the fields.
    fn lint(&self) -> Vec<Finding> {
        Vec::new()
    }
}

/// The fault whose fields are `P`.
pub struct Killing<P>(PhantomData<fn() -> P>);

impl<P> Killing<P> {
    pub(super) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<P: Kills> Fault for Killing<P> {
    fn info(&self) -> &'static FaultInfo {
        P::INFO
    }

    fn lint(&self, params: &Value) -> Vec<Finding> {
        // What does not have the shape is the schema's to say.
        P::deserialize(params).map(|own| own.lint()).unwrap_or_default()
    }

    fn prepare(&self, ask: &Prepare<'_>) -> Result<Vec<Injection>, Vec<Finding>> {
        let findings = self.lint(ask.params);
        if !findings.is_empty() {
            return Err(findings);
        }
        prepare(ask, P::INFO.name, &super::params::<P>(ask)?.meant())
    }

    fn rehearse<'a>(
        &'a self,
        _world: &'a World,
        _injection: &'a Injection,
    ) -> BoxFuture<'a, Result<(), FaultError>> {
        // Nothing but the agent, which is asked for by itself, writes anything.
        Box::pin(async { Ok(()) })
    }

    fn inject<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<Injected, FaultError>> {
        Box::pin(inject(world, injection))
    }

    fn observe<'a>(&'a self, world: &'a World, injection: &'a Injection) -> BoxFuture<'a, String> {
        Box::pin(seen(world, injection))
    }
}

/// Which processes.
pub(super) struct Meant {
    pub container: Option<String>,
    pub process: Option<String>,
    pub signal: Signal,
}

/// One injection a target.
fn prepare(ask: &Prepare<'_>, fault: &'static str, meant: &Meant) -> Result<Vec<Injection>, Vec<Finding>> {
    let mut findings = agent_tier::refusals(ask);
    findings.extend(pods::refusals(ask));
    let mut injections = Vec::new();
    for (number, target) in ask.targets.iter().enumerate() {
        let Some(pod) = ask.snapshot.pod(target) else { continue };
        let containers = containers(pod, meant.container.as_deref());
        if containers.is_empty() {
            let names: Vec<&str> = pod.containers.keys().map(String::as_str).collect();
            let what = meant.container.as_deref().unwrap_or("none");
            let why =
                format!("no container of it that runs is meant ({what}); there are {}", names.join(", "));
            findings.push(Finding::error(guard::FIELDS, target, why).remedy("name one that runs"));
        }
        injections.push(Injection {
            id: InjectionId::new(ask.step, number),
            fault: fault.to_owned(),
            target: target.clone(),
            action: encode(&Action {
                node: pod.node.clone(),
                agents: ask.agents.namespace.clone(),
                containers,
                container: meant.container.clone(),
                process: meant.process.clone(),
                signal: meant.signal,
            }),
            before: Value::Null,
            displaced: Vec::new(),
            replicas_lost: 0,
            effect_within: Length(SEEN_WITHIN),
            until: ask.until,
        });
    }
    if findings.is_empty() { Ok(injections) } else { Err(findings) }
}

/// Those that are meant and run: id and restarts.
fn containers(pod: &Pod, only: Option<&str>) -> BTreeMap<String, (String, u32)> {
    let meant = pod.containers.iter().filter(|(name, _)| only.is_none_or(|only| only == *name));
    let running = meant.filter(|(_, container)| container.running);
    running.map(|(name, of)| (name.clone(), (of.id.clone(), of.restarts))).collect()
}

/// Has the agent send the signal, once.
async fn inject(world: &World, injection: &Injection) -> Result<Injected, FaultError> {
    let action: Action = decode(injection, &injection.action)?;
    let agent = agent_of(&world.signature.run, &action.node, &action.agents);
    let named = action.container.as_ref().and_then(|name| action.containers.get(name));
    let order = Order::Kill {
        injection: injection.id.clone(),
        pod: injection.target.uid.clone(),
        container: named.map(|(id, _)| id.clone()),
        process: action.process.clone(),
        signal: action.signal,
    };
    let (processes, seen) = match world.agents.order(&agent, order, SEEN_WITHIN).await {
        Ok(Report::Killed { processes, seen, .. }) => (processes, seen),
        Ok(other) => return Err(unexpected(&agent, &other)),
        Err(error) if error.no_such_pod() => return Ok(Injected::TargetGone),
        Err(error) => {
            let what = format!("sending a signal to {}", injection.target);
            return Err(FaultError::agent(what)(error));
        }
    };
    if processes.is_empty() {
        return Err(no_process(&action, &injection.target, &seen).into());
    }
    let signal = encode(&action.signal);
    let signal = signal.as_str().unwrap_or_default();
    Ok(Injected::Done(format!("{signal} sent to {}", in_words(&processes))))
}

/// That nobody there is called so, and what they are called.
fn no_process(action: &Action, target: &ObjectRef, seen: &[String]) -> Finding {
    let of = action.container.as_ref().map_or_else(String::new, |name| format!(" of container {name}"));
    let called = action.process.as_ref().map_or_else(String::new, |name| format!(" is called {name}"));
    let there = match seen {
        [] => "; there is none at all".to_owned(),
        seen => format!("; there are {}", seen.join(", ")),
    };
    let why = format!("no process{of}{called}{there}");
    let remedy = "name one of those that are there; the kernel keeps 15 bytes of a name";
    Finding::error(on_node::NO_PROCESS, target, why).remedy(remedy)
}

fn in_words(processes: &[Process]) -> String {
    const NAMED: usize = 3;
    let named = processes.iter().take(NAMED).map(|process| format!("{} ({})", process.name, process.pid));
    let more = if processes.len() > NAMED { ", …" } else { "" };
    format!("{}{more}", named.collect::<Vec<_>>().join(", "))
}

/// Returns when the API server shows that a container that was meant has ended or was started again, or that the pod is
/// gone.
async fn seen(world: &World, injection: &Injection) -> String {
    let Ok(action) = decode::<Action>(injection, &injection.action) else {
        return std::future::pending().await;
    };
    world.mirror.wait_for_one(&injection.target, |snapshot| ended(snapshot, &injection.target, &action)).await
}

fn ended(snapshot: &Snapshot, target: &ObjectRef, action: &Action) -> Option<String> {
    let Some(pod) = snapshot.pod(target) else { return Some("its UID is gone".to_owned()) };
    action.containers.iter().find_map(|(name, (id, restarts))| {
        let now = pod.containers.get(name)?;
        if now.restarts > *restarts || now.id != *id {
            return Some(format!("container {name} was started again, restart {}", now.restarts));
        }
        (!now.running).then(|| format!("container {name} has ended"))
    })
}
