//! Events are one resource in two versions: `v1`, as which they are stored, and `events.k8s.io/v1`
//! (pkg/apis/core/v1/conversion.go and pkg/apis/events/v1/conversion.go of kubernetes v1.36).

use crate::sim::store::Kind;
use serde_json::{Map, Value};

/// Field in `v1`, field in `events.k8s.io/v1`.
const FIELDS: [(&str, &str); 6] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];
/// The same for the reporter, which the two spell differently.
const REPORTER: [(&str, &str); 1] = [("reportingComponent", "reportingController")];

fn rename(map: &mut Map<String, Value>, from: &str, to: &str) {
    if let Some(value) = map.remove(from) {
        map.insert(to.into(), value);
    }
}

/// A `v1` Event as `events.k8s.io/v1`.
pub(super) fn to_new(mut event: Value) -> Value {
    if let Some(map) = event.as_object_mut() {
        for (core, new) in FIELDS.iter().chain(&REPORTER) {
            rename(map, core, new);
        }
        map.insert("apiVersion".into(), Kind::NEW_EVENT.api_version().into());
    }
    event
}

/// What is given as `kind`, as it is stored: an Event of `events.k8s.io/v1` becomes one of `v1`, anything else
/// stays.
pub(super) fn to_stored(kind: &Kind, mut object: Value) -> Value {
    if *kind != Kind::NEW_EVENT {
        return object;
    }
    if let Some(map) = object.as_object_mut() {
        for (core, new) in FIELDS.iter().chain(&REPORTER) {
            rename(map, new, core);
        }
        map.insert("apiVersion".into(), Kind::EVENT.api_version().into());
    }
    object
}
