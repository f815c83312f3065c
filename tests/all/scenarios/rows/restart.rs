//! `rolloutRestart`.

use firedrill::types::Verdict;

use crate::scenarios::{
    objects::{any, autoscaler, daemon_set, deployment, place, replicas_of, stateful_set},
    people,
    row::{Moment, Row, row},
};

const ALL: &str = "  limits: {pods: 100%}";

fn restart_of(workload: &str) -> String {
    format!("  - name: restart\n    target: {{workload: {workload}}}\n    rolloutRestart: {{}}")
}

fn restarted(name: &'static str, more: &[&str], rest: &str) -> Row {
    let (place, web) = (place(), deployment("web", 4));
    let objects: Vec<&str> = [place.as_str(), web.as_str()].into_iter().chain(more.iter().copied()).collect();
    // A restart leaves the annotation that says so, and pods of a new ReplicaSet.
    row(name)
        .objects(&objects)
        .spec(&any(), &restart_of("deployment/web"), rest)
        .differs(&["Deployment", "ReplicaSet"])
        .left("Deployment $NS/web", "/data/readyReplicas", "4")
}

/// The pods of Deployment `web`, all at once.
const RECREATED: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: api, namespace: $NS}\nspec:\n  replicas: 2\n  strategy: {type: Recreate}\n  selector: {matchLabels: {app: api}}\n  template:\n    metadata: {labels: {app: api}, annotations: {release: one}}\n    spec:\n      nodeSelector: {row: $NS}\n      terminationGracePeriodSeconds: 1\n      containers:\n      - {name: main, image: registry.example.com/main:1}";

fn db(name: &'static str, strategy: &str) -> Row {
    let db = stateful_set("db", 3).replace("  serviceName:", &format!("{strategy}  serviceName:"));
    row(name)
        .objects(&[&place(), &db])
        .spec(&replicas_of("StatefulSet", "db", "\"true\""), &restart_of("sts/db"), ALL)
        .differs(&["StatefulSet"])
}

/// Workloads that are restarted, and workloads that may not be.
pub fn restart() -> Vec<Row> {
    let (hpa, agent) = (autoscaler("web", ""), daemon_set("agent"));
    let api = |name, rest| {
        row(name)
            .objects(&[&place(), RECREATED])
            .spec(&replicas_of("Deployment", "api", "\"true\""), &restart_of("deploy/api"), rest)
            .differs(&["Deployment", "ReplicaSet"])
    };
    vec![
        restarted("restart-a-deployment", &[], "")
            .journal(&["Injected Done restartedAt 4 pods", "TemplateWritten restart.0", "EffectSeen all 4 former pods gone"]),
        restarted("restart-under-an-autoscaler", &[&hpa], "").journal(&["EffectSeen all 4 former pods gone"]),
        restarted("restart-what-argo-applies", &[], "")
            .act(Moment::Before, people::argo_applies_web)
            .journal(&["EffectSeen all 4 former pods gone"]),
        restarted("restart-what-is-paused", &[], "").act(Moment::Before, people::pauses_web).refused(&["FD3006"]),
        restarted("restart-while-rolling-out", &[], "")
            .act(Moment::Before, people::pauses_a_rollout_of_web)
            .refused(&["FD3006", "FD3016"]),
        restarted("restart-above-the-limit", &[], "  limits: {pods: 10%}").refused(&["FD3007"]),
        restarted("restart-and-somebody-releases", &[], "")
            .act(Moment::At("Injected"), people::releases_web_meanwhile)
            .ends(Verdict::Inconclusive)
            .journal(&["RolloutNoticed deployment/$NS/web"]),
        row("restart-round-after-round")
            .objects(&[&place(), &deployment("web", 4)])
            .spec(
                &any(),
                &format!("{}\n    repeat: {{every: 30s, times: 2}}", restart_of("deployment/web")),
                "",
            )
            .differs(&["Deployment", "ReplicaSet"])
            .journal(&["EffectSeen restart.0 all 4", "EffectSeen restart.1 all 4"]),
        api("restart-recreates", ALL).journal(&["EffectSeen all 2 former pods gone"]),
        api("restart-recreates-above-the-limit", "").refused(&["FD3007"]),
        db("restart-a-stateful-set", "").journal(&["EffectSeen all 3 former pods gone"]),
        db("restart-on-delete", "  updateStrategy: {type: OnDelete}\n").refused(&["FD3006"]),
        db("restart-behind-a-partition", "  updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: 2}}\n")
            .refused(&["FD3006"]),
        row("restart-a-daemon-set")
            .objects(&[&place(), &agent])
            .spec(
                "  - name: ready\n    kubernetes: {apiVersion: apps/v1, kind: DaemonSet, name: agent}\n    value: object.status.numberReady\n    expect: value >= 4\n    during: \"true\"\n    every: 1s\n    timeout: 1s\n    for: 1s",
                &restart_of("ds/agent"),
                ALL,
            )
            .differs(&["DaemonSet"])
            .journal(&["EffectSeen all 4 former pods gone"]),
    ]
}
