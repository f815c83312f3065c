//! JSON Schema (draft 7) for editors: completion and checks while typing.
//!
//! "Exactly one of" is `oneOf` here, which editors turn into completions.

use serde_json::{Map, Value, json};

use super::crds::described;
use super::schema::{
    API_VERSION, CRON, DURATION, Form, KindSchema, Schema, Shape, WORKLOAD, kinds, metadata,
};

/// The schema of a document of any of the four kinds.
pub fn json_schema() -> Value {
    let definitions: Map<String, Value> =
        kinds().iter().map(|kind| (kind.kind.to_owned(), document(kind))).collect();
    let any: Vec<Value> =
        kinds().iter().map(|kind| json!({"$ref": format!("#/definitions/{}", kind.kind)})).collect();
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "firedrill",
        "description": "Experiment, GameDay, Run and Guardrail",
        "oneOf": any,
        "definitions": definitions,
    })
}

fn document(kind: &KindSchema) -> Value {
    json!({
        "type": "object",
        "description": kind.description,
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "additionalProperties": false,
        "properties": {
            "apiVersion": {"const": API_VERSION},
            "kind": {"const": kind.kind},
            "metadata": draft7(metadata()),
            "spec": draft7(&kind.spec),
            "status": draft7(&kind.status),
        },
    })
}

fn draft7(schema: &Schema) -> Value {
    let mut value = match &schema.shape {
        Shape::Object { fields, .. } => object(schema, fields),
        Shape::Texts { max } => {
            json!({"type": "object", "maxProperties": max, "additionalProperties": {"type": "string"}})
        }
        Shape::List { items, min, max, .. } => {
            json!({"type": "array", "minItems": min, "maxItems": max, "items": draft7(items)})
        }
        Shape::Text(text) => {
            let mut value = json!({"type": "string", "minLength": text.min, "maxLength": text.max});
            match &text.form {
                Form::Choice(choices) => value = json!({"enum": choices}),
                Form::Pattern { pattern, .. } => value["pattern"] = pattern.as_str().into(),
                Form::Duration { .. } => value["pattern"] = DURATION.into(),
                Form::Workload => value["pattern"] = WORKLOAD.into(),
                Form::Cron => value["pattern"] = CRON.into(),
                Form::Time => value["format"] = "date-time".into(),
                Form::Free | Form::Cel | Form::PromQl | Form::TimeZone => {}
            }
            value
        }
        Shape::Integer { min, max } => {
            let mut value = json!({"type": "integer"});
            if *min > i64::MIN {
                value["minimum"] = (*min).into();
            }
            if *max < i64::MAX {
                value["maximum"] = (*max).into();
            }
            value
        }
        Shape::Number => json!({"type": "number"}),
        Shape::Boolean => json!({"type": "boolean"}),
        Shape::IntOrText { pattern, min, .. } => {
            let mut whole = json!({"type": "integer"});
            if *min > i64::MIN {
                whole["minimum"] = (*min).into();
            }
            json!({"anyOf": [whole, {"type": "string", "pattern": pattern}]})
        }
        Shape::Any => json!({}),
    };
    let description = described(schema);
    if !description.is_empty() {
        value["description"] = description.into();
    }
    value
}

fn object(schema: &Schema, fields: &[super::schema::Field]) -> Value {
    let properties: Map<String, Value> =
        fields.iter().map(|field| (field.name.clone(), draft7(&field.schema))).collect();
    let required: Vec<&str> =
        fields.iter().filter(|field| field.required).map(|field| field.name.as_str()).collect();
    let mut value = json!({"type": "object", "additionalProperties": false, "properties": properties});
    if !required.is_empty() {
        value["required"] = json!(required);
    }
    let Shape::Object { unions, .. } = &schema.shape else { return value };
    let mut all: Vec<Value> = Vec::new();
    for union in unions {
        let mut branches: Vec<Value> = union.names.iter().map(|name| json!({"required": [name]})).collect();
        if !union.required {
            let none: Vec<Value> = branches.clone();
            branches.push(json!({"not": {"anyOf": none}}));
        }
        all.push(json!({"oneOf": branches}));
    }
    if !all.is_empty() {
        value["allOf"] = all.into();
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_there_and_steps_are_one_of() {
        let schema = json_schema();
        let step =
            &schema["definitions"]["Experiment"]["properties"]["spec"]["properties"]["method"]["items"];
        let branches = step["allOf"][0]["oneOf"].as_array().expect("a step is one of its actions");
        assert!(branches.contains(&json!({"required": ["podKill"]})), "{branches:?}");
        assert!(branches.contains(&json!({"required": ["wait"]})), "{branches:?}");
        assert_eq!(schema["oneOf"].as_array().map(Vec::len), Some(4));
        assert_eq!(step["additionalProperties"], false);
    }
}
