//! `nodeDrain`.

use firedrill::types::Verdict;

use crate::scenarios::{
    objects::{
        any, bare_pod, budget, daemon_set, deployment, deployment_in, namespace, nodes, nodes_with, place,
        with_empty_dir,
    },
    people,
    row::{Moment, Row, row},
};

const A0: &str = "{nodes: {matchLabels: {row: $NS, node: a0}}}";
const TWO: &str = "{nodes: {matchLabels: {row: $NS}}, names: [$NS-a0, $NS-b0], count: all}";
const LIMITS: &str = "  limits: {pods: 100%, nodes: 60%}";

fn drained(name: &'static str, objects: &[&str], target: &str, fields: &str) -> Row {
    let method = format!("  - name: drain\n    target: {target}\n    nodeDrain: {fields}\n    duration: 2s");
    row(name).objects(objects).spec(&any(), &method, LIMITS)
}

/// Two drains in the background, the second aimed so that only the cluster tells whom it hits.
fn drained_twice(name: &'static str, second: &str) -> Row {
    let (place, web) = (place(), deployment("web", 4));
    let method = format!(
        "  - name: first\n    target: {A0}\n    nodeDrain: {{}}\n    background: true\n  - name: second\n    target: {second}\n    nodeDrain: {{}}\n    background: true\n  - wait: 2s"
    );
    row(name).objects(&[&place, &web]).spec(&any(), &method, LIMITS)
}

/// Nodes that are drained, and nodes that may not be.
pub fn drain() -> Vec<Row> {
    let (place, web) = (place(), deployment("web", 4));
    let plain = [place.as_str(), web.as_str()];
    let three = budget("web", "web", "minAvailable: 3");
    let mut rows = vec![
        drained_twice("drain-one-node-twice", "{zone: $NS-a, names: [$NS-a0]}").refused(&["FD3017"]),
        drained_twice("drain-another-of-two", "{nodes: {matchLabels: {row: $NS}}, names: [$NS-a0, $NS-b0]}")
            .journal(&["EffectSeen first.0", "EffectSeen second.0", "InjectIntended second.0 $NS-b0"]),
        drained_twice("drain-a-zone-in-two-steps", "{nodes: {matchLabels: {row: $NS}}, zone: $NS-a}")
            .refused(&["FD3013"]),
        drained("drain-a-node", &plain, A0, "{}")
            .journal(&["EffectSeen no evictable pod", "Reverted Restored"]),
        drained("drain-where-it-runs", &plain, "{nodesRunning: deployment/web, count: 1}", "{}")
            .journal(&["EffectSeen drain.0"])
            .never(&["drain.1"]),
        drained("drain-two-nodes", &plain, TWO, "{}").journal(&["EffectSeen drain.1"]),
        drained("drain-a-zone-but-one", &plain, "{zone: $NS-a, exclude: {names: [$NS-a1]}}", "{}")
            .journal(&["InjectIntended $NS-a0"])
            .never(&["drain.1"]),
        drained("drain-under-a-tight-budget", &[&place, &web, &three], TWO, "{deadline: 1m}").journal(&[
            "EffectSeen drain.0",
            "EffectSeen drain.1",
            "Reverted Restored",
        ]),
        drained("drain-a-dead-end", &[&place, &web, &budget("web", "web", "minAvailable: 4")], A0, "{}")
            .refused(&["FD3009"]),
        drained(
            "drain-two-budgets",
            &[&place, &web, &three, &budget("also", "web", "maxUnavailable: 1")],
            A0,
            "{}",
        )
        .refused(&["FD3010"]),
        drained("drain-data", &[&place, &with_empty_dir("web", 4)], A0, "{}").refused(&["FD3011"]),
        drained("drain-data-that-may-go", &[&place, &with_empty_dir("web", 4)], A0, "{emptyDirData: Delete}")
            .journal(&["EffectSeen drain.0"]),
        drained("drain-a-bare-pod", &[&place, &web, &pinned(&bare_pod("lonely"))], A0, "{}")
            .refused(&["FD3003"]),
        drained("drain-daemons-stay", &[&place, &web, &daemon_set("agent")], A0, "{}")
            .journal(&["EffectSeen drain.0"])
            .never(&["InjectIntended agent-"]),
        drained("drain-nothing-there", &plain, "{nodes: {matchLabels: {row: nobody}}}", "{}")
            .refused(&["FD3001"]),
        drained("drain-more-than-allowed", &plain, A0, "{}")
            .tightened("  limits: {pods: 100%, nodes: 1%}")
            .refused(&["FD3008"]),
    ];
    rows.extend(special(&place, &web));
    rows.extend(with_people(&place, &web, &three));
    rows
}

/// Nodes that are not like others, and pods of others.
fn special(place: &str, web: &str) -> Vec<Row> {
    let consenting = namespace("$NS", true);
    let plane = nodes_with(&[("a0", "a")], ", node-role.kubernetes.io/control-plane: \"\"", 20);
    let others = nodes(&[("a1", "a"), ("b0", "b"), ("b1", "b")]);
    let few = nodes(&[("a0", "a"), ("b0", "b"), ("b1", "b")]);
    let narrow = nodes_with(&[("a0", "a"), ("a1", "a")], "", 3);
    let (other, guest) = (namespace("$NS-other", false), deployment_in("$NS-other", "guest", 4));
    let lone = pinned(&deployment_in("$NS-other", "guest", 1));
    vec![
        drained("drain-the-control-plane", &[&consenting, &plane, &others, web], A0, "{}")
            .refused(&["FD3012"]),
        drained("drain-the-last-of-a-zone", &[&consenting, &few, web], A0, "{}").refused(&["FD3013"]),
        drained("drain-without-room", &[&consenting, &narrow, web], A0, "{}").alone().refused(&["FD3015"]),
        drained("drain-bystanders", &[place, web, &other, &guest], A0, "{}").refused(&["FD3014"]),
        drained("drain-bystanders-that-are-covered", &[place, web, &other, &guest], A0, "{}")
            .bystanders("$NS-other")
            .journal(&["EffectSeen drain.0", "InjectIntended guest-"]),
        drained("drain-bystanders-without-cover", &[place, web, &other, &lone], A0, "{}")
            .bystanders("$NS-other")
            .refused(&["FD3014"]),
    ]
}

fn with_people(place: &str, web: &str, three: &str) -> Vec<Row> {
    let plain = [place, web];
    vec![
        drained("drain-cordoned-before", &plain, A0, "{}")
            .act(Moment::Before, people::cordons_a0)
            .journal(&["EffectSeen drain.0", "Reverted NothingToDo"])
            .left("Node /$NS-a0", "/data/spec/unschedulable", "true"),
        drained("drain-cordoned-by-a-person-too", &plain, A0, "{}")
            .act(Moment::At("EffectSeen"), people::cordons_a0)
            .journal(&["Reverted Restored"]),
        drained("drain-uncordoned-by-a-person", &plain, A0, "{}")
            .act(Moment::At("EffectSeen"), people::uncordons_a0)
            .journal(&["Reverted drain.0"])
            .never(&["Reverted Restored"]),
        drained("drain-tainted-by-a-person", &plain, A0, "{}")
            .act(Moment::At("EffectSeen"), people::taints_a0)
            .journal(&["Reverted Restored"])
            .differs(&["Node"])
            .left("Node /$NS-a0", "/data/spec/taints/0/key", "\"example.com/mine\"")
            .left("Node /$NS-a0", "/data/spec/taints/1", "null")
            .left("Node /$NS-a0", "/data/spec/unschedulable", "null")
            .left("Node /$NS-a0", "/metadata/labels/firedrill.dev~1run", "null"),
        drained("drain-while-a-budget-appears", &plain, TWO, "{}")
            .act(Moment::At("InjectIntended"), people::makes_a_budget)
            .differs(&["PodDisruptionBudget"])
            .journal(&["EffectSeen drain.0", "EffectSeen drain.1", "Reverted drain.1 Restored"]),
        drained("drain-budget-tightened", &[place, web, three], TWO, "{deadline: 5s}")
            .act(Moment::At("InjectIntended"), people::tightens_the_budget)
            .ends(Verdict::Inconclusive)
            .journal(&["EffectMissed", "StopRequested NoEffect", "Reverted Restored"])
            .differs(&["PodDisruptionBudget"]),
    ]
}

/// A pod bound to a0 by the scheduler.
fn pinned(pod: &str) -> String {
    pod.replace("nodeSelector: {row: $NS}", "nodeSelector: {row: $NS, node: a0}")
}

impl Row {
    fn tightened(mut self, limits: &str) -> Self {
        self.experiment = self.experiment.replace(LIMITS, limits);
        self
    }
}
