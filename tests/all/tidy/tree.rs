//! Rules about files: words, sizes, heads, and the map of the code.

use std::collections::BTreeSet;

use super::{files, nothing_wrong, root, source::sources, text};

/// No tracked file is bigger.
const BYTES: u64 = 400 * 1024;

/// Words that mean "not done". In pieces, so that this file does not contain them.
const UNDONE: &[&str] = &[
    concat!("to", "do!"),
    concat!("unimple", "mented!"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("db", "g!"),
];

/// Folders of somebody's own machine.
const MACHINE: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/Us", "ers/"),
    concat!("C:", "\\"),
];

/// Hosts of package registries: what is needed is asked for by its name.
const REGISTRIES: &[&str] = &[
    concat!("crates", ".io"),
    concat!("docs", ".rs/"),
    concat!("proxy.go", "lang.org"),
    concat!("sum.go", "lang.org"),
    concat!("npm", "js.org"),
    concat!("py", "pi.org"),
    concat!("deb.deb", "ian.org"),
];

/// Whether `word` stands in `line` by itself: neither the pattern of mktemp nor a folder of that name is meant.
fn says(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_' || c == '}';
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        !(before.ends_with(part) || word.ends_with(part) && after.starts_with(part))
    })
}

#[test]
fn nothing_is_left_undone_or_tied_to_a_machine() {
    let mut wrong = Vec::new();
    for path in files() {
        // Written by tools, with the sources of packages in them.
        if path == "Cargo.lock" || path.ends_with("go.sum") {
            continue;
        }
        let Ok(content) = std::fs::read_to_string(root().join(&path)) else { continue };
        for (number, line) in content.lines().enumerate() {
            let words = UNDONE.iter().chain(MACHINE).chain(REGISTRIES).filter(|word| says(line, word));
            wrong.extend(words.map(|word| format!("{path}:{}: {word}", number + 1)));
        }
    }
    nothing_wrong("words that have no place here", &wrong);
}

#[test]
fn no_file_is_heavy() {
    let size = |path: &String| std::fs::metadata(root().join(path)).map_or(0, |data| data.len());
    let wrong: Vec<String> = files()
        .iter()
        .filter(|path| size(path) > BYTES)
        .map(|path| format!("{path}: {}", size(path)))
        .collect();
    nothing_wrong("files above 400 kB", &wrong);
}

#[test]
fn every_module_says_what_it_is_for() {
    let sources = sources("src/");
    let headless = sources.iter().filter(|source| !source.test && !source.raw.starts_with("//! "));
    nothing_wrong("modules without a head", &headless.map(|source| source.path.clone()).collect::<Vec<_>>());
}

#[test]
fn the_code_map_names_the_rooms_that_there_are() {
    let rooms: BTreeSet<String> = sources("src/")
        .iter()
        .map(|source| source.room().to_owned())
        .filter(|room| !matches!(room.as_str(), "lib" | "main" | "bin"))
        .collect();
    let library = text("src/lib.rs");
    let named = library
        .lines()
        .filter_map(|line| line.strip_prefix("//! - [`")?.split_once('`'))
        .map(|(room, _)| room.to_owned());
    assert_eq!(named.collect::<BTreeSet<_>>(), rooms, "code map of src/lib.rs, left, and folders, right");
}

/// Named in Cargo.toml and not in use yet.
const NOT_IN_USE: &[&str] = &[];

#[test]
fn every_dependency_is_used() {
    let manifest = text("Cargo.toml");
    let section = |name: &str| {
        let rest = manifest.split_once(&format!("\n[{name}]\n")).unwrap_or_else(|| panic!("no [{name}]")).1;
        rest.lines()
            .take_while(|line| !line.starts_with('['))
            .filter_map(|line| line.split_once(" = "))
            .map(|(name, _)| name.replace('-', "_"))
            .collect::<Vec<_>>()
    };
    let mut all = String::new();
    for source in sources("src/").iter().chain(&sources("tests/")).chain(&sources("benches/")) {
        all.push_str(&source.raw);
    }
    let used =
        |name: &String| ["::", ";", " as ", "!"].iter().any(|after| all.contains(&format!("{name}{after}")));
    let wrong: Vec<String> = section("dependencies")
        .into_iter()
        .chain(section("dev-dependencies"))
        .filter(|name| used(name) == NOT_IN_USE.contains(&name.as_str()))
        .collect();
    nothing_wrong("dependencies that nothing uses, or that are used after all", &wrong);
}
