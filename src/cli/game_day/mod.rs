//! A game day from here: on a cluster with whoever sits at the terminal, or rehearsed.

mod asking;
mod playing;

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::{TellArgs, Usage, terminal};
use crate::{
    api::{Act, Gate},
    controller::{
        calendar::Calendar,
        day::{self, closed},
    },
    engine::{Outside, Request},
    env::Env,
    types::{Finding, codes::guard as code},
};

pub(super) use crate::controller::day::{Held, Outing, Planned};

/// How long a rehearsal takes a gate or a confirmation to last: as long as a manual step that says nothing else.
const ASSUMED: Duration = Duration::from_secs(300);

/// Where it is held.
pub(super) struct Venue<'a> {
    pub env: &'a Env,
    /// What running an experiment asks for.
    pub request: &'a dyn Fn(&Act) -> anyhow::Result<Request>,
    /// Where, in words.
    pub place: String,
    /// What to say of findings, and how: remedies differ.
    pub said: &'a dyn Fn(Vec<Finding>) -> Vec<Finding>,
    pub tell: &'a TellArgs,
    pub attendance: Attendance,
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Attendance {
    /// Nobody: it is taken as said, after a while.
    Assumed {
        /// Whether nothing is told but the report.
        quietly: bool,
    },
    /// Whoever sits at the terminal.
    Person(String),
}

/// Everything that speaks against holding it from the command line at that time, its experiments aside.
pub(super) fn against(planned: &Planned<'_>, at: Timestamp) -> anyhow::Result<Vec<Finding>> {
    let calendar = Calendar::new(&planned.day.spec).map_err(Usage)?;
    let mut findings = beyond(planned);
    findings.extend(closed(planned, &calendar, at));
    findings.extend(unattended(planned));
    Ok(findings)
}

/// That it asks somebody, and nobody is there.
pub(super) fn unattended(planned: &Planned<'_>) -> Option<Finding> {
    let spec = &planned.day.spec;
    let prerequisite = spec.prerequisites.iter().find(|one| one.manual.is_some());
    let gate = spec.experiments.iter().find(|entry| entry.gate == Gate::Manual);
    let what = prerequisite
        .map(|one| format!("prerequisite {}", one.name))
        .or_else(|| gate.map(|entry| format!("gate {}", entry.name)))?;
    (!terminal::attended()).then(|| {
        let message = "it waits for a person, and there is no terminal to ask at";
        Finding::error(code::UNATTENDED, what, message).remedy("run it at a terminal")
    })
}

/// What of it the command line cannot do: refused, or said.
pub(super) fn beyond(planned: &Planned<'_>) -> Vec<Finding> {
    let spec = &planned.day.spec;
    let subject = format!("gameday/{}", planned.day.metadata.name);
    let mut findings = Vec::new();
    if spec.approvals.is_some_and(|approvals| approvals.required > 0) {
        let message = "approvals by others are required, and the command line cannot collect them";
        let remedy = "the controller collects them: firedrill run --controller gameday/NAME; or rehearse it";
        findings.push(Finding::error(code::APPROVALS, &subject, message).remedy(remedy));
    }
    if !spec.notifications.is_empty() {
        let message = "nobody is notified: the command line sends no notices, which is not supported yet";
        findings.push(Finding::warning(code::APPROVALS, &subject, message).remedy("tell them yourself"));
    }
    findings
}

/// It, attended from here.
struct Attended<'a> {
    venue: &'a Venue<'a>,
    outside_rx: mpsc::UnboundedReceiver<Outside>,
}

/// Holds a game day. What comes from outside (signals) ends it, and whatever is in force then.
pub(super) async fn hold(
    outing: &Outing<'_>,
    venue: &Venue<'_>,
    outside_rx: mpsc::UnboundedReceiver<Outside>,
) -> anyhow::Result<Held> {
    let started = venue.env.clock.now();
    day::hold(outing, &mut Attended { venue, outside_rx }, (started, false)).await
}
