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
    // Whoever has pressed the red button, and before the chart was there: it is neither taken over nor deleted.
    let guardrails = yaml(Part::Guardrails).replacen(
        "metadata:\n",
        "metadata:\n  annotations:\n    helm.sh/resource-policy: keep\n",
        1,
    );
    let (halt, drain) = guardrails.split_at(guardrails.rfind("---\n").expect("two objects"));
    let ours = "include \"firedrill.haltIsOurs\" .";
    let served = ".Capabilities.APIVersions.Has \"admissionregistration.k8s.io/v1/MutatingAdmissionPolicy\"";
    vec![
        ("charts/firedrill/templates/rights.yaml", format!("{HEAD}{}", yaml(Part::Rights))),
        ("charts/firedrill/templates/policies.yaml", format!("{HEAD}{}", yaml(Part::Policies))),
        (
            "charts/firedrill/templates/guardrails.yaml",
            format!("{HEAD}{{{{- if {ours} }}}}\n{halt}{{{{- end }}}}\n{drain}"),
        ),
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
    // What a chart that depends on this one says to all of its charts, Helm puts in.
    let given = |key: &&String| path.is_empty() && *key == "global";
    let absent = known.keys().filter(|key| !fields.contains_key(*key) && !given(key));
    wrong.extend(absent.map(|key| format!("{path}.{key}: no default")));
    for (key, value) in fields {
        match known.get(key) {
            Some(schema) => held(value, schema, &format!("{path}.{key}"), wrong),
            None => wrong.push(format!("{path}.{key}: not in the schema")),
        }
    }
}

/// Helm gives a chart that another one depends on the `global` of its parent.
#[test]
fn another_chart_can_depend_on_it() {
    let schema: Value = serde_json::from_str(&text("charts/firedrill/values.schema.json")).expect("JSON");
    assert_eq!(schema["properties"]["global"]["type"], "object");
}

/// Every document of the chart's templates, as it is written.
fn documents() -> Vec<String> {
    let mut documents = Vec::new();
    for folder in ["charts/firedrill/templates", "charts/firedrill/templates/tests"] {
        for entry in std::fs::read_dir(root().join(folder)).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                let text = std::fs::read_to_string(&path).expect("text");
                documents.extend(text.split("\n---\n").map(|one| format!("{one}\n")));
            }
        }
    }
    documents
}

/// What docs/installation.md says is in the cluster then, beside the roles and policies that the program prints.
const PROMISED: [(&str, &str); 15] = [
    ("Deployment", "firedrill"),
    ("ServiceAccount", "firedrill"),
    ("PodDisruptionBudget", "firedrill"),
    ("NetworkPolicy", "firedrill"),
    ("Service", "firedrill-metrics"),
    ("ClusterRoleBinding", "firedrill:metrics"),
    ("ServiceMonitor", "firedrill"),
    ("PrometheusRule", "firedrill"),
    ("ConfigMap", "firedrill-dashboard"),
    ("Job", "firedrill-drain"),
    ("Pod", "firedrill-test"),
    ("Guardrail", "halt"),
    ("Guardrail", "firedrill-drain"),
    ("Role", "firedrill:controller"),
    ("Role", "firedrill:journals"),
];

#[test]
fn what_the_chart_promises_has_a_template() {
    let documents = documents();
    let is = |document: &str, kind: &str, name: &str| {
        document.contains(&format!("\nkind: {kind}\n")) && document.contains(&format!("\n  name: {name}\n"))
    };
    for (kind, name) in PROMISED {
        let there = documents.iter().filter(|one| is(&format!("\n{one}"), kind, name)).count();
        assert_eq!(there, 1, "{kind} {name}");
    }
    let [deployment] = &documents
        .iter()
        .filter(|one| is(&format!("\n{one}"), "Deployment", "firedrill"))
        .collect::<Vec<_>>()[..]
    else {
        panic!("one Deployment")
    };
    for domain in ["topologySpreadConstraints:", "kubernetes.io/hostname", "topology.kubernetes.io/zone"] {
        assert!(deployment.contains(domain), "{domain}");
    }
}

/// In a list of types that ends before what is let in begins: with both values it would be one of the latter.
#[test]
fn the_network_policy_names_its_types_together() {
    let policy = text("charts/firedrill/templates/networkpolicy.yaml");
    let at =
        |line: &str| policy.lines().position(|one| one.trim() == line).unwrap_or_else(|| panic!("{line}"));
    let order = ["policyTypes:", "- Ingress", "- Egress", "ingress:"].map(at);
    assert!(order.is_sorted() && policy.contains("\n  egress:"), "{order:?}");
}

/// Neither applying it again nor an upgrade takes back a halt that somebody has pressed.
#[test]
fn no_guardrail_of_the_chart_says_whether_it_halts() {
    let guardrails = manifests(Part::Guardrails, &Installed::default());
    let names: Vec<&Value> = guardrails.iter().map(|one| &one["metadata"]["name"]).collect();
    assert_eq!(names, ["halt", "firedrill-drain"]);
    for guardrail in &guardrails {
        let spec = guardrail["spec"].as_object().expect("an object");
        assert_eq!(spec.keys().collect::<Vec<_>>(), ["description"], "{guardrail}");
    }
}
