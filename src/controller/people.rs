//! What people write into a Run while it goes on, as it is told to the engine.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    api::{RunSpec, StepAction, StepAnswer},
    engine::Outside,
    journal::Answer,
};

/// What people say of steps, by step: asked for when the step begins.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers(Arc<Mutex<BTreeMap<String, StepAnswer>>>);

impl Answers {
    /// Takes one in; those that are new are handed on.
    fn add(&self, answer: &StepAnswer) -> Option<Outside> {
        let step = answer.name.rsplit_once('/').map_or(answer.name.as_str(), |(_, step)| step).to_owned();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.contains_key(&step) {
            return None;
        }
        all.insert(step.clone(), answer.clone());
        Some(told(&step, answer))
    }

    /// What was said of `step` before it began.
    pub(super) fn of(&self, step: &str) -> Option<Outside> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(step).filter(|answer| answer.action != StepAction::Skip).map(|answer| told(step, answer))
    }
}

fn told(step: &str, answer: &StepAnswer) -> Outside {
    let answered = match answer.action {
        StepAction::Confirm => Answer::Confirmed,
        StepAction::Fail => Answer::Failed,
        StepAction::Skip => {
            return Outside::Noted(format!("{} asked to skip {step}: not supported yet", answer.by));
        }
    };
    Outside::Answered(step.to_owned(), answered, answer.by.clone(), answer.comment.clone())
}

/// What of a Run's spec has been handed on.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    held: bool,
    notes: usize,
}

impl Heard {
    /// What is new in `spec`.
    pub(super) fn news(&mut self, spec: &RunSpec, answers: &Answers) -> Vec<Outside> {
        let mut news = Vec::new();
        if spec.hold != self.held {
            self.held = spec.hold;
            news.push(Outside::Hold(spec.hold, format!("spec.hold is {}", spec.hold)));
        }
        for note in spec.notes.iter().skip(self.notes) {
            news.push(Outside::Noted(note.in_words()));
        }
        self.notes = self.notes.max(spec.notes.len());
        news.extend(spec.steps.iter().filter_map(|answer| answers.add(answer)));
        news
    }
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
        assert_eq!(heard.news(&spec, &answers), []);
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
        let told = heard.news(&spec, &answers);
        let confirmed =
            Outside::Answered("promote".to_owned(), Answer::Confirmed, "bob".to_owned(), "go".to_owned());
        assert_eq!(told[1..], [Outside::Noted("ada: the queue is long".to_owned()), confirmed]);
        assert!(matches!(told[0], Outside::Hold(true, _)));
        assert_eq!(heard.news(&spec, &answers), []);
        spec.hold = false;
        spec.steps.push(answer("drill/late", StepAction::Skip));
        let told = heard.news(&spec, &answers);
        assert!(matches!(&told[0], Outside::Hold(false, _)));
        assert!(matches!(&told[1], Outside::Noted(text) if text.contains("not supported yet")), "{told:?}");
    }
}
