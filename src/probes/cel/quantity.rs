//! Kubernetes quantities (`500m`, `1.5Gi`), compared exactly.
//!
//! Functions and their meaning: k8s.io/apiserver/pkg/cel/library/quantity.go.

use std::{any::Any, cmp::Ordering};

use cel::common::types::{CelBool, CelDouble, CelInt, CelString, Type};
use cel::common::value::{StaticVal, Val};
use cel::{DeclarationError, Env, ExecutionError};

static TYPE: Type = Type::new_unspecified_type("kubernetes.Quantity");

/// A quantity in thousand-millionths (nano), as apimachinery's resource.Quantity keeps it at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Quantity(i128);

impl Val for Quantity {
    fn get_type(&self) -> &Type {
        &TYPE
    }

    fn cel_type() -> &'static Type {
        &TYPE
    }

    fn equals(&self, other: &dyn Val) -> bool {
        other.downcast_ref::<Quantity>() == Some(self)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(*self)
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Quantity {}

const NANO: i128 = 1_000_000_000;

/// Reads a quantity; None if it is none, or beyond what is kept.
fn parse(text: &str) -> Option<Quantity> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let (up, down) = scale(suffix)?;
    if whole.len() > 18 || fraction.len() > 9 {
        return None;
    }
    let mantissa: i128 = format!("0{whole}{fraction}").parse().ok()?;
    let ten = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let scaled = mantissa.checked_mul(NANO)?.checked_mul(up)?;
    let divisor = ten.checked_mul(down)?;
    // Rounded up, as resource.Quantity does below a nano.
    let nano = scaled / divisor + i128::from(scaled % divisor != 0);
    Some(Quantity(if text.starts_with('-') { -nano } else { nano }))
}

/// Factor and divisor of a suffix.
fn scale(suffix: &str) -> Option<(i128, i128)> {
    let binary = |power: u32| Some((1024_i128.pow(power), 1));
    let decimal = |power: u32| Some((1000_i128.pow(power), 1));
    match suffix {
        "" => Some((1, 1)),
        "n" => Some((1, NANO)),
        "u" => Some((1, 1_000_000)),
        "m" => Some((1, 1000)),
        "k" => decimal(1),
        "M" => decimal(2),
        "G" => decimal(3),
        "T" => decimal(4),
        "P" => decimal(5),
        "E" => decimal(6),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10_i128.checked_pow(exponent.unsigned_abs()).filter(|_| exponent.abs() <= 18)?;
            Some(if exponent < 0 { (1, power) } else { (power, 1) })
        }
    }
}

fn quantity(text: &CelString<'_>) -> Result<Quantity, ExecutionError> {
    parse(text.inner()).ok_or_else(|| {
        ExecutionError::function_error("quantity", format!("`{}` is no quantity", text.inner()))
    })
}

fn is_quantity(text: &CelString<'_>) -> CelBool {
    parse(text.inner()).is_some().into()
}

fn is_greater_than(this: &Quantity, other: &Quantity) -> CelBool {
    (this > other).into()
}

fn is_less_than(this: &Quantity, other: &Quantity) -> CelBool {
    (this < other).into()
}

fn compare_to(this: &Quantity, other: &Quantity) -> CelInt {
    match this.cmp(other) {
        Ordering::Less => -1,
        Ordering::Equal => 0,
        Ordering::Greater => 1,
    }
    .into()
}

fn sign(this: &Quantity) -> CelInt {
    (this.0.signum() as i64).into()
}

fn is_integer(this: &Quantity) -> CelBool {
    (this.0 % NANO == 0).into()
}

fn as_integer(this: &Quantity) -> Result<CelInt, ExecutionError> {
    let whole = (this.0 % NANO == 0).then(|| i64::try_from(this.0 / NANO).ok()).flatten();
    whole.map(CelInt::from).ok_or_else(|| ExecutionError::function_error("asInteger", "not a whole number"))
}

fn as_approximate_float(this: &Quantity) -> CelDouble {
    (this.0 as f64 / NANO as f64).into()
}

fn add(this: &Quantity, other: &Quantity) -> Result<Quantity, ExecutionError> {
    this.0
        .checked_add(other.0)
        .map(Quantity)
        .ok_or_else(|| ExecutionError::function_error("add", "too large"))
}

fn sub(this: &Quantity, other: &Quantity) -> Result<Quantity, ExecutionError> {
    this.0
        .checked_sub(other.0)
        .map(Quantity)
        .ok_or_else(|| ExecutionError::function_error("sub", "too large"))
}

/// Registers the quantity functions.
pub(super) fn extension(env: &mut Env) -> Result<(), DeclarationError> {
    cel::add_overload!(env, fn quantity: (CelString) -> Result<Quantity>, name = "quantity")?;
    cel::add_overload!(env, fn is_quantity: (CelString) -> CelBool, name = "isQuantity")?;
    cel::add_member_overload!(env, fn is_greater_than: (Quantity, Quantity) -> CelBool, name = "isGreaterThan")?;
    cel::add_member_overload!(env, fn is_less_than: (Quantity, Quantity) -> CelBool, name = "isLessThan")?;
    cel::add_member_overload!(env, fn compare_to: (Quantity, Quantity) -> CelInt, name = "compareTo")?;
    cel::add_member_overload!(env, fn sign: (Quantity) -> CelInt, name = "sign")?;
    cel::add_member_overload!(env, fn is_integer: (Quantity) -> CelBool, name = "isInteger")?;
    cel::add_member_overload!(env, fn as_integer: (Quantity) -> Result<CelInt>, name = "asInteger")?;
    cel::add_member_overload!(env, fn as_approximate_float: (Quantity) -> CelDouble, name = "asApproximateFloat")?;
    cel::add_member_overload!(env, fn add: (Quantity, Quantity) -> Result<Quantity>, name = "add")?;
    cel::add_member_overload!(env, fn sub: (Quantity, Quantity) -> Result<Quantity>, name = "sub")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_kubernetes_reads() {
        for (text, nano) in [
            ("1", NANO),
            ("500m", NANO / 2),
            ("0.5", NANO / 2),
            ("1Ki", 1024 * NANO),
            ("1.5Gi", 1_610_612_736 * NANO),
            ("-2k", -2000 * NANO),
            ("1e3", 1000 * NANO),
            ("5E-1", NANO / 2),
            ("2E", 2_000_000_000_000_000_000 * NANO),
            (".5", NANO / 2),
        ] {
            assert_eq!(parse(text), Some(Quantity(nano)), "{text}");
        }
        for text in ["", "m", "1 Gi", "1.2.3", "1GiB", "abc", "--1", "1e99", "9999999999999999999"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
