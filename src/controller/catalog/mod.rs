//! What may be run: Experiments and GameDays as the API server has them, whether they are ready, and what their
//! schedules ask for. Pure but for what it is told; `serve` has it done.

mod last;
mod rules;
mod schedule;
mod told;

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use kube::api::DynamicObject;
use serde_json::Value;

use self::{last::last_runs, rules::Rulebook};
use super::{calendar::Calendar, metrics::Metrics, request::text, seen::RunSeen};
use crate::{
    api::{
        self, API_VERSION, GameDay, SourceText,
        check::{Document, Given},
    },
    cluster::{Access, Change, follow},
    plan,
    types::{Finding, ObjectRef, RunId},
};

/// So many times that are to come are looked through for one that is held.
const LOOKED_THROUGH: usize = 400;
/// How long it is waited before a Run that could not be made is tried again.
const TRIED_AGAIN: jiff::SignedDuration = jiff::SignedDuration::from_secs(10);

/// Something to be done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Deed {
    /// A Run is made of that, if there is none of its name.
    Make(ObjectRef, Value),
    /// A Run is deleted: more are kept than the game day asks for.
    Delete(ObjectRef),
    /// This is the status of that object.
    Status(ObjectRef, Value),
    /// This is the status of that Run, if it is still the former one, for nobody works on it.
    Waits(ObjectRef, Value, Value),
    /// One notification of that GameDay is told that it begins then.
    Upcoming(ObjectRef, Box<GameDay>, String, Timestamp),
    /// An Event on that object: reason and words.
    Tell(ObjectRef, &'static str, String),
}

/// What the watches of a catalog tell of: kind and change.
pub(super) type News = stream::BoxStream<'static, (&'static str, Change)>;

/// NAMESPACE, NAME.
type Key = (String, String);

/// An Experiment or a GameDay.
struct Item {
    object: ObjectRef,
    generation: i64,
    created: Timestamp,
    labels: BTreeMap<String, String>,
    text: SourceText,
    status: Value,
    /// What `check` says; None: it has to be asked.
    checked: Option<Checked>,
}

struct Checked {
    findings: Vec<Finding>,
    hash: String,
    day: Option<(GameDay, Calendar)>,
    /// The namespaces that a game day concerns.
    namespaces: BTreeSet<String>,
}

/// The objects of one kind.
struct Shelf {
    kind: &'static str,
    items: BTreeMap<Key, Item>,
    unseen: BTreeSet<Key>,
    listed: bool,
}

/// Where something has changed.
pub(super) enum Where {
    In(String),
    Anywhere,
}

/// All of them.
pub(super) struct Catalog {
    /// Who makes Runs that come due.
    by: String,
    metrics: Metrics,
    /// The game days that metrics tell of.
    shown: BTreeSet<Key>,
    experiments: Shelf,
    days: Shelf,
    /// Guardrails, and which namespaces they cover.
    rules: Rulebook,
    /// What was written last, by object: a watch takes a moment to show it.
    written: BTreeMap<ObjectRef, Value>,
    /// The last time that was skipped, and why, by game day: for as long as its status does not say so.
    skipped: BTreeMap<ObjectRef, (Timestamp, String)>,
    /// Who was told that what begins when: whoever keeps the calendar next may tell it once more.
    announced: BTreeSet<(ObjectRef, Timestamp, String)>,
    /// When a Run was tried to be made, by its name.
    tried: BTreeMap<ObjectRef, Timestamp>,
}

impl Catalog {
    /// An empty one; Runs are made in the name of `by`.
    pub(super) fn new(by: String, metrics: Metrics) -> Self {
        Self {
            by,
            metrics,
            shown: BTreeSet::new(),
            experiments: Shelf::new("Experiment"),
            days: Shelf::new("GameDay"),
            rules: Rulebook::default(),
            written: BTreeMap::new(),
            skipped: BTreeMap::new(),
            announced: BTreeSet::new(),
            tried: BTreeMap::new(),
        }
    }

    /// Follows all that it has to know of.
    pub(super) fn follow(access: &Access) -> News {
        let own = |kind| (API_VERSION, kind);
        let kinds = [own("Experiment"), own("GameDay"), own("Guardrail"), ("v1", "Namespace")];
        let watches = kinds.map(|(api, kind)| {
            let changes = follow(access, &ObjectRef::namespaced(api, kind, "", ""), "");
            changes.map(move |change| (kind, change)).boxed()
        });
        stream::select_all(watches).boxed()
    }

    /// Takes in what they say: where something is another one now that Runs wait with.
    pub(super) fn take(&mut self, (kind, change): (&'static str, Change)) -> Option<Where> {
        match kind {
            "Experiment" => self.experiment(change).map(Where::In),
            "GameDay" => self.days.take(change).map(|(namespace, _)| Where::In(namespace)),
            // It may be over any of them.
            "Guardrail" => self.rules.guardrail(change).then_some(Where::Anywhere),
            _ => {
                self.rules.namespace(change);
                None
            }
        }
    }

    fn experiment(&mut self, change: Change) -> Option<String> {
        let changed = self.experiments.take(change)?;
        // Whoever may take it over, or may run it, is asked again.
        for shelf in [&mut self.experiments, &mut self.days] {
            for (key, item) in &mut shelf.items {
                if key.0 == changed.0 && (key.1 == changed.1 || item.mentions(&changed.1)) {
                    item.checked = None;
                }
            }
        }
        Some(changed.0)
    }

    /// A status could not be written: it is tried again.
    pub(super) fn unwritten(&mut self, object: &ObjectRef) {
        self.written.remove(object);
    }

    /// What is to be done now.
    pub(super) fn deeds(&mut self, runs: &BTreeMap<RunId, RunSeen>, now: Timestamp) -> Vec<Deed> {
        if !self.experiments.listed || !self.days.listed || !self.rules.listed() {
            return Vec::new();
        }
        self.check();
        let last = last_runs(runs);
        let mut deeds = Vec::new();
        self.rules.settle();
        for (object, before, status) in self.rules.statuses(runs, now) {
            deeds.extend(wanted(&mut self.written, (object, before), status));
        }
        for (key, item) in &self.experiments.items {
            let last = last.get(&(key.0.clone(), format!("Experiment/{}", key.1)));
            let status = told::experiment(item, last, now);
            deeds.extend(wanted(&mut self.written, (&item.object, &item.status), status));
        }
        for (key, item) in &self.days.items {
            let own: Vec<&RunSeen> = runs
                .values()
                .filter(|run| run.object.namespace == key.0 && run.game_day() == Some(&key.1))
                .collect();
            let last = last.get(&(key.0.clone(), format!("GameDay/{}", key.1)));
            let scheduled = item.day().is_some_and(|(_, calendar)| calendar.scheduled());
            let asked = scheduled && self.rules.ask(&key.0);
            let said = schedule::of((item, asked, self.skipped.get(&item.object)), &own, (&self.by, now));
            let status = told::game_day(item, (&own, last), (&said.past, self.rules.forbidding()), now);
            // What is still to be done is written down elsewhere before the Run goes that says so.
            let carried = status["openActions"] == item.status["openActions"];
            deeds.extend(said.surplus.into_iter().filter(|_| carried).map(Deed::Delete));
            for deed in said.deeds {
                if let Deed::Make(run, _) = &deed {
                    let before = self.tried.get(run);
                    if before.is_some_and(|at| now.duration_since(*at).abs() < TRIED_AGAIN) {
                        continue;
                    }
                    self.tried.insert(run.clone(), now);
                }
                deeds.push(deed);
            }
            self.metrics.set_game_day(&key.0, &key.1, told::measured(&status));
            let written = wanted(&mut self.written, (&item.object, &item.status), status);
            self.skipped.extend(said.past.skipped.map(|skipped| (item.object.clone(), skipped)));
            let words = said.skipped.into_iter();
            deeds.extend(words.map(|words| Deed::Tell(item.object.clone(), "Skipped", words)));
            deeds.extend(written);
            for (notification, at) in schedule::upcoming(item, now) {
                if self.rules.forbidding().against(item.namespaces(), at).is_none()
                    && self.announced.insert((item.object.clone(), at, notification.clone()))
                    && let Some((day, _)) = item.day()
                {
                    deeds.push(Deed::Upcoming(item.object.clone(), Box::new(day.clone()), notification, at));
                }
            }
        }
        self.announced.retain(|(_, at, _)| *at >= now);
        self.show(self.days.items.keys().cloned().collect());
        let is_there = |object: &ObjectRef| self.days.items.values().any(|item| item.object == *object);
        self.skipped.retain(|object, _| is_there(object));
        self.tried.retain(|_, at| now.duration_since(*at).abs() < TRIED_AGAIN);
        deeds
    }

    /// Somebody else keeps the calendar now: what is told of it comes from there.
    pub(super) fn rest(&mut self) {
        self.show(BTreeSet::new());
    }

    /// Metrics tell of these game days and no others.
    fn show(&mut self, all: BTreeSet<Key>) {
        for (namespace, name) in self.shown.difference(&all) {
            self.metrics.forget_game_day(namespace, name);
        }
        self.shown = all;
    }

    /// Asks `check` about everything that has changed.
    fn check(&mut self) {
        let dirty = |shelf: &Shelf| shelf.items.values().any(|item| item.checked.is_none());
        if !dirty(&self.experiments) && !dirty(&self.days) {
            return;
        }
        let texts: Vec<(Key, SourceText)> =
            self.experiments.items.iter().map(|(key, item)| (key.clone(), item.text.clone())).collect();
        for shelf in [&mut self.experiments, &mut self.days] {
            for (key, item) in shelf.items.iter_mut().filter(|(_, item)| item.checked.is_none()) {
                let others =
                    texts.iter().filter(|(other, text)| other.0 == key.0 && text.name != item.text.name);
                let beside: Vec<SourceText> = others.map(|(_, text)| text.clone()).collect();
                item.checked = Some(checked(&item.text, beside));
            }
        }
    }
}

/// What `check` says of a text.
fn checked(text: &SourceText, beside: Vec<SourceText>) -> Checked {
    let given = Given { parameters: BTreeMap::new(), beside, must_be_whole: false };
    let read = api::read_with(std::slice::from_ref(text), &given);
    let first = read.documents.into_iter().next();
    let hash =
        first.as_ref().map(|accepted| super::agreement::hash(&accepted.json["spec"])).unwrap_or_default();
    let mut namespaces = BTreeSet::new();
    let day = first.and_then(|accepted| match accepted.document {
        Document::GameDay { day, acts } => {
            let own = day.metadata.namespace.as_deref().unwrap_or_default();
            let all = acts.experiments.iter();
            namespaces = all.flat_map(|act| plan::namespaces(&act.experiment.spec, own)).collect();
            Calendar::new(&day.spec).ok().map(|calendar| (*day, calendar))
        }
        _ => None,
    });
    Checked { findings: read.findings, hash, day, namespaces }
}

/// The status, if it is not what is there or what was written a moment ago.
fn wanted(
    written: &mut BTreeMap<ObjectRef, Value>,
    (object, before): (&ObjectRef, &Value),
    status: Value,
) -> Option<Deed> {
    if status == *before || written.get(object) == Some(&status) {
        return None;
    }
    written.insert(object.clone(), status.clone());
    Some(Deed::Status(object.clone(), status))
}

impl Item {
    fn read(found: &DynamicObject, kind: &str) -> Option<(Key, Self)> {
        let metadata = &found.metadata;
        let (namespace, name) = (metadata.namespace.clone()?, metadata.name.clone()?);
        let mut object = ObjectRef::namespaced(API_VERSION, kind, &namespace, &name);
        object.uid = metadata.uid.clone()?;
        let item = Self {
            object,
            generation: metadata.generation.unwrap_or(0),
            created: metadata.creation_timestamp.as_ref().map_or(Timestamp::MIN, |time| time.0),
            labels: metadata.labels.clone().unwrap_or_default(),
            text: text(found, kind),
            status: found.data.get("status").cloned().unwrap_or_default(),
            checked: None,
        };
        Some(((namespace, name), item))
    }

    fn mentions(&self, name: &str) -> bool {
        String::from_utf8_lossy(&self.text.bytes).contains(&format!("\"{name}\""))
    }

    fn findings(&self) -> &[Finding] {
        self.checked.as_ref().map_or(&[], |checked| &checked.findings)
    }

    fn ready(&self) -> bool {
        self.checked.is_some() && !self.findings().iter().any(Finding::is_error)
    }

    fn day(&self) -> Option<&(GameDay, Calendar)> {
        self.checked.as_ref()?.day.as_ref()
    }

    fn namespaces(&self) -> &BTreeSet<String> {
        const NONE: &BTreeSet<String> = &BTreeSet::new();
        self.checked.as_ref().map_or(NONE, |checked| &checked.namespaces)
    }
}

impl Shelf {
    fn new(kind: &'static str) -> Self {
        Self { kind, items: BTreeMap::new(), unseen: BTreeSet::new(), listed: false }
    }

    /// Takes in what a watch says; which one is another one now.
    fn take(&mut self, change: Change) -> Option<Key> {
        match change {
            Change::Listing => self.unseen = self.items.keys().cloned().collect(),
            Change::Listed => {
                for gone in std::mem::take(&mut self.unseen) {
                    self.items.remove(&gone);
                }
                self.listed = true;
            }
            Change::Is(found) => {
                let (key, mut item) = Item::read(&found, self.kind)?;
                self.unseen.remove(&key);
                let same =
                    |old: &&mut Item| old.text.bytes == item.text.bytes && old.object.uid == item.object.uid;
                let before = self.items.get_mut(&key).filter(same);
                let changed = before.is_none();
                item.checked = before.and_then(|old| old.checked.take());
                self.items.insert(key.clone(), item);
                return changed.then_some(key);
            }
            Change::Gone(found) => {
                let (key, _) = Item::read(&found, self.kind)?;
                self.items.remove(&key);
                return Some(key);
            }
            Change::Broken(why) => {
                tracing::warn!(why, "a watch on what may be run broke off; it begins again")
            }
        }
        None
    }
}
