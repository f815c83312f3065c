//! Lengths of time in the spelling that Kubernetes users know (`1m30s`, `200ms`).

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A length of time as files write it: Go's syntax without a sign (`90s`, `1m30s`, `200ms`, `1.5h`).
///
/// Resolution is the nanosecond; the units are `ns`, `us`/`µs`, `ms`, `s`, `m`, `h`, as Go's
/// `time.ParseDuration` reads them. A number without a unit is an error, but for `0`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Length(pub Duration);

/// Why a text is not a [`Length`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Nothing was written.
    #[error("a duration is empty; write for example 30s")]
    Empty,
    /// A number has no unit.
    #[error("`{0}` has no unit; write for example {0}s")]
    NoUnit(String),
    /// A minus sign: time does not run backwards here.
    #[error("`{0}` is negative; durations are positive")]
    Negative(String),
    /// Not a number, or a unit that Go does not know (`d`, `w`).
    #[error("`{0}` is not a duration; use numbers with the units ms, s, m, h, for example 1m30s")]
    Malformed(String),
    /// Beyond what 64-bit nanoseconds hold (about 292 years).
    #[error("`{0}` is too long")]
    TooLong(String),
}

impl Length {
    /// A length of whole seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// A length of whole milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// Whether it is no time at all.
    pub const fn is_zero(&self) -> bool {
        self.0.is_zero()
    }

    /// Seconds, with fractions.
    pub fn as_secs_f64(&self) -> f64 {
        self.0.as_secs_f64()
    }
}

impl From<Duration> for Length {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl From<Length> for Duration {
    fn from(length: Length) -> Self {
        length.0
    }
}

impl FromStr for Length {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        if text.is_empty() {
            return Err(DurationError::Empty);
        }
        if text.starts_with('-') {
            return Err(DurationError::Negative(text.to_owned()));
        }
        if text == "0" {
            return Ok(Self(Duration::ZERO));
        }
        let malformed = || DurationError::Malformed(text.to_owned());
        let mut nanos: u128 = 0;
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let (number, after) = rest.split_at(digits);
            if number.is_empty() {
                return Err(malformed());
            }
            let unit_len = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
            let (unit, after) = after.split_at(unit_len);
            let scale: u128 = match unit {
                "ns" => 1,
                "us" | "µs" | "μs" => 1_000,
                "ms" => 1_000_000,
                "s" => 1_000_000_000,
                "m" => 60 * 1_000_000_000,
                "h" => 3_600 * 1_000_000_000,
                "" => return Err(DurationError::NoUnit(text.to_owned())),
                _ => return Err(malformed()),
            };
            nanos += scaled(number, scale).ok_or_else(malformed)?;
            if nanos > i64::MAX as u128 {
                return Err(DurationError::TooLong(text.to_owned()));
            }
            rest = after;
        }
        Ok(Self(Duration::from_nanos(nanos as u64)))
    }
}

/// `number` (digits with at most one point) times `scale`, in nanoseconds, rounded down.
fn scaled(number: &str, scale: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() > 19 || fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut nanos = whole.checked_mul(scale)?;
    let mut place = scale;
    for digit in fraction.bytes().take(15) {
        if !digit.is_ascii_digit() {
            return None;
        }
        place /= 10;
        nanos += u128::from(digit - b'0') * place;
    }
    Some(nanos)
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        if nanos == 0 {
            return f.write_str("0s");
        }
        if nanos < 1_000_000_000 {
            let (unit, scale) = match nanos {
                n if n >= 1_000_000 => ("ms", 1_000_000),
                n if n >= 1_000 => ("us", 1_000),
                _ => ("ns", 1),
            };
            return write!(f, "{}{}{unit}", nanos / scale, fraction(nanos % scale, scale));
        }
        let secs = self.0.as_secs();
        let (hours, minutes, seconds) = (secs / 3_600, secs / 60 % 60, secs % 60);
        let sub = fraction(u128::from(self.0.subsec_nanos()), 1_000_000_000);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        if seconds > 0 || !sub.is_empty() {
            write!(f, "{seconds}{sub}s")?;
        }
        Ok(())
    }
}

/// `.25` for a rest of a quarter, nothing for none.
fn fraction(rest: u128, scale: u128) -> String {
    if rest == 0 {
        return String::new();
    }
    let width = scale.ilog10() as usize;
    format!(".{rest:0width$}").trim_end_matches('0').to_owned()
}

impl Serialize for Length {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_go_reads() {
        for (text, millis) in [
            ("0s", 0),
            ("0", 0),
            ("200ms", 200),
            ("1m30s", 90_000),
            ("1.5s", 1_500),
            ("1h", 3_600_000),
            (".5s", 500),
        ] {
            assert_eq!(text.parse::<Length>(), Ok(Length::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest_by_name() {
        assert_eq!("".parse::<Length>(), Err(DurationError::Empty));
        assert!(matches!("10".parse::<Length>(), Err(DurationError::NoUnit(_))));
        assert!(matches!("-8773h".parse::<Length>(), Err(DurationError::Negative(_))));
        for text in ["1d", "1w", "1 hour", "s", "1..5s", ".s", "1s2", "١s", "99999999999999999999s"] {
            assert!(text.parse::<Length>().is_err(), "{text}");
        }
        assert!(matches!("9999999h".parse::<Length>(), Err(DurationError::TooLong(_))));
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(nanos in 0..i64::MAX as u64) {
            let length = Length(Duration::from_nanos(nanos));
            prop_assert_eq!(length.to_string().parse::<Length>(), Ok(length));
        }

        #[test]
        fn never_panics(text in ".{0,24}") {
            let _ = text.parse::<Length>();
        }
    }
}
