//! Faults of agents. On kwok's nodes nothing runs, so what is done is judged on the embedded cluster.

use firedrill::types::Verdict;

use crate::scenarios::{
    objects::{account, any, deployment, place},
    people,
    row::{Moment, Row, row},
};

const HALF: &str = "{workload: deployment/web, count: 50%}";

fn service(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: $NS}}\nspec:\n  selector: {{app: {name}}}\n  ports: [{{port: 5432}}]"
    )
}

/// The same with so many visits a second.
fn visited(name: &str) -> String {
    let load = "annotations: {sim.firedrill.dev/offered-load: \"10\"}";
    service(name).replace("namespace: $NS}", &format!("namespace: $NS, {load}}}"))
}

/// A Deployment whose pods call a Service for each request.
fn calling(name: &str, replicas: u32, service: &str) -> String {
    let labels = format!("    metadata: {{labels: {{app: {name}}}}}\n");
    let calls = format!(
        "    metadata: {{labels: {{app: {name}}}, annotations: {{sim.firedrill.dev/calls: {service}}}}}\n"
    );
    deployment(name, replicas).replace(&labels, &calls)
}

fn step(name: &str, target: &str, fault: &str) -> String {
    format!("  - name: {name}\n    target: {target}\n    {fault}\n    duration: 5s")
}

fn of(name: &'static str, method: &str) -> Row {
    row(name)
        .objects(&[
            &place(),
            &calling("web", 4, "db"),
            &calling("client", 2, "web"),
            &deployment("db", 2),
            &service("db"),
            &visited("web"),
            &visited("client"),
        ])
        .spec(&any(), method, "  limits: {pods: 100%, duration: 10m}")
        .embedded()
}

fn network(name: &'static str, fault: &str) -> Row {
    of(name, &step("net", HALF, fault))
}

/// What agents do, and what they are not asked for.
pub fn agents() -> Vec<Row> {
    let mut rows = vec![
        network("latency-to-a-service", "networkLatency: {to: [{service: db}], ports: [5432], delay: 200ms, jitter: 20ms}")
            .journal(&[
                "ArmingIntended Agents.0",
                "EffectSeen Agents.0 answers",
                "Injected net.0 delay of 200ms ± 20ms what it sends to 3 address blocks, ports 5432",
                "EffectSeen net.0 a round trip from another pod took",
                "Reverted net.0 Restored a round trip takes",
                "Reverted Agents.0 Restored its pod is deleted and gone",
            ]),
        network("latency-of-everything", "networkLatency: {delay: 1s}")
            .journal(&["EffectSeen net.0 takes 1", "EffectSeen net.1 takes 1"]),
        network("latency-from-a-workload", "networkLatency: {from: [{workload: deployment/client}], delay: 50ms}")
            .journal(&["Injected net.0 what it receives from 2 address blocks", "EffectSeen net.0"]),
        network("latency-to-blocks-with-holes", "networkLatency: {to: [{cidr: 10.0.0.0/8, except: [10.0.0.0/16]}], delay: 50ms}")
            .journal(&["EffectSeen net.0"]),
        network("loss-of-half", "networkLoss: {share: 50%}")
            .journal(&["EffectSeen net.0 round trips from another pod were lost", "Reverted net.0 Restored"]),
        network("partition-from-a-dependency", "networkPartition: {to: [{service: db}]}")
            .journal(&["EffectSeen net.0 none of 5 comes back", "Reverted net.0 Restored"]),
        network("partition-of-everything", "networkPartition: {}")
            .journal(&["EffectSeen net.0 none of 5", "Reverted net.0 Restored"]),
        of("latency-that-follows", &step("net", "{workload: deployment/web, count: all, follow: true}", "networkLatency: {delay: 100ms}").replace("5s", "40s"))
            .act(Moment::At("InjectIntended"), people::scales_web_to_5)
            .differs(&["Deployment", "ReplicaSet"])
            .journal(&["EffectSeen net.4"]),
        of("two-latencies-compose", &format!(
            "{}\n    background: true\n{}\n  - name: lift\n    revert: first",
            step("first", "{workload: deployment/web, count: all}", "networkLatency: {delay: 100ms}").replace("    duration: 5s\n", "").replace("\n    duration: 5s", ""),
            step("second", "{workload: deployment/web, count: all}", "networkLatency: {delay: 50ms}"),
        ))
        .journal(&["EffectSeen second.0 took 1", "Reverted second.0 Restored takes 1", "Reverted first.0 Restored"]),
        of("containers-killed", "  - name: kill\n    target: {workload: deployment/web, count: 50%}\n    containerKill: {container: main}")
            .journal(&["Injected kill.0 KILL sent to main", "EffectSeen kill.0 container main"]),
        of("processes-killed", "  - name: kill\n    target: {workload: deployment/web, count: 50%}\n    processKill: {name: main}")
            .journal(&["Injected kill.0 KILL sent to main", "EffectSeen kill.0 container main"]),
        network("latency-that-meets-nobody", "networkLatency: {to: [{service: db}], ports: [5433], delay: 50ms}")
            .journal(&[
                "EffectSeen net.0 no packet of anybody else was met so far",
                "Reverted net.0 Restored no packet of anybody else was met",
                "StopRequested NoTraffic FD3058",
                "Decided Inconclusive NoTraffic",
            ])
            .ends(Verdict::Inconclusive),
        network("loss-that-meets-nobody", "networkLoss: {to: [{cidr: 192.0.2.0/24}], share: 50%}")
            .journal(&["EffectSeen net.0", "StopRequested NoTraffic FD3058"])
            .ends(Verdict::Inconclusive),
        of("no-process-of-that-name", "  - name: kill\n    target: {workload: deployment/web, count: 50%}\n    processKill: {name: nginx}")
            .journal(&[
                "Injected kill.0 Failed FD3059",
                "Injected kill.1 Failed no process is called nginx; there are main",
                "StopRequested NoEffect could not be done to",
            ])
            .ends(Verdict::Inconclusive),
    ];
    rows.extend(refused());
    rows
}

fn refused() -> Vec<Row> {
    let latency = "networkLatency: {delay: 100ms}";
    let on = |old: &str, new: &str| vec![place().replace(old, new), deployment("web", 4)];
    let with = |name: &'static str, objects: Vec<String>| {
        let texts: Vec<&str> = objects.iter().map(String::as_str).collect();
        network(name, latency).objects(&texts)
    };
    let on_the_host =
        deployment("web", 4).replace("      containers:", "      hostNetwork: true\n      containers:");
    let etcd = deployment("web", 4).replace(
        "template:\n    metadata: {labels: {app: web}}",
        "template:\n    metadata: {labels: {app: web, component: etcd}}",
    );
    let hidden = format!(
        "{}\n    background: true\n{}",
        step("cut", HALF, "networkPartition: {}").replace("5s", "1m"),
        step("slow", "{workload: deployment/web, count: all}", latency),
    );
    vec![
        with("latency-on-windows", on("kubernetes.io/os: linux", "kubernetes.io/os: windows"))
            .refused(&["FD3055"]),
        with("latency-on-another-architecture", on("kubernetes.io/arch: amd64", "kubernetes.io/arch: arm64"))
            .refused(&["FD3055"]),
        with("latency-in-the-nodes-network", vec![place(), on_the_host]).refused(&["FD3054"]),
        with("latency-on-the-control-path", vec![place(), etcd]).refused(&["FD3056"]),
        network("latency-to-what-is-not-there", "networkLatency: {to: [{service: cache}], delay: 1s}")
            .refused(&["FD3024"]),
        network("latency-to-a-host-outside", "networkLatency: {to: [{host: api.example.com}], delay: 1s}")
            .refused(&["FD3024"]),
        network("latency-that-nobody-waits-for", "networkLatency: {delay: 10s}")
            .spec(&any(), &step("net", HALF, "networkLatency: {delay: 10s}"), "  limits: {pods: 25%}")
            .refused(&["FD3007"]),
        of(
            "partition-whose-second-peer-is-not-there",
            &format!(
                "{}\n{}",
                step("first", HALF, "networkPartition: {to: [{service: db}]}"),
                step("second", HALF, "networkPartition: {to: [{service: cache}], from: [{service: queue}]}"),
            ),
        )
        .refused(&["FD3024"]),
        network("latency-beyond-the-limit", latency)
            .spec(&any(), &step("net", HALF, latency), "  limits: {degradedPods: 25%}")
            .refused(&["FD3022"]),
        network("partition-beyond-the-limit", "networkPartition: {}")
            .spec(&any(), &step("net", HALF, "networkPartition: {}"), "  limits: {pods: 25%}")
            .refused(&["FD3007"]),
        of("latency-that-nobody-could-see", &hidden).refused(&["FD3057"]),
        of(
            "latency-that-nobody-could-see-however-it-is-said",
            &hidden.replace("networkPartition: {}", "networkPartition: {to: [{cidr: 0.0.0.0/0}]}"),
        )
        .refused(&["FD3057"]),
        with(
            "latency-without-the-rights",
            vec![
                place(),
                deployment("web", 4),
                account("- {apiGroups: [\"\"], resources: [pods], verbs: [delete]}"),
            ],
        )
        .by_account()
        .refused(&["FD2001"]),
    ]
}
