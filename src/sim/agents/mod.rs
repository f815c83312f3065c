//! Agents in the embedded cluster: pods whose image is `firedrill-agent` hold sessions as the real one does, with the
//! same [`Desk`](crate::agent::wire::Desk), and carry out orders on the simulated network and kubelets.
//!
//! An agent runs as long as the container `agent` of its pod does. Whatever ends it (its own Desk, the deletion of the
//! pod, a signal, the end of its node) takes away at once what it has put on the packets of pods, as the kernel does in
//! reality. That its node's kubelet is silent does not end it: nobody gets to it any more, and its time to live does.

mod stream;
mod worker;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::DuplexStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use self::stream::Stream;
use self::worker::Worker;
use super::apiserver::{ApiServer, AttachBroken, Logs, User};
use super::controllers::views::{Key, Pod};
use super::kubelet::{Occurrence, Occurrences, Programs, What};
use super::store::{Status, Store};
use super::traffic::wiring::ClusterMetrics;
use crate::types::is_agent_image;

/// The container of an agent's pod.
pub const CONTAINER: &str = "agent";
/// How much an attached stream holds that nobody has read.
const BUFFER: usize = 64 * 1024;
/// How many lines of a log are kept.
const LOGGED: usize = 50;

/// All agents of one cluster; clones are the same.
#[derive(Clone)]
pub struct Agents(Arc<Inner>);

struct Inner {
    store: Store,
    metrics: Arc<ClusterMetrics>,
    occurrences: Occurrences,
    seed: u64,
    /// Those that run, by the UID of their pod.
    running: Mutex<BTreeMap<String, Process>>,
    /// What they have said last, of those that have ended too as long as their pod is there.
    logs: Mutex<BTreeMap<String, VecDeque<String>>>,
}

/// One that runs.
struct Process {
    node: String,
    /// Its standard input, which all who are attached share.
    input: mpsc::UnboundedSender<Vec<u8>>,
    /// Those who hear what it says.
    listeners: Vec<mpsc::UnboundedSender<String>>,
    terminate: watch::Sender<bool>,
    cut_off: watch::Sender<u64>,
    task: JoinHandle<()>,
}

/// Why nobody is attached.
#[derive(Debug)]
pub enum AttachFailure {
    /// The API server's answer.
    Answered(Status),
    /// The connection broke.
    Broken(String),
}

impl From<Status> for AttachFailure {
    fn from(status: Status) -> Self {
        Self::Answered(status)
    }
}

impl Agents {
    /// None so far. What they do to containers and packets the kubelets are told through `occurrences`.
    #[must_use]
    pub fn new(store: &Store, metrics: &Arc<ClusterMetrics>, occurrences: Occurrences, seed: u64) -> Self {
        let (store, metrics) = (store.clone(), metrics.clone());
        let (running, logs) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Inner { store, metrics, occurrences, seed, running, logs }))
    }

    /// Attaches somebody to the container [`CONTAINER`] of a pod, which has that UID unless it is empty: to its standard
    /// input and output. Who is attached hears what is said from then on.
    ///
    /// # Errors
    /// What the API server answers, or that the connection breaks.
    pub async fn attach(
        &self,
        server: &ApiServer,
        user: User,
        (namespace, name, uid): (&str, &str, &str),
    ) -> Result<DuplexStream, AttachFailure> {
        let dropped = server.meet_attach(&user, (namespace, name)).await.map_err(|broken| match broken {
            AttachBroken::Answered(status) => AttachFailure::Answered(status),
            AttachBroken::Broken(why) => AttachFailure::Broken(why),
        })?;
        let pod = server.attachable(&user, (namespace, name), CONTAINER)?;
        let (client, theirs) = tokio::io::duplex(BUFFER);
        let wanted = if uid.is_empty() { pod.as_str() } else { uid };
        let stream = self.0.listen(wanted, theirs).filter(|_| wanted == pod).ok_or_else(|| {
            Status::bad_request(format!("container {CONTAINER} not found in pod {name}_{namespace}"))
        })?;
        if !dropped {
            tokio::spawn(stream.carry(server.mischief().clone()));
        }
        Ok(client)
    }
}

impl Agents {
    /// Ends all of them, with the cluster.
    pub(super) fn end_all(&self) {
        for process in std::mem::take(&mut *self.0.lock()).into_values() {
            process.task.abort();
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Process>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen(&self, uid: &str, client: DuplexStream) -> Option<Stream> {
        let mut running = self.lock();
        let process = running.get_mut(uid)?;
        let (listener, output) = mpsc::unbounded_channel();
        process.listeners.push(listener);
        let cut_off = process.cut_off.subscribe();
        Some(Stream { client, input: process.input.clone(), output, cut_off })
    }

    fn logs(&self) -> MutexGuard<'_, BTreeMap<String, VecDeque<String>>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An agent says a line to all who listen, and to its log.
    fn say(&self, uid: &str, line: &str) {
        let mut logs = self.logs();
        let log = logs.entry(uid.to_owned()).or_default();
        log.push_back(line.to_owned());
        log.drain(..log.len().saturating_sub(LOGGED));
        drop(logs);
        if let Some(process) = self.lock().get_mut(uid) {
            process.listeners.retain(|listener| listener.send(line.to_owned()).is_ok());
        }
    }

    /// The end of an agent: whatever it has put anywhere is gone. Whether it ran.
    fn end(&self, uid: &str) -> Option<Process> {
        let process = self.lock().remove(uid)?;
        self.lift(|_, agent, _| agent == uid);
        Some(process)
    }

    /// Takes away what fits, by pod, agent and injection. Whether there was any, and how many packets it had met.
    fn lift(&self, fits: impl Fn(&str, &str, &str) -> bool) -> (bool, u64) {
        let lifted = self.metrics.lift(|pod, held| fits(pod, &held.agent, &held.injection.0));
        for pod in &lifted.free {
            self.occur(pod, What::Disturbed(false));
        }
        (lifted.any, lifted.met)
    }

    /// Tells the kubelets what has happened to a pod, by UID.
    fn occur(&self, uid: &str, what: What) {
        let Some(pod) = self.store.pod_by_uid(uid) else { return };
        let pod = Key::new(&pod.meta.namespace, &pod.meta.name);
        // Nobody receives when the control loops have ended, and then nothing happens any more.
        drop(self.occurrences.send(Occurrence { pod, uid: uid.to_owned(), what }));
    }
}

impl Logs for Agents {
    fn log(&self, pod: &str, container: &str) -> Option<String> {
        let logs = self.0.logs();
        let log = logs.get(pod).filter(|_| container == CONTAINER)?;
        Some(log.iter().map(String::as_str).collect())
    }
}

impl Programs for Agents {
    fn runs_in(&self, pod: &Pod) -> bool {
        pod.spec.containers.iter().any(|c| c.name == CONTAINER && is_agent_image(&c.image))
    }

    fn start(&self, pod: &Pod) {
        self.0.logs().retain(|uid, _| self.0.store.pod_by_uid(uid).is_some());
        let (input, lines) = mpsc::unbounded_channel();
        let (terminate, terminated) = watch::channel(false);
        let args: Vec<String> = pod
            .spec
            .containers
            .iter()
            .filter(|c| c.name == CONTAINER)
            .flat_map(|c| c.args.iter().cloned())
            .collect();
        let worker = Worker::new(self.clone(), pod, &args);
        let mut running = self.0.lock();
        let task = tokio::spawn(worker.run(lines, terminated));
        let node = pod.spec.node_name.clone();
        let cut_off = watch::Sender::new(0);
        let process = Process { node, input, listeners: Vec::new(), terminate, cut_off, task };
        running.insert(pod.uid().to_owned(), process);
    }

    fn terminate(&self, uid: &str) {
        if let Some(process) = self.0.lock().get(uid) {
            process.terminate.send_replace(true);
        }
    }

    fn kill(&self, uid: &str) {
        if let Some(process) = self.0.end(uid) {
            process.task.abort();
        }
    }

    fn cut_off(&self, node: &str) {
        for process in self.0.lock().values().filter(|process| process.node == node) {
            process.cut_off.send_modify(|cuts| *cuts += 1);
        }
    }
}

/// What an agent takes to program the network of a pod.
const PROGRAMMING: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests;
