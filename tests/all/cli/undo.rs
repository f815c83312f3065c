//! Runs on an embedded cluster behind a port, ended by signals and put back by `rollback`; in real time.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, ChildStderr, Stdio},
    time::Duration,
};

use super::{Ended, Place};

/// An embedded cluster that serves until this is dropped.
pub(super) struct Serving {
    child: Child,
    place: Place,
    kubeconfig: String,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A node is cordoned for five minutes; nothing but the API server is asked.
const CORDON: &str = "
apiVersion: firedrill.dev/v1alpha1
kind: Experiment
metadata: {name: closed-node, namespace: shop}
spec:
  hypothesis: The shop does not notice a closed node.
  steadyState:
  - name: replicas
    kubernetes: {apiVersion: apps/v1, kind: Deployment, name: checkout}
    value: object.status.readyReplicas
    expect: value >= 1.0
    during: \"true\"
    every: 1s
    for: 2s
  baseline: {duration: 1s, within: 2m}
  method:
  - name: close
    target: {nodesRunning: deployment/checkout, count: 1}
    nodeCordon: {}
    duration: 5m
  limits: {nodes: 50%, duration: 10m}
";

impl Serving {
    pub(super) fn new() -> Self {
        let place = Place::new();
        let kubeconfig = place.home.path().join("kubeconfig").display().to_string();
        let arguments =
            ["sim", "serve", "--manifests", "experiments/demo", "--write-kubeconfig", &kubeconfig];
        let mut command = place.command(&arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
        let mut line = String::new();
        let out = child.stdout.take().expect("piped");
        BufReader::new(out).read_line(&mut line).expect("it says where");
        assert!(line.starts_with("KUBECONFIG="), "{line}");
        let serving = Self { child, place, kubeconfig };
        serving.settle();
        serving
    }

    /// Until the workload is whole, for `plan` has something to say against it before.
    fn settle(&self) {
        let file = self.place.write("closed.yaml", CORDON);
        for _ in 0..120 {
            if self.firedrill(&["plan", &file]).code == 0 {
                return;
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        panic!("{}", self.firedrill(&["plan", &file]).err);
    }

    fn firedrill(&self, arguments: &[&str]) -> Ended {
        let arguments: Vec<&str> =
            arguments.iter().copied().chain(["--kubeconfig", &self.kubeconfig]).collect();
        self.place.run(&arguments)
    }

    /// A run that was begun by a shell that has said `before`, with its fault in force.
    pub(super) fn run(&self, before: &str, more: &str) -> Running {
        let file = self.place.write("closed.yaml", CORDON);
        let script = format!(
            "{before}; exec {} run {file} --yes --kubeconfig {} {more}",
            env!("CARGO_BIN_EXE_firedrill"),
            self.kubeconfig
        );
        // Whoever runs the tests under nohup ignores SIGHUP, and no shell takes that back.
        let mut command = std::process::Command::new("env");
        command
            .args(["--default-signal=HUP", "sh", "-c", &script])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env_clear();
        command.env("HOME", self.place.home.path()).env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("a shell");
        let err = BufReader::new(child.stderr.take().expect("piped"));
        Running { child, err, told: String::new() }
    }

    fn rollback(&self, more: &[&str]) -> Ended {
        let arguments: Vec<&str> = ["rollback", "--yes"].iter().chain(more).copied().collect();
        self.firedrill(&arguments)
    }

    /// A person takes back every cordon.
    fn uncordon_all(&self) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let kubeconfig = kube::config::Kubeconfig::read_from(&self.kubeconfig).expect("a kubeconfig");
            let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await;
            let client = kube::Client::try_from(config.expect("a kubeconfig")).expect("a client");
            let nodes: kube::Api<k8s_openapi::api::core::v1::Node> = kube::Api::all(client);
            for node in nodes.list(&Default::default()).await.expect("lists") {
                nodes.uncordon(node.metadata.name.as_deref().expect("named")).await.expect("uncordons");
            }
        });
    }

    /// The one run that has a journal here, and what `runs` says of it.
    fn only(&self) -> (String, String) {
        let rows = self.place.run(&["runs", "-o", "json"]).exits(0).json();
        let row = &rows.as_array().expect("rows")[0];
        let text = |field: &str| row[field].as_str().expect("text").to_owned();
        (text("run"), text("verdict"))
    }
}

/// A run under way.
pub(super) struct Running {
    child: Child,
    err: BufReader<ChildStderr>,
    told: String,
}

impl Running {
    /// Reads on until it says this.
    #[track_caller]
    pub(super) fn until(mut self, words: &str) -> Self {
        loop {
            let mut line = String::new();
            let read = self.err.read_line(&mut line).expect("UTF-8");
            assert!(read > 0, "`{words}` was never said:\n{}", self.told);
            self.told.push_str(&line);
            if line.contains(words) {
                return self;
            }
        }
    }

    pub(super) fn signal(self, name: &str) -> Self {
        let pid = self.child.id().to_string();
        let sent = std::process::Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status();
        assert!(sent.expect("a shell").success());
        self
    }

    /// How it has ended.
    pub(super) fn end(mut self) -> Ended {
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut self.err, &mut rest).expect("UTF-8");
        let mut out = String::new();
        let mut stdout = self.child.stdout.take().expect("piped");
        std::io::Read::read_to_string(&mut stdout, &mut out).expect("UTF-8");
        let code = self.child.wait().expect("it ends").code().unwrap_or(-1);
        Ended { code, out, err: self.told + &rest }
    }
}

pub(super) const IN_FORCE: &str = "seen in force";

#[test]
fn a_closed_terminal_and_sigquit_put_everything_back() {
    let serving = Serving::new();
    for (signal, name) in [("HUP", "SIGHUP"), ("QUIT", "SIGQUIT")] {
        let running = serving.run("true", "").until(IN_FORCE).signal(signal);
        // Kernel and shell say it both.
        let running = if signal == "HUP" { running.signal(signal) } else { running };
        running.end().exits(5).says(name).says("everything is back");
        serving.rollback(&[]).exits(0).says("nothing is left");
    }
}

#[test]
fn under_nohup_a_closed_terminal_means_nothing() {
    let serving = Serving::new();
    let mut running = serving.run("trap '' HUP", "").until(IN_FORCE).signal("HUP");
    std::thread::sleep(Duration::from_secs(2));
    assert!(running.child.try_wait().expect("a child").is_none(), "it goes on");
    let ended = running.signal("TERM").end().exits(5).says("SIGTERM").says("everything is back");
    assert!(!ended.err.contains("SIGHUP"), "{}", ended.err);
}

#[test]
fn a_dead_run_is_named_shown_and_put_back() {
    let serving = Serving::new();
    let running = serving.run("true", "").until(IN_FORCE);
    let (run, verdict) = serving.only();
    assert_eq!(verdict, "running");
    running.signal("KILL").end();
    assert_eq!(serving.only().1, "unfinished");
    // Not another name's.
    let ended =
        serving.rollback(&["closed-node-zzzzz"]).exits(3).says("names run closed-node-zzzzz").says(&run);
    assert!(!ended.err.contains("nothing is left"), "{}", ended.err);
    // Its lease is fresh: by journal, and from a machine that has none.
    serving.rollback(&[]).exits(6).says("remedy: firedrill abort").says("--take-over");
    let elsewhere = serving.place.home.path().join("elsewhere").display().to_string();
    let ended = serving.rollback(&["--state", &elsewhere]).exits(6).says("remedy: firedrill abort");
    ended.says("- spec.unschedulable: true").says("+ spec.unschedulable: nothing");
    let ended = serving.rollback(&[&run, "--take-over"]).exits(0).says("- spec.unschedulable: true");
    ended.says("put back: uncordoned").says(&format!("run {run}"));
    assert_eq!(serving.only().1, "Aborted");
    serving.rollback(&[]).exits(0).says("nothing is left");
    serving.firedrill(&["abort", &run]).exits(0).says("is over: Aborted");
    serving.place.run(&["report", "nosuch"]).exits(2);
    serving.place.run(&["rollback", "No Such"]).exits(2);
}

#[test]
fn what_is_left_alone_is_named() {
    let serving = Serving::new();
    serving.run("true", "").until(IN_FORCE).signal("KILL").end();
    serving.uncordon_all();
    let (run, _) = serving.only();
    let ended =
        serving.rollback(&[&run, "--take-over"]).exits(0).says("will be left as it is: somebody else");
    let named = ended.err.lines().any(|line| {
        line.starts_with("node/") && line.ends_with("left as it is: somebody else had uncordoned it")
    });
    assert!(named, "{}", ended.err);
}

/// A limit on the size of files, as good as a full disk.
#[test]
fn a_full_disk_in_mid_run_is_reported_all_the_same() {
    let serving = Serving::new();
    let limit = "trap '' XFSZ; ulimit -f 16";
    let ended = serving.run(limit, "-o json").end().exits(4).says("the journal of run");
    let report = ended.json();
    assert_eq!(report["outcome"]["verdict"], "Inconclusive", "{report}");
    // The disk takes nothing still: what is to be put back is.
    serving.rollback(&[]).exits(0);
}
