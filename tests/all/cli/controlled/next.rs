//! What comes due, held against Guardrails: of files, and of the cluster.

use super::super::{Place, newcomer::serve};

const TRIAL: &str = "tests/real/controller.yaml";
const DAY: &str = "---
apiVersion: firedrill.dev/v1alpha1
kind: GameDay
metadata: {name: daily, namespace: shop}
spec:
  schedule: \"0 10 * * *\"
  timeZone: Europe/London
  experiments: [{name: trial}]
";
const RULE: &str = "---
apiVersion: firedrill.dev/v1alpha1
kind: Guardrail
metadata: {name: platform}
spec:
  timeZone: Europe/London
  windows: [{days: [Tuesday, Thursday], from: \"09:00\", to: \"17:00\"}]
  blackouts: [{name: freeze, from: 2026-11-26, to: 2026-11-30}]
";

#[test]
fn guardrails_among_the_files_are_held_against_the_times() {
    let place = Place::new();
    let trial = std::fs::read_to_string(TRIAL).expect("a manifest");
    let (_, trial) = trial.split_once("---\napiVersion: firedrill.dev").expect("ours come last");
    place.write("trial.yaml", &format!("apiVersion: firedrill.dev{trial}"));
    let day = place.write("day.yaml", DAY);
    let rule = place.write("rule.yaml", RULE);
    let next = |more: &[&str]| {
        let arguments = ["next", &day, "--from", "2026-11-23", "--until", "2026-12-01"];
        place.run(&[&arguments[..], more].concat()).exits(0)
    };
    assert_eq!(next(&[]).out.matches("  runs").count(), 9);
    let held = next(&[&rule]);
    let held = held
        .prints("Mon 2026-11-23 10:00 GMT   refused: Guardrail platform: outside its windows")
        .prints("Tue 2026-11-24 10:00 GMT   runs")
        .prints("Thu 2026-11-26 10:00 GMT   refused: Guardrail platform: blackout freeze");
    assert_eq!(held.out.matches("  runs").count(), 2, "{}", held.out);
    let halt = "apiVersion: firedrill.dev/v1alpha1\nkind: Guardrail\nmetadata: {name: halt}\nspec: {halt: true, haltReason: incident 42}\n";
    let halt = place.write("halt.yaml", halt);
    let halted = next(&[&halt, "-o", "json"]).json();
    assert_eq!(halted[0]["open"], false);
    assert_eq!(halted[0]["occurrences"][0]["runs"], false);
    assert_eq!(halted[0]["occurrences"][0]["skipped"], "Guardrail halt: halted: incident 42");
}

#[test]
fn the_game_days_of_the_cluster_are_told_with_its_guardrails() {
    let place = Place::new();
    let manifests = place.home.path().join("manifests");
    std::fs::create_dir(&manifests).expect("a folder");
    let people = "---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: see, namespace: shop}
rules: [{apiGroups: [firedrill.dev], resources: [gamedays, experiments], verbs: [list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: see, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: see}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: dev}]
";
    let trial = std::fs::read_to_string(TRIAL).expect("a manifest");
    std::fs::write(manifests.join("all.yaml"), format!("{trial}{DAY}{RULE}{people}")).expect("a manifest");
    let (_served, kubeconfig) = serve(&place, &manifests.display().to_string());
    let times = ["next", "--controller", "--from", "2026-11-23", "--until", "2026-12-01"];
    let run = |more: &[&str]| place.run(&[&times[..], &["--kubeconfig", &kubeconfig], more].concat());
    let told = run(&[]).exits(0);
    told.prints("daily  0 10 * * *  Europe/London")
        .prints("Mon 2026-11-23 10:00 GMT   refused: Guardrail platform: outside its windows")
        .prints("Tue 2026-11-24 10:00 GMT   runs")
        // By hand, and suspended.
        .prints("drill")
        .prints("suspended: the schedule rests");
    let json = run(&["-n", "shop", "-o", "json"]).exits(0).json();
    let daily =
        json.as_array().expect("a list").iter().find(|day| day["name"] == "daily").expect("it is there");
    assert_eq!((&daily["namespace"], &daily["occurrences"][3]["runs"]), (&"shop".into(), &false.into()));
    run(&["-n", "firedrill"]).exits(0).says("there is no GameDay in the cluster");
    place.run(&["halt", "--reason", "incident 42", "--kubeconfig", &kubeconfig]).exits(0);
    run(&[]).exits(0).prints("Tue 2026-11-24 10:00 GMT   refused: Guardrail halt: halted: incident 42");
    // A file against the Guardrails there.
    let file = place.write(
        "day.yaml",
        &DAY.replace("daily", "other")
            .replace("{name: trial}", "{name: trial, experimentRef: {name: trial}}"),
    );
    let trial = trial.split_once("---\napiVersion: firedrill.dev").expect("ours come last").1;
    place.write("trial.yaml", &format!("apiVersion: firedrill.dev{trial}"));
    let told = run(&[&file]).exits(0).prints("refused: Guardrail halt");
    assert!(!told.out.contains("daily"), "{}", told.out);
    // Whoever may see no more sees their own, and is told what is missing.
    let text = std::fs::read_to_string(&kubeconfig).expect("a kubeconfig");
    let mut config: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    config["users"][0]["user"]["as"] = "dev".into();
    config["contexts"][0]["context"]["namespace"] = "shop".into();
    let dev = place.write("dev", &config.to_string());
    let told = place.run(&[&times[..], &["--kubeconfig", &dev]].concat()).exits(0);
    told.says("these are those of shop")
        .says("you may not read Guardrails")
        .prints("Mon 2026-11-23 10:00 GMT   runs");
}
