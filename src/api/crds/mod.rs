//! The CustomResourceDefinitions: structural schemas with CEL rules, as kube-apiserver takes them.
//!
//! What was tried there (format.md, section 11): "exactly one of" as `[has(self.a), …].exists_one(x, x)`
//! with a message of ours, because `oneOf` answers misleadingly; `minimum` and `pattern` beside `anyOf` of
//! an int-or-string; maxima on everything that a rule looks at.

use serde_json::{Map, Value, json};

use super::schema::{CRON, DURATION, WORKLOAD};
use super::schema::{Column, Form, GROUP, KindSchema, Merge, Rule, Schema, Shape, VERSION, kinds};

/// Words that CEL reserves; as fields they are written `__for__`, which every server understands.
const RESERVED: [&str; 4] = ["for", "namespace", "in", "as"];
/// The longest text of a label or an annotation.
const MAX_TEXTS_VALUE: usize = 1024;

/// All four definitions, in the order of the reference.
pub fn crds() -> Vec<Value> {
    kinds().iter().map(crd).collect()
}

/// The definitions as one YAML text, for `kubectl apply --server-side`.
///
/// # Errors
/// Never in practice; the YAML writer's own.
pub fn yaml() -> Result<String, serde_yaml::ser::Error> {
    let mut text = String::new();
    for crd in crds() {
        text.push_str("---\n");
        text.push_str(&serde_yaml::to_string(&crd)?);
    }
    Ok(text)
}

fn crd(kind: &KindSchema) -> Value {
    let schema = json!({
        "type": "object",
        "description": kind.description,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": structural(&kind.spec, kind.kind == "Experiment"),
            "status": structural(&kind.status, false),
        },
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{}.{GROUP}", kind.plural)},
        "spec": {
            "group": GROUP,
            "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
            "names": {
                "kind": kind.kind,
                "listKind": format!("{}List", kind.kind),
                "plural": kind.plural,
                "singular": kind.kind.to_lowercase(),
                "shortNames": kind.short_names,
                "categories": ["firedrill"],
            },
            "versions": [{
                "name": VERSION,
                "served": true,
                "storage": true,
                "subresources": {"status": {}},
                "additionalPrinterColumns": kind.columns.iter().map(column).collect::<Vec<_>>(),
                "schema": {"openAPIV3Schema": schema},
            }],
        },
    })
}

fn column(column: &Column) -> Value {
    let mut value = json!({"name": column.name, "type": column.kind, "jsonPath": column.path});
    if column.wide {
        value["priority"] = 1.into();
    }
    value
}

/// Description and default in one text: the CRD itself sets no defaults.
pub(super) fn described(schema: &Schema) -> String {
    let mut text = schema.description.clone();
    if let Some(default) = &schema.default {
        text.push_str(&format!(" Default: {default}."));
    }
    if !schema.supported {
        text.push_str(" Not supported yet.");
    }
    text.trim().to_owned()
}

/// A text of an Experiment may hold `$(params.NAME)` in place of what its pattern asks for.
const PARAMETER: &str = r"|\$\(params\.";

/// The schema as OpenAPI. `parameters`: whether texts may refer to parameters.
fn structural(schema: &Schema, parameters: bool) -> Value {
    let mut value = match &schema.shape {
        Shape::Object { fields, .. } => {
            let properties: Map<String, Value> = fields
                .iter()
                .map(|field| (field.name.clone(), structural(&field.schema, parameters)))
                .collect();
            let required: Vec<&str> =
                fields.iter().filter(|field| field.required).map(|field| field.name.as_str()).collect();
            let mut value = json!({"type": "object"});
            // An empty map is one that the API server does not keep.
            if !properties.is_empty() {
                value["properties"] = properties.into();
            }
            if !required.is_empty() {
                value["required"] = json!(required);
            }
            value
        }
        Shape::Texts { max } => json!({
            "type": "object",
            "maxProperties": max,
            "additionalProperties": {"type": "string", "maxLength": MAX_TEXTS_VALUE},
        }),
        Shape::List { items, min, max, merge } => list(structural(items, parameters), (*min, *max), merge),
        Shape::Text(text) => {
            let mut value = json!({"type": "string", "maxLength": text.max});
            if text.min > 0 {
                value["minLength"] = text.min.into();
            }
            form(&mut value, &text.form, if parameters { PARAMETER } else { "" });
            value
        }
        Shape::Integer { min, max } => {
            let mut value = json!({"type": "integer", "format": "int64"});
            bounds(&mut value, *min, *max);
            value
        }
        Shape::Number => json!({"type": "number"}),
        Shape::Boolean => json!({"type": "boolean"}),
        Shape::IntOrText { pattern, min, .. } => {
            let mut value = json!({
                "x-kubernetes-int-or-string": true,
                "anyOf": [{"type": "integer"}, {"type": "string"}],
                "pattern": pattern,
                "maxLength": 16,
            });
            bounds(&mut value, *min, i64::MAX);
            value
        }
        Shape::Any => json!({"x-kubernetes-preserve-unknown-fields": true}),
    };
    let description = described(schema);
    if !description.is_empty() {
        value["description"] = description.into();
    }
    let rules = rules(schema);
    if !rules.is_empty() {
        value["x-kubernetes-validations"] =
            rules.iter().map(|rule| json!({"rule": rule.rule, "message": rule.message})).collect();
    }
    value
}

fn list(items: Value, (min, max): (usize, usize), merge: &Merge) -> Value {
    let mut value = json!({"type": "array", "maxItems": max, "items": items});
    if min > 0 {
        value["minItems"] = min.into();
    }
    match merge {
        Merge::Atomic => value["x-kubernetes-list-type"] = "atomic".into(),
        Merge::Set => value["x-kubernetes-list-type"] = "set".into(),
        Merge::Map(keys) => {
            value["x-kubernetes-list-type"] = "map".into();
            value["x-kubernetes-list-map-keys"] = json!(keys);
        }
    }
    value
}

fn bounds(value: &mut Value, min: i64, max: i64) {
    if min > i64::MIN {
        value["minimum"] = min.into();
    }
    if max < i64::MAX {
        value["maximum"] = max.into();
    }
}

fn form(value: &mut Value, form: &Form, or: &str) {
    match form {
        Form::Choice(choices) => {
            value["enum"] = json!(choices);
            value.as_object_mut().map(|object| object.remove("maxLength"));
        }
        Form::Pattern { pattern, .. } => value["pattern"] = format!("{pattern}{or}").into(),
        Form::Duration { .. } => value["pattern"] = DURATION.into(),
        Form::Workload => value["pattern"] = format!("{WORKLOAD}{or}").into(),
        Form::Cron => value["pattern"] = format!("{CRON}{or}").into(),
        Form::Time => value["format"] = "date-time".into(),
        Form::Free | Form::Cel | Form::PromQl | Form::TimeZone => {}
    }
}

/// The schema's own rules and one for each union, with reserved words escaped.
fn rules(schema: &Schema) -> Vec<Rule> {
    let mut rules: Vec<Rule> = schema.rules.clone();
    if let Shape::Object { unions, .. } = &schema.shape {
        for union in unions {
            let given: Vec<String> = union.names.iter().map(|name| format!("has(self.{name})")).collect();
            let one = format!("[{}].exists_one(x, x)", given.join(", "));
            let none = given.iter().map(|given| format!("!{given}")).collect::<Vec<_>>().join(" && ");
            let rule = if union.required { one } else { format!("({none}) || {one}") };
            rules.insert(0, Rule { rule, message: union.message.clone(), code: None });
        }
    }
    for rule in &mut rules {
        for word in RESERVED {
            for end in [")", " ", "."] {
                rule.rule = rule.rule.replace(&format!("self.{word}{end}"), &format!("self.__{word}__{end}"));
            }
        }
    }
    rules
}

#[cfg(test)]
mod tests;
