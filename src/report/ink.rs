//! What may reach a terminal: text without control characters, in colours that the caller allowed.

use anstyle::AnsiColor;

/// Columns of the narrowest terminal that is written for: a phone's.
pub const NARROWEST: usize = 40;

/// How to write for a terminal; the caller knows whether it is one, and what `NO_COLOR` and the locale say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Whether to use ANSI colours.
    pub colour: bool,
    /// Whether block characters and typographic marks may be used; otherwise plain ASCII.
    pub unicode: bool,
    /// Columns; text is wrapped to it. At least [`NARROWEST`] are assumed.
    pub width: usize,
}

impl Default for Style {
    /// For a pipe: no colours, Unicode, 100 columns.
    fn default() -> Self {
        Self { colour: false, unicode: true, width: 100 }
    }
}

/// What a piece of text means, which decides its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub enum Tone {
    /// Ordinary.
    Plain,
    /// Less important.
    Faint,
    /// A heading.
    Strong,
    /// As hoped for.
    Good,
    /// Worth a look.
    Warning,
    /// Not as hoped for.
    Bad,
}

impl Style {
    /// `text` made harmless (see [`clean`]), in plain ASCII where asked, and coloured.
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        let text = self.plain(text);
        if !self.colour || tone == Tone::Plain || text.is_empty() {
            return text;
        }
        let style = match tone {
            Tone::Plain => anstyle::Style::new(),
            Tone::Faint => anstyle::Style::new().dimmed(),
            Tone::Strong => anstyle::Style::new().bold(),
            Tone::Good => AnsiColor::Green.on_default(),
            Tone::Warning => AnsiColor::Yellow.on_default(),
            Tone::Bad => AnsiColor::Red.on_default().bold(),
        };
        format!("{style}{text}{style:#}")
    }

    /// `text` made harmless, in plain ASCII where asked.
    pub fn plain(&self, text: &str) -> String {
        let text = clean(text);
        if self.unicode || text.is_ascii() {
            return text;
        }
        let mut ascii = String::with_capacity(text.len());
        for c in text.chars() {
            match c {
                c if c.is_ascii() => ascii.push(c),
                '→' => ascii.push_str("->"),
                '…' => ascii.push_str("..."),
                '±' => ascii.push_str("+-"),
                '·' | '–' | '—' => ascii.push('-'),
                '≤' => ascii.push_str("<="),
                '≥' => ascii.push_str(">="),
                '“' | '”' => ascii.push('"'),
                '‘' | '’' => ascii.push('\''),
                _ => ascii.push('?'),
            }
        }
        ascii
    }

    /// The mark before an event.
    pub fn mark(&self, tone: Tone) -> &'static str {
        match (tone, self.unicode) {
            (Tone::Good, true) => "✓",
            (Tone::Good, false) => "+",
            (Tone::Bad, true) => "✗",
            (Tone::Bad, false) => "x",
            (Tone::Warning, _) => "!",
            (Tone::Strong, true) => "▸",
            (Tone::Strong, false) => ">",
            (Tone::Plain | Tone::Faint, _) => " ",
        }
    }
}

/// One line without anything that a terminal would obey: line breaks and tabs become spaces, every other
/// control character, and every invisible or direction-changing one, its escape in visible letters.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' | '\u{2028}' | '\u{2029}' => out.push(' '),
            '\r' => {}
            c if hidden(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// Control characters (C0, DEL, C1), and those that Unicode gives no width or another direction to
/// (bidirectional controls: Unicode Standard Annex 9; the trick: CVE-2021-42574).
pub(super) fn hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// `text` broken into lines of at most `width` characters at spaces; longer words stay whole.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut columns = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let length = word.chars().count();
        if columns > 0 && columns + 1 + length > width {
            lines.push(std::mem::take(&mut line));
            columns = 0;
        }
        if columns > 0 {
            line.push(' ');
            columns += 1;
        }
        line.push_str(word);
        columns += length;
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_are_shown_not_obeyed() {
        assert_eq!(clean("a\u{1b}[31mred\u{7}\nb\r\u{9b}2J"), "a\\u{1b}[31mred\\u{7} b\\u{9b}2J");
        assert_eq!(clean("safe\u{202e}txt.exe"), "safe\\u{202e}txt.exe");
    }

    #[test]
    fn ascii_is_ascii() {
        let style = Style { unicode: false, ..Style::default() };
        assert_eq!(style.plain("3 → 1 ± 5s … ü"), "3 -> 1 +- 5s ... ?");
    }

    #[test]
    fn colour_only_when_allowed() {
        let style = Style { colour: true, ..Style::default() };
        assert!(style.paint(Tone::Bad, "x").starts_with('\u{1b}'));
        assert_eq!(Style::default().paint(Tone::Bad, "x"), "x");
    }

    proptest! {
        #[test]
        fn nothing_that_a_terminal_obeys_gets_through(text in any::<String>()) {
            prop_assert!(!clean(&text).chars().any(hidden));
        }

        #[test]
        fn wrapping_loses_no_word(text in "[a-z ]{0,80}", width in 1usize..30) {
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            let lines = wrap(&text, width);
            prop_assert_eq!(words(&lines.join(" ")), words(&text));
            prop_assert!(lines.iter().all(|line| line.len() <= width || !line.contains(' ')));
        }
    }
}
