//! Judging: what was measured, against what the file expects. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::types::planted;

use super::{
    NoAnswer, ProbeInfo, Reading, Stats, Variable, VariableType,
    cel::{CompileError, EvalError, Expression, Vars},
};

/// The variable whose use lifts the rule that a query gives one series.
const SERIES: &str = "series";

/// The compiled expressions of one probe.
#[derive(Debug)]
pub struct Judge {
    value: Option<Expression>,
    expect: Option<Expression>,
    during: Option<Expression>,
    /// The file leaves `value` to the probe and uses no `series` itself: then there has to be one series.
    one_series: bool,
    params: Value,
}

/// The expressions of a probe, as in the file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expressions<'a> {
    /// Of its number; None: the kind's own.
    pub value: Option<&'a str>,
    /// Of what is normal.
    pub expect: Option<&'a str>,
    /// Of what is borne while a fault is in force; None: `expect`.
    pub during: Option<&'a str>,
}

/// What went before, for `baseline`, `window` and `before`.
#[derive(Clone, Debug, Default)]
pub struct Past {
    /// Of Baseline; of Baseline so far while it lasts.
    pub baseline: Option<Stats>,
    /// The numbers of the probe's window, newest last, without the one that is being judged.
    pub window: Vec<f64>,
    /// What `object` or `objects` was when Baseline ended.
    pub before: Option<Value>,
}

/// What a reading came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judgement {
    /// The number that is recorded, charted and compared.
    pub value: Option<f64>,
    /// Whether `expect` holds; None when there is nothing to judge.
    pub expect: Option<bool>,
    /// Whether `during` holds.
    pub during: Option<bool>,
    /// Why there is nothing to judge; or why it is outside: what the part of the expression that does not hold looks at,
    /// where that is something else than `value`.
    pub note: String,
}

/// The variables that every probe's expressions see besides its own.
pub fn common_variables() -> Vec<Variable> {
    let variable = |name, kind, description| Variable { name, kind, description };
    vec![
        variable("value", VariableType::Double, "The probe's number."),
        variable(
            "baseline",
            VariableType::Any,
            "Of the probe's numbers in Baseline: min, max, mean, p50, p95, p99, first, last, count.",
        ),
        variable("window", VariableType::Any, "The same of the probe's window."),
        variable("params", VariableType::Any, "The parameters' values, all of them text."),
    ]
}

impl Judge {
    /// Compiles a probe's expressions. `during` defaults to `expect`.
    ///
    /// # Errors
    /// The field (`value`, `expect`, `during`) and its first mistake.
    pub fn compile(
        info: &ProbeInfo,
        Expressions { value, expect, during }: Expressions<'_>,
        params: &BTreeMap<String, String>,
    ) -> Result<Self, (&'static str, CompileError)> {
        let mut variables = common_variables();
        variables.extend(info.variables);
        let compile = |field, text: Option<&str>| {
            text.map(|text| Expression::compile(text, &variables)).transpose().map_err(|error| (field, error))
        };
        let own = value.is_some();
        let value = compile("value", value.or(info.default_value))?;
        let (expect, during) = (compile("expect", expect)?, compile("during", during.or(expect))?);
        let used = [&expect, &during].into_iter().flatten().any(|expression| expression.uses(SERIES));
        let one_series = !own && !used;
        let params = params.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        Ok(Self { value, expect, during, one_series, params: Value::Object(params) })
    }

    /// Compiles one more expression over the same variables: a check's.
    pub fn compile_check(info: &ProbeInfo, text: &str) -> Result<Expression, CompileError> {
        let mut variables = common_variables();
        variables.extend(info.variables);
        Expression::compile(text, &variables)
    }

    /// Whether an expression uses the variable, so that it is worth giving.
    pub fn uses(&self, variable: &str) -> bool {
        [&self.value, &self.expect, &self.during]
            .into_iter()
            .flatten()
            .any(|expression| expression.uses(variable))
    }

    /// Judges a reading. With `check`, that expression takes the place of `during` in the last field.
    pub fn judge(
        &self,
        reading: &Reading,
        past: &Past,
        check: Option<&Expression>,
    ) -> (Judgement, Option<bool>) {
        let measured = match reading {
            Reading::Missing(_) if planted("missing-counts-as-within") => {
                let within = Judgement { expect: Some(true), during: Some(true), ..Judgement::default() };
                return (within, check.map(|_| true));
            }
            Reading::Missing(why) => return (Judgement { note: why.clone(), ..Judgement::default() }, None),
            Reading::Absent(why) => {
                let outside = Judgement {
                    value: None,
                    expect: self.expect.as_ref().map(|_| false),
                    // "true" lets anything go, what is not there included.
                    during: self.during.as_ref().map(|during| during.text().trim() == "true"),
                    note: why.clone(),
                };
                return (outside, check.map(|_| false));
            }
            Reading::NoAnswer(no_answer) => return self.unanswered(no_answer, past, check),
            Reading::Measured(measured) => measured,
        };
        self.evaluate((measured, true), past, check)
    }

    /// No answer: each expression that it has is outside, unless it asks for no answer (see [`NoAnswer`]) or
    /// speaks of numbers alone, of which there is one.
    fn unanswered(
        &self,
        no_answer: &NoAnswer,
        past: &Past,
        check: Option<&Expression>,
    ) -> (Judgement, Option<bool>) {
        let (told, told_check) = self.evaluate((&no_answer.told, false), past, check);
        let (untold, untold_check) = self.evaluate((&no_answer.untold, false), past, check);
        let judged = |expression: Option<&Expression>, told: Option<bool>, untold: Option<bool>| {
            let own = |expression: &Expression| no_answer.told.keys().any(|name| expression.uses(name));
            expression.map(|e| told == Some(true) && (untold != Some(true) || !own(e)))
        };
        let judgement = Judgement {
            value: told.value,
            expect: judged(self.expect.as_ref(), told.expect, untold.expect),
            during: judged(self.during.as_ref(), told.during, untold.during),
            note: no_answer.why.clone(),
        };
        (judgement, judged(check, told_check, untold_check))
    }

    /// Judges variables. When not `whole`, there may be no number; what asks for it or for the window, which then
    /// would tell of better times only, has no such key.
    fn evaluate(
        &self,
        (measured, whole): (&BTreeMap<&'static str, Value>, bool),
        past: &Past,
        check: Option<&Expression>,
    ) -> (Judgement, Option<bool>) {
        let several = measured.get(SERIES).and_then(Value::as_array).map_or(0, Vec::len);
        if self.one_series && several > 1 && !check.is_some_and(|check| check.uses(SERIES)) {
            let note = format!("the query gives {several} series where one is expected");
            return (Judgement { note, ..Judgement::default() }, None);
        }
        let mut vars = Vars::new().json("params", &self.params);
        for (name, json) in measured {
            vars = vars.json(name, json);
        }
        if let Some(now) = measured.get("object").or_else(|| measured.get("objects")) {
            vars = vars.json("before", past.before.as_ref().unwrap_or(now));
        }
        let mut judgement = Judgement::default();
        let value = self.value.as_ref().map(|expression| expression.number(&vars)).transpose();
        let value = match value {
            Ok(value) => value,
            Err(EvalError::NoSuchKey(_)) if !whole => None,
            Err(error) => return self.no_number(error, check),
        };
        if let Some(value) = value {
            vars = vars.number("value", value);
            judgement.value = Some(value);
        }
        let stats = |stats: Option<Stats>| {
            stats.map(|stats| serde_json::to_value(stats).expect("numbers are JSON")).unwrap_or(Value::Null)
        };
        vars = vars.json("baseline", &stats(past.baseline.or_else(|| Stats::of(value))));
        if whole || value.is_some() {
            vars = vars.json("window", &stats(Stats::of(past.window.iter().copied().chain(value))));
        }
        let mut test =
            |expression: Option<&Expression>| match expression.map(|expression| expression.test(&vars)) {
                None => None,
                Some(Ok(true)) => Some(true),
                Some(Ok(false)) => {
                    let because = expression.map(|expression| expression.because(&vars));
                    if let Some(because) = because.filter(|because| !because.is_empty()) {
                        judgement.note = because;
                    }
                    Some(false)
                }
                // In something that was read, a key that is not there is outside.
                Some(Err(error @ EvalError::NoSuchKey(_))) => {
                    judgement.note = error.to_string();
                    Some(false)
                }
                Some(Err(error)) => {
                    judgement.note = error.to_string();
                    None
                }
            };
        let expect = test(self.expect.as_ref());
        let during = test(self.during.as_ref());
        let checked = test(check);
        (Judgement { expect, during, ..judgement }, checked)
    }

    /// `value` could not be computed: a missing key is outside, anything else is nothing to judge.
    fn no_number(&self, error: EvalError, check: Option<&Expression>) -> (Judgement, Option<bool>) {
        let note = error.to_string();
        if !matches!(error, EvalError::NoSuchKey(_)) {
            return (Judgement { note, ..Judgement::default() }, None);
        }
        let outside =
            |expression: &Option<Expression>| expression.as_ref().map(|e| e.text().trim() == "true");
        let judgement =
            Judgement { value: None, expect: outside(&self.expect), during: outside(&self.during), note };
        (judgement, check.map(|_| false))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::probes;

    fn judged(kind: &str, value: Option<&str>, expect: &str, reading: Reading, past: &Past) -> Judgement {
        let info = probes::find(kind).expect("a probe").info();
        let expressions = Expressions { value, expect: Some(expect), during: None };
        let judge = Judge::compile(info, expressions, &BTreeMap::new()).expect("compiles");
        judge.judge(&reading, past, None).0
    }

    fn object(object: Value) -> Reading {
        Reading::Measured([("object", object)].into())
    }

    #[test]
    fn nothing_to_judge_is_never_within() {
        let missing =
            judged("prometheus", None, "true", Reading::Missing("no series".into()), &Past::default());
        assert_eq!((missing.expect, missing.during), (None, None));
        let type_error =
            judged("kubernetes", None, "object.a > 'x'", object(json!({"a": 1})), &Past::default());
        assert_eq!(type_error.expect, None, "{type_error:?}");
    }

    #[test]
    fn what_is_not_there_is_outside() {
        let absent = judged("kubernetes", None, "true", Reading::Absent("gone".into()), &Past::default());
        assert_eq!(absent.expect, Some(false));
        let no_key = judged("kubernetes", None, "object.b == 1", object(json!({"a": 1})), &Past::default());
        assert_eq!(no_key.expect, Some(false));
    }

    #[test]
    fn baseline_window_and_before_are_there() {
        let past = Past { baseline: Stats::of([1.0, 3.0]), window: vec![9.0], before: Some(json!({"n": 2})) };
        let value = Some("object.n");
        let now = || object(json!({"n": 2}));
        for (expect, holds) in [
            ("value <= 2.0 * baseline.mean", true),
            ("window.max == 9.0 && window.last == 2.0 && window.count == 2", true),
            ("object == before", true),
            ("value > baseline.max", false),
        ] {
            assert_eq!(judged("kubernetes", value, expect, now(), &past).expect, Some(holds), "{expect}");
        }
    }
}
