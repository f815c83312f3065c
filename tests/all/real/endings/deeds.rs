//! What ends an agent, a target, a server or a node under a fault.

use std::{path::PathBuf, time::Duration};

use firedrill::{
    agent::wire::{Order, OrderLine, ReportLine, VERSION, frame},
    types::{AGENT_NAMESPACE, Epoch, ObjectRef, RunId},
};
use futures::future::BoxFuture;
use kube::api::{DeleteParams, DynamicObject, ListParams};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    real::node::{self, Process},
    scenarios::{row::Actor, state::api},
};

type Done = BoxFuture<'static, Result<String, String>>;

const POD: (&str, &str, &str) = ("", "v1", "Pod");
/// Longer than an agent keeps anything without a beat.
const SILENCE: Duration = Duration::from_secs(20);
/// How long the API server is away.
const AWAY: Duration = Duration::from_secs(30);
const RUN: &str = "firedrill.dev/run";

/// The agents of the runs of a namespace: each run is called after its experiment, and that after its namespace.
pub async fn agents(client: &kube::Client, namespace: &str) -> Result<Vec<DynamicObject>, String> {
    let pods = api(client, POD, AGENT_NAMESPACE).list(&ListParams::default()).await;
    let pods = pods.map_err(|error| error.to_string())?.items;
    let run = format!("{namespace}-");
    let ours = |pod: &DynamicObject| {
        pod.metadata.labels.as_ref().and_then(|labels| labels.get(RUN)).is_some_and(|of| of.starts_with(&run))
    };
    Ok(pods.into_iter().filter(ours).collect())
}

async fn agent(actor: &Actor) -> Result<DynamicObject, String> {
    agents(&actor.client, &actor.namespace).await?.pop().ok_or_else(|| "there is no agent".to_owned())
}

/// The guard and the worker of the agent.
async fn guard_and_worker(actor: &Actor) -> Result<(Process, Process), String> {
    let running = node::processes(&agent(actor).await?.metadata.uid.unwrap_or_default());
    let child = |of: &Process| running.iter().find(|one| one.parent == of.pid).cloned();
    let both = running.iter().find_map(|one| Some((one.clone(), child(one)?)));
    both.ok_or_else(|| format!("no guard and worker among {running:?}"))
}

fn killed(process: &Process) -> String {
    node::kill(process);
    format!("killed {process:?}")
}

/// Kills the agent's worker.
pub fn kills_the_worker(actor: Actor) -> Done {
    Box::pin(async move { Ok(killed(&guard_and_worker(&actor).await?.1)) })
}

/// Kills its guard.
pub fn kills_the_guard(actor: Actor) -> Done {
    Box::pin(async move { Ok(killed(&guard_and_worker(&actor).await?.0)) })
}

/// Kills both at once.
pub fn kills_both(actor: Actor) -> Done {
    Box::pin(async move {
        let (guard, worker) = guard_and_worker(&actor).await?;
        Ok(killed(&guard) + &killed(&worker))
    })
}

/// Kills everything of the agent's pod on its node: its container and the one that holds its place.
pub fn kills_its_containers(actor: Actor) -> Done {
    Box::pin(async move {
        let uid = agent(&actor).await?.metadata.uid.unwrap_or_default();
        Ok(node::processes(&uid).iter().rev().map(killed).collect())
    })
}

async fn delete(client: &kube::Client, pod: &DynamicObject) -> Result<String, String> {
    let (name, namespace) = (pod.metadata.name.clone(), pod.metadata.namespace.clone());
    let pods = api(client, POD, &namespace.unwrap_or_default());
    let now = DeleteParams::default().grace_period(0);
    let done = pods.delete(&name.unwrap_or_default(), &now).await;
    done.map(|_| String::new()).map_err(|error| error.to_string())
}

/// Deletes the agent's pod by force.
pub fn deletes_the_agent(actor: Actor) -> Done {
    Box::pin(async move { delete(&actor.client, &agent(&actor).await?).await })
}

/// The pod that the fault hits.
pub async fn target(client: &kube::Client, namespace: &str) -> Result<DynamicObject, String> {
    let of_web = ListParams::default().labels("app=web");
    let pods = api(client, POD, namespace).list(&of_web).await.map_err(|error| error.to_string())?;
    let alive = pods.items.into_iter().find(|pod| pod.metadata.deletion_timestamp.is_none());
    alive.ok_or_else(|| "there is no pod of web".to_owned())
}

/// Deletes the target.
pub fn deletes_the_target(actor: Actor) -> Done {
    Box::pin(async move { delete(&actor.client, &target(&actor.client, &actor.namespace).await?).await })
}

/// Kills the target's container, which its kubelet starts again.
pub fn restarts_the_target(actor: Actor) -> Done {
    Box::pin(async move {
        let uid = target(&actor.client, &actor.namespace).await?.metadata.uid.unwrap_or_default();
        // The first holds the pod's place.
        Ok(node::processes(&uid).iter().skip(1).map(killed).collect())
    })
}

/// Where the cluster's state is.
pub fn cluster() -> PathBuf {
    let kubeconfig = std::env::var_os("FIREDRILL_BENCH_KUBECONFIG").map(PathBuf::from).unwrap_or_default();
    kubeconfig.parent().map(PathBuf::from).unwrap_or_default()
}

/// Has the bench kill one of its servers, or start it again.
async fn bench(verb: &'static str, name: &'static str) -> Result<(), String> {
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real/cluster.sh");
    let mut command = std::process::Command::new(script);
    command.args([verb, name, "--dir"]).arg(cluster());
    let output =
        tokio::task::spawn_blocking(move || command.output()).await.map_err(|error| error.to_string())?;
    let output = output.map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(format!("{verb} {name}: {said}")) }
}

fn away(name: &'static str, time: Duration) -> Done {
    Box::pin(async move {
        bench("stop", name).await?;
        tokio::time::sleep(time).await;
        bench("start", name).await?;
        Ok(String::new())
    })
}

/// Kills the kubelet of the target's node, and starts it again later.
pub fn kills_the_kubelet(_: Actor) -> Done {
    away("real-0-kubelet", SILENCE)
}

/// The same with the other node's container runtime.
pub fn kills_the_runtime(_: Actor) -> Done {
    away("real-1-containerd", SILENCE)
}

/// The same with the API server.
pub fn kills_the_api_server(_: Actor) -> Done {
    away("apiserver", AWAY)
}

/// Kills everything on the target's node at once, and starts the node again.
pub fn kills_the_node(_: Actor) -> Done {
    away("real-0", Duration::from_secs(1))
}

/// Attaches beside the run, as an owner of before would, and orders the agent to end; its answer in words.
pub fn speaks_as_of_old(actor: Actor) -> Done {
    Box::pin(async move {
        let pod = agent(&actor).await?;
        let run = pod.metadata.labels.as_ref().and_then(|labels| labels.get(RUN)).cloned();
        let run = RunId::parse(&run.unwrap_or_default()).ok_or("no run")?;
        let at = ObjectRef::pod(AGENT_NAMESPACE, &pod.metadata.name.unwrap_or_default());
        let mut stream = actor.env.agents.attach(&at).await.map_err(|error| error.to_string())?;
        let line = |seq, order| OrderLine {
            version: VERSION,
            run: run.clone(),
            epoch: Epoch(0),
            session: "old".to_owned(),
            seq,
            tick: 0,
            order,
        };
        let text =
            format!("\n{}{}", frame::encode(&line(1, Order::Hello)), frame::encode(&line(2, Order::Leave)));
        let sent = async {
            stream.orders.write_all(text.as_bytes()).await?;
            stream.orders.flush().await
        };
        sent.await.map_err(|error| error.to_string())?;
        let heard = tokio::time::timeout(Duration::from_secs(5), answers(&mut stream.reports)).await;
        heard.map_err(|_| "it does not answer".to_owned())?
    })
}

/// The answers to the two orders of the session `old`.
async fn answers(reports: &mut (dyn tokio::io::AsyncRead + Send + Unpin)) -> Result<String, String> {
    let (mut lines, mut bytes, mut said) = (frame::Lines::default(), vec![0; 4096], Vec::new());
    while said.len() < 2 {
        let length = reports.read(&mut bytes).await.map_err(|error| error.to_string())?;
        if length == 0 {
            return Err(format!("the stream has ended after {said:?}"));
        }
        for line in lines.push(&bytes[..length]) {
            if let Ok(report) = frame::decode::<ReportLine>(&line)
                && report.session == "old"
            {
                said.push(format!("{:?}", report.report));
            }
        }
    }
    Ok(said.join(" and "))
}
