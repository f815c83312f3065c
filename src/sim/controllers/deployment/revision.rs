//! Which ReplicaSet belongs to the present template, and what is copied to it.
//!
//! Source: `getNewReplicaSet` in `sync.go` and `SetNewReplicaSetAnnotations` in `util/deployment_util.go`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{DESIRED, MAX, REVISION, REVISION_HISTORY, SOURCE, Set, Sync};
use crate::sim::controllers::action::event;
use crate::sim::controllers::names;
use crate::sim::controllers::views::{Deployment, ReplicaSet, ReplicaSetStatus};
use crate::sim::store::{Kind, Object};

/// Annotations that stay where they are (`annotationsToSkip`).
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];

/// The revision that annotations name; 0 when they name none.
pub fn number(annotations: &BTreeMap<String, String>) -> i64 {
    annotations.get(REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

impl<'a> Sync<'a> {
    /// Finds the ReplicaSet of the present template and brings its annotations up to date; makes one when there is
    /// none and `create` says so.
    pub(super) fn find_current(&mut self, create: bool) {
        let spec = &self.deployment.spec;
        let wanted = spec.canonical.get_or_init(|| names::canonical(&spec.template));
        let same = |view: &ReplicaSet| {
            view.spec.canonical.get_or_init(|| names::canonical(&view.spec.template)) == wanted
        };
        self.current = self.sets.iter().position(|s| s.view.is_some_and(same));
        let newest = self.old().into_iter().map(|i| number(&self.sets[i].annotations)).max().unwrap_or(0);
        let revision = newest + 1;
        if let Some(index) = self.current {
            let (before, minimum) =
                (number(&self.sets[index].annotations), self.deployment.spec.min_ready_seconds);
            let set = &mut self.sets[index];
            set.min_ready_seconds = minimum;
            copy_annotations(self.deployment, &mut set.annotations);
            if before < revision {
                if before > 0 {
                    remember(&mut set.annotations, before);
                }
                set.annotations.insert(REVISION.into(), revision.to_string());
            }
            self.revision = set.annotations.get(REVISION).cloned();
            let name = set.name.clone();
            if self.has_deadline() && self.progressing().is_none() {
                self.set_progressing("True", "FoundNewReplicaSet", format!("Found new replica set {name:?}"));
            }
        } else if create {
            self.add_current(revision);
        }
    }

    fn add_current(&mut self, revision: i64) {
        let deployment = self.deployment;
        let mut collisions = deployment.status.collision_count.unwrap_or(0);
        let name = loop {
            let name = format!(
                "{}-{}",
                deployment.name(),
                names::template_hash(&deployment.spec.template, collisions)
            );
            if self.sets.iter().all(|s| s.name != name) {
                break name;
            }
            collisions += 1;
        };
        let mut annotations = BTreeMap::new();
        copy_annotations(deployment, &mut annotations);
        annotations.insert(REVISION.into(), revision.to_string());
        annotations.insert(DESIRED.into(), deployment.replicas().to_string());
        annotations.insert(MAX.into(), (deployment.replicas() + self.surge()).to_string());
        self.sets.push(Set {
            view: None,
            name: name.clone(),
            replicas: 0,
            status: ReplicaSetStatus::default(),
            created: self.input.now,
            annotations,
            min_ready_seconds: deployment.spec.min_ready_seconds,
        });
        let index = self.sets.len() - 1;
        self.current = Some(index);
        let replicas = self.new_replicas(index);
        self.sets[index].replicas = replicas;
        self.revision = Some(revision.to_string());
        if replicas > 0 {
            let message = format!("Scaled up replica set {name} from 0 to {replicas}");
            self.events.push(event(&deployment.object, SOURCE, "ScalingReplicaSet", message));
        }
        if self.has_deadline() {
            self.set_progressing("True", "NewReplicaSetCreated", format!("Created new replica set {name:?}"));
        }
    }
}

/// `copyDeploymentAnnotationsToReplicaSet`: what the Deployment carries, the ReplicaSet carries.
fn copy_annotations(deployment: &Deployment, annotations: &mut BTreeMap<String, String>) {
    for (key, value) in &deployment.meta().annotations {
        if !NOT_COPIED.contains(&key.as_str()) {
            annotations.insert(key.clone(), value.clone());
        }
    }
}

/// Appends to `revision-history` (at most 2,000 characters, `maxRevHistoryLengthInChars`).
fn remember(annotations: &mut BTreeMap<String, String>, revision: i64) {
    let history = annotations.entry(REVISION_HISTORY.into()).or_default();
    if !history.is_empty() {
        history.push(',');
    }
    history.push_str(&revision.to_string());
    while history.len() > 2000 {
        match history.find(',') {
            Some(at) => drop(history.drain(..=at)),
            None => history.clear(),
        }
    }
}

/// The ReplicaSet that a sync made up; `None` only when the Deployment's template is no object.
pub(super) fn new_set(deployment: &Deployment, set: &Set<'_>) -> Option<Object> {
    let hash = set.name.strip_prefix(deployment.name())?.strip_prefix('-')?;
    let mut template = deployment.spec.template.clone();
    let metadata = template.as_object_mut()?.entry("metadata").or_insert_with(|| json!({}));
    let labels = metadata.as_object_mut()?.entry("labels").or_insert_with(|| json!({}));
    labels.as_object_mut()?.insert("pod-template-hash".into(), json!(hash));
    let mut selector: Value = deployment.object.field::<Value>("spec").ok()?.get("selector")?.clone();
    let pairs = selector.as_object_mut()?.entry("matchLabels").or_insert_with(|| json!({}));
    pairs.as_object_mut()?.insert("pod-template-hash".into(), json!(hash));
    let mut spec = json!({"replicas": set.replicas, "selector": selector, "template": template});
    if set.min_ready_seconds > 0 {
        spec["minReadySeconds"] = json!(set.min_ready_seconds);
    }
    let mut object = Object::new(Kind::REPLICA_SET, deployment.namespace(), &set.name);
    let labels =
        spec.pointer("/template/metadata/labels").and_then(Value::as_object).cloned().unwrap_or_default();
    object.meta.labels = labels.into_iter().filter_map(|(k, v)| Some((k, v.as_str()?.to_owned()))).collect();
    object.meta.annotations.clone_from(&set.annotations);
    object.meta.owner_references = vec![deployment.object.controller_reference()];
    object.set_value("spec", &spec);
    object.set_value("status", &json!({"replicas": 0}));
    Some(object)
}
