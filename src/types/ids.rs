//! Identifiers: of runs, of injections, and the epochs of a run's owners.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Names one run, and is a valid Kubernetes label value and file name:
/// the experiment's name (shortened), a dash and five characters drawn from the run's seed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(String);

/// The alphabet of Kubernetes' generated names: no vowels, no look-alikes
/// (apimachinery `util/rand`).
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// A label value holds 63 characters; the injection's part comes after the run's in scars.
const NAME_MAX: usize = 40;

impl RunId {
    /// A run of `experiment`, told apart from others by `entropy`.
    pub fn new(experiment: &str, entropy: u64) -> Self {
        let mut rest = entropy;
        let suffix: String = (0..5)
            .map(|_| {
                let letter = ALPHABET[(rest % ALPHABET.len() as u64) as usize];
                rest /= ALPHABET.len() as u64;
                char::from(letter)
            })
            .collect();
        let name: String = experiment.chars().take(NAME_MAX).collect();
        Self(format!("{}-{suffix}", name.trim_end_matches(['-', '.'])))
    }

    /// Takes a name from outside: None unless it is a DNS label of at most 63 characters.
    pub fn parse(text: &str) -> Option<Self> {
        let ok = !text.is_empty()
            && text.len() <= 63
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.ends_with(|c: char| c.is_ascii_alphanumeric());
        ok.then(|| Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names one application of a fault to one target within a run: `STEP.NUMBER`.
///
/// Valid as the name part of an annotation key (`undo.firedrill.dev/STEP.NUMBER`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InjectionId(pub String);

impl InjectionId {
    /// The `number`th injection of `step`.
    pub fn new(step: &str, number: usize) -> Self {
        Self(format!("{step}.{number}"))
    }

    /// The step that it belongs to.
    pub fn step(&self) -> &str {
        self.0.rsplit_once('.').map_or(&*self.0, |(step, _)| step)
    }
}

impl fmt::Display for InjectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Counts the owners of a run: whoever takes a run over has a higher one, and a lower one is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_id_is_a_label_value_whatever_the_experiment_is_called() {
        for name in ["checkout", &"x".repeat(253), "a.b-"] {
            let id = RunId::new(name, u64::MAX);
            assert!(RunId::parse(id.as_str()).is_some(), "{id}");
        }
        assert_ne!(RunId::new("a", 1), RunId::new("a", 2));
    }

    #[test]
    fn foreign_names_are_checked() {
        for bad in ["", "../x", "A", "-a", "a/b", &"a".repeat(64)] {
            assert_eq!(RunId::parse(bad), None, "{bad}");
        }
    }
}
