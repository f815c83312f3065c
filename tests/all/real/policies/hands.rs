//! Who has aborted and who has held a Run, as the API server writes it down.

use serde_json::{Value, json};

use super::{Stage, by_name};

/// Who aborts and who holds is what the server saw, by whichever client; nobody else can be named.
pub async fn judged(stage: &mut Stage<'_>) {
    let path = "/apis/firedrill.dev/v1alpha1/namespaces/stage-door/runs";
    let made = stage.asked("ada", ("POST", path), &by_name(json!({})), true).await.expect("a Run");
    let own = format!("{path}/{}", made["metadata"]["name"].as_str().expect("a name"));
    let named =
        |hand: &str, by: &str| json!({"metadata": {"annotations": {format!("firedrill.dev/{hand}-by"): by}}});
    let with = |mut object: Value, spec: Value| {
        object["spec"] = spec;
        object
    };
    for (who, what, change, says) in [
        ("ben", "names somebody and does nothing", named("aborted", "ada"), "names who has done that"),
        ("ben", "names himself and does nothing", named("held", "ben"), "names who has done that"),
    ] {
        let answer = stage.asked(who, ("PATCH", &own), &change, false).await;
        stage.judge(&format!("{who} {what}"), &answer, says);
    }
    for (who, change, hand) in [
        ("ben", json!({"spec": {"hold": true}}), "held"),
        ("ada", json!({"spec": {"hold": false}}), "resumed"),
        ("ada", with(named("held", "ada"), json!({"hold": true})), "held"),
        // A forged name is overwritten, as an author's is.
        ("ben", with(named("aborted", "ada"), json!({"abort": true})), "aborted"),
    ] {
        let answer = stage.asked(who, ("PATCH", &own), &change, true).await;
        let said = answer
            .as_ref()
            .map(|run| run["metadata"]["annotations"][format!("firedrill.dev/{hand}-by")].clone());
        let wrong = if said == Ok(json!(who)) { "" } else { "another name" };
        stage.judge(&format!("{who} {change} is taken as {said:?}"), &answer, wrong);
    }
    let again = stage.asked("ada", ("PATCH", &own), &named("aborted", "ada"), false).await;
    stage.judge("ada says afterwards that she has aborted it", &again, "names who has done that");
}
