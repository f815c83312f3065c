//! The course of a game day, wherever it is held: what has to hold before it, its experiments in order, what is asked
//! between them, and what it comes to. The command line, a rehearsal and the controller are each a [`Venue`].

mod ending;

use std::{collections::BTreeMap, fmt};

use jiff::{SignedDuration, Timestamp};

pub(crate) use ending::Held;

use super::calendar::Calendar;
use crate::{
    api::{Act, Acts, Entry, GATE, GameDay, Gate, OnFailure, PREREQUISITES},
    engine::Request,
    journal::{Asked, Header},
    report::{Chapter, Facts},
    types::{ExitCode, Finding, Length, RunId, codes::guard as code},
};

/// A game day with what it runs.
#[derive(Clone, Copy)]
pub(crate) struct Planned<'a> {
    pub day: &'a GameDay,
    pub acts: &'a Acts,
    pub file: &'a str,
}

/// What is to be held, and until when.
pub(crate) struct Outing<'a> {
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

/// A part of a game day that is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// The steady state of this prerequisite.
    Prerequisite(&'a str),
    /// The steady state before this entry.
    Before(&'a str),
    /// The experiment of this entry.
    Entry(&'a str),
}

impl fmt::Display for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prerequisite(name) => write!(f, "prerequisite {name}"),
            Self::Before(name) => write!(f, "steady before {name}"),
            Self::Entry(name) => f.write_str(name),
        }
    }
}

/// Why what is left is not run.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub code: ExitCode,
    pub reason: &'static str,
    pub message: String,
}

/// What a part came to.
pub(crate) struct Played {
    pub chapter: Chapter,
    pub code: ExitCode,
    /// Somebody ended it, and the day with it.
    pub ended: Option<End>,
}

/// Something that a person is asked.
pub(crate) struct Question<'a> {
    /// What it is about: `gate zone-loss`, `prerequisite on-call-knows`.
    pub what: &'a str,
    /// How an answer names it in a Run: `zone-loss/gate`, `prerequisites/on-call-knows`.
    pub name: String,
    pub words: &'a str,
    pub runbook: &'a str,
}

/// What came of asking.
pub(crate) enum Heard {
    /// Whether it is so, and who says it.
    Answer(bool, String),
    /// What it is about is not to be run, and who says it: what comes after it is.
    Skipped(String),
    /// Nobody has answered until then.
    Nobody,
    /// Somebody ended the day.
    Ended(End),
}

/// Where a game day is held: who runs its parts, who is asked, who is told.
pub(crate) trait Venue {
    /// Why it cannot go on here.
    type Error;

    fn now(&self) -> Timestamp;

    /// Who holds it.
    fn by(&self) -> String;

    /// Where, in words.
    fn place(&self) -> String;

    /// Whether a part is on record from before: then nothing has to hold once more before it.
    fn on_record(&self, part: Part<'_>) -> bool;

    /// One line for people, so many milliseconds after the day began.
    fn tell(&mut self, ms: i64, words: &str);

    /// Shows findings about the day itself.
    fn said(&mut self, findings: Vec<Finding>) -> Vec<Finding>;

    /// Whether something speaks against an experiment before any of them begins; it is shown.
    async fn refuses(&mut self, act: &Act) -> Result<bool, Self::Error>;

    /// Runs a part to its end, or until then, when it is ended for that reason.
    async fn play(
        &mut self,
        part: Part<'_>,
        act: &Act,
        until: (Timestamp, &End),
    ) -> Result<Played, Self::Error>;

    /// Waits until then. Some: somebody ended the day.
    async fn wait(&mut self, until: Timestamp) -> Result<Option<End>, Self::Error>;

    /// Asks a person, until then.
    async fn ask(&mut self, question: &Question<'_>, until: Timestamp) -> Result<Heard, Self::Error>;

    /// Writes down what was found or said.
    fn answered(&mut self, asked: &Asked) -> Result<(), Self::Error>;
}

/// The reason of a go that was not given.
const NO_GO: &str = "NoGo";
/// The reason where somebody has an experiment not run.
const SKIPPED: &str = "ExperimentSkipped";

/// What came of asking for a go, or whether something is so.
enum Said {
    Yes,
    No,
    Skip,
}

/// A game day under way.
struct Going<'a, V> {
    outing: &'a Outing<'a>,
    venue: &'a mut V,
    started: Timestamp,
    deadline: Timestamp,
    asked: Vec<Asked>,
    chapters: Vec<Chapter>,
    codes: Vec<ExitCode>,
    /// Why an experiment was not run, though the day went on.
    not_run: &'static str,
    end: Option<End>,
}

/// What may go on, or why it is over.
type Go<E> = Result<Result<(), End>, E>;

/// When the whole of a game day that began then is over.
pub(crate) fn deadline(day: &GameDay, started: Timestamp) -> Timestamp {
    let longest = SignedDuration::try_from(day.spec.duration()).unwrap_or(SignedDuration::MAX);
    started.checked_add(longest).unwrap_or(Timestamp::MAX)
}

/// What speaks against holding it at that time, whoever holds it.
pub(crate) fn closed(planned: &Planned<'_>, calendar: &Calendar, at: Timestamp) -> Option<Finding> {
    let closed = calendar.closed(at)?;
    let subject = format!("gameday/{}", planned.day.metadata.name);
    let remedy = match calendar.hours().opens(at) {
        Some(open) => format!("it is open again {}", calendar.when(open)),
        None => "change its windows or blackouts".to_owned(),
    };
    let message = format!("it may not begin {}: {closed}", calendar.when(at));
    Some(Finding::error(code::CLOSED, subject, message).remedy(remedy))
}

/// What somebody has answered, in words.
pub(crate) fn answer(holds: bool, by: &str, comment: &str) -> String {
    let word = if holds { "yes" } else { "no" };
    if comment.is_empty() { format!("{word}, {by}") } else { format!("{word}, {by}: {comment}") }
}

/// That somebody has something not run, in words.
pub(crate) fn skipped(by: &str, comment: &str) -> String {
    if comment.is_empty() { format!("skipped, {by}") } else { format!("skipped, {by}: {comment}") }
}

/// The chapter of an experiment that was refused before there was a journal of it.
pub(crate) fn refused(request: &Request, by: &str, findings: &[Finding], at: Timestamp) -> Chapter {
    let header = Header {
        run: RunId::new(&request.experiment.metadata.name, request.seed),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        experiment: request.value.clone(),
        file: request.file.clone(),
        seed: request.seed,
        by: by.to_owned(),
        holder: request.holder.clone(),
        environment: request.environment.clone(),
        namespace: request.namespace.clone(),
        namespaces: Vec::new(),
        limits: BTreeMap::new(),
        metrics: request.source.as_ref().map(ToString::to_string).unwrap_or_default(),
        server_ahead_ms: 0,
        approvals: 0,
        asked_by: String::new(),
    };
    Chapter::Run(Box::new(Facts::refused(header, findings.to_vec(), at)))
}

/// Holds a game day that began then. `resumed`: it goes on where somebody else has left it.
pub(crate) async fn hold<V: Venue>(
    outing: &Outing<'_>,
    venue: &mut V,
    (started, resumed): (Timestamp, bool),
) -> Result<Held, V::Error> {
    let day = outing.planned.day;
    let deadline = deadline(day, started);
    let mut going = Going {
        outing,
        venue,
        started,
        deadline: outing.replaced.map_or(deadline, |at| deadline.min(at)),
        asked: Vec::new(),
        chapters: Vec::new(),
        codes: Vec::new(),
        not_run: NO_GO,
        end: None,
    };
    let word = if resumed { "goes on" } else { "begins" };
    going.tell(&format!("game day {} {word}", day.metadata.name));
    if !(resumed && going.on_record())
        && let Err(end) = going.admitted().await?
    {
        going.end = Some(end);
    }
    if going.end.is_none()
        && let Err(end) = going.ready().await?
    {
        going.end = Some(end);
    }
    for (entry, act) in day.spec.experiments.iter().zip(&outing.planned.acts.experiments) {
        if going.end.is_none()
            && let Err(end) = going.before(entry).await?
        {
            // A go that was not given is the entry's own, and one that is not to be run concerns no other; everything else
            // ends the day.
            let goes_on = match end.reason {
                SKIPPED => true,
                NO_GO => day.spec.on_failure(entry) == OnFailure::Continue,
                _ => false,
            };
            going.codes.push(end.code);
            going.skip(act, &end.message);
            if goes_on {
                going.not_run = end.reason;
            } else {
                going.end = Some(end);
            }
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

impl<V: Venue> Going<'_, V> {
    /// Whether anything of it is on record: whoever began that has looked at what speaks against it.
    fn on_record(&self) -> bool {
        let spec = &self.outing.planned.day.spec;
        let before = spec.prerequisites.iter().map(|one| Part::Prerequisite(&one.name));
        let entries = spec.experiments.iter();
        let parts = entries.flat_map(|entry| [Part::Before(&entry.name), Part::Entry(&entry.name)]);
        before.chain(parts).any(|part| self.venue.on_record(part))
    }

    /// What speaks against it before anything of it is done. It is held from when it began, whoever goes on with it.
    async fn admitted(&mut self) -> Go<V::Error> {
        let planned = self.outing.planned;
        let mut findings = self.outing.findings.clone();
        findings.extend(closed(&planned, self.outing.calendar, self.started));
        if !findings.is_empty() {
            let findings = self.venue.said(findings);
            let reason = |finding: &Finding| if finding.code == code::CLOSED { "Closed" } else { "Refused" };
            if let Some(first) = findings.iter().find(|finding| finding.is_error()) {
                let (reason, message) = (reason(first), first.message.clone());
                return Ok(Err(End { code: ExitCode::Refused, reason, message }));
            }
        }
        for act in &planned.acts.experiments {
            if self.venue.refuses(act).await? {
                let name = &act.experiment.metadata.name;
                let message = format!("experiment {name} is refused, and nothing was changed");
                return Ok(Err(End { code: ExitCode::Refused, reason: "ExperimentRefused", message }));
            }
        }
        Ok(Ok(()))
    }

    /// What has to hold before the first experiment.
    async fn ready(&mut self) -> Go<V::Error> {
        let planned = self.outing.planned;
        let first = planned.day.spec.experiments.first();
        if first.is_some_and(|entry| self.venue.on_record(Part::Entry(&entry.name))) {
            return Ok(Ok(()));
        }
        for prerequisite in &planned.day.spec.prerequisites {
            let part = Part::Prerequisite(&prerequisite.name);
            let what = part.to_string();
            let steady = planned.acts.prerequisites.iter().find(|(name, _)| *name == prerequisite.name);
            let held = match (steady, &prerequisite.manual) {
                (Some((_, act)), _) => self.steady(part, act).await?.map(|code| code == ExitCode::Ok),
                (None, Some(manual)) => {
                    let name = format!("{PREREQUISITES}/{}", prerequisite.name);
                    let (words, runbook) = (manual.instructions.as_str(), manual.runbook.as_str());
                    let said = self.confirmed(&Question { what: &what, name, words, runbook }).await?;
                    said.map(|said| matches!(said, Said::Yes))
                }
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
    async fn before(&mut self, entry: &Entry) -> Go<V::Error> {
        if self.venue.on_record(Part::Entry(&entry.name)) {
            return Ok(Ok(()));
        }
        if !entry.pause_before.is_zero() {
            self.tell(&format!("pause of {} before {}", entry.pause_before, entry.name));
            if let Err(end) = self.wait(entry.pause_before).await? {
                return Ok(Err(end));
            }
        }
        if let Some(act) = &self.outing.planned.acts.between {
            match self.steady(Part::Before(&entry.name), act).await? {
                Ok(ExitCode::Ok) => {}
                Ok(code) => {
                    let message = format!("it was not steady before {}", entry.name);
                    return Ok(Err(End { code, reason: "NotSteady", message }));
                }
                Err(end) => return Ok(Err(end)),
            }
        }
        if entry.gate == Gate::Manual {
            let (what, words) = (format!("gate {}", entry.name), format!("Go for {}?", entry.name));
            let name = format!("{}/{GATE}", entry.name);
            match self.confirmed(&Question { what: &what, name, words: &words, runbook: "" }).await? {
                Ok(Said::Yes) => {}
                Ok(Said::No) => {
                    let message = format!("no go for {}", entry.name);
                    return Ok(Err(End { code: ExitCode::Aborted, reason: NO_GO, message }));
                }
                Ok(Said::Skip) => {
                    let message = format!("{} was skipped", entry.name);
                    return Ok(Err(End { code: ExitCode::Inconclusive, reason: SKIPPED, message }));
                }
                Err(end) => return Ok(Err(end)),
            }
        }
        Ok(Ok(()))
    }

    async fn experiment(&mut self, entry: &Entry, act: &Act) -> Result<(), V::Error> {
        self.tell(&format!("experiment {}", entry.name));
        let late = self.too_long();
        let played = self.venue.play(Part::Entry(&entry.name), act, (self.deadline, &late)).await?;
        let stops = match played.code {
            ExitCode::Ok => false,
            ExitCode::Residue | ExitCode::Aborted => true,
            _ => self.outing.planned.day.spec.on_failure(entry) == OnFailure::Stop,
        };
        self.chapters.push(played.chapter);
        self.codes.push(played.code);
        if let Some(end) = played.ended {
            self.end = Some(end);
        } else if stops {
            let message = format!("{} did not pass", entry.name);
            // What is worst speaks for the day: this only says why the rest is skipped.
            self.end = Some(End { code: played.code, reason: "", message });
        }
        Ok(())
    }

    /// Runs an experiment without a method, and writes down whether it is steady: its exit code. Err: the day is over.
    async fn steady(&mut self, part: Part<'_>, act: &Act) -> Result<Result<ExitCode, End>, V::Error> {
        let begun = self.venue.now();
        let late = self.too_long();
        let Played { chapter, code, ended } = self.venue.play(part, act, (self.deadline, &late)).await?;
        let detail = match (code, chapter.run()) {
            (ExitCode::Ok, Some(facts)) => {
                format!("holds: {} (run {})", act.experiment.spec.hypothesis, facts.run)
            }
            (_, Some(facts)) => format!("{} (run {})", facts.outcome.message, facts.run),
            (_, None) => "nothing of it is on record".to_owned(),
        };
        self.found(&part.to_string(), begun, (code == ExitCode::Ok, detail))?;
        if let Some(end) = ended {
            return Ok(Err(end));
        }
        if code == ExitCode::Aborted && self.venue.now() >= self.deadline {
            return Ok(Err(late));
        }
        Ok(Ok(code))
    }

    /// Waits, but no longer than the day may last.
    async fn wait(&mut self, length: Length) -> Go<V::Error> {
        let until = self.venue.now().checked_add(length.0).unwrap_or(Timestamp::MAX);
        if let Some(end) = self.venue.wait(until.min(self.deadline)).await? {
            return Ok(Err(end));
        }
        Ok(if until > self.deadline { Err(self.too_long()) } else { Ok(()) })
    }

    /// That the day is over, finished or not.
    fn too_long(&self) -> End {
        let (reason, message) = match self.outing.replaced {
            Some(at) if at <= self.deadline => ("Replaced", "the next one takes its place".to_owned()),
            _ => {
                let whole = Length(self.outing.planned.day.spec.duration());
                ("DurationExceeded", format!("the game day has taken all of its limits.duration, {whole}"))
            }
        };
        End { code: ExitCode::Aborted, reason, message }
    }

    /// Asks whether something is so, and writes the answer down.
    async fn confirmed(&mut self, question: &Question<'_>) -> Result<Result<Said, End>, V::Error> {
        let begun = self.venue.now();
        let (said, detail) = match self.venue.ask(question, self.deadline).await? {
            Heard::Answer(true, detail) => (Said::Yes, detail),
            Heard::Answer(false, detail) => (Said::No, detail),
            Heard::Skipped(detail) => (Said::Skip, detail),
            Heard::Nobody => return Ok(Err(self.too_long())),
            Heard::Ended(end) => return Ok(Err(end)),
        };
        self.found(question.what, begun, (matches!(said, Said::Yes), detail))?;
        Ok(Ok(said))
    }

    fn found(
        &mut self,
        what: &str,
        begun: Timestamp,
        (holds, detail): (bool, String),
    ) -> Result<(), V::Error> {
        let at = self.venue.now();
        let took_ms = u64::try_from(at.duration_since(begun).as_millis()).unwrap_or(0);
        self.tell(&format!("{what}: {detail}"));
        let asked = Asked { what: what.to_owned(), at, took_ms, holds, detail };
        self.venue.answered(&asked)?;
        self.asked.push(asked);
        Ok(())
    }

    fn skip(&mut self, act: &Act, why: &str) {
        let experiment = act.experiment.metadata.name.clone();
        self.chapters.push(Chapter::Skipped { experiment, why: why.to_owned() });
    }

    fn tell(&mut self, words: &str) {
        let ms = self.venue.now().duration_since(self.started).as_millis();
        self.venue.tell(i64::try_from(ms).unwrap_or(0), words);
    }
}

#[cfg(test)]
mod tests;
