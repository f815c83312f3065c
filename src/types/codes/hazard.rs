//! FD4xxx: hazards that are named and do not refuse.

use crate::types::{Code, CodeInfo};

/// Deletion does not ask PodDisruptionBudgets.
pub const PDB_BYPASSED: Code = Code::new("FD4001");
/// A budget has no room now.
pub const PDB_WAIT: Code = Code::new("FD4002");
/// Nothing would go with the node.
pub const EMPTY_NODE: Code = Code::new("FD4003");
/// Some of what answers the hypothesis' queries would be hit.
pub const SOURCE_THINNED: Code = Code::new("FD4004");
/// Who answers the hypothesis' queries cannot be told.
pub const SOURCE_UNKNOWN: Code = Code::new("FD4005");
/// A limit is a number where a share may be meant, and limits nothing.
pub const NO_LIMIT: Code = Code::new("FD4009");
/// A histogram without a bucket near what its quantile is judged by.
pub const NO_BUCKET: Code = Code::new("FD4010");
/// Connections that are open outlive a NetworkPolicy.
pub const OPEN_CONNECTIONS: Code = Code::new("FD4023");
/// The network plugin does not enforce NetworkPolicies.
pub const NOT_ENFORCED: Code = Code::new("FD4024");
/// A load goes somewhere else than to the file's namespace.
pub const LOAD_ELSEWHERE: Code = Code::new("FD4031");
/// A machine that is ended cannot be brought back; how it goes and comes is up to its owner.
pub const MACHINE_ENDS: Code = Code::new("FD4041");
/// Whoever gives orders to an agent is root on its node.
pub const ROOT_ON_NODE: Code = Code::new("FD4051");
/// Whether an agent runs on a node cannot be told beforehand.
pub const PLATFORM_UNKNOWN: Code = Code::new("FD4052");
/// A peer is nobody, or a port nobody's.
pub const NOBODY_MEANT: Code = Code::new("FD4053");
/// Pods are meant that are dialled through a Service.
pub const PAST_SERVICE: Code = Code::new("FD4054");

/// The family, in order.
pub static CODES: &[CodeInfo] = &[
    CodeInfo {
        code: PDB_BYPASSED,
        title: "the fault does not ask PodDisruptionBudgets",
        standard: "A PodDisruptionBudget limits evictions, not deletions or crashes (Kubernetes docs, Disruptions: involuntary disruptions).",
        discovery: "The fault kills pods directly and a PodDisruptionBudget selects at least one of them.",
        resolution: "Wanted, when the question is what a crash does; limits.pods is what holds the damage. To stay within the budget use podEvict or nodeDrain, which evict.",
    },
    CodeInfo {
        code: PDB_WAIT,
        title: "a PodDisruptionBudget has no room now",
        standard: "An eviction waits until its budget allows a disruption (policy/v1); meanwhile the drain has not taken effect.",
        discovery: "The budget's status.disruptionsAllowed is 0 although it would allow some with every pod healthy.",
        resolution: "Wait until the workload is whole, or let the drain's deadline decide.",
    },
    CodeInfo {
        code: EMPTY_NODE,
        title: "nothing would be displaced from the node",
        standard: "An experiment that moves nothing says little (Principles of Chaos: vary real-world events).",
        discovery: "No pod on the node is one that a drain evicts: DaemonSets, static and finished pods stay.",
        resolution: "Aim at nodes that run the workload: target: {nodesRunning: deployment/NAME}.",
    },
    CodeInfo {
        code: SOURCE_THINNED,
        title: "some of the pods behind the metric source would be hit",
        standard: "A metric source that is hit may answer late or with gaps; a gap is no data, and no data is never a pass.",
        discovery: "The ready pods behind the Service that a prometheus probe names, against the pods that the step kills, displaces or scales away: some stay.",
        resolution: "Leave those pods out with target.exclude, or choose nodes without them.",
    },
    CodeInfo {
        code: SOURCE_UNKNOWN,
        title: "which pods answer the hypothesis' queries cannot be told",
        standard: "A fault that cuts off the metric source of its own hypothesis is refused; that takes the right to see who is behind the Service.",
        discovery: "Its EndpointSlices cannot be listed.",
        resolution: "Grant list on endpointslices.discovery.k8s.io in the Service's namespace, or make sure that the fault does not hit it.",
    },
    CodeInfo {
        code: NO_LIMIT,
        title: "a limit allows everything",
        standard: "The damage of an experiment is bounded beforehand (Principles of Chaos: minimise blast radius); limits are counts, or shares with a percent sign.",
        discovery: "limits.pods or limits.nodes is a count that is as large as all the pods that the workload wants, or as all nodes there are, and no Guardrail allows less.",
        resolution: "Write a share with a percent sign, such as 60%, or a count below the whole; 100% says in so many words that everything may go.",
    },
    CodeInfo {
        code: NO_BUCKET,
        title: "a histogram has no bucket near what its quantile is judged by",
        standard: "histogram_quantile knows the bucket of a quantile and interpolates within it; buckets belong near the objective (Prometheus docs, Histograms and summaries: errors of quantile estimation).",
        discovery: "The bounds of the buckets were asked for, and expect and during held against each: between two of them the judgement changes, further from either than a quarter of where it does.",
        resolution: "Judge by the bound of a bucket, or by the share of requests below one (the bucket's rate over that of le=\"+Inf\"), or give the histogram a bucket there.",
    },
    CodeInfo {
        code: OPEN_CONNECTIONS,
        title: "connections that are open already may live on",
        standard: "Whether a NetworkPolicy reaches connections that are established is up to the network plugin (Kubernetes docs, Network Policies: impact on existing connections); most let them live.",
        discovery: "Always so with a fault that is made of a NetworkPolicy.",
        resolution: "Expect the effect as connections are opened anew; a client that keeps one open for good may not notice. Restart such clients as a step before, if the question is about them.",
    },
    CodeInfo {
        code: NOT_ENFORCED,
        title: "the network plugin does not enforce NetworkPolicies",
        standard: "Any cluster takes NetworkPolicies; only a network plugin that implements them enforces them (Kubernetes docs, Network Policies: prerequisites).",
        discovery: "A pod to which the very same policy applies could still open connections to the dependency half a minute later.",
        resolution: "Use a plugin that enforces them (Calico, Cilium, Antrea, kube-network-policies), or a fault that needs none: scale the dependency to zero.",
    },
    CodeInfo {
        code: LOAD_ELSEWHERE,
        title: "a load goes to somebody outside of the file's namespace",
        standard: "Whoever owns what a load is sent to has to agree to it; only a namespace can be asked for its consent.",
        discovery: "The URL's host does not name a Service of the file's namespace.",
        resolution: "Make sure that they know, or send to the Service itself: http://NAME.NAMESPACE.svc.",
    },
    CodeInfo {
        code: MACHINE_ENDS,
        title: "the machine ends for good, as its owner has it",
        standard: "Cluster API drains a node within its budgets before it ends the machine, unless told otherwise (nodeDrainTimeout, machine.cluster.x-k8s.io/exclude-node-draining, hooks); so does Karpenter (terminationGracePeriod). Once the Machine or NodeClaim is deleted nobody can call that back, an abort included.",
        discovery: "The Machine's or NodeClaim's spec, annotations and owner.",
        resolution: "Wanted, when the question is whether a lost machine is replaced: say so in steadyState, with the nodes or the MachineSet that have to be back. nodeDrain asks about the pods alone and gives the node back.",
    },
    CodeInfo {
        code: ROOT_ON_NODE,
        title: "an agent is root on the nodes of its targets for the minutes of the run",
        standard: "The agent's pod shares the process table of its node and has NET_ADMIN, NET_RAW, SYS_ADMIN, SYS_PTRACE, KILL and SYS_NICE there; whoever may attach to pods in its namespace can give it orders.",
        discovery: "Always so with faults that take an agent.",
        resolution: "Let few people into the agents' namespace (create, attach, exec on pods), keep its admission policy in place (firedrill agents manifests), and run on clusters where that is acceptable. Between runs nothing of it is there.",
    },
    CodeInfo {
        code: PLATFORM_UNKNOWN,
        title: "whether an agent runs on the nodes cannot be told beforehand",
        standard: "Agents are Linux programs for amd64, and nodes say in labels what they are.",
        discovery: "Reading the node was refused.",
        resolution: "Ask for the right to get nodes, or expect the run to end before Baseline where an agent does not start.",
    },
    CodeInfo {
        code: NOBODY_MEANT,
        title: "a peer is nobody, or a port nobody's",
        standard: "A fault that meets nobody's packets proves nothing, and its run is Inconclusive (FD3058).",
        discovery: "The ports of the peers' Services, their EndpointSlices and the containerPorts of their pods, or of the target's containers for `from`, against `ports` and `protocol`; peers without an address now. Declaring a port is optional, so this refuses nothing.",
        resolution: "Name a port that is there, as the pods dial it; wait until the peer runs; or leave it out.",
    },
    CodeInfo {
        code: PAST_SERVICE,
        title: "what goes through a Service would not be hit",
        standard: "A packet to a Service carries the Service's own address until kube-proxy replaces it on the node, outside of the pod's network (Kubernetes docs, Virtual IPs and Service Proxies), and there faults are put.",
        discovery: "Services with an address of their own in the peers' namespace whose selector fits with the pods that `workload` or `pods` means, and that are not named themselves.",
        resolution: "Name the Service: `service` means its address and its endpoints. Nothing is wrong where the pods are dialled themselves, as through a headless Service, or where the network plugin replaces the address within the pod.",
    },
];
