//! What may have been meant by something that is not right.

use std::collections::BTreeSet;

use super::pattern::matches;
use crate::{
    api::{
        schema::{Field, Form, Shape, Text},
        yaml::Entry,
    },
    types::nearest,
};

/// The one field that is missing, where an unknown key that resembles none has a value of its form.
pub(super) fn instead<'a>(entry: &Entry, fields: &'a [Field], present: &BTreeSet<&str>) -> Option<&'a str> {
    let mut missing = fields.iter().filter(|field| field.required && !present.contains(field.name.as_str()));
    let field = missing.next().filter(|_| missing.next().is_none())?;
    let Shape::Text(Text { form: Form::Pattern { pattern, .. }, .. }) = &field.schema.shape else {
        return None;
    };
    let near = nearest(&entry.key, fields.iter().map(|field| field.name.as_str()));
    (near.is_none() && matches(entry.value.text()?, pattern)).then_some(field.name.as_str())
}

/// What a number stands for where a percentage is asked for: as it is, or, up to 1, a hundred times as much.
pub(super) fn as_share(written: &str, meaning: &str) -> String {
    let number = written.parse::<f64>().ok().filter(|_| meaning.starts_with("a percentage"));
    match number {
        Some(share) if share > 0.0 && share < 1.0 => format!("write {}%", (share * 1e8).round() / 1e6),
        Some(percent) if (0.0..=100.0).contains(&percent) => format!("write {written}%"),
        _ => String::new(),
    }
}
