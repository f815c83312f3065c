//! A load offered to the traffic of an embedded cluster: its clients send it, in virtual time.

use std::{sync::Arc, time::Duration};

use crate::{
    env::{LoadWire, Underway},
    sim::traffic::{ClientOrder, wiring::ClusterMetrics},
    types::{
        load::{LoadTally, LoadWindow},
        port_of, service_of_host,
    },
};

/// Sends to the Services of an embedded cluster, and nowhere else.
pub fn embedded(metrics: &Arc<ClusterMetrics>) -> LoadWire {
    let (known, traffic) = (metrics.clone(), metrics.clone());
    LoadWire::new(
        move |url| {
            let host = url.host().unwrap_or_default();
            let found = match service_of_host(host) {
                None => Err(format!("a rehearsal reaches nothing outside, and so not {host}")),
                Some((namespace, name)) if !known.has_service(namespace, name) => {
                    Err(format!("there is no Service {name} in namespace {namespace}"))
                }
                Some(_) => Ok(Vec::new()),
            };
            Box::pin(async move { found })
        },
        move |order| {
            let host = order.url.host().unwrap_or_default();
            let Some((namespace, service)) = service_of_host(host) else {
                return Err(format!("a rehearsal reaches nothing outside, and so not {host}"));
            };
            let client = traffic.open_client(ClientOrder {
                namespace: namespace.to_owned(),
                service: service.to_owned(),
                port: port_of(order.url.scheme_str(), order.url.port_u16()),
                from: None,
                pace: order.pace,
                seed: order.seed,
                timeout: order.timeout,
                max_in_flight: order.max_in_flight,
                keep: order.keep,
            });
            Ok(Arc::new(Offered { traffic: traffic.clone(), client }))
        },
    )
}

/// A load that an embedded cluster's clients send.
struct Offered {
    traffic: Arc<ClusterMetrics>,
    client: usize,
}

impl Underway for Offered {
    fn age(&self) -> Duration {
        self.traffic.client(self.client, |client| client.age())
    }

    fn window(&self, length: Duration) -> LoadWindow {
        self.traffic.client(self.client, |client| client.window(length))
    }

    fn tally(&self) -> LoadTally {
        self.traffic.client(self.client, |client| client.tally())
    }

    fn end(&self) -> LoadTally {
        self.traffic.close_client(self.client)
    }
}

impl Drop for Offered {
    fn drop(&mut self) {
        self.end();
    }
}
