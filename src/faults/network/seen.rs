//! What shows a disturbance: round trips from the agent's own pod to the target, before and while it is in force.

use std::{net::IpAddr, time::Duration};

use kube::api::DynamicObject;

use super::{Hold, SEEN_WITHIN};
use crate::{
    agent::wire::{Effect, Order, Protocol, Report},
    faults::{FaultError, Injection, World, agent_pod::unexpected},
    types::{
        Finding, Length,
        codes::{guard, on_node},
    },
};

/// Round trips of one look.
const COUNT: u32 = 5;
/// The same for losses, which are not seen in every one.
const COUNT_LOSS: u32 = 25;
/// How long an undisturbed round trip may take within a cluster.
pub(super) const UNDISTURBED: Duration = Duration::from_secs(1);
/// How long is waited to hear what was met: that decides nothing yet.
const COUNTED_WITHIN: Duration = Duration::from_secs(1);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);

/// Round trips of one look.
struct Trips {
    /// In order of their length.
    took: Vec<Duration>,
    lost: u32,
}

impl Trips {
    fn median(&self) -> Option<Duration> {
        self.took.get(self.took.len() / 2).copied()
    }
}

/// To the microsecond below a millisecond, else to the tenth of one.
fn rounded(time: Duration) -> Length {
    let unit = if time < Duration::from_millis(1) { 1 } else { 100 };
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    Length(Duration::from_micros(micros / unit * unit))
}

fn address_of(pod: &DynamicObject) -> Option<IpAddr> {
    pod.data["status"]["podIP"].as_str()?.parse().ok()
}

async fn measure(
    hold: &Hold<'_>,
    address: IpAddr,
    (count, timeout): (u32, Duration),
    within: Duration,
) -> Result<Trips, FaultError> {
    let traffic = &hold.action.traffic;
    let order = Order::Measure {
        pod: hold.injection.target.uid.clone(),
        address,
        direction: traffic.measured(),
        protocol: traffic.protocol.unwrap_or(Protocol::Tcp),
        port: traffic.measured_port(),
        count,
        timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(1_000).clamp(1, 10_000),
    };
    match hold.world.agents.order(&hold.agent, order, within + timeout * count).await {
        Ok(Report::Measured { mut rtt_us, lost, .. }) => {
            rtt_us.sort_unstable();
            Ok(Trips { took: rtt_us.into_iter().map(Duration::from_micros).collect(), lost })
        }
        Ok(other) => Err(unexpected(&hold.agent, &other)),
        Err(error) => Err(FaultError::agent(format!("measuring {}", hold.injection.target))(error)),
    }
}

/// Measures before it is in force: what cannot be measured then could not be seen to change.
pub(super) async fn before(hold: &Hold<'_>, pod: &DynamicObject) -> Result<(), FaultError> {
    let (world, injection) = (hold.world, hold.injection);
    if world.agents.undisturbed(&injection.id).is_some() {
        return Ok(());
    }
    let target = &injection.target;
    let Some(address) = address_of(pod) else {
        let finding = Finding::error(on_node::NOT_RUNNING, target, "it has no address yet");
        return Err(finding.remedy("wait until it runs").into());
    };
    let trips = measure(hold, address, (COUNT, UNDISTURBED), SEEN_WITHIN).await?;
    let Some(median) = trips.median() else {
        let why = format!("{address} does not answer a pod beside it, with nothing in its way yet");
        let remedy = "let the agents' namespace through its NetworkPolicies; its kernel answers on any port";
        return Err(Finding::error(guard::NOT_REACHABLE, target, why).remedy(remedy).into());
    };
    world.agents.keep_undisturbed(&injection.id, median);
    Ok(())
}

/// Returns what was seen, once round trips show the effect.
pub(in crate::faults) async fn observe(world: &World, injection: &Injection) -> String {
    let Ok(hold) = Hold::of(world, injection) else { return std::future::pending().await };
    let mut lost = (0, 0);
    loop {
        if let Some(seen) = look(&hold, &mut lost).await {
            return match so_far(&hold).await {
                Some(met) => format!("{seen}; {} so far", super::met_in_words(met)),
                None => seen,
            };
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// How many packets of others it has met; None if that cannot be told now.
async fn so_far(hold: &Hold<'_>) -> Option<u64> {
    let order = Order::Count { injection: hold.injection.id.clone() };
    match hold.world.agents.order(&hold.agent, order, COUNTED_WITHIN).await {
        Ok(Report::Counted { met, .. }) => Some(met),
        _ => None,
    }
}

async fn look(hold: &Hold<'_>, sum: &mut (u32, u32)) -> Option<String> {
    let before = hold.world.agents.undisturbed(&hold.injection.id)?;
    let pod = hold.world.access.get(&hold.injection.target).await.ok()?;
    let address = address_of(&pod)?;
    let short = (before * 4).max(Duration::from_millis(50));
    let was = rounded(before);
    match hold.action.effect {
        Effect::Latency { delay_us, jitter_us, .. } => {
            let delay = Duration::from_micros(delay_us);
            let timeout = before + delay + Duration::from_micros(jitter_us) * 4 + UNDISTURBED;
            let trips = measure(hold, address, (COUNT, timeout), Duration::from_secs(5)).await.ok()?;
            let now = trips.median().filter(|now| *now >= before + delay / 2)?;
            Some(format!("a round trip from another pod took {was} before, and takes {} since", rounded(now)))
        }
        Effect::Loss { .. } => {
            let trips = measure(hold, address, (COUNT_LOSS, short), Duration::from_secs(5)).await.ok()?;
            *sum = (sum.0 + trips.lost, sum.1 + COUNT_LOSS);
            (sum.0 > 0).then(|| format!("{} of {} round trips from another pod were lost", sum.0, sum.1))
        }
        Effect::Partition => {
            let trips = measure(hold, address, (COUNT, short), Duration::from_secs(5)).await.ok()?;
            trips.took.is_empty().then(|| {
                format!(
                    "a round trip from another pod took {was} before, and none of {COUNT} comes back since"
                )
            })
        }
    }
}

/// What a round trip takes again; None if that cannot be told.
pub(super) async fn again(hold: &Hold<'_>) -> Option<String> {
    let before = hold.world.agents.undisturbed(&hold.injection.id)?;
    let pod = hold.world.access.get(&hold.injection.target).await.ok()?;
    let address = address_of(&pod)?;
    let trips = measure(hold, address, (1, UNDISTURBED), Duration::from_secs(1)).await.ok()?;
    let now = rounded(trips.median()?);
    Some(format!("a round trip takes {now} again, and took {} before", rounded(before)))
}
