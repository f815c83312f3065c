//! How many of a set: a count, a share, or all of them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::planted;

/// How many of a set: `2`, `50%` or `all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// So many, at least 1.
    Count(u32),
    /// A share in percent, 1 to 100.
    Percent(u32),
    /// Every one.
    All,
}

/// Why a text is not an [`Amount`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Zero selects nothing, which is never meant.
    #[error("`{0}` selects nothing; write 1 or more")]
    Zero(String),
    /// More than the whole.
    #[error("`{0}` is more than 100%")]
    OverWhole(String),
    /// Neither a number, a percentage nor `all`.
    #[error("`{0}` is neither a count (2), a percentage (50%) nor all")]
    Malformed(String),
}

impl Amount {
    /// How many of `total` to choose: a share is rounded down, but to 1 at the least when there is
    /// anything at all (format.md, `target.count`). Never more than `total`.
    pub fn choose_from(self, total: usize) -> usize {
        match self {
            Self::Count(count) => (count as usize).min(total),
            Self::Percent(percent) => (total * percent as usize / 100).max(1).min(total),
            Self::All => total,
        }
    }

    /// How many of `total` a limit of this size allows: a share is rounded down, to 0 if need be
    /// (format.md, `limits`).
    pub fn bound_of(self, total: usize) -> usize {
        match self {
            Self::Count(count) => count as usize,
            Self::Percent(percent) if planted("limits-rounded-up") => {
                (total * percent as usize).div_ceil(100)
            }
            Self::Percent(percent) => total * percent as usize / 100,
            Self::All => total,
        }
    }
}

impl FromStr for Amount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        if text == "all" {
            return Ok(Self::All);
        }
        let (digits, percent) = match text.strip_suffix('%') {
            Some(digits) => (digits, true),
            None => (text, false),
        };
        if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(AmountError::Malformed(text.to_owned()));
        }
        let number: u32 = digits.parse().map_err(|_| AmountError::Malformed(text.to_owned()))?;
        match (number, percent) {
            (0, _) => Err(AmountError::Zero(text.to_owned())),
            (n, true) if n > 100 => Err(AmountError::OverWhole(text.to_owned())),
            (n, true) => Ok(Self::Percent(n)),
            (n, false) => Ok(Self::Count(n)),
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::All => f.write_str("all"),
        }
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => serializer.serialize_u32(*count),
            other => serializer.collect_str(other),
        }
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Amount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a count, a percentage or all")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Amount, E> {
                number.to_string().parse().map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Amount, E> {
                number.to_string().parse().map_err(E::custom)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Amount, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_round_down_but_choose_at_least_one() {
        assert_eq!(Amount::Percent(50).choose_from(5), 2);
        assert_eq!(Amount::Percent(10).choose_from(5), 1);
        assert_eq!(Amount::Percent(50).choose_from(0), 0);
        assert_eq!(Amount::Count(7).choose_from(5), 5);
        assert_eq!(Amount::Percent(34).bound_of(2), 0);
        assert_eq!(Amount::Percent(34).bound_of(3), 1);
    }

    #[test]
    fn refuses_nothing_and_more_than_all() {
        assert!(matches!("0%".parse::<Amount>(), Err(AmountError::Zero(_))));
        assert!(matches!("0".parse::<Amount>(), Err(AmountError::Zero(_))));
        assert!(matches!("101%".parse::<Amount>(), Err(AmountError::OverWhole(_))));
        for text in ["", "%", "-1", "1.5", "fifty", "50 %", "All"] {
            assert!(matches!(text.parse::<Amount>(), Err(AmountError::Malformed(_))), "{text}");
        }
    }
}
