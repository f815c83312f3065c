//! Machines, and whoever owns them.

use std::time::Duration;

use firedrill::{
    cluster::JsonPatch,
    engine::{self, Outside},
    journal::{InjectOutcome, Record, StopReason},
    sim::{
        apiserver::{
            User,
            mischief::{Action, Matcher, Rule, Turn},
        },
        store::Kind,
    },
    types::{ObjectRef, Verdict, codes::guard},
};
use serde_json::{Value, json};

use super::{Person, assert_sound, once};
use crate::{
    crash::house::{experiment, house_for, object, settled_for, settled_with, settles},
    kit::{Ran, Stage, in_virtual_time},
};

const FAULT: &str = "nodeTerminate";
const END_N1: &str =
    "{name: hit, target: {nodes: {matchLabels: {pool: shop}}, names: [n1], count: all}, nodeTerminate: {}}";

fn machines(stage: &Stage) -> Kind {
    let kind = stage.cluster.sim().store().kind_of("cluster.x-k8s.io/v1beta2", "Machine");
    kind.expect("its definition is among the manifests")
}

fn machine(name: &str) -> ObjectRef {
    ObjectRef::namespaced("cluster.x-k8s.io/v1beta2", "Machine", "infra", name)
}

fn outcomes(ran: &Ran) -> Vec<InjectOutcome> {
    let of = |record: &Record| match record {
        Record::Injected { outcome, .. } => Some(*outcome),
        _ => None,
    };
    ran.entries.iter().filter_map(|entry| of(&entry.record)).collect()
}

/// The machine that was chosen goes meanwhile, and another one gets its name: that one must live.
#[test]
fn a_machine_of_the_same_name_with_a_new_uid_is_not_ended() {
    in_virtual_time(async {
        let stage = settled_for(FAULT, 1).await;
        // The first delete of the run's is its dry run; the second hangs in the network for a while.
        let slow = Rule {
            matcher: Matcher { name: "m-n1".to_owned(), ..Matcher::on("delete", "machines") },
            turn: Turn::Nth(2),
            action: Action::Latency(Duration::from_secs(6)),
        };
        stage.cluster.sim().mischief().add(slow);
        let (person, sim, kind) = (Person::of(&stage), stage.cluster.sim().clone(), machines(&stage));
        let act = move || {
            let (person, sim, kind) = (person.clone(), sim.clone(), kind.clone());
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(500)).await;
                let undrained = json!({"machine.cluster.x-k8s.io/exclude-node-draining": ""});
                let patch = JsonPatch::new().add("/metadata/annotations", undrained);
                person.patch(&machine("m-n1"), None, patch).await;
                sim.store().delete(&kind, "infra", "m-n1", &Default::default()).expect("deleted");
                tokio::time::sleep(Duration::from_secs(2)).await;
                let new = json!({"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
                    "metadata": {"name": "m-n1", "namespace": "infra"},
                    "spec": {"clusterName": "prod", "providerID": "cloud:///new"}});
                sim.apply_manifests(&[new]).expect("created");
            });
        };
        let watch = once(|record| matches!(record, Record::InjectIntended { .. }), act);
        let request = stage.request(&experiment(&[END_N1]), 1);
        let ran = stage.run_with(request, move |entry, _| watch(entry)).await.expect("not refused");
        assert_eq!(outcomes(&ran), [InjectOutcome::TargetGone]);
        assert_eq!(ran.verdict(), Verdict::Inconclusive, "nothing was hit");
        let new = object(&stage, &machines(&stage), "infra", "m-n1");
        assert_eq!(new["spec"]["providerID"], "cloud:///new");
        assert_eq!(new["metadata"]["deletionTimestamp"], Value::Null, "it was never chosen");
    });
}

/// What has begun goes on: the run ends at once, with nothing to put back, and the owner brings another machine.
#[test]
fn an_abort_does_not_call_back_the_end_of_a_machine() {
    in_virtual_time(async {
        let stage = settled_for(FAULT, 1).await;
        let before = stage.state();
        let request = stage.request(&experiment(&[END_N1]), 1);
        let ran = stage.run_with(request, |entry, outside| {
            if matches!(entry.record, Record::Injected { .. }) {
                outside
                    .send(Outside::Stop(StopReason::UserAbort, "somebody".to_owned()))
                    .expect("it listens");
            }
        });
        let ran = ran.await.expect("not refused");
        assert_eq!(ran.verdict(), Verdict::Aborted);
        assert_sound(&stage, &ran, "aborted");
        let outcome = ran.outcome.as_ref().expect("an ordinary end");
        assert_eq!(outcome.residue, Vec::new());
        assert_ne!(stage.state().get("Node /n1"), before.get("Node /n1"), "it is drained, or gone");
        assert_eq!(settles(&stage, &before).await, Vec::<String>::new());
        assert_eq!(stage.state().get("Node /n1"), None);
    });
}

/// An owner that does nothing: the deletion alone is no effect.
#[test]
fn a_machine_whose_owner_never_lets_it_go_is_no_effect() {
    in_virtual_time(async {
        let mut objects = house_for(FAULT);
        let held =
            objects.iter_mut().find(|object| object["metadata"]["name"] == "m-n1").expect("it has one");
        held["metadata"]["annotations"]["pre-terminate.delete.hook.machine.cluster.x-k8s.io/etcd"] =
            json!("me");
        let stage = settled_with(&objects, 1).await;
        let text = experiment(&[END_N1]).replace("duration: 10m", "duration: 40m");
        let ran = stage.run(stage.request(&text, 1)).await.expect("not refused");
        assert_eq!(ran.verdict(), Verdict::Inconclusive);
        assert_sound(&stage, &ran, "held");
        let missed = |record: &Record| matches!(record, Record::EffectMissed { .. });
        assert!(ran.entries.iter().any(|entry| missed(&entry.record)));
        let node = object(&stage, &Kind::NODE, "", "n1");
        assert_eq!(node["spec"]["unschedulable"], true, "drained it was, by its owner");
    });
}

/// Rights on what is not served are nobody's to grant, and are not asked for.
#[test]
fn rights_on_kinds_that_the_server_does_not_know_are_not_asked_for() {
    for (karpenter, asked) in [(true, true), (false, false)] {
        in_virtual_time(async {
            let mut objects = house_for(FAULT);
            objects.retain(|object| karpenter || object["spec"]["group"] != "karpenter.sh");
            let mut stage = settled_with(&objects, 1).await;
            let nobody = User::new("system:serviceaccount:shop:nobody", &["system:authenticated"]);
            stage.env.kube = stage.cluster.sim().client_as(nobody);
            let request = stage.request(&experiment(&[END_N1]), 1);
            let findings = match engine::assess(&stage.env, &request).await {
                Err(findings) => findings,
                Ok(_) => panic!("somebody without any right may look"),
            };
            let of = |resource: &str| {
                findings
                    .iter()
                    .any(|finding| finding.code == guard::NO_RIGHT && finding.message.contains(resource))
            };
            assert!(of("delete machines.cluster.x-k8s.io"), "{findings:#?}");
            assert_eq!(of("nodeclaims.karpenter.sh"), asked, "{findings:#?}");
        });
    }
}
