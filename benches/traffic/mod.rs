//! An hour of twenty services that call each other, under autoscalers and load, as the program itself rehearses it.

use std::{
    fmt::Write as _,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use serde_json::{Value, json};

use crate::figures::{Table, median};

/// Services, of fifty pods and ten requests a second each.
const SERVICES: usize = 20;
const PODS: usize = 50;

/// All figures of it.
pub fn all(table: &mut Table, folder: &Path) -> crate::Outcome {
    let mut seconds = Vec::new();
    for (name, calls) in [("none", false), ("some", true)] {
        let folder = folder.join(format!("hour-calls-{name}"));
        std::fs::create_dir_all(folder.join("demo"))?;
        let list = json!({"apiVersion": "v1", "kind": "List", "items": manifests(calls)});
        std::fs::write(folder.join("demo/cluster.yaml"), list.to_string())?;
        std::fs::write(folder.join("hour.yaml"), experiment())?;
        let (took, report) = rehearsals(&folder.join("hour.yaml"))?;
        eprintln!("  hour with calls: {name}: {} bytes of report, the same three times", report.len());
        seconds.push(took);
    }
    let what = "rehearsal of an hour, 100 nodes, 1,000 pods, 20 autoscalers, 20 services at 10/s";
    table.at_most(format!("{what}, no calls, median of 3"), seconds[0], (5.0, "s"));
    table.at_most(format!("{what}, 14 call others, median of 3"), seconds[1], (5.0, "s"));
    Ok(())
}

/// Seconds that it takes, and what it says, which has to be the same each time.
fn rehearsals(file: &Path) -> crate::Outcome<(f64, Vec<u8>)> {
    let (mut seconds, mut reports) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let start = Instant::now();
        let output = Command::new(crate::PROGRAM)
            .args(["rehearse", &file.to_string_lossy(), "--seed", "7", "-o", "json"])
            .stdin(Stdio::null())
            .output()?;
        seconds.push(start.elapsed().as_secs_f64());
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("the hour ended with {}: {said}", output.status).into());
        }
        reports.push(output.stdout);
    }
    let first = reports.swap_remove(0);
    if reports.iter().any(|report| *report != first) {
        return Err("the same seed gave another report".into());
    }
    Ok((median(&seconds), first))
}

/// Whom a service calls: five fronts call two of five in the middle, those call one of four behind with retries.
fn calls_of(number: usize) -> Option<String> {
    let name = |number: usize| format!("app-{number:02}");
    match number {
        0..5 => Some(format!(
            "{} timeout=1s, {} timeout=1s optional",
            name(5 + number),
            name(5 + (number + 1) % 5)
        )),
        5..10 => Some(format!("{} timeout=300ms retries=2 backoff=20ms", name(10 + number % 4))),
        10..14 => Some(format!("{} 20% timeout=300ms", name(14 + number % 2))),
        _ => None,
    }
}

fn manifests(calls: bool) -> Vec<Value> {
    // The first hundred are nodes and the namespace.
    let mut objects = crate::manifests(100, 0);
    for number in 0..SERVICES {
        let name = format!("app-{number:02}");
        let labels = json!({"app": name});
        // The first is what its load keeps busy, so that its autoscaler has something to do.
        let time = if number == 0 { "1s" } else { "20ms" };
        let capacity = if number == 0 { "1" } else { "8" };
        let mut annotations =
            json!({"sim.firedrill.dev/service-time": time, "sim.firedrill.dev/capacity": capacity});
        if let Some(calls) = calls_of(number).filter(|_| calls) {
            annotations["sim.firedrill.dev/calls"] = json!(calls);
        }
        objects.push(
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop",
                "labels": labels, "annotations": {"sim.firedrill.dev/offered-load": "10"}},
            "spec": {"selector": labels, "ports": [{"port": 80}]}}),
        );
        objects.push(json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": name, "namespace": "shop", "labels": labels},
            "spec": {"replicas": PODS, "selector": {"matchLabels": labels}, "template": {
                "metadata": {"labels": labels, "annotations": annotations},
                "spec": {"containers": [{"name": "app", "image": "app:1",
                    "resources": {"requests": {"cpu": "50m", "memory": "32Mi"}}}]}}}}));
        objects.push(json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
                "minReplicas": PODS, "maxReplicas": 80,
                "metrics": [{"type": "Resource", "resource": {"name": "cpu",
                    "target": {"type": "Utilization", "averageUtilization": 40}}}]}}));
    }
    objects
}

/// An hour: pods of a service in the middle die every five minutes, and a quarter of an hour of more load.
fn experiment() -> String {
    let mut text = "apiVersion: firedrill.dev/v1alpha1\nkind: Experiment\n\
        metadata: {name: hour, namespace: shop}\nspec:\n  hypothesis: An hour passes quickly.\n  steadyState:\n  \
        - name: availability\n    prometheus:\n      query: |\n        \
        sum(rate(http_requests_total{code!~\"5..\"}[1m])) / sum(rate(http_requests_total[1m]))\n    \
        expect: value >= 0.9\n    during: value >= 0.5\n  \
        - name: p99\n    prometheus:\n      query: histogram_quantile(0.99, sum by (le) \
        (rate(http_request_duration_seconds_bucket{app=\"app-01\"}[1m])))\n    expect: value <= 1.0\n    \
        during: value <= 5.0\n  \
        - name: replicas\n    \
        kubernetes: {apiVersion: apps/v1, kind: Deployment, name: app-05}\n    value: object.status.readyReplicas\n    \
        expect: value == 50\n    during: value >= 2\n  \
        - name: scaled\n    \
        kubernetes: {apiVersion: apps/v1, kind: Deployment, name: app-00}\n    value: object.status.readyReplicas\n    \
        role: Informational\n  method:\n  \
        - name: surge\n    load: {url: \"http://app-00.shop.svc/\", requestsPerSecond: 15, arrivals: Poisson}\n    \
        duration: 15m\n    background: true\n  \
        - name: scaled-out\n    check: {probe: scaled, expect: value >= 55, within: 10m}\n"
        .to_owned();
    for step in 0..12 {
        let _ = write!(
            text,
            "  - name: kill-{step}\n    target: {{workload: deployment/app-05, count: 5}}\n    \
             podKill: {{gracePeriod: 0s}}\n  - wait: 5m\n"
        );
    }
    text.push_str("  objectives: {recoverWithin: 5m}\n  limits: {pods: 50%, duration: 2h}\n");
    text
}
