//! A tree against a schema.

use std::collections::BTreeSet;

use crate::api::schema::{Field, Form, Merge, Schema, Shape, Text, Union};
use crate::api::yaml::{Entry, Node, Span, Value};
use crate::types::codes::format as codes;
use crate::types::{Amount, AmountError, DurationError, Length, nearest};

use super::meant::{as_share, instead};
use super::pattern::{self, matches};
use super::report::Report;

/// Holds one value against its schema. `anchor` is where to point when something is missing from it.
pub(super) fn value(node: &Node, schema: &Schema, path: &str, anchor: Span, report: &mut Report<'_>) {
    if node.value == Value::Null && !matches!(schema.shape, Shape::Any) {
        return no_value(schema, path, anchor, report);
    }
    if node.text().is_some_and(|text| text.contains("$(params.")) && report.has_parameters() {
        // One without a value, or not declared: that was said, and nothing else can be.
        return;
    }
    let before = report.errors();
    match &schema.shape {
        Shape::Object { fields, unions } => object(node, (fields, unions), path, anchor, report),
        Shape::Texts { max } => texts(node, *max, path, report),
        Shape::List { items, min, max, merge } => list(node, items, (*min, *max, merge), path, report),
        Shape::Text(text) => self::text(node, text, path, report),
        Shape::Integer { min, max } => match node.value {
            Value::Int(number) if number < *min || number > *max => {
                let message = format!("{number} is not within {}", bounds(*min, *max));
                report.error(codes::RANGE, (path, node.span), &message, "");
            }
            Value::Int(_) => {}
            _ => mismatch(node, "a whole number", path, report),
        },
        Shape::Number if matches!(node.value, Value::Int(_) | Value::Float(_)) => {}
        Shape::Number => mismatch(node, "a number", path, report),
        Shape::Boolean if node.boolean().is_none() => mismatch(node, "true or false", path, report),
        Shape::IntOrText { pattern, min, meaning } => amount(node, (pattern, *min, meaning), path, report),
        Shape::Boolean | Shape::Any => {}
    }
    if report.errors() == before {
        if let Some(reading) = node.ambiguous.filter(|_| !matches!(schema.shape, Shape::Any)) {
            let written = report.text().get(node.span.start..node.span.end).unwrap_or_default().to_owned();
            let message = format!("YAML 1.1 readers such as kubectl's take `{written}` for {reading}");
            let remedy = format!("write \"{written}\" in quotes, or a value that is plain everywhere");
            report.warning(codes::AMBIGUOUS, (path, node.span), &message, &remedy);
        }
        rules(node, schema, path, anchor, report);
    }
}

fn bounds(min: i64, max: i64) -> String {
    match (min, max) {
        (min, i64::MAX) => format!("{min} or more"),
        (i64::MIN, max) => format!("{max} or less"),
        (min, max) => format!("{min} to {max}"),
    }
}

fn no_value(schema: &Schema, path: &str, anchor: Span, report: &mut Report<'_>) {
    let name = path.rsplit('.').next().unwrap_or(path);
    let empty_will_do = match &schema.shape {
        Shape::Object { fields, unions } => {
            fields.iter().all(|field| !field.required) && unions.iter().all(|union| !union.required)
        }
        _ => false,
    };
    let remedy = match &schema.shape {
        _ if empty_will_do => format!("write {name}: {{}}"),
        Shape::List { min: 0, .. } => format!("write {name}: [] or leave it out"),
        _ => "give it a value or leave it out".to_owned(),
    };
    let message = format!("`{name}` has no value; the API server would drop it");
    report.error(codes::NO_VALUE, (path, anchor), &message, &remedy);
}

fn mismatch(node: &Node, wanted: &str, path: &str, report: &mut Report<'_>) {
    let found = node.kind();
    let written = report.text().get(node.span.start..node.span.end).unwrap_or_default().to_owned();
    let remedy = match (&node.value, wanted) {
        (Value::Bool(_) | Value::Int(_) | Value::Float(_), "text") => {
            format!("write \"{written}\" in quotes")
        }
        (Value::Str(text), "true or false") => match text.to_lowercase().as_str() {
            "yes" | "on" | "y" | "true" => "write true".to_owned(),
            "no" | "off" | "n" | "false" => "write false".to_owned(),
            _ => String::new(),
        },
        (Value::Str(text), "a whole number" | "a number") if text.replace('_', "").parse::<i64>().is_ok() => {
            format!("write {} without quotes or underscores", text.replace('_', ""))
        }
        (Value::Map(_), "a list") => "begin each item with `- `".to_owned(),
        _ => String::new(),
    };
    report.error(codes::TYPE, (path, node.span), &format!("{found} where {wanted} is asked for"), &remedy);
}

/// An unknown key, with what may have been meant.
pub(super) fn unknown<'a>(
    entry: &Entry,
    path: &str,
    names: impl Iterator<Item = &'a str> + Clone,
    present: &BTreeSet<&str>,
    report: &mut Report<'_>,
) {
    let key = &entry.key;
    let given = |name: &&str| present.contains(name) && !name.eq_ignore_ascii_case(key);
    let near = if report.is_full() { None } else { nearest(key, names.clone().filter(|name| !given(name))) };
    let remedy = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None if names.clone().count() <= 12 => {
            format!("there are {}", names.collect::<Vec<_>>().join(", "))
        }
        None => String::new(),
    };
    report.error(
        codes::UNKNOWN_FIELD,
        (path, entry.key_span),
        &format!("there is no field `{key}` here"),
        &remedy,
    );
}

fn object(
    node: &Node,
    (fields, unions): (&[Field], &[Union]),
    path: &str,
    anchor: Span,
    report: &mut Report<'_>,
) {
    if !matches!(node.value, Value::Map(_)) {
        if node.text().is_some() && fields.iter().any(|field| field.name == "secretKeyRef") {
            let remedy = "write {secretKeyRef: {name: NAME, key: KEY}}";
            return report.error(codes::SECRET, (path, node.span), "a secret stands in the file", remedy);
        }
        return mismatch(node, "a map", path, report);
    }
    let names = || fields.iter().map(|field| field.name.as_str());
    let present: BTreeSet<&str> = node.entries().iter().map(|entry| entry.key.as_str()).collect();
    let mut guessed: Vec<&str> = Vec::new();
    for entry in node.entries() {
        let below = join(path, &entry.key);
        let Some(field) = fields.iter().find(|field| field.name == entry.key) else {
            if let Some(meant) = instead(entry, fields, &present) {
                let written = entry.value.text().unwrap_or_default();
                let message = format!("there is no field `{}` here", entry.key);
                let remedy = format!("did you mean `{meant}: {written}`?");
                report.error(codes::UNKNOWN_FIELD, (&below, entry.key_span), &message, &remedy);
                guessed.push(meant);
                continue;
            }
            misplaced(entry, &below, fields, &present, report);
            if !report.is_full() {
                guessed.extend(nearest(&entry.key, names()));
            }
            continue;
        };
        if !field.schema.supported {
            // Saying no to what is not there, or asking for its default, is no wish for it.
            let default =
                entry.value.text().is_some_and(|text| field.schema.default.as_deref() == Some(text));
            if entry.value.boolean() != Some(false) && !default {
                let message = format!("`{}` is not supported yet", entry.key);
                report.error(codes::NOT_YET, (&below, entry.key_span), &message, "");
            }
            continue;
        }
        value(&entry.value, &field.schema, &below, entry.key_span, report);
    }
    for field in fields.iter().filter(|field| field.required) {
        if node.get(&field.name).is_none() && !guessed.contains(&field.name.as_str()) {
            let message = format!("`{}` is missing", field.name);
            report.error(codes::MISSING_FIELD, (path, anchor), &message, &field.schema.description);
        }
    }
    for union in unions {
        one_of(node, (union, &guessed), path, anchor, report);
    }
}

/// An unknown key that belongs one level down says so.
fn misplaced(entry: &Entry, path: &str, fields: &[Field], present: &BTreeSet<&str>, report: &mut Report<'_>) {
    let home = fields.iter().find(|field| {
        present.contains(field.name.as_str())
            && field.schema.fields().iter().any(|below| below.name == entry.key)
    });
    match home {
        Some(home) => {
            let remedy = format!("it belongs into `{}`", home.name);
            let message = format!("there is no field `{}` here", entry.key);
            report.error(codes::UNKNOWN_FIELD, (path, entry.key_span), &message, &remedy);
        }
        None => unknown(entry, path, fields.iter().map(|field| field.name.as_str()), present, report),
    }
}

fn one_of(
    node: &Node,
    (union, guessed): (&Union, &[&str]),
    path: &str,
    anchor: Span,
    report: &mut Report<'_>,
) {
    let given: Vec<&Entry> = node.entries().iter().filter(|entry| union.names.contains(&entry.key)).collect();
    match given.as_slice() {
        [] if union.required && !union.names.iter().any(|name| guessed.contains(&name.as_str())) => {
            let remedy = if union.names.len() <= 8 {
                format!("give {}", union.names.join(", or "))
            } else {
                String::new()
            };
            report.error(
                codes::ONE_OF,
                (path, anchor),
                &format!("{}; none is given", union.message),
                &remedy,
            );
        }
        [] | [_] => {}
        [first, rest @ ..] => {
            for entry in rest {
                let message = format!("{}; `{}` and `{}` are given", union.message, first.key, entry.key);
                report.error(codes::ONE_OF, (path, entry.key_span), &message, "keep one of them");
            }
        }
    }
}

fn texts(node: &Node, max: usize, path: &str, report: &mut Report<'_>) {
    if !matches!(node.value, Value::Map(_)) {
        return mismatch(node, "a map", path, report);
    }
    if node.entries().len() > max {
        let message = format!("{} entries, at most {max} are allowed", node.entries().len());
        report.error(codes::RANGE, (path, node.span), &message, "");
    }
    for entry in node.entries() {
        let below = join(path, &entry.key);
        match &entry.value.value {
            Value::Str(_) => {
                if let Some(reading) = entry.value.ambiguous {
                    let message = format!("YAML 1.1 readers such as kubectl's take it for {reading}");
                    report.warning(
                        codes::AMBIGUOUS,
                        (&below, entry.value.span),
                        &message,
                        "put it in quotes",
                    );
                }
            }
            Value::Null => no_value(&crate::api::schema::anything(), &below, entry.key_span, report),
            _ => mismatch(&entry.value, "text", &below, report),
        }
    }
}

fn list(
    node: &Node,
    items: &Schema,
    (min, max, merge): (usize, usize, &Merge),
    path: &str,
    report: &mut Report<'_>,
) {
    if !matches!(node.value, Value::Seq(_)) {
        return mismatch(node, "a list", path, report);
    }
    let found = node.items();
    if found.len() < min || found.len() > max {
        let message = format!("{} items, {min} to {max} are allowed", found.len());
        report.error(codes::RANGE, (path, node.span), &message, "");
    }
    // What is beyond the bound is refused as a whole; it is not looked at one by one.
    let found = &found[..found.len().min(max)];
    for (index, item) in found.iter().enumerate() {
        let below = format!("{path}[{index}]");
        value(item, items, &below, Span::new(item.span.start, item.span.start), report);
    }
    let key = |item: &Node| -> Option<(Vec<String>, Span)> {
        match merge {
            Merge::Atomic => None,
            Merge::Set => Some((vec![item.text()?.to_owned()], item.span)),
            Merge::Map(keys) => {
                let values: Option<Vec<&Node>> = keys.iter().map(|key| item.get(key)).collect();
                let values = values?;
                let texts: Option<Vec<String>> =
                    values.iter().map(|value| value.text().map(str::to_owned)).collect();
                Some((texts?, values.first()?.span))
            }
        }
    };
    let keys: Vec<_> = found.iter().filter_map(key).collect();
    for (index, (name, span)) in keys.iter().enumerate() {
        if let Some((_, first)) = keys[..index].iter().find(|(other, _)| other == name) {
            let place = report.place(*first);
            let message = format!("`{}` is there twice; first in line {}", name.join("/"), place.line);
            report.error(codes::SAME_NAME, (path, *span), &message, "rename one of them");
        }
    }
}

fn text(node: &Node, text: &Text, path: &str, report: &mut Report<'_>) {
    let Value::Str(written) = &node.value else {
        if let (Form::Duration { .. }, Value::Int(number)) = (&text.form, &node.value) {
            let message = format!("`{number}` has no unit");
            let remedy = format!("write {number}s, {number}m or {number}ms");
            return report.error(codes::DURATION, (path, node.span), &message, &remedy);
        }
        if let (Form::Pattern { meaning, .. }, Value::Int(_) | Value::Float(_)) = (&text.form, &node.value) {
            let written = report.text().get(node.span.start..node.span.end).unwrap_or_default().to_owned();
            let remedy = as_share(&written, meaning);
            return report.error(
                codes::FORM,
                (path, node.span),
                &format!("`{written}` is not {meaning}"),
                &remedy,
            );
        }
        return mismatch(node, "text", path, report);
    };
    let length = written.chars().count();
    if length < text.min || length > text.max {
        let message = match length {
            0 => "the text is empty".to_owned(),
            _ => format!("{length} characters, {} to {} are allowed", text.min, text.max),
        };
        return report.error(codes::RANGE, (path, node.span), &message, "");
    }
    match &text.form {
        Form::Free | Form::Cel | Form::PromQl => {}
        Form::Choice(choices) => choice(node, written, choices, path, report),
        Form::Pattern { pattern, meaning } => {
            if !matches(written, pattern) {
                let remedy = as_share(written, meaning);
                report.error(
                    codes::FORM,
                    (path, node.span),
                    &format!("`{written}` is not {meaning}"),
                    &remedy,
                );
            } else if password_in_url(written) {
                report.error(codes::SECRET, (path, node.span), "a secret stands in the URL", "use auth");
            }
        }
        Form::Duration { zero } => duration(node, written, *zero, path, report),
        Form::Workload => workload(node, written, path, report),
        // What is wrong with it is said with its place, where the rest of a GameDay is held against each other.
        Form::Cron => {}
        Form::TimeZone => {
            if jiff::tz::TimeZone::get(written).is_err() {
                let message = format!("there is no time zone `{written}`");
                report.error(
                    codes::FORM,
                    (path, node.span),
                    &message,
                    "write an IANA name such as Europe/London",
                );
            }
        }
        Form::Time => {
            if written.parse::<jiff::Timestamp>().is_err() {
                let message = format!("`{written}` is not a time");
                report.error(codes::FORM, (path, node.span), &message, "write it as 2026-11-24T10:00:00Z");
            }
        }
    }
}

fn password_in_url(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else { return false };
    rest.split(['/', '?', '#']).next().is_some_and(|authority| authority.contains('@'))
}

fn choice(node: &Node, written: &str, choices: &[String], path: &str, report: &mut Report<'_>) {
    if choices.iter().any(|choice| choice == written) {
        return;
    }
    let remedy = match nearest(written, choices.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are {}", choices.join(", ")),
    };
    report.error(codes::CHOICE, (path, node.span), &format!("`{written}` is not one of the values"), &remedy);
}

fn duration(node: &Node, written: &str, zero: bool, path: &str, report: &mut Report<'_>) {
    match written.parse::<Length>() {
        Ok(length) if length.is_zero() && !zero => {
            let message = format!("`{written}` is no time at all");
            report.error(codes::DURATION, (path, node.span), &message, "write something longer than 0s");
        }
        // Go reads a bare 0; the API server's pattern does not.
        Ok(_) if written == "0" => {
            report.error(codes::DURATION, (path, node.span), "`0` has no unit", "write 0s");
        }
        Ok(_) => {}
        Err(error) => {
            let remedy = match error {
                DurationError::NoUnit(_) => format!("write {written}s, {written}m or {written}ms"),
                _ => String::new(),
            };
            let message = error.to_string();
            let message = message.split(';').next().unwrap_or_default();
            let remedy =
                if remedy.is_empty() { "write for example 30s, 1m30s or 200ms".to_owned() } else { remedy };
            report.error(codes::DURATION, (path, node.span), message, &remedy);
        }
    }
}

/// The workloads that there are, by every name kubectl takes.
pub(super) const WORKLOADS: &[(&str, &[&str])] = &[
    ("deployment", &["deployment", "deployments", "deploy"]),
    ("statefulset", &["statefulset", "statefulsets", "sts"]),
    ("daemonset", &["daemonset", "daemonsets", "ds"]),
    ("replicaset", &["replicaset", "replicasets", "rs"]),
];

/// The type of a workload reference, in its long singular form.
pub(super) fn workload_type(text: &str) -> Option<&'static str> {
    let (kind, _) = text.split_once('/')?;
    let (kind, group) = kind.split_once('.').unwrap_or((kind, "apps"));
    let kind = kind.to_lowercase();
    let known = WORKLOADS.iter().find(|(_, names)| names.contains(&kind.as_str()));
    known.filter(|_| group == "apps").map(|(name, _)| *name)
}

fn workload(node: &Node, written: &str, path: &str, report: &mut Report<'_>) {
    if !matches(written, crate::api::schema::WORKLOAD) {
        let message = format!("`{written}` is not a workload");
        return report.error(
            codes::FORM,
            (path, node.span),
            &message,
            "write TYPE/NAME, such as deployment/checkout",
        );
    }
    if workload_type(written).is_none() {
        let kind = written.split(['/', '.']).next().unwrap_or_default();
        let names = WORKLOADS.iter().flat_map(|(_, names)| names.iter().copied());
        let remedy = match nearest(kind, names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "there are deployment, statefulset, daemonset, replicaset".to_owned(),
        };
        let message = format!("`{written}` names no type of workload that is known");
        report.error(codes::FORM, (path, node.span), &message, &remedy);
    }
}

fn amount(node: &Node, (pattern, min, meaning): (&str, i64, &str), path: &str, report: &mut Report<'_>) {
    let written = match &node.value {
        Value::Int(number) => number.to_string(),
        Value::Str(text) => text.clone(),
        Value::Float(number) => {
            let message = format!("{number} is not {meaning}");
            return report.error(codes::AMOUNT, (path, node.span), &message, "");
        }
        _ => return mismatch(node, meaning, path, report),
    };
    let too_small = matches!(node.value, Value::Int(number) if number < min);
    if matches(&written, pattern) && !too_small {
        return;
    }
    let message = match written.parse::<Amount>() {
        Err(error @ (AmountError::Zero(_) | AmountError::OverWhole(_))) => error.to_string(),
        _ => format!("`{written}` is not {meaning}"),
    };
    let (message, remedy) = message.split_once("; ").unwrap_or((&message, ""));
    report.error(codes::AMOUNT, (path, node.span), message, remedy);
}

/// The rules that the API server would evaluate, where the checker has no words of its own.
fn rules(node: &Node, schema: &Schema, path: &str, anchor: Span, report: &mut Report<'_>) {
    for rule in &schema.rules {
        let Some(code) = rule.code.clone() else { continue };
        if !pattern::holds(&rule.rule, node) {
            report.error(code, (path, anchor), &rule.message, "");
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
