//! `firedrill run`

use std::{
    io::{BufRead as _, IsTerminal as _},
    sync::Arc,
};

use anyhow::Context as _;
use clap::Args;
use tokio::sync::mpsc;

use super::{
    Global, SettingArgs, TellArgs, Usage, answering,
    by_hand::{self, Asker},
    connect::{self, Connection},
    game_day::{self, Attendance, Outing, Planned, Venue},
    input::{self, Item},
    signals::Signals,
    told::{self, Reports, Told},
};
use crate::{
    api::Act,
    controller::calendar::Calendar,
    engine::{self, Request, Start},
    plan::Consent,
    probes::Source,
    types::{ExitCode, Finding, codes::guard as code},
};

#[derive(Args)]
#[command(
    after_help = "Ctrl-C, SIGTERM, SIGQUIT and a closed terminal abort and put everything back; a second Ctrl-C \
leaves what is still in force to firedrill rollback. Under nohup a closed terminal means nothing."
)]
pub(super) struct RunArgs {
    #[command(flatten)]
    setting: SettingArgs,

    #[command(flatten)]
    tell: TellArgs,

    /// Do not ask.
    #[arg(short, long)]
    yes: bool,

    /// Have the controller in the cluster run it, and follow it. Takes files of experiments, which are applied first, and
    /// what is there: experiment/NAME, gameday/NAME.
    #[arg(long)]
    controller: bool,

    #[command(flatten)]
    namespace: super::controller::NamespaceArgs,
}

impl RunArgs {
    /// Whether this process drives the run.
    pub(super) fn is_here(&self) -> bool {
        !self.controller
    }
}

pub(super) fn run(global: &Global, args: RunArgs) -> anyhow::Result<ExitCode> {
    if args.controller {
        return super::follow::run(global, (&args.setting, &args.tell), &args.namespace.controller_namespace);
    }
    let read = input::read(&args.setting.files, input::For::Running)?;
    if let Some(code) = read.refused() {
        return Ok(code);
    }
    let items = read.items()?;
    let runtime = connect::runtime()?;
    runtime.block_on(async {
        let mut reports = Reports::new(&args.tell);
        let mut codes = Vec::new();
        let mut lost = None;
        let mut rest = items.into_iter();
        for item in rest.by_ref() {
            let ended = match &item {
                Item::Experiment(act) => one(global, &args, act, &mut reports).await,
                Item::Day(planned) => day(global, &args, *planned, &mut reports).await,
            };
            match ended {
                Ok(code) => codes.push(code),
                Err(error) => lost = Some((item.name().to_owned(), error)),
            }
            if lost.is_some() || told::stops(codes.last(), &args.tell) {
                break;
            }
        }
        reports.close(codes, lost, rest.map(|item| item.name().to_owned()))
    })
}

/// A game day, now: its windows and blackouts hold.
async fn day(
    global: &Global,
    args: &RunArgs,
    planned: Planned<'_>,
    reports: &mut Reports<'_>,
) -> anyhow::Result<ExitCode> {
    let seed = args.setting.seed.unwrap_or_else(connect::fresh_seed);
    let connection = connect::connect(global, seed).await?;
    let style = super::stderr_style();
    let request = |act: &Act| request(&args.setting, &connection, act, seed);
    let mut findings = game_day::beyond(&planned);
    findings.extend(game_day::unattended(&planned));
    let mut by = String::new();
    let mut refused = findings.iter().any(Finding::is_error);
    for act in &planned.acts.experiments {
        if refused {
            break;
        }
        let request = request(act)?;
        // What speaks against it is said when the day begins, and refuses all of it.
        let Ok(assessment) = engine::assess(&connection.env, &request).await else { break };
        super::say(super::plan::summary(&assessment, &request, &style).trim_end());
        by.clone_from(&assessment.by.name);
        refused = assessment.refused();
    }
    if let Some(act) = planned.acts.experiments.first().filter(|_| !refused && !by.is_empty()) {
        findings.extend(confirmed(global, args, (&request(act)?, &by)).err().map(|finding| *finding));
    }
    let calendar = Calendar::new(&planned.day.spec).map_err(Usage)?;
    let outing = Outing { planned, calendar: &calendar, findings, seed, scheduled: None, replaced: None };
    let environment = &connection.environment;
    let venue = Venue {
        env: &connection.env,
        request: &request,
        place: format!("cluster {}, context {}", environment.cluster, environment.context),
        said: &|findings| {
            super::say(super::in_words(&findings, &super::stderr_style()).trim_end());
            findings
        },
        tell: &args.tell,
        attendance: Attendance::Person(by),
    };
    let (outside_tx, outside_rx) = mpsc::unbounded_channel();
    let signals = Signals::catch().context("signals cannot be caught")?;
    let signals = tokio::spawn(signals.tell(outside_tx));
    let held = game_day::hold(&outing, &venue, outside_rx).await;
    signals.abort();
    let held = held?;
    reports.add_day(held.day, held.chapters, false);
    Ok(held.code)
}

async fn one(
    global: &Global,
    args: &RunArgs,
    act: &Act,
    reports: &mut Reports<'_>,
) -> anyhow::Result<ExitCode> {
    let experiment = &act.experiment;
    let seed = args.setting.seed.unwrap_or_else(connect::fresh_seed);
    let connection = connect::connect(global, seed).await?;
    let request = request(&args.setting, &connection, act, seed)?;
    let style = super::stderr_style();
    let now = || connection.env.clock.now();
    let mut assessment = match engine::assess(&connection.env, &request).await {
        Ok(assessment) => assessment,
        Err(findings) => {
            super::say(super::in_words(&findings, &style).trim_end());
            reports.refused(&request, "", &findings, now());
            return Ok(ExitCode::Refused);
        }
    };
    assessment.plan.findings.extend(by_hand::unattended(experiment));
    assessment.plan.findings.extend(answering::absent(&connection.env, &request).await);
    super::say(super::plan::summary(&assessment, &request, &style).trim_end());
    if assessment.refused() {
        reports.refused(&request, &assessment.by.name, &assessment.plan.findings, now());
        return Ok(ExitCode::Refused);
    }
    let nothing = assessment.plan.injections.is_empty() && assessment.plan.loads.is_empty();
    let by = &assessment.by.name;
    if let Some(Err(finding)) = (!nothing).then(|| confirmed(global, args, (&request, by))) {
        let findings = [*finding];
        super::say(super::in_words(&findings, &style).trim_end());
        reports.refused(&request, &assessment.by.name, &findings, now());
        return Ok(ExitCode::Refused);
    }
    let told = Told::new(&args.tell, &style);
    let (outside_tx, outside_rx) = mpsc::unbounded_channel();
    let asker = Asker::new(experiment, &assessment.by.name, outside_tx.clone());
    let signals = Signals::catch().context("signals cannot be caught")?;
    let signals = tokio::spawn(signals.tell(outside_tx.clone()));
    let start = Start {
        request,
        id: None,
        assessment,
        revert_timeout: args.tell.revert_timeout(),
        outside_rx,
        outside_tx,
        observer: Arc::new({
            let told = told.clone();
            move |entry| {
                told.on(entry);
                asker.on(entry);
            }
        }),
    };
    let outcome = engine::run(&connection.env, start).await;
    signals.abort();
    told::end(outcome, (&connection.env, &experiment.metadata.name), reports, &told)
}

/// What is asked for, from arguments and surroundings.
pub(super) fn request(
    args: &SettingArgs,
    connection: &Connection,
    act: &Act,
    seed: u64,
) -> anyhow::Result<Request> {
    let experiment = &act.experiment;
    let source = args.prometheus.as_deref().map(str::parse::<Source>).transpose()?;
    Ok(Request {
        namespace: experiment.metadata.namespace.clone().unwrap_or_else(|| connection.namespace.clone()),
        experiment: experiment.clone(),
        value: act.json.clone(),
        file: act.source.clone(),
        seed,
        environment: args.within(&connection.environment),
        consent: Consent {
            namespaces: args.allow_namespace.iter().cloned().collect(),
            bystanders: args.bystanders.iter().cloned().collect(),
            approvals: 0,
            of_nodes: false,
        },
        source,
        holder: connect::holder(),
        asked_by: String::new(),
    })
}

/// A person at a terminal says yes; elsewhere the namespace's consent, or naming both context and namespace,
/// stands in for that.
fn confirmed(global: &Global, args: &RunArgs, (request, by): (&Request, &str)) -> Result<(), Box<Finding>> {
    if args.yes {
        return Ok(());
    }
    let subject = format!("context/{}", request.environment.context);
    if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
        super::say(&format!("Run this on {} as {by}? [y/N]", request.environment.cluster));
        let mut answer = String::new();
        let read = std::io::stdin().lock().read_line(&mut answer);
        return match (read, answer.trim().to_lowercase().as_str()) {
            (Ok(_), "y" | "yes") => Ok(()),
            _ => Err(Box::new(Finding::error(code::NOT_CONFIRMED, subject, "the answer was not yes"))),
        };
    }
    if request.consent.namespaces.is_empty() || global.context.is_some() {
        return Ok(());
    }
    let message = "nobody can be asked here, and --allow-namespace stands in for that only beside --context";
    Err(Box::new(
        Finding::error(code::NOT_CONFIRMED, subject, message)
            .remedy(format!("--context {}", request.environment.context)),
    ))
}
