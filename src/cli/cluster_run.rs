//! Runs in the cluster, for the commands that a person gives: found by name, changed within what may change.

use std::time::Duration;

use anyhow::bail;
use clap::Args;
use jiff::{SignedDuration, civil::Date};
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::{
    Global, Usage,
    connect::{self, Connection},
    questions,
};
use crate::{
    api::{API_VERSION, ActionItem, Approval, OpenAction, StepAction, open_actions},
    cluster::{Access, ApiError, identity},
    controller::{self, RunSeen, status::second},
    types::{ExitCode, Length, ObjectRef, RunId, Verdict},
};

/// What somebody approves again so soon is one approval.
const TWICE: SignedDuration = SignedDuration::from_mins(1);
/// How long a person's change is tried against others'.
const TRIES: usize = 8;
/// How often a Run is looked at that is waited for.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Args)]
pub(super) struct HoldArgs {
    /// The Run.
    run: String,
}

#[derive(Args)]
pub(super) struct NoteArgs {
    /// The Run.
    run: String,

    /// What you have observed; of an action item: what is to be done.
    text: String,

    /// It is an action item: --owner does it, until --due.
    #[arg(long, requires = "owner", requires = "due")]
    action: bool,

    /// Who does it.
    #[arg(long, value_name = "NAME", requires = "action")]
    owner: Option<String>,

    /// Until which day, as 2026-12-15.
    #[arg(long, value_name = "DAY", requires = "action", value_parser = day)]
    due: Option<Date>,

    /// The action item of these words is done.
    #[arg(long, conflicts_with = "action")]
    done: bool,
}

fn day(text: &str) -> Result<Date, String> {
    text.parse().map_err(|_| format!("`{text}` is no day such as 2026-12-15"))
}

#[derive(Args)]
pub(super) struct ConfirmArgs {
    /// The Run.
    run: String,

    /// The manual step, gate or prerequisite: EXPERIMENT/STEP, EXPERIMENT/gate, prerequisites/NAME; default: the one
    /// that waits.
    step: Option<String>,

    /// It could not be done.
    #[arg(long)]
    fail: bool,

    /// Your words.
    #[arg(long, default_value = "", hide_default_value = true)]
    comment: String,
}

#[derive(Args)]
pub(super) struct SkipArgs {
    /// The Run.
    run: String,

    /// EXPERIMENT/STEP.
    step: String,

    /// Your words.
    #[arg(long, default_value = "", hide_default_value = true)]
    comment: String,
}

#[derive(Args)]
pub(super) struct ApproveArgs {
    /// The Run.
    run: String,

    /// Only if this is still what is asked: the hash that you were shown.
    #[arg(long, value_name = "HASH")]
    hash: Option<String>,

    /// Your words.
    #[arg(long, default_value = "", hide_default_value = true)]
    comment: String,
}

#[derive(Args)]
pub(super) struct WaitArgs {
    /// The Run.
    run: String,

    /// How long.
    #[arg(long, value_name = "LENGTH", default_value = "1h")]
    timeout: Length,
}

/// A Run of that name, or the one that journals and scars call so, in the namespace that is asked for.
pub(super) async fn found(access: &Access, namespace: &str, name: &str) -> Result<Option<RunSeen>, ApiError> {
    let object = ObjectRef::namespaced(API_VERSION, "Run", namespace, name);
    match access.get(&object).await {
        Ok(found) => return Ok(RunSeen::read(&found)),
        Err(ApiError::NotFound) => {}
        Err(error) => return Err(error),
    }
    let all = access.read(access.api(&object).list(&ListParams::default())).await;
    match all {
        Ok(all) => {
            let mut seen = all.items.iter().filter_map(RunSeen::read);
            Ok(seen.find(|run| run.id.as_str() == name))
        }
        // The cluster does not know the kind.
        Err(ApiError::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The Run that a person names; it has to be there.
async fn named(global: &Global, name: &str) -> anyhow::Result<(Access, Connection, RunSeen)> {
    if RunId::parse(name).is_none() {
        bail!(Usage(format!("`{name}` is not the name of a Run")));
    }
    let connection = connect::connect(global, 0).await?;
    let access = Access::new(connection.env.kube.clone());
    let namespace = connection.asked(global);
    let Some(run) = found(&access, &namespace, name).await? else {
        bail!(Usage(format!(
            "there is no Run {name} in namespace {namespace}; kubectl get runs -A lists them"
        )));
    };
    Ok((access, connection, run))
}

/// Changes a Run's spec: `change` says how, from what it is now.
pub(super) async fn change(
    access: &Access,
    run: &ObjectRef,
    change: impl Fn(&Value) -> Value,
) -> Result<(), ApiError> {
    changed_by(access, run, None, change).await
}

/// The same, and in the same write who has done it: the annotation, and the person.
pub(super) async fn changed_by(
    access: &Access,
    run: &ObjectRef,
    hand: Option<(&str, &str)>,
    change: impl Fn(&Value) -> Value,
) -> Result<(), ApiError> {
    let mut last = ApiError::NotFound;
    for _ in 0..TRIES {
        let now = access.get(run).await?;
        let mut body = json!({
            "metadata": {"uid": run.uid, "resourceVersion": now.metadata.resource_version},
            "spec": change(&now.data["spec"]),
        });
        // Where the server stamps it, it writes the same; where it does not, it compares.
        if let Some((annotation, by)) = hand {
            body["metadata"]["annotations"] = json!({annotation: by});
        }
        let params = PatchParams { field_manager: Some("firedrill".to_owned()), ..PatchParams::default() };
        match access.read(access.api(run).patch(&run.name, &params, &Patch::Merge(&body))).await {
            Err(error @ ApiError::Conflict(_)) => last = error,
            other => return other.map(|_| ()),
        }
    }
    Err(last)
}

pub(super) fn hold(global: &Global, args: &HoldArgs, held: bool) -> anyhow::Result<ExitCode> {
    connect::runtime()?.block_on(async {
        let (access, _, run) = named(global, &args.run).await?;
        if run.over() {
            super::say(&format!("Run {} is over", run.object.name));
            return Ok(ExitCode::Ok);
        }
        let by = identity(&access).await?.name;
        let hand = controller::HANDS[if held { 1 } else { 2 }];
        changed_by(&access, &run.object, Some((hand, &by)), |_| json!({"hold": held})).await?;
        super::say(&match held {
            true => {
                format!("held: no new step of {} starts; what is in force keeps its time", run.object.name)
            }
            false => format!("{} goes on", run.object.name),
        });
        Ok(ExitCode::Ok)
    })
}

pub(super) fn note(global: &Global, args: &NoteArgs) -> anyhow::Result<ExitCode> {
    connect::runtime()?.block_on(async {
        let (access, connection, run) = named(global, &args.run).await?;
        let (by, time) = (identity(&access).await?.name, second(connection.env.clock.now()));
        let mut note = json!({"by": by, "time": time, "text": args.text});
        if args.action || args.done {
            let owner = args.owner.clone().unwrap_or_default();
            note["action"] = serde_json::to_value(ActionItem { owner, due: args.due, done: args.done })?;
        }
        if args.done
            && let Some(open) = open_items(&access, &run).await
            && !open.iter().any(|item| OpenAction::same(item, &args.text))
        {
            let why = match open.is_empty() {
                true => "none is open".to_owned(),
                false => format!("open are: {}", open.join("; ")),
            };
            bail!(Usage(format!("no action item says `{}`: {why}", args.text)));
        }
        change(&access, &run.object, |spec| json!({"notes": with(&spec["notes"], &note)})).await?;
        super::say(&format!("noted in {}, by {by}", run.object.name));
        if run.over() {
            super::say(
                "its report is closed: that stands in the Run, and action items in the reports that follow",
            );
        }
        Ok(ExitCode::Ok)
    })
}

/// The words of the action items that are known to be open after a Run: its own, and those of its game day. None: whoever
/// asks may not read that.
async fn open_items(access: &Access, run: &RunSeen) -> Option<Vec<String>> {
    let spec = run.spec.as_ref().ok()?;
    let carried = match &spec.game_day_ref {
        None => Vec::new(),
        Some(day) => {
            let day = ObjectRef::namespaced(API_VERSION, "GameDay", &run.object.namespace, &day.name);
            OpenAction::carried(&access.get(&day).await.ok()?.data["status"])
        }
    };
    let open = open_actions(carried, [(run.object.name.as_str(), spec)]);
    Some(open.into_iter().map(|item| item.text).collect())
}

pub(super) fn confirm(global: &Global, args: &ConfirmArgs) -> anyhow::Result<ExitCode> {
    let action = if args.fail { StepAction::Fail } else { StepAction::Confirm };
    answer(global, (&args.run, args.step.as_deref()), (action, &args.comment))
}

pub(super) fn skip(global: &Global, args: &SkipArgs) -> anyhow::Result<ExitCode> {
    answer(global, (&args.run, Some(&args.step)), (StepAction::Skip, &args.comment))
}

/// Says something of a step, once.
fn answer(
    global: &Global,
    (run, step): (&str, Option<&str>),
    (action, comment): (StepAction, &str),
) -> anyhow::Result<ExitCode> {
    connect::runtime()?.block_on(async {
        let (access, connection, run) = named(global, run).await?;
        open(&run)?;
        let (by, time) = (identity(&access).await?.name, second(connection.env.clock.now()));
        let name = whole_name(&run, step).map_err(Usage)?;
        // Whoever may not read the files is taken at their word.
        let asked = questions::of(&access, &run).await;
        if let Some(why) = asked.and_then(|asked| questions::wrong(&name, action, &asked)) {
            bail!(Usage(format!("Run {}: {why}", run.object.name)));
        }
        let spec = run.spec.as_ref().map_err(|error| anyhow::anyhow!("Run {}: {error}", run.object.name))?;
        if let Some(said) = spec.steps.iter().find(|said| said.name == name) {
            bail!(Usage(format!("{} has said {:?} of {name} already", said.by, said.action)));
        }
        let mut answer = json!({"name": name, "action": action, "by": by, "time": time});
        if !comment.is_empty() {
            answer["comment"] = comment.into();
        }
        change(&access, &run.object, |spec| json!({"steps": with(&spec["steps"], &answer)})).await?;
        super::say(&format!("{action:?}: {name}, by {by}"));
        Ok(ExitCode::Ok)
    })
}

/// Of what is over nothing is asked any more.
fn open(run: &RunSeen) -> anyhow::Result<()> {
    if run.over() {
        bail!(Usage(format!("Run {} is over: nothing of it can be answered any more", run.object.name)));
    }
    Ok(())
}

/// EXPERIMENT/STEP of what a person means.
fn whole_name(run: &RunSeen, step: Option<&str>) -> Result<String, String> {
    let current = run.status["currentStep"].as_str();
    match (step, current) {
        (Some(step), _) if step.contains('/') => Ok(step.to_owned()),
        (Some(step), Some(current)) if current.rsplit_once('/').is_some_and(|(_, name)| name == step) => {
            Ok(current.to_owned())
        }
        (Some(step), _) if run.is_day() => {
            Err(format!("name it as EXPERIMENT/{step}: a game day has several experiments"))
        }
        (Some(step), _) => {
            let named = run.spec.as_ref().ok().and_then(|spec| spec.experiment_ref.clone());
            Ok(format!("{}/{step}", named.unwrap_or_default().name))
        }
        (None, Some(current)) if current.contains('/') => Ok(current.to_owned()),
        (None, _) => Err(format!("nothing of Run {} waits for an answer now", run.object.name)),
    }
}

pub(super) fn approve(global: &Global, args: &ApproveArgs) -> anyhow::Result<ExitCode> {
    connect::runtime()?.block_on(async {
        let (access, connection, run) = named(global, &args.run).await?;
        open(&run)?;
        let name = &run.object.name;
        let Some(hash) = run.status["hash"].as_str() else {
            bail!(Usage(format!(
                "Run {name} has no status.hash yet: the controller has not read what it is for"
            )));
        };
        if let Some(asked) = args.hash.as_deref().filter(|asked| *asked != hash) {
            bail!(Usage(format!("what is asked is another thing now: {hash}, not {asked}")));
        }
        let by = identity(&access).await?.name;
        let spec = run.spec.as_ref().map_err(|error| anyhow::anyhow!("Run {name}: {error}"))?;
        if spec.requested_by == by {
            bail!(Usage(format!("{by} has asked for Run {name}, and nobody approves their own")));
        }
        let now = connection.env.clock.now();
        // One that has run out can be given again.
        let twice = |approval: &Approval| {
            approval.by == by && approval.hash == hash && now.duration_since(approval.time) < TWICE
        };
        if spec.approvals.iter().any(twice) {
            super::say(&format!("{by} has approved {hash} already"));
            return Ok(ExitCode::Ok);
        }
        let mut approval = json!({"by": by, "hash": hash, "time": second(now)});
        if !args.comment.is_empty() {
            approval["comment"] = args.comment.clone().into();
        }
        change(&access, &run.object, |spec| json!({"approvals": with(&spec["approvals"], &approval)}))
            .await?;
        let subject = run.status["subject"].as_str().unwrap_or_default();
        super::say(&format!("approved: {subject}, {hash}, by {by}"));
        Ok(ExitCode::Ok)
    })
}

fn with(list: &Value, item: &Value) -> Value {
    let mut list = list.as_array().cloned().unwrap_or_default();
    list.push(item.clone());
    Value::Array(list)
}

pub(super) fn wait(global: &Global, args: &WaitArgs) -> anyhow::Result<ExitCode> {
    connect::runtime()?.block_on(async {
        let (access, _, run) = named(global, &args.run).await?;
        let until = tokio::time::Instant::now() + args.timeout.0;
        let mut seen = run;
        while !seen.over() {
            if tokio::time::Instant::now() >= until {
                let phase = seen.phase().map_or("not begun".to_owned(), |phase| phase.to_string());
                super::say(&format!("Run {} is not over after {}: {phase}", seen.object.name, args.timeout));
                return Ok(ExitCode::Inconclusive);
            }
            tokio::time::sleep(LOOK).await;
            match access.get(&seen.object).await {
                Ok(found) => seen = RunSeen::read(&found).unwrap_or(seen),
                // What a Run has in force that is deleted is put back before it goes.
                Err(ApiError::NotFound) => {
                    let name = &seen.object.name;
                    super::say(&format!(
                        "Run {name} was deleted before it was over; report --controller has how it ended"
                    ));
                    return Ok(ExitCode::Aborted);
                }
                Err(error) if error.is_transient() => {}
                Err(error) => return Err(error.into()),
            }
        }
        super::say(&ended(&seen));
        Ok(exit_code(&seen))
    })
}

/// How a Run that is over ended, in a line.
pub(super) fn ended(run: &RunSeen) -> String {
    let text = |field: &str| run.status[field].as_str().unwrap_or_default().to_owned();
    let words = [text("reason"), text("message")];
    let words: Vec<String> = words.into_iter().filter(|words| !words.is_empty()).collect();
    format!("{}: {} ({})", run.object.name, text("verdict"), words.join(": "))
}

/// What a local run that ended so would exit with.
pub(super) fn exit_code(run: &RunSeen) -> ExitCode {
    let verdict = serde_json::from_value::<Verdict>(run.status["verdict"].clone());
    ExitCode::of(verdict.unwrap_or(Verdict::Inconclusive), run.residue())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_the_controller_has_the_exit_code_of_its_verdict_and_residue_weighs_more() {
        let code = |verdict: &str, left: u64| {
            let object = json!({"apiVersion": crate::api::API_VERSION, "kind": "Run",
                "metadata": {"name": "trial-1", "namespace": "shop", "uid": "u"},
                "spec": {"experimentRef": {"name": "trial"}},
                "status": {"phase": "Finished", "verdict": verdict, "residue": {"count": left}}});
            let object = serde_json::from_value(object).expect("an object");
            exit_code(&RunSeen::read(&object).expect("a Run")) as u8
        };
        let verdicts = ["Passed", "Failed", "Refused", "Inconclusive", "Aborted", "NotSteady"];
        assert_eq!(verdicts.map(|verdict| code(verdict, 0)), [0, 1, 3, 4, 5, 7]);
        assert_eq!(verdicts.map(|verdict| code(verdict, 1)), [6; 6]);
        assert_eq!(code("", 0), 4, "of one that does not say what it came to nothing is known");
    }
}
