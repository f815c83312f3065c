//! `firedrill run --controller`: has the controller run it, and follows it with the timeline of a local run.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::{
    Global, SettingArgs, TellArgs, Usage, cluster_run,
    connect::{self, Connection},
    input, report,
    told::{self, Reports, Told},
};
use crate::{
    api::{API_VERSION, Act},
    cluster::{Access, ApiError, Segments, Write, identity},
    controller::RunSeen,
    journal::{self, DayRecord, Entry, Record},
    report::clean,
    types::{ExitCode, ObjectRef, RunId},
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
        let asked = connection.asked(global);
        let mut subjects: Vec<Subject> =
            there.into_iter().map(|(kind, name)| Subject { kind, namespace: asked.clone(), name }).collect();
        for act in &experiments {
            subjects.push(apply(&access, (global, &connection), act).await?);
        }
        let mut rest = subjects.into_iter();
        for subject in rest.by_ref() {
            let run = create(&access, &subject, setting).await?;
            codes.push(follow(&access, run, controller, (tell, &mut reports)).await?);
            if told::stops(codes.last(), tell) {
                break;
            }
        }
        let rest: Vec<String> = rest.map(|subject| subject.name).collect();
        reports.close(codes, None, rest.into_iter())
    })
}

/// What a Run is made of.
struct Subject {
    kind: Kind,
    namespace: String,
    name: String,
}

#[derive(Clone, Copy)]
enum Kind {
    Experiment,
    GameDay,
}

/// One that is in the cluster already.
type Named = (Kind, String);

impl Kind {
    /// The field of a Run that names one.
    fn field(self) -> &'static str {
        match self {
            Self::Experiment => "experimentRef",
            Self::GameDay => "gameDayRef",
        }
    }

    /// `experiment/NAME` and `gameday/NAME`, unless there is a file of that name.
    fn named(path: &Path) -> Option<Named> {
        let kind = match path.parent()?.to_str()? {
            "experiment" => Self::Experiment,
            "gameday" => Self::GameDay,
            _ => return None,
        };
        Some((kind, path.file_name()?.to_str()?.to_owned())).filter(|_| !path.exists())
    }
}

/// What is in the cluster already, and the rest, which are files.
fn split(setting: &SettingArgs) -> anyhow::Result<(Vec<Named>, Option<SettingArgs>)> {
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
    let (names, paths): (Vec<PathBuf>, Vec<PathBuf>) =
        std::mem::take(&mut files.files.files).into_iter().partition(|path| Kind::named(path).is_some());
    files.files.files = paths;
    let names = names.iter().filter_map(|path| Kind::named(path)).collect();
    let any = !files.files.files.is_empty() || !files.files.more.is_empty();
    Ok((names, any.then_some(files)))
}

/// Brings an experiment to the cluster, as `kubectl apply --server-side` does.
async fn apply(
    access: &Access,
    (global, connection): (&Global, &Connection),
    Act { experiment, json, .. }: &Act,
) -> anyhow::Result<Subject> {
    let name = experiment.metadata.name.clone();
    let namespace = experiment.metadata.namespace.clone().unwrap_or_else(|| connection.asked(global));
    let object = ObjectRef::namespaced(API_VERSION, "Experiment", &namespace, &name);
    let mut body = json.clone();
    body["metadata"]["namespace"] = namespace.clone().into();
    match access.apply(&object, &body, Write { manager: "firedrill", dry_run: false }).await {
        Ok(_) => Ok(Subject { kind: Kind::Experiment, namespace, name }),
        Err(ApiError::NotFound) => {
            bail!("the cluster does not know Experiments: firedrill crds | kubectl apply --server-side -f -")
        }
        Err(error) => Err(error).with_context(|| format!("experiment/{name} cannot be applied")),
    }
}

async fn create(
    access: &Access,
    Subject { kind, namespace, name }: &Subject,
    setting: &SettingArgs,
) -> anyhow::Result<RunSeen> {
    let by = identity(access).await?.name;
    let mut spec = json!({kind.field(): {"name": name}, "requestedBy": by});
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
        "metadata": {"generateName": format!("{name}-"), "namespace": namespace},
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
    let mut following = Following::new(&run, controller, tell);
    let mut seen = run;
    let begun = tokio::time::Instant::now();
    let mut warned = false;
    loop {
        following.go_on(access).await?;
        match access.get(&seen.object).await {
            Ok(found) => seen = RunSeen::read(&found).unwrap_or(seen),
            Err(ApiError::NotFound) => {
                following.go_on(access).await?;
                following.close();
                bail!("Run {name} was deleted");
            }
            Err(error) if error.is_transient() => tracing::debug!(%error, "not now"),
            Err(error) => return Err(error.into()),
        }
        following.status(&seen);
        if seen.over() {
            break;
        }
        if seen.status.is_null() && begun.elapsed().as_secs() >= 15 && !std::mem::replace(&mut warned, true) {
            super::say("nobody has taken it up so far: is there a controller? kubectl get pods -n firedrill");
        }
        tokio::time::sleep(LOOK).await;
    }
    following.go_on(access).await?;
    following.close();
    super::say(&cluster_run::ended(&seen));
    let entries = &following.journal.entries;
    for finding in seen.status["findings"].as_array().into_iter().flatten() {
        if entries.is_empty() {
            let text = |field: &str| finding[field].as_str().unwrap_or_default();
            super::say(&format!("  [{}] {}", text("code"), text("message")));
        }
    }
    match report::day_kept(access, controller, entries).await? {
        Some((day, chapters)) => reports.add_day(day, chapters, false),
        None => reports.followed(entries, &name),
    }
    Ok(cluster_run::exit_code(&seen))
}

/// A Run that is told as it goes: its journal, and of a game day that of the part that runs.
struct Following<'a> {
    tell: &'a TellArgs,
    journal: Journal,
    told: Told,
    part: Option<(Journal, Told)>,
    said: String,
}

impl<'a> Following<'a> {
    fn new(run: &RunSeen, controller: &str, tell: &'a TellArgs) -> Self {
        let told = Told::new(tell, &super::stderr_style());
        Self { tell, journal: Journal::of(&run.id, controller), told, part: None, said: String::new() }
    }

    /// Tells what is new.
    async fn go_on(&mut self, access: &Access) -> anyhow::Result<()> {
        for entry in self.journal.go_on(access).await? {
            match &entry.record {
                Record::Day(record) => self.day(access, record).await?,
                _ => self.told.on(&entry),
            }
        }
        self.part(access).await
    }

    async fn part(&mut self, access: &Access) -> anyhow::Result<()> {
        if let Some((journal, told)) = &mut self.part {
            for entry in journal.go_on(access).await? {
                told.on(&entry);
            }
        }
        Ok(())
    }

    async fn day(&mut self, access: &Access, record: &DayRecord) -> anyhow::Result<()> {
        let words = match record {
            DayRecord::Began(header) => format!("the game day begins, asked for by {}", header.by),
            DayRecord::Asked { asked } => format!("{}: {}", asked.what, asked.detail),
            DayRecord::Noted { text, .. } => format!("note: {text}"),
            DayRecord::Playing { part, run } => {
                // To its end, before the next is told.
                self.part(access).await?;
                if let Some((_, told)) = self.part.take() {
                    told.close();
                }
                let told = Told::new(self.tell, &super::stderr_style());
                self.part = Some((Journal::of(run, &self.journal.namespace), told));
                format!("{part} (run {run})")
            }
            DayRecord::Refused { part, findings } => {
                let first = findings.first().map_or(String::new(), |first| first.message.clone());
                format!("{part} is refused: {first}")
            }
            DayRecord::Skipped { part, why } => format!("{part} is skipped: {why}"),
            DayRecord::Over { .. } => return Ok(()),
        };
        super::say(&format!("== {}", clean(&words)));
        Ok(())
    }

    /// What only the status says: what is waited for, and everything for whoever may not read journals.
    fn status(&mut self, run: &RunSeen) {
        let text = |field: &str| run.status[field].as_str().unwrap_or_default();
        let waits = ["Waiting", "AwaitingApproval", "Held"].contains(&text("reason"));
        let words = match self.journal.forbidden {
            true => format!("{} {} {}", text("phase"), text("currentStep"), text("reason")),
            false if waits => format!("{} {}", text("currentStep"), text("message")),
            false => return,
        };
        if words != self.said {
            super::say(clean(words.trim()).trim_end());
            self.said = words;
        }
    }

    fn close(&self) {
        self.told.close();
        self.part.iter().for_each(|(_, told)| told.close());
    }
}

/// The journal of a run as far as it has been read.
struct Journal {
    namespace: String,
    run: RunId,
    seen: (u64, Vec<u8>),
    entries: Vec<Entry>,
    forbidden: bool,
}

impl Journal {
    fn of(run: &RunId, controller: &str) -> Self {
        Self {
            namespace: controller.to_owned(),
            run: run.clone(),
            seen: (0, Vec::new()),
            entries: Vec::new(),
            forbidden: false,
        }
    }

    /// What is new.
    async fn go_on(&mut self, access: &Access) -> anyhow::Result<Vec<Entry>> {
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
        let new = entries[known..].to_vec();
        self.entries = entries;
        Ok(new)
    }
}
