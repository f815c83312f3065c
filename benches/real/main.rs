//! What firedrill takes on a real API server, side by side with the same calls sent bare and with kubectl, in one
//! run. `tests/real/bench.sh` brings the cluster up and starts it.
//!
//! Prints ratios beside their targets. Nothing fails here but what cannot be measured at all.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "real time is measured")]

mod abort;
mod agents;
mod bare;
mod bench;
mod controller;
mod drain;
#[path = "../figures/mod.rs"]
mod figures;
mod kill;
#[path = "../../tests/all/real/node.rs"]
#[allow(dead_code, reason = "the tests want more of it")]
mod node;
mod targets;
mod zone;

use figures::{Table, load};

fn main() -> bench::Outcome {
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(2).build()?;
    runtime.block_on(async {
        let Some(bench) = bench::Bench::connect().await? else {
            println!("skipped: FIREDRILL_BENCH_KUBECONFIG names no cluster; see tests/real/bench.sh");
            return Ok(());
        };
        let before = load();
        let mut table = Table::default();
        // Any that are named, or all.
        let named: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
        let wanted = |name: &str| named.is_empty() || named.iter().any(|other| other == name);
        if wanted("drain") {
            drain::free(&bench, &mut table).await?;
        }
        if wanted("budget") {
            drain::budget(&bench, &mut table).await?;
        }
        if wanted("kill") {
            kill::half(&bench, &mut table).await?;
        }
        if wanted("zone") {
            zone::outage(&bench, &mut table).await?;
        }
        if wanted("abort") {
            abort::nodes(&bench, &mut table).await?;
        }
        // Takes a larger cluster, and nothing else in it.
        if named.iter().any(|name| name == "controller") {
            controller::all(&bench, &mut table).await?;
        }
        // Takes nodes that nobody keeps.
        if named.iter().any(|name| name == "targets") {
            targets::all(&bench, &mut table).await?;
        }
        // Takes nodes where pods run.
        if named.iter().any(|name| name == "agents") {
            agents::all(&bench, &mut table).await?;
        }
        println!("\nload {before} before, {} after\n\n{table}", load());
        Ok(())
    })
}
