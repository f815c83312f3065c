//! Requests over connections on whose packets something lies: they arrive later, again, or never, and so do their
//! answers.
//!
//! Connections are kept between requests (HTTP/1.1 does unless told otherwise: RFC 9112, 9.3; pools of database
//! connections do), so a request is one round trip, and request and answer are one segment each. One that is lost is
//! sent again after a time-out that doubles ([`RTO_US`]). Whoever has asked waits as long as it always does.

use std::sync::Arc;

use super::requests::{Arrival, Asker};
use super::{Code, Event, Traffic, reach};
use crate::sim::impairment::{Connection, Dice, Impairments, Path, RTO_US};

/// A request that sets out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Departure {
    pub asker: Asker,
    /// How long the asker waits, in microseconds.
    pub timeout_us: u64,
    /// Through how many calls it has come.
    pub hops: u8,
}

/// A request under way, or its answer.
#[derive(Debug)]
struct Journey {
    /// Who asks.
    asker: Asker,
    /// When.
    sent: u64,
    /// Through how many calls it has come.
    hops: u8,
    /// Index of the pod.
    to: usize,
    /// What the answer takes; none if it never arrives.
    back: Option<u64>,
    /// What the answer meets.
    meets: Vec<u64>,
    /// Whoever asked still waits.
    waits: bool,
    /// Something is still on its way, or with the pod.
    under_way: bool,
    /// The connection broke.
    broken: bool,
}

/// A [`Journey`] as long as it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct JourneyId {
    slot: u32,
    generation: u32,
}

/// All of them, and what they are made of.
#[derive(Debug)]
pub(super) struct Journeys {
    slots: Vec<(u32, Option<Journey>)>,
    free: Vec<u32>,
    pub impairments: Impairments,
    dice: Dice,
    /// What lies on connections as far as somebody has tried since that last changed: by who opens it, through which
    /// Service and port, to which pod and port.
    paths: std::collections::BTreeMap<Way, Option<Arc<Path>>>,
}

/// From which pod, through which Service and port of it, to which pod and port of it.
type Way = (Option<usize>, Option<usize>, Option<u16>, usize, u16);

impl Journeys {
    pub fn new(seed: u64) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            impairments: Impairments::default(),
            dice: Dice::new(seed, "journeys"),
            paths: std::collections::BTreeMap::new(),
        }
    }

    /// What was known of connections is not known any more.
    pub fn forget(&mut self) {
        self.paths.clear();
    }

    fn insert(&mut self, journey: Journey) -> JourneyId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let (generation, place) = &mut self.slots[slot as usize];
        *place = Some(journey);
        JourneyId { slot, generation: *generation }
    }

    fn get(&mut self, id: JourneyId) -> Option<&mut Journey> {
        let (generation, journey) = self.slots.get_mut(id.slot as usize)?;
        journey.as_mut().filter(|_| *generation == id.generation)
    }

    /// Forgets one that nobody waits for and nothing comes of.
    fn done(&mut self, id: JourneyId) {
        if self.get(id).is_some_and(|journey| !journey.waits && !journey.under_way)
            && let Some((generation, place)) = self.slots.get_mut(id.slot as usize)
        {
            *place = None;
            *generation = generation.wrapping_add(1);
            self.free.push(id.slot);
        }
    }
}

impl Traffic {
    /// What lies on the connection from a pod, or from outside, through a Service's port or directly, to a pod's port;
    /// none if nothing does.
    pub(super) fn path(
        &mut self,
        from: Option<usize>,
        through: Option<(usize, Option<u16>)>,
        to: (usize, u16),
    ) -> Option<Arc<Path>> {
        let journeys = self.journeys.as_mut().filter(|journeys| !journeys.impairments.is_empty())?;
        let way = (from, through.map(|(service, _)| service), through.and_then(|(_, port)| port), to.0, to.1);
        if let Some(known) = journeys.paths.get(&way) {
            return known.clone();
        }
        let network = self.network.as_ref()?;
        let address = |pod: usize| network.pod(&self.pods[pod].uid).and_then(|end| end.address);
        let own = (address(to.0)?, to.1);
        let dialled = match (from, through) {
            // Those outside come through a gateway, which knows the pods.
            (Some(_), Some((service, port))) => self.services[service].front(port).unwrap_or(own),
            _ => own,
        };
        let connection = Connection {
            client: from.map(|pod| self.pods[pod].uid.as_str()),
            from: from.map_or(Some(reach::OUTSIDE), address)?,
            dialled,
            server: &self.pods[to.0].uid,
            port: to.1,
        };
        let path = journeys.impairments.path(connection);
        let path = (!path.is_free()).then(|| Arc::new(path));
        journeys.paths.insert(way, path.clone());
        path
    }

    /// A request sets out.
    pub(super) fn depart(&mut self, request: Departure, (to, path): (usize, &Path), now: u64) {
        let Some(journeys) = &mut self.journeys else { return };
        let Departure { asker, timeout_us, hops } = request;
        let rto = RTO_US + path.round_trip_us();
        journeys.impairments.meet(&path.to.met);
        let arrives = journeys.dice.arrives(&path.to, rto, timeout_us);
        let back = journeys.dice.arrives(&path.fro, rto, timeout_us);
        let id = journeys.insert(Journey {
            asker,
            sent: now,
            hops,
            to,
            back,
            meets: path.fro.met.clone(),
            waits: true,
            under_way: arrives.is_some(),
            broken: false,
        });
        self.push(now.saturating_add(timeout_us), Event::Waited { journey: id });
        if let Some(arrives) = arrives {
            self.push(now.saturating_add(arrives), Event::Arrived { journey: id });
        }
    }

    /// A request arrives at its pod.
    pub(super) fn arrived(&mut self, id: JourneyId, now: u64) {
        let Some(journey) = self.journeys.as_mut().and_then(|journeys| journeys.get(id)) else { return };
        let arrival = Arrival {
            asker: Asker::Journey { journey: id },
            drawn_by: journey.asker,
            pod: journey.to,
            hops: journey.hops,
            patience: None,
        };
        self.arrive(arrival, now);
    }

    /// A pod has answered a request, or its connection broke.
    pub(super) fn replied(&mut self, id: JourneyId, (code, broken): (Code, bool), now: u64) {
        let Some(journeys) = &mut self.journeys else { return };
        let Some(journey) = journeys.get(id) else { return };
        journey.broken = broken;
        let (back, meets) = (journey.back, std::mem::take(&mut journey.meets));
        journeys.impairments.meet(&meets);
        match back {
            Some(back) => self.push(now.saturating_add(back), Event::Returned { journey: id, code }),
            None => {
                if let Some(journey) = journeys.get(id) {
                    journey.under_way = false;
                }
                journeys.done(id);
            }
        }
    }

    /// An answer is back.
    pub(super) fn returned(&mut self, id: JourneyId, code: Code, now: u64) {
        self.end(id, code, now, false);
    }

    /// Whoever asked has waited long enough.
    pub(super) fn waited(&mut self, id: JourneyId, now: u64) {
        self.end(id, Code::Timeout, now, true);
    }

    fn end(&mut self, id: JourneyId, code: Code, now: u64, gave_up: bool) {
        let Some(journeys) = &mut self.journeys else { return };
        let Some(journey) = journeys.get(id) else { return };
        journey.under_way &= gave_up;
        let waited = std::mem::replace(&mut journey.waits, false);
        let (asker, sent, broken) = (journey.asker, journey.sent, journey.broken || gave_up);
        journeys.done(id);
        match asker {
            _ if !waited => {}
            Asker::Visit { ticket } if broken => self.end_visit(ticket, None, now),
            asker => self.answer(asker, sent, now, code),
        }
    }

    /// Whether a new connection to a pod's port, from an address that is no pod's, is opened and answered in time.
    pub(super) fn opens(&mut self, (to, port): (&str, u16), from: std::net::IpAddr, timeout_us: u64) -> bool {
        let Some(journeys) = &mut self.journeys else { return true };
        let Some(own) = self.network.as_ref().and_then(|network| network.pod(to)?.address) else {
            return true;
        };
        let connection = Connection { client: None, from, dialled: (own, port), server: to, port };
        let path = journeys.impairments.path(connection);
        if path.is_free() {
            return true;
        }
        let rto = RTO_US + path.round_trip_us();
        let mut left = timeout_us;
        for (hop, rto) in [
            (&path.to, crate::sim::impairment::FIRST_RTO_US),
            (&path.fro, rto),
            (&path.to, rto),
            (&path.fro, rto),
        ] {
            journeys.impairments.meet(&hop.met);
            let Some(rest) = journeys.dice.arrives(hop, rto, left).and_then(|took| left.checked_sub(took))
            else {
                return false;
            };
            left = rest;
        }
        true
    }
}

#[cfg(test)]
impl Journeys {
    /// How many are under way.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}
