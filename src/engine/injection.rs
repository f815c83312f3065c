//! Where an injection is. Pure.

use jiff::Timestamp;

use crate::{
    faults::{self, Injection, Lifetime},
    journal::{InjectOutcome, RevertOutcome},
};

/// Where an injection is.
#[derive(Clone, Debug)]
pub struct InjectionState {
    /// What it is.
    pub injection: Injection,
    /// Whether it is one that is taken back.
    pub lasting: bool,
    /// Which step it belongs to; None: to none, it arms them.
    pub step: Option<usize>,
    /// Where it stands among all injections.
    pub order: usize,
    /// When it was intended.
    pub intended: Timestamp,
    /// How applying it went.
    pub injected: Option<InjectOutcome>,
    /// Why applying it failed, if it did.
    pub failure: Option<String>,
    /// What tells the pod template that it wrote from others.
    pub wrote: Option<String>,
    /// Whether somebody else has brought the former pod template back.
    pub brought_back: bool,
    /// When its effect was seen.
    pub seen: Option<Timestamp>,
    /// Whether it was not seen in time.
    pub missed: bool,
    /// When and how it was taken back.
    pub reverted: Option<(Timestamp, RevertOutcome)>,
    /// How many packets of others it had met by then, where somebody has counted.
    pub met: Option<u64>,
    /// What the last try to take it back said.
    pub revert_error: Option<String>,
    /// When the last try to take it back failed.
    pub tried: Option<Timestamp>,
}

impl InjectionState {
    /// One that was only intended.
    pub(super) fn new(
        injection: Injection,
        (step, order): (Option<usize>, usize),
        intended: Timestamp,
    ) -> Self {
        Self {
            lasting: lasting(&injection),
            injection,
            step,
            order,
            intended,
            injected: None,
            failure: None,
            wrote: None,
            brought_back: false,
            seen: None,
            missed: false,
            reverted: None,
            met: None,
            revert_error: None,
            tried: None,
        }
    }

    /// Whether it is an agent's, and no fault.
    pub fn arms(&self) -> bool {
        self.step.is_none()
    }

    /// Whether it is still to be taken back, as far as is known: what may have happened counts as having.
    pub fn pending(&self) -> bool {
        self.reverted.is_none() && self.lasting
    }
}

/// Whether the fault of this injection is one that is taken back. One that this version does not know is.
pub fn lasting(injection: &Injection) -> bool {
    faults::of(injection).is_none_or(|fault| fault.info().lifetime == Lifetime::Lasting)
}
