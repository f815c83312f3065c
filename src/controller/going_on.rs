//! Goes on with a run whose runner is lost, where its file says `onRunnerLoss: Resume`.

use tokio::time::Instant;

use super::{
    begin::{self, Going, No, Ready, actor, refused},
    request,
    work::{Case, WorkError, header, put_back},
};
use crate::{
    api::{Act, Experiment},
    cluster, engine,
    engine::Request,
    journal::Header,
};

/// Whether a run that its owner has left is gone on with; else it is put back.
pub(super) fn goes_on(case: &Case) -> bool {
    let wanted = case.told.as_ref().is_some_and(|(run, _)| {
        let abort = run.spec.as_ref().is_ok_and(|spec| spec.abort);
        !run.deleted && !abort
    });
    let why = if wanted {
        engine::put_back_because(&case.entries)
    } else {
        Some("nobody wants it any more".to_owned())
    };
    if let Some(why) = &why {
        tracing::info!(run = %case.id, why, "it is put back rather than gone on with");
    }
    why.is_none()
}

/// Goes on with it; what cannot be is put back. `dead_pod`: since when the pod of its owner is deleted.
pub(super) async fn go_on(case: &mut Case, dead_pod: Option<Instant>) -> Result<(), WorkError> {
    let Some(request) = header(&case.entries).and_then(|header| asked(case, header)) else {
        return put_back(case, dead_pod).await;
    };
    match ready(case, request).await {
        Ok(ready) => begin::go(case, ready, Going::On).await,
        Err(No::Failed(error)) => Err(error),
        Err(No::Declined(_, reason, words, _)) => {
            tracing::warn!(run = %case.id, reason, words, "it cannot be gone on with, and is put back");
            put_back(case, dead_pod).await
        }
    }
}

/// What was begun, as its journal has it.
fn asked(case: &Case, header: &Header) -> Option<Request> {
    let experiment = Experiment::from_value(&header.experiment).ok()?;
    let act = Act { experiment, json: header.experiment.clone(), source: header.file.clone() };
    let mut request = request::of(&case.context, &header.namespace, &act, header.seed);
    request.environment = header.environment.clone();
    request.consent.approvals = header.approvals;
    Some(request)
}

async fn ready(case: &Case, request: Request) -> Result<Ready, No> {
    let by = header(&case.entries).map_or("", |header| &header.by);
    let name = cluster::account_of(by).map_or("", |(_, name)| name).to_owned();
    let (account, env, acting) = actor(case, &request, &name).await?;
    let assessment = engine::assess(&env, &request).await.map_err(refused)?;
    Ok(Ready { request, assessment, env, acting, account })
}
