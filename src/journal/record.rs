//! What can be written down of a run.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Clocks, DayRecord, Deployed, Environment, Loss, Moment, Written};
use crate::{
    faults::Injection,
    probes::Stats,
    types::{Epoch, Finding, InjectionId, ObjectRef, RunId, Verdict, load::LoadTally},
};

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// 0, 1, 2 … without a gap.
    pub seq: u64,
    /// When it was written, by the runner's clock.
    pub at: Timestamp,
    /// The owner that wrote it.
    pub epoch: Epoch,
    /// What happened.
    #[serde(flatten)]
    pub record: Record,
}

/// What happened. Past tense, but for `InjectIntended`, which says what may happen from now on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum Record {
    /// The first record.
    RunStarted(Box<Header>),
    /// Of a game day; its journal has nothing else.
    Day(DayRecord),
    /// Somebody else owns the run from now on: a takeover, or `rollback`.
    OwnerChanged {
        /// The process.
        holder: String,
        /// The person behind it.
        by: String,
        /// `rollback`, `takeover`.
        why: String,
        /// Whether it goes on, rather than being put back.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        goes_on: bool,
    },
    /// What the plan said when the run began.
    Planned {
        /// Hazards that were named.
        findings: Vec<Finding>,
        /// Earliest possible abort after a loss of normal, in milliseconds.
        earliest_abort_ms: u64,
        /// Calls that the method takes at the most.
        calls: u64,
    },
    /// What was deployed, before and after.
    DeployedSeen {
        /// Before or after.
        moment: Moment,
        /// Each workload concerned.
        workloads: Vec<Deployed>,
    },
    /// Measuring what normal is has begun.
    BaselineStarted {},
    /// Normal it is.
    BaselineHeld {
        /// What was measured, by probe.
        stats: BTreeMap<String, Stats>,
    },
    /// A probe was measured.
    Sampled {
        /// Which.
        probe: String,
        /// Whether there was anything to judge.
        state: SampleState,
        /// The number that is charted and compared.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<f64>,
        /// Whether `expect` holds; None for what is not judged or missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expect: Option<bool>,
        /// Whether `during` holds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        during: Option<bool>,
        /// Whether the check that is being waited for holds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        check: Option<bool>,
        /// Why there is nothing to judge, or what is remarkable.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        note: String,
        /// Whether it is an alert that fires.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        alerting: bool,
        /// Whether something that was promised may still come.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        awaited: bool,
    },
    /// A step has begun.
    StepStarted {
        /// Which.
        step: String,
    },
    /// The step's faults are about to be injected. Durable before the first call.
    InjectIntended {
        /// Which step.
        step: String,
        /// Each application to a target, with all that undoes it.
        injections: Vec<Injection>,
        /// Whose pods they take.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        owners: Vec<Loss>,
    },
    /// Agents are about to be placed for faults that take one. Durable before the first call; no fault yet, and so no
    /// change that the hypothesis is about.
    ArmingIntended {
        /// Each agent's pod, with all that takes it away.
        injections: Vec<Injection>,
    },
    /// A step could not be carried out: nothing was changed by it.
    StepRefused {
        /// Which.
        step: String,
        /// Why.
        findings: Vec<Finding>,
    },
    /// Whom a step goes through, batch after batch.
    TargetsChosen {
        /// Which step.
        step: String,
        /// Those that are there, hit or not.
        targets: Vec<ObjectRef>,
    },
    /// One round of a step that is repeated could not be carried out: nothing was changed by it.
    RoundSkipped {
        /// Which step.
        step: String,
        /// Why.
        findings: Vec<Finding>,
    },
    /// Applying a fault begins a rollout, which is ours. Comes right before [`Record::Injected`].
    TemplateWritten {
        /// Which application.
        injection: InjectionId,
        /// [`fingerprint`](crate::cluster::fingerprint) of the pod template as it is stored now.
        template: String,
    },
    /// Somebody else has brought the former pod template back while a fault held another one.
    BroughtBack {
        /// Which application.
        injection: InjectionId,
        /// The revision that the former template has now, where revisions are counted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revision: Option<String>,
    },
    /// A fault was applied, or could not be.
    Injected {
        /// Which application.
        injection: InjectionId,
        /// How it went.
        outcome: InjectOutcome,
        /// In words.
        detail: String,
    },
    /// The effect was seen, in something that firedrill did not write.
    EffectSeen {
        /// Which application.
        injection: InjectionId,
        /// What was seen.
        evidence: String,
    },
    /// The effect was not seen in time.
    EffectMissed {
        /// Which application.
        injection: InjectionId,
        /// What was seen instead.
        why: String,
    },
    /// A check was answered.
    Checked {
        /// Which step.
        step: String,
        /// The answer.
        outcome: CheckOutcome,
        /// In words.
        detail: String,
    },
    /// The step's faults are about to be taken back.
    RevertStarted {
        /// Which applications.
        injections: Vec<InjectionId>,
    },
    /// A fault was taken back and that was verified by reading the world.
    Reverted {
        /// Which application.
        injection: InjectionId,
        /// How it went.
        outcome: RevertOutcome,
        /// In words.
        detail: String,
        /// How many packets of others it had met; None where nobody counts, or where nobody is left who has counted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        met: Option<u64>,
    },
    /// A revert did not succeed; it is tried again.
    RevertFailed {
        /// Which application.
        injection: InjectionId,
        /// Why.
        error: String,
        /// Whether that is for want of a right.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        forbidden: bool,
        /// 1, 2, 3 …
        attempt: u32,
    },
    /// A person wanted a step not to begin: it does not.
    StepSkipped {
        /// Which.
        step: String,
        /// Who.
        by: String,
        /// Their words.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        comment: String,
    },
    /// A person has answered a manual step, or nobody has in time.
    ManualAnswered {
        /// Which step.
        step: String,
        /// The answer.
        answer: Answer,
        /// Who.
        by: String,
        /// Their words.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        comment: String,
    },
    /// The pod that is to send a load is about to be made. Durable before the first call.
    LoadPodIntended {
        /// The load's name, or its step's.
        load: String,
        /// The pod, with all that undoes it.
        pod: Box<Injection>,
    },
    /// A load has begun to be sent.
    LoadStarted {
        /// Its name, or its step's.
        load: String,
        /// Whether it is a step's: those disturb, and those of the experiment are part of what normal is.
        of_step: bool,
        /// What is sent where and how often.
        what: String,
    },
    /// Nothing more of a load is sent. There is nothing to undo.
    LoadEnded {
        /// Its name, or its step's.
        load: String,
        /// What became of its requests.
        tally: Box<LoadTally>,
    },
    /// The step is over.
    StepEnded {
        /// Which.
        step: String,
    },
    /// Normal was lost for as long as the file allows.
    Violated {
        /// Which probe.
        probe: String,
        /// The first sample of it.
        since: Timestamp,
        /// Whether it was the lack of data.
        missing: bool,
    },
    /// The method ends here, whatever is left of it.
    StopRequested {
        /// Why.
        reason: StopReason,
        /// Who, or what, in words.
        by: String,
    },
    /// Nobody starts a new step from now on, or steps go on again.
    HoldChanged {
        /// Whether they wait.
        held: bool,
        /// Who, in words.
        by: String,
    },
    /// The verdict is known; the first decision stands.
    Decided {
        /// The verdict.
        verdict: Verdict,
        /// CamelCase, stable: HypothesisHeld, Violated, NoData …
        reason: String,
        /// In words.
        message: String,
    },
    /// No foreground step is left.
    MethodEnded {},
    /// Nothing of ours is in force any more, as far as can be known.
    AllReverted {
        /// What could not be put back.
        residue: Vec<Residue>,
    },
    /// Every `expect` holds again, for as long as asked for.
    Recovered {
        /// Since when.
        since: Timestamp,
    },
    /// It did not in time.
    NotRecovered {
        /// The probes that do not hold.
        probes: Vec<String>,
    },
    /// Every pod that the workloads concerned want is bound to a node again, for the first time since the
    /// first effect was seen.
    Rescheduled {},
    /// Something worth knowing that decides nothing.
    Noted {
        /// In words.
        text: String,
        /// Who has observed it; None: it was found out by the runner.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        written: Option<Written>,
    },
    /// The last record.
    Finished {
        /// What it meant.
        verdict: Verdict,
        /// What was measured.
        clocks: Clocks,
        /// What is not back.
        residue: Vec<Residue>,
    },
}

/// Who, where, what, with which seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// The run.
    pub run: RunId,
    /// firedrill's version.
    pub version: String,
    /// The file's document, as JSON.
    pub experiment: Value,
    /// Where it was read.
    pub file: String,
    /// Every choice follows from it.
    pub seed: u64,
    /// Who asked.
    pub by: String,
    /// The process that runs it.
    pub holder: String,
    /// Where.
    pub environment: Environment,
    /// The namespace that targets default to.
    pub namespace: String,
    /// All namespaces whose lease the run holds.
    pub namespaces: Vec<String>,
    /// The limits that hold, guardrails included, in words for people: `pods: 50%`.
    pub limits: BTreeMap<String, String>,
    /// Where PromQL is answered when a probe does not say; for people.
    pub metrics: String,
    /// How far the API server's clock is ahead of the runner's, in milliseconds.
    pub server_ahead_ms: i64,
    /// How many people have agreed to it, for Guardrails that ask for that.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub approvals: u32,
    /// Who has asked for it, where somebody else runs it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub asked_by: String,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Whether there was anything to judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SampleState {
    /// The expression that guards now is true.
    Within,
    /// It is false.
    Outside,
    /// Nothing to judge.
    Missing,
    /// Recorded only.
    Recorded,
}

/// How an injection went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InjectOutcome {
    /// Applied.
    Done,
    /// The target was gone.
    TargetGone,
    /// Could not be applied.
    Failed,
}

/// How a revert went, verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RevertOutcome {
    /// As it was.
    Restored,
    /// The target is gone.
    TargetGone,
    /// It had never been changed, or is over by nature.
    NothingToDo,
    /// Somebody else has changed it since: left alone, our scar taken away.
    ChangedSince,
    /// It ended by itself.
    ExpiredByItself,
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CheckOutcome {
    /// It held.
    Held,
    /// It did not in time.
    Failed,
    /// There was no data to say.
    NoData,
}

/// Why a method ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopReason {
    /// A probe's violation.
    Violated,
    /// A probe with the role StopCondition.
    StopCondition,
    /// No data.
    NoData,
    /// A failed check.
    CheckFailed,
    /// No effect was seen, no target was found, a limit was in the way.
    NoEffect,
    /// What a fault was to do to the traffic of others met none.
    NoTraffic,
    /// Ctrl-C or SIGTERM.
    Signal,
    /// `firedrill abort`.
    UserAbort,
    /// `limits.duration`.
    DurationExceeded,
    /// The runner was gone: died, or its machine slept.
    RunnerLost,
    /// A target's rollout began that is not ours.
    RolloutNoticed,
    /// A Guardrail's `halt`.
    Halted,
    /// A Guardrail forbids by now what the run does, or its windows have closed.
    GuardrailChanged,
    /// The target's namespace is being deleted.
    NamespaceTerminating,
    /// The ServiceAccount that the run acts as is gone.
    AccountGone,
    /// The Run was deleted.
    Deleted,
    /// The journal could not be written.
    JournalLost,
    /// Something that should not happen.
    Internal,
}

/// What a person says of a manual step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// It is done.
    Confirmed,
    /// It could not be done.
    Failed,
    /// Nobody has said anything in time.
    TimedOut,
}

/// Something that is not back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Residue {
    /// Which application left it.
    pub injection: InjectionId,
    /// On what.
    pub target: ObjectRef,
    /// What, and why it is still there.
    pub what: String,
    /// How to finish by hand.
    pub remedy: String,
}
