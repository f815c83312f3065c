//! Events: what happened, for people who look.

use std::time::Duration;

use serde_json::json;

use super::ControlLoop;
use super::action::{Note, stamp};
use super::names;
use super::queue::Work;
use super::views::Key;
use crate::sim::store::{Kind, Object};

/// How long an Event lives (`--event-ttl` of kube-apiserver).
const TTL: Duration = Duration::from_secs(3600);

impl ControlLoop {
    /// Writes an Event; one that cannot be written (its namespace goes away) is lost, as a real one is.
    pub(super) fn record(&mut self, note: &Note) {
        if !self.config.events {
            return;
        }
        self.event_number += 1;
        let meta = &note.about.meta;
        let namespace = if meta.namespace.is_empty() { "default" } else { &meta.namespace };
        let hash = names::hash(&[&self.config.seed.to_string(), "event", &self.event_number.to_string()]);
        let name = format!("{}.{hash:016x}", meta.name);
        let mut event = Object::new(Kind::EVENT, namespace, &name);
        let now = stamp(self.store.now());
        let mut about = json!({
            "apiVersion": note.about.kind.api_version(), "kind": note.about.kind.kind, "name": meta.name,
            "uid": meta.uid, "resourceVersion": meta.resource_version.to_string(),
        });
        if !meta.namespace.is_empty() {
            about["namespace"] = json!(meta.namespace);
        }
        let fields = [
            ("involvedObject", about),
            ("reason", json!(note.reason)),
            ("message", json!(note.message)),
            ("type", json!(if note.warning { "Warning" } else { "Normal" })),
            ("source", json!({"component": note.source})),
            ("reportingComponent", json!(note.source)),
            ("firstTimestamp", now.clone()),
            ("lastTimestamp", now),
            ("count", json!(1)),
        ];
        for (name, value) in fields {
            event.set_value(name, &value);
        }
        if self.store.create(event).is_ok() {
            self.after(Work::Expire(Key::new(namespace, &name)), TTL);
        }
    }
}
