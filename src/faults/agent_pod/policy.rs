//! What lets the agent's pod into its namespace, and no other: the namespace, and admission policies. Pure.

use serde_json::{Value, json};

use super::manifest::{CAPABILITIES, DELAY_MAX};
use crate::{
    cluster::AGENT_TTL,
    env::AGENT_CONTAINER,
    types::{AgentSettings, RunId},
};

/// An agent that nobody tells to end is ended by its kubelet after so long, in seconds.
const DEADLINE_MAX: u32 = 24 * 60 * 60;

/// Everything that has to be there before agents can be placed, in the order in which it is applied.
pub fn manifests(settings: &AgentSettings) -> Vec<Value> {
    let namespace = &settings.namespace;
    let labels = json!({
        "pod-security.kubernetes.io/enforce": "privileged",
        "pod-security.kubernetes.io/warn": "privileged",
        "app.kubernetes.io/name": "firedrill",
    });
    let pods = json!([
        {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["pods"]},
    ]);
    let doors = json!([
        {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["pods/ephemeralcontainers"]},
        {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CONNECT"],
            "resources": ["pods/exec", "pods/portforward", "pods/proxy"]},
    ]);
    let closed = [("false".to_owned(), "agents are attached to, and nothing else")];
    [
        vec![json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}})],
        policy(&format!("{namespace}.firedrill.dev"), namespace, &pods, &exact(settings)),
        policy(&format!("{namespace}-doors.firedrill.dev"), namespace, &doors, &closed),
    ]
    .concat()
}

/// A policy and its binding.
fn policy(name: &str, namespace: &str, rules: &Value, validations: &[(String, &str)]) -> Vec<Value> {
    let of = |(expression, message): &(String, &str)| json!({"expression": expression, "message": format!("firedrill: {message}"), "reason": "Forbidden"});
    let validations: Vec<Value> = validations.iter().map(of).collect();
    let there = json!({"matchLabels": {"kubernetes.io/metadata.name": namespace}});
    let api = "admissionregistration.k8s.io/v1";
    vec![
        json!({
            "apiVersion": api, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"namespaceSelector": there, "resourceRules": rules},
                "validations": validations,
            },
        }),
        json!({
            "apiVersion": api, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
            "spec": {"policyName": name, "validationActions": ["Deny"], "matchResources": {"namespaceSelector": there}},
        }),
    ]
}

/// What the pod has to be, each with what is said of one that is not.
fn exact(settings: &AgentSettings) -> Vec<(String, &'static str)> {
    const SPEC: &str = "object.spec";
    const ONLY: &str = "object.spec.containers[0]";
    let quoted = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
    let list = |of: &[&str]| of.iter().map(|one| quoted(one)).collect::<Vec<_>>().join(", ");
    let none = |of: &str, fields: &[&str]| {
        fields.iter().map(|field| format!("!has({of}.{field})")).collect::<Vec<_>>().join(" && ")
    };
    let no = |field: &str| format!("(!has({SPEC}.{field}) || !{SPEC}.{field})");
    let empty = |field: &str| format!("(!has({SPEC}.{field}) || {SPEC}.{field}.size() == 0)");
    let context = format!("{ONLY}.securityContext");
    let secrets = if settings.pull_secret.is_empty() {
        empty("imagePullSecrets")
    } else {
        let name = quoted(&settings.pull_secret);
        format!("(!has({SPEC}.imagePullSecrets) || {SPEC}.imagePullSecrets.all(s, s.name == {name}))")
    };
    // What a name of a run is made of (RunId), and no flag.
    let run = quoted("^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$");
    debug_assert!(RunId::parse("a.b-c").is_some());
    let (ttl, delay) = (AGENT_TTL.as_secs(), DELAY_MAX.as_secs());
    vec![
        (
            format!("{SPEC}.containers.size() == 1 && {} && {}", empty("initContainers"), empty("ephemeralContainers")),
            "one container and no other",
        ),
        (
            format!("{ONLY}.name == {} && {ONLY}.image == {}", quoted(AGENT_CONTAINER), quoted(&settings.image)),
            "the agent's image and no other (firedrill agents manifests --agent-image)",
        ),
        (
            none(ONLY, &[
                "command", "env", "envFrom", "ports", "volumeMounts", "volumeDevices", "lifecycle", "livenessProbe",
                "readinessProbe", "startupProbe", "workingDir",
            ]),
            "no command, environment, port, mount, hook or probe",
        ),
        (
            format!(
                "has({ONLY}.args) && {ONLY}.args.size() == 12 && {ONLY}.args[0] == '--run' && {ONLY}.args[1].matches({run}) \
                 && {ONLY}.args[2] == '--epoch' && {ONLY}.args[3].matches('^[0-9]+$') && {ONLY}.args[4] == '--ttl' \
                 && {ONLY}.args[5] == '{ttl}s' && {ONLY}.args[6] == '--deadline' && {ONLY}.args[7].matches('^[0-9]+s$') \
                 && {ONLY}.args[8] == '--max-delay' && {ONLY}.args[9] == '{delay}s' && {ONLY}.args[10] == '--max-loss' \
                 && {ONLY}.args[11] == '100%'"
            ),
            "the agent's arguments and no others",
        ),
        (
            format!(
                "has({context}) && {context}.capabilities.drop == ['ALL'] && {context}.capabilities.add.all(c, c in [{}]) \
                 && (!has({context}.privileged) || !{context}.privileged) && {context}.readOnlyRootFilesystem \
                 && (!has({context}.procMount) || {context}.procMount == 'Default')",
                list(&CAPABILITIES)
            ),
            "the agent's capabilities and no more, not privileged, nothing writable",
        ),
        (
            format!(
                "{SPEC}.hostPID && {} && {} && {} && {} && {}",
                no("hostNetwork"), no("hostIPC"), no("shareProcessNamespace"), empty("volumes"), empty("resourceClaims")
            ),
            "nothing of the node but its processes, and no volume",
        ),
        (
            format!(
                "has({SPEC}.automountServiceAccountToken) && !{SPEC}.automountServiceAccountToken \
                 && (!has({SPEC}.serviceAccountName) || {SPEC}.serviceAccountName in ['', 'default']) && {secrets}"
            ),
            "no identity, and no secret but the one that its image is pulled with",
        ),
        (
            format!(
                "{SPEC}.restartPolicy == 'Never' && has({SPEC}.activeDeadlineSeconds) \
                 && {SPEC}.activeDeadlineSeconds <= {DEADLINE_MAX}"
            ),
            "an end of its own",
        ),
        (
            "object.metadata.name.matches('^firedrill-agent-[0-9a-f]{8}$') \
             && object.metadata.?labels[?'firedrill.dev/run'].orValue('') == object.spec.containers[0].args[1]"
                .to_owned(),
            "the name and the run that it says it is of",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_namespace_and_image_are_in_every_rule_that_names_them() {
        let settings = AgentSettings {
            image: "mirror.example.com/firedrill-agent@sha256:ab".to_owned(),
            namespace: "drills".to_owned(),
            pull_secret: "mirror".to_owned(),
        };
        let text = serde_json::to_string(&manifests(&settings)).expect("plain data");
        assert!(text.contains("mirror.example.com/firedrill-agent@sha256:ab") && text.contains("'mirror'"));
        assert!(!text.contains(crate::types::AGENT_NAMESPACE), "{text}");
    }
}
