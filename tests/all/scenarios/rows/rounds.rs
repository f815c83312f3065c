//! Faults again and again, batch after batch, and on what is born later.

use firedrill::types::Verdict;

use crate::scenarios::{
    objects::{WORD, any, budget, deployment, place},
    people,
    row::{Moment, Row, row},
};

const KILL: &str =
    "  - name: monkey\n    target: {workload: deployment/web}\n    podKill: {gracePeriod: 0s}\n";
const POOL: &str = "  - name: pool\n    target: {nodes: {matchLabels: {row: $NS}}, count: all}\n    nodeDrain: {}\n    duration: 1s\n";
const NODES: &str = "  limits: {pods: 100%, nodes: 60%}";
const WORD_HOLDS: &str = "  - name: word\n    kubernetes: {apiVersion: v1, kind: ConfigMap, name: word}\n    expect: object.data.well == \"yes\"\n    during: \"true\"\n    every: 1s\n    timeout: 1s\n    for: 1s";

fn web(name: &'static str, method: &str, rest: &str) -> Row {
    row(name).objects(&[&place(), &deployment("web", 4)]).spec(&any(), method, rest)
}

fn pool(name: &'static str, rolling: &str) -> Row {
    web(name, &format!("{POOL}    rolling: {rolling}"), NODES)
}

/// `repeat`, `rolling`, `follow`.
pub fn rounds() -> Vec<Row> {
    vec![
        web("repeat-three-times", &format!("{KILL}    repeat: {{every: 3s, times: 3}}"), "")
            .journal(&["EffectSeen monkey.0", "EffectSeen monkey.2", "StepEnded monkey"])
            .never(&["monkey.3"]),
        web("repeat-for-a-while", &format!("{KILL}    repeat: {{every: 3s, for: 8s, jitter: 500ms}}"), "")
            .journal(&["EffectSeen monkey.2", "StepEnded monkey"])
            .never(&["monkey.3"]),
        web(
            "repeat-in-the-background",
            &format!("{KILL}    repeat: {{every: 3s, times: 3}}\n    background: true\n  - name: some\n    check: {{probe: replicas, expect: value >= 1.0}}"),
            "",
        )
        .journal(&["Checked some Held", "EffectSeen monkey.2", "MethodEnded"]),
        row("repeat-skips-a-round")
            .objects(&[&place(), &deployment("web", 4)])
            .spec(
                &any(),
                &format!("{KILL}    repeat: {{every: 4s, times: 3}}"),
                "  limits: {pods: 1}\n  objectives: {recoverWithin: 4s}",
            )
            .act(Moment::At("StepStarted"), people::closes_every_node)
            .differs(&["Node", "Deployment", "ReplicaSet", "Pod"])
            .ends(Verdict::Failed)
            .journal(&["EffectSeen monkey.0", "RoundSkipped FD3007", "StepEnded monkey", "NotRecovered"])
            .never(&["monkey.2"]),
        pool("rolling-node-by-node", "{batch: 1, pause: 1s}").journal(&[
            "TargetsChosen $NS-a0 $NS-b1",
            "Reverted pool.0 Restored",
            "Reverted pool.3 Restored",
            "StepEnded pool",
        ]),
        web(
            "rolling-two-at-a-time",
            &format!("{}    rolling: {{batch: 2}}", POOL.replace("count", "exclude: {names: [$NS-a1]}, count")),
            NODES,
        )
        .journal(&["InjectIntended pool.0 pool.1", "EffectSeen pool.2", "StepEnded pool"]),
        pool("rolling-a-zone-at-a-time", "{batch: 50%}").refused(&["FD3013"]),
        pool("rolling-stops-at-a-violation", "{}")
            .objects(&[&place(), &deployment("web", 4), WORD])
            .spec(
                &WORD_HOLDS.replace("during: \"true\"", "during: object.data.well == \"yes\""),
                &format!("{POOL}    rolling: {{}}"),
                &format!("{NODES}\n  objectives: {{recoverWithin: 3s}}"),
            )
            .act(Moment::At("EffectSeen"), people::takes_back_the_word)
            .differs(&["ConfigMap"])
            .ends(Verdict::Failed)
            .journal(&["Violated word", "Reverted pool.0 Restored"])
            .never(&["InjectIntended pool.2"]),
        pool("rolling-is-not-healed", "{}")
            .objects(&[&place(), &deployment("web", 4), WORD])
            .spec(
                WORD_HOLDS,
                &format!("{POOL}    rolling: {{}}"),
                &format!("{NODES}\n  objectives: {{recoverWithin: 3s}}"),
            )
            .act(Moment::At("EffectSeen"), people::takes_back_the_word)
            .differs(&["ConfigMap"])
            .ends(Verdict::Failed)
            .journal(&["Decided NotRecovered", "Reverted pool.0 Restored"])
            .never(&["InjectIntended pool.1"]),
        pool("rolling-into-a-dead-end", "{}")
            .objects(&[&place(), &deployment("web", 4), &budget("web", "web", "minAvailable: 4")])
            .refused(&["FD3009"]),
        web(
            "follow-a-zone",
            "  - name: zone\n    target: {zone: $NS-a, exclude: {names: [$NS-a1]}, follow: true}\n    nodeDrain: {}\n    duration: 15s",
            NODES,
        )
        .act(Moment::At("EffectSeen"), people::adds_a_node)
        .differs(&["Node"])
        .journal(&["InjectIntended $NS-a9", "EffectSeen zone.1", "Reverted zone.1 Restored"]),
    ]
}
