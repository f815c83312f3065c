//! `load`: what a load that is under way sees: its four golden signals.

use std::{collections::BTreeMap, time::Duration};

use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::{Measure, NoAnswer, Probe, ProbeInfo, Reading, Variable, VariableType};
use crate::{
    env::Underway,
    types::{FieldSchema, Finding, Length, load::LoadWindow},
};

/// Between two looks at a load of which nothing has ended yet.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// See [`INFO`].
pub struct Load;

/// The last `every` of a load, in whole seconds.
pub static INFO: ProbeInfo = ProbeInfo {
    name: "load",
    summary: "What a load of spec.load or of a load step saw since the last sample.",
    example: "name: shoppers-p99\nload: {name: shoppers}\nexpect: p99 <= 0.3 && errorRatio <= 0.01\n",
    fields: &[FieldSchema {
        name: "name",
        description: "Name of a load of spec.load, or of a load step. A step's load is there only while the step is: its probe is Informational, and a check asks it.",
        required: true,
        default: None,
        schema: "label",
    }],
    variables: &[
        Variable {
            name: "errorRatio",
            kind: VariableType::Double,
            description: "Share of requests that failed: no connection, broken off, out of time, a status of 400 or more, or beyond maxInFlight.",
        },
        Variable { name: "rps", kind: VariableType::Double, description: "Answered requests a second." },
        Variable {
            name: "p50",
            kind: VariableType::Double,
            description: "Median latency in seconds, from when a request was due to the end of its answer, those that ran out of time included. Absent while nothing is answered.",
        },
        Variable {
            name: "p95",
            kind: VariableType::Double,
            description: "95 of 100 latencies are at most this.",
        },
        Variable {
            name: "p99",
            kind: VariableType::Double,
            description: "99 of 100 latencies are at most this.",
        },
        Variable {
            name: "saturation",
            kind: VariableType::Double,
            description: "The most requests that were waiting at once, as a share of maxInFlight; 1 when one was too many.",
        },
    ],
    default_value: Some("p99"),
};

impl Probe for Load {
    fn info(&self) -> &'static ProbeInfo {
        &INFO
    }

    fn lint(&self, _params: &Value) -> Vec<Finding> {
        Vec::new()
    }

    fn measure<'a>(&'a self, measure: &'a Measure, params: &'a Value) -> BoxFuture<'a, Reading> {
        Box::pin(async move {
            let name = params.get("name").and_then(Value::as_str).unwrap_or_default();
            loop {
                if let Some(load) = measure.loads.get(name) {
                    if let Some((_, why)) = load.unheard() {
                        return Reading::Missing(why);
                    }
                    if let Some(reading) = read(&*load, measure.every) {
                        return reading;
                    }
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        })
    }

    fn overdue(&self, _within: Length) -> Reading {
        Reading::Missing("the load is not under way".to_owned())
    }
}

/// None while it has only begun and nothing has ended yet.
fn read(load: &dyn Underway, every: Duration) -> Option<Reading> {
    let window = load.window(every);
    if window.ended == 0 && window.latency.is_none() {
        let silent = || format!("no request has ended within {}", Length(every));
        return (load.age() > every).then(|| Reading::Missing(silent()));
    }
    let Some(latency) = window.latency.as_ref() else { return Some(unanswered(&window)) };
    let mut variables = common(&window);
    for (name, of) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)] {
        let micros = latency.quantile(of).unwrap_or_default();
        variables.insert(name, json!(micros as f64 / 1e6));
    }
    Some(Reading::Measured(variables))
}

fn common(window: &LoadWindow) -> BTreeMap<&'static str, Value> {
    // With nothing ended and somebody waiting for longer than the window, nothing has succeeded.
    let errors = if window.ended == 0 { 1.0 } else { window.failed as f64 / window.ended as f64 };
    BTreeMap::from([
        ("errorRatio", json!(errors)),
        ("rps", json!(window.answered as f64 / window.seconds.max(1e-3))),
        ("saturation", json!(window.saturation)),
    ])
}

/// Requests ended, and none with an answer or out of time: there is no latency.
fn unanswered(window: &LoadWindow) -> Reading {
    let untold =
        BTreeMap::from([("errorRatio", json!(-1.0)), ("rps", json!(-1.0)), ("saturation", json!(-1.0))]);
    Reading::NoAnswer(NoAnswer {
        why: format!("none of {} requests was answered", window.ended),
        told: common(window),
        untold,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        probes::{Expressions, Judge, Past},
        types::load::{End, LoadTally, Recorder},
    };

    /// A load as it is at a moment, in microseconds.
    struct At(Recorder, u64);

    impl Underway for At {
        fn age(&self) -> Duration {
            Duration::from_micros(self.1)
        }

        fn window(&self, length: Duration) -> LoadWindow {
            self.0.window(self.1, length)
        }

        fn tally(&self) -> LoadTally {
            self.0.tally()
        }

        fn end(&self) -> LoadTally {
            self.0.tally()
        }
    }

    const EVERY: Duration = Duration::from_secs(5);
    const SECOND: u64 = 1_000_000;

    fn recorder() -> Recorder {
        Recorder::new(100, Duration::from_secs(60))
    }

    #[track_caller]
    fn within(reading: &Reading, expect: &str) -> Option<bool> {
        let expressions = Expressions { expect: Some(expect), ..Expressions::default() };
        let judge = Judge::compile(&INFO, expressions, &BTreeMap::new()).expect("compiles");
        judge.judge(reading, &Past::default(), None).0.expect
    }

    #[test]
    fn the_golden_signals_are_those_of_the_last_while() {
        let mut recorder = recorder();
        for n in 0..100 {
            let due = n * 10_000;
            assert!(recorder.send(due, due));
            recorder.end(due, due + 20_000, End::Answered(if n < 25 { 500 } else { 200 }));
        }
        let reading = read(&At(recorder, 2 * SECOND), EVERY).expect("something ended");
        for (expect, holds) in [
            ("errorRatio == 0.25", true),
            ("rps == 50.0", true),
            ("p50 > 0.019 && p99 < 0.021 && value == p99", true),
            ("saturation <= 0.05", true),
            ("errorRatio <= 0.01", false),
        ] {
            assert_eq!(within(&reading, expect), Some(holds), "{expect}");
        }
    }

    #[test]
    fn no_answer_at_all_is_outside_unless_that_is_asked_for() {
        let mut refused = recorder();
        assert!(refused.send(0, 0));
        refused.end(0, 10, End::NotConnected);
        let reading = read(&At(refused, SECOND), EVERY).expect("something ended");
        assert!(matches!(reading, Reading::NoAnswer(_)), "{reading:?}");
        for outside in ["errorRatio <= 0.01", "p99 <= 1.0", "value <= 1.0", "saturation <= 0.9"] {
            assert_eq!(within(&reading, outside), Some(false), "{outside}");
        }
        assert_eq!(within(&reading, "errorRatio == 1.0"), Some(true), "a cut can be the hypothesis");
    }

    #[test]
    fn a_hang_is_seen_before_anything_has_run_out_of_time() {
        let mut hanging = recorder();
        for n in 0..10 {
            assert!(hanging.send(n * 1000, n * 1000));
        }
        assert_eq!(read(&At(hanging.clone(), 2 * SECOND), EVERY), None, "it may still be answered");
        let reading = read(&At(hanging, 9 * SECOND), EVERY).expect("it waits");
        assert_eq!(within(&reading, "p99 <= 1.0"), Some(false));
        assert_eq!(within(&reading, "errorRatio <= 0.5"), Some(false));
        let silent = read(&At(recorder(), 9 * SECOND), EVERY);
        assert!(matches!(silent, Some(Reading::Missing(_))), "{silent:?}");
    }
}
