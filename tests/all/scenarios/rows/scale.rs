//! `scale`.

use crate::scenarios::{
    objects::{any, autoscaler, deployment, place, replicas_of, stateful_set},
    people,
    row::{Moment, Row, row},
};

const ALL: &str = "  limits: {pods: 100%}";

fn scaled(name: &'static str, more: &[&str], fields: &str, rest: &str) -> Row {
    let method = format!(
        "  - name: scale\n    target: {{workload: deployment/web}}\n    scale: {fields}\n    duration: 2s"
    );
    let (place, web) = (place(), deployment("web", 4));
    let objects: Vec<&str> = [place.as_str(), web.as_str()].into_iter().chain(more.iter().copied()).collect();
    row(name).objects(&objects).spec(&any(), &method, rest)
}

/// Two steps on one workload; `between` says how the first ends before the second begins.
fn twice(name: &'static str, between: &str) -> Row {
    let scale = |step: &str, by: i32| {
        format!("  - name: {step}\n    target: {{workload: deployment/web}}\n    scale: {{by: {by}}}\n")
    };
    let method = format!("{}{between}\n{}    duration: 1s", scale("first", -1), scale("second", -2));
    row(name).objects(&[&place(), &deployment("web", 4)]).spec(&any(), &method, ALL)
}

/// Workloads that are scaled, and workloads that may not be.
pub fn scale() -> Vec<Row> {
    let hpa = autoscaler("web", "");
    let keda = autoscaler("web", ", scaledobject.keda.sh/name: web");
    vec![
        scaled("scale-to-zero", &[], "{replicas: 0}", ALL)
            .journal(&["Injected 4 0", "EffectSeen readyReplicas", "Reverted Restored"]),
        scaled("scale-to-one", &[], "{replicas: 1}", ALL).journal(&["Injected 4 1", "Reverted Restored"]),
        scaled("scale-by-half", &[], "{by: -50%}", "").journal(&["Injected 4 2", "Reverted Restored"]),
        scaled("scale-by-one", &[], "{by: -1}", "").journal(&["Injected 4 3", "Reverted Restored"]),
        scaled("scale-up", &[], "{by: 2}", "").journal(&["Injected 4 6", "Reverted Restored"]),
        scaled("scale-above-the-limit", &[], "{replicas: 1}", "").refused(&["FD3007"]),
        scaled("scale-no-change", &[], "{replicas: 4}", "").refused(&["FD3006"]),
        scaled("scale-under-an-autoscaler", &[&hpa], "{replicas: 2}", "").refused(&["FD3005"]),
        scaled("scale-to-zero-under-an-autoscaler", &[&hpa], "{replicas: 0}", ALL).journal(&["Reverted Restored"]),
        scaled("scale-under-keda", &[&keda], "{replicas: 0}", ALL).refused(&["FD3005"]),
        scaled("scale-what-argo-applies", &[], "{by: -50%}", "")
            .act(Moment::Before, people::argo_applies_web)
            .refused(&["FD3005"]),
        scaled("scale-changed-by-a-person", &[], "{by: -50%}", "")
            .act(Moment::At("EffectSeen"), people::scales_web_to_5)
            .journal(&["Reverted ChangedSince"])
            .differs(&["Deployment", "ReplicaSet"])
            .left("Deployment $NS/web", "/data/spec/replicas", "5"),
        scaled("scale-labelled-by-a-person", &[], "{by: -50%}", "")
            .act(Moment::At("EffectSeen"), people::labels_web)
            .journal(&["Reverted Restored"])
            .differs(&["Deployment", "ReplicaSet"])
            .left("Deployment $NS/web", "/data/spec/replicas", "4")
            .left("Deployment $NS/web", "/metadata/labels/touched", "\"yes\""),
        row("scale-a-stateful-set")
            .objects(&[&place(), &stateful_set("db", 3)])
            .spec(
                &replicas_of("StatefulSet", "db", "\"true\""),
                "  - name: scale\n    target: {workload: statefulset/db}\n    scale: {replicas: 1}\n    duration: 2s",
                ALL,
            )
            .journal(&["Injected 3 1", "Reverted Restored"]),
        twice("scale-one-after-another", "    background: true\n    duration: 2s\n  - wait: 2s")
            .journal(&["Injected second.0 4 2", "Reverted first.0 Restored", "Reverted second.0 Restored"]),
        twice("scale-again-once-reverted", "    background: true\n  - name: back\n    revert: first")
            .journal(&["Injected second.0 4 2", "Reverted first.0 Restored", "Reverted second.0 Restored"]),
    ]
}
