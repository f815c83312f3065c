//! Steps, probes, clocks, and what other people do meanwhile.

use firedrill::types::Verdict;

use crate::scenarios::{
    objects::{WORD, any, deployment, place, replicas},
    people,
    row::{Moment, Row, row},
};

const KILL: &str = "  - name: kill\n    target: {workload: deployment/web}\n    podKill: {gracePeriod: 0s}";
const TO_ONE: &str =
    "  - name: to-one\n    target: {workload: deployment/web}\n    scale: {replicas: 1}\n    duration: 4s";
const ALL: &str = "  limits: {pods: 100%}";

fn web(name: &'static str, steady: &str, method: &str, rest: &str) -> Row {
    row(name).objects(&[&place(), &deployment("web", 4), WORD]).spec(steady, method, rest)
}

fn check(fields: &str) -> String {
    format!("{KILL}\n  - name: look\n    check: {{probe: replicas, {fields}}}")
}

fn word(during: &str, more: &str) -> String {
    format!(
        "  - name: word\n    kubernetes: {{apiVersion: v1, kind: ConfigMap, name: word}}\n    expect: object.data.well == \"yes\"\n    during: {during}\n    every: 1s\n    timeout: 1s\n    for: 1s{more}"
    )
}

/// What a method is made of.
pub fn method() -> Vec<Row> {
    let mut rows = steps();
    rows.extend(judgements());
    rows.extend(clocks());
    rows.extend(others());
    rows
}

fn steps() -> Vec<Row> {
    vec![
        web("method-wait", &any(), &format!("  - wait: 1s\n{KILL}\n  - wait: 2s"), ""),
        web("method-of-two-steps", &any(), &format!("{KILL}\n  - wait: 4s\n{}", KILL.replace("kill", "again")), "")
            .journal(&["EffectSeen again.0"]),
        web("check-holds", &any(), &check("expect: value >= 1.0"), "").journal(&["Checked Held"]),
        web("check-holds-within", &any(), &check("within: 30s, for: 2s"), "").journal(&["Checked Held"]),
        web("check-fails", &any(), &check("expect: value >= 99.0, within: 2s"), "")
            .ends(Verdict::Failed)
            .journal(&["Checked Failed", "Decided CheckFailed"]),
        web("check-fails-and-goes-on", &any(), &format!("{}\n    onFailure: Continue\n{}", check("expect: value >= 99.0"), KILL.replace("kill", "again")), "")
            .ends(Verdict::Failed)
            .journal(&["EffectSeen again.0"]),
        web(
            "background-and-revert",
            &any(),
            "  - name: down\n    target: {workload: deployment/web}\n    scale: {by: -50%}\n    background: true\n  - name: fewer\n    check: {probe: replicas, expect: value == 2.0, within: 20s}\n  - name: back\n    revert: down\n  - name: whole\n    check: {probe: replicas, expect: value == 4.0, within: 20s}",
            "",
        )
        .journal(&["Checked fewer Held", "Reverted down.0 Restored", "Checked whole Held"]),
        web(
            "background-to-the-end",
            &any(),
            "  - name: down\n    target: {workload: deployment/web}\n    scale: {by: -50%}\n    background: true\n  - wait: 2s",
            "",
        )
        .journal(&["MethodEnded", "Reverted down.0 Restored"]),
        row("verify-only").objects(&[&place(), &deployment("web", 4)]).file(&format!(
            "apiVersion: firedrill.dev/v1alpha1\nkind: Experiment\nmetadata: {{name: $NS, namespace: $NS}}\nspec:\n  hypothesis: It is steady.\n  steadyState:\n{}\n",
            any()
        )),
    ]
}

fn judgements() -> Vec<Row> {
    let falls = replicas("value >= 2.0");
    let informational = format!("{}\n{}\n    role: Informational", word("\"true\"", ""), any());
    vec![
        web("violation-aborts", &falls, TO_ONE, ALL).ends(Verdict::Failed).journal(&[
            "Violated replicas",
            "StopRequested Violated",
            "Reverted Restored",
        ]),
        web(
            "violation-goes-on",
            &format!("{falls}\n    onViolation: Continue"),
            &format!("{TO_ONE}\n{KILL}"),
            ALL,
        )
        .ends(Verdict::Failed)
        .journal(&["Violated replicas", "EffectSeen kill.0"])
        .never(&["StopRequested"]),
        web(
            "stop-condition-aborts",
            &format!("{}\n{falls}\n    role: StopCondition", word("\"true\"", "")),
            TO_ONE,
            ALL,
        )
        .ends(Verdict::Aborted)
        .journal(&["StopRequested StopCondition", "Reverted Restored"]),
        web(
            "informational-never-judges",
            &informational.replace(
                "during: \"true\"\n    every: 1s\n    timeout: 1s\n    for: 1s\n    role",
                "during: value >= 4.0\n    every: 1s\n    timeout: 1s\n    for: 1s\n    role",
            ),
            TO_ONE,
            ALL,
        )
        .never(&["Violated"]),
        web("samples-instead-of-for", &falls.replace("for: 1s", "samples: {outside: 2, of: 3}"), TO_ONE, ALL)
            .ends(Verdict::Failed)
            .journal(&["Violated replicas"]),
        web("within-of-the-baseline", &replicas("value >= baseline.mean * 0.25"), TO_ONE, ALL),
        web(
            "not-steady",
            &replicas("\"true\"").replace(
                "expect: object.status.readyReplicas == object.spec.replicas",
                "expect: value >= 9.0",
            ),
            KILL,
            "",
        )
        .ends(Verdict::NotSteady)
        .never(&["InjectIntended"]),
        web("not-steady-without-the-object", &any().replace("name: web}", "name: nobody}"), KILL, "")
            .ends(Verdict::NotSteady)
            .never(&["InjectIntended"]),
        web(
            "not-steady-of-no-such-kind",
            &format!(
                "{}\n{}",
                any(),
                any().replace("- name: replicas", "- name: other").replace("apps/v1", "example.com/v1")
            ),
            KILL,
            "",
        )
        .ends(Verdict::NotSteady)
        .never(&["InjectIntended"]),
        web(
            "no-data-of-no-number",
            &any().replace("value: object.status.readyReplicas", "value: object.metadata.name"),
            KILL,
            "",
        )
        .ends(Verdict::Inconclusive)
        .never(&["InjectIntended"]),
        web(
            "no-data-is-ignored",
            &format!(
                "{}\n{}\n    onMissing: Ignore\n    role: Informational",
                any(),
                any().replace("- name: replicas", "- name: other").replace("apps/v1", "example.com/v1")
            ),
            KILL,
            "",
        ),
    ]
}

fn clocks() -> Vec<Row> {
    vec![
        web(
            "duration-aborts",
            &any(),
            &check("expect: value >= 99.0, within: 30s"),
            "  limits: {duration: 3s}",
        )
        .ends(Verdict::Aborted)
        .journal(&["StopRequested DurationExceeded"]),
        web(
            "duration-aborts-what-lasts",
            &any(),
            &format!(
                "{}\n  - name: never\n    check: {{probe: replicas, expect: value >= 99.0, within: 30s}}",
                TO_ONE.replace("duration: 4s", "background: true")
            ),
            "  limits: {pods: 100%, duration: 3s}",
        )
        .ends(Verdict::Aborted)
        .journal(&["StopRequested DurationExceeded", "Reverted Restored"]),
        // Normal is four, whatever is asked for: what heals in a blink is not what is measured here.
        web(
            "rto-missed",
            &any().replace("object.status.readyReplicas == object.spec.replicas", "value >= 4.0"),
            TO_ONE,
            "  objectives: {rto: 1s}\n  limits: {pods: 100%}",
        )
        .ends(Verdict::Failed)
        .journal(&["Decided RtoMissed"]),
        web("rto-met", &any(), KILL, "  objectives: {rto: 1m}"),
        web(
            "not-recovered-in-time",
            &word("\"true\"", ""),
            &format!("{KILL}\n  - wait: 2s"),
            "  objectives: {recoverWithin: 3s}",
        )
        .act(Moment::At("EffectSeen"), people::takes_back_the_word)
        .ends(Verdict::Failed)
        .journal(&["NotRecovered word", "Decided NotRecovered"])
        .differs(&["ConfigMap"]),
    ]
}

fn others() -> Vec<Row> {
    vec![
        web("rollout-by-somebody", &any(), &format!("{KILL}\n  - wait: 10s"), "")
            .act(Moment::At("EffectSeen"), people::releases_web)
            .ends(Verdict::Inconclusive)
            .journal(&["StopRequested RolloutNoticed"])
            .differs(&["Deployment", "ReplicaSet"]),
        web("second-run-refused", &any(), &format!("{KILL}\n  - wait: 3s"), "")
            .act(Moment::At("EffectSeen"), people::starts_a_second_run)
            .said("FD2010 is at work there"),
        web(
            "word-taken-back",
            &word("object.data.well == \"yes\"", ""),
            &format!("{KILL}\n  - wait: 20s"),
            "  objectives: {recoverWithin: 2s}",
        )
        .act(Moment::At("EffectSeen"), people::takes_back_the_word)
        .ends(Verdict::Failed)
        .journal(&["Violated word"])
        .differs(&["ConfigMap"]),
    ]
}

/// The namespace goes while its run is at work.
pub fn namespace_deleted() -> Row {
    web(
        "namespace-deleted",
        &any(),
        &format!("{TO_ONE}\n  - wait: 20s"),
        "  limits: {pods: 100%}\n  objectives: {recoverWithin: 1s}",
    )
    .act(Moment::At("EffectSeen"), people::deletes_the_namespace)
    .ends(Verdict::Aborted)
    .journal(&["StopRequested NamespaceTerminating"])
    .differs(&["Namespace", "Deployment", "ReplicaSet", "ConfigMap", "ServiceAccount"])
}
