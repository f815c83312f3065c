//! A table of figures beside their targets: read by people, never asserted, since machines differ and are shared.

use std::{
    fmt::{Display, Formatter, Result},
    time::Duration,
};

/// Figures in the order in which they were measured.
#[derive(Default)]
pub struct Table(Vec<Row>);

struct Row {
    figure: String,
    value: String,
    target: String,
    within: Option<bool>,
}

impl Table {
    /// A figure with a target: at most so much, of one unit.
    pub fn at_most(&mut self, figure: impl Into<String>, value: f64, (most, unit): (f64, &str)) {
        self.row(figure.into(), quantity(value, unit), format!("≤ {}", quantity(most, unit)), value <= most);
    }

    /// A figure with a target: at least so much, of one unit.
    #[allow(dead_code, reason = "not every bench has one")]
    pub fn at_least(&mut self, figure: impl Into<String>, value: f64, (least, unit): (f64, &str)) {
        self.row(
            figure.into(),
            quantity(value, unit),
            format!("≥ {}", quantity(least, unit)),
            value >= least,
        );
    }

    /// A figure that is worth knowing and has no target.
    pub fn note(&mut self, figure: impl Into<String>, value: f64, unit: &str) {
        let (figure, value) = (figure.into(), quantity(value, unit));
        eprintln!("  {figure}: {value}");
        self.0.push(Row { figure, value, target: String::new(), within: None });
    }

    fn row(&mut self, figure: String, value: String, target: String, within: bool) {
        // As it comes in, for whoever waits; the table is for the end.
        eprintln!("  {figure}: {value} ({target})");
        self.0.push(Row { figure, value, target, within: Some(within) });
    }
}

fn quantity(value: f64, unit: &str) -> String {
    let decimals = if value >= 100.0 || value.fract() == 0.0 { 0 } else { 2 };
    format!("{value:.decimals$} {unit}").trim_end().to_owned()
}

impl Display for Table {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let width =
            |of: fn(&Row) -> &str| self.0.iter().map(|row| of(row).chars().count()).max().unwrap_or(0);
        let (figure, value, target) = (width(|r| &r.figure), width(|r| &r.value), width(|r| &r.target));
        for row in &self.0 {
            let word = match row.within {
                Some(true) => "ok",
                Some(false) => "over",
                None => "",
            };
            let line =
                format!("{:<figure$}  {:>value$}  {:<target$}  {word}", row.figure, row.value, row.target);
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Milliseconds.
#[allow(dead_code, reason = "not every bench has one")]
pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// The value below which the share `of` of all lies, nearest rank; NaN for none.
pub fn quantile(values: &[f64], of: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small index")]
    let rank = (sorted.len() as f64 * of).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(f64::NAN)
}

/// The middle one.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The load average of the last minute, where the system says: figures of a busy machine are worth less.
pub fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().filter(|load| !load.is_empty()).unwrap_or("unknown").to_owned()
}
