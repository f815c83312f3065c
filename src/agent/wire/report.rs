//! Reports: what an agent says.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::types::{Epoch, InjectionId, RunId};

/// One report with where it belongs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportLine {
    /// [`VERSION`](super::VERSION).
    pub version: u32,
    /// The agent's run.
    pub run: RunId,
    /// Whose orders it takes.
    pub epoch: Epoch,
    /// The session of the order that it answers; empty when nobody asked.
    pub session: String,
    /// The number of that order.
    pub seq: u64,
    /// The agent's own count of seconds.
    pub tick: u64,
    /// What it says.
    pub report: Report,
}

/// What an agent says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Report {
    /// It is there: every second, unasked.
    Tick,
    /// A session is open.
    Ready {
        /// The agent's version.
        agent_version: String,
        /// What its node can do.
        features: Features,
        /// What it holds in force.
        in_force: Vec<InjectionId>,
        /// Lines so far that were no frames.
        ignored: u64,
    },
    /// The pod's network namespace was found and entered; nothing was changed.
    Entered {
        /// Which pod.
        pod: String,
        /// Its processes.
        processes: u32,
        /// The inode of its network namespace.
        namespace: u64,
    },
    /// The disturbance is in force.
    Applied {
        /// Which.
        injection: InjectionId,
        /// On which pod.
        pod: String,
    },
    /// The disturbance is gone.
    Lifted {
        /// Which.
        injection: InjectionId,
        /// Whether it was there.
        was: bool,
        /// How many packets it has met on this node that were not of the agent's own measuring, over all the time
        /// that it was in force; the same however often it is asked.
        met: u64,
    },
    /// What the disturbance has met.
    Counted {
        /// Which.
        injection: InjectionId,
        /// How many packets so far; see `Lifted`.
        met: u64,
    },
    /// Processes were sent a signal.
    Killed {
        /// Which injection.
        injection: InjectionId,
        /// On which pod.
        pod: String,
        /// Those processes; none if none fitted.
        processes: Vec<Process>,
        /// The names of those that are there, where none fitted: of the meant container, each once, at most 20.
        seen: Vec<String>,
    },
    /// Round trips were measured.
    Measured {
        /// To which pod.
        pod: String,
        /// How long each took that was answered, in microseconds.
        rtt_us: Vec<u64>,
        /// How many were not answered in time.
        lost: u32,
    },
    /// The order was not carried out, and nothing was changed by it.
    Refused(Refusal),
    /// A disturbance's own time ran out: it is lifted.
    Expired {
        /// Which.
        injection: InjectionId,
        /// On which pod.
        pod: String,
    },
    /// Everything is lifted, and the agent is gone.
    Ended {
        /// Why.
        why: End,
        /// What was lifted.
        lifted: Vec<InjectionId>,
    },
}

/// Why an agent ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum End {
    /// No order came for the time to live.
    Silence,
    /// The agent's own deadline passed.
    Deadline,
    /// It was asked to by SIGTERM.
    Terminated,
    /// Its worker died; the kernel removed what it had in force.
    WorkerDied,
    /// It was ordered to.
    Left,
}

/// A process that was sent a signal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// Its number, seen from the node.
    pub pid: u32,
    /// Its name.
    pub name: String,
}

/// Why an order was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
#[error("{why}")]
pub struct Refusal {
    /// A stable word.
    pub code: RefusalCode,
    /// What is wrong.
    pub why: String,
    /// What helps.
    pub remedy: String,
}

/// Words for refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RefusalCode {
    /// It says nothing that makes sense.
    Malformed,
    /// It is of another version.
    Version,
    /// It is for another run.
    OtherRun,
    /// Its epoch has been overtaken: the run has another owner.
    OldEpoch,
    /// Its session was never opened here, or so long ago that it is forgotten.
    NoSession,
    /// It was taken before.
    Replayed,
    /// It was under way for too long.
    Late,
    /// It is above the agent's limits.
    Limit,
    /// No process of the pod is on this node.
    NoSuchPod,
    /// The pod shares the node's network.
    HostNetwork,
    /// The pod is the agent's own.
    OwnPod,
    /// Somebody else's rules are in the pod's network namespace.
    Foreign,
    /// The node cannot do it.
    Unsupported,
    /// It went wrong.
    Failed,
}

/// What a node can do, as its agent has tried it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Features {
    /// The kernel's release.
    pub kernel: String,
    /// The processor's architecture (`x86_64`, `aarch64`).
    pub arch: String,
    /// How packets get to the agent.
    pub nfqueue: Nfqueue,
    /// Which control groups name the pods.
    pub cgroup: Cgroup,
    /// Whether delays are kept at real-time priority.
    pub realtime: bool,
    /// What is missing, with a remedy for each.
    pub lacking: Vec<Lack>,
}

impl Features {
    /// Whether the network of pods can be disturbed.
    #[must_use]
    pub fn network(&self) -> bool {
        self.nfqueue != Nfqueue::Missing
    }
}

/// How packets get to an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Nfqueue {
    /// By nf_tables' own queue statement.
    Native,
    /// By the xtables target NFQUEUE through nf_tables.
    Compat,
    /// Not at all.
    Missing,
}

/// Which control groups a node has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cgroup {
    /// One hierarchy a controller.
    V1,
    /// One hierarchy.
    V2,
    /// Both.
    Hybrid,
}

/// Something that a node lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lack {
    /// What.
    pub what: Cow<'static, str>,
    /// How that was seen.
    pub why: String,
    /// What helps.
    pub remedy: Cow<'static, str>,
}
