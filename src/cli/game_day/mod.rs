//! A game day from here: its experiments in order, what is asked before and between them, one report of it all.

mod asking;
mod ending;
mod playing;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;

use super::{TellArgs, Usage, input::Planned, terminal};
use crate::{
    api::{Act, Entry, Gate, OnFailure},
    controller::calendar::Calendar,
    engine::{Outside, Request},
    env::Env,
    report::{Asked, Chapter, DayFacts},
    types::{ExitCode, Finding, Length, codes::guard as code},
};

/// How long a rehearsal takes a gate or a confirmation to last: as long as a manual step that says nothing else.
const ASSUMED: Duration = Duration::from_secs(300);

/// What is to be held, and until when.
pub(super) struct Outing<'a> {
    pub planned: Planned<'a>,
    pub calendar: &'a Calendar,
    pub seed: u64,
    /// What is known to speak against it, beside its own windows and blackouts.
    pub findings: Vec<Finding>,
    /// The time of its schedule that it is for, in the zone's words; None: by hand.
    pub scheduled: Option<String>,
    /// When the next one takes its place.
    pub replaced: Option<Timestamp>,
}

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

/// What came of it.
pub(super) struct Held {
    pub day: DayFacts,
    pub chapters: Vec<Chapter>,
    pub code: ExitCode,
}

/// Why what is left is not run.
#[derive(Clone, Debug)]
struct End {
    code: ExitCode,
    reason: &'static str,
    message: String,
}

/// A game day under way.
struct Going<'a> {
    outing: &'a Outing<'a>,
    venue: &'a Venue<'a>,
    outside_rx: mpsc::UnboundedReceiver<Outside>,
    by: String,
    started: Timestamp,
    deadline: Timestamp,
    asked: Vec<Asked>,
    chapters: Vec<Chapter>,
    codes: Vec<ExitCode>,
    end: Option<End>,
}

/// What speaks against holding it at that time, whoever holds it.
pub(super) fn closed(planned: &Planned<'_>, calendar: &Calendar, at: Timestamp) -> Option<Finding> {
    let closed = calendar.closed(at)?;
    let subject = format!("gameday/{}", planned.day.metadata.name);
    let remedy = match calendar.hours().opens(at) {
        Some(open) => format!("it is open again {}", calendar.when(open)),
        None => "change its windows or blackouts".to_owned(),
    };
    let message = format!("it may not begin {}: {closed}", calendar.when(at));
    Some(Finding::error(code::CLOSED, subject, message).remedy(remedy))
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
        let remedy =
            "a controller that collects them is not supported yet; run it without approvals, or rehearse it";
        findings.push(Finding::error(code::APPROVALS, &subject, message).remedy(remedy));
    }
    if !spec.notifications.is_empty() {
        let message = "nobody is notified: the command line sends no notices, which is not supported yet";
        findings.push(Finding::warning(code::APPROVALS, &subject, message).remedy("tell them yourself"));
    }
    findings
}

/// Holds a game day. What comes from outside (signals) ends it, and whatever is in force then.
pub(super) async fn hold(
    outing: &Outing<'_>,
    venue: &Venue<'_>,
    outside_rx: mpsc::UnboundedReceiver<Outside>,
) -> anyhow::Result<Held> {
    let started = venue.env.clock.now();
    let longest = SignedDuration::try_from(outing.planned.day.spec.duration()).unwrap_or(SignedDuration::MAX);
    let deadline = started.checked_add(longest).unwrap_or(Timestamp::MAX);
    let by = match &venue.attendance {
        Attendance::Person(by) => by.clone(),
        Attendance::Assumed { .. } => "rehearsal".to_owned(),
    };
    let mut going = Going {
        outing,
        venue,
        outside_rx,
        by,
        started,
        deadline: outing.replaced.map_or(deadline, |at| deadline.min(at)),
        asked: Vec::new(),
        chapters: Vec::new(),
        codes: Vec::new(),
        end: None,
    };
    going.tell(&format!("game day {} begins", outing.planned.day.metadata.name));
    if let Err(end) = going.ready().await? {
        going.end = Some(end);
    }
    let day = outing.planned.day;
    for (entry, act) in day.spec.experiments.iter().zip(&outing.planned.acts.experiments) {
        if going.end.is_none()
            && let Err(end) = going.before(entry).await?
        {
            // A go that was not given is the entry's own; everything else ends the day.
            let goes_on = end.reason == NO_GO && day.spec.on_failure(entry) == OnFailure::Continue;
            going.codes.push(end.code);
            going.skip(act, &end.message);
            going.end = (!goes_on).then_some(end);
            continue;
        }
        match &going.end {
            Some(end) => {
                let why = end.message.clone();
                going.skip(act, &why);
            }
            None => going.experiment(entry, act).await?,
        }
    }
    Ok(going.finish())
}

/// The reason of a go that was not given.
const NO_GO: &str = "NoGo";

impl Going<'_> {
    /// What has to hold before anything begins.
    async fn ready(&mut self) -> anyhow::Result<Result<(), End>> {
        let planned = self.outing.planned;
        let now = self.venue.env.clock.now();
        let mut findings = self.outing.findings.clone();
        findings.extend(closed(&planned, self.outing.calendar, now));
        if !findings.is_empty() {
            let findings = (self.venue.said)(findings);
            let reason = |finding: &Finding| if finding.code == code::CLOSED { "Closed" } else { "Refused" };
            if let Some(first) = findings.iter().find(|finding| finding.is_error()) {
                let (reason, message) = (reason(first), first.message.clone());
                return Ok(Err(End { code: ExitCode::Refused, reason, message }));
            }
        }
        for act in &planned.acts.experiments {
            if let Some(end) = self.refusal(act).await? {
                return Ok(Err(end));
            }
        }
        for prerequisite in &planned.day.spec.prerequisites {
            let what = format!("prerequisite {}", prerequisite.name);
            let steady = planned.acts.prerequisites.iter().find(|(name, _)| *name == prerequisite.name);
            let held = match (steady, &prerequisite.manual) {
                (Some((_, act)), _) => self.steady(&what, act).await?.map(|code| code == ExitCode::Ok),
                (None, Some(manual)) => self.confirmed(&what, &manual.instructions, &manual.runbook).await,
                (None, None) => Ok(true),
            };
            match held {
                Ok(true) => {}
                Ok(false) => {
                    let message = format!("{what} does not hold");
                    return Ok(Err(End { code: ExitCode::Refused, reason: "PrerequisiteFailed", message }));
                }
                Err(end) => return Ok(Err(end)),
            }
        }
        Ok(Ok(()))
    }

    /// What comes before an experiment: a pause, the steady state, a go.
    async fn before(&mut self, entry: &Entry) -> anyhow::Result<Result<(), End>> {
        if !entry.pause_before.is_zero() {
            self.tell(&format!("pause of {} before {}", entry.pause_before, entry.name));
            let until = self.after(entry.pause_before);
            if let Err(end) = self.wait(until).await {
                return Ok(Err(end));
            }
        }
        if let Some(act) = &self.outing.planned.acts.between {
            let what = format!("steady before {}", entry.name);
            match self.steady(&what, act).await? {
                Ok(ExitCode::Ok) => {}
                Ok(code) => {
                    let message = format!("it was not steady before {}", entry.name);
                    return Ok(Err(End { code, reason: "NotSteady", message }));
                }
                Err(end) => return Ok(Err(end)),
            }
        }
        if entry.gate == Gate::Manual {
            let what = format!("gate {}", entry.name);
            let question = format!("Go for {}?", entry.name);
            match self.confirmed(&what, &question, "").await {
                Ok(true) => {}
                Ok(false) => {
                    let message = format!("no go for {}", entry.name);
                    return Ok(Err(End { code: ExitCode::Aborted, reason: NO_GO, message }));
                }
                Err(end) => return Ok(Err(end)),
            }
        }
        Ok(Ok(()))
    }

    async fn experiment(&mut self, entry: &Entry, act: &Act) -> anyhow::Result<()> {
        self.tell(&format!("experiment {}", entry.name));
        let (chapter, code) = match self.play(act, true).await {
            Ok(played) => played,
            Err(error) => {
                let experiment = act.experiment.metadata.name.clone();
                let error = super::in_one_line(&error);
                super::say(&format!("error: {error}"));
                (Chapter::Lost { experiment, error }, ExitCode::Refused)
            }
        };
        self.chapters.push(chapter);
        self.codes.push(code);
        let stops = match code {
            ExitCode::Ok => false,
            ExitCode::Residue | ExitCode::Aborted => true,
            _ => self.outing.planned.day.spec.on_failure(entry) == OnFailure::Stop,
        };
        if stops {
            let message = format!("{} did not pass", entry.name);
            // What is worst speaks for the day: this only says why the rest is skipped.
            self.end = Some(End { code, reason: "", message });
        }
        Ok(())
    }

    fn skip(&mut self, act: &Act, why: &str) {
        let experiment = act.experiment.metadata.name.clone();
        self.chapters.push(Chapter::Skipped { experiment, why: why.to_owned() });
    }

    /// One line for people, with the moment since the day began.
    fn tell(&self, words: &str) {
        if self.venue.attendance == (Attendance::Assumed { quietly: true }) {
            return;
        }
        let ms = self.venue.env.clock.now().duration_since(self.started).as_millis();
        let moment = crate::report::moment(i64::try_from(ms).unwrap_or(0));
        super::say(&format!("== {moment:<7} {}", crate::report::clean(words)));
    }

    fn after(&self, length: Length) -> Timestamp {
        self.venue.env.clock.now().checked_add(length.0).unwrap_or(Timestamp::MAX)
    }
}
