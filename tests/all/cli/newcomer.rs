//! What somebody new runs into: slips of the pen, and questions asked in their own words.

use std::{
    fmt::Write as _,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Stdio},
    time::Duration,
};

use super::{Ended, NOBODY, POD_LOSS, Place, experiment, firedrill};

pub(super) const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/experiments/demo");

/// Six nodes in two zones: the first of a is cordoned, and b has one that takes pods.
fn manifests() -> String {
    let mut text = String::from(
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {firedrill.dev/allowed: \"true\"}}\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop}\nspec:\n  replicas: 8\n  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n    spec: {containers: [{name: web, image: registry.example.com/web:1}]}\n",
    );
    for (name, zone, closed) in [
        ("a1", "a", true),
        ("a2", "a", false),
        ("a3", "a", false),
        ("a4", "a", false),
        ("b1", "b", false),
        ("b2", "b", true),
    ] {
        let spec = if closed { "spec: {unschedulable: true}\n" } else { "" };
        let room = "{cpu: \"8\", memory: 16Gi, pods: \"20\"}";
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: Node\nmetadata:\n  name: {name}\n  labels: {{pool: general, topology.kubernetes.io/zone: {zone}}}\n{spec}status:\n  capacity: {room}\n  allocatable: {room}\n"
        );
    }
    text
}

/// An experiment on the nodes of the pool.
fn on_nodes(count: &str, fault: &str, limits: &str) -> String {
    format!(
        "apiVersion: firedrill.dev/v1alpha1\nkind: Experiment\nmetadata: {{name: nodes, namespace: shop}}\nspec:\n  hypothesis: The web goes on.\n  steadyState:\n  - name: web\n    kubernetes: {{apiVersion: apps/v1, kind: Deployment, name: web}}\n    value: object.status.readyReplicas\n    expect: value >= 1\n  method:\n  - name: away\n    target: {{nodes: {{matchLabels: {{pool: general}}}}, count: {count}}}\n    {fault}: {{}}\n    duration: 10s\n  limits: {limits}\n"
    )
}

const WIDE: &str = "{nodes: 100%, pods: 100%}";

#[test]
fn nodes_that_cannot_be_hit_are_passed_over_whatever_the_seed() {
    let place = Place::new();
    let world = place.write("world.yaml", &manifests());
    let one = place.write("one.yaml", &on_nodes("1", "nodeCordon", WIDE));
    for seed in ["1", "2", "3", "4", "5", "6"] {
        let ended = place.run(&["rehearse", &one, "--manifests", &world, "--seed", seed]).exits(0);
        let again = place.run(&["rehearse", &one, "--manifests", &world, "--seed", seed]).exits(0);
        assert_eq!(ended.err, again.err);
    }
    // Two of a may go, not three, and none of b: the last that takes pods.
    let two = place.write("two.yaml", &on_nodes("2", "nodeDrain", WIDE));
    for seed in ["1", "2", "3", "4"] {
        place.run(&["rehearse", &two, "--manifests", &world, "--seed", seed]).exits(0);
    }
    let three = place.write("three.yaml", &on_nodes("3", "nodeCordon", WIDE));
    place.run(&["rehearse", &three, "--manifests", &world]).exits(3).says("FD3013");
    let four = place.write("four.yaml", &on_nodes("4", "nodeCordon", WIDE));
    place.run(&["rehearse", &four, "--manifests", &world]).exits(3).says("FD3006").says("FD3013");
    let all = place.write("all.yaml", &on_nodes("all", "nodeCordon", WIDE));
    place.run(&["rehearse", &all, "--manifests", &world]).exits(3).says("FD3006");
}

/// An embedded cluster on a port, for as long as this lives.
pub(super) struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(super) fn serve(place: &Place, manifests: &str) -> (Served, String) {
    let kubeconfig = place.home.path().join("served").display().to_string();
    let mut command =
        place.command(&["sim", "serve", "--manifests", manifests, "--write-kubeconfig", &kubeconfig]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary starts");
    let mut served = Served(child);
    let mut line = String::new();
    let out = served.0.stdout.take().expect("piped");
    BufReader::new(out).read_line(&mut line).expect("it says where");
    assert!(line.starts_with("KUBECONFIG="), "{line}");
    (served, kubeconfig)
}

#[test]
fn a_plan_says_what_becomes_of_each_fault_when_its_runner_dies() {
    let place = Place::new();
    let (_served, kubeconfig) = serve(&place, DEMO);
    let source = "service/monitoring/prometheus:9090";
    let plan =
        |file: &str| place.run(&["plan", file, "--kubeconfig", &kubeconfig, "--prometheus", source]).out;
    let killing = std::fs::read_to_string(POD_LOSS).expect("an experiment");
    let slowing =
        killing.replace("podKill: {gracePeriod: 0s}", "networkLatency: {delay: 100ms}\n    duration: 30s");
    let slow = place.write("slow.yaml", &slowing);
    let (stays, ends) = (
        "changes stay until `firedrill rollback` is run, from anywhere",
        "what agents do to packets ends by itself within 10s",
    );
    // The shop starts as we look.
    let slowed = (0..120).map(|_| plan(&slow)).find(|plan| {
        std::thread::sleep(Duration::from_millis(250));
        plan.contains(ends)
    });
    assert!(!slowed.expect("a plan that says it").contains(stays));
    let scaled = plan("experiments/scale-below-need.yaml");
    assert!(scaled.contains(stays) && !scaled.contains(ends), "{scaled}");
    // What is over as soon as it is seen leaves nothing.
    let killed = plan(POD_LOSS);
    assert!(killed.contains("2 targets") && !killed.contains("if this process dies"), "{killed}");
}

#[test]
fn a_plan_shows_what_goes_with_each_node_and_who_is_left_out() {
    let place = Place::new();
    let world = place.write("world.yaml", &manifests());
    let (_served, kubeconfig) = serve(&place, &world);
    let two = place.write("two.yaml", &on_nodes("2", "nodeCordon", "{nodes: 60, pods: 60}"));
    let probe = "    during: \"true\"\n    every: 1s\n    for: 1s\n  - name: told\n    kubernetes: {apiVersion: apps/v1, kind: Deployment, name: web}\n    value: object.status.readyReplicas\n    expect: value >= 1\n    every: 5s\n    for: 10s\n";
    let text = std::fs::read_to_string(&two).expect("written");
    let text = text.replace("    expect: value >= 1\n", &format!("    expect: value >= 1\n{probe}"));
    std::fs::write(&two, text).expect("a temporary file");
    let plan = place.run(&["plan", &two, "--kubeconfig", &kubeconfig, "--seed", "5"]);
    let plan = plan.prints("leaves out node/a1: it is cordoned already, so nothing would change");
    let plan = plan.prints("leaves out node/b1: no other node of zone b is ready and schedulable");
    // A probe whose `during` always holds cannot abort.
    let plan = plan.prints("aborts after 15s (probe told: for 10s + one sample, every 5s)");
    plan.prints("hazard[FD4009] nodes: limits.nodes allows 60 nodes, and there are 6 nodes in all")
        .prints("did you mean 60%?")
        .exits(0);
    // What goes with a node stands below it.
    let drain = place.write("drain.yaml", &on_nodes("2", "nodeDrain", "{nodes: 100%, pods: 60}"));
    place.run(&["plan", &drain, "--kubeconfig", &kubeconfig, "--seed", "5"]).exits(0).prints(
        "hazard[FD4009] deployment/shop/web: limits.pods allows 60 pods, and there are 8 pods in all",
    );
    let plan = place.run(&["plan", &drain, "--kubeconfig", &kubeconfig, "--seed", "5", "-o", "json"]);
    let json = plan.json();
    let step = &json[0]["steps"][0];
    for displaced in step["displaced"].as_array().expect("a list") {
        assert!(step["targets"].as_array().expect("a list").contains(&displaced["with"]), "{displaced}");
    }
    // And one who is not let in reads why, without a dump.
    let denied = std::fs::read_to_string(&kubeconfig).expect("written");
    let users = denied.find("users:").map_or(denied.as_str(), |at| &denied[..at]).to_owned();
    let name = denied.split("user: ").nth(1).and_then(|rest| rest.split(['\n', '}', ',']).next());
    let name = name.unwrap_or("firedrill").trim();
    let denied = format!("{users}users:\n- name: {name}\n  user: {{token: wrong}}\n");
    let denied = place.write("denied", &denied);
    let ended = place.run(&["plan", &drain, "--kubeconfig", &denied]);
    assert!(!ended.err.contains("Status {") && !ended.err.contains("Some("), "{}", ended.err);
}

#[test]
fn a_text_without_end_is_read_to_the_limit() {
    firedrill(&["check", "/dev/zero"]).exits(2).prints("longer than the 1048576 bytes");
    let mut command = Place::new().command(&["check", "-"]);
    let zero = std::fs::File::open("/dev/zero").expect("it is there");
    let ended = command.stdin(Stdio::from(zero)).output().expect("the binary starts");
    Ended::of(ended).exits(2).prints("longer than the 1048576 bytes");
}

#[test]
fn a_folder_is_read_with_what_is_below_it() {
    let place = Place::new();
    let home = place.home.path();
    std::fs::create_dir_all(home.join("chaos/below")).expect("a folder");
    std::fs::create_dir_all(home.join("chaos/.hidden")).expect("a folder");
    std::fs::create_dir_all(home.join("empty")).expect("a folder");
    let named = |name: &str| experiment(|text| text.replace("checkout-survives-pod-loss", name));
    let json: serde_json::Value = serde_yaml::from_str(&named("in-json")).expect("YAML");
    place.write("chaos/one.yaml", &named("one"));
    place.write("chaos/below/two.yml", &named("two"));
    place.write("chaos/below/three.json", &json.to_string());
    place.write(
        "chaos/below/shop.yaml",
        &std::fs::read_to_string(Path::new(DEMO).join("shop.yaml")).expect("it is there"),
    );
    place.write("chaos/.hidden/four.yaml", "not: [yaml");
    let chaos = home.join("chaos").display().to_string();
    let ended = place.run(&["check", &chaos]).exits(0);
    ended.says("3 documents accepted, 0 errors, 0 warnings").says("passed over 1 file").says("shop.yaml");
    let empty = home.join("empty").display().to_string();
    place.run(&["check", &empty]).exits(2).says("empty holds no .yaml, .yml or .json");
}

#[test]
fn what_was_not_run_is_said() {
    let files = ["experiments/metric-source-gone.yaml", POD_LOSS, "experiments/random-kills.yaml"];
    let arguments: Vec<&str> = ["rehearse"].into_iter().chain(files).collect();
    firedrill(&arguments).exits(4).says("2 experiments were not run (--keep-going runs them)");
}

#[test]
fn a_report_that_cannot_be_written_is_no_success() {
    let ended = firedrill(&["rehearse", POD_LOSS, "--seed", "7", "--junit", "/dev/full"]).exits(2);
    assert_eq!(ended.err.matches("the report is not written").count(), 1, "{}", ended.err);
    let mut command = Place::new().command(&["rehearse", POD_LOSS, "--seed", "7"]);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("it is there");
    let ended = command.stdout(Stdio::from(full)).output().expect("the binary starts");
    Ended::of(ended).exits(2).says("the report is not printed").says("over: Passed");
}

#[test]
fn slips_of_the_pen_are_answered_in_their_own_words() {
    let place = Place::new();
    let swapped = place.write("swapped.yaml", &experiment(|text| text.replace("podKill:", "killPod:")));
    place.run(&["check", &swapped]).exits(2).prints("did you mean `podKill`?").says(", 1 error, 0 warnings");
    let map = experiment(|text| text.replacen("expect: value >= 50.0", "expect: value > baseline", 1));
    let map = place.write("map.yaml", &map);
    place.run(&["check", &map]).exits(2).prints("`baseline` is a map: write baseline.mean");
    let ended = place.run(&["plan", POD_LOSS, "--prometheus", "foo"]).exits(2);
    assert!(ended.err.contains("--prometheus"), "{}", ended.err);
    let kubeconfig = place.write("kubeconfig", NOBODY);
    place
        .run(&["plan", POD_LOSS, "--kubeconfig", &kubeconfig, "--context", "nope"])
        .exits(2)
        .says("there is no context nope in the kubeconfig; there are nobody");
    firedrill(&["explain", "FD9999"]).exits(2).says("there is no code FD9999");
    firedrill(&["explain", "podKill"]).exits(0).prints("experiment.spec.method.podKill").prints("EXAMPLE:");
    firedrill(&["explain", "experiment.podKill"]).exits(0).prints("gracePeriod");
    firedrill(&["explain", "wait"]).exits(0).prints("experiment.spec.method.wait");
    firedrill(&["explain", "prometheus"]).exits(0).prints("experiment.spec.steadyState.prometheus");
}

#[test]
fn a_cause_is_said_once() {
    let ended = firedrill(&["plan", POD_LOSS, "--kubeconfig", "no-such-kubeconfig"]).exits(3);
    assert_eq!(ended.err.matches("No such file").count(), 1, "{}", ended.err);
    let place = Place::new();
    let kubeconfig = place.write("kubeconfig", NOBODY);
    let ended = place.run(&["plan", POD_LOSS, "--kubeconfig", &kubeconfig]).exits(3);
    assert_eq!(ended.err.matches("client error").count(), 1, "{}", ended.err);
    assert_eq!(ended.err.matches("Connection refused").count(), 1, "{}", ended.err);
}

#[test]
fn refusals_of_a_rehearsal_name_what_there_is() {
    let place = Place::new();
    let text =
        experiment(|text| text.replace("workload: deployment/checkout", "workload: deployment/nobody"));
    let file = place.write("nobody.yaml", &text);
    let ended = place.run(&["rehearse", &file, "--manifests", DEMO]).exits(3).says("FD3001").says(DEMO);
    assert!(!ended.err.contains("kubectl"), "{}", ended.err);
}

#[test]
fn a_prometheus_that_is_not_there_is_said_beforehand() {
    let place = Place::new();
    let (_served, kubeconfig) = serve(&place, DEMO);
    let ask = |command: &str, source: &str| {
        place.run(&[command, POD_LOSS, "--kubeconfig", &kubeconfig, "--prometheus", source])
    };
    let gone = ask("plan", "service/monitoring/promethes:9090").exits(3);
    gone.prints(
        "refused[FD2011] service/monitoring/promethes: there is no such Service, and probe availability",
    )
    .prints("did you mean service/monitoring/prometheus?");
    ask("plan", "service/nowhere/prometheus:9090").exits(3).prints("kubectl get services -n nowhere");
    ask("plan", "service/monitoring/prometheus:9091").exits(3).prints("it has no port 9091").prints("9090");
    // Its pods need a moment.
    let there = || ask("plan", "service/monitoring/prometheus:9090");
    let ended = (0..60).map(|_| there()).find(|ended| {
        assert!(!ended.out.contains("FD2011"), "{}", ended.out);
        std::thread::sleep(std::time::Duration::from_millis(500));
        ended.code == 0
    });
    assert!(ended.is_some(), "{}", there().out);
    let ended = ask("run", "service/monitoring/promethes:9090").exits(3).says("FD2011");
    assert!(!ended.err.contains("begins on cluster"), "{}", ended.err);
}

#[test]
fn a_remedy_of_several_is_said_once() {
    let place = Place::new();
    let (_served, kubeconfig) = serve(&place, DEMO);
    let ended = place.run(&["plan", POD_LOSS, "--kubeconfig", &kubeconfig]).exits(3);
    assert!(ended.out.matches("FD2011").count() > 1, "{}", ended.out);
    assert_eq!(ended.out.matches("--prometheus URL").count(), 1, "{}", ended.out);
    // A rate dips at once and is what it is only when its window is full: two bounds.
    ended
        .prints("aborts after 15s at the earliest (probe availability: for 10s + one sample, every 5s)")
        .prints("aborts after about 1m15s + scrape interval at most (probe ")
        .prints(": window 1m + scrape interval + every 5s + for 10s)");
}

/// In a pod nobody writes a kubeconfig: it is its own account, as with kubectl, unless another cluster is asked for.
#[test]
fn a_pod_is_its_own_account() {
    let place = Place::new();
    let in_a_pod = |more: &[&str]| {
        let mut command = place.command(&[&["runs", "--controller"], more].concat());
        command.env("KUBERNETES_SERVICE_HOST", "127.0.0.1").env("KUBERNETES_SERVICE_PORT", "1");
        Ended::of(command.output().expect("the binary starts"))
    };
    // This is none, so it has no token.
    in_a_pod(&[]).exits(3).says("the pod's own account");
    in_a_pod(&["--context", "other"]).exits(3).says("no kubeconfig");
    place.run(&["runs", "--controller"]).exits(3).says("no kubeconfig");
}
