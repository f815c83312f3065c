//! A run that has just begun, for tests of the pure parts.

use jiff::Timestamp;
use serde_json::Value;

use super::State;
use crate::{
    journal::{Entry, Environment, Header, Record},
    types::{Epoch, RunId},
};

/// Where a run of this experiment begins, at the beginning of time.
pub(super) fn begun(experiment: Value) -> State {
    let header = Header {
        run: RunId::new("test", 7),
        version: String::new(),
        experiment,
        file: String::new(),
        seed: 7,
        by: String::new(),
        holder: String::new(),
        environment: Environment::default(),
        namespace: "shop".to_owned(),
        namespaces: Vec::new(),
        limits: std::collections::BTreeMap::new(),
        metrics: String::new(),
        server_ahead_ms: 0,
        approvals: 0,
        asked_by: String::new(),
    };
    let record = Record::RunStarted(Box::new(header));
    let first = Entry { seq: 0, at: Timestamp::UNIX_EPOCH, epoch: Epoch(1), record };
    State::new(&first).expect("a header")
}
