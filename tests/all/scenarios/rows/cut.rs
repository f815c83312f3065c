//! `dependencyCut`. No pod really runs on kwok's nodes, so what has to be seen is judged on the embedded cluster.

use firedrill::types::Verdict;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::{
    Api,
    api::{DeleteParams, ListParams},
};

use crate::scenarios::{
    objects::{account, any, deployment, deployment_in, namespace, place},
    people,
    row::{Actor, Moment, Row, row},
};

const HALF: &str = "{workload: deployment/web, count: 50%}";
const SERVICE: &str = "[{service: db}]";

/// A Service that leads to the Deployment of its name.
fn service(namespace: &str, name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  selector: {{app: {name}}}\n  ports: [{{port: 5432}}]"
    )
}

/// A policy over pods of `app`.
fn policy(name: &str, app: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}, namespace: $NS}}\nspec:\n  podSelector: {{matchLabels: {{app: {app}}}}}\n{spec}"
    )
}

/// Nodes whose network plugin makes that of policies.
fn place_with(plugin: &str) -> String {
    let annotation = "kwok.x-k8s.io/node: fake";
    place().replace(annotation, &format!("{annotation}, sim.firedrill.dev/network-policy: {plugin}"))
}

/// The same Deployment with a port that its containers declare.
fn listening(deployment: &str) -> String {
    deployment.replace("main:1}", "main:1, ports: [{containerPort: 5432}]}")
}

fn method(target: &str, to: &str) -> String {
    format!("  - name: cut\n    target: {target}\n    dependencyCut: {{to: {to}}}\n    duration: 5s")
}

fn cut(name: &'static str, target: &str, to: &str) -> Row {
    row(name).objects(&[&place(), &deployment("web", 4), &deployment("db", 1), &service("$NS", "db")]).spec(
        &any(),
        &method(target, to),
        "  limits: {duration: 10m}",
    )
}

/// Who makes the policy go: its name is nobody's to know beforehand.
fn deletes_the_policy(actor: Actor) -> futures::future::BoxFuture<'static, Result<String, String>> {
    Box::pin(async move {
        let policies: Api<NetworkPolicy> = Api::namespaced(actor.client, &actor.namespace);
        let ours = ListParams::default().labels("firedrill.dev/run");
        for policy in policies.list(&ours).await.map_err(|error| error.to_string())?.items {
            let name = policy.metadata.name.unwrap_or_default();
            policies.delete(&name, &DeleteParams::default()).await.map_err(|error| error.to_string())?;
        }
        Ok("deleted".to_owned())
    })
}

/// Cuts that are seen, and cuts that nobody could see.
pub fn dependency_cut() -> Vec<Row> {
    let mut rows = vec![
        cut("cut-from-a-service", HALF, SERVICE)
            .journal(&[
                "InjectIntended cut.0 NetworkPolicy web-",
                "Injected 2 pods cut off from db.cut-from-a-service.svc:5432",
                "EffectSeen cut.0 connected to db. cannot since",
                "Reverted cut.0 Restored NetworkPolicy deleted",
            ])
            .embedded(),
        cut("cut-from-a-workload", HALF, "[{workload: deployment/db}]")
            .objects(&[&place(), &deployment("web", 4), &listening(&deployment("db", 2))])
            .journal(&["EffectSeen cut.0 :5432", "Reverted cut.0 Restored"])
            .embedded(),
        cut("cut-from-pods-elsewhere", HALF, "[{pods: {matchLabels: {app: db}}, namespace: $NS-data}]")
            .objects(&[
                &place(),
                &deployment("web", 4),
                &namespace("$NS-data", false),
                &listening(&deployment_in("$NS-data", "db", 1)),
            ])
            .journal(&["EffectSeen cut.0 :5432", "Reverted cut.0 Restored"])
            .embedded(),
        cut("cut-where-blocks-match-no-pod", HALF, "[{service: db}, {cidr: 192.0.2.0/24}]")
            .objects(&[
                &place_with("external-blocks"),
                &deployment("web", 4),
                &deployment("db", 1),
                &service("$NS", "db"),
            ])
            .journal(&["EffectSeen cut.0", "Reverted cut.0 Restored"])
            .embedded(),
        cut("cut-where-nobody-enforces-it", HALF, SERVICE)
            .objects(&[
                &place_with("ignored"),
                &deployment("web", 4),
                &deployment("db", 1),
                &service("$NS", "db"),
            ])
            .journal(&["Injected Failed FD4024 still connects to db.", "Reverted cut.0 Restored"])
            .never(&["EffectSeen"])
            .ends(Verdict::Inconclusive)
            .embedded(),
        cut("cut-from-what-cannot-be-reached", HALF, SERVICE)
            .objects(&[
                &place(),
                &deployment("web", 4),
                &deployment("db", 1),
                &service("$NS", "db"),
                &policy("shut", "db", "  policyTypes: [Ingress]"),
            ])
            .journal(&["Injected Failed FD3025 could not connect", "Reverted cut.0 Restored"])
            .never(&["EffectSeen"])
            .ends(Verdict::Inconclusive)
            .embedded(),
        cut("cut-and-the-policy-is-deleted", HALF, SERVICE)
            .act(Moment::At("EffectSeen"), deletes_the_policy)
            .said("deleted")
            .journal(&["Reverted cut.0 Restored the policy was gone"])
            .embedded(),
        cut("cut-follows-what-is-born", "{workload: deployment/web, count: all, follow: true}", SERVICE)
            .act(Moment::At("EffectSeen"), people::scales_web_to_5)
            .spec(
                &any(),
                "  - name: cut\n    target: {workload: deployment/web, count: all, follow: true}\n    dependencyCut: {to: [{service: db}]}\n    duration: 40s",
                "  limits: {duration: 10m}",
            )
            .differs(&["Deployment", "ReplicaSet"])
            .journal(&["Injected cut.0 4 pods", "Injected cut.1 1 pod", "EffectSeen cut.1", "Reverted cut.1"])
            .embedded(),
    ];
    rows.extend(refused());
    rows
}

fn refused() -> Vec<Row> {
    let beside = "  policyTypes: [Egress]\n  egress: [{ports: [{port: 53, protocol: UDP}]}]";
    let both = format!(
        "{}\n    background: true\n{}",
        method(HALF, SERVICE).replace("    duration: 5s", "    duration: 1m"),
        method("{workload: deployment/web, count: all}", SERVICE).replace("name: cut", "name: again")
    );
    let on_the_host =
        deployment("web", 4).replace("      containers:", "      hostNetwork: true\n      containers:");
    vec![
        cut("cut-beside-another-egress-policy", HALF, SERVICE)
            .objects(&[
                &place(),
                &deployment("web", 4),
                &deployment("db", 1),
                &service("$NS", "db"),
                &policy("dns-only", "web", beside),
            ])
            .refused(&["FD3023"]),
        cut("cut-from-what-is-not-there", HALF, "[{service: cache}]").refused(&["FD3024"]),
        cut("cut-without-a-port-to-connect-to", HALF, "[{workload: deployment/db}]").refused(&["FD3024"]),
        cut("cut-beyond-the-limit", HALF, SERVICE)
            .spec(&any(), &method(HALF, SERVICE), "  limits: {degradedPods: 25%}")
            .refused(&["FD3022"]),
        cut("cut-twice-at-the-same-time", HALF, SERVICE)
            .spec(&any(), &both, "  limits: {duration: 10m}")
            .refused(&["FD3017"]),
        cut("cut-in-the-nodes-network", HALF, SERVICE)
            .objects(&[&place(), &on_the_host, &deployment("db", 1), &service("$NS", "db")])
            .refused(&["FD3006"]),
        cut("cut-without-the-rights", HALF, SERVICE)
            .objects(&[
                &place(),
                &deployment("web", 4),
                &deployment("db", 1),
                &service("$NS", "db"),
                &account("- {apiGroups: [\"\"], resources: [pods], verbs: [patch]}"),
            ])
            .by_account()
            .refused(&["FD2001"]),
    ]
}
