//! The families of metrics that are in use in the field, in an order of preference, and how the series of one
//! workload are told from those of others.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    found::{Found, Unit},
    promql::{either, quoted, regex_escaped},
};

/// Who measures, which decides by which labels a workload is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The workload itself, or a gateway before it that takes over its labels.
    Application,
    /// A service mesh.
    Mesh,
    /// An ingress controller.
    Ingress,
    /// The kubelet and kube-state-metrics, about its pods.
    Pods,
    /// kube-state-metrics, about its autoscaler.
    Autoscaler,
}

impl Who {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Application, Self::Mesh, Self::Ingress, Self::Pods, Self::Autoscaler];
}

/// Metrics of requests that belong together.
#[derive(Debug)]
pub struct Family {
    /// The document that the names are from.
    pub writer: &'static str,
    /// Who measures.
    pub who: Who,
    /// Counters of requests; the first that is there is taken.
    pub counts: &'static [&'static str],
    /// The name before `_bucket`, `_sum` and `_count`, and its unit.
    pub durations: Option<(&'static str, Unit)>,
    /// Labels that tell failures, each with what it says of them (RE2); the first that is there is taken.
    pub failures: &'static [(&'static str, &'static str)],
    /// What a reader has to know; may be empty.
    pub caveat: &'static str,
}

/// Codes of HTTP that are the server's fault (RFC 9110, section 15.6).
const SERVER_ERRORS: &str = "5..";

/// Families of requests, the most telling first.
pub const FAMILIES: &[Family] = &[
    Family {
        writer: "OpenTelemetry, semantic conventions for HTTP metrics",
        who: Who::Application,
        counts: &["http_server_request_duration_seconds_count"],
        durations: Some(("http_server_request_duration_seconds", Unit::Seconds)),
        failures: &[
            ("http_response_status_code", SERVER_ERRORS),
            // A status code, or the class of an exception: what has it has failed.
            ("error_type", ".+"),
        ],
        caveat: "",
    },
    Family {
        writer: "Prometheus client libraries by custom, and firedrill's embedded cluster",
        who: Who::Application,
        counts: &["http_requests_total", "http_request_duration_seconds_count"],
        durations: Some(("http_request_duration_seconds", Unit::Seconds)),
        failures: &[
            ("code", SERVER_ERRORS),
            ("status", SERVER_ERRORS),
            ("status_code", SERVER_ERRORS),
            ("http_status", SERVER_ERRORS),
        ],
        caveat: "",
    },
    Family {
        writer: "Micrometer, as Spring Boot names it",
        who: Who::Application,
        counts: &["http_server_requests_seconds_count"],
        durations: Some(("http_server_requests_seconds", Unit::Seconds)),
        failures: &[("status", SERVER_ERRORS)],
        caveat: "",
    },
    Family {
        writer: "OpenTelemetry before its conventions were stable",
        who: Who::Application,
        counts: &["http_server_duration_milliseconds_count"],
        durations: Some(("http_server_duration_milliseconds", Unit::Millis)),
        failures: &[("http_status_code", SERVER_ERRORS)],
        caveat: "",
    },
    Family {
        writer: "Istio, standard metrics",
        who: Who::Mesh,
        counts: &["istio_requests_total"],
        durations: Some(("istio_request_duration_milliseconds", Unit::Millis)),
        failures: &[("response_code", SERVER_ERRORS)],
        caveat: "",
    },
    Family {
        writer: "gRPC Ecosystem, Prometheus interceptors",
        who: Who::Application,
        counts: &["grpc_server_handled_total"],
        durations: Some(("grpc_server_handling_seconds", Unit::Seconds)),
        failures: &[("grpc_code", "Unknown|DeadlineExceeded|Unimplemented|Internal|Unavailable|DataLoss")],
        caveat: "",
    },
    Family {
        writer: "ingress-nginx, its Prometheus metrics",
        who: Who::Ingress,
        counts: &["nginx_ingress_controller_requests"],
        durations: Some(("nginx_ingress_controller_request_duration_seconds", Unit::Seconds)),
        failures: &[("status", SERVER_ERRORS)],
        caveat: "This is what comes through the ingress alone; callers within the cluster are not in it.",
    },
];

/// Gauges of requests at work, each with the document that its name is from.
pub const IN_FLIGHT: &[(&str, &str)] = &[
    ("http_server_active_requests", "OpenTelemetry, semantic conventions for HTTP metrics"),
    ("http_requests_in_flight", "Prometheus client libraries by custom, and firedrill's embedded cluster"),
];

/// CPU seconds of a container: cAdvisor, as the kubelet exposes it.
pub const CPU_USAGE: &str = "container_cpu_usage_seconds_total";
/// kube-state-metrics, pod metrics.
pub const CPU_LIMITS: &str = "kube_pod_container_resource_limits";
/// kube-state-metrics, pod metrics.
pub const CPU_REQUESTS: &str = "kube_pod_container_resource_requests";
/// kube-state-metrics, HorizontalPodAutoscaler metrics.
pub const DESIRED_REPLICAS: &str = "kube_horizontalpodautoscaler_status_desired_replicas";
/// kube-state-metrics, HorizontalPodAutoscaler metrics.
pub const MAX_REPLICAS: &str = "kube_horizontalpodautoscaler_spec_max_replicas";

/// Every metric that somebody writes.
pub fn metrics_of(who: Who) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for family in FAMILIES.iter().filter(|family| family.who == who) {
        names.extend(family.counts.iter().map(|name| (*name).to_owned()));
        if let Some((durations, _)) = family.durations {
            names.extend(["_bucket", "_sum", "_count"].map(|suffix| format!("{durations}{suffix}")));
        }
    }
    let more: &[&str] = match who {
        Who::Application => &[IN_FLIGHT[0].0, IN_FLIGHT[1].0],
        Who::Pods => &[CPU_USAGE, CPU_LIMITS, CPU_REQUESTS],
        Who::Autoscaler => &[DESIRED_REPLICAS, MAX_REPLICAS],
        Who::Mesh | Who::Ingress => &[],
    };
    names.extend(more.iter().map(|name| (*name).to_owned()));
    names.sort();
    names.dedup();
    names
}

/// Labels whose values tell what to do with a series.
fn telling(who: Who) -> BTreeSet<&'static str> {
    let failures = FAMILIES.iter().filter(|family| family.who == who).flat_map(|family| family.failures);
    let resource = (who == Who::Pods).then_some("resource");
    failures.map(|(label, _)| *label).chain(resource).collect()
}

/// The ways in which a workload's series may be labelled, the surest first: label matchers without braces.
pub fn identities(found: &Found, who: Who) -> Vec<String> {
    let namespace = quoted(&found.namespace);
    let name = quoted(&found.name);
    let services: Vec<&str> = found.services.iter().map(|service| service.name.as_str()).collect();
    let pods = format!(
        "namespace={namespace},pod=~{}",
        // What ReplicaSets and their pods are called (apiserver, storage/names: five characters at random).
        quoted(&format!("{}-[a-z0-9]+-[a-z0-9]{{5}}", regex_escaped(&found.name)))
    );
    let mut ways = Vec::new();
    match who {
        Who::Application => {
            if !services.is_empty() {
                ways.push(format!("namespace={namespace},{}", either("service", &services)));
            }
            ways.push(pods);
            for (label, metric_label) in
                [("app.kubernetes.io/name", "app_kubernetes_io_name"), ("app", "app")]
            {
                if let Some(value) = found.labels.get(label) {
                    ways.push(format!("namespace={namespace},{metric_label}={}", quoted(value)));
                }
            }
            ways.push(format!("k8s_namespace_name={namespace},k8s_deployment_name={name}"));
            ways.push(format!("service_namespace={namespace},service_name={name}"));
            ways.push(format!("namespace={namespace},job={name}"));
            // OpenTelemetry's job is service.namespace/service.name.
            ways.push(format!("job={}", quoted(&format!("{}/{}", found.namespace, found.name))));
        }
        Who::Mesh => {
            // What callers see, dead pods and all; then what the workload's own proxies see.
            if !services.is_empty() {
                let names = either("destination_service_name", &services);
                ways.push(format!("reporter=\"source\",destination_service_namespace={namespace},{names}"));
            }
            ways.push(format!(
                "reporter=\"destination\",destination_workload_namespace={namespace},destination_workload={name}"
            ));
        }
        Who::Ingress => {
            if !services.is_empty() {
                // Prometheus renames labels that the target gives when it has the same itself (honor_labels).
                let names = either("exported_service", &services);
                ways.push(format!("exported_namespace={namespace},{names}"));
                ways.push(format!("namespace={namespace},{}", either("service", &services)));
            }
        }
        Who::Pods => ways.push(pods),
        Who::Autoscaler => {
            if let Some(autoscaler) = &found.autoscaler {
                let label = quoted(&autoscaler.name);
                ways.push(format!("namespace={namespace},horizontalpodautoscaler={label}"));
            }
        }
    }
    ways
}

/// Asks which metrics there are under an identity, and what their telling labels say.
pub fn presence(who: Who, identity: &str) -> String {
    let names = metrics_of(who).join("|");
    let by: Vec<&str> = ["__name__"].into_iter().chain(telling(who)).collect();
    format!("count by ({}) ({{__name__=~{},{identity}}})", by.join(", "), quoted(&names))
}

/// The metrics that are there under one identity, each with the values of its telling labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Present {
    /// Who measures.
    pub who: Who,
    /// The label matchers.
    pub identity: String,
    /// Values by label by metric.
    pub metrics: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
}

impl Present {
    /// What the answer to [`presence`] says: the labels of each of its elements.
    pub fn read(
        who: Who,
        identity: &str,
        elements: impl IntoIterator<Item = BTreeMap<String, String>>,
    ) -> Self {
        let mut metrics: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
        for mut labels in elements {
            let Some(name) = labels.remove("__name__") else { continue };
            let known = metrics.entry(name).or_default();
            for (label, value) in labels.into_iter().filter(|(_, value)| !value.is_empty()) {
                known.entry(label).or_default().insert(value);
            }
        }
        Self { who, identity: identity.to_owned(), metrics }
    }

    /// Whether there is such a metric.
    pub fn has(&self, metric: &str) -> bool {
        self.metrics.contains_key(metric)
    }

    /// Whether a label of a metric has been seen with this value.
    pub fn says(&self, metric: &str, label: &str, value: &str) -> bool {
        let values = self.metrics.get(metric).and_then(|labels| labels.get(label));
        values.is_some_and(|values| values.contains(value))
    }

    /// The label that tells failures of a counter, and what it says of them.
    pub fn failures(&self, family: &Family, count: &str) -> Option<(&'static str, &'static str)> {
        let labels = self.metrics.get(count)?;
        // `status="success"` is not a code.
        let code = |value: &String| {
            value.len() == 3 && value.starts_with(|digit: char| ('1'..='5').contains(&digit))
        };
        family.failures.iter().copied().find(|(label, pattern)| {
            labels.get(*label).is_some_and(|values| *pattern != SERVER_ERRORS || values.iter().any(code))
        })
    }
}
