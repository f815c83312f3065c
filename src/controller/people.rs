//! What people write into a Run while it goes on, as it is told to the engine.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::mpsc;

use crate::{
    api::{Approval, Observation, RunSpec, StepAction, StepAnswer},
    engine::Outside,
    journal::{Answer, Written},
};

/// What people say of steps and of the whole: looked up when it is asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers(Arc<Mutex<Said>>);

#[derive(Debug, Default)]
struct Said {
    /// By `EXPERIMENT/STEP`.
    steps: BTreeMap<String, StepAnswer>,
    approvals: Vec<Approval>,
    notes: Vec<Observation>,
    held: bool,
    /// The generation of the Run that they are of.
    generation: i64,
    /// How often what it waits with has become another thing.
    outdated: u64,
    /// Who says so, in words.
    held_by: String,
}

impl Answers {
    fn lock(&self) -> MutexGuard<'_, Said> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one in; those that are new are handed on.
    fn add(&self, answer: &StepAnswer) -> Option<Outside> {
        let mut said = self.lock();
        if said.steps.contains_key(&answer.name) {
            return None;
        }
        said.steps.insert(answer.name.clone(), answer.clone());
        Some(told(step_of(&answer.name), answer))
    }

    /// What was said under that whole name.
    pub(super) fn named(&self, name: &str) -> Option<StepAnswer> {
        self.lock().steps.get(name).cloned()
    }

    /// What was said of a step; `entry`: of that entry of a game day, and of no other's step of the same name.
    pub(super) fn of(&self, entry: Option<&str>, step: &str) -> Option<Outside> {
        let said = self.lock();
        let answer = said.steps.values().find(|answer| match entry {
            Some(entry) => answer.name == format!("{entry}/{step}"),
            None => step_of(&answer.name) == step,
        });
        answer.map(|answer| told(step, answer))
    }

    /// What was said before a run began and holds for all of it: what is not to begin, and that nothing is. `entry`: it
    /// is that one of a game day.
    pub(super) fn standing(&self, entry: Option<&str>) -> Vec<Outside> {
        let said = self.lock();
        let held = said.held.then(|| Outside::Hold(true, said.held_by.clone()));
        let skips = said.steps.values().filter(|answer| answer.action == StepAction::Skip);
        let own = skips.filter_map(|answer| {
            let step = match entry {
                Some(entry) => answer.name.strip_prefix(entry)?.strip_prefix('/')?,
                None => step_of(&answer.name),
            };
            Some(told(step, answer))
        });
        held.into_iter().chain(own).collect()
    }

    /// The Run was seen at that generation.
    pub(super) fn seen(&self, generation: i64) {
        self.lock().generation = generation;
    }

    /// The generation at which the Run was seen last; 0: it was not.
    pub(super) fn generation(&self) -> i64 {
        self.lock().generation
    }

    /// What is agreed to may be another thing now: files, Guardrails.
    pub(super) fn outdate(&self) {
        self.lock().outdated += 1;
    }

    /// How often that was so: what was read before is to be read once more when it is another number.
    pub(super) fn outdated(&self) -> u64 {
        self.lock().outdated
    }

    /// Whether nothing new is to begin.
    pub(super) fn held(&self) -> bool {
        self.lock().held
    }

    /// What people have observed so far: whoever begins, or takes over, writes down what is not on record yet.
    pub(super) fn notes(&self) -> Vec<Outside> {
        self.lock().notes.iter().map(noted).collect()
    }

    /// Who has agreed so far.
    pub(super) fn approvals(&self) -> Vec<Approval> {
        self.lock().approvals.clone()
    }
}

fn step_of(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, step)| step)
}

fn noted(note: &Observation) -> Outside {
    Outside::Noted(note.in_words(), Written { by: note.by.clone(), time: note.time })
}

fn told(step: &str, answer: &StepAnswer) -> Outside {
    let (step, by, comment) = (step.to_owned(), answer.by.clone(), answer.comment.clone());
    match answer.action {
        StepAction::Confirm => Outside::Answered(step, Answer::Confirmed, by, comment),
        StepAction::Fail => Outside::Answered(step, Answer::Failed, by, comment),
        StepAction::Skip => Outside::Skipped(step, by, comment),
    }
}

/// What of a Run's spec has been handed on.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    held: bool,
    notes: usize,
}

impl Heard {
    /// What is new in `spec`; `held`: who has changed `spec.hold` last, in words.
    pub(super) fn news(&mut self, spec: &RunSpec, held: &str, answers: &Answers) -> Vec<Outside> {
        let mut news = Vec::new();
        {
            let mut said = answers.lock();
            said.approvals.clone_from(&spec.approvals);
            said.notes.clone_from(&spec.notes);
            said.held = spec.hold;
            held.clone_into(&mut said.held_by);
        }
        if spec.hold != self.held {
            self.held = spec.hold;
            news.push(Outside::Hold(spec.hold, held.to_owned()));
        }
        news.extend(spec.notes.iter().skip(self.notes).map(noted));
        self.notes = self.notes.max(spec.notes.len());
        news.extend(spec.steps.iter().filter_map(|answer| answers.add(answer)));
        news
    }
}

/// Hands on what people observe while it is put back: nothing else that they say changes anything then.
pub(super) async fn observe(
    outside: &mut mpsc::UnboundedReceiver<Outside>,
    tx: &mpsc::UnboundedSender<Outside>,
) -> Infallible {
    while let Some(said) = outside.recv().await {
        if matches!(said, Outside::Noted(..)) {
            let _ = tx.send(said);
        }
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::api::Observation;

    #[test]
    fn what_is_written_is_handed_on_once() {
        let (mut heard, answers) = (Heard::default(), Answers::default());
        let mut spec = RunSpec::default();
        assert_eq!(heard.news(&spec, "ada", &answers), []);
        let time = Timestamp::UNIX_EPOCH;
        spec.hold = true;
        spec.notes.push(Observation {
            by: "ada".to_owned(),
            time,
            text: "the queue is long".to_owned(),
            action: None,
        });
        let answer = |name: &str, action| StepAnswer {
            name: name.to_owned(),
            action,
            by: "bob".to_owned(),
            time,
            comment: "go".to_owned(),
        };
        spec.steps.push(answer("drill/promote", StepAction::Confirm));
        let told = heard.news(&spec, "ada", &answers);
        let confirmed =
            Outside::Answered("promote".to_owned(), Answer::Confirmed, "bob".to_owned(), "go".to_owned());
        let note =
            Outside::Noted("ada: the queue is long".to_owned(), Written { by: "ada".to_owned(), time });
        assert_eq!(told[1..], [note.clone(), confirmed]);
        assert_eq!(answers.notes(), [note]);
        assert_eq!(told[0], Outside::Hold(true, "ada".to_owned()));
        assert_eq!(heard.news(&spec, "ada", &answers), []);
        spec.hold = false;
        spec.steps.push(answer("drill/late", StepAction::Skip));
        let told = heard.news(&spec, "ada", &answers);
        assert!(matches!(&told[0], Outside::Hold(false, _)));
        assert_eq!(told[1], Outside::Skipped("late".to_owned(), "bob".to_owned(), "go".to_owned()));
        assert_eq!(answers.standing(Some("drill")), told[1..]);
        assert_eq!(answers.standing(None), told[1..]);
        assert_eq!(answers.standing(Some("dri")), []);
        spec.hold = true;
        heard.news(&spec, "ada", &answers);
        assert!(answers.held() && matches!(answers.standing(None)[0], Outside::Hold(true, _)));
    }
}
