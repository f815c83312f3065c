//! What a request asks for: path, query and headers taken apart as a real API server does
//! (staging/src/k8s.io/apiserver/pkg/endpoints/request/requestinfo.go).

use super::rbac::User;
use crate::sim::store::managed::Writer;
use crate::sim::store::{Kind, Status, StatusCause, Store};
use bytes::Bytes;
use http::{HeaderMap, Method, header};
use std::collections::BTreeMap;

/// Bytes of a field manager's name (`FieldManagerMaxLength`).
const MANAGER: usize = 128;

/// A call on a resource, or on a path that is none.
pub(super) struct Call {
    pub method: Method,
    pub path: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, or for paths that are
    /// no resource the method in lower case.
    pub verb: &'static str,
    pub target: Option<Target>,
    pub query: BTreeMap<String, String>,
    pub headers: HeaderMap,
    pub user: User,
    pub body: Bytes,
}

/// The resource that a call is on.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub group: String,
    pub version: String,
    /// Resource name (plural).
    pub resource: String,
    pub namespace: String,
    pub name: String,
    pub subresource: String,
    /// What follows the subresource, for proxies.
    pub rest: String,
    /// The stored kind, when the resource is one.
    pub kind: Option<Kind>,
}

impl Call {
    pub(super) fn parse(store: &Store, request: http::Request<Bytes>, user: User) -> Self {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().to_string();
        let query = parse_query(parts.uri.query().unwrap_or_default());
        let target = Target::parse(store, &path);
        let mut call =
            Self { method: parts.method, path, verb: "", target, query, headers: parts.headers, user, body };
        call.verb = call.find_verb();
        call
    }

    fn find_verb(&self) -> &'static str {
        let Some(target) = &self.target else {
            return if self.method == Method::GET { "get" } else { "post" };
        };
        let named = !target.name.is_empty();
        match self.method.as_str() {
            "GET" | "HEAD" if named => "get",
            "GET" | "HEAD" if self.flag("watch") => "watch",
            "GET" | "HEAD" => "list",
            "POST" => "create",
            "PUT" => "update",
            "PATCH" => "patch",
            "DELETE" if named => "delete",
            "DELETE" => "deletecollection",
            _ => "get",
        }
    }

    /// A query parameter, empty when absent.
    pub(super) fn param(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    /// The name that the authorizer is asked about: of a list, a watch or a deletecollection the one that its field
    /// selector asks for.
    pub(super) fn named(&self, target: &Target) -> String {
        if !target.name.is_empty() || !matches!(self.verb, "list" | "watch" | "deletecollection") {
            return target.name.clone();
        }
        let mut terms = self.param("fieldSelector").split(',').map(|term| term.replace("==", "="));
        let exact = terms.find_map(|term| Some(term.strip_prefix("metadata.name=")?.to_owned()));
        exact.unwrap_or_default()
    }

    /// Whether a boolean query parameter is set.
    pub(super) fn flag(&self, name: &str) -> bool {
        matches!(self.param(name), "true" | "1")
    }

    pub(super) fn header(&self, name: header::HeaderName) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    /// The media type of the body, without parameters.
    pub(super) fn content_type(&self) -> &str {
        self.header(header::CONTENT_TYPE).split(';').next().unwrap_or_default().trim()
    }

    /// Whether the query asks for a dry run.
    ///
    /// # Errors
    /// 400 for a value other than `All`.
    pub(super) fn dry_run(&self) -> Result<bool, Status> {
        match self.param("dryRun") {
            "" => Ok(false),
            "All" => Ok(true),
            other => Err(Status::invalid_options(
                self.options(),
                StatusCause {
                    reason: "FieldValueNotSupported".into(),
                    message: format!("Unsupported value: [\"{other}\"]: supported values: \"All\""),
                    field: "dryRun".into(),
                },
            )),
        }
    }

    /// Whether the parameters of a write are valid (`ValidatePatchOptions` and its like in
    /// apimachinery/pkg/apis/meta/v1/validation).
    ///
    /// # Errors
    /// 422 for a field manager that is too long, or an unknown `fieldValidation`.
    pub(super) fn check_options(&self) -> Result<(), Status> {
        let refused = |field: &str, reason: &str, message: String| {
            let cause = StatusCause { reason: reason.into(), message, field: field.into() };
            Err(Status::invalid_options(self.options(), cause))
        };
        if self.param("fieldManager").len() > MANAGER {
            let why = format!("Too long: may not be more than {MANAGER} bytes");
            return refused("fieldManager", "FieldValueTooLong", why);
        }
        let given = self.param("fieldValidation");
        if !matches!(given, "" | "Ignore" | "Strict" | "Warn") {
            let why = format!(
                "Unsupported value: {given:?}: supported values: \"\", \"Ignore\", \"Strict\", \"Warn\""
            );
            return refused("fieldValidation", "FieldValueNotSupported", why);
        }
        Ok(())
    }

    /// The type of this call's parameters, as errors about them name it.
    fn options(&self) -> &'static str {
        match self.verb {
            "create" => "CreateOptions",
            "update" => "UpdateOptions",
            "patch" => "PatchOptions",
            _ => "DeleteOptions",
        }
    }

    /// Who writes, for `managedFields`: `fieldManager`, or the user agent up to its first slash.
    pub(super) fn writer(&self) -> Writer {
        let manager = match self.param("fieldManager") {
            "" => self.header(header::USER_AGENT).split('/').next().unwrap_or_default(),
            given => given,
        };
        let manager = if manager.is_empty() { "unknown" } else { manager };
        let writer = Writer::update(manager);
        match &self.target {
            Some(t) if !t.subresource.is_empty() => writer.through(&t.subresource),
            _ => writer,
        }
    }
}

impl Target {
    fn parse(store: &Store, path: &str) -> Option<Self> {
        let mut parts = path.trim_start_matches('/').split('/');
        let (group, version) = match parts.next()? {
            "api" => ("", parts.next()?),
            "apis" => (parts.next()?, parts.next()?),
            _ => return None,
        };
        let rest: Vec<&str> = parts.collect();
        let rest = rest.strip_suffix(&[""]).filter(|r| r.len() < 4).unwrap_or(&rest);
        let (namespace, rest) = match rest {
            // `namespaces/NAME/status` and `finalize` are subresources, not resources in a namespace.
            ["namespaces", name, sub @ ("status" | "finalize")] => {
                return Some(Self::new(store, (group, version), ("", &["namespaces", name, sub])));
            }
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            other => ("", other),
        };
        if rest.is_empty() || rest[0].is_empty() {
            return None;
        }
        Some(Self::new(store, (group, version), (namespace, rest)))
    }

    fn new(store: &Store, (group, version): (&str, &str), (namespace, rest): (&str, &[&str])) -> Self {
        let at = |i: usize| rest.get(i).map(|s| decode(s)).unwrap_or_default();
        let name = at(1);
        let kind = store.kind_by_resource(group, version, &at(0));
        // Objects of a namespace are in it even when the path names them like a namespaced resource.
        let own = if rest[0] == "namespaces" && !name.is_empty() { name.clone() } else { String::new() };
        Self {
            group: group.into(),
            version: version.into(),
            resource: at(0),
            namespace: if namespace.is_empty() { own } else { decode(namespace) },
            name,
            subresource: at(2),
            rest: rest.get(3..).unwrap_or_default().join("/"),
            kind,
        }
    }

    /// The namespace as the store knows it: empty for cluster-scoped kinds.
    pub(super) fn store_namespace(&self) -> &str {
        if self.kind.as_ref().is_some_and(|k| !k.namespaced) { "" } else { &self.namespace }
    }

    /// Resource with its subresource: `pods/eviction`.
    pub(super) fn full_resource(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }
}

/// Splits a query string; of repeated keys the last counts.
fn parse_query(query: &str) -> BTreeMap<String, String> {
    query
        .split('&')
        .filter(|p| !p.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(&name.replace('+', " ")), decode(&value.replace('+', " ")))
        })
        .collect()
}

/// Undoes percent encoding; a broken escape stays as it is.
pub(super) fn decode(text: &str) -> String {
    if !text.contains('%') {
        return text.into();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let escaped = (bytes[i] == b'%').then(|| text.get(i + 1..i + 3)).flatten();
        if let Some(byte) = escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            out.push(byte);
            i += 3;
        } else {
            out.push(bytes[i]);
            i += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
