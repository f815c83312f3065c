//! Findings: answers with a stable code, a place and a remedy.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

/// A stable code such as `FD3001`, explained by `firedrill explain FD3001`.
///
/// Families: FD1xxx the file, FD2xxx rights, consent and environment, FD3xxx targets and limits,
/// FD4xxx hazards that do not refuse, FD5xxx what decided a run, FD6xxx residue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Code(pub Cow<'static, str>);

impl Code {
    /// A code known at compile time.
    pub const fn new(code: &'static str) -> Self {
        Self(Cow::Borrowed(code))
    }

    /// The code's entry in the catalogue; None for one that this version does not know.
    pub fn info(&self) -> Option<&'static CodeInfo> {
        super::codes::all().find(|info| info.code == *self)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What `explain CODE` says.
#[derive(Debug)]
pub struct CodeInfo {
    /// The code.
    pub code: Code,
    /// One line.
    pub title: &'static str,
    /// The rule or practice behind it, with its source.
    pub standard: &'static str,
    /// How firedrill finds it out.
    pub discovery: &'static str,
    /// What to do about it.
    pub resolution: &'static str,
}

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Severity {
    /// Nothing runs while it stands.
    Error,
    /// Worth knowing; does not stop anything.
    Warning,
}

/// Where in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// File name as given, `-` for standard input.
    pub file: String,
    /// 1-based.
    pub line: usize,
    /// 1-based, in characters.
    pub column: usize,
    /// Byte range in the file.
    pub span: (usize, usize),
}

/// An answer: what is wrong or worth knowing, about what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable code.
    pub code: Code,
    /// Whether it refuses.
    pub severity: Severity,
    /// What it is about: an object (`node/n1`), a path in the file (`spec.method[0]`).
    pub subject: String,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// What to do; empty if the message says it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
    /// Where in the file, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

impl Finding {
    /// A finding that refuses.
    pub fn error(code: Code, subject: impl fmt::Display, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            subject: subject.to_string(),
            message: message.into(),
            remedy: String::new(),
            place: None,
        }
    }

    /// A finding that only warns.
    pub fn warning(code: Code, subject: impl fmt::Display, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, subject, message) }
    }

    /// The same with a remedy.
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    /// The same at a place.
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// Whether it refuses.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}[{}]: {}: {}", self.code, self.subject, self.message)?;
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        Ok(())
    }
}
