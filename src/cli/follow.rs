//! `firedrill run --controller`: has the controller run it, and follows it with the timeline of a local run.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::{
    Global, SettingArgs, TellArgs, Usage, cluster_run,
    connect::{self, Connection},
    input,
    told::{self, Reports, Told},
};
use crate::{
    api::{API_VERSION, Act},
    cluster::{Access, ApiError, Segments, Write, identity},
    controller::RunSeen,
    journal::{self, Entry},
    types::{ExitCode, ObjectRef},
};

/// How often it is looked at.
const LOOK: std::time::Duration = std::time::Duration::from_secs(1);

/// What is to be run: experiments in files, or one that is in the cluster.
pub(super) fn run(
    global: &Global,
    (setting, tell): (&SettingArgs, &TellArgs),
    controller: &str,
) -> anyhow::Result<ExitCode> {
    let (there, files) = split(setting)?;
    let read = match files {
        Some(setting) => Some(input::read(&setting.files, input::For::Checking)?),
        None => None,
    };
    if let Some(code) = read.as_ref().and_then(input::Input::refused) {
        return Ok(code);
    }
    let experiments = match &read {
        Some(read) => read.experiments()?,
        None => Vec::new(),
    };
    connect::runtime()?.block_on(async {
        let connection = connect::connect(global, 0).await?;
        let access = Access::new(connection.env.kube.clone());
        let mut reports = Reports::new(tell);
        let mut codes = Vec::new();
        let mut names: Vec<(String, String)> =
            there.into_iter().map(|name| (connection.asked(global), name)).collect();
        for act in &experiments {
            names.push(apply(&access, (global, &connection), act).await?);
        }
        let mut rest = names.into_iter();
        for (namespace, name) in rest.by_ref() {
            let run = create(&access, (&namespace, &name), setting).await?;
            codes.push(follow(&access, run, controller, (tell, &mut reports)).await?);
            if told::stops(codes.last(), tell) {
                break;
            }
        }
        let rest: Vec<String> = rest.map(|(_, name)| name).collect();
        reports.close(codes, None, rest.into_iter())
    })
}

/// Names of experiments in the cluster (`experiment/NAME`), and the rest, which are files.
fn split(setting: &SettingArgs) -> anyhow::Result<(Vec<String>, Option<SettingArgs>)> {
    for (given, flag) in [
        (
            !setting.allow_namespace.is_empty(),
            "--allow-namespace: the namespace's label is the consent that counts there",
        ),
        (!setting.bystanders.is_empty(), "--bystanders: a Guardrail names them there"),
    ] {
        if given {
            bail!(Usage(format!("--controller does not take {flag}")));
        }
    }
    let mut files = setting.clone();
    let is_name = |path: &Path| !path.exists() && path.parent() == Some(Path::new("experiment"));
    let (names, paths): (Vec<PathBuf>, Vec<PathBuf>) =
        std::mem::take(&mut files.files.files).into_iter().partition(|path| is_name(path));
    files.files.files = paths;
    let names = names.iter().filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect();
    let any = !files.files.files.is_empty() || !files.files.more.is_empty();
    Ok((names, any.then_some(files)))
}

/// Brings an experiment to the cluster, as `kubectl apply --server-side` does. Its namespace and name.
async fn apply(
    access: &Access,
    (global, connection): (&Global, &Connection),
    Act { experiment, json, .. }: &Act,
) -> anyhow::Result<(String, String)> {
    let name = experiment.metadata.name.clone();
    let namespace = experiment.metadata.namespace.clone().unwrap_or_else(|| connection.asked(global));
    let object = ObjectRef::namespaced(API_VERSION, "Experiment", &namespace, &name);
    let mut body = json.clone();
    body["metadata"]["namespace"] = namespace.clone().into();
    match access.apply(&object, &body, Write { manager: "firedrill", dry_run: false }).await {
        Ok(_) => Ok((namespace, name)),
        Err(ApiError::NotFound) => {
            bail!("the cluster does not know Experiments: firedrill crds | kubectl apply --server-side -f -")
        }
        Err(error) => Err(error).with_context(|| format!("experiment/{name} cannot be applied")),
    }
}

async fn create(
    access: &Access,
    (namespace, experiment): (&str, &str),
    setting: &SettingArgs,
) -> anyhow::Result<RunSeen> {
    let by = identity(access).await?.name;
    let mut spec = json!({"experimentRef": {"name": experiment}, "requestedBy": by});
    if let Some(seed) = setting.seed {
        spec["seed"] = seed.into();
    }
    let values: Vec<Value> = setting
        .files
        .param
        .iter()
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect();
    if !values.is_empty() {
        spec["parameters"] = values.into();
    }
    let body = json!({
        "apiVersion": API_VERSION,
        "kind": "Run",
        "metadata": {"generateName": format!("{experiment}-"), "namespace": namespace},
        "spec": spec,
    });
    let object = ObjectRef::namespaced(API_VERSION, "Run", namespace, "");
    let made = access.create(&object, body, Write::default()).await;
    let made = made.map_err(|error| match error {
        ApiError::NotFound => {
            anyhow::anyhow!(
                "the cluster does not know Runs: firedrill crds | kubectl apply --server-side -f -"
            )
        }
        error => anyhow::Error::from(error).context("the Run cannot be created"),
    })?;
    RunSeen::read(&made).context("the API server answers with something that is no Run")
}

/// Tells a Run as it goes, and exits as a local one would.
async fn follow(
    access: &Access,
    run: RunSeen,
    controller: &str,
    (tell, reports): (&TellArgs, &mut Reports<'_>),
) -> anyhow::Result<ExitCode> {
    let (name, namespace) = (run.object.name.clone(), run.object.namespace.clone());
    super::say(&format!(
        "Run {name} in namespace {namespace}; Ctrl-C leaves it to the controller, firedrill abort {name} -n {namespace} ends it"
    ));
    let told = Told::new(tell, &super::stderr_style());
    let mut journal = Journal::of(&run, controller);
    let mut seen = run;
    let begun = tokio::time::Instant::now();
    let mut warned = false;
    loop {
        journal.go_on(access, &told).await?;
        match access.get(&seen.object).await {
            Ok(found) => seen = RunSeen::read(&found).unwrap_or(seen),
            Err(ApiError::NotFound) => {
                journal.go_on(access, &told).await?;
                told.close();
                bail!("Run {name} was deleted");
            }
            Err(error) if error.is_transient() => tracing::debug!(%error, "not now"),
            Err(error) => return Err(error.into()),
        }
        journal.without(&seen);
        if seen.over() {
            break;
        }
        if seen.status.is_null() && begun.elapsed().as_secs() >= 15 && !std::mem::replace(&mut warned, true) {
            super::say("nobody has taken it up so far: is there a controller? kubectl get pods -n firedrill");
        }
        tokio::time::sleep(LOOK).await;
    }
    journal.go_on(access, &told).await?;
    told.close();
    super::say(&cluster_run::ended(&seen));
    for finding in seen.status["findings"].as_array().into_iter().flatten() {
        if journal.entries.is_empty() {
            let text = |field: &str| finding[field].as_str().unwrap_or_default();
            super::say(&format!("  [{}] {}", text("code"), text("message")));
        }
    }
    reports.followed(&journal.entries, &name);
    Ok(cluster_run::exit_code(&seen))
}

/// The journal of a Run as far as it has been read; or its status, for whoever may not read that.
struct Journal {
    namespace: String,
    run: crate::types::RunId,
    seen: (u64, Vec<u8>),
    entries: Vec<Entry>,
    forbidden: bool,
    said: String,
}

impl Journal {
    fn of(run: &RunSeen, controller: &str) -> Self {
        Self {
            namespace: controller.to_owned(),
            run: run.id.clone(),
            seen: (0, Vec::new()),
            entries: Vec::new(),
            forbidden: false,
            said: String::new(),
        }
    }

    /// Tells what is new.
    async fn go_on(&mut self, access: &Access, told: &Told) -> anyhow::Result<()> {
        while !self.forbidden {
            match Segments::more(access, (&self.namespace, &self.run), &mut self.seen).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(ApiError::Forbidden(_)) => {
                    self.forbidden = true;
                    super::say(&format!(
                        "you may not read journals (get configmaps in namespace {}): told from the Run's status",
                        self.namespace
                    ));
                }
                Err(error) if error.is_transient() => break,
                Err(error) => return Err(error.into()),
            }
        }
        let (entries, _) = journal::decode(&self.seen.1)?;
        // What was torn when its owner died is void: then there are fewer, and others.
        let known = self.entries.iter().zip(&entries).take_while(|(old, new)| old == new).count();
        for entry in &entries[known..] {
            told.on(entry);
        }
        self.entries = entries;
        Ok(())
    }

    /// Without the journal: a line for each change of the status.
    fn without(&mut self, run: &RunSeen) {
        let text = |field: &str| run.status[field].as_str().unwrap_or_default();
        let words = format!("{} {} {}", text("phase"), text("currentStep"), text("reason"));
        if self.forbidden && words != self.said {
            super::say(words.trim_end());
            self.said = words;
        }
    }
}
