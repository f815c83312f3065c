//! `firedrill doctor` and `firedrill agents`: whether agents can do their work here, and what lets them in; and whether
//! the controller is installed as it should be.

use clap::{Args, Subcommand};

use super::{AgentArgs, Global, Output, connect};
use crate::{
    agent::wire::{Cgroup, Features, Nfqueue},
    cluster::{Access, identity},
    controller::installation::{Looked, examine},
    engine::{self, Examined},
    faults,
    report::{Style, Tone},
    types::ExitCode,
};

#[derive(Args)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    agents: AgentArgs,

    /// Look at the controller's installation instead: definitions, rights, policies, replicas, where it asks for metrics,
    /// Guardrails.
    #[arg(long, conflicts_with_all = ["node", "agent_image", "agent_namespace", "agent_pull_secret"])]
    installation: bool,

    #[command(flatten)]
    namespace: super::controller::NamespaceArgs,

    /// With --installation: where the controller asks for metrics; default: what its Deployment says.
    #[arg(long, value_name = "SOURCE", requires = "installation", value_parser = super::metric_source)]
    prometheus: Option<String>,

    /// A node to look at; default: all that are ready. Repeatable.
    #[arg(long, value_name = "NODE")]
    node: Vec<String>,

    /// text for people, json for machines.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Subcommand)]
pub(super) enum AgentsCommand {
    /// Print the namespace of agents and the policies that let their pod in and no other, for kubectl apply -f -.
    Manifests(AgentArgs),
}

pub(super) fn manifests(args: &AgentArgs) -> anyhow::Result<ExitCode> {
    let mut text = String::new();
    for object in faults::agent_manifests(&args.settings()) {
        text.push_str("---\n");
        text.push_str(&serde_yaml::to_string(&object)?);
    }
    super::print(&text)
}

pub(super) fn run(global: &Global, args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let runtime = connect::runtime()?;
    runtime.block_on(async {
        let connection = connect::connect(global, connect::fresh_seed()).await?;
        if args.installation {
            return installation(&connection, args).await;
        }
        let by = identity(&Access::new(connection.env.kube.clone())).await?;
        let examined = engine::examine(&connection.env, &args.agents.settings(), &args.node, &by).await?;
        let bad = examined.iter().flat_map(|one| &one.findings).any(crate::types::Finding::is_error);
        if args.output == Output::Json {
            super::print(&serde_json::to_string_pretty(&examined)?)?;
        } else {
            super::print(&in_words(&examined, &super::stdout_style()))?;
        }
        Ok(if bad || examined.is_empty() { ExitCode::Refused } else { ExitCode::Ok })
    })
}

async fn installation(connection: &connect::Connection, args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let namespace = &args.namespace.controller_namespace;
    let looked = examine(&connection.env, namespace, args.prometheus.as_deref()).await;
    let bad = looked.iter().flat_map(|one| &one.findings).any(crate::types::Finding::is_error);
    if args.output == Output::Json {
        super::print(&serde_json::to_string_pretty(&looked)?)?;
    } else {
        let style = super::stdout_style();
        let mut text = String::new();
        for Looked { what, found, findings } in &looked {
            let tone = if findings.is_empty() { Tone::Good } else { Tone::Warning };
            let found = style.paint(tone, &style.plain(found));
            text.push_str(&format!("{} {found}\n", style.paint(Tone::Strong, &format!("{what:10}"))));
            text.push_str(&super::in_words(findings, &style));
        }
        super::print(&text)?;
    }
    Ok(if bad { ExitCode::Refused } else { ExitCode::Ok })
}

fn in_words(examined: &[Examined], style: &Style) -> String {
    if examined.is_empty() {
        return "there is no node that is ready\n".to_owned();
    }
    let mut text = String::new();
    for Examined { node, features, entered, findings } in examined {
        let good = !findings.iter().any(crate::types::Finding::is_error);
        let (tone, word) =
            if good { (Tone::Good, "ready for agents") } else { (Tone::Bad, "not ready for agents") };
        text.push_str(&format!(
            "{} {}\n",
            style.paint(Tone::Strong, &style.plain(node)),
            style.paint(tone, word)
        ));
        if let Some(features) = features {
            text.push_str(&format!("    {}\n", style.plain(&kernel(features))));
        }
        match entered {
            Some(pod) if good => {
                text.push_str(&format!("    entered {}, changed nothing\n", style.plain(&pod.to_string())))
            }
            None if features.is_some() => {
                text.push_str("    no pod runs there whose network could be entered\n")
            }
            _ => {}
        }
        text.push_str(&super::in_words(findings, style));
    }
    text
}

fn kernel(features: &Features) -> String {
    let queue = match features.nfqueue {
        Nfqueue::Native => "NFQUEUE by nf_tables",
        Nfqueue::Compat => "NFQUEUE by nft_compat",
        Nfqueue::Missing => "no NFQUEUE",
    };
    let cgroup = match features.cgroup {
        Cgroup::V1 => "cgroup v1",
        Cgroup::V2 => "cgroup v2",
        Cgroup::Hybrid => "cgroup v1 and v2",
    };
    let priority = if features.realtime { "real-time priority" } else { "no real-time priority" };
    format!("Linux {}, {}, {queue}, {cgroup}, {priority}", features.kernel, features.arch)
}
