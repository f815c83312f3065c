//! Loads that a pod sends, on the embedded cluster: the same probes and the same report as from the runner, and nothing
//! of it left.

use std::time::Duration;

use firedrill::{
    cluster::Access,
    engine::{self, EngineError, Outside},
    journal::{Entry, Record, StopReason},
    sim::store::{Kind, Selector},
    types::{Finding, ObjectRef, Verdict, load::LoadTally},
};
use serde_json::{Value, json};

use crate::{
    crash::house::settles,
    kit::{Stage, in_virtual_time, shop},
    misfortune::{Person, Shared, once},
};

const CLIENT: &str = "  - name: client\n    signal: Errors\n    load: {name: shoppers}\n    value: errorRatio\n    \
    expect: errorRatio <= 0.01 && p99 <= 1.0\n    during: errorRatio <= 0.6\n    every: 2s\n    for: 4s\n";
const KILL: &str = "  method:\n  - name: lose-half\n    target: {workload: deployment/checkout, count: 50%}\n    \
    podKill: {gracePeriod: 0s}\n  - wait: 20s\n";

/// An experiment with a load for the whole run.
fn shoppers(from: &str, method: &str) -> String {
    format!(
        "apiVersion: firedrill.dev/v1alpha1\nkind: Experiment\nmetadata: {{name: loaded, namespace: shop}}\nspec:\n  \
         hypothesis: It holds under load.\n  load:\n  - {{name: shoppers, from: {from}, url: 'http://checkout.shop.svc/cart', \
         requestsPerSecond: 50, rampUp: 5s, headers: [{{name: authorization, valueFrom: {{secretKeyRef: {{name: shop, key: token}}}}}}]}}\n  \
         steadyState:\n{CLIENT}{method}  objectives: {{recoverWithin: 1m}}\n"
    )
}

/// One with a load as its only step.
fn surge(more: &str) -> String {
    format!(
        "apiVersion: firedrill.dev/v1alpha1\nkind: Experiment\nmetadata: {{name: loaded, namespace: shop}}\nspec:\n  \
         hypothesis: It holds under load.\n  steadyState:\n  - name: replicas\n    \
         kubernetes: {{apiVersion: apps/v1, kind: Deployment, name: checkout}}\n    value: object.status.readyReplicas\n    \
         expect: value >= 4\n    during: value >= 1\n  method:\n  - name: surge\n    \
         load: {{from: Pod, url: 'http://checkout.shop.svc/', requestsPerSecond: 100, arrivals: Poisson}}\n    {more}\n  \
         objectives: {{recoverWithin: 1m}}\n"
    )
}

/// The shop with the Secret that the load's header comes from.
fn shop_with_secret() -> Vec<Value> {
    let mut objects = shop();
    objects.push(
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "shop", "namespace": "shop"},
        "data": {"token": "czNjcmV0"}}),
    );
    objects
}

/// What became of each load.
fn tallies(entries: &[Entry]) -> Vec<(&str, &LoadTally)> {
    let ended = entries.iter().filter_map(|entry| match &entry.record {
        Record::LoadEnded { load, tally } => Some((load.as_str(), &**tally)),
        _ => None,
    });
    ended.collect()
}

fn place(entries: &[Entry], of: impl Fn(&Record) -> bool) -> usize {
    entries.iter().position(|entry| of(&entry.record)).expect("there is such a record")
}

/// The pods that send loads now.
fn senders(stage: &Stage) -> Vec<Value> {
    let pods = stage.cluster.sim().store().list(&Kind::POD, Some("shop"), &Selector::everything());
    let all = pods.iter().map(|pod| pod.to_value());
    all.filter(|pod| pod["metadata"]["labels"]["firedrill.dev/load"].is_string()).collect()
}

fn codes(findings: &[Finding]) -> Vec<&str> {
    findings.iter().filter(|finding| finding.is_error()).map(|finding| finding.code.0.as_ref()).collect()
}

/// Everything that Pod Security `restricted` asks of a pod, and that it ends by itself.
#[test]
fn the_pod_asks_for_nothing_and_carries_no_secret() {
    in_virtual_time(async {
        let stage = Stage::new(&shop_with_secret(), 7).await;
        let found: Shared<Vec<Value>> = Shared::default();
        let (seen, store) = (found.clone(), stage.cluster.sim().store().clone());
        let look = once(
            |record| matches!(record, Record::LoadStarted { .. }),
            move || {
                let pods = store.list(&Kind::POD, Some("shop"), &Selector::everything());
                let all = pods.iter().map(|pod| pod.to_value());
                let ours = all.filter(|pod| pod["metadata"]["labels"]["firedrill.dev/load"].is_string());
                seen.lock().expect("no panic holds it").extend(ours);
            },
        );
        let request = stage.request(&shoppers("Pod", KILL), 7);
        let ran = stage.run_with(request, move |entry, _| look(entry)).await.expect("not refused");
        assert_eq!(ran.verdict(), Verdict::Passed);
        let found = found.lock().expect("no panic holds it");
        let [pod] = &found[..] else { panic!("one pod: {found:?}") };
        let spec = &pod["spec"];
        let container = &spec["containers"][0];
        for (place, wanted) in [
            ("/automountServiceAccountToken", json!(false)),
            ("/restartPolicy", json!("Never")),
            ("/securityContext/runAsNonRoot", json!(true)),
            ("/securityContext/seccompProfile/type", json!("RuntimeDefault")),
            ("/containers/0/securityContext/allowPrivilegeEscalation", json!(false)),
            ("/containers/0/securityContext/readOnlyRootFilesystem", json!(true)),
            ("/containers/0/securityContext/capabilities/drop", json!(["ALL"])),
            ("/containers/0/env/0/valueFrom/secretKeyRef", json!({"name": "shop", "key": "token"})),
        ] {
            assert_eq!(spec.pointer(place), Some(&wanted), "{place}");
        }
        assert!(container["resources"]["limits"]["memory"].is_string());
        assert!(spec["activeDeadlineSeconds"].as_i64().is_some_and(|seconds| (60..7200).contains(&seconds)));
        let journal = serde_json::to_string(&ran.entries).expect("JSON");
        assert!(!journal.contains("s3cret") && !pod.to_string().contains("s3cret"));
    });
}

#[test]
fn a_pod_that_sends_sees_what_a_runner_sees_and_is_gone_in_the_end() {
    let seen = |from: &'static str| {
        in_virtual_time(async move {
            let stage = Stage::new(&shop_with_secret(), 7).await;
            let before = stage.state();
            let ran = stage.run(stage.request(&shoppers(from, KILL), 7)).await.expect("not refused");
            assert_eq!(ran.verdict(), Verdict::Passed, "{from}: {:#?}", ran.entries.last());
            let [("shoppers", tally)] = tallies(&ran.entries)[..] else { panic!("one load") };
            assert!(tally.failed() > 5 && tally.answered > 1000, "{from}: half of them died: {tally:?}");
            assert_eq!((stage.state(), senders(&stage)), (before, Vec::new()), "{from}");
            let started = place(&ran.entries, |record| matches!(record, Record::LoadStarted { .. }));
            let baseline = place(&ran.entries, |record| matches!(record, Record::BaselineStarted {}));
            let recovered = place(&ran.entries, |record| matches!(record, Record::Recovered { .. }));
            let ended = place(&ran.entries, |record| matches!(record, Record::LoadEnded { .. }));
            assert!(started < baseline && recovered < ended, "{from}");
            if from == "Pod" {
                let intended = place(&ran.entries, |record| matches!(record, Record::LoadPodIntended { .. }));
                let gone = place(
                    &ran.entries,
                    |record| matches!(record, Record::Reverted { injection, .. } if injection.0.starts_with("load_")),
                );
                assert!(
                    intended < started && ended < gone,
                    "intended before it is made, deleted when it is over"
                );
            }
            let ratios = ran.entries.iter().filter_map(|entry| match &entry.record {
                Record::Sampled { probe, value, .. } if probe == "client" => *value,
                _ => None,
            });
            let worst = ratios.fold(0.0, f64::max);
            (tally.failed() as f64 / tally.sent as f64, worst)
        })
    };
    let (runner, pod) = (seen("Runner"), seen("Pod"));
    assert!((runner.0 - pod.0).abs() < 0.01, "{runner:?} and {pod:?}");
    assert!((runner.1 - pod.1).abs() < 0.25, "the worst sample: {runner:?} and {pod:?}");
}

#[test]
fn a_rehearsed_load_from_a_pod_is_the_same_for_the_same_seed() {
    let once = || {
        in_virtual_time(async {
            let stage = Stage::new(&shop_with_secret(), 7).await;
            let ran = stage.run(stage.request(&shoppers("Pod", KILL), 9)).await.expect("not refused");
            serde_json::to_string(&ran.entries).expect("JSON")
        })
    };
    assert_eq!(once(), once());
}

#[test]
fn a_step_that_a_pod_sends_is_over_when_it_is_over() {
    for more in [
        "duration: 30s",
        "duration: 30s\n    background: true\n  - wait: 10s",
        "background: true\n  - wait: 30s\n  - name: enough\n    revert: surge",
    ] {
        in_virtual_time(async {
            let stage = Stage::new(&shop(), 7).await;
            let before = stage.state();
            let ran = stage.run(stage.request(&surge(more), 7)).await.expect("not refused");
            assert_eq!(ran.verdict(), Verdict::Passed, "{more}: {:#?}", ran.entries.last());
            let [("surge", tally)] = tallies(&ran.entries)[..] else { panic!("one load") };
            assert!((2_300..3_900).contains(&tally.sent), "{more}: {tally:?}");
            assert_eq!((stage.state(), senders(&stage)), (before, Vec::new()));
            let offered =
                || stage.cluster.metrics().totals("shop", "checkout").expect("it has traffic").offered;
            let left = offered();
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert!((offered() - left).abs_diff(12_000) < 600, "{more}: its own 200 a second and no more");
        });
    }
}

#[test]
fn ctrl_c_ends_it_while_its_pod_is_being_made_and_while_it_sends() {
    for at in ["LoadPodIntended", "LoadStarted"] {
        for text in [shoppers("Pod", KILL), surge("duration: 10m")] {
            in_virtual_time(async {
                let stage = Stage::new(&shop_with_secret(), 7).await;
                let ran = stage.run_with(stage.request(&text, 7), move |entry, tx| {
                    let value = serde_json::to_value(entry).expect("JSON");
                    if value["type"] == at {
                        let stop = Outside::Stop(StopReason::Signal, "Ctrl-C".to_owned());
                        tx.send(stop).expect("it listens");
                    }
                });
                let ran = ran.await.expect("not refused");
                assert_eq!(ran.verdict(), Verdict::Aborted, "{at}");
                assert_eq!(ran.outcome.expect("an end").residue, Vec::new());
                assert_eq!(senders(&stage), Vec::<Value>::new(), "{at}");
            });
        }
    }
}

/// A load that nobody sends proves nothing: neither when its pod never begins nor when it is taken away.
#[test]
fn a_pod_that_does_not_send_is_never_a_pass() {
    in_virtual_time(async {
        let stage = Stage::new(&shop_with_secret(), 7).await;
        let mut request = stage.request(&shoppers("Pod", KILL), 7);
        request.environment.image = "registry.invalid/firedrill:1".to_owned();
        let ran = stage.run(request).await.expect("not refused");
        assert_eq!(ran.verdict(), Verdict::Inconclusive);
        let said = serde_json::to_string(&ran.entries).expect("JSON");
        assert!(said.contains("did not begin within 1m30s: ImagePullBackOff"), "{said}");
        assert!(!ran.entries.iter().any(|entry| matches!(entry.record, Record::InjectIntended { .. })));
        assert_eq!(senders(&stage), Vec::<Value>::new());
    });
    in_virtual_time(async {
        let stage = Stage::new(&shop(), 7).await;
        let (person, store) = (Person::of(&stage), stage.cluster.sim().store().clone());
        let delete = once(
            |record| matches!(record, Record::LoadStarted { .. }),
            move || {
                let (person, store) = (person.clone(), store.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_secs(20)).await;
                    for pod in store.list(&Kind::POD, Some("shop"), &Selector::everything()) {
                        if pod.meta.labels.contains_key("firedrill.dev/load") {
                            person.delete(&ObjectRef::pod("shop", &pod.meta.name)).await;
                        }
                    }
                });
            },
        );
        let request = stage.request(&surge("duration: 2m"), 7);
        let ran = stage.run_with(request, move |entry, _| delete(entry)).await.expect("not refused");
        assert_eq!(ran.verdict(), Verdict::Inconclusive);
        let stop = &ran.entries[place(&ran.entries, |record| matches!(record, Record::StopRequested { .. }))];
        let said = serde_json::to_string(stop).expect("JSON");
        assert!(said.contains("NoEffect") && said.contains("has said nothing"), "{said}");
    });
}

/// What a policy keeps from the pods of a namespace it keeps from the one that sends.
#[test]
fn policies_hold_up_a_pod_that_sends() {
    let mut objects = shop();
    objects.push(json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "shut", "namespace": "shop"},
        "spec": {"podSelector": {"matchLabels": {"app": "checkout"}}, "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"ipBlock": {"cidr": "203.0.113.0/24"}}]}]}}));
    in_virtual_time(async {
        let stage = Stage::new(&objects, 7).await;
        let ran = stage.run(stage.request(&surge("duration: 20s"), 7)).await.expect("not refused");
        let [(_, tally)] = tallies(&ran.entries)[..] else { panic!("one load") };
        assert_eq!((ran.verdict(), tally.answered), (Verdict::Inconclusive, 0), "{tally:?}");
        assert!(tally.timed_out > 1000, "{tally:?}");
    });
}

#[test]
fn what_speaks_against_it_is_said_beforehand() {
    in_virtual_time(async {
        let stage = Stage::new(&shop_with_secret(), 7).await;
        let assessed = async |text: &str| {
            let found = engine::assess(&stage.env, &stage.request(text, 7)).await;
            found.map_or_else(|findings| findings, |assessment| assessment.plan.findings)
        };
        assert_eq!(assessed(&surge("duration: 20s")).await, []);
        let unknown = surge("duration: 20s").replace("checkout.shop.svc", "nobody.shop.svc");
        assert_eq!(codes(&assessed(&unknown).await), ["FD2031"]);
        let mut request = stage.request(
            &surge("duration: 20s").replace("http://checkout.shop.svc/", "http://shop.example.com/"),
            7,
        );
        request.namespace = "monitoring".to_owned();
        let found = engine::assess(&stage.env, &request).await;
        let found = found.map_or_else(|findings| findings, |assessment| assessment.plan.findings);
        assert!(codes(&found).contains(&"FD2003"), "a pod is made there, and nobody has agreed: {found:?}");
        // Nothing of the Secret is read here: the kubelet hands it to the pod.
        let calls: Vec<Finding> = assessed(&shoppers("Pod", KILL)).await;
        assert_eq!(codes(&calls), Vec::<&str>::new());
    });
}

/// The runner is gone: the pod goes on, until somebody puts it back with the journal or without it.
#[test]
fn what_a_dead_runner_leaves_sending_is_found_from_anywhere() {
    for journal in [true, false] {
        in_virtual_time(async {
            let stage = Stage::new(&shop(), 7).await;
            let before = stage.state();
            let less = "  method:\n  - name: less\n    target: {workload: deployment/checkout}\n    scale: {by: -1}\n    background: true\n";
            let text = surge("duration: 30m").replace("  method:\n", less);
            let ran = stage.run_with(stage.request(&text, 7), |entry, tx| {
                if matches!(&entry.record, Record::LoadStarted { .. }) {
                    tx.send(Outside::Leave).expect("it listens");
                }
            });
            let ran = ran.await.expect("not refused");
            let Err(EngineError::Left(run)) = &ran.outcome else { panic!("{:?}", ran.outcome) };
            assert_eq!(senders(&stage).len(), 1, "it goes on");
            if journal {
                let how = crate::crash::rollback(true);
                let outcome = engine::from_journal(&stage.env, run, how).await.expect("an ordinary end");
                assert_eq!(outcome.residue, Vec::new());
            } else {
                let access = Access::new(stage.env.kube.clone());
                let (found, unseen) = engine::from_scars(&access, &[String::new()]).await;
                assert_eq!(unseen, Vec::new());
                assert!(found.iter().any(|left| left.injection.fault == "loadPod"), "{found:?}");
                let results = engine::revert_found(&stage.env, found, &crate::crash::rollback(true)).await;
                assert!(results.expect("answers").iter().all(|(_, result)| result.is_ok()));
            }
            assert_eq!(senders(&stage), Vec::<Value>::new());
            assert_eq!(settles(&stage, &before).await, Vec::<String>::new());
        });
    }
}

/// Nobody comes: its kubelet ends it when the run should long be over.
#[test]
fn what_a_dead_runner_leaves_sending_ends_by_itself() {
    in_virtual_time(async {
        let stage = Stage::new(&shop(), 7).await;
        let less = "  limits: {duration: 3m}\n  method:\n  - name: less\n    target: {workload: deployment/checkout}\n    scale: {by: -1}\n    background: true\n";
        let text = surge("duration: 2m").replace("  method:\n", less);
        let ran = stage.run_with(stage.request(&text, 7), |entry, tx| {
            if matches!(&entry.record, Record::LoadStarted { .. }) {
                tx.send(Outside::Leave).expect("it listens");
            }
        });
        assert!(matches!(ran.await.expect("not refused").outcome, Err(EngineError::Left(_))));
        tokio::time::sleep(Duration::from_secs(360)).await;
        let [pod] = &senders(&stage)[..] else { panic!("it stays to be looked at") };
        assert_eq!(pod["status"]["reason"], "DeadlineExceeded");
        let offered = || stage.cluster.metrics().totals("shop", "checkout").expect("it has traffic").offered;
        let left = offered();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!((offered() - left).abs_diff(12_000) < 600, "its own 200 a second and no more");
    });
}

/// Whoever may label a pod may call it a sender: a rollback deletes nothing for that.
#[test]
fn only_a_pod_that_sends_is_taken_for_one() {
    in_virtual_time(async {
        let stage = Stage::new(&shop(), 7).await;
        let pod = |name: &str, args: Value| {
            let scar = json!({"run": "loaded-abcde", "fault": "loadPod", "epoch": 1, "by": "me",
                "at": "2026-01-01T00:00:00Z", "until": "2026-01-01T00:10:00Z", "undoWith": "firedrill rollback loaded-abcde",
                "before": {"load": name}});
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop",
                "labels": {"firedrill.dev/run": "loaded-abcde", "firedrill.dev/load": name},
                "annotations": {"undo.firedrill.dev/load_x.0": scar.to_string()}},
                "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "docker.io/local/app:1", "args": args}]}})
        };
        let made = [pod("database", json!(["serve"])), pod("firedrill-load-x", json!(["send", "{}"]))];
        stage.cluster.sim().apply_manifests(&made).expect("accepted");
        let access = Access::new(stage.env.kube.clone());
        let (found, _) = engine::from_scars(&access, &[String::new()]).await;
        assert_eq!(found.len(), 2, "both claim to be one: {found:?}");
        engine::revert_found(&stage.env, found, &crate::crash::rollback(true)).await.expect("answers");
        let left: Vec<Value> = senders(&stage).iter().map(|pod| pod["metadata"]["name"].clone()).collect();
        assert_eq!(left, ["database"]);
    });
}
