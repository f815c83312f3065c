//! Who may import whom (design.md, section 5).

use std::collections::{BTreeMap, BTreeSet};

use super::{
    nothing_wrong,
    source::{Source, sources},
};

/// The rooms, low to high. A room imports only from rows before its own.
const ROWS: &[&[&str]] = &[
    &["types"],
    &["agent"],
    &["env"],
    &["cluster"],
    &["sim"],
    &["faults", "probes", "load"],
    &["api"],
    &["plan"],
    &["init"],
    &["journal"],
    &["engine"],
    &["report"],
    &["controller", "console"],
    &["cli"],
];

/// Rooms that may see less than their row allows, with what they may see.
const NARROWER: &[(&str, &[&str])] = &[
    // The embedded cluster knows no fault, probe, experiment or query: else it would prove what it assumes. It knows what
    // is said to agents and what they say.
    ("sim", &["types", "agent"]),
    // A report is made of journal bytes; it decodes the experiment in them and asks the registries for names.
    ("report", &["types", "faults", "probes", "load", "api", "plan", "journal"]),
    // Pure: of the environment it has the seeded choices and no more (`purity` holds that).
    ("plan", &["types", "env", "cluster", "faults", "probes", "load", "api"]),
];

fn row(room: &str) -> usize {
    let row = ROWS.iter().position(|rooms| rooms.contains(&room));
    row.unwrap_or_else(|| panic!("src/{room} is not in the import table"))
}

fn allowed(from: &str, to: &str) -> bool {
    if from == to {
        return true;
    }
    match NARROWER.iter().find(|(room, _)| *room == from) {
        Some((_, rooms)) => rooms.contains(&to),
        None => row(to) < row(from),
    }
}

/// Places in the code where a path begins with `crate::`, each with the rooms that it names.
fn uses(source: &Source) -> Vec<(usize, BTreeSet<String>)> {
    source
        .code
        .match_indices("crate::")
        .map(|(at, _)| (at, heads(&source.code[at + "crate::".len()..])))
        .collect()
}

/// The first words of a use tree: `a::b` is a, `{a::{b, c}, d}` is a and d.
fn heads(tree: &str) -> BTreeSet<String> {
    let tree = tree.trim_start();
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(inside) = tree.strip_prefix('{') else { return BTreeSet::from([word(tree)]) };
    let (mut depth, mut expected, mut heads) = (1, true, BTreeSet::new());
    for (at, c) in inside.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => break,
            '}' => depth -= 1,
            ',' if depth == 1 => expected = true,
            c if expected && (c.is_alphabetic() || c == '_') => {
                heads.insert(word(&inside[at..]));
                expected = false;
            }
            _ => {}
        }
    }
    heads
}

#[test]
fn rooms_import_only_from_rows_before_their_own() {
    let mut wrong = Vec::new();
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources("src/").iter().filter(|source| !source.test) {
        let room = source.room();
        // The crate's own roots: one declares the rooms, one calls the command line.
        if matches!(room, "lib" | "main" | "bin") {
            continue;
        }
        for (at, rooms) in uses(source) {
            for to in rooms {
                if !allowed(room, &to) {
                    wrong.push(format!("{}:{}: {room} may not import {to}", source.path, source.line(at)));
                }
                seen.entry(room.to_owned()).or_default().insert(to);
            }
        }
    }
    nothing_wrong("imports against the table of the architecture", &wrong);
    // A reader of paths that finds nothing would hold nothing.
    assert!(seen["engine"].contains("journal") && seen["cli"].contains("engine"), "{seen:?}");
}

#[test]
fn nobody_sees_more_of_the_agent_than_its_wire() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for source in sources("src/").iter().filter(|source| !matches!(source.room(), "agent" | "lib" | "bin")) {
        for (at, _) in source.code.match_indices("agent") {
            let (before, after) = (&source.code[..at], &source.code[at + "agent".len()..]);
            let whole = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
            let path = after.strip_prefix("::").filter(|_| whole);
            if path.is_some_and(|path| !path.starts_with("wire"))
                || (path.is_none() && before.ends_with("crate::"))
            {
                wrong.push(format!("{}:{}: of the agent only its wire", source.path, source.line(at)));
            }
            seen += usize::from(path.is_some());
        }
    }
    nothing_wrong("imports of the agent", &wrong);
    assert!(seen > 0, "a reader of paths that finds nothing would hold nothing");
}

#[test]
fn use_trees_are_read() {
    let words = |tree: &str| heads(tree).into_iter().collect::<Vec<_>>().join(" ");
    assert_eq!(words("api::{self, Experiment}, x"), "api");
    assert_eq!(
        words("{\n    api::{check::Accepted, planned},\n    engine,\n    types::ExitCode,\n};"),
        "api engine types"
    );
}

#[test]
fn the_table_knows_low_from_high() {
    assert!(allowed("engine", "journal") && allowed("sim", "types") && allowed("sim", "agent"));
    for (from, to) in [
        ("types", "env"),
        ("faults", "probes"),
        ("probes", "faults"),
        ("sim", "cluster"),
        ("plan", "sim"),
        ("report", "engine"),
    ] {
        assert!(!allowed(from, to), "{from} → {to}");
    }
}
