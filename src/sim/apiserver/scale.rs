//! The `scale` subresource of Deployments, ReplicaSets and StatefulSets
//! (pkg/registry/apps/deployment/storage/storage.go, ScaleREST).

use super::decode::{decode_object, not_into, unsupported};
use super::patch::{Patch, as_invalid};
use super::request::{Call, Target};
use super::write::{Writing, retry, text};
use super::{ApiBody, ApiServer, json};
use crate::sim::store::{Kind, KindInfo, LabelSelector, Object, Status, StatusCause};
use http::{Response, StatusCode};
use serde_json::{Value, json as value};
use std::sync::Arc;

impl ApiServer {
    pub(super) fn scale(
        &self,
        call: &Call,
        target: &Target,
        kind: &Kind,
    ) -> Result<Response<ApiBody>, Status> {
        let wanted = match call.verb {
            "get" => {
                let object = self.find(target, kind)?;
                return Ok(json(StatusCode::OK, &scale_of(&object)));
            }
            "update" => Wanted::Whole(decode_object(call, "Scale")?),
            "patch" => match Patch::parse(call, false)? {
                Patch::Apply(_) => {
                    return Err(unsupported("application/json-patch+json, application/merge-patch+json"));
                }
                patch => Wanted::Patch(patch),
            },
            _ => return Err(Status::method_not_allowed()),
        };
        // The manager is noted under the subresource; what else the body says of metadata is not taken.
        let mut writing = Writing::of(call, target, kind)?;
        writing.subresource = "";
        let written = retry(|| {
            let old = self.find(target, kind)?;
            let replicas = wanted.replicas(kind, &old)?;
            let old_value = old.to_value();
            let mut new = old_value.clone();
            new["spec"]["replicas"] = replicas.into();
            self.replace(&writing, &old, &old_value, new)
        })?;
        Ok(json(StatusCode::OK, &scale_of(&written)))
    }
}

enum Wanted {
    Whole(Value),
    Patch(Patch),
}

impl Wanted {
    /// The number of replicas asked for, once the preconditions hold.
    fn replicas(&self, kind: &Kind, old: &Arc<Object>) -> Result<i64, Status> {
        let current = scale_of(old);
        let asked = match self {
            Self::Whole(body) => body.clone(),
            Self::Patch(patch) => patch.applied(kind, &current)?,
        };
        let name = &old.meta.name;
        let given = text(&asked, "name");
        if !given.is_empty() && given != name {
            return Err(Status::bad_request(format!(
                "the name of the object ({given}) does not match the name on the URL ({name})"
            )));
        }
        let uid = text(&asked, "uid");
        if !uid.is_empty() && uid != old.meta.uid {
            let why = format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                old.meta.uid
            );
            let scale = KindInfo { plural: format!("{}/scale", kind.plural).into(), ..(**kind).clone() };
            return Err(Status::conflict(&scale, name, &why));
        }
        let version = text(&asked, "resourceVersion");
        if !version.is_empty() && version != old.meta.resource_version.to_string() {
            return Err(Status::modified(kind, name));
        }
        let replicas = match &asked["spec"]["replicas"] {
            Value::Null => Some(0),
            given => given.as_i64(),
        };
        let replicas = replicas.ok_or_else(|| {
            let why = not_into(&asked["spec"]["replicas"], "int32")
                .replace("Go value", "Go struct field ScaleSpec.spec.replicas");
            match self {
                Self::Whole(_) => Status::bad_request(format!(
                    "Scale in version \"v1\" cannot be handled as a Scale: {why}"
                )),
                Self::Patch(_) => as_invalid(&asked, &why),
            }
        })?;
        if replicas < 0 {
            let cause = StatusCause::invalid(
                "spec.replicas",
                &replicas.to_string(),
                "must be greater than or equal to 0",
            );
            let scale = KindInfo { group: "autoscaling".into(), kind: "Scale".into(), ..(**kind).clone() };
            return Err(Status::invalid(&scale, name, vec![cause]));
        }
        Ok(replicas)
    }
}

/// The `autoscaling/v1` Scale of an object.
fn scale_of(object: &Object) -> Value {
    let spec: Value = object.field("spec").unwrap_or_default();
    let status: Value = object.field("status").unwrap_or_default();
    let selector: LabelSelector = serde_json::from_value(spec["selector"].clone()).unwrap_or_default();
    let meta = serde_json::to_value(&object.meta).unwrap_or_default();
    let replicas = spec["replicas"].as_i64().unwrap_or(0);
    // `replicas,omitempty` in autoscaling/v1: a zero is left out.
    let spec = if replicas == 0 { value!({}) } else { value!({ "replicas": replicas }) };
    value!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {"name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"],
            "resourceVersion": meta["resourceVersion"], "creationTimestamp": meta["creationTimestamp"]},
        "spec": spec,
        "status": {"replicas": status["replicas"].as_i64().unwrap_or(0), "selector": selector_text(&selector)},
    })
}

/// A label selector in its text form.
fn selector_text(selector: &LabelSelector) -> String {
    let mut terms: Vec<String> = selector.match_labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    for e in &selector.match_expressions {
        let values = e.values.join(",");
        terms.push(match e.operator.as_str() {
            "In" => format!("{} in ({values})", e.key),
            "NotIn" => format!("{} notin ({values})", e.key),
            "DoesNotExist" => format!("!{}", e.key),
            _ => e.key.clone(),
        });
    }
    terms.join(",")
}
