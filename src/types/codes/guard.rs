//! FD2xxx and FD3xxx: rights, consent, environment, targets and limits.

use crate::types::{Code, CodeInfo};

/// A right that the faults need is not there.
pub const NO_RIGHT: Code = Code::new("FD2001");
/// The API server refuses a write that the run would make.
pub const DRY_RUN: Code = Code::new("FD2002");
/// The namespace has not consented.
pub const NO_CONSENT: Code = Code::new("FD2003");
/// The namespace is built-in protected.
pub const PROTECTED: Code = Code::new("FD2004");
/// The cluster is production.
pub const PRODUCTION: Code = Code::new("FD2005");
/// A Guardrail forbids it.
pub const GUARDRAIL: Code = Code::new("FD2006");
/// Guardrails cannot be read.
pub const GUARDRAILS_UNREADABLE: Code = Code::new("FD2007");
/// The cluster cannot be reached.
pub const UNREACHABLE: Code = Code::new("FD2008");
/// Nobody is there to be asked.
pub const NOT_CONFIRMED: Code = Code::new("FD2009");
/// Another run holds the namespace or the object.
pub const OVERLAP: Code = Code::new("FD2010");
/// There is no place that answers PromQL.
pub const NO_SOURCE: Code = Code::new("FD2011");
/// Nobody is there to answer a manual step.
pub const UNATTENDED: Code = Code::new("FD2012");
/// A game day's own windows and blackouts forbid it.
pub const CLOSED: Code = Code::new("FD2013");
/// A game day asks for approvals or notices, which the command line has not.
pub const APPROVALS: Code = Code::new("FD2014");
/// A Guardrail lets only so many runs be at work at once.
pub const CROWDED: Code = Code::new("FD2015");
/// A load's address cannot be reached from here.
pub const LOAD_UNREACHABLE: Code = Code::new("FD2031");
/// The namespace of agents does not take their pods.
pub const AGENT_NAMESPACE: Code = Code::new("FD2051");
/// A Run names an experiment or a parameter that is not there.
pub const NO_EXPERIMENT: Code = Code::new("FD2071");
/// The ServiceAccount that a run acts as is not there, or may not be used.
pub const ACCOUNT: Code = Code::new("FD2072");
/// A host that the controller may not reach.
pub const HOST: Code = Code::new("FD2073");
/// Something that only the command line does.
pub const NOT_FROM_CONTROLLER: Code = Code::new("FD2074");
/// A part of a game day that was not begun.
pub const NOT_BEGUN: Code = Code::new("FD2075");
/// Something of the installation is missing, or of another version.
pub const INSTALLATION: Code = Code::new("FD2076");
/// Somebody could not be told of something.
pub const NOTICE: Code = Code::new("FD2081");
/// The target selects nothing.
pub const NO_TARGET: Code = Code::new("FD3001");
/// A fault's fields do not fit together.
pub const FIELDS: Code = Code::new("FD3002");
/// A pod that nothing would bring back.
pub const BARE_POD: Code = Code::new("FD3003");
/// A pod that a kubelet runs from a file.
pub const STATIC_POD: Code = Code::new("FD3004");
/// Somebody else decides over the field.
pub const OWNED_ELSEWHERE: Code = Code::new("FD3005");
/// The change would change nothing.
pub const NO_CHANGE: Code = Code::new("FD3006");
/// limits.pods would be exceeded.
pub const POD_LIMIT: Code = Code::new("FD3007");
/// limits.nodes would be exceeded.
pub const NODE_LIMIT: Code = Code::new("FD3008");
/// A drain that can never finish.
pub const PDB_DEADLOCK: Code = Code::new("FD3009");
/// Two budgets over one pod.
pub const TWO_PDBS: Code = Code::new("FD3010");
/// Data in emptyDir volumes would be lost.
pub const EMPTY_DIR: Code = Code::new("FD3011");
/// A node of the control plane.
pub const CONTROL_PLANE: Code = Code::new("FD3012");
/// The last ready node of a zone.
pub const LAST_IN_ZONE: Code = Code::new("FD3013");
/// Pods of others would be displaced.
pub const BYSTANDER: Code = Code::new("FD3014");
/// There is no room left for what is displaced.
pub const NO_ROOM: Code = Code::new("FD3015");
/// A rollout of the target is under way.
pub const ROLLOUT: Code = Code::new("FD3016");
/// An earlier step of the same file still holds the field.
pub const SAME_FIELD: Code = Code::new("FD3017");
/// What answers the hypothesis' queries would be hit.
pub const METRIC_SOURCE: Code = Code::new("FD3018");
/// The zone without which there is no node left.
pub const LAST_ZONE: Code = Code::new("FD3019");
/// limits.degradedPods would be exceeded.
pub const DEGRADED_LIMIT: Code = Code::new("FD3022");
/// Another NetworkPolicy lets the target send.
pub const OTHER_POLICY: Code = Code::new("FD3023");
/// What a dependency is cannot be told, or nobody could see it cut.
pub const DEPENDENCY: Code = Code::new("FD3024");
/// The dependency cannot be reached to begin with.
pub const NOT_REACHABLE: Code = Code::new("FD3025");
/// A probe that what measures it can never put outside.
pub const NEVER_OUTSIDE: Code = Code::new("FD3026");
/// A load's address is one where nothing is ever sent.
pub const LOAD_ADDRESS: Code = Code::new("FD3031");
/// A node without a machine object that could be deleted.
pub const NO_MACHINE: Code = Code::new("FD3041");
/// Node and machine do not name each other.
pub const OTHER_MACHINE: Code = Code::new("FD3042");
/// A machine that nobody would replace.
pub const NOT_REPLACED: Code = Code::new("FD3043");
/// A machine that its owner would never let go.
pub const MACHINE_KEPT: Code = Code::new("FD3044");

/// The family, in order.
pub static CODES: &[CodeInfo] = &[
    CodeInfo {
        code: NO_RIGHT,
        title: "a right that the run needs is not granted",
        standard: "Kubernetes RBAC: whoever runs an experiment acts with their own rights, and every right is asked for before the first change.",
        discovery: "A SelfSubjectAccessReview for each verb that the faults of the file need; what probes measure was read once.",
        resolution: "Ask for the Role that the message names, or run as somebody who has it: kubectl auth can-i shows the same answer.",
    },
    CodeInfo {
        code: DRY_RUN,
        title: "the API server refuses a write that the run would make",
        standard: "Admission (policies, webhooks, quotas) can refuse what RBAC allows; a server-side dry run passes through all of it.",
        discovery: "Each kind of write was sent once with dryRun=All.",
        resolution: "The message is the API server's own: mend the policy or webhook that it names, or choose another target.",
    },
    CodeInfo {
        code: NO_CONSENT,
        title: "the namespace, or the node, has not consented to experiments",
        standard: "Nobody's workload is broken without the consent of those who own its namespace (design: limits and consent).",
        discovery: "The namespace has no label firedrill.dev/allowed=true and was not named with --allow-namespace; or a Run of the controller would hit a node that has no such label.",
        resolution: "kubectl label namespace NAME firedrill.dev/allowed=true, or --allow-namespace NAME for this run; of a node: kubectl label node NAME firedrill.dev/allowed=true.",
    },
    CodeInfo {
        code: PROTECTED,
        title: "the target is protected",
        standard: "kube-system and firedrill's own namespaces keep the cluster and the way back alive; no file and no flag opens them.",
        discovery: "The target's namespace is on the built-in list.",
        resolution: "Choose a target in another namespace.",
    },
    CodeInfo {
        code: PRODUCTION,
        title: "the cluster is production",
        standard: "Production is out of bounds until somebody in charge has said otherwise in writing: a Guardrail with allowProduction: true.",
        discovery: "The namespace kube-system carries firedrill.dev/environment=production, or a Guardrail says so.",
        resolution: "Run it elsewhere (kubectl config use-context), or have whoever is in charge write the Guardrail.",
    },
    CodeInfo {
        code: GUARDRAIL,
        title: "a Guardrail forbids it",
        standard: "Guardrails are what nobody may exceed; the strictest of those that select the namespace wins.",
        discovery: "All Guardrails of the cluster were read and combined.",
        resolution: "Stay within what the named Guardrail allows, or ask those who keep it.",
    },
    CodeInfo {
        code: GUARDRAILS_UNREADABLE,
        title: "Guardrails cannot be read",
        standard: "What cannot be read counts as a refusal: a Guardrail that is overlooked protects nobody.",
        discovery: "Listing guardrails.firedrill.dev failed although their CRD is installed.",
        resolution: "Ask for the right to list guardrails.firedrill.dev.",
    },
    CodeInfo {
        code: UNREACHABLE,
        title: "the cluster cannot be reached",
        standard: "Nothing is changed in a cluster that cannot be asked first.",
        discovery: "The first calls to the API server failed.",
        resolution: "Check the context (kubectl cluster-info) and the network; nothing has been changed.",
    },
    CodeInfo {
        code: NOT_CONFIRMED,
        title: "nobody was asked",
        standard: "A person sees cluster and targets before the first change; without a terminal the namespace's consent or explicit flags stand in for that.",
        discovery: "There is no terminal, and neither the label nor --context with --allow-namespace was given; or the answer was no.",
        resolution: "Label the namespace, or pass --context NAME --allow-namespace NAME.",
    },
    CodeInfo {
        code: OVERLAP,
        title: "another run holds the target",
        standard: "Two runs never hold one object at the same time: their effects and their undo could not be told apart.",
        discovery: "The namespace's Lease is held by another run, or the object carries another run's scar.",
        resolution: "Wait for that run, abort it (firedrill abort RUN), or clean up after it (firedrill rollback RUN).",
    },
    CodeInfo {
        code: NO_SOURCE,
        title: "there is no place that answers PromQL",
        standard: "A hypothesis that cannot be measured proves nothing; where metrics come from is a property of the place.",
        discovery: "The file has prometheus probes, and neither spec.prometheus nor --prometheus nor FIREDRILL_PROMETHEUS says where to ask; or --prometheus names a Service, or a port of it, that is not there.",
        resolution: "Pass --prometheus URL or --prometheus service/NAMESPACE/NAME:PORT.",
    },
    CodeInfo {
        code: UNATTENDED,
        title: "nobody can answer a manual step",
        standard: "A step that a person takes needs a person: a run that waits for nobody proves nothing.",
        discovery: "The file has a manual step, and there is no terminal.",
        resolution: "Run it at a terminal, rehearse it (assume stands in for the person), or leave the step out.",
    },
    CodeInfo {
        code: CLOSED,
        title: "outside of a game day's windows, or in a blackout",
        standard: "The whole of a game day fits into its windows, limits.duration included, and no day of it is in a blackout; by hand too.",
        discovery: "Now, and every minute until it would be over at the latest, is compared with both, in its time zone.",
        resolution: "Wait until it is open again (firedrill next says when), or change windows, blackouts or limits.duration in the file.",
    },
    CodeInfo {
        code: APPROVALS,
        title: "a game day asks for what the command line has not",
        standard: "Approvals come from somebody else than who asks, and are bound to what was asked; collecting them takes somebody in the middle.",
        discovery: "spec.approvals and spec.notifications of the GameDay; spec.approvals of the Guardrails.",
        resolution: "Have the controller run it (firedrill run --controller gameday/NAME), which collects approvals with firedrill approve; or rehearse it.",
    },
    CodeInfo {
        code: CROWDED,
        title: "as many runs are at work as a Guardrail allows",
        standard: "concurrentRuns of a Guardrail bounds the runs that disturb something where it holds, whoever runs them.",
        discovery: "The leases of runs were listed in the whole cluster: before the run began, and again once it held its own.",
        resolution: "Wait for one of the runs that the message names; the controller does so by itself until the Run's deadline.",
    },
    CodeInfo {
        code: LOAD_UNREACHABLE,
        title: "a load cannot be sent to its address from here",
        standard: "A load goes straight to what it is for. Through the API server's proxy it would measure the proxy, and load the API server that the way back depends on; so a Service's name is for a runner inside of the cluster, and for a rehearsal.",
        discovery: "The host of the URL was looked up from here; in a rehearsal, among the embedded cluster's Services.",
        resolution: "Name an address that can be reached from here: an Ingress, a LoadBalancer, a NodePort, kubectl port-forward for small loads; a parameter lets a rehearsal keep the Service's name.",
    },
    CodeInfo {
        code: AGENT_NAMESPACE,
        title: "the namespace of agents does not take their pods",
        standard: "An agent shares its node's process table and has capabilities that Pod Security baseline and restricted refuse (Kubernetes docs, Pod Security Standards); it runs in a namespace of its own and nowhere else.",
        discovery: "The agent's pod was sent there with dryRun=All; the words are the API server's.",
        resolution: "firedrill agents manifests | kubectl apply -f - makes that namespace, with the policy that lets this one pod in and no other; --agent-namespace names another.",
    },
    CodeInfo {
        code: NO_EXPERIMENT,
        title: "a Run names an experiment or a parameter that is not there",
        standard: "A Run is one execution of an Experiment of its own namespace, with values for the parameters that it declares.",
        discovery: "The controller read the Experiment that experimentRef names when it began the Run.",
        resolution: "kubectl get experiments -n NAMESPACE lists what is there; a Run is fixed once it is created, so make another one.",
    },
    CodeInfo {
        code: ACCOUNT,
        title: "the ServiceAccount that the run acts as is not there, or may not be used",
        standard: "The controller acts as the ServiceAccount that the file names and has no rights over workloads of its own (design: controller and security).",
        discovery: "The account was looked up, then asked who it is under impersonation; a deleted account could still be impersonated.",
        resolution: "firedrill allow NAMESPACE makes the account, binds the roles of the faults to it and lets the controller act as it. If the message says impersonate-on, the account may do that and the controller may not while it acts as it: docs/security.md, Acting as an account.",
    },
    CodeInfo {
        code: HOST,
        title: "a host that the controller may not reach",
        standard: "The controller sits in the cluster's network, and authors of files may not: it reaches Services, and hosts that a Guardrail lists.",
        discovery: "Each url, address and server of the file's probes, loads and metric sources was compared with the Guardrails' probeHosts.",
        resolution: "Name a Service as NAME.NAMESPACE.svc, or have a Guardrail that covers the namespace list the host in probeHosts.",
    },
    CodeInfo {
        code: NOT_FROM_CONTROLLER,
        title: "something that this controller does not do",
        standard: "What is not built, or not switched on, is refused by name, never left out in silence. Agents are root on nodes for the minutes of a run, so a controller places them only where its administrators have said so.",
        discovery: "A step of the experiment needs it.",
        resolution: "Have the administrators switch it on (--agent-namespace, agents.enabled in the chart), or run the experiment with firedrill run FILE, from where you have the rights.",
    },
    CodeInfo {
        code: NOT_BEGUN,
        title: "an experiment of a game day was not begun",
        standard: "What was not run is said, with the reason, and is no pass.",
        discovery: "It waited for another run in its namespace, or for the game day itself, until its time was over or somebody ended it.",
        resolution: "Read the reason; firedrill runs --controller shows what ran at that time in the namespace.",
    },
    CodeInfo {
        code: INSTALLATION,
        title: "something of the controller's installation is not as it should be",
        standard: "Definitions, roles, policies and program are of one version: an old definition drops fields in silence, a right that is missing is found out in the middle of a run, and without the policies authors are not held to their own rights.",
        discovery: "doctor --installation has read definitions, roles, bindings, policies, the replicas' Leases and Guardrails with the rights of whoever asked, has compared them with what the manifests of its own version say, and has asked the controller's metric source once.",
        resolution: "firedrill crds | kubectl apply --server-side -f - for the definitions, helm upgrade for the rest; docs/installation.md has the order.",
    },
    CodeInfo {
        code: NOTICE,
        title: "a notice could not be sent",
        standard: "Notices tell, and nothing waits for them: one that cannot be sent is said in the log and in an Event, and the run goes on.",
        discovery: "The Secret was read with the rights of the file's account, the host was compared with the Guardrails' probeHosts, and the notice was posted, a few times where that may help: after 429, 5xx and no answer.",
        resolution: "Give the account get on that Secret by name, have a Guardrail list the host, or mend the webhook; docs/game-days.md says what is sent.",
    },
    CodeInfo {
        code: NO_TARGET,
        title: "the target selects nothing",
        standard: "An experiment that hits nothing proves nothing (no vacuous pass).",
        discovery: "The selector was matched against the cluster as it is now.",
        resolution: "Compare the labels with kubectl get pods --show-labels, and the namespace with the file's.",
    },
    CodeInfo {
        code: FIELDS,
        title: "the fault's fields do not fit together",
        standard: "Every field means one thing; what contradicts itself is refused rather than guessed.",
        discovery: "The fault's own rules over its fields.",
        resolution: "firedrill explain experiment.spec.method shows the fields of each fault.",
    },
    CodeInfo {
        code: BARE_POD,
        title: "nothing would bring the pod back",
        standard: "A pod without a controller is not replaced (Kubernetes docs, Pods: working with pods); kubectl drain refuses it as well.",
        discovery: "The pod has no controlling ownerReference.",
        resolution: "Run it from a Deployment, or leave it out with target.exclude.",
    },
    CodeInfo {
        code: STATIC_POD,
        title: "a kubelet runs the pod from a file",
        standard: "Deleting the mirror of a static pod does not stop it (Kubernetes docs, static pods).",
        discovery: "The pod carries the annotation kubernetes.io/config.mirror.",
        resolution: "Leave it out with target.exclude.",
    },
    CodeInfo {
        code: OWNED_ELSEWHERE,
        title: "somebody else decides over what the fault changes",
        standard: "A fault on a field that an autoscaler or a GitOps tool sets would be undone at once, or fought over.",
        discovery: "HorizontalPodAutoscalers, KEDA's labels on them, and the managers in managedFields.",
        resolution: "Pause the owner for the time of the run, or choose a fault that does not need the field.",
    },
    CodeInfo {
        code: NO_CHANGE,
        title: "the change would change nothing",
        standard: "A fault has to be seen in force; one that changes nothing never is (no vacuous pass).",
        discovery: "The present value is the wanted one already.",
        resolution: "Ask for another value.",
    },
    CodeInfo {
        code: POD_LIMIT,
        title: "limits.pods would be exceeded",
        standard: "limits.pods bounds what is not ready of what a workload wants, for whatever reason, as a PodDisruptionBudget counts; shares round down.",
        discovery: "Pods not ready now plus those that the step hits, per workload, against the limit.",
        resolution: "Hit fewer pods, wait until the workload is whole, or raise limits.pods in the file (within the Guardrails).",
    },
    CodeInfo {
        code: NODE_LIMIT,
        title: "limits.nodes would be exceeded",
        standard: "limits.nodes bounds the share of all nodes that are not ready or unschedulable; shares round down.",
        discovery: "Nodes not ready or cordoned now plus those that the step hits, against the limit.",
        resolution: "Hit fewer nodes, or raise limits.nodes in the file (within the Guardrails).",
    },
    CodeInfo {
        code: PDB_DEADLOCK,
        title: "the drain can never finish",
        standard: "An eviction needs a disruption that the PodDisruptionBudget allows (policy/v1); one that never allows any blocks a drain for ever.",
        discovery: "The budget covers a displaced pod, allows none now, and would allow none with every pod healthy.",
        resolution: "Give the workload a replica more than the budget needs, or loosen the budget (minAvailable below the replicas, maxUnavailable at least 1).",
    },
    CodeInfo {
        code: TWO_PDBS,
        title: "two budgets cover one pod",
        standard: "The eviction API answers 500 for a pod that more than one PodDisruptionBudget selects, for ever.",
        discovery: "More than one budget's selector matches a displaced pod.",
        resolution: "Make the budgets' selectors disjoint.",
    },
    CodeInfo {
        code: EMPTY_DIR,
        title: "data in emptyDir volumes would be lost",
        standard: "kubectl drain refuses such pods without --delete-emptydir-data, for the same reason.",
        discovery: "A displaced pod has a volume of type emptyDir.",
        resolution: "If that data may be lost: nodeDrain: {emptyDirData: Delete}.",
    },
    CodeInfo {
        code: CONTROL_PLANE,
        title: "the node runs the control plane",
        standard: "Without the control plane there is no way back; such nodes are protected and nothing opens them.",
        discovery: "The node carries the label node-role.kubernetes.io/control-plane.",
        resolution: "Choose other nodes, by label or with target.exclude.",
    },
    CodeInfo {
        code: LAST_IN_ZONE,
        title: "it is the last ready node of its zone",
        standard: "Losing a zone is a fault of its own and is asked for by name.",
        discovery: "No other node with the same topology.kubernetes.io/zone is ready and schedulable.",
        resolution: "Choose a node of a zone with several.",
    },
    CodeInfo {
        code: BYSTANDER,
        title: "pods of a namespace that has not consented would be displaced",
        standard: "A node fault evicts bystanders only where they are named, and only pods that a budget or another ready replica covers.",
        discovery: "Every pod on the node, DaemonSets and static pods aside, against its namespace's consent.",
        resolution: "Name the namespace with --bystanders, have it consent, or drain a node without its pods.",
    },
    CodeInfo {
        code: NO_ROOM,
        title: "there is no room for what is displaced",
        standard: "A drain whose pods fit nowhere tests nothing but the lack of room; nodes take a bounded number of pods (allocatable pods).",
        discovery: "Free pod slots on the remaining schedulable nodes, against the number of displaced pods.",
        resolution: "Add a node, or drain fewer.",
    },
    CodeInfo {
        code: ROLLOUT,
        title: "a rollout of the target is under way",
        standard: "With a rollout in progress nobody can say what the fault caused.",
        discovery: "The workload's updated replicas are fewer than it wants, or its status is behind its spec.",
        resolution: "Wait: kubectl rollout status.",
    },
    CodeInfo {
        code: SAME_FIELD,
        title: "an earlier step of the file holds the same field at that time",
        standard: "A change is put back to what was there before it; with two of one field in force neither before is what the other may go back to.",
        discovery: "The targets that each step would have, and the steps that are in force by then: those in the background that no revert, and no length of time, has ended for certain.",
        resolution: "Put `revert: STEP` before the later step, give the earlier one a duration and wait at least as long, or make one step of the two.",
    },
    CodeInfo {
        code: METRIC_SOURCE,
        title: "the fault would cut off the metric source of its own hypothesis",
        standard: "What is broken must not be what measures it: a hypothesis without data proves nothing, and an abort could not be decided (Principles of Chaos: minimise the blast radius).",
        discovery: "The ready pods behind the Service that a prometheus probe names, by its EndpointSlices, against the pods that the step kills, displaces or scales away.",
        resolution: "Leave those pods out with target.exclude, choose nodes without them, or ask a source elsewhere with --prometheus.",
    },
    CodeInfo {
        code: LAST_ZONE,
        title: "no other zone is left to take over",
        standard: "Losing a zone asks what the others do; with none left there is nothing to find out, and nowhere to go.",
        discovery: "No node outside the zone, the control plane's aside, is ready and schedulable, earlier steps of the file counted.",
        resolution: "Add nodes in another zone, uncordon those that are there, or put back an earlier step before this one.",
    },
    CodeInfo {
        code: DEGRADED_LIMIT,
        title: "limits.degradedPods would be exceeded",
        standard: "The damage is bounded beforehand (Principles of Chaos: minimise the blast radius); pods that are hampered count apart from pods that are lost.",
        discovery: "Per workload the pods that this step would hamper and those that earlier steps hamper still, against what the workload wants.",
        resolution: "Hit fewer pods with target.count, put back the earlier step first, or raise limits.degradedPods.",
    },
    CodeInfo {
        code: OTHER_POLICY,
        title: "another NetworkPolicy selects the target for egress",
        standard: "NetworkPolicies add up: what one of them allows no other takes away (networking.k8s.io/v1, NetworkPolicySpec). Beside one that isolates a pod a second one could cut nothing that the first allows, and would open what it keeps shut.",
        discovery: "The NetworkPolicies of the target's namespace with the type Egress, and the labels of the pods that would be hit.",
        resolution: "Choose pods that no such policy selects, or take what the dependency needs out of that policy by hand, as a manual step.",
    },
    CodeInfo {
        code: DEPENDENCY,
        title: "what is to be cut off cannot be told, or nobody could see it cut",
        standard: "A fault counts only once it is seen in force: somebody has to be able to connect before and not afterwards.",
        discovery: "Services, workloads and pods that `to` names were read: selectors, addresses, TCP ports.",
        resolution: "Name something that is there and listens on a TCP port that its Service or its containers declare; for what is outside of the cluster name a Service beside the cidr.",
    },
    CodeInfo {
        code: NOT_REACHABLE,
        title: "the dependency cannot be reached to begin with",
        standard: "Cutting off what could not be reached changes nothing, and proves nothing.",
        discovery: "A pod in the target's namespace tried to connect before the NetworkPolicy applied to it.",
        resolution: "Look at the pod's events and log (its image may not be pulled: --image says which to take), and at what keeps it from the dependency: a policy on the other side, a port that nobody listens on.",
    },
    CodeInfo {
        code: NEVER_OUTSIDE,
        title: "the hypothesis cannot be lost by this probe",
        standard: "What can never be outside proves nothing. histogram_quantile gives at most the bound of the last finite bucket (Prometheus docs, Query functions).",
        discovery: "The bounds of the histogram's buckets were asked for; expect holds at every one of them.",
        resolution: "Expect less than the last bound, or give the histogram buckets up to what has to be told apart.",
    },
    CodeInfo {
        code: LOAD_ADDRESS,
        title: "the address of a load or a webhook is link-local",
        standard: "Link-local addresses (RFC 3927, RFC 4291 section 2.5.6) are where clouds answer for the credentials of a machine; no file may send there.",
        discovery: "The URL's host is such an address, or a name that means one; each connection is held against that again.",
        resolution: "Name the service that is meant. Nothing opens this.",
    },
    CodeInfo {
        code: NO_MACHINE,
        title: "nobody here owns the machine behind the node",
        standard: "Deleting a Node object ends nothing: the machine goes on and its kubelet registers it again. A machine is ended by whoever owns it, through its Machine (Cluster API) or its NodeClaim (Karpenter).",
        discovery: "The node carries neither the annotation cluster.x-k8s.io/machine nor the label karpenter.sh/nodepool, or objects of the kind that it points to are not served by this API server, as with Machines that live in a management cluster.",
        resolution: "nodeDrain empties the node and gives it back; to end machines that no object here stands for, use the cloud's own means. With a management cluster, end the machine there.",
    },
    CodeInfo {
        code: OTHER_MACHINE,
        title: "the node and its machine do not name each other",
        standard: "What is deleted has to be the machine behind the node and no other: the node's mark and the machine's status.nodeRef, or the NodeClaim's status.nodeName, agree, and so do their providerIDs.",
        discovery: "The mark on the node, read together with the Machines and NodeClaims of the API server.",
        resolution: "Find out which of the two is out of date: kubectl get machines -A -o wide, or kubectl get nodeclaims; an annotation copied by hand is taken away with kubectl annotate node NAME cluster.x-k8s.io/machine-.",
    },
    CodeInfo {
        code: NOT_REPLACED,
        title: "nothing would bring another machine",
        standard: "A drill leaves nothing behind, and a cluster that is one machine smaller for good is something: there has to be a controller that replaces it.",
        discovery: "The Machine has no controller among its owners (a MachineSet, say), or the NodeClaim belongs to no NodePool.",
        resolution: "Choose nodes whose Machine a MachineSet, or whose NodeClaim a NodePool, has made.",
    },
    CodeInfo {
        code: MACHINE_KEPT,
        title: "its owner would never let the machine go",
        standard: "Karpenter leaves a pod that carries karpenter.sh/do-not-disrupt where it is until the NodeClaim's terminationGracePeriod is over, and without one it waits for ever.",
        discovery: "The pods on the node, their annotations, and the NodeClaim's spec.",
        resolution: "Choose another node, take the annotation away, or give the NodePool a terminationGracePeriod.",
    },
];
