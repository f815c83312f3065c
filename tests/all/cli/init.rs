//! `init`: from a cluster that is there to an experiment that runs.

use std::time::Duration;

use super::{
    Ended, NOBODY, Place, firedrill,
    newcomer::{DEMO, serve},
};

/// Runs `init` until the served cluster has had enough traffic for this to be said.
fn init_until(place: &Place, arguments: &[&str], words: &str) -> Ended {
    for _ in 0..90 {
        let ended = place.run(arguments);
        if ended.err.contains(words) {
            return ended.exits(0);
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    place.run(arguments).exits(0).says(words)
}

/// A command as it was printed, run.
fn as_printed(place: &Place, told: &Ended, command: &str) -> Ended {
    let line = told.err.lines().find_map(|line| line.trim().strip_prefix("firedrill "));
    assert!(line.is_some(), "no command in:\n{}", told.err);
    let mut lines = told.err.lines().filter_map(|line| line.trim().strip_prefix("firedrill "));
    let line = lines.find(|line| line.starts_with(command)).unwrap_or_else(|| panic!("no {command}"));
    place.run(&line.split(' ').collect::<Vec<_>>())
}

#[test]
fn what_it_writes_checks_plans_and_rehearses() {
    let place = Place::new();
    let (_served, kubeconfig) = serve(&place, DEMO);
    let ready = "4 of 4 pods ready, service checkout, budget checkout (minAvailable 50%)";
    for (name, found, passes) in [
        ("checkout", ready, "step lose-half"),
        ("kitchen", "3 of 3 pods ready, service kitchen", "step lose-one"),
    ] {
        let file = place.home.path().join(format!("{name}.yaml")).display().to_string();
        let workload = format!("deployment/{name}");
        let arguments =
            ["init", &workload, "-n", "shop", "--kubeconfig", &kubeconfig, "--output", &file, "--force"];
        let told = init_until(&place, &arguments, "Errors (http_requests_total)");
        let told = told.says(found).says("Latency (http_request_duration_seconds)").says("wrote ");
        let told = told.says("service/monitoring/prometheus:9090 has ").says("http_requests_in_flight");
        assert!(!told.err.contains("not found:"), "{}", told.err);
        as_printed(&place, &told, "check").exits(0).says("1 document accepted, 0 errors, 0 warnings");
        as_printed(&place, &told, "plan").exits(0).prints("podKill");
        let rehearsed = place.run(&["rehearse", &file, "--manifests", DEMO, "--seed", "7"]).exits(0);
        rehearsed.says(passes).says("over: Passed, exit code 0");
    }
    // One replica, no Service, no metrics: what is left is honest and runs all the same.
    let file = place.home.path().join("vault.yaml").display().to_string();
    let told = place.run(&["init", "vault", "-n", "shop", "--kubeconfig", &kubeconfig, "-o", &file]).exits(0);
    let told = told.says("1 of 1 pods ready, budget vault").says("it breaks nothing");
    as_printed(&place, &told, "check").exits(0);
    as_printed(&place, &told, "plan").exits(0);
    place.run(&["rehearse", &file, "--manifests", DEMO, "--seed", "7"]).exits(0).says("over: Passed");
}

#[test]
fn an_autoscaler_is_seen_and_not_held_against_the_workload() {
    let place = Place::new();
    let manifests = concat!(env!("CARGO_MANIFEST_DIR"), "/experiments/autoscaling/demo");
    let (_served, kubeconfig) = serve(&place, manifests);
    let file = place.home.path().join("search.yaml").display().to_string();
    let arguments =
        ["init", "search", "-n", "shop", "--kubeconfig", &kubeconfig, "--output", &file, "--force"];
    let told =
        init_until(&place, &arguments, "2 of 2 pods ready, service search, autoscaler search (2 to 10)");
    as_printed(&place, &told, "check").exits(0).says("0 errors, 0 warnings");
    as_printed(&place, &told, "plan").exits(0).prints("podKill");
    let text = std::fs::read_to_string(&file).expect("written");
    assert!(text.contains("kind: HorizontalPodAutoscaler, name: search}"), "{text}");
}

#[test]
fn a_workload_is_chosen_and_a_file_is_not_written_over() {
    let place = Place::new();
    let (_served, kubeconfig) = serve(&place, DEMO);
    let init = |more: &[&str]| {
        let arguments: Vec<&str> =
            ["init", "--kubeconfig", &kubeconfig].into_iter().chain(more.iter().copied()).collect();
        let mut command = place.command(&arguments);
        Ended::of(command.current_dir(place.home.path()).output().expect("the binary starts"))
    };
    init(&["-n", "shop"])
        .exits(2)
        .prints("deployment/checkout")
        .prints("deployment/vault")
        .says("has 5 Deployments; say which, as in: firedrill init deployment/checkout -n shop");
    init(&["-n", "nowhere"])
        .exits(2)
        .says("there is no Deployment in namespace nowhere; try -n shop (5 Deployments)");
    init(&["deployment/chekout", "-n", "shop"]).exits(2).says("did you mean deployment/checkout?");
    init(&["statefulset/checkout", "-n", "shop"]).exits(2).says("Deployments only");
    init(&["checkout", "-n", "kube-system"]).exits(3).says("is protected");
    // Standard output holds the file and nothing else.
    let printed = init(&["vault", "-n", "shop", "-o", "-"]).exits(0).prints("kind: Experiment");
    assert!(printed.out.starts_with("# A first experiment"), "{}", printed.out);
    assert!(!place.home.path().join("vault.yaml").exists());
    init(&["vault", "-n", "shop"]).exits(0).says("wrote vault.yaml");
    place.write("vault.yaml", "mine");
    init(&["vault", "-n", "shop"]).exits(2).says("vault.yaml is there already; --force writes over it");
    let kept = std::fs::read_to_string(place.home.path().join("vault.yaml")).expect("it is there");
    assert_eq!(kept, "mine");
    init(&["vault", "-n", "shop", "--force"]).exits(0);
    init(&["vault", "-n", "shop", "-o", "no-folder/x.yaml"]).exits(2).says("there is no folder no-folder");
    init(&["vault", "-n", "shop", "-o", "."]).exits(2).says("is a folder");
    init(&["vault", "-n", "shop", "-o", "/proc/vault.yaml"]).exits(2).says("/proc/vault.yaml");
    init(&["vault", "-n", "shop", "-o", "/dev/full", "--force"]).exits(2).says("/dev/full");
}

/// The demo's shop and what else a cluster may hold.
fn world(place: &Place, more: &str) -> String {
    let shop = std::fs::read_to_string(format!("{DEMO}/shop.yaml")).expect("the demo");
    place.write("world.yaml", &format!("{shop}\n---\n{more}"))
}

#[test]
fn of_several_prometheuses_the_one_that_knows_the_workload_is_asked() {
    let place = Place::new();
    let more = "apiVersion: v1\nkind: Namespace\nmetadata: {name: metrics}\n---\napiVersion: v1\nkind: Service\n\
                metadata: {name: prometheus-k8s, namespace: metrics}\nspec: {ports: [{name: web, port: 9090}]}\n";
    let (_served, kubeconfig) = serve(&place, &world(&place, more));
    let arguments = ["init", "checkout", "-n", "shop", "--kubeconfig", &kubeconfig, "-o", "-"];
    let told = init_until(&place, &arguments, "Errors (http_requests_total)");
    told.says("service/metrics/prometheus-k8s:9090 does not answer")
        .says("(there is also service/metrics/prometheus-k8s:9090; --prometheus chooses)")
        .prints("--prometheus service/monitoring/prometheus:9090");
    // Whoever names one gets that one.
    let named: Vec<&str> = arguments.into_iter().chain(["--prometheus", "http://127.0.0.1:9"]).collect();
    let ended = place.run(&named).exits(3).says("--prometheus http://127.0.0.1:9: ");
    assert_eq!(ended.out, "");
    let named: Vec<&str> =
        arguments.into_iter().chain(["--prometheus", "service/metrics/prometheus-k8s:9090"]).collect();
    place.run(&named).exits(3).says("--prometheus service/metrics/prometheus-k8s:9090: ");
    let named: Vec<&str> = arguments.into_iter().chain(["--prometheus", "prometheus"]).collect();
    place.run(&named).exits(2).says("neither a URL");
}

#[test]
fn somebody_with_few_rights_gets_what_can_be_seen() {
    let place = Place::new();
    let more = "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: reader, namespace: shop}\n\
                rules: [{apiGroups: ['', apps], resources: [deployments, pods], verbs: [get, list]}]\n---\n\
                apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\n\
                metadata: {name: ada, namespace: shop}\n\
                subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: ada}]\n\
                roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}\n";
    let (_served, kubeconfig) = serve(&place, &world(&place, more));
    let text = std::fs::read_to_string(&kubeconfig).expect("written");
    let mut ada: serde_json::Value = serde_yaml::from_str(&text).expect("a kubeconfig");
    ada["users"][0]["user"]["as"] = "ada".into();
    let ada = place.write("ada", &ada.to_string());
    let told = place.run(&["init", "checkout", "-n", "shop", "--kubeconfig", &ada, "-o", "-"]).exits(0);
    told.says("not looked at: Services of namespace shop: ")
        .says("the Services of all namespaces may not be listed")
        .prints("# Not looked at: Services of namespace shop: ")
        .prints("- name: replicas");
    // Nothing of another namespace.
    let denied = place.run(&["init", "checkout", "-n", "default", "--kubeconfig", &ada, "-o", "-"]);
    denied.exits(3).says("deployment/checkout: not allowed");
}

#[test]
fn without_a_cluster_nothing_is_written() {
    firedrill(&["init", "checkout"]).exits(3).says("kubeconfig");
    let place = Place::new();
    let kubeconfig = place.write("kubeconfig", NOBODY);
    let file = place.home.path().join("checkout.yaml").display().to_string();
    let ended = place.run(&["init", "checkout", "--kubeconfig", &kubeconfig, "-o", &file]);
    ended.exits(3).says("cannot reach https://127.0.0.1:9/");
    assert!(!std::path::Path::new(&file).exists());
    firedrill(&["init", "--help"]).exits(0).prints("firedrill init deployment/checkout -n shop");
}
