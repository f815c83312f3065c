//! `podEvict`.

use firedrill::types::Verdict;

use crate::scenarios::{
    objects::{any, bare_pod, budget, deployment, place, replicas_of, stateful_set},
    people,
    row::{Moment, Row, row},
};

const ALL: &str = "  limits: {pods: 100%}";

fn evicted(name: &'static str, more: &[&str], target: &str, rest: &str) -> Row {
    let (place, web) = (place(), deployment("web", 4));
    let objects: Vec<&str> = [place.as_str(), web.as_str()].into_iter().chain(more.iter().copied()).collect();
    let method = format!("  - name: evict\n    target: {target}\n    podEvict: {{}}");
    row(name).objects(&objects).spec(&any(), &method, rest)
}

/// Pods that are evicted, and pods that may not be.
pub fn evict() -> Vec<Row> {
    let tight = budget("web", "web", "minAvailable: 3");
    let web = |count: &str| format!("{{workload: deployment/web, count: {count}}}");
    vec![
        evicted("evict-by-workload", &[], &web("1"), "")
            .journal(&["Injected Done evicted", "EffectSeen evict.0 UID gone"])
            .never(&["evict.1"]),
        evicted("evict-by-selector", &[], "{pods: {matchLabels: {app: web}}, count: 2}", "")
            .journal(&["EffectSeen evict.1"]),
        evicted("evict-all-under-a-tight-budget", &[&tight], &web("all"), ALL)
            .journal(&["EffectSeen evict.0", "EffectSeen evict.3"])
            .never(&["FD4001"]),
        // A budget of one at a time is what is down at the same time.
        evicted("evict-counts-what-the-budget-lets-through", &[&tight], &web("all"), "  limits: {pods: 25%}")
            .journal(&["EffectSeen evict.3"]),
        evicted("evict-all-above-the-limit", &[], &web("all"), "").refused(&["FD3007"]),
        evicted(
            "evict-a-dead-end",
            &[&budget("web", "web", "minAvailable: 4")],
            &web("1"),
            "",
        )
        .refused(&["FD3009"]),
        evicted("evict-two-budgets", &[&tight, &budget("also", "web", "maxUnavailable: 1")], &web("1"), "")
            .refused(&["FD3010"]),
        evicted("evict-a-bare-pod", &[&bare_pod("lonely")], "{pods: {matchLabels: {app: lonely}}}", "")
            .refused(&["FD3003"]),
        evicted("evict-nothing-there", &[], "{pods: {matchLabels: {app: nobody}}}", "").refused(&["FD3001"]),
        row("evict-of-a-stateful-set")
            .objects(&[&place(), &stateful_set("db", 3), &budget("db", "db", "maxUnavailable: 1")])
            .spec(
                &replicas_of("StatefulSet", "db", "\"true\""),
                "  - name: evict\n    target: {workload: sts/db, names: [db-1], count: all}\n    podEvict: {}",
                ALL,
            )
            .journal(&["InjectIntended db-1", "EffectSeen evict.0"])
            .never(&["InjectIntended db-0"]),
        // Evictions wait for their budget for ten minutes; the file's own limit comes before that.
        evicted("evict-budget-tightened", &[&tight], &web("all"), "  limits: {pods: 100%, duration: 6s}")
            .act(Moment::At("InjectIntended"), people::tightens_the_budget)
            .ends(Verdict::Aborted)
            .journal(&["StopRequested DurationExceeded"])
            .differs(&["PodDisruptionBudget"]),
    ]
}
