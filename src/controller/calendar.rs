//! When game days run: schedules, windows, blackouts, deadlines, cadence. Pure: it is told what time it is.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp, Zoned};

use crate::{
    api::{Closed, ConcurrencyPolicy, Cron, Due, GameDaySpec, Hours, Shift},
    types::Length,
};

/// So many missed times are counted; what is missed is never caught up, however much it is.
const COUNTED: usize = 100;

/// So many times are looked through for one that was not dealt with.
const LOOKED_THROUGH: usize = 1000;

/// How a time is written for people.
const LOCAL: &str = "%a %Y-%m-%d %H:%M %Z";

/// A game day's calendar, read.
#[derive(Clone, Debug)]
pub struct Calendar {
    cron: Option<Cron>,
    hours: Hours,
    length: Duration,
    deadline: Duration,
    policy: ConcurrencyPolicy,
    suspend: bool,
    cadence: Option<Duration>,
    /// How long before its time the Run is made, so that others can agree.
    ahead: Option<Duration>,
    /// How long that is if a Guardrail asks for it and not the game day itself.
    request_before: Duration,
}

/// A time at which a game day comes due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// When.
    pub at: Timestamp,
    /// The clock on the wall then.
    pub local: Zoned,
    /// What daylight saving time has done to it.
    pub shift: Shift,
    /// Why it does not run; None: it does.
    pub skipped: Option<Skipped>,
}

/// Why a game day that came due does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Skipped {
    /// Its schedule rests.
    Suspended,
    /// Windows or blackouts forbid it.
    Closed(Closed),
    /// A Guardrail over it will refuse the Run that is made.
    Guardrail {
        /// Its name.
        name: String,
        /// Why.
        why: String,
    },
    /// Nobody was there to start it in time.
    Missed {
        /// How late it would have been.
        late: Length,
        /// How many times in all were missed; a hundred stand for more.
        times: usize,
    },
    /// The one before it still runs.
    Running(String),
}

/// What there is to do about a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing until then; None: nothing ever.
    Wait(Option<Timestamp>),
    /// A Run is made.
    Start {
        /// The time that it is for.
        at: Timestamp,
        /// Runs that are aborted, and everything put back, before it begins.
        replaces: Vec<String>,
    },
    /// None is made for that time, which is done with.
    Skip {
        /// The time.
        at: Timestamp,
        /// Why.
        why: Skipped,
    },
}

/// What is known of a game day's past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    /// The last time that came due and was dealt with, or when the game day was made.
    pub handled: Timestamp,
    /// Up to when there are Runs for times that are still to come; None: for none of them.
    pub made: Option<Timestamp>,
    /// Names of Runs that have begun and are not over.
    pub active: Vec<String>,
}

/// A Run that has finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Its name.
    pub name: String,
    /// When it was over.
    pub at: Timestamp,
    /// Whether something is left of it.
    pub residue: bool,
}

impl Occurrence {
    /// When, for people: `Mon 2026-03-30 10:00 CEST`.
    pub fn when(&self) -> String {
        self.local.strftime(LOCAL).to_string()
    }
}

impl std::fmt::Display for Skipped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Suspended => f.write_str("suspended"),
            Self::Closed(closed) => write!(f, "{closed}"),
            Self::Guardrail { name, why } => write!(f, "Guardrail {name}: {why}"),
            Self::Missed { late, times: 1 } => write!(f, "missed: it would have begun {late} late"),
            Self::Missed { late, times } => write!(f, "missed {times} times, the last by {late}"),
            Self::Running(name) => write!(f, "{name} still runs"),
        }
    }
}

impl Calendar {
    /// Reads what a game day says of time.
    ///
    /// # Errors
    /// The schedule, zone or day that cannot be read; `check` says so with its place.
    pub fn new(spec: &GameDaySpec) -> Result<Self, String> {
        let cron =
            spec.schedule.as_deref().map(Cron::parse).transpose().map_err(|error| error.to_string())?;
        Ok(Self {
            cron,
            hours: Hours::new(spec.time_zone.as_deref(), &spec.windows, &spec.blackouts)?,
            length: spec.duration(),
            deadline: spec.starting_deadline(),
            policy: spec.concurrency_policy,
            suspend: spec.suspend,
            cadence: spec.cadence.map(|cadence| cadence.0),
            ahead: spec.approvals.filter(|asked| asked.required > 0).map(|asked| asked.request_before.0),
            request_before: spec.approvals.unwrap_or_default().request_before.0,
        })
    }

    /// The same where others have to agree whatever the game day says: a Guardrail asks for it.
    pub fn asking(mut self) -> Self {
        self.ahead = Some(self.request_before);
        self
    }

    /// How long before its time the Run is made; None: not before.
    pub fn ahead(&self) -> Option<Duration> {
        self.ahead
    }

    /// Whether it has a schedule at all.
    pub fn scheduled(&self) -> bool {
        self.cron.is_some()
    }

    /// Windows and blackouts.
    pub fn hours(&self) -> &Hours {
        &self.hours
    }

    /// A time in its zone, for people.
    pub fn when(&self, at: Timestamp) -> String {
        self.hours.local(at).strftime(LOCAL).to_string()
    }

    /// Why it may not begin then, by hand or by schedule; None: it may.
    pub fn closed(&self, at: Timestamp) -> Option<Closed> {
        self.hours.closed_for(at, self.length)
    }

    /// The times after `after` at which it comes due, each with whether it runs; none without a schedule.
    pub fn occurrences(&self, after: Timestamp) -> impl Iterator<Item = Occurrence> + '_ {
        let dues = self.cron.iter().flat_map(move |cron| cron.after(after, self.hours.zone()));
        dues.map(|due| self.occurrence(due))
    }

    /// The same with one that comes due at `from` itself.
    pub fn occurrences_from(&self, from: Timestamp) -> impl Iterator<Item = Occurrence> + '_ {
        self.occurrences(from.checked_sub(SignedDuration::from_nanos(1)).unwrap_or(from))
    }

    fn occurrence(&self, due: Due) -> Occurrence {
        let closed = || self.closed(due.at).map(Skipped::Closed);
        Occurrence {
            at: due.at,
            local: self.hours.local(due.at),
            shift: due.shift,
            skipped: if self.suspend { Some(Skipped::Suspended) } else { closed() },
        }
    }

    /// The first time from then on at which it would be held, suspended or not; without a schedule the first at which it
    /// may begin by hand. None in two years or a thousand times.
    pub fn first(&self, from: Timestamp) -> Option<Timestamp> {
        if self.cron.is_some() {
            let mut dues = self.occurrences_from(from).take(1000).map(|occurrence| occurrence.at);
            return dues.find(|at| self.closed(*at).is_none());
        }
        let mut at = from;
        for _ in 0..1000 {
            at = self.hours.opens(at)?;
            if self.closed(at).is_none() {
                return Some(at);
            }
            at = at.checked_add(SignedDuration::from_hours(1)).ok()?;
        }
        None
    }

    /// What there is to do now. However long nobody has asked, one time is dealt with and no other: the latest.
    pub fn decide(&self, past: &Past, now: Timestamp) -> Decision {
        let next = || self.ahead_of_time(past, now);
        let Some(cron) = &self.cron else { return Decision::Wait(None) };
        let Some(due) = cron.before(now, self.hours.zone()).filter(|due| due.at > past.handled) else {
            return next();
        };
        let skip = |why| Decision::Skip { at: due.at, why };
        let occurrence = self.occurrence(due);
        if let Some(why) = occurrence.skipped {
            return skip(why);
        }
        // It had its Run ahead of time, and that is gone.
        if past.made.is_some_and(|made| due.at <= made) {
            return next();
        }
        let late = Duration::try_from(now.duration_since(due.at)).unwrap_or_default();
        if late > self.deadline {
            let times = cron.after(past.handled, self.hours.zone()).take_while(|due| due.at <= now);
            let late = Length::from_secs(late.as_secs());
            return skip(Skipped::Missed { late, times: times.take(COUNTED).count() });
        }
        // It was open when it was due; begun late it may not be any more.
        if let Some(closed) = self.closed(now) {
            return skip(Skipped::Closed(closed));
        }
        match (past.active.first(), self.policy) {
            (Some(active), ConcurrencyPolicy::Forbid) => skip(Skipped::Running(active.clone())),
            _ => Decision::Start { at: due.at, replaces: past.active.clone() },
        }
    }

    /// The next time that is held, if there is something to be done about it before it comes: what is skipped until then
    /// hides it from nobody.
    fn ahead_of_time(&self, past: &Past, now: Timestamp) -> Decision {
        let Some(next) = self.occurrences(now).next() else { return Decision::Wait(None) };
        let until = self.ahead.and_then(|ahead| now.checked_add(ahead).ok());
        let (Some(ahead), Some(until)) = (self.ahead, until) else { return Decision::Wait(Some(next.at)) };
        for due in self.occurrences(past.made.unwrap_or(now).max(now)).take(LOOKED_THROUGH) {
            if due.at > until {
                let asked = due.at.checked_sub(ahead).unwrap_or(due.at);
                return Decision::Wait(Some(asked.min(next.at)));
            }
            if due.skipped.is_none() {
                return Decision::Start { at: due.at, replaces: Vec::new() };
            }
        }
        Decision::Wait(Some(next.at))
    }

    /// Since when it must have run again, if `cadence` says so and it has not: `last` is when it ran last, or was made.
    pub fn overdue(&self, last: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let due = last.checked_add(SignedDuration::try_from(self.cadence?).ok()?).ok()?;
        (due < now).then_some(due)
    }

    /// How often it must have run.
    pub fn cadence(&self) -> Option<Duration> {
        self.cadence
    }
}

/// The name of the Run of a time: the same from everybody, so that it is made once.
pub fn run_name(game_day: &str, at: Timestamp) -> String {
    format!("{game_day}-{}", at.as_second().div_euclid(60))
}

/// Names of the Runs beyond `limit`, oldest first; never one with residue, which somebody still needs.
pub fn surplus(finished: &[Finished], limit: usize) -> Vec<String> {
    let mut clean: Vec<&Finished> = finished.iter().filter(|run| !run.residue).collect();
    clean.sort_by(|a, b| (a.at, &a.name).cmp(&(b.at, &b.name)));
    let beyond = finished.len().saturating_sub(limit);
    clean.into_iter().take(beyond).map(|run| run.name.clone()).collect()
}

#[cfg(test)]
mod tests;
