//! Consent, protection, Guardrails, rights.

use crate::scenarios::{
    objects::{account, any, deployment, deployment_in, guardrail, namespace, nodes, place},
    people,
    row::{Moment, Row, row},
};

const KILL: &str =
    "  - name: kill\n    target: {workload: deployment/web, count: 2}\n    podKill: {gracePeriod: 0s}";
const DRAIN: &str = "  - name: drain\n    target: {nodes: {matchLabels: {row: $NS, node: a0}}}\n    nodeDrain: {}\n    duration: 1s";

fn web(name: &'static str, more: &[&str], method: &str) -> Row {
    let (place, web) = (place(), deployment("web", 4));
    let objects: Vec<&str> = [place.as_str(), web.as_str()].into_iter().chain(more.iter().copied()).collect();
    row(name).objects(&objects).spec(&any(), method, "  limits: {nodes: 60%}")
}

/// What is refused before anything is changed.
pub fn guard() -> Vec<Row> {
    let silent = namespace("$NS", false);
    let nodes = nodes(&[("a0", "a"), ("a1", "a"), ("b0", "b"), ("b1", "b")]);
    let unasked = |name| row(name).objects(&[&silent, &nodes, &deployment("web", 4)]).spec(&any(), KILL, "");
    let (other, guest) = (namespace("$NS-other", false), deployment_in("$NS-other", "web", 4));
    let elsewhere = KILL.replace("{workload", "{namespace: $NS-other, workload");
    let protected = KILL.replace("{workload", "{namespace: kube-system, workload").replace("/web", "/$NS");
    let may = |rules: &str| account(&format!("- {{apiGroups: [''], resources: [pods], verbs: [{rules}]}}"));
    vec![
        unasked("consent-missing").refused(&["FD2003"]),
        unasked("consent-by-flag").allow("$NS"),
        web("consent-missing-elsewhere", &[&other, &guest], &elsewhere).refused(&["FD2003"]),
        web("protected-namespace", &[&deployment_in("kube-system", "$NS", 4)], &protected)
            .refused(&["FD2004"]),
        web("production", &[], KILL)
            .act(Moment::Before, people::declares_production)
            .alone()
            .refused(&["FD2005"]),
        web("guardrail-production", &[&guardrail("  environment: production")], KILL)
            .alone()
            .refused(&["FD2005"]),
        web("guardrail-limits", &[&guardrail("  limits: {pods: 25%}")], KILL).refused(&["FD3007"]),
        web("guardrail-limits-nodes", &[&guardrail("  limits: {nodes: 1%}")], DRAIN).refused(&["FD3008"]),
        web("guardrail-denies", &[&guardrail("  faults: {denied: [podKill]}")], KILL).refused(&["FD2006"]),
        web("guardrail-allows-others", &[&guardrail("  faults: {allowed: [scale]}")], KILL)
            .refused(&["FD2006"]),
        web("guardrail-halts", &[&guardrail("  halt: true\n  haltReason: there is an incident")], KILL)
            .refused(&["FD2006"]),
        web("guardrail-wants-approval", &[&guardrail("  approvals: {required: 1}")], KILL)
            .refused(&["FD2006"]),
        web(
            "guardrail-names-other-nodes",
            &[&guardrail("  nodes: {selector: {matchLabels: {node: b1}}}")],
            DRAIN,
        )
        .refused(&["FD2006"]),
        web(
            "guardrail-names-these-nodes",
            &[&guardrail("  nodes: {selector: {matchLabels: {node: a0}}}")],
            DRAIN,
        ),
        web(
            "guardrail-leaves-room",
            &[&guardrail("  limits: {pods: 50%}\n  faults: {allowed: [podKill]}")],
            KILL,
        ),
        web("rollout-under-way", &[], KILL)
            .act(Moment::Before, people::pauses_a_rollout_of_web)
            .refused(&["FD3016"]),
        web("rights-missing", &[&may("get")], KILL).by_account().refused(&["FD2001"]),
        web("rights-enough", &[&may("delete")], KILL).by_account(),
    ]
}
