use super::*;
use crate::api::planned;
use crate::{faults, probes};

fn walk(schema: &Schema, path: &str, visit: &mut impl FnMut(&Schema, &str)) {
    visit(schema, path);
    for field in schema.item().fields() {
        walk(&field.schema, &format!("{path}.{}", field.name), visit);
    }
}

#[test]
fn what_is_built_is_not_planned_any_more() {
    for planned in planned::FAULTS {
        assert!(faults::find(planned.name).is_none(), "{} is built: take it from the plan", planned.name);
    }
    for planned in planned::PROBES {
        assert!(probes::find(planned.name).is_none(), "{} is built: take it from the plan", planned.name);
    }
}

#[test]
fn the_whole_format_is_there() {
    assert!(fault_names().count() >= 27);
    assert_eq!(probe_names().count(), 9);
    let step = kind("Experiment").expect("a kind").spec.field("method").expect("a field");
    for action in actions() {
        assert!(step.schema.item().field(action).is_some(), "{action}");
    }
}

/// A registry's schema in words that the reader of schemas does not know would accept anything.
#[test]
fn nothing_in_a_spec_is_anything_at_all() {
    for kind in kinds() {
        walk(&kind.spec, kind.kind, &mut |schema, path| {
            assert!(!matches!(schema.shape, Shape::Any), "{path}");
            if let Shape::List { items, .. } = &schema.shape {
                assert!(!matches!(items.shape, Shape::Any), "{path}");
            }
        });
    }
}

#[test]
fn unions_name_fields_that_are_there() {
    for kind in kinds() {
        walk(&kind.spec, kind.kind, &mut |schema, path| {
            let item = schema.item();
            let Shape::Object { fields, unions } = &item.shape else { return };
            for name in unions.iter().flat_map(|union| &union.names) {
                assert!(fields.iter().any(|field| field.name == *name), "{path}: {name}");
            }
        });
    }
}

#[test]
fn alternatives_of_the_registries_are_unions() {
    let step = kind("Experiment").expect("a kind").spec.field("method").expect("a field").schema.item();
    let scale = &step.field("scale").expect("a fault").schema;
    let Shape::Object { unions, .. } = &scale.shape else { panic!("a fault is an object") };
    assert_eq!(unions.len(), 1);
    assert_eq!(
        (unions[0].names.as_slice(), unions[0].required),
        (["replicas".to_owned(), "by".to_owned()].as_slice(), true)
    );
}

#[test]
fn defaults_are_what_the_types_make_of_nothing() {
    use crate::api::ExperimentSpec;
    use crate::types::Length;
    let minimal = serde_json::json!({
        "hypothesis": "x",
        "steadyState": [{"name": "p", "prometheus": {"query": "up"}, "expect": "true"}],
    });
    let spec: ExperimentSpec = serde_json::from_value(minimal).expect("it decodes");
    let root = &kind("Experiment").expect("a kind").spec;
    let default = |path: &[&str]| {
        let mut schema = root;
        for part in path {
            schema = &schema.item().field(part).expect("a field").schema;
        }
        schema.default.clone().expect("it has a default")
    };
    let length = |duration: std::time::Duration| Length(duration).to_string();
    let probe = &spec.steady_state[0];
    assert_eq!(default(&["steadyState", "every"]), length(probe.every));
    assert_eq!(default(&["steadyState", "role"]), format!("{:?}", probe.role));
    assert_eq!(default(&["steadyState", "onMissing"]), format!("{:?}", probe.on_missing));
    assert_eq!(default(&["steadyState", "onViolation"]), format!("{:?}", probe.on_violation));
    assert_eq!(default(&["limits", "pods"]), spec.limits.pods().to_string());
    assert_eq!(default(&["limits", "nodes"]), spec.limits.nodes().to_string());
    assert_eq!(default(&["limits", "duration"]), length(spec.limits.duration()).replace("60m", "1h"));
    assert_eq!(default(&["objectives", "recoverWithin"]), length(spec.objectives.recover_within()));
    assert_eq!(default(&["baseline", "within"]), spec.baseline.within.to_string());
}
