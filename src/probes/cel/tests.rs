use proptest::prelude::*;
use serde_json::json;

use super::*;

const VARIABLES: &[Variable] = &[
    Variable { name: "value", kind: VariableType::Double, description: "" },
    Variable { name: "baseline", kind: VariableType::Any, description: "" },
    Variable { name: "object", kind: VariableType::Any, description: "" },
    Variable { name: "objects", kind: VariableType::Any, description: "" },
    Variable { name: "status", kind: VariableType::Int, description: "" },
    Variable { name: "latency", kind: VariableType::Double, description: "" },
];

fn vars() -> Vars {
    Vars::new()
        .number("value", 0.97)
        .number("latency", 0.15)
        .int("status", 200)
        .json("baseline", &json!({"mean": 0.25, "min": 3.0}))
        .json(
            "object",
            &json!({"spec": {"replicas": 3}, "status": {"replicas": 3}, "metadata": {"labels": {"a-b": "x"}}}),
        )
        .json(
            "objects",
            &json!([{"spec": {}, "n": 1, "q": "500m"}, {"spec": {"unschedulable": true}, "n": 4, "q": "1Gi"}]),
        )
}

fn run(text: &str) -> Result<Outcome, EvalError> {
    Expression::compile(text, VARIABLES).unwrap_or_else(|e| panic!("{text}: {e:?}")).evaluate(&vars())
}

#[test]
fn expressions_of_the_kubernetes_sort_work() {
    for text in [
        "value >= 0.9",
        "value >= 0.9 && value < 1",
        "status == 200 && latency <= 0.2",
        "status / 100 == 2",
        "object.spec.replicas == object.status.replicas",
        "object.status.replicas + 1 == 4",
        "object.status.replicas - 5 == -2",
        "object.status.replicas / 2 == 1",
        "object.status.?readyReplicas.orValue(0) == 0",
        "object.metadata.labels[?'nope'].orValue('z') == 'z'",
        "object.metadata.labels['a-b'] == 'x'",
        "!has(object.status.readyReplicas)",
        "objects.size() == 2",
        "size(objects) == 2",
        "objects.filter(o, !o.spec.?unschedulable.orValue(false)).size() == 1",
        "objects.all(o, o.n > 0) && objects.exists(o, o.n == 4) && objects.exists_one(o, o.n == 1)",
        "objects.map(o, o.n).sum() == 5",
        "objects.map(o, o.n).max() == 4 && objects.map(o, o.n).min() == 1",
        "objects.map(o, o.n).isSorted()",
        "quantity(objects[1].q).isGreaterThan(quantity('1000Mi'))",
        "quantity('500m').asApproximateFloat() == 0.5",
        "quantity('2').asInteger() == 2 && isQuantity('1Gi') && !isQuantity('1GB')",
        "duration('90s') > duration('1m')",
        "timestamp('2026-11-26T10:00:00Z').getFullYear() == 2026",
        "'Ab-c'.lowerAscii().split('-') == ['ab', 'c']",
        "'abc'.matches('^a.c$') && 'abc'.contains('b') && 'x,y'.replace(',', '-') == 'x-y'",
        "optional.of(1).hasValue()",
        "type(status) == int",
        "value <= 4.0 * baseline.mean",
        "double(status) / 2.0 == 100.0",
        "dyn(1) == 1 && {'a': 1}.a == 1 && [1, 2][1] == 2",
        "'é' == 'é' && value > 0.5",
    ] {
        assert_eq!(run(text), Ok(Outcome::Bool(true)), "{text}");
    }
    assert_eq!(run("object.spec.replicas"), Ok(Outcome::Number(3.0)));
    assert_eq!(run("'a' + 'b'"), Ok(Outcome::Text("ab".into())));
}

#[test]
fn no_answer_is_never_false() {
    assert_eq!(run("object.status.readyReplicas == 2"), Err(EvalError::NoSuchKey("readyReplicas".into())));
    assert!(matches!(run("objects[7].n == 1"), Err(EvalError::NoSuchKey(_))));
    assert!(matches!(run("objects.map(o, o.gone).size() == 1"), Err(EvalError::NoSuchKey(_))));
    assert_eq!(run("status / 0 == 1"), Err(EvalError::NotANumber));
    assert_eq!(run("value / 0.0"), Err(EvalError::NotANumber));
    let nan = Vars::new().number("value", f64::NAN);
    let test = |text: &str| Expression::compile(text, VARIABLES).expect(text).test(&nan);
    for text in ["value >= 0.9", "value < 0.9"] {
        assert_eq!(test(text), Err(EvalError::NotANumber), "{text}");
    }
    let value = Expression::compile("value", VARIABLES).expect("value compiles");
    assert_eq!(value.number(&nan), Err(EvalError::NotANumber));
    assert!(matches!(value.test(&vars()), Err(EvalError::Type(_))));
    assert!(matches!(run("object.spec > 1"), Err(EvalError::Type(_))));
    assert!(matches!(run("value >= 0.9 && object.spec"), Err(EvalError::Type(_))));
    // A variable that the caller did not give is missing, not false.
    let none = Expression::compile("status == 1", VARIABLES).expect("compiles").test(&Vars::new());
    assert!(matches!(none, Err(EvalError::NoSuchKey(_))));
}

/// (expression, what is underlined, part of the message, help)
const MISTAKES: &[(&str, &str, &str, &str)] = &[
    ("valeu >= 0.9", "valeu", "no variable `valeu`", "did you mean `value`?"),
    (
        "'é' == 'é' && zz > 1",
        "zz",
        "no variable `zz`",
        "there are value, baseline, object, objects, status, latency",
    ),
    (
        "objects.all(o, p.n > 0)",
        "p",
        "no variable `p`",
        "there are value, baseline, object, objects, status, latency",
    ),
    ("objects.al(o, o > 1)", "(", "no function `al`", ""),
    ("sise(objects) == 1", "(", "no function `sise`", "did you mean `size`?"),
    ("objects.quantity()", "(", "no function `quantity`", "write quantity(x)"),
    ("math.greatest(1, 2) == 2", "math", "no variable `math`", ""),
    ("'a'.find('b') == ''", "(", "no function `find`", ""),
    (
        "value > baseline.avg",
        ".avg",
        "`baseline` has no `avg`",
        "there are min, max, mean, p50, p95, p99, first, last, count",
    ),
    ("value > baseline.mena", ".mena", "`baseline` has no `mena`", "did you mean `mean`?"),
    ("value * 100 > 95", "*", "cannot be combined", "write 100.0"),
    ("value - status > 0", "-", "cannot be combined", "write double(…) around the whole number"),
    ("latency < duration('200ms')", "<", "cannot be compared", "times are seconds here: write 0.2"),
    ("status == '200'", "=", "are never equal", ""),
    ("value > baseline", ">", "cannot be compared", "`baseline` is a map: write baseline.mean"),
    ("object.n > baseline", ">", "cannot be compared", "`baseline` is a map: write baseline.mean"),
    ("value == baseline", "=", "are never equal", "`baseline` is a map: write baseline.mean"),
    ("value > 2.0 * baseline", "*", "cannot be combined", "`baseline` is a map: write baseline.mean"),
    ("status && value > 1", "status", "where a truth value is needed", ""),
    ("'éé' = 'é'", "=", "not CEL", "compare with =="),
    ("value >=", "", "not CEL", ""),
    ("value = 1", "=", "not CEL", "compare with =="),
    ("value > 1 and status == 2", "and", "not CEL", "CEL writes && and ||"),
    ("", "", "not CEL", "write for example value >= 0.99"),
];

#[test]
fn mistakes_are_found_before_anything_runs() {
    for (text, underlined, message, help) in MISTAKES {
        let error = Expression::compile(text, VARIABLES).expect_err(text);
        assert!(error.message.contains(message), "{text}: {error:?}");
        assert!(text[error.offset..].starts_with(underlined), "{text}: {error:?}");
        if !help.is_empty() {
            assert_eq!(error.help, *help, "{text}");
        }
    }
}

#[test]
fn division_of_whole_numbers_is_warned_of() {
    let expression =
        Expression::compile("object.a / object.b >= 0.5", VARIABLES).expect("it compiles all the same");
    assert_eq!(expression.warnings().len(), 1);
    assert_eq!(expression.warnings()[0].help, "write double(…) around one of them");
    assert!(Expression::compile("value / 2.0 >= 0.5", VARIABLES).expect("fine").warnings().is_empty());
}

#[test]
fn hostile_expressions_are_errors() {
    for text in [
        "!!(".repeat(30),
        "(".repeat(2000),
        "-".repeat(4000),
        "[".repeat(1500),
        format!("1{}", "+1".repeat(2000)),
        format!("object{}", ".a".repeat(2000)),
        "x".repeat(MAX_BYTES + 1),
        "objects.all(a, objects.all(b, objects.all(c, objects.all(d, true))))".to_owned(),
    ] {
        let error = Expression::compile(&text, VARIABLES).expect_err("too much");
        assert!(error.offset <= text.len());
    }
}

#[test]
fn every_function_named_is_there() {
    for name in functions::GLOBAL {
        let program = environment::shared().compile(&format!("{name}()")).expect(name);
        let error = program.execute(&Context::with_env(environment::shared())).err();
        let undeclared = matches!(error, Some(ExecutionError::UndeclaredReference(_)));
        assert!(!undeclared, "{name}");
    }
    for name in functions::MEMBER {
        let program = environment::shared().compile(&format!("1.0.{name}(1)")).expect(name);
        let error = program.execute(&Context::with_env(environment::shared())).err();
        assert!(!matches!(error, Some(ExecutionError::UndeclaredReference(_))), "{name}: {error:?}");
    }
}

#[test]
fn evaluation_fits_an_ordinary_stack() {
    let text = format!("1{} == 2", " + 1".repeat(MAX_DEPTH - 5));
    let expression = Expression::compile(&text, VARIABLES).expect("within the bounds");
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(move || expression.test(&Vars::new()));
    assert_eq!(thread.expect("a thread").join().expect("no overflow"), Ok(false));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn never_panics(text in "[a-z0-9 .()\\[\\]{}<>=!&|?:+*/'\"é-]{0,40}") {
        if let Ok(expression) = Expression::compile(&text, VARIABLES) {
            let _ = expression.evaluate(&vars());
        }
    }
}

/// Of `a && b` only what does not hold is of interest: a number that is as it should be explains nothing.
#[test]
fn what_does_not_hold_is_named_with_its_numbers() {
    let double = |name| Variable { name, kind: VariableType::Double, description: "" };
    let text = Variable { name: "error", kind: VariableType::Any, description: "" };
    let variables = [double("value"), double("errorRatio"), double("p99"), text];
    let because = |expression: &str| {
        let expression = Expression::compile(expression, &variables).expect("compiles");
        let vars = Vars::new().number("value", 0.2).number("errorRatio", 0.3125).number("p99", 0.2);
        expression.because(&vars.json("error", &serde_json::json!("a && b")))
    };
    for (expression, expected) in [
        ("errorRatio <= 0.01 && p99 <= 0.5", "errorRatio is 0.3125"),
        ("errorRatio <= 0.01 && p99 <= 0.1", "errorRatio is 0.3125, p99 is 0.2"),
        ("p99 <= 0.5 && (errorRatio <= 0.01 || p99 < 0.0)", "errorRatio is 0.3125, p99 is 0.2"),
        ("p99 <= 0.1 || errorRatio <= 0.01 && p99 > 0.0", "errorRatio is 0.3125, p99 is 0.2"),
        ("error == 'x && y' && p99 <= 0.5", "error is \"a && b\""),
        ("errorRatio <= 0.01", "errorRatio is 0.3125"),
        ("value >= 0.5", ""),
        ("value >= 0.5 && value < 9.0", ""),
    ] {
        assert_eq!(because(expression), expected, "{expression}");
    }
}
