//! `firedrill controller`

use anyhow::Context as _;
use clap::Args;

use super::{Global, connect, signals::Signals};
use crate::{
    controller::{self, Settings},
    engine::Outside,
    probes::Source,
    types::ExitCode,
};

#[derive(Args)]
#[command(
    after_help = "In a pod it reads POD_NAME and POD_UID, and uses the pod's own account; elsewhere the \
kubeconfig. Logs are JSON on standard error; FIREDRILL_LOG chooses how much, as in firedrill=debug. SIGTERM puts \
everything back that is in force, for 25 s at the most; what is left then is taken up by another replica."
)]
pub(super) struct ControllerArgs {
    #[command(flatten)]
    namespace: NamespaceArgs,

    /// Where PromQL is answered when a file does not say: URL, or service/NAMESPACE/NAME:PORT.
    #[arg(long, value_name = "SOURCE", env = "FIREDRILL_PROMETHEUS", value_parser = super::metric_source)]
    prometheus: Option<String>,

    /// What the cluster is called in reports.
    #[arg(long, value_name = "NAME", env = "FIREDRILL_CLUSTER", default_value = "in-cluster")]
    cluster_name: String,

    /// Runs at once in this process.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    at_once: u16,

    /// The image of firedrill itself, for faults that run something in the cluster; default: the one of this version.
    #[arg(long, value_name = "IMAGE", env = "FIREDRILL_IMAGE")]
    image: Option<String>,
}

/// Where the controller is.
#[derive(Args, Clone, Debug)]
pub(super) struct NamespaceArgs {
    /// The controller's own namespace: journals are there.
    #[arg(long, value_name = "NAMESPACE", env = "FIREDRILL_NAMESPACE", default_value = controller::NAMESPACE)]
    pub controller_namespace: String,
}

pub(super) fn run(global: &Global, args: ControllerArgs) -> anyhow::Result<ExitCode> {
    let source = args.prometheus.as_deref().map(str::parse::<Source>).transpose()?;
    let text = |name: &str| std::env::var(name).unwrap_or_default();
    let (pod, uid) = (text("POD_NAME"), text("POD_UID"));
    connect::runtime()?.block_on(async {
        let mut connection = connect::within(global).await?;
        connection.environment.cluster = args.cluster_name;
        let settings = Settings {
            namespace: args.namespace.controller_namespace,
            name: if pod.is_empty() { connect::holder() } else { pod.clone() },
            pod: if uid.is_empty() { String::new() } else { format!("{pod}/{uid}") },
            source,
            environment: connection.environment.with_image(args.image.as_deref()),
            at_once: usize::from(args.at_once),
        };
        let signals = Signals::catch().context("signals cannot be caught")?;
        let (tx, mut rx) = tokio::sync::mpsc::unbounded_channel();
        let signals = tokio::spawn(signals.tell(tx));
        let told = async move {
            while let Some(said) = rx.recv().await {
                if matches!(said, Outside::Stop(..)) {
                    return;
                }
            }
        };
        controller::serve(connection.env, settings, told).await?;
        signals.abort();
        Ok(ExitCode::Ok)
    })
}
