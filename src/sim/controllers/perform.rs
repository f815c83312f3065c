//! Doing the work that is due: gather what a controller sees, let it decide, apply what it decides.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::action::{Action, Decision, Target, apply, event, stamp, warning};
use super::garbage::Termination;
use super::queue::Work;
use super::views::{Key, Pod};
use super::{
    ControlLoop, autoscaler, daemonset, deployment, disruption, endpoints, garbage, node_lifecycle,
    replicaset, statefulset,
};
use crate::sim::kubelet::{self, Occurrence, Present, Worker};
use crate::sim::manifests;
use crate::sim::scheduler::{self, Candidate};
use crate::sim::store::{Kind, Object};
use crate::sim::usage::{PodUsage, measure};

/// After a write was refused (first step of client-go's exponential back-off that is worth telling apart).
const RETRY: Duration = Duration::from_secs(1);

impl ControlLoop {
    /// Does one piece of work.
    pub(super) fn perform(&mut self, work: Work) {
        let decision = match &work {
            Work::Deployment(key) => self.deployment(key),
            Work::ReplicaSet(key) => self.replica_set(key),
            Work::StatefulSet(key) => self.stateful_set(key),
            Work::DaemonSet(key) => self.daemon_set(key),
            Work::Endpoints(key) => self.endpoints(key),
            Work::Budget(key) => self.budget(key),
            Work::Autoscaler(key) => self.autoscaler(key),
            Work::Schedule(key) => self.schedule(key),
            Work::Pod(key) => return self.step_pod(&key.clone()),
            Work::Kubelet(node) => self.register_node(node),
            Work::Node(node) => self.node(node),
            Work::Evict(key) => self.evict(key),
            Work::NodeGroups => return self.node_groups(),
            Work::Provision(name) => return self.provision(name),
            Work::Machine(kind, key) => self.machine(kind, key),
            Work::Dependent(kind, key) => self.dependent(kind, key),
            Work::Owner(kind, key) => self.owner(kind, key),
            Work::Namespace(name) => self.namespace(name),
            Work::Expire(key) => self.expire(key),
        };
        let Some(decision) = decision else { return };
        let mut refused = false;
        for action in &decision.actions {
            refused |= !self.apply(action);
        }
        if let Some(delay) = decision.again {
            self.after(work.clone(), delay);
        }
        if refused {
            self.after(work, RETRY);
        }
    }

    /// Applies an action; false when the write was refused for a reason that may pass.
    pub(super) fn apply(&mut self, action: &Action) -> bool {
        if let Action::Event(note) = action {
            self.record(note);
            return true;
        }
        match apply(&self.store, action) {
            Ok(()) => true,
            // The object has gone meanwhile, or has become another: an event says so.
            Err(status) if matches!(status.code, 404 | 409) && !matches!(action, Action::Create(_)) => true,
            // A budget has no room: whoever drains looks again in a while.
            Err(_) if matches!(action, Action::Evict(_)) => true,
            Err(status) => {
                tracing::debug!(?action, message = %status.message, "a controller's write was refused");
                false
            }
        }
    }

    fn deployment(&self, key: &Key) -> Option<Decision> {
        let deployment = self.cache.deployments.get(key)?;
        let sets = self.cache.sets_of(deployment.uid());
        let pods: Vec<&Pod> = sets.iter().flat_map(|s| self.cache.pods_of(s.uid())).collect();
        let now = self.store.now();
        Some(deployment::decide(&deployment::Inputs { deployment, sets: &sets, pods: &pods, now }))
    }

    fn replica_set(&mut self, key: &Key) -> Option<Decision> {
        let set = self.cache.replica_sets.get(key)?;
        let pods = self.cache.pods_of(set.uid());
        let related: Vec<&Pod> = match set.controller() {
            Some(owner) => {
                self.cache.sets_of(&owner.uid).iter().flat_map(|s| self.cache.pods_of(s.uid())).collect()
            }
            None => pods.clone(),
        };
        let decision = replicaset::decide(&replicaset::Inputs {
            set,
            pods: &pods,
            related: &related,
            namespace_terminating: self.cache.namespace_terminating(&key.namespace),
            seed: self.config.seed,
            ordinal: self.ordinals.get(set.uid()).copied().unwrap_or(0),
            now: self.store.now(),
        });
        let created = decision.actions.iter().filter(|a| matches!(a, Action::Create(_))).count() as u64;
        if created > 0 {
            *self.ordinals.entry(set.uid().to_owned()).or_default() += created;
        }
        Some(decision)
    }

    fn stateful_set(&mut self, key: &Key) -> Option<Decision> {
        let set = self.cache.stateful_sets.get(key)?;
        let claims = self.claims_of(set);
        let templates = self.templates.entry(set.uid().to_owned()).or_default();
        templates.entry(statefulset::revision(set)).or_insert_with(|| set.spec.template.clone());
        let pods = self.cache.pods_of(set.uid());
        let namespace_terminating = self.cache.namespace_terminating(&key.namespace);
        let now = self.store.now();
        Some(statefulset::decide(&statefulset::Inputs {
            set,
            pods: &pods,
            templates,
            claims: &claims,
            namespace_terminating,
            now,
        }))
    }

    fn daemon_set(&self, key: &Key) -> Option<Decision> {
        let set = self.cache.daemon_sets.get(key)?;
        let pods = self.cache.pods_of(set.uid());
        let nodes: Vec<_> = self.cache.nodes.values().collect();
        if self.cache.namespace_terminating(&key.namespace) {
            return None;
        }
        Some(daemonset::decide(set, &pods, &nodes, self.store.now()))
    }

    fn endpoints(&self, key: &Key) -> Option<Decision> {
        let service = self.cache.services.get(key)?;
        if self.cache.namespace_terminating(&key.namespace) {
            return None;
        }
        let pods = self.cache.pods_with(&key.namespace, &service.spec.selector);
        let zone_of = |node: &str| self.cache.node(node)?.meta().labels.get(scheduler::ZONE).cloned();
        let slices = self.store.controlled_by(&Kind::ENDPOINT_SLICE, service.uid());
        Some(endpoints::decide(&endpoints::Inputs {
            service,
            pods: &pods,
            slices: &slices,
            zone_of: &zone_of,
        }))
    }

    fn budget(&self, key: &Key) -> Option<Decision> {
        let budget = self.cache.budgets.get(key)?;
        let mut pods = match &budget.spec.selector {
            Some(selector) => self.cache.pods_with(&key.namespace, &selector.pairs),
            None => Vec::new(),
        };
        pods.retain(|p| budget.spec.selector.as_ref().is_some_and(|s| s.matches(&p.meta().labels)));
        let scale_of = |pod: &Pod| self.cache.scale_of(pod);
        let now = self.store.now();
        Some(disruption::decide(&disruption::Inputs { budget, pods: &pods, scale_of: &scale_of, now }))
    }

    fn autoscaler(&mut self, key: &Key) -> Option<Decision> {
        let autoscaler = self.cache.autoscalers.get(key).filter(|a| !a.terminating())?;
        let (target, now) = (&autoscaler.spec.scale_target_ref, self.store.now());
        let name = Key::new(&key.namespace, &target.name);
        let found = match target.kind.as_str() {
            "Deployment" => {
                self.cache.deployments.get(&name).map(|v| (&v.object, v.replicas(), &v.spec.selector))
            }
            "ReplicaSet" => {
                self.cache.replica_sets.get(&name).map(|v| (&v.object, v.replicas(), &v.spec.selector))
            }
            "StatefulSet" => {
                let set = self.cache.stateful_sets.get(&name);
                set.map(|v| (&v.object, v.spec.replicas.unwrap_or(1), &v.spec.selector))
            }
            _ => None,
        };
        let scaled = found.map(|(object, replicas, selector)| {
            let mut pods = self.cache.pods_with(&key.namespace, &selector.pairs);
            pods.retain(|p| selector.matches(&p.meta().labels));
            let pods = self.measured(pods, now);
            autoscaler::Scaled { object: object.clone(), replicas, pods }
        });
        let scaled = scaled.ok_or_else(|| {
            let plural = format!("{}s.apps", target.kind.to_lowercase());
            format!("{plural} \"{}\" not found", target.name)
        });
        let served = self.world.usage.is_some();
        let uid = autoscaler.uid().to_owned();
        let mut memory = self.autoscaled.get(&uid).cloned().unwrap_or_default();
        let inputs = autoscaler::Inputs { autoscaler, scaled, served, now };
        let decision = autoscaler::decide(&inputs, &mut memory);
        self.autoscaled.insert(uid, memory);
        Some(decision)
    }

    /// Pods with what they use; whose kubelet is silent has not been measured.
    fn measured<'a>(&self, pods: Vec<&'a Pod>, now: jiff::Timestamp) -> Vec<(&'a Pod, Option<PodUsage>)> {
        let Some(source) = &self.world.usage else {
            return pods.into_iter().map(|pod| (pod, None)).collect();
        };
        let usage = measure(&pods, source.as_ref(), now);
        let answers =
            |pod: &Pod| self.cache.node(&pod.spec.node_name).is_some_and(node_lifecycle::kubelet_runs);
        pods.into_iter().zip(usage).map(|(pod, usage)| (pod, usage.filter(|_| answers(pod)))).collect()
    }

    fn schedule(&mut self, key: &Key) -> Option<Decision> {
        let pod = self.cache.pods.get(key)?;
        let ours = matches!(pod.spec.scheduler_name.as_str(), "" | "default-scheduler");
        if !pod.spec.node_name.is_empty() || pod.terminating() || pod.finished() || !ours {
            return None;
        }
        let mut nodes: Vec<Candidate<'_>> = self
            .cache
            .nodes
            .values()
            .filter(|n| !n.terminating())
            .map(|node| Candidate::new(node, self.cache.pods_on(node.name())))
            .collect();
        let volumes = self.volumes_of(pod);
        if let Ok(volumes) = &volumes {
            nodes.iter_mut().for_each(|candidate| candidate.out_of_reach = !volumes.reach(candidate.node));
        }
        let chosen = volumes.map_err(|why| scheduler::nowhere(nodes.len(), &why));
        let chosen = chosen.and_then(|volumes| Ok((scheduler::choose(pod, &nodes)?, volumes)));
        let mut decision = Decision::default();
        match chosen {
            Ok((node, volumes)) => {
                decision.actions = self.cache.node(&node).map_or_else(Vec::new, |node| volumes.bind(node));
                decision.actions.extend(bind(pod, &node, &stamp(self.store.now())));
                self.unschedulable.remove(key);
            }
            Err(message) => {
                if self.unschedulable.get(key) != Some(&message) {
                    decision.actions = unschedulable(pod, &message, &stamp(self.store.now()));
                    self.unschedulable.insert(key.clone(), message);
                }
            }
        }
        let actions = std::mem::take(&mut decision.actions);
        let mut refused = false;
        for action in &actions {
            refused |= !self.apply(action);
        }
        // The next pod in this instant must see this one's place.
        self.see_pod(key);
        refused.then(|| Decision { actions: Vec::new(), again: Some(RETRY) })
    }

    /// Takes a pod's new state in before its event is read, as the scheduler assumes a pod that it has bound.
    fn see_pod(&mut self, key: &Key) {
        if let (Some(view), Some(object)) =
            (self.cache.pods.get(key), self.store.get(&Kind::POD, &key.namespace, &key.name))
            && view.object.meta.resource_version != object.meta.resource_version
        {
            let previous = Some(view.object.clone());
            let kind = crate::sim::store::EventType::Modified;
            self.observe(&crate::sim::store::Event { kind, object, previous });
        }
    }

    fn present(&self) -> Present {
        Present { instant: Instant::now(), time: self.store.now() }
    }

    fn step_pod(&mut self, key: &Key) {
        let now = self.present();
        let pod = self.cache.pods.get(key).filter(|p| !p.spec.node_name.is_empty()).cloned();
        // The pod is gone, or has become another of the same name.
        let stale = self.workers.get(key).is_some_and(|w| pod.as_ref().is_none_or(|p| p.uid() != w.uid));
        if stale && let Some(worker) = self.workers.remove(key) {
            if let Some(ip) = worker.ip() {
                self.addresses.release(&worker.node, ip);
            }
            if let Some(programs) = &self.world.around.programs {
                programs.kill(&worker.uid);
            }
        }
        let Some(pod) = pod else { return };
        let Some(node) = self.cache.node(&pod.spec.node_name).cloned() else { return };
        if !node_lifecycle::kubelet_runs(&node) {
            return;
        }
        if !self.workers.contains_key(key) {
            if pod.finished() {
                self.remove_finished(&pod);
                return;
            }
            let Some(ip) = self.address(&pod, &node) else {
                self.after(Work::Pod(key.clone()), RETRY);
                return;
            };
            let (worker, actions) = Worker::new(&pod, Some(ip), self.config.seed, now);
            let programs = self.world.around.programs.as_ref();
            let address = node.internal_ip().and_then(|ip| ip.parse().ok());
            let worker = worker.at(address, programs.is_some_and(|programs| programs.runs_in(&pod)));
            self.workers.insert(key.clone(), worker);
            for action in &actions {
                self.apply(action);
            }
        }
        let Some(worker) = self.workers.get_mut(key) else { return };
        let step = worker.step(&pod, now, &self.world.around);
        let mut refused = false;
        for action in &step.actions {
            refused |= !self.apply(action);
        }
        if let Some(at) = step.next {
            self.queue.add(Work::Pod(key.clone()), at);
        }
        if refused {
            self.after(Work::Pod(key.clone()), RETRY);
        }
    }

    /// Something has happened to a pod on its node, whether its kubelet runs or not.
    pub(super) fn occur(&mut self, occurrence: &Occurrence) {
        let (key, now) = (&occurrence.pod, self.present());
        if let (Some(worker), Some(pod)) = (self.workers.get_mut(key), self.cache.pods.get(key))
            && worker.uid == occurrence.uid
        {
            worker.happen(pod, &occurrence.what, now);
            self.step_pod(key);
        }
    }

    /// A finished pod that is deleted has nothing left to stop.
    fn remove_finished(&mut self, pod: &Pod) {
        if pod.terminating() {
            self.apply(&Action::Delete(Target::of(&pod.object), Some(0)));
        }
    }

    fn address(&mut self, pod: &Pod, node: &super::views::Node) -> Option<String> {
        if pod.spec.host_network {
            return node.internal_ip().map(str::to_owned);
        }
        if !pod.status.pod_ip.is_empty() {
            self.addresses.hold(node.name(), &pod.status.pod_ip);
            return Some(pod.status.pod_ip.clone());
        }
        self.addresses.take(node.name(), &node.spec.pod_cidr)
    }

    fn register_node(&self, name: &str) -> Option<Decision> {
        let node = self.cache.node(name)?;
        if !node_lifecycle::kubelet_runs(node) || node.terminating() {
            return None;
        }
        let number = self.node_numbers.get(name).copied().unwrap_or(0);
        let now = self.store.now();
        let mut actions = kubelet::node::register(node, number, now);
        if self.store.get(&Kind::LEASE, node_lifecycle::LEASES, name).is_none() {
            actions.push(Action::Create(node_lifecycle::new_lease(&node.object, now)));
        }
        Some(Decision { actions, again: None })
    }

    fn node(&self, name: &str) -> Option<Decision> {
        let node = self.cache.node(name)?;
        let pods: Vec<&Pod> = self.cache.pods_on(name).collect();
        Some(node_lifecycle::decide(node, &pods, self.store.now()))
    }

    fn evict(&mut self, key: &Key) -> Option<Decision> {
        let pod = self.cache.pods.get(key).filter(|p| !p.spec.node_name.is_empty());
        let node = pod.and_then(|pod| self.cache.node(&pod.spec.node_name));
        let tainted = node.is_some_and(|node| node.spec.taints.iter().any(|t| t.effect == "NoExecute"));
        let Some(pod) = pod.filter(|_| tainted || node.is_none()) else {
            self.tainted.remove(key);
            return None;
        };
        match node {
            Some(node) => {
                let now = self.store.now();
                let noticed = self.tainted.entry(key.clone()).or_insert_with(|| (pod.uid().to_owned(), now));
                if noticed.0 != pod.uid() {
                    *noticed = (pod.uid().to_owned(), now);
                }
                Some(node_lifecycle::decide_eviction(pod, node, noticed.1, now))
            }
            // The pod garbage collector: a pod whose node is gone for good.
            None => Some(Decision {
                actions: vec![Action::Delete(Target::of(&pod.object), Some(0))],
                again: None,
            }),
        }
    }

    fn dependent(&self, kind: &Kind, key: &Key) -> Option<Decision> {
        let object = self.store.get(kind, &key.namespace, &key.name)?;
        let exists = |owner: &_| garbage::owner_exists(&self.store, &object, owner);
        Some(Decision { actions: garbage::decide_dependent(&object, &exists), again: None })
    }

    fn owner(&self, kind: &Kind, key: &Key) -> Option<Decision> {
        let object = self.store.get(kind, &key.namespace, &key.name)?;
        let dependents = self.cache.dependents(&object.meta.uid);
        Some(Decision { actions: garbage::decide_owner(&object, &dependents), again: None })
    }

    fn namespace(&mut self, name: &str) -> Option<Decision> {
        let namespace = self.cache.namespaces.get(&Key::new("", name))?;
        let mut decision = Decision::default();
        if !namespace.terminating() {
            if self.store.get(&Kind::SERVICE_ACCOUNT, name, "default").is_none() {
                let account = manifests::default_service_account(name);
                decision
                    .actions
                    .extend(Object::from_value(Kind::SERVICE_ACCOUNT, account).map(Action::Create));
            }
            return Some(decision);
        }
        match garbage::decide_namespace(&garbage::content(&self.store, name)) {
            Termination::Delete(actions) => {
                decision.actions = actions;
                decision.again_in(self.config.delays.namespace);
            }
            Termination::Wait => {}
            Termination::Empty => {
                if let Err(status) = self.store.finalize_namespace(name) {
                    tracing::debug!(name, message = %status.message, "a namespace stays for its finalizers");
                }
            }
        }
        Some(decision)
    }

    fn expire(&self, key: &Key) -> Option<Decision> {
        let event = self.store.get(&Kind::EVENT, &key.namespace, &key.name)?;
        Some(Decision { actions: vec![Action::Delete(Target::of(&event), None)], again: None })
    }
}

/// What the bind subresource writes, and the Event.
fn bind(pod: &Pod, node: &str, now: &Value) -> Vec<Action> {
    let target = Target::of(&pod.object);
    let condition = json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now,
    });
    let message = format!("Successfully assigned {}/{} to {node}", pod.namespace(), pod.name());
    let patch = json!({"spec": {"nodeName": node}, "status": {"conditions": [condition]}});
    vec![Action::Merge(target, patch), event(&pod.object, "default-scheduler", "Scheduled", message)]
}

fn unschedulable(pod: &Pod, message: &str, now: &Value) -> Vec<Action> {
    let condition = json!({
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
        "lastProbeTime": null, "lastTransitionTime": now,
    });
    let mut status: Value = pod.object.field("status").unwrap_or_default();
    status["conditions"] = json!([condition]);
    vec![
        Action::Status(Target::of(&pod.object), status),
        warning(&pod.object, "default-scheduler", "FailedScheduling", message.to_owned()),
    ]
}
