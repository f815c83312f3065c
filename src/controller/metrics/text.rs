//! Prometheus' text exposition format, version 0.0.4
//! (prometheus.io/docs/instrumenting/exposition_formats).

use std::fmt::{self, Display, Write as _};

/// What an answer in this format says that it is.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds of the buckets of times, in milliseconds: from a revert that is one call to a recovery that takes
/// an hour.
const BOUNDS: [u64; 14] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 20_000, 30_000, 60_000, 120_000, 300_000, 600_000, 1_800_000,
    3_600_000,
];

/// A page of metrics, family after family.
#[derive(Default)]
pub(super) struct Page(String);

/// The samples of one family.
pub(super) struct Family<'a> {
    page: &'a mut String,
    name: &'a str,
}

impl Page {
    pub(super) fn counter<'a>(&'a mut self, name: &'a str, help: &str) -> Family<'a> {
        self.family(name, "counter", help)
    }

    pub(super) fn gauge<'a>(&'a mut self, name: &'a str, help: &str) -> Family<'a> {
        self.family(name, "gauge", help)
    }

    pub(super) fn histogram(&mut self, name: &str, help: &str, times: &Times) {
        let mut family = self.family(name, "histogram", help);
        let mut within = 0;
        for (bound, count) in BOUNDS.iter().zip(times.counts) {
            within += count;
            family.add("_bucket", &[("le", &Seconds(*bound).to_string())], within);
        }
        family.add("_bucket", &[("le", "+Inf")], times.count);
        family.add("_sum", &[], Seconds(times.sum_ms));
        family.add("_count", &[], times.count);
    }

    /// Help is given in words of ours: nothing in it has to be escaped.
    fn family<'a>(&'a mut self, name: &'a str, kind: &str, help: &str) -> Family<'a> {
        self.0.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        Family { page: &mut self.0, name }
    }

    pub(super) fn text(self) -> String {
        self.0
    }
}

impl Family<'_> {
    /// A sample with these labels.
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.add("", labels, value);
    }

    fn add(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        self.page.push_str(self.name);
        self.page.push_str(suffix);
        for (at, (label, text)) in labels.iter().enumerate() {
            let before = if at == 0 { '{' } else { ',' };
            // Writing to a String cannot fail.
            let _ = write!(self.page, "{before}{label}=\"{}\"", escaped(text));
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.page, "{close} {value}");
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Milliseconds, told as seconds without a rounding of their own.
struct Seconds(u64);

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 1000, self.0 % 1000);
        if rest == 0 {
            return write!(f, "{whole}");
        }
        write!(f, "{whole}.{}", format!("{rest:03}").trim_end_matches('0'))
    }
}

/// How long something took, many times over.
#[derive(Clone, Debug, Default)]
pub(super) struct Times {
    /// Of each bucket by itself; what is longer than all bounds is in none.
    counts: [u64; BOUNDS.len()],
    count: u64,
    sum_ms: u64,
}

impl Times {
    pub(super) fn took(&mut self, ms: u64) {
        if let Some(at) = BOUNDS.iter().position(|bound| ms <= *bound) {
            self.counts[at] += 1;
        }
        self.count += 1;
        self.sum_ms = self.sum_ms.saturating_add(ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_times_are_seconds() {
        let mut page = Page::default();
        page.gauge("a", "Words.").sample(&[("b", "x\"y\\z\nw"), ("c", "")], 1);
        assert_eq!(page.text(), "# HELP a Words.\n# TYPE a gauge\na{b=\"x\\\"y\\\\z\\nw\",c=\"\"} 1\n");
        let told = |ms| Seconds(ms).to_string();
        assert_eq!([told(0), told(250), told(2_500), told(61_007)], ["0", "0.25", "2.5", "61.007"]);
    }

    #[test]
    fn buckets_count_all_that_is_shorter() {
        let mut times = Times::default();
        for ms in [250, 251, 5_000, 7_200_000] {
            times.took(ms);
        }
        let mut page = Page::default();
        page.histogram("t", "Words.", &times);
        let text = page.text();
        for line in [
            "t_bucket{le=\"0.25\"} 1",
            "t_bucket{le=\"0.5\"} 2",
            "t_bucket{le=\"2.5\"} 2",
            "t_bucket{le=\"5\"} 3",
            "t_bucket{le=\"3600\"} 3",
            "t_bucket{le=\"+Inf\"} 4",
            "t_sum 7205.501",
            "t_count 4",
        ] {
            assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
        }
    }
}
