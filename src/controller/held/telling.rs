//! What people are told of a game day: notices, and what was to be done since the last one.

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::account;
use crate::{
    api::{API_VERSION, Act, Action, GameDay, NoticeEvent, OpenAction, account_of, open_actions},
    cluster::account_uid,
    controller::{
        Context,
        notices::{About, Notice, Notices, Outcome},
        seen::RunSeen,
        work::Case,
    },
    journal::{Asked, Entry, Record},
    report::{DayEntry, DayFacts, Facts},
    types::{ObjectRef, Verdict},
};

/// A revert that has failed so often is told of.
const STUCK_AFTER: u32 = 5;

/// Begins to tell of a game day, on `on` (its Run, or the GameDay before there is one). None: nobody is to be told, or
/// nobody's Secrets can be read.
pub(in crate::controller) async fn notices(
    context: &Context,
    on: &ObjectRef,
    (day, account): (&GameDay, Option<&str>),
) -> Option<Notices> {
    if day.spec.notifications.is_empty() {
        return None;
    }
    let account = account.unwrap_or(account_of(&serde_json::Value::Null)).to_owned();
    let account_uid = match account_uid(&context.access, &on.namespace, &account).await {
        Ok(Some(uid)) => uid,
        Ok(None) => {
            tracing::warn!(
                namespace = on.namespace,
                account,
                "nobody is told: there is no such ServiceAccount"
            );
            return None;
        }
        Err(error) => {
            tracing::warn!(namespace = on.namespace, account, %error, "nobody is told");
            return None;
        }
    };
    let about = About {
        on: on.clone(),
        game_day: day.metadata.name.clone(),
        cluster: context.settings.environment.cluster.clone(),
        people: day.spec.people.clone(),
        account,
        account_uid,
    };
    Some(Notices::new(&context.env, about, &day.spec.notifications))
}

/// Tells whoever is told of a game day that it does not begin, and why: a day that is not held is news.
pub(in crate::controller) async fn tell_declined(
    case: &mut Case,
    (verdict, reason, message): (Verdict, &str, &str),
) {
    if case.notices.is_none() {
        case.notices = unread(case).await;
    }
    let Some(notices) = &case.notices else { return };
    let over = Notice {
        verdict: Some(verdict),
        reason: reason.to_owned(),
        ..Notice::new(NoticeEvent::Finished, message)
    };
    if verdict == Verdict::Aborted {
        notices.tell(Notice { event: NoticeEvent::Aborted, ..over.clone() });
    }
    notices.tell(over);
    notices.close().await;
}

/// Whoever is told of a game day that was not read, or could not be: as far as the GameDay itself says so.
async fn unread(case: &Case) -> Option<Notices> {
    let spec = case.told.as_ref()?.0.spec.as_ref().ok()?.clone();
    let name = &spec.game_day_ref.as_ref()?.name;
    let object = ObjectRef::namespaced(API_VERSION, "GameDay", &case.object.namespace, name);
    let found = case.context.access.get(&object).await.ok()?;
    let metadata = json!({"name": name, "namespace": object.namespace});
    let day = GameDay::from_value(&json!({"metadata": metadata, "spec": found.data.get("spec")?})).ok()?;
    notices(&case.context, &case.object, (&day, account(&spec, &day))).await
}

/// Tells of what is written down about a part of a game day.
#[derive(Clone)]
pub(in crate::controller) struct PartTold {
    notices: Notices,
    part: String,
    /// The steps that wait for people.
    manual: Arc<BTreeSet<String>>,
}

impl PartTold {
    pub(super) fn new(notices: &Notices, part: &str, act: &Act) -> Self {
        let steps = act.experiment.spec.method.iter();
        let manual = steps.filter(|step| matches!(step.action, Action::Manual(_)));
        Self {
            notices: notices.clone(),
            part: part.to_owned(),
            manual: Arc::new(manual.map(|step| step.name.clone()).collect()),
        }
    }

    /// Of a part that is only put back: no step of it begins any more.
    pub(super) fn back(notices: &Notices, part: &str) -> Self {
        Self { notices: notices.clone(), part: part.to_owned(), manual: Arc::default() }
    }

    /// Takes in one more record.
    pub(in crate::controller) fn on(&self, entry: &Entry) {
        let (event, message, step) = match &entry.record {
            Record::Violated { probe, .. } => {
                (NoticeEvent::Violated, format!("{probe} is outside what the hypothesis allows"), "")
            }
            Record::StepStarted { step } if self.manual.contains(step) => {
                (NoticeEvent::ManualStep, format!("step {step} waits for a person"), step.as_str())
            }
            Record::RevertFailed { injection, error, attempt, .. } if *attempt == STUCK_AFTER => (
                NoticeEvent::Stuck,
                format!("{injection} cannot be put back, and is tried again: {error}"),
                "",
            ),
            _ => return,
        };
        self.notices.tell(Notice {
            experiment: self.part.clone(),
            step: step.to_owned(),
            time: Some(entry.at),
            ..Notice::new(event, message)
        });
    }
}

/// Tells that an experiment is over; what is only judged before or between them is none.
pub(super) fn part_over(notices: &Notices, part: &str, facts: &Facts) {
    // `prerequisite NAME`, `steady before ENTRY`: no entry has a blank in its name.
    if part.contains(' ') {
        return;
    }
    notices.tell(Notice {
        experiment: part.to_owned(),
        verdict: facts.outcome.verdict,
        reason: facts.outcome.reason.clone(),
        ..Notice::new(NoticeEvent::ExperimentFinished, facts.outcome.message.clone())
    });
}

/// Tells that the game day is over.
pub(super) fn over(notices: &Notices, facts: &DayFacts) {
    let line = |entry: &DayEntry| Outcome {
        name: entry.name.clone(),
        verdict: entry.verdict.clone(),
        reason: entry.reason.clone(),
    };
    let over = Notice {
        verdict: Some(facts.verdict),
        reason: facts.reason.clone(),
        experiments: facts.experiments.iter().map(line).collect(),
        ..Notice::new(NoticeEvent::Finished, facts.message.clone())
    };
    if facts.verdict == Verdict::Aborted {
        notices.tell(Notice { event: NoticeEvent::Aborted, ..over.clone() });
    }
    notices.tell(over);
}

/// What earlier Runs of the same game day have left to be done, each as something to be seen again: also those that are
/// gone, as the `status` of the GameDay says.
pub(super) fn still_open((status, own): (&Value, &str), earlier: &[RunSeen], now: Timestamp) -> Vec<Asked> {
    let carried = OpenAction::carried(status).into_iter().filter(|open| open.run != own).collect();
    let specs = earlier.iter().filter_map(|run| Some((run.object.name.as_str(), run.spec.as_ref().ok()?)));
    let told = open_actions(carried, specs).into_iter().map(|open| {
        let due = open.due.map_or(String::new(), |due| format!(", due {due}"));
        let detail = format!("{} ({}{due}), noted in {}", open.text, open.owner, open.run);
        Asked { what: "action item".to_owned(), at: now, took_ms: 0, holds: true, detail }
    });
    told.collect()
}
