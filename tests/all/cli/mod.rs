//! The binary from outside: what it prints, where, and with what it exits.

mod controlled;
mod game_days;
mod guardrails;
mod init;
mod newcomer;
mod resolved;
mod traces;
mod undo;

use std::{
    io::{Read as _, Write as _},
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

pub(crate) const POD_LOSS: &str = "experiments/checkout-survives-pod-loss.yaml";

/// A place of its own: no kubeconfig, no journals, no settings.
pub(crate) struct Place {
    pub(crate) home: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { home: tempfile::tempdir().expect("a temporary folder") }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_firedrill"));
        command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
        command.env_clear().env("HOME", self.home.path()).env("COLUMNS", "100").env("LC_ALL", "C.UTF-8");
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(self.command(arguments).output().expect("the binary starts"))
    }

    /// Writes a file and returns its path.
    fn write(&self, name: &str, text: &str) -> String {
        let path = self.home.path().join(name);
        std::fs::write(&path, text).expect("a temporary file");
        path.display().to_string()
    }
}

/// How a process ended.
pub(crate) struct Ended {
    code: i32,
    pub(crate) out: String,
    err: String,
}

impl Ended {
    fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        let ended = Self {
            code: output.status.code().expect("not killed"),
            out: text(output.stdout),
            err: text(output.stderr),
        };
        assert!(!ended.err.contains("panicked"), "{}", ended.err);
        ended
    }

    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    pub(crate) fn says(self, words: &str) -> Self {
        assert!(self.err.contains(words), "`{words}` is not in stderr:\n{}", self.err);
        self
    }

    #[track_caller]
    pub(crate) fn prints(self, words: &str) -> Self {
        assert!(self.out.contains(words), "`{words}` is not in stdout:\n{}", self.out);
        self
    }

    /// Standard output as JSON and nothing else.
    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}:\n{}", self.out))
    }
}

fn firedrill(arguments: &[&str]) -> Ended {
    Place::new().run(arguments)
}

/// The first experiment, changed.
fn experiment(change: impl Fn(&str) -> String) -> String {
    change(include_str!("../../../experiments/checkout-survives-pod-loss.yaml"))
}

#[test]
fn every_command_has_help() {
    let help = firedrill(&["--help"]).exits(0).prints("Exit codes: 0 passed").out;
    let commands =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names: Vec<&str> = commands
        .filter(|line| !line.starts_with("    "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(names.len() >= 13, "{names:?}");
    for name in names.into_iter().filter(|name| *name != "help") {
        firedrill(&[name, "--help"]).exits(0).prints("Usage: firedrill");
    }
    firedrill(&["sim", "serve", "--help"]).exits(0).prints("--write-kubeconfig");
    firedrill(&["--version"]).exits(0).prints(concat!("firedrill ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_usage_is_exit_code_2() {
    firedrill(&["rehearse", "--no-such-flag"]).exits(2).says("--no-such-flag");
    firedrill(&["no-such-command"]).exits(2);
    firedrill(&[]).exits(2);
    for command in ["check", "rehearse", "plan", "run"] {
        firedrill(&[command]).exits(2).says("no file is given");
        firedrill(&[command, "experiments/no-such-file.yaml"]).exits(2).says("no-such-file.yaml");
    }
    for command in ["rehearse", "plan", "run"] {
        firedrill(&[command, "experiments/demo/shop.yaml"]).exits(2).says("no Experiment");
    }
    firedrill(&["rehearse", POD_LOSS, "--report", "report.doc"]).exits(2).says(".html, .md, .json or .txt");
    for option in ["--report", "--junit"] {
        firedrill(&["rehearse", POD_LOSS, option, "no-such-folder/out.html"]).exits(2).says("no-such-folder");
    }
    firedrill(&["rehearse", POD_LOSS, "--manifests", "no-such-folder"]).exits(2).says("no-such-folder");
}

#[test]
fn check_shows_findings_with_their_place_on_standard_output() {
    let place = Place::new();
    let good = firedrill(&["check", POD_LOSS]).exits(0).says("1 document accepted, 0 errors");
    assert_eq!(good.out, "");
    let bad = place.write(
        "bad.yaml",
        &experiment(|text| text.replace("podKill:", "podKil:").replace("wait: 30s", "wait: 30")),
    );
    let ended = place
        .run(&["check", &bad])
        .exits(2)
        .says("2 errors")
        .prints("bad.yaml:")
        .prints("did you mean `podKill`?");
    assert!(!ended.out.contains('\u{1b}'), "colours in a pipe: {}", ended.out);
    let json = place.run(&["check", &bad, "-o", "json"]).exits(2).json();
    let text = json.to_string();
    assert!(text.contains("FD1020") && text.contains("\"line\""), "{text}");
    // A folder, with other people's manifests below it.
    firedrill(&["check", "experiments"]).exits(0).says("documents accepted, 0 errors");
}

#[test]
fn standard_input_is_a_file() {
    let mut command = Place::new().command(&["check", "-"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let text = experiment(|text| text.replace("limits:", "limit:"));
    child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("it reads");
    let ended = Ended::of(child.wait_with_output().expect("it ends"));
    ended.exits(2).prints("-:").prints("did you mean `limits`?");
}

#[test]
fn fields_and_codes_are_explained() {
    firedrill(&["explain", "experiment.spec.limits"]).exits(0).prints("pods");
    firedrill(&["explain", "fd3009"]).exits(0).prints("How to resolve it").prints("FD3009");
    firedrill(&["explain", "experiment.spec.limts"]).exits(2).says("limits");
    firedrill(&["explain", "FD9999"]).exits(2).says("FD9999");
}

#[test]
fn connect_says_of_each_attempt_how_it_came_out() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    firedrill(&["connect", &address, "no.such.host.invalid:1", "--rounds", "2", "--every", "10ms"])
        .exits(0)
        .prints(&format!("{{\"round\":0,\"address\":\"{address}\",\"connected\":true}}"))
        .prints("{\"round\":1,\"address\":\"no.such.host.invalid:1\",\"connected\":false,\"error\":\"");
    firedrill(&["connect"]).exits(2);
}

#[test]
fn schemas_and_completions_are_printed() {
    let schema = firedrill(&["schema"]).exits(0).json();
    assert!(schema.to_string().contains("podKill"));
    let crds = firedrill(&["crds"]).exits(0).out;
    let documents: Vec<Value> = serde_yaml::from_multiple(&crds).expect("YAML");
    assert_eq!(documents.iter().filter(|crd| crd["kind"] == "CustomResourceDefinition").count(), 4);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        firedrill(&["completions", shell]).exits(0).prints("rehearse");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_accident() {
    for arguments in
        [&["crds"][..], &["schema"], &["completions", "bash"], &["rehearse", POD_LOSS, "--seed", "7"]]
    {
        let mut command = Place::new().command(arguments);
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
        let mut first = [0; 1];
        let mut out = child.stdout.take().expect("piped");
        // Before anything is written, or after the first byte.
        if arguments[0] != "completions" {
            out.read_exact(&mut first).expect("it prints");
        }
        drop(out);
        Ended::of(child.wait_with_output().expect("it ends")).exits(0);
    }
}

/// What the README shows: the timeline and, of the report, its head, the clocks and the signals.
fn as_in_the_readme(ended: &Ended) -> String {
    let mut shown = format!("$ firedrill rehearse {POD_LOSS} --seed 7\n{}", ended.err);
    let mut keep = true;
    for part in ended.out.split("\n\n") {
        let heading = part.trim_start().split([',', '\n']).next().unwrap_or_default();
        let section = heading.chars().all(|c| c.is_ascii_uppercase() || c == ' ');
        let wanted = !section || heading.starts_with("CLOCKS") || heading.starts_with("SIGNALS");
        if wanted {
            shown.push_str(&format!("{}\n\n", part.trim_end()));
        } else if keep {
            shown.push_str("…\n\n");
        }
        keep = wanted;
    }
    shown.lines().map(|line| format!("{}\n", line.trim_end())).collect::<String>().trim_end().to_owned()
}

#[test]
fn the_rehearsal_of_the_readme_reads_as_the_readme_shows_it() {
    const BEGIN: &str = "<!-- rehearsal: written by `UPDATE_GOLDEN=1 cargo test readme` -->\n```text\n";
    const END: &str = "\n```\n<!-- end of rehearsal -->";
    let ended = firedrill(&["rehearse", POD_LOSS, "--seed", "7"]).exits(0);
    let now = as_in_the_readme(&ended);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(&path).expect("README.md");
    let (head, rest) = readme.split_once(BEGIN).expect("README.md has the block");
    let (shown, tail) = rest.split_once(END).expect("README.md's block ends");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, format!("{head}{BEGIN}{now}{END}{tail}")).expect("README.md can be written");
    } else {
        assert_eq!(now, shown, "UPDATE_GOLDEN=1 cargo test readme writes it anew");
    }
    let again = firedrill(&["rehearse", POD_LOSS, "--seed", "7"]).exits(0);
    assert_eq!((again.out, again.err), (ended.out, ended.err), "the same file and seed told differently");
}

#[test]
fn a_report_for_machines_is_alone_on_standard_output() {
    let place = Place::new();
    let [json, markdown] =
        ["report.json", "report.md"].map(|name| place.home.path().join(name).display().to_string());
    let arguments =
        ["rehearse", POD_LOSS, "--seed", "7", "-o", "json", "--report", &json, "--report", &markdown];
    let ended = place.run(&arguments).exits(0).says("decided: Passed");
    let value = ended.json();
    assert!(value.to_string().contains("checkout-survives-pod-loss"), "{value}");
    let written: Value =
        serde_json::from_str(&std::fs::read_to_string(json).expect("written")).expect("JSON");
    assert_eq!(written, value);
    assert!(std::fs::read_to_string(markdown).expect("written").starts_with("# "));
    firedrill(&["rehearse", POD_LOSS, "--seed", "7", "-o", "markdown"]).exits(0).prints("# ");
}

#[test]
fn colours_are_for_terminals() {
    for variables in [&[][..], &[("NO_COLOR", "1")], &[("TERM", "dumb")], &[("TERM", "xterm-256color")]] {
        let mut command = Place::new().command(&["rehearse", POD_LOSS, "--seed", "7"]);
        let ended =
            Ended::of(command.envs(variables.iter().copied()).output().expect("the binary starts")).exits(0);
        assert!(
            !ended.out.contains('\u{1b}') && !ended.err.contains('\u{1b}'),
            "escapes in a pipe with {variables:?}"
        );
    }
}

#[test]
fn losing_normal_aborts_and_puts_everything_back() {
    let place = Place::new();
    // One pod cannot carry what four do.
    let scale = "scale: {replicas: 1}\n    duration: 3m";
    let text = experiment(|text| {
        text.replace(
            "target: {workload: deployment/checkout, count: 50%}",
            "target: {workload: deployment/checkout}",
        )
        .replace("podKill: {gracePeriod: 0s}", scale)
        .replace("limits: {pods: 50%", "limits: {pods: 80%")
        .replace("during: value >= 2", "during: \"true\"")
    });
    let file = place.write("scaled.yaml", &text);
    let ended =
        place.run(&["rehearse", &file, "--manifests", "experiments/demo", "--seed", "7", "-o", "json"]);
    let ended = ended.exits(1).says("decided: Failed").says("over: Failed, exit code 1");
    assert!(ended.err.contains("back"), "{}", ended.err);
    assert_eq!(ended.json()["residue"], serde_json::json!([]));
}

/// The demo's manifests in a folder, with a vault whose budget allows nothing if the demo has none.
pub(crate) fn with_a_vault(place: &Place) -> String {
    const VAULT: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: vault, namespace: shop}
spec:
  replicas: 1
  selector: {matchLabels: {app: vault}}
  template:
    metadata: {labels: {app: vault}}
    spec: {containers: [{name: vault, image: docker.io/firedrill/demo-shop:1}]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: vault, namespace: shop}
spec: {minAvailable: 1, selector: {matchLabels: {app: vault}}}
"#;
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/demo");
    let [nodes, shop] =
        ["nodes.yaml", "shop.yaml"].map(|name| std::fs::read_to_string(demo.join(name)).expect("the demo"));
    place.write("nodes.yaml", &nodes);
    place.write("shop.yaml", &shop);
    if !shop.contains("name: vault") {
        place.write("vault.yaml", VAULT);
    }
    place.home.path().display().to_string()
}

#[test]
fn a_drain_that_can_never_finish_is_refused() {
    let place = Place::new();
    let manifests = with_a_vault(&place);
    let ended =
        place.run(&["rehearse", "experiments/drain-that-can-never-finish.yaml", "--manifests", &manifests]);
    ended.exits(3).says("refused[FD3009]").says("vault").says("remedy:");
}

#[test]
fn a_drain_under_a_budget_passes() {
    let ended = firedrill(&["rehearse", "experiments/drain-under-a-budget.yaml", "--seed", "7"]).exits(0);
    ended.says("no evictable pod is left").says("is back, verified").says("over: Passed, exit code 0");
}

#[test]
fn a_source_that_is_gone_is_inconclusive() {
    firedrill(&["rehearse", "experiments/metric-source-gone.yaml"])
        .exits(4)
        .says("Inconclusive")
        .prints("NoData");
}

#[test]
fn no_target_is_refused() {
    let place = Place::new();
    let text =
        experiment(|text| text.replace("workload: deployment/checkout", "workload: deployment/nobody"));
    let file = place.write("nobody.yaml", &text);
    let ended = place.run(&["rehearse", &file, "--manifests", "experiments/demo"]).exits(3);
    ended.says("refused[FD3001]").says("deployment/nobody").says("remedy:");
}

#[test]
fn what_is_not_steady_is_not_touched() {
    let place = Place::new();
    let file = place.write(
        "unsteady.yaml",
        &experiment(|text| text.replace("expect: value >= 50.0", "expect: value >= 5000.0")),
    );
    let ended = place.run(&["rehearse", &file, "--manifests", "experiments/demo"]).exits(7).says("NotSteady");
    assert!(!ended.err.contains("hits pod/"), "{}", ended.err);
}

#[test]
fn several_files_end_with_the_worst() {
    let arguments =
        ["rehearse", POD_LOSS, "experiments/metric-source-gone.yaml", "--keep-going", "--seed", "7"];
    firedrill(&arguments).exits(4).says("decided: Passed").says("decided: Inconclusive");
    // By label, the smoke tier alone.
    firedrill(&["rehearse", "experiments", "-l", "tier=smoke", "--seed", "7"])
        .exits(0)
        .says("decided: Passed");
}

#[test]
fn without_a_cluster_the_answer_is_clear() {
    firedrill(&["runs"]).exits(0).says("no runs yet");
    firedrill(&["report", "some-run"]).exits(2).says("no journal of run some-run");
    for arguments in [
        &["rollback"][..],
        &["rollback", "some-run"],
        &["abort", "some-run"],
        &["plan", POD_LOSS],
        &["run", POD_LOSS],
    ] {
        firedrill(arguments).exits(3).says("kubeconfig");
    }
    // Somewhere where nobody answers.
    let place = Place::new();
    let kubeconfig = place.write("kubeconfig", NOBODY);
    for arguments in
        [&["rollback"][..], &["abort", "some-run"], &["plan", POD_LOSS], &["run", POD_LOSS, "--yes"]]
    {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--kubeconfig", &kubeconfig]).collect();
        place.run(&arguments).exits(3).says("cannot reach https://127.0.0.1:9/");
    }
}

/// Port 9 of this machine: discard, which nobody serves any more.
const NOBODY: &str = r#"
apiVersion: v1
kind: Config
current-context: nobody
contexts: [{name: nobody, context: {cluster: nobody, user: nobody}}]
clusters: [{name: nobody, cluster: {server: "https://127.0.0.1:9"}}]
users: [{name: nobody, user: {token: none}}]
"#;
