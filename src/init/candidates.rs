//! From the metrics that are there to queries for the four golden signals. Pure.

use std::collections::BTreeMap;

use crate::api::Signal;

use super::{
    families::{
        CPU_LIMITS, CPU_REQUESTS, CPU_USAGE, DESIRED_REPLICAS, FAMILIES, Family, IN_FLIGHT, MAX_REPLICAS,
        Present, Who,
    },
    found::{Candidate, Sought, Unit},
};

/// The signals in the order in which a file has them.
pub const SIGNALS: [Signal; 4] = [Signal::Errors, Signal::Latency, Signal::Traffic, Signal::Saturation];

/// Windows of rates in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Of what tells of requests.
    pub requests: u64,
    /// Of what the kubelet tells of containers.
    pub containers: u64,
}

impl Windows {
    /// The window for series of which five minutes hold so many samples: four scrapes, so that one that is missed
    /// does not leave a hole, and a minute at the least.
    pub fn for_samples(samples: f64) -> u64 {
        let between = 300.0 / samples.max(1.0);
        [60, 120, 180, 300].into_iter().find(|window| 4.0 * between <= *window as f64 + 1.0).unwrap_or(600)
    }

    /// A window as PromQL writes it.
    pub fn written(seconds: u64) -> String {
        crate::types::Length::from_secs(seconds).to_string()
    }
}

/// One series selector of each kind of window, to ask how many samples it has had.
pub fn paced(present: &[Present]) -> (Option<String>, Option<String>) {
    let requests = FAMILIES.iter().find_map(|family| {
        let (present, count) = counted(present, family)?;
        Some(selector(count, &present.identity, ""))
    });
    let containers = present.iter().find(|present| present.has(CPU_USAGE));
    (requests, containers.map(|present| selector(CPU_USAGE, &present.identity, "container!=\"\"")))
}

/// Asks how many samples the series with the most of them has had in five minutes.
pub fn samples(selector: &str) -> String {
    format!("max(count_over_time({selector}[5m]))")
}

/// All queries that the metrics allow, by signal in the order of preference.
pub fn candidates(present: &[Present], windows: Windows) -> Vec<Candidate> {
    let mut found = Vec::new();
    for family in FAMILIES {
        found.extend(of_requests(present, family, windows.requests));
        found.extend(latency(present, family, windows.requests));
    }
    found.extend(saturation(present, windows));
    found
}

/// What was found for each signal, from queries in the order of preference with what each says now: the first that
/// has a number is taken.
pub fn settle(asked: Vec<(Candidate, Option<f64>)>) -> BTreeMap<Signal, Sought> {
    let mut found: BTreeMap<Signal, Sought> = SIGNALS.map(|signal| (signal, Sought::default())).into();
    for (candidate, number) in asked {
        // A rate of nothing is no sign of life.
        let number = number.filter(|number| candidate.unit != Unit::PerSecond || *number > 0.0);
        let sought = found.entry(candidate.signal).or_default();
        match (number, &sought.taken) {
            (Some(number), None) => sought.taken = Some((candidate, number)),
            (Some(_), Some(_)) => sought.others.push(candidate),
            (None, _) => sought.silent.push(candidate),
        }
    }
    found
}

/// `metric{identity,more}`.
fn selector(metric: &str, identity: &str, more: &str) -> String {
    let comma = if more.is_empty() { "" } else { "," };
    format!("{metric}{{{identity}{comma}{more}}}")
}

/// The first identity under which requests are counted, and the counter.
fn counted<'a>(present: &'a [Present], family: &Family) -> Option<(&'a Present, &'static str)> {
    present.iter().filter(|present| present.who == family.who).find_map(|present| {
        let count = family.counts.iter().copied().find(|count| present.has(count))?;
        Some((present, count))
    })
}

/// Errors and traffic.
fn of_requests(present: &[Present], family: &Family, window: u64) -> Vec<Candidate> {
    let Some((present, count)) = counted(present, family) else { return Vec::new() };
    let range = Windows::written(window);
    let all = format!("sum(rate({}[{range}]))", selector(count, &present.identity, ""));
    let candidate = |signal, unit, query| Candidate {
        signal,
        query,
        unit,
        metric: count,
        writer: family.writer,
        identity: present.identity.clone(),
        window,
        caveat: family.caveat,
    };
    let mut found = Vec::new();
    if let Some((label, failed)) = present.failures(family, count) {
        let good = selector(count, &present.identity, &format!("{label}!~\"{failed}\""));
        let query = format!("sum(rate({good}[{range}]))\n  / {all}");
        found.push(candidate(Signal::Errors, Unit::GoodShare, query));
    }
    found.push(candidate(Signal::Traffic, Unit::PerSecond, all));
    found
}

/// The 99th percentile, or the mean where there are no buckets.
fn latency(present: &[Present], family: &Family, window: u64) -> Option<Candidate> {
    let range = Windows::written(window);
    let (name, unit) = family.durations?;
    let of = |suffix: &str| {
        let metric = format!("{name}{suffix}");
        let mut measured = present.iter().filter(|present| present.who == family.who);
        measured.find(|present| present.has(&metric)).map(|present| (present, metric))
    };
    let (present, query, caveat) = if let Some((present, bucket)) = of("_bucket") {
        let rate = format!("rate({}[{range}])", selector(&bucket, &present.identity, ""));
        (present, format!("histogram_quantile(0.99, sum by (le) (\n  {rate}))"), family.caveat)
    } else {
        let (present, sum) = of("_sum")?;
        let rate = |metric: &str| format!("sum(rate({}[{range}]))", selector(metric, &present.identity, ""));
        let query = format!("{}\n  / {}", rate(&sum), rate(&format!("{name}_count")));
        let caveat =
            "There are no buckets, so this is the mean, which hides the slow ones: have histograms written.";
        (present, query, caveat)
    };
    let identity = present.identity.clone();
    let (metric, writer) = (name, family.writer);
    Some(Candidate { signal: Signal::Latency, query, unit, metric, writer, identity, window, caveat })
}

/// How full it is: CPU against its limit, against what is requested, in cores; requests at work; what is left to
/// the autoscaler.
fn saturation(present: &[Present], windows: Windows) -> Vec<Candidate> {
    let mut found = Vec::new();
    let candidate = |unit, metric, (writer, caveat), (present, query): (&Present, String)| Candidate {
        signal: Signal::Saturation,
        query,
        unit,
        metric,
        writer,
        identity: present.identity.clone(),
        window: windows.requests.max(if metric == CPU_USAGE { windows.containers } else { 0 }),
        caveat,
    };
    let kubelet = "cAdvisor through the kubelet, and kube-state-metrics";
    if let Some(pods) = present.iter().find(|present| present.has(CPU_USAGE)) {
        let window = Windows::written(windows.containers);
        let usage = selector(CPU_USAGE, &pods.identity, "container!=\"\"");
        let usage = format!("sum(rate({usage}[{window}]))");
        for (unit, metric) in [(Unit::ShareOfLimit, CPU_LIMITS), (Unit::ShareOfRequest, CPU_REQUESTS)] {
            if pods.says(metric, "resource", "cpu") {
                let whole = selector(metric, &pods.identity, "resource=\"cpu\"");
                let query = format!("{usage}\n  / sum({whole})");
                found.push(candidate(unit, CPU_USAGE, (kubelet, ""), (pods, query)));
            }
        }
        found.push(candidate(Unit::Cores, CPU_USAGE, (kubelet, ""), (pods, usage)));
    }
    let window = Windows::written(windows.requests);
    for (metric, writer) in IN_FLIGHT {
        let measured = present.iter().find(|present| present.who == Who::Application && present.has(metric));
        if let Some(measured) = measured {
            let gauge = selector(metric, &measured.identity, "");
            let query = format!("sum(avg_over_time({gauge}[{window}]))");
            found.push(candidate(Unit::InFlight, metric, (writer, ""), (measured, query)));
        }
    }
    let bounded = |present: &&Present| present.has(DESIRED_REPLICAS) && present.has(MAX_REPLICAS);
    if let Some(autoscaler) = present.iter().find(bounded) {
        let of = |metric| format!("max({})", selector(metric, &autoscaler.identity, ""));
        let query = format!("{}\n  / {}", of(DESIRED_REPLICAS), of(MAX_REPLICAS));
        let (unit, from) = (Unit::ShareOfMost, ("kube-state-metrics", ""));
        found.push(candidate(unit, DESIRED_REPLICAS, from, (autoscaler, query)));
    }
    found
}
