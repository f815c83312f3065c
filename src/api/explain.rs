//! `explain KIND[.field…]`: what a field is for, its type, range and default, and what is below it.

use std::fmt::Write as _;

use super::schema::{API_VERSION, Form, Schema, Shape, actions, kinds, probe_names};
use crate::types::nearest;
use crate::{faults, probes};

/// The explanation of a path such as `experiment.spec.steadyState.expect`.
///
/// The kind is read without regard to case, plurals too; `spec` may be left out; list items are
/// what is below a list.
///
/// # Errors
/// One sentence that names what is not there and what may have been meant.
pub fn explain(path: &str) -> Result<String, String> {
    let mut parts = path.split('.').filter(|part| !part.is_empty());
    let name = parts.next().unwrap_or_default();
    let names = kinds().iter().flat_map(|kind| [kind.kind, kind.plural]);
    let found = kinds().iter().find(|kind| {
        let name = name.to_lowercase();
        kind.kind.to_lowercase() == name || kind.plural == name || kind.short_names.contains(&name.as_str())
    });
    let Some(kind) = found else {
        if let Some(place) = anywhere(name) {
            return explain(&path.trim_matches('.').replacen(name, &place, 1));
        }
        return Err(match nearest(name, names) {
            Some(near) => format!("there is no kind `{name}`; did you mean {near}?"),
            None => format!("there is no kind `{name}`; there are {}", kind_names()),
        });
    };
    let rest: Vec<&str> = parts.collect();
    let mut text = String::new();
    let _ = writeln!(text, "KIND:     {}", kind.kind);
    let _ = writeln!(text, "VERSION:  {API_VERSION}");
    if rest.is_empty() {
        let _ = writeln!(text, "\n{}\n\nFIELDS of spec:", kind.description);
        fields(&mut text, &kind.spec);
        return Ok(text);
    }
    let (root, steps) = match rest.split_first() {
        Some((&"spec", below)) => (&kind.spec, below),
        Some((&"status", below)) => (&kind.status, below),
        _ => (&kind.spec, rest.as_slice()),
    };
    let mut schema = root;
    let mut required = true;
    for (at, step) in steps.iter().enumerate() {
        let item = schema.item();
        let Some(field) = item.field(step) else {
            // A step's fault, say, without the list that the steps are in.
            if let Some(place) = place(item, step) {
                let (above, after) = (&rest[..rest.len() - steps.len() + at], &steps[at + 1..]);
                let parts =
                    [kind.kind.to_lowercase()].into_iter().chain(above.iter().map(|s| (*s).to_owned()));
                let parts = parts.chain([place]).chain(after.iter().map(|s| (*s).to_owned()));
                return explain(&parts.collect::<Vec<_>>().join("."));
            }
            let names = item.fields().iter().map(|field| field.name.as_str());
            let where_to = if at == 0 { kind.kind } else { steps[at - 1] };
            return Err(match nearest(step, names.clone()) {
                Some(near) => format!("{where_to} has no field `{step}`; did you mean {near}?"),
                None if names.clone().next().is_none() => format!("{where_to} has no fields"),
                None => {
                    format!(
                        "{where_to} has no field `{step}`; it has {}",
                        names.collect::<Vec<_>>().join(", ")
                    )
                }
            });
        };
        schema = &field.schema;
        required = field.required;
    }
    let _ = writeln!(text, "PATH:     {}", path.trim_matches('.'));
    // `prometheus` is a probe in the steady state, and a place elsewhere.
    let probing = steps.len() == 2 && steps[0] == "steadyState";
    describe(&mut text, rest.last().copied().unwrap_or_default(), (schema, required), probing);
    Ok(text)
}

/// Where a name without a kind is: what steps do and probes ask before everything else.
fn anywhere(name: &str) -> Option<String> {
    if actions().contains(&name) {
        return Some(format!("experiment.spec.method.{name}"));
    }
    if probe_names().any(|probe| probe == name) {
        return Some(format!("experiment.spec.steadyState.{name}"));
    }
    kinds()
        .iter()
        .find_map(|kind| Some(format!("{}.spec.{}", kind.kind.to_lowercase(), place(&kind.spec, name)?)))
}

/// Where below `schema` there is a field of this name: the one that is least deep, the first of several.
fn place(schema: &Schema, name: &str) -> Option<String> {
    let mut level: Vec<(String, &Schema)> = vec![(String::new(), schema)];
    while !level.is_empty() {
        let mut below = Vec::new();
        for (path, schema) in level {
            for field in schema.item().fields() {
                let path =
                    if path.is_empty() { field.name.clone() } else { format!("{path}.{}", field.name) };
                if field.name == name {
                    return Some(path);
                }
                below.push((path, &field.schema));
            }
        }
        level = below;
    }
    None
}

fn kind_names() -> String {
    kinds().iter().map(|kind| kind.kind).collect::<Vec<_>>().join(", ")
}

fn describe(text: &mut String, name: &str, (schema, required): (&Schema, bool), probing: bool) {
    let _ =
        writeln!(text, "FIELD:    {name} <{}>{}", type_of(schema), if required { " (required)" } else { "" });
    if let Some(default) = &schema.default {
        let _ = writeln!(text, "DEFAULT:  {default}");
    }
    if let Some(range) = range(schema) {
        let _ = writeln!(text, "VALUES:   {range}");
    }
    if !schema.supported {
        let _ = writeln!(text, "NOTE:     not supported yet; check refuses it by name");
    }
    if !schema.description.is_empty() {
        let _ = writeln!(text, "\n{}", schema.description);
    }
    let item = schema.item();
    if let Shape::Object { unions, .. } = &item.shape {
        for union in unions {
            let _ = writeln!(text, "\n{}.", capitalised(&union.message));
        }
    }
    if probing {
        variables(text, name);
    }
    if !item.fields().is_empty() {
        let _ = writeln!(text, "\nFIELDS:");
        fields(text, item);
    }
    let example = faults::find(name)
        .map(|fault| fault.info().example)
        .or_else(|| probes::find(name).filter(|_| probing).map(|probe| probe.info().example));
    if let Some(example) = example {
        let _ = writeln!(text, "\nEXAMPLE:");
        for (index, line) in example.lines().enumerate() {
            let _ = writeln!(text, "  {} {line}", if index == 0 { "-" } else { " " });
        }
    }
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// What expressions of a probe kind see.
fn variables(text: &mut String, name: &str) {
    let Some(probe) = probes::find(name) else { return };
    let _ = writeln!(text, "\nVARIABLES of value, expect and during, beside value, baseline and window:");
    for variable in probe.info().variables {
        let _ = writeln!(text, "  {:<10} {}", variable.name, variable.description);
    }
    if let Some(default) = probe.info().default_value {
        let _ = writeln!(text, "  value is {default} when not given");
    }
}

fn fields(text: &mut String, schema: &Schema) {
    let width = schema.fields().iter().map(|field| field.name.len()).max().unwrap_or(0);
    for field in schema.fields() {
        let mark = match (field.required, field.schema.supported) {
            (true, _) => " (required)",
            (_, false) => " (not supported yet)",
            _ => "",
        };
        let name = &field.name;
        let _ = writeln!(text, "  {name:<width$}  <{}>{mark}", type_of(&field.schema));
        let _ = write!(text, "  {:<width$}    {}", "", field.schema.description);
        match &field.schema.default {
            Some(default) => {
                let _ = writeln!(text, " Default: {default}.");
            }
            None => text.push('\n'),
        }
    }
}

/// The type in a word or two.
pub fn type_of(schema: &Schema) -> String {
    match &schema.shape {
        Shape::Object { .. } => "object".to_owned(),
        Shape::Texts { .. } => "map of texts".to_owned(),
        Shape::List { items, .. } => format!("list of {}", type_of(items)),
        Shape::Text(text) => match text.form {
            Form::Choice(_) => "choice",
            Form::Duration { .. } => "duration",
            Form::Cel => "CEL",
            Form::PromQl => "PromQL",
            Form::Workload => "TYPE[.GROUP]/NAME",
            Form::Cron => "five fields of cron",
            Form::TimeZone => "time zone",
            Form::Time => "time",
            Form::Free | Form::Pattern { .. } => "text",
        }
        .to_owned(),
        Shape::Integer { .. } => "whole number".to_owned(),
        Shape::Number => "number".to_owned(),
        Shape::Boolean => "boolean".to_owned(),
        Shape::IntOrText { meaning, .. } if meaning.contains("percentage") => {
            "count or percentage".to_owned()
        }
        Shape::IntOrText { .. } => "number or text".to_owned(),
        Shape::Any => "anything".to_owned(),
    }
}

fn range(schema: &Schema) -> Option<String> {
    match &schema.shape {
        Shape::Integer { min, max } => Some(match (*min, *max) {
            (i64::MIN, i64::MAX) => return None,
            (min, i64::MAX) => format!("{min} or more"),
            (min, max) => format!("{min} to {max}"),
        }),
        Shape::List { min, max, items, .. } => Some(match &items.shape {
            Shape::IntOrText { meaning, .. } => format!("{min} to {max} items, each {meaning}"),
            _ => format!("{min} to {max} items"),
        }),
        Shape::Texts { max } => Some(format!("at most {max}")),
        Shape::IntOrText { meaning, .. } => Some(meaning.clone()),
        Shape::Text(text) => match &text.form {
            Form::Choice(choices) => Some(choices.join(" | ")),
            Form::Pattern { meaning, .. } => Some(format!("{meaning}, at most {} characters", text.max)),
            Form::Duration { zero: true } => Some("such as 90s, 1m30s, 200ms; may be 0s".to_owned()),
            Form::Duration { zero: false } => Some("such as 90s, 1m30s, 200ms; longer than 0s".to_owned()),
            Form::Workload => Some("such as deployment/checkout".to_owned()),
            _ => Some(format!("at most {} characters", text.max)),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_kubectl_reads_them() {
        let text = explain("experiment.spec.steadyState.expect").expect("it is there");
        assert!(text.contains("FIELD:    expect <CEL>"), "{text}");
        let same = |text: &str| {
            text.lines().filter(|line| !line.starts_with("PATH:")).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(same(&explain("experiments.steadyState.expect").expect("without spec")), same(&text));
        let step = explain("experiment.method.podKill").expect("a fault");
        assert!(step.contains("gracePeriod") && step.contains("EXAMPLE:"), "{step}");
        assert!(explain("run.status.measured.rto").expect("status").contains("<duration>"));
        assert!(
            explain("experiment.spec.prometheus.auth.serviceAccountToken")
                .expect("planned")
                .contains("not supported yet")
        );
        let ports = explain("networkLatency.ports").expect("a field of a fault");
        assert!(
            ports.contains("<list of number or text>") && ports.contains("a range (8000-8100)"),
            "{ports}"
        );
        assert!(explain("GameDay").expect("a kind alone").contains("blackouts"));
    }

    #[test]
    fn a_name_is_found_wherever_it_is() {
        for (name, path) in [
            ("podKill", "experiment.spec.method.podKill"),
            ("podKill.gracePeriod", "experiment.spec.method.podKill.gracePeriod"),
            ("prometheus", "experiment.spec.steadyState.prometheus"),
            ("wait", "experiment.spec.method.wait"),
            ("experiment.podKill", "experiment.method.podKill"),
            ("experiment.spec.podKill", "experiment.spec.method.podKill"),
            ("rto", "experiment.spec.objectives.rto"),
        ] {
            let text = explain(name).expect(name);
            assert!(text.contains(&format!("PATH:     {path}\n")), "{name}: {text}");
        }
    }

    #[test]
    fn what_is_not_there_is_named_with_the_nearest() {
        for (path, answer) in [
            ("experimnt", "there is no kind `experimnt`; did you mean Experiment?"),
            ("pod", "there is no kind `pod`; there are Experiment, GameDay, Run, Guardrail"),
            ("experiment.spec.stedyState", "Experiment has no field `stedyState`; did you mean steadyState?"),
            ("experiment.spec.hypothesis.x", "hypothesis has no fields"),
        ] {
            assert_eq!(explain(path), Err(answer.to_owned()), "{path}");
        }
    }

    #[test]
    fn every_field_can_be_explained_and_says_something() {
        fn below(path: &str, schema: &Schema) {
            for field in schema.item().fields() {
                let path = format!("{path}.{}", field.name);
                assert!(explain(&path).is_ok(), "{path}");
                assert!(field.schema.description.ends_with('.'), "{path}: {:?}", field.schema.description);
                below(&path, &field.schema);
            }
        }
        for kind in kinds() {
            below(&format!("{}.spec", kind.kind), &kind.spec);
            below(&format!("{}.status", kind.kind), &kind.status);
        }
    }
}
