use proptest::prelude::*;

use super::*;

fn one(text: &str) -> Node {
    let parsed = parse(text.as_bytes());
    assert_eq!(parsed.problems, vec![], "{text:?}");
    assert_eq!(parsed.documents.len(), 1, "{text:?}");
    parsed.documents.into_iter().next().expect("one document was asserted")
}

fn faults(text: &str) -> Vec<(Fault, &str)> {
    parse(text.as_bytes()).problems.iter().map(|p| (p.fault, &text[p.span.start..p.span.end])).collect()
}

#[test]
fn keys_and_values_know_where_they_were_written() {
    let text = "a: 1\nlist:\n- {b: \"zwei\", c: [x, 2.5]}\n- |\n  text\ntail: end\n";
    let node = one(text);
    let slice = |span: Span| &text[span.start..span.end];
    let list = node.entry("list").expect("list is there");
    assert_eq!(slice(list.key_span), "list");
    assert_eq!(slice(list.value.span), "{b: \"zwei\", c: [x, 2.5]}\n- |\n  text\n");
    let first = &list.value.items()[0];
    assert_eq!(slice(first.span), "{b: \"zwei\", c: [x, 2.5]}");
    assert_eq!(slice(first.get("b").expect("b").span), "\"zwei\"");
    assert_eq!(slice(first.get("c").expect("c").items()[1].span), "2.5");
    assert_eq!(node.at(&["a"]).map(|n| &n.value), Some(&Value::Int(1)));
    assert_eq!(list.value.items()[1].text(), Some("text\n"));
}

#[test]
fn scalars_follow_the_core_schema() {
    for (text, value) in [
        ("~", Value::Null),
        ("true", Value::Bool(true)),
        ("yes", Value::Str("yes".into())),
        ("no", Value::Str("no".into())),
        ("012", Value::Int(12)),
        ("-7", Value::Int(-7)),
        ("0o17", Value::Int(15)),
        ("0x1F", Value::Int(31)),
        ("1_000", Value::Str("1_000".into())),
        ("12:30", Value::Str("12:30".into())),
        ("1e3", Value::Float(1000.0)),
        (".5", Value::Float(0.5)),
        ("5.", Value::Float(5.0)),
        ("1.2.3", Value::Str("1.2.3".into())),
        ("50%", Value::Str("50%".into())),
        ("30s", Value::Str("30s".into())),
        ("\"1\"", Value::Str("1".into())),
        ("'yes'", Value::Str("yes".into())),
        ("!!str 12", Value::Str("12".into())),
        ("9223372036854775807", Value::Int(i64::MAX)),
        ("2026-11-26", Value::Str("2026-11-26".into())),
    ] {
        assert_eq!(one(&format!("k: {text}\n")).get("k").map(|n| &n.value), Some(&value), "{text}");
    }
}

#[test]
fn what_yaml_1_1_reads_otherwise_is_marked() {
    for (text, reading) in [
        ("on", Some("true")),
        ("NO", Some("false")),
        ("y", Some("true")),
        ("012", Some("an octal number")),
        ("0", None),
        ("0o7", Some("text")),
        ("1_000", Some("a number")),
        ("12:30", Some("a number in base 60")),
        ("12:61", None),
        ("'on'", None),
        ("a_b", None),
        ("30s", None),
    ] {
        assert_eq!(one(&format!("k: {text}\n")).get("k").and_then(|n| n.ambiguous), reading, "{text}");
    }
}

#[test]
fn problems_are_collected_and_placed() {
    assert_eq!(
        faults("a: 1\nb: .nan\na: 2\n<<: {x: 1}\nc: 99999999999999999999\n? [k]\n: v\n"),
        vec![
            (Fault::Number, ".nan"),
            (Fault::DuplicateKey, "a"),
            (Fault::MergeKey, "<<"),
            (Fault::Number, "99999999999999999999"),
            (Fault::Unsupported, "[k]"),
        ]
    );
    let parsed = parse(b"x: 1\ny: 2\nx: 3\n");
    assert_eq!(parsed.problems[0].related, Some((Span::new(0, 1), "first given here".to_owned())));
    assert_eq!(parsed.documents[0].get("x").map(|n| &n.value), Some(&Value::Int(1)));
}

#[test]
fn limits_hold() {
    assert_eq!(parse(&vec![b'a'; MAX_BYTES + 1]).problems[0].fault, Fault::TooLarge);
    assert_eq!(
        parse(format!("{}{}", "[".repeat(100), "]".repeat(100)).as_bytes()).problems[0].fault,
        Fault::TooLarge
    );
    assert_eq!(parse("- ".repeat(100_000).as_bytes()).problems[0].fault, Fault::TooLarge);
    assert_eq!(parse("---\na\n".repeat(MAX_DOCUMENTS + 1).as_bytes()).problems[0].fault, Fault::TooLarge);
    let deep = format!("{}1{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
    assert_eq!(parse(deep.as_bytes()).problems, vec![]);
}

#[test]
fn aliases_expand_within_bounds() {
    let node = one("a: &x {k: 1}\nb: *x\n");
    assert_eq!(node.at(&["b", "k"]).map(|n| &n.value), Some(&Value::Int(1)));
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..9 {
        let below = format!("*a{},", level - 1).repeat(10);
        bomb.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    let problems = parse(bomb.as_bytes()).problems;
    assert_eq!(problems.iter().map(|p| p.fault).collect::<Vec<_>>(), vec![Fault::Alias]);
    assert_eq!(faults("a: &x [*x]\n"), vec![(Fault::Alias, "*x")]);
    assert_eq!(parse(b"a: *nowhere\n").problems[0].fault, Fault::Alias);
}

#[test]
fn the_text_itself_may_be_wrong() {
    assert_eq!(parse(b"\xff\xfea\0").problems[0].message, "the text is UTF-16 (byte 0)");
    assert_eq!(parse(b"a: \xe4\n").problems[0].fault, Fault::Encoding);
    assert_eq!(one("\u{feff}a: 1\n").get("a").map(|n| &n.value), Some(&Value::Int(1)));
    let tab = parse(b"a:\n\tb: 1\n");
    assert_eq!(tab.problems[0].fault, Fault::Syntax);
    assert!(tab.problems[0].help.as_deref().is_some_and(|help| help.contains("tabs")), "{tab:?}");
    assert_eq!(parse(b"").documents, vec![]);
    assert_eq!(parse(b"---\n---\na: 1\n...\n---\nb: 2\n").documents.len(), 2);
}

const VALID: &str = "apiVersion: firedrill.dev/v1alpha1\nkind: Experiment\nmetadata: {name: a, namespace: b}\n\
spec:\n  hypothesis: &h \"x\"\n  steadyState:\n  - name: p\n    expect: value >= 0.9\n  again: *h\n---\n- 1\n- ~\n";

/// The other reader's value as JSON, where it has one.
fn oracle(text: &str) -> Option<serde_json::Value> {
    let options = serde_yaml::options! {
        strict_booleans: true,
        leading_zero_numbers_as_strings: false,
        underscored_numbers_as_strings: true,
    };
    serde_yaml::from_str_with_options(text, options).ok()
}

#[test]
fn another_reader_sees_the_same() {
    for text in [
        "a: 1\nb: [x, 'y', \"z\\n\", 2.5, true, ~]\nc: {d: {e: -3}}\n",
        "k: |\n  several\n  lines\nf: >-\n  folded\n  text\n",
        "a: &x {k: 1}\nb: *x\nempty: {}\nlist: []\n",
        "- a: 1\n  b: 2\n-\n  - nested\n- yes\n",
        "'quoted key': \"\\u00e4\"\n",
    ] {
        assert_eq!(Some(one(text).to_json()), oracle(text), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let parsed = parse(&bytes);
        for problem in &parsed.problems {
            prop_assert!(problem.span.end <= bytes.len());
        }
    }

    #[test]
    fn mutated_files_are_survived(
        at in 0..VALID.len(), cut in 0..12usize, put in "[\\-\\[\\]{}:,&*!|>'\"%@#\\t\\n a-z0-9é]{0,6}",
    ) {
        let mut text = VALID.to_owned();
        let end = (at + cut).min(text.len());
        text.replace_range(at..end, &put);
        let parsed = parse(text.as_bytes());
        for problem in &parsed.problems {
            prop_assert!(text.get(problem.span.start..problem.span.end).is_some(), "{problem:?}");
        }
    }

    #[test]
    fn simple_trees_are_read_as_the_other_reader_reads_them(
        keys in proptest::collection::btree_set("[a-z]{2,6}x", 1..5),
        values in proptest::collection::vec("[a-z]{3,8}x|-?[1-9][0-9]{0,5}|true|\"[a-z:#, ]*\"", 5),
    ) {
        let text: String = keys.iter().zip(&values).map(|(k, v)| format!("{k}: {v}\n")).collect();
        let parsed = parse(text.as_bytes());
        prop_assert_eq!(Some(parsed.documents[0].to_json()), oracle(&text), "{}", text);
    }
}
