//! Where a cluster's Prometheus may be: the Services that the usual installations make.

use kube::core::DynamicObject;
use serde_json::Value;

use crate::{
    cluster::{Access, ApiError},
    types::ObjectRef,
};

/// Names that are Prometheus' alone, the likeliest first: kube-prometheus, the chart of prometheus-community,
/// the demos, and what the Prometheus Operator makes beside each of its own.
const NAMES: [&str; 4] = ["prometheus-k8s", "prometheus-server", "prometheus", "prometheus-operated"];
/// The Service that the Prometheus Operator makes for every Prometheus (its docs: operator, getting started).
const OPERATED: &str = "prometheus-operated";

/// A Service that may be a Prometheus.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PrometheusService {
    /// How likely: less is more.
    rank: usize,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its port.
    pub port: u16,
}

impl std::fmt::Display for PrometheusService {
    /// As `--prometheus` takes it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "service/{}/{}:{}", self.namespace, self.name, self.port)
    }
}

/// The Services of a cluster that may be a Prometheus, the likeliest first.
///
/// # Errors
/// The API server's answer, as when one may not list Services of all namespaces.
pub async fn find(access: &Access) -> Result<Vec<PrometheusService>, ApiError> {
    Ok(among(&access.list(&ObjectRef::namespaced("v1", "Service", "", ""), "").await?))
}

fn among(services: &[DynamicObject]) -> Vec<PrometheusService> {
    let mut found: Vec<PrometheusService> = services.iter().filter_map(candidate).collect();
    found.sort();
    let all = found.clone();
    // What the operator makes beside a Service of somebody's own is the same Prometheus.
    found.retain(|one| {
        let named = |other: &PrometheusService| other.namespace == one.namespace && other.name != OPERATED;
        one.name != OPERATED || !all.iter().any(named)
    });
    found
}

fn candidate(service: &DynamicObject) -> Option<PrometheusService> {
    let metadata = &service.metadata;
    let (name, namespace) = (metadata.name.as_deref()?, metadata.namespace.as_deref()?);
    let label = |key: &str| metadata.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str);
    let part = label("app.kubernetes.io/component");
    let is = label("app.kubernetes.io/name") == Some("prometheus")
        // Of the chart kube-prometheus-stack, whose Services have no such label.
        || label("app") == Some("kube-prometheus-stack-prometheus");
    let rank = match NAMES.iter().position(|known| *known == name) {
        Some(rank) => rank,
        None if is && part.is_none_or(|part| matches!(part, "server" | "prometheus")) => NAMES.len(),
        None => return None,
    };
    let port = port(service.data["spec"]["ports"].as_array()?)?;
    Some(PrometheusService { rank, namespace: namespace.to_owned(), name: name.to_owned(), port })
}

/// The port of the web interface: by its name, else Prometheus' own number, else that of HTTP, else the only one.
fn port(ports: &[Value]) -> Option<u16> {
    let named = |name: &str| ports.iter().find(|port| port["name"] == name);
    let numbered = |number: u16| ports.iter().find(|port| port["port"] == number);
    let found = ["web", "http-web", "http"].into_iter().find_map(named);
    let only = || if let [only] = ports { Some(only) } else { None };
    let found = found.or_else(|| numbered(9090)).or_else(|| numbered(80)).or_else(only)?;
    u16::try_from(found["port"].as_u64()?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(
        name: &str,
        namespace: &str,
        labels: serde_json::Value,
        ports: serde_json::Value,
    ) -> DynamicObject {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": namespace, "labels": labels}, "spec": {"ports": ports}
        }))
        .expect("a Service")
    }

    #[test]
    fn the_usual_installations_are_known_and_their_neighbours_are_not_taken_for_them() {
        let named = json!({"app.kubernetes.io/name": "prometheus"});
        let stack = json!({"app": "kube-prometheus-stack-prometheus"});
        let reloader = json!([{"name": "reloader-web", "port": 8080}, {"name": "http-web", "port": 9090}]);
        let all = [
            service("prometheus-operated", "monitoring", json!({}), json!([{"name": "web", "port": 9090}])),
            service("prometheus-k8s", "monitoring", named.clone(), json!([{"name": "web", "port": 9090}])),
            service("prometheus-operated", "alone", json!({}), json!([{"name": "web", "port": 9090}])),
            service(
                "metrics-prometheus-server",
                "tools",
                json!({"app.kubernetes.io/name": "prometheus",
                "app.kubernetes.io/component": "server"}),
                json!([{"name": "http", "port": 80}]),
            ),
            service("kps-prometheus", "kps", stack, reloader),
            service(
                "metrics-prometheus-pushgateway",
                "tools",
                json!({"app.kubernetes.io/name": "prometheus",
                "app.kubernetes.io/component": "pushgateway"}),
                json!([{"port": 9091}]),
            ),
            service(
                "alertmanager-main",
                "monitoring",
                json!({"app.kubernetes.io/name": "alertmanager"}),
                json!([{"name": "web", "port": 9093}]),
            ),
            service(
                "prometheus",
                "no-port",
                json!({}),
                json!([{"name": "a", "port": 1}, {"name": "b", "port": 2}]),
            ),
        ];
        let found: Vec<String> = among(&all).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "service/monitoring/prometheus-k8s:9090",
                "service/alone/prometheus-operated:9090",
                "service/kps/kps-prometheus:9090",
                "service/tools/metrics-prometheus-server:80",
            ]
        );
    }
}
