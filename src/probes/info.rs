//! What a probe says about itself.

use crate::types::FieldSchema;

/// Everything that schema, check and documentation need to know of a probe.
#[derive(Debug)]
pub struct ProbeInfo {
    /// As written in files.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// An example probe, YAML, that `check` accepts.
    pub example: &'static str,
    /// Its fields.
    pub fields: &'static [FieldSchema],
    /// What `value`, `expect` and `during` see besides `value`, `baseline`, `window` and `params`.
    pub variables: &'static [Variable],
    /// `value` when the file gives none, as CEL over the variables; None if there is none.
    pub default_value: Option<&'static str>,
}

/// A variable that expressions may use.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: VariableType,
    /// What it holds.
    pub description: &'static str,
}

/// The type of a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VariableType {
    /// 64-bit floating point: arithmetic with whole numbers needs `1.0`, not `1`.
    Double,
    /// 64-bit integer.
    Int,
    /// true or false.
    Bool,
    /// Text.
    String,
    /// Anything.
    Any,
}
