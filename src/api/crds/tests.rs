use std::path::Path;

use super::*;
use crate::api::check::{Source, read};
use crate::probes::cel::{Expression, Variable, VariableType, Vars};
use crate::types::Length;

/// Every schema below a value, with its path.
fn walk<'a>(value: &'a Value, path: &str, into: &mut Vec<(String, &'a Value)>) {
    into.push((path.to_owned(), value));
    if let Some(properties) = value["properties"].as_object() {
        for (name, below) in properties {
            walk(below, &format!("{path}.{name}"), into);
        }
    }
    for key in ["items", "additionalProperties"] {
        if value[key].is_object() {
            walk(&value[key], &format!("{path}[]"), into);
        }
    }
}

fn schemas() -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for crd in crds() {
        let root = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
        for part in ["spec", "status"] {
            let mut found = Vec::new();
            walk(&root[part], &format!("{}.{part}", crd["spec"]["names"]["kind"]), &mut found);
            all.extend(found.into_iter().map(|(path, value)| (path, value.clone())));
        }
    }
    all
}

/// What kube-apiserver asks of a structural schema, and what its CEL cost estimate needs.
#[test]
fn schemas_are_structural_and_bounded() {
    for (path, schema) in schemas() {
        for word in ["$ref", "oneOf", "allOf", "not", "definitions", "default", "nullable"] {
            assert!(schema.get(word).is_none(), "{path} has {word}");
        }
        let int_or_string = schema["x-kubernetes-int-or-string"] == true;
        assert_eq!(schema.get("anyOf").is_some(), int_or_string, "{path}");
        assert!(schema["type"].is_string() || int_or_string, "{path} has no type");
        match schema["type"].as_str() {
            Some("array") => {
                assert!(
                    schema["maxItems"].is_u64() && schema["x-kubernetes-list-type"].is_string(),
                    "{path}"
                );
                if schema["x-kubernetes-list-type"] == "map" {
                    for key in schema["x-kubernetes-list-map-keys"].as_array().expect("keys") {
                        let required = schema["items"]["required"].as_array().expect("keys are required");
                        assert!(required.contains(key), "{path}: {key} is not required");
                    }
                }
            }
            Some("string") => {
                let bounded = ["maxLength", "enum"].iter().any(|word| schema.get(*word).is_some());
                assert!(bounded, "{path} is not bounded");
            }
            Some("object") => {
                let open = schema.get("additionalProperties").is_some();
                assert!(!open || schema["maxProperties"].is_u64(), "{path}");
            }
            _ => {}
        }
    }
}

#[test]
fn every_rule_is_cel_with_a_message() {
    let variable = |name| Variable { name, kind: VariableType::Any, description: "" };
    let mut rules = 0;
    for (path, schema) in schemas() {
        for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            rules += 1;
            let text = rule["rule"].as_str().expect("a rule is text");
            let compiled = Expression::compile(text, &[variable("self"), variable("oldSelf")]);
            assert!(compiled.is_ok(), "{path}: {text}: {compiled:?}");
            assert!(rule["message"].as_str().is_some_and(|message| message.len() > 8), "{path}: {text}");
        }
    }
    assert!(rules > 60, "{rules}");
}

/// The API server's pattern and the reader of durations agree on what is one.
#[test]
fn the_pattern_of_durations_says_what_is_read() {
    let variable = |name| Variable { name, kind: VariableType::String, description: "" };
    let matches = Expression::compile("text.matches(pattern)", &[variable("text"), variable("pattern")])
        .expect("it compiles");
    for text in [
        "30s", "1m30s", "200ms", "1.5h", ".5s", "5.s", "0s", "1d", "10", "-1s", "", "s", "1 s", "1us", "1µs",
        "٣s",
    ] {
        let vars = Vars::new().json("text", &text.into()).json("pattern", &DURATION.into());
        let read = text.parse::<Length>().is_ok();
        assert_eq!(matches.test(&vars), Ok(read), "{text}");
    }
}

/// Written anew by `UPDATE_GOLDEN=1 cargo test`: a change of the format shows as a change of this file.
#[test]
fn definitions_are_as_they_were() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/firedrill/crds/firedrill.yaml");
    let text = yaml().expect("JSON can be written as YAML");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, &text).expect("the expectation can be written");
    }
    assert!(
        std::fs::read_to_string(&golden).unwrap_or_default() == text,
        "run UPDATE_GOLDEN=1 cargo test and look"
    );
    // And what was written reads back as what it was.
    let documents = crate::api::yaml::parse(text.as_bytes());
    let read: Vec<Value> = documents.documents.iter().map(crate::api::yaml::Node::to_json).collect();
    assert_eq!(documents.problems, vec![]);
    assert_eq!(read, crds());
}

#[test]
fn a_definition_is_not_mistaken_for_a_document_of_ours() {
    let text = yaml().expect("JSON can be written as YAML");
    let read = read(&[Source::new("crds.yaml", text)]);
    assert!(read.documents.is_empty() && read.findings.iter().any(|finding| finding.code.0 == "FD1013"));
}
