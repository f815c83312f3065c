//! One experiment of a game day, from its assessment to what it came to.

use std::sync::Arc;

use super::{Attendance, End, Going, asking::ended_by};
use crate::{
    api::Act,
    cli::{
        answering,
        by_hand::{self, Asker},
        stderr_style,
        told::{self, Told},
    },
    engine::{self, Assessment, Outside, Request, Start},
    journal::StopReason,
    report::Chapter,
    types::{ExitCode, Finding},
};

impl Going<'_> {
    /// What speaks against an experiment before the first of them begins: then none does.
    pub(super) async fn refusal(&mut self, act: &Act) -> anyhow::Result<Option<End>> {
        let request = (self.venue.request)(act)?;
        let findings = match self.assess(&request).await {
            Ok(assessment) if !assessment.refused() => return Ok(None),
            Ok(assessment) => assessment.plan.findings,
            Err(findings) => findings,
        };
        (self.venue.said)(findings);
        let message =
            format!("experiment {} is refused, and nothing was changed", act.experiment.metadata.name);
        Ok(Some(End { code: ExitCode::Refused, reason: "ExperimentRefused", message }))
    }

    async fn assess(&self, request: &Request) -> Result<Assessment, Vec<Finding>> {
        let mut assessment = engine::assess(&self.venue.env.clone(), request).await?;
        if matches!(self.venue.attendance, Attendance::Person(_)) {
            assessment.plan.findings.extend(by_hand::unattended(&request.experiment));
            assessment.plan.findings.extend(answering::absent(self.venue.env, request).await);
        }
        Ok(assessment)
    }

    /// Runs an experiment without a method, and writes down whether it is steady: its exit code. Err: the day is over.
    pub(super) async fn steady(&mut self, what: &str, act: &Act) -> anyhow::Result<Result<ExitCode, End>> {
        let begun = self.venue.env.clock.now();
        let (chapter, code) = self.play(act, false).await?;
        let detail = match (code, chapter.run()) {
            (ExitCode::Ok, Some(facts)) => {
                format!("holds: {} (run {})", act.experiment.spec.hypothesis, facts.run)
            }
            (_, Some(facts)) => format!("{} (run {})", facts.outcome.message, facts.run),
            (_, None) => "nothing of it is on record".to_owned(),
        };
        self.answered(what, begun, (code == ExitCode::Ok, detail));
        if let Ok(outside) = self.outside_rx.try_recv() {
            return Ok(Err(ended_by(&outside)));
        }
        if code == ExitCode::Aborted && self.venue.env.clock.now() >= self.deadline {
            return Ok(Err(self.too_long()));
        }
        Ok(Ok(code))
    }

    /// Assesses and runs. Time and signals end what is in force, and everything is put back.
    pub(super) async fn play(&mut self, act: &Act, aloud: bool) -> anyhow::Result<(Chapter, ExitCode)> {
        let env = self.venue.env;
        let request = (self.venue.request)(act)?;
        let name = act.experiment.metadata.name.clone();
        let refused = |by: &str, findings: Vec<Finding>| {
            let findings = (self.venue.said)(findings);
            (told::refused(&request, by, &findings, env.clock.now()), ExitCode::Refused)
        };
        let assessment = match self.assess(&request).await {
            Ok(assessment) => assessment,
            Err(findings) => return Ok(refused("", findings)),
        };
        if assessment.refused() {
            return Ok(refused(&assessment.by.name.clone(), assessment.plan.findings));
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
            revert_timeout: self.venue.tell.revert_timeout.0,
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
        let mut late = false;
        let outcome = loop {
            tokio::select! {
                biased;
                outcome = &mut run => break outcome,
                Some(outside) = self.outside_rx.recv() => {
                    // The run that is over has nothing to stop.
                    let _ = outside_tx.send(outside);
                }
                () = env.clock.sleep_until(self.deadline), if !late => {
                    late = true;
                    let End { message, .. } = self.too_long();
                    let _ = outside_tx.send(Outside::Stop(StopReason::DurationExceeded, message));
                }
            }
        };
        told.iter().for_each(Told::close);
        told::concluded(outcome, env, &name)
    }
}
