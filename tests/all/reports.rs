//! Reports of a command: on standard output and in files.

use crate::cli::{POD_LOSS, Place, with_a_vault};

#[test]
fn a_report_that_cannot_be_written_does_not_hide_the_verdict() {
    let place = Place::new();
    let full = place.home.path().join("report.md");
    std::os::unix::fs::symlink("/dev/full", &full).expect("a link");
    let full = full.display().to_string();
    let ended = place.run(&["rehearse", "experiments/metric-source-gone.yaml", "--report", &full]);
    ended.exits(4).says("the report is not written").prints("INCONCLUSIVE");
}

#[test]
fn files_hold_every_experiment_also_those_that_did_not_run() {
    let place = Place::new();
    let manifests = with_a_vault(&place);
    // Not beside the manifests, among which everything is read that is JSON.
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(place.home.path().join("values.yaml"), "replicas: 3\n").expect("a file");
    let (junit, page, json) = (path("out.xml"), path("out.html"), path("out.json"));
    let files =
        [POD_LOSS, "experiments/drain-that-can-never-finish.yaml", "experiments/drain-under-a-budget.yaml"];
    let with = |more: &[&str]| {
        let options = ["--manifests", &manifests, "--seed", "7"];
        let arguments: Vec<&str> =
            ["rehearse"].iter().chain(&files).chain(&options).chain(more).copied().collect();
        place.run(&arguments)
    };
    let read = |path: &str| std::fs::read_to_string(path).expect("a report");
    let ended = with(&["--junit", &junit, "--report", &page, "--report", &json]).exits(3).prints("PASSED");
    let ended = ended.says("values.yaml is passed over: it has no kind");
    assert!(!ended.out.contains("REFUSED"), "standard error has said it: {}", ended.out);
    let xml = read(&junit);
    assert_eq!(xml.matches("<testsuite name=").count(), 3, "{xml}");
    assert!(xml.contains("<error type=\"Refused\"") && xml.contains("FD3009"), "{xml}");
    assert!(xml.contains("<skipped message=\"an experiment before it did not pass\"/>"), "{xml}");
    let html = read(&page);
    assert_eq!(html.matches("<article ").count(), 3);
    assert!(html.contains("FD3009") && html.contains("Skipped"));
    assert!(read(&json).contains("\"verdict\": \"Refused\""));
    // On standard output it is one document, whatever came before.
    let ended = with(&["-o", "junit"]).exits(3);
    assert!(ended.out.starts_with("<?xml ") && ended.out.ends_with("</testsuites>\n"), "{}", ended.out);
    let ended = with(&["-o", "html"]).exits(3);
    assert!(ended.out.starts_with("<!doctype html>") && ended.out.ends_with("</html>\n"));
}

#[test]
fn a_run_that_cannot_begin_is_an_error_in_the_results() {
    let place = Place::new();
    let junit = place.home.path().join("out.xml").display().to_string();
    place.run(&["run", POD_LOSS, "--junit", &junit]).exits(3).says("kubeconfig");
    let xml = std::fs::read_to_string(&junit).expect("results");
    assert!(xml.contains("<error type=\"NotBegun\"") && xml.contains("kubeconfig"), "{xml}");
}
