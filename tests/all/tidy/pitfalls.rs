//! The list of pitfalls: each has a test that exists, or a reason.

use std::collections::{BTreeMap, BTreeSet};

use super::{nothing_wrong, text};

const LIST: &str = "docs/pitfalls.md";

/// How many rows each family has.
const FAMILIES: &[(char, u32)] = &[('K', 21), ('F', 62), ('D', 12), ('V', 15), ('I', 13)];

/// Rows of the tables: number, and what stands in the last column.
fn rows() -> Vec<(String, String)> {
    let list = text(LIST);
    let rows = list.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let cells = rows.map(|line| line.split(" | ").map(str::trim).collect::<Vec<_>>());
    let numbered = |id: &str| id.len() > 1 && id.chars().skip(1).all(|c| c.is_ascii_digit());
    cells
        .filter(|cells| cells.len() == 3 && numbered(cells[0]))
        .map(|cells| (cells[0].to_owned(), cells[2].to_owned()))
        .collect()
}

#[test]
fn every_pitfall_is_on_the_list_once() {
    let mut times: BTreeMap<String, u32> = BTreeMap::new();
    for (id, _) in rows() {
        *times.entry(id).or_default() += 1;
    }
    let expected: BTreeSet<String> = FAMILIES
        .iter()
        .flat_map(|(letter, count)| (1..=*count).map(move |number| format!("{letter}{number}")))
        .collect();
    let mut wrong: Vec<String> =
        expected.iter().filter(|id| !times.contains_key(*id)).map(|id| format!("{id} is missing")).collect();
    wrong.extend(
        times
            .iter()
            .filter(|(id, count)| **count > 1 || !expected.contains(*id))
            .map(|(id, count)| format!("{id}: {count} times")),
    );
    nothing_wrong(LIST, &wrong);
}

#[test]
fn what_the_list_names_exists() {
    let mut wrong = Vec::new();
    let mut named = 0;
    let scenarios: String =
        super::source::sources("tests/all/scenarios/").into_iter().map(|source| source.raw).collect();
    for (id, answer) in rows() {
        let rows = answer.split('`').skip(1).step_by(2).filter_map(|word| word.strip_prefix("row:"));
        wrong.extend(
            rows.filter(|row| !scenarios.contains(&format!("\"{row}\"")))
                .map(|row| format!("{id}: no row {row}")),
        );
        let tests: Vec<&str> =
            answer.split('`').skip(1).step_by(2).filter(|word| word.contains("::")).collect();
        for test in &tests {
            named += 1;
            if let Err(why) = exists(test) {
                wrong.push(format!("{id}: {test}: {why}"));
            }
        }
        let reason = ["later:", "not ours:", "open:"]
            .iter()
            .any(|word| answer.split_once(word).is_some_and(|(_, reason)| reason.trim().len() > 5));
        if tests.is_empty() && !reason {
            wrong.push(format!("{id}: neither a test nor `later:`, `not ours:` or `open:` with a reason"));
        }
    }
    nothing_wrong(LIST, &wrong);
    assert!(named > 40, "only {named} tests were read");
}

/// A test is named `path/from/root.rs::function`.
fn exists(test: &str) -> Result<(), String> {
    let (path, name) = test.split_once("::").ok_or("write path::name")?;
    let content = std::fs::read_to_string(super::root().join(path)).map_err(|error| error.to_string())?;
    let Some(at) = content.find(&format!("fn {name}(")) else { return Err("no such function".to_owned()) };
    // Attributes and doc comments stand between the mark and the function.
    let before = content[..at].rsplit("\n\n").next().unwrap_or_default();
    let marked =
        before.contains("#[test]") || before.contains("#[tokio::test") || content.contains("proptest! {");
    if marked { Ok(()) } else { Err("not a test".to_owned()) }
}
