//! Nothing is left behind, whoever dies under a fault: traffic is back to normal in time, on the target's node there is
//! what there was before, no pod of ours remains, and the journal says how it ended.

mod deeds;
mod runner;
mod wire;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use firedrill::{cluster::WebSockets, journal::Entry, types::Verdict};
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use tokio::task::JoinHandle;

use super::{
    agents, define, in_short,
    node::{Dump, Same, left_of},
    sight::{Line, NORMAL, Watch, hits, judge, median, usual_since},
};
use crate::scenarios::{
    bench::{Real, settled},
    blocking,
    objects::{any, namespace},
    play,
    row::{Act, Moment, Row, Sees, row},
    rows::program,
};

/// The step that disturbs.
const STEP: &str = "slow";
/// When it is in force.
const SEEN: Moment = Moment::At("EffectSeen slow.0");
/// Where the reader of the queue has died, but for what a busy machine takes.
const AT_ONCE: Duration = Duration::from_secs(2);
/// What an agent keeps without a beat, and the last beat that was under way.
const TTL: Duration = Duration::from_secs(12);
/// Until a node that was killed is there again, and its pods are.
const BOOTED: Duration = Duration::from_secs(30);
/// How long kubelets may take to clear away what was a pod: after an outage they try the API server again ever more seldom.
const CLEARED: Duration = Duration::from_secs(120);
/// How many end beside each other.
const BESIDE: usize = 5;

/// How one fault ends.
struct Ending {
    row: Row,
    /// How soon traffic is back to normal, from the deed on; None: when the run lifts the fault.
    back: Option<Duration>,
    /// What of the target's node is as before.
    same: Same,
    how: How,
}

/// Who runs it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// This process.
    Here,
    /// This process, over a wire that is cut.
    OverAWire,
    /// A program that is killed.
    Elsewhere,
}

/// A fault on the one pod of `web`, on this node, which one of `client` on the other looks at.
fn on(node: usize, name: &'static str, duration: &str) -> Row {
    let pinned = |name: &str, node: usize| {
        let place = format!(
            "    spec:\n      nodeSelector: {{kubernetes.io/hostname: real-{node}}}\n      termination"
        );
        program(name, 1, 8080).replace("    spec:\n      termination", &place)
    };
    let method = format!(
        "  - name: {STEP}\n    target: {{workload: deployment/web, count: all}}\n    networkLatency: {{delay: 200ms}}\n    duration: {duration}"
    );
    row(name)
        .objects(&[&namespace("$NS", true), &pinned("web", node), &pinned("client", 1 - node)])
        .spec(&any(), &method, "  limits: {pods: 100%, duration: 10m}\n  objectives: {recoverWithin: 2m}")
        .sight(("client", "web", 8080), STEP, Sees::Slower(150.0))
}

/// The fault ends by itself.
fn lapses(row: Row, act: Act, back: Duration) -> Ending {
    let row = row.act(SEEN, act).ends(Verdict::Inconclusive);
    let row = row.journal(&["Reverted slow.0 ExpiredByItself"]);
    Ending { row, back: Some(back), same: Same::Everything, how: How::Here }
}

/// Those that concern nobody but themselves.
fn alone() -> Vec<Ending> {
    let of = |name, act, back| lapses(on(0, name, "60s"), act, back);
    let lives_on = |name, act| {
        let row = on(1, name, "8s").act(SEEN, act);
        Ending { row, back: None, same: Same::Everything, how: How::Here }
    };
    let mut worker = of("the-worker-is-killed", deeds::kills_the_worker, AT_ONCE);
    worker.row = worker.row.journal(&["Reverted slow.0 ExpiredByItself worker had died"]);
    let mut old = lives_on("an-old-epoch-speaks", deeds::speaks_as_of_old);
    old.row = old.row.said("OldEpoch").journal(&["Reverted slow.0 Restored"]);
    let mut restarted = lives_on("the-target-is-restarted", deeds::restarts_the_target);
    (restarted.row, restarted.same) = (restarted.row.journal(&["Reverted slow.0 Restored"]), Same::Network);
    let mut deleted = lives_on("the-target-is-deleted", deeds::deletes_the_target);
    deleted.row = deleted.row.journal(&["Reverted slow.0 TargetGone"]);
    // Its successor has to be there first.
    deleted.back = Some(Duration::from_secs(30));
    let mut cut = of("the-runner-is-cut-off", wire::is_cut, TTL);
    cut.how = How::OverAWire;
    let mut killed = of("the-runner-is-killed", deeds::kills_both, TTL);
    (killed.row.acts, killed.how) = (Vec::new(), How::Elsewhere);
    vec![
        worker,
        of("the-guard-is-killed", deeds::kills_the_guard, AT_ONCE),
        of("guard-and-worker-are-killed", deeds::kills_both, AT_ONCE),
        of("the-containers-are-killed", deeds::kills_its_containers, AT_ONCE),
        of("the-agents-pod-is-deleted", deeds::deletes_the_agent, AT_ONCE),
        old,
        restarted,
        deleted,
        cut,
        killed,
    ]
}

/// What there was before, and everybody who looks.
struct Scene {
    client: kube::Client,
    target: String,
    before: Dump,
    watch: Watch,
    ours: Arc<Mutex<BTreeSet<String>>>,
    noting: JoinHandle<()>,
}

impl Scene {
    async fn begin(client: &kube::Client, row: &Row) -> Result<Self, String> {
        settled(client, row).await?;
        let target = deeds::target(client, row.namespace).await?.metadata.uid.unwrap_or_default();
        let ours: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let (noted, asked, namespace) = (ours.clone(), client.clone(), row.namespace);
        let noting = tokio::spawn(async move {
            loop {
                let agents = deeds::agents(&asked, namespace).await.unwrap_or_default();
                let uids = agents.into_iter().filter_map(|pod| pod.metadata.uid);
                noted.lock().expect("no panic holds it").extend(uids);
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        });
        let (before, watch) = (Dump::of(&target), Watch::start(client.clone(), row));
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(Self { client: client.clone(), target, before, watch, ours, noting })
    }

    /// What is there afterwards; how soon traffic was back, in words.
    async fn end(self, ending: &Ending, (entries, acted): (&[Entry], Timestamp)) -> Result<String, String> {
        let gone = self.ending_of_ours(ending).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let lines = self.watch.end().await;
        self.noting.abort();
        let mut wrong = gone;
        let deleted = ending.row.journal.iter().any(|words| words.contains("TargetGone"));
        if !deleted {
            wrong.extend(self.before.differences(&Dump::of(&self.target), ending.same));
        }
        let said = match ending.back {
            Some(limit) => back(&lines, entries, (acted, limit)),
            None => judge(&ending.row, &lines, entries).map(|figures| figures.join(", ")),
        };
        match said {
            Ok(said) if wrong.is_empty() => Ok(said),
            Ok(_) => Err(wrong.join("\n  ")),
            Err(why) => Err([why, wrong].concat().join("\n  ")),
        }
    }

    /// Waits until nothing of the agents is left on any node and in the API; what is, otherwise.
    async fn ending_of_ours(&self, ending: &Ending) -> Vec<String> {
        let give_up = tokio::time::Instant::now() + CLEARED;
        loop {
            let ours = self.ours.lock().expect("no panic holds it").clone();
            let mut left: Vec<String> = ours.iter().flat_map(|uid| left_of(uid, &deeds::cluster())).collect();
            match deeds::agents(&self.client, ending.row.namespace).await {
                Ok(pods) => left.extend(pods.iter().filter_map(|pod| pod.metadata.name.clone())),
                Err(error) => left.push(error),
            }
            if ours.is_empty() {
                left.push("no agent was ever seen".to_owned());
            }
            if left.is_empty() || tokio::time::Instant::now() >= give_up {
                return left;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

/// Slow from when the effect was seen until the deed, and as usual so soon after it.
fn back(
    lines: &[Line],
    entries: &[Entry],
    (acted, limit): (Timestamp, Duration),
) -> Result<String, Vec<String>> {
    let seen =
        hits(entries).into_iter().find_map(|hit| hit.seen).ok_or(vec!["no effect was seen".to_owned()])?;
    let (mut wrong, mut said) = (Vec::new(), Vec::new());
    for line in lines {
        let during = line.samples.iter().filter(|sample| sample.at >= seen && sample.at < acted);
        if median(during).is_some_and(|took| took < NORMAL) {
            wrong.push(format!("{} was not slow", line.pods[1]));
        }
        if line.left {
            continue;
        }
        match usual_since(line, acted) {
            Some(at) if at.duration_since(acted).unsigned_abs() <= limit => {
                said.push(format!("back after {:.2} s", at.duration_since(acted).as_secs_f64()));
            }
            Some(at) => wrong.push(format!("back after {}, not {limit:?}", at.duration_since(acted))),
            None => wrong.push(format!("{} is not as usual again", line.pods[1])),
        }
    }
    if said.is_empty() {
        wrong.push("nobody saw it come back".to_owned());
    }
    if wrong.is_empty() { Ok(said.join(", ")) } else { Err(wrong) }
}

async fn ends(real: &Real, ending: &Ending) -> Result<String, String> {
    let row = &ending.row;
    let mut place = real.place(row).await?;
    let scene = Scene::begin(&place.client, row).await?;
    if ending.how == How::OverAWire {
        let port = wire::lay(real.address()).await.map_err(|error| error.to_string())?;
        let client = real.through(port).client();
        (place.env.agents, place.env.kube) = (Arc::new(WebSockets::new(client.clone())), client);
    }
    let (entries, acted, summary) = if ending.how == How::Elsewhere {
        let (killed, entries) = runner::is_killed(row).await?;
        (entries, killed, String::new())
    } else {
        let played = play(&place, row).await?;
        let acted = *played.acted.first().ok_or("nobody did anything")?;
        (played.entries, acted, played.summary)
    };
    let said = scene.end(ending, (&entries, acted)).await?;
    told(&entries, row)?;
    Ok(format!("{summary} {said}"))
}

/// The journal of a run that was not played here says what the row asks for.
fn told(entries: &[Entry], row: &Row) -> Result<(), String> {
    let lines: Vec<String> =
        entries.iter().map(|entry| serde_json::to_string(entry).unwrap_or_default()).collect();
    let holds = |line: &String, words: &str| words.split_whitespace().all(|word| line.contains(word));
    match row.journal.iter().find(|words| !lines.iter().any(|line| holds(line, words))) {
        Some(words) => Err(format!("no record holds `{words}`:\n{}", lines.join("\n"))),
        None => Ok(()),
    }
}

fn end_all(what: &str, endings: Vec<Ending>) {
    if let Some(real) = Real::from_env(what).filter(Real::has_metrics) {
        blocking(all(&real, endings));
    }
}

async fn all(real: &Real, mut endings: Vec<Ending>) {
    define(real).await;
    agents::let_in(real).await;
    let only = std::env::var("FIREDRILL_BENCH_ROWS").ok();
    endings.retain(|ending| only.as_ref().is_none_or(|only| ending.row.name.contains(only.as_str())));
    let results = stream::iter(endings).map(|ending| async move {
        let begun = tokio::time::Instant::now();
        let result = ends(real, &ending).await;
        real.clear(&ending.row).await;
        let (name, took) = (ending.row.name, begun.elapsed().as_secs_f64());
        println!("{name:<28} {took:.1} s {}", result.as_ref().unwrap_or_else(|error| error));
        result.map_err(|error| format!("{name}: {error}"))
    });
    let results: Vec<_> = results.buffer_unordered(BESIDE).collect().await;
    let wrong: Vec<String> =
        results.into_iter().filter_map(Result::err).map(|error| in_short(&error)).collect();
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn nothing_is_left_whoever_dies_under_a_fault() {
    end_all("the ends of agents", alone());
}

#[test]
fn a_kubelet_and_a_runtime_die_under_a_fault() {
    let both = vec![
        lapses(on(0, "the-kubelet-is-killed", "60s"), deeds::kills_the_kubelet, TTL),
        lapses(on(1, "the-runtime-is-killed", "60s"), deeds::kills_the_runtime, TTL),
    ];
    end_all("the ends of kubelets", both);
}

/// Last, by its name: for some time afterwards kubelets hear of new pods late.
#[test]
fn the_api_server_dies_under_a_fault() {
    let one = vec![lapses(on(0, "the-api-server-is-away", "60s"), deeds::kills_the_api_server, TTL)];
    end_all("the end of an API server", one);
}

#[test]
fn a_node_dies_under_a_fault() {
    let node = on(0, "the-node-is-killed", "60s");
    let one = vec![Ending { same: Same::Rules, ..lapses(node, deeds::kills_the_node, BOOTED) }];
    end_all("the end of a node", one);
}
