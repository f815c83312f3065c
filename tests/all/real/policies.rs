//! The policies over Experiments, Runs and nodes, held against the real API server: who may do what.

mod button;
mod hands;
mod nodes;

use std::time::Duration;

use firedrill::controller::manifests::{Installed, Part, manifests};
use http::Request;
use serde_json::{Value, json};

use super::{agents::apply, schema::apply_crds};
use crate::{
    kit,
    scenarios::{bench::Real, blocking},
};

/// Two namespaces, of which one may hit nodes, and people: ada edits, ben only experiments, cy kills pods, eve makes
/// Runs and no more, dora approves, hal is on call, gil makes and patches Guardrails; the account breaker may change nodes.
const PEOPLE: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: stage-door}
---
apiVersion: v1
kind: Namespace
metadata: {name: stage-ops, labels: {firedrill.dev/node-faults: 'true'}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: firedrill, namespace: stage-door}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: killer, namespace: stage-door}
rules:
- {apiGroups: [''], resources: [pods], verbs: [delete]}
- {apiGroups: [''], resources: [serviceaccounts], resourceNames: [firedrill], verbs: [impersonate]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: runner, namespace: stage-door}
rules:
- {apiGroups: [firedrill.dev], resources: [runs], verbs: [create, patch, get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: stage-nodes}
rules:
- {apiGroups: [''], resources: [nodes], verbs: [get, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: stage-rules}
rules:
- {apiGroups: [firedrill.dev], resources: [guardrails], verbs: [create, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: stage-rules}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: stage-rules}
subjects: [{kind: User, apiGroup: rbac.authorization.k8s.io, name: gil}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: stage-halt}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: 'firedrill:halt'}
subjects: [{kind: User, apiGroup: rbac.authorization.k8s.io, name: hal}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: stage-nodes}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: stage-nodes}
subjects: [{kind: ServiceAccount, name: breaker, namespace: stage-ops}]
";

/// Person, the kind of role, the role.
const BOUND: [(&str, &str, &str); 9] = [
    ("ada", "ClusterRole", "edit"),
    ("ada", "ClusterRole", "firedrill:experiment"),
    ("ben", "ClusterRole", "firedrill:experiment"),
    ("cy", "ClusterRole", "firedrill:experiment"),
    ("cy", "Role", "killer"),
    ("eve", "Role", "runner"),
    ("dora", "ClusterRole", "firedrill:approve"),
    ("fay", "ClusterRole", "firedrill:experiment"),
    ("fay", "ClusterRole", "firedrill:approve"),
];

fn people() -> Vec<Value> {
    let bind = |(number, (person, kind, role)): (usize, &(&str, &str, &str))| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": format!("stage-{number}"), "namespace": "stage-door"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": person}],
        })
    };
    [kit::manifests(PEOPLE), BOUND.iter().enumerate().map(bind).collect()].concat()
}

fn experiment(namespace: &str, steps: Value, more: Value) -> Value {
    let mut spec = json!({
        "hypothesis": "It heals.",
        "steadyState": [{"name": "web", "tcp": {"address": "web.stage-door.svc:80"}, "expect": "connected"}],
        "method": steps,
    });
    spec.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
    json!({"apiVersion": "firedrill.dev/v1alpha1", "kind": "Experiment",
        "metadata": {"name": "act", "namespace": namespace}, "spec": spec})
}

fn run(spec: Value) -> Value {
    json!({"apiVersion": "firedrill.dev/v1alpha1", "kind": "Run",
        "metadata": {"generateName": "act-", "namespace": "stage-door"}, "spec": spec})
}

fn by_name(extra: Value) -> Value {
    let mut spec = json!({"experimentRef": {"name": "act"}});
    spec.as_object_mut().expect("an object").extend(extra.as_object().cloned().unwrap_or_default());
    run(spec)
}

struct Stage<'a> {
    real: &'a Real,
    wrong: Vec<String>,
    judged: usize,
}

impl Stage<'_> {
    /// What the server answers `who`; `keep`: or only what it would.
    async fn asked(
        &self,
        who: &str,
        (method, path): (&str, &str),
        body: &Value,
        keep: bool,
    ) -> Result<Value, String> {
        let dry = if keep { "" } else { "&dryRun=All" };
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let request = Request::builder().method(method).uri(format!("{path}?fieldValidation=Strict{dry}"));
        let request =
            request.header("content-type", kind).body(serde_json::to_vec(body).expect("plain data"));
        let client = if who.is_empty() { self.real.client() } else { self.real.client_as(who) };
        let answer = client.request::<Value>(request.expect("a request")).await;
        answer.map_err(|error| error.to_string())
    }

    /// Empty: it is let in; else what the refusal says.
    fn judge(&mut self, what: &str, answer: &Result<Value, String>, says: &str) {
        self.judged += 1;
        let right = match answer {
            Ok(_) => says.is_empty(),
            Err(said) => !says.is_empty() && said.contains(says),
        };
        if !right {
            self.wrong.push(format!("{what}: wanted `{says}`, it was {answer:?}"));
        }
    }

    async fn creates(&mut self, who: &str, what: &str, object: &Value, says: &str) {
        let namespace = object["metadata"]["namespace"].as_str().expect("a namespace");
        let plural = format!("{}s", object["kind"].as_str().expect("a kind").to_lowercase());
        let path = format!("/apis/firedrill.dev/v1alpha1/namespaces/{namespace}/{plural}");
        let answer = self.asked(who, ("POST", &path), object, false).await;
        self.judge(&format!("{who} creates {what}"), &answer, says);
    }
}

const VALIDATING: [&str; 10] = [
    "experiments",
    "runs",
    "halt",
    "gamedays",
    "experiment-authors",
    "gameday-authors",
    "guardrails",
    "run-hands",
    "node-scars",
    "node-undo",
];

const MUTATING: [&str; 5] = ["runs-stamp", "authors-stamp", "aborts-stamp", "holds-stamp", "resumes-stamp"];

pub async fn installed(real: &Real) {
    let client = real.client();
    apply_crds(&client).await;
    let installed = Installed { node_accounts: vec!["stage-ops:breaker".to_owned()], ..Installed::default() };
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "firedrill"}});
    apply(&client, &[space]).await;
    // Roles before whoever is bound to them.
    for part in [Part::Rights, Part::Policies, Part::Nodes, Part::Stamp] {
        apply(&client, &manifests(part, &installed)).await;
    }
    apply(&client, &people()).await;
}

/// Takes away what other tests would meet.
pub async fn removed(real: &Real) {
    for (kind, names) in [
        ("validatingadmissionpolicybindings", &VALIDATING[..]),
        ("validatingadmissionpolicies", &VALIDATING[..]),
        ("mutatingadmissionpolicybindings", &MUTATING[..]),
        ("mutatingadmissionpolicies", &MUTATING[..]),
    ] {
        for name in names {
            let path = format!("/apis/admissionregistration.k8s.io/v1/{kind}/{name}.firedrill.dev");
            let request = Request::delete(path).body(Vec::new()).expect("a request");
            let _ = real.client().request::<Value>(request).await;
        }
    }
    for path in [
        "/apis/firedrill.dev/v1alpha1/guardrails/stage-door",
        "/apis/firedrill.dev/v1alpha1/guardrails/halt",
        "/api/v1/nodes/stage-node",
        "/api/v1/namespaces/stage-door",
        "/api/v1/namespaces/stage-ops",
    ] {
        let request = Request::delete(path).body(Vec::new()).expect("a request");
        let _ = real.client().request::<Value>(request).await;
    }
    released(real).await;
}

/// A policy that is deleted takes a moment until it holds no more.
async fn released(real: &Real) {
    let unknown = json!([{"name": "fill", "target": {"pods": {"matchLabels": {"app": "web"}}},
        "diskFill": {"path": "/data", "share": "50%"}, "duration": "1m"}]);
    let forged = by_name(json!({"requestedBy": "somebody"}));
    for (path, object) in [("experiments", experiment("default", unknown, json!({}))), ("runs", forged)] {
        let path = format!("/apis/firedrill.dev/v1alpha1/namespaces/default/{path}?dryRun=All");
        let mut object = object;
        object["metadata"]["namespace"] = json!("default");
        let accepted = async || {
            let body = serde_json::to_vec(&object).expect("JSON");
            let request = Request::post(&path).header("content-type", "application/json").body(body);
            real.client().request::<Value>(request.expect("a request")).await
        };
        let mut last = accepted().await;
        for _ in 0..300 {
            if last.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            last = accepted().await;
        }
        last.expect("nothing is denied any more");
    }
}

#[test]
fn who_may_write_what_is_decided_rightly() {
    let Some(real) = Real::from_env("the policies over Experiments and Runs") else { return };
    blocking(async {
        installed(&real).await;
        let mut stage = Stage { real: &real, wrong: Vec::new(), judged: 0 };
        holds(&stage).await;
        experiments(&mut stage).await;
        authors(&mut stage).await;
        runs(&mut stage).await;
        button::halted(&mut stage).await;
        button::pressed(&mut stage).await;
        button::at_work(&mut stage).await;
        people_in_a_run(&mut stage).await;
        hands::judged(&mut stage).await;
        nodes::judged(&mut stage).await;
        removed(&real).await;
        assert!(stage.judged > 75, "{}", stage.judged);
        assert!(stage.wrong.is_empty(), "of {}:\n{}", stage.judged, stage.wrong.join("\n"));
    });
}

/// A policy takes a moment until it holds.
async fn holds(stage: &Stage<'_>) {
    let forged = by_name(json!({"requestedBy": "somebody"}));
    let path = "/apis/firedrill.dev/v1alpha1/namespaces/stage-door/runs";
    for _ in 0..300 {
        let answer = stage.asked("ada", ("POST", path), &forged, false).await;
        if answer.is_err_and(|said| said.contains("requestedBy has to be")) {
            // The others were there before it.
            tokio::time::sleep(Duration::from_secs(2)).await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the policies never hold");
}

async fn experiments(stage: &mut Stage<'_>) {
    let pods = json!({"pods": {"matchLabels": {"app": "web"}}});
    let kill = json!([{"name": "kill", "target": pods, "podKill": {}}]);
    let scale = json!([{"name": "shrink", "target": {"workload": "deployment/web"}, "scale": {"replicas": 1}, "duration": "1m"}]);
    let latency =
        json!([{"name": "slow", "target": pods, "networkLatency": {"delay": "10ms"}, "duration": "1m"}]);
    let planned = json!([{"name": "fill", "target": pods, "diskFill": {"path": "/tmp", "size": "1Mi"}, "duration": "1m"}]);
    let cordon = json!([{"name": "cordon", "target": {"nodes": {"matchLabels": {"a": "b"}}}, "nodeCordon": {}, "duration": "1m"}]);
    let mut elsewhere = kill.clone();
    elsewhere[0]["target"]["namespace"] = "kube-system".into();
    let many: Vec<Value> = (0..64)
        .map(|number| json!({"name": format!("kill-{number}"), "target": pods, "podKill": {}}))
        .collect();
    let other = json!({"serviceAccountName": "other"});
    let pod = json!({"load": [{"name": "l", "from": "Pod", "url": "http://web.stage-door.svc/", "requestsPerSecond": 1}]});
    let at = |steps: &Value, more: Value| experiment("stage-door", steps.clone(), more);
    let none = || json!({});
    for (who, what, object, says) in [
        ("ada", "podKill", at(&kill, none()), ""),
        ("ada", "scale", at(&scale, none()), ""),
        ("ada", "as many kills as there may be", at(&many.into(), none()), ""),
        ("ada", "another account", at(&kill, other.clone()), ""),
        ("ada", "a load from a pod", at(&kill, pod.clone()), ""),
        ("ada", "an agent's fault", at(&latency, none()), ""),
        (
            "ben",
            "nothing but probes",
            at(&json!([]), none()),
            "may not use (impersonate) serviceaccount firedrill",
        ),
        ("ben", "podKill", at(&kill, none()), "ben may not"),
        ("cy", "nothing but probes", at(&json!([]), none()), ""),
        ("cy", "podKill", at(&kill, none()), ""),
        ("cy", "another account", at(&kill, other), "may not use (impersonate) serviceaccount other"),
        ("cy", "scale", at(&scale, none()), "cy may not patch deployments/scale in namespace stage-door"),
        ("cy", "a load from a pod", at(&kill, pod), "cy may not create pods"),
        ("cy", "an agent's fault", at(&latency, none()), "cy may not create pods/exec"),
        ("ada", "a fault that is not built", at(&planned, none()), "a fault that this version does not know"),
        ("ada", "another namespace's pods", at(&elsewhere, none()), "targets have to be in the namespace"),
        ("ada", "nodeCordon", at(&cordon, none()), "faults of nodes need the label"),
        ("", "nodeCordon where nobody has opened it", at(&cordon, none()), "faults of nodes need the label"),
        ("", "nodeCordon", experiment("stage-ops", cordon, none()), ""),
        ("dora", "podKill", at(&kill, none()), "cannot create resource"),
    ] {
        stage.creates(who, what, &object, says).await;
    }
}

/// Who wrote a file is what the server saw, whatever anybody writes.
async fn authors(stage: &mut Stage<'_>) {
    let kill = json!([{"name": "kill", "target": {"pods": {"matchLabels": {"app": "web"}}}, "podKill": {}}]);
    let mut forged = experiment("stage-door", kill, json!({}));
    forged["metadata"]["name"] = "written".into();
    forged["metadata"]["annotations"] = json!({"firedrill.dev/author": "bob"});
    let path = "/apis/firedrill.dev/v1alpha1/namespaces/stage-door/experiments";
    let own = format!("{path}/written");
    let changed = json!({"spec": {"hypothesis": "It heals at once."}});
    let renamed = json!({"metadata": {"annotations": {"firedrill.dev/author": "zoe"}}});
    for (who, call, body, author) in [
        ("ada", ("POST", path), &forged, "ada"),
        ("cy", ("PATCH", own.as_str()), &changed, "cy"),
        ("ada", ("PATCH", own.as_str()), &renamed, "cy"),
        ("ada", ("PATCH", own.as_str()), &json!({"metadata": {"annotations": null}}), "cy"),
    ] {
        let answer = stage.asked(who, call, body, true).await;
        let said =
            answer.as_ref().map(|found| found["metadata"]["annotations"]["firedrill.dev/author"].clone());
        let wrong = if said == Ok(json!(author)) { "" } else { "another author" };
        stage.judge(&format!("{who} {} is taken as {said:?}", call.0), &answer, wrong);
    }
}

async fn runs(stage: &mut Stage<'_>) {
    let path = "/apis/firedrill.dev/v1alpha1/namespaces/stage-door/runs";
    let stamped = stage.asked("ada", ("POST", path), &by_name(json!({})), false).await;
    let by = stamped.as_ref().ok().map(|run| run["spec"]["requestedBy"].clone());
    stage.judge(
        &format!("ada is stamped as {by:?}"),
        &stamped,
        if by == Some(json!("ada")) { "" } else { "no stamp" },
    );
    let approved = json!({"approvals": [{"by": "ada", "hash": "sha256:1", "time": "2026-11-24T10:00:00Z"}]});
    let noted = |by: &str| json!({"notes": [{"by": by, "time": "2026-11-24T10:00:00Z", "text": "x"}]});
    for (who, what, object, says) in [
        ("ada", "a Run in her name", by_name(json!({"requestedBy": "ada"})), ""),
        (
            "ada",
            "a Run in another's name",
            by_name(json!({"requestedBy": "bob"})),
            "requestedBy has to be ada",
        ),
        ("", "a Run in another's name", by_name(json!({"requestedBy": "ada"})), "requestedBy has to be"),
        ("ben", "a Run", by_name(json!({})), ""),
        (
            "ben",
            "a Run as another account",
            by_name(json!({"serviceAccountName": "other"})),
            "may not use (impersonate)",
        ),
        ("ada", "a Run as another account", by_name(json!({"serviceAccountName": "other"})), ""),
        ("eve", "a Run", by_name(json!({})), "eve may not run experiments"),
        (
            "eve",
            "a Run of a game day",
            run(json!({"gameDayRef": {"name": "day"}})),
            "eve may not run gamedays",
        ),
        ("ada", "a Run of a game day", run(json!({"gameDayRef": {"name": "day"}})), ""),
        ("ada", "an approved Run", by_name(approved), "nobody approves what they have asked for"),
        ("ada", "a Run with a note", by_name(noted("ada")), ""),
        ("ada", "a Run with another's note", by_name(noted("bob")), "whoever notes writes their own name"),
        ("dora", "a Run", by_name(json!({})), "cannot create resource"),
    ] {
        stage.creates(who, what, &object, says).await;
    }
    let day = json!({"apiVersion": "firedrill.dev/v1alpha1", "kind": "GameDay", "metadata": {"name": "day", "namespace": "stage-door"},
        "spec": {"experiments": [{"name": "act"}], "serviceAccountName": "other"}});
    stage.creates("ada", "a game day", &day, "").await;
    stage.creates("ben", "a game day as another account", &day, "may not use (impersonate)").await;
}

async fn people_in_a_run(stage: &mut Stage<'_>) {
    let path = "/apis/firedrill.dev/v1alpha1/namespaces/stage-door/runs";
    let made = stage.asked("ada", ("POST", path), &by_name(json!({})), true).await.expect("a Run");
    let fays = stage.asked("fay", ("POST", path), &by_name(json!({})), true).await.expect("a Run");
    let of = |run: &Value| format!("{path}/{}", run["metadata"]["name"].as_str().expect("a name"));
    let time = "2026-11-24T10:00:00Z";
    let approval = |by: &str| json!({"spec": {"approvals": [{"by": by, "hash": "sha256:1", "time": time}]}});
    let twice = || {
        let at = |time: &str| json!({"by": "dora", "hash": "sha256:1", "time": time});
        json!({"spec": {"approvals": [at(time), at("2026-11-25T10:00:00Z")]}})
    };
    let note = |by: &str| json!({"spec": {"notes": [{"by": by, "time": time, "text": "x"}]}});
    let step = |by: &str| json!({"spec": {"steps": [{"by": by, "time": time, "name": "act/kill", "action": "Skip"}]}});
    for (who, what, run, change, says) in [
        ("dora", "approves", &made, approval("dora"), ""),
        ("dora", "approves, and once more later", &made, twice(), ""),
        ("dora", "approves for ada", &made, approval("ada"), "writes their own name"),
        ("ben", "approves", &made, approval("ben"), "ben may not approve runs"),
        ("ada", "approves her own", &made, approval("ada"), "nobody approves what they have asked for"),
        (
            "fay",
            "who may approve, approves her own",
            &fays,
            approval("fay"),
            "nobody approves what they have asked for",
        ),
        ("fay", "approves ada's", &made, approval("fay"), ""),
        ("", "changes who asked", &made, json!({"spec": {"requestedBy": "bob"}}), "fixed once it is created"),
        ("ben", "notes", &made, note("ben"), ""),
        ("ben", "notes for cy", &made, note("cy"), "writes their own name"),
        ("ben", "answers for cy", &made, step("cy"), "writes their own name"),
        ("ben", "answers", &made, step("ben"), ""),
        ("ben", "aborts", &made, json!({"spec": {"abort": true}}), ""),
        ("eve", "aborts", &made, json!({"spec": {"abort": true}}), ""),
        (
            "system:serviceaccount:firedrill:firedrill",
            "holds it by its finalizer",
            &made,
            json!({"metadata": {"finalizers": ["firedrill.dev/revert"]}}),
            "",
        ),
    ] {
        let answer = stage.asked(who, ("PATCH", &of(run)), &change, false).await;
        stage.judge(&format!("{who} {what}"), &answer, says);
    }
    // What is there stays who wrote it, whoever writes next.
    let kept = stage.asked("dora", ("PATCH", &of(&made)), &approval("dora"), true).await;
    stage.judge("dora approves", &kept, "");
    // It may only grow: what was agreed stays as it was said, and can be said once more.
    let again = stage.asked("dora", ("PATCH", &of(&made)), &twice(), false).await;
    stage.judge("dora approves once more", &again, "");
    let mut moved = approval("dora");
    moved["spec"]["approvals"][0]["time"] = "2026-11-25T10:00:00Z".into();
    let answer = stage.asked("dora", ("PATCH", &of(&made)), &moved, false).await;
    stage.judge("dora moves her approval", &answer, "approvals may only grow");
    let after = stage.asked("ben", ("PATCH", &of(&made)), &json!({"spec": {"abort": true}}), true).await;
    stage.judge("ben aborts what dora has approved", &after, "");
}
