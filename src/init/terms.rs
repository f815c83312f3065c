//! From the number that was seen to what is expected of it. Pure.

use super::found::Unit;

/// What a probe expects.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// `expect`; none: it is only recorded.
    pub expect: Option<String>,
    /// `during`.
    pub during: String,
    /// How `expect` was made of what was seen, and what to change.
    pub why: String,
}

/// Nobody should be woken for this little.
const LEAST_SECONDS: f64 = 0.05;
/// The same in cores.
const LEAST_CORES: f64 = 0.05;
/// The same in requests at once.
const LEAST_IN_FLIGHT: f64 = 5.0;
/// Of a limit: fuller is too full for the loss of a pod.
const FULLEST: f64 = 0.95;

/// What to expect of a number, seen now.
pub fn terms(unit: Unit, seen: f64) -> Terms {
    match unit {
        Unit::GoodShare => good_share(seen),
        Unit::Seconds => slower(seen, LEAST_SECONDS),
        Unit::Millis => slower(seen, LEAST_SECONDS * 1000.0),
        Unit::PerSecond => Terms {
            expect: Some(format!("value >= {}", written(nice_down(seen / 2.0)))),
            during: "\"true\"".to_owned(),
            why: "`expect` is half of that: it keeps a run from passing because nobody came. Raise it if your traffic \
                  is even, lower it if you also drill at night. `during` lets everything pass: lost requests are seen \
                  as errors."
                .to_owned(),
        },
        Unit::ShareOfLimit | Unit::ShareOfMost if seen > 0.9 => Terms {
            expect: None,
            during: String::new(),
            why: "It is as good as full, so nothing is expected of it and it is only recorded: there is nothing left \
                  for the loss of a pod. Take `role` out when there is."
                .to_owned(),
        },
        Unit::ShareOfLimit => fuller(nice_up(2.0 * seen).clamp(0.2, FULLEST)),
        Unit::ShareOfMost => fuller(FULLEST),
        Unit::ShareOfRequest => fuller(nice_up(2.0 * seen).max(0.5)),
        Unit::Cores => fuller(nice_up(2.0 * seen).max(LEAST_CORES)),
        Unit::InFlight => fuller(nice_up(2.0 * seen).max(LEAST_IN_FLIGHT)),
    }
}

/// Shares of good requests that people promise, and how much may fail beyond that while a fault is in force: five
/// times as much, as a fast burn of the budget does.
const PROMISES: [(f64, &str, &str); 4] =
    [(0.99, "0.99", "0.95"), (0.98, "0.98", "0.9"), (0.95, "0.95", "0.75"), (0.9, "0.9", "0.5")];

fn good_share(seen: f64) -> Terms {
    // Twice what fails now has to fit, or a run would be NotSteady by chance.
    let fitting = PROMISES.iter().find(|(promise, ..)| 2.0 * (1.0 - seen) <= 1.0 - promise + 1e-9);
    let (_, expect, during) = fitting.unwrap_or(&PROMISES[0]);
    let why = match fitting {
        Some(_) => {
            "`expect` leaves twice the errors of now. Write your objective there, if you have one, and in \
                    `during` what users put up with for a minute."
        }
        None => {
            "That is no state to drill in: a run says NotSteady, exit code 7, and changes nothing until it is \
                 mended, or `expect` says that it is normal."
        }
    };
    Terms {
        expect: Some(format!("value >= {expect}")),
        during: format!("value >= {during}"),
        why: why.to_owned(),
    }
}

fn slower(seen: f64, least: f64) -> Terms {
    let bound = nice_up(2.0 * seen).max(least);
    Terms {
        expect: Some(format!("value <= {}", written(bound))),
        during: format!("value <= {}", written(nice_up(2.0 * bound))),
        why: "`expect` is about twice that and `during` twice again: put what your users notice in their place. \
              `value <= 3.0 * baseline.mean` compares with what Baseline has shown instead."
            .to_owned(),
    }
}

fn fuller(bound: f64) -> Terms {
    Terms {
        expect: Some(format!("value <= {}", written(bound))),
        during: "\"true\"".to_owned(),
        why: "While pods are missing the others carry their load, so `during` lets everything pass; `expect` says \
              that it is over. Put a number into `during` for a fullness that has to end the run."
            .to_owned(),
    }
}

/// Leading digits of numbers that people write.
const LEADING: [f64; 11] = [1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];

/// `number` as a leading digit or two, from 1 to 10, and a power of ten.
fn scaled(number: f64) -> (f64, i32) {
    let (mut lead, mut power) = (number, 0);
    while lead >= 10.0 && power < 300 {
        lead /= 10.0;
        power += 1;
    }
    while lead < 1.0 && power > -300 {
        lead *= 10.0;
        power -= 1;
    }
    (lead, power)
}

/// The least number that people write and that is not below this positive one.
fn nice_up(number: f64) -> f64 {
    rounded(number, |lead| LEADING.into_iter().find(|nice| *nice >= lead - 1e-9))
}

/// The greatest number that people write and that is not above this positive one.
fn nice_down(number: f64) -> f64 {
    rounded(number, |lead| LEADING.into_iter().rev().find(|nice| *nice <= lead + 1e-9))
}

fn rounded(number: f64, choose: impl Fn(f64) -> Option<f64>) -> f64 {
    if !number.is_finite() || number <= 0.0 {
        return 0.0;
    }
    let (lead, power) = scaled(number);
    choose(lead).unwrap_or(lead) * ten_to(power)
}

fn ten_to(power: i32) -> f64 {
    (0..power.abs()).fold(1.0, |ten, _| if power < 0 { ten / 10.0 } else { ten * 10.0 })
}

/// A number with three significant digits, always with a point: CEL tells 1 from 1.0.
pub fn written(number: f64) -> String {
    if number == 0.0 {
        return "0.0".to_owned();
    }
    let (_, power) = scaled(number.abs());
    let decimals = usize::try_from((2 - power).clamp(1, 12)).unwrap_or(1);
    let text = format!("{number:.decimals$}");
    let text = text.trim_end_matches('0');
    if text.ends_with('.') { format!("{text}0") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_rounded_as_people_do() {
        for (number, up, down) in [
            (0.092_3, "0.1", "0.08"),
            (0.1, "0.1", "0.1"),
            (1.01, "1.2", "1.0"),
            (99.7, "100.0", "80.0"),
            (185.0, "200.0", "150.0"),
            (0.000_34, "0.0004", "0.0003"),
        ] {
            assert_eq!(
                (written(nice_up(number)), written(nice_down(number))),
                (up.to_owned(), down.to_owned())
            );
        }
        assert_eq!(written(0.092_345), "0.0923");
        assert_eq!(written(12_345.6), "12345.6");
        assert_eq!(written(0.0), "0.0");
    }

    #[test]
    fn a_promise_leaves_room_for_what_fails_now() {
        let expect = |seen| terms(Unit::GoodShare, seen).expect.expect("it is judged");
        for (seen, promise) in [(1.0, "0.99"), (0.995, "0.99"), (0.99, "0.98"), (0.96, "0.9"), (0.2, "0.99")]
        {
            assert_eq!(expect(seen), format!("value >= {promise}"), "{seen}");
        }
        assert!(terms(Unit::GoodShare, 0.2).why.contains("NotSteady"));
    }

    #[test]
    fn what_is_full_is_only_recorded() {
        assert_eq!(terms(Unit::ShareOfLimit, 0.97).expect, None);
        assert_eq!(terms(Unit::ShareOfLimit, 0.6).expect.as_deref(), Some("value <= 0.95"));
    }

    proptest! {
        /// A run right now would find itself steady.
        #[test]
        fn what_is_seen_is_within_what_is_expected(seen in 1e-6_f64..1e9) {
            for unit in [Unit::Seconds, Unit::Millis, Unit::PerSecond, Unit::ShareOfRequest, Unit::Cores, Unit::InFlight] {
                let expect = terms(unit, seen).expect.expect("it is judged");
                let (operator, bound) = expect.trim_start_matches("value ").split_once(' ').expect("an operator");
                let bound: f64 = bound.parse().expect("a number");
                let holds = if operator == ">=" { seen >= bound } else { seen <= bound };
                prop_assert!(holds, "{seen} against {expect}");
            }
        }
    }
}
