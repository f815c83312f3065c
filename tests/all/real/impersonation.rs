//! Who may act as whom: the embedded API server answers as the real one. `impersonation.txt` is what the real one said.

use std::fmt::Write as _;

use firedrill::sim::apiserver::User;
use kube::Client;
use serde_json::{Value, json};

use crate::{
    kit::{Stage, in_virtual_time, manifests},
    scenarios::{
        bench::Real,
        blocking,
        row::{Row, row},
    },
};

const NS: &str = "impersonation";
/// Who asks, and the rules that it has in the namespace.
const RUNNERS: [(&str, &str); 5] = [
    ("nobody", ""),
    (
        "legacy",
        "[{apiGroups: [''], resources: [serviceaccounts], resourceNames: [drill], verbs: [impersonate]}]",
    ),
    (
        "constrained",
        "[{apiGroups: [authentication.k8s.io], resources: [serviceaccounts], resourceNames: [drill], \
          verbs: ['impersonate:serviceaccount']}, \
          {apiGroups: [''], resources: [pods], verbs: ['impersonate-on:serviceaccount:list']}]",
    ),
    (
        "whom-only",
        "[{apiGroups: [authentication.k8s.io], resources: [serviceaccounts], resourceNames: [drill], \
          verbs: ['impersonate:serviceaccount']}]",
    ),
    ("what-only", "[{apiGroups: [''], resources: [pods], verbs: ['impersonate-on:serviceaccount:list']}]"),
];
/// As whom, with which groups.
const WANTED: [(&str, &[&str]); 6] = [
    ("system:serviceaccount:impersonation:drill", &[]),
    ("system:serviceaccount:impersonation:other", &[]),
    ("system:serviceaccount:default:drill", &[]),
    ("system:serviceaccount:impersonation:drill", &["system:masters"]),
    ("ada", &["ops"]),
    ("system:node:n1", &[]),
];
/// What is asked for: the account may list and delete pods, and not list Secrets.
const ASKED: [(&str, &str); 6] = [
    ("GET", "/api/v1/namespaces/impersonation/pods"),
    ("DELETE", "/api/v1/namespaces/impersonation/pods/gone"),
    ("GET", "/api/v1/namespaces/impersonation/secrets"),
    ("GET", "/api/v1/nodes"),
    ("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews"),
    ("GET", "/version"),
];

fn place() -> Row {
    let mut objects = vec![format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NS}}}")];
    let runners = RUNNERS.iter().filter(|(_, rules)| !rules.is_empty());
    let account = ("drill", "[{apiGroups: [''], resources: [pods], verbs: [list, delete]}]");
    for (name, rules) in runners.chain([&account]) {
        objects.push(format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: {name}, namespace: {NS}}}\nrules: {rules}"
        ));
        objects.push(format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: {name}, namespace: {NS}}}\n\
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: {name}}}\n\
             subjects: [{{kind: ServiceAccount, name: {name}, namespace: {NS}}}]"
        ));
    }
    for name in RUNNERS.iter().map(|(name, _)| *name).chain(["drill", "other"]) {
        objects.push(format!(
            "apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {name}, namespace: {NS}}}"
        ));
    }
    row(NS).objects(&objects.iter().map(String::as_str).collect::<Vec<_>>())
}

/// A line for each: who, as whom, what; status and message.
async fn answers(client: &Client, runner: &str) -> Result<String, String> {
    let mut text = String::new();
    for (user, groups) in WANTED {
        for (method, path) in ASKED {
            let body = if method == "POST" {
                json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}).to_string()
            } else {
                String::new()
            };
            let mut request = http::Request::builder().method(method).uri(path);
            request = request.header("content-type", "application/json").header("impersonate-user", user);
            for group in groups {
                request = request.header("impersonate-group", *group);
            }
            let request = request.body(body.into_bytes().into()).map_err(|error| error.to_string())?;
            let response = client.send(request).await.map_err(|error| format!("{runner} {path}: {error}"))?;
            let status = response.status().as_u16();
            let bytes = http_body_util::BodyExt::collect(response.into_body()).await;
            let bytes = bytes.map_err(|error| format!("{runner} {path}: {error}"))?.to_bytes();
            let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            // Of the forms that refuse, the server names the one that has let this user do something before.
            let message = answer["message"].as_str().filter(|_| runner != "legacy").unwrap_or_default();
            let groups = groups.join(",");
            let _ = writeln!(text, "{runner} | {user} {groups} | {method} {path} | {status} | {message}");
        }
    }
    Ok(text)
}

fn compare(found: &str) {
    let golden = include_str!("impersonation.txt");
    let wrong = found.lines().zip(golden.lines()).filter(|(found, golden)| found != golden);
    let wrong: Vec<String> =
        wrong.map(|(found, golden)| format!("real:  {golden}\nfound: {found}")).collect();
    let as_long = found.lines().count() == golden.lines().count();
    assert!(wrong.is_empty() && as_long, "{}\n\nall of it:\n{found}", wrong.join("\n"));
}

#[test]
fn the_embedded_server_lets_act_as_the_real_one_does() {
    let found = in_virtual_time(async {
        let row = place();
        let stage = Stage::new(&manifests(&row.fill(&row.objects)), 7).await;
        let mut found = String::new();
        for (runner, _) in RUNNERS {
            let user = User::new(&format!("system:serviceaccount:{NS}:{runner}"), &[]);
            let client = stage.cluster.sim().client_as(user);
            found += &answers(&client, runner).await.expect("the server is asked");
        }
        found
    });
    compare(&found);
}

#[test]
fn the_real_server_lets_act_as_written_down() {
    let Some(real) = Real::from_env("who may act as whom").filter(|real| !real.has_metrics()) else { return };
    let row = place();
    let found = blocking(async {
        let found = async {
            let mut found = String::new();
            real.place(&row).await?;
            for (runner, _) in RUNNERS {
                let client = real.client_of(NS, runner).await?;
                found += &answers(&client, runner).await?;
            }
            Ok::<String, String>(found)
        };
        let found = found.await;
        real.clear(&row).await;
        found.expect("the server is asked")
    });
    compare(&found);
}
