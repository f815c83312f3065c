//! The witness: a pod beside the targets to which the very same policy applies, and which tries to connect.
//!
//! It runs `firedrill connect` and nothing else, holds no label of any application, and needs no privilege: Pod
//! Security `restricted` lets it in. What it prints is read through the API server, which no policy stands between.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    cluster::{Access, ApiError, RUN_LABEL},
    types::{Attempt, ObjectRef},
};

/// The label of a witness: which policy it is about.
pub(super) const WITNESS: &str = "firedrill.dev/witness";
/// The annotation that says, when the policy begins to apply to it, what it could reach until then.
pub(super) const REACHED: &str = "firedrill.dev/reached";
/// Lines of its log that are read: two rounds of all addresses.
const LINES: u32 = 256;
/// The user of the image, who is not root (the number that distroless images have).
const USER: u32 = 65532;

/// What is asked of a witness.
pub(super) struct Ask<'a> {
    /// Which pod.
    pub pod: &'a ObjectRef,
    /// The policy that it is about: name, and UID once it is there.
    pub policy: (&'a str, Option<&'a str>),
    /// The run.
    pub run: &'a str,
    /// The scar: key and text.
    pub scar: (&'a str, &'a str),
    /// The image of firedrill.
    pub image: &'a str,
    /// What to connect to.
    pub addresses: &'a [String],
    /// The node of a target, where it runs best: another node's plugin may not enforce what this one's does.
    pub node: &'a str,
    /// When the kubelet ends it whatever happens, in seconds.
    pub deadline: u64,
}

/// The pod.
pub(super) fn manifest(ask: &Ask<'_>) -> Value {
    let (policy, uid) = ask.policy;
    let args: Vec<&str> =
        std::iter::once("connect").chain(ask.addresses.iter().map(String::as_str)).collect();
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": ask.pod.name, "namespace": ask.pod.namespace,
            "labels": {RUN_LABEL: ask.run, WITNESS: policy},
            "annotations": {ask.scar.0: ask.scar.1},
        },
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": ask.deadline,
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": USER, "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": "witness", "image": ask.image, "args": args,
                "resources": {
                    "requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "100m", "memory": "64Mi"},
                },
                "securityContext": {
                    "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]},
                },
            }],
        },
    });
    if !ask.node.is_empty() {
        let there = json!([{"key": "metadata.name", "operator": "In", "values": [ask.node]}]);
        let preferred = json!([{"weight": 100, "preference": {"matchFields": there}}]);
        pod["spec"]["affinity"] =
            json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}});
    }
    if let Some(uid) = uid {
        // Gone with its policy, whoever deletes that.
        pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "name": policy, "uid": uid}]);
    }
    pod
}

/// Whether a pod, as it is now, is nothing but a witness of that policy: what a scar may have deleted.
pub(super) fn is_one(pod: &kube::api::DynamicObject, policy: &str) -> bool {
    let label = pod.metadata.labels.as_ref().and_then(|labels| labels.get(WITNESS));
    let containers = pod.data["spec"]["containers"].as_array().map_or(&[][..], Vec::as_slice);
    label.is_some_and(|of| of == policy)
        && pod.data["spec"]["restartPolicy"] == "Never"
        && matches!(containers, [only] if only["args"][0] == "connect")
}

/// What it could reach, and in which round, when the policy began to apply to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reached {
    pub round: u64,
    pub addresses: BTreeSet<String>,
}

/// How it goes since the policy applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Now {
    /// It has not tried again yet.
    Unknown,
    /// It still connects, for example there.
    Open(String),
    /// Nothing of it answers any more.
    Cut,
}

/// Everything that a witness has said so far, as far as it was read: by round, whether each address answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Log(BTreeMap<u64, BTreeMap<String, bool>>);

impl Log {
    /// Reads on. A container that has not started has said nothing.
    pub(super) async fn read(&mut self, access: &Access, pod: &ObjectRef) -> Result<(), ApiError> {
        match access.log(pod, LINES).await {
            Ok(text) => {
                self.take(&text);
                Ok(())
            }
            // ContainerCreating.
            Err(ApiError::Invalid(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn take(&mut self, text: &str) {
        // The first line may have been cut in two.
        let attempts = text.lines().filter_map(|line| serde_json::from_str::<Attempt>(line).ok());
        for Attempt { round, address, connected, .. } in attempts {
            self.0.entry(round).or_default().insert(address, connected);
        }
    }

    /// What answered in the last round in which anything did.
    pub(super) fn reached(&self) -> Option<Reached> {
        let (round, answers) = self.0.iter().rev().find(|(_, answers)| answers.values().any(|open| *open))?;
        let open = answers.iter().filter(|(_, open)| **open);
        Some(Reached { round: *round, addresses: open.map(|(address, _)| address.clone()).collect() })
    }

    /// What it has found since. The round after the last may have been under way, so it does not count; two that
    /// fail one after the other are no accident.
    pub(super) fn since(&self, before: &Reached) -> Now {
        let mut rounds = self.0.range(before.round.saturating_add(2)..).rev();
        let (Some((_, last)), Some((_, other))) = (rounds.next(), rounds.next()) else {
            return Now::Unknown;
        };
        let open = |answers: &BTreeMap<String, bool>| {
            before.addresses.iter().find(|address| answers.get(*address) != Some(&false)).cloned()
        };
        match open(last).or_else(|| open(other)) {
            Some(address) => Now::Open(address),
            None => Now::Cut,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(rounds: &[(u64, &[(&str, bool)])]) -> Log {
        let mut log = Log::default();
        for (round, answers) in rounds {
            for (address, connected) in *answers {
                let attempt = Attempt {
                    round: *round,
                    address: (*address).to_owned(),
                    connected: *connected,
                    error: String::new(),
                };
                log.take(&format!("half a line\n{}\n", serde_json::to_string(&attempt).expect("plain data")));
            }
        }
        log
    }

    #[test]
    fn a_cut_is_seen_when_nothing_that_answered_answers_any_more() {
        let before = Reached { round: 4, addresses: BTreeSet::from(["db:1".to_owned(), "db:2".to_owned()]) };
        let both = |open: bool| [("db:1", open), ("db:2", open)];
        assert_eq!(
            log(&[(4, &both(true)), (5, &both(false)), (6, &both(false))]).since(&before),
            Now::Unknown
        );
        assert_eq!(log(&[(6, &both(false)), (7, &both(false))]).since(&before), Now::Cut);
        let half: &[(&str, bool)] = &[("db:1", false), ("db:2", true)];
        assert_eq!(log(&[(6, &both(false)), (7, half)]).since(&before), Now::Open("db:2".to_owned()));
        assert_eq!(log(&[(6, &both(true)), (7, &both(false))]).since(&before), Now::Open("db:1".to_owned()));
        // Half of a round is no round.
        let missing: &[(&str, bool)] = &[("db:1", false)];
        assert_eq!(log(&[(6, &both(false)), (7, missing)]).since(&before), Now::Open("db:2".to_owned()));
    }

    #[test]
    fn what_never_answered_is_not_expected_to_stop() {
        let found = log(&[(0, &[("db:1", false), ("db:2", false)]), (1, &[("db:1", false), ("db:2", true)])]);
        let reached = found.reached().expect("one answered");
        assert_eq!(reached, Reached { round: 1, addresses: BTreeSet::from(["db:2".to_owned()]) });
        assert_eq!(log(&[(0, &[("db:1", false)])]).reached(), None);
    }

    /// Whoever may label a pod may call it a witness: a rollback must not delete it for that.
    #[test]
    fn only_a_witness_is_taken_for_one() {
        let pod = ObjectRef::pod("shop", "cut-witness");
        let ask = Ask {
            pod: &pod,
            policy: ("cut", Some("uid")),
            run: "trial-abcde",
            scar: ("undo.firedrill.dev/cut.0", "{}"),
            image: "firedrill:1",
            addresses: &["db.shop.svc:5432".to_owned()],
            node: "n1",
            deadline: 60,
        };
        let is = |value: Value, policy: &str| {
            let pod: kube::api::DynamicObject = serde_json::from_value(value).expect("a pod");
            is_one(&pod, policy)
        };
        let made = manifest(&ask);
        assert!(is(made.clone(), "cut"));
        assert!(!is(made.clone(), "another"));
        for (pointer, value) in [
            ("/spec/restartPolicy", json!("Always")),
            ("/spec/containers/0/args/0", json!("serve")),
            ("/spec/containers", json!([])),
            ("/metadata/labels", json!({})),
        ] {
            let mut other = made.clone();
            *other.pointer_mut(pointer).expect("it has that") = value;
            assert!(!is(other, "cut"), "{pointer}");
        }
    }
}
