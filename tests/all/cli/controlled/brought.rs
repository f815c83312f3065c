//! Files that are brought to the cluster first.

use serde_json::{Value, json};

use super::{Installed, experiment, parameters, shrink};

/// Borrows its probe, and names its workload by a parameter.
const LOSS: &str = "
apiVersion: firedrill.dev/v1alpha1
kind: Experiment
metadata: {name: loss, namespace: shop, labels: {part: loss}}
spec:
  hypothesis: The shop heals by itself.
  parameters: [{name: app}]
  steadyStateFrom: [{name: golden}]
  baseline: {duration: 1s}
  method:
  - {name: shrink, target: {workload: deployment/$(params.app)}, scale: {replicas: 2}, duration: 1s}
  objectives: {stableFor: 1s, recoverWithin: 1m}
  limits: {pods: 100%, duration: 10m}
";

fn golden() -> String {
    experiment("golden", ("value >= 4.0", "\"true\""), "").replace("  method:\n", "")
}

#[test]
fn a_file_is_applied_as_it_was_written() {
    let installed = Installed::with("");
    installed.place.write("golden.yaml", &golden());
    let other = experiment("beside", ("value >= 4.0", "\"true\""), &shrink("$(params.app)", "1s"));
    let other = other
        .replace("  steadyState:", "  parameters: [{name: app}, {name: more, default: x}]\n  steadyState:");
    let file = installed.place.write("loss.yaml", &format!("{LOSS}{other}"));
    let run = ["run", "--controller", &file, "-l", "part=loss"];
    installed.firedrill(&run).exits(2).says("--param app=VALUE");
    installed.firedrill(&[&run[..], &["--param", "app"]].concat()).exits(2).says("write NAME=VALUE");
    assert_eq!(installed.runs(), Vec::<String>::new());
    // What it borrows from has to be there, as for whoever applies it.
    installed.firedrill(&["run", "--controller", &installed.file("golden.yaml")]).exits(0);
    let ended = installed.firedrill(&[&run[..], &["--param", "app=web"]].concat()).exits(0);
    let written: Value = serde_yaml::from_str(LOSS).expect("YAML");
    assert_eq!(installed.ours("Experiment", "loss")["spec"], written["spec"], "{}", ended.err);
    assert_eq!(installed.ours("Experiment", "beside"), Value::Null, "-l has not selected it");
    let made = installed.ours("Run", &super::run_of(&ended));
    assert_eq!(parameters(&made), json!([{"name": "app", "value": "web"}]));
    // Each gets the parameters that it declares.
    let both = ["run", "--controller", &file, "--param", "app=web", "--param", "more=y", "--keep-going"];
    let before = installed.runs();
    installed.firedrill(&both).exits(0);
    let new: Vec<Value> = installed
        .runs()
        .iter()
        .filter(|run| !before.contains(run))
        .map(|run| installed.ours("Run", run))
        .collect();
    let mut given: Vec<usize> =
        new.iter().map(|run| parameters(run).as_array().expect("a list").len()).collect();
    given.sort_unstable();
    assert_eq!(given, [1, 2]);
    // The same experiment with another value: nothing is left of the first.
    let ended =
        installed.firedrill(&["run", "--controller", "experiment/loss", "--param", "app=nosuch"]).exits(3);
    ended.says("nosuch");
}

#[test]
fn what_somebody_else_wants_otherwise_is_a_conflict_as_with_kubectl() {
    let installed = Installed::with("");
    let text = experiment("mine", ("value >= 4.0", "\"true\""), &shrink("web", "1s"));
    let file = installed.place.write("mine.yaml", &text);
    let run = ["run", "--controller", &file];
    installed.firedrill(&run).exits(0);
    let runs = installed.runs();
    // More than the file says would stay there, and run.
    installed.edit("Experiment", "mine", &json!({"spec": {"limits": {"nodes": "20%"}}}));
    let ended = installed.firedrill(&run).exits(3).says("somebody else's spec.limits.nodes would stay in it");
    ended.says("experiment/mine").says("kubectl replace -f");
    // Another value.
    installed.edit(
        "Experiment",
        "mine",
        &json!({"spec": {"limits": {"nodes": null}, "hypothesis": "Theirs."}}),
    );
    let ended =
        installed.firedrill(&run).exits(3).says("conflict with \"kubectl-edit\"").says(".spec.hypothesis");
    ended
        .says("kubectl apply --server-side --force-conflicts -f")
        .says("firedrill run --controller experiment/mine");
    assert_eq!(installed.ours("Experiment", "mine")["spec"]["hypothesis"], "Theirs.");
    assert_eq!(installed.runs(), runs, "no Run was made");
    // Nothing of a file is applied when one of its documents is not taken.
    let more = experiment("before", ("value >= 4.0", "\"true\""), &shrink("web", "1s"));
    let both = installed.place.write("both.yaml", &format!("{more}{text}"));
    installed.firedrill(&["run", "--controller", &both]).exits(3);
    assert_eq!(installed.ours("Experiment", "before"), Value::Null);
    installed.edit("Experiment", "mine", &json!({"spec": {"hypothesis": "The shop heals by itself."}}));
    installed.firedrill(&run).exits(0);
}

#[test]
fn what_the_controller_does_not_heed_is_refused_by_name() {
    let place = crate::cli::Place::new();
    for (flag, value, remedy) in [
        ("--prometheus", "http://prometheus:9090", "spec.prometheus"),
        ("--image", "example.com/firedrill:1", "the chart's value image"),
        ("--agent-image", "example.com/agent:1", "the chart's values agents"),
        ("--agent-namespace", "agents", "the chart's values agents"),
        ("--agent-pull-secret", "pull", "the chart's values agents"),
        ("--revert-timeout", "10m", "firedrill wait RUN --timeout"),
        ("--allow-namespace", "shop", "firedrill allow"),
        ("--bystanders", "shop", "spec.nodes.bystanders"),
        ("-l", "a=b", "no file is given"),
    ] {
        let ended = place.run(&["run", "--controller", "experiment/trial", flag, value]).exits(2);
        ended.says(flag).says(remedy);
    }
    place.run(&["run", "--controller", "experiment/trial", "--param", "x"]).exits(2).says("NAME=VALUE");
    place.run(&["run", "--controller"]).exits(2).says("no file is given");
    // What is set for runs from here is said, and in nobody's way.
    let mut command = place.command(&["run", "--controller", "experiment/trial"]);
    let output = command.env("FIREDRILL_PROMETHEUS", "http://prometheus:9090").output().expect("it starts");
    let ended = crate::cli::Ended::of(output).exits(3);
    ended.says("FIREDRILL_PROMETHEUS is not heeded there").says("kubeconfig");
}
