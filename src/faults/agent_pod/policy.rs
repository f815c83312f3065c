//! What lets the agent's pod into its namespace, and no other: the namespace, and admission policies. Pure.

use serde_json::{Value, json};

use super::manifest::{CAPABILITIES, DELAY_MAX};
use crate::{
    cluster::AGENT_TTL,
    env::AGENT_CONTAINER,
    types::{AGENT_POD, AgentSettings},
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

/// What lets nobody but these users, as the API server names them, place agents there and attach to them.
pub fn only_by(settings: &AgentSettings, users: &[&str]) -> Vec<Value> {
    let namespace = &settings.namespace;
    let rules = json!([
        {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]},
        {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CONNECT"], "resources": ["pods/attach"]},
    ]);
    let who = (
        format!("request.userInfo.username in [{}]", list(users)),
        "agents here are not yours to place or to attach to",
    );
    policy(&format!("{namespace}-users.firedrill.dev"), namespace, &rules, &[who])
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

type Rule = (String, &'static str);

/// What the pod has to be, each with what is said of one that is not.
fn exact(settings: &AgentSettings) -> Vec<Rule> {
    [container(settings), pod(settings)].concat()
}

const ONLY: &str = "object.spec.containers[0]";

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

fn list(of: &[&str]) -> String {
    of.iter().map(|one| quoted(one)).collect::<Vec<_>>().join(", ")
}

/// That a list of the pod's spec is absent or empty.
fn empty(field: &str) -> String {
    format!("(!has(object.spec.{field}) || object.spec.{field}.size() == 0)")
}

fn container(settings: &AgentSettings) -> Vec<Rule> {
    let none = |fields: &[&str]| {
        fields.iter().map(|field| format!("!has({ONLY}.{field})")).collect::<Vec<_>>().join(" && ")
    };
    let context = format!("{ONLY}.securityContext");
    let (ttl, delay) = (format!("{}s", AGENT_TTL.as_secs()), format!("{}s", DELAY_MAX.as_secs()));
    // Of a name of a run what it is made of (RunId), so that it is no flag.
    let run = "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$";
    let args = [
        ("--run", run.to_owned()),
        ("--epoch", "^[0-9]+$".to_owned()),
        ("--ttl", format!("^{ttl}$")),
        ("--deadline", "^[0-9]+$".to_owned()),
        ("--max-delay", format!("^{delay}$")),
        ("--max-loss", "^100%$".to_owned()),
    ];
    let pair = |(at, (flag, value)): (usize, &(&str, String))| {
        let (flag, value, at) = (quoted(flag), quoted(value), at * 2);
        format!("{ONLY}.args[{at}] == {flag} && {ONLY}.args[{}].matches({value})", at + 1)
    };
    let pairs: Vec<String> = args.iter().enumerate().map(pair).collect();
    let (agent, image) = (quoted(AGENT_CONTAINER), quoted(&settings.image));
    vec![
        (
            format!(
                "object.spec.containers.size() == 1 && {} && {}",
                empty("initContainers"),
                empty("ephemeralContainers")
            ),
            "one container and no other",
        ),
        (
            format!("{ONLY}.name == {agent} && {ONLY}.image == {image}"),
            "the agent's image and no other (firedrill agents manifests --agent-image)",
        ),
        (
            none(&[
                "command",
                "env",
                "envFrom",
                "ports",
                "volumeMounts",
                "volumeDevices",
                "lifecycle",
                "livenessProbe",
                "readinessProbe",
                "startupProbe",
                "workingDir",
            ]),
            "no command, environment, port, mount, hook or probe",
        ),
        (
            format!("has({ONLY}.args) && {ONLY}.args.size() == {} && {}", args.len() * 2, pairs.join(" && ")),
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
    ]
}

fn pod(settings: &AgentSettings) -> Vec<Rule> {
    let no = |field: &str| format!("(!has(object.spec.{field}) || !object.spec.{field})");
    // The chart fills the name in, which may be none: no Secret is called so.
    let secrets = format!(
        "(!has(object.spec.imagePullSecrets) || object.spec.imagePullSecrets.all(s, s.name == {}))",
        quoted(&settings.pull_secret)
    );
    vec![
        (
            [
                "object.spec.hostPID".to_owned(),
                no("hostNetwork"),
                no("hostIPC"),
                no("shareProcessNamespace"),
                empty("volumes"),
                empty("resourceClaims"),
            ]
            .join(" && "),
            "nothing of the node but its processes, and no volume",
        ),
        (
            format!(
                "has(object.spec.automountServiceAccountToken) && !object.spec.automountServiceAccountToken \
                 && (!has(object.spec.serviceAccountName) || object.spec.serviceAccountName in ['', 'default']) && {secrets}"
            ),
            "no identity, and no secret but the one that its image is pulled with",
        ),
        (
            format!(
                "object.spec.restartPolicy == 'Never' && has(object.spec.activeDeadlineSeconds) \
                 && object.spec.activeDeadlineSeconds <= {DEADLINE_MAX}"
            ),
            "an end of its own",
        ),
        (
            format!(
                "object.metadata.name.matches('^{AGENT_POD}[0-9a-f]{{8}}$') \
                 && object.metadata.?labels[?'firedrill.dev/run'].orValue('') == {ONLY}.args[1]"
            ),
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
