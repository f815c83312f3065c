//! Patterns and rules of the schema, by the engine that evaluates expressions too.

use std::collections::BTreeMap;
use std::sync::{LazyLock, OnceLock};

use crate::api::schema::{AMOUNT, BOUND, KindSchema, LABEL, SUBDOMAIN, Schema, kinds};
use crate::api::yaml::Node;
use crate::probes::cel::{Expression, Variable, VariableType, Vars};
use crate::types::Amount;

/// Whether the text matches. The patterns that every file meets dozens of times are held by hand; a test
/// compares both ways.
pub(super) fn matches(text: &str, pattern: &str) -> bool {
    match pattern {
        LABEL => is_label(text),
        SUBDOMAIN => text.split('.').all(is_label),
        AMOUNT => text == "all" || is_bound(text),
        BOUND => is_bound(text),
        _ => by_engine(text, pattern),
    }
}

/// Whether the whole text matches a pattern that a file gives; one that cannot be read matches nothing.
pub(super) fn matches_whole(text: &str, pattern: &str) -> bool {
    by_engine(text, &format!("^(?:{pattern})$"))
}

fn is_label(text: &str) -> bool {
    let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    !text.is_empty() && text.as_bytes().iter().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

fn is_bound(text: &str) -> bool {
    let plain = !text.starts_with('0') && text.len() <= 6;
    plain && matches!(text.parse::<Amount>(), Ok(Amount::Count(_) | Amount::Percent(_)))
}

fn by_engine(text: &str, pattern: &str) -> bool {
    static MATCHES: LazyLock<Option<Expression>> = LazyLock::new(|| {
        let variable = |name| Variable { name, kind: VariableType::String, description: "" };
        Expression::compile("text.matches(pattern)", &[variable("text"), variable("pattern")]).ok()
    });
    let vars = Vars::new().json("text", &text.into()).json("pattern", &pattern.into());
    MATCHES.as_ref().is_some_and(|expression| expression.test(&vars) == Ok(true))
}

/// The rules that the checker evaluates, by their text; each compiled when it is first asked for.
static RULES: LazyLock<BTreeMap<&'static str, OnceLock<Option<Expression>>>> = LazyLock::new(|| {
    fn collect(schema: &'static Schema, into: &mut BTreeMap<&'static str, OnceLock<Option<Expression>>>) {
        for rule in schema.rules.iter().filter(|rule| rule.code.is_some()) {
            into.entry(rule.rule.as_str()).or_default();
        }
        schema.fields().iter().for_each(|field| collect(&field.schema, into));
        let item = schema.item();
        if !std::ptr::eq(item, schema) {
            collect(item, into);
        }
    }
    let mut rules = BTreeMap::new();
    let specs = |kind: &'static KindSchema| [&kind.spec, &kind.status];
    kinds().iter().flat_map(specs).for_each(|schema| collect(schema, &mut rules));
    rules
});

fn compiled(rule: &str) -> Option<&'static Expression> {
    let variable = Variable { name: "self", kind: VariableType::Any, description: "" };
    RULES.get(rule)?.get_or_init(|| Expression::compile(rule, &[variable]).ok()).as_ref()
}

/// Whether the rule, one of the schema's, holds for the value.
pub(super) fn holds(rule: &str, node: &Node) -> bool {
    let vars = Vars::new().json("self", &node.to_json());
    compiled(rule).is_some_and(|expression| expression.test(&vars) == Ok(true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rules_compile() {
        assert!(RULES.len() >= 6, "{}", RULES.len());
        assert!(RULES.keys().all(|rule| compiled(rule).is_some()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(150))]

        #[test]
        fn by_hand_is_as_by_pattern(text in "[a-c0-2.%A-]{0,6}|all|[1-9][0-9]{0,7}%?|0[0-9]{0,3}%?") {
            for pattern in [LABEL, SUBDOMAIN, AMOUNT, BOUND] {
                prop_assert_eq!(matches(&text, pattern), by_engine(&text, pattern), "{} {}", text, pattern);
            }
        }
    }
}
