//! The catalogue of codes and the code that uses it.

use std::collections::BTreeSet;

use firedrill::types::codes;

use super::{nothing_wrong, source::sources};

/// Codes that nothing uses yet, with the reason.
const UNUSED: &[(&str, &str)] = &[];

/// Every `NAME: Code = Code::new("FDxxxx")` and `NAME = "FDxxxx"` of the catalogue.
fn constants() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for source in sources("src/types/codes/") {
        for line in source.raw.lines() {
            let line = line.trim_start().trim_start_matches("pub const ");
            let Some((name, rest)) =
                line.split_once(": Code = Code::new(\"").or_else(|| line.split_once(" = \"FD"))
            else {
                continue;
            };
            let digits: String = rest.trim_start_matches("FD").chars().take(4).collect();
            found.push((name.to_owned(), format!("FD{digits}")));
        }
    }
    assert!(found.len() > 20, "the catalogue was not found");
    found
}

#[test]
fn every_code_is_in_the_catalogue_and_in_use() {
    let listed: BTreeSet<&str> = codes::all().map(|info| &*info.code.0).collect();
    let mut words = BTreeSet::new();
    for source in
        sources("src/").iter().filter(|source| !source.test && !source.path.starts_with("src/types/codes/"))
    {
        words.extend(source.code.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_owned));
    }
    let mut wrong = Vec::new();
    let constants = constants();
    for (name, code) in &constants {
        if !listed.contains(code.as_str()) {
            wrong.push(format!("{code} {name} has no entry in the catalogue"));
        }
        let excused = UNUSED.iter().any(|(unused, _)| unused == code);
        if words.contains(name) == excused {
            wrong.push(format!(
                "{code} {name} is {}",
                if excused { "used after all" } else { "used nowhere" }
            ));
        }
    }
    let named: BTreeSet<&str> = constants.iter().map(|(_, code)| code.as_str()).collect();
    wrong.extend(
        listed.iter().filter(|code| !named.contains(*code)).map(|code| format!("{code} has no constant")),
    );
    nothing_wrong("codes", &wrong);
}
