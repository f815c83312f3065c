//! Who has to look again after an event.

use jiff::Timestamp;
use tokio::time::Instant;

use super::cache::{Cache, Change};
use super::queue::Work;
use super::views::{Key, Pod};
use super::{ControlLoop, autoscaler, garbage, node_lifecycle};
use crate::sim::kubelet;
use crate::sim::store::{Event, EventType, Kind, Object};

impl ControlLoop {
    /// Takes an event in and wakes whoever it concerns.
    pub(super) fn observe(&mut self, event: &Event) {
        let change = self.cache.observe(event);
        let object = &event.object;
        let key = Key::new(&object.meta.namespace, &object.meta.name);
        let delay = self.config.delays.controller;
        match &object.kind {
            k if *k == Kind::POD => self.pod_changed(&key, &change),
            k if *k == Kind::NODE => self.node_changed(event),
            k if *k == Kind::REPLICA_SET => {
                self.after(Work::ReplicaSet(key.clone()), delay);
                if let Some(owner) = object.controller().filter(|o| o.kind == "Deployment") {
                    let deployment = Key::new(&key.namespace, &owner.name);
                    self.after(Work::Deployment(deployment), delay);
                }
                if event.kind == EventType::Deleted {
                    self.ordinals.remove(&object.meta.uid);
                }
            }
            k if *k == Kind::DEPLOYMENT => {
                self.after(Work::Deployment(key.clone()), delay);
                self.budgets_of_namespace(&key.namespace);
            }
            k if *k == Kind::STATEFUL_SET => {
                self.after(Work::StatefulSet(key.clone()), delay);
                self.budgets_of_namespace(&key.namespace);
                if event.kind == EventType::Deleted {
                    self.templates.remove(&object.meta.uid);
                }
            }
            k if *k == Kind::DAEMON_SET => self.after(Work::DaemonSet(key.clone()), delay),
            k if *k == Kind::SERVICE => self.service_changed(&key, event),
            k if *k == Kind::POD_DISRUPTION_BUDGET => self.after(Work::Budget(key.clone()), delay),
            k if *k == Kind::HORIZONTAL_POD_AUTOSCALER => {
                if event.kind == EventType::Deleted {
                    self.autoscaled.remove(&object.meta.uid);
                } else {
                    // Its queue knows one delay (`NewDefaultHPARateLimiter`, rate_limiters.go).
                    self.after(Work::Autoscaler(key.clone()), autoscaler::SYNC);
                }
            }
            k if *k == Kind::PERSISTENT_VOLUME_CLAIM => match event.kind {
                EventType::Deleted => self.claim_gone(object),
                EventType::Added => self.retry_unschedulable(),
                EventType::Modified => {}
            },
            k if *k == Kind::NAMESPACE => {
                self.after(Work::Namespace(key.name.clone()), self.config.delays.namespace);
            }
            k if k.is_custom() => self.machine_changed(event, &key),
            _ => {}
        }
        self.collect_garbage(event, &key);
        self.namespace_content_changed(event, &key);
    }

    fn service_changed(&mut self, key: &Key, event: &Event) {
        let delay = self.config.delays.controller;
        self.after(Work::Endpoints(key.clone()), delay);
        // The Endpoints object has no owner: its controller deletes it with the Service.
        if event.kind == EventType::Deleted
            && let Some(endpoints) = self.store.get(&Kind::ENDPOINTS, &key.namespace, &key.name)
        {
            self.apply(&super::action::Action::Delete(super::action::Target::of(&endpoints), None));
        }
    }

    fn pod_changed(&mut self, key: &Key, change: &Change) {
        let delay = self.config.delays.controller;
        let (before, after) = (change.pod_before.as_ref(), change.pod_after.as_ref());
        // The owner that it had looks too when it is let go.
        let owner = after.and_then(|p| p.controller()).or_else(|| before.and_then(|p| p.controller()));
        if let Some(owner) = owner {
            let set = Key::new(&key.namespace, &owner.name);
            match owner.kind.as_str() {
                "ReplicaSet" => {
                    if after.is_none() {
                        self.recreating_owner(&set);
                    }
                    self.after(Work::ReplicaSet(set), delay);
                }
                "StatefulSet" => self.after(Work::StatefulSet(set), delay),
                "DaemonSet" => self.after(Work::DaemonSet(set), delay),
                _ => {}
            }
        }
        if after.map(Standing::of) != before.map(Standing::of) {
            self.selectors_of(key, [before, after]);
        }
        self.placement_changed(key, before, after);
    }

    /// A Deployment with strategy Recreate waits for the last old pod.
    fn recreating_owner(&mut self, set: &Key) {
        let Some(owner) = self.cache.replica_sets.get(set).and_then(|s| s.controller().cloned()) else {
            return;
        };
        let deployment = Key::new(&set.namespace, &owner.name);
        self.after(Work::Deployment(deployment), self.config.delays.controller);
    }

    /// Services and budgets that select the pod, as it was or as it is.
    fn selectors_of(&mut self, key: &Key, pods: [Option<&Pod>; 2]) {
        let at = Instant::now() + self.config.delays.controller;
        let labels = || pods.into_iter().flatten().map(|p| &p.meta().labels);
        for (service, view) in Cache::within(&self.cache.services, &key.namespace) {
            let selector = &view.spec.selector;
            if !selector.is_empty() && labels().any(|l| super::views::selects(selector, l)) {
                self.queue.add(Work::Endpoints(service.clone()), at);
            }
        }
        for (budget, view) in Cache::within(&self.cache.budgets, &key.namespace) {
            if labels().any(|l| view.spec.selector.as_ref().is_some_and(|s| s.matches(l))) {
                self.queue.add(Work::Budget(budget.clone()), at);
            }
        }
    }

    fn budgets_of_namespace(&mut self, namespace: &str) {
        let at = Instant::now() + self.config.delays.controller;
        for (budget, _) in Cache::within(&self.cache.budgets, namespace) {
            self.queue.add(Work::Budget(budget.clone()), at);
        }
    }

    /// Scheduler, kubelet and evictions.
    fn placement_changed(&mut self, key: &Key, before: Option<&Pod>, after: Option<&Pod>) {
        let delays = self.config.delays;
        let held = |pod: Option<&Pod>| pod.is_some_and(|p| !p.spec.node_name.is_empty() && !p.finished());
        if held(before) && !held(after) {
            self.retry_unschedulable();
        }
        let Some(pod) = after else {
            self.unschedulable.remove(key);
            self.after(Work::Pod(key.clone()), std::time::Duration::ZERO);
            return;
        };
        if pod.spec.node_name.is_empty() {
            let new = before.is_none_or(|b| b.uid() != pod.uid());
            if new && !pod.terminating() {
                self.after(Work::Schedule(key.clone()), delays.scheduler);
            }
            return;
        }
        let bound = before.is_none_or(|b| b.spec.node_name.is_empty());
        if bound {
            self.after(Work::Evict(key.clone()), delays.controller);
        }
        if bound || before.is_some_and(|b| deletion(b) != deletion(pod)) {
            self.after(Work::Pod(key.clone()), kubelet::SYNC);
        }
    }

    /// Pods without a node get another chance.
    pub(super) fn retry_unschedulable(&mut self) {
        let at = Instant::now() + self.config.delays.scheduler;
        for key in self.unschedulable.keys() {
            self.queue.add(Work::Schedule(key.clone()), at);
        }
    }

    fn node_changed(&mut self, event: &Event) {
        let node = &event.object;
        let name = node.meta.name.clone();
        let delay = self.config.delays.controller;
        let number = self.node_numbers.len();
        self.node_numbers.entry(name.clone()).or_insert(number);
        self.node_group_changed(&name);
        self.machines_see_node(event);
        self.after(Work::Kubelet(name.clone()), delay);
        self.after(Work::Node(name.clone()), delay);
        self.retry_unschedulable();
        let sets: Vec<Key> = self.cache.daemon_sets.keys().cloned().collect();
        for set in sets {
            self.after(Work::DaemonSet(set), delay);
        }
        let pods: Vec<Key> = self.cache.pods_on(&name).map(|p| p.key()).collect();
        let gone = event.kind == EventType::Deleted;
        let silence = |o: &Object| node_lifecycle::silent_since(o);
        if let Some(programs) = &self.world.around.programs
            && (gone || silence(node).is_some())
        {
            programs.cut_off(&name);
            if gone {
                let on_it = self.workers.values().filter(|worker| worker.node == name);
                on_it.for_each(|worker| programs.kill(&worker.uid));
            }
        }
        let back = event.previous.as_ref().is_some_and(|p| silence(p).is_some()) && silence(node).is_none();
        for pod in pods {
            let delay = if gone { node_lifecycle::ORPHANED } else { delay };
            self.after(Work::Evict(pod.clone()), delay);
            if back {
                self.after(Work::Pod(pod), kubelet::SYNC);
            }
        }
    }

    fn collect_garbage(&mut self, event: &Event, key: &Key) {
        let (object, delay) = (&event.object, self.config.delays.garbage);
        let owner = |loop_: &mut Self, uid: &str| {
            // An owner that waits for its dependents looks again when one of them goes.
            for other in &object.meta.owner_references {
                if other.uid == uid
                    && let Some(kind) = loop_.store.kind_of(&other.api_version, &other.kind)
                {
                    let namespace = if kind.namespaced { key.namespace.as_str() } else { "" };
                    let owner = Key::new(namespace, &other.name);
                    loop_.after(Work::Owner(kind, owner), delay);
                }
            }
        };
        if event.kind == EventType::Deleted {
            for dependent in self.cache.dependents(&object.meta.uid) {
                let meta = &dependent.meta;
                let work = Work::Dependent(dependent.kind.clone(), Key::new(&meta.namespace, &meta.name));
                self.after(work, delay);
            }
            for reference in &object.meta.owner_references {
                owner(self, &reference.uid);
            }
        } else if object.terminating()
            && object.meta.finalizers.iter().any(|f| f == garbage::FOREGROUND || f == garbage::ORPHAN)
        {
            self.after(Work::Owner(object.kind.clone(), key.clone()), delay);
        } else if event.kind == EventType::Added && !object.meta.owner_references.is_empty() {
            let missing = |o| garbage::owner_exists(&self.store, object, o) == Some(false);
            if object.meta.owner_references.iter().any(missing) {
                self.after(Work::Dependent(object.kind.clone(), key.clone()), delay);
            }
        }
    }

    fn namespace_content_changed(&mut self, event: &Event, key: &Key) {
        if event.kind == EventType::Deleted
            && !key.namespace.is_empty()
            && self.cache.namespace_terminating(&key.namespace)
        {
            self.after(Work::Namespace(key.namespace.clone()), self.config.delays.namespace);
        }
    }
}

/// What a kubelet acts on: which pod it is, and how its deletion stands.
fn deletion(pod: &Pod) -> (&str, Option<Timestamp>, Option<i64>) {
    let meta = pod.meta();
    (&meta.uid, meta.deletion_timestamp, meta.deletion_grace_period_seconds)
}

/// What Services and budgets see of a pod.
#[derive(PartialEq)]
struct Standing<'a> {
    uid: &'a str,
    labels: &'a std::collections::BTreeMap<String, String>,
    ip: &'a str,
    ready: bool,
    terminating: bool,
    finished: bool,
}

impl<'a> Standing<'a> {
    fn of(pod: &'a Pod) -> Self {
        Self {
            uid: pod.uid(),
            labels: &pod.meta().labels,
            ip: &pod.status.pod_ip,
            ready: pod.ready(),
            terminating: pod.terminating(),
            finished: pod.finished(),
        }
    }
}
