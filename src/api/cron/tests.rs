use jiff::{ToSpan, civil::date};
use proptest::prelude::*;

use super::*;

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).expect("a zone of the embedded table")
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

/// The next times of a schedule, in the zone's own words.
fn next(cron: &str, place: &str, after: &str, count: usize) -> Vec<String> {
    let (cron, zone) = (Cron::parse(cron).expect("a schedule"), zone(place));
    let dues = cron.after(at(after), &zone).take(count).collect::<Vec<_>>();
    dues.iter()
        .map(|due| due.at.to_zoned(zone.clone()).strftime("%a %Y-%m-%d %H:%M %Z").to_string())
        .collect()
}

#[test]
fn a_weekly_game_day_keeps_its_hour_over_the_change_of_clocks() {
    assert_eq!(
        next("0 10 * * TUE", "Europe/London", "2026-10-19T00:00:00Z", 3),
        ["Tue 2026-10-20 10:00 BST", "Tue 2026-10-27 10:00 GMT", "Tue 2026-11-03 10:00 GMT"]
    );
    assert_eq!(
        next("30 9 * * 1-5", "America/New_York", "2026-03-06T20:00:00Z", 2),
        ["Mon 2026-03-09 09:30 EDT", "Tue 2026-03-10 09:30 EDT"]
    );
}

#[test]
fn in_the_gap_it_comes_at_its_end() {
    for (place, cron, after, expected) in [
        ("Europe/London", "30 1 * * *", "2026-03-28T12:00:00Z", "Sun 2026-03-29 02:00 BST"),
        ("America/New_York", "15 2 * * *", "2026-03-07T12:00:00Z", "Sun 2026-03-08 03:00 EDT"),
        // Lord Howe moves by half an hour.
        ("Australia/Lord_Howe", "10 2 * * *", "2026-10-03T00:00:00Z", "Sun 2026-10-04 02:30 +11"),
        // A day that Samoa did not have.
        ("Pacific/Apia", "0 12 30 12 *", "2011-12-01T00:00:00Z", "Sat 2011-12-31 00:00 +14"),
    ] {
        assert_eq!(next(cron, place, after, 1), [expected], "{place}");
    }
    let dues = Cron::parse("30 1 * * *").expect("a schedule");
    let found = dues.after(at("2026-03-28T12:00:00Z"), &zone("Europe/London")).next().expect("one");
    assert_eq!((found.shift, found.local), (Shift::Gap, date(2026, 3, 29).at(1, 30, 0, 0)));
}

#[test]
fn what_falls_together_at_the_end_of_the_gap_comes_once() {
    assert_eq!(
        next("*/15 1,2 * * *", "Europe/London", "2026-03-29T00:30:00Z", 3),
        ["Sun 2026-03-29 02:00 BST", "Sun 2026-03-29 02:15 BST", "Sun 2026-03-29 02:30 BST"]
    );
}

#[test]
fn in_the_fold_it_comes_once() {
    for (place, cron, after, expected) in [
        (
            "Europe/London",
            "30 1 * * *",
            "2026-10-24T12:00:00Z",
            ["Sun 2026-10-25 01:30 BST", "Mon 2026-10-26 01:30 GMT"],
        ),
        (
            "America/New_York",
            "30 1 * * *",
            "2026-10-31T12:00:00Z",
            ["Sun 2026-11-01 01:30 EDT", "Mon 2026-11-02 01:30 EST"],
        ),
        (
            "Australia/Lord_Howe",
            "45 1 * * *",
            "2026-04-04T00:00:00Z",
            ["Sun 2026-04-05 01:45 +11", "Mon 2026-04-06 01:45 +1030"],
        ),
    ] {
        assert_eq!(next(cron, place, after, 2), expected, "{place}");
    }
    // Asked in the middle of the second time round, it does not come again.
    assert_eq!(next("30 1 * * *", "Europe/London", "2026-10-25T01:10:00Z", 1), ["Mon 2026-10-26 01:30 GMT"]);
}

#[test]
fn zones_without_daylight_saving_are_plain() {
    assert_eq!(
        next("0 10 * * SUN", "Asia/Kolkata", "2026-03-27T00:00:00Z", 2),
        ["Sun 2026-03-29 10:00 IST", "Sun 2026-04-05 10:00 IST"]
    );
    assert_eq!(next("0 2 29 3 *", "Asia/Tokyo", "2026-03-01T00:00:00Z", 1), ["Sun 2026-03-29 02:00 JST"]);
}

#[test]
fn the_29th_of_february_comes_in_leap_years_only() {
    assert_eq!(
        next("0 9 29 2 *", "UTC", "2026-01-01T00:00:00Z", 2),
        ["Tue 2028-02-29 09:00 UTC", "Sun 2032-02-29 09:00 UTC"]
    );
    assert_eq!(next("0 9 29 2 *", "UTC", "2096-03-01T00:00:00Z", 1), ["Fri 2104-02-29 09:00 UTC"]);
    let cron = Cron::parse("0 9 29 2 *").expect("a schedule");
    let last = cron.before(at("2103-01-01T00:00:00Z"), &TimeZone::UTC).map(|due| due.at.to_string());
    assert_eq!(last.as_deref(), Some("2096-02-29T09:00:00Z"));
}

/// vixie cron: with days of the month and of the week both restricted, either will do.
#[test]
fn either_day_will_do_when_both_are_restricted() {
    assert_eq!(
        next("0 0 13 * FRI", "UTC", "2026-11-06T12:00:00Z", 3),
        ["Fri 2026-11-13 00:00 UTC", "Fri 2026-11-20 00:00 UTC", "Fri 2026-11-27 00:00 UTC"]
    );
    assert_eq!(
        next("0 0 1 * MON", "UTC", "2026-11-28T00:00:00Z", 2),
        ["Mon 2026-11-30 00:00 UTC", "Tue 2026-12-01 00:00 UTC"]
    );
    // A field that begins with a star restricts the other: every other day that is a Monday.
    assert_eq!(next("0 0 */2 * MON", "UTC", "2026-11-02T00:00:00Z", 1), ["Mon 2026-11-09 00:00 UTC"]);
}

#[test]
fn lists_ranges_steps_and_names() {
    let bits = |text: &str| Cron::parse(text).expect(text).fields;
    assert_eq!(bits("0 0 * * SUN"), bits("0 0 * * 7"));
    assert_eq!(bits("0 0 * * fri-sun"), bits("0 0 * * 0,5,6"));
    assert_eq!(bits("0 0 * * 0-7")[4], 0x7f);
    assert_eq!(bits("0 0 * JAN,mar-May *")[3], (1 << 1) | (0b111 << 3));
    assert_eq!(bits("5-20/5,59 0 * * *")[0], (1 << 5) | (1 << 10) | (1 << 15) | (1 << 20) | (1 << 59));
    assert_eq!(bits("50/5 0 * * *")[0], (1 << 50) | (1 << 55));
    assert_eq!(bits("0\t10  * * TUE"), bits("0 10 * * 2"));
}

#[test]
fn what_is_not_a_schedule_is_refused_by_name_and_place() {
    for (text, at, message, remedy) in [
        ("@every 5m", (0, 9), "`@every` is not one of", "cadence"),
        ("@daily", (0, 6), "`@daily` is not one of", "write \"0 0 * * *\""),
        ("@fortnightly", (0, 12), "`@fortnightly`", "minute, hour"),
        ("CRON_TZ=UTC 0 0 * * *", (0, 21), "names no zone", "timeZone"),
        (" 0 10 * * *", (0, 11), "a blank", "leave it out"),
        ("0 0 10 * * *", (0, 12), "6 fields", "minute, hour"),
        ("0 10 * *", (0, 8), "4 fields", "\"0 10 * * TUE\""),
        ("60 10 * * *", (0, 2), "`60` is no minute", "0 to 59"),
        ("0 24 * * *", (2, 4), "`24` is no hour", "0 to 23"),
        ("0 0 0 * *", (4, 5), "`0` is no day of the month", "1 to 31"),
        ("0 0 31 2 *", (4, 8), "never comes", "that the months have"),
        ("0 0 30 feb *", (4, 10), "never comes", ""),
        ("0 0 31 4,6,9,11 *", (4, 15), "never comes", ""),
        ("0 0 * * TUS", (8, 11), "`TUS` is no day of the week", "did you mean TUE?"),
        ("0 0 * * MON-", (8, 12), "`` is no day of the week", ""),
        ("0 0 1,,2 * *", (6, 7), "`` is no day of the month", ""),
        ("0 0 ? * MON", (4, 5), "`?` is no day of the month", "write *"),
        ("0 0 L * *", (4, 5), "`L` is no day of the month", "other crons'"),
        ("0 0 * * 5#3", (8, 11), "`5#3`", "other crons'"),
        ("H 0 * * *", (0, 1), "`H` is no minute", "other crons'"),
        ("20-10 0 * * *", (0, 5), "ends before it begins", "comma"),
        ("*/0 0 * * *", (0, 3), "goes nowhere", ""),
        ("*/90 0 * * *", (0, 4), "a step of 90", "at most 59"),
        ("*/x 0 * * *", (0, 3), "`x` is not a step", ""),
        ("-5 0 * * *", (0, 2), "`` is no minute", ""),
        ("+5 0 * * *", (0, 2), "`+5` is no minute", ""),
    ] {
        let error = Cron::parse(text).expect_err(text);
        assert_eq!(error.at, at, "{text}: {error:?}");
        assert!(error.message.contains(message) && error.remedy.contains(remedy), "{text}: {error:?}");
    }
    // With a day of the week either will do: this one comes on Mondays.
    assert!(Cron::parse("0 0 31 2 MON").is_ok());
}

/// Whether a local time is named, by the words of the fields and nothing else.
fn named(cron: &Cron, local: DateTime) -> bool {
    cron.has(0, local.minute()) && cron.has(1, local.hour()) && cron.on(local.date())
}

/// Every instant at which a schedule comes, minute by minute through what the clock on the wall shows: what is skipped
/// counts when the clock jumps, what is shown twice counts the first time.
fn brute(cron: &Cron, zone: &TimeZone, from: Timestamp, hours: i64) -> Vec<Timestamp> {
    let mut found = Vec::new();
    let mut latest = zone.to_datetime(from);
    for minute in 1..=hours * 60 {
        let now = from + minute.minutes();
        let local = zone.to_datetime(now);
        let mut skipped = latest + 1.minute();
        let mut due = false;
        while skipped <= local {
            due |= named(cron, skipped);
            skipped += 1.minute();
        }
        latest = latest.max(local);
        found.extend(due.then_some(now));
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Around every change of clocks, in zones that change by an hour, by half of one, at midnight, and not at all.
    #[test]
    fn it_is_what_a_scan_of_every_minute_finds(
        (minute, hour) in (
            prop::sample::select(vec!["0", "30", "*/15", "10-50/20", "59", "*"]),
            prop::sample::select(vec!["*", "0", "1", "2", "3", "*/6", "1-3", "23"]),
        ),
        (day, month, week) in (
            prop::sample::select(vec!["*", "*/2", "1", "25-31", "29"]),
            prop::sample::select(vec!["*", "3,10", "APR,NOV", "SEP"]),
            prop::sample::select(vec!["*", "SUN", "MON-FRI", "0,6"]),
        ),
        (place, around) in prop::sample::select(vec![
            ("Europe/London", "2026-03-29T01:00:00Z"),
            ("Europe/London", "2026-10-25T01:00:00Z"),
            ("America/New_York", "2026-03-08T07:00:00Z"),
            ("America/New_York", "2026-11-01T06:00:00Z"),
            ("Australia/Lord_Howe", "2026-10-03T15:30:00Z"),
            ("Australia/Lord_Howe", "2026-04-04T15:00:00Z"),
            ("America/Santiago", "2026-09-06T04:00:00Z"),
            ("America/Havana", "2026-11-01T05:00:00Z"),
            ("Asia/Kolkata", "2026-03-29T01:00:00Z"),
            ("Africa/Casablanca", "2026-03-22T02:00:00Z"),
            ("Antarctica/Troll", "2026-03-29T01:00:00Z"),
        ]),
        before in 0..72_i64,
    ) {
        let text = format!("{minute} {hour} {day} {month} {week}");
        let cron = Cron::parse(&text).expect("a schedule");
        let zone = zone(place);
        let from = at(around) - before.hours() - 24.hours();
        let end = from + 120.hours();
        let found: Vec<Timestamp> =
            cron.after(from, &zone).map(|due| due.at).take_while(|at| *at <= end).collect();
        // From a whole day before the change, so that the scan knows what has been shown already.
        prop_assert_eq!(&found, &brute(&cron, &zone, from, 120), "{} in {}", text, place);
        for pair in found.windows(2) {
            let between = pair[1] - 1.second();
            prop_assert_eq!(cron.before(between, &zone).map(|due| due.at), Some(pair[0]));
            prop_assert_eq!(cron.before(pair[1], &zone).map(|due| due.at), Some(pair[1]));
            prop_assert_eq!(cron.after(pair[0], &zone).next().map(|due| due.at), Some(pair[1]));
        }
    }

    #[test]
    fn no_text_is_too_strange(text in "[0-9*/,A-Za-z@?#L -]{0,24}") {
        if let Ok(cron) = Cron::parse(&text) {
            prop_assert!(cron.after(at("2026-01-01T00:00:00Z"), &TimeZone::UTC).next().is_some(), "{}", text);
        }
    }
}
