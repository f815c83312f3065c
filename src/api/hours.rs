//! Windows and blackouts: when something may be done, by the clock on the wall of a zone.

use std::{fmt, time::Duration};

use jiff::{
    Timestamp, ToSpan, Zoned,
    civil::{Date, Time},
    tz::TimeZone,
};

use super::{Blackout, Window};

/// Beyond this nothing fits into windows, as each ends on the day on which it begins: so much is looked at, minute by
/// minute.
const LONGEST: Duration = Duration::from_secs(8 * 24 * 3600);

/// When something may be done.
#[derive(Clone, Debug)]
pub struct Hours {
    zone: TimeZone,
    windows: Vec<Opening>,
    blackouts: Vec<Blackout>,
}

#[derive(Clone, Debug)]
struct Opening {
    days: Vec<String>,
    from: Time,
    to: Time,
}

/// Why something may not be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    /// A day of this blackout.
    Blackout(String),
    /// It begins outside of every window.
    Outside,
    /// It begins within one, and would not be over by its end.
    TooLong,
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blackout(name) => write!(f, "blackout {name}"),
            Self::Outside => f.write_str("outside its windows"),
            Self::TooLong => f.write_str("it would not end within its windows"),
        }
    }
}

impl Hours {
    /// Of a zone, or of UTC.
    ///
    /// # Errors
    /// The zone, time or day that cannot be read: then nobody can say when it is open.
    pub fn new(zone: Option<&str>, windows: &[Window], blackouts: &[Blackout]) -> Result<Self, String> {
        let name = zone.unwrap_or("UTC");
        let zone = TimeZone::get(name).map_err(|_| format!("its time zone {name} is not known"))?;
        let opening = |window: &Window| {
            let time = |text: &str| text.parse::<Time>().map_err(|_| format!("{text} is not a time of day"));
            Ok(Opening { days: window.days.clone(), from: time(&window.from)?, to: time(&window.to)? })
        };
        let windows = windows.iter().map(opening).collect::<Result<_, String>>()?;
        if let Some(bad) = blackouts.iter().flat_map(|dark| [&dark.from, &dark.to]).find(|day| !is_day(day)) {
            return Err(format!("{bad} is not a day"));
        }
        Ok(Self { zone, windows, blackouts: blackouts.to_vec() })
    }

    /// The zone.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The clock on the wall there.
    pub fn local(&self, at: Timestamp) -> Zoned {
        at.to_zoned(self.zone.clone())
    }

    /// Why nothing may be done at that instant; None: it may.
    pub fn closed_at(&self, at: Timestamp) -> Option<Closed> {
        let local = self.zone.to_datetime(at);
        if let Some(name) = self.dark(local.date()) {
            return Some(Closed::Blackout(name.to_owned()));
        }
        let weekday = format!("{:?}", local.weekday());
        let open = |window: &Opening| {
            window.days.contains(&weekday) && (window.from..window.to).contains(&local.time())
        };
        let open = self.windows.is_empty() || self.windows.iter().any(open);
        (!open).then_some(Closed::Outside)
    }

    /// Why something that takes as long as that may not begin then; None: all of it fits.
    pub fn closed_for(&self, from: Timestamp, length: Duration) -> Option<Closed> {
        if let Some(closed) = self.closed_at(from) {
            return Some(closed);
        }
        if self.windows.is_empty() && self.blackouts.is_empty() {
            return None;
        }
        // What is open changes with whole minutes of the clock on the wall, and that runs with the minutes of time.
        let second = i64::from(self.zone.to_datetime(from).second());
        let first = from.as_second() - second + 60;
        let seconds = i64::try_from(length.min(LONGEST).as_secs()).unwrap_or(i64::MAX);
        let mut at = first;
        while at < from.as_second().saturating_add(seconds) {
            match Timestamp::from_second(at).ok().and_then(|at| self.closed_at(at)) {
                None => at += 60,
                Some(Closed::Outside) => return Some(Closed::TooLong),
                Some(closed) => return Some(closed),
            }
        }
        (length > LONGEST && !self.windows.is_empty()).then_some(Closed::TooLong)
    }

    /// The next instant from then on at which it is open, within two years.
    pub fn opens(&self, from: Timestamp) -> Option<Timestamp> {
        if self.closed_at(from).is_none() {
            return Some(from);
        }
        // A window opens at a full minute of its day; a blackout ends with one.
        let begin = self.zone.to_datetime(from).date();
        let days = std::iter::successors(Some(begin), |date| date.tomorrow().ok()).take(731);
        let midnight = [Time::midnight()];
        for date in days {
            let starts = self.windows.iter().map(|window| window.from);
            let mut starts: Vec<Time> = midnight.into_iter().chain(starts).collect();
            starts.sort_unstable();
            let instants =
                starts.into_iter().filter_map(|time| self.zone.to_timestamp(date.to_datetime(time)).ok());
            let mut open = instants.filter(|at| *at >= from && self.closed_at(*at).is_none());
            if let Some(at) = open.next() {
                return Some(at);
            }
        }
        None
    }

    /// The blackout that a day is in.
    fn dark(&self, date: Date) -> Option<&str> {
        let (year, short) = (date.to_string(), format!("{:02}-{:02}", date.month(), date.day()));
        let inside = |blackout: &&Blackout| {
            let (from, to) = (blackout.from.as_str(), blackout.to.as_str());
            let day = if from.len() > 5 { year.as_str() } else { short.as_str() };
            // A range such as 12-20 to 01-06 spans the turn of the year.
            if from <= to { (from..=to).contains(&day) } else { day >= from || day <= to }
        };
        self.blackouts.iter().find(inside).map(|blackout| blackout.name.as_str())
    }

    /// The longest stretch that is open within a week, blackouts aside; None: always.
    pub fn longest(&self) -> Option<Duration> {
        if self.windows.is_empty() {
            return None;
        }
        let alone = Self { zone: TimeZone::UTC, windows: self.windows.clone(), blackouts: Vec::new() };
        // A week from a Monday, and the beginning of the next.
        let begin = Date::constant(2024, 1, 1).at(0, 0, 0, 0).to_zoned(TimeZone::UTC).ok()?.timestamp();
        let (mut longest, mut run) = (0_u64, 0_u64);
        for minute in 0..8 * 24 * 60_i64 {
            run = if alone.closed_at(begin + minute.minutes()).is_none() { run + 1 } else { 0 };
            longest = longest.max(run);
        }
        Some(Duration::from_secs(longest * 60))
    }
}

/// Whether a text is a day: `02-29`, or `2028-02-29` in a year that has it.
pub fn is_day(text: &str) -> bool {
    let whole = if text.len() > 5 { text.to_owned() } else { format!("2024-{text}") };
    whole.parse::<Date>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(days: &[&str], from: &str, to: &str) -> Window {
        let days = days.iter().map(|day| (*day).to_owned()).collect();
        Window { days, from: from.to_owned(), to: to.to_owned() }
    }

    fn dark(name: &str, from: &str, to: &str) -> Blackout {
        Blackout { name: name.to_owned(), from: from.to_owned(), to: to.to_owned() }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn hours(windows: &[Window], blackouts: &[Blackout]) -> Hours {
        Hours::new(Some("Europe/London"), windows, blackouts).expect("they can be read")
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn the_whole_of_it_has_to_fit() {
        let hours = hours(&[window(&["Tuesday"], "09:00", "16:00")], &[]);
        for (from, length, closed) in [
            ("2026-11-24T10:00:00Z", HOUR * 6, None),
            ("2026-11-24T10:00:30Z", HOUR * 6, Some(Closed::TooLong)),
            ("2026-11-24T10:01:00Z", HOUR * 6, Some(Closed::TooLong)),
            ("2026-11-24T08:59:59Z", HOUR, Some(Closed::Outside)),
            ("2026-11-25T10:00:00Z", HOUR, Some(Closed::Outside)),
            // An hour earlier in summer.
            ("2026-07-07T08:00:00Z", HOUR * 7, None),
            ("2026-07-07T15:00:00Z", HOUR, Some(Closed::Outside)),
        ] {
            assert_eq!(hours.closed_for(at(from), length), closed, "{from}");
        }
        assert_eq!(hours.longest(), Some(HOUR * 7));
    }

    #[test]
    fn windows_that_touch_are_one() {
        let hours =
            hours(&[window(&["Tuesday"], "09:00", "12:00"), window(&["Tuesday"], "12:00", "16:00")], &[]);
        assert_eq!(hours.closed_for(at("2026-11-24T09:00:00Z"), HOUR * 7), None);
        assert_eq!(hours.longest(), Some(HOUR * 7));
    }

    #[test]
    fn a_window_over_the_change_of_clocks_is_longer_or_shorter() {
        let hours = hours(&[window(&["Sunday"], "00:00", "04:00")], &[]);
        // 25 October has five hours of it, 29 March three.
        assert_eq!(hours.closed_for(at("2026-10-24T23:00:00Z"), HOUR * 5), None);
        assert_eq!(hours.closed_for(at("2026-10-24T23:00:00Z"), HOUR * 5 + HOUR / 60), Some(Closed::TooLong));
        assert_eq!(hours.closed_for(at("2026-03-29T00:00:00Z"), HOUR * 3), None);
        assert_eq!(hours.closed_for(at("2026-03-29T00:00:00Z"), HOUR * 4), Some(Closed::TooLong));
    }

    #[test]
    fn blackouts_are_whole_days_of_the_zone_both_ends_included() {
        let hours =
            hours(&[], &[dark("freeze", "12-20", "01-06"), dark("friday", "2026-11-26", "2026-11-30")]);
        for (from, closed) in [
            ("2026-12-19T23:59:59Z", None),
            ("2026-12-20T00:00:00Z", Some("freeze")),
            ("2031-12-31T23:59:59Z", Some("freeze")),
            ("2027-01-06T23:59:59Z", Some("freeze")),
            ("2027-01-07T00:00:00Z", None),
            ("2026-11-30T23:59:59Z", Some("friday")),
            ("2027-11-28T00:00:00Z", None),
        ] {
            let closed = closed.map(|name| Closed::Blackout(name.to_owned()));
            assert_eq!(hours.closed_at(at(from)), closed, "{from}");
        }
        // One that would run into a blackout does not begin.
        let freeze = Some(Closed::Blackout("freeze".to_owned()));
        assert_eq!(hours.closed_for(at("2026-12-19T22:30:00Z"), HOUR * 2), freeze);
        assert_eq!(hours.closed_for(at("2026-12-19T22:00:00Z"), HOUR * 2), None);
    }

    #[test]
    fn it_says_when_it_opens_next() {
        let hours =
            hours(&[window(&["Tuesday"], "09:00", "16:00")], &[dark("december-freeze", "12-01", "01-03")]);
        assert_eq!(hours.opens(at("2026-11-24T10:00:00Z")), Some(at("2026-11-24T10:00:00Z")));
        assert_eq!(hours.opens(at("2026-11-24T16:00:00Z")), Some(at("2027-01-05T09:00:00Z")));
    }

    #[test]
    fn days_are_days_of_the_calendar() {
        for (day, is) in
            [("02-29", true), ("02-30", false), ("2027-02-29", false), ("2028-02-29", true), ("04-31", false)]
        {
            assert_eq!(is_day(day), is, "{day}");
        }
        let error = Hours::new(None, &[], &[dark("x", "02-30", "03-01")]).expect_err("no such day");
        assert_eq!(error, "02-30 is not a day");
        assert!(Hours::new(Some("Europe/Lundon"), &[], &[]).is_err());
    }
}
