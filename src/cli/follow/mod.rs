//! `firedrill run --controller`: has the controller run it, and follows it with the timeline of a local run.

mod ending;
mod following;
mod subject;
mod unheeded;

use std::time::Duration;

use anyhow::bail;

use super::{
    Global, SettingArgs, TellArgs,
    connect::{self, Connection},
    told::{self, Reports},
};
use crate::{
    cluster::{Access, ApiError},
    controller::RunSeen,
    types::ExitCode,
};
use ending::Ending;
use following::Following;
use subject::{Asked, Subject};

pub(super) use following::forbidden;

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// So long nobody may have taken it up before it is wondered whether there is a controller.
const TAKEN_UP: Duration = Duration::from_secs(15);
/// How long the journal of a Run that was deleted is read on, for its end.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// Where Runs are followed.
struct Desk<'a> {
    access: &'a Access,
    connection: &'a Connection,
    /// The controller's namespace.
    controller: &'a str,
    tell: &'a TellArgs,
    seed: Option<u64>,
}

/// What is to be run: experiments in files, or what is in the cluster.
pub(super) fn run(
    global: &Global,
    (setting, tell): (&SettingArgs, &TellArgs),
    controller: &str,
) -> anyhow::Result<ExitCode> {
    unheeded::refuse(setting, tell)?;
    let asked = Asked::read(setting)?;
    if let Some(code) = asked.files().and_then(super::input::Input::refused) {
        return Ok(code);
    }
    connect::runtime()?.block_on(async {
        let connection = connect::connect(global, 0).await?;
        let access = Access::new(connection.env.kube.clone());
        let subjects = asked.subjects(&access, &connection.asked(global)).await?;
        let desk = Desk { access: &access, connection: &connection, controller, tell, seed: setting.seed };
        let mut reports = Reports::new(tell);
        let mut codes = Vec::new();
        let mut rest = subjects.into_iter();
        for subject in rest.by_ref() {
            codes.push(one(&desk, &subject, &mut reports).await);
            if told::stops(codes.last(), tell) {
                break;
            }
        }
        let rest: Vec<String> = rest.map(|subject| subject.name).collect();
        reports.close(codes, None, rest.into_iter())
    })
}

/// Has one of them run, and follows it. What becomes of it is no reason to forget what became of those before it.
async fn one(desk: &Desk<'_>, subject: &Subject, reports: &mut Reports<'_>) -> ExitCode {
    let run = match subject::create(desk.access, subject, desk.seed).await {
        Ok(run) => run,
        Err(error) => return reports.lost(&subject.name, &error),
    };
    let name = run.object.name.clone();
    match follow(desk, subject, run, reports).await {
        Ok(code) => code,
        Err(error) => {
            let error = error.context(format!("Run {name} goes on, and is not followed any more"));
            reports.lost(&subject.name, &error);
            ExitCode::Inconclusive
        }
    }
}

/// Tells a Run as it goes, and exits as a local one would.
async fn follow(
    desk: &Desk<'_>,
    subject: &Subject,
    run: RunSeen,
    reports: &mut Reports<'_>,
) -> anyhow::Result<ExitCode> {
    let (name, namespace) = (run.object.name.clone(), run.object.namespace.clone());
    super::say(&format!(
        "Run {name} in namespace {namespace}; Ctrl-C leaves it to the controller, firedrill abort {name} -n {namespace} ends it"
    ));
    let mut following = Following::new(&run, desk.controller, desk.tell);
    let (seen, gone) = watched(desk, run, &mut following).await?;
    following.go_on(desk.access).await;
    if gone {
        ended(desk, &mut following).await;
    }
    following.close();
    let ending = Ending { subject, seen: &seen, gone, following: &following };
    ending.say();
    ending.report(desk, reports).await;
    Ok(ending.code())
}

/// Looks at a Run until it is over, or gone: then true.
async fn watched(
    desk: &Desk<'_>,
    run: RunSeen,
    following: &mut Following<'_>,
) -> anyhow::Result<(RunSeen, bool)> {
    let begun = tokio::time::Instant::now();
    let (mut seen, mut warned) = (run, false);
    loop {
        following.go_on(desk.access).await;
        match desk.access.get(&seen.object).await {
            Ok(found) => seen = RunSeen::read(&found).unwrap_or(seen),
            Err(ApiError::NotFound) => return Ok((seen, true)),
            Err(error) if error.is_transient() => tracing::debug!(%error, "not now"),
            Err(error) => bail!(error),
        }
        following.status(&seen);
        if seen.over() {
            return Ok((seen, false));
        }
        if seen.status.is_null() && begun.elapsed() >= TAKEN_UP && !std::mem::replace(&mut warned, true) {
            let namespace = desk.controller;
            super::say(&format!(
                "nobody has taken it up so far: is there a controller? kubectl get pods -n {namespace}, firedrill doctor \
                 --installation"
            ));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Reads the journal of a Run that is gone to its end: whoever took its finalizer away by force did not stop that.
async fn ended(desk: &Desk<'_>, following: &mut Following<'_>) {
    let until = tokio::time::Instant::now() + ENDS_WITHIN;
    let open = |following: &Following<'_>| {
        let journal = &following.journal;
        !journal.entries.is_empty() && journal.unread.is_none() && journal.end().is_none()
    };
    while open(following) && tokio::time::Instant::now() < until {
        tokio::time::sleep(LOOK).await;
        following.go_on(desk.access).await;
    }
}
