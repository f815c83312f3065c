//! Effects, limits and before-images: what a run promises when nothing goes wrong.

use std::time::Duration;

use firedrill::{
    cluster::JsonPatch,
    faults::FAULTS,
    journal::Record,
    sim::{
        apiserver::mischief::{Action, Matcher, Rule, Turn},
        store::{Kind, Selector},
    },
    types::{ObjectRef, Verdict, codes::guard},
};
use serde_json::json;

use super::{Person, assert_sound, once};
use crate::{
    crash::house::{experiment, method, settled, settled_for, settles},
    kit::in_virtual_time,
};

#[test]
fn what_was_there_before_is_put_back() {
    for fault in FAULTS {
        let fault = fault.info().name;
        in_virtual_time(async {
            let stage = settled_for(fault, 4).await;
            let before = stage.state();
            let ran = stage.run(stage.request(&experiment(&[method(fault)]), 4)).await.expect("not refused");
            assert_eq!(ran.verdict(), Verdict::Passed, "{fault}");
            assert_sound(&stage, &ran, fault);
            assert_eq!(settles(&stage, &before).await, Vec::<String>::new(), "{fault}");
        });
    }
}

/// Pods that are told to go and do not go: a finalizer holds them.
#[test]
fn an_effect_that_nothing_shows_is_never_a_pass() {
    in_virtual_time(async {
        let stage = settled(4).await;
        let delay = Rule {
            matcher: Matcher::on("delete", "pods"),
            turn: Turn::Every,
            action: Action::Latency(Duration::from_secs(1)),
        };
        stage.cluster.sim().mischief().add(delay);
        let (person, store) = (Person::of(&stage), stage.cluster.sim().store().clone());
        let act = move || {
            let (person, store) = (person.clone(), store.clone());
            tokio::spawn(async move {
                for pod in store.list(&Kind::POD, Some("shop"), &Selector::everything()) {
                    let pod = ObjectRef::namespaced("v1", "Pod", "shop", &pod.meta.name);
                    let hold = JsonPatch::new().add("/metadata/finalizers", json!(["example.com/hold"]));
                    person.patch(&pod, None, hold).await;
                }
            });
        };
        let watch = once(|record| matches!(record, Record::InjectIntended { .. }), act);
        let request = stage.request(&experiment(&[method("podKill")]), 4);
        let ran = stage.run_with(request, move |entry, _| watch(entry)).await.expect("not refused");
        assert_eq!(ran.verdict(), Verdict::Inconclusive);
        assert!(ran.entries.iter().any(|entry| matches!(entry.record, Record::EffectMissed { .. })));
        assert_sound(&stage, &ran, "held");
    });
}

/// 70 % of 4 pods are 2, not 3.
#[test]
fn limits_round_down() {
    in_virtual_time(async {
        let stage = settled(4).await;
        let step = method("podKill").replace("count: 2", "count: 3");
        let text = experiment(&[&step]).replace("pods: 100%", "pods: 70%");
        let findings = match stage.run(stage.request(&text, 4)).await {
            Err(findings) => findings,
            Ok(ran) => panic!("{:?}", ran.verdict()),
        };
        assert!(findings.iter().any(|finding| finding.code == guard::POD_LIMIT), "{findings:#?}");
    });
}
