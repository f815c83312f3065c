//! What Guardrails say of times that are to come, in the status of a GameDay.

use firedrill::{api, cluster::Write, types::ObjectRef};
use serde_json::{Value, json};

use super::office::{Office, SCALE};
use crate::kit::in_virtual_time;

#[test]
fn the_status_of_a_game_day_skips_what_guardrails_will_refuse() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replica = office.replica("a");
        let day = ObjectRef::namespaced(api::API_VERSION, "GameDay", "shop", "weekly");
        let body = json!({"apiVersion": api::API_VERSION, "kind": "GameDay",
            "metadata": {"name": "weekly", "namespace": "shop"},
            "spec": {"schedule": "0 10 * * *", "timeZone": "Europe/London",
                     "experiments": [{"name": "one", "experimentRef": {"name": "trial"}}]}});
        office.access.create(&day, body, Write::default()).await.expect("it is created");
        let status = async || office.status(&day).await;
        office.until("it comes due", async || status().await["nextRun"].is_string()).await;
        let first = status().await["nextScheduleTime"].clone();
        assert_eq!(status().await["nextSkipped"], Value::Null);
        // Another namespace's button is not its own.
        let button = |name: &str| ObjectRef::namespaced(api::API_VERSION, "Guardrail", "", name);
        let write = async |name: &str, spec: Value| {
            let body = json!({"apiVersion": api::API_VERSION, "kind": "Guardrail", "metadata": {"name": name}, "spec": spec});
            let how = Write { manager: "test", dry_run: false };
            office.access.apply(&button(name), &body, how).await.expect("it is written");
        };
        let selector = json!({"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}});
        write("elsewhere", json!({"halt": true, "namespaceSelector": selector})).await;
        // Its windows leave one day of the week.
        write(
            "platform",
            json!({"timeZone": "Europe/London", "windows": [{"days": ["Saturday"], "from": "09:00", "to": "17:00"}]}),
        )
        .await;
        let saturday =
            async || status().await["nextRun"].as_str().is_some_and(|next| next.starts_with("Sat "));
        office.until("the window is seen", saturday).await;
        let told = status().await;
        assert_eq!(told["nextSkipped"][0]["time"], first, "{told}");
        assert_eq!(told["nextSkipped"][0]["reason"], "Guardrail platform: outside its windows");
        // The red button leaves none.
        office.halt().await;
        office.until("the button is seen", async || status().await["nextRun"].is_null()).await;
        let told = status().await;
        assert_eq!(told["nextSkipped"][0]["reason"], "Guardrail halt: halted: an incident", "{told}");
        assert_eq!(told["nextScheduleTime"], Value::Null);
        for name in ["halt", "platform"] {
            office.delete(&button(name)).await;
        }
        office.until("both are gone", async || status().await["nextScheduleTime"] == first).await;
        assert_eq!(status().await["nextSkipped"], Value::Null);
    });
}
