//! Traffic of the embedded cluster: offered requests, spread over endpoints, served, queued, lost.
//!
//! Clients are outside the cluster, behind a gateway of the Service's namespace, and it is the gateway
//! that counts: a pod that dies cannot report what it lost. It exposes, as job `gateway`:
//!
//! - `http_requests_total{app,code}`: answered requests. `code` is 200; 503 where no endpoint is known
//!   (connection refused) or the pod's queue is full; 502 where the pod is dead, is not listening yet,
//!   or dies with the request in its hands; 504 where the client's patience ended.
//! - `http_request_duration_seconds_{bucket,sum,count}{app,le}`: time from sending to that answer,
//!   whatever its code. Bounds are the Go client's defaults, spelled as Prometheus 3 stores them.
//! - `http_requests_in_flight{app}`: sent and not yet answered.
//!
//! All four codes are exposed from the start with zero (Prometheus docs, "Avoid missing metrics"), so
//! that a rate sees the first failure. Pods are targets of the job `kubernetes-pods` with `up` only.
//!
//! A request goes to one of the Service's endpoints at random, as kube-proxy spreads connections
//! (iptables mode, `statistic --mode random`). A change of endpoints reaches the clients after
//! [`PROPAGATION_US`]; until then they still try pods that are gone.
//!
//! Pure and lazy: nothing happens until [`Traffic::advance`] or a change, and then everything up to
//! that instant does, in order. Same seed and same calls: same counters, bit for bit. Times are
//! microseconds since the Unix epoch; a time before the last one counts as the last one.

mod busy;
mod clients;
mod counts;
mod load;
pub(in crate::sim) mod random;
mod server;
mod views;
mod visits;
pub mod wiring;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

pub use busy::WINDOW_US;
pub use clients::{Client, ClientOrder};
pub use load::{ServiceLoad, Serving, Spread};

use self::counts::{Counts, ServiceSeries};
use self::random::Stream;
use self::server::{Held, Server};
use super::metrics::scrape::{ScrapeConfig, Scrapes, TargetId};
use super::metrics::series::Labels;

/// Time from a change of endpoints until clients follow it: kube-proxy's `iptables.minSyncPeriod`,
/// one second by default (pkg/proxy/apis/config/v1alpha1/defaults.go), within which it gathers changes.
pub const PROPAGATION_US: u64 = 1_000_000;

/// Upper bounds of the latency histogram in seconds and their label (`prometheus.DefBuckets` of the Go
/// client).
const BOUNDS: [(f64, &str); 11] = [
    (0.005, "0.005"),
    (0.01, "0.01"),
    (0.025, "0.025"),
    (0.05, "0.05"),
    (0.1, "0.1"),
    (0.25, "0.25"),
    (0.5, "0.5"),
    (1.0, "1.0"),
    (2.5, "2.5"),
    (5.0, "5.0"),
    (10.0, "10.0"),
];

/// How a request ended, as its client sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// 200.
    Ok,
    /// 502: the pod is gone, or went with the request.
    BadGateway,
    /// 503: no endpoint, or a full queue.
    Unavailable,
    /// 504: the client gave up.
    Timeout,
}

impl Code {
    /// All of them, in the order of [`Totals::by_code`].
    pub const ALL: [Code; 4] = [Code::Ok, Code::BadGateway, Code::Unavailable, Code::Timeout];

    /// Value of the label `code`.
    pub fn label(self) -> &'static str {
        match self {
            Code::Ok => "200",
            Code::BadGateway => "502",
            Code::Unavailable => "503",
            Code::Timeout => "504",
        }
    }
}

/// A pod's serving process. Whether it is ready is for the endpoints to say.
#[derive(Debug, Clone, PartialEq)]
pub struct PodState {
    /// UID of the pod.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The node that it runs on.
    pub node: String,
    /// Value of the label `app` of its target.
    pub app: String,
    /// When it starts to listen. Another value than before means another process: the old one's
    /// requests are lost.
    pub serving_since: u64,
    /// How it serves.
    pub serving: Serving,
}

/// Counts of one Service since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Requests sent.
    pub offered: u64,
    /// Answers in the order of [`Code::ALL`].
    pub by_code: [u64; 4],
    /// Sent and not yet answered.
    pub in_flight: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrival {
        service: usize,
        epoch: u64,
    },
    /// A client that was opened sends its next request.
    Call {
        client: usize,
    },
    Answer {
        service: usize,
        pod: usize,
        epoch: u64,
        client: Option<usize>,
        arrival: u64,
        code: Code,
    },
}

struct Service {
    load: ServiceLoad,
    stream: Stream,
    /// Arrivals of an earlier load are void.
    epoch: u64,
    /// Evenly spaced arrivals are counted from here, so that rounding does not add up.
    base: u64,
    arrivals: u64,
    endpoints: Vec<usize>,
    /// Changes on their way to the clients, by the time they take effect.
    coming: VecDeque<(u64, Vec<usize>)>,
    counts: Counts,
}

#[derive(Default)]
struct Pod {
    server: Option<Server>,
    /// Answers of an earlier process are void.
    epoch: u64,
    target: Option<TargetId>,
}

/// All traffic of one cluster.
pub struct Traffic {
    seed: u64,
    now: u64,
    sequence: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    services: Vec<Service>,
    service_index: BTreeMap<(String, String), usize>,
    pods: Vec<Pod>,
    pod_index: BTreeMap<String, usize>,
    gateways: BTreeMap<String, TargetId>,
    /// Those that were opened, the ended ones among them.
    clients: Vec<Client>,
    /// Who comes without a gateway.
    visits: Stream,
    scrapes: Scrapes,
}

/// The scrape time, in milliseconds, from which on an instant in microseconds is past.
fn millis(us: u64) -> i64 {
    i64::try_from(us.div_ceil(1000)).unwrap_or(i64::MAX)
}

impl Traffic {
    /// No services and no pods, at `start`.
    pub fn new(seed: u64, start: u64, scrape: ScrapeConfig) -> Self {
        Self {
            seed,
            now: start,
            sequence: 0,
            events: BinaryHeap::new(),
            services: Vec::new(),
            service_index: BTreeMap::new(),
            pods: Vec::new(),
            pod_index: BTreeMap::new(),
            gateways: BTreeMap::new(),
            clients: Vec::new(),
            visits: Stream::new(seed, "visits"),
            scrapes: Scrapes::new(scrape, millis(start)),
        }
    }

    /// What the gateways and pods expose, as of the last [`Traffic::advance`].
    pub fn scrapes(&self) -> &Scrapes {
        &self.scrapes
    }

    /// The instant up to which everything has happened.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Counts of a Service since the start.
    pub fn totals(&self, namespace: &str, name: &str) -> Option<Totals> {
        let key = (namespace.to_string(), name.to_string());
        self.service_index.get(&key).and_then(|i| self.services.get(*i)).map(|s| s.counts.totals)
    }

    /// Requests that a pod has in work or waiting.
    pub fn in_flight(&self, uid: &str) -> usize {
        let pod = self.pod_index.get(uid).and_then(|i| self.pods.get(*i));
        pod.and_then(|p| p.server.as_ref()).map_or(0, |s| s.in_flight(self.now))
    }

    /// The share of its capacity that a pod worked during the last complete window ([`WINDOW_US`]), from 0 to 1.
    pub fn busy_share(&self, uid: &str) -> f64 {
        let window = (self.now / WINDOW_US).saturating_sub(1);
        let pod = self.pod_index.get(uid).and_then(|i| self.pods.get(*i));
        pod.and_then(|p| p.server.as_ref()).map_or(0.0, |s| s.busy_share(window))
    }

    /// Sets the load of a Service from `at` on; a Service that was deleted has a load of zero.
    pub fn set_service(&mut self, load: ServiceLoad, at: u64) {
        self.advance(at);
        let key = (load.namespace.clone(), load.name.clone());
        let index = match self.service_index.get(&key) {
            Some(index) => *index,
            None => {
                let stream = Stream::new(self.seed, &format!("{}/{}", load.namespace, load.name));
                let counts = Counts::new(self.service_series(&load));
                self.services.push(Service {
                    load: ServiceLoad { per_second: 0.0, ..load.clone() },
                    stream,
                    epoch: 0,
                    base: self.now,
                    arrivals: 0,
                    endpoints: Vec::new(),
                    coming: VecDeque::new(),
                    counts,
                });
                let index = self.services.len() - 1;
                self.service_index.insert(key, index);
                index
            }
        };
        let service = &mut self.services[index];
        if service.load == load {
            return;
        }
        service.load = load;
        service.epoch += 1;
        service.base = self.now;
        service.arrivals = 0;
        self.schedule_arrival(index, self.now);
    }

    /// A pod's process exists from `at` on, or serves differently.
    pub fn set_pod(&mut self, state: PodState, at: u64) {
        self.advance(at);
        let index = self.intern(&state.uid);
        if self.pods[index].server.as_ref().is_some_and(|s| s.since != state.serving_since) {
            self.lose(index);
        }
        let serving = Serving { capacity: state.serving.capacity.max(1), ..state.serving };
        let (now, pod) = (millis(self.now), &mut self.pods[index]);
        match &mut pod.server {
            Some(server) => server.serving = serving,
            None => pod.server = Some(Server::new(serving, state.serving_since)),
        }
        match pod.target {
            Some(target) => self.scrapes.set_up(target, now, true),
            None => {
                let instance = format!("{}.{}:8080", state.name, state.namespace);
                let labels: Labels = [
                    ("job", "kubernetes-pods"),
                    ("instance", &instance),
                    ("namespace", &state.namespace),
                    ("pod", &state.name),
                    ("node", &state.node),
                    ("app", &state.app),
                ]
                .into_iter()
                .collect();
                pod.target = Some(self.scrapes.add_target(labels, now));
            }
        }
    }

    /// A pod's process stops at `at`, while the pod stays: it restarts, its node died, or it hangs on
    /// in deletion. What it held is lost, and its scrapes fail.
    pub fn stop_pod(&mut self, uid: &str, at: u64) {
        self.advance(at);
        let Some(index) = self.pod_index.get(uid).copied() else { return };
        self.lose(index);
        if let Some(target) = self.pods[index].target {
            self.scrapes.set_up(target, millis(self.now), false);
        }
    }

    /// A pod is gone at `at`: what it held is lost, and nobody scrapes it any more.
    pub fn remove_pod(&mut self, uid: &str, at: u64) {
        self.advance(at);
        let Some(index) = self.pod_index.get(uid).copied() else { return };
        self.lose(index);
        if let Some(target) = self.pods[index].target.take() {
            self.scrapes.remove_target(target, millis(self.now));
        }
    }

    /// The ready endpoints of a Service are these pods from `at` on; clients follow
    /// [`PROPAGATION_US`] later. A Service that is not known yet has no clients to tell.
    pub fn set_endpoints(&mut self, namespace: &str, name: &str, uids: &[String], at: u64) {
        self.advance(at);
        let key = (namespace.to_string(), name.to_string());
        let Some(index) = self.service_index.get(&key).copied() else { return };
        let endpoints: Vec<usize> = uids.iter().map(|uid| self.intern(uid)).collect();
        let now = self.now;
        let service = &mut self.services[index];
        // Clients that come into being with the Service know its endpoints from the start.
        let first =
            service.counts.totals.offered == 0 && service.endpoints.is_empty() && service.coming.is_empty();
        let effective = if first { now } else { now + PROPAGATION_US };
        service.coming.push_back((effective, endpoints));
    }

    /// Lets everything happen up to `to`, and the scrapes up to it be read.
    pub fn advance(&mut self, to: u64) {
        while let Some(Reverse((t, _, _))) = self.events.peek() {
            if *t > to {
                break;
            }
            let Some(Reverse((t, _, event))) = self.events.pop() else { break };
            self.now = self.now.max(t);
            match event {
                Event::Arrival { service, epoch } if self.services[service].epoch == epoch => {
                    self.send(service, None, t);
                    self.schedule_arrival(service, t);
                }
                Event::Call { client } => self.call(client, t),
                Event::Answer { service, pod, epoch, client, arrival, code }
                    if self.pods[pod].epoch == epoch =>
                {
                    self.answer((service, client), arrival, t, code);
                }
                Event::Arrival { .. } | Event::Answer { .. } => {}
            }
        }
        self.now = self.now.max(to);
        for service in &mut self.services {
            service.counts.show(&mut self.scrapes);
        }
        // A scrape at a millisecond sees what happened up to it: the last whole one that is past.
        self.scrapes.advance(i64::try_from(self.now / 1000).unwrap_or(i64::MAX));
    }

    fn intern(&mut self, uid: &str) -> usize {
        if let Some(index) = self.pod_index.get(uid) {
            return *index;
        }
        self.pods.push(Pod::default());
        self.pod_index.insert(uid.to_string(), self.pods.len() - 1);
        self.pods.len() - 1
    }

    fn push(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((at, self.sequence, event)));
    }

    fn schedule_arrival(&mut self, index: usize, after: u64) {
        let service = &mut self.services[index];
        if service.load.per_second <= 0.0 || service.load.per_second.is_nan() {
            return;
        }
        let spacing = 1e6 / service.load.per_second;
        service.arrivals += 1;
        let at = match service.load.arrivals {
            Spread::Constant => service.base + (service.arrivals as f64 * spacing) as u64,
            Spread::Exponential => after + service.stream.exponential(spacing).round() as u64,
        };
        let epoch = service.epoch;
        self.push(at, Event::Arrival { service: index, epoch });
    }

    /// One request is sent, by the Service's own clients or by one that was opened.
    fn send(&mut self, index: usize, client: Option<usize>, now: u64) {
        let service = &mut self.services[index];
        while service.coming.front().is_some_and(|c| c.0 <= now) {
            service.endpoints = service.coming.pop_front().map(|c| c.1).unwrap_or_default();
        }
        service.counts.sent(&mut self.scrapes, millis(now));
        if service.endpoints.is_empty() {
            return self.answer((index, client), now, now, Code::Unavailable);
        }
        let (stream, timeout_us) = match client {
            Some(client) => {
                let client = &mut self.clients[client];
                (&mut client.stream, client.timeout_us)
            }
            None => (&mut service.stream, service.load.timeout_us),
        };
        let chosen = service.endpoints[stream.below(service.endpoints.len())];
        let pod = &mut self.pods[chosen];
        let Some(server) = pod.server.as_mut().filter(|s| s.since <= now) else {
            return self.answer((index, client), now, now, Code::BadGateway);
        };
        let mean = server.serving.service_time_us as f64;
        let takes = match server.serving.spread {
            Spread::Constant => mean,
            Spread::Exponential => stream.exponential(mean),
        };
        let Some(finish) = server.offer(now, takes.round() as u64) else {
            return self.answer((index, client), now, now, Code::Unavailable);
        };
        let patience = now.saturating_add(timeout_us);
        let (answered, code) = if finish > patience { (patience, Code::Timeout) } else { (finish, Code::Ok) };
        server.hold(Held { finish, answered, arrival: now, service: index, client }, now);
        let epoch = pod.epoch;
        self.push(answered, Event::Answer { service: index, pod: chosen, epoch, client, arrival: now, code });
    }

    /// Whoever asked has an answer.
    fn answer(&mut self, (index, client): (usize, Option<usize>), arrival: u64, now: u64, code: Code) {
        let seconds = (now - arrival) as f64 / 1e6;
        self.services[index].counts.answered(&mut self.scrapes, millis(now), (code, seconds));
        if let Some(client) = client {
            self.clients[client].answered(arrival, now, code);
        }
    }

    /// The process of a pod ends: its clients see the connection break.
    fn lose(&mut self, index: usize) {
        let pod = &mut self.pods[index];
        pod.epoch += 1;
        let Some(server) = pod.server.take() else { return };
        let now = self.now;
        for held in server.lost(now) {
            self.answer((held.service, held.client), held.arrival, now, Code::BadGateway);
        }
    }

    fn service_series(&mut self, load: &ServiceLoad) -> ServiceSeries {
        let (now, scrapes) = (millis(self.now), &mut self.scrapes);
        let gateway = *self.gateways.entry(load.namespace.clone()).or_insert_with(|| {
            let instance = format!("gateway.{}:9090", load.namespace);
            let labels: Labels =
                [("job", "gateway"), ("instance", &instance), ("namespace", &load.namespace)]
                    .into_iter()
                    .collect();
            scrapes.add_target(labels, now)
        });
        let app = ("app", load.app.as_str());
        let service = ("service", load.name.as_str());
        let mut register = |name: &str, more: &[(&str, &str)]| {
            let labels: Vec<(&str, &str)> = [app, service].into_iter().chain(more.iter().copied()).collect();
            scrapes.register(gateway, name, &labels, (now, 0.0))
        };
        let bucket = "http_request_duration_seconds_bucket";
        ServiceSeries {
            codes: Code::ALL.map(|c| register("http_requests_total", &[("code", c.label())])),
            buckets: std::array::from_fn(|i| {
                let le = BOUNDS.get(i).map_or("+Inf", |(_, le)| le);
                register(bucket, &[("le", le)])
            }),
            sum: register("http_request_duration_seconds_sum", &[]),
            count: register("http_request_duration_seconds_count", &[]),
            in_flight: register("http_requests_in_flight", &[]),
        }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod whole;
