//! `badRollout`.

use firedrill::types::Verdict;

use crate::scenarios::{
    objects::{any, deployment, place, replicas_of, stateful_set},
    people,
    row::{Moment, Row, row},
};

const BREAK: &str =
    "  - name: break-it\n    target: {workload: deployment/web}\n    badRollout: {}\n    duration: 5s";
/// Until a check has said whether others have brought the former release back.
const UNTIL_BACK: &str = "  - name: break-it\n    target: {workload: deployment/web}\n    badRollout: {image: \"registry.invalid/web:broken\", container: main}\n    background: true\n  - name: brought-back\n    check: {probe: release, within: 2m}";
const RELEASE: &str = "  - name: release\n    kubernetes: {apiVersion: apps/v1, kind: Deployment, name: web}\n    value: object.status.readyReplicas\n    expect: object.spec.template == before.spec.template\n    during: \"true\"\n    every: 1s\n    timeout: 1s\n    for: 1s";

fn released(name: &'static str, method: &str, rest: &str) -> Row {
    row(name).objects(&[&place(), &deployment("web", 4)]).spec(&any(), method, rest).embedded()
}

/// With a progress deadline of 20 s, and with or without a pipeline that looks at it.
fn delivered(name: &'static str, pipeline: &str) -> Row {
    let web = deployment("web", 4).replace(
        "labels: {app: web}}\nspec:\n",
        &format!("labels: {{app: web}}{pipeline}}}\nspec:\n  progressDeadlineSeconds: 20\n"),
    );
    row(name).objects(&[&place(), &web]).spec(RELEASE, UNTIL_BACK, "").embedded()
}

/// Releases that cannot run, and workloads that get none.
pub fn release() -> Vec<Row> {
    let pipeline = ", annotations: {sim.firedrill.dev/rollback-after: 10s}";
    let of = |fields: &str| BREAK.replace("badRollout: {}", &format!("badRollout: {fields}"));
    vec![
        released("release-cannot-be-pulled", BREAK, "")
            .journal(&[
                "Injected Done main revision 1 registry.invalid",
                "TemplateWritten break-it.0",
                "EffectSeen revision 2 waits ErrImagePull",
                "Reverted Restored template of revision 1",
            ])
            .never(&["BroughtBack"]),
        released("release-above-the-limit", BREAK, "  limits: {pods: 10%}").refused(&["FD3007"]),
        released("release-of-another-container", &of("{container: proxy}"), "").refused(&["FD3002"]),
        released("release-of-the-same", &of("{image: \"registry.example.com/main:1\"}"), "")
            .refused(&["FD3006"]),
        released("release-that-runs", &of("{image: \"registry.example.com/main:2\"}"), "")
            .ends(Verdict::Inconclusive)
            .journal(&["EffectMissed break-it.0", "Reverted Restored"]),
        released("release-under-argo", BREAK, "")
            .act(Moment::Before, people::argo_applies_web)
            .refused(&["FD3005"]),
        released("release-while-rolling-out", BREAK, "")
            .act(Moment::Before, people::pauses_a_rollout_of_web)
            .refused(&["FD3006", "FD3016"]),
        released("release-fixed-forward", BREAK, "")
            .act(Moment::At("EffectSeen"), people::fixes_web_forward)
            .ends(Verdict::Inconclusive)
            .journal(&["StopRequested RolloutNoticed", "Reverted ChangedSince main:2 kubectl-set"])
            .differs(&["Deployment", "ReplicaSet"])
            .left(
                "Deployment $NS/web",
                "/data/spec/template/spec/containers/0/image",
                "\"registry.example.com/main:2\"",
            )
            .left("Deployment $NS/web", "/metadata/labels/firedrill.dev~1run", "null"),
        released("release-and-somebody-annotates", BREAK, "")
            .act(Moment::At("EffectSeen"), people::releases_web)
            .ends(Verdict::Inconclusive)
            .journal(&["StopRequested RolloutNoticed", "Reverted Restored"])
            .differs(&["Deployment", "ReplicaSet"])
            .left(
                "Deployment $NS/web",
                "/data/spec/template/spec/containers/0/image",
                "\"registry.example.com/main:1\"",
            ),
        released("release-and-somebody-labels", BREAK, "")
            .act(Moment::At("EffectSeen"), people::labels_web)
            .journal(&["Reverted Restored"])
            .differs(&["Deployment", "ReplicaSet"])
            .left("Deployment $NS/web", "/metadata/labels/touched", "\"yes\"")
            .left("Deployment $NS/web", "/metadata/labels/undo.firedrill.dev~1revision", "null"),
        row("release-of-a-stateful-set")
            .objects(&[&place(), &stateful_set("db", 3)])
            .spec(
                &replicas_of("StatefulSet", "db", "\"true\""),
                &BREAK.replace("deployment/web", "sts/db"),
                "",
            )
            .refused(&["FD3002"]),
        delivered("release-brought-back-by-the-pipeline", pipeline).journal(&[
            "BroughtBack break-it.0 3",
            "Checked brought-back Held",
            "Reverted ChangedSince back already kubectl-rollout",
        ]),
        delivered("release-that-nobody-brings-back", "")
            .ends(Verdict::Failed)
            .journal(&["Checked brought-back Failed", "Reverted Restored"])
            .never(&["BroughtBack"]),
    ]
}
