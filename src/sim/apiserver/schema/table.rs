//! The types of the served kinds, as a table: which fields there are, and what each of them takes.
//!
//! `types.txt` has a line a type, `apps.v1.Deployment field:SHAPE …`, written from the OpenAPI document of a real API
//! server (`tests/all/real/types.rs`, which also holds it to that). A table instead of generated code: reading a
//! value through Rust types of all kinds takes several times longer, and megabytes of program.

use serde_json::{Map, Value};
use std::{collections::BTreeMap, sync::OnceLock};

const TABLE: &str = include_str!("types.txt");

/// What a field takes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    Any,
    Bool,
    Bytes,
    /// Of this many bits.
    Int(u8),
    IntOrString,
    List(Box<Shape>),
    Map(Box<Shape>),
    Number,
    /// A number here is kept as text.
    Quantity,
    String,
    Time,
    Type(&'static str),
}

type Fields = BTreeMap<&'static str, Shape>;

/// Every type, by its name.
#[derive(Debug)]
pub(super) struct Types(BTreeMap<&'static str, Fields>);

/// What of a value no type knows, in the order in which it was met.
pub(super) type Unknown = Vec<String>;

impl Shape {
    fn read(text: &'static str) -> Self {
        let inner = |open, close| text.strip_prefix(open).and_then(|rest| rest.strip_suffix(close));
        if let Some(item) = inner('[', ']') {
            return Self::List(Box::new(Self::read(item)));
        }
        if let Some(value) = inner('{', '}') {
            return Self::Map(Box::new(Self::read(value)));
        }
        match text {
            "any" => Self::Any,
            "bool" => Self::Bool,
            "bytes" => Self::Bytes,
            "int32" => Self::Int(32),
            "int64" => Self::Int(64),
            "intOrString" => Self::IntOrString,
            "number" => Self::Number,
            "quantity" => Self::Quantity,
            "string" => Self::String,
            "time" => Self::Time,
            name => Self::Type(name),
        }
    }

    /// As Go's decoder calls it.
    fn in_go(&self) -> String {
        match self {
            Self::Any => "interface {}".to_owned(),
            Self::Bool => "bool".to_owned(),
            Self::Bytes => "[]uint8".to_owned(),
            Self::Int(bits) => format!("int{bits}"),
            Self::IntOrString => "intstr.IntOrString".to_owned(),
            Self::List(item) => format!("[]{}", item.in_go()),
            Self::Map(value) => format!("map[string]{}", value.in_go()),
            Self::Number => "float64".to_owned(),
            Self::Quantity => "resource.Quantity".to_owned(),
            Self::String => "string".to_owned(),
            Self::Time => "v1.Time".to_owned(),
            Self::Type(name) => name.split_once('.').map_or(*name, |(_, rest)| rest).to_owned(),
        }
    }

    /// Whether `value`, of no structure, is one of these; a quantity becomes text on the way.
    fn takes(&self, value: &mut Value) -> bool {
        match self {
            Self::Any => true,
            Self::Bool => value.is_boolean(),
            Self::Int(bits) => match value.as_i64() {
                Some(number) => *bits == 64 || i32::try_from(number).is_ok(),
                None => false,
            },
            Self::IntOrString => value.is_string() || value.as_i64().is_some(),
            Self::Number => value.is_number(),
            Self::Quantity => {
                if value.is_number() {
                    *value = value.to_string().into();
                }
                value.is_string()
            }
            Self::String => value.is_string(),
            Self::Bytes => serde_json::from_value::<k8s_openapi::ByteString>(value.clone()).is_ok(),
            Self::Time => value.as_str().is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok()),
            Self::List(_) | Self::Map(_) | Self::Type(_) => false,
        }
    }
}

/// Where in a value; written out only when something is to be said of it.
struct At<'a> {
    above: Option<&'a At<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    /// Of this type.
    Field(&'static str, &'a str),
    Item(usize),
    Key(&'a str),
}

impl At<'_> {
    /// `spec.containers[0].name`.
    fn path(at: Option<&Self>) -> String {
        let Some(Self { above, step }) = at else { return String::new() };
        let above = Self::path(*above);
        match step {
            Step::Item(index) => format!("{above}[{index}]"),
            Step::Field(_, name) | Step::Key(name) if above.is_empty() => (*name).to_owned(),
            Step::Field(_, name) | Step::Key(name) => format!("{above}.{name}"),
        }
    }

    /// `Container.spec.containers.name`: the innermost type, and the fields on the way to it alone.
    fn in_go(at: Option<&Self>) -> String {
        let (mut fields, mut owner, mut next) = (Vec::new(), None, at);
        while let Some(at) = next {
            if let Step::Field(of, name) = at.step {
                fields.push(name);
                owner = owner.or(of.rsplit('.').next());
            }
            next = at.above;
        }
        fields.push(owner.unwrap_or_default());
        fields.reverse();
        fields.join(".")
    }
}

/// What Go's decoder says of a value that does not fit.
fn wrong(at: Option<&At<'_>>, value: &Value, shape: &Shape) -> String {
    let what = match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(number) if matches!(shape, Shape::Int(_)) => format!("number {number}"),
        Value::Number(_) => "number".to_owned(),
        Value::String(text) if matches!(shape, Shape::Bytes | Shape::Time) => format!("string {text:?}"),
        Value::String(_) => "string".to_owned(),
        Value::Array(_) => "array".to_owned(),
        Value::Object(_) => "object".to_owned(),
    };
    format!("cannot unmarshal {what} into Go struct field {} of type {}", At::in_go(at), shape.in_go())
}

impl Types {
    /// The types of this version.
    pub(super) fn get() -> &'static Self {
        static TYPES: OnceLock<Types> = OnceLock::new();
        TYPES.get_or_init(|| {
            let field =
                |text: &'static str| text.rsplit_once(':').map(|(name, shape)| (name, Shape::read(shape)));
            let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
            Self(
                lines
                    .map(|line| line.split_once(' ').unwrap_or((line, "")))
                    .map(|(name, fields)| (name, fields.split(' ').filter_map(field).collect()))
                    .collect(),
            )
        })
    }

    /// The type called `name`, as `apps.v1.Deployment`.
    pub(super) fn named(&self, name: &str) -> Option<&'static str> {
        self.0.get_key_value(name).map(|(name, _)| *name)
    }

    /// Takes out of `value` what its type does not have, and nulls, which mean the same as nothing.
    ///
    /// # Errors
    /// A value of another type, in the words of Go's decoder.
    pub(super) fn prune(&self, name: &'static str, value: &mut Value) -> Result<Unknown, String> {
        let mut unknown = Vec::new();
        self.walk(None, &Shape::Type(name), value, &mut unknown)?;
        Ok(unknown)
    }

    fn walk(
        &self,
        at: Option<&At<'_>>,
        shape: &Shape,
        value: &mut Value,
        unknown: &mut Unknown,
    ) -> Result<(), String> {
        if shape.takes(value) {
            return Ok(());
        }
        match (shape, &mut *value) {
            (Shape::Type(name), Value::Object(map)) => self.walk_fields(at, name, map, unknown),
            (Shape::List(item), Value::Array(items)) => {
                items.iter_mut().enumerate().try_for_each(|(i, value)| {
                    self.walk(Some(&At { above: at, step: Step::Item(i) }), item, value, unknown)
                })
            }
            (Shape::Map(below), Value::Object(map)) => {
                map.retain(|_, value| !value.is_null());
                map.iter_mut().try_for_each(|(key, value)| {
                    self.walk(Some(&At { above: at, step: Step::Key(key) }), below, value, unknown)
                })
            }
            _ => Err(wrong(at, value, shape)),
        }
    }

    fn walk_fields(
        &self,
        at: Option<&At<'_>>,
        owner: &'static str,
        map: &mut Map<String, Value>,
        unknown: &mut Unknown,
    ) -> Result<(), String> {
        let Some(fields) = self.0.get(owner) else { return Ok(()) };
        map.retain(|name, value| {
            let known = fields.contains_key(name.as_str());
            if !known && !value.is_null() {
                unknown.push(At::path(Some(&At { above: at, step: Step::Field(owner, name) })));
            }
            known && !value.is_null()
        });
        map.iter_mut().try_for_each(|(name, value)| {
            let at = At { above: at, step: Step::Field(owner, name) };
            self.walk(Some(&at), &fields[name.as_str()], value, unknown)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pruned(name: &str, mut value: Value) -> Result<(Value, Unknown), String> {
        let types = Types::get();
        let unknown = types.prune(types.named(name).expect("a type of the table"), &mut value)?;
        Ok((value, unknown))
    }

    #[test]
    fn every_shape_of_the_table_is_one_that_it_explains() {
        let types = Types::get();
        for (owner, fields) in &types.0 {
            for (field, shape) in fields {
                let mut inner = shape;
                while let Shape::List(below) | Shape::Map(below) = inner {
                    inner = below;
                }
                if let Shape::Type(name) = inner {
                    assert!(types.0.contains_key(name), "{owner}.{field}: {name}");
                }
            }
        }
    }

    #[test]
    fn what_no_type_has_goes_by_its_path_and_nulls_go_without_a_word() {
        let pod = json!({"spec": {"containers": [{"name": "a", "imagee": "b", "image": null}], "x": null}, "y": {}});
        let (left, unknown) = pruned("core.v1.Pod", pod).unwrap();
        assert_eq!(left, json!({"spec": {"containers": [{"name": "a"}]}}));
        assert_eq!(unknown, ["y", "spec.containers[0].imagee"]);
    }

    #[test]
    fn what_is_free_in_its_shape_is_left_as_it_is() {
        let crd = json!({"spec": {"versions": [{"schema": {"openAPIV3Schema": {
            "properties": {"a": {"default": {"b": [1, "c"]}, "items": {"type": "string"}}}}}}]}});
        assert_eq!(pruned("apiextensions.v1.CustomResourceDefinition", crd.clone()).unwrap(), (crd, vec![]));
    }

    #[test]
    fn numbers_of_quantities_become_text() {
        let spec =
            json!({"containers": [{"name": "a", "resources": {"limits": {"cpu": 2, "memory": "1Gi"}}}]});
        let (spec, _) = pruned("core.v1.PodSpec", spec).unwrap();
        assert_eq!(spec["containers"][0]["resources"]["limits"], json!({"cpu": "2", "memory": "1Gi"}));
    }

    #[test]
    fn a_value_of_another_type_is_refused_in_the_words_of_go() {
        for (kind, value, why) in [
            (
                "apps.v1.Deployment",
                json!({"spec": {"replicas": "3"}}),
                "string into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            (
                "apps.v1.Deployment",
                json!({"spec": {"replicas": 1.5}}),
                "number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            (
                "apps.v1.Deployment",
                json!({"spec": {"replicas": 5_000_000_000_u64}}),
                "number 5000000000 into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            (
                "core.v1.Pod",
                json!({"spec": {"containers": {}}}),
                "object into Go struct field PodSpec.spec.containers of type []v1.Container",
            ),
            (
                "core.v1.Pod",
                json!({"metadata": {"labels": {"a": 1}}}),
                "number into Go struct field ObjectMeta.metadata.labels of type string",
            ),
            (
                "core.v1.Secret",
                json!({"data": {"a": "no base64!"}}),
                "string \"no base64!\" into Go struct field Secret.data of type []uint8",
            ),
        ] {
            assert_eq!(pruned(kind, value).unwrap_err(), format!("cannot unmarshal {why}"));
        }
    }
}
