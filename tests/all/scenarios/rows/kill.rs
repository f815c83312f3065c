//! `podKill`.

use crate::scenarios::{
    objects::{any, bare_pod, budget, deployment, place, replicas_of, stateful_set},
    people,
    row::{Moment, Row, row},
};

fn web(name: &'static str, target: &str, rest: &str) -> Row {
    let method = format!("  - name: kill\n    target: {target}\n    podKill: {{gracePeriod: 0s}}");
    row(name).objects(&[&place(), &deployment("web", 4)]).spec(&any(), &method, rest)
}

fn db(name: &'static str, target: &str) -> Row {
    let method = format!("  - name: kill\n    target: {target}\n    podKill: {{gracePeriod: 0s}}");
    row(name).objects(&[&place(), &stateful_set("db", 3)]).spec(
        &replicas_of("StatefulSet", "db", "\"true\""),
        &method,
        "  limits: {pods: 100%}",
    )
}

/// Pods that die, and pods that may not.
pub fn kill() -> Vec<Row> {
    vec![
        web("kill-by-selector", "{pods: {matchLabels: {app: web}}}", "")
            .journal(&["EffectSeen UID gone", "Injected Done"])
            .never(&["kill.1"]),
        web("kill-by-workload", "{workload: deployment/web}", "").never(&["kill.1"]),
        web("kill-by-expression", "{pods: {matchExpressions: [{key: app, operator: In, values: [web, api]}]}, count: 2}", "")
            .journal(&["EffectSeen kill.1"])
            .never(&["EffectSeen kill.2"]),
        web("kill-half", "{workload: deployment/web, count: 50%}", "")
            .journal(&["EffectSeen kill.0", "EffectSeen kill.1"])
            .never(&["kill.2"]),
        web("kill-share-rounds-down", "{workload: deployment/web, count: 49%}", "").never(&["kill.1"]),
        web("kill-all-above-the-limit", "{workload: deployment/web, count: all}", "").refused(&["FD3007"]),
        web("kill-all-within-the-limit", "{workload: deployment/web, count: all}", "  limits: {pods: 100%}")
            .journal(&["EffectSeen kill.3"]),
        web("kill-more-than-there-are", "{workload: deployment/web, count: 9}", "  limits: {pods: 100%}")
            .journal(&["EffectSeen kill.3"])
            .never(&["kill.4"]),
        web("kill-in-a-zone", "{workload: deployment/web, zone: $NS-a, count: all}", "")
            .journal(&["EffectSeen kill.1"])
            .never(&["kill.2"]),
        web("kill-nothing-there", "{pods: {matchLabels: {app: nobody}}}", "").refused(&["FD3001"]),
        web("kill-no-such-workload", "{workload: deployment/nobody}", "").refused(&["FD3001"]),
        db("kill-by-name", "{pods: {matchLabels: {app: db}}, names: [db-1], count: all}")
            .journal(&["InjectIntended db-1", "EffectSeen kill.0"])
            .never(&["InjectIntended db-0", "InjectIntended db-2"]),
        db("kill-but-not-these", "{workload: statefulset/db, exclude: {names: [db-0, db-2]}, count: all}")
            .journal(&["InjectIntended db-1"])
            .never(&["InjectIntended db-0", "InjectIntended db-2"]),
        db("kill-of-a-stateful-set", "{workload: sts/db, count: all}")
            .journal(&["InjectIntended db-0", "EffectSeen kill.2 UID gone"]),
        row("kill-nobody-excluded-is-left")
            .objects(&[&place(), &deployment("web", 4)])
            .spec(
                &any(),
                "  - name: kill\n    target: {workload: deployment/web, exclude: {selector: {matchLabels: {app: web}}}}\n    podKill: {}",
                "",
            )
            .refused(&["FD3001"]),
        row("kill-a-bare-pod")
            .objects(&[&place(), &deployment("web", 4), &bare_pod("lonely")])
            .spec(&any(), "  - name: kill\n    target: {pods: {matchLabels: {app: lonely}}}\n    podKill: {}", "")
            .refused(&["FD3003"]),
        row("kill-with-grace")
            .objects(&[&place(), &deployment("web", 4)])
            .spec(&any(), "  - name: kill\n    target: {workload: deployment/web}\n    podKill: {gracePeriod: 3s}", "")
            .journal(&["Injected Done 3s"]),
        row("kill-does-not-ask-a-budget")
            .objects(&[&place(), &deployment("web", 4), &budget("web", "web", "minAvailable: 4")])
            .spec(&any(), "  - name: kill\n    target: {workload: deployment/web, count: 2}\n    podKill: {}", "")
            .journal(&["Planned FD4001", "EffectSeen kill.1"]),
        row("kill-while-somebody-deletes")
            .objects(&[&place(), &deployment("web", 4)])
            .spec(
                &any(),
                "  - name: kill\n    target: {workload: deployment/web, count: 2}\n    podKill: {}\n  - wait: 2s",
                "  limits: {pods: 100%}",
            )
            .act(Moment::At("InjectIntended"), people::deletes_a_pod),
    ]
}
