//! What an object in the cluster lacks, or has besides, compared with what it has to be. Pure.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// How many rights or subjects are named.
const NAMED: usize = 6;
/// What the API server fills in where nothing is said.
const DEFAULTS: [(&str, &str); 5] = [
    ("failurePolicy", "Fail"),
    ("matchPolicy", "Equivalent"),
    ("reinvocationPolicy", "Never"),
    ("scope", "*"),
    ("apiGroup", ""),
];

/// A difference, in words.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Difference {
    /// Something does not work, or does not hold, as it should.
    Lacks(String),
    /// It lets more happen than it should.
    Besides(String),
}

/// What is different of an object; both without what only the API server says.
pub(super) fn differences(wanted: &Value, found: &Value) -> Vec<Difference> {
    match wanted["kind"].as_str().unwrap_or_default() {
        "ClusterRole" | "Role" => compared(&rights(&wanted["rules"]), &rights(&found["rules"]), "right"),
        "ClusterRoleBinding" | "RoleBinding" => {
            if !covers(&wanted["roleRef"], &found["roleRef"]) {
                let role = found.pointer("/roleRef/name").and_then(Value::as_str).unwrap_or_default();
                return vec![Difference::Lacks(format!("it binds the role {role} instead"))];
            }
            compared(&subjects(&wanted["subjects"]), &subjects(&found["subjects"]), "subject")
        }
        "Namespace" => {
            let labels = wanted.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten();
            let other = labels.filter(|(key, value)| found["metadata"]["labels"].get(key) != Some(value));
            let words = |(key, value): (&String, &Value)| {
                format!("it has not the label {key}={}", value.as_str().unwrap_or_default())
            };
            other.map(words).map(Difference::Lacks).collect()
        }
        _ => {
            let place = other(&wanted["spec"], &found["spec"], "spec");
            let words = |place: String| Difference::Lacks(format!("it is another one at {place}"));
            place.map(words).into_iter().collect()
        }
    }
}

fn compared(wanted: &BTreeSet<String>, found: &BTreeSet<String>, what: &str) -> Vec<Difference> {
    let named = |these: BTreeSet<&String>| {
        let names: Vec<&str> = these.iter().take(NAMED).map(|name| name.as_str()).collect();
        let more = these.len() - names.len();
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        (!names.is_empty()).then(|| names.join(", ") + &rest)
    };
    let lacks = named(wanted.difference(found).collect());
    let besides = named(found.difference(wanted).collect());
    let lacks = lacks.map(|names| Difference::Lacks(format!("it has not the {what} {names}")));
    let besides = besides.map(|names| Difference::Besides(format!("it has besides the {what} {names}")));
    lacks.into_iter().chain(besides).collect()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Each right by itself: `patch runs/status.firedrill.dev`.
fn rights(rules: &Value) -> BTreeSet<String> {
    let mut rights = BTreeSet::new();
    for rule in rules.as_array().into_iter().flatten() {
        let names = texts(&rule["resourceNames"]);
        let named = if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
        for verb in texts(&rule["verbs"]) {
            rights.extend(texts(&rule["nonResourceURLs"]).iter().map(|url| format!("{verb} {url}")));
            for resource in texts(&rule["resources"]) {
                for group in texts(&rule["apiGroups"]) {
                    let of = if group.is_empty() { String::new() } else { format!(".{group}") };
                    rights.insert(format!("{verb} {resource}{of}{named}"));
                }
            }
        }
    }
    rights
}

/// `ServiceAccount firedrill/firedrill`.
fn subjects(subjects: &Value) -> BTreeSet<String> {
    let words = |subject: &Value| {
        let text = |field: &str| subject[field].as_str().unwrap_or_default().to_owned();
        let space = text("namespace");
        let space = if space.is_empty() { space } else { space + "/" };
        format!("{} {space}{}", text("kind"), text("name"))
    };
    subjects.as_array().into_iter().flatten().map(words).collect()
}

/// Whether there is nothing in `found` but what is wanted, and what the API server fills in.
fn covers(wanted: &Value, found: &Value) -> bool {
    other(wanted, found, "").is_none()
}

/// The first place where something else is found.
fn other(wanted: &Value, found: &Value, place: &str) -> Option<String> {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => other_field(wanted, found, place),
        (Value::Array(wanted), Value::Array(found)) => {
            if wanted.len() != found.len() {
                return Some(format!("{place} ({} instead of {})", found.len(), wanted.len()));
            }
            let pairs = wanted.iter().zip(found).enumerate();
            pairs.filter_map(|(at, (wanted, found))| other(wanted, found, &format!("{place}[{at}]"))).next()
        }
        _ => (wanted != found).then(|| place.to_owned()),
    }
}

fn other_field(wanted: &Map<String, Value>, found: &Map<String, Value>, place: &str) -> Option<String> {
    for (field, value) in wanted {
        let place = format!("{place}.{field}");
        match found.get(field) {
            Some(found) => {
                if let Some(place) = other(value, found, &place) {
                    return Some(place);
                }
            }
            None if nothing(field, value) => {}
            None => return Some(place),
        }
    }
    let besides = found.iter().find(|(field, value)| !wanted.contains_key(*field) && !nothing(field, value));
    besides.map(|(field, _)| format!("{place}.{field}"))
}

/// Whether a field says what holds without it, too.
fn nothing(field: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.iter().all(|(field, value)| nothing(field, value)),
        Value::String(text) => DEFAULTS.contains(&(field, text.as_str())),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn words(wanted: &Value, found: &Value) -> Vec<String> {
        let words = |one| match one {
            Difference::Lacks(words) => words,
            Difference::Besides(words) => format!("(besides) {words}"),
        };
        differences(wanted, found).into_iter().map(words).collect()
    }

    #[test]
    fn rights_are_compared_one_by_one_however_rules_are_cut() {
        let rule = |verbs: &[&str], resources: &[&str]| json!({"apiGroups": ["firedrill.dev"], "resources": resources, "verbs": verbs});
        let role = |rules: &[Value]| json!({"kind": "ClusterRole", "rules": rules});
        let wanted = role(&[rule(&["get", "patch"], &["runs", "runs/status"])]);
        let cut = role(&[rule(&["get", "patch"], &["runs/status"]), rule(&["patch", "get"], &["runs"])]);
        assert_eq!(words(&wanted, &cut), Vec::<String>::new());
        let other = role(&[rule(&["get", "delete"], &["runs", "runs/status"])]);
        assert_eq!(
            words(&wanted, &other),
            [
                "it has not the right patch runs.firedrill.dev, patch runs/status.firedrill.dev",
                "(besides) it has besides the right delete runs.firedrill.dev, delete runs/status.firedrill.dev",
            ]
        );
        // Named objects are another right than all of them.
        let mut named = rule(&["patch"], &["guardrails"]);
        named["resourceNames"] = json!(["halt"]);
        assert_eq!(words(&role(&[named]), &role(&[rule(&["patch"], &["guardrails"])])).len(), 2);
    }

    #[test]
    fn bindings_are_compared_by_role_and_by_whom_they_bind() {
        let account = |name: &str| json!({"kind": "ServiceAccount", "name": name, "namespace": "firedrill"});
        let binding = |role: &str, subjects: &[Value]| json!({"kind": "RoleBinding", "roleRef": {"kind": "Role", "name": role}, "subjects": subjects});
        let wanted = binding("runs", &[account("firedrill")]);
        assert_eq!(words(&wanted, &wanted), Vec::<String>::new());
        assert_eq!(
            words(&wanted, &binding("runs", &[account("other")])),
            [
                "it has not the subject ServiceAccount firedrill/firedrill",
                "(besides) it has besides the subject ServiceAccount firedrill/other",
            ]
        );
        assert_eq!(words(&wanted, &binding("view", &[])), ["it binds the role view instead"]);
    }

    #[test]
    fn a_policy_is_another_one_where_it_says_more_or_less_but_for_what_the_server_fills_in() {
        let policy = |spec: Value| json!({"kind": "ValidatingAdmissionPolicy", "spec": spec});
        let wanted = policy(json!({"failurePolicy": "Fail", "validations": [{"expression": "a"}],
            "matchConstraints": {"resourceRules": [{"resources": ["runs"]}]}}));
        let served = policy(json!({"failurePolicy": "Fail", "validations": [{"expression": "a"}],
            "matchConstraints": {"matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {},
                "resourceRules": [{"resources": ["runs"], "scope": "*"}]}}));
        assert_eq!(words(&wanted, &served), Vec::<String>::new());
        let changed = |pointer: &str, value: Value| {
            let mut other = served.clone();
            *other.pointer_mut(pointer).expect("it is there") = value;
            words(&wanted, &other)
        };
        assert_eq!(
            changed("/spec/validations/0/expression", json!("true")),
            ["it is another one at spec.validations[0].expression"]
        );
        assert_eq!(
            changed("/spec/validations", json!([])),
            ["it is another one at spec.validations (0 instead of 1)"]
        );
        assert_eq!(
            changed("/spec/failurePolicy", json!("Ignore")),
            ["it is another one at spec.failurePolicy"]
        );
        // What lets objects pass by it.
        assert_eq!(
            changed("/spec/matchConstraints/namespaceSelector", json!({"matchLabels": {"team": "a"}})),
            ["it is another one at spec.matchConstraints.namespaceSelector"]
        );
    }
}
