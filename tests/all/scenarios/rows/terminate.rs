//! `nodeTerminate`.
//!
//! Machines end where somebody owns them: rows that run are for the embedded cluster. What is refused for what the
//! objects say of themselves is refused on any control plane that knows the kinds.

use crate::scenarios::{
    objects::{any, budget, deployment, deployment_in, namespace, nodes},
    people,
    row::{Moment, Row, row},
};

/// The kinds of Cluster API and Karpenter.
const KINDS: &str = include_str!("../../../../experiments/machines/demo/kinds.yaml");
const A0: &str = "{nodes: {matchLabels: {row: $NS, node: a0}}}";
const LIMITS: &str = "  limits: {pods: 100%, nodes: 60%}";
const ONE: &str = "  limits: {pods: 100%, nodes: 25%}";
/// As many machines as there should be: what somebody means by "replaced".
const WHOLE: &str = "  - name: machines\n    kubernetes: {apiVersion: cluster.x-k8s.io/v1beta2, kind: MachineSet, name: a}\n    value: object.status.readyReplicas\n    expect: object.status.readyReplicas == object.spec.replicas\n    during: \"true\"\n    every: 1s\n    timeout: 1s\n    for: 1s";

/// Node `name` as its owner has marked it; without pods of others it is like any node of a row.
fn marked(name: &str, zone: &str, annotations: &str, labels: &str) -> String {
    let plain = nodes(&[(name, zone)]);
    let plain = plain.replace(
        "annotations: {kwok.x-k8s.io/node: fake}",
        &format!("annotations: {{kwok.x-k8s.io/node: fake{annotations}}}"),
    );
    let plain = plain.replace(&format!("$NS-{zone}}}\nstatus"), &format!("$NS-{zone}{labels}}}\nstatus"));
    format!("{plain}spec: {{providerID: \"cloud:///$NS-{name}\"}}")
}

/// A node with this Machine behind it, in the row's namespace.
fn node_of(name: &str, zone: &str, machine: &str) -> String {
    let marks = format!(
        ", cluster.x-k8s.io/machine: {machine}, cluster.x-k8s.io/cluster-name: prod, cluster.x-k8s.io/cluster-namespace: $NS"
    );
    marked(name, zone, &marks, "")
}

/// The Machine of a node: of MachineSet `set`, if that is not empty; with more in its metadata and its spec.
fn machine(name: &str, node: &str, set: &str, (meta, spec): (&str, &str)) -> String {
    let labels = if set.is_empty() {
        String::new()
    } else {
        format!(", labels: {{cluster.x-k8s.io/set-name: {set}}}")
    };
    format!(
        "apiVersion: cluster.x-k8s.io/v1beta2\nkind: Machine\nmetadata: {{name: {name}, namespace: $NS{labels}{meta}}}\nspec: {{clusterName: prod, providerID: \"cloud:///$NS-{node}\"{spec}}}\nstatus: {{nodeRef: {{name: $NS-{node}}}}}"
    )
}

/// A MachineSet that keeps so many.
fn set(name: &str, replicas: u32) -> String {
    format!(
        "apiVersion: cluster.x-k8s.io/v1beta2\nkind: MachineSet\nmetadata: {{name: {name}, namespace: $NS}}\nspec:\n  clusterName: prod\n  replicas: {replicas}\n  selector: {{matchLabels: {{cluster.x-k8s.io/set-name: {name}}}}}\n  template: {{metadata: {{annotations: {{sim.firedrill.dev/node-provisioning: 30s}}}}, spec: {{clusterName: prod}}}}"
    )
}

/// A NodeClaim of a NodePool, and that pool: of a fixed size, so that what goes is replaced at once.
fn claim(node: &str, spec: &str) -> String {
    format!(
        "apiVersion: karpenter.sh/v1\nkind: NodePool\nmetadata: {{name: $NS-pool, labels: {{row: $NS}}}}\nspec: {{replicas: 1, template: {{metadata: {{annotations: {{sim.firedrill.dev/node-provisioning: 30s}}}}, spec: {{}}}}}}\n---\napiVersion: karpenter.sh/v1\nkind: NodeClaim\nmetadata: {{name: $NS-claim, labels: {{row: $NS, karpenter.sh/nodepool: $NS-pool}}}}\nspec: {{{spec}}}\nstatus: {{nodeName: $NS-{node}, providerID: \"cloud:///$NS-{node}\"}}"
    )
}

fn ended(name: &'static str, objects: &[&str], target: &str) -> Row {
    ended_and(name, objects, target, LIMITS)
}

fn ended_and(name: &'static str, objects: &[&str], target: &str, limits: &str) -> Row {
    let method = format!("  - name: end\n    target: {target}\n    nodeTerminate: {{}}");
    let space = namespace("$NS", true);
    let all: Vec<&str> = [KINDS, &space].into_iter().chain(objects.iter().copied()).collect();
    row(name).objects(&all).spec(&any(), &method, limits)
}

/// a0 with a Machine of MachineSet `a`, and three nodes that nobody owns.
fn owned(meta: &str, spec: &str) -> Vec<String> {
    vec![
        node_of("a0", "a", "m0"),
        nodes(&[("a1", "a"), ("b0", "b"), ("b1", "b")]),
        machine("m0", "a0", "a", (meta, spec)),
        set("a", 1),
    ]
}

fn strs(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

/// Machines that end, and machines that may not.
pub fn terminate() -> Vec<Row> {
    let mut rows = cluster_api();
    rows.extend(karpenter());
    rows.extend(unowned());
    rows.extend(guarded());
    rows
}

/// Ended through Cluster API.
fn cluster_api() -> Vec<Row> {
    let (web, plain) = (deployment("web", 4), owned("", ""));
    let (three, four) = (budget("web", "web", "minAvailable: 3"), budget("web", "web", "minAvailable: 4"));
    let with = |more: &[&str]| -> Vec<String> {
        plain
            .iter()
            .map(String::as_str)
            .chain([web.as_str()])
            .chain(more.iter().copied())
            .map(str::to_owned)
            .collect()
    };
    let timed = owned("", ", deletion: {nodeDrainTimeoutSeconds: 60}");
    let timed: Vec<&str> = timed.iter().map(String::as_str).chain([web.as_str(), four.as_str()]).collect();
    let undrained = owned(", annotations: {machine.cluster.x-k8s.io/exclude-node-draining: \"\"}", "");
    let undrained: Vec<&str> =
        undrained.iter().map(String::as_str).chain([web.as_str(), four.as_str()]).collect();
    let seen = [
        "InjectIntended end.0 $NS-a0 Machine m0 withinBudgets",
        "Injected end.0 machine/$NS/m0 deleted",
        "EffectSeen end.0 Node gone UID endpoints",
    ];
    let two = "{nodes: {matchLabels: {row: $NS}}, names: [$NS-a0, $NS-b0], count: all}";
    let both = [
        node_of("a0", "a", "m0"),
        node_of("b0", "b", "m1"),
        nodes(&[("a1", "a"), ("b1", "b")]),
        machine("m0", "a0", "a", ("", "")),
        machine("m1", "b0", "a", ("", "")),
        set("a", 2),
        web.clone(),
    ];
    vec![
        ended("machine-ended-and-replaced", &strs(&with(&[])), A0).judged_whole().journal(&seen),
        ended("machine-drained-under-a-tight-budget", &strs(&with(&[&three])), A0)
            .judged_whole()
            .journal(&seen),
        ended("machine-in-a-dead-end", &strs(&with(&[&four])), A0).embedded().refused(&["FD3009"]),
        // What budgets say counts for a minute, and then no more.
        ended("machine-with-a-drain-timeout", &timed, A0)
            .judged_whole()
            .journal(&["InjectIntended atMost 1m", "EffectSeen end.0 Node gone"]),
        ended("machine-that-is-not-drained", &undrained, A0)
            .judged_whole()
            .journal(&["InjectIntended skipped", "EffectSeen end.0 Node gone"]),
        ended("machines-two-at-once", &strs(&both), two)
            .judged_whole()
            .journal(&["EffectSeen end.0", "EffectSeen end.1"]),
        ended_and(
            "machines-one-after-another",
            &strs(&both),
            &format!("{two}\n    rolling: {{batch: 1}}"),
            ONE,
        )
        .judged_whole()
        .journal(&["InjectIntended end.1", "EffectSeen end.0", "EffectSeen end.1"]),
        ended("machine-with-a-hook-that-somebody-takes-away", &strs(&hooked(&web)), A0)
            .judged_whole()
            .act(Moment::At("Injected"), people::takes_the_hook_away)
            .journal(&["EffectSeen end.0"]),
    ]
}

fn hooked(web: &str) -> Vec<String> {
    let mut all = owned(", annotations: {pre-drain.delete.hook.machine.cluster.x-k8s.io/backup: me}", "");
    all.push(web.to_owned());
    all
}

/// Ended through Karpenter.
fn karpenter() -> Vec<Row> {
    let web = deployment("web", 4);
    let node = marked("a0", "a", "", ", karpenter.sh/nodepool: $NS-pool");
    let others = nodes(&[("a1", "a"), ("b0", "b"), ("b1", "b")]);
    let kept = web.replace(
        "metadata: {labels: {app: web}}",
        "metadata: {labels: {app: web}, annotations: {karpenter.sh/do-not-disrupt: \"true\"}}",
    );
    let (plain, graced) = (claim("a0", ""), claim("a0", "terminationGracePeriod: 1m"));
    vec![
        ended("claim-ended-and-replaced", &[&node, &others, &plain, &web], A0).replaced().journal(&[
            "InjectIntended end.0 $NS-a0 NodeClaim withinBudgets",
            "Injected end.0 nodeclaim/$NS-claim deleted",
            "EffectSeen end.0 Node gone UID",
        ]),
        ended("claim-kept-by-a-pod", &[&node, &others, &plain, &kept], A0).embedded().refused(&["FD3044"]),
        ended("claim-kept-by-a-pod-for-a-while", &[&node, &others, &graced, &kept], A0)
            .replaced()
            .journal(&["InjectIntended atMost", "EffectSeen end.0"]),
        ended(
            "claim-of-another-machine",
            &[
                &node,
                &others,
                &plain.replace("providerID: \"cloud:///$NS-a0\"", "providerID: \"cloud:///another\""),
                &web,
            ],
            A0,
        )
        .embedded()
        .refused(&["FD3042"]),
        ended("claim-of-no-node", &[&node, &others, &web], A0).refused(&["FD3042"]),
    ]
}

/// Nodes whose machines nobody here owns.
fn unowned() -> Vec<Row> {
    let web = deployment("web", 4);
    let plain = nodes(&[("a0", "a"), ("a1", "a"), ("b0", "b"), ("b1", "b")]);
    let others = nodes(&[("a1", "a"), ("b0", "b"), ("b1", "b")]);
    let elsewhere = node_of("a0", "a", "m0");
    let wrong = [node_of("a0", "a", "m1"), others.clone(), machine("m1", "a1", "", ("", "")), web.clone()];
    let alone = [node_of("a0", "a", "m0"), others.clone(), machine("m0", "a0", "", ("", "")), web.clone()];
    let unserved = row("machine-of-a-kind-that-is-not-served")
        .objects(&[&namespace("$NS", true), &elsewhere, &others, &web])
        .spec(&any(), &format!("  - name: end\n    target: {A0}\n    nodeTerminate: {{}}"), LIMITS);
    let mut one_of_two = owned("", "");
    one_of_two.push(web.clone());
    vec![
        ended("node-without-a-machine", &[&plain, &web], A0).refused(&["FD3041"]),
        unserved.embedded().refused(&["FD3041"]),
        ended("machine-in-a-management-cluster", &[&elsewhere, &others, &web], A0).refused(&["FD3042"]),
        ended("machine-of-another-node", &strs(&wrong), A0).refused(&["FD3042"]),
        ended("machine-that-nobody-replaces", &strs(&alone), A0).refused(&["FD3043"]),
        // Whatever the seed: the one that can be ended is.
        ended(
            "node-with-a-machine-of-two",
            &strs(&one_of_two),
            "{nodes: {matchLabels: {row: $NS}}, zone: $NS-a, count: 1}",
        )
        .judged_whole()
        .journal(&["InjectIntended end.0 $NS-a0"])
        .never(&["InjectIntended $NS-a1\""]),
    ]
}

/// What holds of any node holds here.
fn guarded() -> Vec<Row> {
    let web = deployment("web", 4);
    let plain = owned("", "");
    let plane = [
        node_of("a0", "a", "m0"),
        nodes(&[("a1", "a"), ("b0", "b"), ("b1", "b")]),
        machine("m0", "a0", "a", ("", ""))
            .replace("set-name: a}", "set-name: a, cluster.x-k8s.io/control-plane: \"\"}"),
        set("a", 1),
        web.clone(),
    ];
    let last = [
        node_of("a0", "a", "m0"),
        nodes(&[("b0", "b"), ("b1", "b")]),
        machine("m0", "a0", "a", ("", "")),
        set("a", 1),
        web.clone(),
    ];
    let coming: Vec<String> =
        owned("", "").into_iter().map(|text| text.replace("replicas: 1", "replicas: 3")).collect();
    let with = |texts: &[String]| -> Vec<String> { texts.iter().cloned().chain([web.clone()]).collect() };
    let other = namespace("$NS-other", false);
    let guest = deployment_in("$NS-other", "guest", 4);
    let undrained = owned(", annotations: {machine.cluster.x-k8s.io/exclude-node-draining: \"\"}", "");
    let guests = |texts: &[String]| -> Vec<String> {
        texts.iter().cloned().chain([web.clone(), other.clone(), guest.clone()]).collect()
    };
    vec![
        ended("machine-of-the-control-plane", &strs(&plane), A0).embedded().refused(&["FD3012"]),
        ended("machine-that-is-the-last-of-its-zone", &strs(&last), A0).embedded().refused(&["FD3013"]),
        ended_and("machine-more-than-allowed", &strs(&with(&plain)), A0, "  limits: {pods: 100%, nodes: 1%}")
            .embedded()
            .refused(&["FD3008"]),
        // Two more are ordered and not there yet: they are missing already.
        ended_and(
            "machines-that-are-still-to-come-are-missing",
            &strs(&with(&coming)),
            A0,
            "  limits: {pods: 100%, nodes: 34%}",
        )
        .embedded()
        .provisioned_in("10m")
        .refused(&["FD3008"]),
        ended("machine-with-bystanders", &strs(&guests(&plain)), A0).embedded().refused(&["FD3014"]),
        ended("machine-with-bystanders-that-are-covered", &strs(&guests(&plain)), A0)
            .judged_whole()
            .bystanders("$NS-other")
            .journal(&["InjectIntended guest-", "EffectSeen end.0"]),
        ended("machine-that-would-kill-bystanders", &strs(&guests(&undrained)), A0)
            .embedded()
            .bystanders("$NS-other")
            .refused(&["FD3014"]),
    ]
}

impl Row {
    /// It ends, and another one comes by another name: where somebody owns machines, and nodes may differ.
    fn replaced(self) -> Self {
        self.embedded().differs(&["Node"])
    }

    /// The same, and the MachineSet is whole again in the end.
    fn judged_whole(mut self) -> Self {
        self.experiment = self.experiment.replace("\n  method:\n", &format!("\n{WHOLE}\n  method:\n"));
        self.replaced()
    }

    fn provisioned_in(mut self, time: &str) -> Self {
        self.objects = self.objects.replace("node-provisioning: 30s", &format!("node-provisioning: {time}"));
        self
    }
}
