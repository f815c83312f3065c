//! Parser events to the tree. An explicit stack, so that no nesting can exhaust the thread's own.

use std::collections::{BTreeMap, btree_map};

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, Span as ParserSpan, Tag};

use super::scalar::{BadScalar, ambiguity, resolve};
use super::{
    Entry, Fault, MAX_ALIAS_NODES, MAX_BYTES, MAX_DEPTH, MAX_DOCUMENTS, Node, Parsed, Problem, Span, Value,
};

/// Reads the documents of one text. Never fails and never panics: what cannot be read is a problem.
pub fn parse(bytes: &[u8]) -> Parsed {
    let mut parsed = Parsed::default();
    if bytes.len() > MAX_BYTES {
        let message = format!("the text is longer than the {MAX_BYTES} bytes that are read");
        parsed.problems.push(problem(Fault::TooLarge, Span::default(), message));
        return parsed;
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            parsed.problems.push(not_utf8(bytes, error.valid_up_to()));
            return parsed;
        }
    };
    let mut options = granit_parser::Options::default();
    options.set_emit_comments(false);
    options.block_nesting_limit = 2 * MAX_DEPTH;
    options.flow_nesting_limit = 2 * MAX_DEPTH;
    let mut builder = Builder { text, ..Builder::default() };
    for next in Parser::new_from_str_with_options(text, options) {
        let going_on = match next {
            Ok((event, span)) => builder.event(event, span),
            Err(error) => {
                builder.syntax(&error);
                false
            }
        };
        if !going_on {
            break;
        }
    }
    builder.parsed.problems.sort_by_key(|problem| (problem.span, problem.fault));
    builder.parsed
}

fn problem(fault: Fault, span: Span, message: impl Into<String>) -> Problem {
    Problem { fault, span, message: message.into(), help: None, related: None }
}

fn not_utf8(bytes: &[u8], at: usize) -> Problem {
    let utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    let what = if utf16 { "the text is UTF-16" } else { "the text is not UTF-8" };
    let mut problem = problem(Fault::Encoding, Span::new(at, at), format!("{what} (byte {at})"));
    problem.help = Some("save it as UTF-8".to_owned());
    problem
}

/// A list or map whose end has not been seen yet.
enum Open {
    Seq(Vec<Node>),
    Map { entries: Vec<Entry>, seen: BTreeMap<String, Span>, key: Option<PendingKey> },
}

/// A key that waits for its value.
enum PendingKey {
    /// The value is kept.
    Good(String, Span),
    /// A problem was reported: the value is read and dropped.
    Bad,
}

struct Frame {
    open: Open,
    start: usize,
    anchor: usize,
}

#[derive(Default)]
struct Builder<'a> {
    text: &'a str,
    stack: Vec<Frame>,
    anchors: BTreeMap<usize, (Node, usize)>,
    alias_nodes: usize,
    documents: usize,
    last_end: usize,
    parsed: Parsed,
}

impl Builder<'_> {
    /// Takes one event; false when reading must stop.
    fn event(&mut self, event: Event<'_>, at: ParserSpan) -> bool {
        let span = self.span(&at);
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                self.anchors.clear();
                if self.documents > MAX_DOCUMENTS {
                    return self.stop(span, format!("more than {MAX_DOCUMENTS} documents in one text"));
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                let node = self.scalar(&text, style, tag.as_deref(), span);
                self.last_end = span.end;
                self.place(node, anchor);
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.collection_tag(tag.as_deref(), "seq", span);
                return self.open(Open::Seq(Vec::new()), span, anchor);
            }
            Event::MappingStart(_, anchor, tag) => {
                self.collection_tag(tag.as_deref(), "map", span);
                return self.open(
                    Open::Map { entries: Vec::new(), seen: BTreeMap::new(), key: None },
                    span,
                    anchor,
                );
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            Event::Alias(id) => return self.alias(id, span),
            _ => {}
        }
        true
    }

    fn span(&self, span: &ParserSpan) -> Span {
        let start = span.start.byte_offset().unwrap_or(0).min(self.text.len());
        Span::new(start, span.end.byte_offset().unwrap_or(start).min(self.text.len()))
    }

    fn stop(&mut self, span: Span, message: String) -> bool {
        self.parsed.problems.push(problem(Fault::TooLarge, span, message));
        false
    }

    fn syntax(&mut self, error: &granit_parser::ScanError) {
        let start = error.marker().byte_offset().unwrap_or(self.last_end).min(self.text.len());
        let mut found = problem(Fault::Syntax, Span::new(start, start), error.info());
        match error.kind() {
            ErrorKind::RecursionLimitExceeded => {
                found.fault = Fault::TooLarge;
                found.message = format!("nested more than {MAX_DEPTH} deep");
            }
            ErrorKind::UnknownAnchor => {
                found.fault = Fault::Alias;
                found.message = "this alias refers to an anchor that was not defined before it".to_owned();
            }
            _ if self.line_at(start).starts_with('\t') || self.text[start..].starts_with('\t') => {
                found.help = Some("indent with spaces: YAML allows no tabs there".to_owned());
            }
            _ => {}
        }
        self.parsed.problems.push(found);
    }

    fn line_at(&self, at: usize) -> &str {
        let start = self.text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        &self.text[start..]
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> Node {
        let mut node = Node { value: Value::Null, span, ambiguous: None };
        let plain = style == ScalarStyle::Plain;
        let as_text = match tag.map(|tag| (tag.is_yaml_core_schema(), tag.core_suffix())) {
            None => !plain,
            Some((true, Some("str"))) => true,
            Some((true, Some("null" | "bool" | "int" | "float"))) => false,
            Some(_) => {
                self.parsed.problems.push(problem(
                    Fault::Unsupported,
                    span,
                    "a YAML tag has no meaning in this format",
                ));
                true
            }
        };
        if as_text {
            node.value = Value::Str(text.to_owned());
            return node;
        }
        node.ambiguous = if plain { ambiguity(text) } else { None };
        node.value = resolve(text).unwrap_or_else(|bad| {
            let message = match bad {
                BadScalar::NotFinite => format!("{text} is not a number that can be compared"),
                BadScalar::TooLarge => format!("{text} does not fit into 64 bits"),
            };
            let mut found = problem(Fault::Number, span, message);
            found.help = Some(format!("write \"{text}\" in quotes if text is meant"));
            self.parsed.problems.push(found);
            Value::Str(text.to_owned())
        });
        node
    }

    fn collection_tag(&mut self, tag: Option<&Tag>, expected: &str, span: Span) {
        if tag.is_some_and(|tag| tag.core_suffix() != Some(expected)) {
            let message = "a YAML tag has no meaning in this format";
            self.parsed.problems.push(problem(Fault::Unsupported, span, message));
        }
    }

    fn open(&mut self, open: Open, span: Span, anchor: usize) -> bool {
        if self.stack.len() >= MAX_DEPTH {
            return self.stop(span, format!("nested more than {MAX_DEPTH} deep"));
        }
        self.stack.push(Frame { open, start: span.start, anchor });
        true
    }

    fn close(&mut self, end: Span) {
        let Some(frame) = self.stack.pop() else { return };
        let flow = end.end > end.start;
        if flow {
            self.last_end = end.end;
        }
        let span = Span::new(frame.start, self.last_end);
        let value = match frame.open {
            Open::Seq(items) => Value::Seq(items),
            Open::Map { entries, .. } => Value::Map(entries),
        };
        self.place(Node { value, span, ambiguous: None }, frame.anchor);
    }

    fn alias(&mut self, id: usize, span: Span) -> bool {
        self.last_end = span.end;
        let Some((node, size)) = self.anchors.get(&id) else {
            let message = "this alias refers to the very list or map that it stands in";
            self.parsed.problems.push(problem(Fault::Alias, span, message));
            self.leave_out();
            return true;
        };
        self.alias_nodes += size;
        if self.alias_nodes > MAX_ALIAS_NODES {
            let message = format!("aliases expand to more than {MAX_ALIAS_NODES} values");
            self.parsed.problems.push(problem(Fault::Alias, span, message));
            return false;
        }
        let mut node = node.clone();
        if self.stack.len() + depth(&node) > MAX_DEPTH {
            return self.stop(span, format!("nested more than {MAX_DEPTH} deep"));
        }
        node.span = span;
        self.place(node, 0);
        true
    }

    /// Leaves out a key or a value that was reported, so that nothing more is said of it.
    fn leave_out(&mut self) {
        if let Some(Frame { open: Open::Map { key, .. }, .. }) = self.stack.last_mut() {
            *key = if key.is_some() { None } else { Some(PendingKey::Bad) };
        }
    }

    /// Puts a finished node where it belongs: document, list, key or value.
    fn place(&mut self, node: Node, anchor: usize) {
        if anchor != 0 {
            let size = count(&node);
            self.anchors.insert(anchor, (node.clone(), size));
        }
        let Some(frame) = self.stack.last_mut() else {
            if node.value != Value::Null {
                self.parsed.documents.push(node);
            }
            return;
        };
        match &mut frame.open {
            Open::Seq(items) => items.push(node),
            Open::Map { entries, seen, key } => match key.take() {
                None => *key = Some(pending(self.text, seen, node, &mut self.parsed.problems)),
                Some(PendingKey::Good(key, key_span)) => entries.push(Entry { key, key_span, value: node }),
                Some(PendingKey::Bad) => {}
            },
        }
    }
}

/// Judges a key when it has been read.
fn pending(
    text: &str,
    seen: &mut BTreeMap<String, Span>,
    node: Node,
    problems: &mut Vec<Problem>,
) -> PendingKey {
    let key = match &node.value {
        Value::Str(text) => text.clone(),
        Value::Seq(_) | Value::Map(_) => {
            problems.push(problem(Fault::Unsupported, node.span, "a key must be text, not a list or map"));
            return PendingKey::Bad;
        }
        // Numbers and booleans as keys: what was written is the key, as in JSON.
        _ => text.get(node.span.start..node.span.end).unwrap_or_default().to_owned(),
    };
    if key == "<<" {
        let mut found = problem(Fault::MergeKey, node.span, "merge keys (`<<`) are not part of YAML 1.2");
        found.help = Some("write the fields out, or use an alias for a whole value".to_owned());
        problems.push(found);
        return PendingKey::Bad;
    }
    match seen.entry(key.clone()) {
        btree_map::Entry::Vacant(vacant) => vacant.insert(node.span),
        btree_map::Entry::Occupied(first) => {
            let mut found = problem(Fault::DuplicateKey, node.span, format!("`{key}` is given twice"));
            found.related = Some((*first.get(), "first given here".to_owned()));
            problems.push(found);
            return PendingKey::Bad;
        }
    };
    PendingKey::Good(key, node.span)
}

fn children(node: &Node) -> Vec<&Node> {
    match &node.value {
        Value::Seq(items) => items.iter().collect(),
        Value::Map(entries) => entries.iter().map(|entry| &entry.value).collect(),
        _ => Vec::new(),
    }
}

/// How many nodes a tree has. Its depth is bounded, so recursion is safe.
fn count(node: &Node) -> usize {
    1 + children(node).into_iter().map(count).sum::<usize>()
}

fn depth(node: &Node) -> usize {
    let below = children(node).into_iter().map(depth).max().unwrap_or(0);
    below + usize::from(matches!(node.value, Value::Seq(_) | Value::Map(_)))
}
