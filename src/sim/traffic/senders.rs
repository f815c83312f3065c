//! Pods that run `firedrill send`: clients within the cluster, for as long as they run. What they would print is their
//! log.

use std::time::Duration;

use http::Uri;

use super::ClientOrder;
use super::wiring::{ClusterMetrics, State, micros};
use crate::sim::connect;
use crate::sim::store::Object;
use crate::types::load::{SendOrder, SendReport};
use crate::types::{Length, port_of, service_of_host};

/// Until the first line, and from one to the next.
const EVERY: Duration = Duration::from_secs(1);

/// The client that a pod is.
pub(super) struct Sender {
    client: usize,
    windows: Vec<Length>,
}

impl ClusterMetrics {
    /// The last line of the log of a pod that sends; None for one that does not.
    pub fn said(&self, pod: &Object) -> Option<String> {
        let now = micros(&self.store);
        let state = &mut *self.lock();
        let sender = state.sending.get(&pod.meta.uid)?;
        let client = state.traffic.client(sender.client, now)?;
        if client.age() < EVERY {
            return Some(String::new());
        }
        let report = SendReport {
            age_ms: u64::try_from(client.age().as_millis()).unwrap_or(u64::MAX),
            windows: sender.windows.iter().map(|length| (*length, client.window(length.0))).collect(),
            tally: client.tally(),
        };
        Some(serde_json::to_string(&report).unwrap_or_default() + "\n")
    }
}

impl State {
    /// A pod's containers run: it sends, if that is what they do.
    pub(super) fn begin_to_send(&mut self, pod: &Object, now: u64) {
        let Some(order) = order_of(pod) else { return };
        let Ok(url) = order.url.parse::<Uri>() else { return };
        let host = url.host().unwrap_or_default();
        // Nothing is outside of a rehearsal: no Service has that name.
        let (namespace, service) = service_of_host(host).unwrap_or(("", host));
        let client = ClientOrder {
            namespace: namespace.to_owned(),
            service: service.to_owned(),
            port: port_of(url.scheme_str(), url.port_u16()),
            from: Some(pod.meta.uid.clone()),
            pace: order.pace,
            seed: order.seed,
            timeout: order.timeout.0,
            max_in_flight: order.max_in_flight,
            keep: order.windows.iter().map(|length| length.0).max().unwrap_or_default(),
        };
        let client = self.open(client, now);
        self.sending.insert(pod.meta.uid.clone(), Sender { client, windows: order.windows });
    }

    /// A pod's containers run no longer.
    pub(super) fn stop_sending(&mut self, uid: &str, now: u64) {
        if let Some(sender) = self.sending.remove(uid) {
            self.traffic.close_client(sender.client, now);
        }
    }
}

/// What the pod's one container is told to send.
fn order_of(pod: &Object) -> Option<SendOrder> {
    let words = connect::words(pod, None)?;
    match words.as_slice() {
        [command, order] if command == "send" => serde_json::from_str(order).ok(),
        _ => None,
    }
}
