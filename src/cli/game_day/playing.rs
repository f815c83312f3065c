//! The parts of a game day from here: assessed, run, and what they came to.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Attendance, Attended, asking::ended_by};
use crate::{
    api::Act,
    cli::{
        answering,
        by_hand::{self, Asker},
        stderr_style,
        told::{self, Told},
    },
    controller::day::{End, Heard, Part, Played, Question, Venue, refused},
    engine::{self, Assessment, Outside, Request, Start},
    journal::{Asked, StopReason},
    report::Chapter,
    types::{ExitCode, Finding},
};

impl Venue for Attended<'_> {
    type Error = anyhow::Error;

    fn now(&self) -> Timestamp {
        self.venue.env.clock.now()
    }

    fn by(&self) -> String {
        match &self.venue.attendance {
            Attendance::Person(by) => by.clone(),
            Attendance::Assumed { .. } => "rehearsal".to_owned(),
        }
    }

    fn place(&self) -> String {
        self.venue.place.clone()
    }

    fn on_record(&self, _: Part<'_>) -> bool {
        false
    }

    fn tell(&mut self, ms: i64, words: &str) {
        if self.venue.attendance != (Attendance::Assumed { quietly: true }) {
            crate::cli::say(&format!("== {:<7} {}", crate::report::moment(ms), crate::report::clean(words)));
        }
    }

    fn said(&mut self, findings: Vec<Finding>) -> Vec<Finding> {
        (self.venue.said)(findings)
    }

    async fn refuses(&mut self, act: &Act) -> anyhow::Result<bool> {
        let request = (self.venue.request)(act)?;
        let findings = match self.assess(&request).await {
            Ok(assessment) if !assessment.refused() => return Ok(false),
            Ok(assessment) => assessment.plan.findings,
            Err(findings) => findings,
        };
        (self.venue.said)(findings);
        Ok(true)
    }

    async fn play(
        &mut self,
        part: Part<'_>,
        act: &Act,
        (until, late): (Timestamp, &End),
    ) -> anyhow::Result<Played> {
        let mut ended = None;
        let aloud = matches!(part, Part::Entry(_));
        let played = self.run(act, aloud, (until, late, &mut ended)).await;
        let (chapter, code) = match played {
            Ok(played) => played,
            Err(error) if aloud => {
                let experiment = act.experiment.metadata.name.clone();
                let error = crate::cli::in_one_line(&error);
                crate::cli::say(&format!("error: {error}"));
                (Chapter::Lost { experiment, error }, ExitCode::Refused)
            }
            Err(error) => return Err(error),
        };
        Ok(Played { chapter, code, ended })
    }

    async fn wait(&mut self, until: Timestamp) -> anyhow::Result<Option<End>> {
        Ok(self.until(until).await)
    }

    async fn ask(&mut self, question: &Question<'_>, until: Timestamp) -> anyhow::Result<Heard> {
        self.question(question, until).await
    }

    fn answered(&mut self, _: &Asked) -> anyhow::Result<()> {
        Ok(())
    }
}

impl Attended<'_> {
    async fn assess(&self, request: &Request) -> Result<Assessment, Vec<Finding>> {
        let mut assessment = engine::assess(&self.venue.env.clone(), request).await?;
        if matches!(self.venue.attendance, Attendance::Person(_)) {
            assessment.plan.findings.extend(by_hand::unattended(&request.experiment));
            assessment.plan.findings.extend(answering::absent(self.venue.env, request).await);
        }
        Ok(assessment)
    }

    /// Assesses and runs. Time and signals end what is in force, and everything is put back.
    async fn run(
        &mut self,
        act: &Act,
        aloud: bool,
        (until, late, ended): (Timestamp, &End, &mut Option<End>),
    ) -> anyhow::Result<(Chapter, ExitCode)> {
        let env = self.venue.env;
        let request = (self.venue.request)(act)?;
        let name = act.experiment.metadata.name.clone();
        let declined = |by: &str, findings: Vec<Finding>| {
            let findings = (self.venue.said)(findings);
            (refused(&request, by, &findings, env.clock.now()), ExitCode::Refused)
        };
        let assessment = match self.assess(&request).await {
            Ok(assessment) => assessment,
            Err(findings) => return Ok(declined("", findings)),
        };
        if assessment.refused() {
            return Ok(declined(&assessment.by.name.clone(), assessment.plan.findings));
        }
        let aloud = aloud && self.venue.attendance != (Attendance::Assumed { quietly: true });
        let told = aloud.then(|| Told::new(self.venue.tell, &stderr_style()));
        let (outside_tx, experiment_rx) = tokio::sync::mpsc::unbounded_channel();
        let asker = matches!(self.venue.attendance, Attendance::Person(_))
            .then(|| Asker::new(&act.experiment, &assessment.by.name, outside_tx.clone()));
        let start = Start {
            request,
            id: None,
            assessment,
            revert_timeout: self.venue.tell.revert_timeout(),
            outside_rx: experiment_rx,
            outside_tx: outside_tx.clone(),
            observer: Arc::new({
                let told = told.clone();
                move |entry| {
                    told.iter().for_each(|told| told.on(entry));
                    asker.iter().for_each(|asker| asker.on(entry));
                }
            }),
        };
        let mut run = std::pin::pin!(engine::run(env, start));
        let mut too_late = false;
        let outcome = loop {
            tokio::select! {
                biased;
                outcome = &mut run => break outcome,
                Some(outside) = self.outside_rx.recv() => {
                    ended.get_or_insert_with(|| ended_by(&outside));
                    // The run that is over has nothing to stop.
                    let _ = outside_tx.send(outside);
                }
                () = env.clock.sleep_until(until), if !too_late => {
                    too_late = true;
                    let words = late.message.clone();
                    let _ = outside_tx.send(Outside::Stop(StopReason::DurationExceeded, words));
                }
            }
        };
        told.iter().for_each(Told::close);
        told::concluded(outcome, env, &name)
    }
}
