//! The parser crate behind limits, with positions where they can be had.

use super::Expr;

/// Longest query accepted, in bytes; the file format allows 8 KiB.
pub const MAX_QUERY_BYTES: usize = 16 * 1024;

/// Deepest nesting of expressions accepted; protects the stack from hostile queries.
pub const MAX_DEPTH: usize = 200;

/// A query that is not PromQL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", position(self.offset))]
pub struct ParseError {
    /// What is wrong, in the parser's words.
    pub message: String,
    /// Byte offset into the query where it is wrong, where that is known.
    pub offset: Option<usize>,
}

fn position(offset: Option<usize>) -> String {
    offset.map_or_else(String::new, |at| format!("at byte {at}: "))
}

/// Parses and type-checks a query.
pub fn parse(query: &str) -> Result<Expr, ParseError> {
    if query.len() > MAX_QUERY_BYTES {
        let message = format!("the query is longer than {MAX_QUERY_BYTES} bytes");
        return Err(ParseError { message, offset: None });
    }
    if let Some(offset) = too_deep(query) {
        let message = format!("nested more than {MAX_DEPTH} levels deep");
        return Err(ParseError { message, offset: Some(offset) });
    }
    if let Some(offset) = endless_duration(query) {
        let message = "duration out of range".to_string();
        return Err(ParseError { message, offset: Some(offset) });
    }
    promql_parser::parser::parse(query).map_err(|message| {
        let offset = locate(query, &message);
        ParseError { message, offset }
    })
}

/// Where bracket nesting, or a chain of signs, exceeds [`MAX_DEPTH`].
fn too_deep(query: &str) -> Option<usize> {
    let (mut depth, mut signs) = (0_usize, 0_usize);
    for (at, c) in query.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        match c {
            '-' | '+' => signs += 1,
            c if c.is_whitespace() => {}
            _ => signs = 0,
        }
        if depth > MAX_DEPTH || signs > MAX_DEPTH {
            return Some(at);
        }
    }
    None
}

/// The parser's errors carry no position. What its message allows is found again: an unbalanced
/// bracket, a name that it quotes, or the shortest beginning of the query with the same lexical error.
fn locate(query: &str, message: &str) -> Option<usize> {
    if message.starts_with("unclosed left") {
        return unclosed(query);
    }
    if message.starts_with("unknown function") {
        let name = message.split(['\'', '"']).nth(1)?;
        return query.find(name);
    }
    if !message.starts_with("unexpected character") && !message.starts_with("unexpected right") {
        return None;
    }
    let ends = query.char_indices().map(|(at, c)| (at, at + c.len_utf8()));
    ends.into_iter()
        .find(|&(_, end)| {
            let lexed = promql_parser::parser::lexer(&query[..end]);
            lexed.err().is_some_and(|e| e == message)
        })
        .map(|(at, _)| at)
}

fn unclosed(query: &str) -> Option<usize> {
    let mut open = Vec::new();
    let mut quote = None;
    for (at, c) in query.char_indices() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '(') => open.push(at),
            (None, ')') => drop(open.pop()),
            _ => {}
        }
    }
    open.last().copied()
}

/// Longest duration in seconds that may be written as a bare number, some 30 million years.
const LONGEST_SECONDS: f64 = 1e15;

/// A bare number in the place of a duration that no duration can hold: the parser crate panics on it.
/// Such places follow `offset`, and `[` or `:` within brackets.
fn endless_duration(query: &str) -> Option<usize> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    let (mut brackets, mut expected, mut quote) = (0_usize, false, None);
    let mut rest = query.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        match (quote, c) {
            (Some(q), _) => {
                if c == '\\' && q != '`' {
                    rest.next();
                } else if c == q {
                    quote = None;
                }
            }
            (None, '"' | '\'' | '`') => (quote, expected) = (Some(c), false),
            (None, '#') => while rest.next_if(|(_, c)| *c != '\n').is_some() {},
            (None, '[') => (brackets, expected) = (brackets + 1, true),
            (None, ']') => (brackets, expected) = (brackets.saturating_sub(1), false),
            (None, ':') => expected = brackets > 0,
            (None, '+' | '-') => {}
            (None, c) if c.is_whitespace() => {}
            (None, c) if is_word(c) => {
                let (mut end, mut last) = (at + c.len_utf8(), c);
                let exponent = |last: char, c: char| matches!(last, 'e' | 'E') && matches!(c, '+' | '-');
                while let Some((i, c)) = rest.next_if(|(_, c)| is_word(*c) || exponent(last, *c)) {
                    (end, last) = (i + c.len_utf8(), c);
                }
                let word = &query[at..end];
                let endless = word.parse::<f64>().is_ok_and(|v| v.is_nan() || v >= LONGEST_SECONDS);
                if expected && endless {
                    return Some(at);
                }
                expected = word.eq_ignore_ascii_case("offset");
            }
            (None, _) => expected = false,
        }
    }
    None
}
