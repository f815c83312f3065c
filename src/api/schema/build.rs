//! Short words to write the tables with.

use crate::types::Code;

use super::{Field, Form, Merge, Rule, Schema, Shape, Text, Union};

/// A length of time as the API server checks it (Go's syntax without a sign).
pub const DURATION: &str = r"^(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$";
/// RFC 1123 label.
pub const LABEL: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
/// RFC 1123 subdomain.
pub const SUBDOMAIN: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// `2`, `50%` or `all`.
pub const AMOUNT: &str = "^(all|[1-9][0-9]{0,5}|[1-9][0-9]?%|100%)$";
/// `2` or `50%`.
pub const BOUND: &str = "^([1-9][0-9]{0,5}|[1-9][0-9]?%|100%)$";
/// Five fields of cron, as far as a pattern tells.
pub const CRON: &str = r"^[^@\s]\S*(\s+\S+){4}$";
/// TYPE[.GROUP]/NAME.
pub const WORKLOAD: &str = r"^[a-zA-Z]+(\.[a-z0-9.-]+)?/[a-z0-9]([-a-z0-9.]*[a-z0-9])?$";
/// Longest CEL expression (format.md, section 11).
pub const CEL_MAX: usize = 4096;
/// Longest PromQL expression (format.md, section 11).
pub const PROMQL_MAX: usize = 8192;

pub fn schema(shape: Shape) -> Schema {
    Schema { description: String::new(), default: None, supported: true, shape, rules: Vec::new() }
}

pub fn object(fields: Vec<Field>) -> Schema {
    schema(Shape::Object { fields, unions: Vec::new() })
}

pub fn list(items: Schema, min: usize, max: usize, merge: Merge) -> Schema {
    schema(Shape::List { items: Box::new(items), min, max, merge })
}

/// A list whose items are merged by `name`.
pub fn named(items: Schema, max: usize) -> Schema {
    list(items, 0, max, Merge::Map(&["name"]))
}

pub fn texts(max: usize) -> Schema {
    schema(Shape::Texts { max })
}

fn formed(form: Form, min: usize, max: usize) -> Schema {
    schema(Shape::Text(Text { form, min, max }))
}

pub fn text(max: usize) -> Schema {
    formed(Form::Free, 0, max)
}

/// A text that is not empty.
pub fn words(max: usize) -> Schema {
    formed(Form::Free, 1, max)
}

pub fn pattern(pattern: &str, meaning: &str, max: usize) -> Schema {
    formed(Form::Pattern { pattern: pattern.to_owned(), meaning: meaning.to_owned() }, 1, max)
}

pub fn label() -> Schema {
    pattern(LABEL, "a name of lower-case letters, digits and dashes", 63)
}

pub fn subdomain() -> Schema {
    pattern(SUBDOMAIN, "a name of lower-case letters, digits, dashes and dots", 253)
}

pub fn choice(values: &[&str]) -> Schema {
    formed(Form::Choice(values.iter().map(|value| (*value).to_owned()).collect()), 0, 64)
}

/// A length of time longer than nothing.
pub fn positive() -> Schema {
    formed(Form::Duration { zero: false }, 1, 32)
        .rule("duration(self) > duration('0s')", "must be longer than 0s")
}

/// A length of time, or none.
pub fn duration() -> Schema {
    formed(Form::Duration { zero: true }, 1, 32)
}

pub fn cel() -> Schema {
    formed(Form::Cel, 1, CEL_MAX)
}

pub fn promql() -> Schema {
    formed(Form::PromQl, 1, PROMQL_MAX)
}

pub fn workload() -> Schema {
    formed(Form::Workload, 3, 317)
}

pub fn cron() -> Schema {
    formed(Form::Cron, 1, 128)
}

pub fn time_zone() -> Schema {
    formed(Form::TimeZone, 1, 64).rule(
        "timestamp('2026-01-01T00:00:00Z').getHours(self) >= 0",
        "must be an IANA time zone such as Europe/London",
    )
}

pub fn time() -> Schema {
    formed(Form::Time, 1, 64)
}

pub fn integer(min: i64, max: i64) -> Schema {
    schema(Shape::Integer { min, max })
}

pub fn boolean() -> Schema {
    schema(Shape::Boolean)
}

/// `2`, `50%` or `all`.
pub fn amount() -> Schema {
    schema(Shape::IntOrText {
        pattern: AMOUNT.to_owned(),
        min: 1,
        meaning: "a count (2), a percentage (50%) or all".to_owned(),
    })
}

/// `2` or `50%`.
pub fn bound() -> Schema {
    schema(Shape::IntOrText {
        pattern: BOUND.to_owned(),
        min: 1,
        meaning: "a count (2) or a percentage (50%)".to_owned(),
    })
}

pub fn percent() -> Schema {
    pattern(r"^(100|[0-9]{1,2}(\.[0-9]+)?)%$", "a percentage such as 50%", 16)
}

pub fn field(name: &str, description: &str, mut schema: Schema) -> Field {
    description.clone_into(&mut schema.description);
    Field { name: name.to_owned(), schema, required: false }
}

impl Field {
    pub(in crate::api) fn required(mut self) -> Field {
        self.required = true;
        self
    }

    pub(in crate::api) fn default(mut self, default: &str) -> Field {
        self.schema.default = Some(default.to_owned());
        self
    }

    pub(in crate::api) fn not_yet(mut self) -> Field {
        self.schema.supported = false;
        self
    }
}

impl Schema {
    pub(in crate::api) fn rule(mut self, rule: &str, message: &str) -> Schema {
        self.rules.push(Rule { rule: rule.to_owned(), message: message.to_owned(), code: None });
        self
    }

    /// A rule that the checker evaluates too.
    pub(in crate::api) fn checked(mut self, code: Code, rule: &str, message: &str) -> Schema {
        self.rules.push(Rule { rule: rule.to_owned(), message: message.to_owned(), code: Some(code) });
        self
    }

    pub(in crate::api) fn exactly_one(self, names: &[&str], message: &str) -> Schema {
        self.union(names, true, message)
    }

    pub(in crate::api) fn at_most_one(self, names: &[&str], message: &str) -> Schema {
        self.union(names, false, message)
    }

    fn union(mut self, names: &[&str], required: bool, message: &str) -> Schema {
        if let Shape::Object { unions, .. } = &mut self.shape {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            unions.push(Union { names, required, message: message.to_owned() });
        }
        self
    }
}
