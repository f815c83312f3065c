//! Clients that somebody opens from outside, besides those whom a Service's annotations state. Their requests go
//! through the same gateway to the same pods, and it counts them too; what becomes of them they also keep
//! themselves, as a load generator does.

use std::time::Duration;

use super::{Ask, Asker, Code, Event, Traffic, random::Stream, reach::Found};
use crate::types::load::{End, LoadTally, LoadWindow, Pace, Recorder, Schedule};

/// What a client is to send.
#[derive(Debug, Clone)]
pub struct ClientOrder {
    /// Namespace of the Service.
    pub namespace: String,
    /// Name of the Service.
    pub service: String,
    /// The Service's port that its URL names, and whether it speaks TLS.
    pub port: (u16, bool),
    /// The pod that sends it, by UID: NetworkPolicies hold it up like any pod. None: from outside.
    pub from: Option<String>,
    /// How many requests, and how they follow each other.
    pub pace: Pace,
    /// From which random arrivals, choices of endpoints and service times follow.
    pub seed: u64,
    /// How long it waits for an answer.
    pub timeout: Duration,
    /// How many may wait at once.
    pub max_in_flight: u32,
    /// How far back windows reach.
    pub keep: Duration,
}

/// One client.
pub struct Client {
    /// Namespace and name.
    service: (String, String),
    /// Its port, and whether TLS is spoken there.
    port: (u16, bool),
    /// The pod that it is.
    from: Option<usize>,
    timeout_us: u64,
    pub(super) stream: Stream,
    schedule: Schedule,
    start: u64,
    /// Up to when it has been followed.
    now: u64,
    recorder: Recorder,
    /// The last word.
    ended: Option<LoadTally>,
}

impl Client {
    /// How long it has been sending.
    pub fn age(&self) -> Duration {
        Duration::from_micros(self.now - self.start)
    }

    /// What became of its requests lately.
    pub fn window(&self, length: Duration) -> LoadWindow {
        self.recorder.window(self.now - self.start, length)
    }

    /// What became of all requests so far.
    pub fn tally(&self) -> LoadTally {
        self.ended.clone().unwrap_or_else(|| self.recorder.tally())
    }

    /// One that was sent at `arrival` has ended at `now`.
    pub(super) fn answered(&mut self, arrival: u64, now: u64, code: Code) {
        let end = match code {
            Code::Ok => End::Answered(200),
            Code::BadGateway => End::Answered(502),
            Code::Unavailable => End::Answered(503),
            Code::Timeout => End::TimedOut,
        };
        if self.ended.is_none() {
            self.recorder.end(arrival - self.start, now - self.start, end);
        }
    }
}

impl Traffic {
    /// A client begins to send at `at`. Its number.
    pub fn open_client(&mut self, order: &ClientOrder, at: u64) -> usize {
        self.advance(at);
        let from = order.from.as_ref().map(|pod| self.intern(pod));
        self.clients.push(Client {
            service: (order.namespace.clone(), order.service.clone()),
            port: order.port,
            from,
            timeout_us: u64::try_from(order.timeout.as_micros()).unwrap_or(u64::MAX),
            stream: Stream::new(order.seed, "client"),
            schedule: Schedule::new(order.pace, order.seed),
            start: self.now,
            now: self.now,
            recorder: Recorder::new(order.max_in_flight, order.keep),
            ended: None,
        });
        let client = self.clients.len() - 1;
        self.schedule_call(client);
        client
    }

    /// A client sends nothing more after `at`. What became of its requests; None for one that was never opened.
    pub fn close_client(&mut self, client: usize, at: u64) -> Option<LoadTally> {
        self.advance(at);
        let client = self.clients.get_mut(client)?;
        Some(client.ended.get_or_insert_with(|| client.recorder.tally()).clone())
    }

    /// A client as of `at`; None for one that was never opened.
    pub fn client(&mut self, client: usize, at: u64) -> Option<&Client> {
        self.advance(at);
        let now = self.now;
        let client = self.clients.get_mut(client)?;
        client.now = now;
        Some(client)
    }

    fn schedule_call(&mut self, client: usize) {
        let found = &mut self.clients[client];
        let due = u64::try_from(found.schedule.next_due().as_micros()).unwrap_or(u64::MAX);
        let at = found.start.saturating_add(due);
        self.push(at, Event::Call { client });
    }

    /// A client's next request is due.
    pub(super) fn call(&mut self, client: usize, now: u64) {
        let found = &mut self.clients[client];
        if found.ended.is_some() {
            return;
        }
        let due = now - found.start;
        if found.recorder.send(due, due) {
            found.recorder.left(due, due);
            let service = self.service_index.get(&found.service).copied();
            let behind = service.map_or(Found::NoPort, |service| self.services[service].found(found.port));
            match (service, behind) {
                (Some(service), Found::Open) => {
                    let (asker, timeout_us) = (Asker::Client { service, client }, found.timeout_us);
                    let from = found.from.map(|pod| (pod, Some(found.port.0)));
                    self.send(Ask { asker, service, timeout_us, hops: 0, from }, now);
                }
                // What servers of TLS say to plain HTTP (nginx and Go's net/http: 400).
                (_, Found::Tls) => found.recorder.end(due, due, End::Answered(400)),
                // The handshake is a part of connecting.
                _ => found.recorder.end(due, due, End::NotConnected),
            }
        }
        self.schedule_call(client);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::sim::{
        metrics::scrape::ScrapeConfig,
        traffic::{PodState, ServiceLoad, ServicePort, Serving, Spread},
    };
    use crate::types::load::Arrivals;

    const START: u64 = 1_795_514_400_000_000;
    const SECOND: u64 = 1_000_000;

    fn order(per_second: f64) -> ClientOrder {
        ClientOrder {
            namespace: "shop".into(),
            service: "checkout".into(),
            port: (80, false),
            from: None,
            pace: Pace { per_second, ramp_up: Duration::ZERO, arrivals: Arrivals::Constant },
            seed: 7,
            timeout: Duration::from_millis(300),
            max_in_flight: 1000,
            keep: Duration::from_secs(10),
        }
    }

    /// A Service whose own clients send nothing, with two pods that answer in 20 ms.
    fn quiet() -> Traffic {
        let mut traffic = Traffic::new(1, START, ScrapeConfig::default());
        let serving = Serving { spread: Spread::Constant, ..Serving::default() };
        for n in 0..2 {
            let pod = PodState {
                uid: format!("uid-{n}"),
                name: format!("checkout-{n}"),
                namespace: "shop".into(),
                node: "n1".into(),
                app: "checkout".into(),
                serving_since: START,
                serving,
                calls: Arc::default(),
            };
            traffic.set_pod(pod, START);
        }
        let names = ("shop", "checkout", "checkout");
        let none = ServiceLoad::from_annotations(names, &std::collections::BTreeMap::new());
        traffic.set_service(none.expect("no annotation is wrong"), START);
        traffic.set_endpoints("shop", "checkout", &["uid-0".into(), "uid-1".into()], START);
        traffic
    }

    #[test]
    fn a_client_and_the_gateway_count_the_same() {
        let mut traffic = quiet();
        let client = traffic.open_client(&order(100.0), START);
        traffic.advance(START + 10 * SECOND - 1);
        let tally = traffic.close_client(client, START + 10 * SECOND - 1).expect("opened");
        let totals = traffic.totals("shop", "checkout").expect("it is there");
        assert_eq!((tally.sent, totals.offered), (1000, 1000));
        assert_eq!((tally.answered, tally.unfinished), (totals.by_code[0], totals.in_flight));
        assert_eq!((tally.failed(), tally.p50_us, tally.longest_us), (0, Some(20_000), Some(20_000)));
        traffic.advance(START + 60 * SECOND);
        let later = traffic.totals("shop", "checkout").expect("it is there");
        assert_eq!(later.offered, 1000, "after its end it sends nothing");
        assert_eq!(traffic.close_client(client, START + 60 * SECOND), Some(tally), "nor does it count");
    }

    #[test]
    fn a_pod_that_dies_breaks_what_it_held_and_a_client_gives_up_in_its_own_time() {
        let mut traffic = quiet();
        let client = traffic.open_client(&order(1000.0), START);
        traffic.stop_pod("uid-0", START + SECOND + 5_000);
        let tally = traffic.close_client(client, START + 2 * SECOND).expect("opened");
        assert!(tally.refused_by_status.abs_diff(500) < 80, "half of a second: {tally:?}");
        // Four times what two pods can do: the queue is longer than this client waits.
        let mut traffic = quiet();
        let slow = Serving { service_time_us: 200_000, capacity: 1, ..Serving::default() };
        for n in 0..2 {
            let pod = PodState {
                uid: format!("uid-{n}"),
                name: String::new(),
                namespace: "shop".into(),
                node: String::new(),
                app: String::new(),
                serving_since: START,
                serving: slow,
                calls: Arc::default(),
            };
            traffic.set_pod(pod, START);
        }
        let client = traffic.open_client(&order(40.0), START);
        let tally = traffic.close_client(client, START + 5 * SECOND).expect("opened");
        assert!(tally.timed_out > 50 && tally.longest_us == Some(300_000), "{tally:?}");
    }

    #[test]
    fn a_service_that_is_not_there_cannot_be_connected_to() {
        let mut traffic = quiet();
        let nobody = ClientOrder { service: "nobody".into(), ..order(10.0) };
        let client = traffic.open_client(&nobody, START);
        let tally = traffic.close_client(client, START + SECOND - 1).expect("opened");
        assert_eq!((tally.sent, tally.not_connected, tally.answered), (10, 10, 0));
        assert_eq!(traffic.close_client(99, START + SECOND), None);
    }

    /// A URL with the wrong port or scheme must not do better in a rehearsal than on a cluster.
    #[test]
    fn a_port_that_is_not_there_and_the_wrong_language_reach_nobody() {
        let of = |port: (u16, bool)| {
            let mut traffic = quiet();
            let ports = [(80, 8080, false), (443, 8443, true)];
            let ports = ports.map(|(port, behind, tls)| ServicePort { port, behind, tls });
            traffic.set_ports("shop", "checkout", ports.to_vec());
            let client = traffic.open_client(&ClientOrder { port, ..order(10.0) }, START);
            let tally = traffic.close_client(client, START + SECOND - 1).expect("opened");
            (tally.sent, tally.not_connected, tally.refused_by_status, tally.answered)
        };
        for (port, expected) in [
            ((80, false), (10, 0, 0, 10)),
            ((443, true), (10, 0, 0, 10)),
            ((81, false), (10, 10, 0, 0)),
            ((80, true), (10, 10, 0, 0)),
            ((443, false), (10, 0, 10, 10)),
        ] {
            assert_eq!(of(port), expected, "{port:?}");
        }
    }
}
