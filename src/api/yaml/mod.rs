//! YAML text to a tree in which every key and every value knows where it was written.
//!
//! YAML 1.2 (core schema), with the limits that keep a hostile file harmless. Reading never stops at
//! the first mistake where the text still has a structure: problems are collected beside the tree.

mod build;
mod scalar;

pub use build::parse;
pub use scalar::ambiguity;

/// The largest text that is read, in bytes (1 MiB).
pub const MAX_BYTES: usize = 1 << 20;
/// The deepest nesting of lists and maps that is read.
pub const MAX_DEPTH: usize = 64;
/// How many nodes all aliases of one text may add together (the alias bombs of CVE-2019-11253).
pub const MAX_ALIAS_NODES: usize = 10_000;
/// How many documents one text may hold.
pub const MAX_DOCUMENTS: usize = 256;

/// A range of bytes of a source text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// The range from `start` to `end`, never reversed.
    pub fn new(start: usize, end: usize) -> Span {
        Span { start, end: end.max(start) }
    }
}

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What was written.
    pub value: Value,
    /// Where.
    pub span: Span,
    /// How a YAML 1.1 reader such as kubectl's would read it, when that differs.
    pub ambiguous: Option<&'static str>,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`, `~` or nothing at all.
    Null,
    /// `true` or `false` (nothing else, as YAML 1.2 has it).
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A finite number with a fraction or an exponent.
    Float(f64),
    /// A text.
    Str(String),
    /// A list.
    Seq(Vec<Node>),
    /// A map in the order of the text, keys unique.
    Map(Vec<Entry>),
}

/// One key of a map with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key was written.
    pub key_span: Span,
    /// Its value.
    pub value: Node,
}

impl Node {
    /// The entries, if this is a map.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items, if this is a list.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::Seq(items) => items,
            _ => &[],
        }
    }

    /// The entry of `key`, if this is a map that has it.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The value of `key`, if this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The value at a path of keys.
    pub fn at(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, key| node.get(key))
    }

    /// The text, if this is one.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The truth value, if this is one.
    pub fn boolean(&self) -> Option<bool> {
        match self.value {
            Value::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// What kind of value this is, in words for people.
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Int(_) => "a whole number",
            Value::Float(_) => "a number with a fraction",
            Value::Str(_) => "text",
            Value::Seq(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// The same value without positions. Null map values are kept.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Int(value) => (*value).into(),
            Value::Float(value) => (*value).into(),
            Value::Str(text) => text.as_str().into(),
            Value::Seq(items) => items.iter().map(Node::to_json).collect(),
            Value::Map(entries) => serde_json::Value::Object(
                entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect(),
            ),
        }
    }
}

/// What was wrong with the text itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Not UTF-8.
    Encoding,
    /// Larger, deeper or more documents than are read.
    TooLarge,
    /// Not YAML.
    Syntax,
    /// The same key twice in one map.
    DuplicateKey,
    /// `<<`, a YAML 1.1 merge key.
    MergeKey,
    /// An alias that refers to itself, or too many of them.
    Alias,
    /// A number that cannot be kept exactly: NaN, infinite, beyond 64 bits.
    Number,
    /// A key that is not text, or a tag that has no meaning here.
    Unsupported,
}

/// One problem of the text itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// What kind of problem.
    pub fault: Fault,
    /// Where.
    pub span: Span,
    /// One sentence for people.
    pub message: String,
    /// What to write instead, if that is known.
    pub help: Option<String>,
    /// Another place that belongs to it, with what it is.
    pub related: Option<(Span, String)>,
}

/// A text read: as many documents as could be understood, and every problem on the way.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    /// The documents in order, empty ones left out.
    pub documents: Vec<Node>,
    /// The problems in the order of the text.
    pub problems: Vec<Problem>,
}

#[cfg(test)]
mod tests;
