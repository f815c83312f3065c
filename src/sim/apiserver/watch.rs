//! WATCH: changes as a stream of JSON lines.
//!
//! Behaviour: staging/src/k8s.io/apiserver/pkg/endpoints/handlers/watch.go and storage/cacher.

use super::read::{Shown, View, parse_number, parse_version};
use super::request::{Call, Target};
use super::{ApiBody, ApiServer, broken, raw};
use crate::sim::store::{Event, EventType, Kind, Object, Selector, Status, Store, Subscription};
use bytes::Bytes;
use futures::stream;
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde::Serialize;
use serde_json::json;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tower::BoxError;

/// How often a quiet watch tells how far it is (`bookmarkFrequency` of the watch cache).
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// How long a watch without `timeoutSeconds` lasts at least (`--min-request-timeout`).
const MIN_TIMEOUT: u64 = 1800;

struct Watch {
    store: Store,
    kind: Kind,
    namespace: Option<String>,
    selector: Selector,
    view: View,
    bookmarks: bool,
    headed: bool,
    backlog: VecDeque<Event>,
    lines: VecDeque<Bytes>,
    subscription: Subscription,
    next_bookmark: Instant,
    deadline: Instant,
    outage: tokio::sync::watch::Receiver<bool>,
    version: u64,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    object: Shown<'a>,
}

impl ApiServer {
    pub(super) fn watch(
        &self,
        call: &Call,
        target: &Target,
        kind: &Kind,
    ) -> Result<Response<ApiBody>, Status> {
        let selector = Selector::parse(kind, call.param("labelSelector"), call.param("fieldSelector"))?;
        let namespace = (kind.namespaced && !target.namespace.is_empty()).then(|| target.namespace.clone());
        let version = parse_version(call).map_err(|why| Status::failure(500, "", why))?.unwrap_or(0);
        let initial = call.flag("sendInitialEvents");
        if initial
            && (call.param("resourceVersionMatch") != "NotOlderThan" || !call.flag("allowWatchBookmarks"))
        {
            let why = "sendInitialEvents requires resourceVersionMatch=NotOlderThan and allowWatchBookmarks";
            return Err(Status::failure(
                422,
                "Invalid",
                format!("ListOptions.meta.k8s.io \"\" is invalid: {why}"),
            ));
        }
        let now = Instant::now();
        let from_now = version == 0 || initial;
        let (mut backlog, subscription) = if from_now {
            let (objects, subscription) = self.store.list_and_subscribe(kind.stored());
            let added = |object| Event { kind: EventType::Added, object, previous: None };
            (objects.into_iter().map(added).collect::<VecDeque<_>>(), subscription)
        } else {
            match self.store.resume(kind.stored(), version) {
                Ok((missed, subscription)) => (missed.into(), subscription),
                Err(status) => return Ok(ended_with(&status)),
            }
        };
        let seconds = parse_number(call, "timeoutSeconds")?;
        let seconds =
            seconds.filter(|s| *s > 0).unwrap_or_else(|| MIN_TIMEOUT + self.store.random() % MIN_TIMEOUT);
        let mut watch = Watch {
            store: self.store.clone(),
            kind: kind.clone(),
            namespace,
            selector,
            view: View::of(call),
            bookmarks: call.flag("allowWatchBookmarks"),
            headed: true,
            backlog: VecDeque::new(),
            lines: VecDeque::new(),
            subscription,
            next_bookmark: now + BOOKMARK_EVERY,
            deadline: now + Duration::from_secs(seconds),
            outage: self.mischief.outage_signal(),
            version,
        };
        if from_now {
            watch.version = self.store.version();
        }
        if initial {
            while let Some(event) = backlog.pop_front() {
                watch.take(&event);
            }
            let line = watch.bookmark(true);
            watch.lines.push_back(line);
        }
        watch.backlog = backlog;
        Ok(watch.into_response())
    }
}

impl Watch {
    fn into_response(self) -> Response<ApiBody> {
        let frames = stream::unfold(self, |mut watch| async move {
            let item = watch.next_line().await?;
            Some((item.map(Frame::data), watch))
        });
        let mut response = raw(StatusCode::OK, "application/json", Bytes::new());
        *response.body_mut() = StreamBody::new(frames).boxed_unsync();
        response
    }

    /// The next line of the stream; `None` ends it, an error breaks the connection.
    async fn next_line(&mut self) -> Option<Result<Bytes, BoxError>> {
        loop {
            if *self.outage.borrow() {
                return Some(Err(broken(io::ErrorKind::ConnectionReset)));
            }
            if let Some(line) = self.lines.pop_front() {
                return Some(Ok(line));
            }
            if let Some(event) = self.backlog.pop_front() {
                self.take(&event);
                continue;
            }
            tokio::select! {
                biased;
                changed = self.outage.changed() => changed.ok()?,
                event = self.subscription.next() => self.take(&event?),
                () = tokio::time::sleep_until(self.deadline) => return None,
                () = tokio::time::sleep_until(self.next_bookmark), if self.bookmarks => {
                    self.next_bookmark += BOOKMARK_EVERY;
                    self.version = self.version.max(self.store.version());
                    let line = self.bookmark(false);
                    self.lines.push_back(line);
                }
            }
        }
    }

    /// Turns a change into a line, as this watch's selector sees it: an object that begins to match is added,
    /// one that stops is deleted.
    fn take(&mut self, event: &Event) {
        let matches = |o: &Arc<Object>| {
            self.namespace.as_ref().is_none_or(|n| *n == o.meta.namespace) && self.selector.matches(o)
        };
        let now = event.kind != EventType::Deleted && matches(&event.object);
        let before = match (&event.previous, event.kind) {
            (Some(p), _) => matches(p),
            (None, EventType::Deleted) => matches(&event.object),
            (None, _) => false,
        };
        self.version = self.version.max(event.object.meta.resource_version);
        let kind = match (before, now) {
            (false, true) => EventType::Added,
            (true, true) => EventType::Modified,
            (true, false) => EventType::Deleted,
            (false, false) => return,
        };
        let object = Shown {
            object: &event.object,
            kind: &self.kind,
            view: self.view,
            now: self.store.now(),
            headed: std::mem::take(&mut self.headed),
        };
        let line = encode(&Line { kind: kind.as_str(), object });
        self.lines.push_back(line);
    }

    fn bookmark(&self, initial_end: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": self.version.to_string(), "creationTimestamp": null});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let (kind, api_version) = match self.view {
            View::Metadata => ("PartialObjectMetadata".to_string(), "meta.k8s.io/v1".to_string()),
            View::Full => (self.kind.kind.to_string(), self.kind.api_version()),
            View::Table => {
                let table = json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
                    "columnDefinitions": null, "rows": []});
                return encode(&json!({"type": "BOOKMARK", "object": table}));
            }
        };
        let object = json!({"kind": kind, "apiVersion": api_version, "metadata": metadata});
        encode(&json!({"type": "BOOKMARK", "object": object}))
    }
}

fn encode<T: Serialize>(value: &T) -> Bytes {
    let mut bytes = serde_json::to_vec(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes.into()
}

/// A watch that is answered 200 and ends with an error in the stream, as the watch cache does for a
/// resourceVersion that is too old.
fn ended_with(status: &Status) -> Response<ApiBody> {
    raw(StatusCode::OK, "application/json", encode(&json!({"type": "ERROR", "object": status})))
}

/// A watch whose history is gone.
pub(super) fn gone() -> Response<ApiBody> {
    ended_with(&Status::expired("The resourceVersion for the provided watch is too old."))
}
