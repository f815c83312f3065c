//! What does not begin, and says why.

use serde_json::{Value, json};

use super::{
    condition,
    office::{Office, SCALE},
};
use crate::{crash::house::experiment_of, kit::in_virtual_time};

async fn declined(office: &Office, spec: Value) -> Value {
    let _replica = office.replica("a");
    let run = office.make("trial-1", spec).await;
    let status = office.over(&run).await;
    assert_eq!(condition(&status, "Accepted")["status"], "False", "{status}");
    assert_eq!(office.journals().await, [], "nothing was begun");
    office.until("nobody holds it", async || office.held().is_empty()).await;
    office.assert_as_before().await;
    status
}

fn code(status: &Value) -> &str {
    assert_eq!(status["verdict"], "Refused", "{status}");
    status["findings"][0]["code"].as_str().unwrap_or_default()
}

fn trial() -> Value {
    json!({"experimentRef": {"name": "trial"}})
}

/// Looks at a probe that is not judged.
const LOOK: &str = "{name: look, check: {probe: more, expect: value > 0}}";

#[test]
fn an_experiment_that_is_not_there() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        assert_eq!(code(&declined(&office, json!({"experimentRef": {"name": "another"}})).await), "FD2071");
    });
}

#[test]
fn an_account_that_is_not_there() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let mut spec = trial();
        spec["serviceAccountName"] = json!("breaker");
        let status = declined(&office, spec).await;
        assert_eq!(code(&status), "FD2072");
        assert!(status["message"].as_str().is_some_and(|words| words.contains("breaker")), "{status}");
    });
}

#[test]
fn an_account_without_the_rights_of_the_fault() {
    in_virtual_time(async {
        let kill = "{name: evict, target: {workload: deployment/web, count: 1}, podEvict: {}}";
        let office = Office::open(&[kill]).await;
        let status = declined(&office, trial()).await;
        assert_eq!(code(&status), "FD2001");
        assert!(status["message"].as_str().is_some_and(|words| words.contains("pods/eviction")), "{status}");
    });
}

/// What a check looks at, what is judged, and where metrics come from: found by reading, before anything is changed.
#[test]
fn an_account_that_may_not_read_what_is_measured() {
    let secret = "kubernetes: {apiVersion: v1, kind: Secret, name: key}, value: '1'";
    let proxied = "prometheus: {query: up, service: {name: metrics, port: 9090}}";
    for (probe, method, resource) in [
        (format!("{{name: more, {secret}, expect: value > 0}}"), SCALE, "secrets"),
        (format!("{{name: more, {secret}, role: Informational}}"), LOOK, "secrets"),
        (format!("{{name: more, {proxied}, expect: value > 0}}"), SCALE, "services/proxy"),
    ] {
        in_virtual_time(async {
            let text = experiment_of("value >= 4.0", "\"true\"", &[method]);
            let text = text.replace("  baseline:", &format!("  - {probe}\n  baseline:"));
            let status = declined(&Office::with(&text).await, trial()).await;
            assert_eq!(code(&status), "FD2001", "{probe}");
            let words = status["message"].as_str().unwrap_or_default();
            assert!(words.contains("probe more") && words.contains(resource), "{probe}: {words}");
        });
    }
}

#[test]
fn a_host_that_no_guardrail_lists() {
    in_virtual_time(async {
        let text = experiment_of("value >= 4.0", "\"true\"", &[SCALE]).replace(
            "  baseline:",
            "  - {name: outside, http: {url: 'http://169.254.1.1/'}, expect: status == 200}\n  baseline:",
        );
        let office = Office::with(&text.replace("169.254.1.1", "metadata.example.com")).await;
        assert_eq!(code(&declined(&office, trial()).await), "FD2073");
    });
}

#[test]
fn a_fault_that_takes_agents() {
    in_virtual_time(async {
        let loss = "{name: hit, target: {workload: deployment/web, count: 2}, networkLoss: {share: 50%}, duration: 5s}";
        let office = Office::open(&[loss]).await;
        let status = declined(&office, trial()).await;
        assert_eq!(code(&status), "FD2074");
        assert!(status["message"].as_str().is_some_and(|words| words.contains("places none")), "{status}");
    });
}

#[test]
fn a_game_day_that_is_not_there() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        assert_eq!(code(&declined(&office, json!({"gameDayRef": {"name": "weekly"}})).await), "FD2071");
    });
}

#[test]
fn one_that_is_aborted_before_it_begins() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let mut spec = trial();
        spec["abort"] = json!(true);
        let status = declined(&office, spec).await;
        assert_eq!((&status["verdict"], &status["reason"]), (&json!("Aborted"), &json!("UserAbort")));
    });
}

#[test]
fn one_whose_deadline_has_passed() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let mut spec = trial();
        spec["startTime"] = json!("2020-01-01T00:00:00Z");
        let status = declined(&office, spec).await;
        assert_eq!((&status["verdict"], &status["reason"]), (&json!("Refused"), &json!("DeadlineExceeded")));
    });
}
