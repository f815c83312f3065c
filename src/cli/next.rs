//! `firedrill next`

use clap::Args;
use jiff::{Timestamp, Zoned, tz::TimeZone};
use serde_json::{Value, json};

use super::{
    FileArgs, Global, Output, Usage,
    coming::{Found, Known},
    connect,
    dates::{Day, Side},
};
use crate::{
    api::{GameDay, Shift},
    controller::{
        calendar::{Calendar, Occurrence, Skipped},
        forbidding::Forbidding,
    },
    env::Clock,
    report::{Style, Tone},
    types::{ExitCode, Length},
};

/// A schedule names so many times at most in what is shown of it.
const MOST: usize = 10_000;

#[derive(Args)]
#[command(
    after_help = "The windows, blackouts and halt of Guardrails are held against the times: of those among the files, \
and with --controller of those in the cluster. Without --controller no cluster is needed."
)]
pub(super) struct NextArgs {
    #[command(flatten)]
    files: FileArgs,

    /// Those that are in the cluster, in all namespaces or that of -n; with files, the files' against the Guardrails there.
    #[arg(long)]
    controller: bool,

    /// How many times of each game day; default: 10, or all with --until.
    #[arg(long, value_name = "N")]
    count: Option<usize>,

    /// From when on: a day such as 2027-01-01, or a time such as 2027-01-01T09:00:00Z; default: now.
    #[arg(long, value_name = "WHEN")]
    from: Option<Day>,

    /// Until when: a day, which is included, or a time.
    #[arg(long, value_name = "WHEN")]
    until: Option<Day>,

    /// text for people, json for machines.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// What is to be said of one game day.
struct Coming {
    day: GameDay,
    calendar: Calendar,
    from: Timestamp,
    occurrences: Vec<Occurrence>,
    /// The Guardrail that keeps it from being begun at `from`.
    forbidden: Option<Skipped>,
}

/// A change of clocks.
pub(super) struct Change {
    pub(super) at: Timestamp,
    before: Zoned,
    after: Zoned,
}

pub(super) fn run(global: &Global, args: &NextArgs) -> anyhow::Result<ExitCode> {
    let mut known = Known::default();
    let files = !args.files.files.is_empty() || !args.files.more.is_empty();
    if (files || !args.controller)
        && let Some(code) = known.read(&args.files)?
    {
        return Ok(code);
    }
    if args.controller {
        connect::runtime()?.block_on(known.ask(global, !files))?;
    }
    if known.days.is_empty() && !files && args.controller {
        super::say("there is no GameDay in the cluster; kubectl apply brings one there");
        return Ok(ExitCode::Ok);
    }
    let now = Clock::system().now();
    let Known { days, forbidding } = known;
    let coming: Vec<Coming> =
        days.into_iter().map(|found| look(args, found, (&forbidding, now))).collect::<anyhow::Result<_>>()?;
    if coming.is_empty() {
        return Err(Usage("there is no GameDay in what was read".to_owned()).into());
    }
    match args.output {
        Output::Json => {
            let all: Vec<Value> = coming.iter().map(Coming::json).collect();
            super::print(&serde_json::to_string_pretty(&all)?)
        }
        Output::Text => {
            let style = super::stdout_style();
            let texts: Vec<String> = coming.iter().map(|coming| coming.text(&style)).collect();
            super::print(&texts.join("\n"))
        }
    }
}

fn look(
    args: &NextArgs,
    Found { day, namespaces }: Found,
    (forbidding, now): (&Forbidding, Timestamp),
) -> anyhow::Result<Coming> {
    let calendar = Calendar::new(&day.spec).map_err(Usage)?;
    let zone = calendar.hours().zone();
    let from = match &args.from {
        Some(day) => day.instant(zone, Side::Begin)?,
        None => now,
    };
    let until = args.until.as_ref().map(|day| day.instant(zone, Side::End)).transpose()?;
    let count = args.count.unwrap_or(if until.is_some() { MOST } else { 10 }).min(MOST);
    let all = calendar.occurrences_from(from).map(|due| forbidding.held_against(&namespaces, due));
    let occurrences =
        all.take_while(|found| until.is_none_or(|until| found.at < until)).take(count).collect();
    let forbidden = forbidding.against(&namespaces, from);
    Ok(Coming { day, from, occurrences, calendar, forbidden })
}

impl Coming {
    /// The changes of clocks until the last time that is shown.
    fn changes(&self) -> Vec<Change> {
        let Some(last) = self.occurrences.last() else { return Vec::new() };
        changes(self.calendar.hours().zone(), self.from, last.at)
    }

    /// Where more time passes between two that run than `cadence` allows.
    fn overdue(&self) -> Vec<(Timestamp, Option<Timestamp>)> {
        let mut runs = self.occurrences.iter().filter(|found| found.skipped.is_none()).map(|found| found.at);
        let Some(mut last) = runs.next() else { return Vec::new() };
        let mut found = Vec::new();
        for at in runs {
            found.extend(self.calendar.overdue(last, at).map(|since| (since, Some(at))));
            last = at;
        }
        // After the last that is shown nobody knows yet, but for times that are shown and do not run.
        if let Some(end) = self.occurrences.last() {
            found.extend(self.calendar.overdue(last, end.at).map(|since| (since, None)));
        }
        found
    }

    fn json(&self) -> Value {
        let occurrence = |found: &Occurrence| {
            json!({
                "time": found.at.to_string(),
                "local": found.when(),
                "runs": found.skipped.is_none(),
                "skipped": found.skipped.as_ref().map(ToString::to_string),
                "shift": (found.shift != Shift::None).then(|| format!("{:?}", found.shift)),
            })
        };
        let change = |change: &Change| {
            json!({
                "time": change.at.to_string(),
                "from": change.before.strftime("%H:%M %Z").to_string(),
                "to": change.after.strftime("%H:%M %Z").to_string(),
            })
        };
        let overdue = self.overdue().into_iter().map(|(since, until)| {
            json!({"since": since.to_string(), "until": until.map(|until| until.to_string())})
        });
        let spec = &self.day.spec;
        json!({
            "name": self.day.metadata.name,
            "namespace": self.day.metadata.namespace,
            "schedule": spec.schedule,
            "timeZone": spec.time_zone,
            "from": self.from.to_string(),
            "duration": Length(spec.duration()).to_string(),
            "suspend": spec.suspend,
            "open": self.forbidden.is_none() && self.calendar.closed(self.from).is_none(),
            "occurrences": self.occurrences.iter().map(occurrence).collect::<Vec<_>>(),
            "clockChanges": self.changes().iter().map(change).collect::<Vec<_>>(),
            "overdue": overdue.collect::<Vec<_>>(),
        })
    }

    fn text(&self, style: &Style) -> String {
        let spec = &self.day.spec;
        let mut text = style.paint(Tone::Strong, &self.day.metadata.name);
        let length = Length(spec.duration());
        match (&spec.schedule, &spec.time_zone) {
            (Some(schedule), Some(zone)) => {
                text.push_str(&format!("  {schedule}  {zone}, at most {length}\n"));
            }
            _ => text.push_str(&format!("  by hand, at most {length}\n")),
        }
        for line in self.rules() {
            text.push_str(&format!("  {}\n", style.plain(&line)));
        }
        if spec.schedule.is_none() {
            text.push_str(&format!("  {}\n", self.by_hand()));
            return text;
        }
        let mut changes = self.changes().into_iter().peekable();
        for found in &self.occurrences {
            while let Some(change) = changes.next_if(|change| change.at <= found.at) {
                text.push_str(&format!("  {}\n", style.paint(Tone::Faint, &change.line())));
            }
            text.push_str(&format!("  {}\n", occurrence(found, style)));
        }
        if self.occurrences.is_empty() {
            text.push_str("  it does not come due in that time\n");
        }
        for (since, until) in self.overdue() {
            let zone = self.calendar.hours().zone();
            let day = |at: Timestamp| at.to_zoned(zone.clone()).strftime("%a %Y-%m-%d").to_string();
            let until = until.map_or_else(String::new, |until| format!(" until {}", day(until)));
            let cadence = cadence(self.calendar.cadence().unwrap_or_default());
            let line = format!("overdue from {}{until}: it must have run every {cadence}", day(since));
            text.push_str(&format!("  {} {line}\n", style.paint(Tone::Warning, "!")));
        }
        text
    }

    /// Windows and blackouts in words.
    fn rules(&self) -> Vec<String> {
        let spec = &self.day.spec;
        let windows = spec.windows.iter().map(|window| {
            let short: Vec<&str> = window.days.iter().map(|day| day.get(..3).unwrap_or(day)).collect();
            format!("window {} {} to {}", short.join(" "), window.from, window.to)
        });
        let blackouts = spec.blackouts.iter().map(|dark| {
            let year = if dark.from.len() > 5 { "" } else { ", every year" };
            format!("blackout {} {} to {}{year}", dark.name, dark.from, dark.to)
        });
        let suspended = spec.suspend.then(|| "suspended: the schedule rests".to_owned());
        windows.chain(blackouts).chain(suspended).collect()
    }

    /// Whether it may begin now, where nothing is scheduled.
    fn by_hand(&self) -> String {
        if let Some(guardrail) = &self.forbidden {
            return format!("may not begin now: {guardrail}");
        }
        let Some(closed) = self.calendar.closed(self.from) else { return "may begin now".to_owned() };
        match self.calendar.hours().opens(self.from) {
            Some(at) => {
                format!("may not begin now: {closed}; open again {}", self.calendar.when(at))
            }
            None => format!("may not begin now: {closed}"),
        }
    }
}

/// The changes of clocks in a zone within that time.
pub(super) fn changes(zone: &TimeZone, from: Timestamp, until: Timestamp) -> Vec<Change> {
    let changes = zone.following(from).take_while(|change| change.timestamp() <= until);
    let read = changes.map(|change| Change {
        at: change.timestamp(),
        before: just_before(change.timestamp(), zone),
        after: change.timestamp().to_zoned(zone.clone()),
    });
    // A zone may change its name alone.
    read.filter(|change| change.before.offset() != change.after.offset()).collect()
}

/// `90d`, `36h`.
pub(super) fn cadence(length: std::time::Duration) -> String {
    let hours = length.as_secs() / 3600;
    if hours.is_multiple_of(24) { format!("{}d", hours / 24) } else { format!("{hours}h") }
}

fn just_before(at: Timestamp, zone: &TimeZone) -> Zoned {
    let before = at.checked_sub(jiff::SignedDuration::from_secs(1)).unwrap_or(at).to_zoned(zone.clone());
    // The moment of the change as the old clock would have shown it.
    at.to_zoned(TimeZone::fixed(before.offset()))
}

impl Change {
    pub(super) fn line(&self) -> String {
        let (from, to) = (self.before.offset().seconds(), self.after.offset().seconds());
        let by = Length::from_secs(u64::from((to - from).unsigned_abs()));
        let how = if to > from { "forward" } else { "back" };
        format!(
            "{} clocks go {how} by {by}: from {} to {}",
            self.before.strftime("%a %Y-%m-%d"),
            self.before.strftime("%H:%M"),
            self.after.strftime("%H:%M %Z")
        )
    }
}

fn occurrence(found: &Occurrence, style: &Style) -> String {
    match &found.skipped {
        None => row(found, (Tone::Good, "runs"), style),
        // A Run of it is made, and comes to nothing.
        Some(why @ Skipped::Guardrail { .. }) => row(found, (Tone::Bad, &format!("refused: {why}")), style),
        Some(why) => row(found, (Tone::Warning, &format!("skipped: {why}")), style),
    }
}

/// A time, and what is to be said of it.
pub(super) fn row(found: &Occurrence, (tone, words): (Tone, &str), style: &Style) -> String {
    let shift = match found.shift {
        Shift::None => String::new(),
        shift => format!("  ({shift})"),
    };
    format!("{:<27}{}{shift}", found.when(), style.paint(tone, &style.plain(words)))
}
