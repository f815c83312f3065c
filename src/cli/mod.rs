//! Front end: one file a subcommand.

mod abort;
mod allow;
mod answering;
mod by_hand;
mod check;
mod cluster_run;
mod coming;
mod connect;
mod controller;
mod dates;
mod doctor;
mod explain;
mod export;
mod follow;
mod game_day;
mod halt;
mod init;
mod input;
mod logs;
mod next;
mod plan;
mod quarter;
mod questions;
mod reach;
mod rehearse;
mod report;
mod rollback;
mod run;
mod runs;
mod send;
mod signals;
mod sim;
mod stage;
mod terminal;
pub mod timeline;
mod told;
mod traces;

use std::{io::IsTerminal, path::PathBuf};

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::{
    journal::Environment,
    report::Style,
    types::{AgentSettings, ExitCode, Finding, Length},
};

/// Chaos experiments, game days and DR drills for Kubernetes: plan, break, watch, put back, prove.
///
/// A file says what normal looks like, what to break and how far the damage may go. `check` reads it,
/// `plan` says whom it would hit, `rehearse` runs it on an embedded cluster, `run` on a real one.
/// Whatever dies on the way, `rollback` puts everything back.
#[derive(Parser)]
#[command(name = "firedrill", version, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 passed, 1 failed, 2 wrong file or usage or no \
place for the report, 3 refused before the first change, \
4 inconclusive, 5 aborted and everything back, 6 something could not be put back, 7 not steady to begin with.")]
struct Cli {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    global: Global,
}

/// What every command takes.
#[derive(Args, Clone, Debug)]
struct Global {
    /// Namespace of files that name none; default: the context's.
    #[arg(short, long, global = true, value_name = "NAMESPACE")]
    namespace: Option<String>,

    /// Context of the kubeconfig; default: the current one.
    #[arg(long, global = true, value_name = "NAME")]
    context: Option<String>,

    /// Kubeconfig file; default: $KUBECONFIG, then ~/.kube/config.
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// Where journals are kept; default: the user's state directory.
    #[arg(long, global = true, value_name = "DIR", env = "FIREDRILL_STATE")]
    state: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Run experiments on a real cluster.
    Run(run::RunArgs),
    /// Run experiments on an embedded cluster in virtual time; touches nothing outside.
    Rehearse(rehearse::RehearseArgs),
    /// Say what a run would do to whom, and what speaks against it. Changes nothing.
    Plan(plan::PlanArgs),
    /// Read files and show every mistake with its place. Needs no cluster.
    Check(check::CheckArgs),
    /// Say when the game days of files or of the cluster come due, and what is not held then and why.
    Next(next::NextArgs),
    /// Write a first experiment for a Deployment that is there. Changes nothing in the cluster.
    Init(init::InitArgs),
    /// Explain a field (experiment.spec.limits) or a code (FD3009).
    Explain(explain::ExplainArgs),
    /// Print the JSON schema for editors.
    Schema,
    /// Print the CustomResourceDefinitions, for kubectl apply --server-side -f -.
    Crds,
    /// List the runs whose journals are here.
    Runs(runs::RunsArgs),
    /// Report a run from its journal.
    Report(report::ReportArgs),
    /// Ask the runner of a run, here or elsewhere, to abort and put everything back.
    Abort(abort::AbortArgs),
    /// Let no new step of a Run start; what is in force keeps its time.
    Hold(cluster_run::HoldArgs),
    /// Let a Run that is held go on.
    Resume(cluster_run::HoldArgs),
    /// Write down in a Run what you have observed.
    Note(cluster_run::NoteArgs),
    /// Say that a manual step of a Run is done, or could not be.
    Confirm(cluster_run::ConfirmArgs),
    /// Have a step of a Run in the cluster not begin, or an experiment of a game day not run.
    #[command(
        long_about = "Have a step of a Run in the cluster not begin. Steps are named EXPERIMENT/STEP; \
EXPERIMENT/gate says no to the whole experiment. A Run in which a fault, a check or a load was skipped does not pass."
    )]
    Skip(cluster_run::SkipArgs),
    /// Agree to a Run that somebody else has asked for.
    #[command(
        long_about = "Agree to a Run that somebody else has asked for. What is agreed to is what its status.hash \
stands for: the game day, its experiments with their parameters, and the Guardrails in force. When one of them changes, \
it has to be agreed to anew. Nobody approves what they have asked for; who may is RBAC: verb approve on runs."
    )]
    Approve(cluster_run::ApproveArgs),
    /// Wait until a Run is over, and exit as it ended: 4 if it is not over in time, 5 if it was deleted before.
    Wait(cluster_run::WaitArgs),
    /// Execute Runs in the cluster, until told to end: what a Deployment runs.
    Controller(controller::ControllerArgs),
    /// Opt a namespace in: its label of consent, and an account with the rights that faults need there.
    Allow(allow::AllowArgs),
    /// The red button: every run that a Guardrail covers aborts and puts everything back, and none starts.
    Halt(halt::HaltArgs),
    /// Take the red button back.
    Unhalt(halt::UnhaltArgs),
    /// Put back what a dead or given-up run has left; without a name: whatever any run has left.
    Rollback(rollback::RollbackArgs),
    /// Try to open TCP connections, again and again, and print each attempt as a line of JSON. What a fault's own pod
    /// runs in the cluster.
    #[command(hide = true)]
    Connect(reach::ConnectArgs),
    /// Send a load, and print how it goes as a line of JSON a second. What a load's own pod runs in the cluster.
    #[command(hide = true)]
    Send(send::SendArgs),
    /// Say of each node whether agents can work there, by placing one that enters a pod and changes nothing.
    Doctor(doctor::DoctorArgs),
    /// What agents need.
    #[command(subcommand)]
    Agents(doctor::AgentsCommand),
    /// The embedded cluster by itself.
    #[command(subcommand)]
    Sim(sim::SimCommand),
    /// Print completions for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// Files to read, and which of their documents.
#[derive(Args, Clone, Debug)]
struct FileArgs {
    /// Files, folders, or - for standard input. Of a folder, .yaml, .yml and .json in it and below it, hidden
    /// folders aside.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,

    /// The same, as kubectl takes them.
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    more: Vec<PathBuf>,

    /// Only documents with these labels: app=checkout,tier!=smoke.
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,

    /// The value of a parameter that the files declare. Repeatable.
    #[arg(long, value_name = "NAME=VALUE")]
    param: Vec<String>,
}

/// What running, rehearsing and planning have in common.
#[derive(Args, Clone, Debug)]
struct SettingArgs {
    #[command(flatten)]
    files: FileArgs,

    /// Fixes every choice; default: random, and printed.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// A namespace that may be hit although it carries no firedrill.dev/allowed=true. Repeatable.
    #[arg(long, value_name = "NAMESPACE")]
    allow_namespace: Vec<String>,

    /// A namespace whose pods may be evicted with a node although it has not consented. Repeatable.
    #[arg(long, value_name = "NAMESPACE")]
    bystanders: Vec<String>,

    /// Where PromQL is answered when the file does not say: URL, or service/NAMESPACE/NAME:PORT.
    #[arg(long, value_name = "SOURCE", env = "FIREDRILL_PROMETHEUS", value_parser = metric_source)]
    prometheus: Option<String>,

    /// The image of firedrill itself, for faults that run something in the cluster; default: the one of this version.
    #[arg(long, value_name = "IMAGE", env = "FIREDRILL_IMAGE")]
    image: Option<String>,

    #[command(flatten)]
    agents: AgentArgs,
}

impl SettingArgs {
    /// The same place, with the images and the namespace that are asked for.
    fn within(&self, environment: &Environment) -> Environment {
        environment.clone().with_image(self.image.as_deref()).with_agents(self.agents.settings())
    }
}

/// How agents are placed, for faults that take one on the nodes of their targets.
#[derive(Args, Clone, Debug)]
struct AgentArgs {
    /// The agent's image; default: the one of this version.
    #[arg(long, value_name = "IMAGE", env = "FIREDRILL_AGENT_IMAGE")]
    agent_image: Option<String>,

    /// The namespace of agents' pods; see `firedrill agents manifests`.
    #[arg(long, value_name = "NAMESPACE", env = "FIREDRILL_AGENT_NAMESPACE")]
    agent_namespace: Option<String>,

    /// A Secret in that namespace, of type kubernetes.io/dockerconfigjson, with which the agent's image is pulled.
    #[arg(long, value_name = "NAME")]
    agent_pull_secret: Option<String>,
}

impl AgentArgs {
    fn settings(&self) -> AgentSettings {
        let usual = AgentSettings::default();
        AgentSettings {
            image: self.agent_image.clone().unwrap_or(usual.image),
            namespace: self.agent_namespace.clone().unwrap_or(usual.namespace),
            pull_secret: self.agent_pull_secret.clone().unwrap_or_default(),
        }
    }
}

/// A place that answers PromQL, refused before anything is asked of it if it cannot be one.
fn metric_source(text: &str) -> Result<String, String> {
    match text.parse::<crate::probes::Source>() {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// How a run is told and kept.
#[derive(Args, Clone, Debug)]
struct TellArgs {
    /// What standard output ends with.
    #[arg(short, long, value_enum, default_value_t)]
    output: told::Format,

    /// Also write the report here; .html, .md, .json or .txt says which kind. Repeatable.
    #[arg(long, value_name = "FILE", value_parser = told::file)]
    report: Vec<PathBuf>,

    /// Also write the results here for a CI system, as JUnit's XML: one suite an experiment.
    #[arg(long, value_name = "FILE", value_parser = told::writable)]
    junit: Option<PathBuf>,

    /// How long reverting is tried before what is left is listed; default: 10m.
    #[arg(long, value_name = "LENGTH")]
    revert_timeout: Option<Length>,

    /// With several experiments: go on after one that did not pass. Residue always stops.
    #[arg(long)]
    keep_going: bool,
}

impl TellArgs {
    /// How long reverting is tried.
    fn revert_timeout(&self) -> std::time::Duration {
        self.revert_timeout.map_or(REVERT_TIMEOUT, |length| length.0)
    }
}

/// How long reverting is tried where nobody says otherwise (design.md, section 3).
const REVERT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(600);

/// How to write an answer; reports know more kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let usage = error.use_stderr();
            // Writing help to a closed pipe is not worth a word.
            let _ = error.print();
            return if usage { ExitCode::Invalid } else { ExitCode::Ok };
        }
    };
    let traces = logs::begin(&cli.command);
    let result = match cli.command {
        Command::Run(args) => run::run(&cli.global, args),
        Command::Rehearse(args) => rehearse::run(&cli.global, &args),
        Command::Plan(args) => plan::run(&cli.global, &args),
        Command::Check(args) => check::run(&args),
        Command::Next(args) => next::run(&cli.global, &args),
        Command::Init(args) => init::run(&cli.global, &args),
        Command::Explain(args) => explain::run(&args),
        Command::Schema => {
            print(&serde_json::to_string_pretty(&crate::api::editors::json_schema()).unwrap_or_default())
        }
        Command::Crds => crate::api::crds::yaml().map_err(anyhow::Error::from).and_then(|text| print(&text)),
        Command::Runs(args) => runs::run(&cli.global, &args),
        Command::Report(args) => report::run(&cli.global, &args),
        Command::Abort(args) => abort::run(&cli.global, &args),
        Command::Hold(args) => cluster_run::hold(&cli.global, &args, true),
        Command::Resume(args) => cluster_run::hold(&cli.global, &args, false),
        Command::Note(args) => cluster_run::note(&cli.global, &args),
        Command::Confirm(args) => cluster_run::confirm(&cli.global, &args),
        Command::Skip(args) => cluster_run::skip(&cli.global, &args),
        Command::Approve(args) => cluster_run::approve(&cli.global, &args),
        Command::Wait(args) => cluster_run::wait(&cli.global, &args),
        Command::Controller(args) => controller::run(&cli.global, args),
        Command::Allow(args) => allow::run(&cli.global, &args),
        Command::Halt(args) => halt::halt(&cli.global, &args),
        Command::Unhalt(args) => halt::unhalt(&cli.global, &args),
        Command::Rollback(args) => rollback::run(&cli.global, &args),
        Command::Connect(args) => reach::run(&args),
        Command::Send(args) => send::run(&args),
        Command::Doctor(args) => doctor::run(&cli.global, &args),
        Command::Agents(doctor::AgentsCommand::Manifests(args)) => doctor::manifests(&args),
        Command::Sim(command) => sim::run(command),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "firedrill", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
    };
    let code = result.unwrap_or_else(|error| failed(&error));
    if let Some(traces) = traces {
        traces.end();
    }
    code
}

/// Says what went wrong, and with what to exit for it.
fn failed(error: &anyhow::Error) -> ExitCode {
    say(&format!("error: {}", in_one_line(error)));
    if error.is::<Usage>() { ExitCode::Invalid } else { ExitCode::Refused }
}

/// What was asked for cannot be meant: a file that is not there, nothing in it to run. Exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

impl Usage {
    /// An error with its causes, as one of these.
    fn from(error: anyhow::Error) -> anyhow::Error {
        Self(in_one_line(&error)).into()
    }
}

/// An error with its causes, each said once: some say their cause themselves.
fn in_one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for words in error.chain().map(ToString::to_string) {
        if line.is_empty() {
            line = words;
        } else if !line.contains(&words) {
            line = format!("{line}: {words}");
        }
    }
    line
}

/// One line or more on standard error; a reader that has gone away is no reason to stop.
fn say(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A result on standard output; a closed pipe ends quietly. One that takes nothing is the wrong place to
/// write to.
fn print(text: &str) -> anyhow::Result<ExitCode> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    let newline = if text.ends_with('\n') { "" } else { "\n" };
    match write!(out, "{text}{newline}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Usage(format!("standard output: {error}")).into())
        }
        _ => Ok(ExitCode::Ok),
    }
}

/// How to write to standard error or output: colours only on a terminal and without `NO_COLOR`
/// (no-color.org).
fn style(terminal: bool) -> Style {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
    let width = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).unwrap_or(100);
    Style {
        colour: terminal && !no_color && !dumb,
        // Without a locale, as in containers, UTF-8 is what everybody reads.
        unicode: locale.is_none_or(|locale| !matches!(locale.as_str(), "C" | "POSIX")),
        width,
    }
}

fn stdout_style() -> Style {
    style(std::io::stdout().is_terminal())
}

fn stderr_style() -> Style {
    style(std::io::stderr().is_terminal())
}

/// Findings that are about no place in a file, one below the other, with what to do.
fn in_words(findings: &[Finding], style: &Style) -> String {
    use crate::report::Tone;
    let mut text = String::new();
    for (at, finding) in findings.iter().enumerate() {
        let (tone, word) =
            if finding.is_error() { (Tone::Bad, "refused") } else { (Tone::Warning, "hazard") };
        let head = style.paint(tone, &format!("{word}[{}]", finding.code));
        text.push_str(&format!(
            "{head} {}: {}\n",
            style.plain(&finding.subject),
            style.plain(&finding.message)
        ));
        // What is the same for several in a row is said after the last of them.
        let again = findings
            .get(at + 1)
            .is_some_and(|next| next.code == finding.code && next.remedy == finding.remedy);
        if !finding.remedy.is_empty() && !again {
            text.push_str(&format!(
                "    {} {}\n",
                style.paint(Tone::Faint, "remedy:"),
                style.plain(&finding.remedy)
            ));
        }
    }
    text
}
