//! `nodeCordon`.

use crate::scenarios::{
    objects::{any, daemon_set, deployment, namespace, nodes, nodes_with, place},
    people,
    row::{Moment, Row, row},
};

const A0: &str = "{nodes: {matchLabels: {row: $NS, node: a0}}}";
const LIMITS: &str = "  limits: {pods: 100%, nodes: 60%}";

fn cordoned(name: &'static str, objects: &[&str], target: &str) -> Row {
    let method = format!("  - name: cordon\n    target: {target}\n    nodeCordon: {{}}\n    duration: 2s");
    row(name).objects(objects).spec(&any(), &method, LIMITS)
}

/// A cordon in the background, and another step on the same node.
fn twice(name: &'static str, second: &str) -> Row {
    let method = format!(
        "  - name: first\n    target: {A0}\n    nodeCordon: {{}}\n    background: true\n  - name: second\n    target: {A0}\n    {second}\n    duration: 1s"
    );
    row(name).objects(&[&place(), &deployment("web", 4)]).spec(&any(), &method, LIMITS)
}

/// Nodes that are cordoned, and nodes that may not be.
pub fn cordon() -> Vec<Row> {
    let (place, web) = (place(), deployment("web", 4));
    let plain = [place.as_str(), web.as_str()];
    let consenting = namespace("$NS", true);
    let plane = nodes_with(&[("a0", "a")], ", node-role.kubernetes.io/control-plane: \"\"", 20);
    let others = nodes(&[("a1", "a"), ("b0", "b"), ("b1", "b")]);
    let few = nodes(&[("a0", "a"), ("b0", "b"), ("b1", "b")]);
    vec![
        cordoned("cordon-a-node", &plain, A0).journal(&[
            "Injected cordoned",
            "EffectSeen tainted unschedulable",
            "Reverted Restored",
        ]),
        cordoned("cordon-where-it-runs", &plain, "{nodesRunning: deployment/web, count: 1}")
            .journal(&["EffectSeen cordon.0"])
            .never(&["cordon.1"]),
        cordoned("cordon-a-zone-but-one", &plain, "{zone: $NS-a, exclude: {names: [$NS-a1]}}")
            .journal(&["InjectIntended $NS-a0"])
            .never(&["cordon.1"]),
        cordoned("cordon-what-runs-goes-on", &[&place, &web, &daemon_set("agent")], A0)
            .journal(&["Reverted Restored"])
            .never(&["FD4003"]),
        cordoned("cordon-the-control-plane", &[&consenting, &plane, &others, &web], A0).refused(&["FD3012"]),
        cordoned("cordon-the-last-of-a-zone", &[&consenting, &few, &web], A0).refused(&["FD3013"]),
        cordoned("cordon-nothing-there", &plain, "{nodes: {matchLabels: {row: nobody}}}")
            .refused(&["FD3001"]),
        cordoned("cordon-what-is-cordoned", &plain, A0)
            .act(Moment::Before, people::cordons_a0)
            .refused(&["FD3006"]),
        cordoned("cordon-uncordoned-by-a-person", &plain, A0)
            .act(Moment::At("EffectSeen"), people::uncordons_a0)
            .journal(&["Reverted cordon.0"])
            .never(&["Reverted Restored"]),
        cordoned("cordon-tainted-by-a-person", &plain, A0)
            .act(Moment::At("EffectSeen"), people::taints_a0)
            .journal(&["Reverted Restored"])
            .differs(&["Node"])
            .left("Node /$NS-a0", "/data/spec/taints/0/key", "\"example.com/mine\"")
            .left("Node /$NS-a0", "/data/spec/unschedulable", "null")
            .left("Node /$NS-a0", "/metadata/labels/firedrill.dev~1run", "null"),
        twice("cordon-and-drain-the-same", "nodeDrain: {}").refused(&["FD3017"]),
    ]
}
