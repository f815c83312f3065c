//! A run as it goes: a line for each remarkable event, and on a terminal one progress line below them,
//! rewritten in place.
//!
//! [`Live`] decides what to say and is pure; [`Timeline`] writes it. Time is the journal's, so a rehearsal
//! in virtual time reads like the run that it stands for.

use std::{collections::BTreeMap, io, time::Duration};

use jiff::Timestamp;

use crate::{
    api::{Action, Experiment, Step},
    journal::{Entry, Record, SampleState},
    report::{Event, NARROWEST, Narrator, Style, Tone, length, moment, number, wrap},
    types::Phase,
};

/// After so much run time without a line a pipe gets a sign of life.
const SILENCE: Duration = Duration::from_secs(30);
/// Columns before the text of an event.
const INDENT: usize = 10;
/// Back to the first column and erase the line (ECMA-48: CR, EL 2).
const ERASE: &str = "\r\u{1b}[2K";

/// How to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// Whether the progress line is rewritten in place; only a terminal can do that. Otherwise a long
    /// silence is broken by a line of its own.
    pub progress: bool,
    /// Colours, characters and width.
    pub style: Style,
}

/// Writes a run as it goes.
///
/// It never fails: a reader that has gone away must not stop a run that has something to put back. After
/// the first error nothing more is written; see [`Timeline::error`].
#[derive(Debug)]
pub struct Timeline<W: io::Write> {
    out: W,
    mode: Mode,
    live: Live,
    drawn: String,
    error: Option<io::Error>,
}

impl<W: io::Write> Timeline<W> {
    /// One that writes to `out`.
    pub fn new(out: W, mode: Mode) -> Self {
        Self { out, mode, live: Live::default(), drawn: String::new(), error: None }
    }

    /// Takes one more entry of the journal.
    pub fn on(&mut self, entry: &Entry) {
        let style = self.mode.style;
        let events = self.live.take(entry);
        // A pipe keeps an event on one line: what reads it looks for lines.
        let mut lines: Vec<String> = if self.mode.progress {
            events.iter().flat_map(|event| wrapped(event, &style)).collect()
        } else {
            events.iter().map(|event| line(event, &style)).collect()
        };
        if lines.is_empty() && !self.mode.progress {
            lines.extend(self.live.heartbeat(&style));
        }
        let progress = if self.mode.progress { self.live.progress(&style) } else { String::new() };
        if lines.is_empty() && progress == self.drawn {
            return;
        }
        let mut text = if self.drawn.is_empty() { String::new() } else { ERASE.to_owned() };
        for line in lines {
            text.push_str(&line);
            text.push('\n');
        }
        text.push_str(&progress);
        self.drawn = progress;
        self.write(&text);
    }

    /// Takes the progress line away. Whatever else is to be written comes after this.
    pub fn close(&mut self) {
        if !self.drawn.is_empty() {
            self.drawn.clear();
            self.write(ERASE);
        }
    }

    /// Why nothing more is written; None as long as all is well.
    pub fn error(&self) -> Option<&io::Error> {
        self.error.as_ref()
    }

    fn write(&mut self, text: &str) {
        if self.error.is_none() {
            let written = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
            self.error = written.err();
        }
    }
}

/// One event as one line: `+1m02s  ! availability is outside: 0.62`.
pub fn line(event: &Event, style: &Style) -> String {
    let mark = style.paint(event.tone, style.mark(event.tone));
    let text = style.paint(if event.tone == Tone::Bad { Tone::Bad } else { Tone::Plain }, &event.text);
    format!("{:<8}{mark} {text}", moment(event.since_start_ms))
}

/// The same, wrapped under itself to the style's width.
fn wrapped(event: &Event, style: &Style) -> Vec<String> {
    let tone = if event.tone == Tone::Bad { Tone::Bad } else { Tone::Plain };
    // A full line would make some terminals go to the next by themselves.
    let room = style.width.max(NARROWEST).saturating_sub(INDENT + 1);
    let parts = wrap(&style.plain(&event.text), room).into_iter().enumerate();
    let lines = parts.map(|(number, part)| match number {
        0 => line(&Event { text: part, ..event.clone() }, style),
        _ => format!("{:INDENT$}{}", "", style.paint(tone, &part)),
    });
    lines.collect()
}

/// What is known of a run under way.
#[derive(Debug, Default)]
pub struct Live {
    narrator: Narrator,
    phase: Option<Phase>,
    step: Option<Current>,
    probes: BTreeMap<String, (SampleState, Option<f64>)>,
    now: Option<Timestamp>,
    /// When a line was last told, or a sign of life given.
    told: Option<Timestamp>,
    stopping: bool,
}

/// The step under way.
#[derive(Debug)]
struct Current {
    name: String,
    /// From when its length counts.
    since: Timestamp,
    /// Whether `since` is what the step's own length counts from.
    counts: bool,
}

impl Live {
    /// Takes one more entry; what is remarkable about it.
    pub fn take(&mut self, entry: &Entry) -> Vec<Event> {
        self.now = Some(entry.at);
        let events = self.narrator.tell(entry);
        if !events.is_empty() {
            self.told = Some(entry.at);
        }
        if let Some(phase) = self.phase_after(&entry.record) {
            self.phase = Some(phase);
        }
        match &entry.record {
            Record::Sampled { probe, state, value, .. } => {
                self.probes.insert(probe.clone(), (*state, *value));
            }
            Record::StepStarted { step } => {
                let counts = self.spec(step).is_none_or(|step| step.duration.is_none());
                self.step = Some(Current { name: step.clone(), since: entry.at, counts });
            }
            Record::StepEnded { step } if self.step.as_ref().is_some_and(|current| current.name == *step) => {
                self.step = None;
            }
            Record::EffectSeen { injection, .. } => {
                // A lasting fault's length counts from "seen in force".
                let of = |current: &&mut Current| {
                    injection.0.strip_prefix(&current.name).is_some_and(|n| n.starts_with('.'))
                };
                if let Some(current) = self.step.as_mut().filter(of).filter(|current| !current.counts) {
                    (current.since, current.counts) = (entry.at, true);
                }
            }
            Record::StopRequested { .. } | Record::MethodEnded {} => {
                self.stopping = true;
                self.step = None;
            }
            _ => {}
        }
        events
    }

    fn phase_after(&self, record: &Record) -> Option<Phase> {
        match record {
            Record::RunStarted(_) => Some(Phase::Pending),
            Record::BaselineStarted {} => Some(Phase::Baseline),
            Record::InjectIntended { .. } => Some(Phase::Injecting),
            Record::RevertStarted { .. } => Some(Phase::Reverting),
            Record::AllReverted { .. } => Some(Phase::Recovering),
            Record::Finished { .. } => Some(Phase::Finished),
            Record::BaselineHeld { .. }
            | Record::StepStarted { .. }
            | Record::StepEnded { .. }
            | Record::EffectSeen { .. }
            | Record::EffectMissed { .. }
                if !self.stopping =>
            {
                Some(Phase::Observing)
            }
            _ => None,
        }
    }

    fn spec(&self, step: &str) -> Option<&Step> {
        self.narrator.experiment().and_then(|experiment| experiment.spec.step(step))
    }

    /// Where the run is, in one line of less than the style's width: elapsed and expected time, phase, step,
    /// and what each probe measured last. Empty before the run and after it.
    pub fn progress(&self, style: &Style) -> String {
        let mut pieces = self.place();
        if pieces.is_empty() {
            return String::new();
        }
        pieces.extend(self.measured());
        // One column stays free, for a full line would make some terminals go to the next; another for the
        // sign that something was left out.
        let mut room = style.width.max(20) - 2;
        let mut line = String::new();
        for (number, (tone, text)) in pieces.iter().enumerate() {
            let gap = if number == 0 { "" } else { "  " };
            let text = style.plain(text);
            let columns = text.chars().count() + gap.len();
            if columns > room {
                line.push_str(if style.unicode { "…" } else { "+" });
                break;
            }
            room -= columns;
            line.push_str(gap);
            line.push_str(&style.paint(*tone, &text));
        }
        line
    }

    /// A sign of life when nothing was told for long; at most one in `SILENCE`.
    pub fn heartbeat(&mut self, style: &Style) -> Option<String> {
        let (now, told) = (self.now?, self.told?);
        if now.duration_since(told).unsigned_abs() < SILENCE {
            return None;
        }
        let mut pieces = self.place();
        let at = pieces.first()?.1.clone();
        pieces.remove(0);
        self.told = Some(now);
        let text =
            pieces.into_iter().chain(self.measured()).map(|(_, text)| text).collect::<Vec<_>>().join(", ");
        Some(style.plain(&format!("{at:<8}… {text}")))
    }

    /// Elapsed time, phase, step.
    fn place(&self) -> Vec<(Tone, String)> {
        let (Some(start), Some(now), Some(phase)) = (self.narrator.start(), self.now, self.phase) else {
            return Vec::new();
        };
        if phase == Phase::Finished {
            return Vec::new();
        }
        let elapsed = now.duration_since(start).unsigned_abs();
        let mut pieces = vec![(Tone::Strong, moment(millis(elapsed).try_into().unwrap_or(i64::MAX)))];
        let tone = if self.stopping && phase != Phase::Recovering { Tone::Warning } else { Tone::Plain };
        if !self.stopping
            && let Some(all) = self.narrator.experiment().map(expected).filter(|all| *all > elapsed)
        {
            pieces[0].1.push_str(&format!(" of ~{}", length(millis(all))));
        }
        pieces.push((tone, phase.to_string()));
        if let Some(step) = self.step_words(now) {
            pieces.push((Tone::Plain, step));
        }
        pieces
    }

    /// `2/4 step-2 12s of 30s`.
    fn step_words(&self, now: Timestamp) -> Option<String> {
        let current = self.step.as_ref()?;
        let method = self
            .narrator
            .experiment()
            .map(|experiment| experiment.spec.method.as_slice())
            .unwrap_or_default();
        let place = method.iter().position(|step| step.name == current.name);
        let place = place.map_or(String::new(), |place| format!("{}/{} ", place + 1, method.len()));
        let took = length(millis(now.duration_since(current.since).unsigned_abs()) / 1000 * 1000);
        let all = self.spec(&current.name).and_then(lasts).filter(|_| current.counts);
        let all = all.map_or(String::new(), |all| format!(" of {}", length(millis(all))));
        Some(format!("{place}{} {took}{all}", current.name))
    }

    /// Each probe's last value, what is amiss first: a narrow line is cut at its end.
    fn measured(&self) -> Vec<(Tone, String)> {
        let piece = |(name, (state, value)): (&String, &(SampleState, Option<f64>))| {
            let value = value.map_or_else(|| "no data".to_owned(), number);
            match state {
                SampleState::Outside => (0, Tone::Bad, format!("{name} {value} OUTSIDE")),
                SampleState::Missing => (1, Tone::Warning, format!("{name} NO DATA")),
                SampleState::Within => (2, Tone::Good, format!("{name} {value} ok")),
                SampleState::Recorded => (3, Tone::Plain, format!("{name} {value}")),
            }
        };
        let mut pieces: Vec<_> = self.probes.iter().map(piece).collect();
        pieces.sort_by_key(|(weight, ..)| *weight);
        pieces.into_iter().map(|(_, tone, text)| (tone, text)).collect()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How long a step takes by its own account.
fn lasts(step: &Step) -> Option<Duration> {
    if step.rolling.is_some() {
        return None;
    }
    match &step.action {
        Action::Wait(duration) => Some(*duration),
        Action::Check(check) => Some(check.within.0).filter(|within| !within.is_zero()),
        Action::Load(_) => step.duration,
        Action::Fault { .. } => step.duration.or(step.repeat.and_then(|repeat| repeat.length).map(|l| l.0)),
        Action::Revert(_) => None,
        // A person takes as long as a person takes.
        Action::Manual(_) => None,
    }
}

/// How long a run takes at the least: Baseline, and what the steps say of themselves one after another.
fn expected(experiment: &Experiment) -> Duration {
    let steps = experiment.spec.method.iter().filter(|step| !step.background);
    let waits = steps.filter(|step| !matches!(step.action, Action::Check(_))).filter_map(lasts);
    waits
        .fold(experiment.spec.baseline_duration(), Duration::saturating_add)
        .saturating_add(experiment.spec.stable_for())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::journals;

    fn plain() -> Mode {
        Mode { progress: false, style: Style::default() }
    }

    fn piped(entries: &[Entry]) -> String {
        let mut timeline = Timeline::new(Vec::new(), plain());
        entries.iter().for_each(|entry| timeline.on(entry));
        timeline.close();
        String::from_utf8(timeline.out).expect("UTF-8")
    }

    #[test]
    fn piped_runs_read_as_their_golden_files() {
        for (name, entries) in journals::all() {
            journals::golden(&format!("{name}.live.txt"), &piped(&entries));
        }
    }

    #[test]
    fn progress_reads_as_its_golden_file() {
        let style = Style::default();
        let mut live = Live::default();
        let mut frames = String::new();
        let mut last = String::new();
        for entry in journals::failed() {
            for event in live.take(&entry) {
                frames.push_str(&format!("{}\n", line(&event, &style)));
            }
            let frame = live.progress(&style);
            if frame != last {
                frames.push_str(&format!("~ {frame}\n"));
                last = frame;
            }
        }
        journals::golden("failed.progress.txt", &frames);
        assert_eq!(last, "", "nothing is left after the end");
    }

    #[test]
    fn the_progress_line_is_rewritten_in_place_and_fits() {
        let style = Style { colour: false, unicode: true, width: 40 };
        let mut timeline = Timeline::new(Vec::new(), Mode { progress: true, style });
        let entries = journals::failed();
        entries.iter().for_each(|entry| timeline.on(entry));
        timeline.close();
        let text = String::from_utf8(timeline.out).expect("UTF-8");
        let lines: Vec<&str> = text.split('\n').collect();
        assert!(lines.last().is_some_and(|line| line.is_empty()), "ends at the begin of a line");
        for line in lines {
            // All but the last of what a line once held was progress.
            let held: Vec<&str> = line.split(ERASE).collect();
            for progress in &held[..held.len() - 1] {
                assert!(progress.chars().count() < 40, "{progress}");
            }
            assert!(!held.concat().contains('\u{1b}'));
            let told = held[held.len() - 1];
            assert!(told.chars().count() < 40 || !told.trim_start().contains(' '), "{told}");
        }
        assert_eq!(text.replace(ERASE, "\n").lines().filter(|line| line.contains("over: Failed")).count(), 1);
    }

    #[test]
    fn a_long_silence_in_a_pipe_is_broken_at_most_every_thirty_seconds() {
        let mut journal = journals::Journal::rehearsal();
        for secs in 0..100 {
            journal.sample(f64::from(secs), "availability", Some(1.0));
        }
        let text = piped(&journal.entries);
        let beats: Vec<&str> = text.lines().filter(|line| line.contains('…')).collect();
        let times: Vec<&str> = beats.iter().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(times, ["+30s", "+1m00s", "+1m30s"]);
        assert!(beats[0].contains("availability 1 ok"), "{}", beats[0]);
        // On a terminal the progress line says it.
        let mut timeline = Timeline::new(Vec::new(), Mode { progress: true, style: Style::default() });
        journal.entries.iter().for_each(|entry| timeline.on(entry));
        assert!(!String::from_utf8_lossy(&timeline.out).contains('…'));
    }

    #[test]
    fn nothing_from_outside_reaches_the_terminal_as_it_is() {
        let mut timeline = Timeline::new(Vec::new(), Mode { progress: true, style: Style::default() });
        let entries = journals::hostile();
        entries.iter().for_each(|entry| timeline.on(entry));
        let text = String::from_utf8(timeline.out).expect("UTF-8").replace(ERASE, "");
        assert_eq!(text.chars().find(|&c| c != '\n' && c.is_control()), None);
    }

    #[test]
    fn a_reader_that_has_gone_away_stops_nothing() {
        struct Gone;
        impl io::Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut timeline = Timeline::new(Gone, plain());
        journals::failed().iter().for_each(|entry| timeline.on(entry));
        assert_eq!(timeline.error().map(io::Error::kind), Some(io::ErrorKind::BrokenPipe));
    }
}
