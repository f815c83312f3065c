//! Manual steps at a terminal: what to do is shown, and the answer is read.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use super::terminal::{self, attended};
use crate::{
    api::{Action, Experiment, Manual},
    engine::Outside,
    journal::{Answer, Entry, Record},
    report::clean,
    types::{Finding, codes::guard as code},
};

/// The refusal of an experiment with manual steps where nobody can be asked.
pub(super) fn unattended(experiment: &Experiment) -> Option<Finding> {
    let step = experiment.spec.method.iter().find(|step| matches!(step.action, Action::Manual(_)))?;
    (!attended()).then(|| {
        let message = "it waits for a person, and there is no terminal to ask at";
        Finding::error(code::UNATTENDED, format!("step {}", step.name), message)
            .remedy("run it at a terminal")
    })
}

/// Shows what to do when a manual step begins, and hands on what is typed.
#[derive(Clone, Default)]
pub(super) struct Asker(Arc<Mutex<Asked>>);

#[derive(Default)]
struct Asked {
    steps: Vec<(String, Manual)>,
    waiting: Option<String>,
}

impl Asker {
    /// For the manual steps of `experiment`; answers come through `outside_tx`. Needs a runtime.
    pub(super) fn new(experiment: &Experiment, by: &str, outside_tx: mpsc::UnboundedSender<Outside>) -> Self {
        let manual = experiment.spec.method.iter().filter_map(|step| match &step.action {
            Action::Manual(manual) => Some((step.name.clone(), manual.clone())),
            _ => None,
        });
        let steps: Vec<(String, Manual)> = manual.collect();
        let ask = !steps.is_empty() && attended();
        let asker = Self(Arc::new(Mutex::new(Asked { steps, waiting: None })));
        if ask {
            let (reader, by) = (asker.clone(), by.to_owned());
            tokio::spawn(async move { reader.read(&by, &outside_tx).await });
        }
        asker
    }

    pub(super) fn on(&self, entry: &Entry) {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &entry.record {
            Record::StepStarted { step } => {
                let Some((_, manual)) = asked.steps.iter().find(|(name, _)| name == step) else { return };
                let runbook = manual
                    .runbook
                    .as_ref()
                    .map_or_else(String::new, |link| format!("\n  see {}", clean(link)));
                let text = manual.instructions.lines().map(clean).collect::<Vec<_>>().join("\n  ");
                super::say(&format!(
                    "\n  {text}{runbook}\n\n{step}: type `done`, or `failed` and why; within {}",
                    manual.timeout
                ));
                asked.waiting = Some(step.clone());
            }
            Record::ManualAnswered { .. } | Record::StepSkipped { .. } | Record::StopRequested { .. } => {
                asked.waiting = None;
            }
            _ => {}
        }
    }

    async fn read(&self, by: &str, outside_tx: &mpsc::UnboundedSender<Outside>) {
        let mut typed = terminal::lines();
        while let Some(line) = typed.recv().await {
            let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner).waiting.clone();
            let Some(step) = waiting else { continue };
            let Some((answer, comment)) = understood(&line) else {
                super::say("type `done`, or `failed` and why");
                continue;
            };
            if outside_tx.send(Outside::Answered(step, answer, by.to_owned(), comment)).is_err() {
                return;
            }
        }
    }
}

/// `done`, `failed`, each with words of one's own behind it.
fn understood(line: &str) -> Option<(Answer, String)> {
    let line = line.trim();
    let (word, comment) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let answer = match word.trim_end_matches([',', ':', '.']).to_lowercase().as_str() {
        "done" | "confirm" | "confirmed" | "y" | "yes" => Answer::Confirmed,
        "fail" | "failed" | "n" | "no" => Answer::Failed,
        _ => return None,
    };
    Some((answer, comment.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_words_that_people_type() {
        assert_eq!(understood(" done "), Some((Answer::Confirmed, String::new())));
        assert_eq!(
            understood("Failed: the replica lags"),
            Some((Answer::Failed, "the replica lags".to_owned()))
        );
        assert_eq!((understood(""), understood("wait")), (None, None));
    }
}
