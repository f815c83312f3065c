//! Days and times as people type them.

use std::str::FromStr;

use jiff::{Timestamp, civil::Date, tz::TimeZone};

/// A day of a calendar, or a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Day {
    /// `2027-03-31`, in a zone that is known later.
    Whole(Date),
    /// `2027-03-31T09:00:00Z`.
    Moment(Timestamp),
}

/// Which end of a day is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Its first moment.
    Begin,
    /// The first moment of the day after.
    End,
}

impl FromStr for Day {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let day = (text.len() == 10).then(|| text.parse::<Date>().ok()).flatten();
        let moment = || text.parse::<Timestamp>().ok();
        day.map(Self::Whole).or_else(|| moment().map(Self::Moment)).ok_or_else(|| {
            format!("`{text}` is not a day such as 2027-03-31, nor a time such as 2027-03-31T09:00:00Z")
        })
    }
}

impl Day {
    /// The moment that is meant, in that zone.
    pub(super) fn instant(self, zone: &TimeZone, side: Side) -> anyhow::Result<Timestamp> {
        let date = match self {
            Self::Moment(at) => return Ok(at),
            Self::Whole(date) => date,
        };
        let date = if side == Side::End { date.tomorrow()? } else { date };
        Ok(date.to_zoned(zone.clone())?.timestamp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_zone_and_moments_are_moments() {
        let day: Day = "2027-03-31".parse().expect("a day");
        let london = TimeZone::get("Europe/London").expect("a zone");
        let instant = |day: Day, side| day.instant(&london, side).expect("it can be written").to_string();
        assert_eq!(instant(day, Side::Begin), "2027-03-30T23:00:00Z");
        assert_eq!(instant(day, Side::End), "2027-03-31T23:00:00Z");
        let moment: Day = "2027-03-31T09:00:00+02:00".parse().expect("a moment");
        assert_eq!(instant(moment, Side::End), "2027-03-31T07:00:00Z");
        for text in ["2027-02-29", "31.3.2027", "tomorrow", ""] {
            assert!(text.parse::<Day>().is_err(), "{text}");
        }
    }
}
