//! The red button, and opting a namespace in.

use super::{Ended, POD_LOSS, Place, newcomer::serve};

const DEMO: &str = "experiments/demo";
const PLAN: [&str; 4] = ["plan", POD_LOSS, "--prometheus", "service/monitoring/prometheus:9090"];

/// Plans until the pods of the served cluster, which starts in real time, are ready.
fn planned(place: &Place, kubeconfig: &str) -> Ended {
    for _ in 0..120 {
        let ended = place.run(&[&PLAN[..], &["--kubeconfig", kubeconfig]].concat());
        if !ended.out.contains("none of them healthy") && !ended.out.contains("not ready") {
            return ended;
        }
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
    panic!("the pods of the served cluster never become ready");
}

#[test]
fn the_red_button_refuses_everything_until_it_is_taken_back() {
    let place = Place::new();
    let (_served, kubeconfig) = serve(&place, DEMO);
    let run = |arguments: &[&str]| place.run(&[arguments, &["--kubeconfig", &kubeconfig]].concat());
    planned(&place, &kubeconfig).exits(0);
    run(&["unhalt"]).exits(3).says("there is no Guardrail halt");
    run(&["halt", "--reason", "incident 42"])
        .exits(0)
        .says("incident 42 (halted by")
        .says("no run is at work");
    planned(&place, &kubeconfig).exits(3).prints("FD2006").prints("incident 42");
    run(&["halt", "--guardrail", "platfrom"]).exits(3).says("there is no Guardrail platfrom");
    run(&["unhalt"]).exits(0).says("Guardrail halt halts nothing any more");
    run(&["unhalt"]).exits(0).says("halts nothing");
    planned(&place, &kubeconfig).exits(0);
}

/// `firedrill:halt` and nothing else, whether the installation has brought the Guardrail or somebody has deleted it.
#[test]
fn on_call_presses_the_red_button_with_the_role_for_it_alone() {
    const BOUND: &str = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: firedrill}\n---\n\
        apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: on-call}\n\
        roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: firedrill:halt}\n\
        subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: dora}]\n";
    for there in [true, false] {
        let place = Place::new();
        let manifests = place.home.path().join("manifests");
        std::fs::create_dir(&manifests).expect("a folder");
        let mut print = vec!["controller", "manifests", "--only", "rights"];
        print.extend(there.then_some(["--only", "guardrails"]).into_iter().flatten());
        let installed = place.run(&print).exits(0).out + BOUND;
        std::fs::write(manifests.join("installed.yaml"), installed).expect("a file");
        let (_served, kubeconfig) = serve(&place, &manifests.display().to_string());
        let text = std::fs::read_to_string(&kubeconfig).expect("it is written");
        let mut own: serde_json::Value = serde_yaml::from_str(&text).expect("YAML");
        own["users"][0]["user"]["as"] = "dora".into();
        let own = place.write("dora", &own.to_string());
        let run = |arguments: &[&str]| place.run(&[arguments, &["--kubeconfig", &own]].concat());
        if there {
            run(&["unhalt"]).exits(0).says("Guardrail halt halts nothing");
        }
        run(&["halt", "--reason", "incident 42"]).exits(0).says("incident 42 (halted by dora)");
        run(&["unhalt"]).exits(0).says("Guardrail halt halts nothing any more");
        run(&["halt"]).exits(0).says("halted by dora");
        run(&["halt", "--guardrail", "firedrill-drain"]).exits(3);
    }
}

#[test]
fn a_namespace_is_opted_in_by_one_command() {
    let place = Place::new();
    let shop = std::fs::read_to_string("experiments/demo/shop.yaml").expect("the demo");
    let manifests = place.home.path().join("manifests");
    std::fs::create_dir(&manifests).expect("a folder");
    for file in ["nodes.yaml", "alerts.yaml"] {
        std::fs::copy(format!("{DEMO}/{file}"), manifests.join(file)).expect("a file of the demo");
    }
    let unlabelled = shop.replace("firedrill.dev/allowed: \"true\"", "team: shop");
    assert_ne!(shop, unlabelled);
    std::fs::write(manifests.join("shop.yaml"), unlabelled).expect("a file");
    let (_served, kubeconfig) = serve(&place, &manifests.display().to_string());
    let run = |arguments: &[&str]| place.run(&[arguments, &["--kubeconfig", &kubeconfig]].concat());
    planned(&place, &kubeconfig).exits(3).prints("FD2003");
    run(&["allow", "shop", "--dry-run"]).exits(0).says("namespace shop would be applied");
    planned(&place, &kubeconfig).exits(3).prints("FD2003");
    run(&["allow", "shop"])
        .exits(0)
        .says("rolebinding firedrill:fault:podKill applied")
        .says("clusterrole firedrill:acting of the controller is not there");
    planned(&place, &kubeconfig).exits(0);
    run(&["allow", "shopp"]).exits(3).says("there is no namespace shopp");
    place.run(&["allow", "kube-system"]).exits(2).says("protected");
    // Printed, it needs no cluster.
    let printed = place.run(&["allow", "kitchen", "--fault", "podKill", "--dry-run", "-o", "yaml"]).exits(0);
    assert_eq!(printed.out.matches("---").count(), 6, "{}", printed.out);
    assert!(printed.out.contains("firedrill.dev/allowed") && printed.out.contains("firedrill:fault:podKill"));
    assert!(!printed.out.contains("firedrill:fault:scale"), "{}", printed.out);
}

/// The embedded cluster holds the Guardrails among the manifests.
#[test]
fn a_rehearsal_holds_the_guardrails_among_its_manifests() {
    let place = Place::new();
    let manifests = place.home.path().join("manifests");
    std::fs::create_dir(&manifests).expect("a folder");
    for file in ["nodes.yaml", "alerts.yaml", "shop.yaml"] {
        std::fs::copy(format!("{DEMO}/{file}"), manifests.join(file)).expect("a file of the demo");
    }
    let rule = "apiVersion: firedrill.dev/v1alpha1\nkind: Guardrail\nmetadata: {name: platform}\nspec:\n  \
                faults: {denied: [podKill]}\n";
    std::fs::write(manifests.join("rule.yaml"), rule).expect("a file");
    let manifests = manifests.display().to_string();
    let arguments = ["rehearse", POD_LOSS, "--manifests", &manifests];
    place.run(&arguments).exits(3).says("FD2006").says("the fault podKill of step lose-half is not allowed");
}
