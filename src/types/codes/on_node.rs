//! FD305x: what agents need on the nodes of their targets, and what they find there.

use crate::types::{Code, CodeInfo};

/// An agent cannot be placed on a node.
pub const AGENT: Code = Code::new("FD3051");
/// A node's kernel lacks what an agent needs.
pub const AGENT_KERNEL: Code = Code::new("FD3052");
/// The target does not run, or not for long.
pub const NOT_RUNNING: Code = Code::new("FD3053");
/// The target is in its node's network.
pub const HOST_NETWORK: Code = Code::new("FD3054");
/// A node that no agent runs on.
pub const OTHER_PLATFORM: Code = Code::new("FD3055");
/// The way by which faults are taken back would be hit.
pub const CONTROL_PATH: Code = Code::new("FD3056");
/// Two faults of one pod of which one could not be seen.
pub const UNSEEN: Code = Code::new("FD3057");
/// A fault of the network met nobody's packets.
pub const NO_TRAFFIC: Code = Code::new("FD3058");
/// No process of the target is the one that is meant.
pub const NO_PROCESS: Code = Code::new("FD3059");

/// The family, in order.
pub static CODES: &[CodeInfo] = &[
    CodeInfo {
        code: AGENT,
        title: "an agent cannot be placed on the node",
        standard: "Faults of the agent tier take a pod on the node of each target, which is ready before Baseline.",
        discovery: "The kubelet's own words in the status of that pod.",
        resolution: "Mirror the image to where the nodes can pull it (--agent-image, --agent-pull-secret); firedrill doctor tries each node by itself.",
    },
    CodeInfo {
        code: AGENT_KERNEL,
        title: "the node's kernel lacks what the network faults need",
        standard: "Packets are held, dropped and delayed by an NFQUEUE that fails open; the kernel has it as nft_queue, or as xt_NFQUEUE through nft_compat (kernel options NFT_QUEUE, NETFILTER_XT_TARGET_NFQUEUE, NFT_COMPAT).",
        discovery: "The agent on the node has tried both and says which is missing.",
        resolution: "modprobe nft_queue (or nft_compat and xt_NFQUEUE) on the node, or choose targets on other nodes; firedrill doctor says of each node what it has.",
    },
    CodeInfo {
        code: NOT_RUNNING,
        title: "the target does not run yet, or crashes over and over",
        standard: "Faults of agents are put into pods that run. In one that has no node, no address or no running container yet there is nothing to put them into; in one that crashes over and over (CrashLoopBackOff) nothing that is seen would be the fault's doing.",
        discovery: "Of the pod: its phase, its node, its address, and the reason for which its containers wait.",
        resolution: "Wait until it runs (kubectl get pod NAME), mend what makes it crash (kubectl logs --previous), or leave it out with target.exclude.",
    },
    CodeInfo {
        code: HOST_NETWORK,
        title: "the target is in its node's network",
        standard: "A pod with hostNetwork has no network of its own: what is done to its packets is done to its node's, kubelet and all.",
        discovery: "spec.hostNetwork of the pod.",
        resolution: "Leave it out with target.exclude. What such a pod's loss means is asked with podKill or nodeDrain.",
    },
    CodeInfo {
        code: OTHER_PLATFORM,
        title: "no agent runs on the target's node",
        standard: "Agents are Linux programs for amd64.",
        discovery: "The labels kubernetes.io/os and kubernetes.io/arch of the node.",
        resolution: "Choose targets on other nodes; faults of the API tier (podKill, nodeDrain, dependencyCut) work on every node.",
    },
    CodeInfo {
        code: CONTROL_PATH,
        title: "the way back would be hit",
        standard: "Orders reach an agent through API server and kubelet; whatever carries them is never disturbed, or nobody could take the fault back in time.",
        discovery: "The target's namespace and labels.",
        resolution: "Choose another target. Nothing opens this.",
    },
    CodeInfo {
        code: UNSEEN,
        title: "what is done to the target's network could not be seen",
        standard: "A fault counts once it is seen in force, in round trips from the agent to the pod. The agent is among the peers of every fault, so one that loses everything, or holds it up for a second or longer, swallows the round trips of any other that go over the same ports.",
        discovery: "An earlier step of the file does so to the same pod while this one is in force: peers do not matter, directions, ports and protocol of the two do.",
        resolution: "Put `revert` of that step before this one, have the two hit different ports, or choose other pods.",
    },
    CodeInfo {
        code: NO_TRAFFIC,
        title: "the fault met no packet of anybody",
        standard: "A fault that disturbs nothing proves nothing: that the hypothesis held says only that nothing was done to it. So the run is Inconclusive (NoTraffic), unless something else had decided it before.",
        discovery: "The agent of each target counts the packets that the fault selects, those aside with which it measures itself, for as long as the fault is in force. They were none on any target of the step. The report says the count of each target.",
        resolution: "Look at direction, peers, ports and protocol: `to` means what the pods send, `from` what they receive, and ports are those that a packet goes to, a Service's as the pods dial it. If they are right, nothing was sent meanwhile: have a load running, or keep the fault in force for longer.",
    },
    CodeInfo {
        code: NO_PROCESS,
        title: "no process of the target is the one that is meant",
        standard: "A signal that nobody gets changes nothing, and proves nothing: the run ends as Inconclusive.",
        discovery: "The agent on the target's node looked at the names of the pod's processes (/proc/PID/stat, at most 15 bytes of each) when the signal was due, and names those that it saw. The sandbox's own process, pause, is meant only by its name.",
        resolution: "Write the name as the agent saw it in processKill.name; it is the program's, and not the container's or the image's. Without a name, containerKill means all processes of a container.",
    },
];
