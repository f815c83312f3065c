//! `zoneOutage`.

use crate::scenarios::{
    objects::{
        any, bare_pod, budget, daemon_set, deployment, deployment_in, namespace, nodes, nodes_with, place,
        stateful_set,
    },
    people,
    row::{Moment, Row, row},
};

const ZONE: &str = "{zone: $NS-a}";
const LIMITS: &str = "  limits: {pods: 100%, nodes: 60%}";

fn lost(name: &'static str, objects: &[&str], target: &str, fields: &str) -> Row {
    lost_within(name, objects, (target, fields), LIMITS)
}

fn lost_within(name: &'static str, objects: &[&str], (target, fields): (&str, &str), limits: &str) -> Row {
    let method = format!("  - name: out\n    target: {target}\n    zoneOutage: {fields}\n    duration: 5s");
    row(name).objects(objects).spec(&any(), &method, limits)
}

/// Zones that are lost, and zones that may not be.
pub fn zone() -> Vec<Row> {
    let (place, web) = (place(), deployment("web", 4));
    let plain = [place.as_str(), web.as_str()];
    let (three, four) = (budget("web", "web", "minAvailable: 3"), budget("web", "web", "minAvailable: 4"));
    let mut rows = vec![
        lost("zone-killed", &plain, ZONE, "{}").journal(&[
            "InjectIntended out.0 $NS-a0 out.1 $NS-a1",
            "Injected $NS-a closed deleted",
            "EffectSeen out.0 unschedulable endpoints",
            "EffectSeen out.1 unschedulable endpoints",
            "Reverted out.0 Restored",
            "Reverted out.1 Restored",
        ]),
        lost("zone-drained-under-a-tight-budget", &[&place, &web, &three], ZONE, "{mode: Drain}").journal(&[
            "Injected $NS-a closed evicted",
            "EffectSeen out.0",
            "EffectSeen out.1",
            "Reverted out.1 Restored",
        ]),
        lost("zone-drained-while-a-budget-appears", &plain, ZONE, "{mode: Drain}")
            .act(Moment::At("InjectIntended"), people::makes_a_budget)
            .differs(&["PodDisruptionBudget"])
            .journal(&["EffectSeen out.0", "EffectSeen out.1", "Reverted out.1 Restored"]),
        lost("zone-drained-into-a-dead-end", &[&place, &web, &four], ZONE, "{mode: Drain}")
            .refused(&["FD3009"]),
        lost("zone-killed-whatever-the-budget-says", &[&place, &web, &four], ZONE, "{mode: Kill}")
            .journal(&["EffectSeen out.0", "EffectSeen out.1"]),
        lost("zone-with-a-stateful-set", &[&place, &web, &stateful_set("db", 4)], ZONE, "{}")
            .journal(&["InjectIntended db-", "EffectSeen out.1"]),
        lost("zone-where-daemons-stay", &[&place, &web, &daemon_set("agent")], ZONE, "{}")
            .journal(&["EffectSeen out.0"])
            .never(&["InjectIntended agent-"]),
        lost("zone-with-a-bare-pod", &[&place, &web, &pinned(&bare_pod("lonely"))], ZONE, "{}")
            .refused(&["FD3003"]),
        lost("zone-that-is-not-there", &plain, "{zone: $NS-nowhere}", "{}").refused(&["FD3001"]),
        lost_within(
            "zone-with-the-last-replica",
            &[&place, &pinned(&deployment("web", 1))],
            (ZONE, "{}"),
            "  limits: {nodes: 60%}",
        )
        .refused(&["FD3007"]),
        lost_within("zone-of-too-many-nodes", &plain, (ZONE, "{}"), "  limits: {pods: 100%, nodes: 1%}")
            .refused(&["FD3008"]),
        lost_within(
            "zone-that-is-the-last",
            &[&namespace("$NS", true), &nodes(&[("a0", "a"), ("a1", "a")]), &web],
            (ZONE, "{}"),
            "  limits: {pods: 100%, nodes: 100%}",
        )
        .alone()
        .refused(&["FD3015", "FD3019"]),
        lost("zone-joined-by-a-node", &plain, ZONE, "{}")
            .act(Moment::At("EffectSeen"), people::adds_a_node)
            .differs(&["Node"])
            .journal(&["InjectIntended out.2 $NS-a9", "EffectSeen out.2", "Reverted out.2 Restored"])
            .left("Node /$NS-a9", "/data/spec/unschedulable", "null")
            .left("Node /$NS-a9", "/metadata/labels/firedrill.dev~1run", "null"),
        lost("zone-joined-by-a-node-left-alone", &plain, "{zone: $NS-a, follow: false}", "{}")
            .act(Moment::At("EffectSeen"), people::adds_a_node)
            .differs(&["Node"])
            .never(&["out.2"]),
        lost("zone-partly-cordoned-before", &plain, ZONE, "{}")
            .act(Moment::Before, people::cordons_a0)
            .journal(&["EffectSeen out.0", "Reverted out.0 NothingToDo", "Reverted out.1 Restored"])
            .left("Node /$NS-a0", "/data/spec/unschedulable", "true"),
        lost("zone-uncordoned-by-a-person", &plain, ZONE, "{}")
            .act(Moment::At("EffectSeen"), people::uncordons_a0)
            .journal(&["Reverted out.0 ChangedSince", "Reverted out.1 Restored"]),
    ];
    rows.extend(special(&place, &web));
    rows
}

/// Nodes that are not like others, and pods of others.
fn special(place: &str, web: &str) -> Vec<Row> {
    let consenting = namespace("$NS", true);
    let plane = nodes_with(&[("a0", "a")], ", node-role.kubernetes.io/control-plane: \"\"", 20);
    let others = nodes(&[("a1", "a"), ("b0", "b"), ("b1", "b")]);
    let planed = [consenting.as_str(), &plane, &others, web];
    let (other, guest) = (namespace("$NS-other", false), deployment_in("$NS-other", "guest", 4));
    let guests = [place, web, &other, &guest];
    vec![
        lost("zone-with-the-control-plane", &planed, ZONE, "{}").refused(&["FD3012"]),
        lost("zone-but-its-control-plane", &planed, "{zone: $NS-a, exclude: {names: [$NS-a0]}}", "{}")
            .journal(&["EffectSeen out.0"])
            .never(&["out.1"]),
        lost("zone-with-bystanders", &guests, ZONE, "{}").refused(&["FD3014"]),
        // They go, but only as their budgets and other replicas allow; the rest is killed.
        lost("zone-with-bystanders-that-are-covered", &guests, ZONE, "{}")
            .bystanders("$NS-other")
            .journal(&["InjectIntended guest- \"kill\":[\"$NS\"]", "EffectSeen out.0", "EffectSeen out.1"]),
    ]
}

/// A pod, or those of a workload, bound to a0 by the scheduler.
fn pinned(object: &str) -> String {
    object.replace("nodeSelector: {row: $NS}", "nodeSelector: {row: $NS, node: a0}")
}
