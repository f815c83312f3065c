//! The controller with the rights that its installation gives it, and no others: it makes do with them, and needs
//! them all.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use firedrill::{
    cluster::{Access, ApiError, Segments},
    controller::{
        self, Settings,
        manifests::{Installed, Part, manifests},
        metrics::Metrics,
        port::Port,
    },
    env::Env,
    journal::Environment,
    sim::{apiserver::User, store::Kind},
    types::ObjectRef,
};
use http::Request;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::{sync::oneshot, task::JoinHandle};

use super::office::Office;
use crate::{
    crash::house::{experiment, object},
    kit::in_virtual_time,
};

/// In force for long enough to be taken over in.
const BRIEFLY: &str =
    "{name: shrink, target: {workload: deployment/web}, scale: {replicas: 1}, duration: 25s}";

/// Namespace (empty: none), API group, resource, verb.
pub type Call = (String, String, String, String);

/// What the controller has asked for in its own name, and what of that was refused.
#[derive(Clone, Default)]
pub struct Heard {
    asked: Arc<Mutex<BTreeSet<Call>>>,
    refused: Arc<Mutex<BTreeSet<Call>>>,
    /// The same while it acts as an account.
    acting: Arc<Mutex<BTreeSet<Call>>>,
    acting_refused: Arc<Mutex<BTreeSet<Call>>>,
}

impl Heard {
    /// What was refused.
    pub fn refusals(&self) -> Vec<Call> {
        self.refused.lock().expect("no panic").iter().cloned().collect()
    }

    /// What it was given in its own name.
    pub fn given(&self) -> BTreeSet<Call> {
        let refused = self.refused.lock().expect("no panic");
        self.asked.lock().expect("no panic").difference(&refused).cloned().collect()
    }

    /// What was asked for as an account: given, and refused.
    pub fn acting(&self) -> [BTreeSet<Call>; 2] {
        let refused = self.acting_refused.lock().expect("no panic").clone();
        let given = self.acting.lock().expect("no panic").difference(&refused).cloned().collect();
        [given, refused]
    }

    /// Whether that was asked for, and not refused.
    pub fn asks_for(&self, call: &Call) -> bool {
        self.asked.lock().expect("no panic").contains(call) && !self.refusals().contains(call)
    }
}

/// What a request asks for, as the authorizer sees it. None: reviews of oneself, which everybody may have, and
/// discovery.
fn asks(method: &str, uri: &http::Uri) -> Option<Call> {
    let mut parts: Vec<&str> = uri.path().trim_start_matches('/').split('/').collect();
    let group = match *parts.first()? {
        "api" => String::new(),
        "apis" if parts.len() > 1 => parts.remove(1).to_owned(),
        _ => return None,
    };
    let mut rest = parts.split_off(parts.len().min(2));
    if rest.first()?.starts_with("selfsubject") {
        return None;
    }
    let mut namespace = String::new();
    if rest.len() > 2 && rest[0] == "namespaces" {
        rest.remove(0);
        namespace = rest.remove(0).to_owned();
    }
    let (resource, name, sub) = (*rest.first()?, rest.get(1), rest.get(2));
    let watches = uri.query().is_some_and(|query| query.contains("watch="));
    let verb = match method {
        "GET" if watches => "watch",
        "GET" if name.is_some() => "get",
        "GET" => "list",
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        _ => "delete",
    };
    let resource = sub.map_or_else(|| resource.to_owned(), |sub| format!("{resource}/{sub}"));
    Some((namespace, group, resource, verb.to_owned()))
}

/// A client of the controller's own account that remembers what was asked for.
pub fn listening(office: &Office, heard: &Heard) -> kube::Client {
    listening_as(office, heard, "system:serviceaccount:firedrill:firedrill")
}

/// The same of somebody else.
pub fn listening_as(office: &Office, heard: &Heard, user: &str) -> kube::Client {
    let user = User::new(user, &[]);
    let (inner, heard) = (office.stage.cluster.sim().client_as(user), heard.clone());
    let service = tower::service_fn(move |request: Request<Body>| {
        let acting = request.headers().contains_key("impersonate-user");
        let call = asks(request.method().as_str(), request.uri());
        let (inner, heard) = (inner.clone(), heard.clone());
        async move {
            let answer = inner.send(request).await;
            if let Some(call) = call {
                let (asked, refused) = match acting {
                    true => (&heard.acting, &heard.acting_refused),
                    false => (&heard.asked, &heard.refused),
                };
                if answer.as_ref().is_ok_and(|answer| answer.status() == 403) {
                    refused.lock().expect("no panic").insert(call.clone());
                }
                asked.lock().expect("no panic").insert(call);
            }
            answer
        }
    });
    kube::Client::new(service, "default")
}

/// A controller in its pod, with its own account or what is made of its client.
pub fn replica(
    office: &Office,
    kube: kube::Client,
    name: &str,
    pod: &str,
) -> (JoinHandle<()>, oneshot::Sender<()>) {
    let env = Env { kube, ..office.stage.env.clone() };
    let settings = Settings {
        namespace: "firedrill".to_owned(),
        pod: pod.to_owned(),
        name: name.to_owned(),
        source: None,
        environment: Environment { cluster: "embedded".to_owned(), ..Environment::default() },
        at_once: 10,
        metrics: Metrics::default(),
        agents: false,
    };
    let (tx, rx) = oneshot::channel();
    let end = async {
        let _ = rx.await;
    };
    (tokio::spawn(async move { controller::serve(env, settings, end).await.expect("it can join") }), tx)
}

/// Somebody who may not read the metrics asks for them.
async fn curious(office: &Office, heard: &Heard) {
    let url = "/api/v1/namespaces/shop/serviceaccounts/firedrill/token";
    let body =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}});
    let request = Request::post(url).header("content-type", "application/json");
    let request = request.body(body.to_string().into_bytes()).expect("a request");
    let given: Value = office.stage.cluster.sim().client().request(request).await.expect("a token");
    let token = given["status"]["token"].as_str().expect("a token");
    let request = Request::get("/metrics").header("authorization", format!("Bearer {token}"));
    let port = Port::new(&listening(office, heard), &Metrics::default());
    let answer = port.answer(&request.body(()).expect("a request").into_parts().0).await;
    assert_eq!(answer.status(), 403, "{answer:?}");
}

/// What `firedrill allow shop --fault scale` would apply, with these further words.
fn allowed(more: &[&str]) -> Vec<Value> {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_firedrill"));
    command.args(["allow", "shop", "--fault", "scale", "--dry-run", "-o", "json"]).args(more);
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    let list: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    // The namespace is there already, in the house.
    list["items"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|one| one["kind"] != "Namespace")
        .cloned()
        .collect()
}

const CONSTRAINED: [&str; 2] = ["--impersonation", "constrained"];
const LEGACY: [&str; 2] = ["--impersonation", "legacy"];

async fn office(form: &[&str], text: &str) -> Office {
    let mut objects =
        vec![json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "firedrill"}})];
    objects.extend(manifests(Part::Rights, &Installed::default()));
    objects.extend(allowed(form));
    Office::furnished(text, objects).await
}

/// The verbs of the controller's own two roles.
fn granted() -> BTreeSet<Call> {
    let mut granted = BTreeSet::new();
    for role in manifests(Part::Rights, &Installed::default()) {
        let name = role["metadata"]["name"].as_str().unwrap_or_default();
        if name != "firedrill:controller" || role["rules"].is_null() {
            continue;
        }
        let namespace = role["metadata"]["namespace"].as_str().unwrap_or_default();
        let texts = |value: &Value| -> Vec<String> { serde_json::from_value(value.clone()).expect("texts") };
        for rule in role["rules"].as_array().expect("rules") {
            for resource in texts(&rule["resources"]) {
                for verb in texts(&rule["verbs"]) {
                    let group = texts(&rule["apiGroups"]).remove(0);
                    granted.insert((namespace.to_owned(), group, resource.clone(), verb));
                }
            }
        }
    }
    granted
}

/// Granted, and used where it is not tried here.
const RARELY: [(&str, &str, &str); 3] = [
    // When a segment's number is taken, or an answer was lost: whose is it?
    ("", "configmaps", "get"),
    // The policy over Runs asks for it when one is made.
    ("firedrill.dev", "gamedays", "run"),
    // When somebody has deleted the Guardrail of the drain; to apply it is a patch whether it is there or not.
    ("firedrill.dev", "guardrails", "create"),
];

/// Looked for once more after a takeover, in case, and not there to be found: scars of faults that nobody can have
/// from a controller without rights to nodes and agents.
const FORESEEN: [(&str, &str, &str, &str); 2] =
    [("", "", "nodes", "list"), ("firedrill-agents", "", "pods", "list")];

/// Somebody bounds how many runs are at work.
async fn bounded(office: &Office) {
    let object = ObjectRef::namespaced("firedrill.dev/v1alpha1", "Guardrail", "", "platform");
    let rule = json!({"apiVersion": "firedrill.dev/v1alpha1", "kind": "Guardrail", "metadata": {"name": "platform"},
        "spec": {"concurrentRuns": 3}});
    office.access.create(&object, rule, Default::default()).await.expect("it is created");
    let counted = async || office.status(&object).await["activeRuns"] == 0;
    office.until("its status says what is at work", counted).await;
}

/// A game day of which one is held, and which is gone then.
async fn comes_due(office: &Office) {
    let object = ObjectRef::namespaced("firedrill.dev/v1alpha1", "GameDay", "shop", "often");
    let day = json!({"apiVersion": "firedrill.dev/v1alpha1", "kind": "GameDay",
        "metadata": {"name": "often", "namespace": "shop"},
        "spec": {"schedule": "*/5 * * * *", "timeZone": "Europe/London", "experiments": [{"name": "trial"}]}});
    office.access.create(&object, day, Default::default()).await.expect("it is created");
    let last = async || office.status(&object).await["lastRun"]["verdict"].clone();
    office.until("one is held", async || last().await == "Passed").await;
    office.delete(&object).await;
}

#[test]
fn the_controller_makes_do_with_its_rights_and_needs_them_all() {
    let heard = Heard::default();
    in_virtual_time({
        let heard = heard.clone();
        async move {
            let office = office(&CONSTRAINED, &experiment(&[BRIEFLY])).await;
            // One dies with its pod, another takes over and buries it.
            let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "firedrill-a", "namespace": "firedrill"},
                "spec": {"containers": [{"name": "firedrill", "image": "app:1"}]}});
            let place = ObjectRef::namespaced("v1", "Pod", "firedrill", "firedrill-a");
            let made = office.access.create(&place, pod, Default::default()).await.expect("a pod");
            let pod = format!("firedrill-a/{}", made.metadata.uid.expect("it has one"));
            let (first, _ends) = replica(&office, listening(&office, &heard), "a", &pod);
            let run = office.run("trial-1", json!({"ttlAfterFinished": "20s"})).await;
            office.shrunk().await;
            curious(&office, &heard).await;
            let (second, end) = replica(&office, listening(&office, &heard), "b", "");
            tokio::time::sleep(Duration::from_secs(3)).await;
            first.abort();
            let status = office.over(&run).await;
            assert_eq!(status["reason"], "RunnerLost", "{status}");
            assert!(office.get(&place).await.is_none_or(|pod| pod.metadata.deletion_timestamp.is_some()));
            bounded(&office).await;
            // One that passes, and one whose account goes while its fault is in force.
            let run = office.run("trial-2", json!({"ttlAfterFinished": "20s"})).await;
            assert_eq!(office.over(&run).await["verdict"], "Passed", "{}", office.status(&run).await);
            comes_due(&office).await;
            let run = office.run("trial-3", json!({})).await;
            office.shrunk().await;
            office.delete(&ObjectRef::namespaced("v1", "ServiceAccount", "shop", "firedrill")).await;
            for binding in ["firedrill:runs", "firedrill:fault:scale"] {
                let api = "rbac.authorization.k8s.io/v1";
                office.delete(&ObjectRef::namespaced(api, "RoleBinding", "shop", binding)).await;
            }
            let status = office.over(&run).await;
            assert_eq!((&status["reason"], office.replicas()), (&json!("AccountGone"), json!(4)), "{status}");
            tokio::time::sleep(Duration::from_secs(40)).await;
            let journals = office.journals().await;
            let trials = journals.iter().filter(|journal| journal.object.starts_with("shop/trial"));
            assert_eq!(trials.count(), 1, "those that have expired are gone");
            let access = Access::new(listening(&office, &heard));
            let left = controller::drain(&access, "firedrill", Duration::from_secs(60), |_| {}).await;
            assert_eq!(left.expect("it may"), Vec::<String>::new());
            end.send(()).expect("it listens");
            second.await.expect("it ends by itself");
        }
    });
    let refused = heard.refused.lock().expect("no panic").clone();
    let foreseen = |(namespace, group, resource, verb): &&Call| {
        FORESEEN.contains(&(namespace.as_str(), group.as_str(), resource.as_str(), verb.as_str()))
    };
    assert_eq!(refused.iter().find(|call| !foreseen(call)), None, "asked for and refused");
    let asked: BTreeSet<Call> = heard.asked.lock().expect("no panic").difference(&refused).cloned().collect();
    // What was put back in the account's place is asked for in its namespace, and given by a role of its own.
    let own = asked.into_iter().filter_map(|(namespace, group, resource, verb)| {
        let everywhere = group == "firedrill.dev"
            || (resource == "leases" && namespace.is_empty())
            || ["namespaces", "serviceaccounts", "events", "tokenreviews", "subjectaccessreviews"]
                .contains(&resource.as_str());
        match namespace.as_str() {
            _ if everywhere => Some((String::new(), group, resource, verb)),
            "firedrill" => Some((namespace, group, resource, verb)),
            _ => None,
        }
    });
    let own: BTreeSet<Call> = own.collect();
    let granted = granted();
    let unused = granted.difference(&own).map(|(_, group, resource, verb)| (&**group, &**resource, &**verb));
    // All of those, and no others: one that is granted no more is a right that somebody will miss one day.
    assert_eq!(unused.collect::<BTreeSet<_>>(), BTreeSet::from(RARELY), "granted and not used");
    assert_eq!(own.difference(&granted).collect::<Vec<_>>(), Vec::<&Call>::new(), "used and not granted");
}

/// Nobody has let the controller act as the account: nothing is changed, and the Run says what is missing.
#[test]
fn a_namespace_that_is_not_opted_in_is_refused_before_anything_is_done() {
    let heard = Heard::default();
    in_virtual_time(async move {
        let office = office(&LEGACY, &experiment(&[BRIEFLY])).await;
        let api = "rbac.authorization.k8s.io/v1";
        office
            .delete(&ObjectRef::namespaced(api, "RoleBinding", "shop", "firedrill:controller:firedrill"))
            .await;
        let (task, end) = replica(&office, listening(&office, &heard), "a", "");
        let run = office.run("trial-1", json!({})).await;
        let status = office.over(&run).await;
        assert_eq!((&status["verdict"], office.replicas()), (&json!("Refused"), json!(4)), "{status}");
        assert!(status["message"].as_str().is_some_and(|why| why.contains("may not act as it")), "{status}");
        end.send(()).expect("it listens");
        task.await.expect("it ends by itself");
    });
}

/// Binds a ClusterRole to the account by hand: within the namespace, or everywhere.
async fn bind(office: &Office, role: &str, everywhere: bool) {
    let (kind, space) = if everywhere { ("ClusterRoleBinding", "") } else { ("RoleBinding", "shop") };
    let api = "rbac.authorization.k8s.io/v1";
    let name = format!("by-hand-{}", role.replace(':', "-"));
    let object = ObjectRef::namespaced(api, kind, space, &name);
    let mut metadata = json!({"name": name});
    if !everywhere {
        metadata["namespace"] = space.into();
    }
    let body = json!({"apiVersion": api, "kind": kind, "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": "firedrill", "namespace": "shop"}]});
    office.access.create(&object, body, Default::default()).await.expect("it is bound");
}

async fn ended(office: &Office) -> Value {
    let (task, end) = replica(office, listening(office, &Heard::default()), "a", "");
    let run = office.run("trial-1", json!({})).await;
    let status = office.over(&run).await;
    end.send(()).expect("it listens");
    task.await.expect("it ends by itself");
    status
}

/// A run whose probe looks at a ConfigMap, which the account may read by a role of its own.
async fn looks(more: &[&str]) -> Value {
    let deployment = "kubernetes: {apiVersion: apps/v1, kind: Deployment, name: web}";
    let switch = "kubernetes: {apiVersion: v1, kind: ConfigMap, name: switch}";
    let text = experiment(&[BRIEFLY]).replace(deployment, switch);
    let text = text.replace("value: object.status.readyReplicas", "value: '4.0'");
    let office = office(more, &text).await;
    let object = ObjectRef::namespaced("v1", "ConfigMap", "shop", "switch");
    let body =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "switch", "namespace": "shop"}});
    office.access.create(&object, body, Default::default()).await.expect("it is created");
    bind(&office, "view", false).await;
    ended(&office).await
}

#[test]
fn acting_as_an_account_the_controller_may_do_only_what_runs_take_and_what_it_was_opened_for() {
    in_virtual_time(async {
        let status = looks(&CONSTRAINED).await;
        assert_eq!(
            (&status["verdict"], &status["findings"][0]["code"]),
            (&json!("Refused"), &json!("FD2001")),
            "{status}"
        );
        let words = status["message"].as_str().unwrap_or_default();
        assert!(words.contains("probe ready") && words.contains("configmaps in namespace shop"), "{status}");
        let remedy = status["findings"][0]["remedy"].as_str().unwrap_or_default();
        assert!(remedy.contains("firedrill allow shop --read configmaps"), "{status}");
        let status = looks(&[CONSTRAINED.as_slice(), &["--read", "configmaps"]].concat()).await;
        assert_eq!(status["verdict"], "Passed", "{status}");
        let status = looks(&LEGACY).await;
        assert_eq!(status["verdict"], "Passed", "{status}");
    });
}

/// With the role for journals somebody reads what runs have come to and no more, and nothing of a Secret is in it.
#[test]
fn the_role_for_journals_reads_them_and_they_hold_no_secret() {
    in_virtual_time(async {
        let deployment = "kubernetes: {apiVersion: apps/v1, kind: Deployment, name: web}";
        let header = "{name: x-door, valueFrom: {secretKeyRef: {name: door, key: token}}}";
        let asks = format!("http: {{url: 'http://web.shop.svc/', headers: [{header}]}}");
        let text = experiment(&[BRIEFLY]).replace(deployment, &asks);
        let text = text.replace("value: object.status.readyReplicas", "value: double(status)");
        let reads = ["--secret", "door", "--read", "services/proxy"];
        let office = office(&[CONSTRAINED.as_slice(), &reads].concat(), &text).await;
        let secret = ObjectRef::namespaced("v1", "Secret", "shop", "door");
        let body = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "door", "namespace": "shop"},
            "stringData": {"token": "s3cret"}});
        office.access.create(&secret, body, Default::default()).await.expect("it is created");
        let status = ended(&office).await;
        assert_eq!(status["verdict"], "Passed", "{status}");
        let ada = Access::new(office.stage.cluster.sim().client_as(User::new("ada", &[])));
        assert!(matches!(Segments::list(&ada, "firedrill").await, Err(ApiError::Forbidden(_))));
        // kubectl create rolebinding journals -n firedrill --role=firedrill:journals --user=ada
        let api = "rbac.authorization.k8s.io/v1";
        let binding = json!({"apiVersion": api, "kind": "RoleBinding",
            "metadata": {"name": "journals", "namespace": "firedrill"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "firedrill:journals"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ada"}]});
        let at = ObjectRef::namespaced(api, "RoleBinding", "firedrill", "journals");
        office.access.create(&at, binding, Default::default()).await.expect("it is bound");
        let journals = Segments::list(&ada, "firedrill").await.expect("she may");
        let [journal] = &journals[..] else { panic!("one: {journals:?}") };
        let bytes = Segments::bytes(&ada, "firedrill", &journal.run).await.expect("she may");
        let told = String::from_utf8_lossy(&bytes);
        assert!(told.contains("secretKeyRef") && !told.contains("s3cret"), "{told}");
        let maps = ObjectRef::namespaced("v1", "ConfigMap", "firedrill", "");
        let others = office.access.list(&maps, "").await.expect("all of them");
        assert!(others.iter().all(|map| !map.data.to_string().contains("s3cret")));
        for (kind, namespace) in [("ConfigMap", "shop"), ("Secret", "shop"), ("Secret", "firedrill")] {
            let listed = ada.list(&ObjectRef::namespaced("v1", kind, namespace, ""), "").await;
            assert!(matches!(listed, Err(ApiError::Forbidden(_))), "{kind} in {namespace}: {listed:?}");
        }
    });
}

/// What docs/installation.md says of an account that may change nodes is enough.
#[test]
fn an_account_with_the_roles_for_nodes_cordons_one() {
    in_virtual_time(async {
        let cordon = "{name: close, target: {nodes: {matchLabels: {pool: shop}}, count: 1}, nodeCordon: {}, duration: 5s}";
        let office = office(&CONSTRAINED, &experiment(&[cordon])).await;
        let installed =
            Installed { node_accounts: vec!["shop:firedrill".to_owned()], ..Installed::default() };
        for object in manifests(Part::Nodes, &installed) {
            if !object["kind"].as_str().is_some_and(|kind| kind.starts_with("ClusterRole")) {
                continue;
            }
            let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let kind = object["kind"].as_str().unwrap_or_default().to_owned();
            let at = ObjectRef::namespaced("rbac.authorization.k8s.io/v1", &kind, "", &name);
            office.access.create(&at, object, Default::default()).await.expect("it is created");
        }
        bind(&office, "firedrill:nodes", true).await;
        bind(&office, "firedrill:fault:nodeCordon", true).await;
        let status = ended(&office).await;
        assert_eq!(status["verdict"], "Passed", "{status}");
        for number in 1..=4 {
            let node = object(&office.stage, &Kind::NODE, "", &format!("n{number}"));
            assert!(node["spec"]["unschedulable"].is_null(), "{node}");
        }
    });
}
