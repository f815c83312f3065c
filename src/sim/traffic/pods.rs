//! Pods as traffic knows them: a process that comes, serves and goes.

use std::sync::Arc;

use super::calls::Call;
use super::load::Serving;
use super::server::Server;
use super::work::Pool;
use super::{Traffic, millis};
use crate::sim::metrics::{scrape::TargetId, series::Labels};

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
    /// Whom it calls for each request. A process that began without calls never has any.
    pub calls: Arc<[Call]>,
}

#[derive(Default)]
pub(super) struct Pod {
    pub uid: String,
    pub server: Option<Server>,
    /// Answers of an earlier process are void.
    pub epoch: u64,
    target: Option<TargetId>,
    /// Scrapes do not get to it.
    unscraped: bool,
}

impl Traffic {
    /// Requests that a pod has in work or waiting.
    pub fn in_flight(&self, uid: &str) -> usize {
        self.server(uid).map_or(0, |s| s.in_flight(self.now))
    }

    /// The share of its capacity that a pod worked during the last complete window ([`super::WINDOW_US`]), from 0 to 1.
    /// Waiting for somebody whom it called is no work.
    pub fn busy_share(&self, uid: &str) -> f64 {
        let window = (self.now / super::WINDOW_US).saturating_sub(1);
        self.server(uid).map_or(0.0, |s| s.busy_share(window))
    }

    fn server(&self, uid: &str) -> Option<&Server> {
        self.pod_index.get(uid).and_then(|i| self.pods.get(*i)).and_then(|pod| pod.server.as_ref())
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
            Some(server) => {
                server.serving = serving;
                if let Some(pool) = &mut server.pool {
                    pool.calls = state.calls.clone();
                }
            }
            None => {
                let pool = (!state.calls.is_empty()).then(|| Pool::new(state.calls.clone()));
                pod.server = Some(Server::new(serving, state.serving_since, pool));
            }
        }
        match pod.target {
            Some(target) => self.scrapes.set_up(target, now, !pod.unscraped),
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
                let target = self.scrapes.add_target(labels, now);
                pod.target = Some(target);
                if pod.unscraped {
                    self.scrapes.set_up(target, now, false);
                }
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
        // Its network namespace is gone, and what lay on it.
        self.lift(|pod, _| pod == uid, at);
    }

    /// Scrapes get to a pod from now on, or do not.
    pub(super) fn set_scraped(&mut self, uid: &str, scraped: bool) {
        let Some(index) = self.pod_index.get(uid).copied() else { return };
        let pod = &mut self.pods[index];
        pod.unscraped = !scraped;
        if let Some(target) = pod.target.filter(|_| pod.server.is_some()) {
            self.scrapes.set_up(target, millis(self.now), scraped);
        }
    }

    /// The index of a pod, known from now on.
    pub(super) fn intern(&mut self, uid: &str) -> usize {
        if let Some(index) = self.pod_index.get(uid) {
            return *index;
        }
        self.pods.push(Pod { uid: uid.to_string(), ..Pod::default() });
        self.pod_index.insert(uid.to_string(), self.pods.len() - 1);
        self.pods.len() - 1
    }

    /// The process of a pod ends: whoever asked it sees the connection break.
    fn lose(&mut self, index: usize) {
        let pod = &mut self.pods[index];
        pod.epoch += 1;
        let Some(server) = pod.server.take() else { return };
        let now = self.now;
        if server.pool.is_some() {
            self.lose_work(index, now);
        }
        for held in server.lost(now) {
            self.break_off(held.asker, held.arrival, now);
        }
    }
}
