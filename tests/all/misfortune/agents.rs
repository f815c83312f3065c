//! Agents: placed before Baseline, gone afterwards, and what happens to a run when one is lost on the way.

use std::time::Duration;

use firedrill::{
    agent::wire::Nfqueue,
    cluster::{Access, Identity},
    engine::{self, Outside, State},
    faults::BESIDE,
    journal::{Entry, Record, RevertOutcome, StopReason},
    sim::store::{Kind, Selector},
    types::{
        AGENT_NAMESPACE, AgentSettings, ObjectRef, Verdict,
        codes::{guard, on_node},
    },
};
use serde_json::Value;

use super::{Person, Shared, assert_sound, once, reverts};
use crate::{
    crash::{
        house::{deployment, experiment, house, method, settled, settled_with, settles},
        past_the_lease, rollback,
        wire::{Death, Process},
    },
    kit::{Ran, Stage, in_virtual_time},
};

pub const LATENCY: &str = "{name: hit, target: {workload: deployment/web, count: 2}, networkLatency: {delay: 100ms}, duration: 60s}";

/// The agents' pods that are there.
fn agents(stage: &Stage) -> Vec<ObjectRef> {
    let pods = stage.cluster.sim().store().list(&Kind::POD, Some(AGENT_NAMESPACE), &Selector::everything());
    pods.iter().map(|pod| ObjectRef::pod(AGENT_NAMESPACE, &pod.meta.name)).collect()
}

fn place(entries: &[Entry], is: impl Fn(&Record) -> bool) -> usize {
    entries.iter().position(|entry| is(&entry.record)).expect("it is in the journal")
}

pub fn is_fault(id: &firedrill::types::InjectionId) -> bool {
    id.step() == "hit"
}

pub fn seen(record: &Record) -> bool {
    matches!(record, Record::EffectSeen { injection, .. } if is_fault(injection))
}

/// What became of the faults, agents aside.
fn faults_ended(entries: &[Entry]) -> Vec<(RevertOutcome, String)> {
    let of = |entry: &Entry| match &entry.record {
        Record::Reverted { injection, outcome, detail, .. } if is_fault(injection) => {
            Some((*outcome, detail.clone()))
        }
        _ => None,
    };
    entries.iter().filter_map(of).collect()
}

async fn ran(stage: &Stage, step: &str) -> Ran {
    stage.run(stage.request(&experiment(&[step]), 7)).await.expect("not refused")
}

#[test]
fn agents_are_ready_before_baseline_and_gone_after_the_run() {
    in_virtual_time(async {
        let stage = settled(7).await;
        let before = stage.state();
        let ran = ran(&stage, LATENCY).await;
        assert_eq!(ran.verdict(), Verdict::Passed, "{:#?}", ran.entries);
        let entries = &ran.entries;
        let intended = place(entries, |record| matches!(record, Record::ArmingIntended { .. }));
        let ready = place(
            entries,
            |record| matches!(record, Record::EffectSeen { injection, .. } if !is_fault(injection)),
        );
        let baseline = place(entries, |record| matches!(record, Record::BaselineStarted {}));
        assert!(intended < ready && ready < baseline, "{intended} {ready} {baseline}");
        let evidence = entries.iter().find_map(|entry| match &entry.record {
            Record::EffectSeen { evidence, .. } if seen(&entry.record) => Some(evidence.clone()),
            _ => None,
        });
        assert!(evidence.expect("it was seen").contains("a round trip from another pod took"));
        let last_fault = entries.iter().rposition(
            |entry| matches!(&entry.record, Record::Reverted { injection, .. } if is_fault(injection)),
        );
        let first_agent = place(
            entries,
            |record| matches!(record, Record::Reverted { injection, .. } if !is_fault(injection)),
        );
        assert!(last_fault.expect("taken back") < first_agent, "agents go last");
        assert!(reverts(entries).iter().all(|outcome| *outcome == RevertOutcome::Restored));
        assert_eq!(agents(&stage), []);
        // No pod has left its node, so none has come back to one.
        assert!(!entries.iter().any(|entry| matches!(entry.record, Record::Rescheduled {})));
        let Record::RunStarted(header) = &entries[0].record else { panic!("{:?}", entries[0]) };
        assert_eq!(
            header.limits.get("degradedPods").map(String::as_str),
            Some("all"),
            "it counts against that"
        );
        assert_sound(&stage, &ran, "an ordinary run");
        assert_eq!(settles(&stage, &before).await, Vec::<String>::new());
    });
}

/// Arming is none of a fault's time, and guards nothing.
#[test]
fn a_run_that_is_stopped_while_it_arms_takes_its_agents_away() {
    in_virtual_time(async {
        let stage = settled(7).await;
        let request = stage.request(&experiment(&[LATENCY]), 7);
        let stop = |entry: &Entry, tx: &tokio::sync::mpsc::UnboundedSender<Outside>| {
            if matches!(entry.record, Record::ArmingIntended { .. }) {
                let _ = tx.send(Outside::Stop(StopReason::Signal, "a person".to_owned()));
            }
        };
        let ran = stage.run_with(request, stop).await.expect("not refused");
        assert_eq!(ran.verdict(), Verdict::Aborted);
        assert!(!ran.entries.iter().any(|entry| matches!(entry.record, Record::InjectIntended { .. })));
        assert_eq!(agents(&stage), []);
        assert_sound(&stage, &ran, "stopped while arming");
    });
}

/// A fault that its agent has taken back by itself is neither in force nor seen to the end: no pass, and the journal says
/// how it ended.
#[test]
fn an_agent_that_is_ended_under_its_fault_makes_the_run_inconclusive() {
    in_virtual_time(async {
        let stage = settled(7).await;
        let before = stage.state();
        let person = Person::of(&stage);
        let store = stage.cluster.sim().store().clone();
        let act = move || {
            let (person, store) = (person.clone(), store.clone());
            tokio::spawn(async move {
                for pod in store.list(&Kind::POD, Some(AGENT_NAMESPACE), &Selector::everything()) {
                    let pod = ObjectRef::pod(AGENT_NAMESPACE, &pod.meta.name);
                    person.delete(&pod).await;
                }
            });
        };
        let watch = once(seen, act);
        let request = stage.request(&experiment(&[LATENCY]), 7);
        let ran = stage.run_with(request, move |entry, _| watch(entry)).await.expect("not refused");
        assert_eq!(ran.verdict(), Verdict::Inconclusive);
        let ended = faults_ended(&ran.entries);
        assert!(
            ended.iter().any(|(outcome, how)| {
                *outcome == RevertOutcome::ExpiredByItself && how.contains("told to end")
            }),
            "{ended:?}"
        );
        assert_eq!(agents(&stage), []);
        assert_sound(&stage, &ran, "an agent deleted by somebody");
        assert_eq!(settles(&stage, &before).await, Vec::<String>::new());
    });
}

#[test]
fn a_stream_that_breaks_is_attached_again_and_nothing_is_lost() {
    in_virtual_time(async {
        let stage = settled(7).await;
        let mischief = stage.cluster.sim().mischief().clone();
        let watch = once(seen, move || mischief.cut_streams());
        let request = stage.request(&experiment(&[LATENCY]), 7);
        let ran = stage.run_with(request, move |entry, _| watch(entry)).await.expect("not refused");
        assert_eq!(ran.verdict(), Verdict::Passed, "{:?}", faults_ended(&ran.entries));
        assert!(faults_ended(&ran.entries).iter().all(|(outcome, _)| *outcome == RevertOutcome::Restored));
        assert_sound(&stage, &ran, "a cut stream");
    });
}

/// The runner dies with its faults in force: the agents take them back by themselves, and whoever comes later finds that
/// out.
#[test]
fn faults_do_not_outlive_a_dead_runner_by_more_than_their_time_to_live() {
    in_virtual_time(async {
        let mut stage = settled(7).await;
        let before = stage.state();
        let process = Process::new(Death::Never);
        stage.env.kube = process.client(stage.cluster.sim());
        stage.env.storage = process.disk(&stage.storage);
        let dies = process.clone();
        let watch = once(seen, move || dies.die());
        let request = stage.request(&experiment(&[LATENCY]), 7);
        tokio::select! {
            biased;
            () = process.died() => {}
            _ = stage.run_with(request, move |entry, _| watch(entry)) => panic!("it is dead"),
        }
        stage.env.kube = stage.cluster.sim().client();
        stage.env.storage = std::sync::Arc::new(stage.storage.clone());
        tokio::time::sleep(Duration::from_secs(12)).await;
        let (pods, _) = stage.cluster.sim().store().list_and_subscribe_everything();
        let impaired =
            pods.iter().filter(|pod| !stage.cluster.metrics().impairments(&pod.meta.uid).is_empty());
        assert_eq!(impaired.count(), 0, "12 s after the last beat");
        past_the_lease().await;
        let run = stage.env.storage.list().expect("lists").into_iter().next().expect("a journal");
        let outcome = engine::from_journal(&stage.env, &run, rollback(false)).await.expect("an ordinary end");
        assert_eq!(outcome.residue, Vec::new());
        let journal = stage.journal(&run);
        let ended = faults_ended(&journal);
        assert!(
            ended.iter().all(|(outcome, how)| *outcome == RevertOutcome::ExpiredByItself && !how.is_empty()),
            "{ended:?}"
        );
        assert!(!State::replay(&journal).expect("replays").injections.values().any(|one| one.pending()));
        assert_eq!(agents(&stage), []);
        assert_eq!(settles(&stage, &before).await, Vec::<String>::new());
    });
}

#[test]
fn a_namespace_that_is_not_there_or_an_image_that_cannot_be_had_is_said_with_its_remedy() {
    in_virtual_time(async {
        let stage = settled(7).await;
        let mut request = stage.request(&experiment(&[LATENCY]), 7);
        request.environment.agents.namespace = "nowhere".to_owned();
        let refused = stage.run(request.clone()).await.err().expect("there is no such namespace");
        let found = refused.iter().find(|finding| finding.code == guard::AGENT_NAMESPACE);
        assert!(found.expect("it is said").remedy.contains("firedrill agents manifests"), "{refused:?}");
        request.environment.agents = AgentSettings {
            image: "registry.invalid/firedrill-agent:1".to_owned(),
            ..AgentSettings::default()
        };
        let ran = stage.run(request).await.expect("nobody knows beforehand");
        assert_eq!(ran.verdict(), Verdict::Inconclusive);
        assert!(!ran.entries.iter().any(|entry| matches!(entry.record, Record::InjectIntended { .. })));
        let said = ran.entries.iter().any(|entry| match &entry.record {
            Record::Injected { detail, .. } => detail.contains("--agent-image"),
            _ => false,
        });
        assert!(said, "{:#?}", ran.entries);
        assert_eq!(agents(&stage), []);
    });
}

#[test]
fn what_crashes_over_and_over_is_no_target() {
    in_virtual_time(async {
        let mut crasher = deployment("crasher", 2);
        crasher["spec"]["template"]["metadata"]["annotations"]["sim.firedrill.dev/crash-after"] =
            "20s".into();
        let stage = settled_with(&[house(), vec![crasher]].concat(), 7).await;
        // Its kubelet waits longer after each crash: for most of the time there is nothing to hit.
        tokio::time::sleep(Duration::from_secs(300)).await;
        let latency = LATENCY.replace("deployment/web, count: 2", "deployment/crasher, count: all");
        let refused = stage.run(stage.request(&experiment(&[&latency]), 7)).await.err().expect("refused");
        let said = refused.iter().any(|finding| {
            finding.code == on_node::NOT_RUNNING && finding.message.contains("crash over and over")
        });
        assert!(said, "{refused:#?}");
        assert_eq!(agents(&stage), []);
    });
}

/// What is born on a node that has no agent gets one there, and then the fault.
#[test]
fn what_is_born_elsewhere_is_followed_by_an_agent() {
    in_virtual_time(async {
        let mut objects = house();
        objects.push(deployment("few", 1));
        let mut front = objects.iter().find(|object| object["kind"] == "Service").expect("web's").clone();
        (front["metadata"]["name"], front["spec"]["selector"]["app"]) = ("few".into(), "few".into());
        objects.push(front);
        let stage = settled_with(&objects, 7).await;
        let person = Person::of(&stage);
        let act = move || {
            let person = person.clone();
            tokio::spawn(async move { person.scale("few", 6).await });
        };
        let watch = once(seen, act);
        let step = "{name: hit, target: {workload: deployment/few, count: all, follow: true}, networkLatency: {delay: 100ms}, duration: 60s}";
        let request = stage.request(&experiment(&[step]), 7);
        let ran = stage.run_with(request, move |entry, _| watch(entry)).await.expect("not refused");
        assert_eq!(ran.verdict(), Verdict::Passed, "{:#?}", ran.entries);
        let armed = ran.entries.iter().filter(|entry| matches!(entry.record, Record::ArmingIntended { .. }));
        assert!(armed.count() > 1, "on further nodes");
        assert_eq!(ran.entries.iter().filter(|entry| seen(&entry.record)).count(), 6);
        assert_eq!(agents(&stage), []);
        assert_sound(&stage, &ran, "followed");
    });
}

/// Its peers are replaced under it: new addresses are hit as the old ones were.
#[test]
fn peers_are_followed_as_they_come_and_go() {
    in_virtual_time(async {
        let stage = settled(7).await;
        let person = Person::of(&stage);
        let store = stage.cluster.sim().store().clone();
        let api = move || {
            let pods = store.list(&Kind::POD, Some("shop"), &Selector::everything());
            let person = person.clone();
            tokio::spawn(async move {
                for pod in pods.iter().filter(|pod| pod.meta.name.starts_with("api-")) {
                    person.delete(&ObjectRef::pod("shop", &pod.meta.name)).await;
                }
            });
        };
        let metrics = stage.cluster.metrics().clone();
        let (store, checked): (_, Shared<Vec<bool>>) =
            (stage.cluster.sim().store().clone(), Shared::default());
        let late = checked.clone();
        let watch = once(seen, move || {
            api();
            let (store, metrics, late) = (store.clone(), metrics.clone(), late.clone());
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(40)).await;
                let pods = store.list(&Kind::POD, Some("shop"), &Selector::everything());
                let values: Vec<Value> = pods.iter().map(|pod| pod.to_value()).collect();
                let addresses = values.iter().filter(|pod| {
                    pod["metadata"]["name"].as_str().is_some_and(|name| name.starts_with("api-"))
                });
                let addresses: Vec<String> = addresses
                    .filter_map(|pod| Some(pod["status"]["podIP"].as_str()?.to_owned() + "/32"))
                    .collect();
                for pod in &pods {
                    for held in metrics.impairments(&pod.meta.uid) {
                        let peers: Vec<String> =
                            held.disturbance.legs[0].peers.iter().map(ToString::to_string).collect();
                        let all = addresses.iter().all(|address| peers.contains(address));
                        late.lock().expect("nobody panics").push(all && !addresses.is_empty());
                    }
                }
            });
        });
        let step = method("networkLatency").replace("duration: 5s", "duration: 60s");
        let request = stage.request(&experiment(&[&step]), 7);
        let ran = stage.run_with(request, move |entry, _| watch(entry)).await.expect("not refused");
        assert_eq!(ran.verdict(), Verdict::Passed, "{:#?}", ran.entries);
        let checked = checked.lock().expect("nobody panics").clone();
        assert!(!checked.is_empty() && checked.iter().all(|all| *all), "{checked:?}");
    });
}

#[test]
fn the_doctor_tries_every_node_and_leaves_nothing() {
    in_virtual_time(async {
        let stage = settled(7).await;
        let by = Identity { name: "somebody".to_owned(), groups: Vec::new() };
        let examined = engine::examine(&stage.env, &AgentSettings::default(), &[], &by).await.expect("looks");
        assert_eq!(examined.len(), 4);
        for one in &examined {
            assert_eq!(one.findings, [], "{}", one.node);
            assert_eq!(one.features.as_ref().map(|features| features.nfqueue), Some(Nfqueue::Native));
        }
        assert!(examined.iter().any(|one| one.entered.is_some()));
        assert_eq!(agents(&stage), []);
        let settings = AgentSettings { namespace: "nowhere".to_owned(), ..AgentSettings::default() };
        let examined = engine::examine(&stage.env, &settings, &["n1".to_owned()], &by).await.expect("looks");
        let finding = &examined[0].findings[0];
        assert!(finding.is_error() && finding.code == guard::AGENT_NAMESPACE, "{examined:?}");
        assert!(finding.remedy.contains("firedrill agents manifests"), "{finding}");
        let nodes = ["n1".to_owned(), "nope".to_owned()];
        let examined =
            engine::examine(&stage.env, &AgentSettings::default(), &nodes, &by).await.expect("looks");
        let nope = examined.iter().find(|one| one.node == "nope").expect("it is said");
        assert!(nope.findings[0].message.contains("there are n1, n2, n3, n4"), "{nope:?}");
        assert!(examined.iter().any(|one| one.node == "n1" && one.findings.is_empty()), "{examined:?}");
        assert_eq!(agents(&stage), []);
    });
}

/// Whoever has neither journal nor runner finds them all the same.
#[test]
fn agents_are_found_by_their_scars_alone() {
    in_virtual_time(async {
        let mut stage = settled(7).await;
        let process = Process::new(Death::Never);
        stage.env.kube = process.client(stage.cluster.sim());
        let dies = process.clone();
        let watch = once(|record| matches!(record, Record::BaselineStarted {}), move || dies.die());
        let request = stage.request(&experiment(&[LATENCY]), 7);
        tokio::select! {
            biased;
            () = process.died() => {}
            _ = stage.run_with(request, move |entry, _| watch(entry)) => panic!("it is dead"),
        }
        stage.env.kube = stage.cluster.sim().client();
        assert!(!agents(&stage).is_empty());
        past_the_lease().await;
        let access = Access::new(stage.env.kube.clone());
        // Who may look into the shop only looks where agents usually are, too.
        let (found, unseen) = engine::from_scars(&access, &["shop".to_owned()]).await;
        assert_eq!(unseen, Vec::new());
        assert!(
            found.iter().all(|left| BESIDE.iter().any(|fault| fault.info().name == left.injection.fault))
        );
        let results = engine::revert_found(&stage.env, found, &rollback(false)).await.expect("it answers");
        assert!(results.iter().all(|(_, result)| result.is_ok()), "{results:?}");
        assert_eq!(agents(&stage), []);
    });
}
