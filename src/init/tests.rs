//! Files of several finds: each as it was, accepted by `check`, also with every mark taken away.

use std::{collections::BTreeMap, path::Path, time::Duration};

use proptest::prelude::*;

use super::{
    candidates::{Windows, candidates, paced, settle},
    families::{Present, Who, identities, presence},
    found::{Candidate, Found, Metrics, Scaling, ServiceFound, Unit},
    text::draft,
};
use crate::api::{self, SourceText};

/// A metric with the values of its telling labels.
type Metric<'a> = (&'a str, &'a [(&'a str, &'a str)]);

fn checkout() -> Found {
    Found {
        namespace: "shop".to_owned(),
        name: "checkout".to_owned(),
        replicas: 4,
        ready: 4,
        startup: Some(Duration::from_millis(3_400)),
        services: vec![ServiceFound { name: "checkout".to_owned(), port: Some(80) }],
        budgets: vec![("checkout".to_owned(), "minAvailable 50%".to_owned())],
        labels: [("app".to_owned(), "checkout".to_owned())].into(),
        ..Found::default()
    }
}

/// The metrics that are there under the first identity that has `label`.
fn present(found: &Found, who: Who, label: &str, metrics: &[Metric<'_>]) -> Present {
    let identity = identities(found, who).into_iter().find(|identity| identity.contains(label));
    let identity = identity.unwrap_or_else(|| panic!("no identity with {label}"));
    let elements = metrics.iter().flat_map(|(name, labels)| {
        let named = |more: Option<&(&str, &str)>| -> BTreeMap<String, String> {
            let name = ("__name__".to_owned(), (*name).to_owned());
            let more = more.map(|(label, value)| ((*label).to_owned(), (*value).to_owned()));
            [name].into_iter().chain(more).collect()
        };
        match labels.is_empty() {
            true => vec![named(None)],
            false => labels.iter().map(|label| named(Some(label))).collect(),
        }
    });
    Present::read(who, &identity, elements)
}

/// What a shop in good health says.
fn healthy(candidate: &Candidate) -> Option<f64> {
    Some(match candidate.unit {
        Unit::GoodShare => 0.999_3,
        Unit::Seconds => 0.092_34,
        Unit::Millis => 92.34,
        Unit::PerSecond => 187.31,
        Unit::ShareOfLimit => 0.312,
        Unit::ShareOfRequest => 0.71,
        Unit::Cores => 0.413,
        Unit::InFlight => 4.1,
        Unit::ShareOfMost => 0.4,
    })
}

fn measured(present: &[Present], number: impl Fn(&Candidate) -> Option<f64>) -> Metrics {
    let asked = candidates(present, Windows { requests: 60, containers: 120 });
    let asked = asked.into_iter().map(|candidate| {
        let number = number(&candidate);
        (candidate, number)
    });
    Metrics::Asked {
        source: "service/monitoring/prometheus-k8s:9090".to_owned(),
        signals: settle(asked.collect()),
    }
}

const CLIENT_LIBRARY: &[Metric<'static>] = &[
    ("http_requests_total", &[("code", "200"), ("code", "503")]),
    ("http_request_duration_seconds_bucket", &[]),
    ("http_request_duration_seconds_sum", &[]),
    ("http_request_duration_seconds_count", &[]),
];
const OPEN_TELEMETRY: &[Metric<'static>] = &[
    ("http_server_request_duration_seconds_bucket", &[("http_response_status_code", "200")]),
    ("http_server_request_duration_seconds_count", &[("http_response_status_code", "200")]),
    ("http_server_request_duration_seconds_sum", &[("http_response_status_code", "200")]),
    ("http_server_active_requests", &[]),
];
const CONTAINERS: &[Metric<'static>] = &[
    ("container_cpu_usage_seconds_total", &[]),
    ("kube_pod_container_resource_limits", &[("resource", "cpu"), ("resource", "memory")]),
    ("kube_pod_container_resource_requests", &[("resource", "cpu")]),
];

/// Every find, with the name of its file.
fn finds() -> Vec<(&'static str, Found)> {
    let whole = checkout();
    let asked = |present: &[Present]| measured(present, healthy);
    let application = |label, metrics| present(&whole, Who::Application, label, metrics);
    let pods = present(&whole, Who::Pods, "pod=", CONTAINERS);
    let autoscaler = Some(Scaling { name: "checkout".to_owned(), min: 2, max: 10 });
    let istio = present(
        &whole,
        Who::Mesh,
        "source",
        &[
            ("istio_requests_total", &[("response_code", "200")]),
            ("istio_request_duration_milliseconds_bucket", &[]),
        ],
    );
    let ingress = present(
        &whole,
        Who::Ingress,
        "exported_service",
        &[
            ("nginx_ingress_controller_requests", &[("status", "200")]),
            ("nginx_ingress_controller_request_duration_seconds_bucket", &[]),
        ],
    );
    let no_metrics = "no Service in the cluster looks like a Prometheus; --prometheus says where one is";
    vec![
        (
            "no-metrics",
            Found { replicas: 3, ready: 3, metrics: Metrics::Unasked(no_metrics.to_owned()), ..checkout() },
        ),
        (
            "nothing-known",
            Found { services: Vec::new(), budgets: Vec::new(), metrics: asked(&[]), ..checkout() },
        ),
        ("open-telemetry", Found { metrics: asked(&[application("k8s_", OPEN_TELEMETRY)]), ..checkout() }),
        ("istio", Found { metrics: asked(&[istio, pods.clone()]), ..checkout() }),
        (
            "autoscaled",
            Found {
                autoscaler,
                metrics: asked(&[application("service", CLIENT_LIBRARY), pods]),
                ..checkout()
            },
        ),
        (
            "two-families",
            Found { metrics: asked(&[ingress, application("pod=", CLIENT_LIBRARY)]), ..checkout() },
        ),
        (
            "one-replica",
            Found {
                replicas: 1,
                ready: 1,
                startup: None,
                metrics: asked(&[application("service", CLIENT_LIBRARY)]),
                ..checkout()
            },
        ),
        (
            "not-whole",
            Found {
                ready: 2,
                unseen: vec![
                    "HorizontalPodAutoscalers of namespace shop: not allowed: ada cannot list".to_owned(),
                ],
                metrics: measured(&[application("service", CLIENT_LIBRARY)], |candidate| {
                    match candidate.unit {
                        Unit::GoodShare => Some(0.43),
                        _ => healthy(candidate),
                    }
                }),
                ..checkout()
            },
        ),
        (
            "no-requests",
            Found {
                metrics: measured(&[application("service", CLIENT_LIBRARY)], |candidate| {
                    (candidate.unit == Unit::PerSecond).then_some(0.0)
                }),
                ..checkout()
            },
        ),
        (
            "only-sums",
            Found {
                metrics: asked(&[application(
                    "app=",
                    &[
                        ("http_server_requests_seconds_count", &[("status", "200")]),
                        ("http_server_requests_seconds_sum", &[("status", "200")]),
                    ],
                )]),
                ..checkout()
            },
        ),
    ]
}

/// What `check` says against a text, warnings too.
fn findings(text: &str) -> Vec<String> {
    let read = api::read(&[SourceText::new("first.yaml", text)]);
    read.findings.iter().map(|finding| format!("{finding} at {:?}", finding.place)).collect()
}

/// The text with everything switched on that waits behind a mark.
fn switched_on(text: &str) -> String {
    let on = |line: &str| {
        let (indent, rest) = line.split_at(line.len() - line.trim_start().len());
        match rest.strip_prefix("# ").filter(|_| !indent.is_empty()) {
            Some(code)
                if ["- ", "  ", "method:", "prometheus:"].iter().any(|start| code.starts_with(start)) =>
            {
                format!("{indent}{code}\n")
            }
            _ => format!("{line}\n"),
        }
    };
    text.lines().map(on).collect()
}

/// `UPDATE_GOLDEN=1 cargo test --lib init` writes them anew.
#[test]
fn files_are_as_they_were_and_pass_check() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/init/testdata");
    for (name, found) in finds() {
        let text = draft(&found).text;
        assert_eq!(findings(&text), Vec::<String>::new(), "{name}:\n{text}");
        let on = switched_on(&text);
        assert_eq!(findings(&on), Vec::<String>::new(), "{name}, switched on:\n{on}");
        let path = folder.join(format!("{name}.yaml"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &text).expect("the expectation can be written");
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(text, expected, "{name}: UPDATE_GOLDEN=1 cargo test --lib init writes it anew");
        assert!(text.lines().all(|line| line.chars().count() <= 170), "{name} has lines that nobody reads");
    }
}

#[test]
fn every_signal_is_there_or_says_what_was_looked_for() {
    for (name, found) in finds() {
        let text = draft(&found).text;
        for signal in ["Errors", "Latency", "Traffic", "Saturation"] {
            assert!(text.contains(&format!("signal: {signal}")), "{name} has nothing about {signal}");
        }
    }
}

#[test]
fn questions_are_promql_and_name_the_workload() {
    let found = Found {
        autoscaler: Some(Scaling { name: "checkout".to_owned(), min: 1, max: 3 }),
        labels: [("app".to_owned(), "a\"} or vector(1) #".to_owned())].into(),
        ..checkout()
    };
    for who in Who::ALL {
        let ways = identities(&found, who);
        assert!(!ways.is_empty(), "{who:?}");
        for way in ways {
            let query = presence(who, &way);
            promql_parser::parser::parse(&query).unwrap_or_else(|error| panic!("{query}: {error}"));
            assert!(way.contains("shop"), "{way} is anybody's");
        }
    }
}

#[test]
fn a_status_that_is_no_code_tells_no_failures() {
    let found = checkout();
    let words: &[Metric<'_>] = &[("http_requests_total", &[("status", "success"), ("status", "error")])];
    let there = present(&found, Who::Application, "service", words);
    let asked = candidates(&[there], Windows { requests: 60, containers: 60 });
    assert!(asked.iter().all(|candidate| candidate.unit != Unit::GoodShare), "{asked:?}");
    assert!(asked.iter().any(|candidate| candidate.unit == Unit::PerSecond));
}

#[test]
fn windows_hold_four_scrapes() {
    for (samples, window) in [(60.0, 60), (20.0, 60), (10.0, 120), (5.0, 300), (1.0, 600), (0.0, 600)] {
        assert_eq!(Windows::for_samples(samples), window, "{samples}");
    }
    let there = present(&checkout(), Who::Application, "service", CLIENT_LIBRARY);
    let (requests, containers) = paced(&[there]);
    assert_eq!(requests.as_deref(), Some("http_requests_total{namespace=\"shop\",service=\"checkout\"}"));
    assert_eq!(containers, None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever the cluster calls its things, and whatever the numbers.
    #[test]
    fn every_file_passes_check(
        name in "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?",
        label in "\\PC{0,20}",
        unseen in "\\PC{0,60}",
        (replicas, missing) in (1_usize..40, 0_usize..5),
        number in prop_oneof![Just(0.0), 1e-9..1e12_f64],
    ) {
        let mut found = Found {
            name: name.clone(),
            replicas,
            ready: replicas.saturating_sub(missing),
            autoscaler: Some(Scaling { name: name.clone(), min: 1, max: 9 }),
            services: vec![ServiceFound { name, port: None }],
            labels: [("app".to_owned(), label)].into(),
            unseen: vec![unseen],
            ..checkout()
        };
        let metrics = [CLIENT_LIBRARY, OPEN_TELEMETRY].concat();
        let there = [
            present(&found, Who::Application, ",app=", &metrics),
            present(&found, Who::Pods, "pod=", CONTAINERS),
        ];
        let share = |unit| matches!(unit, Unit::GoodShare | Unit::ShareOfLimit);
        found.metrics = measured(&there, |candidate| Some(if share(candidate.unit) { number.min(1.0) } else { number }));
        let text = draft(&found).text;
        prop_assert_eq!(findings(&text), Vec::<String>::new(), "{}", text);
    }
}
