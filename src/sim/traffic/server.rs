//! One pod as a server: so many places, a bounded queue, first come first served. Since nothing
//! overtakes, the end of a request is known when it arrives; only the pod's death changes it. That holds for pods
//! that call nobody; what the others have in work is in their [`Pool`].

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::busy::Busy;
use super::load::Serving;
use super::requests::Asker;
use super::work::Pool;

/// A request that a pod holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// When the pod is done with it (microseconds).
    pub finish: u64,
    /// When its client has its answer or has given up.
    pub answered: u64,
    /// When it arrived.
    pub arrival: u64,
    /// Who asked.
    pub asker: Asker,
}

/// The serving process of a pod.
#[derive(Debug)]
pub struct Server {
    pub serving: Serving,
    /// Before this instant nobody listens (microseconds).
    pub since: u64,
    /// When each busy place becomes free.
    places: BinaryHeap<Reverse<u64>>,
    /// When each waiting request will start, in order.
    starts: VecDeque<u64>,
    held: Vec<Held>,
    busy: Busy,
    /// Of a pod that calls others; places, starts and what is held are unused then.
    pub pool: Option<Pool>,
}

impl Server {
    pub fn new(serving: Serving, since: u64, pool: Option<Pool>) -> Self {
        Self {
            serving,
            since,
            places: BinaryHeap::new(),
            starts: VecDeque::new(),
            held: Vec::new(),
            busy: Busy::default(),
            pool,
        }
    }

    /// A place of the pool works from now on.
    pub fn worked(&mut self, now: u64, takes: u64) {
        self.busy.add(now, now, now.saturating_add(takes));
    }

    /// When a request that arrives at `now` and takes `service_time` is done; `None` when the queue is
    /// full. Arrivals come in order.
    pub fn offer(&mut self, now: u64, service_time: u64) -> Option<u64> {
        while self.starts.front().is_some_and(|s| *s <= now) {
            self.starts.pop_front();
        }
        while self.places.peek().is_some_and(|p| p.0 <= now) {
            self.places.pop();
        }
        if self.places.len() < self.serving.capacity as usize {
            self.places.push(Reverse(now + service_time));
            self.busy.add(now, now, now + service_time);
            return Some(now + service_time);
        }
        if self.starts.len() >= self.serving.queue as usize {
            return None;
        }
        let start = self.places.pop()?.0;
        self.starts.push_back(start);
        self.places.push(Reverse(start + service_time));
        self.busy.add(now, start, start + service_time);
        Some(start + service_time)
    }

    /// Remembers what the pod holds, for the case that it dies.
    pub fn hold(&mut self, request: Held, now: u64) {
        // At least twice what can be alive: each sweep frees half, so it costs little per request.
        let alive = self.serving.capacity as usize + self.serving.queue as usize;
        if self.held.len() >= alive.saturating_mul(2).max(64) && self.held.len() == self.held.capacity() {
            self.held.retain(|h| h.finish > now);
        }
        self.held.push(request);
    }

    /// What the clients of a pod that dies now are still waiting for.
    pub fn lost(self, now: u64) -> impl Iterator<Item = Held> {
        self.held.into_iter().filter(move |h| h.answered > now)
    }

    /// The share of its places that worked during a window ([`super::WINDOW_US`]), from 0 to 1.
    pub fn busy_share(&self, window: u64) -> f64 {
        let all = super::WINDOW_US as f64 * f64::from(self.serving.capacity.max(1));
        (self.busy.of(window) as f64 / all).min(1.0)
    }

    /// Requests in work or waiting at `now`.
    pub fn in_flight(&self, now: u64) -> usize {
        let pool = self.pool.as_ref().map_or(0, Pool::in_flight);
        pool + self.held.iter().filter(|h| h.finish > now).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(capacity: u32, queue: u32) -> Server {
        Server::new(Serving { capacity, queue, ..Serving::default() }, 0, None)
    }

    #[test]
    fn requests_beyond_the_capacity_wait_and_beyond_the_queue_are_refused() {
        let mut s = server(2, 2);
        assert_eq!(s.offer(0, 100), Some(100));
        assert_eq!(s.offer(10, 100), Some(110));
        assert_eq!(s.offer(20, 100), Some(200), "waits for the first place");
        assert_eq!(s.offer(30, 100), Some(210));
        assert_eq!(s.offer(40, 100), None);
        assert_eq!(s.offer(100, 100), Some(300), "one has started, so one more may wait");
        assert_eq!(s.offer(1000, 5), Some(1005), "idle again");
    }

    #[test]
    fn a_dying_pod_loses_what_its_clients_still_wait_for() {
        let mut s = server(1, 10);
        for (arrival, timeout) in [(0, 1000), (1, 1000), (2, 50), (3, 1000)] {
            let finish = s.offer(arrival, 100).unwrap();
            let answered = finish.min(arrival + timeout);
            s.hold(Held { finish, answered, arrival, asker: Asker::Clients { service: 0 } }, arrival);
        }
        assert_eq!(s.in_flight(150), 3);
        let lost: Vec<u64> = s.lost(150).map(|h| h.arrival).collect();
        assert_eq!(lost, [1, 3], "one was done, one had timed out");
    }
}
