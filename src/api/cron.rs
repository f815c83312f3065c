//! Five fields of cron (minute, hour, day of the month, month, day of the week) as vixie cron reads them, and the
//! times that they name in a zone.
//!
//! A local time that a zone skips comes at the end of the gap; one that it has twice comes once, the first time.

use std::fmt;

use jiff::{
    Timestamp,
    civil::{Date, DateTime},
    tz::{AmbiguousOffset, TimeZone},
};

/// How far ahead and back a time is looked for, in days: 29 February is eight years from the next around 2100.
const HORIZON: i64 = 9 * 366;

/// What a field may hold.
struct Field {
    name: &'static str,
    min: u8,
    max: u8,
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", min: 0, max: 59, names: &[] },
    Field { name: "hour", min: 0, max: 23, names: &[] },
    Field { name: "day of the month", min: 1, max: 31, names: &[] },
    Field {
        name: "month",
        min: 1,
        max: 12,
        names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    },
    // 7 is Sunday too.
    Field {
        name: "day of the week",
        min: 0,
        max: 7,
        names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    },
];

/// Words that other crons know, each with what it means in five fields; None: it cannot be said so.
const WORDS: &[(&str, Option<&str>)] = &[
    ("@yearly", Some("0 0 1 1 *")),
    ("@annually", Some("0 0 1 1 *")),
    ("@monthly", Some("0 0 1 * *")),
    ("@weekly", Some("0 0 * * 0")),
    ("@daily", Some("0 0 * * *")),
    ("@midnight", Some("0 0 * * *")),
    ("@hourly", Some("0 * * * *")),
    ("@every", None),
    ("@reboot", None),
];

/// Five fields, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    /// A bit for each value of each field.
    fields: [u64; 5],
    /// Whether the days of the month and of the week begin with `*`: then both have to match, otherwise either.
    stars: [bool; 2],
}

/// Why a text is not five fields of cron.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CronError {
    /// The bytes of the text that it is about.
    pub at: (usize, usize),
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub remedy: String,
}

/// A time that a schedule names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Due {
    /// When.
    pub at: Timestamp,
    /// What the clock on the wall should have shown.
    pub local: DateTime,
    /// What daylight saving time has done to it.
    pub shift: Shift,
}

/// What daylight saving time does to a local time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shift {
    /// Nothing.
    #[default]
    None,
    /// The clock skips it: it comes at the end of the gap.
    Gap,
    /// The clock shows it twice: it comes the first time only.
    Fold,
}

impl Cron {
    /// Reads five fields.
    ///
    /// # Errors
    /// The first thing that is not one, with its place: a sixth field, `@every`, a number out of range, a day that no
    /// month has.
    pub fn parse(text: &str) -> Result<Self, CronError> {
        let whole = (0, text.len());
        if text.trim() != text {
            return Err(error(whole, "a blank stands before or after it", "leave it out"));
        }
        if text.starts_with('@') {
            return Err(word(text, whole));
        }
        if ["TZ=", "CRON_TZ="].iter().any(|zone| text.to_uppercase().starts_with(zone)) {
            return Err(error(whole, "a schedule names no zone", "write it as timeZone beside the schedule"));
        }
        let parts = parts(text);
        match parts.len() {
            5 => {}
            6 | 7 => {
                let message = format!("{} fields, and there are five: no seconds and no years", parts.len());
                return Err(error(whole, &message, "write minute, hour, day, month, day of the week"));
            }
            count => {
                let message = format!("{count} fields, and there are five");
                return Err(error(
                    whole,
                    &message,
                    "write minute, hour, day, month, day of the week: \"0 10 * * TUE\"",
                ));
            }
        }
        let mut fields = [0; 5];
        for ((bits, part), field) in fields.iter_mut().zip(&parts).zip(&FIELDS) {
            *bits = field.read(part)?;
        }
        // Sunday is one day.
        if fields[4] & (1 << 7) != 0 {
            fields[4] = (fields[4] | 1) & !(1 << 7);
        }
        let star = |at: usize| parts[at].text.starts_with('*');
        let cron = Self { fields, stars: [star(2), star(4)] };
        if !cron.ever() {
            let at = (parts[2].at, parts[3].at + parts[3].text.len());
            let message = "no month that is named has such a day, so it never comes";
            return Err(error(at, message, "take a day that the months have"));
        }
        Ok(cron)
    }

    fn has(&self, field: usize, value: i8) -> bool {
        u32::try_from(value).is_ok_and(|value| self.fields[field] & (1 << value) != 0)
    }

    /// Whether the day is one of those that are named.
    fn on(&self, date: Date) -> bool {
        if !self.has(3, date.month()) {
            return false;
        }
        let month = self.has(2, date.day());
        let week = self.has(4, date.weekday().to_sunday_zero_offset());
        if self.stars.contains(&true) { month && week } else { month || week }
    }

    /// Whether any day is: the calendar repeats itself, and eight years hold every kind of year.
    fn ever(&self) -> bool {
        let begin = Date::constant(2096, 1, 1);
        days(begin, 1).take(HORIZON as usize).any(|date| self.on(date))
    }

    /// The times on a day that are named, by the clock on the wall.
    fn times(&self, date: Date) -> impl DoubleEndedIterator<Item = DateTime> + '_ {
        let minutes = |hour: i8| (0..60_i8).map(move |minute| (hour, minute));
        (0..24_i8)
            .filter(|hour| self.has(1, *hour))
            .flat_map(minutes)
            .filter(|(_, minute)| self.has(0, *minute))
            .map(move |(hour, minute)| date.at(hour, minute, 0, 0))
    }

    /// The times after `after`, in order, each once; none beyond nine years without one.
    pub fn after<'a>(&'a self, after: Timestamp, zone: &'a TimeZone) -> impl Iterator<Item = Due> + 'a {
        let mut last = after;
        // A zone may have moved its clock by a day, and no more.
        let begin = earlier(zone.to_datetime(after).date(), 2);
        let on = days(begin, 1).take_while(|date| date.year() < 9000).scan(0_i64, |idle, date| {
            let on = self.on(date);
            *idle = if on { 0 } else { *idle + 1 };
            (*idle <= HORIZON).then_some(on.then_some(date))
        });
        on.flatten().flat_map(|date| self.times(date)).filter_map(move |local| {
            let due = due(local, zone)?;
            (due.at > last).then(|| {
                last = due.at;
                due
            })
        })
    }

    /// The latest time that is not after `now`; None if there was none in nine years.
    pub fn before(&self, now: Timestamp, zone: &TimeZone) -> Option<Due> {
        let begin = zone.to_datetime(now).date();
        let begin = begin.tomorrow().unwrap_or(begin);
        let mut on = days(begin, -1).take(HORIZON as usize).filter(|date| self.on(*date));
        on.find_map(|date| {
            let dues = self.times(date).filter_map(|local| due(local, zone)).filter(|due| due.at <= now);
            // Of those that fall together at the end of a gap the first, as going forwards.
            dues.reduce(|latest, due| if due.at > latest.at { due } else { latest })
        })
    }
}

/// When the clock on the wall shows `local`; None beyond what can be written.
fn due(local: DateTime, zone: &TimeZone) -> Option<Due> {
    let ambiguous = zone.to_ambiguous_timestamp(local);
    let (at, shift) = match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { offset } => (offset.to_timestamp(local).ok()?, Shift::None),
        AmbiguousOffset::Fold { before, .. } => (before.to_timestamp(local).ok()?, Shift::Fold),
        AmbiguousOffset::Gap { after, .. } => {
            // Read by the later offset it lies before the change, and nothing else changes in between.
            let before = after.to_timestamp(local).ok()?;
            (zone.following(before).next()?.timestamp(), Shift::Gap)
        }
    };
    Some(Due { at, local, shift })
}

fn days(begin: Date, step: i64) -> impl Iterator<Item = Date> {
    std::iter::successors(
        Some(begin),
        move |date| {
            if step > 0 { date.tomorrow().ok() } else { date.yesterday().ok() }
        },
    )
}

fn earlier(date: Date, by: usize) -> Date {
    days(date, -1).take(by + 1).last().unwrap_or(date)
}

impl fmt::Display for Shift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "",
            Self::Gap => "the clock skips that time: at the end of the gap",
            Self::Fold => "the clock shows that time twice: the first",
        })
    }
}

/// A field as written, and where.
struct Part<'a> {
    text: &'a str,
    at: usize,
}

fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut at = 0;
    for word in text.split(char::is_whitespace) {
        if !word.is_empty() {
            parts.push(Part { text: word, at });
        }
        // Every blank that cron knows is a byte; others make the field unreadable anyway.
        at += word.len() + 1;
    }
    parts
}

fn error(at: (usize, usize), message: &str, remedy: &str) -> CronError {
    CronError { at, message: message.to_owned(), remedy: remedy.to_owned() }
}

/// `@every 1h` and its like.
fn word(text: &str, at: (usize, usize)) -> CronError {
    let name = text.split_whitespace().next().unwrap_or(text);
    let known = WORDS.iter().find(|(word, _)| word.eq_ignore_ascii_case(name));
    let message = format!("`{name}` is not one of the five fields of cron");
    match known {
        Some((_, Some(fields))) => error(at, &message, &format!("write \"{fields}\"")),
        Some(("@every", None)) => error(
            at,
            &message,
            "write times of day: \"0 */6 * * *\" is every six hours; how often it must have run is cadence",
        ),
        _ => error(at, &message, "write minute, hour, day, month, day of the week: \"0 10 * * TUE\""),
    }
}

impl Field {
    /// The bits of `1`, `1-5`, `*/2`, `1-5/2`, `MON,WED`.
    fn read(&self, part: &Part<'_>) -> Result<u64, CronError> {
        let mut bits = 0;
        let mut at = part.at;
        for item in part.text.split(',') {
            let place = (at, at + item.len().max(1));
            bits |= self.item(item, place)?;
            at += item.len() + 1;
        }
        Ok(bits)
    }

    fn item(&self, item: &str, at: (usize, usize)) -> Result<u64, CronError> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (item, None),
        };
        let last = if self.max == 7 { 6 } else { self.max };
        let (low, high) = match range.split_once('-') {
            _ if range == "*" => (self.min, last),
            Some((low, high)) => {
                let (low, high) = (self.value(low, at)?, self.value(high, at)?);
                // To Sunday: it ends the week as well as it begins it.
                (low, if self.max == 7 && high == 0 && low > 0 { 7 } else { high })
            }
            None => {
                let value = self.value(range, at)?;
                (value, if step.is_some() { last.max(value) } else { value })
            }
        };
        if low > high {
            let message = format!("`{range}` ends before it begins");
            return Err(error(at, &message, "write it as two, separated by a comma"));
        }
        let step = match step {
            None => 1,
            Some(step) => self.step(step, high - low, at)?,
        };
        Ok((low..=high).step_by(step).fold(0, |bits, value| bits | 1 << value))
    }

    fn step(&self, step: &str, width: u8, at: (usize, usize)) -> Result<usize, CronError> {
        match step.parse::<u8>() {
            Ok(0) => Err(error(at, "a step of 0 goes nowhere", "write 1 or more")),
            Ok(step) if step > width && width > 0 => {
                let message = format!("a step of {step} is longer than what it goes through");
                Err(error(at, &message, &format!("write at most {width}, or the one value that is meant")))
            }
            Ok(step) => Ok(usize::from(step)),
            Err(_) => Err(error(at, &format!("`{step}` is not a step"), "write a number, as in */15")),
        }
    }

    fn value(&self, text: &str, at: (usize, usize)) -> Result<u8, CronError> {
        let lower = text.to_lowercase();
        if let Some(index) = self.names.iter().position(|name| *name == lower) {
            return Ok(u8::try_from(index).unwrap_or(0) + u8::from(self.max == 12));
        }
        let (min, max) = (self.min, self.max);
        match text.parse::<u32>() {
            Ok(value) if (u32::from(min)..=u32::from(max)).contains(&value) && !text.starts_with('+') => {
                Ok(u8::try_from(value).unwrap_or(max))
            }
            Ok(_) => {
                let message = format!("`{text}` is no {}", self.name);
                Err(error(at, &message, &format!("write {min} to {max}")))
            }
            Err(_) => Err(self.not_a_value(text, at)),
        }
    }

    fn not_a_value(&self, text: &str, at: (usize, usize)) -> CronError {
        let message = format!("`{text}` is no {}", self.name);
        if text.contains('?') {
            return error(at, &message, "write *");
        }
        if text.contains(['L', 'W', '#', 'H']) && self.names.is_empty() || text.contains('#') {
            return error(at, &message, "L, W, # and H are other crons'; write numbers");
        }
        let near = crate::types::nearest(text, self.names.iter().copied());
        let remedy = match (near, self.names.is_empty()) {
            (Some(near), _) => format!("did you mean {}?", near.to_uppercase()),
            (None, false) => {
                format!(
                    "write {} to {}, or a name such as {}",
                    self.min,
                    self.max,
                    self.names[1].to_uppercase()
                )
            }
            (None, true) => format!("write {} to {}", self.min, self.max),
        };
        error(at, &message, &remedy)
    }
}

#[cfg(test)]
mod tests;
