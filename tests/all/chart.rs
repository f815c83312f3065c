//! The chart is what the program prints: its definitions, roles and policies are never written by hand.

use firedrill::{
    api::crds,
    controller::manifests::{Installed, Part, manifests},
    types::AgentSettings,
};
use serde_json::Value;

use crate::tidy::{root, text};

const HEAD: &str = "# Written by `UPDATE_GOLDEN=1 cargo test chart` from the registry; not by hand.\n";
/// What stands where something is to be filled in, and what fills it in: the accounts that may hit nodes, the agent's
/// image, the Secret that it is pulled with, and who may place agents beside the controller.
const MARKS: [(&str, &str); 4] = [
    ("'system:serviceaccount:@'", "{{ include \"firedrill.nodeAccounts\" . }}"),
    ("@image@", "{{ include \"firedrill.agentImage\" . }}"),
    ("@secret@", "{{ .Values.agents.pullSecret }}"),
    (", '@user@'", "{{ include \"firedrill.agentUsers\" . }}"),
];

/// File, and what it has to hold.
fn written() -> Vec<(&'static str, String)> {
    let installed = Installed {
        namespace: "{{ .Release.Namespace }}".to_owned(),
        node_accounts: vec!["@".to_owned()],
        agents: Some(AgentSettings {
            image: "@image@".to_owned(),
            namespace: "{{ .Values.agents.namespace }}".to_owned(),
            pull_secret: "@secret@".to_owned(),
        }),
        agent_users: vec!["@user@".to_owned()],
        ..Installed::default()
    };
    let yaml = |part: Part| {
        let texts = manifests(part, &installed).into_iter().map(|object| {
            format!("---\n{}", serde_yaml::to_string(&object).expect("JSON can be written as YAML"))
        });
        MARKS.iter().fold(texts.collect::<String>(), |text, (mark, filled)| text.replace(mark, filled))
    };
    let when =
        |condition: &str, part| format!("{HEAD}{{{{- if {condition} }}}}\n{}{{{{- end }}}}\n", yaml(part));
    let served = ".Capabilities.APIVersions.Has \"admissionregistration.k8s.io/v1/MutatingAdmissionPolicy\"";
    vec![
        ("charts/firedrill/templates/rights.yaml", format!("{HEAD}{}", yaml(Part::Rights))),
        ("charts/firedrill/templates/policies.yaml", format!("{HEAD}{}", yaml(Part::Policies))),
        ("charts/firedrill/templates/nodes.yaml", when(".Values.nodeFaults.accounts", Part::Nodes)),
        ("charts/firedrill/templates/stamp.yaml", when(served, Part::Stamp)),
        ("charts/firedrill/templates/agents.yaml", when(".Values.agents.enabled", Part::Agents)),
        ("charts/firedrill/crds/firedrill.yaml", crds::yaml().expect("JSON can be written as YAML")),
    ]
}

#[test]
fn the_chart_has_what_the_program_prints() {
    for (path, wanted) in written() {
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(root().join(path), &wanted).expect("the chart can be written");
        }
        assert!(text(path) == wanted, "{path}: UPDATE_GOLDEN=1 cargo test chart writes it anew");
        assert!(MARKS.iter().all(|(mark, _)| !wanted.contains(mark)), "{path}: something is not filled in");
    }
}

#[test]
fn the_chart_is_of_this_version_and_says_so() {
    let chart: Value = serde_yaml::from_str(&text("charts/firedrill/Chart.yaml")).expect("YAML");
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn every_value_is_in_the_schema_and_nothing_else_is_taken() {
    let values: Value = serde_yaml::from_str(&text("charts/firedrill/values.yaml")).expect("YAML");
    let schema: Value = serde_json::from_str(&text("charts/firedrill/values.schema.json")).expect("JSON");
    let mut wrong = Vec::new();
    held(&values, &schema, "", &mut wrong);
    assert_eq!(wrong, Vec::<String>::new());
}

/// Objects of the schema are closed, and name what the values have.
fn held(value: &Value, schema: &Value, path: &str, wrong: &mut Vec<String>) {
    let (Some(fields), Some(known)) = (value.as_object(), schema["properties"].as_object()) else { return };
    if schema["additionalProperties"] != false {
        wrong.push(format!("{path}: additionalProperties is not false"));
    }
    wrong.extend(
        known.keys().filter(|key| !fields.contains_key(*key)).map(|key| format!("{path}.{key}: no default")),
    );
    for (key, value) in fields {
        match known.get(key) {
            Some(schema) => held(value, schema, &format!("{path}.{key}"), wrong),
            // Helm itself fills it.
            None => wrong.push(format!("{path}.{key}: not in the schema")),
        }
    }
}
