//! `firedrill controller`

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};

use super::{AgentArgs, Global, Usage, connect, signals::Signals};
use crate::{
    cluster::Access,
    controller::{
        self, Settings,
        manifests::{Installed, Part, manifests},
        metrics::Metrics,
        port::{Listen, Port},
    },
    engine::Outside,
    probes::Source,
    types::{AgentSettings, ExitCode, Length},
};

#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "In a pod it reads POD_NAME and POD_UID, and uses the pod's own account; elsewhere the \
kubeconfig. Logs are JSON on standard error; FIREDRILL_LOG chooses how much, as in firedrill=debug. Traces go where \
OTEL_EXPORTER_OTLP_ENDPOINT says. SIGTERM puts everything back that is in force, for 25 s at the most; what is left then \
is taken up by another replica."
)]
pub(super) struct ControllerArgs {
    #[command(subcommand)]
    command: Option<ControllerCommand>,

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

    /// Where metrics and probes are answered, over TLS: ADDRESS:PORT, or :PORT for all addresses; default: nowhere.
    #[arg(long, value_name = "ADDRESS")]
    metrics_address: Option<Listen>,

    /// The certificate for that, tls.crt and tls.key in a folder, read anew when it changes; default: one is made.
    #[arg(long, value_name = "DIR", requires = "metrics_address")]
    metrics_certificate: Option<std::path::PathBuf>,

    /// The image of firedrill itself, for faults that run something in the cluster; default: the one of this version.
    #[arg(long, value_name = "IMAGE", env = "FIREDRILL_IMAGE")]
    image: Option<String>,

    #[command(flatten)]
    agents: AgentArgs,
}

impl ControllerArgs {
    /// Whether it is asked to be the controller, and not to do something about one.
    pub(super) fn serves(&self) -> bool {
        self.command.is_none()
    }

    /// Its pod, under OpenTelemetry's names; in none: nothing.
    pub(super) fn pod(&self) -> Vec<(&'static str, String)> {
        match std::env::var("POD_NAME") {
            Ok(name) if !name.is_empty() => vec![
                ("k8s.namespace.name", self.namespace.controller_namespace.clone()),
                ("k8s.pod.name", name),
                ("k8s.pod.uid", std::env::var("POD_UID").unwrap_or_default()),
            ],
            _ => Vec::new(),
        }
    }
}

#[derive(Subcommand)]
enum ControllerCommand {
    /// Print the roles, admission policies and Guardrails that the controller stands on, for kubectl apply --server-side
    /// -f -, after firedrill crds. The chart has them already. Needs no cluster.
    Manifests(ManifestsArgs),

    /// Halt by the Guardrail firedrill-drain, end every Run, and wait until everything is put back, before the controller
    /// is taken away: its rights go with it. The chart does so when it is uninstalled. The halt stays until firedrill unhalt
    /// --guardrail firedrill-drain. Exit code 6 when something is left.
    Drain(DrainArgs),
}

#[derive(Args)]
struct DrainArgs {
    #[command(flatten)]
    namespace: NamespaceArgs,

    /// How long is waited.
    #[arg(long, value_name = "LENGTH", default_value = "2m")]
    timeout: Length,
}

#[derive(Args)]
struct ManifestsArgs {
    #[command(flatten)]
    namespace: NamespaceArgs,

    /// Only these. Repeatable; default: rights, policies and guardrails, nodes when an account is named, and agents when their
    /// namespace is.
    #[arg(long, value_enum, value_name = "PART")]
    only: Vec<OnlyPart>,

    /// An account that may hit nodes, as NAMESPACE:NAME. Repeatable.
    #[arg(long, value_name = "ACCOUNT")]
    node_account: Vec<String>,

    #[command(flatten)]
    agents: AgentArgs,

    /// Somebody who may place agents there beside the controller, as the API server names them. Repeatable.
    #[arg(long, value_name = "USER")]
    agent_user: Vec<String>,
}

/// A part of the manifests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OnlyPart {
    /// Roles and bindings.
    Rights,
    /// Who may write which Experiment, Run and GameDay.
    Policies,
    /// The red button, halt, and the one of a drain, neither of them pressed.
    Guardrails,
    /// Changes of nodes, and taking them back.
    Nodes,
    /// Fills in who asks for a Run; Kubernetes 1.36 and later.
    Stamp,
    /// The agents' namespace, its policies, and the controller's rights there.
    Agents,
}

/// Where the controller is.
#[derive(Args, Clone, Debug)]
pub(super) struct NamespaceArgs {
    /// The controller's own namespace: journals are there.
    #[arg(long, value_name = "NAMESPACE", env = "FIREDRILL_NAMESPACE", default_value = controller::NAMESPACE)]
    pub controller_namespace: String,
}

/// How agents are placed, if their namespace is named: without that they are not.
fn placed(args: &AgentArgs) -> anyhow::Result<Option<AgentSettings>> {
    if args.agent_namespace.is_none() && (args.agent_image.is_some() || args.agent_pull_secret.is_some()) {
        bail!(Usage(
            "no agents are placed without --agent-namespace; firedrill-agents is the usual one".to_owned()
        ));
    }
    Ok(args.agent_namespace.is_some().then(|| args.settings()))
}

fn print(args: &ManifestsArgs) -> anyhow::Result<ExitCode> {
    let accounts = &args.node_account;
    let wrong = |account: &&String| {
        account.split_once(':').is_none_or(|(space, name)| space.is_empty() || name.is_empty())
    };
    if let Some(wrong) = accounts.iter().find(wrong) {
        bail!(Usage(format!("--node-account {wrong}: write NAMESPACE:NAME")));
    }
    let agents = placed(&args.agents)?;
    if agents.is_none() && args.only.contains(&OnlyPart::Agents) {
        bail!(Usage("--only agents: name their namespace with --agent-namespace".to_owned()));
    }
    let mut usual = vec![OnlyPart::Rights, OnlyPart::Policies, OnlyPart::Guardrails];
    usual.extend((!accounts.is_empty()).then_some(OnlyPart::Nodes));
    usual.extend(agents.is_some().then_some(OnlyPart::Agents));
    let installed = Installed {
        namespace: args.namespace.controller_namespace.clone(),
        node_accounts: accounts.clone(),
        agents,
        agent_users: args.agent_user.clone(),
        ..Installed::default()
    };
    let mut text = String::new();
    for part in if args.only.is_empty() { &usual } else { &args.only } {
        let part = match part {
            OnlyPart::Rights => Part::Rights,
            OnlyPart::Policies => Part::Policies,
            OnlyPart::Guardrails => Part::Guardrails,
            OnlyPart::Nodes => Part::Nodes,
            OnlyPart::Stamp => Part::Stamp,
            OnlyPart::Agents => Part::Agents,
        };
        for object in manifests(part, &installed) {
            text.push_str("---\n");
            text.push_str(&serde_yaml::to_string(&object)?);
        }
    }
    super::print(&text)
}

async fn drain(global: &Global, args: &DrainArgs) -> anyhow::Result<ExitCode> {
    let connection = connect::within(global).await?;
    let access = Access::new(connection.env.kube);
    let tell = |run: &str| super::say(&format!("Run {run} is asked to end"));
    let namespace = &args.namespace.controller_namespace;
    let left = controller::drain(&access, namespace, args.timeout.0, tell).await?;
    let until = format!("until firedrill unhalt --guardrail {}", controller::DRAIN_GUARDRAIL);
    if left.is_empty() {
        super::say(&format!("no Run is under way, nothing is in force, and nothing begins {until}"));
        return Ok(ExitCode::Ok);
    }
    super::say(&format!(
        "after {} these are not over: {}; is a replica at work? firedrill doctor --installation. Nothing begins {until}",
        args.timeout,
        left.join(", ")
    ));
    Ok(ExitCode::Residue)
}

pub(super) fn run(global: &Global, args: ControllerArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        Some(ControllerCommand::Manifests(args)) => return print(args),
        Some(ControllerCommand::Drain(args)) => return connect::runtime()?.block_on(drain(global, args)),
        None => {}
    }
    let source = args.prometheus.as_deref().map(str::parse::<Source>).transpose()?;
    let agents = placed(&args.agents)?;
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
            agents: agents.is_some(),
            environment: connection
                .environment
                .with_image(args.image.as_deref())
                .with_agents(agents.unwrap_or_default()),
            at_once: usize::from(args.at_once),
            metrics: Metrics::default(),
        };
        let port = Port::new(&connection.env.kube, &settings.metrics);
        // Open until the process ends: whoever puts back for 25 s is to be seen.
        let _open = match &args.metrics_address {
            Some(listen) => Some(port.open(listen, args.metrics_certificate.as_deref()).await?),
            None => None,
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
