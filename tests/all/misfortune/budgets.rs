//! Evictions under a budget: all of its room, never more, and in step with what it becomes meanwhile.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use firedrill::{
    cluster::JsonPatch,
    journal::{Entry, Record},
    sim::{
        apiserver::mischief::{Action, Matcher, Rule, Turn},
        store::{Kind, Selector, Store},
    },
    types::{ObjectRef, Verdict},
};
use serde_json::{Value, json};

use super::{Person, Shared, assert_sound, once};
use crate::{
    crash::house::{deployment, experiment_of, house, method, settled_with},
    kit::{Stage, in_virtual_time},
};

const PODS: usize = 12;
const MAX_UNAVAILABLE: usize = 3;
/// Evictions in all: six pods of it on the nodes that are drained, and two of another.
const EVICTIONS: u64 = 8;

/// The house with twelve pods under a budget of three; half of them are on the nodes that are drained.
async fn roomy() -> Stage {
    let mut objects = house();
    for object in &mut objects {
        match (object["kind"].as_str(), object["metadata"]["name"].as_str()) {
            (Some("PodDisruptionBudget"), _) => object["spec"]["maxUnavailable"] = json!(MAX_UNAVAILABLE),
            (Some("Deployment"), Some("web")) => {
                *object = deployment("web", PODS as u32);
                // Longer than evictions take one after another.
                object["spec"]["template"]["metadata"]["annotations"]["sim.firedrill.dev/startup"] =
                    json!("5s");
            }
            _ => {}
        }
    }
    settled_with(&objects, 6).await
}

fn drain() -> String {
    experiment_of("value >= 12.0", "\"true\"", &[method("nodeDrain")])
}

/// Pods of web that serve: ready, and not on their way out.
fn serving(store: &Store) -> usize {
    let pods = store.list(&Kind::POD, Some("shop"), &Selector::everything());
    let serves = |pod: &Value| {
        let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
        pod["metadata"]["labels"]["app"] == "web"
            && pod["metadata"]["deletionTimestamp"].is_null()
            && conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
    };
    pods.iter().filter(|pod| serves(&pod.to_value())).count()
}

/// The pods whose eviction was asked for since the recording began, dry runs aside: those come before the intent.
fn asked(stage: &Stage) -> Vec<String> {
    let calls = stage.cluster.sim().mischief().recorded();
    calls.into_iter().filter(|call| call.resource == "pods/eviction").map(|call| call.name).collect()
}

/// Samples how many serve, ever after; the fewest so far.
fn fewest(stage: &Stage) -> Shared<usize> {
    let least = Arc::new(Mutex::new(usize::MAX));
    let (kept, store) = (least.clone(), stage.cluster.sim().store().clone());
    tokio::spawn(async move {
        loop {
            let now = serving(&store);
            {
                let mut least = kept.lock().expect("nothing panics while holding it");
                *least = (*least).min(now);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    least
}

/// From the first intent on calls are recorded.
fn recording(stage: &Stage) -> impl Fn(&Entry) + Send + Sync + 'static {
    let mischief = stage.cluster.sim().mischief().clone();
    once(|record| matches!(record, Record::InjectIntended { .. }), move || mischief.record())
}

/// An eviction that the server has to refuse is one that the budget had no room for.
#[test]
fn evictions_use_all_the_room_of_their_budget_and_never_ask_for_more() {
    in_virtual_time(async {
        let stage = roomy().await;
        // Evictions take a while, and so do the answers to them.
        for call in ["pods/eviction", "pods"] {
            let verb = if call == "pods" { "get" } else { "create" };
            let action = Action::Latency(Duration::from_millis(50));
            stage.cluster.sim().mischief().add(Rule {
                matcher: Matcher::on(verb, call),
                turn: Turn::Every,
                action,
            });
        }
        let (record, least) = (recording(&stage), fewest(&stage));
        let request = stage.request(&drain(), 6);
        let ran = stage.run_with(request, move |entry, _| record(entry)).await.expect("not refused");
        assert_eq!(ran.verdict(), Verdict::Passed);
        assert_sound(&stage, &ran, "roomy");
        let least = *least.lock().expect("nothing panics while holding it");
        assert_eq!(least, PODS - MAX_UNAVAILABLE, "serving at the least");
        let mut asked = asked(&stage);
        let calls = asked.len();
        asked.sort();
        asked.dedup();
        assert!(asked.len() > MAX_UNAVAILABLE, "the budget mattered: {asked:?}");
        assert_eq!(calls, asked.len(), "each pod was asked for once: {asked:?}");
    });
}

/// How long a drain took, and which evictions were asked for, when the server sleeps over the last of them.
async fn drained(asleep: Option<Duration>) -> (jiff::SignedDuration, Vec<String>) {
    let stage = roomy().await;
    let (record, least) = (recording(&stage), fewest(&stage));
    let mischief = stage.cluster.sim().mischief().clone();
    // Those of the plan are dry runs.
    let late = once(
        |record| matches!(record, Record::InjectIntended { .. }),
        move || {
            if let Some(asleep) = asleep {
                mischief.add(Rule {
                    matcher: Matcher::on("create", "pods/eviction"),
                    turn: Turn::Nth(EVICTIONS),
                    action: Action::Latency(asleep),
                });
            }
        },
    );
    let watch = move |entry: &Entry, _: &_| {
        record(entry);
        late(entry);
    };
    let ran = stage.run_with(stage.request(&drain(), 6), watch).await.expect("not refused");
    assert_eq!(ran.verdict(), Verdict::Passed);
    assert_sound(&stage, &ran, "asleep");
    assert!(*least.lock().expect("nothing panics while holding it") >= PODS - MAX_UNAVAILABLE);
    let at = |wanted: fn(&Record) -> bool| {
        ran.entries.iter().rfind(|entry| wanted(&entry.record)).map(|entry| entry.at)
    };
    let begun = at(|record| matches!(record, Record::InjectIntended { .. })).expect("there was an intent");
    let seen = at(|record| matches!(record, Record::EffectSeen { .. })).expect("there was an effect");
    (seen.duration_since(begun), asked(&stage))
}

/// The server sleeps half a second for each conflict on the budget, and nobody is in the way at the end.
#[test]
fn an_eviction_that_the_server_sleeps_over_is_asked_for_again() {
    in_virtual_time(async {
        let (usual, calls) = drained(None).await;
        assert_eq!(calls.len(), EVICTIONS as usize, "{calls:?}");
        let (took, calls) = drained(Some(Duration::from_secs(8))).await;
        assert!(took < usual + jiff::SignedDuration::from_secs(1), "it took {took} instead of {usual}");
        assert_eq!(calls.len(), EVICTIONS as usize + 1, "one was asked for twice: {calls:?}");
    });
}

/// The budget that had room at the look has none at the call, and later has it again.
#[test]
fn a_budget_that_shrinks_between_look_and_call_is_waited_for() {
    in_virtual_time(async {
        let stage = roomy().await;
        let action = Action::Latency(Duration::from_secs(1));
        let matcher = Matcher::on("create", "pods/eviction");
        stage.cluster.sim().mischief().add(Rule { matcher, turn: Turn::Every, action });
        let (record, person, store) =
            (recording(&stage), Person::of(&stage), stage.cluster.sim().store().clone());
        let asked_while_shut: Shared<Option<(usize, usize)>> = Arc::default();
        let (told, mischief) = (asked_while_shut.clone(), stage.cluster.sim().mischief().clone());
        let shut = once(
            |record| matches!(record, Record::InjectIntended { .. }),
            move || {
                let (person, store, told, mischief) =
                    (person.clone(), store.clone(), told.clone(), mischief.clone());
                tokio::spawn(async move {
                    let budget = ObjectRef::namespaced("policy/v1", "PodDisruptionBudget", "shop", "web");
                    let to = |room: usize| JsonPatch::new().add("/spec/maxUnavailable", room);
                    // The first evictions are on their way: each takes a second to arrive.
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    person.patch(&budget, None, to(0)).await;
                    tokio::time::sleep(Duration::from_secs(30)).await;
                    let asked = mischief.recorded();
                    let asked = asked.iter().filter(|call| call.resource == "pods/eviction").count();
                    *told.lock().expect("nothing panics while holding it") = Some((serving(&store), asked));
                    person.patch(&budget, None, to(MAX_UNAVAILABLE)).await;
                });
            },
        );
        let least = fewest(&stage);
        let request = stage.request(&drain(), 6);
        let watch = move |entry: &Entry, _: &_| {
            record(entry);
            shut(entry);
        };
        let ran = stage.run_with(request, watch).await.expect("not refused");
        assert_eq!(ran.verdict(), Verdict::Passed);
        assert_sound(&stage, &ran, "shrunk");
        let (serving, asked) = asked_while_shut
            .lock()
            .expect("nothing panics while holding it")
            .expect("it was shut for a while");
        assert_eq!(serving, PODS, "nothing was evicted under a budget without room");
        // Those that were on their way, one more for each time that the watch showed the budget anew, and one for
        // each wait that came to its end: not a storm.
        assert!((1..=8).contains(&asked), "{asked} evictions were asked for in half a minute");
        let least = *least.lock().expect("nothing panics while holding it");
        assert!(least >= PODS - MAX_UNAVAILABLE, "{least} were serving");
    });
}
