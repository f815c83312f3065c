//! The natural logarithm, the same bits on every platform.

/// 1, 1/3, 1/5, … 1/21: a division takes as long as the rest of its turn.
const ONE_OVER_ODD: [f64; 11] = [
    1.0,
    1.0 / 3.0,
    1.0 / 5.0,
    1.0 / 7.0,
    1.0 / 9.0,
    1.0 / 11.0,
    1.0 / 13.0,
    1.0 / 15.0,
    1.0 / 17.0,
    1.0 / 19.0,
    1.0 / 21.0,
];

/// Natural logarithm of a positive, normal number by basic arithmetic only, so that every platform
/// gives the same bits (the system's `ln` differs between C libraries). Relative error below 1e-14.
pub fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut exponent = ((bits >> 52) & 0x7ff) as i32 - 1023;
    // Mantissa in [1, 2), then in [1/√2, √2) around 1, where the series is short.
    let mut m = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | 0x3ff0_0000_0000_0000);
    if m > std::f64::consts::SQRT_2 {
        m /= 2.0;
        exponent += 1;
    }
    // ln m = 2 artanh s = 2 (s + s³/3 + s⁵/5 + …) with s = (m - 1) / (m + 1), |s| < 0.172.
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    let mut sum = 0.0;
    for odd in ONE_OVER_ODD.iter().rev() {
        sum = sum * square + odd;
    }
    2.0 * s * sum + f64::from(exponent) * std::f64::consts::LN_2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_agrees_with_the_standard_one() {
        for i in 1..100_000_u32 {
            let x = f64::from(i) / 50_000.0;
            assert!((ln(x) - x.ln()).abs() <= 1e-14 * x.ln().abs().max(1e-2), "ln {x}");
        }
        assert_eq!(ln(1.0), 0.0);
    }
}
