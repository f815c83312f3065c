//! `firedrill sim`

use std::{net::SocketAddr, path::PathBuf};

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};

use super::{connect, stage};
use crate::{
    api,
    sim::{SimConfig, cluster::Cluster, serve},
    types::ExitCode,
};

#[derive(Subcommand)]
pub(super) enum SimCommand {
    /// Serve an embedded cluster on a loopback port, for kubectl and for firedrill run.
    Serve(ServeArgs),
}

#[derive(Args)]
pub(super) struct ServeArgs {
    /// Manifests of the workloads: a folder or file.
    #[arg(long, value_name = "DIR")]
    manifests: Option<PathBuf>,

    /// Where to listen; port 0 takes a free one. Only loopback addresses.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,

    /// Where to write the kubeconfig, readable by its owner only.
    #[arg(long, value_name = "FILE", default_value = "firedrill-sim.kubeconfig")]
    write_kubeconfig: PathBuf,

    /// Seed of all that is random in it.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

pub(super) fn run(command: SimCommand) -> anyhow::Result<ExitCode> {
    let SimCommand::Serve(args) = command;
    let mut objects = api::crds::crds();
    if let Some(path) = &args.manifests {
        objects.extend(stage::manifests(path)?);
    }
    connect::runtime()?.block_on(async {
        let clock = crate::env::Clock::system();
        let config = SimConfig { seed: args.seed, start_time: clock.now(), ..SimConfig::default() };
        let cluster = Cluster::start(&config, &objects)
            .map_err(|status| anyhow!("the embedded cluster refuses a manifest: {}", status.message))?;
        let serving = serve::serve(cluster.sim(), args.listen).await?;
        serving
            .write_kubeconfig(&args.write_kubeconfig)
            .with_context(|| args.write_kubeconfig.display().to_string())?;
        super::print(&format!("KUBECONFIG={}\n", args.write_kubeconfig.display()))?;
        super::say("not there: streams to pods (attach, exec, port-forward), and so agents, which firedrill rehearse has; admission policies; protobuf, which kubectl create KIND sends (kubectl apply does not)");
        super::say(&format!("serving on https://{}; Ctrl-C ends it", serving.address()));
        tokio::signal::ctrl_c().await?;
        serving.stop();
        Ok(ExitCode::Ok)
    })
}
