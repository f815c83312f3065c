use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn calendar(change: Value) -> Calendar {
    let mut spec = json!({
        "experiments": [{"name": "one"}],
        "schedule": "0 10 * * TUE",
        "timeZone": "Europe/London",
        "limits": {"duration": "3h"},
    });
    let fields = spec.as_object_mut().expect("a map");
    fields.extend(change.as_object().expect("a map").clone());
    let spec: GameDaySpec = serde_json::from_value(spec).expect("a game day");
    Calendar::new(&spec).expect("it can be read")
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn past(handled: &str, active: &[&str]) -> Past {
    let active = active.iter().map(|name| (*name).to_owned()).collect();
    Past { handled: at(handled), made: None, active }
}

#[test]
fn a_quarter_with_its_skips() {
    let calendar = calendar(json!({
        "windows": [{"days": ["Monday", "Tuesday", "Wednesday"], "from": "09:00", "to": "16:00"}],
        "blackouts": [{"name": "december-freeze", "from": "12-01", "to": "01-03"}],
    }));
    let quarter: Vec<Occurrence> = calendar
        .occurrences(at("2026-11-23T00:00:00Z"))
        .take_while(|o| o.at < at("2027-04-07T00:00:00Z"))
        .collect();
    assert_eq!(quarter.len(), 20);
    let dark: Vec<String> = quarter
        .iter()
        .filter_map(|o| Some(format!("{} {}", o.local.strftime("%F"), o.skipped.as_ref()?)))
        .collect();
    assert_eq!(dark.len(), 5, "{dark:?}");
    assert_eq!(dark[0], "2026-12-01 blackout december-freeze");
    assert_eq!(dark[4], "2026-12-29 blackout december-freeze");
    // The clocks go forward on 28 March: the hour on the wall stays.
    let last = quarter.last().expect("one");
    assert_eq!(last.local.strftime("%F %H:%M %Z").to_string(), "2027-04-06 10:00 BST");
    assert_eq!(last.at, at("2027-04-06T09:00:00Z"));
}

#[test]
fn what_comes_due_is_started_once() {
    let calendar = calendar(json!({}));
    let due = at("2026-11-24T10:00:00Z");
    let now = at("2026-11-24T10:00:05Z");
    let start = Decision::Start { at: due, replaces: Vec::new() };
    assert_eq!(calendar.decide(&past("2026-11-17T10:00:00Z", &[]), now), start);
    // Dealt with: the next.
    let next = Decision::Wait(Some(at("2026-12-01T10:00:00Z")));
    assert_eq!(calendar.decide(&past("2026-11-24T10:00:00Z", &[]), now), next);
    // Before the moment itself nothing.
    let before = calendar.decide(&past("2026-11-17T10:00:00Z", &[]), at("2026-11-24T09:59:59Z"));
    assert_eq!(before, Decision::Wait(Some(due)));
    // The same name, whoever makes it.
    assert_eq!(run_name("shop-weekly", due), "shop-weekly-29925240");
}

#[test]
fn what_is_missed_is_never_caught_up() {
    let calendar = calendar(json!({"schedule": "*/5 * * * *", "startingDeadline": "2m"}));
    // Down for three years: one answer, at once.
    let now = at("2026-11-24T10:03:00Z");
    let decided = calendar.decide(&past("2023-11-24T10:00:00Z", &[]), now);
    let why = Skipped::Missed { late: Length::from_secs(180), times: COUNTED };
    assert_eq!(decided, Decision::Skip { at: at("2026-11-24T10:00:00Z"), why });
    // A little late it starts; for the time that it is for.
    let decided = calendar.decide(&past("2023-11-24T10:00:00Z", &[]), at("2026-11-24T10:01:59Z"));
    assert_eq!(decided, Decision::Start { at: at("2026-11-24T10:00:00Z"), replaces: Vec::new() });
    let once = calendar.decide(&past("2026-11-24T09:55:00Z", &[]), at("2026-11-24T10:03:00.490960201Z"));
    let Decision::Skip { why, .. } = once else { panic!("{once:?}") };
    assert_eq!(why.to_string(), "missed: it would have begun 3m late");
}

#[test]
fn one_at_a_time_or_the_new_for_the_old() {
    let active = past("2026-11-17T10:00:00Z", &["shop-weekly-1"]);
    let (due, now) = (at("2026-11-24T10:00:00Z"), at("2026-11-24T10:00:01Z"));
    let forbid = calendar(json!({})).decide(&active, now);
    assert_eq!(forbid, Decision::Skip { at: due, why: Skipped::Running("shop-weekly-1".to_owned()) });
    let replace = calendar(json!({"concurrencyPolicy": "Replace"})).decide(&active, now);
    assert_eq!(replace, Decision::Start { at: due, replaces: vec!["shop-weekly-1".to_owned()] });
}

/// What is skipped hides nothing that comes after it from who has to agree, and is told all the same when it comes.
#[test]
fn a_time_that_is_skipped_hides_no_later_one() {
    let calendar = calendar(json!({
        "schedule": "0 */6 * * *", "limits": {"duration": "1h"}, "approvals": {"required": 1, "requestBefore": "24h"},
        "windows": [{"days": ["Monday", "Tuesday", "Wednesday"], "from": "09:00", "to": "18:00"}],
    }));
    let open = at("2026-11-24T12:00:00Z");
    let asked = |now: &str, made: Option<Timestamp>| {
        calendar.decide(&Past { made, ..past("2026-11-23T12:00:00Z", &[]) }, at(now))
    };
    assert_eq!(asked("2026-11-23T12:00:05Z", None), Decision::Start { at: open, replaces: Vec::new() });
    assert_eq!(asked("2026-11-23T12:00:06Z", Some(open)), Decision::Wait(Some(at("2026-11-23T18:00:00Z"))));
    let why = Skipped::Closed(Closed::Outside);
    assert_eq!(
        asked("2026-11-23T18:00:01Z", Some(open)),
        Decision::Skip { at: at("2026-11-23T18:00:00Z"), why }
    );
    // Somebody has deleted its Run: it does not come back when it is due.
    let next = Decision::Start { at: at("2026-11-25T12:00:00Z"), replaces: Vec::new() };
    assert_eq!(asked("2026-11-24T12:00:01Z", Some(open)), next);
}

#[test]
fn a_schedule_that_rests_says_so() {
    let calendar = calendar(json!({"suspend": true}));
    let decided = calendar.decide(&past("2026-11-17T10:00:00Z", &[]), at("2026-11-24T10:00:01Z"));
    assert_eq!(decided, Decision::Skip { at: at("2026-11-24T10:00:00Z"), why: Skipped::Suspended });
}

#[test]
fn begun_late_it_still_has_to_fit() {
    let calendar = calendar(json!({
        "windows": [{"days": ["Tuesday"], "from": "10:00", "to": "13:10"}],
    }));
    let decide = |now| calendar.decide(&past("2026-11-17T10:00:00Z", &[]), at(now));
    let due = at("2026-11-24T10:00:00Z");
    assert_eq!(decide("2026-11-24T10:10:00Z"), Decision::Start { at: due, replaces: Vec::new() });
    let why = Skipped::Closed(Closed::TooLong);
    assert_eq!(decide("2026-11-24T10:11:00Z"), Decision::Skip { at: due, why });
}

#[test]
fn by_hand_there_is_nothing_to_wait_for() {
    let spec: GameDaySpec =
        serde_json::from_value(json!({"experiments": [{"name": "one"}]})).expect("a game day");
    let calendar = Calendar::new(&spec).expect("it can be read");
    assert_eq!(calendar.occurrences(at("2026-01-01T00:00:00Z")).count(), 0);
    assert_eq!(
        calendar.decide(&past("2020-01-01T00:00:00Z", &[]), at("2026-01-01T00:00:00Z")),
        Decision::Wait(None)
    );
    assert_eq!(calendar.closed(at("2026-01-01T00:00:00Z")), None);
}

#[test]
fn overdue_counts_from_the_last_time_that_it_ran() {
    let quarterly = calendar(json!({"cadence": "90d"}));
    let last = at("2026-08-01T00:00:00Z");
    assert_eq!(quarterly.overdue(last, at("2026-10-30T00:00:00Z")), None);
    assert_eq!(quarterly.overdue(last, at("2026-10-30T00:00:01Z")), Some(at("2026-10-30T00:00:00Z")));
    assert_eq!(calendar(json!({})).overdue(last, at("2036-01-01T00:00:00Z")), None);
}

#[test]
fn the_oldest_go_first_and_none_with_residue() {
    let run = |name: &str, day: i64, residue| Finished {
        name: name.to_owned(),
        at: Timestamp::from_second(day * 86_400).expect("a time"),
        residue,
    };
    let finished = [run("c", 3, false), run("a", 1, true), run("b", 2, false), run("d", 4, false)];
    assert_eq!(surplus(&finished, 2), ["b", "c"]);
    assert_eq!(surplus(&finished, 0), ["b", "c", "d"]);
    assert_eq!(surplus(&finished, 4), Vec::<String>::new());
}

proptest! {
    /// However irregularly somebody asks, every time is dealt with at most once, none in the future, and asking
    /// often enough none is missed.
    #[test]
    fn every_time_is_dealt_with_at_most_once(pauses in prop::collection::vec(1..7200_i64, 1..200)) {
        let calendar = calendar(json!({"schedule": "*/30 * * * *", "startingDeadline": "20m"}));
        let mut now = at("2026-03-28T20:00:00Z");
        let mut past = Past { handled: now, made: None, active: Vec::new() };
        for pause in pauses {
            now += SignedDuration::from_secs(pause);
            let dealt = match calendar.decide(&past, now) {
                Decision::Start { at, .. } => {
                    prop_assert!(now.duration_since(at) <= SignedDuration::from_mins(20));
                    Some(at)
                }
                Decision::Skip { at, why } => {
                    prop_assert!(matches!(why, Skipped::Missed { .. }), "{:?}", why);
                    prop_assert!(now.duration_since(at) > SignedDuration::from_mins(20));
                    Some(at)
                }
                Decision::Wait(next) => {
                    prop_assert!(next.is_some_and(|next| next > now));
                    None
                }
            };
            if let Some(at) = dealt {
                prop_assert!(at > past.handled && at <= now);
                past.handled = at;
            }
            prop_assert!(matches!(calendar.decide(&past, now), Decision::Wait(Some(_))));
        }
    }
}
