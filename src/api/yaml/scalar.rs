//! Plain scalars: what YAML 1.2's core schema makes of them, and where YAML 1.1 readers differ.

use super::Value;

/// Why a plain scalar has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadScalar {
    NotFinite,
    TooLarge,
}

/// The value of a plain scalar under the core schema of YAML 1.2.2, section 10.3.2.
pub(super) fn resolve(text: &str) -> Result<Value, BadScalar> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "true" | "True" | "TRUE" => return Ok(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Value::Bool(false)),
        ".nan" | ".NaN" | ".NAN" => return Err(BadScalar::NotFinite),
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return Err(BadScalar::NotFinite);
    }
    if let Some(digits) = text.strip_prefix("0o").filter(|d| all(d, |c| ('0'..='7').contains(&c))) {
        return i64::from_str_radix(digits, 8).map(Value::Int).map_err(|_| BadScalar::TooLarge);
    }
    if let Some(digits) = text.strip_prefix("0x").filter(|d| all(d, |c| c.is_ascii_hexdigit())) {
        return i64::from_str_radix(digits, 16).map(Value::Int).map_err(|_| BadScalar::TooLarge);
    }
    if all(unsigned, |c| c.is_ascii_digit()) {
        return text.parse().map(Value::Int).map_err(|_| BadScalar::TooLarge);
    }
    if is_float(unsigned) {
        return match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Value::Float(number)),
            _ => Err(BadScalar::TooLarge),
        };
    }
    Ok(Value::Str(text.to_owned()))
}

fn all(text: &str, test: impl Fn(char) -> bool) -> bool {
    !text.is_empty() && text.chars().all(test)
}

/// `( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`
fn is_float(unsigned: &str) -> bool {
    let digits = |c: char| c.is_ascii_digit();
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let exponent_ok =
        exponent.is_none_or(|exponent| all(exponent.strip_prefix(['-', '+']).unwrap_or(exponent), digits));
    let mantissa_ok = match mantissa.split_once('.') {
        Some(("", fraction)) => all(fraction, digits),
        Some((whole, fraction)) => all(whole, digits) && fraction.chars().all(digits),
        None => all(mantissa, digits),
    };
    exponent_ok && mantissa_ok
}

/// How a YAML 1.1 reader (kubectl's among them) takes a plain scalar that YAML 1.2 takes otherwise.
pub fn ambiguity(text: &str) -> Option<&'static str> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let digits = |c: char| c.is_ascii_digit();
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return Some("true"),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => return Some("false"),
        _ => {}
    }
    if unsigned.len() > 1 && unsigned.starts_with('0') && all(unsigned, |c| ('0'..='7').contains(&c)) {
        return Some("an octal number");
    }
    if unsigned.starts_with("0o") && all(&unsigned[2..], |c| ('0'..='7').contains(&c)) {
        return Some("text");
    }
    if unsigned.starts_with("0b") && all(&unsigned[2..], |c| matches!(c, '0' | '1')) {
        return Some("a binary number");
    }
    if unsigned.contains('_')
        && unsigned.starts_with(digits)
        && all(unsigned, |c| c.is_ascii_digit() || matches!(c, '_' | '.'))
    {
        return Some("a number");
    }
    let sexagesimal = |text: &str| {
        let mut parts = text.split(':');
        parts.next().is_some_and(|first| all(first, digits))
            && text.contains(':')
            && parts.all(|part| all(part, digits) && part.parse::<u8>().is_ok_and(|n| n < 60))
    };
    sexagesimal(unsigned).then_some("a number in base 60")
}
