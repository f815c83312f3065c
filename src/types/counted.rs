//! How many of what, in words.

/// `1 pod`, `2 pods`: `what` in the singular, of a noun whose plural takes an s.
pub fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
