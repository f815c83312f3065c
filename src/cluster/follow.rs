//! The objects of one kind as a stream: listed once, then what changes.

use std::time::Duration;

use futures::{StreamExt as _, stream::BoxStream};
use kube::{
    api::DynamicObject,
    runtime::{WatchStreamExt as _, watcher},
};

use super::Access;
use crate::types::ObjectRef;

/// How long to wait before a broken watch is begun again. Fixed: a run is short, and jitter would make
/// rehearsals differ.
const BACKOFF: Duration = Duration::from_millis(800);

/// Waits the same time before each new try of a watch: without it one that is refused is begun again at once,
/// for ever.
pub struct FixedBackoff;

impl Iterator for FixedBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(BACKOFF)
    }
}

impl kube::runtime::utils::Backoff for FixedBackoff {
    fn reset(&mut self) {}
}

/// What a watch says.
#[derive(Clone, Debug)]
pub enum Change {
    /// All are listed anew from here on: what does not come again before [`Change::Listed`] is gone.
    Listing,
    /// It is so now.
    Is(Box<DynamicObject>),
    /// All were listed.
    Listed,
    /// It is gone.
    Gone(Box<DynamicObject>),
    /// The watch broke off and begins again by itself.
    Broken(String),
}

/// Follows the objects of the kind and in the namespace of `like` that `selector` selects; all of both if they
/// are empty. The stream has no end.
pub fn follow(access: &Access, like: &ObjectRef, selector: &str) -> BoxStream<'static, Change> {
    let mut config = watcher::Config::default();
    if !selector.is_empty() {
        config = config.labels(selector);
    }
    let events = watcher(access.api(like), config).backoff(FixedBackoff);
    events
        .map(|event| match event {
            Ok(watcher::Event::Init) => Change::Listing,
            Ok(watcher::Event::InitApply(object) | watcher::Event::Apply(object)) => {
                Change::Is(Box::new(object))
            }
            Ok(watcher::Event::InitDone) => Change::Listed,
            Ok(watcher::Event::Delete(object)) => Change::Gone(Box::new(object)),
            Err(error) => Change::Broken(error.to_string()),
        })
        .boxed()
}
