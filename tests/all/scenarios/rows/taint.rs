//! `nodeTaint`.

use crate::scenarios::{
    objects::{any, bare_pod, budget, daemon_set, deployment, deployment_in, namespace, place},
    people,
    row::{Act, Moment, Row, row},
};

const A0: &str = "{nodes: {matchLabels: {row: $NS, node: a0}}}";
const TAINT: &str = "{key: example.com/drill, value: \"yes\", effect: NoSchedule}";

/// Deletes what does not tolerate it.
const OUT: &str = "{key: example.com/drill, effect: NoExecute}";

fn method(target: &str, taint: &str) -> String {
    format!("  - name: taint\n    target: {target}\n    nodeTaint: {{taint: {taint}}}\n    duration: 2s")
}

fn tainted(name: &'static str, target: &str, taint: &str) -> Row {
    let limits = "  limits: {pods: 100%, nodes: 60%}";
    row(name).objects(&[&place(), &deployment("web", 4)]).spec(&any(), &method(target, taint), limits)
}

/// The same workload with pods that put up with the drill's taint.
fn tolerating(workload: &str, more: &str) -> String {
    let toleration = format!("{{key: example.com/drill, operator: Exists, effect: NoExecute{more}}}");
    workload.replace("      containers:", &format!("      tolerations: [{toleration}]\n      containers:"))
}

fn meanwhile(name: &'static str, act: Act) -> Row {
    tainted(name, A0, TAINT).act(Moment::At("EffectSeen"), act)
}

/// Nodes that are tainted, and nodes that may not be.
pub fn taint() -> Vec<Row> {
    let mut rows = vec![
        tainted("taint-a-node", A0, TAINT).journal(&[
            "Injected example.com/drill=yes:NoSchedule",
            "EffectSeen taint.0",
            "Reverted Restored",
        ]),
        tainted("taint-without-a-value", A0, "{key: example.com/drill, effect: PreferNoSchedule}")
            .journal(&["Injected example.com/drill:PreferNoSchedule", "Reverted Restored"]),
        tainted(
            "taint-two-nodes",
            "{nodes: {matchLabels: {row: $NS}}, names: [$NS-a0, $NS-b0], count: all}",
            TAINT,
        )
        .journal(&["EffectSeen taint.0", "EffectSeen taint.1"]),
        tainted("taint-no-execute", A0, OUT).journal(&[
            "InjectIntended taint.0 displaced web-",
            "EffectSeen taint.0 endpoints",
            "Reverted Restored",
        ]),
        tainted("taint-no-execute-asks-no-budget", A0, OUT)
            .objects(&[&place(), &deployment("web", 4), &budget("web", "web", "minAvailable: 4")])
            .journal(&["EffectSeen taint.0 endpoints"]),
        tainted("taint-no-execute-that-is-tolerated", A0, OUT)
            .objects(&[&place(), &tolerating(&deployment("web", 4), "")])
            .journal(&["EffectSeen taint.0"])
            .never(&["InjectIntended displaced"]),
        tainted("taint-no-execute-that-is-tolerated-for-a-while", A0, OUT)
            .objects(&[&place(), &tolerating(&deployment("web", 4), ", tolerationSeconds: 300")])
            .journal(&["InjectIntended displaced web-", "EffectSeen taint.0"]),
        tainted("taint-no-execute-with-daemons", A0, OUT)
            .objects(&[&place(), &deployment("web", 4), &daemon_set("agent")])
            .journal(&["InjectIntended displaced agent-", "EffectSeen taint.0"]),
        tainted("taint-no-execute-with-a-bare-pod", A0, OUT)
            .objects(&[
                &place(),
                &deployment("web", 4),
                &bare_pod("lonely").replace("{row: $NS}", "{row: $NS, node: a0}"),
            ])
            .refused(&["FD3003"]),
        tainted("taint-no-execute-beyond-the-limit", A0, OUT)
            .spec(&any(), &method(A0, OUT), "  limits: {pods: 10%, nodes: 60%}")
            .refused(&["FD3007"]),
        tainted("taint-no-execute-bystanders-have-agreed-to-evictions", A0, OUT)
            .objects(&[
                &place(),
                &deployment("web", 4),
                &namespace("$NS-other", false),
                &deployment_in("$NS-other", "guest", 4),
            ])
            .bystanders("$NS-other")
            .refused(&["FD3014"]),
        tainted("taint-that-somebody-has-with-another-value", A0, TAINT)
            .act(Moment::Before, people::has_the_drills_taint_on_a0)
            .refused(&["FD3005"]),
        tainted("taint-that-is-there", A0, "{key: example.com/drill, value: mine, effect: NoSchedule}")
            .act(Moment::Before, people::has_the_drills_taint_on_a0)
            .refused(&["FD3006"]),
        tainted("taint-beside-one-of-that-key", A0, "{key: example.com/drill, effect: PreferNoSchedule}")
            .act(Moment::Before, people::has_the_drills_taint_on_a0)
            .journal(&["Reverted Restored"])
            .left("Node /$NS-a0", "/data/spec/taints/0/value", "\"mine\""),
    ];
    rows.extend(with_people());
    rows
}

fn with_people() -> Vec<Row> {
    let scar = "/metadata/labels/firedrill.dev~1run";
    vec![
        meanwhile("taint-one-of-that-key-survives", people::taints_a0_like_the_drill)
            .journal(&["Reverted Restored"])
            .differs(&["Node"])
            .left("Node /$NS-a0", "/data/spec/taints/0/value", "\"mine\"")
            .left("Node /$NS-a0", "/data/spec/taints/1", "null")
            .left("Node /$NS-a0", scar, "null"),
        meanwhile("taint-cordoned-by-a-person", people::cordons_a0)
            .journal(&["Reverted Restored"])
            .differs(&["Node"])
            .left("Node /$NS-a0", "/data/spec/unschedulable", "true")
            .left("Node /$NS-a0", scar, "null"),
        meanwhile("taint-cleared-by-a-person", people::clears_the_taints_of_a0)
            .journal(&["Reverted ChangedSince"]),
        meanwhile("taint-changed-by-a-person", people::values_the_taint_of_a0)
            .journal(&["Reverted ChangedSince"])
            .differs(&["Node"])
            .left("Node /$NS-a0", "/data/spec/taints/0/value", "\"mine\"")
            .left("Node /$NS-a0", scar, "null"),
        row("taint-and-cordon-the-same")
            .objects(&[&place(), &deployment("web", 4)])
            .spec(
                &any(),
                &format!("  - name: cordon\n    target: {A0}\n    nodeCordon: {{}}\n    background: true\n  - name: taint\n    target: {A0}\n    nodeTaint: {{taint: {TAINT}}}\n    duration: 1s"),
                "  limits: {pods: 100%, nodes: 60%}",
            )
            .journal(&["EffectSeen taint.0", "Reverted cordon.0 Restored", "Reverted taint.0 Restored"]),
    ]
}
