//! `kubernetes`: what the API server says of an object or a list of them.

use super::{Probe, ProbeInfo, Variable, VariableType};
use crate::types::FieldSchema;

/// See [`INFO`].
pub struct Kubernetes;

/// An object (by `name`) or a list of objects (by `selector`), judged by CEL.
pub static INFO: ProbeInfo = ProbeInfo {
    name: "kubernetes",
    summary: "An object or a list of objects of the API server, judged by CEL.",
    example: "name: replicas\nkubernetes: {apiVersion: apps/v1, kind: Deployment, name: checkout}\nvalue: object.status.readyReplicas\nexpect: value >= 2\n",
    fields: &[
        FieldSchema {
            name: "apiVersion",
            description: "API version of the object, such as apps/v1.",
            required: true,
            default: None,
            schema: r#"{"type":"string","minLength":1,"maxLength":253,"pattern":"^([a-z0-9.-]+/)?v[a-z0-9]+$"}"#,
        },
        FieldSchema {
            name: "kind",
            description: "Kind of the object, such as Deployment.",
            required: true,
            default: None,
            schema: r#"{"type":"string","minLength":1,"maxLength":63,"pattern":"^[A-Z][A-Za-z0-9]*$"}"#,
        },
        FieldSchema {
            name: "name",
            description: "Name of the one object. Exactly one of name and selector.",
            required: false,
            default: None,
            schema: r#"{"type":"string","minLength":1,"maxLength":253}"#,
        },
        FieldSchema {
            name: "selector",
            description: "Selects a list of objects by label; {} is all of the namespace.",
            required: false,
            default: None,
            schema: "labels",
        },
        FieldSchema {
            name: "namespace",
            description: "Where the object is. Default: the file's namespace.",
            required: false,
            default: None,
            schema: r#"{"type":"string","minLength":1,"maxLength":63}"#,
        },
    ],
    variables: &[
        Variable {
            name: "object",
            kind: VariableType::Any,
            description: "The object, with name. Absent whole numbers of a status are zero.",
        },
        Variable {
            name: "objects",
            kind: VariableType::Any,
            description: "The list of objects, with selector.",
        },
        Variable {
            name: "before",
            kind: VariableType::Any,
            description: "The object (or list) as it was when Baseline ended; the present one until then.",
        },
    ],
    default_value: None,
};

impl Probe for Kubernetes {
    fn info(&self) -> &'static ProbeInfo {
        &INFO
    }
}
