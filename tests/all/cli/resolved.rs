//! What is filled into a file before it runs, and who is assumed to have answered in a rehearsal.

use super::{Place, experiment};

#[test]
fn a_rehearsal_takes_a_manual_step_for_done() {
    let text = experiment(|text| {
        text.replace("  - wait: 30s\n", "  - name: by-hand\n    manual: {instructions: Look., assume: 30s}\n")
    });
    let place = Place::new();
    let file = place.write("manual.yaml", &text);
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/experiments/demo");
    let rehearsed = place.run(&["rehearse", &file, "--manifests", demo, "--seed", "7"]).exits(0);
    rehearsed.says("step by-hand: done, says rehearsal");
}

/// A probe of another file of the same folder, and a parameter in its query, its CEL and the target.
#[test]
fn parameters_and_shared_probes_are_filled_in_before_anything_runs() {
    let place = Place::new();
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/experiments/demo");
    place.write(
        "shared.yaml",
        "apiVersion: firedrill.dev/v1alpha1\nkind: Experiment\nmetadata: {name: golden, namespace: shop}\nspec:\n  \
         hypothesis: The shop is well.\n  steadyState:\n  - name: busy\n    prometheus: {query: \
         'sum(rate(http_requests_total{app=\"checkout\"}[1m]))'}\n    expect: value >= 50.0\n    during: 'true'\n",
    );
    let text = experiment(|text| {
        let text = text.replacen("  steadyState:\n", "  parameters: [{name: app}, {name: share, default: 50%, pattern: '[0-9]+%'}]\n  steadyStateFrom: [{name: golden}]\n  steadyState:\n", 1);
        let text = text
            .replace("name: checkout}", "name: $(params.app)}")
            .replace("app=\"checkout\"", "app=\"$(params.app)\"");
        text.replace("deployment/checkout, count: 50%", "deployment/$(params.app), count: $(params.share)")
            .replace("during: value >= 2", "during: value >= 2 && params.app == object.metadata.name")
    });
    let file = place.write("half.yaml", &text);
    place
        .run(&["check", &file])
        .exits(0)
        .prints("parameter `app` has no value here")
        .says("0 documents accepted, 0 errors, 1 warning");
    place.run(&["rehearse", &file, "--manifests", demo]).exits(2).says("parameter `app` has no value");
    place.run(&["check", &file, "--param", "ap=x"]).exits(2).says("no file declares it; did you mean app?");
    place.run(&["check", &file, "--param", "app=a\"} or vector(1)"]).exits(2).prints("does not match");
    let told = place
        .run(&[
            "rehearse",
            &file,
            "--manifests",
            demo,
            "--seed",
            "7",
            "--param",
            "app=checkout",
            "-o",
            "json",
        ])
        .exits(0)
        .json();
    let names: Vec<&str> =
        told["probes"].as_array().expect("probes").iter().filter_map(|p| p["name"].as_str()).collect();
    assert!(names.contains(&"busy") && names.contains(&"replicas"), "{names:?}");
    assert_eq!(told["steps"][0]["injections"].as_array().map(Vec::len), Some(2));
}
