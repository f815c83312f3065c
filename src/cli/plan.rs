//! `firedrill plan`

use clap::Args;

use super::{
    Global, Output, SettingArgs, answering, by_hand, connect, game_day,
    input::{self, Item},
    run::request,
};
use crate::{
    cluster::AGENT_TTL,
    engine::{self, Assessment, Request},
    env::Clock,
    faults::{self, FaultInfo, Lifetime},
    plan::{EarliestAbort, LatestAbort, Plan, PlannedStep},
    report::{Style, Tone},
    types::{ExitCode, Finding, Length, counted},
};

#[derive(Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    setting: SettingArgs,

    /// text for people, json for machines.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub(super) fn run(global: &Global, args: &PlanArgs) -> anyhow::Result<ExitCode> {
    let read = input::read(&args.setting.files, input::For::Running)?;
    if let Some(code) = read.refused() {
        return Ok(code);
    }
    let items = read.items()?;
    let runtime = connect::runtime()?;
    runtime.block_on(async {
        let mut codes = Vec::new();
        let mut json = Vec::new();
        for item in &items {
            if let Item::Day(planned) = item {
                let findings = game_day::against(planned, Clock::system().now())?;
                codes.extend(findings.iter().any(Finding::is_error).then_some(ExitCode::Refused));
                if args.output == Output::Json {
                    json.push(serde_json::json!({"gameDay": item.name(), "findings": findings}));
                } else {
                    super::print(&super::in_words(&findings, &super::stdout_style()))?;
                }
            }
        }
        for act in items.iter().flat_map(Item::acts) {
            let experiment = &act.experiment;
            let seed = args.setting.seed.unwrap_or_else(connect::fresh_seed);
            let connection = connect::connect(global, seed).await?;
            let request = request(&args.setting, &connection, act, seed)?;
            match engine::assess(&connection.env, &request).await {
                Ok(mut assessment) => {
                    assessment.plan.findings.extend(by_hand::unattended(experiment));
                    assessment.plan.findings.extend(answering::absent(&connection.env, &request).await);
                    codes.push(if assessment.refused() { ExitCode::Refused } else { ExitCode::Ok });
                    if args.output == Output::Json {
                        json.push(as_json(&assessment, &request)?);
                    } else {
                        super::print(&summary(&assessment, &request, &super::stdout_style()))?;
                    }
                }
                Err(findings) => {
                    codes.push(ExitCode::Refused);
                    if args.output == Output::Json {
                        json.push(
                            serde_json::json!({"experiment": experiment.metadata.name, "findings": findings}),
                        );
                    } else {
                        super::print(&super::in_words(&findings, &super::stdout_style()))?;
                    }
                }
            }
        }
        if args.output == Output::Json {
            super::print(&serde_json::to_string_pretty(&json)?)?;
        }
        Ok(ExitCode::worst(codes))
    })
}

fn as_json(assessment: &Assessment, request: &Request) -> anyhow::Result<serde_json::Value> {
    let mut value = serde_json::to_value(&assessment.plan)?;
    value["environment"] = serde_json::to_value(&request.environment)?;
    value["by"] = assessment.by.name.clone().into();
    value["refused"] = assessment.refused().into();
    for finding in value["findings"].as_array_mut().into_iter().flatten() {
        let code = crate::types::codes::all().find(|info| finding["code"] == *info.code.0);
        if let Some(info) = code {
            finding["standard"] = info.standard.into();
            finding["discovery"] = info.discovery.into();
            finding["resolution"] = info.resolution.into();
        }
    }
    Ok(value)
}

/// The plan for people: where, as whom, what to whom, what speaks against it, what to expect.
pub(super) fn summary(assessment: &Assessment, request: &Request, style: &Style) -> String {
    let plan = &assessment.plan;
    let environment = &request.environment;
    let mut lines = vec![
        style.paint(Tone::Strong, &format!("{}: {}", plan.experiment, request.experiment.spec.hypothesis)),
        format!(
            "  on {} ({}, {}), context {}, as {}, namespace {}, seed {}",
            style.plain(&environment.cluster),
            style.plain(&environment.server),
            style.plain(&environment.version),
            style.plain(&environment.context),
            style.plain(&assessment.by.name),
            style.plain(&plan.namespace),
            plan.seed
        ),
    ];
    for step in &plan.steps {
        lines.push(step_line(step, style));
        targets(&mut lines, step, style);
    }
    if let Some(agents) = &plan.agents {
        let (image, namespace) = (style.plain(&agents.image), style.plain(&agents.namespace));
        let nodes = style.plain(&agents.nodes.join(", "));
        lines.push(format!(
            "  {} on {nodes}: {image} in namespace {namespace}, before Baseline and until the end",
            style.paint(Tone::Strong, &counted(agents.nodes.len(), "agent"))
        ));
    }
    lines.extend(plan.loads.iter().map(|load| load_line(load, style)));
    let limits: Vec<String> = plan.limits.iter().map(|(name, value)| format!("{name} {value}")).collect();
    let calls = usize::try_from(plan.calls).unwrap_or(usize::MAX);
    let calls = counted(calls, "call");
    lines.push(format!("  limits: {}; at most {calls} to the API server", limits.join(", ")));
    lines.push(abort_line(plan));
    if !environment.rehearsal {
        lines.extend(without_us(plan));
    }
    let mut text = lines.join("\n");
    text.push('\n');
    text.push_str(&super::in_words(&plan.findings, style));
    let refusals = plan.findings.iter().filter(|finding| Finding::is_error(finding)).count();
    if refusals > 0 {
        text.push_str(&format!("{} Nothing was changed.\n", style.paint(Tone::Bad, "refused.")));
    }
    text
}

/// What becomes of faults when this process dies.
fn without_us(plan: &Plan) -> Vec<String> {
    let lasting = plan.steps.iter().filter(|step| !step.targets.is_empty());
    let infos = lasting.filter_map(|step| faults::find(&step.action).map(|fault| fault.info()));
    let (by_agents, written): (Vec<&FaultInfo>, Vec<&FaultInfo>) =
        infos.filter(|info| info.lifetime == Lifetime::Lasting).partition(|info| info.agent);
    let mut lines = Vec::new();
    if !written.is_empty() {
        lines.push(
            "  if this process dies, changes stay until `firedrill rollback` is run, from anywhere"
                .to_owned(),
        );
    }
    if !by_agents.is_empty() {
        let ttl = Length(AGENT_TTL);
        lines.push(format!("  if this process dies, what agents do to packets ends by itself within {ttl}"));
    }
    lines
}

/// How many targets of a step, pods that go with one, and nodes that are left out are shown.
const SHOWN: usize = 12;

/// Whom a step hits, each with what goes with it, and who is left out.
fn targets(lines: &mut Vec<String>, step: &PlannedStep, style: &Style) {
    for target in step.targets.iter().take(SHOWN) {
        lines.push(format!("      {}", style.plain(&target.to_string())));
        let with: Vec<_> = step.displaced.iter().filter(|displaced| displaced.with == *target).collect();
        for displaced in with.iter().take(SHOWN) {
            let (pod, owner) = (displaced.pod.to_string(), &displaced.owner);
            lines.push(format!("        displaces {} of {}", style.plain(&pod), style.plain(owner)));
        }
        if with.len() > SHOWN {
            lines.push(format!("        and {} more", counted(with.len() - SHOWN, "pod")));
        }
    }
    if step.targets.len() > SHOWN {
        let rest = &step.targets[SHOWN..];
        let pods = step.displaced.iter().filter(|displaced| rest.contains(&displaced.with)).count();
        let with = if pods > 0 { format!(", with {}", counted(pods, "pod")) } else { String::new() };
        lines.push(format!("      and {} more{with}", rest.len()));
    }
    for left in step.left_out.iter().take(SHOWN) {
        let (target, why) = (left.target.to_string(), &left.why);
        lines.push(format!("      leaves out {}: {}", style.plain(&target), style.plain(why)));
    }
    if step.left_out.len() > SHOWN {
        lines.push(format!("      leaves out {} more", step.left_out.len() - SHOWN));
    }
}

/// When a loss of normal ends the run: the earliest, and for one that lasts.
fn abort_line(plan: &Plan) -> String {
    let Some(abort) = &plan.earliest_abort else {
        return "  no probe can abort: none is judged while faults are in force".to_owned();
    };
    let EarliestAbort { probe, after, every, patience, at_most } = abort;
    let made = format!("(probe {probe}: for {patience} + one sample, every {every})");
    if at_most.after == *after && !at_most.plus_scrape_interval {
        return format!("  a loss of normal aborts after {after} {made}");
    }
    let LatestAbort { probe, after: latest, window, every, patience, plus_scrape_interval } = at_most;
    let window = if window.is_zero() { String::new() } else { format!("window {window} + ") };
    let (plus, scrape) =
        if *plus_scrape_interval { (" + scrape interval", "scrape interval + ") } else { ("", "") };
    format!(
        "  a loss of normal aborts after {after} at the earliest {made}\n  one that lasts aborts after about {latest}{plus} at most (probe {probe}: {window}{scrape}every {every} + for {patience})"
    )
}

fn load_line(load: &crate::plan::PlannedLoad, style: &Style) -> String {
    let long = match (load.whole_run, load.duration, load.requests) {
        (true, ..) => ", for the whole run".to_owned(),
        (_, Some(duration), Some(requests)) => format!(", for {duration}: {requests} requests"),
        _ => ", until it is ended".to_owned(),
    };
    format!(
        "  {} sends {}{long}, at most {} at once; ends with this process",
        style.paint(Tone::Strong, &style.plain(&format!("load {}", load.name))),
        style.plain(&load.what),
        load.max_in_flight
    )
}

fn step_line(step: &PlannedStep, style: &Style) -> String {
    let mut line = format!("  {} {}", style.paint(Tone::Strong, &step.name), step.action);
    if let Some(duration) = step.duration.filter(|duration| !duration.is_zero()) {
        line.push_str(&format!(" for {duration}"));
    }
    if step.background {
        line.push_str(" in the background");
    }
    match step.targets.len() {
        0 => {}
        1 => line.push_str(", now 1 target:"),
        count => line.push_str(&format!(", now {count} targets:")),
    }
    line
}
