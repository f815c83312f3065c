//! Game days from outside: what is due when, what is held, what is told of it.

use serde_json::Value;

use super::{Ended, POD_LOSS, Place, newcomer::serve};

const WEEKLY: &str = "experiments/gamedays/shop-weekly.yaml";
const DEMO: &str = "experiments/demo";

/// A game day over experiments that lie beside it.
fn held(experiments: &str, more: &str) -> (Place, String) {
    let place = Place::new();
    for file in [POD_LOSS, "experiments/scale-below-need.yaml", "experiments/shop-golden-signals.yaml"] {
        let name = file.rsplit('/').next().expect("a name");
        place.write(name, &std::fs::read_to_string(file).expect("an experiment"));
    }
    let day = format!(
        "apiVersion: firedrill.dev/v1alpha1\nkind: GameDay\nmetadata: {{name: day, namespace: shop}}\nspec:\n  \
         experiments:\n{experiments}{more}"
    );
    let file = place.write("day.yaml", &day);
    (place, file)
}

const LOSS: &str = "  - {name: loss, experimentRef: {name: checkout-survives-pod-loss}}\n";
const BELOW: &str = "  - {name: below, experimentRef: {name: scale-below-need}}\n";

fn rehearsed(place: &Place, file: &str, more: &[&str]) -> Ended {
    let arguments = [&["rehearse", file, "--manifests", DEMO, "--seed", "7"], more].concat();
    place.run(&arguments)
}

#[test]
fn a_game_day_is_held_in_order_and_told_as_one() {
    let place = Place::new();
    let file = |name: &str| place.home.path().join(name).display().to_string();
    let (page, junit, markdown) = (file("day.html"), file("day.xml"), file("day.md"));
    let arguments = [
        "rehearse", WEEKLY, "--seed", "7", "-o", "json", "--report", &page, "--report", &markdown, "--junit",
        &junit,
    ];
    let ended = place.run(&arguments).exits(0);
    let order = [
        "prerequisite healthy: holds",
        "prerequisite on-call-knows: taken as said, after 5m",
        "steady before pod-loss: holds",
        "experiment pod-loss",
        "pause of 5m before node-drained",
        "steady before node-drained: holds",
        "experiment node-drained",
        "gate half-an-hour-of-kills: taken as said, after 5m",
        "experiment half-an-hour-of-kills",
    ];
    let mut rest = ended.err.as_str();
    for words in order {
        let at =
            rest.find(words).unwrap_or_else(|| panic!("`{words}` does not come in its turn:\n{}", ended.err));
        rest = &rest[at..];
    }
    let json: Value = ended.json();
    assert_eq!((json["verdict"].as_str(), json["exitCode"].as_u64()), (Some("Passed"), Some(0)));
    assert_eq!(json["scheduled"], "Tue 2026-01-06 10:00 GMT");
    assert_eq!(
        json["started"], "2026-01-06T10:00:00Z",
        "the clock of the rehearsal shows the time that it is for"
    );
    let experiments = json["experiments"].as_array().expect("a list");
    assert_eq!(experiments.len(), 3);
    for one in experiments {
        assert_eq!(
            (one["verdict"].as_str(), one["report"]["outcome"]["verdict"].as_str()),
            (Some("Passed"), Some("Passed"))
        );
        assert!(one["report"]["timeline"].as_array().is_some_and(|events| events.len() > 5));
    }
    assert_eq!(json["asked"].as_array().map(Vec::len), Some(6));
    let read = |path: &str| std::fs::read_to_string(path).expect("a report");
    let html = read(&page);
    assert_eq!(html.matches("<article ").count(), 4);
    assert!(html.contains("Passed: game day shop-weekly") && html.contains("on-call-knows"));
    let xml = read(&junit);
    assert_eq!(xml.matches("<testsuite name=").count(), 4, "{xml}");
    assert!(xml.contains("gate half-an-hour-of-kills") && !xml.contains("<failure"), "{xml}");
    let words = read(&markdown);
    assert!(
        words.starts_with("# Game day shop-weekly: PASSED") && words.contains("| node-drained | Passed |"),
        "{words}"
    );
}

#[test]
fn the_same_seed_holds_the_same_game_day() {
    let (place, file) = held(LOSS, "");
    let one = rehearsed(&place, &file, &[]).exits(0);
    let two = rehearsed(&place, &file, &[]).exits(0);
    assert_eq!((one.out, one.err), (two.out, two.err));
}

#[test]
fn what_fails_stops_or_goes_on_as_the_file_says() {
    let (place, file) = held(&format!("{BELOW}{LOSS}"), "");
    let ended = rehearsed(&place, &file, &["-o", "json"]).exits(1);
    let json = ended.json();
    assert_eq!(json["experiments"][0]["verdict"], "Failed");
    assert_eq!(json["experiments"][1]["verdict"], "Skipped");
    assert_eq!(json["experiments"][1]["message"], "below did not pass");
    assert_eq!(json["reason"], "Violated");
    let (place, file) = held(&format!("{BELOW}{LOSS}"), "  onFailure: Continue\n");
    let json = rehearsed(&place, &file, &["-o", "json"]).exits(1).json();
    assert_eq!(json["experiments"][1]["verdict"], "Passed");
    // The entry's own word wins.
    let stop = BELOW.replace("}}", "}, onFailure: Stop}");
    let (place, file) = held(&format!("{stop}{LOSS}"), "  onFailure: Continue\n");
    let json = rehearsed(&place, &file, &["-o", "json"]).exits(1).json();
    assert_eq!(json["experiments"][1]["verdict"], "Skipped");
}

#[test]
fn a_prerequisite_that_does_not_hold_refuses_all_of_it() {
    let (place, file) = held(LOSS, "  prerequisites:\n  - {name: many, steadyStateFrom: {name: many}}\n");
    let many = std::fs::read_to_string("experiments/shop-golden-signals.yaml").expect("a file");
    place.write(
        "many.yaml",
        &many.replace("shop-golden-signals", "many").replace("value >= 0.99", "value >= 9.0"),
    );
    let json = rehearsed(&place, &file, &["-o", "json"]).exits(3).json();
    assert_eq!(
        (json["verdict"].as_str(), json["reason"].as_str()),
        (Some("Refused"), Some("PrerequisiteFailed"))
    );
    assert_eq!(json["asked"][0]["holds"], false);
    assert_eq!(json["experiments"][0]["verdict"], "Skipped");
}

#[test]
fn an_experiment_that_is_refused_refuses_all_of_it_before_the_first_change() {
    let (place, file) = held(&format!("{LOSS}{BELOW}"), "");
    let below = std::fs::read_to_string("experiments/scale-below-need.yaml").expect("a file");
    place.write("scale-below-need.yaml", &below.replace("pods: 70%", "pods: 10%"));
    let ended = rehearsed(&place, &file, &["-o", "json"]).exits(3).says("FD3007");
    let json = ended.json();
    assert_eq!(json["reason"], "ExperimentRefused");
    assert!(json["experiments"].as_array().expect("a list").iter().all(|one| one["verdict"] == "Skipped"));
}

#[test]
fn what_never_becomes_steady_is_waited_for_no_longer_than_the_day_may_last() {
    let (place, file) = held(LOSS, "  steadyStateFrom: [{name: many}]\n  limits: {duration: 20m}\n");
    let many = std::fs::read_to_string("experiments/shop-golden-signals.yaml").expect("a file");
    place.write(
        "many.yaml",
        &many.replace("shop-golden-signals", "many").replace("value >= 0.99", "value >= 9.0"),
    );
    let ended = rehearsed(&place, &file, &["-o", "json"]);
    let json = ended.json();
    assert!(
        ["NotSteady", "DurationExceeded"].contains(&json["reason"].as_str().unwrap_or_default()),
        "{json}"
    );
    assert_eq!(json["experiments"][0]["verdict"], "Skipped");
    assert!(json["exitCode"] == 7 || json["exitCode"] == 5, "{json}");
}

#[test]
fn a_day_that_takes_too_long_is_ended_and_everything_is_back() {
    let experiments = format!("{LOSS}{}", LOSS.replace("loss,", "again, pauseBefore: 10m,"));
    let (place, file) = held(&experiments, "  limits: {duration: 5m}\n");
    let json = rehearsed(&place, &file, &["-o", "json"]).exits(5).json();
    assert_eq!(
        (json["reason"].as_str(), json["experiments"][1]["verdict"].as_str()),
        (Some("DurationExceeded"), Some("Skipped"))
    );
    // In the middle of an experiment: it is aborted, and put back.
    let (place, file) = held(BELOW, "  limits: {duration: 20s}\n");
    let below = std::fs::read_to_string("experiments/scale-below-need.yaml").expect("a file");
    place.write("scale-below-need.yaml", &below.replace("value >= 0.95", "\"true\""));
    let json = rehearsed(&place, &file, &["-o", "json"]).exits(5).json();
    let experiment = &json["experiments"][0];
    assert_eq!(
        (experiment["verdict"].as_str(), experiment["reason"].as_str()),
        (Some("Aborted"), Some("DurationExceeded"))
    );
    assert_eq!(experiment["report"]["residue"], serde_json::json!([]));
}

#[test]
fn a_quarter_is_held_in_virtual_time_with_its_skips_and_the_change_of_clocks() {
    let calendar = "  schedule: \"30 1 * * *\"\n  timeZone: Europe/London\n  cadence: 36h\n  \
                    blackouts: [{name: friday, from: 2027-03-26, to: 2027-03-26}]\n";
    let (place, file) = held(LOSS, calendar);
    let until = ["--from", "2027-03-25", "--until", "2027-03-29"];
    let ended = rehearsed(&place, &file, &until).exits(0);
    let ended = ended
        .prints("due 5 times, held 4, passed 4, skipped 1")
        .prints("Fri 2027-03-26 01:30 GMT   skipped: blackout friday")
        .prints("Sun 2027-03-28 clocks go forward by 1h: from 01:00 to 02:00 BST")
        .prints("Sun 2027-03-28 02:00 BST   Passed")
        .prints("the clock skips that time: at the end of the gap")
        .prints("overdue from 2027-03-26 13:30 GMT: it must have run every 36h");
    assert!(!ended.out.contains("HYPOTHESIS"), "the reports of each are in files: {}", ended.out);
    // Once in the fold.
    let until = ["--from", "2027-10-31", "--until", "2027-10-31"];
    rehearsed(&place, &file, &until).exits(0).prints("due 1 time, held 1").prints("01:30 BST");
}

#[test]
fn one_at_a_time_or_the_next_takes_its_place() {
    let slow = BELOW.replace("below,", "below, pauseBefore: 12m,");
    let calendar = "  schedule: \"*/10 10 * * *\"\n  timeZone: UTC\n  limits: {duration: 30m}\n";
    let (place, file) = held(&slow, calendar);
    let until = ["--from", "2027-03-25", "--until", "2027-03-25", "-o", "json"];
    let last = |out: &str| {
        let documents = serde_json::Deserializer::from_str(out).into_iter::<Value>();
        documents.map(|one| one.expect("a document")).last().expect("one")
    };
    let ended = rehearsed(&place, &file, &until).exits(1);
    let rows = last(&ended.out)["calendar"].as_array().expect("a list").clone();
    assert_eq!(rows.len(), 6);
    assert_eq!(rows[0]["verdict"], "Failed");
    assert_eq!(rows[1]["skipped"], "day-30099480 still runs", "{rows:?}");
    assert_eq!(rows[2]["verdict"], "Failed");
    let (place, file) = held(&slow, &format!("{calendar}  concurrencyPolicy: Replace\n"));
    let ended = rehearsed(&place, &file, &until).exits(1);
    let rows = last(&ended.out)["calendar"].as_array().expect("a list").clone();
    assert_eq!(rows[0]["verdict"], "Aborted", "{rows:?}");
    assert_eq!(rows[0]["ended"], rows[1]["time"], "the next begins when it has ended");
    assert_eq!(rows[5]["verdict"], "Failed", "nothing takes the place of the last: {rows:?}");
}

#[test]
fn next_says_what_comes_and_what_does_not() {
    let place = Place::new();
    let arguments = ["next", WEEKLY, "--from", "2026-11-23", "--until", "2027-03-31"];
    place
        .run(&arguments)
        .exits(0)
        .prints("shop-weekly  0 10 * * TUE  Europe/London, at most 3h")
        .prints("Tue 2026-11-24 10:00 GMT   runs")
        .prints("Tue 2026-12-29 10:00 GMT   skipped: blackout christmas")
        .prints("Sun 2027-03-28 clocks go forward by 1h: from 01:00 to 02:00 BST")
        .prints("Tue 2027-03-30 10:00 BST   runs");
    let json = place.run(&[&arguments[..], &["-o", "json"]].concat()).exits(0).json();
    let coming = json[0]["occurrences"].as_array().expect("a list");
    assert_eq!(coming.len(), 19);
    assert_eq!(coming[1]["skipped"], "blackout christmas");
    assert_eq!(coming[18]["time"], "2027-03-30T09:00:00Z");
    assert_eq!(json[0]["clockChanges"][0]["to"], "02:00 BST");
    // What is no game day, or none that can be read.
    place.run(&["next", POD_LOSS]).exits(2).says("there is no GameDay");
    place.run(&["next", WEEKLY, "--from", "soon"]).exits(2).says("not a day such as 2027-03-31");
    let (place, file) =
        held(LOSS, "  windows: [{days: [Monday], from: \"09:00\", to: \"17:00\"}]\n  timeZone: UTC\n");
    place
        .run(&["next", &file, "--from", "2026-11-24"])
        .exits(0)
        .prints("open again Mon 2026-11-30 09:00 UTC");
}

#[test]
fn by_hand_windows_blackouts_and_approvals_hold() {
    let dark = "  timeZone: UTC\n  blackouts: [{name: always, from: 01-01, to: 12-31}]\n";
    let (place, file) = held(LOSS, dark);
    let (_served, kubeconfig) = serve(&place, DEMO);
    let source = "service/monitoring/prometheus:9090";
    let run = |command: &str, file: &str| {
        place.run(&[command, file, "--kubeconfig", &kubeconfig, "--prometheus", source])
    };
    run("run", &file).exits(3).says("FD2013").says("blackout always").prints("REFUSED  game day day");
    run("plan", &file).exits(3).prints("FD2013");
    let asks = std::fs::read_to_string(&file).expect("a file").replace(dark, "  approvals: {}\n");
    let asks = place.write("asks.yaml", &asks);
    run("run", &asks).exits(3).says("FD2014").says("approvals by others are required");
    let gated = std::fs::read_to_string(&asks).expect("a file").replace("  approvals: {}\n", "");
    let gated = place.write("gated.yaml", &gated.replace("loss,", "loss, gate: Manual,"));
    run("run", &gated).exits(3).says("FD2012").says("no terminal to ask at");
    // Nothing was changed by any of them.
    place.run(&["runs"]).exits(0);
    assert!(!std::path::Path::new(&place.home.path().join(".local/state/firedrill/runs")).exists());
}

#[test]
fn experiments_of_a_game_day_run_there_and_not_again() {
    let (place, _) = held(LOSS, "");
    let folder = place.home.path().display().to_string();
    // The folder holds the golden signals and the scaling too: those nobody refers to run by themselves.
    let ended = rehearsed(&place, &folder, &["--keep-going"]).exits(1);
    assert_eq!(ended.out.matches("PASSED  checkout-survives-pod-loss").count(), 1, "{}", ended.out);
    assert_eq!(ended.out.matches("game day day").count(), 1);
    assert!(ended.out.contains("FAILED  scale-below-need"));
    // A calendar is for game days.
    let arguments = ["rehearse", POD_LOSS, "--until", "2027-03-31"];
    place.run(&arguments).exits(2).says("--from and --until are for game days");
}
