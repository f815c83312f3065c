//! The agent's pod, exactly as the policy of its namespace demands it. Pure.

use std::time::Duration;

use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::{Action, NAME_LABEL};
use crate::{
    cluster::{AGENT_TTL, RUN_LABEL},
    env::AGENT_CONTAINER,
    types::{Epoch, ObjectRef},
};

/// The longest delay that an agent is told to allow: the policy of its namespace pins it, and a fault that asks for
/// more is refused from the file alone.
pub(in crate::faults) const DELAY_MAX: Duration = Duration::from_secs(60);
/// What an agent may do on its node, and nothing else.
pub(super) const CAPABILITIES: [&str; 6] =
    ["NET_ADMIN", "NET_RAW", "SYS_ADMIN", "SYS_PTRACE", "KILL", "SYS_NICE"];

/// What is asked of an agent's pod.
pub(super) struct Ask<'a> {
    pub pod: &'a ObjectRef,
    pub action: &'a Action,
    pub run: &'a str,
    pub epoch: Epoch,
    /// The scar: key and text.
    pub scar: (&'a str, &'a str),
    /// When the kubelet ends it whatever happens, in seconds.
    pub deadline: u64,
}

/// The arguments of an agent.
fn arguments(ask: &Ask<'_>) -> Vec<String> {
    let deadline = ask.deadline.to_string() + "s";
    let (epoch, ttl) = (ask.epoch.to_string(), format!("{}s", AGENT_TTL.as_secs()));
    let delay = format!("{}s", DELAY_MAX.as_secs());
    let pairs = [
        ("--run", ask.run),
        ("--epoch", &epoch),
        ("--ttl", &ttl),
        ("--deadline", &deadline),
        ("--max-delay", &delay),
        ("--max-loss", "100%"),
    ];
    pairs.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value.to_owned()]).collect()
}

/// The pod.
pub(super) fn manifest(ask: &Ask<'_>) -> Value {
    let unconfined = json!({"type": "Unconfined"});
    let (key, scar) = ask.scar;
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": ask.pod.name, "namespace": ask.pod.namespace,
            "labels": {RUN_LABEL: ask.run, NAME_LABEL.0: NAME_LABEL.1},
            "annotations": {key: scar},
        },
        "spec": {
            "nodeName": ask.action.node,
            "hostPID": true,
            "restartPolicy": "Never",
            "activeDeadlineSeconds": ask.deadline,
            "terminationGracePeriodSeconds": 5,
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "tolerations": [{"operator": "Exists"}],
            "containers": [{
                "name": AGENT_CONTAINER, "image": ask.action.image, "args": arguments(ask),
                "stdin": true, "stdinOnce": false,
                "resources": {
                    "requests": {"cpu": "50m", "memory": "32Mi"}, "limits": {"cpu": "1", "memory": "128Mi"},
                },
                "securityContext": {
                    "runAsUser": 0, "privileged": false, "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"], "add": CAPABILITIES},
                    "seccompProfile": unconfined, "appArmorProfile": unconfined,
                    "seLinuxOptions": {"type": "spc_t"},
                },
            }],
        },
    });
    if !ask.action.pull_secret.is_empty() {
        pod["spec"]["imagePullSecrets"] = json!([{"name": ask.action.pull_secret}]);
    }
    pod
}

/// Whether a pod, as it is now, is nothing but an agent of that run: what a scar may have deleted.
pub(super) fn is_one(pod: &DynamicObject, run: &str) -> bool {
    let label = |key: &str| pod.metadata.labels.as_ref().and_then(|labels| labels.get(key));
    let containers = pod.data["spec"]["containers"].as_array().map_or(&[][..], Vec::as_slice);
    label(RUN_LABEL).is_some_and(|of| of == run)
        && label(NAME_LABEL.0).is_some_and(|name| name == NAME_LABEL.1)
        && pod.metadata.owner_references.as_ref().is_none_or(Vec::is_empty)
        && matches!(containers, [only] if only["name"] == AGENT_CONTAINER && only["args"][0] == "--run" && only["args"][1] == run)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> Value {
        let action = Action {
            node: "n1".to_owned(),
            image: "firedrill/firedrill-agent:1".to_owned(),
            pull_secret: String::new(),
            pods: Vec::new(),
        };
        manifest(&Ask {
            pod: &ObjectRef::pod("firedrill-agents", "firedrill-agent-0"),
            action: &action,
            run: "trial-abcde",
            epoch: Epoch(1),
            scar: ("undo.firedrill.dev/Agents.0", "{}"),
            deadline: 600,
        })
    }

    #[test]
    fn nothing_of_the_node_but_its_processes_is_shared_and_no_capability_is_one_too_many() {
        let pod = made();
        let spec = &pod["spec"];
        assert_eq!(spec["hostPID"], true);
        for absent in ["hostNetwork", "hostIPC", "volumes", "serviceAccountName", "imagePullSecrets"] {
            assert!(spec[absent].is_null(), "{absent}");
        }
        let context = &spec["containers"][0]["securityContext"];
        assert_eq!(context["capabilities"]["drop"], json!(["ALL"]));
        assert_eq!(context["capabilities"]["add"], json!(CAPABILITIES));
        assert!(spec["activeDeadlineSeconds"].is_u64() && spec["automountServiceAccountToken"] == false);
        for absent in ["command", "env", "volumeMounts", "ports"] {
            assert!(spec["containers"][0][absent].is_null(), "{absent}");
        }
    }

    /// Whoever may label a pod may call it an agent: a rollback must not delete it for that.
    #[test]
    fn only_an_agent_is_taken_for_one() {
        let is = |value: Value, run: &str| {
            let pod: DynamicObject = serde_json::from_value(value).expect("a pod");
            is_one(&pod, run)
        };
        assert!(is(made(), "trial-abcde") && !is(made(), "another"));
        for (pointer, value) in [
            ("/metadata/labels/app.kubernetes.io~1name", json!("shop")),
            ("/spec/containers/0/name", json!("main")),
            ("/spec/containers/0/args/1", json!("another")),
            ("/spec/containers", json!([])),
        ] {
            let mut other = made();
            *other.pointer_mut(pointer).expect("it has that") = value;
            assert!(!is(other, "trial-abcde"), "{pointer}");
        }
    }
}
