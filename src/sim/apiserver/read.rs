//! GET and LIST, in full, as metadata only, or as a table.

use super::request::{Call, Target};
use super::write::no_number;
use super::{ApiBody, ApiServer, event, json, raw, table};
use crate::sim::store::{Kind, Object, Selector, Status, StatusCause};
use http::{Response, StatusCode, header};
use jiff::Timestamp;
use serde::Serialize;
use serde::ser::SerializeMap;
use serde_json::{Value, json as value};
use std::sync::Arc;

/// In which form the client wants objects, by its Accept header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    Full,
    /// `PartialObjectMetadata`.
    Metadata,
    Table,
}

impl View {
    pub(super) fn of(call: &Call) -> Self {
        for kind in call.header(header::ACCEPT).split(',') {
            let mut form = None;
            let mut parts = kind.split(';').map(str::trim);
            if !matches!(parts.next(), Some("application/json" | "*/*")) {
                continue;
            }
            for part in parts {
                match part {
                    "as=Table" => form = Some(Self::Table),
                    "as=PartialObjectMetadata" | "as=PartialObjectMetadataList" => {
                        form = Some(Self::Metadata)
                    }
                    _ => {}
                }
            }
            return form.unwrap_or(Self::Full);
        }
        Self::Full
    }
}

/// One object as the client wants it.
#[derive(Clone, Copy)]
pub(super) struct Shown<'o> {
    pub object: &'o Object,
    pub kind: &'o Kind,
    pub view: View,
    pub now: Timestamp,
    /// Of tables: with the column definitions.
    pub headed: bool,
}

impl Serialize for Shown<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.view {
            View::Full if *self.kind == Kind::NEW_EVENT => {
                event::to_new(self.object.to_value()).serialize(serializer)
            }
            View::Full if self.kind.version == self.object.kind.version => self.object.serialize(serializer),
            View::Full => {
                let mut object = self.object.clone();
                object.kind = self.kind.clone();
                object.serialize(serializer)
            }
            View::Metadata => partial(self.object).serialize(serializer),
            View::Table => {
                table::table(self.kind, &[self.object], self.now, self.headed).serialize(serializer)
            }
        }
    }
}

/// An element of a list: those of built-in kinds do not repeat their kind.
struct Item<'o> {
    object: &'o Object,
    kind: &'o Kind,
}

impl Serialize for Item<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if *self.kind == Kind::NEW_EVENT {
            let mut value = event::to_new(self.object.to_value());
            value.as_object_mut().map(|map| (map.remove("kind"), map.remove("apiVersion")));
            return value.serialize(serializer);
        }
        let fields = self.object.fields_raw();
        let mut map = serializer.serialize_map(None)?;
        if self.kind.is_custom() {
            map.serialize_entry("kind", &self.kind.kind)?;
            map.serialize_entry("apiVersion", &self.kind.api_version())?;
        }
        map.serialize_entry("metadata", &self.object.meta)?;
        for (name, raw) in fields {
            map.serialize_entry(name, raw)?;
        }
        map.end()
    }
}

#[derive(Serialize)]
struct Partial<'o> {
    kind: &'static str,
    #[serde(rename = "apiVersion")]
    api_version: &'static str,
    metadata: &'o crate::sim::store::Meta,
}

fn partial(object: &Object) -> Partial<'_> {
    Partial { kind: "PartialObjectMetadata", api_version: "meta.k8s.io/v1", metadata: &object.meta }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'o, T: Serialize> {
    kind: String,
    api_version: String,
    metadata: Value,
    items: Vec<T>,
    #[serde(skip)]
    _of: std::marker::PhantomData<&'o ()>,
}

/// What a `continue` token holds.
#[derive(serde::Serialize, serde::Deserialize)]
struct Continue {
    /// resourceVersion of the list.
    v: u64,
    /// Namespace and name of the last object sent.
    after: (String, String),
}

impl Continue {
    fn encode(&self) -> String {
        let text = serde_json::to_string(self).unwrap_or_default();
        text.bytes().map(|b| format!("{b:02x}")).collect()
    }

    fn decode(token: &str) -> Result<Self, Status> {
        let bytes: Option<Vec<u8>> =
            (0..token.len()).step_by(2).map(|i| u8::from_str_radix(token.get(i..i + 2)?, 16).ok()).collect();
        bytes.and_then(|b| serde_json::from_slice(&b).ok()).ok_or_else(|| {
            let why = "continue key is not valid: illegal base64 data at input byte 0";
            Status::bad_request(format!("invalid continue token: {why}"))
        })
    }
}

impl ApiServer {
    /// One stored object of a call.
    pub(super) fn find(&self, target: &Target, kind: &Kind) -> Result<Arc<Object>, Status> {
        self.store
            .get(kind.stored(), target.store_namespace(), &target.name)
            .ok_or_else(|| Status::not_found(kind, &target.name))
    }

    pub(super) fn get(&self, call: &Call, target: &Target, kind: &Kind) -> Result<Response<ApiBody>, Status> {
        let object = self.find(target, kind)?;
        Ok(self.shown(call, kind, &object, StatusCode::OK))
    }

    /// An object as answer.
    pub(super) fn shown(
        &self,
        call: &Call,
        kind: &Kind,
        object: &Object,
        code: StatusCode,
    ) -> Response<ApiBody> {
        let shown = Shown { object, kind, view: View::of(call), now: self.store.now(), headed: true };
        json(code, &shown)
    }

    pub(super) fn list(
        &self,
        call: &Call,
        target: &Target,
        kind: &Kind,
    ) -> Result<Response<ApiBody>, Status> {
        let selector = Selector::parse(kind, call.param("labelSelector"), call.param("fieldSelector"))?;
        let namespace =
            (kind.namespaced && !target.namespace.is_empty()).then_some(target.namespace.as_str());
        let limit = parse_number(call, "limit")?.unwrap_or(0);
        let token = call.param("continue");
        let (mut objects, version) = if token.is_empty() {
            self.check_version(call)?;
            self.store.list_with_version(kind.stored(), namespace, &selector)
        } else {
            let at = Continue::decode(token)?;
            let mut objects =
                self.store.list_at(kind.stored(), namespace, &selector, at.v).map_err(|_| stale_token())?;
            objects.retain(|o| (&o.meta.namespace, &o.meta.name) > (&at.after.0, &at.after.1));
            (objects, at.v)
        };
        let mut metadata = value!({"resourceVersion": version.to_string()});
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        if limit > 0 && objects.len() > limit {
            let left = objects.len() - limit;
            objects.truncate(limit);
            if let Some(last) = objects.last() {
                let after = (last.meta.namespace.clone(), last.meta.name.clone());
                metadata["continue"] = Continue { v: version, after }.encode().into();
            }
            if selector.is_everything() {
                metadata["remainingItemCount"] = left.into();
            }
        }
        Ok(self.list_answer(call, kind, &objects, metadata))
    }

    fn list_answer(
        &self,
        call: &Call,
        kind: &Kind,
        objects: &[Arc<Object>],
        metadata: Value,
    ) -> Response<ApiBody> {
        let now = self.store.now();
        match View::of(call) {
            View::Table => {
                let refs: Vec<&Object> = objects.iter().map(AsRef::as_ref).collect();
                let mut table = table::table(kind, &refs, now, true);
                table["metadata"] = metadata;
                json(StatusCode::OK, &table)
            }
            View::Metadata => {
                let items: Vec<_> = objects.iter().map(|o| partial(o)).collect();
                list_json("PartialObjectMetadataList", "meta.k8s.io/v1", metadata, items)
            }
            View::Full => {
                let items: Vec<_> = objects.iter().map(|o| Item { object: o, kind }).collect();
                list_json(&format!("{}List", kind.kind), &kind.api_version(), metadata, items)
            }
        }
    }

    /// A list may not ask for a resourceVersion from the future
    /// (`NewTooLargeResourceVersionError`: 504 with the cause ResourceVersionTooLarge and retry after 1 s).
    fn check_version(&self, call: &Call) -> Result<(), Status> {
        if !call.param("resourceVersionMatch").is_empty() && call.param("resourceVersion").is_empty() {
            let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
            let cause = StatusCause::forbidden("resourceVersionMatch", why);
            return Err(Status::invalid_options("ListOptions", cause));
        }
        let asked = parse_version(call)
            .map_err(|why| Status::bad_request(format!("invalid resource version: {why}")))?
            .unwrap_or(0);
        let current = self.store.version();
        if call.param("resourceVersionMatch") == "Exact" && asked < current {
            return Err(Status::expired("The resourceVersion for the provided list is too old."));
        }
        if asked <= current {
            return Ok(());
        }
        let message = format!("Too large resource version: {asked}, current: {current}");
        let mut status = Status::timeout(&message, 1);
        if let Some(details) = &mut status.details {
            let cause = StatusCause {
                reason: "ResourceVersionTooLarge".into(),
                message: "Too large resource version".into(),
                field: String::new(),
            };
            details.causes.push(cause);
        }
        Err(status)
    }
}

fn list_json<T: Serialize>(
    kind: &str,
    api_version: &str,
    metadata: Value,
    items: Vec<T>,
) -> Response<ApiBody> {
    let list = List {
        kind: kind.into(),
        api_version: api_version.into(),
        metadata,
        items,
        _of: std::marker::PhantomData,
    };
    match serde_json::to_vec(&list) {
        Ok(bytes) => raw(StatusCode::OK, "application/json", bytes),
        Err(e) => super::failure(&Status::internal(e)),
    }
}

fn stale_token() -> Status {
    Status::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list \
         without the continue parameter.",
    )
}

/// A numeric query parameter.
///
/// # Errors
/// 400 when it is not a number.
pub(super) fn parse_number(call: &Call, name: &str) -> Result<Option<u64>, Status> {
    match call.param(name) {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| no_number("ParseInt", text)),
    }
}

/// The resourceVersion that a call asks for.
///
/// # Errors
/// In words, when it is not a number.
pub(super) fn parse_version(call: &Call) -> Result<Option<u64>, String> {
    match call.param("resourceVersion") {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            let why = no_number("ParseUint", text).message;
            format!("resourceVersion: Invalid value: {text:?}: {why}")
        }),
    }
}
