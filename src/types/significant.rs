//! Measured numbers in words.

/// A measured number with four significant digits, and with as many as it takes not to pass for a whole
/// number that it is not: 0.99998 is not 1.
pub fn significant(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return if value == 0.0 { "0".to_owned() } else { value.to_string() };
    }
    let magnitude = value.abs();
    if !(1e-4..1e15).contains(&magnitude) {
        return format!("{value:.3e}");
    }
    if value.fract() == 0.0 {
        return format!("{value:.0}");
    }
    // log10 of a positive finite number lies between -4 and 15 here.
    let whole_digits = magnitude.log10().floor() as i32 + 1;
    let mut decimals = usize::try_from(4 - whole_digits).unwrap_or(0);
    loop {
        let text = format!("{value:.decimals$}");
        let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
        if magnitude >= 1000.0 || decimals >= 9 || text.contains('.') {
            return text.to_owned();
        }
        decimals += 1;
    }
}
