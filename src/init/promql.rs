//! Texts within PromQL. Names come from the cluster and are not trusted to be harmless.

/// A string literal: JSON's escapes are among PromQL's, which are Go's.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A text that stands for itself in a regular expression (RE2).
pub fn regex_escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_') && c.is_ascii() {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// A matcher for one of several values.
pub fn either(label: &str, values: &[&str]) -> String {
    match values {
        [value] => format!("{label}={}", quoted(value)),
        values => {
            let escaped: Vec<String> = values.iter().map(|value| regex_escaped(value)).collect();
            format!("{label}=~{}", quoted(&escaped.join("|")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_quotes() {
        assert_eq!(quoted("a\"} or vector(1)"), r#""a\"} or vector(1)""#);
        assert_eq!(either("service", &["a"]), r#"service="a""#);
        let matcher = either("service", &["a.b", "c-d"]);
        assert_eq!(matcher, r#"service=~"a\\.b|c-d""#);
        promql_parser::parser::parse(&format!("up{{{matcher}}}")).expect("PromQL");
    }
}
