//! What people say of a Run: that they agree, that it is to wait, what they have seen, what is done and what is not to be.

use super::{Ended, Installed, experiment, game_day};

/// Waits for somebody, and then does nothing for long.
const BY_HAND: &str = "  - name: hand-over
    manual: {instructions: Hand over., timeout: 5m}
  - {name: pause, wait: 5m}
  - {name: end, wait: 1s}";

#[test]
fn people_agree_hold_note_confirm_and_skip() {
    let hand = experiment("by-hand", ("value >= 4.0", "\"true\""), BY_HAND);
    let installed = Installed::with(&format!("{hand}{}", game_day("drill-with-people", "by-hand")));
    let following = installed.begin("dev", &["run", "--controller", "gameday/drill-with-people"]);
    let run = installed.made(&[], "phase", "AwaitingApproval");
    let dev = |arguments: &[&str]| installed.said_by("dev", arguments);
    let bob = |arguments: &[&str]| installed.said_by("bob", arguments);
    dev(&["wait", &run, "--timeout", "1s"]).exits(4).says("is not over after 1s: AwaitingApproval");
    dev(&["approve", &run]).exits(2).says("nobody approves their own");
    bob(&["approve", &run, "--hash", "sha256:0"]).exits(2).says("what is asked is another thing now");
    bob(&["approve", "nosuch"]).exits(2).says("there is no Run nosuch in namespace shop");
    let hash = installed.ours("Run", &run)["status"]["hash"].as_str().expect("a hash").to_owned();
    // Held before it has begun, nothing begins.
    dev(&["hold", &run]).exits(0).says("held: no new step");
    bob(&["approve", &run, "--hash", &hash, "--comment", "as planned"]).exits(0).says("by bob");
    let approval = &installed.ours("Run", &run)["spec"]["approvals"][0];
    assert_eq!((&approval["by"], &approval["comment"]), (&"bob".into(), &"as planned".into()));
    installed.made(&[], "reason", "Held");
    dev(&["resume", &run]).exits(0).says("goes on");
    // The gate, then the step of somebody's hands; what comes after it for minutes is skipped.
    installed.made(&[], "currentStep", "two/gate");
    dev(&["note", &run, "the queue grows"]).exits(0).says("noted in");
    dev(&["note", &run, "raise the limit", "--action"]).exits(2).says("--owner");
    let action = ["note", &run, "raise the limit", "--action", "--owner", "ada", "--due", "2026-12-31"];
    dev(&action).exits(0);
    dev(&["note", &run, "raise the limt", "--done"]).exits(2).says("open are: raise the limit");
    dev(&["note", &run, "raise the limit", "--done"]).exits(0);
    let notes = installed.ours("Run", &run)["spec"]["notes"].clone();
    assert_eq!((&notes[0]["by"], &notes[0]["text"]), (&"dev".into(), &"the queue grows".into()));
    assert_eq!((&notes[1]["action"]["owner"], &notes[2]["action"]["done"]), (&"ada".into(), &true.into()));
    dev(&["confirm", &run, "--comment", "go"]).exits(0).says("Confirm: two/gate, by dev");
    dev(&["confirm", &run, "two/gate"]).exits(2).says("dev has said Confirm of two/gate already");
    installed.made(&[], "currentStep", "two/hand-over");
    dev(&["skip", &run, "pause"]).exits(2).says("EXPERIMENT/pause");
    dev(&["skip", &run, "two/puase"]).exits(2).says("did you mean two/pause?");
    dev(&["confirm", &run, "two/pause"]).exits(2).says("two/pause asks nobody");
    dev(&["skip", &run, "two/pause", "--comment", "no time"]).exits(0).says("Skip: two/pause, by dev");
    dev(&["confirm", &run, "hand-over"]).exits(0).says("Confirm: two/hand-over");
    dev(&["wait", &run, "--timeout", "2m"]).exits(0).says("Passed (AllPassed");
    let followed = Ended::of(following.wait_with_output().expect("it ends")).exits(0);
    followed.says(&format!("1 approval needed, 0 there: firedrill approve {run} -n shop"));
    dev(&["hold", &run]).exits(0).says("is over");
    dev(&["skip", &run, "two/end"]).exits(2).says("is over");
    bob(&["approve", &run]).exits(2).says("is over");
    dev(&["note", &run, "in hindsight"]).exits(0).says("its report is closed");
    // Whoever may not read what ties the controller does not untie it.
    dev(&["allow", "shop"]).exits(3).says("firedrill:acting of the controller is there cannot be read");
    dev(&["allow", "shop", "--secret", "bad name"]).exits(2).says("a Secret is called by");
    let report = installed.firedrill(&["report", "--controller", &run]).exits(0);
    report.prints("the queue grows").prints("raise the limit").prints("no time");
}

/// What waits has begun, and nothing of it is done: who skips it need not say that it failed.
#[test]
fn a_step_of_somebodys_hands_is_skipped_while_it_waits() {
    let installed = Installed::with(&experiment("by-hand", ("value >= 4.0", "\"true\""), BY_HAND));
    let following = installed.begin("", &["run", "--controller", "experiment/by-hand"]);
    let run = installed.made(&[], "currentStep", "by-hand/hand-over");
    installed.firedrill(&["skip", &run, "pause"]).exits(0);
    installed.firedrill(&["skip", &run, "hand-over", "--comment", "done before"]).exits(0);
    let followed = Ended::of(following.wait_with_output().expect("it ends")).exits(0);
    followed.says("hand-over").says("done before");
    let report = installed.firedrill(&["report", "--controller", &run]).exits(0);
    report.prints("; run by system:serviceaccount:shop:");
}

#[test]
fn a_step_that_could_not_be_done_fails_and_one_that_is_held_does_not_begin() {
    let hand = experiment("by-hand", ("value >= 4.0", "\"true\""), BY_HAND);
    let installed = Installed::with(&hand);
    let following = installed.begin("", &["run", "--controller", "experiment/by-hand"]);
    let run = installed.made(&[], "currentStep", "by-hand/hand-over");
    installed.firedrill(&["hold", &run]).exits(0);
    installed
        .firedrill(&["confirm", &run, "--fail", "--comment", "no key"])
        .exits(0)
        .says("Fail: by-hand/hand-over");
    installed.firedrill(&["wait", &run, "--timeout", "1m"]).exits(1).says("Failed");
    Ended::of(following.wait_with_output().expect("it ends")).exits(1).says("no key");
    // One that is held stands before its next step until it is let go.
    let before = installed.runs();
    let following = installed.begin("", &["run", "--controller", "experiment/by-hand"]);
    let run = installed.made(&before, "currentStep", "by-hand/hand-over");
    installed.firedrill(&["skip", &run, "pause"]).exits(0).says("Skip: by-hand/pause");
    installed.firedrill(&["hold", &run]).exits(0);
    installed.firedrill(&["confirm", &run]).exits(0);
    installed.made(&before, "reason", "Held");
    installed.firedrill(&["wait", &run, "--timeout", "2s"]).exits(4);
    installed.firedrill(&["resume", &run]).exits(0);
    installed.firedrill(&["wait", &run, "--timeout", "1m"]).exits(0);
    Ended::of(following.wait_with_output().expect("it ends")).exits(0);
}
