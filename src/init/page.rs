//! YAML that people read: comments wrapped, blocks that are switched off, scalars that stay what they are.

/// Columns of a comment.
const WIDTH: usize = 110;

/// A file in the making.
#[derive(Default)]
pub struct Page {
    text: String,
}

impl Page {
    /// The whole of it.
    pub fn text(self) -> String {
        let mut text = self.text.trim_end().to_owned();
        text.push('\n');
        text
    }

    /// One line.
    pub fn line(&mut self, indent: usize, line: &str) {
        self.text.push_str(&" ".repeat(indent));
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// An empty line, unless there is one.
    pub fn gap(&mut self) {
        if !self.text.ends_with("\n\n") {
            self.text.push('\n');
        }
    }

    /// A sentence or more. What comes from outside may hold anything: it stays within its comment.
    pub fn comment(&mut self, indent: usize, words: &str) {
        let room = WIDTH - indent - 2;
        let mut line = String::new();
        for word in words.split_whitespace() {
            let word: String = word.chars().filter(|c| !c.is_control()).collect();
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > room {
                self.line(indent, &format!("# {line}"));
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(&word);
        }
        self.line(indent, &format!("# {line}"));
    }

    /// Lines that wait for their marks to be taken away.
    pub fn off(&mut self, indent: usize, lines: &[String]) {
        for line in lines {
            self.line(indent, &format!("# {line}"));
        }
    }
}

/// A text as a YAML scalar: bare where nothing else can be read from it, quoted otherwise.
pub fn scalar(text: &str) -> String {
    let first = text.chars().next().is_some_and(|c| c.is_ascii_alphabetic());
    let harmless = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '/' | ' ' | ',');
    let word = text.to_ascii_lowercase();
    let spoken = matches!(word.as_str(), "true" | "false" | "yes" | "no" | "on" | "off" | "null" | "y" | "n");
    // Within braces a comma ends a value.
    let flows = text.contains(',') && !text.contains(' ');
    if first && text.chars().all(harmless) && !text.ends_with(' ') && !spoken && !flows {
        text.to_owned()
    } else {
        serde_json::Value::from(text).to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_stay_names() {
        for (text, written) in [
            ("checkout", "checkout"),
            ("1234", "\"1234\""),
            ("no", "\"no\""),
            ("a: b", "\"a: b\""),
            ("", "\"\""),
        ] {
            assert_eq!(scalar(text), written);
        }
    }

    proptest! {
        #[test]
        fn a_scalar_reads_back(text in "\\PC{0,24}") {
            let value: serde_json::Value = serde_yaml::from_str(&format!("a: {}\n", scalar(&text))).expect("YAML");
            prop_assert_eq!(value["a"].as_str(), Some(text.as_str()));
        }

        #[test]
        fn a_comment_stays_one(words in any::<String>()) {
            let mut page = Page::default();
            page.comment(2, &words);
            prop_assert!(page.text().lines().all(|line| line.starts_with("  #")));
        }
    }
}
