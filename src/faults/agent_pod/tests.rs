//! What a node answers that cannot do it.

use super::*;
use crate::agent::wire::{Cgroup, Lack, Nfqueue};

fn action() -> Action {
    Action {
        node: "n1".to_owned(),
        image: "agent:1".to_owned(),
        pull_secret: String::new(),
        pods: Vec::new(),
    }
}

fn features(nfqueue: Nfqueue, lacking: Vec<Lack>) -> Features {
    Features {
        kernel: "5.4.0".to_owned(),
        arch: "x86_64".to_owned(),
        nfqueue,
        cgroup: Cgroup::V2,
        realtime: false,
        lacking,
    }
}

#[test]
fn a_kernel_without_a_queue_of_packets_is_named_with_what_would_give_it_one() {
    let lack = Lack {
        what: "nfqueue".into(),
        why: "No such file or directory".to_owned(),
        remedy: "Load the modules nfnetlink_queue and nft_queue.".into(),
    };
    let found = lacking(&action(), &features(Nfqueue::Missing, vec![lack])).expect("it is refused");
    assert_eq!((found.code, found.subject.as_str()), (on_node::AGENT_KERNEL, "node/n1"));
    assert!(found.message.contains("nfqueue: No such file"), "{}", found.message);
    assert!(found.remedy.contains("nfnetlink_queue"), "{}", found.remedy);
    // One that says nothing of why is refused as well.
    assert!(lacking(&action(), &features(Nfqueue::Missing, Vec::new())).is_some());
}

#[test]
fn what_only_makes_delays_less_exact_is_no_reason_not_to_run() {
    let lack =
        Lack { what: "realtime".into(), why: "refused".to_owned(), remedy: "Give it SYS_NICE.".into() };
    for way in [Nfqueue::Native, Nfqueue::Compat] {
        assert_eq!(lacking(&action(), &features(way, vec![lack.clone()])), None);
    }
}

#[test]
fn a_pod_that_will_never_run_says_why() {
    let waits = |reason: &str| -> DynamicObject {
        let status = json!({"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": reason, "message": "so"}}}]});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "status": status});
        serde_json::from_value(pod).expect("a pod")
    };
    for (reason, remedy) in [
        ("ErrImagePull", "--agent-image"),
        ("ErrImageNeverPull", "--agent-image"),
        ("RunContainerError", "firedrill doctor"),
    ] {
        let found = hopeless(&waits(reason), &action()).expect("hopeless");
        assert!(found.remedy.contains(remedy) && found.message.contains(reason), "{found:?}");
    }
    assert_eq!(hopeless(&waits("ContainerCreating"), &action()), None);
}
