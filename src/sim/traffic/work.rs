//! Requests in work at pods that call others. When one of these is done is not known when it comes, for that depends on
//! whom it calls; so it goes from event to event. Pods that call nobody need none of this (see [`super::server`]).

use std::collections::VecDeque;
use std::sync::Arc;

use super::calls::{Call, Times};
use super::requests::{Ask, Asker};
use super::{Code, Event, Traffic};

/// Through so many calls a request can come and still make calls of its own. Services that call each other in a circle
/// would otherwise do so without end; in reality what a request is about ends it.
pub const MOST_HOPS: u8 = 16;

/// A request that a calling pod has in work or waiting.
#[derive(Debug)]
pub(super) struct Work {
    /// Index of the pod.
    pub pod: usize,
    pub asker: Asker,
    /// When it arrived (microseconds).
    pub arrival: u64,
    /// Through how many calls it has come.
    pub hops: u8,
    /// The pod's own work on it, in microseconds.
    pub takes: u64,
    /// Whoever asked has an answer, or has left.
    answered: bool,
    /// Which of the pod's calls it is at.
    call: usize,
    /// How often it still has to make that one, once it has begun with it.
    left: Option<u32>,
    /// Which retry of it this is; 0 for the first attempt.
    retry: u32,
}

impl Work {
    /// One that has just come.
    pub fn new((pod, takes): (usize, u64), asker: Asker, arrival: u64, hops: u8) -> Self {
        Self { pod, asker, arrival, hops, takes, answered: false, call: 0, left: None, retry: 0 }
    }
}

/// A [`Work`] as long as it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WorkId {
    slot: u32,
    generation: u32,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Works {
    slots: Vec<(u32, Option<Work>)>,
    free: Vec<u32>,
}

impl Works {
    fn insert(&mut self, work: Work) -> WorkId {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push((0, None));
                u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
            }
        };
        let (generation, place) = &mut self.slots[slot as usize];
        *place = Some(work);
        WorkId { slot, generation: *generation }
    }

    fn get(&mut self, id: WorkId) -> Option<&mut Work> {
        let (generation, work) = self.slots.get_mut(id.slot as usize)?;
        work.as_mut().filter(|_| *generation == id.generation)
    }

    fn remove(&mut self, id: WorkId) -> Option<Work> {
        let (generation, place) = self.slots.get_mut(id.slot as usize)?;
        let work = place.take_if(|_| *generation == id.generation)?;
        *generation = generation.wrapping_add(1);
        self.free.push(id.slot);
        Some(work)
    }

    /// What a pod has.
    fn of(&self, pod: usize) -> Vec<WorkId> {
        let of_pod = |work: &Option<Work>| work.as_ref().is_some_and(|work| work.pod == pod);
        let all = self.slots.iter().enumerate().filter(|(_, (_, work))| of_pod(work));
        let id = |(slot, generation)| WorkId { slot: u32::try_from(slot).unwrap_or(u32::MAX), generation };
        all.map(|(slot, (generation, _))| id((slot, *generation))).collect()
    }
}

/// The places and the queue of a pod that calls others.
#[derive(Debug)]
pub(super) struct Pool {
    pub calls: Arc<[Call]>,
    busy: u32,
    waiting: VecDeque<WorkId>,
}

impl Pool {
    pub fn new(calls: Arc<[Call]>) -> Self {
        Self { calls, busy: 0, waiting: VecDeque::new() }
    }

    /// Requests in work or waiting.
    pub fn in_flight(&self) -> usize {
        self.busy as usize + self.waiting.len()
    }

    /// Whether there is neither a place nor room to wait.
    pub fn is_full(&self, capacity: u32, queue: u32) -> bool {
        self.busy >= capacity && self.waiting.len() >= queue as usize
    }
}

impl Traffic {
    /// A calling pod that is not full takes a request.
    pub(super) fn admit(&mut self, work: Work, now: u64) -> WorkId {
        let pod = work.pod;
        let id = self.works.insert(work);
        if let Some(server) = &mut self.pods[pod].server
            && let Some(pool) = &mut server.pool
        {
            pool.waiting.push_back(id);
        }
        self.fill_places(pod, now);
        id
    }

    /// Requests that wait take places that are free.
    fn fill_places(&mut self, pod: usize, now: u64) {
        loop {
            let Some(server) = &mut self.pods[pod].server else { return };
            let Some(pool) = server.pool.as_mut().filter(|pool| pool.busy < server.serving.capacity) else {
                return;
            };
            let Some(id) = pool.waiting.pop_front() else { return };
            let Some(takes) = self.works.get(id).map(|work| work.takes) else { continue };
            pool.busy += 1;
            server.worked(now, takes);
            self.push(now.saturating_add(takes), Event::Worked { work: id });
        }
    }

    /// Whoever asked waits no longer.
    pub(super) fn out_of_patience(&mut self, id: WorkId, now: u64) {
        let Some(work) = self.works.get(id).filter(|work| !work.answered) else { return };
        work.answered = true;
        let (asker, arrival) = (work.asker, work.arrival);
        self.answer(asker, arrival, now, Code::Timeout);
    }

    /// The pod's own work is done, or a call is: on to the next call, or to the end.
    pub(super) fn proceed(&mut self, id: WorkId, now: u64) {
        let Some(work) = self.works.get(id) else { return };
        let pool = self.pods[work.pod].server.as_ref().and_then(|server| server.pool.as_ref());
        let Some(calls) = pool.map(|pool| pool.calls.clone()) else { return };
        if let Some(call) = calls.first().filter(|_| work.hops >= MOST_HOPS) {
            if !std::mem::replace(&mut self.circle, true) {
                let (namespace, name) = &call.to;
                tracing::warn!(
                    "a request has come through {MOST_HOPS} calls and does not go on to {namespace}/{name}: \
                     do Services call each other in a circle?"
                );
            }
            return self.finish(id, Code::Ok, now);
        }
        while let Some(call) = calls.get(work.call) {
            let left = *work.left.get_or_insert_with(|| match call.times {
                Times::Each(times) => times,
                Times::Share(share) => u32::from(self.chances.chance(share)),
            });
            if left > 0 {
                return self.attempt(id, call, now);
            }
            work.call += 1;
            work.left = None;
        }
        self.finish(id, Code::Ok, now);
    }

    /// One attempt of the call that a request is at.
    fn attempt(&mut self, id: WorkId, call: &Call, now: u64) {
        let Some(work) = self.works.get(id) else { return };
        let (caller, hops) = (work.pod, work.hops.saturating_add(1));
        let service = self.service_index.get(&call.to).copied();
        let service = service.filter(|index| self.services[*index].has_port(call.port));
        match service {
            // A name that nobody has, a port that nobody serves: known at once.
            None => self.push(now, Event::Called { work: id, code: Code::Unavailable }),
            Some(service) => {
                let (asker, timeout_us) = (Asker::Call { service, work: id }, call.timeout_us);
                let from = Some((caller, call.port));
                self.send(Ask { asker, service, timeout_us, hops, from }, now);
            }
        }
    }

    /// An attempt of a call has ended.
    pub(super) fn called(&mut self, id: WorkId, code: Code, now: u64) {
        let Some(work) = self.works.get(id) else { return };
        let pool = self.pods[work.pod].server.as_ref().and_then(|server| server.pool.as_ref());
        let Some(call) = pool.and_then(|pool| pool.calls.get(work.call)) else {
            // Its annotation has become shorter meanwhile.
            return self.finish(id, Code::Ok, now);
        };
        if code != Code::Ok && work.retry < call.retries {
            work.retry += 1;
            let wait = call.wait_us(work.retry);
            return self.push(now.saturating_add(wait), Event::Retry { work: id });
        }
        work.retry = 0;
        if code != Code::Ok && !call.optional {
            // RFC 9110, 15.6.3 and 15.6.5: a gateway whose upstream failed, or did not answer in time.
            let said = if code == Code::Timeout { Code::Timeout } else { Code::BadGateway };
            return self.finish(id, said, now);
        }
        work.left = work.left.map(|left| left.saturating_sub(1));
        self.proceed(id, now);
    }

    /// A request is done: its place is free for the next.
    fn finish(&mut self, id: WorkId, code: Code, now: u64) {
        let Some(work) = self.works.remove(id) else { return };
        if !work.answered {
            self.answer(work.asker, work.arrival, now, code);
        }
        if let Some(server) = &mut self.pods[work.pod].server
            && let Some(pool) = &mut server.pool
        {
            pool.busy = pool.busy.saturating_sub(1);
        }
        self.fill_places(work.pod, now);
    }

    /// The process of a calling pod ends with all that it had in work.
    pub(super) fn lose_work(&mut self, pod: usize, now: u64) {
        for id in self.works.of(pod) {
            let Some(work) = self.works.remove(id).filter(|work| !work.answered) else { continue };
            self.break_off(work.asker, work.arrival, now);
        }
    }
}

#[cfg(test)]
impl Works {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}
