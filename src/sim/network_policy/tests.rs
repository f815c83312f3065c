use serde_json::{Value, json};

use super::*;

fn pod(namespace: &str, app: &str, address: &str) -> PodEnd {
    PodEnd {
        uid: format!("{namespace}/{app}"),
        namespace: namespace.to_owned(),
        labels: BTreeMap::from([("app".to_owned(), app.to_owned())]),
        node: "n1".to_owned(),
        address: address.parse().ok(),
        ports: BTreeMap::from([(("web".to_owned(), Protocol::Tcp), 8080)]),
        ..PodEnd::default()
    }
}

fn policy(namespace: &str, spec: Value) -> Policy {
    Policy::new(namespace, "p", &serde_json::from_value(spec).expect("a policy"))
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Whether, under these policies and this plugin, `from` may connect.
fn under(
    (policies, enforcement): (&[Policy], Enforcement),
    from: &PodEnd,
    to: Destination<'_>,
    port: u16,
) -> Result<(), Denied> {
    let namespaces = BTreeMap::from([
        ("shop".to_owned(), labels(&[("team", "shop")])),
        ("data".to_owned(), labels(&[("team", "data")])),
    ]);
    let rules =
        Rules { policies, namespace_labels: &|name| namespaces.get(name), enforcement: &|_| enforcement };
    rules.check(from, to, PortNumber::tcp(port))
}

fn open(policies: &[Policy], from: &PodEnd, to: Destination<'_>, port: u16) -> bool {
    under((policies, Enforcement::Enforced), from, to, port).is_ok()
}

#[test]
fn who_is_not_selected_is_open_and_who_is_takes_only_what_is_listed() {
    let (api, db, other) =
        (pod("shop", "api", "10.1.0.2"), pod("shop", "db", "10.1.0.3"), pod("data", "db", "10.2.0.2"));
    let deny =
        policy("shop", json!({"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Ingress"]}));
    let denied = under((std::slice::from_ref(&deny), Enforcement::Enforced), &api, Destination::Pod(&db), 80);
    assert_eq!(denied, Err(Denied { direction: Direction::Ingress, policies: vec!["shop/p".to_owned()] }));
    let only = std::slice::from_ref(&deny);
    assert!(open(only, &api, Destination::Pod(&other), 80), "a policy is for its own namespace");
    assert!(open(only, &db, Destination::Pod(&api), 80), "ingress alone does not stop what goes out");
    assert!(open(only, &db, Destination::Pod(&db), 80), "a pod reaches itself");
    let node = PodEnd { host_network: true, uid: "node".to_owned(), ..pod("shop", "agent", "172.18.0.2") };
    assert!(open(only, &node, Destination::Pod(&db), 80), "its own node reaches it");
    let elsewhere = PodEnd { node: "n2".to_owned(), ..node };
    assert!(!open(only, &elsewhere, Destination::Pod(&db), 80));
    let allow = policy(
        "shop",
        json!({"podSelector": {}, "policyTypes": ["Ingress"],
               "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "api"}}}]}]}),
    );
    assert!(open(&[deny, allow], &api, Destination::Pod(&db), 80), "policies add up");
}

#[test]
fn both_ends_have_to_agree() {
    let (api, db) = (pod("shop", "api", "10.1.0.2"), pod("data", "db", "10.2.0.2"));
    let out = policy(
        "shop",
        json!({"podSelector": {}, "policyTypes": ["Egress"],
               "egress": [{"to": [{"namespaceSelector": {"matchLabels": {"team": "data"}}}]}]}),
    );
    assert!(open(std::slice::from_ref(&out), &api, Destination::Pod(&db), 5432));
    let shut = policy("data", json!({"podSelector": {}}));
    assert!(
        !open(&[out.clone(), shut], &api, Destination::Pod(&db), 5432),
        "no rule of ingress: default deny"
    );
    assert!(!open(&[out], &api, Destination::Pod(&pod("shop", "web", "10.1.0.9")), 80));
}

#[test]
fn selectors_of_one_peer_have_to_fit_both() {
    let from = |peer: Value| {
        policy("data", json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [peer]}]}))
    };
    let db = pod("data", "db", "10.2.0.2");
    let both = from(
        json!({"namespaceSelector": {"matchLabels": {"team": "shop"}}, "podSelector": {"matchLabels": {"app": "api"}}}),
    );
    let both = std::slice::from_ref(&both);
    assert!(open(both, &pod("shop", "api", "10.1.0.2"), Destination::Pod(&db), 80));
    assert!(!open(both, &pod("shop", "web", "10.1.0.3"), Destination::Pod(&db), 80));
    assert!(!open(both, &pod("data", "api", "10.2.0.3"), Destination::Pod(&db), 80));
    let own = from(json!({"podSelector": {"matchLabels": {"app": "api"}}}));
    let own = std::slice::from_ref(&own);
    assert!(open(own, &pod("data", "api", "10.2.0.3"), Destination::Pod(&db), 80));
    assert!(
        !open(own, &pod("shop", "api", "10.1.0.2"), Destination::Pod(&db), 80),
        "of the policy's namespace"
    );
    let unknown = from(json!({"namespaceSelector": {"matchLabels": {"team": "shop"}}}));
    assert!(!open(&[unknown], &pod("nowhere", "api", "10.9.0.2"), Destination::Pod(&db), 80));
}

#[test]
fn blocks_match_addresses_and_pods_as_the_plugin_has_it() {
    let api = pod("shop", "api", "10.1.0.2");
    let (db, web) = (pod("shop", "db", "10.1.0.3"), pod("shop", "web", "10.1.0.4"));
    let all_but = policy(
        "shop",
        json!({"podSelector": {"matchLabels": {"app": "api"}}, "policyTypes": ["Egress"],
               "egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.1.0.3/32", "192.0.2.0/24"]}}]}]}),
    );
    let only = std::slice::from_ref(&all_but);
    let outside = |text: &str| Destination::Address(text.parse().expect("an address"));
    assert!(open(only, &api, outside("198.51.100.1"), 443) && !open(only, &api, outside("192.0.2.9"), 443));
    assert!(open(only, &api, Destination::Pod(&web), 80) && !open(only, &api, Destination::Pod(&db), 80));
    let asked = |enforcement, to| under((only, enforcement), &api, to, 80).is_ok();
    assert!(!asked(Enforcement::ExternalBlocks, Destination::Pod(&web)), "no block matches a pod there");
    assert!(asked(Enforcement::ExternalBlocks, outside("198.51.100.1")));
    assert!(asked(Enforcement::Ignored, Destination::Pod(&db)), "nobody enforces it");
    assert!(!open(only, &api, outside("2001:db8::1"), 443), "the other family is not in it");
}

#[test]
fn ports_by_number_range_name_and_protocol() {
    let to = |port: Value| {
        policy("shop", json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"ports": [port]}]}))
    };
    let (api, web) = (pod("shop", "api", "10.1.0.2"), pod("shop", "web", "10.1.0.3"));
    for (port, asked, passes) in [
        (json!({"port": 80}), 80, true),
        (json!({"port": 80}), 81, false),
        (json!({"port": 8000, "endPort": 8100}), 8100, true),
        (json!({"port": 8000, "endPort": 8100}), 8101, false),
        (json!({"port": "web"}), 8080, true),
        (json!({"port": "web"}), 80, false),
        (json!({"port": "nothing"}), 8080, false),
        (json!({"port": "web", "protocol": "UDP"}), 8080, false),
        (json!({"port": 80, "protocol": "UDP"}), 80, false),
        (json!({"protocol": "TCP"}), 9, true),
        (json!({"protocol": "SCTP"}), 9, false),
    ] {
        assert_eq!(open(&[to(port.clone())], &api, Destination::Pod(&web), asked), passes, "{port} {asked}");
    }
}

#[test]
fn types_default_as_the_api_server_has_them() {
    let (api, web) = (pod("shop", "api", "10.1.0.2"), pod("shop", "web", "10.1.0.3"));
    let ingress = policy("shop", json!({"podSelector": {"matchLabels": {"app": "api"}}}));
    assert!(open(std::slice::from_ref(&ingress), &api, Destination::Pod(&web), 80), "Ingress alone");
    assert!(!open(&[ingress], &web, Destination::Pod(&api), 80));
    let both = policy(
        "shop",
        json!({"podSelector": {"matchLabels": {"app": "api"}}, "egress": [{"ports": [{"port": 53}]}]}),
    );
    assert!(!open(std::slice::from_ref(&both), &api, Destination::Pod(&web), 80));
    assert!(!open(&[both], &web, Destination::Pod(&api), 80), "Ingress is implied");
}
