//! The chart of a probe, and the strip that shows when which step was at work.

use super::{
    curve::{self, Curve},
    scale::{HEIGHT, Times, Values, WIDTH},
};
use crate::report::{
    Facts, ProbeFacts, StepFacts,
    markup::Markup,
    words::{self, moment, number},
};

/// Pixels above the plot for the numbers of the steps.
const NUMBERS: f64 = 18.0;
/// Pixels above those for the names of violations.
const NAMES: f64 = 15.0;
/// Pixels of the plot.
const PLOT: f64 = 132.0;
/// Pixels of a row of the strip.
const ROW: usize = 24;
/// Letters of a step's name in the strip; it is written out with what was done.
const NAME: usize = 40;
/// So many applications of an instant fault are marked.
const MARKS: usize = 60;

/// A plot on the page: where it is, and when things are on it.
#[derive(Clone, Copy)]
struct Plot {
    times: Times,
    values: Values,
    /// Pixels from the top of the chart.
    top: f64,
}

impl Plot {
    fn bottom(&self) -> f64 {
        self.top + PLOT
    }

    /// Pixels from the top of the chart.
    fn place(&self, value: f64) -> f64 {
        self.top + self.values.place(value) / HEIGHT * PLOT
    }
}

/// When a step's faults were in force.
pub(super) struct Disturbance {
    /// The step's number in the method, from 1.
    number: usize,
    /// From the first that was applied to the last that was taken back; None: instant.
    lasting: Option<(i64, i64)>,
    /// Moments of the instant ones.
    instant: Vec<i64>,
}

/// What each step did, in milliseconds from the start.
pub(super) fn disturbances(facts: &Facts) -> Vec<Disturbance> {
    let ms = |at| facts.since_start(at);
    let of = |(place, step): (usize, &StepFacts)| {
        let began = |injection: &crate::report::InjectionFacts| {
            ms(injection.injected.as_ref().map_or(injection.intended, |told| told.at))
        };
        let over = |injection: &crate::report::InjectionFacts| {
            ms(injection.reverted.as_ref().map_or(facts.last_seen, |told| told.at))
        };
        let lasting = || step.injections.iter().filter(|injection| injection.lasting);
        let from = lasting().map(began).min();
        let to = lasting().map(over).max();
        let mut instant: Vec<i64> =
            step.injections.iter().filter(|injection| !injection.lasting).map(began).collect();
        instant.sort_unstable();
        // What no screen could tell apart is one mark.
        let apart = facts.since_start(facts.last_seen) / 200;
        instant.dedup_by(|later, earlier| *later - *earlier <= apart);
        instant.truncate(MARKS);
        Disturbance { number: place + 1, lasting: from.zip(to), instant }
    };
    let all = facts.steps.iter().enumerate().map(of);
    all.filter(|found| found.lasting.is_some() || !found.instant.is_empty()).collect()
}

fn text((x, y): (&str, f64), (class, anchor): (&str, &str), words: &str, markup: &mut Markup) {
    let y = y.to_string();
    markup.leaf("text", &[("x", x), ("y", &y), ("class", class), ("text-anchor", anchor)], words);
}

fn line(x: &str, (from, to): (f64, f64), class: &str, markup: &mut Markup) {
    let (from, to) = (from.to_string(), to.to_string());
    markup.void("line", &[("x1", x), ("x2", x), ("y1", &from), ("y2", &to), ("class", class)]);
}

fn level(y: f64, class: &str, markup: &mut Markup) {
    let y = y.to_string();
    markup.void("line", &[("x1", "0"), ("x2", "100%"), ("y1", &y), ("y2", &y), ("class", class)]);
}

fn area(times: Times, (from, to): (i64, i64), (y, height): (f64, f64), class: &str, markup: &mut Markup) {
    let (x, width) = (times.percent(from), times.width(from, to));
    let (y, height) = (y.to_string(), height.to_string());
    markup.void("rect", &[("x", &x), ("y", &y), ("width", &width), ("height", &height), ("class", class)]);
}

/// What a probe's chart shows, for those who do not see it.
fn description(facts: &Facts, probe: &ProbeFacts, curve: &Curve) -> String {
    let mut said = vec![crate::report::phrases::measured_words(probe)];
    for violation in facts.violations.iter().filter(|violation| violation.probe == probe.name) {
        said.push(format!("violated at {}", moment(facts.since_start(violation.at))));
    }
    for (from, to) in &curve.gaps {
        said.push(format!("no data from {} to {}", moment(*from), moment(*to)));
    }
    said.join("; ")
}

/// Draws a probe; `id` tells the chart from all others of the page.
pub(super) fn draw(facts: &Facts, probe: &ProbeFacts, id: &str, markup: &mut Markup) {
    let times = Times::new(facts.since_start(facts.last_seen));
    let wanted = wanted(probe);
    let numbers: Vec<f64> = wanted.iter().map(|(_, number)| *number).collect();
    let usual = probe.baseline.map(|stats| (stats.min, stats.max));
    let measured = probe.samples.iter().filter_map(|sample| sample.value);
    let values = Values::of(measured.chain(usual.into_iter().flat_map(|(low, high)| [low, high])), &numbers);
    let curve = curve::draw(facts, probe, times, values);
    let violated = facts.violations.iter().any(|violation| violation.probe == probe.name);
    let plot = Plot { times, values, top: if violated { NUMBERS + NAMES } else { NUMBERS } };
    let place = |value: f64| plot.place(value);
    let (title, desc) = (format!("{id}-title"), format!("{id}-desc"));
    let labelled = format!("{title} {desc}");
    let height = (plot.bottom() + 22.0).to_string();
    markup.open(
        "svg",
        &[
            ("class", "chart"),
            ("role", "img"),
            ("aria-labelledby", &labelled),
            ("width", "100%"),
            ("height", &height),
        ],
    );
    markup.leaf("title", &[("id", &title)], &format!("{} over the run", probe.name));
    markup.leaf("desc", &[("id", &desc)], &description(facts, probe, &curve));
    if let Some((low, high)) = usual {
        let (top, bottom) = (place(high), place(low));
        let whole = (0, facts.since_start(facts.last_seen));
        area(times, whole, (top - 1.0, bottom - top + 2.0), "usual", markup);
    }
    for found in disturbances(facts) {
        found.draw(&plot, markup);
    }
    for gap in &curve.gaps {
        area(times, *gap, (plot.top, PLOT), "gap", markup);
    }
    grid(&plot, markup);
    let mut last = f64::NEG_INFINITY;
    let mut shown: Vec<&(String, f64)> = wanted.iter().filter(|(_, wanted)| values.shows(*wanted)).collect();
    shown.sort_by(|(_, one), (_, two)| two.total_cmp(one));
    for (sign, wanted) in shown {
        level(place(*wanted), "wanted", markup);
        // Beside the plot, and never over one another.
        last = (place(*wanted) + 4.0).max(last + 13.0);
        text(("100%", last), ("wants", "start"), &format!("\u{2002}{sign} {}", number(*wanted)), markup);
    }
    lines(&curve, plot.top, markup);
    violations(facts, probe, &plot, markup);
    markup.close();
}

fn lines(curve: &Curve, top: f64, markup: &mut Markup) {
    let (top, plot) = (top.to_string(), PLOT.to_string());
    let view = format!("0 0 {WIDTH} {HEIGHT}");
    markup.open(
        "svg",
        &[
            ("y", &top),
            ("width", "100%"),
            ("height", &plot),
            ("viewBox", &view),
            ("preserveAspectRatio", "none"),
            ("aria-hidden", "true"),
        ],
    );
    for (path, class) in [(&curve.line, "line"), (&curve.lone, "lone"), (&curve.outside, "outside")] {
        if !path.is_empty() {
            markup.void("path", &[("class", class), ("d", path)]);
        }
    }
    markup.close();
}

fn grid(plot: &Plot, markup: &mut Markup) {
    let bottom = plot.bottom();
    for tick in plot.values.ticks() {
        level(plot.place(tick), "grid", markup);
        text(("-8", plot.place(tick) + 4.0), ("tick", "end"), &number(tick), markup);
    }
    level(bottom, "axis", markup);
    for (place, tick) in plot.times.ticks().into_iter().enumerate() {
        let x = plot.times.percent(tick);
        line(&x, (bottom, bottom + 4.0), "axis", markup);
        let class = if place % 2 == 0 { "tick" } else { "tick odd" };
        text((&x, bottom + 17.0), (class, "middle"), &moment(tick), markup);
    }
}

fn violations(facts: &Facts, probe: &ProbeFacts, plot: &Plot, markup: &mut Markup) {
    let (times, bottom) = (plot.times, plot.bottom());
    let of_this = facts.violations.iter().filter(|violation| violation.probe == probe.name);
    for violation in of_this {
        let (since, at) = (facts.since_start(violation.since), facts.since_start(violation.at));
        area(times, (since, at), (bottom - 4.0, 4.0), "lost", markup);
        let x = times.percent(at);
        line(&x, (NAMES, bottom), "violated", markup);
        let word = if violation.missing { "no data" } else { "violated" };
        let anchor = if times.is_late(at) { "end" } else { "start" };
        let words = format!("\u{2717} {word} at {}", moment(at));
        text((&x, 10.0), ("violation", anchor), &words, markup);
    }
}

impl Disturbance {
    fn draw(&self, plot: &Plot, markup: &mut Markup) {
        let (times, top, bottom) = (plot.times, plot.top, plot.bottom());
        let number = self.number.to_string();
        if let Some((from, to)) = self.lasting {
            area(times, (from, to), (top, PLOT), "fault", markup);
            for edge in [from, to] {
                line(&times.percent(edge), (top, bottom), "edge", markup);
            }
            text((&times.percent(from), top - 5.0), ("step", "start"), &number, markup);
        }
        for at in &self.instant {
            line(&times.percent(*at), (top - 2.0, bottom), "instant", markup);
        }
        if let Some(first) = self.instant.first() {
            text((&times.percent(*first), top - 5.0), ("step", "middle"), &number, markup);
        }
    }
}

/// The numbers that a probe is compared with, where an expression says so plainly: `value >= 0.95`.
fn wanted(probe: &ProbeFacts) -> Vec<(String, f64)> {
    let mut all: Vec<(String, f64)> = Vec::new();
    let both = probe.expect != probe.during;
    for (word, expression) in [("", &probe.expect), ("during ", &probe.during)] {
        if word.is_empty() || both {
            all.extend(
                compared(expression).into_iter().map(|(sign, value)| (format!("{word}{sign}"), value)),
            );
        }
    }
    all.truncate(4);
    all
}

/// `value >= 0.95 && value < 2`: a sign and a number for each part; nothing for what is less plain.
fn compared(expression: &str) -> Vec<(&'static str, f64)> {
    let part = |part: &str| {
        let rest = part.trim().strip_prefix("value")?.trim_start();
        let signs = [(">=", "\u{2265}"), ("<=", "\u{2264}"), ("==", "="), (">", ">"), ("<", "<")];
        let (sign, rest) = signs.iter().find_map(|(sign, shown)| Some((*shown, rest.strip_prefix(sign)?)))?;
        let value: f64 = rest.trim().parse().ok()?;
        value.is_finite().then_some((sign, value))
    };
    expression.split("&&").map(part).collect::<Option<Vec<_>>>().unwrap_or_default()
}

/// When which step was at work, on the time axis of the charts.
pub(super) fn strip(facts: &Facts, id: &str, markup: &mut Markup) {
    let times = Times::new(facts.since_start(facts.last_seen));
    let reached: Vec<(usize, &StepFacts)> =
        (1..).zip(&facts.steps).filter(|(_, step)| step.started.is_some()).collect();
    if reached.is_empty() {
        return;
    }
    let height = (reached.len() * ROW + 20).to_string();
    let title = format!("{id}-title");
    markup.open(
        "svg",
        &[
            ("class", "chart strip"),
            ("role", "img"),
            ("aria-labelledby", &title),
            ("width", "100%"),
            ("height", &height),
        ],
    );
    let told = reached.iter().map(|(number, step)| format!("{number} {}", spoken(facts, step)));
    let told = told.collect::<Vec<_>>().join("; ");
    markup.leaf("title", &[("id", &title)], &format!("Steps over time: {told}"));
    for (row, (number, step)) in reached.iter().enumerate() {
        let top = (row * ROW) as f64;
        let from = step.started.map_or(0, |at| facts.since_start(at));
        let to = facts.since_start(ended(facts, step));
        let class = if step.injections.is_empty() { "bar idle" } else { "bar" };
        level(top + ROW as f64 - 0.5, "grid", markup);
        area(times, (from, to), (top + 5.0, ROW as f64 - 11.0), class, markup);
        text(("-8", top + 16.0), ("tick", "end"), &number.to_string(), markup);
        let (x, anchor) =
            if times.is_late(from) { (times.percent(from), "end") } else { (times.percent(to), "start") };
        let mut name: String = called(step).chars().take(NAME).collect();
        if name.len() < called(step).len() {
            name.push('\u{2026}');
        }
        // A bar up to the end leaves no room beside it: the name goes where the bar begins.
        let inside = !times.is_late(from) && times.is_late(to);
        let (x, name) = match (inside, anchor) {
            (true, _) => (times.percent(from), format!("\u{2002}{name}")),
            (false, "end") => (x, format!("{name}\u{2002}")),
            (false, _) => (x, format!("\u{2002}{name}")),
        };
        text((&x, top + 16.0), ("name", anchor), &name, markup);
    }
    for tick in times.ticks() {
        text(
            (&times.percent(tick), (reached.len() * ROW) as f64 + 15.0),
            ("tick", "middle"),
            &moment(tick),
            markup,
        );
    }
    markup.close();
}

/// When a step was over: one that was cut short, when its last fault was back or the method was stopped.
fn ended(facts: &Facts, step: &StepFacts) -> jiff::Timestamp {
    let open = step.injections.iter().any(crate::report::InjectionFacts::may_be_in_force);
    let back = step.injections.iter().filter_map(|injection| injection.reverted.as_ref()).map(|told| told.at);
    let stopped = facts.outcome.stop.as_ref().map(|stop| stop.at);
    let cut = back.max().max(stopped).filter(|_| !open);
    step.ended.or(cut).unwrap_or(facts.last_seen)
}

/// What a step is called: one without a name of its own, what it does.
pub(super) fn called(step: &StepFacts) -> &str {
    if step.name.starts_with("step-") && !step.what.is_empty() { &step.what } else { &step.name }
}

fn spoken(facts: &Facts, step: &StepFacts) -> String {
    let at = step.started.map_or(String::new(), |at| format!(" at {}", moment(facts.since_start(at))));
    let took = step.started.map(|from| words::millis(from, ended(facts, step)));
    let took = took.and_then(|ms| u64::try_from(ms).ok()).map(words::length);
    format!("{}{at}{}", called(step), took.map_or(String::new(), |took| format!(" for {took}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_comparisons_are_drawn_and_others_are_not() {
        assert_eq!(compared("value >= 0.95"), [("\u{2265}", 0.95)]);
        assert_eq!(compared("value > 1 && value<2.5"), [(">", 1.0), ("<", 2.5)]);
        for other in
            ["", "value >= baseline.p99 * 2.0", "value >= 1 || value == 0", "object.x >= 1", "value >= NaN"]
        {
            assert_eq!(compared(other), [], "{other}");
        }
    }
}
