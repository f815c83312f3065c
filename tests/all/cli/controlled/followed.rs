//! Runs that are followed: what is told of them, and with what it exits.

use std::{
    io::{BufRead as _, BufReader},
    os::unix::process::ExitStatusExt as _,
    process::Child,
};

use super::{Ended, Installed, experiment, run_of, shrink};

/// Experiments that end in other ways.
fn others() -> String {
    let steady = ("value >= 4.0", "\"true\"");
    let nobody = experiment("nobody", steady, &shrink("web", "1s"));
    [
        nobody.replace("spec:\n", "spec:\n  serviceAccountName: nobody\n"),
        experiment("failing", ("value >= 4.0", "value >= 4.0"), &shrink("web", "1m")),
        experiment("refused", steady, &shrink("nosuch", "1s")),
        experiment("unsteady", ("value >= 5.0", "\"true\""), &shrink("web", "1s")),
    ]
    .concat()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).expect("it was written")
}

/// Follows what a child says until it says this, to its end.
struct Saying {
    child: Child,
    err: BufReader<std::process::ChildStderr>,
    told: String,
}

impl Saying {
    #[track_caller]
    fn until(mut child: Child, words: &str) -> Self {
        let mut err = BufReader::new(child.stderr.take().expect("piped"));
        let mut told = String::new();
        while !told.contains(words) {
            assert!(err.read_line(&mut told).expect("UTF-8") > 0, "`{words}` was never said:\n{told}");
        }
        Self { child, err, told }
    }

    fn end(mut self) -> Ended {
        std::io::Read::read_to_string(&mut self.err, &mut self.told).expect("UTF-8");
        let output = self.child.wait_with_output().expect("it ends");
        let mut ended = Ended::of(output);
        ended.err = self.told;
        ended
    }
}

const IN_FORCE: &str = "seen in force";

#[test]
fn a_run_of_the_controller_exits_as_a_local_one_that_ended_so() {
    let installed = Installed::with(&others());
    let xml = installed.file("junit.xml");
    // Passed: the timeline is that of the report, line by line.
    let ended = installed.firedrill(&["run", "--controller", "experiment/trial", "--junit", &xml]).exits(0);
    let (_, timeline) = ended.out.split_once("TIMELINE\n").expect("a timeline");
    let timeline: Vec<&str> =
        timeline.lines().map(str::trim).take_while(|line| line.starts_with('+')).collect();
    assert!(timeline.len() > 10, "{}", ended.out);
    for line in timeline {
        assert!(ended.err.lines().any(|told| told.trim() == line), "`{line}` was not told:\n{}", ended.err);
    }
    assert!(read(&xml).contains("failures=\"0\" errors=\"0\""), "{}", read(&xml));
    installed.firedrill(&["wait", &run_of(&ended)]).exits(0).says("Passed");
    // Failed: the rest is not run, and said so.
    let two = ["run", "--controller", "experiment/failing", "experiment/trial", "--junit", &xml];
    let ended = installed.firedrill(&two).exits(1).says("1 experiment was not run (--keep-going runs it)");
    installed.firedrill(&["wait", &run_of(&ended)]).exits(1).says("Failed");
    let junit = read(&xml);
    assert!(junit.contains("<failure") && junit.contains("<skipped"), "{junit}");
    // Unless it is to go on: the worst of both.
    let both = [&two[..], &["--keep-going", "-o", "json"]].concat();
    let ended = installed.firedrill(&both).exits(1);
    assert_eq!(ended.out.matches("\"schemaVersion\"").count(), 2, "{}", ended.out);
    assert_eq!(read(&xml).matches("<testsuite name=").count(), 2);
    assert!(!read(&xml).contains("<skipped"), "{}", read(&xml));
    // Refused, without a journal.
    let ended =
        installed.firedrill(&["run", "--controller", "experiment/refused", "--junit", &xml, "-o", "json"]);
    let ended = ended.exits(3).says("nosuch");
    assert_eq!(ended.json()["outcome"]["verdict"], "Refused", "{}", ended.out);
    let junit = read(&xml);
    assert!(junit.contains("<testsuite name=\"refused\"") && junit.contains("nosuch"), "{junit}");
    installed.firedrill(&["wait", &run_of(&ended)]).exits(3);
    let ended = installed.firedrill(&["run", "--controller", "experiment/nosuch", "--junit", &xml]).exits(3);
    ended.says("there is no Experiment nosuch");
    assert!(read(&xml).contains("there is no Experiment nosuch"), "{}", read(&xml));
    let ended = installed.firedrill(&["run", "--controller", "gameday/nosuch", "--junit", &xml]).exits(3);
    ended.says("there is no GameDay nosuch");
    assert!(read(&xml).contains("there is no GameDay nosuch"), "{}", read(&xml));
    // What helps is said with what spoke against it.
    let ended = installed.firedrill(&["run", "--controller", "experiment/nobody"]).exits(3);
    ended.says("there is no ServiceAccount nobody").says("make it and bind the rights that the faults need");
    // Measured, and not steady.
    installed.firedrill(&["run", "--controller", "experiment/unsteady"]).exits(7).says("NotSteady");
}

#[test]
fn a_run_that_is_ended_by_others_is_told_to_its_end() {
    let installed = Installed::with("");
    let follow = ["run", "--controller", "experiment/long"];
    let aborted = Saying::until(installed.begin("", &follow), IN_FORCE);
    let run = aborted.told.lines().find_map(|line| line.strip_prefix("Run ")).expect("it says so").to_owned();
    let run = run.split(' ').next().expect("a name");
    installed.firedrill(&["wait", run, "--timeout", "1s"]).exits(4).says("is not over after 1s");
    installed.firedrill(&["abort", run]).exits(0);
    aborted.end().exits(5).says("everything is back").says("UserAbort");
    installed.firedrill(&["wait", run]).exits(5);
    // Deleted in force: put back first, and that is no refusal before the first change.
    let before = installed.runs();
    let xml = installed.file("deleted.xml");
    let deleted = installed.begin("", &[&follow[..], &["--junit", &xml]].concat());
    let deleted = Saying::until(deleted, IN_FORCE);
    let run = installed.runs().into_iter().find(|run| !before.contains(run)).expect("it was made");
    let waiting = installed.begin("", &["wait", &run]);
    installed.delete(&run);
    Ended::of(waiting.wait_with_output().expect("it ends")).exits(5);
    deleted.end().exits(5).says("everything is back").says("Aborted");
    assert!(read(&xml).contains("<testsuite name=\"long\""), "{}", read(&xml));
    // Its finalizer taken away by force, which stops nothing.
    let before = installed.runs();
    let forced = Saying::until(installed.begin("", &follow), IN_FORCE);
    let run = installed.runs().into_iter().find(|run| !before.contains(run)).expect("it was made");
    installed.edit("Run", &run, &serde_json::json!({"metadata": {"finalizers": null}}));
    installed.delete(&run);
    forced.end().exits(5).says("was deleted: Aborted, and everything is back");
    installed.firedrill(&["wait", &run]).exits(2).says("there is no Run");
}

#[test]
fn ctrl_c_leaves_the_run_to_the_controller() {
    let installed = Installed::with("");
    let following =
        Saying::until(installed.begin("", &["run", "--controller", "experiment/trial"]), IN_FORCE);
    let pid = following.child.id().to_string();
    let sent = std::process::Command::new("sh").args(["-c", &format!("kill -INT {pid}")]).status();
    assert!(sent.expect("a shell").success());
    let Saying { mut child, told, .. } = following;
    assert_eq!(child.wait().expect("it ends").signal(), Some(2), "as every command that Ctrl-C ends");
    assert!(told.contains("Ctrl-C leaves it to the controller"), "{told}");
    let run = installed.runs().into_iter().next().expect("it was made");
    installed.firedrill(&["wait", &run, "--timeout", "1m"]).exits(0).says("Passed");
}

#[test]
fn whoever_may_not_read_journals_is_told_what_to_ask_for() {
    let installed = Installed::with(&others());
    let xml = installed.file("junit.xml");
    let dev = |arguments: &[&str]| installed.said_by("dev", arguments);
    let ended = dev(&["run", "--controller", "experiment/trial"]).exits(0);
    ended
        .says("you may not read ConfigMaps in namespace firedrill")
        .says("ask for the verbs get and list on configmaps there")
        .says("Observing trial/shrink")
        .says("Passed (HypothesisHeld");
    // A pass whose report is missing is none.
    for report in [["--junit", &xml], ["--report", &installed.file("report.html")], ["-o", "json"]] {
        let ended = dev(&[&["run", "--controller", "experiment/trial"][..], &report].concat()).exits(2);
        let ended = ended.says("the report is not written").says("Passed");
        assert_eq!(ended.out, "", "{}", ended.out);
    }
    let junit = read(&xml);
    assert!(junit.contains("<error") && junit.contains("Passed (HypothesisHeld"), "{junit}");
    // What it came to weighs more.
    let two =
        ["run", "--controller", "experiment/failing", "experiment/refused", "--keep-going", "--junit", &xml];
    dev(&two).exits(1).says("Failed (Violated").says("Refused (");
    let junit = read(&xml);
    assert!(junit.contains("<testsuite name=\"refused\"") && junit.contains("nosuch"), "{junit}");
    for command in [&["runs", "--controller"][..], &["report", "--controller", "trial"]] {
        dev(command).exits(3).says("ask for the verbs get and list on configmaps");
    }
}

#[test]
fn what_cannot_be_begun_is_no_reason_to_forget_what_was_before_it() {
    let installed = Installed::with(&others());
    let (xml, page) = (installed.file("junit.xml"), installed.file("page.html"));
    let text = experiment("elsewhere", ("value >= 4.0", "\"true\""), &shrink("web", "1s"));
    let file = installed.place.write("elsewhere.yaml", &text.replace("namespace: shop", "namespace: other"));
    let run = ["run", "--controller", "experiment/failing", &file, "--keep-going", "-o", "junit"];
    let run = [&run[..], &["--junit", &xml, "--report", &page]].concat();
    let ended = installed.said_by("dev", &run).exits(1).says("a Run of elsewhere cannot be created");
    let ended = ended.prints("<testsuite name=\"failing\"").prints("<testsuite name=\"elsewhere\"");
    assert_eq!(read(&xml), ended.out);
    assert!(read(&page).contains("elsewhere"));
    // Alone it is refused: nothing was begun.
    installed.said_by("dev", &["run", "--controller", &file]).exits(3).says("cannot be created");
}
