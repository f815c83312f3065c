//! The cluster as the place where a game day is held: each part with a journal of its own, people answer in the Run.

use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use super::{
    Book, PartTold, account,
    guarded::{Forbidden, Guarded},
    part_of,
    telling::part_over,
};
use crate::{
    api::{Act, Acts, GameDay, NoticeEvent, StepAction, account_of},
    controller::{
        begin,
        day::{End, Heard, Part, Played, Question, Venue, answer, refused, skipped},
        going_on::{go_on, goes_on},
        notices::Notice,
        reconcile::Record as OnRecord,
        request,
        seen::part_id,
        work::{Case, WorkError, on_record, put_back},
    },
    engine::{Outside, Request},
    journal::{self, Asked, DayHeader, DayRecord, Entry, Record, StopReason},
    report::{Chapter, Facts},
    types::{ExitCode, Finding},
};

/// How often it is looked whether somebody has answered.
const LOOK: Duration = Duration::from_secs(1);

/// A game day in the cluster.
pub(super) struct InCluster<'a> {
    case: &'a mut Case,
    book: Book,
    header: &'a DayHeader,
    guarded: Guarded,
    /// The account that the Run or the GameDay names; None: each experiment's own.
    account: Option<String>,
    dead_pod: Option<Instant>,
    /// No new part is to begin.
    held: bool,
    /// When the whole of it is over, held or not.
    deadline: Timestamp,
}

impl<'a> InCluster<'a> {
    pub(super) fn new(
        case: &'a mut Case,
        book: Book,
        (header, day, acts): (&'a DayHeader, &GameDay, &Acts),
        (deadline, dead_pod): (Timestamp, Option<Instant>),
    ) -> Self {
        let spec = case.told.as_ref().and_then(|(run, _)| run.spec.as_ref().ok());
        let own = spec.cloned().unwrap_or_default();
        let account = account(&own, day).map(str::to_owned);
        let held = case.answers.held();
        // What was said while it waited was told by nobody.
        case.tell(|progress| progress.day_held(held));
        let entries = day.spec.experiments.iter().zip(&acts.experiments);
        let entries = entries.map(|(entry, act)| (entry.name.clone(), act.experiment.spec.clone()));
        let agreed = (case.object.namespace.as_str(), header.approvals.len());
        let guarded = Guarded::new(&case.context.access, entries.collect(), agreed);
        Self { case, book, header, guarded, account, dead_pod, held, deadline }
    }

    /// What was written so far, to be gone on with.
    pub(super) fn close(self) -> Book {
        self.book
    }

    fn request(&self, act: &Act) -> Request {
        let namespace = &self.case.object.namespace;
        let mut request = request::of(&self.case.context, namespace, act, self.header.seed);
        request.consent.approvals = u32::try_from(self.header.approvals.len()).unwrap_or(u32::MAX);
        request.asked_by.clone_from(&self.header.by);
        request
    }

    fn account(&self, act: &Act) -> String {
        self.account.clone().unwrap_or_else(|| account_of(&act.json).to_owned())
    }

    /// Why what is still to come of it may not be, of what Guardrails forbid; `part`: it is among that.
    fn forbidden(&self, forbidden: Forbidden, part: &str) -> Option<End> {
        let to_come = |entry: &str| entry == part || !self.book.has_begun(entry);
        forbidden.any(to_come).map(|(reason, by)| ended(reason, &by))
    }

    /// Shows at once what is known.
    fn show(&self) -> impl Future<Output = ()> + Send + use<> {
        let (told, now, id) = (self.case.told.clone(), self.now(), self.case.id.clone());
        async move {
            if let Some((_, writer)) = &told
                && let Err(error) = writer.write(now).await
            {
                tracing::warn!(run = %id, %error, "the status could not be written; the next change does it");
            }
        }
    }

    /// What comes from outside while nothing of it is in force.
    fn take(&mut self, said: Outside) -> Result<Option<End>, WorkError> {
        match said {
            // This replica ends, or owns nothing any more: another one goes on with it.
            Outside::Stop(StopReason::Signal, _) | Outside::Lost(_) => return Err(WorkError::Taken),
            Outside::Stop(reason, by) => return Ok(Some(ended(reason, &by))),
            Outside::Hold(held, _) => {
                self.held = held;
                self.case.tell(|progress| progress.day_held(held));
            }
            said @ Outside::Noted(..) => self.book.note(self.now(), vec![said])?,
            _ => {}
        }
        Ok(None)
    }

    /// Runs a part that has not begun yet, or goes on with it. Some: why it does not begin.
    async fn run(
        &mut self,
        own: &mut Case,
        (act, until, late): (&Act, Timestamp, &End),
        end: &mut Option<End>,
    ) -> Result<Option<Vec<Finding>>, WorkError> {
        let (request, account) = (self.request(act), self.account(act));
        let (tx, entry) = (own.outside.0.clone(), own.entry.clone());
        let clock = self.case.context.env.clock.clone();
        let (begun, dead_pod) = (on_record(&own.entries) == OnRecord::Open, self.dead_pod);
        // On the heap: a game day is deep enough without the engine.
        let mut run: BoxFuture<'_, _> = if begun {
            Box::pin(async move { go_on(own, dead_pod).await.map(|()| None) })
        } else {
            Box::pin(begin::play(own, request, (&account, until)))
        };
        let mut too_late = false;
        loop {
            tokio::select! {
                biased;
                done = &mut run => return Ok(done?.map(|(_, findings)| findings)),
                Some(said) = self.case.outside.1.recv() => {
                    match &said {
                        // It is about the day: the part's own journal has none.
                        Outside::Noted(..) => {
                            self.book.note(clock.now(), vec![said])?;
                            continue;
                        }
                        Outside::Stop(reason, by) => *end = Some(ended(*reason, by)),
                        Outside::Hold(held, _) => self.held = *held,
                        _ => {}
                    }
                    // An answer is for the part whose step it names.
                    let said = match said {
                        Outside::Answered(step, ..) | Outside::Skipped(step, ..) => {
                            self.case.answers.of(entry.as_deref(), &step)
                        }
                        said => Some(said),
                    };
                    // One that is over has nothing to hear.
                    said.into_iter().for_each(|said| drop(tx.send(said)));
                }
                forbidden = self.guarded.next() => {
                    let to_come = |entry: &str| !self.book.has_begun(entry);
                    if let Some((reason, by)) = forbidden.any(to_come) {
                        end.get_or_insert_with(|| ended(reason, &by));
                        // An experiment looks for itself: what is still to come may be forbidden, and it not.
                        if entry.is_none() {
                            let _ = tx.send(Outside::Stop(reason, by));
                        }
                    }
                }
                () = clock.sleep_until(until), if !too_late => {
                    too_late = true;
                    let _ = tx.send(Outside::Stop(StopReason::DurationExceeded, late.message.clone()));
                }
            }
        }
    }

    /// What a part that did not begin came to.
    fn refused(&self, act: &Act, findings: &[Finding]) -> Played {
        let chapter = refused(&self.request(act), &self.header.by, findings, self.now());
        Played { chapter, code: ExitCode::Refused, ended: None }
    }

    /// Brings a part to its end, whatever there is of it: its records, and why it did not begin.
    async fn brought(
        &mut self,
        own: &mut Case,
        what: (&Act, Timestamp, &End),
        end: &mut Option<End>,
    ) -> Result<(Vec<Entry>, Option<Vec<Finding>>), WorkError> {
        let mut findings = None;
        match on_record(&own.entries) {
            OnRecord::Whole => return Ok((own.entries.clone(), None)),
            OnRecord::Open if !goes_on(own) => Box::pin(put_back(own, self.dead_pod)).await?,
            OnRecord::Open | OnRecord::None => findings = self.run(own, what, end).await?,
        }
        if !own.segments.flushed().await {
            return Err(WorkError::Taken);
        }
        let entries = match findings {
            None => journal::read(&own.segments, &own.id)?,
            Some(_) => Vec::new(),
        };
        Ok((entries, findings))
    }
}

impl Venue for InCluster<'_> {
    type Error = WorkError;

    fn now(&self) -> Timestamp {
        self.case.context.env.clock.now()
    }

    fn by(&self) -> String {
        self.header.by.clone()
    }

    fn place(&self) -> String {
        format!("cluster {}", self.header.environment.cluster)
    }

    fn on_record(&self, part: Part<'_>) -> bool {
        self.book.has_begun(&part.to_string())
    }

    fn tell(&mut self, _: i64, words: &str) {
        tracing::info!(run = %self.case.id, "{words}");
        self.case.tell(|progress| progress.wait(words.to_owned()));
    }

    fn said(&mut self, findings: Vec<Finding>) -> Vec<Finding> {
        self.case.tell(|progress| progress.finds(&findings));
        findings
    }

    async fn refuses(&mut self, act: &Act) -> Result<bool, WorkError> {
        let findings = begin::against(self.case, &self.request(act), &self.account(act)).await?;
        let refuses = findings.iter().any(Finding::is_error);
        if refuses {
            self.said(findings);
        }
        Ok(refuses)
    }

    async fn play(
        &mut self,
        part: Part<'_>,
        act: &Act,
        (until, late): (Timestamp, &End),
    ) -> Result<Played, WorkError> {
        let name = part.to_string();
        let entry = match part {
            Part::Entry(name) => Some(name.to_owned()),
            _ => None,
        };
        if let Some(findings) = self.book.refusal(&name) {
            return Ok(self.refused(act, &findings));
        }
        let mut own = part_of(self.case, part_id(&self.case.object, &name), entry).await?;
        let before = on_record(&own.entries);
        let known = self.guarded.known().and_then(|forbidden| self.forbidden(forbidden, &name));
        let end = match own.entries.is_empty() {
            true if known.is_none() && self.held => self.wait(self.now()).await?,
            true => known,
            // What it has in force is put back, whoever forbids it.
            false => None,
        };
        if let Some(end) = end {
            let chapter = Chapter::Skipped {
                experiment: act.experiment.metadata.name.clone(),
                why: end.message.clone(),
            };
            return Ok(Played { chapter, code: end.code, ended: Some(end) });
        }
        if !self.book.has_begun(&name) {
            self.book.write(self.now(), DayRecord::Playing { part: name.clone(), run: own.id.clone() })?;
            // Whoever takes over finds what it has in force by this.
            if !self.case.segments.flushed().await {
                return Err(WorkError::Taken);
            }
        }
        own.tell(|progress| progress.turn(&name, &own.entries));
        own.part = self.case.notices.as_ref().map(|notices| PartTold::new(notices, &name, act));
        let metrics = self.case.context.settings.metrics.clone();
        let _working = metrics.working(&own.id);
        metrics.replay(&own.id, &own.entries);
        let mut end = None;
        let (entries, findings) = self.brought(&mut own, (act, until, late), &mut end).await?;
        if let Some(findings) = findings {
            if end.is_none() {
                let forbidden = self.guarded.now().await;
                end = self.forbidden(forbidden, &name);
            }
            let played = Played { ended: end, ..self.refused(act, &findings) };
            self.book.write(self.now(), DayRecord::Refused { part: name, findings })?;
            return Ok(played);
        }
        let experiment = act.experiment.metadata.name.clone();
        let chapter = Facts::from_entries(&entries).map_or_else(
            |error| Chapter::Lost { experiment, error: error.to_string() },
            |facts| Chapter::Run(Box::new(facts)),
        );
        if let (Some(notices), Some(facts)) = (&self.case.notices, chapter.run())
            && before != OnRecord::Whole
        {
            part_over(notices, &name, facts);
        }
        Ok(Played { chapter, code: came_to(&entries), ended: end })
    }

    async fn wait(&mut self, until: Timestamp) -> Result<Option<End>, WorkError> {
        self.show().await;
        let clock = self.case.context.env.clock.clone();
        loop {
            tokio::select! {
                biased;
                Some(said) = self.case.outside.1.recv() => {
                    if let Some(end) = self.take(said)? {
                        return Ok(Some(end));
                    }
                    self.show().await;
                }
                forbidden = self.guarded.next() => {
                    if let Some(end) = self.forbidden(forbidden, "") {
                        return Ok(Some(end));
                    }
                }
                () = clock.sleep_until(until), if !self.held => return Ok(None),
                () = clock.sleep_until(self.deadline), if self.held => {
                    let message = "it was held until its limits.duration was over".to_owned();
                    return Ok(Some(End { code: ExitCode::Aborted, reason: "DurationExceeded", message }));
                }
            }
        }
    }

    async fn ask(&mut self, question: &Question<'_>, until: Timestamp) -> Result<Heard, WorkError> {
        let words = match question.runbook {
            "" => question.words.to_owned(),
            runbook => format!("{} (see {runbook})", question.words),
        };
        if let Some(notices) = &self.case.notices {
            let (experiment, step) = question.name.split_once('/').unwrap_or(("", &question.name));
            notices.tell(Notice {
                experiment: experiment.to_owned(),
                step: step.to_owned(),
                ..Notice::new(NoticeEvent::ManualStep, words.clone())
            });
        }
        self.case.tell(|progress| progress.asks_people(&question.name, words.clone()));
        self.show().await;
        loop {
            // Looked at first: a go that was given meanwhile is none.
            if let Some(forbidden) = self.guarded.known()
                && let Some(end) = self.forbidden(forbidden, "")
            {
                return Ok(Heard::Ended(end));
            }
            if let Some(said) = self.case.answers.named(&question.name) {
                let holds = said.action == StepAction::Confirm;
                return Ok(match said.action {
                    StepAction::Skip => Heard::Skipped(skipped(&said.by, said.comment.trim())),
                    _ => Heard::Answer(holds, answer(holds, &said.by, said.comment.trim())),
                });
            }
            if self.now() >= until {
                return Ok(Heard::Nobody);
            }
            tokio::select! {
                biased;
                Some(said) = self.case.outside.1.recv() => {
                    if let Some(end) = self.take(said)? {
                        return Ok(Heard::Ended(end));
                    }
                    self.show().await;
                }
                forbidden = self.guarded.next() => {
                    if let Some(end) = self.forbidden(forbidden, "") {
                        return Ok(Heard::Ended(end));
                    }
                }
                () = sleep(LOOK) => {}
            }
        }
    }

    fn answered(&mut self, asked: &Asked) -> Result<(), WorkError> {
        if self.book.has_asked(&asked.what) {
            return Ok(());
        }
        self.book.write(asked.at, DayRecord::Asked { asked: asked.clone() })
    }
}

/// What somebody has ended it for.
fn ended(reason: StopReason, by: &str) -> End {
    let reason = match reason {
        StopReason::UserAbort => "UserAbort",
        StopReason::Deleted => "Deleted",
        StopReason::Signal => "Signal",
        StopReason::Halted => "Halted",
        StopReason::GuardrailChanged => "GuardrailChanged",
        _ => "Stopped",
    };
    End { code: ExitCode::Aborted, reason, message: format!("ended by {by}") }
}

/// What a run alone would exit with.
fn came_to(entries: &[Entry]) -> ExitCode {
    let finished = entries.iter().rev().find_map(|entry| match &entry.record {
        Record::Finished { verdict, residue, .. } => Some(ExitCode::of(*verdict, !residue.is_empty())),
        _ => None,
    });
    finished.unwrap_or(ExitCode::Inconclusive)
}
