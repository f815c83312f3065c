//! What can go wrong when a zone is lost.

use std::{collections::BTreeSet, time::Duration};

use firedrill::{
    journal::Record,
    sim::{
        apiserver::mischief::{Action, Matcher, Rule, Turn},
        store::{EventType, Kind, Object},
    },
    types::Verdict,
};
use serde_json::Value;

use super::{assert_sound, once};
use crate::{
    crash::house::{experiment, method, settled, settles},
    kit::in_virtual_time,
};

/// The nodes of the zone that is lost.
const ZONE: [&str; 2] = ["n2", "n4"];

fn node_of(pod: &Object) -> String {
    pod.to_value().pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// One of the nodes takes three seconds to close: no pod of the zone goes before, and none comes to it afterwards.
#[test]
fn every_node_of_a_zone_is_closed_before_the_first_pod_goes() {
    in_virtual_time(async {
        let stage = settled(4).await;
        let before = stage.state();
        let mischief = stage.cluster.sim().mischief().clone();
        let slow = move || {
            let matcher = Matcher { name: ZONE[1].to_owned(), ..Matcher::on("patch", "nodes") };
            let action = Action::Latency(Duration::from_secs(3));
            mischief.add(Rule { matcher, turn: Turn::Every, action });
        };
        let watch = once(|record| matches!(record, Record::InjectIntended { .. }), slow);
        let (_, mut events) = stage.cluster.sim().store().list_and_subscribe_everything();
        let request = stage.request(&experiment(&[method("zoneOutage")]), 4);
        let ran = stage.run_with(request, move |entry, _| watch(entry)).await.expect("not refused");
        assert_eq!(ran.verdict(), Verdict::Passed);
        assert_sound(&stage, &ran, "a node that closes late");
        let (mut closed, mut gone) = (BTreeSet::new(), 0);
        while let Some(event) = events.try_next() {
            let (object, name) = (&event.object, event.object.meta.name.clone());
            if object.kind == Kind::NODE && ZONE.contains(&name.as_str()) {
                let shut = object.to_value().pointer("/spec/unschedulable").is_some();
                if shut {
                    closed.insert(name)
                } else {
                    closed.remove(&name)
                };
            } else if object.kind == Kind::POD && ZONE.contains(&node_of(object).as_str()) {
                let leaves = object.terminating() || event.kind == EventType::Deleted;
                let came = event.previous.as_ref().is_none_or(|previous| node_of(previous).is_empty());
                assert!(!leaves || closed.len() == ZONE.len(), "{name} went with only {closed:?} closed");
                assert!(!came || closed.len() < ZONE.len(), "{name} came to a zone that was closed");
                gone += usize::from(leaves);
            }
        }
        assert!(gone > 0, "something was in the zone");
        assert_eq!(settles(&stage, &before).await, Vec::<String>::new());
    });
}
