//! Agents that the controller places, with its own rights in their namespace and those of its installation.

use std::time::Duration;

use firedrill::{
    api::API_VERSION,
    cluster::Write,
    controller::{
        self, Settings,
        manifests::{Impersonation, Installed, Opening, Part, manifests, opened},
        metrics::Metrics,
    },
    env::Env,
    faults::embedded_agents,
    journal::{Environment, Record, RevertOutcome},
    sim::{
        apiserver::User,
        store::{Kind, Selector},
    },
    types::{AGENT_NAMESPACE, AgentSettings, ObjectRef},
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{
    office::{Office, assert_whole},
    rights::{Heard, listening},
};
use crate::{crash::house::experiment, kit::in_virtual_time};

const LATENCY: &str = "{name: hit, target: {workload: deployment/web, count: 2}, networkLatency: {delay: 100ms}, duration: 60s}";

fn settings(namespace: &str) -> AgentSettings {
    AgentSettings { namespace: namespace.to_owned(), ..AgentSettings::default() }
}

/// An office of a controller that places agents there; the embedded cluster knows no admission policies.
async fn office(step: &str, namespace: &str) -> Office {
    let installed = Installed { agents: Some(settings(namespace)), ..Installed::default() };
    let roles = ["Role", "RoleBinding", "ClusterRole"].map(Some);
    let space = |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let mut objects = vec![space("firedrill")];
    if namespace != AGENT_NAMESPACE {
        objects.push(space(namespace));
    }
    objects.extend(manifests(Part::Rights, &installed));
    let agents = manifests(Part::Agents, &installed).into_iter();
    objects.extend(agents.filter(|one| roles.contains(&one["kind"].as_str())));
    // The namespace is there already, in the house.
    let opening = Opening {
        namespace: "shop",
        account: "firedrill",
        faults: vec!["networkLatency", "podKill"],
        secrets: Vec::new(),
        reads: Vec::new(),
        how: Impersonation::Constrained,
    };
    let shop = opened(&opening, &installed).into_iter();
    objects.extend(shop.filter(|one| one["kind"] != "Namespace"));
    Office::furnished(&experiment(&[step]), objects).await
}

/// A controller with its own account, in its pod if it has one.
fn replica(office: &Office, heard: &Heard, (name, pod): (&str, &str), namespace: &str) -> JoinHandle<()> {
    let user = User::new("system:serviceaccount:firedrill:firedrill", &[]);
    let env = Env {
        kube: listening(office, heard),
        agents: embedded_agents(&office.stage.cluster, user),
        ..office.stage.env.clone()
    };
    let environment = Environment { cluster: "embedded".to_owned(), ..Environment::default() };
    let settings = Settings {
        namespace: "firedrill".to_owned(),
        pod: pod.to_owned(),
        name: name.to_owned(),
        source: None,
        environment: environment.with_agents(settings(namespace)),
        at_once: 10,
        metrics: Metrics::default(),
        agents: true,
    };
    tokio::spawn(async move {
        controller::serve(env, settings, std::future::pending()).await.expect("it can join")
    })
}

/// The agents' pods that are there.
fn pods(office: &Office, namespace: &str) -> Vec<String> {
    let pods = office.stage.cluster.sim().store().list(&Kind::POD, Some(namespace), &Selector::everything());
    pods.iter().map(|pod| pod.meta.name.clone()).collect()
}

/// Waits until the fault was seen in force on both of its targets.
async fn in_force(office: &Office, run: &ObjectRef) {
    let seen =
        |record: &Record| matches!(record, Record::EffectSeen { injection, .. } if injection.step() == "hit");
    office
        .until("it is in force", async || {
            !office.journals().await.is_empty()
                && office.journal(run).await.iter().filter(|entry| seen(&entry.record)).count() == 2
        })
        .await;
}

#[test]
fn what_an_agent_disturbs_is_in_force_and_all_of_it_goes_with_an_abort() {
    in_virtual_time(async {
        let (office, heard) = (office(LATENCY, AGENT_NAMESPACE).await, Heard::default());
        let _replica = replica(&office, &heard, ("a", ""), AGENT_NAMESPACE);
        let run = office.run("trial-1", json!({})).await;
        in_force(&office, &run).await;
        assert!(!pods(&office, AGENT_NAMESPACE).is_empty());
        office.set(&run, json!({"abort": true})).await;
        let status = office.over(&run).await;
        assert_eq!(
            (&status["verdict"], &status["reason"]),
            (&json!("Aborted"), &json!("UserAbort")),
            "{status}"
        );
        assert_eq!(pods(&office, AGENT_NAMESPACE), Vec::<String>::new());
        let entries = office.journal(&run).await;
        assert_whole(&entries);
        let back = entries.iter().filter(|entry| {
            matches!(&entry.record, Record::Reverted { outcome: RevertOutcome::Restored, .. })
        });
        assert!(back.count() >= 3, "two faults and their agents");
        office.assert_as_before().await;
        assert_eq!(heard.refusals(), []);
    });
}

#[test]
fn a_survivor_takes_agents_of_a_dead_replica_away() {
    in_virtual_time(async {
        for namespace in [AGENT_NAMESPACE, "hands"] {
            let (office, heard) = (office(LATENCY, namespace).await, Heard::default());
            let place = ObjectRef::namespaced("v1", "Pod", "firedrill", "firedrill-a");
            let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "firedrill-a", "namespace": "firedrill"},
                "spec": {"containers": [{"name": "firedrill", "image": "app:1"}]}});
            let made = office.access.create(&place, pod, Write::default()).await.expect("a pod");
            let own = format!("firedrill-a/{}", made.metadata.uid.expect("it has one"));
            let first = replica(&office, &heard, ("a", &own), namespace);
            let run = office.run("trial-1", json!({})).await;
            in_force(&office, &run).await;
            let _second = replica(&office, &heard, ("b", ""), namespace);
            tokio::time::sleep(Duration::from_secs(3)).await;
            first.abort();
            let status = office.over(&run).await;
            assert_eq!(
                (&status["reason"], &status["runner"]["epoch"]),
                (&json!("RunnerLost"), &json!(2)),
                "{status}"
            );
            assert_eq!(pods(&office, namespace), Vec::<String>::new());
            assert_whole(&office.journal(&run).await);
            // Looked for once more when the dead one's token is dead, with what its role gives it.
            let in_theirs =
                |verb: &str| (namespace.to_owned(), String::new(), "pods".to_owned(), verb.to_owned());
            for verb in ["get", "create", "delete", "list"] {
                assert!(heard.asks_for(&in_theirs(verb)), "{verb} is granted and not used");
            }
            let nodes = |call: &&super::rights::Call| call.2 == "nodes";
            let elsewhere =
                |call: &&super::rights::Call| namespace != AGENT_NAMESPACE && call.0 == AGENT_NAMESPACE;
            let refused = heard.refusals();
            assert_eq!(refused.iter().find(|call| !nodes(call) && !elsewhere(call)), None);
        }
    });
}

#[test]
fn a_controller_without_its_role_there_refuses_and_says_what_gives_it() {
    in_virtual_time(async {
        let (office, heard) = (office(LATENCY, AGENT_NAMESPACE).await, Heard::default());
        let api = "rbac.authorization.k8s.io/v1";
        office.delete(&ObjectRef::namespaced(api, "RoleBinding", AGENT_NAMESPACE, "firedrill:agents")).await;
        let _replica = replica(&office, &heard, ("a", ""), AGENT_NAMESPACE);
        let run = office.run("trial-1", json!({})).await;
        let status = office.over(&run).await;
        assert_eq!(
            (&status["verdict"], &status["findings"][0]["code"]),
            (&json!("Refused"), &json!("FD2001")),
            "{status}"
        );
        let words = status["message"].as_str().unwrap_or_default();
        assert!(words.contains("the controller itself may not"), "{words}");
        assert_eq!(pods(&office, AGENT_NAMESPACE), Vec::<String>::new());
    });
}

/// What is done to agents' pods is done with the controller's rights: no file may aim there, nor be there.
#[test]
fn nothing_can_be_aimed_at_the_agents_namespace() {
    in_virtual_time(async {
        let kill =
            "{name: hit, target: {namespace: hands, pods: {matchLabels: {app: one}}, count: 1}, podKill: {}}";
        let (office, heard) = (office(kill, "hands").await, Heard::default());
        let place = ObjectRef::pod("hands", "firedrill-agent-0a1b2c3d");
        let pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": place.name, "namespace": "hands", "labels": {"app": "one"}},
            "spec": {"containers": [{"name": "app", "image": "app:1"}]}});
        office.access.create(&place, pod, Write::default()).await.expect("a pod");
        let _replica = replica(&office, &heard, ("a", ""), "hands");
        let run = office.run("trial-1", json!({})).await;
        let status = office.over(&run).await;
        assert_eq!(status["verdict"], "Refused", "{status}");
        assert!(office.get(&place).await.is_some());
        let experiment = ObjectRef::namespaced(API_VERSION, "Experiment", "hands", "trial");
        let shop = ObjectRef::namespaced(API_VERSION, "Experiment", "shop", "trial");
        let spec: Value = office.get(&shop).await.expect("it is there").data["spec"].clone();
        let object = |kind: &str, name: &str, spec: Value| json!({"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name, "namespace": "hands"}, "spec": spec});
        let body = object("Experiment", "trial", spec);
        office.access.create(&experiment, body, Write::default()).await.expect("it is created");
        let mut run = ObjectRef::namespaced(API_VERSION, "Run", "hands", "trial-2");
        let body = object("Run", "trial-2", json!({"experimentRef": {"name": "trial"}}));
        let made = office.access.create(&run, body, Write::default()).await.expect("it is created");
        run.uid = made.metadata.uid.expect("it has one");
        let status = office.over(&run).await;
        assert_eq!(
            (&status["verdict"], &status["findings"][0]["code"]),
            (&json!("Refused"), &json!("FD2004")),
            "{status}"
        );
    });
}
