//! How a fault or a probe describes its fields to the format's schema.

/// One field of a fault or a probe, from which schema, check, CRD and `explain` are made.
///
/// `schema` is an OpenAPI 3 schema object in JSON, such as `{"type":"integer","minimum":0}`;
/// nested objects are written out in it.
#[derive(Clone, Copy, Debug)]
pub struct FieldSchema {
    /// The field's name in the file.
    pub name: &'static str,
    /// What it is for, with unit and default, in one or two sentences.
    pub description: &'static str,
    /// Whether it has to be given.
    pub required: bool,
    /// The default as it would be written in the file; None where there is none.
    pub default: Option<&'static str>,
    /// OpenAPI 3 schema, JSON text. The short forms `"duration"`, `"amount"`, `"cel"`, `"promql"`,
    /// `"labels"`, `"peers"`, `"peersAndHosts"` stand for the format's own types.
    pub schema: &'static str,
}
