//! Faults of agents on pods that run a program, judged on real nodes by what their neighbours see, and on the embedded
//! cluster. The demo's image is on both; without nodes of its own a row has those that are there.

use crate::scenarios::{
    objects::{any, namespace},
    people,
    row::{Moment, Row, Sees, row},
};

const SLOW_DATABASE: &str = include_str!("../../../../experiments/network/slow-database.yaml");
const ITS_SHOP: &str = include_str!("../../../../experiments/network/demo/shop.yaml");
const HALF: &str = "{workload: deployment/web, count: 50%}";
const ALL: &str = "{workload: deployment/web, count: all}";
/// From `web` to its database, and to `web` from somebody else.
const DATABASE: (&str, &str, u16) = ("web", "db", 5432);
const VISIT: (&str, &str, u16) = ("client", "web", 8080);

/// A Deployment of the demo's program, answering on a port.
pub fn program(name: &str, replicas: u32, port: u16) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, namespace: $NS, labels: {{app: {name}}}}}\n\
         spec:\n  replicas: {replicas}\n  selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    metadata: {{labels: {{app: {name}}}}}\n    \
         spec:\n      terminationGracePeriodSeconds: 1\n      containers:\n      - name: demo-shop\n        \
         image: docker.io/firedrill/demo-shop:1\n        imagePullPolicy: IfNotPresent\n        \
         env: [{{name: PORT, value: '{port}'}}]\n        ports: [{{containerPort: {port}}}]\n        \
         readinessProbe: {{httpGet: {{path: /healthz, port: {port}}}, periodSeconds: 1}}"
    )
}

fn service(name: &str, port: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: $NS}}\nspec: {{selector: {{app: {name}}}, ports: [{{port: {port}}}]}}"
    )
}

fn step(name: &str, target: &str, fault: &str) -> String {
    format!("  - name: {name}\n    target: {target}\n    {fault}\n    duration: 6s")
}

fn of(name: &'static str, method: &str) -> Row {
    // What the pods of a real cluster are seen to do, those of the embedded one are told to.
    let calls = |text: String, name: &str, whom: &str| {
        let labels = format!("metadata: {{labels: {{app: {name}}}}}\n");
        let calls = format!(
            "metadata: {{labels: {{app: {name}}}, annotations: {{sim.firedrill.dev/calls: {whom}}}}}\n"
        );
        text.replace(&labels, &calls)
    };
    let visited = |name: &str| {
        let load = "namespace: $NS, annotations: {sim.firedrill.dev/offered-load: \"10\"}}";
        service(name, 8080).replace("namespace: $NS}", load)
    };
    let objects = [
        namespace("$NS", true),
        calls(program("web", 2, 8080), "web", "db"),
        program("db", 1, 5432),
        service("db", 5432),
        calls(program("client", 1, 8080), "client", "web"),
        visited("web"),
        visited("client"),
    ];
    let texts: Vec<&str> = objects.iter().map(String::as_str).collect();
    row(name).objects(&texts).spec(&any(), method, "  limits: {pods: 100%, duration: 10m}").on_both()
}

fn one(name: &'static str, target: &str, fault: &str) -> Row {
    of(name, &step("net", target, fault))
}

/// The experiment that comes with firedrill: half of the pods slowed to their database while an autoscaler adds more,
/// under load and with metrics. Shorter, and beside other rows.
fn slow_database() -> Row {
    let here = |text: &str| {
        let text = text.replace("name: shop\n", "name: $NS\n").replace(".shop.svc", ".$NS.svc");
        text.replace("namespace: shop", "namespace: $NS")
    };
    let file = here(SLOW_DATABASE).replace("    duration: 2m\n", "    duration: 60s\n");
    row("slow-database")
        .objects(&[&here(ITS_SHOP)])
        .file(&file)
        .on_both()
        .sight(("checkout", "postgres", 5432), "slow-to-postgres", Sees::Slower(80.0))
        .differs(&["Deployment", "ReplicaSet", "HorizontalPodAutoscaler"])
        .journal(&[
            "LoadStarted shoppers",
            "EffectSeen slow-to-postgres.2",
            "Reverted slow-to-postgres.2 Restored",
        ])
}

/// What agents do to pods that answer.
pub fn disturbances() -> Vec<Row> {
    let kill = |fault: &str| format!("  - name: kill\n    target: {HALF}\n    {fault}");
    let both = format!(
        "{}\n    background: true\n{}\n  - wait: 3s\n  - name: lift\n    revert: first",
        step("first", ALL, "networkLatency: {delay: 150ms}").replace("\n    duration: 6s", ""),
        step("second", ALL, "networkLatency: {delay: 100ms}"),
    );
    vec![
        slow_database(),
        one(
            "slow-to-its-database",
            HALF,
            "networkLatency: {to: [{service: db}], ports: [5432], delay: 200ms, jitter: 20ms}",
        )
        .sight(DATABASE, "net", Sees::Slower(150.0))
        .sight(VISIT, "net", Sees::AsBefore)
        .journal(&[
            "EffectSeen net.0 a round trip from another pod took",
            "Reverted net.0 Restored a round trip takes",
        ]),
        one("slow-to-a-name", HALF, "networkLatency: {to: [{host: db.$NS.svc}], delay: 200ms}")
            .sight(DATABASE, "net", Sees::Slower(150.0))
            .sight(VISIT, "net", Sees::AsBefore),
        one(
            "slow-for-a-caller",
            HALF,
            "networkLatency: {from: [{workload: deployment/client}], delay: 200ms}",
        )
        .sight(VISIT, "net", Sees::Slower(150.0))
        .sight(DATABASE, "net", Sees::AsBefore),
        // On both ways: half of the connections come too late, and of six all do once in fifty times.
        of("a-third-is-lost", &step("net", HALF, "networkLoss: {share: 30%}").replace("6s", "20s"))
            .sight(VISIT, "net", Sees::Loses)
            .journal(&["EffectSeen net.0 round trips from another pod were lost", "Reverted net.0 Restored"]),
        one("cut-off-from-everybody", HALF, "networkPartition: {}")
            .sight(VISIT, "net", Sees::Nothing)
            .sight(DATABASE, "net", Sees::Nothing)
            .journal(&["EffectSeen net.0 none of 5", "Reverted net.0 Restored"]),
        one("cut-off-from-its-database", HALF, "networkPartition: {to: [{service: db}]}")
            .sight(DATABASE, "net", Sees::Nothing)
            .sight(VISIT, "net", Sees::AsBefore),
        of("slow-in-two-ways", &both)
            .sight(VISIT, "first", Sees::Slower(120.0))
            .sight(VISIT, "second", Sees::Slower(200.0))
            .journal(&["Reverted second.0 Restored", "Reverted first.0 Restored"]),
        of(
            "slow-when-born-later",
            &step(
                "net",
                "{workload: deployment/web, count: all, follow: true}",
                "networkLatency: {delay: 200ms}",
            )
            .replace("6s", "30s"),
        )
        .act(Moment::At("InjectIntended"), people::scales_web_to_5)
        .differs(&["Deployment", "ReplicaSet"])
        .sight(VISIT, "net", Sees::Slower(150.0))
        .journal(&["EffectSeen net.4"]),
        of("containers-die", &kill("containerKill: {container: demo-shop}"))
            .journal(&["Injected kill.0 KILL sent to demo-shop", "EffectSeen kill.0 container demo-shop"]),
        of("processes-die", &kill("processKill: {name: demo-shop}"))
            .journal(&["Injected kill.0 KILL sent to demo-shop", "EffectSeen kill.0 container demo-shop"]),
    ]
}
