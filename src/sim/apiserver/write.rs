//! POST, PUT and DELETE.

use super::decode::{decode_body, decode_object, no_conversion, not_into};
use super::request::{Call, Target};
use super::{ApiBody, ApiServer, defaults, event, json, schema, validate};
use crate::sim::store::managed::{self, Writer};
use crate::sim::store::{
    DeleteOptions, Deleted, Kind, Object, Propagation, Selector, Status, StatusCause, StatusDetails, Store,
};
use http::{Response, StatusCode};
use serde_json::{Value, json as value};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How often a write without precondition is tried again when somebody else wrote in between
/// (`MaxRetryWhenPatchConflicts` in endpoints/handlers/patch.go).
const RETRIES: usize = 5;

/// Everything that a write needs to know besides the object.
pub(super) struct Writing<'c> {
    pub kind: &'c Kind,
    pub writer: Writer,
    pub dry_run: bool,
    /// `status` or empty.
    pub subresource: &'c str,
}

impl<'c> Writing<'c> {
    pub(super) fn of(call: &Call, target: &'c Target, kind: &'c Kind) -> Result<Self, Status> {
        let kind = kind.stored();
        call.check_options()?;
        Ok(Self { kind, writer: call.writer(), dry_run: call.dry_run()?, subresource: &target.subresource })
    }
}

impl ApiServer {
    pub(super) fn create(
        &self,
        call: &Call,
        target: &Target,
        kind: &Kind,
    ) -> Result<Response<ApiBody>, Status> {
        let body = decode_object(call, &kind.kind)?;
        self.check_identity(kind, target, &body)?;
        let writing = Writing::of(call, target, kind)?;
        let body = event::to_stored(kind, schema::decode(kind, body, schema::Strictness::of(call))?);
        let made = self.insert(&writing, body, target.store_namespace())?;
        Ok(self.shown(call, kind, &made, StatusCode::CREATED))
    }

    /// Creates from a manifest, without a call; status is kept where the manifest gives it.
    pub(super) fn create_manifest(&self, kind: &Kind, manifest: Value) -> Result<(), Status> {
        let namespace = manifest["metadata"]["namespace"].as_str().unwrap_or("default").to_string();
        let namespace = if kind.namespaced { namespace } else { String::new() };
        let writing = Writing { kind, writer: Writer::update("manifests"), dry_run: false, subresource: "" };
        let manifest = schema::decode(kind, manifest, schema::Strictness::Strict)?;
        self.insert(&writing, manifest, &namespace).map(drop)
    }

    /// Stores a new object, after defaults and validation.
    pub(super) fn insert(
        &self,
        writing: &Writing<'_>,
        mut body: Value,
        namespace: &str,
    ) -> Result<Arc<Object>, Status> {
        let kind = writing.kind;
        let applied = (writing.writer.operation == "Apply").then(|| managed::applied(kind, &body));
        if let Some(meta) = body["metadata"].as_object_mut() {
            meta.remove("managedFields");
            if kind.namespaced {
                meta.insert("namespace".into(), namespace.into());
            } else {
                meta.remove("namespace");
            }
        }
        defaults::on_create(&self.store, kind, &mut body);
        defaults::apply(kind, &mut body);
        let causes = validate::object(kind, &body);
        let mut object = Object::from_value(kind.clone(), body)?;
        if !causes.is_empty() {
            return Err(Status::invalid(kind, &object.meta.name, causes));
        }
        let written = managed::of_creation(kind, object.to_value());
        let (writer, now) = (&writing.writer, self.store.now());
        match applied {
            Some(set) => {
                managed::record_apply(None, &mut object, &written, (&set, &BTreeSet::new()), (writer, now))
            }
            None => managed::record(None, &mut object, &written, writer, now),
        }
        let made = self.store.create_with(object, writing.dry_run)?;
        if *kind == Kind::CUSTOM_RESOURCE_DEFINITION && !writing.dry_run {
            serve_definition(&self.store, &made);
        }
        Ok(made)
    }

    /// Checks that a body is of the kind and at the place that the URL names.
    fn check_identity(&self, kind: &Kind, target: &Target, body: &Value) -> Result<(), Status> {
        let given =
            (body["apiVersion"].as_str().unwrap_or_default(), body["kind"].as_str().unwrap_or_default());
        let (api_version, named) = (kind.api_version(), kind.kind.as_ref());
        if !given.1.is_empty() && given.1 != named {
            let as_given = if given.0.is_empty() { api_version.as_str() } else { given.0 };
            let why = no_conversion(&self.store, (api_version.as_str(), given.1), kind);
            let version = as_given.rsplit('/').next().unwrap_or_default();
            return Err(Status::bad_request(format!(
                "{} in version \"{version}\" cannot be handled as a {named}: {why}",
                given.1
            )));
        }
        if !given.0.is_empty() && given.0 != api_version {
            return Err(Status::bad_request(format!(
                "the API version in the data ({}) does not match the expected API version ({})",
                given.0,
                kind.api_version()
            )));
        }
        let (name, namespace) = (text(body, "name"), text(body, "namespace"));
        if !target.name.is_empty() && !name.is_empty() && name != target.name {
            return Err(Status::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                target.name
            )));
        }
        if kind.namespaced && !namespace.is_empty() && namespace != target.namespace {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        Ok(())
    }

    pub(super) fn update(
        &self,
        call: &Call,
        target: &Target,
        kind: &Kind,
    ) -> Result<Response<ApiBody>, Status> {
        let body = decode_object(call, &kind.kind)?;
        self.check_identity(kind, target, &body)?;
        let writing = Writing::of(call, target, kind)?;
        let body = event::to_stored(kind, schema::decode(kind, body, schema::Strictness::of(call))?);
        let version = text(&body, "resourceVersion");
        if version.is_empty() && kind.is_custom() {
            let cause =
                StatusCause::invalid("metadata.resourceVersion", "0", "must be specified for an update");
            return Err(Status::invalid(kind, &target.name, vec![cause]));
        }
        if target.subresource.is_empty()
            && created_by_update(kind)
            && self.find(target, kind).is_err_and(|status| status.is("NotFound"))
        {
            let mut body = body;
            body["metadata"].as_object_mut().map(|meta| meta.remove("resourceVersion"));
            let made = self.insert(&writing, body, target.store_namespace())?;
            return Ok(self.shown(call, kind, &made, StatusCode::CREATED));
        }
        let written = retry(|| {
            let old = self.find(target, kind)?;
            let uid = text(&body, "uid");
            if !uid.is_empty() && uid != old.meta.uid {
                let why = format!(
                    "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                    old.meta.uid
                );
                return Err(Status::conflict(kind, &target.name, &why));
            }
            self.replace(&writing, &old, &old.to_value(), body.clone())
        })?;
        Ok(self.shown(call, kind, &written, StatusCode::OK))
    }

    /// Replaces an object by a new value of it: what the subresource may not touch is taken from the old one,
    /// then defaults, validation, `managedFields`.
    pub(super) fn replace(
        &self,
        writing: &Writing<'_>,
        old: &Arc<Object>,
        old_value: &Value,
        new: Value,
    ) -> Result<Arc<Object>, Status> {
        let mut object = self.prepared(writing, old, old_value, new)?;
        let mut value = object.to_value();
        // A Scale leaves a zero out (`replicas,omitempty` in autoscaling/v1), so nobody is noted for it.
        if writing.writer.subresource == "scale"
            && value["spec"]["replicas"] == 0
            && let Some(spec) = value["spec"].as_object_mut()
        {
            spec.remove("replicas");
        }
        managed::record(Some((old, old_value)), &mut object, &value, &writing.writer, self.store.now());
        self.commit(writing, object)
    }

    /// The object as it is to be stored, valid, but for `managedFields`.
    pub(super) fn prepared(
        &self,
        writing: &Writing<'_>,
        old: &Arc<Object>,
        old_value: &Value,
        mut new: Value,
    ) -> Result<Object, Status> {
        let kind = writing.kind;
        if text(&new, "resourceVersion").is_empty() {
            new["metadata"]["resourceVersion"] = old.meta.resource_version.to_string().into();
        }
        if text(&new, "resourceVersion") != old.meta.resource_version.to_string() {
            return Err(Status::modified(kind, &old.meta.name));
        }
        if kind.status {
            let keep = |new: &mut Value, field: &str| match old_value.get(field) {
                Some(v) => new[field] = v.clone(),
                None => {
                    new.as_object_mut().map(|m| m.remove(field));
                }
            };
            if writing.subresource == "status" {
                let fields: Vec<String> = [&new, old_value]
                    .iter()
                    .flat_map(|v| v.as_object().into_iter().flat_map(|m| m.keys().cloned()))
                    .filter(|f| !matches!(f.as_str(), "status" | "metadata" | "apiVersion" | "kind"))
                    .collect();
                fields.iter().for_each(|f| keep(&mut new, f));
            } else {
                keep(&mut new, "status");
            }
        }
        defaults::apply(kind, &mut new);
        let mut causes = validate::object(kind, &new);
        causes.extend(validate::change(kind, old_value, &new));
        if !causes.is_empty() {
            // Metadata is looked at by the general and by the kind's own validation of an update.
            let again: Vec<_> = causes.iter().filter(|c| c.field.starts_with("metadata.")).cloned().collect();
            causes.extend(again);
            return Err(Status::invalid(kind, &old.meta.name, causes));
        }
        let mut object = Object::from_value(kind.clone(), new)?;
        object.meta.namespace.clone_from(&old.meta.namespace);
        // What the store would put back anyway, so that validation and managers see no change in it.
        object.meta.uid.clone_from(&old.meta.uid);
        object.meta.managed_fields.clone_from(&old.meta.managed_fields);
        Ok(object)
    }

    pub(super) fn commit(&self, writing: &Writing<'_>, object: Object) -> Result<Arc<Object>, Status> {
        let written = self.store.update_with(object, writing.dry_run)?;
        if *writing.kind == Kind::CUSTOM_RESOURCE_DEFINITION && !writing.dry_run {
            serve_definition(&self.store, &written);
        }
        Ok(written)
    }

    pub(super) fn delete(
        &self,
        call: &Call,
        target: &Target,
        kind: &Kind,
    ) -> Result<Response<ApiBody>, Status> {
        let options = delete_options(call)?;
        let deleted = self.store.delete(kind.stored(), target.store_namespace(), &target.name, &options)?;
        let object = deleted.object();
        if *kind == Kind::CUSTOM_RESOURCE_DEFINITION
            && matches!(deleted, Deleted::Gone(_))
            && !options.dry_run
        {
            let spec: Value = object.field("spec").unwrap_or_default();
            let plural = spec["names"]["plural"].as_str().unwrap_or_default();
            self.store.drop_custom(spec["group"].as_str().unwrap_or_default(), plural);
        }
        // Which kinds answer with the object: ReturnDeletedObject in pkg/registry/*/*/storage.
        let returns =
            matches!(kind.plural.as_ref(), "pods" | "services" | "serviceaccounts") && kind.group.is_empty();
        if returns || matches!(deleted, Deleted::Marked(_)) {
            return Ok(self.shown(call, kind, object, StatusCode::OK));
        }
        let mut status = Status::success(200);
        status.details = Some(Box::new(StatusDetails {
            name: target.name.clone(),
            group: kind.group.to_string(),
            kind: kind.plural.to_string(),
            uid: object.meta.uid.clone(),
            ..StatusDetails::default()
        }));
        Ok(json(StatusCode::OK, &status))
    }

    pub(super) fn delete_collection(
        &self,
        call: &Call,
        target: &Target,
        kind: &Kind,
    ) -> Result<Response<ApiBody>, Status> {
        let selector = Selector::parse(kind, call.param("labelSelector"), call.param("fieldSelector"))?;
        let namespace =
            (kind.namespaced && !target.namespace.is_empty()).then_some(target.namespace.as_str());
        let options = delete_options(call)?;
        let (objects, version) = self.store.list_with_version(kind.stored(), namespace, &selector);
        let mut items = Vec::with_capacity(objects.len());
        for object in objects {
            match self.store.delete(kind.stored(), &object.meta.namespace, &object.meta.name, &options) {
                Ok(deleted) => items.push(deleted.object().to_value()),
                Err(status) if status.is("NotFound") => {}
                Err(status) => return Err(status),
            }
        }
        let list = value!({"kind": format!("{}List", kind.kind), "apiVersion": kind.api_version(),
            "metadata": {"resourceVersion": version.to_string()}, "items": items});
        Ok(json(StatusCode::OK, &list))
    }
}

/// Runs a read-modify-write again when somebody else wrote in between.
pub(super) fn retry<T>(mut attempt: impl FnMut() -> Result<T, Status>) -> Result<T, Status> {
    for _ in 1..RETRIES {
        match attempt() {
            Err(status) if status.is("Conflict") && status.message.contains("has been modified") => {}
            other => return other,
        }
    }
    attempt()
}

pub(super) fn text<'v>(object: &'v Value, meta_field: &str) -> &'v str {
    object["metadata"][meta_field].as_str().unwrap_or_default()
}

/// Kinds that a PUT creates where there is none (`AllowCreateOnUpdate` in pkg/registry/*/*/strategy.go).
fn created_by_update(kind: &Kind) -> bool {
    match kind.group.as_ref() {
        "" => matches!(kind.plural.as_ref(), "services" | "endpoints" | "events"),
        "coordination.k8s.io" | "rbac.authorization.k8s.io" | "events.k8s.io" => true,
        _ => false,
    }
}

/// DeleteOptions from the body; from the query only where there is no body, which then counts for nothing
/// (DeleteResource in staging/src/k8s.io/apiserver/pkg/endpoints/handlers/delete.go).
fn delete_options(call: &Call) -> Result<DeleteOptions, Status> {
    if !call.body.is_empty() {
        return delete_options_from(&decode_body(call)?);
    }
    let mut options = value!({});
    if !call.param("dryRun").is_empty() {
        options["dryRun"] = value!([call.param("dryRun")]);
    }
    let text = call.param("gracePeriodSeconds");
    if !text.is_empty() {
        let seconds: i64 = text.parse().map_err(|_| no_number("ParseInt", text))?;
        options["gracePeriodSeconds"] = seconds.into();
    }
    if !call.param("propagationPolicy").is_empty() {
        options["propagationPolicy"] = call.param("propagationPolicy").into();
    }
    if call.flag("orphanDependents") {
        options["orphanDependents"] = true.into();
    }
    delete_options_from(&options)
}

/// 400 for a text that is no number, as Go's `strconv` words it.
pub(super) fn no_number(parser: &str, text: &str) -> Status {
    Status::bad_request(format!("strconv.{parser}: parsing {text:?}: invalid syntax"))
}

/// DeleteOptions as a body or the `deleteOptions` of an eviction gives them
/// (`ValidateDeleteOptions` in apimachinery/pkg/apis/meta/v1/validation).
pub(super) fn delete_options_from(body: &Value) -> Result<DeleteOptions, Status> {
    let refused = |cause| Err(Status::invalid_options("DeleteOptions", cause));
    let unsupported = |field: &str, value: &Value, known: &str| {
        refused(StatusCause {
            reason: "FieldValueNotSupported".into(),
            message: format!("Unsupported value: {value}: supported values: {known}"),
            field: field.into(),
        })
    };
    let preconditions = &body["preconditions"];
    let version = preconditions["resourceVersion"].as_str().filter(|v| !v.is_empty());
    let dry_run = body["dryRun"].as_array().map(Vec::as_slice).unwrap_or_default();
    if dry_run.iter().any(|one| one != "All") {
        return unsupported("dryRun", &body["dryRun"], "\"All\"");
    }
    let policy = body["propagationPolicy"].as_str();
    let orphans = body["orphanDependents"].as_bool();
    if let (Some(policy), Some(_)) = (policy, orphans) {
        let why = "orphanDependents and deletionPropagation cannot be both set";
        return refused(StatusCause::invalid("propagationPolicy", &format!("\"{policy}\""), why));
    }
    let propagation = match policy.unwrap_or_default() {
        "" if orphans == Some(true) => Propagation::Orphan,
        "" | "Background" => Propagation::Background,
        "Foreground" => Propagation::Foreground,
        "Orphan" => Propagation::Orphan,
        _ => {
            let known = r#""Foreground", "Background", "Orphan", "nil""#;
            return unsupported("propagationPolicy", &body["propagationPolicy"], known);
        }
    };
    let grace = &body["gracePeriodSeconds"];
    if !grace.is_null() && !grace.is_i64() {
        let why =
            not_into(grace, "int64").replace("Go value", "Go struct field DeleteOptions.gracePeriodSeconds");
        return Err(Status::bad_request(why));
    }
    Ok(DeleteOptions {
        grace_period_seconds: grace.as_i64(),
        uid: preconditions["uid"].as_str().filter(|u| !u.is_empty()).map(ToString::to_string),
        // A version that is no number matches no object.
        resource_version: version.map(|v| v.parse().unwrap_or(u64::MAX)),
        propagation,
        dry_run: !dry_run.is_empty(),
    })
}

/// Serves what a CustomResourceDefinition defines, and marks it established
/// (staging/src/k8s.io/apiextensions-apiserver/pkg/controller/establish).
fn serve_definition(store: &Store, definition: &Object) {
    let spec: Value = definition.field("spec").unwrap_or_default();
    for kind in schema::custom_kinds(&spec) {
        store.serve_custom(kind);
    }
    let at = store.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let condition = |kind: &str, reason: &str, message: &str| value!({"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": at});
    let stored: Vec<Value> = spec["versions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|v| v["storage"] == true)
        .map(|v| v["name"].clone())
        .collect();
    // The definition was stored a moment ago; if it is gone already, there is nothing to mark.
    drop(store.modify(&Kind::CUSTOM_RESOURCE_DEFINITION, "", &definition.meta.name, |o| {
        if o.raw("status").is_none_or(|s| s.len() < 3) {
            o.set_value(
                "status",
                &value!({"acceptedNames": spec["names"], "storedVersions": stored, "conditions": [
                    condition("NamesAccepted", "NoConflicts", "no conflicts found"),
                    condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
                ]}),
            );
        }
        Ok(())
    }));
}
