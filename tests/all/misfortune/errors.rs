//! Every error at every call of a run: everything is back or named, and nothing passes without its effect.

use std::collections::BTreeSet;

use firedrill::{
    faults::FAULTS,
    sim::{
        apiserver::{
            User,
            mischief::{Action, Matcher, Rule, Seen, Turn},
        },
        store::Status,
    },
};

use super::assert_sound;
use crate::{
    crash::{
        house::{experiment, method, settled_for, settles},
        long, sampled,
    },
    kit::{Stage, in_virtual_time, on_every_core},
};

const RUNNER: &str = "runner";

/// What can go wrong with one call.
fn errors() -> Vec<(&'static str, Action)> {
    let answer = |code, reason| Action::Answer(Status::failure(code, reason, "bad luck"));
    vec![
        ("409", answer(409, "Conflict")),
        ("410", answer(410, "Expired")),
        ("429", Action::Answer(Status::too_many_requests("too many requests", 1))),
        ("500", answer(500, "InternalError")),
        ("504", answer(504, "Timeout")),
        ("403", answer(403, "Forbidden")),
        ("time-out after commit", Action::TimeoutAfterCommit),
        ("time-out before commit", Action::TimeoutBeforeCommit),
        ("connection lost after commit", Action::DropAfterCommit),
        ("watch gone", Action::WatchGone),
    ]
}

/// The house, and a runner whose calls can be told from those of others.
async fn with_runner(fault: &str) -> Stage {
    let mut stage = settled_for(fault, 5).await;
    let user = User::new(RUNNER, &["system:masters"]);
    stage.env.kube = stage.cluster.sim().client_as(user);
    stage
}

fn rule(number: u64, action: Action) -> Rule {
    let matcher = Matcher { user: RUNNER.to_owned(), ..Matcher::default() };
    Rule { matcher, turn: Turn::Nth(number), action }
}

/// The calls of an undisturbed run of `fault`.
fn calls(fault: &str) -> Vec<Seen> {
    in_virtual_time(async {
        let stage = with_runner(fault).await;
        stage.cluster.sim().mischief().record();
        stage.run(stage.request(&experiment(&[method(fault)]), 5)).await.expect("not refused");
        let calls = stage.cluster.sim().mischief().recorded();
        calls.into_iter().filter(|seen| seen.user == RUNNER).collect()
    })
}

async fn hit(fault: &str, number: u64, action: Action, at: &str) {
    let stage = with_runner(fault).await;
    let before = stage.state();
    stage.cluster.sim().mischief().add(rule(number, action));
    let ran = stage.run(stage.request(&experiment(&[method(fault)]), 5)).await;
    let named = match &ran {
        // Refused: before the first change.
        Err(findings) => {
            assert!(!findings.is_empty(), "{at}");
            false
        }
        Ok(ran) => {
            assert_sound(&stage, ran, at);
            ran.outcome.as_ref().is_ok_and(|outcome| !outcome.residue.is_empty())
        }
    };
    let difference = settles(&stage, &before).await;
    assert!(named || difference.is_empty(), "{at}: {difference:#?}");
}

#[test]
fn every_error_at_every_call_ends_with_everything_back_or_named() {
    on_every_core(FAULTS, |fault| {
        let fault = fault.info().name;
        let calls = calls(fault);
        let mut cases = Vec::new();
        for (index, seen) in calls.iter().enumerate() {
            for (name, action) in errors() {
                // Only a watch can end as one.
                if !matches!(action, Action::WatchGone) || seen.verb == "watch" {
                    cases.push((index as u64 + 1, seen, name, action));
                }
            }
        }
        // A stride that shares no factor with the number of errors meets each of them.
        let wanted = if long() { cases.len() } else { 23 };
        for (number, seen, name, action) in sampled(cases, wanted) {
            let at =
                format!("{fault}: {name} at call {number}, {} {} {}", seen.verb, seen.resource, seen.name);
            in_virtual_time(hit(fault, number, action, &at));
        }
    });
}

/// The watch has shown the node already, and shows what has become of it.
#[test]
fn a_node_is_changed_by_one_call_and_put_back_by_one() {
    for fault in ["nodeCordon", "nodeTaint"] {
        let calls = calls(fault);
        let of_nodes = || calls.iter().filter(|seen| seen.resource == "nodes" && !seen.name.is_empty());
        let nodes: BTreeSet<&str> = of_nodes().map(|seen| seen.name.as_str()).collect();
        assert!(nodes.len() > 1, "{fault} hits {nodes:?}");
        assert!(of_nodes().all(|seen| seen.verb == "patch"), "{fault}: {calls:?}");
        // And one before, to try the right.
        assert_eq!(of_nodes().count(), 2 * nodes.len() + 1, "{fault}: {calls:?}");
    }
}

/// Right after definitions were applied the real server answers so for their kinds.
#[test]
fn a_server_that_is_busy_for_a_moment_refuses_nothing() {
    const ASKED: [&str; 3] = ["guardrails", "selfsubjectreviews", "selfsubjectaccessreviews"];
    let calls = calls("scale");
    let asked = calls
        .iter()
        .enumerate()
        .filter(|(_, seen)| seen.verb != "watch" && ASKED.contains(&seen.resource.as_str()));
    let numbers: Vec<(u64, &Seen)> = asked.map(|(index, seen)| (index as u64 + 1, seen)).collect();
    assert!(ASKED.iter().all(|name| numbers.iter().any(|(_, seen)| seen.resource == *name)), "{numbers:?}");
    for (number, seen) in numbers {
        in_virtual_time(async {
            let stage = with_runner("scale").await;
            let busy = Action::Answer(Status::too_many_requests("storage is (re)initializing", 1));
            stage.cluster.sim().mischief().add(rule(number, busy));
            let ran = stage.run(stage.request(&experiment(&[method("scale")]), 5)).await;
            assert!(ran.is_ok(), "{number}, {} {}: {:?}", seen.verb, seen.resource, ran.err());
        });
    }
}
