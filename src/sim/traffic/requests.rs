//! One request: who asks, which pod it goes to, what becomes of it.

use super::server::{Held, Server};
use super::work::{Work, WorkId};
use super::{Client, Code, Event, Service, Spread, Traffic, millis, random::Stream};

/// Who asks, and through which Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Asker {
    /// A Service's own clients.
    Clients { service: usize },
    /// A client that was opened.
    Client { service: usize, client: usize },
    /// A pod, for a request that it has in work.
    Call { service: usize, work: WorkId },
    /// The API server's proxy, through no Service.
    Visit { ticket: u64 },
}

impl Asker {
    fn service(self) -> Option<usize> {
        match self {
            Self::Clients { service } | Self::Client { service, .. } | Self::Call { service, .. } => {
                Some(service)
            }
            Self::Visit { .. } => None,
        }
    }
}

/// A request on its way to a Service.
pub(super) struct Ask {
    pub asker: Asker,
    /// The Service.
    pub service: usize,
    /// How long the asker waits, in microseconds.
    pub timeout_us: u64,
    /// Through how many calls it has come.
    pub hops: u8,
    /// The pod that calls, and the Service's port that it calls; none for those outside.
    pub from: Option<(usize, Option<u16>)>,
}

impl Service {
    /// The endpoints that its clients go to now.
    fn follow(&mut self, now: u64) {
        while self.coming.front().is_some_and(|c| c.0 <= now) {
            self.endpoints = self.coming.pop_front().map(|c| c.1).unwrap_or_default();
        }
    }
}

impl Traffic {
    /// One request is sent to a Service.
    pub(super) fn send(&mut self, ask: Ask, now: u64) {
        let asker = ask.asker;
        let service = &mut self.services[ask.service];
        service.follow(now);
        service.counts.sent(&mut self.scrapes, millis(now));
        if service.endpoints.is_empty() {
            return self.answer(asker, now, now, Code::Unavailable);
        }
        let endpoints = service.endpoints.len();
        let nth = randomness(service, &mut self.clients, asker).below(endpoints);
        let chosen = self.services[ask.service].endpoints[nth];
        let patience = now.saturating_add(ask.timeout_us);
        if !self.reaches(ask.from, ask.service, chosen) {
            return self.push(patience, Event::Nothing { asker, arrival: now });
        }
        let stream = randomness(&mut self.services[ask.service], &mut self.clients, asker);
        let pod = &mut self.pods[chosen];
        let Some(server) = pod.server.as_mut().filter(|s| s.since <= now) else {
            return self.answer(asker, now, now, Code::BadGateway);
        };
        let takes = takes(server, stream);
        if let Some(pool) = &server.pool {
            if pool.is_full(server.serving.capacity, server.serving.queue) {
                return self.answer(asker, now, now, Code::Unavailable);
            }
            let work = self.admit(Work::new((chosen, takes), asker, now, ask.hops), now);
            return self.push(patience, Event::Patience { work });
        }
        let Some(finish) = server.offer(now, takes) else {
            return self.answer(asker, now, now, Code::Unavailable);
        };
        let (answered, code) = if finish > patience { (patience, Code::Timeout) } else { (finish, Code::Ok) };
        server.hold(Held { finish, answered, arrival: now, asker }, now);
        let epoch = pod.epoch;
        self.push(answered, Event::Answer { pod: chosen, epoch, asker, arrival: now, code });
    }

    /// Whoever asked has an answer.
    pub(super) fn answer(&mut self, asker: Asker, arrival: u64, now: u64, code: Code) {
        if let Some(service) = asker.service() {
            let seconds = (now - arrival) as f64 / 1e6;
            self.services[service].counts.answered(&mut self.scrapes, millis(now), (code, seconds));
        }
        match asker {
            Asker::Clients { .. } => {}
            Asker::Client { client, .. } => self.clients[client].answered(arrival, now, code),
            // Never at once from within: what follows is for the loop of events.
            Asker::Call { work, .. } => self.push(now, Event::Called { work, code }),
            Asker::Visit { ticket } => self.end_visit(ticket, Some(code), now),
        }
    }
}

/// From what an asker's choices and service times follow.
fn randomness<'a>(service: &'a mut Service, clients: &'a mut [Client], asker: Asker) -> &'a mut Stream {
    match asker {
        Asker::Client { client, .. } => &mut clients[client].stream,
        Asker::Call { .. } => &mut service.calls,
        Asker::Clients { .. } | Asker::Visit { .. } => &mut service.stream,
    }
}

/// How long a pod's own work on one request takes, in microseconds.
pub(super) fn takes(server: &Server, stream: &mut Stream) -> u64 {
    let mean = server.serving.service_time_us as f64;
    match server.serving.spread {
        Spread::Constant => server.serving.service_time_us,
        Spread::Exponential => stream.exponential(mean).round() as u64,
    }
}
