//! Kubelets: what happens to a pod on its node, from binding to removal.
//!
//! One driver for all nodes; a pod is a [`Worker`] that is stepped when something has happened to the pod or when its
//! next instant has come. How its containers behave the pod's annotations say (`sim::annotations`); they start
//! together, and each ends and is started again by itself (`container`).
//! Source: `pkg/kubelet/pod_workers.go`, `kuberuntime_manager.go`, `prober`, v1.36.

mod container;
mod instants;
pub mod network;
pub mod node;
mod prober;
mod status;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use self::container::{Life, Turn};
use self::instants::{pre_stop, ready_after};
pub use self::prober::{Attempt, Paths};
use self::prober::{Found, Probers};
use super::controllers::action::{Action, Target, event, warning};
use super::controllers::names;
use super::controllers::views::{Key, Pod};
use super::manifests::{Behaviour, UNPULLABLE_REGISTRY};

const SOURCE: &str = "kubelet";
/// From the binding to the kubelet's first word: watch and pod worker.
pub const SYNC: Duration = Duration::from_millis(20);
/// Sandbox, network and start of the containers, the image being on the node: what containerd takes.
pub const CREATE: Duration = Duration::from_millis(600);
/// A registry that does not answer; and from the end of a container until the next is started in its place.
const PULL: Duration = Duration::from_secs(1);
/// First back-off after a crash or a failed pull (`backOffPeriod`, `containerBackOff`), doubled each time.
const BACKOFF: Duration = Duration::from_secs(10);
/// Longest back-off (`MaxContainerBackOff`).
const MAX_BACKOFF: Duration = Duration::from_secs(300);

/// What happens on a node without the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occurrence {
    /// Namespace and name of the pod.
    pub pod: Key,
    /// Its UID.
    pub uid: String,
    /// What.
    pub what: What,
}

/// See [`Occurrence`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The processes of these containers, by name, get a signal; whether they can handle it.
    Signal(Vec<String>, Handled),
    /// The program of the pod's only container has ended by itself with that exit code.
    Exited(i64),
    /// Something disturbs the pod's packets, or nothing any more.
    Disturbed(bool),
}

/// Whether a process has a say in what a signal does to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handled {
    /// It ends at once, with 128 and that number (signal(7): SIGKILL and what few programs handle).
    Ends(i64),
    /// It shuts down as it does when it is stopped (SIGTERM).
    ShutsDown,
    /// It goes on.
    GoesOn,
}

/// Tells the kubelets what has happened.
pub type Occurrences = UnboundedSender<Occurrence>;

/// Programs that really do something when their container runs.
pub trait Programs: Send + Sync {
    /// Whether the container of that pod runs one.
    fn runs_in(&self, pod: &Pod) -> bool;
    /// It starts.
    fn start(&self, pod: &Pod);
    /// It gets a SIGTERM.
    fn terminate(&self, uid: &str);
    /// It is dead: its container was killed, or its pod or node is gone.
    fn kill(&self, uid: &str);
    /// Nobody gets to a node's containers any more, which go on.
    fn cut_off(&self, node: &str);
}

/// What kubelets share.
#[derive(Clone, Default)]
pub struct Surroundings {
    /// The way to the pods; none that could be disturbed without it.
    pub paths: Option<Arc<dyn Paths>>,
    /// Programs that really run.
    pub programs: Option<Arc<dyn Programs>>,
}

/// What a pod's containers do at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Sandbox, pull and start.
    Creating { until: Instant },
    /// The image could not be pulled; `backing_off` once the kubelet waits before the next try.
    PullFailed { until: Instant, backing_off: bool },
    /// They have been started.
    Running,
    /// Told to stop; stopped at, then with that exit code.
    Stopping { until: Instant, exit: i64 },
    /// All containers have ended for good.
    Ended { exit: i64 },
}

/// One pod on its node.
#[derive(Debug)]
pub struct Worker {
    /// The pod's UID.
    pub uid: String,
    /// Its node.
    pub node: String,
    /// The node's address.
    address: Option<IpAddr>,
    behaviour: Behaviour,
    stage: Stage,
    ip: Option<String>,
    accepted: Timestamp,
    /// In the order of the spec.
    containers: Vec<Life>,
    failed_pulls: u32,
    /// `activeDeadlineSeconds`, from when the kubelet accepted the pod.
    deadline: Option<Instant>,
    /// Whether that is what has ended it.
    expired: bool,
    seed: u64,
    /// Whether something disturbs its packets.
    disturbed: bool,
    /// Whether its container runs a program; and whether that has been told to start, and to end.
    program: Option<Told>,
}

/// What a program has been told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Start,
    Terminate,
}

/// What a step of a worker comes to.
#[derive(Debug, Default)]
pub struct Step {
    /// Writes, in order.
    pub actions: Vec<Action>,
    /// When to step again although nothing has happened.
    pub next: Option<Instant>,
    /// The kubelet is done with the pod.
    pub done: bool,
}

/// The present, on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Present {
    /// For durations.
    pub instant: Instant,
    /// For timestamps.
    pub time: Timestamp,
}

fn back_off(failures: u32) -> Duration {
    BACKOFF.saturating_mul(1 << failures.saturating_sub(1).min(8)).min(MAX_BACKOFF)
}

impl Worker {
    /// A worker for a pod that has come to a node; one that ran there before goes on running.
    #[must_use]
    pub fn new(pod: &Pod, ip: Option<String>, seed: u64, now: Present) -> (Self, Vec<Action>) {
        let mut actions = Vec::new();
        let behaviour = Behaviour::from_annotations(&pod.meta().annotations).unwrap_or_else(|error| {
            actions.push(warning(&pod.object, SOURCE, "InvalidAnnotation", error.to_string()));
            Behaviour::default()
        });
        let restarts = |name: &str| {
            let status = pod.status.container_statuses.iter().find(|status| status.name == name);
            status.and_then(|status| u32::try_from(status.restart_count).ok()).unwrap_or(0)
        };
        let containers = pod.spec.containers.iter().map(|c| Life::new(restarts(&c.name), now.instant));
        let mut worker = Self {
            uid: pod.uid().to_owned(),
            node: pod.spec.node_name.clone(),
            address: None,
            behaviour,
            stage: Stage::Creating { until: now.instant + CREATE },
            ip,
            accepted: pod.status.start_time.unwrap_or(now.time),
            containers: containers.collect(),
            failed_pulls: 0,
            deadline: None,
            expired: false,
            seed,
            disturbed: false,
            program: None,
        };
        worker.deadline = instants::deadline(pod, worker.accepted, now);
        if pod.status.phase == "Running" {
            let at = Present { instant: now.instant, time: worker.accepted };
            worker.start_all(pod, at);
            if pod.ready() {
                let lives = worker.containers.iter_mut();
                lives.for_each(|life| (life.answers, life.ready) = (now.instant, now.instant));
            }
        }
        (worker, actions)
    }

    /// The pod's address, for its return.
    #[must_use]
    pub fn ip(&self) -> Option<&str> {
        self.ip.as_deref()
    }

    /// Its node has that address; and whether its container runs a program that really does something.
    #[must_use]
    pub fn at(mut self, address: Option<IpAddr>, program: bool) -> Self {
        self.address = address;
        self.program = program.then_some(Told::Nothing);
        self
    }

    /// Carries the pod forward to the present and writes what has changed.
    #[must_use]
    pub fn step(&mut self, pod: &Pod, now: Present, around: &Surroundings) -> Step {
        let mut step = Step::default();
        if pod.terminating() {
            self.stop(pod, now, &mut step.actions);
        }
        self.expire(pod, now, &mut step.actions);
        while self.advance(pod, now, &mut step.actions) {}
        if let Some(paths) = &around.paths {
            self.probe(pod, now, paths.as_ref(), &mut step.actions);
        }
        let ended = matches!(self.stage, Stage::Ended { .. });
        if !pod.finished() || ended {
            let status = status::of(self, pod, now);
            if status != pod.object.field::<Value>("status").unwrap_or_default() {
                step.actions.push(Action::Status(Target::of(&pod.object), status));
            }
        }
        if ended {
            step.done = true;
            if pod.terminating() {
                step.actions.push(Action::Delete(Target::of(&pod.object), Some(0)));
            }
        }
        step.next = self.next(now.instant);
        if let Some(programs) = &around.programs {
            self.tell(pod, programs.as_ref());
        }
        step
    }

    /// Tells the program of its container what has become of it.
    fn tell(&mut self, pod: &Pod, programs: &dyn Programs) {
        let Some(told) = &mut self.program else { return };
        match (self.stage, *told) {
            (Stage::Running, Told::Nothing) => {
                *told = Told::Start;
                programs.start(pod);
            }
            (Stage::Stopping { .. }, Told::Start) => {
                *told = Told::Terminate;
                programs.terminate(&self.uid);
            }
            (Stage::Ended { .. }, Told::Start | Told::Terminate) => {
                self.program = None;
                programs.kill(&self.uid);
            }
            _ => {}
        }
    }

    /// Something has happened to the pod on its node.
    pub fn happen(&mut self, pod: &Pod, what: &What, now: Present) {
        match what {
            What::Disturbed(disturbed) => {
                self.disturbed = *disturbed;
                for life in self.containers.iter_mut().filter(|life| life.runs()) {
                    life.probers.disturbed(*disturbed, life.ready <= now.instant, now.instant);
                }
            }
            What::Exited(exit) => match &mut self.stage {
                Stage::Stopping { until, exit: with } => (*until, *with) = (now.instant, *exit),
                _ => self.containers.iter_mut().for_each(|life| life.ends_at(now.instant, *exit)),
            },
            What::Signal(names, handled) => {
                let (at, exit) = match handled {
                    Handled::Ends(signal) => (now.instant, 128 + signal),
                    Handled::ShutsDown => (now.instant + self.behaviour.shutdown, 0),
                    Handled::GoesOn => return,
                };
                for (container, life) in pod.spec.containers.iter().zip(&mut self.containers) {
                    if names.contains(&container.name) {
                        life.ends_at(at, exit);
                    }
                }
            }
        }
    }

    /// The next instant at which something changes by itself.
    fn next(&self, now: Instant) -> Option<Instant> {
        let by_itself = match self.stage {
            Stage::Creating { until } | Stage::PullFailed { until, .. } | Stage::Stopping { until, .. } => {
                Some(until)
            }
            Stage::Running => self.containers.iter().filter_map(|life| life.next(now)).min(),
            Stage::Ended { .. } => return None,
        };
        by_itself.into_iter().chain(self.deadline.filter(|deadline| *deadline > now)).min()
    }

    /// One transition of the pod that is due, or those of its containers; false when there is none.
    fn advance(&mut self, pod: &Pod, now: Present, actions: &mut Vec<Action>) -> bool {
        let instant = now.instant;
        match self.stage {
            Stage::Creating { until } if until <= instant => {
                if let Some(image) = self.unpullable(pod) {
                    self.failed_pulls += 1;
                    let message = format!("Failed to pull image {image:?}: not found");
                    actions.push(warning(&pod.object, SOURCE, "Failed", message));
                    self.stage = Stage::PullFailed { until: instant + PULL, backing_off: false };
                } else {
                    self.start_all(pod, now);
                }
            }
            Stage::PullFailed { until, backing_off: false } if until <= instant => {
                self.stage =
                    Stage::PullFailed { until: instant + back_off(self.failed_pulls), backing_off: true };
            }
            Stage::PullFailed { until, backing_off: true } if until <= instant => {
                self.stage = Stage::Creating { until: instant + PULL };
            }
            Stage::Running => return self.turn_containers(pod, now, actions),
            Stage::Stopping { until, exit } if until <= instant => {
                for life in self.containers.iter_mut().filter(|life| life.runs()) {
                    life.finish(exit, "Never", now);
                }
                self.stage = Stage::Ended { exit };
            }
            _ => return false,
        }
        true
    }

    /// Containers end and are started again; whether one did.
    fn turn_containers(&mut self, pod: &Pod, now: Present, actions: &mut Vec<Action>) -> bool {
        let mut turned = false;
        for index in 0..self.containers.len() {
            let life = &mut self.containers[index];
            match life.turn {
                Turn::Up { ends: Some((at, exit)) } if at <= now.instant => {
                    let waits = life.finish(exit, &pod.spec.restart_policy, now);
                    if waits.is_some_and(|wait| !wait.is_zero()) {
                        let message = "Back-off restarting failed container".to_owned();
                        actions.push(warning(&pod.object, SOURCE, "BackOff", message));
                    }
                }
                Turn::BackOff { until } if until <= now.instant => {
                    life.turn = Turn::Starting { until: until + PULL };
                }
                Turn::Starting { until } if until <= now.instant => {
                    life.restarts += 1;
                    self.start(pod, index, now);
                }
                _ => continue,
            }
            turned = true;
        }
        let over = self.containers.iter().all(|life| life.turn == Turn::Done);
        if turned && over {
            let exits = self.containers.iter().filter_map(|life| life.end).map(|end| end.exit);
            self.stage = Stage::Ended { exit: exits.max().unwrap_or(0) };
        }
        turned
    }

    /// Probes that something keeps from being as always.
    fn probe(&mut self, pod: &Pod, now: Present, paths: &dyn Paths, actions: &mut Vec<Action>) {
        if !matches!(self.stage, Stage::Running) {
            return;
        }
        let grace = Duration::from_secs(
            pod.spec.termination_grace_period_seconds.map_or(30, |seconds| seconds.max(0) as u64),
        );
        let (wanted, disturbed) = (self.behaviour.shutdown, self.disturbed);
        for (container, life) in pod.spec.containers.iter().zip(&mut self.containers) {
            let answers = life.answers <= now.instant;
            let passes = |port, timeout| {
                answers && paths.passes(Attempt { pod: &self.uid, node: self.address, port, timeout })
            };
            for found in life.probers.look(now.instant, disturbed, &passes) {
                let failed = |kind: &str| {
                    let message = format!("{kind} probe failed: context deadline exceeded");
                    warning(&pod.object, SOURCE, "Unhealthy", message)
                };
                match found {
                    Found::Ready => {}
                    Found::Unready => actions.push(failed("Readiness")),
                    Found::Dead => {
                        actions.push(failed("Liveness"));
                        let message =
                            format!("Container {} failed liveness probe, will be restarted", container.name);
                        actions.push(event(&pod.object, SOURCE, "Killing", message));
                        let exit = if wanted > grace { 137 } else { 0 };
                        life.ends_at(now.instant + wanted.min(grace), exit);
                    }
                }
            }
        }
    }

    fn unpullable<'p>(&self, pod: &'p Pod) -> Option<&'p str> {
        let mut images = pod.spec.containers.iter().map(|c| c.image.as_str());
        if self.behaviour.image_pulls {
            images.find(|i| i.starts_with(UNPULLABLE_REGISTRY))
        } else {
            images.next()
        }
    }

    /// The containers start together, and are ready together.
    fn start_all(&mut self, pod: &Pod, now: Present) {
        (0..self.containers.len()).for_each(|index| self.start(pod, index, now));
        let ready = self.containers.iter().map(|life| life.ready).max().unwrap_or(now.instant);
        self.containers.iter_mut().for_each(|life| life.ready = ready);
        self.stage = Stage::Running;
    }

    fn start(&mut self, pod: &Pod, index: usize, now: Present) {
        let (Some(container), Some(life)) = (pod.spec.containers.get(index), self.containers.get_mut(index))
        else {
            return;
        };
        let restarts = life.restarts.to_string();
        let hash = names::hash(&[&self.seed.to_string(), "startup", pod.namespace(), pod.name(), &restarts]);
        let jitter = self.behaviour.startup_jitter.mul_f64(names::fraction(hash));
        let answers = self.behaviour.startup + jitter;
        let ready = ready_after(container, answers);
        life.turn = Turn::Up { ends: self.behaviour.crash_after.map(|after| (now.instant + after, 1)) };
        life.started = Some(now.time);
        (life.answers, life.ready) = (now.instant + answers, now.instant + ready);
        life.probers = Probers::of(container, now.instant);
        if self.disturbed {
            life.probers.disturbed(true, ready.is_zero(), now.instant);
        }
    }

    /// Begins to stop, or stops sooner when the grace has been shortened.
    fn stop(&mut self, pod: &Pod, now: Present, actions: &mut Vec<Action>) {
        let seconds = pod.meta().deletion_grace_period_seconds.unwrap_or(0).max(0);
        let grace = Duration::from_secs(seconds as u64);
        match self.stage {
            Stage::Ended { .. } => {}
            Stage::Stopping { ref mut until, ref mut exit } => {
                if *until > now.instant + grace {
                    (*until, *exit) = (now.instant + grace, 137);
                }
            }
            Stage::Running if self.containers.iter().any(Life::runs) => {
                for container in &pod.spec.containers {
                    let message = format!("Stopping container {}", container.name);
                    actions.push(event(&pod.object, SOURCE, "Killing", message));
                }
                let hook = pod.spec.containers.iter().map(|c| pre_stop(&c.lifecycle.pre_stop)).max();
                let wanted = hook.unwrap_or_default() + self.behaviour.shutdown;
                let exit = if wanted > grace { 137 } else { 0 };
                self.stage = Stage::Stopping { until: now.instant + wanted.min(grace), exit };
            }
            _ => self.stage = Stage::Stopping { until: now.instant + SYNC, exit: 0 },
        }
    }
}

#[cfg(test)]
mod tests;
