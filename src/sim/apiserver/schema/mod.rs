//! Decoding by the built-in types: wrong types are refused, unknown fields are refused or dropped.

mod table;

use self::table::Types;
use super::request::Call;
use crate::sim::store::{Kind, KindInfo, Status};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// What happens to unknown fields (`fieldValidation`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strictness {
    /// They are an error.
    Strict,
    /// They are dropped.
    Lenient,
}

impl Strictness {
    pub(super) fn of(call: &Call) -> Self {
        if call.param("fieldValidation") == "Strict" { Self::Strict } else { Self::Lenient }
    }
}

/// Reads a value as its kind; what comes back holds known fields only. Custom resources come back as they are.
///
/// # Errors
/// 400 for wrong types, and with [`Strictness::Strict`] for unknown fields.
pub(super) fn decode(kind: &Kind, value: Value, strictness: Strictness) -> Result<Value, Status> {
    read_as(kind, value, strictness).map_err(|why| {
        Status::bad_request(format!(
            "{} in version \"{}\" cannot be handled as a {}: {why}",
            kind.kind, kind.version, kind.kind
        ))
    })
}

/// [`decode`], with only the reason as error.
///
/// # Errors
/// Wrong types, and with [`Strictness::Strict`] unknown fields.
pub(super) fn read_as(kind: &Kind, mut value: Value, strictness: Strictness) -> Result<Value, String> {
    let Some(map) = value.as_object_mut() else { return Err("it is not an object".to_owned()) };
    map.insert("apiVersion".into(), kind.api_version().into());
    map.insert("kind".into(), kind.kind.as_ref().into());
    if !map.get("metadata").is_some_and(Value::is_object) {
        map.insert("metadata".into(), Value::Object(serde_json::Map::new()));
    }
    nulls_to_text(&mut map["metadata"]);
    if kind.is_custom() {
        return Ok(value);
    }
    let types = Types::get();
    let Some(name) = types.named(&name_of(kind)) else { return Ok(value) };
    let unknown = types.prune(name, &mut value).map_err(|why| format!("json: {why}"))?;
    if strictness == Strictness::Strict && !unknown.is_empty() {
        let list: Vec<String> = unknown.iter().map(|f| format!("unknown field \"{f}\"")).collect();
        return Err(format!("strict decoding error: {}", list.join(", ")));
    }
    Ok(value)
}

/// What the table calls the type of a kind: `apps.v1.Deployment`.
fn name_of(kind: &Kind) -> String {
    let group = kind.group.split('.').next().filter(|group| !group.is_empty()).unwrap_or("core");
    format!("{group}.{}.{}", kind.version, kind.kind)
}

/// Go reads null into a map of texts as an empty one.
fn nulls_to_text(metadata: &mut Value) {
    for name in ["labels", "annotations"] {
        let texts =
            metadata.get_mut(name).and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut);
        texts.filter(|text| text.is_null()).for_each(|text| *text = "".into());
    }
}

/// The kinds that the spec of a CustomResourceDefinition defines, one per served version.
pub(super) fn custom_kinds(spec: &Value) -> Vec<Kind> {
    let names = &spec["names"];
    let text = |v: &Value| v.as_str().unwrap_or_default().to_string();
    let list = |v: &Value| -> Vec<Cow<'static, str>> {
        v.as_array().into_iter().flatten().map(|s| Cow::Owned(text(s))).collect()
    };
    let singular =
        names["singular"].as_str().map_or_else(|| text(&names["kind"]).to_lowercase(), ToString::to_string);
    let served = spec["versions"].as_array().into_iter().flatten().filter(|v| v["served"] == true);
    served
        .map(|version| {
            Kind::custom(KindInfo {
                group: text(&spec["group"]).into(),
                version: text(&version["name"]).into(),
                kind: text(&names["kind"]).into(),
                plural: text(&names["plural"]).into(),
                singular: singular.clone().into(),
                short_names: list(&names["shortNames"]).into(),
                categories: list(&names["categories"]).into(),
                namespaced: spec["scope"] == "Namespaced",
                generation: true,
                status: version["subresources"].get("status").is_some(),
                scale: false,
            })
        })
        .collect()
}
