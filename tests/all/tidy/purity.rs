//! What is pure stays pure.

use super::{nothing_wrong, source::sources};

/// Files of the engine that may wait, with the reason; all others are pure.
const MAY_AWAIT: &[(&str, &str)] = &[
    ("drive.rs", "the one loop that acts"),
    ("applying.rs", "one try to apply an injection, and waiting until it is seen in force"),
    ("sampler.rs", "measures the probes for it"),
    ("keeper.rs", "renews its leases, listens to what comes from outside"),
    ("unseen.rs", "asks what a watch may not have shown"),
    ("unwind.rs", "one try to take an injection back"),
    ("unwritten.rs", "takes back what is in force when the journal is lost"),
    ("preview.rs", "looks at what a rollback would write"),
    ("start.rs", "takes the leases, opens the journal, hands over to the loop"),
    ("rollback.rs", "takes over a dead run, hands over to the loop; reverts scars without a journal"),
    ("taking.rs", "takes leases and journal of a dead run before anything of it is done"),
    ("going_on.rs", "takes over a run to go on with it, hands over to the loop"),
    ("agents.rs", "reads the nodes of agents before a run, and asks whether they are let in"),
    ("doctor.rs", "tries agents on each node, outside of any run"),
    ("assess.rs", "reads the world before a run: snapshot, rights, dry runs"),
    ("crowd.rs", "counts who is at work before a run, and again once it holds its leases"),
    ("orders.rs", "reads before a run what its loads need: Secrets, addresses, Services"),
];

/// What a pure file does not say.
const WAITING: &[&str] = &[
    "async",
    "await",
    "spawn",
    "sleep",
    "Env",
    "Clock",
    "HttpClient",
    "Storage",
    "Access",
    "Mirror",
    "Client",
];

fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(part).filter_map(move |(at, _)| {
        let starts = !code[..at].chars().next_back().is_some_and(part);
        starts.then(|| (at, code[at..].split(|c: char| !part(c)).next().unwrap_or_default()))
    })
}

#[test]
fn plan_and_the_state_machine_wait_for_nothing() {
    let mut wrong = Vec::new();
    let mut pure = 0;
    for source in sources("src/").iter().filter(|source| !source.test) {
        let file = source.path.rsplit('/').next().unwrap_or_default();
        let held = match source.room() {
            "plan" => true,
            "engine" => !MAY_AWAIT.iter().any(|(name, _)| *name == file),
            _ => false,
        };
        if !held {
            continue;
        }
        pure += 1;
        for (at, word) in words(&source.code) {
            if WAITING.contains(&word) {
                wrong.push(format!("{}:{}: `{word}` in a pure file", source.path, source.line(at)));
            }
        }
    }
    nothing_wrong("pure files that wait", &wrong);
    assert!(pure >= 8, "only {pure} pure files were found");
}

#[test]
fn every_file_that_may_wait_does() {
    let sources = sources("src/engine/");
    let mut wrong = Vec::new();
    for (name, _) in MAY_AWAIT {
        let source = sources.iter().find(|source| source.path.ends_with(&format!("/{name}")));
        if !source.is_some_and(|source| words(&source.code).any(|(_, word)| word == "await")) {
            wrong.push((*name).to_owned());
        }
    }
    nothing_wrong("files that need no leave to wait any more", &wrong);
}

#[test]
fn the_engine_names_no_fault_and_no_probe() {
    let mut wrong = Vec::new();
    let faults = firedrill::faults::FAULTS.iter().map(|fault| fault.info().name);
    let probes = firedrill::probes::PROBES.iter().map(|probe| probe.info().name);
    let names: Vec<&str> = faults.chain(probes).collect();
    for source in sources("src/engine/").iter().filter(|source| !source.test) {
        // Names are strings, so this reads the text as it is, up to its tests.
        for (number, line) in source.raw.lines().take(source.lines).enumerate() {
            for name in &names {
                if line.contains(&format!("\"{name}\"")) {
                    wrong.push(format!("{}:{}: names {name}", source.path, number + 1));
                }
            }
        }
    }
    nothing_wrong("the engine takes faults and probes from their registries", &wrong);
}

#[test]
fn every_select_says_in_which_order() {
    let mut wrong = Vec::new();
    for source in sources("src/") {
        for (at, _) in source.code.match_indices("select! {") {
            let inside = source.code[at + "select! {".len()..].trim_start();
            if !inside.starts_with("biased;") {
                wrong.push(format!("{}:{}: select! without biased;", source.path, source.line(at)));
            }
        }
    }
    nothing_wrong("choices that no seed decides", &wrong);
}
