//! Rust files as the rules see them: code without comments, strings and tests.

use std::collections::BTreeSet;

/// A Rust file.
pub struct Source {
    /// Path from the root of the checkout.
    pub path: String,
    /// As it is.
    pub raw: String,
    /// Comments, strings and items under `#[cfg(test)]` blanked out; lines and columns stay.
    pub code: String,
    /// Lines before the first `#[cfg(test)]`, or all.
    pub lines: usize,
    /// Whether it is compiled for tests only.
    pub test: bool,
}

impl Source {
    /// Its room: the folder below `src`, or the file's own name.
    pub fn room(&self) -> &str {
        let below = self.path.strip_prefix("src/").unwrap_or(&self.path);
        below.split_once('/').map_or_else(|| below.trim_end_matches(".rs"), |(room, _)| room)
    }

    /// The line, counted from one, of a place in `code`.
    pub fn line(&self, at: usize) -> usize {
        1 + self.code[..at].matches('\n').count()
    }
}

/// The Rust files below a folder.
pub fn sources(folder: &str) -> Vec<Source> {
    let paths = super::files().into_iter().filter(|path| path.starts_with(folder) && path.ends_with(".rs"));
    let mut all: Vec<Source> = paths.map(read).collect();
    let mut tests = BTreeSet::new();
    for source in &all {
        tests.extend(test_modules(&source.path, &blanked(&source.raw)));
    }
    for source in &mut all {
        let stem = source.path.trim_end_matches(".rs").trim_end_matches("/mod");
        source.test = tests.iter().any(|test| stem == test || stem.starts_with(&format!("{test}/")));
    }
    all
}

fn read(path: String) -> Source {
    let raw = super::text(&path);
    let lines = raw.lines().take_while(|line| line.trim() != "#[cfg(test)]").count();
    let code = without_tests(blanked(&raw));
    Source { path, raw, code, lines, test: false }
}

/// Paths, without `.rs`, of the modules that `code` declares under `#[cfg(test)]`.
fn test_modules(path: &str, code: &str) -> Vec<String> {
    let stem = path.trim_end_matches(".rs");
    let folder = stem.strip_suffix("/mod").or_else(|| stem.strip_suffix("/lib")).unwrap_or(stem);
    let mut found = Vec::new();
    for (at, _) in code.match_indices("#[cfg(test)]") {
        let rest = code[at + "#[cfg(test)]".len()..].trim_start();
        let rest = rest.strip_prefix("pub(crate)").unwrap_or(rest).trim_start();
        if let Some(name) = rest.strip_prefix("mod ").and_then(|rest| rest.split_once(';')) {
            found.push(format!("{folder}/{}", name.0.trim()));
        }
    }
    found
}

/// Comments and the insides of strings as spaces, byte for byte.
pub fn blanked(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => end_of_line(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'*') => end_of_block(bytes, at),
            b'r' if !word_before(bytes, at) || bytes[at - 1] == b'b' => {
                end_of_raw(bytes, at).unwrap_or(at + 1)
            }
            b'"' => end_of_string(bytes, at),
            b'\'' => end_of_character(text, at),
            _ => at + 1,
        };
        if end > at + 1 {
            for byte in &mut out[at..end] {
                if *byte != b'\n' {
                    *byte = b' ';
                }
            }
        }
        at = end;
    }
    String::from_utf8(out).expect("whole characters are blanked")
}

fn word_before(bytes: &[u8], at: usize) -> bool {
    at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_')
}

fn end_of_line(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |length| at + length)
}

fn end_of_block(bytes: &[u8], at: usize) -> usize {
    let (mut depth, mut now) = (0, at);
    while now < bytes.len() {
        match &bytes[now..bytes.len().min(now + 2)] {
            b"/*" => (depth, now) = (depth + 1, now + 2),
            b"*/" if depth == 1 => return now + 2,
            b"*/" => (depth, now) = (depth - 1, now + 2),
            _ => now += 1,
        }
    }
    bytes.len()
}

fn end_of_raw(bytes: &[u8], at: usize) -> Option<usize> {
    let hashes = bytes[at + 1..].iter().take_while(|byte| **byte == b'#').count();
    if bytes.get(at + 1 + hashes) != Some(&b'"') {
        return None;
    }
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let inside = at + 2 + hashes;
    let length = bytes[inside..].windows(close.len()).position(|window| window == close);
    Some(length.map_or(bytes.len(), |length| inside + length + close.len()))
}

fn end_of_string(bytes: &[u8], at: usize) -> usize {
    let mut now = at + 1;
    while now < bytes.len() {
        match bytes[now] {
            b'\\' => now += 2,
            b'"' => return now + 1,
            _ => now += 1,
        }
    }
    bytes.len()
}

/// A lifetime is no character.
fn end_of_character(text: &str, at: usize) -> usize {
    let mut rest = text[at + 1..].char_indices();
    match (rest.next(), rest.next()) {
        (Some((_, '\\')), _) => {
            // Past the escaped character, which may be a quote.
            let from = at + 3;
            text.as_bytes()[from..]
                .iter()
                .position(|byte| *byte == b'\'')
                .map_or(text.len(), |length| from + length + 1)
        }
        (Some(_), Some((length, '\''))) => at + 1 + length + 1,
        _ => at + 1,
    }
}

/// Items under `#[cfg(test)]` as spaces.
fn without_tests(code: String) -> String {
    let mut out = code.clone().into_bytes();
    for (at, _) in code.match_indices("#[cfg(test)]") {
        let end = end_of_item(code.as_bytes(), at);
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
    }
    String::from_utf8(out).expect("whole items are blanked")
}

/// Where the item at `at` ends: its semicolon, or its closing brace.
fn end_of_item(bytes: &[u8], at: usize) -> usize {
    let mut depth = 0_usize;
    for (offset, byte) in bytes[at..].iter().enumerate() {
        match byte {
            b'{' | b'(' | b'[' => depth += 1,
            b'}' | b')' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 && *byte == b'}' {
                    return at + offset + 1;
                }
            }
            b';' if depth == 0 => return at + offset + 1,
            _ => {}
        }
    }
    bytes.len()
}

#[test]
fn comments_strings_and_tests_are_not_code() {
    let text = "a /* x /* y */ z */ b // c\n\"d\\\"e\" 'f' '\\'' '\\u{1}' <'g> r#\"h\"i\"# br\"j\" k\n#[cfg(test)]\nmod l { m; }\nn";
    let code = without_tests(blanked(text));
    assert_eq!(code.len(), text.len());
    let words: Vec<&str> = code.split_whitespace().collect();
    assert_eq!(words, ["a", "b", "<'g>", "b", "k", "n"]);
}
