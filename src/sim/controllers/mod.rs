//! The control loops of the embedded cluster: workload controllers, endpoints, disruption budgets, garbage collection,
//! node lifecycle, scheduler and kubelets, in one task.
//!
//! Each controller is a pure function from what it sees to [`action::Action`]s. The loop here feeds them: events of the
//! store and instants of one heap say what to look at, and after each look the cache takes in what was written, so that
//! no controller ever decides on a picture that its own writes have outdated. Reactions take [`Delays`], so that
//! order and timing are those of separate processes; nothing polls, and nothing is left to chance.

pub mod action;
pub mod autoscaler;
pub mod cache;
pub mod daemonset;
pub mod deployment;
pub mod disruption;
pub mod endpoints;
pub mod garbage;
mod machines;
pub mod names;
mod node_groups;
pub mod node_lifecycle;
mod perform;
pub mod queue;
mod record;
pub mod replicaset;
pub mod statefulset;
pub mod views;
pub mod volumes;
mod wake;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::cache::Cache;
use self::queue::{Queue, Work};
use self::views::Key;
use super::kubelet::network::Addresses;
use super::kubelet::{Occurrence, Surroundings, Worker};
use super::store::{Event, EventType, Object, Store, Subscription};
use super::usage::BusyShares;

/// How long each part takes from an event to its reaction: watch, work queue and one write. The values are what an idle
/// control plane takes.
#[derive(Debug, Clone, Copy)]
pub struct Delays {
    /// Workload controllers, endpoints, budgets, taints.
    pub controller: Duration,
    /// The scheduler.
    pub scheduler: Duration,
    /// The garbage collector, which checks its graph first.
    pub garbage: Duration,
    /// The namespace controller.
    pub namespace: Duration,
}

impl Default for Delays {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self { controller: ms(5), scheduler: ms(5), garbage: ms(50), namespace: ms(100) }
    }
}

/// How the control loops run.
#[derive(Debug, Clone)]
pub struct Config {
    /// Seed of pod names and start-up jitter.
    pub seed: u64,
    /// Reaction times.
    pub delays: Delays,
    /// Whether Events are recorded.
    pub events: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { seed: 0, delays: Delays::default(), events: true }
    }
}

/// The running control loops; they end when this is dropped.
#[derive(Debug)]
pub struct Controllers {
    task: JoinHandle<()>,
}

impl Drop for Controllers {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is outside of the API server and concerns controllers and kubelets.
#[derive(Default)]
pub struct World {
    /// Resource metrics, on which HorizontalPodAutoscalers depend.
    pub usage: Option<Arc<dyn BusyShares>>,
    /// What kubelets share.
    pub around: Surroundings,
    /// What happens on nodes.
    pub occurred: Option<UnboundedReceiver<Occurrence>>,
}

/// Starts all control loops on a store, on the present tokio runtime. They act on what is in the store already and on
/// every change after it.
#[must_use]
pub fn spawn(store: &Store, config: Config) -> Controllers {
    spawn_in(store, config, World::default())
}

/// The same in a world.
#[must_use]
pub fn spawn_in(store: &Store, config: Config, world: World) -> Controllers {
    let (objects, events) = store.list_and_subscribe_everything();
    let control = ControlLoop {
        store: store.clone(),
        config,
        cache: Cache::default(),
        queue: Queue::default(),
        workers: BTreeMap::new(),
        addresses: Addresses::default(),
        ordinals: BTreeMap::new(),
        templates: BTreeMap::new(),
        node_numbers: BTreeMap::new(),
        unschedulable: BTreeMap::new(),
        tainted: BTreeMap::new(),
        world,
        autoscaled: BTreeMap::new(),
        node_groups: node_groups::Memory::default(),
        machines: machines::Memory::default(),
        event_number: 0,
    };
    Controllers { task: tokio::spawn(control.run(objects, events)) }
}

/// The state of the loop.
struct ControlLoop {
    store: Store,
    config: Config,
    cache: Cache,
    queue: Queue,
    /// Pods on nodes.
    workers: BTreeMap<Key, Worker>,
    addresses: Addresses,
    /// Pods that each ReplicaSet (by UID) has been given so far.
    ordinals: BTreeMap<String, u64>,
    /// Templates that each StatefulSet (by UID) has had.
    templates: BTreeMap<String, statefulset::Templates>,
    /// A number for each node ever seen, from which addresses follow.
    node_numbers: BTreeMap<String, usize>,
    /// Pods for which no node was found, with the message.
    unschedulable: BTreeMap<Key, String>,
    /// Pods (with their UID) on nodes with NoExecute taints, and since when.
    tainted: BTreeMap<Key, (String, Timestamp)>,
    world: World,
    /// What the autoscalers (by UID) remember.
    autoscaled: BTreeMap<String, autoscaler::Memory>,
    /// What the cluster autoscaler remembers.
    node_groups: node_groups::Memory,
    /// What those who own machines remember.
    machines: machines::Memory,
    event_number: u64,
}

impl ControlLoop {
    async fn run(mut self, objects: Vec<Arc<Object>>, mut events: Subscription) {
        // All objects first, then what to do about each: an owner may come after its dependents.
        let added: Vec<Event> = objects
            .into_iter()
            .map(|object| Event { kind: EventType::Added, object, previous: None })
            .collect();
        for event in &added {
            self.cache.observe(event);
        }
        for event in &added {
            self.observe(event);
        }
        let mut turns: u32 = 0;
        loop {
            while let Some(event) = events.try_next() {
                self.observe(&event);
            }
            while let Some(occurrence) = self.occurred() {
                self.occur(&occurrence);
            }
            if let Some(work) = self.queue.pop(Instant::now()) {
                self.perform(work);
                turns = turns.wrapping_add(1);
                if turns.is_multiple_of(64) {
                    // A long burst must not keep others on this thread from running.
                    tokio::task::yield_now().await;
                }
                continue;
            }
            let due = self.queue.next();
            let event = tokio::select! {
                biased;
                event = events.next() => event,
                Some(occurrence) = occurrence(&mut self.world.occurred) => {
                    self.occur(&occurrence);
                    continue;
                }
                () = until(due) => continue,
            };
            match event {
                Some(event) => self.observe(&event),
                None => return,
            }
        }
    }

    fn occurred(&mut self) -> Option<Occurrence> {
        self.world.occurred.as_mut()?.try_recv().ok()
    }

    fn after(&mut self, work: Work, delay: Duration) {
        self.queue.add(work, Instant::now() + delay);
    }
}

/// What happens next on a node; never, where nothing can.
async fn occurrence(from: &mut Option<UnboundedReceiver<Occurrence>>) -> Option<Occurrence> {
    match from {
        Some(from) => from.recv().await,
        None => std::future::pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
