//! One request: who asks, which pod it goes to, what becomes of it.

use super::journeys::{Departure, JourneyId};
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
    /// Somebody on whose connection something lies.
    Journey { journey: JourneyId },
}

impl Asker {
    fn service(self) -> Option<usize> {
        match self {
            Self::Clients { service } | Self::Client { service, .. } | Self::Call { service, .. } => {
                Some(service)
            }
            Self::Visit { .. } | Self::Journey { .. } => None,
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

/// A request at its pod.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    /// Who gets the answer.
    pub asker: Asker,
    /// From whose randomness its service time follows.
    pub drawn_by: Asker,
    /// Index of the pod.
    pub pod: usize,
    /// Through how many calls it has come.
    pub hops: u8,
    /// Until when the asker waits, unless somebody else sees to that.
    pub patience: Option<u64>,
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
        let nth = randomness(&mut self.services, &mut self.clients, &mut self.visits, asker).below(endpoints);
        let chosen = self.services[ask.service].endpoints[nth];
        let patience = now.saturating_add(ask.timeout_us);
        if !self.reaches(ask.from, ask.service, chosen) {
            return self.push(patience, Event::Nothing { asker, arrival: now });
        }
        if let Some(path) = self.way(ask.from, ask.service, chosen) {
            let request = Departure { asker, timeout_us: ask.timeout_us, hops: ask.hops };
            return self.depart(request, (chosen, &path), now);
        }
        let patience = Some(patience);
        self.arrive(Arrival { asker, drawn_by: asker, pod: chosen, hops: ask.hops, patience }, now);
    }

    /// A request arrives at its pod.
    pub(super) fn arrive(&mut self, arrival: Arrival, now: u64) {
        let Arrival { asker, drawn_by, pod: chosen, hops, patience } = arrival;
        let stream = randomness(&mut self.services, &mut self.clients, &mut self.visits, drawn_by);
        let pod = &mut self.pods[chosen];
        let Some(server) = pod.server.as_mut().filter(|s| s.since <= now) else {
            return self.break_off(asker, now, now);
        };
        let takes = takes(server, stream);
        if let Some(pool) = &server.pool {
            if pool.is_full(server.serving.capacity, server.serving.queue) {
                return self.answer(asker, now, now, Code::Unavailable);
            }
            let work = self.admit(Work::new((chosen, takes), asker, now, hops), now);
            if let Some(patience) = patience {
                self.push(patience, Event::Patience { work });
            }
            return;
        }
        let Some(finish) = server.offer(now, takes) else {
            return self.answer(asker, now, now, Code::Unavailable);
        };
        let (answered, code) = match patience.filter(|patience| finish > *patience) {
            Some(patience) => (patience, Code::Timeout),
            None => (finish, Code::Ok),
        };
        server.hold(Held { finish, answered, arrival: now, asker }, now);
        let epoch = pod.epoch;
        self.push(answered, Event::Answer { pod: chosen, epoch, asker, arrival: now, code });
    }

    /// Nobody listens, or the process ended: the connection of whoever asked breaks.
    pub(super) fn break_off(&mut self, asker: Asker, arrival: u64, now: u64) {
        match asker {
            Asker::Visit { ticket } => self.end_visit(ticket, None, now),
            Asker::Journey { journey } => self.replied(journey, (Code::BadGateway, true), now),
            asker => self.answer(asker, arrival, now, Code::BadGateway),
        }
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
            Asker::Journey { journey } => self.replied(journey, (code, false), now),
        }
    }
}

/// From what an asker's choices and service times follow.
fn randomness<'a>(
    services: &'a mut [Service],
    clients: &'a mut [Client],
    visits: &'a mut Stream,
    asker: Asker,
) -> &'a mut Stream {
    match asker {
        Asker::Client { client, .. } => &mut clients[client].stream,
        Asker::Call { service, .. } => &mut services[service].calls,
        Asker::Clients { service } => &mut services[service].stream,
        Asker::Visit { .. } | Asker::Journey { .. } => visits,
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
