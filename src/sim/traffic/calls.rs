//! What a workload calls to serve one request, as an annotation of its pod template states it.
//!
//! Calls are made one after another, in the order of the annotation, when the pod's own work on the request is done,
//! and the place that the request takes is held until the last of them has ended. Nothing tells a pod that whoever
//! asked it has left: it works and calls on, as servers without deadline propagation do. So a slow dependency fills
//! up its callers, and retries add to what it is asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::load::{ServiceLoad, duration_us};
use crate::sim::annotations::{CALLS, InvalidAnnotation, read};

/// Most calls that one annotation can list.
const MOST_CALLS: usize = 16;
/// Most times that one request can make one call, and most retries of each.
const MOST_TIMES: u32 = 100;

/// One call that a pod makes for each of its requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Namespace and name of the Service.
    pub to: (String, String),
    /// Port of the Service; its first without one.
    pub port: Option<u16>,
    /// How often.
    pub times: Times,
    /// How long one attempt waits, in microseconds, connecting included.
    pub timeout_us: u64,
    /// How often an attempt that failed, for whatever reason, is made again.
    pub retries: u32,
    /// Wait before the first retry in microseconds; it doubles for each further one.
    pub backoff_us: u64,
    /// Whether the request can do without.
    pub optional: bool,
}

/// How often a request makes a call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Times {
    /// Each so often, at least once.
    Each(u32),
    /// One in so many, by chance: a share above 0 and up to 1.
    Share(f64),
}

const EXPECTED: &str = "a list such as \"vault.shop:8080 timeout=1s retries=2 backoff=100ms, \
    rates x3, audit 10% optional\"";

impl Call {
    /// What a pod of this namespace with these annotations calls; nothing without [`CALLS`].
    ///
    /// # Errors
    /// The annotation cannot be read.
    pub fn from_annotations(
        namespace: &str,
        annotations: &BTreeMap<String, String>,
    ) -> Result<Arc<[Self]>, InvalidAnnotation> {
        let all = |text: &str| {
            let calls: Option<Vec<Self>> = text.split(',').map(|one| Self::parse(namespace, one)).collect();
            calls.filter(|calls| calls.len() <= MOST_CALLS).map(Arc::from)
        };
        Ok(read(annotations, CALLS, EXPECTED, all)?.unwrap_or_default())
    }

    fn parse(namespace: &str, text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let (to, port) = address(namespace, words.next()?)?;
        let mut call = Self {
            to,
            port,
            times: Times::Each(1),
            timeout_us: ServiceLoad::DEFAULT_TIMEOUT_US,
            retries: 0,
            backoff_us: 0,
            optional: false,
        };
        for word in words {
            match word.split_once('=') {
                Some(("timeout", value)) => call.timeout_us = duration_us(value)?,
                Some(("retries", value)) => {
                    call.retries = value.parse::<u32>().ok().filter(|n| *n <= MOST_TIMES)?
                }
                Some(("backoff", value)) => call.backoff_us = duration_us(value)?,
                Some(_) => return None,
                None if word == "optional" => call.optional = true,
                None => call.times = Times::parse(word)?,
            }
        }
        Some(call)
    }

    /// The wait before the retry of that number, the first being 1.
    pub(super) fn wait_us(&self, retry: u32) -> u64 {
        let doubled = 1_u64.checked_shl(retry.saturating_sub(1)).unwrap_or(u64::MAX);
        // An hour, as for every duration: nobody waits longer.
        self.backoff_us.saturating_mul(doubled).min(3_600_000_000)
    }
}

impl Times {
    fn parse(word: &str) -> Option<Self> {
        if let Some(times) = word.strip_prefix('x') {
            return times.parse::<u32>().ok().filter(|n| (1..=MOST_TIMES).contains(n)).map(Self::Each);
        }
        let percent: f64 = word.strip_suffix('%')?.parse().ok()?;
        (percent > 0.0 && percent <= 100.0).then_some(Self::Share(percent / 100.0))
    }
}

/// `NAME[.NAMESPACE[.svc[.cluster.local]]][:PORT]`, as pods resolve it.
fn address(namespace: &str, text: &str) -> Option<((String, String), Option<u16>)> {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port.parse::<u16>().ok().filter(|port| *port > 0)?)),
        None => (text, None),
    };
    let host = host.strip_suffix(".cluster.local").unwrap_or(host);
    let host = host.strip_suffix(".svc").unwrap_or(host);
    let (name, namespace) = host.split_once('.').unwrap_or((host, namespace));
    let label = |text: &str| {
        let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !text.is_empty() && text.len() <= 63 && text.chars().all(inside)
    };
    (label(name) && label(namespace)).then(|| ((namespace.to_owned(), name.to_owned()), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(text: &str) -> Result<Arc<[Call]>, InvalidAnnotation> {
        Call::from_annotations("shop", &BTreeMap::from([(CALLS.to_owned(), text.to_owned())]))
    }

    #[test]
    fn a_list_of_calls_is_read_and_has_defaults() {
        let all =
            calls("vault, rates.money:8080 x3 timeout=250ms retries=2 backoff=10ms, audit 10% optional");
        let all = all.expect("it can be read");
        let plain = Call {
            to: ("shop".into(), "vault".into()),
            port: None,
            times: Times::Each(1),
            timeout_us: 5_000_000,
            retries: 0,
            backoff_us: 0,
            optional: false,
        };
        assert_eq!(all[0], plain);
        assert_eq!((all[1].to.0.as_str(), all[1].to.1.as_str(), all[1].port), ("money", "rates", Some(8080)));
        assert_eq!((all[1].times, all[1].timeout_us, all[1].retries), (Times::Each(3), 250_000, 2));
        assert_eq!([1, 2, 3, 99].map(|n| all[1].wait_us(n)), [10_000, 20_000, 40_000, 3_600_000_000]);
        assert_eq!((all[2].times, all[2].optional), (Times::Share(0.1), true));
        assert_eq!(calls("vault.money.svc.cluster.local:80").expect("read")[0].to.0, "money");
        assert_eq!(Call::from_annotations("shop", &BTreeMap::new()).expect("nothing is wrong").len(), 0);
    }

    #[test]
    fn nonsense_is_refused_as_a_whole() {
        for wrong in [
            "",
            "vault,",
            "vault:0",
            "vault:http",
            "Vault",
            "a.b.c",
            "vault x0",
            "vault x101",
            "vault 0%",
            "vault 101%",
            "vault NaN%",
            "vault timeout=0s",
            "vault timeout=5",
            "vault retries=-1",
            "vault retries=1000",
            "vault pause=1s",
            "vault twice",
        ] {
            let error = calls(wrong).expect_err(wrong);
            assert_eq!((error.name, error.value.as_str()), (CALLS, wrong));
        }
        assert!(calls(&["vault"; 17].join(",")).is_err());
    }
}
