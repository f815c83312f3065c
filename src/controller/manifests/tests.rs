use std::collections::BTreeSet;

use serde_json::Value;

use super::{Installed, Part, manifests, policies::STEP_FIELDS, rights::fault_role};
use crate::{
    api::schema,
    faults::{self, FAULTS, LOAD_POD},
    types::AgentSettings,
};

fn all() -> Vec<Value> {
    let installed = Installed { node_accounts: vec!["ops:breaker".to_owned()], ..Installed::default() };
    let parts = [Part::Rights, Part::Policies, Part::Nodes, Part::Stamp];
    parts.into_iter().flat_map(|part| manifests(part, &installed)).collect()
}

/// Role, API group, resource, verb.
fn granted() -> BTreeSet<(String, String, String, String)> {
    let mut granted = BTreeSet::new();
    for role in
        all().iter().filter(|object| object["kind"].as_str().is_some_and(|kind| kind.ends_with("Role")))
    {
        let texts = |value: &Value| -> Vec<String> { serde_json::from_value(value.clone()).expect("texts") };
        let resources = role["rules"].as_array().expect("rules").iter();
        for rule in resources.filter(|rule| rule.get("nonResourceURLs").is_none()) {
            for group in texts(&rule["apiGroups"]) {
                for resource in texts(&rule["resources"]) {
                    for verb in texts(&rule["verbs"]) {
                        let name = role["metadata"]["name"].as_str().expect("a name").to_owned();
                        granted.insert((name, group.clone(), resource.clone(), verb));
                    }
                }
            }
        }
    }
    granted
}

#[test]
fn nobody_gets_a_secret_a_wildcard_or_a_shell() {
    let granted = granted();
    assert!(granted.len() > 60, "{}", granted.len());
    for (role, group, resource, verb) in &granted {
        for word in [group, resource, verb] {
            assert!(!word.contains('*'), "{role}: {group} {resource} {verb}");
        }
        let plain = resource.split('/').next().unwrap_or_default();
        assert!(!["secrets", "certificatesigningrequests"].contains(&plain), "{role}: {resource}");
        let doors = ["exec", "attach", "portforward", "proxy", "token", "ephemeralcontainers"];
        // Metrics are asked for through the proxy, as an account that may.
        let metrics = role == super::ACTING_ROLE && resource == "services/proxy";
        assert!(
            metrics || !doors.iter().any(|door| resource.ends_with(&format!("/{door}"))),
            "{role}: {resource}"
        );
        // Who may act as whom, and who may give rights, is for namespaces and administrators to say.
        assert!(!["impersonate", "bind", "escalate"].contains(&verb.as_str()), "{role}: {verb}");
    }
}

#[test]
fn of_what_is_no_resource_only_discovery_and_the_metrics_are_given() {
    let roles = all();
    let urls = roles.iter().filter_map(|role| role["rules"].as_array()).flatten();
    let urls: Vec<&Value> = urls.filter_map(|rule| rule.get("nonResourceURLs")).collect();
    let discovery = serde_json::json!(["/api", "/api/*", "/apis", "/apis/*", "/version"]);
    assert_eq!(urls, [&discovery, &serde_json::json!(["/metrics"])]);
}

#[test]
fn each_fault_that_a_run_can_have_has_a_role_with_all_that_it_asks_for() {
    let granted = granted();
    let infos = FAULTS.iter().map(|fault| fault.info()).filter(|info| !info.agent).chain([&LOAD_POD]);
    let mut roles = 0;
    for info in infos {
        roles += 1;
        for right in info.rights {
            let wanted =
                (fault_role(info.name), right.group.into(), right.resource.into(), right.verb.into());
            assert!(granted.contains(&wanted), "{wanted:?}");
        }
    }
    let named: BTreeSet<&String> =
        granted.iter().map(|(role, ..)| role).filter(|role| role.starts_with("firedrill:fault:")).collect();
    assert_eq!(named.len(), roles);
}

fn rules(name: &str) -> String {
    let policies = all();
    let found = policies
        .iter()
        .find(|one| one["kind"] == "ValidatingAdmissionPolicy" && one["metadata"]["name"] == name)
        .unwrap_or_else(|| panic!("no policy {name}"));
    found["spec"]["validations"].to_string()
}

#[test]
fn each_right_that_changes_something_is_asked_of_the_author() {
    let rules = rules("experiments.firedrill.dev");
    let mut asked = 0;
    for info in FAULTS.iter().map(|fault| fault.info()) {
        for right in info.rights.iter().filter(|right| !["get", "list", "watch"].contains(&right.verb)) {
            let (plural, sub) = right.resource.split_once('/').unwrap_or((right.resource, ""));
            let sub = if sub.is_empty() { String::new() } else { format!(".subresource('{sub}')") };
            let place = if right.cluster_wide { "" } else { ".namespace(object.metadata.namespace)" };
            let check = format!(
                "authorizer.group('{}').resource('{plural}'){sub}{place}.check('{}').allowed()",
                right.group, right.verb
            );
            let rule = rules.split("\"expression\":").find(|rule| rule.contains(&check));
            let rule = rule.unwrap_or_else(|| panic!("{}: nobody asks {check}", info.name));
            assert!(rule.contains(&format!("has(s.{})", info.name)), "{}: {rule}", info.name);
            asked += 1;
        }
        if info.agent {
            assert!(rules.contains(&format!("has(s.{})", info.name)), "{}", info.name);
        }
    }
    assert!(asked > 12, "{asked}");
    // The server's bound: 10,000,000 a policy, 350,000 a look at the authorizer.
    assert!(rules.matches("authorizer.").count() <= 24);
}

#[test]
fn a_step_may_say_what_the_format_has_and_only_faults_that_are_built() {
    let experiment = schema::kinds().iter().find(|kind| kind.kind == "Experiment").expect("it is there");
    let child = |schema: &schema::Schema, name: &str| -> schema::Schema {
        let schema::Shape::Object { fields, .. } = &schema.shape else { panic!("no object at {name}") };
        fields.iter().find(|field| field.name == name).expect("a field").schema.clone()
    };
    let schema::Shape::List { items, .. } = child(&experiment.spec, "method").shape else {
        panic!("no list")
    };
    let schema::Shape::Object { fields, .. } = items.shape else { panic!("no step") };
    let written: BTreeSet<&str> = fields.iter().map(|field| field.name.as_str()).collect();
    let known: BTreeSet<&str> = STEP_FIELDS.into_iter().chain(schema::fault_names()).collect();
    assert_eq!(known, written);
    let rules = rules("experiments.firedrill.dev");
    for name in schema::fault_names() {
        assert_eq!(rules.contains(&format!("'{name}'")), faults::find(name).is_some(), "{name}");
    }
}

/// One that is new is forgotten in neither list.
#[test]
fn whoever_may_only_halt_changes_no_field_that_a_guardrail_has_beside() {
    let guardrail = schema::kinds().iter().find(|kind| kind.kind == "Guardrail").expect("it is there");
    let schema::Shape::Object { fields, .. } = &guardrail.spec.shape else { panic!("no object") };
    let rules = rules("guardrails.firedrill.dev");
    assert!(fields.len() > 10 && rules.contains("object.spec.?allowProduction == oldObject.spec"), "{rules}");
    for field in fields {
        let name = &field.name;
        let kept = rules.contains(&format!("object.spec.?{name} == oldObject.spec.?{name}"));
        let said = rules.contains(&format!("has(object.spec.{name})"));
        let button = ["halt", "haltReason"].contains(&name.as_str());
        assert_eq!((kept, said), (!button, !button), "{name}");
    }
}

fn with_agents() -> Installed {
    let settings = AgentSettings { namespace: "drill-hands".to_owned(), ..AgentSettings::default() };
    Installed { agents: Some(settings), agent_users: vec!["ada".to_owned()], ..Installed::default() }
}

#[test]
fn agents_are_the_controllers_in_their_own_namespace_and_nowhere_unasked() {
    assert_eq!(manifests(Part::Agents, &Installed::default()), Vec::<Value>::new());
    let objects = manifests(Part::Agents, &with_agents());
    let named = |kind: &str| -> Vec<&Value> { objects.iter().filter(|one| one["kind"] == kind).collect() };
    let [space] = named("Namespace")[..] else { panic!("one namespace") };
    assert_eq!(space["metadata"]["name"], "drill-hands");
    assert_eq!(space["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "privileged");
    let ([role], [bound]) = (&named("Role")[..], &named("RoleBinding")[..]) else {
        panic!("one role, bound once")
    };
    for one in [role, bound] {
        assert_eq!(one["metadata"]["namespace"], "drill-hands");
    }
    assert_eq!(bound["subjects"][0]["namespace"], "firedrill");
    let rules = role["rules"].to_string();
    for right in faults::AGENT_RIGHTS {
        assert!(rules.contains(right.verb) && rules.contains(&format!("\"{}\"", right.resource)), "{rules}");
    }
    assert!(!rules.contains("exec") && !rules.contains('*') && !rules.contains("secrets"), "{rules}");
    // Roles of faults only read what is in the target's namespace.
    for role in named("ClusterRole") {
        let verbs = role["rules"].as_array().expect("rules").iter().flat_map(|rule| rule["verbs"].as_array());
        let wrong = verbs.flatten().find(|verb| !["get", "list", "watch"].iter().any(|read| *verb == read));
        assert_eq!(wrong, None, "{role}");
    }
    assert_eq!(named("ClusterRole").len(), FAULTS.iter().filter(|fault| fault.info().agent).count());
    let users = objects.iter().find(|one| one["metadata"]["name"] == "drill-hands-users.firedrill.dev");
    let text = users.expect("a policy")["spec"].to_string();
    assert!(text.contains("in ['system:serviceaccount:firedrill:firedrill', 'ada']"), "{text}");
    assert!(
        text.contains("pods/attach") && text.contains("CONNECT") && text.contains("drill-hands"),
        "{text}"
    );
}

#[test]
fn another_namespace_is_in_everything_that_names_it() {
    let installed = Installed { namespace: "ops".to_owned(), ..with_agents() };
    for part in [Part::Rights, Part::Policies, Part::Nodes, Part::Stamp, Part::Agents] {
        let text = serde_json::to_string(&manifests(part, &installed)).expect("plain data");
        assert!(
            !text.contains("\"namespace\":\"firedrill\"") && !text.contains(":firedrill:firedrill"),
            "{text}"
        );
    }
}
