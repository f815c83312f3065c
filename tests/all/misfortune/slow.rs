//! What is slow, stuck or silent: one of many targets, one eviction, a budget's controller, a watch.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use firedrill::{
    cluster::{Access, ApiError, JsonPatch},
    journal::{Entry, InjectOutcome, Record, StopReason},
    sim::{
        Sim, SimConfig,
        apiserver::mischief::{Action, Matcher, Rule, Turn},
        store::{Kind, Selector, Status},
    },
    types::{ObjectRef, Verdict},
};
use jiff::SignedDuration;
use serde_json::json;

use super::{Person, assert_sound, once};
use crate::{
    crash::house::{deployment, experiment, house, method, object, settled, settled_with, settles},
    kit::{Ran, Stage, in_virtual_time},
};

/// The records of one kind, by injection.
fn of(ran: &Ran, wanted: fn(&Record) -> Option<&str>) -> Vec<(&Entry, &str)> {
    ran.entries.iter().filter_map(|entry| Some((entry, wanted(&entry.record)?))).collect()
}

fn seen(record: &Record) -> Option<&str> {
    match record {
        Record::EffectSeen { injection, .. } => Some(&injection.0),
        _ => None,
    }
}

/// The targets of the step `hit`, by injection.
fn targets(ran: &Ran) -> Vec<(String, ObjectRef)> {
    let intended = ran.entries.iter().filter_map(|entry| match &entry.record {
        Record::InjectIntended { injections, .. } => Some(injections),
        _ => None,
    });
    intended.flatten().map(|injection| (injection.id.0.clone(), injection.target.clone())).collect()
}

fn intended_at(ran: &Ran) -> jiff::Timestamp {
    let intended = |entry: &&Entry| matches!(entry.record, Record::InjectIntended { .. });
    ran.entries.iter().find(intended).expect("it was intended").at
}

/// Into one target the injection hangs for ever: the others are hit in time, the step fails by the name of that
/// one, and everything is back.
async fn one_never_answers(step: &str, (verb, resource, victim): (&str, &str, &str), stage: &Stage) {
    let before = stage.state();
    let matcher = Matcher { name: victim.to_owned(), ..Matcher::on(verb, resource) };
    let mischief = stage.cluster.sim().mischief().clone();
    let act = move || {
        let action = Action::Latency(Duration::from_secs(36_000));
        mischief.add(Rule { matcher: matcher.clone(), turn: Turn::Every, action });
    };
    let watch = once(|record| matches!(record, Record::InjectIntended { .. }), act);
    let request = stage.request(&experiment(&[step]), 4);
    let ran = stage.run_with(request, move |entry, _| watch(entry)).await.expect("not refused");
    assert_eq!(ran.verdict(), Verdict::Inconclusive, "{step}");
    assert_eq!(ran.outcome.as_ref().expect("an end").residue, Vec::new(), "{step}");
    assert_sound(stage, &ran, step);
    let (stuck, others): (Vec<_>, Vec<_>) = targets(&ran).into_iter().partition(|(_, to)| to.name == victim);
    assert!(!others.is_empty(), "{step}");
    let in_time = of(&ran, seen);
    for (id, target) in others {
        let (entry, _) = in_time.iter().find(|(_, of)| *of == id).expect("its effect was seen");
        let took = entry.at.duration_since(intended_at(&ran));
        assert!(took < SignedDuration::from_secs(40), "{target} took {took:?}");
    }
    let stop = ran.entries.iter().find_map(|entry| match &entry.record {
        Record::StopRequested { reason: StopReason::NoEffect, by } => Some(by.clone()),
        _ => None,
    });
    assert!(stop.as_ref().is_some_and(|by| by.contains(&stuck[0].1.to_string())), "{stop:?} names {stuck:?}");
    assert_eq!(settles(stage, &before).await, Vec::<String>::new(), "{step}");
}

#[test]
fn one_target_of_several_never_answers() {
    in_virtual_time(async {
        let stage = settled(4).await;
        one_never_answers(method("nodeDrain"), ("patch", "nodes", "n2"), &stage).await;
    });
    in_virtual_time(async {
        let stage = settled(4).await;
        let pods = stage.cluster.sim().store().list(&Kind::POD, Some("shop"), &Selector::everything());
        let victim = pods.iter().map(|pod| pod.meta.name.clone()).find(|name| name.starts_with("web-"));
        let step = method("podKill").replace("count: 2", "count: all");
        one_never_answers(&step, ("delete", "pods", &victim.expect("there are pods of web")), &stage).await;
    });
}

const TWO_NODES: &str = "{name: hit, target: {nodes: {matchLabels: {pool: shop}}, names: [n1, n2], count: all}, nodeDrain: {}, duration: 5s}";

/// Follows how few pods of `web` are ready and stay, until dropped.
fn fewest_ready(stage: &Stage) -> (Arc<AtomicUsize>, tokio::task::JoinHandle<()>) {
    let store = stage.cluster.sim().store().clone();
    let fewest = Arc::new(AtomicUsize::new(usize::MAX));
    let kept = fewest.clone();
    let watcher = tokio::spawn(async move {
        let (_, mut events) = store.list_and_subscribe(&Kind::POD);
        loop {
            let pods = store.list(&Kind::POD, Some("shop"), &Selector::everything());
            let ready = pods.iter().filter(|pod| super::people::healthy(&pod.to_value())).count();
            kept.fetch_min(ready, Ordering::Relaxed);
            if events.next().await.is_none() {
                return;
            }
        }
    });
    (fewest, watcher)
}

/// The server tries an eviction for ten seconds when others write the budget at the same time, and then gives up
/// with 504 (pkg/registry/core/pod/storage/eviction.go, `EvictionsRetry`).
#[test]
fn a_drain_beside_others_that_evict_waits_and_keeps_the_budget() {
    for gives_up in [false, true] {
        in_virtual_time(async {
            let stage = settled(6).await;
            let (fewest, watcher) = fewest_ready(&stage);
            let others = Person::of(&stage);
            let (mischief, store) =
                (stage.cluster.sim().mischief().clone(), stage.cluster.sim().store().clone());
            let act = move || {
                let busy = Matcher::on("create", "pods/eviction");
                mischief.add(Rule {
                    matcher: busy.clone(),
                    turn: Turn::Nth(1),
                    action: Action::Latency(Duration::from_secs(10)),
                });
                if gives_up {
                    let why = "couldn't update PodDisruptionBudget \"web\" due to conflicts";
                    mischief.add(Rule {
                        matcher: busy,
                        turn: Turn::Nth(2),
                        action: Action::Answer(Status::timeout(why, 10)),
                    });
                }
                let (others, store) = (others.clone(), store.clone());
                tokio::spawn(async move {
                    for _ in 0..40 {
                        let pods = store.list(&Kind::POD, Some("shop"), &Selector::everything());
                        let elsewhere = |pod: &&Arc<firedrill::sim::store::Object>| {
                            let node = pod.to_value()["spec"]["nodeName"].as_str().map(str::to_owned);
                            pod.meta.name.starts_with("web-")
                                && node.is_some_and(|node| node == "n3" || node == "n4")
                        };
                        if let Some(pod) = pods.iter().find(elsewhere) {
                            let pod = ObjectRef::namespaced("v1", "Pod", "shop", &pod.meta.name);
                            let _ = others.access().evict(&pod, None, false).await;
                        }
                        tokio::time::sleep(Duration::from_millis(700)).await;
                    }
                });
            };
            let watch = once(|record| matches!(record, Record::InjectIntended { .. }), act);
            let request = stage.request(&experiment(&[TWO_NODES]), 6);
            let ran = stage.run_with(request, move |entry, _| watch(entry)).await.expect("not refused");
            assert_eq!(ran.verdict(), Verdict::Passed, "gives up: {gives_up}");
            assert_sound(&stage, &ran, "beside others");
            watcher.abort();
            assert_eq!(fewest.load(Ordering::Relaxed), 3, "4 wanted, maxUnavailable 1");
        });
    }
}

/// A budget over two pods, with so many others whose eviction its controller has not confirmed: there is none.
fn unconfirmed(pods: usize) -> (Access, [ObjectRef; 2]) {
    let sim = Sim::new(&SimConfig::default());
    let pod = |name: &str| {
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "shop", "labels": {"app": "web"}},
            "spec": {"nodeName": "n1", "containers": [{"name": "main", "image": "docker.io/local/app:1"}]}})
    };
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}});
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    sim.apply_manifests(&[space, pod("a"), pod("b"), budget]).expect("accepted");
    let set = |kind: &Kind, name: &str, status: serde_json::Value| {
        let done = sim.store().modify(kind, "shop", name, |object| {
            object.set_value("status", &status);
            Ok(())
        });
        done.expect("it is there");
    };
    for name in ["a", "b"] {
        set(
            &Kind::POD,
            name,
            json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}),
        );
    }
    let gone: serde_json::Map<_, _> =
        (0..pods).map(|number| (format!("gone-{number}"), json!("2026-01-01T00:00:00Z"))).collect();
    let status = json!({"observedGeneration": 1, "disruptionsAllowed": 2, "currentHealthy": 3, "desiredHealthy": 1,
        "disruptedPods": gone});
    set(&Kind::POD_DISRUPTION_BUDGET, "web", status);
    (Access::new(sim.client()), ["a", "b"].map(|name| ObjectRef::namespaced("v1", "Pod", "shop", name)))
}

/// `MaxDisruptedPodSize` is 2000 (pkg/registry/core/pod/storage/eviction.go).
#[test]
fn a_budget_with_too_many_unconfirmed_evictions_is_no_lack_of_rights() {
    in_virtual_time(async {
        let (access, [a, b]) = unconfirmed(2000);
        assert_eq!(access.evict(&a, None, false).await, Ok(()), "2000 are not too many");
        match access.evict(&b, None, false).await {
            Err(ApiError::NoBudget { message, .. }) => assert!(message.contains("map too big"), "{message}"),
            other => panic!("that was the 2001st: {other:?}"),
        }
    });
}

#[test]
fn a_budget_whose_list_is_full_is_waited_for() {
    in_virtual_time(async {
        let stage = settled(6).await;
        let before = stage.state();
        let words = "poddisruptionbudgets.policy \"web\" is forbidden: DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        let full = Action::Answer(Status::failure(403, "Forbidden", words));
        let matcher = Matcher::on("create", "pods/eviction");
        stage.cluster.sim().mischief().add(Rule { matcher, turn: Turn::First(9), action: full });
        let ran = stage.run(stage.request(&experiment(&[TWO_NODES]), 6)).await.expect("not refused");
        assert_eq!(ran.verdict(), Verdict::Passed);
        assert_eq!(settles(&stage, &before).await, Vec::<String>::new());
    });
}

/// All watches stay open and say nothing from some moment on; somebody rolls the target out, scales it or
/// re-creates its pods meanwhile. Nothing of theirs is taken back, no pod but a target is hit, and it is no pass.
#[test]
fn a_watch_that_stands_still_is_neither_acted_on_nor_a_pass() {
    let roll_out = |person: Person| async move {
        let web = ObjectRef::namespaced("apps/v1", "Deployment", "shop", "web");
        let image = JsonPatch::new().add("/spec/template/spec/containers/0/image", "docker.io/local/app:2");
        person.patch(&web, None, image).await;
    };
    for (fault, moment) in [
        ("podKill", "intended"),
        ("podKill", "seen"),
        ("nodeDrain", "intended"),
        ("nodeDrain", "seen"),
        ("scale", "intended"),
        ("scale", "seen"),
    ] {
        in_virtual_time(async {
            let at = format!("{fault}, still when {moment}");
            let stage = settled(8).await;
            let (person, mischief) = (Person::of(&stage), stage.cluster.sim().mischief().clone());
            let act = move || {
                mischief.stall_watches(true);
                tokio::spawn(roll_out(person.clone()));
            };
            let when = move |record: &Record| match record {
                Record::InjectIntended { .. } => moment == "intended",
                Record::EffectSeen { .. } => moment == "seen",
                _ => false,
            };
            let watch = once(when, act);
            stage.cluster.sim().mischief().record();
            let request = stage.request(&experiment(&[method(fault)]), 8);
            let ran = stage.run_with(request, move |entry, _| watch(entry)).await.expect("not refused");
            assert_eq!(ran.verdict(), Verdict::Inconclusive, "{at}");
            assert_sound(&stage, &ran, &at);
            assert_eq!(ran.outcome.as_ref().expect("an end").residue, Vec::new(), "{at}");
            let hit: BTreeSet<String> = targets(&ran).into_iter().map(|(_, target)| target.name).collect();
            let calls = stage.cluster.sim().mischief().recorded();
            for call in calls.iter().filter(|call| ["delete", "patch"].contains(&call.verb.as_str())) {
                let ours = hit.contains(&call.name) || !["pods", "nodes"].contains(&call.resource.as_str());
                assert!(ours, "{at}: {call:?}");
            }
            stage.cluster.sim().mischief().stall_watches(false);
            tokio::time::sleep(Duration::from_secs(120)).await;
            let web = object(&stage, &Kind::DEPLOYMENT, "shop", "web");
            assert_eq!(web["spec"]["replicas"], 4, "{at}");
            assert_eq!(
                web["spec"]["template"]["spec"]["containers"][0]["image"], "docker.io/local/app:2",
                "{at}"
            );
            for number in 1..=4 {
                let node = object(&stage, &Kind::NODE, "", &format!("n{number}"));
                assert!(node["spec"]["unschedulable"].is_null(), "{at}: {node}");
            }
        });
    }
}

/// Nodes are read from the watch. One that somebody has made theirs since, which it does not show, stays theirs.
#[test]
fn a_cordon_that_is_somebody_elses_by_now_stays_also_where_the_watch_does_not_show_it() {
    in_virtual_time(async {
        let stage = settled(8).await;
        let (person, mischief) = (Person::of(&stage), stage.cluster.sim().mischief().clone());
        let nodes = || (1..=4).map(|number| ObjectRef::node(&format!("n{number}")));
        let act = move || {
            mischief.stall_watches(true);
            let person = person.clone();
            tokio::spawn(async move {
                for node in nodes() {
                    for cordoned in [false, true] {
                        person
                            .patch(&node, None, JsonPatch::new().add("/spec/unschedulable", cordoned))
                            .await;
                    }
                }
            });
        };
        let watch = once(|record| matches!(record, Record::EffectSeen { .. }), act);
        let request = stage.request(&experiment(&[method("nodeCordon")]), 8);
        let ran = stage.run_with(request, move |entry, _| watch(entry)).await.expect("not refused");
        assert_sound(&stage, &ran, "cordoned by somebody else");
        let outcome = ran.outcome.as_ref().expect("an end");
        assert_eq!(outcome.residue, Vec::new());
        for name in nodes().map(|node| node.name) {
            let node = object(&stage, &Kind::NODE, "", &name);
            assert_eq!(node["spec"]["unschedulable"], true, "{node}");
            assert!(!node["metadata"].to_string().contains("undo.firedrill.dev"), "{node}");
        }
    });
}

/// The watches are two seconds late when a step has been taken back and the next one is about the same workload: its
/// before-image is not of the time before.
#[test]
fn a_step_is_not_prepared_from_a_time_before_what_the_last_one_has_changed() {
    in_virtual_time(async {
        let stage = settled(8).await;
        let mischief = stage.cluster.sim().mischief().clone();
        let act = move || {
            mischief.stall_watches(true);
            let mischief = mischief.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(2)).await;
                mischief.stall_watches(false);
            });
        };
        let watch = once(|record| matches!(record, Record::EffectSeen { .. }), act);
        let text = experiment(&[
            "{name: first, target: {workload: deployment/web}, scale: {by: -1}, background: true}",
            "{name: back, revert: first}",
            "{name: second, target: {workload: deployment/web}, scale: {by: -2}, duration: 5s}",
        ]);
        let ran =
            stage.run_with(stage.request(&text, 8), move |entry, _| watch(entry)).await.expect("not refused");
        assert_eq!(ran.verdict(), Verdict::Passed, "{:#?}", ran.outcome);
        let details = ran.entries.iter().filter_map(|entry| match &entry.record {
            Record::Injected { detail, .. } => Some(detail.as_str()),
            _ => None,
        });
        assert_eq!(details.collect::<Vec<_>>(), ["replicas 4 → 3", "replicas 4 → 2"]);
    });
}

/// Each deletion takes the server a second: one after the other they would take a quarter of an hour.
#[test]
fn a_thousand_targets_are_hit_and_seen_within_a_minute() {
    in_virtual_time(async {
        let mut objects = house();
        objects.retain(|object| object["kind"] != "Node");
        objects.extend((0..20).map(|number| crate::crash::house::node(number + 1)));
        objects.push(deployment("many", 1000));
        let stage = settled_with(&objects, 5).await;
        let matcher = Matcher::on("delete", "pods");
        let action = Action::Latency(Duration::from_secs(1));
        stage.cluster.sim().mischief().add(Rule { matcher, turn: Turn::Every, action });
        let step = "{name: hit, target: {workload: deployment/many, count: all}, podKill: {gracePeriod: 0s}}";
        let ran = stage.run(stage.request(&experiment(&[step]), 5)).await.expect("not refused");
        let stopped = ran.entries.iter().filter(|entry| {
            matches!(
                entry.record,
                Record::StopRequested { .. }
                    | Record::EffectMissed { .. }
                    | Record::Injected { outcome: InjectOutcome::Failed, .. }
            )
        });
        assert_eq!(ran.verdict(), Verdict::Passed, "{:?}", stopped.collect::<Vec<_>>());
        let seen = of(&ran, seen);
        assert_eq!(seen.len(), 1000);
        let last = seen.iter().map(|(entry, _)| entry.at).max().expect("there are some");
        let took = last.duration_since(intended_at(&ran));
        assert!(took < SignedDuration::from_secs(60), "{took:?}");
    });
}
