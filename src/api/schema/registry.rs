//! Schemas of faults and probes: what is built, and what is planned.

use serde_json::Value;

use super::build::*;
use super::{Field, Form, Merge, Schema, Shape, Text, shared};
use crate::api::planned::{self, Planned};
use crate::types::FieldSchema;
use crate::{faults, probes};

/// The fields of a step of which exactly one is given: what it does.
pub fn actions() -> Vec<&'static str> {
    let mut names: Vec<&str> = fault_names().collect();
    names.extend(["wait", "load", "check", "manual", "revert"]);
    names
}

/// Every fault, built or planned, sorted.
pub fn fault_names() -> impl Iterator<Item = &'static str> {
    let mut names: Vec<_> = faults::FAULTS.iter().map(|fault| fault.info().name).collect();
    names.extend(planned::FAULTS.iter().map(|fault| fault.name).filter(|name| faults::find(name).is_none()));
    names.sort_unstable();
    names.into_iter()
}

/// Every probe, built or planned, sorted.
pub fn probe_names() -> impl Iterator<Item = &'static str> {
    let mut names: Vec<_> = probes::PROBES.iter().map(|probe| probe.info().name).collect();
    names.extend(planned::PROBES.iter().map(|probe| probe.name).filter(|name| probes::find(name).is_none()));
    names.sort_unstable();
    names.into_iter()
}

pub(super) fn fault_fields() -> Vec<Field> {
    fault_names()
        .map(|name| match faults::find(name) {
            Some(fault) => built(name, fault.info().summary, fault.info().fields),
            None => planned_field(planned::fault(name)),
        })
        .collect()
}

pub(super) fn probe_fields() -> Vec<Field> {
    probe_names()
        .map(|name| match probes::find(name) {
            Some(probe) => built(name, probe.info().summary, probe.info().fields),
            None => planned_field(planned::probe(name)),
        })
        .collect()
}

fn built(name: &str, summary: &str, fields: &[FieldSchema]) -> Field {
    let mut schema = object(fields.iter().map(field_of).collect());
    for names in exclusive(fields) {
        let message = format!("{name} takes at most one of {}", names.join(", "));
        schema = schema.at_most_one(&names, &message);
    }
    for names in alternatives(fields) {
        let message = format!("{name} takes exactly one of {}", names.join(", "));
        schema = schema.exactly_one(&names, &message);
    }
    field(name, summary, schema)
}

fn planned_field(planned: Option<&'static Planned>) -> Field {
    let Some(planned) = planned else { return field("", "", object(Vec::new())) };
    built(planned.name, planned.summary, planned.fields).not_yet()
}

/// Groups announced in a description as "Exactly one of a and b."
fn alternatives(fields: &[FieldSchema]) -> Vec<Vec<&str>> {
    group(fields, "Exactly one of ")
}

/// Groups announced in a description as "At most one of a and b."
fn exclusive(fields: &[FieldSchema]) -> Vec<Vec<&str>> {
    group(fields, "At most one of ")
}

fn group<'a>(fields: &'a [FieldSchema], words: &str) -> Vec<Vec<&'a str>> {
    fields
        .iter()
        .filter_map(|field| {
            let (_, after) = field.description.split_once(words)?;
            let sentence = after.split('.').next().unwrap_or_default();
            let names: Vec<&str> = fields
                .iter()
                .map(|field| field.name)
                .filter(|name| sentence.split([',', ' ']).any(|word| word == *name))
                .collect();
            (names.len() > 1).then_some(names)
        })
        .collect()
}

fn field_of(described: &FieldSchema) -> Field {
    let mut made = field(described.name, described.description, shape_of(described));
    made.required = described.required;
    made.schema.default = described.default.map(str::to_owned);
    made
}

fn shape_of(described: &FieldSchema) -> Schema {
    let may_be_zero = described.default == Some("0s") || described.name == "gracePeriod";
    match described.schema {
        "duration" if may_be_zero => duration(),
        "duration" => positive(),
        "amount" => amount(),
        "percent" => percent(),
        "cel" => cel(),
        "promql" => promql(),
        "labels" => shared::selector(),
        "peers" => shared::peers(false),
        "peersAndHosts" => shared::peers(true),
        "service" => shared::service(),
        "auth" => shared::auth(),
        "tls" => shared::tls(),
        "url" => shared::http_url(),
        "label" => label(),
        "text" => text(1024),
        "texts" => list(words(253), 1, 32, Merge::Set),
        "ports" => list(
            schema(Shape::IntOrText {
                pattern: "^[1-9][0-9]{0,4}(-[1-9][0-9]{0,4})?$".to_owned(),
                min: 1,
                meaning: "a port (5432) or a range (8000-8100)".to_owned(),
            }),
            1,
            32,
            Merge::Atomic,
        ),
        json => {
            serde_json::from_str::<Value>(json).map_or_else(|_| schema(Shape::Any), |json| open_api(&json))
        }
    }
}

/// Reads the part of OpenAPI that the registries use; a test refuses what it would not understand.
fn open_api(json: &Value) -> Schema {
    let number = |key: &str, or: i64| json[key].as_i64().unwrap_or(or);
    let size = |key: &str, or: usize| json[key].as_u64().map_or(or, |size| size as usize);
    let pattern = json["pattern"].as_str();
    if json["x-kubernetes-int-or-string"] == true {
        return schema(Shape::IntOrText {
            pattern: pattern.unwrap_or(".*").to_owned(),
            min: number("minimum", i64::MIN),
            meaning: "a whole number or a percentage".to_owned(),
        });
    }
    match json["type"].as_str() {
        Some("integer") => integer(number("minimum", i64::MIN), number("maximum", i64::MAX)),
        Some("number") => schema(Shape::Number),
        Some("boolean") => boolean(),
        Some("string") => {
            let form = match (json["enum"].as_array(), pattern) {
                (Some(values), _) => {
                    Form::Choice(values.iter().filter_map(Value::as_str).map(str::to_owned).collect())
                }
                (None, Some(pattern)) => {
                    Form::Pattern { pattern: pattern.to_owned(), meaning: format!("a text like {pattern}") }
                }
                (None, None) => Form::Free,
            };
            schema(Shape::Text(Text { form, min: size("minLength", 0), max: size("maxLength", 1024) }))
        }
        Some("array") => {
            list(open_api(&json["items"]), size("minItems", 0), size("maxItems", 32), Merge::Atomic)
        }
        Some("object") => {
            let required: Vec<&str> =
                json["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let fields = json["properties"].as_object().into_iter().flatten().map(|(name, json)| {
                let mut made = field(name, json["description"].as_str().unwrap_or_default(), open_api(json));
                made.required = required.contains(&name.as_str());
                made
            });
            object(fields.collect())
        }
        _ => schema(Shape::Any),
    }
}
