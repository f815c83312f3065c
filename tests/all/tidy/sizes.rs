//! Sizes, as a ratchet: what is too big today is listed with its size, and may only shrink.
//!
//! `UPDATE_GOLDEN=1 cargo test tidy` writes smaller sizes down and strikes out what fits; it never writes a
//! bigger one.

use std::collections::BTreeMap;

use super::{
    nothing_wrong,
    source::{Source, sources},
};

/// Lines of a file before its `#[cfg(test)]`.
const FILE: usize = 500;
/// Lines of a function, from `fn` to its closing brace.
const FUNCTION: usize = 70;
/// Parameters of a function, `self` among them.
const PARAMETERS: usize = 5;

const LIST: &str = "tests/all/tidy/ratchet.txt";

/// A function in code.
struct Function {
    name: String,
    lines: usize,
    parameters: usize,
}

fn functions(source: &Source) -> Vec<Function> {
    let code = source.code.as_str();
    let starts = code
        .match_indices("fn ")
        .filter(|(at, _)| !code[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_'));
    starts.filter_map(|(at, _)| function(&code[at + "fn ".len()..])).collect()
}

/// A function whose name begins `code`; none for a pointer type or a declaration without a body.
fn function(code: &str) -> Option<Function> {
    let name: String = code.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    if name.is_empty() {
        return None;
    }
    let (mut angle, mut depth, mut parameters, mut open, mut counted) = (0_usize, 0_usize, 0, false, false);
    let (mut body, mut before) = (None, ' ');
    for (at, c) in code.char_indices() {
        match c {
            '<' => angle += 1,
            '>' if before != '-' => angle = angle.saturating_sub(1),
            '{' if depth == 0 && counted => {
                body.get_or_insert(at);
                depth += 1;
            }
            '(' if angle == 0 && depth == 0 && !counted => {
                depth += 1;
                open = true;
            }
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 && open {
                    (open, counted) = (false, true);
                } else if depth == 0 && body.is_some() {
                    let lines = 1 + code[..at].matches('\n').count();
                    return Some(Function { name, lines, parameters });
                }
            }
            ';' if depth == 0 => return None,
            // One colon a parameter, outside of types; `::` is a path.
            ':' if open && depth == 1 && angle == 0 && before != ':' && !code[at + 1..].starts_with(':') => {
                parameters += 1
            }
            _ => {}
        }
        if open && depth == 1 && c == 'f' && code[..=at].ends_with("self") && !code[at + 1..].starts_with(':')
        {
            parameters += 1;
        }
        before = c;
    }
    None
}

/// Everything above its limit: `file PATH`, `function PATH::NAME`, `parameters PATH::NAME`.
fn too_big() -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for source in sources("src/").iter().chain(&sources("tests/")).chain(&sources("benches/")) {
        if source.lines > FILE {
            found.insert(format!("file {}", source.path), source.lines);
        }
        if source.test || !source.path.starts_with("src/") {
            continue;
        }
        // What a trait from elsewhere asks for is not ours to shorten.
        let foreign = |name: &str| name == "verify_server_cert";
        for function in functions(source).into_iter().filter(|function| !foreign(&function.name)) {
            let place = format!("{}::{}", source.path, function.name);
            if function.lines > FUNCTION {
                found.insert(format!("function {place}"), function.lines);
            }
            if function.parameters > PARAMETERS {
                found.insert(format!("parameters {place}"), function.parameters);
            }
        }
    }
    found
}

fn listed() -> BTreeMap<String, usize> {
    let mut entries = BTreeMap::new();
    for line in super::text(LIST).lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        let (what, size) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{LIST}: `{line}`"));
        entries.insert(what.to_owned(), size.parse().unwrap_or_else(|_| panic!("{LIST}: `{line}`")));
    }
    entries
}

#[test]
fn nothing_is_bigger_than_it_may_be() {
    let (found, listed) = (too_big(), listed());
    let mut wrong = Vec::new();
    for (what, size) in &found {
        match listed.get(what) {
            None => wrong.push(format!("{what} has {size}: more than {FILE} lines, {FUNCTION} lines or {PARAMETERS} parameters is two concepts")),
            Some(known) if size > known => wrong.push(format!("{what} has grown from {known} to {size}")),
            Some(_) => {}
        }
    }
    nothing_wrong("too big", &wrong);
    let shrunk: BTreeMap<&String, &usize> =
        found.iter().filter(|(what, _)| listed.contains_key(*what)).collect();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let head: String = super::text(LIST)
            .lines()
            .filter(|line| line.starts_with('#'))
            .map(|line| format!("{line}\n"))
            .collect();
        let body: String = shrunk.iter().map(|(what, size)| format!("{what} {size}\n")).collect();
        std::fs::write(super::root().join(LIST), head + &body).expect("the list can be written");
        return;
    }
    for (what, known) in &listed {
        match found.get(what) {
            None => wrong.push(format!("{what} fits now")),
            Some(size) if size < known => wrong.push(format!("{what} has shrunk from {known} to {size}")),
            Some(_) => {}
        }
    }
    nothing_wrong("the ratchet turns one way: UPDATE_GOLDEN=1 cargo test tidy writes down", &wrong);
}

#[test]
fn functions_are_measured() {
    let code = "fn a<F: Fn(u8, u8) -> u8>(\n    &self,\n    b: Vec<(u8, u8)>,\n    (c, d): (u8, std::fmt::Error),\n) -> Result<(), ()> {\n    if x { y }\n}\nfn z() {}";
    let function = function(&code["fn ".len()..]).expect("a function");
    assert_eq!((function.name.as_str(), function.lines, function.parameters), ("a", 7, 3));
}
