//! XML and HTML, well-formed by construction: names of elements and attributes are constants, whatever
//! comes from outside is escaped, and what was opened is closed.

use super::ink::clean;

/// An attribute: a constant name and whatever value.
pub(super) type Attribute<'a> = (&'static str, &'a str);

/// A document being written.
#[derive(Debug, Default)]
pub(super) struct Markup {
    out: String,
    open: Vec<&'static str>,
}

/// Elements that end a line, so that two versions of a document can be compared line by line.
const BLOCKS: &[&str] = &[
    "article",
    "body",
    "caption",
    "dd",
    "div",
    "dl",
    "dt",
    "figcaption",
    "figure",
    "footer",
    "g",
    "h1",
    "h2",
    "h3",
    "head",
    "header",
    "html",
    "li",
    "main",
    "meta",
    "nav",
    "ol",
    "p",
    "path",
    "rect",
    "section",
    "style",
    "svg",
    "system-out",
    "table",
    "tbody",
    "td",
    "testcase",
    "testsuite",
    "testsuites",
    "th",
    "thead",
    "title",
    "tr",
    "ul",
];

impl Markup {
    /// One that begins with `preamble`.
    pub(super) fn new(preamble: &'static str) -> Self {
        Self { out: preamble.to_owned(), open: Vec::new() }
    }

    /// Begins an element.
    pub(super) fn open(&mut self, name: &'static str, attributes: &[Attribute<'_>]) {
        self.start(name, attributes);
        self.out.push('>');
        self.open.push(name);
    }

    /// Ends the element that was begun last.
    pub(super) fn close(&mut self) {
        if let Some(name) = self.open.pop() {
            self.out.push_str("</");
            self.out.push_str(name);
            self.out.push('>');
            self.line_after(name);
        }
    }

    /// An element with nothing in it: of XML, of SVG, or one that HTML calls void.
    pub(super) fn void(&mut self, name: &'static str, attributes: &[Attribute<'_>]) {
        self.start(name, attributes);
        self.out.push_str("/>");
        self.line_after(name);
    }

    /// An element with text in it.
    pub(super) fn leaf(&mut self, name: &'static str, attributes: &[Attribute<'_>], text: &str) {
        self.open(name, attributes);
        self.text(text);
        self.close();
    }

    /// Text from anywhere.
    pub(super) fn text(&mut self, text: &str) {
        escape(text, &mut self.out);
    }

    /// Text from anywhere whose line breaks are kept.
    pub(super) fn lines(&mut self, text: &str) {
        for line in text.lines() {
            self.text(line);
            self.out.push('\n');
        }
    }

    /// What is written in this program, as it is.
    pub(super) fn verbatim(&mut self, text: &'static str) {
        self.out.push_str(text);
    }

    /// Closes whatever is open.
    pub(super) fn finish(mut self) -> String {
        while !self.open.is_empty() {
            self.close();
        }
        self.out
    }

    fn start(&mut self, name: &'static str, attributes: &[Attribute<'_>]) {
        self.out.push('<');
        self.out.push_str(name);
        for (name, value) in attributes {
            self.out.push(' ');
            self.out.push_str(name);
            self.out.push_str("=\"");
            escape(value, &mut self.out);
            self.out.push('"');
        }
    }

    fn line_after(&mut self, name: &str) {
        if BLOCKS.binary_search(&name).is_ok() {
            self.out.push('\n');
        }
    }
}

/// Text as the content of an element or the value of an attribute. What XML 1.0 forbids even as a reference
/// (section 2.2, production Char), what a reader would obey and what nobody would see is shown as its
/// escape in visible letters.
fn escape(text: &str, out: &mut String) {
    for c in clean(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Noncharacters: U+FFFE and U+FFFF, and the last two of every other plane.
            c if u32::from(c) & 0xfffe == 0xfffe => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
}

/// A reader of what is written here, for tests: strict about everything that it knows.
#[cfg(test)]
pub(crate) mod reader {
    /// An element's start as it was read.
    #[derive(Debug, PartialEq, Eq)]
    pub(crate) struct Start {
        pub(crate) name: String,
        pub(crate) attributes: Vec<(String, String)>,
        /// Names of the elements that it is in, outermost first.
        pub(crate) within: Vec<String>,
        /// The text in it, that of elements in it included.
        pub(crate) text: String,
    }

    impl Start {
        pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
            self.attributes.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
        }
    }

    /// Whether XML 1.0 allows it.
    fn allowed(c: char) -> bool {
        matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
    }

    /// All elements in order of their beginning, or what is wrong with the document.
    pub(crate) fn read(document: &str) -> Result<Vec<Start>, String> {
        if let Some(c) = document.chars().find(|c| !allowed(*c)) {
            return Err(format!("{c:?} is not allowed"));
        }
        let mut rest = document;
        for (open, close) in [("<?xml ", "?>\n"), ("<!doctype ", ">\n")] {
            if rest.starts_with(open) {
                rest = rest.split_once(close).ok_or("no end of the preamble")?.1;
            }
        }
        let mut all: Vec<Start> = Vec::new();
        let mut open: Vec<usize> = Vec::new();
        while !rest.is_empty() {
            let end = rest.find('<').unwrap_or(rest.len());
            let text = plain(&rest[..end])?;
            for &place in &open {
                all[place].text.push_str(&text);
            }
            if open.is_empty() && !text.trim().is_empty() {
                return Err(format!("text outside of everything: {text}"));
            }
            rest = &rest[end..];
            if rest.is_empty() {
                break;
            }
            let (tag, after) = tag(rest)?;
            rest = after;
            if let Some(name) = tag.strip_prefix('/') {
                let last = open.pop().ok_or("an end without a beginning")?;
                if all[last].name != name {
                    return Err(format!("{} is ended by {name}", all[last].name));
                }
                continue;
            }
            let (body, void) = tag.strip_suffix('/').map_or((tag, false), |body| (body, true));
            if open.is_empty() && !all.is_empty() {
                return Err("a second root".to_owned());
            }
            let within = open.iter().map(|&place| all[place].name.clone()).collect();
            all.push(start(body, within)?);
            if !void {
                open.push(all.len() - 1);
            }
        }
        if open.is_empty() { Ok(all) } else { Err("something is not ended".to_owned()) }
    }

    /// What is between `<` and `>`; quotes may hold neither.
    fn tag(text: &str) -> Result<(&str, &str), String> {
        let (tag, after) = text[1..].split_once('>').ok_or("a tag without an end")?;
        if tag.contains('<') { Err(format!("< in a tag: {tag}")) } else { Ok((tag, after)) }
    }

    fn start(body: &str, within: Vec<String>) -> Result<Start, String> {
        let name_of = |text: &str| {
            let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == ':';
            let ok = text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(good);
            if ok { Ok(text.to_owned()) } else { Err(format!("not a name: {text}")) }
        };
        let (name, mut rest) = body.split_once(' ').unwrap_or((body, ""));
        let mut attributes: Vec<(String, String)> = Vec::new();
        while !rest.is_empty() {
            let (key, after) = rest.split_once("=\"").ok_or_else(|| format!("not an attribute: {rest}"))?;
            let (value, after) = after.split_once('"').ok_or("a value without an end")?;
            let key = name_of(key)?;
            if attributes.iter().any(|(other, _)| *other == key) {
                return Err(format!("{key} twice"));
            }
            attributes.push((key, plain(value)?));
            rest = after.strip_prefix(' ').unwrap_or(after);
        }
        Ok(Start { name: name_of(name)?, attributes, within, text: String::new() })
    }

    /// Text without its references.
    fn plain(text: &str) -> Result<String, String> {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('&') {
            let (name, after) = after.split_once(';').ok_or("a reference without an end")?;
            out.push_str(before);
            out.push(match name {
                "amp" => '&',
                "lt" => '<',
                "gt" => '>',
                "quot" => '"',
                "#39" => '\'',
                other => return Err(format!("an unknown reference: {other}")),
            });
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let mut markup = Markup::new("<?xml version=\"1.0\"?>\n");
        markup.open("p", &[("title", "a \"b\" 'c' <d> & e")]);
        markup.text("</p><script>&lt;\u{0}\u{ffff}");
        markup.void("br", &[]);
        let text = markup.finish();
        let read = reader::read(&text).expect("well-formed");
        assert_eq!(read[0].attribute("title"), Some("a \"b\" 'c' <d> & e"));
        assert_eq!(read[0].text, "</p><script>&lt;\\u{0}\\u{ffff}");
        assert_eq!(read.len(), 2);
    }

    #[test]
    fn the_reader_refuses_what_is_broken() {
        for broken in [
            "<p>",
            "<p></b>",
            "<p>a & b</p>",
            "<p a=b></p>",
            "<p a=\"1\" a=\"2\"/>",
            "<p/><p/>",
            "\u{1}",
            "x",
        ] {
            assert!(reader::read(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn the_blocks_are_in_order() {
        assert!(BLOCKS.is_sorted());
    }

    proptest! {
        #[test]
        fn whatever_comes_from_outside_stays_text(text in any::<String>(), value in any::<String>()) {
            let mut markup = Markup::default();
            markup.leaf("p", &[("title", &value)], &text);
            let read = reader::read(&markup.finish()).expect("well-formed");
            prop_assert_eq!(read.len(), 1);
            prop_assert_eq!(read[0].attributes.len(), 1);
        }
    }
}
