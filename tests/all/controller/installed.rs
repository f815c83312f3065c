//! What of an installation is seen from outside: what is missing, what is of another version, and what helps.

use firedrill::{
    api,
    cluster::{Identity, Write},
    controller::{
        installation::{self, Looked},
        manifests::{Installed, Part, manifests},
    },
    engine,
    env::{Env, HttpClient, HttpError},
    sim::apiserver::User,
    types::{AgentSettings, Finding, ObjectRef},
};
use http::Response;
use serde_json::{Value, json};

use super::office::{Office, SCALE};
use crate::{
    crash::house::experiment,
    kit::{Stage, in_virtual_time},
    tidy::text,
};

const PROMETHEUS: &str = "http://prometheus.monitoring:9090";

fn installed() -> Installed {
    Installed {
        node_accounts: vec!["ops:breaker".to_owned(), "ops:other".to_owned()],
        agents: Some(AgentSettings {
            image: "registry.example.com/agent:1".to_owned(),
            pull_secret: "pull".to_owned(),
            ..AgentSettings::default()
        }),
        agent_users: vec!["ada".to_owned(), "bob".to_owned()],
        ..Installed::default()
    }
}

const PARTS: [Part; 5] = [Part::Rights, Part::Policies, Part::Stamp, Part::Nodes, Part::Agents];

/// The kinds of policies, which the embedded cluster has not by itself.
fn admission() -> impl Iterator<Item = Value> {
    let kinds = [
        ("ValidatingAdmissionPolicy", "validatingadmissionpolicies"),
        ("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings"),
        ("MutatingAdmissionPolicy", "mutatingadmissionpolicies"),
        ("MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings"),
    ];
    let group = "admissionregistration.k8s.io";
    kinds.into_iter().map(move |(kind, plural)| {
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.{group}")},
            "spec": {"group": group, "scope": "Cluster",
                "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List")},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
                    {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}})
    })
}

/// The chart's Deployment, as far as it matters here.
fn deployment() -> Value {
    let labels = json!({"app.kubernetes.io/name": "firedrill"});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "firedrill", "namespace": "firedrill"},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
            "spec": {"serviceAccountName": "firedrill", "containers": [{"name": "controller", "image": "firedrill",
                "args": ["controller", format!("--prometheus={PROMETHEUS}"), "--agent-namespace=firedrill-agents",
                    "--agent-image=registry.example.com/agent:1", "--agent-pull-secret=pull"]}]}}}})
}

/// An office with everything that is to be installed.
async fn complete() -> Office {
    let mut objects: Vec<Value> = admission().collect();
    objects.push(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "firedrill"}}));
    for part in PARTS {
        objects.extend(manifests(part, &installed()));
    }
    objects.extend(manifests(Part::Guardrails, &installed()));
    objects.push(deployment());
    // The agents' namespace is in the house, but not as the chart makes it.
    let (spaces, objects): (Vec<_>, Vec<_>) = objects
        .into_iter()
        .partition(|one| one["kind"] == "Namespace" && one["metadata"]["name"] == "firedrill-agents");
    let office = Office::furnished(&experiment(&[SCALE]), objects).await;
    for space in spaces {
        let labels = space["metadata"]["labels"].clone();
        change(&office, "v1", ("Namespace", "firedrill-agents"), json!({"metadata": {"labels": labels}}))
            .await;
    }
    office
}

/// Answers PromQL, or nobody does.
fn env(office: &Office, answers: bool) -> Env {
    let http = HttpClient::from_fn(move |request| {
        Box::pin(async move {
            assert!(request.uri().to_string().starts_with(PROMETHEUS), "{}", request.uri());
            match answers {
                true => Ok(Response::new(
                    r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#.into(),
                )),
                false => Err(HttpError::Unreachable("connection refused".to_owned())),
            }
        })
    });
    Env { http, ..office.stage.env.clone() }
}

async fn look(office: &Office) -> Vec<Looked> {
    installation::examine(&env(office, true), "firedrill", None).await
}

fn of<'a>(all: &'a [Looked], what: &str) -> &'a Looked {
    all.iter().find(|one| one.what == what).unwrap_or_else(|| panic!("{what} is not looked at"))
}

fn at((api, kind): (&str, &str), (namespace, name): (&str, &str)) -> ObjectRef {
    ObjectRef::namespaced(api, kind, namespace, name)
}

async fn change(office: &Office, api: &str, (kind, name): (&str, &str), body: Value) {
    let patch = kube::api::Patch::Merge(body);
    let api = office.access.api(&at((api, kind), ("", name)));
    api.patch(name, &kube::api::PatchParams::default(), &patch).await.expect("it is changed");
}

const RBAC: &str = "rbac.authorization.k8s.io/v1";
const ADMISSION: &str = "admissionregistration.k8s.io/v1";

/// The finding about that object, and all of its words.
fn finding<'a>(all: &'a [Looked], what: &str, subject: &str) -> &'a Finding {
    let looked = of(all, what);
    let found = looked.findings.iter().find(|finding| finding.subject.contains(subject));
    found.unwrap_or_else(|| panic!("nothing is said of {subject}: {looked:?}"))
}

#[test]
fn what_is_installed_is_seen_from_outside() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let look = async || installation::examine(&office.stage.env, "firedrill", None).await;
        let said = |all: &[Looked], what: &str| {
            let one = of(all, what);
            (one.found.clone(), one.findings.iter().any(Finding::is_error))
        };
        let before = look().await;
        assert_eq!(said(&before, "kinds"), ("4 of 4 as this version has them".to_owned(), false));
        assert_eq!(
            said(&before, "controller"),
            ("0 replicas at work, 0 runs in their hands".to_owned(), true)
        );
        // Whoever runs the controller outside, with rights of their own, needs no roles: a warning.
        assert!(!said(&before, "rights").1 && said(&before, "rights").0.starts_with("0 of "), "{before:?}");
        let _replicas = [office.replica("a"), office.replica("b")];
        office.run("trial-1", json!({})).await;
        office.shrunk().await;
        let during = look().await;
        assert_eq!(
            said(&during, "controller"),
            ("2 replicas at work, 1 run in their hands".to_owned(), false)
        );
        let crd = at(("apiextensions.k8s.io/v1", "CustomResourceDefinition"), ("", "gamedays.firedrill.dev"));
        office.delete(&crd).await;
        office.until("it is gone", async || office.get(&crd).await.is_none()).await;
        let (found, wrong) = said(&look().await, "kinds");
        assert_eq!((found.as_str(), wrong), ("3 of 4 as this version has them", true));
    });
}

#[test]
fn an_installation_as_this_version_has_it_has_no_finding() {
    in_virtual_time(async {
        let office = complete().await;
        let _replica = office.replica("a");
        office
            .until("it is at work", async || of(&look(&office).await, "controller").findings.is_empty())
            .await;
        let all = look(&office).await;
        for Looked { what, found, findings } in &all {
            assert_eq!(*findings, [], "{what}: {found}");
        }
        for (part, what) in PARTS.into_iter().zip(["rights", "policies", "stamp", "nodes", "agents"]) {
            let count = manifests(part, &installed()).len();
            assert_eq!(
                of(&all, what).found,
                format!("{count} of {count} as this version has them"),
                "{what}"
            );
        }
        assert_eq!(of(&all, "metrics").found, format!("PromQL is answered by {PROMETHEUS}"));
    });
}

#[test]
fn rights_that_are_missing_or_different_are_named_with_what_brings_them() {
    in_virtual_time(async {
        let office = complete().await;
        office.delete(&at((RBAC, "ClusterRole"), ("", "firedrill:fault:podKill"))).await;
        let rules = json!([{"apiGroups": ["firedrill.dev"], "resources": ["runs"], "verbs": ["get"]},
            {"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]}]);
        change(&office, RBAC, ("ClusterRole", "firedrill:view"), json!({"rules": rules})).await;
        let other = json!([{"kind": "ServiceAccount", "name": "other", "namespace": "firedrill"}]);
        change(&office, RBAC, ("ClusterRoleBinding", "firedrill:controller"), json!({"subjects": other}))
            .await;
        let all = look(&office).await;
        let gone = finding(&all, "rights", "clusterrole/firedrill:fault:podKill");
        assert!(gone.is_error() && gone.message.contains("not there"), "{gone}");
        for help in ["helm upgrade", "firedrill controller manifests --only rights | kubectl apply"] {
            assert!(gone.remedy.contains(help), "{gone}");
        }
        let view: Vec<&Finding> =
            of(&all, "rights").findings.iter().filter(|one| one.subject.contains("firedrill:view")).collect();
        let [lacks, besides] = view.as_slice() else { panic!("{view:?}") };
        assert!(lacks.is_error() && lacks.message.contains("list runs.firedrill.dev"), "{lacks}");
        assert!(
            !besides.is_error() && besides.message.contains("besides the right list secrets"),
            "{besides}"
        );
        let binding = finding(&all, "rights", "clusterrolebinding/firedrill:controller");
        assert!(binding.message.contains("ServiceAccount firedrill/firedrill"), "{binding}");
        let count = manifests(Part::Rights, &installed()).len();
        assert_eq!(of(&all, "rights").found, format!("{} of {count} as this version has them", count - 3));
    });
}

#[test]
fn policies_of_another_version_are_told_from_those_of_this_one() {
    in_virtual_time(async {
        let office = complete().await;
        let policy = "ValidatingAdmissionPolicy";
        let weak = json!({"spec": {"failurePolicy": "Ignore"}});
        change(&office, ADMISSION, (policy, "runs.firedrill.dev"), weak).await;
        let asleep = json!({"spec": {"validationActions": ["Audit"]}});
        change(&office, ADMISSION, ("ValidatingAdmissionPolicyBinding", "halt.firedrill.dev"), asleep).await;
        office.delete(&at((ADMISSION, "MutatingAdmissionPolicy"), ("", "runs-stamp.firedrill.dev"))).await;
        let none = json!({"spec": {"validations": []}});
        change(&office, ADMISSION, (policy, "node-undo.firedrill.dev"), none.clone()).await;
        change(&office, ADMISSION, (policy, "firedrill-agents-doors.firedrill.dev"), none).await;
        let plain = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}});
        change(&office, "v1", ("Namespace", "firedrill-agents"), plain).await;
        let all = look(&office).await;
        let said = |what: &str, subject: &str| finding(&all, what, subject);
        let runs = said("policies", "validatingadmissionpolicy/runs.firedrill.dev");
        assert!(runs.message.contains("spec.failurePolicy"), "{runs}");
        assert!(runs.remedy.contains("firedrill controller manifests --only policies | kubectl"), "{runs}");
        assert_eq!(of(&all, "policies").findings.len(), 2, "{all:?}");
        let stamp = said("stamp", "mutatingadmissionpolicy/runs-stamp.firedrill.dev");
        assert!(stamp.message.contains("not there") && stamp.remedy.contains("--only stamp"), "{stamp}");
        let nodes = said("nodes", "node-undo.firedrill.dev");
        assert!(nodes.remedy.contains("--node-account ops:breaker --node-account ops:other"), "{nodes}");
        assert_eq!(
            of(&all, "nodes").findings.len(),
            1,
            "the accounts are read off the other policy: {all:?}"
        );
        let doors = said("agents", "firedrill-agents-doors.firedrill.dev");
        let flags = "--agent-namespace firedrill-agents --agent-image registry.example.com/agent:1 \
                     --agent-pull-secret pull --agent-user ada --agent-user bob";
        assert!(doors.remedy.contains(flags), "{doors}");
        let space = said("agents", "namespace/firedrill-agents");
        assert!(space.message.contains("pod-security.kubernetes.io/enforce=privileged"), "{space}");
    });
}

#[test]
fn parts_that_are_not_installed_are_no_findings() {
    in_virtual_time(async {
        let office = Office::furnished(
            &experiment(&[SCALE]),
            vec![json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "firedrill"}})],
        )
        .await;
        let mut plain = deployment();
        plain["spec"]["template"]["spec"]["containers"][0]["args"] = json!(["controller"]);
        office
            .access
            .create(&at(("apps/v1", "Deployment"), ("firedrill", "firedrill")), plain, Write::default())
            .await
            .expect("it is created");
        let all = look(&office).await;
        for what in ["stamp", "nodes", "agents", "metrics"] {
            assert_eq!(of(&all, what).findings, [], "{what}");
        }
        assert!(of(&all, "metrics").found.contains("--prometheus"), "{all:?}");
        assert!(of(&all, "rights").findings.iter().all(Finding::is_error), "a controller is there: {all:?}");
    });
}

#[test]
fn guardrails_that_the_installation_brings_are_missed_whoever_has_pressed_them() {
    in_virtual_time(async {
        let office = complete().await;
        let pressed = json!({"spec": {"halt": true, "haltReason": "an incident"}});
        change(&office, api::API_VERSION, ("Guardrail", "halt"), pressed).await;
        office.delete(&at((api::API_VERSION, "Guardrail"), ("", "firedrill-drain"))).await;
        let all = look(&office).await;
        let gone = finding(&all, "guardrails", "guardrail/firedrill-drain");
        assert!(!gone.is_error() && gone.message.contains("new Runs out of a drain"), "{gone}");
        assert!(gone.remedy.contains("controller manifests --only guardrails | kubectl"), "{gone}");
        let halts = finding(&all, "guardrails", "guardrail/halt");
        assert!(halts.message.contains("it halts"), "{halts}");
        assert_eq!(of(&all, "guardrails").findings.len(), 2, "{all:?}");
        // Whoever runs the controller by themselves has brought none.
        office.delete(&at(("apps/v1", "Deployment"), ("firedrill", "firedrill"))).await;
        assert_eq!(of(&look(&office).await, "guardrails").findings.len(), 1);
    });
}

/// The chart fills in what the program prints: what nothing is filled in for is no other policy.
#[test]
fn whatever_is_filled_in_the_manifests_have_one_form() {
    let marked = Installed {
        agents: Some(AgentSettings { pull_secret: "@secret@".to_owned(), ..AgentSettings::default() }),
        agent_users: vec!["@user@".to_owned()],
        ..Installed::default()
    };
    let plain =
        Installed { agents: Some(AgentSettings::default()), agent_users: Vec::new(), ..Installed::default() };
    let filled = Value::from(manifests(Part::Agents, &marked)).to_string();
    let filled = filled.replace("@secret@", "").replace(", '@user@'", "");
    assert_eq!(filled, Value::from(manifests(Part::Agents, &plain)).to_string());
}

#[test]
fn the_metric_source_is_read_off_the_deployment_and_asked() {
    in_virtual_time(async {
        let office = complete().await;
        let silent = installation::examine(&env(&office, false), "firedrill", None).await;
        let source = finding(&silent, "metrics", PROMETHEUS);
        assert!(source.message.contains("connection refused") && !source.is_error(), "{source}");
        // What the API server's proxy says is so from everywhere.
        let given = Some("service/monitoring/nowhere:9090");
        let missing = installation::examine(&env(&office, true), "firedrill", given).await;
        let source = finding(&missing, "metrics", "service/monitoring/nowhere:9090");
        assert!(source.is_error() && source.remedy.contains("--prometheus"), "{source}");
        // Who cannot read it off is told which flag to give.
        office.delete(&at(("apps/v1", "Deployment"), ("firedrill", "firedrill"))).await;
        let unknown = finding(&look(&office).await, "metrics", "controller").clone();
        assert!(unknown.remedy.contains("firedrill doctor --installation --prometheus"), "{unknown}");
        let given = installation::examine(&env(&office, true), "firedrill", Some(PROMETHEUS)).await;
        assert_eq!(of(&given, "metrics").findings, []);
    });
}

/// Every way in which something can be wrong that these tests can bring about.
async fn broken() -> Vec<Finding> {
    let mut all = Vec::new();
    let mut add = |looked: Vec<Looked>| all.extend(looked.into_iter().flat_map(|one| one.findings));
    // Nothing is there.
    let office = Office::furnished(&experiment(&[SCALE]), Vec::new()).await;
    for crd in ["runs", "guardrails"] {
        let name = format!("{crd}.firedrill.dev");
        let object = at(("apiextensions.k8s.io/v1", "CustomResourceDefinition"), ("", &name));
        office.delete(&object).await;
        office.until("it is gone", async || office.get(&object).await.is_none()).await;
    }
    add(look(&office).await);
    // It may not be read.
    let nobody = office.stage.cluster.sim().client_as(User::new("nobody", &[]));
    add(installation::examine(&Env { kube: nobody, ..env(&office, true) }, "firedrill", None).await);
    // It is another one, nobody answers, somebody halts, and a replica has died with a run in its hands.
    let office = complete().await;
    change(&office, api::API_VERSION, ("Guardrail", "halt"), json!({"spec": {"halt": true}})).await;
    for part in PARTS {
        for object in manifests(part, &installed()) {
            let text = |at: &str| object.pointer(at).and_then(Value::as_str).unwrap_or_default();
            if text("/kind") == "Role" {
                office
                    .delete(&at(
                        (text("/apiVersion"), "Role"),
                        (text("/metadata/namespace"), text("/metadata/name")),
                    ))
                    .await;
            } else if text("/metadata/namespace").is_empty() && text("/kind") != "Namespace" {
                let other = json!({"rules": [], "subjects": [], "spec": {"paramRef": {"name": "another"}}});
                let kept = if text("/kind").starts_with("ClusterRole") {
                    &["rules", "subjects"][..]
                } else {
                    &["spec"]
                };
                let other = kept.iter().map(|field| ((*field).to_owned(), other[*field].clone())).collect();
                change(
                    &office,
                    text("/apiVersion"),
                    (text("/kind"), text("/metadata/name")),
                    Value::Object(other),
                )
                .await;
            }
        }
    }
    let crd = at(("apiextensions.k8s.io/v1", "CustomResourceDefinition"), ("", "experiments.firedrill.dev"));
    let other = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let patch = json!([{"op": "replace", "path": "/spec/versions/0/schema", "value": other}]);
    let patch = kube::api::Patch::<Value>::Json(serde_json::from_value(patch).expect("a patch"));
    let api = office.access.api(&crd);
    api.patch(&crd.name, &kube::api::PatchParams::default(), &patch).await.expect("it is changed");
    add(installation::examine(&env(&office, false), "firedrill", Some("nonsense")).await);
    let _survivor = office.replica("b");
    let dead = office.replica("a");
    dead.dies();
    let claim = at(("coordination.k8s.io/v1", "Lease"), ("firedrill", "run-trial-1-abcde"));
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": claim.name, "namespace": "firedrill"}, "spec": {"holderIdentity": "a-gone"}});
    let _ = office.access.create(&claim, lease, Write::default()).await;
    office
        .until("one is at work", async || of(&look(&office).await, "controller").found.starts_with('1'))
        .await;
    add(installation::examine(&env(&office, false), "firedrill", None).await);
    all.extend(nodes(&office.stage).await);
    all
}

/// What is wrong with nodes.
async fn nodes(stage: &Stage) -> Vec<Finding> {
    let by = Identity { name: "somebody".to_owned(), groups: Vec::new() };
    let nowhere = AgentSettings { namespace: "nowhere".to_owned(), ..AgentSettings::default() };
    let mut all = Vec::new();
    for (settings, names) in
        [(nowhere, vec!["n1".to_owned()]), (AgentSettings::default(), vec!["nope".to_owned()])]
    {
        let examined = engine::examine(&stage.env, &settings, &names, &by).await.expect("it looks");
        all.extend(examined.into_iter().flat_map(|one| one.findings));
    }
    all
}

#[test]
fn every_finding_has_a_remedy() {
    in_virtual_time(async {
        let all = broken().await;
        assert!(all.len() > 50, "{} are found", all.len());
        let without: Vec<&Finding> = all.iter().filter(|one| one.remedy.trim().is_empty()).collect();
        assert_eq!(without, Vec::<&Finding>::new());
        // Of each kind at least one.
        let words = [
            "the cluster does not know this kind",
            "it is of another version than this program",
            "it cannot be read",
            "it has not the right",
            "it has not the subject",
            "it is another one at spec",
            "it is not there, so that",
            "authors are not held to their own rights",
            "nobody takes up Runs",
            "it halts",
            "connection refused",
            "is neither a URL",
            "where it asks for metrics cannot be read",
            "no Deployment of this namespace says",
            "it is where agents run, and it is not there",
            "there is no node nope",
        ];
        for words in words {
            assert!(all.iter().any(|one| one.message.contains(words)), "nobody says: {words}");
        }
    });
}

/// What no test brings about has one, too: where doctor says that something is wrong, what helps is an argument.
#[test]
fn no_finding_of_doctor_is_made_without_a_remedy() {
    for (path, makers) in [("mod", 1), ("parts", 0), ("source", 0), ("deployed", 0), ("difference", 0)] {
        let path = format!("src/controller/installation/{path}.rs");
        let code = text(&path);
        let made = code.matches("Finding::error").count() + code.matches("Finding::warning").count();
        assert_eq!(made, makers * 2, "{path}: of_installation alone makes findings");
    }
    let code = text("src/engine/doctor.rs");
    for word in ["Finding::error(", "Finding::warning("] {
        for (at, _) in code.match_indices(word) {
            let statement = code[at..].split(';').next().unwrap_or_default();
            assert!(statement.contains(".remedy("), "src/engine/doctor.rs: {statement}");
        }
    }
}
