//! `hpaClamp`.

use crate::scenarios::{
    objects::{any, autoscaler, deployment, place},
    people,
    row::{Moment, Row, row},
};

const ALL: &str = "  limits: {pods: 100%}";

fn step(fields: &str) -> String {
    format!(
        "  - name: clamp\n    target: {{workload: deployment/web}}\n    hpaClamp: {fields}\n    duration: 2s"
    )
}

/// Without resource metrics an autoscaler moves only what is outside its bounds, and leaves it there.
fn clamped(name: &'static str, more: &[&str], fields: &str, rest: &str) -> Row {
    let (place, web) = (place(), deployment("web", 4));
    let objects: Vec<&str> = [place.as_str(), web.as_str()].into_iter().chain(more.iter().copied()).collect();
    row(name).objects(&objects).spec(&any(), &step(fields), rest).differs(&["Deployment", "ReplicaSet"])
}

/// Autoscalers that are clamped, and autoscalers that may not be.
pub fn clamp() -> Vec<Row> {
    let hpa = autoscaler("web", "");
    let second = hpa.replace("name: web, namespace", "name: other, namespace");
    let keda = autoscaler("web", ", scaledobject.keda.sh/name: web");
    let shop = include_str!("../../../../experiments/autoscaling/demo/shop.yaml");
    let freeze = step("{}").replace("deployment/web", "deployment/checkout");
    let desired = "  - name: desired\n    kubernetes: {apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, name: checkout}\n    value: object.status.desiredReplicas\n    expect: value >= 4\n    every: 1s\n    timeout: 1s";
    let mut frozen = row("clamp-freezes-a-scale-out")
        .objects(&[shop])
        .spec(desired, &freeze, "")
        .embedded()
        .differs(&["Deployment", "ReplicaSet"])
        .journal(&["EffectSeen looked since ScalingLimited", "Reverted Restored 4..10"]);
    frozen.namespace = "shop";
    vec![
        clamped("clamp-below-what-there-are", &[&hpa], "{max: 2}", "")
            .journal(&["Injected Done 1..10 1..2", "EffectSeen wants 2 replicas", "Reverted Restored 1..10"])
            .left("Deployment $NS/web", "/data/readyReplicas", "2"),
        clamped("clamp-above-what-there-are", &[&hpa], "{min: 6}", "")
            .journal(&["Injected Done 6..10", "EffectSeen wants 6 replicas", "Reverted Restored 1..10"])
            .left("Deployment $NS/web", "/data/readyReplicas", "6"),
        clamped("clamp-above-the-limit", &[&hpa], "{max: 1}", "").refused(&["FD3007"]),
        clamped("clamp-within-the-limit", &[&hpa], "{max: 1}", ALL).journal(&["EffectSeen wants 1 replicas"]),
        clamped("clamp-without-an-autoscaler", &[], "{max: 2}", "").refused(&["FD3001"]),
        clamped("clamp-one-of-two", &[&hpa, &second], "{max: 2}", "").refused(&["FD3001"]),
        clamped("clamp-under-keda", &[&keda], "{max: 2}", "").refused(&["FD3005"]),
        clamped("clamp-no-change", &[&hpa], "{min: 1, max: 10}", "").refused(&["FD3006"]),
        clamped("clamp-one-that-does-not-scale", &[&hpa], "{max: 8}", "").refused(&["FD3006"]),
        clamped("clamp-crosses-the-other-bound", &[&hpa], "{min: 12}", "").refused(&["FD3002"]),
        clamped("clamp-changed-by-a-person", &[&hpa], "{max: 2}", "")
            .act(Moment::At("EffectSeen"), people::raises_the_bound)
            .journal(&["Reverted ChangedSince kubectl-edit"])
            .differs(&["HorizontalPodAutoscaler"])
            .left("HorizontalPodAutoscaler $NS/web", "/data/spec/maxReplicas", "20")
            .left("HorizontalPodAutoscaler $NS/web", "/data/spec/minReplicas", "1")
            .left("HorizontalPodAutoscaler $NS/web", "/metadata/labels/firedrill.dev~1run", "null"),
        frozen,
    ]
}
