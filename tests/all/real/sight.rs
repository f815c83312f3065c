//! What pods see of each other: connections from within the network of one to the address of another, one after the
//! other for as long as a row is played, held against what its journal says was in force.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "real time is measured")]

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use firedrill::journal::{Entry, Record};
use jiff::Timestamp;
use kube::api::{DynamicObject, ListParams};
use serde_json::Value;

use super::node;
use crate::scenarios::{
    row::{Row, Sees, Sight},
    state::api,
};

/// Milliseconds within which an undisturbed connection is there, most times, however busy the machine is.
pub const NORMAL: f64 = 60.0;
/// After which a connection counts as lost: before its first packet is sent again.
const LOST: Duration = Duration::from_millis(700);
/// Between two connections.
const PAUSE: Duration = Duration::from_millis(40);
/// Between two looks for pods.
const LOOK: Duration = Duration::from_millis(300);
/// Longer before its record than a fault is lifted.
const LIFTING: jiff::SignedDuration = jiff::SignedDuration::from_millis(400);
/// So much of what was seen last of a pod that went away is not held against anybody.
const LEAVING: f64 = 2.0;

/// A connection that was tried.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When it was begun.
    pub at: Timestamp,
    /// Milliseconds; infinite if it was lost.
    pub took: f64,
}

impl Sample {
    fn ended(&self) -> Timestamp {
        let took = if self.took.is_finite() { self.took } else { LOST.as_secs_f64() * 1000.0 };
        self.at + jiff::SignedDuration::from_micros((took * 1000.0) as i64)
    }
}

/// What one pod saw of another.
#[derive(Clone, Debug)]
pub struct Line {
    /// The names of the two.
    pub pods: [String; 2],
    /// Which of the row's.
    pub sight: usize,
    /// Whether one of the two went away, or has another address now.
    pub left: bool,
    pub samples: Vec<Sample>,
}

/// A line that is being drawn.
struct Open {
    line: Arc<Mutex<Line>>,
    goes_on: Arc<AtomicBool>,
    left: Option<Timestamp>,
}

/// Everything that a row's pods see of each other, until it is asked for.
pub struct Watch {
    over: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Vec<Line>>,
}

impl Watch {
    /// Begins to look.
    pub fn start(client: kube::Client, row: &Row) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let task = look(client, row.namespace.to_owned(), row.sights.clone(), over.clone());
        Self { over, task: tokio::spawn(task) }
    }

    /// What was seen.
    pub async fn end(self) -> Vec<Line> {
        self.over.store(true, Ordering::Relaxed);
        self.task.await.expect("looking does not panic")
    }
}

/// A pod that can be seen, or see.
#[derive(Clone, Debug)]
struct Pod {
    name: String,
    app: String,
    address: std::net::IpAddr,
    uid: String,
}

fn seen(object: &DynamicObject) -> Option<Pod> {
    let text = |pointer: &str| object.data.pointer(pointer).and_then(Value::as_str);
    let metadata = &object.metadata;
    let there = metadata.deletion_timestamp.is_none() && text("/status/phase") == Some("Running");
    there.then_some(())?;
    Some(Pod {
        name: metadata.name.clone()?,
        app: metadata.labels.as_ref()?.get("app")?.clone(),
        address: text("/status/podIP")?.parse().ok()?,
        uid: metadata.uid.clone()?,
    })
}

async fn look(
    client: kube::Client,
    namespace: String,
    sights: Vec<Sight>,
    over: Arc<AtomicBool>,
) -> Vec<Line> {
    let mut open: BTreeMap<(usize, String, SocketAddr), Open> = BTreeMap::new();
    while !over.load(Ordering::Relaxed) {
        // Without an answer everything stays as it is.
        if let Ok(pods) = api(&client, ("", "v1", "Pod"), &namespace).list(&ListParams::default()).await {
            let pods: Vec<Pod> = pods.items.iter().filter_map(seen).collect();
            renew(&mut open, &pods, &sights);
        }
        tokio::time::sleep(LOOK).await;
    }
    open.into_values().map(Open::into_line).collect()
}

impl Open {
    fn begin((number, sight): (usize, Sight), from: &Pod, to: &Pod) -> Option<Self> {
        let pid = node::processes(&from.uid).first()?.pid;
        let pods = [from.name.clone(), to.name.clone()];
        let line = Arc::new(Mutex::new(Line { pods, sight: number, left: false, samples: Vec::new() }));
        let goes_on = Arc::new(AtomicBool::new(true));
        let (drawn, going) = (line.clone(), goes_on.clone());
        let address = SocketAddr::new(to.address, sight.port);
        node::beside(pid, move || {
            while going.load(Ordering::Relaxed) {
                let sample = connect(address);
                drawn.lock().expect("no panic holds it").samples.push(sample);
                thread::sleep(PAUSE);
            }
        })
        .ok()?;
        Some(Self { line, goes_on, left: None })
    }

    fn into_line(self) -> Line {
        self.goes_on.store(false, Ordering::Relaxed);
        let mut line = self.line.lock().expect("no panic holds it").clone();
        if let Some(left) = self.left {
            line.left = true;
            line.samples.retain(|sample| left.duration_since(sample.at).as_secs_f64() > LEAVING);
        }
        line
    }
}

fn renew(open: &mut BTreeMap<(usize, String, SocketAddr), Open>, pods: &[Pod], sights: &[Sight]) {
    let mut there = Vec::new();
    for (number, sight) in sights.iter().enumerate() {
        for from in pods.iter().filter(|pod| pod.app == sight.from) {
            for to in pods.iter().filter(|pod| pod.app == sight.to) {
                let key = (number, from.uid.clone(), SocketAddr::new(to.address, sight.port));
                if !open.contains_key(&key)
                    && let Some(begun) = Open::begin((number, *sight), from, to)
                {
                    open.insert(key.clone(), begun);
                }
                there.push(key);
            }
        }
    }
    for (_, gone) in open.iter_mut().filter(|(key, of)| of.left.is_none() && !there.contains(key)) {
        gone.goes_on.store(false, Ordering::Relaxed);
        gone.left = Some(Timestamp::now());
    }
}

/// A port where nobody listens answers as well.
fn connect(address: SocketAddr) -> Sample {
    let at = Timestamp::now();
    let begun = std::time::Instant::now();
    let answered = match std::net::TcpStream::connect_timeout(&address, LOST) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
    };
    let took = begun.elapsed().as_secs_f64() * 1000.0;
    Sample { at, took: if answered { took } else { f64::INFINITY } }
}

/// The middle one, in milliseconds.
pub fn median<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> Option<f64> {
    let mut took: Vec<f64> = samples.into_iter().map(|sample| sample.took).collect();
    took.sort_unstable_by(f64::total_cmp);
    took.get(took.len() / 2).copied()
}

/// Since when a line is as usual for good: the first of five connections most of which are. None: it is not.
pub fn usual_since(line: &Line, from: Timestamp) -> Option<Timestamp> {
    let after: Vec<Sample> = line.samples.iter().filter(|sample| sample.at >= from).copied().collect();
    let disturbed = after.windows(5).rposition(|five| median(five).is_some_and(|took| took > NORMAL));
    match disturbed {
        None => after.first().map(|sample| sample.at),
        Some(last) => after.get(last + 3).filter(|_| after.len() > last + 5).map(|sample| sample.at),
    }
}

/// When a fault hit a pod, was seen to, and was taken back, as the journal says.
#[derive(Clone, Debug)]
pub struct Hit {
    /// The pod's name.
    pub pod: String,
    step: String,
    intended: Timestamp,
    /// None: it was not.
    pub seen: Option<Timestamp>,
    reverting: Timestamp,
    reverted: Timestamp,
}

/// The faults of a run.
pub fn hits(entries: &[Entry]) -> Vec<Hit> {
    let mut hits: BTreeMap<String, Hit> = BTreeMap::new();
    for Entry { at, record, .. } in entries {
        match record {
            Record::InjectIntended { step, injections, .. } => {
                for injection in injections {
                    let (pod, step) = (injection.target.name.clone(), step.clone());
                    let far = Timestamp::MAX;
                    let hit = Hit { pod, step, intended: *at, seen: None, reverting: far, reverted: far };
                    hits.insert(injection.id.to_string(), hit);
                }
            }
            Record::EffectSeen { injection, .. } => {
                hits.entry(injection.to_string()).and_modify(|hit| hit.seen = Some(*at));
            }
            Record::RevertStarted { injections } => {
                for id in injections {
                    hits.entry(id.to_string()).and_modify(|hit| hit.reverting = hit.reverting.min(*at));
                }
            }
            Record::Reverted { injection, .. } => {
                hits.entry(injection.to_string()).and_modify(|hit| {
                    hit.reverted = *at;
                    // What ends with its step is taken back without a record of the intention.
                    hit.reverting = hit.reverting.min(*at - LIFTING);
                });
            }
            _ => {}
        }
    }
    hits.into_values().collect()
}

/// Everything that was seen and should not have been; a line of figures a sight otherwise.
pub fn judge(row: &Row, lines: &[Line], entries: &[Entry]) -> Result<Vec<String>, Vec<String>> {
    let (hits, mut wrong, mut figures) = (hits(entries), Vec::new(), Vec::new());
    for (number, sight) in row.sights.iter().enumerate() {
        let of_sight: Vec<&Line> = lines.iter().filter(|line| line.sight == number).collect();
        let mut hit_lines = 0;
        for line in of_sight {
            let name = format!("{} → {}:{} ({})", line.pods[0], line.pods[1], sight.port, sight.step);
            let of_line: Vec<&Hit> = hits.iter().filter(|hit| line.pods.contains(&hit.pod)).collect();
            let result = match of_line.iter().find(|hit| hit.step == sight.step) {
                Some(hit) => {
                    hit_lines += 1;
                    hit_line(line, sight, hit).and_then(|said| around(line, &of_line).map(|()| said))
                }
                None => around(line, &[]).map(|()| String::new()),
            };
            match result {
                Ok(said) if said.is_empty() => {}
                Ok(said) => figures.push(format!("{name}: {said}")),
                Err(why) => wrong.push(format!("{name}: {why}")),
            }
        }
        if hit_lines == 0 {
            wrong.push(format!("nobody saw {} → {} of a pod that was hit", sight.from, sight.to));
        }
    }
    if wrong.is_empty() { Ok(figures) } else { Err(wrong) }
}

/// While it was in force.
fn hit_line(line: &Line, sight: &Sight, hit: &Hit) -> Result<String, String> {
    let seen = hit.seen.ok_or("its effect is not in the journal")?;
    let during: Vec<&Sample> =
        line.samples.iter().filter(|sample| sample.at >= seen && sample.ended() <= hit.reverting).collect();
    let lost = during.iter().filter(|sample| sample.took.is_infinite()).count();
    let middle = median(during.iter().copied()).ok_or("nothing was seen while it was in force")?;
    let said = format!("{} connections, {middle:.1} ms, {lost} lost", during.len());
    let as_meant = match sight.sees {
        Sees::Slower(least) => middle >= least && middle.is_finite(),
        Sees::Loses => lost > 0 && lost < during.len(),
        Sees::Nothing => lost == during.len(),
        Sees::AsBefore => middle <= NORMAL && lost == 0,
    };
    if as_meant { Ok(said) } else { Err(format!("{:?} was meant; {said}", sight.sees)) }
}

/// Before anything was meant, and after everything was taken back; always, where nothing hit it.
fn around(line: &Line, hits: &[&Hit]) -> Result<(), String> {
    let first = hits.iter().map(|hit| hit.intended).min().unwrap_or(Timestamp::MAX);
    let last = hits.iter().map(|hit| hit.reverted).max().unwrap_or(Timestamp::MIN);
    let before = line.samples.iter().filter(|sample| sample.ended() < first);
    let after = line.samples.iter().filter(|sample| sample.at > last);
    for (when, samples) in [("before", before.collect::<Vec<_>>()), ("after", after.collect())] {
        // A pod that was born later saw nothing before.
        let middle = median(samples.iter().copied()).unwrap_or(0.0);
        let lost = samples.iter().filter(|sample| sample.took.is_infinite()).count();
        if middle > NORMAL || lost > 0 {
            return Err(format!("{when}: {middle:.1} ms, {lost} of {} lost", samples.len()));
        }
    }
    Ok(())
}
