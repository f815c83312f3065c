//! Behaviour of workloads under traffic, as annotations of ordinary manifests state it.

use std::collections::BTreeMap;

use crate::sim::annotations::{
    ARRIVALS, CAPACITY, InvalidAnnotation, OFFERED_LOAD, QUEUE, SERVICE_TIME, SERVICE_TIMES, TIMEOUT,
    duration, read,
};

/// How a random quantity spreads about its mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Spread {
    /// Exponential: a Poisson process of arrivals, memoryless service.
    #[default]
    Exponential,
    /// Always the mean.
    Constant,
}

/// The load that clients offer to one Service, open loop: they do not slow down when it does.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceLoad {
    /// Namespace of the Service.
    pub namespace: String,
    /// Name of the Service.
    pub name: String,
    /// Value of the label `app` of its metrics.
    pub app: String,
    /// Requests per second, at least 0.
    pub per_second: f64,
    /// Distances between arrivals.
    pub arrivals: Spread,
    /// How long a client waits, in microseconds; then it counts a 504 and is gone.
    pub timeout_us: u64,
}

/// How fast a pod serves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Serving {
    /// Requests in work at once, at least 1.
    pub capacity: u32,
    /// Requests that may wait for a free place; one more is answered 503.
    pub queue: u32,
    /// Mean time of one request in microseconds.
    pub service_time_us: u64,
    /// Spread of that time.
    pub spread: Spread,
}

impl Default for Serving {
    fn default() -> Self {
        Self { capacity: 32, queue: 128, service_time_us: 20_000, spread: Spread::Exponential }
    }
}

impl ServiceLoad {
    /// Default time that a client waits, in microseconds.
    pub const DEFAULT_TIMEOUT_US: u64 = 5_000_000;

    /// The load that a Service's annotations state; without [`OFFERED_LOAD`] it is zero. `app` is the
    /// value of the metrics' label `app`: the Service's own label, or else its name.
    pub fn from_annotations(
        (namespace, name, app): (&str, &str, &str),
        annotations: &BTreeMap<String, String>,
    ) -> Result<Self, InvalidAnnotation> {
        let number = |s: &str| s.strip_suffix("/s").unwrap_or(s).trim().parse::<f64>().ok();
        let rate = |s: &str| number(s).filter(|v| (0.0..=1_000_000.0).contains(v));
        let expected = "a number of requests per second from 0 to 1000000";
        Ok(Self {
            namespace: namespace.into(),
            name: name.into(),
            app: app.into(),
            per_second: read(annotations, OFFERED_LOAD, expected, rate)?.unwrap_or(0.0),
            arrivals: spread(annotations, ARRIVALS, "poisson")?,
            timeout_us: read(annotations, TIMEOUT, DURATION, duration_us)?
                .unwrap_or(Self::DEFAULT_TIMEOUT_US),
        })
    }
}

impl Serving {
    /// How a pod with these annotations serves.
    pub fn from_annotations(annotations: &BTreeMap<String, String>) -> Result<Self, InvalidAnnotation> {
        let default = Self::default();
        let places = |s: &str| s.parse::<u32>().ok().filter(|v| (1..=100_000).contains(v));
        let waiting = |s: &str| s.parse::<u32>().ok().filter(|v| *v <= 1_000_000);
        Ok(Self {
            capacity: read(annotations, CAPACITY, "a whole number from 1 to 100000", places)?
                .unwrap_or(default.capacity),
            queue: read(annotations, QUEUE, "a whole number up to 1000000", waiting)?
                .unwrap_or(default.queue),
            service_time_us: read(annotations, SERVICE_TIME, DURATION, duration_us)?
                .unwrap_or(default.service_time_us),
            spread: spread(annotations, SERVICE_TIMES, "exponential")?,
        })
    }
}

const DURATION: &str = "a duration above zero and up to one hour, such as 20ms or 1.5s";

fn spread(
    annotations: &BTreeMap<String, String>,
    name: &'static str,
    random: &'static str,
) -> Result<Spread, InvalidAnnotation> {
    let parse = |s: &str| match s {
        "constant" => Some(Spread::Constant),
        s if s == random => Some(Spread::Exponential),
        _ => None,
    };
    let expected = if random == "poisson" { "poisson or constant" } else { "exponential or constant" };
    Ok(read(annotations, name, expected, parse)?.unwrap_or_default())
}

/// A duration in microseconds.
pub(super) fn duration_us(text: &str) -> Option<u64> {
    let micros = u64::try_from(duration(text)?.as_micros()).ok()?;
    (1..=3_600_000_000).contains(&micros).then_some(micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    #[test]
    fn annotations_are_read_and_have_defaults() {
        let load =
            ServiceLoad::from_annotations(("shop", "checkout", "checkout"), &annotations(&[])).unwrap();
        assert_eq!((load.per_second, load.timeout_us), (0.0, 5_000_000));
        let stated = annotations(&[(OFFERED_LOAD, "12.5"), (ARRIVALS, "constant"), (TIMEOUT, "250ms")]);
        let load = ServiceLoad::from_annotations(("shop", "checkout", "x"), &stated).unwrap();
        assert_eq!((load.per_second, load.arrivals, load.timeout_us), (12.5, Spread::Constant, 250_000));
        let stated = annotations(&[(OFFERED_LOAD, "200/s"), (TIMEOUT, "1m1.5s")]);
        let load = ServiceLoad::from_annotations(("shop", "checkout", "x"), &stated).unwrap();
        assert_eq!((load.per_second, load.timeout_us), (200.0, 61_500_000));
        let stated = annotations(&[(CAPACITY, "4"), (QUEUE, "0"), (SERVICE_TIME, "1.5s")]);
        let serving = Serving::from_annotations(&stated).unwrap();
        assert_eq!((serving.capacity, serving.queue, serving.service_time_us), (4, 0, 1_500_000));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for (name, value) in
            [(CAPACITY, "0"), (CAPACITY, "-1"), (QUEUE, "many"), (SERVICE_TIME, "20"), (SERVICE_TIME, "s")]
        {
            let e = Serving::from_annotations(&annotations(&[(name, value)])).unwrap_err();
            assert_eq!((e.name, e.value.as_str()), (name, value));
        }
        for (name, value) in
            [(OFFERED_LOAD, "-1"), (OFFERED_LOAD, "NaN"), (TIMEOUT, "0s"), (ARRIVALS, "fast")]
        {
            let stated = annotations(&[(name, value)]);
            assert_eq!(ServiceLoad::from_annotations(("a", "b", "c"), &stated).unwrap_err().name, name);
        }
    }
}
