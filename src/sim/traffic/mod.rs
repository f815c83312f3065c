//! Traffic of the embedded cluster: offered requests, spread over endpoints, served, queued, lost.
//!
//! Clients are outside the cluster, behind a gateway of the Service's namespace, and it is the gateway
//! that counts: a pod that dies cannot report what it lost. Pods that call other Services (`calls`) go through
//! the callee's gateway too, and each attempt is a request. It exposes, as job `gateway`:
//!
//! - `http_requests_total{app,code}`: answered requests. `code` is 200; 503 where no endpoint is known
//!   (connection refused) or the pod's queue is full; 502 where the pod is dead, is not listening yet,
//!   or dies with the request in its hands, or where a call that it needed has failed; 504 where the asker's
//!   patience ended, or where a call that the pod needed was not answered in time.
//! - `http_request_duration_seconds_{bucket,sum,count}{app,le}`: time from sending to that answer,
//!   whatever its code. Bounds are the Go client's defaults, spelled as Prometheus 3 stores them.
//! - `http_requests_in_flight{app}`: sent and not yet answered.
//!
//! All four codes are exposed from the start with zero (Prometheus docs, "Avoid missing metrics"), so
//! that a rate sees the first failure. Pods are targets of the job `kubernetes-pods` with `up` only.
//!
//! A request that NetworkPolicies do not let through is one that is not answered in time (`reach`). What agents put on
//! the packets of pods makes requests and answers late, or loses them (`journeys`).
//!
//! A request goes to one of the Service's endpoints at random, as kube-proxy spreads connections
//! (iptables mode, `statistic --mode random`). A change of endpoints reaches the clients after
//! [`PROPAGATION_US`]; until then they still try pods that are gone.
//!
//! Pure and lazy: nothing happens until [`Traffic::advance`] or a change, and then everything up to
//! that instant does, in order. Same seed and same calls: same counters, bit for bit. Times are
//! microseconds since the Unix epoch; a time before the last one counts as the last one.

mod agenda;
mod busy;
mod calls;
mod clients;
mod counts;
mod impaired;
mod journeys;
mod load;
mod pods;
mod proxied;
pub(in crate::sim) mod random;
mod reach;
mod requests;
mod senders;
mod server;
mod views;
mod visits;
pub mod wiring;
mod work;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

pub use busy::WINDOW_US;
pub use calls::{Call, Times};
pub use clients::{Client, ClientOrder};
pub use impaired::Measurement;
pub use load::{ServiceLoad, Serving, Spread};
pub use pods::PodState;
pub use reach::{OUTSIDE, ServicePort};
pub use work::MOST_HOPS;

use self::agenda::Agenda;
use self::counts::Counts;
use self::journeys::{JourneyId, Journeys};
use self::pods::Pod;
use self::random::Stream;
use self::requests::{Ask, Asker};
use self::work::{WorkId, Works};
use super::metrics::scrape::{ScrapeConfig, Scrapes, TargetId};
use super::metrics::series::Labels;
use super::network::Network;

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

#[derive(Debug, Clone, Copy)]
enum Event {
    Arrival {
        service: usize,
        epoch: u64,
    },
    /// A client that was opened sends its next request.
    Call {
        client: usize,
    },
    /// A pod that calls nobody is done, or whoever asked it has waited long enough.
    Answer {
        pod: usize,
        epoch: u64,
        asker: Asker,
        arrival: u64,
        code: Code,
    },
    /// Whoever asked a calling pod has waited long enough.
    Patience {
        work: WorkId,
    },
    /// A calling pod has done its own work on a request.
    Worked {
        work: WorkId,
    },
    /// An attempt of a call that a request needed has ended.
    Called {
        work: WorkId,
        code: Code,
    },
    /// The next attempt of a call is due.
    Retry {
        work: WorkId,
    },
    /// Nobody has answered a request that got nowhere.
    Nothing {
        asker: Asker,
        arrival: u64,
    },
    /// A request over a connection on which something lies is at its pod.
    Arrived {
        journey: JourneyId,
    },
    /// Its answer is back.
    Returned {
        journey: JourneyId,
        code: Code,
    },
    /// Whoever sent it has waited long enough.
    Waited {
        journey: JourneyId,
    },
}

struct Service {
    load: ServiceLoad,
    /// Its own clients.
    stream: Stream,
    /// Pods that call it.
    calls: Stream,
    /// Its own address.
    address: Option<IpAddr>,
    ports: Vec<ServicePort>,
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

/// All traffic of one cluster.
pub struct Traffic {
    seed: u64,
    now: u64,
    events: Agenda<Event>,
    services: Vec<Service>,
    service_index: BTreeMap<(String, String), usize>,
    pods: Vec<Pod>,
    pod_index: BTreeMap<String, usize>,
    gateways: BTreeMap<String, TargetId>,
    /// Those that were opened, the ended ones among them.
    clients: Vec<Client>,
    /// Who comes without a gateway.
    visits: Stream,
    /// How many visits there were to calling pods.
    tickets: u64,
    /// Those that have ended and that nobody has asked for yet.
    ended_visits: BTreeMap<u64, (u64, Option<Code>)>,
    /// What calling pods have in work.
    works: Works,
    /// What lies between pods; none as long as there has been no NetworkPolicy, for it costs to follow.
    network: Option<Network>,
    /// Whether a pod, or somebody outside, gets to a port of a pod, as far as somebody has tried since the network
    /// last changed.
    verdicts: BTreeMap<(Option<usize>, usize, u16), bool>,
    /// What lies on connections; none as long as no agent has put anything there.
    journeys: Option<Box<Journeys>>,
    /// Whether a request makes a call that only a share of all makes.
    chances: Stream,
    /// Whether it was said that there is a circle of calls.
    circle: bool,
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
            events: Agenda::new(),
            services: Vec::new(),
            service_index: BTreeMap::new(),
            pods: Vec::new(),
            pod_index: BTreeMap::new(),
            gateways: BTreeMap::new(),
            clients: Vec::new(),
            visits: Stream::new(seed, "visits"),
            tickets: 0,
            ended_visits: BTreeMap::new(),
            works: Works::default(),
            network: None,
            verdicts: BTreeMap::new(),
            journeys: None,
            chances: Stream::new(seed, "chances"),
            circle: false,
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

    /// Sets the load of a Service from `at` on; a Service that was deleted has a load of zero.
    pub fn set_service(&mut self, load: ServiceLoad, at: u64) {
        self.advance(at);
        let key = (load.namespace.clone(), load.name.clone());
        let index = match self.service_index.get(&key) {
            Some(index) => *index,
            None => {
                let stream =
                    |of: &str| Stream::new(self.seed, &format!("{}/{}{of}", load.namespace, load.name));
                let (stream, calls) = (stream(""), stream(" calls"));
                let gateway = self.gateway(&load.namespace);
                let counts = Counts::new(&mut self.scrapes, gateway, &load, millis(self.now));
                self.services.push(Service {
                    load: ServiceLoad { per_second: 0.0, ..load.clone() },
                    stream,
                    calls,
                    address: None,
                    ports: Vec::new(),
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

    /// The ports of a Service that is known. Until they are told, whoever asks may name any port.
    pub fn set_ports(&mut self, namespace: &str, name: &str, ports: Vec<ServicePort>) {
        let key = (namespace.to_string(), name.to_string());
        let index = self.service_index.get(&key).copied();
        if let Some(service) = index.and_then(|index| self.services.get_mut(index)) {
            service.ports = ports;
        }
    }

    /// The address of a Service that is known; none for a headless one.
    pub fn set_address(&mut self, namespace: &str, name: &str, address: Option<IpAddr>) {
        let key = (namespace.to_string(), name.to_string());
        let index = self.service_index.get(&key).copied();
        if let Some(service) = index.and_then(|index| self.services.get_mut(index))
            && std::mem::replace(&mut service.address, address) != address
        {
            self.network_changed();
        }
    }

    /// Lets everything happen up to `to`, and the scrapes up to it be read.
    pub fn advance(&mut self, to: u64) {
        while let Some((t, event)) = self.events.take(to) {
            self.now = self.now.max(t);
            self.happen(event, t);
        }
        self.now = self.now.max(to);
        // A scrape at a millisecond sees what happened up to it: the last whole one that is past.
        let past = i64::try_from(self.now / 1000).unwrap_or(i64::MAX);
        for service in &mut self.services {
            service.counts.show_until(&mut self.scrapes, past);
        }
        self.scrapes.advance(past);
    }

    fn happen(&mut self, event: Event, t: u64) {
        match event {
            Event::Arrival { service, epoch } => {
                if self.services[service].epoch == epoch {
                    let timeout_us = self.services[service].load.timeout_us;
                    let asker = Asker::Clients { service };
                    self.send(Ask { asker, service, timeout_us, hops: 0, from: None }, t);
                    self.schedule_arrival(service, t);
                }
            }
            Event::Call { client } => self.call(client, t),
            Event::Answer { pod, epoch, asker, arrival, code } => {
                if self.pods[pod].epoch == epoch {
                    self.answer(asker, arrival, t, code);
                }
            }
            Event::Patience { work } => self.out_of_patience(work, t),
            Event::Worked { work } | Event::Retry { work } => self.proceed(work, t),
            Event::Nothing { asker, arrival } => self.answer(asker, arrival, t, Code::Timeout),
            Event::Called { work, code } => self.called(work, code, t),
            Event::Arrived { journey } => self.arrived(journey, t),
            Event::Returned { journey, code } => self.returned(journey, code, t),
            Event::Waited { journey } => self.waited(journey, t),
        }
    }

    fn push(&mut self, at: u64, event: Event) {
        self.events.put(at, event);
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

    /// The target at which what goes to a namespace's Services is counted.
    fn gateway(&mut self, namespace: &str) -> TargetId {
        if let Some(gateway) = self.gateways.get(namespace) {
            return *gateway;
        }
        let instance = format!("gateway.{namespace}:9090");
        let labels: Labels =
            [("job", "gateway"), ("instance", &instance), ("namespace", namespace)].into_iter().collect();
        let gateway = self.scrapes.add_target(labels, millis(self.now));
        self.gateways.insert(namespace.to_owned(), gateway);
        gateway
    }
}

#[cfg(test)]
mod cascade;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod whole;
