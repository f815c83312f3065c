//! Experiments and misfortunes by chance, from a fixed seed: what holds whatever happens.

use firedrill::{
    api::{self, SourceText},
    engine::EngineError,
    journal::Entry,
    sim::{
        apiserver::mischief::{Action, Matcher, Rule, Turn},
        store::Status,
    },
};
use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use super::assert_sound;
use crate::{
    crash::{
        house::{experiment, settled, settles},
        long,
    },
    kit::in_virtual_time,
};

/// A trial: what is run, with which seed, and what goes wrong.
#[derive(Clone, Debug)]
struct Trial {
    steps: Vec<String>,
    seed: u64,
    mischief: Vec<(u64, u8)>,
}

fn step() -> impl Strategy<Value = String> {
    let workload = prop_oneof![Just("web"), Just("api")];
    let held =
        prop_oneof![Just("duration: 7s"), Just("duration: 20s, background: true"), Just("background: true")];
    let kill = (workload.clone(), 1..=3u32).prop_map(|(name, count)| {
        format!("target: {{workload: deployment/{name}, count: {count}}}, podKill: {{}}")
    });
    let drain = (1..=4u32, held.clone()).prop_map(|(node, held)| {
        format!("target: {{nodes: {{matchLabels: {{pool: shop}}}}, names: [n{node}], count: all}}, nodeDrain: {{}}, {held}")
    });
    let scale = (workload, 0..=6u32, held).prop_map(|(name, to, held)| {
        format!("target: {{workload: deployment/{name}}}, scale: {{replicas: {to}}}, {held}")
    });
    let check = Just("check: {probe: ready, within: 1m}".to_owned());
    let wait = (1..=15u32).prop_map(|seconds| format!("wait: {seconds}s"));
    prop_oneof![3 => kill, 3 => drain, 3 => scale, 1 => check, 1 => wait]
}

fn trial() -> impl Strategy<Value = Trial> {
    let mischief = proptest::collection::vec((1..160u64, 0..5u8), 0..3);
    (proptest::collection::vec(step(), 1..4), any::<u64>(), any::<bool>(), mischief).prop_map(
        |(steps, seed, reverts, mischief)| {
            let background = steps.iter().position(|step| step.contains("background"));
            let mut steps: Vec<String> = steps
                .into_iter()
                .enumerate()
                .map(
                    |(number, step)| {
                        if step.starts_with("wait") { step } else { format!("{{name: s{number}, {step}}}") }
                    },
                )
                .collect();
            if let Some(number) = background.filter(|_| reverts) {
                steps.push(format!("{{name: undo, revert: s{number}}}"));
            }
            Trial { steps, seed, mischief }
        },
    )
}

fn rule((number, kind): (u64, u8)) -> Rule {
    let action = match kind {
        0 => Action::Answer(Status::failure(500, "InternalError", "bad luck")),
        1 => Action::Answer(Status::failure(409, "Conflict", "bad luck")),
        2 => Action::DropAfterCommit,
        3 => Action::TimeoutAfterCommit,
        _ => Action::DropBeforeCommit,
    };
    Rule { matcher: Matcher::default(), turn: Turn::Nth(number), action }
}

/// The records, those of one instant in a fixed order: tokio's watch channel wakes those who wait for one
/// change in an order that no seed decides.
fn in_order(entries: &[Entry]) -> Vec<String> {
    let mut lines: Vec<String> =
        entries.iter().map(|entry| format!("{} {:?}", entry.at, entry.record)).collect();
    lines.sort();
    lines
}

/// Runs it; what it wrote down, or None if it was refused.
fn run(trial: &Trial, text: &str) -> Option<Vec<String>> {
    in_virtual_time(async {
        let stage = settled(trial.seed).await;
        let before = stage.state();
        for mischief in &trial.mischief {
            stage.cluster.sim().mischief().add(rule(*mischief));
        }
        let ran = stage.run(stage.request(text, trial.seed)).await;
        let at = format!("{trial:?}");
        let residue = match &ran {
            Err(findings) => {
                assert!(findings.iter().any(firedrill::types::Finding::is_error), "{at}");
                Vec::new()
            }
            Ok(ran) => {
                assert_sound(&stage, ran, &at);
                match &ran.outcome {
                    Ok(outcome) => outcome.residue.clone(),
                    // Before the first change; nothing else went wrong here.
                    Err(EngineError::Lease(_) | EngineError::Api(_)) => Vec::new(),
                    Err(other) => panic!("{at}: {other}"),
                }
            }
        };
        let difference = settles(&stage, &before).await;
        assert!(!residue.is_empty() || difference.is_empty(), "{at}: {difference:#?}");
        ran.ok().map(|ran| in_order(&ran.entries))
    })
}

#[test]
fn whatever_happens_everything_is_back_or_named_and_a_seed_decides_all() {
    let cases = if long() { 300 } else { 8 };
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 0, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let result = runner.run(&trial(), |trial| {
        let steps: Vec<&str> = trial.steps.iter().map(String::as_str).collect();
        let text = experiment(&steps);
        let read = api::read(&[SourceText::new("trial.yaml", text.as_str())]);
        // What `check` refuses never runs.
        prop_assume!(!read.findings.iter().any(firedrill::types::Finding::is_error));
        let once = run(&trial, &text);
        prop_assert_eq!(once, run(&trial, &text), "one seed, two journals");
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
