//! `firedrill init`

use std::{
    fs::OpenOptions,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow, bail};
use clap::Args;

use super::{Global, Usage, connect, input};
use crate::{
    api::{self, SourceText},
    cluster::{Access, ApiError},
    env::Env,
    init::{self, Found, Listed, LookError, Metrics, Sought},
    plan,
    probes::{MetricSource, Source, SourceError},
    types::{ExitCode, counted, nearest},
};

#[derive(Args)]
#[command(after_help = "Example:
  firedrill init deployment/checkout -n shop     writes checkout.yaml
  firedrill check checkout.yaml                  what is wrong with it
  firedrill plan checkout.yaml                   whom it would hit; changes nothing
  firedrill run checkout.yaml                    does it

What it finds (replicas, budgets, an autoscaler, Services, and the four golden signals in Prometheus under the \
names that OpenTelemetry, client libraries, Micrometer, Istio, gRPC, ingress-nginx and the kubelet use) decides what \
it writes, with comments that say why and what to change. It reads only.")]
pub(super) struct InitArgs {
    /// The Deployment: deployment/NAME, or its name alone. Without it: the only one of the namespace, or a list.
    #[arg(value_name = "WORKLOAD")]
    workload: Option<String>,

    /// Where to write; - is standard output. Default: NAME.yaml here.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Write over a file that is there.
    #[arg(long)]
    force: bool,

    /// Where PromQL is answered: URL, or service/NAMESPACE/NAME:PORT. Default: looked for among the Services.
    #[arg(long, value_name = "SOURCE", env = "FIREDRILL_PROMETHEUS", value_parser = super::metric_source)]
    prometheus: Option<String>,
}

pub(super) fn run(global: &Global, args: &InitArgs) -> anyhow::Result<ExitCode> {
    let asked = args.workload.as_deref().map(named).transpose()?;
    // Before anybody waits for a cluster.
    if let Some(place) = args.output.as_deref().or(asked.as_deref().map(default_place).as_deref()) {
        free(place, args.force)?;
    }
    connect::runtime()?.block_on(async {
        let connection = connect::connect(global, connect::fresh_seed()).await?;
        let namespace = connection.asked(global);
        if plan::protected(&namespace) {
            bail!(
                "namespace {namespace} is protected: no experiment goes there, see firedrill explain FD2004"
            );
        }
        let access = Access::new(connection.env.kube.clone());
        let name = match asked {
            Some(name) => name,
            None => match only(&access, &namespace).await? {
                Some(name) => name,
                None => return Ok(ExitCode::Invalid),
            },
        };
        let place = args.output.clone().unwrap_or_else(|| default_place(&name));
        free(&place, args.force)?;
        let mut found = match init::look(&access, &namespace, &name).await {
            Ok(found) => found,
            Err(error) => return Err(not_found(&access, &namespace, error).await),
        };
        super::say(&told(&found));
        found.metrics = metrics(args, (&connection.env, &access), &found).await?;
        let draft = init::draft(&found);
        checked(&place, &draft.text)?;
        write(&place, &draft.text, args.force)?;
        let consents = init::consents(&access, &namespace).await;
        super::say(&next(global, &place, &found, consents));
        Ok(ExitCode::Ok)
    })
}

/// The name of a Deployment, as kubectl would take it.
fn named(text: &str) -> anyhow::Result<String> {
    let (kind, name) = match text.contains('/') {
        true => plan::kind_of(text).unwrap_or(("", "")),
        false => ("Deployment", text),
    };
    let harmless = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    match kind {
        // The name becomes that of a file.
        "Deployment" if !name.is_empty() && name.chars().all(harmless) && !name.starts_with('.') => {
            Ok(name.to_owned())
        }
        "Deployment" => Err(Usage(format!("{text}: that is no name of a Deployment")).into()),
        "" => Err(Usage(format!("{text}: write deployment/NAME")).into()),
        kind => Err(Usage(format!(
            "{text}: init writes for Deployments only, so far; for a {kind} write one for a Deployment and change \
             target.workload and the probe replicas"
        ))
        .into()),
    }
}

fn default_place(name: &str) -> PathBuf {
    PathBuf::from(format!("{name}.yaml"))
}

/// The only Deployment of a namespace; of several a list is printed, and of none it is an error.
async fn only(access: &Access, namespace: &str) -> anyhow::Result<Option<String>> {
    let all = init::deployments(access, namespace).await?;
    match all.as_slice() {
        [only] => Ok(Some(only.name.clone())),
        [] => {
            let others = init::deployments_elsewhere(access).await;
            let others: Vec<String> = others
                .iter()
                .map(|(other, count)| format!("-n {other} ({})", counted(*count, "Deployment")))
                .collect();
            let hint = if others.is_empty() { String::new() } else { format!("; try {}", others.join(", ")) };
            Err(Usage(format!("there is no Deployment in namespace {namespace}{hint}")).into())
        }
        several => {
            super::print(&listed(several))?;
            let first = &several[0].name;
            let count = several.len();
            super::say(&format!(
                "namespace {namespace} has {count} Deployments; say which, as in: firedrill init deployment/{first} -n {namespace}"
            ));
            Ok(None)
        }
    }
}

fn listed(all: &[Listed]) -> String {
    let width = all.iter().map(|one| one.name.len()).max().unwrap_or(0);
    let style = super::stdout_style();
    let mut text = format!("{:width$}             READY\n", "DEPLOYMENT");
    for Listed { name, replicas, ready } in all {
        text.push_str(&format!("deployment/{:width$}  {ready}/{replicas}\n", style.plain(name)));
    }
    text
}

/// Why there is nothing to write of, with the nearest name.
async fn not_found(access: &Access, namespace: &str, error: LookError) -> anyhow::Error {
    let LookError::NoWorkload { name, .. } = &error else { return error.into() };
    let all = init::deployments(access, namespace).await.unwrap_or_default();
    let names = || all.iter().map(|one| one.name.as_str());
    let hint = match nearest(name, names()) {
        Some(near) => format!("; did you mean deployment/{near}?"),
        None if all.is_empty() => String::new(),
        None => format!("; there are {}", names().take(12).collect::<Vec<_>>().join(", ")),
    };
    Usage(format!("{error}{hint}")).into()
}

/// What the API server knows, in a line.
fn told(found: &Found) -> String {
    let style = super::stderr_style();
    let Found { name, namespace, replicas, ready, .. } = found;
    let mut parts = vec![format!("{ready} of {replicas} pods ready")];
    parts.extend(found.services.iter().map(|service| format!("service {}", service.name)));
    parts.extend(found.budgets.iter().map(|(budget, rule)| format!("budget {budget} ({rule})")));
    parts.extend(
        found.autoscaler.iter().map(|hpa| format!("autoscaler {} ({} to {})", hpa.name, hpa.min, hpa.max)),
    );
    let mut text = format!("found deployment/{name} in namespace {namespace}: {}", parts.join(", "));
    for unseen in &found.unseen {
        text.push_str(&format!("\nnot looked at: {}", style.plain(unseen)));
    }
    text
}

/// Asks the Prometheus that is named, or the first in the cluster that knows the workload.
async fn metrics(args: &InitArgs, world: (&Env, &Access), found: &Found) -> anyhow::Result<Metrics> {
    let style = super::stderr_style();
    if let Some(name) = &args.prometheus {
        let metrics = ask(world, name, found).await;
        let metrics = metrics.map_err(|error| anyhow!("--prometheus {name}: {error}"))?;
        say_signals(&metrics, "");
        return Ok(metrics);
    }
    let there = match init::find(world.1).await {
        Ok(there) if there.is_empty() => {
            return Ok(unasked(
                "no Service in the cluster looks like a Prometheus; --prometheus says where one is",
            ));
        }
        Ok(there) => there,
        Err(ApiError::Forbidden(_)) => {
            return Ok(unasked(
                "the Services of all namespaces may not be listed, so no Prometheus was looked for; --prometheus says where one is",
            ));
        }
        Err(error) => {
            return Ok(unasked(&format!(
                "no Prometheus could be looked for: {}",
                style.plain(&error.to_string())
            )));
        }
    };
    let mut answered = None;
    let mut silent = None;
    for (at, service) in there.iter().enumerate() {
        let name = service.to_string();
        match ask(world, &name, found).await {
            Ok(metrics) if knows(&metrics) => {
                let others: Vec<String> = there
                    .iter()
                    .enumerate()
                    .filter(|(other, _)| *other != at)
                    .map(|(_, other)| other.to_string())
                    .collect();
                let others = match others.len() {
                    0 => String::new(),
                    _ => format!(" (there is also {}; --prometheus chooses)", others.join(", ")),
                };
                say_signals(&metrics, &others);
                return Ok(metrics);
            }
            Ok(metrics) => answered = answered.or(Some(metrics)),
            Err(error) => {
                super::say(&format!("{name} does not answer: {}", style.plain(&error.to_string())));
                silent.get_or_insert(name);
            }
        }
    }
    match (answered, silent) {
        (Some(metrics), _) => {
            say_signals(&metrics, "");
            Ok(metrics)
        }
        (None, name) => Ok(unasked(&format!(
            "{} does not answer; --prometheus says where another is",
            name.unwrap_or_else(|| "Prometheus".to_owned())
        ))),
    }
}

fn unasked(why: &str) -> Metrics {
    super::say(&format!("no metrics: {why}"));
    Metrics::Unasked(why.to_owned())
}

/// Whether a source has anything of the workload.
fn knows(metrics: &Metrics) -> bool {
    match metrics {
        Metrics::Asked { signals, .. } => signals.values().any(|sought| *sought != Sought::default()),
        Metrics::Unasked(_) => false,
    }
}

async fn ask((env, access): (&Env, &Access), name: &str, found: &Found) -> Result<Metrics, SourceError> {
    let source: Source = name.parse()?;
    let source = MetricSource::resolve(access, &found.namespace, &source).await?;
    init::metrics((access, &env.http), (name, &source), found).await
}

/// Who answers, and which of the signals it has.
fn say_signals(metrics: &Metrics, others: &str) {
    let Metrics::Asked { source, signals } = metrics else { return };
    let mut there = Vec::new();
    let mut missing = Vec::new();
    for (signal, sought) in signals {
        match &sought.taken {
            Some((candidate, _)) => there.push(format!("{signal:?} ({})", candidate.metric)),
            None => missing.push(format!("{signal:?}")),
        }
    }
    let there = if there.is_empty() { "nothing of this workload".to_owned() } else { there.join(", ") };
    super::say(&format!("{source} has {there}{others}"));
    if !missing.is_empty() {
        super::say(&format!("not found: {}; the file says what was looked for", missing.join(", ")));
    }
}

/// That a file can be written there, as far as can be told beforehand.
fn free(place: &Path, force: bool) -> anyhow::Result<()> {
    if place == Path::new("-") {
        return Ok(());
    }
    let folder = place.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        bail!(Usage(format!("there is no folder {}", folder.display())));
    }
    match std::fs::symlink_metadata(place) {
        Ok(there) if there.is_dir() => bail!(Usage(format!("{} is a folder", place.display()))),
        Ok(_) if !force => bail!(already(place)),
        _ => Ok(()),
    }
}

fn already(place: &Path) -> Usage {
    Usage(format!("{} is there already; --force writes over it, --output writes elsewhere", place.display()))
}

/// What `check` says of the file before it is one.
fn checked(place: &Path, text: &str) -> anyhow::Result<()> {
    let texts = [SourceText::new(place.display().to_string(), text)];
    let read = api::read(&texts);
    if read.has_errors() {
        super::say(&input::rendered(&texts, &read.findings, &super::stderr_style()));
        bail!("the file would not pass firedrill check, which is firedrill's mistake; nothing was written");
    }
    Ok(())
}

fn write(place: &Path, text: &str, force: bool) -> anyhow::Result<()> {
    if place == Path::new("-") {
        return super::print(text).map(|_| ());
    }
    let mut options = OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    let written = options.open(place).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    match written {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(already(place).into()),
        written => written.with_context(|| place.display().to_string()).map_err(Usage::from),
    }
}

/// What to do now, with commands that can be copied.
fn next(global: &Global, place: &Path, found: &Found, consents: bool) -> String {
    let written = place != Path::new("-");
    let file = if written { in_shell(&place.display().to_string()) } else { "FILE".to_owned() };
    let mut flags = String::new();
    if let Some(kubeconfig) = &global.kubeconfig {
        flags.push_str(&format!(" --kubeconfig {}", in_shell(&kubeconfig.display().to_string())));
    }
    if let Some(context) = &global.context {
        flags.push_str(&format!(" --context {}", in_shell(context)));
    }
    let breaks = found.loss().pods() > 0;
    if breaks && !consents {
        flags.push_str(&format!(" --allow-namespace {}", found.namespace));
    }
    let told = std::env::var("FIREDRILL_PROMETHEUS").ok();
    if let Some(source) = found.source().filter(|source| told.as_deref() != Some(source)) {
        flags.push_str(&format!(" --prometheus {}", in_shell(source)));
    }
    let mut text =
        if written { format!("wrote {file}; next:\n") } else { "next, when it is in a file:\n".to_owned() };
    text.push_str(&format!(
        "  firedrill check {file}\n  firedrill plan {file}{flags}\n  firedrill run {file}{flags}\n"
    ));
    text.push_str(&format!(
        "or rehearse it, with the manifests of the workload in DIR: firedrill rehearse {file} --manifests DIR"
    ));
    if breaks && !consents {
        let namespace = &found.namespace;
        text.push_str(&format!(
            "\nnamespace {namespace} has not consented to experiments, hence --allow-namespace; for good: kubectl label namespace {namespace} firedrill.dev/allowed=true"
        ));
    }
    if !breaks {
        text.push_str("\nit breaks nothing: see the end of the file");
    }
    text
}

/// An argument for a shell.
fn in_shell(text: &str) -> String {
    let harmless =
        |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '/' | ':' | '_' | '@' | '=' | '+');
    if !text.is_empty() && text.chars().all(harmless) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_is_named_as_kubectl_takes_it() {
        for text in ["checkout", "deployment/checkout", "deploy/checkout", "deployments.apps/checkout"] {
            assert_eq!(named(text).ok().as_deref(), Some("checkout"), "{text}");
        }
        for (text, why) in [
            ("statefulset/db", "Deployments only"),
            ("cronjob/x", "write deployment/NAME"),
            ("deployment/", "no name"),
            ("../etc", "write deployment/NAME"),
            ("deployment/../../etc", "no name"),
            ("Checkout", "no name"),
            ("", "no name"),
        ] {
            let error = named(text).expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn commands_can_be_copied() {
        assert_eq!(in_shell("a/b-c.yaml"), "a/b-c.yaml");
        assert_eq!(in_shell("it's here.yaml"), r"'it'\''s here.yaml'");
    }
}
