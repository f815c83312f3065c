//! The definitions of our kinds, and who refuses which sample, held against the real API server.

use kube::api::{Patch, PatchParams};
use serde_json::Value;

use crate::scenarios::{bench::Real, bench::create, blocking, state::api};

const CRD: (&str, &str, &str) = ("apiextensions.k8s.io", "v1", "CustomResourceDefinition");

/// Applies the definitions server-side and waits until they are served.
pub async fn apply_crds(client: &kube::Client) {
    for crd in firedrill::api::crds::crds() {
        let name = crd["metadata"]["name"].as_str().expect("a definition has a name");
        let how = PatchParams::apply("firedrill").force();
        let definitions = api(client, CRD, "");
        let applied = definitions.patch(name, &how, &Patch::Apply(&crd)).await;
        applied.unwrap_or_else(|error| panic!("{name} is refused: {error}"));
        let mut established = false;
        for _ in 0..100 {
            let now = definitions.get(name).await.expect("what was applied is there");
            let conditions = now.data.pointer("/status/conditions").and_then(Value::as_array).cloned();
            let holds = |kind: &str| {
                conditions.iter().flatten().any(|one| one["type"] == kind && one["status"] == "True")
            };
            assert!(!holds("NonStructuralSchema"), "{name}: {conditions:?}");
            established = holds("Established");
            if established {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        assert!(established, "{name} is not served");
    }
}

#[test]
fn the_definitions_are_accepted_by_the_real_server() {
    let Some(real) = Real::from_env("accepting the definitions") else { return };
    blocking(async { apply_crds(&real.client()).await });
}

#[test]
fn each_sample_is_refused_by_whom_the_table_says() {
    let Some(real) = Real::from_env("who refuses what") else { return };
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/format/refused");
    let table = include_str!("../../format/refused/table.tsv");
    let mut wrong = Vec::new();
    let mut judged = 0;
    blocking(async {
        let client = real.client();
        apply_crds(&client).await;
        let shop = serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
        create(&client, &[shop]).await.expect("a namespace can be made");
        for (name, by) in
            table.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('\t'))
        {
            let text =
                std::fs::read_to_string(folder.join(format!("{name}.yaml"))).expect("a sample is readable");
            // As kubectl reads it: a duplicate key keeps its last value once it is JSON.
            let options = serde_yaml::options! { duplicate_keys: serde_yaml::DuplicateKeyPolicy::LastWins };
            let read = serde_yaml::from_str_with_options::<Value>(&text, options);
            let found = match read {
                Err(_) => "client",
                Ok(value) => match accepted(&client, value).await {
                    Ok(()) => "check",
                    Err(_) => "server",
                },
            };
            judged += 1;
            if found != by {
                wrong.push(format!("{name}: the table says {by}, it was {found}"));
            }
        }
    });
    assert!(judged > 40, "{judged}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Sends a sample, strictly, as kubectl does, without keeping it.
async fn accepted(client: &kube::Client, value: Value) -> Result<(), String> {
    let (version, kind) =
        (value["apiVersion"].as_str().unwrap_or_default(), value["kind"].as_str().unwrap_or_default());
    let place = match kind {
        "Guardrail" => "guardrails".to_owned(),
        kind => {
            let namespace = value["metadata"]["namespace"].as_str().unwrap_or("shop");
            format!("namespaces/{namespace}/{}s", kind.to_lowercase())
        }
    };
    let path = format!("/apis/{version}/{place}?dryRun=All&fieldValidation=Strict");
    let request = http::Request::post(path).header("content-type", "application/json");
    let body = serde_json::to_vec(&value).map_err(|error| error.to_string())?;
    let request = request.body(body).map_err(|error| error.to_string())?;
    client.request_text(request).await.map(|_| ()).map_err(|error| error.to_string())
}
