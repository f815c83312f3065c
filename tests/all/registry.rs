//! What holds of every fault and every probe, because it holds of the registry.

use firedrill::{
    faults::{self, FAULTS},
    probes::PROBES,
};

use crate::crash::house::METHODS;

#[test]
fn every_fault_has_its_row_in_the_crash_matrix() {
    let faults = FAULTS.iter().map(|fault| fault.info().name);
    let mut names: Vec<&str> = faults.chain([faults::LOAD_POD.name]).collect();
    names.sort_unstable();
    let mut rows: Vec<&str> = METHODS.iter().map(|(fault, _)| *fault).collect();
    rows.sort_unstable();
    assert_eq!(names, rows);
}

#[test]
fn names_are_told_apart_and_say_what_they_do() {
    let names: std::collections::BTreeSet<&str> = FAULTS
        .iter()
        .map(|fault| fault.info().name)
        .chain(PROBES.iter().map(|probe| probe.info().name))
        .collect();
    assert_eq!(names.len(), FAULTS.len() + PROBES.len());
    for fault in FAULTS {
        let info = fault.info();
        assert!(
            info.summary.ends_with('.')
                && !info.targets.is_empty()
                && (info.agent || !info.rights.is_empty()),
            "{}",
            info.name
        );
        assert!(info.example.contains(info.name), "{}", info.name);
    }
}

/// A field that nobody reads of is not there for them.
#[test]
fn the_fields_of_metrics_stand_in_their_docs() {
    let text = include_str!("../../docs/metrics.md");
    let probe = PROBES.iter().find(|probe| probe.info().name == "prometheus").expect("it is registered");
    for field in probe.info().fields {
        let written = [format!("`{}`", field.name), format!("{}:", field.name)];
        assert!(written.iter().any(|word| text.contains(word)), "docs/metrics.md has no {}", field.name);
    }
    let example =
        text.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    crate::kit::experiment(example);
}
