//! One description of the format, from which the CRDs, the editors' schema, the checker and `explain`
//! are made.
//!
//! The tables are written by hand beside the types that are decoded; a test decodes a document in which
//! every supported field is given, and writes it back, so that the two cannot drift apart.

mod build;
mod experiment;
mod game_day;
mod guardrail;
mod registry;
mod run;
mod shared;

use std::sync::LazyLock;

use crate::types::Code;

pub use build::{AMOUNT, BOUND, CRON, DURATION, LABEL, SUBDOMAIN, WORKLOAD};
pub use registry::{actions, fault_names, probe_names};

/// Steps of a method at most (format.md, section 11).
pub const MAX_STEPS: usize = 64;
/// Probes of an Experiment at most (format.md, section 11).
pub const MAX_PROBES: usize = 32;
/// API group of all four kinds.
pub const GROUP: &str = "firedrill.dev";
/// Version of all four kinds.
pub const VERSION: &str = "v1alpha1";
/// `apiVersion` of all four kinds.
pub const API_VERSION: &str = "firedrill.dev/v1alpha1";

/// What a value may be.
#[derive(Clone, Debug)]
pub struct Schema {
    /// One or two sentences.
    pub description: String,
    /// The default as it would be written, or in words. Never part of the CRD: a default that the API
    /// server writes down would outlive a change of it.
    pub default: Option<String>,
    /// False for what the format has and this version does not do yet.
    pub supported: bool,
    /// The shape.
    pub shape: Shape,
    /// CEL rules for the API server. The checker holds the same with its own words and places.
    pub rules: Vec<Rule>,
}

/// The shape of a value.
#[derive(Clone, Debug)]
pub enum Shape {
    /// A map of known fields.
    Object {
        /// The fields, in the order of the reference.
        fields: Vec<Field>,
        /// Fields of which one excludes the others.
        unions: Vec<Union>,
    },
    /// A map of names to texts, such as labels.
    Texts {
        /// How many at most.
        max: usize,
    },
    /// A list.
    List {
        /// What its items are.
        items: Box<Schema>,
        /// How many at least.
        min: usize,
        /// How many at most.
        max: usize,
        /// How the API server merges it.
        merge: Merge,
    },
    /// A text.
    Text(Text),
    /// A whole number.
    Integer {
        /// At least.
        min: i64,
        /// At most.
        max: i64,
    },
    /// A number.
    Number,
    /// true or false.
    Boolean,
    /// A whole number or a text of this pattern, such as `2` and `50%`.
    IntOrText {
        /// What the text must match; whole numbers are held against `min`.
        pattern: String,
        /// The smallest whole number.
        min: i64,
        /// What is meant, in words.
        meaning: String,
    },
    /// Anything at all.
    Any,
}

/// A text.
#[derive(Clone, Debug)]
pub struct Text {
    /// What it says.
    pub form: Form,
    /// Characters at least.
    pub min: usize,
    /// Characters at most.
    pub max: usize,
}

/// What a text says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// Anything.
    Free,
    /// One of these.
    Choice(Vec<String>),
    /// What the pattern (RE2) says, with its meaning in words.
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is meant.
        meaning: String,
    },
    /// A length of time.
    Duration {
        /// Whether no time at all is one.
        zero: bool,
    },
    /// A CEL expression.
    Cel,
    /// A PromQL expression.
    PromQl,
    /// A workload as TYPE[.GROUP]/NAME.
    Workload,
    /// Five fields of cron.
    Cron,
    /// An IANA time zone.
    TimeZone,
    /// A point in time, RFC 3339.
    Time,
}

/// How the API server merges a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Merge {
    /// As a whole.
    Atomic,
    /// As a set of texts.
    Set,
    /// By these fields.
    Map(&'static [&'static str]),
}

/// A field of an object.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// What it may be.
    pub schema: Schema,
    /// Whether it has to be given.
    pub required: bool,
}

/// Fields of which one excludes the others.
#[derive(Clone, Debug)]
pub struct Union {
    /// The fields.
    pub names: Vec<String>,
    /// Whether one has to be given.
    pub required: bool,
    /// What is said when the rule is broken.
    pub message: String,
}

/// A CEL rule of the CRD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The expression, true when all is well.
    pub rule: String,
    /// What the API server says when it is not.
    pub message: String,
    /// The finding of the checker, which evaluates the same expression; None where the checker holds the
    /// rule with words and places of its own.
    pub code: Option<Code>,
}

/// One of the four kinds.
#[derive(Debug)]
pub struct KindSchema {
    /// `Experiment`.
    pub kind: &'static str,
    /// `experiments`.
    pub plural: &'static str,
    /// For kubectl.
    pub short_names: &'static [&'static str],
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// What it is for.
    pub description: &'static str,
    /// `spec`.
    pub spec: Schema,
    /// `status`.
    pub status: Schema,
    /// What `kubectl get` shows: name, type, JSONPath, priority (1: only with -o wide).
    pub columns: &'static [Column],
}

/// A column of `kubectl get`.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Heading.
    pub name: &'static str,
    /// OpenAPI type.
    pub kind: &'static str,
    /// Where the value is.
    pub path: &'static str,
    /// Only with `-o wide`.
    pub wide: bool,
}

static KINDS: LazyLock<[KindSchema; 4]> =
    LazyLock::new(|| [experiment::kind(), game_day::kind(), run::kind(), guardrail::kind()]);

/// All four kinds; built once.
pub fn kinds() -> &'static [KindSchema] {
    &*KINDS
}

/// The kind of that name.
pub fn kind(name: &str) -> Option<&'static KindSchema> {
    kinds().iter().find(|kind| kind.kind == name)
}

/// What `metadata` may hold in a file: what the API server keeps there, as files exported from it have it.
pub fn metadata() -> &'static Schema {
    static METADATA: LazyLock<Schema> = LazyLock::new(shared::metadata);
    &METADATA
}

/// A value of which nothing is asked.
pub fn anything() -> Schema {
    build::schema(Shape::Any)
}

impl Schema {
    /// The fields, if this is an object.
    pub fn fields(&self) -> &[Field] {
        match &self.shape {
            Shape::Object { fields, .. } => fields,
            _ => &[],
        }
    }

    /// The field of that name, if this is an object that has it.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields().iter().find(|field| field.name == name)
    }

    /// What one item of it is, for lists; itself otherwise.
    pub fn item(&self) -> &Schema {
        match &self.shape {
            Shape::List { items, .. } => items,
            _ => self,
        }
    }
}

#[cfg(test)]
mod tests;
