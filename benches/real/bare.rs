//! The calls that a fault comes down to, sent as fast as the same number of connections allows, with nothing around.

use firedrill::types::ObjectRef;
use futures::{StreamExt, stream};
use kube::Client;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::bench::Outcome;

/// As many at a time as the engine has in flight.
pub const IN_FLIGHT: usize = 32;

/// Sends a request for each; milliseconds until the first and the last were answered.
async fn send(client: &Client, requests: Vec<http::Request<Vec<u8>>>) -> Outcome<(f64, f64)> {
    let start = Instant::now();
    let sent =
        stream::iter(
            requests.into_iter().map(|request| {
                let client = client.clone();
                async move {
                    client.request::<Value>(request).await.map(|_| start.elapsed().as_secs_f64() * 1_000.0)
                }
            }),
        );
    let answers: Vec<_> = sent.buffer_unordered(IN_FLIGHT).collect().await;
    let mut times = answers.into_iter().collect::<Result<Vec<f64>, _>>()?;
    times.sort_by(f64::total_cmp);
    Ok((times.first().copied().unwrap_or_default(), times.last().copied().unwrap_or_default()))
}

/// Evicts pods.
pub async fn evict(client: &Client, pods: &[ObjectRef]) -> Outcome<(f64, f64)> {
    let request = |pod: &ObjectRef| {
        let body = json!({"apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": {"name": pod.name, "namespace": pod.namespace},
            "deleteOptions": {"preconditions": {"uid": pod.uid}}});
        let url = format!("/api/v1/namespaces/{}/pods/{}/eviction", pod.namespace, pod.name);
        let request = http::Request::post(url).header("content-type", "application/json");
        Ok::<_, Box<dyn std::error::Error>>(request.body(serde_json::to_vec(&body)?)?)
    };
    send(client, pods.iter().map(request).collect::<Result<_, _>>()?).await
}

/// Deletes pods, with so many seconds to end by themselves.
pub async fn delete(client: &Client, pods: &[ObjectRef], grace: u32) -> Outcome<(f64, f64)> {
    let request = |pod: &ObjectRef| {
        let body = json!({"gracePeriodSeconds": grace, "preconditions": {"uid": pod.uid}});
        let url = format!("/api/v1/namespaces/{}/pods/{}", pod.namespace, pod.name);
        let request = http::Request::delete(url).header("content-type", "application/json");
        Ok::<_, Box<dyn std::error::Error>>(request.body(serde_json::to_vec(&body)?)?)
    };
    send(client, pods.iter().map(request).collect::<Result<_, _>>()?).await
}

/// Sends one JSON patch to each of these nodes.
pub async fn patch_nodes(client: &Client, names: &[String], patch: &Value) -> Outcome<(f64, f64)> {
    let request = |name: &String| {
        let request = http::Request::patch(format!("/api/v1/nodes/{name}"));
        let request = request.header("content-type", "application/json-patch+json");
        Ok::<_, Box<dyn std::error::Error>>(request.body(serde_json::to_vec(patch)?)?)
    };
    send(client, names.iter().map(request).collect::<Result<_, _>>()?).await
}
