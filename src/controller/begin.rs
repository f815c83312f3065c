//! Begins a run: everything that can refuse it comes before its first record.

use std::{convert::Infallible, time::Duration};

use futures::future::BoxFuture;
use jiff::Timestamp;
use serde_json::json;

use super::{
    agreement::{self, Ask},
    covering,
    events::Told,
    hosts, object, request,
    request::Unreadable,
    seen::RunSeen,
    work::{Case, FOR_EVER, WorkError},
};
use crate::{
    api::RunSpec,
    cluster::{self, Access, Acting, ApiError, account_uid, account_user},
    engine::{self, Assessment, Outside, Request, Start},
    env::{Env, Rng},
    journal::StopReason,
    types::{Finding, Verdict, codes::guard as code},
};

/// How often it is asked again whether the namespaces are free.
pub(super) const ASK_AGAIN: Duration = Duration::from_secs(5);
/// How often the account is looked at.
const LOOK_AT_ACCOUNT: Duration = Duration::from_secs(5);

/// Why it does not begin.
pub(super) enum No {
    /// Verdict, reason, words, findings.
    Declined(Verdict, &'static str, String, Vec<Finding>),
    /// Not now.
    Failed(WorkError),
}

impl From<WorkError> for No {
    fn from(error: WorkError) -> Self {
        Self::Failed(error)
    }
}

impl From<ApiError> for No {
    fn from(error: ApiError) -> Self {
        Self::Failed(error.into())
    }
}

/// The ServiceAccount that a run acts as, as it was when the run began.
pub(super) struct Account {
    namespace: String,
    name: String,
    uid: String,
}

/// What nothing speaks against.
pub(super) struct Ready {
    pub request: Request,
    pub assessment: Assessment,
    /// The world with the account's rights.
    pub env: Env,
    pub acting: Acting,
    pub account: Account,
}

pub(super) fn refused(findings: Vec<Finding>) -> No {
    let first = findings.iter().find(|finding| finding.is_error()).or(findings.first());
    let words = first.map(|finding| format!("{}: {}", finding.subject, finding.message)).unwrap_or_default();
    No::Declined(Verdict::Refused, "Refused", words, findings)
}

/// Runs it, to its end or until it is refused.
pub(super) async fn begin(case: &mut Case) -> Result<(), WorkError> {
    let Some((run, _)) = case.told.clone() else { return Ok(()) };
    let Ok(spec) = run.spec.clone() else { return Ok(()) };
    let experiment = spec.experiment_ref.as_ref().map(|named| named.name.clone()).unwrap_or_default();
    let (request, account) = match agreed(case, &run, &spec).await {
        Ok(agreed) => agreed,
        Err(no) => return declined(case, no),
    };
    if !object::hold(&case.context.access, &run.object, (object::EXPERIMENT, &experiment)).await? {
        // It was deleted before anything was done.
        return Ok(());
    }
    match admitted(case, request, (&account, spec.deadline(run.created))).await {
        Ok(ready) => go(case, ready, Going::New).await,
        Err(no) => declined(case, no),
    }
}

/// Writes down why it does not begin; it is told when that is in its status.
pub(super) fn declined(case: &mut Case, no: No) -> Result<(), WorkError> {
    match no {
        No::Declined(verdict, reason, words, findings) => {
            tracing::info!(run = %case.id, %verdict, reason, words, "declined");
            let now = case.context.env.clock.now();
            case.tell(|progress| progress.decline(now, (verdict, reason, words.clone()), findings));
            case.not_begun = Some((verdict, reason, words));
            Ok(())
        }
        No::Failed(error) => Err(error),
    }
}

/// Tells that it does not begin, and why: in an Event and in what is counted.
pub(super) fn tell_declined(case: &Case, (verdict, reason, words): (Verdict, &str, &str)) {
    let context = &case.context;
    context.settings.metrics.ended(verdict);
    if let Some((run, _)) = &case.told {
        let told = Told {
            on: run.object.clone(),
            warning: verdict != Verdict::Aborted,
            reason: reason.to_owned(),
            words: format!("{verdict}: {words}"),
        };
        told.send(&context.access, &context.env.clock);
    }
}

/// Runs an experiment of a game day to its end. Some: why it did not begin.
pub(super) async fn play(
    case: &mut Case,
    request: Request,
    (account, deadline): (&str, Timestamp),
) -> Result<Option<(Verdict, Vec<Finding>)>, WorkError> {
    match admitted(case, request, (account, deadline)).await {
        Ok(ready) => go(case, ready, Going::New).await.map(|()| None),
        Err(No::Failed(error)) => Err(error),
        Err(No::Declined(verdict, reason, words, mut findings)) => {
            case.context.settings.metrics.ended(verdict);
            if findings.is_empty() {
                findings.push(Finding::error(
                    code::NOT_BEGUN,
                    case.id.as_str(),
                    format!("{reason}: {words}"),
                ));
            }
            Ok(Some((verdict, findings)))
        }
    }
}

/// Whether that passes by itself: another run is at work.
fn passes(finding: &Finding) -> bool {
    finding.code == code::OVERLAP || finding.code == code::CROWDED
}

/// What speaks against an experiment now; that another run is at work there passes.
pub(super) async fn against(
    case: &Case,
    request: &Request,
    account: &str,
) -> Result<Vec<Finding>, WorkError> {
    let found = async {
        let (_, env, _) = actor(case, request, account).await?;
        engine::assess(&env, request).await.map_err(refused)
    };
    let findings = match found.await {
        Ok(assessment) => assessment.plan.findings,
        Err(No::Declined(.., findings)) => findings,
        Err(No::Failed(error)) => return Err(error),
    };
    if findings.iter().any(|finding| finding.is_error() && passes(finding)) {
        return Ok(Vec::new());
    }
    Ok(findings)
}

/// The seed of a run: the same again after a replica has died before the first record.
pub(super) async fn seed(case: &Case, run: &RunSeen, spec: &RunSpec) -> Result<u64, ApiError> {
    let now = case.context.env.clock.now();
    let seed = spec.seed.or_else(|| run.status["seed"].as_u64());
    let seed = seed.unwrap_or_else(|| {
        Rng::new(u64::try_from(now.as_nanosecond()).unwrap_or(0)).stream("seed").below(1_000_000)
    });
    if let Some((_, writer)) = &case.told {
        writer.seed(seed);
        writer.write(now).await?;
    }
    Ok(seed)
}

/// Reads what is to be run until it may begin: enough have agreed, and its time has come. With the account that it acts
/// as.
async fn agreed(case: &mut Case, run: &RunSeen, spec: &RunSpec) -> Result<(Request, String), No> {
    let seed = seed(case, run, spec).await?;
    loop {
        let context = &case.context;
        let read = request::read(context, &run.object.namespace, spec, seed).await;
        let (mut request, authors) = match read {
            Ok(read) => read,
            Err(Unreadable::Refused(findings)) => return Err(refused(findings)),
            Err(Unreadable::Api(error)) => return Err(error.into()),
        };
        let account = spec.account(&request.value).to_owned();
        let terms = agreement::terms(&context.access, &run.object.namespace).await?;
        let ask = Ask {
            what: json!({"experiments": [request.value], "account": account, "guardrails": terms.guardrails}),
            authors,
            required: terms.required,
            valid_for: agreement::VALID_FOR,
            start: spec.start_time,
            deadline: spec.deadline(run.created),
        };
        if let Some(names) = agreement::look(case, &ask).await? {
            request.consent.approvals = u32::try_from(names.len()).unwrap_or(u32::MAX);
            request.asked_by.clone_from(&spec.requested_by);
            return Ok((request, account));
        }
    }
}

/// What lets the controller act as an account that it may not act as, by the API server's words.
fn let_it_act(namespace: &str, name: &str, why: &str) -> String {
    let open = format!("firedrill allow {namespace} --service-account {name}");
    if why.contains("selfsubjectreviews") {
        // It may act as the account, and do nothing meanwhile.
        return format!(
            "upgrade the chart, whose role firedrill:acting is missing; until then: {open} --impersonation legacy"
        );
    }
    format!("{open}; with --impersonation legacy where the API server has ConstrainedImpersonation off")
}

/// The account that a run acts as, and the world with its rights.
pub(super) async fn actor(case: &Case, request: &Request, name: &str) -> Result<(Account, Env, Acting), No> {
    let account = account(&case.context.access, &request.namespace, name).await?;
    let acting = Acting::default();
    let env = case.world(&account_user(&account.namespace, &account.name), &acting);
    if let Err(ApiError::Forbidden(why)) = cluster::identity(&Access::new(env.kube.clone())).await {
        let message = format!("the controller may not act as it: {why}");
        let Account { namespace, name, .. } = &account;
        let finding = Finding::error(code::ACCOUNT, format!("serviceaccount/{name}"), message);
        return Err(refused(vec![finding.remedy(let_it_act(namespace, name, &why))]));
    }
    let covering = covering::covering(&case.context.access, &request.namespace).await?;
    let far = hosts::refused(&request.value, &covering.iter().collect::<Vec<_>>());
    if far.is_empty() { Ok((account, env, acting)) } else { Err(refused(far)) }
}

async fn admitted(
    case: &mut Case,
    request: Request,
    (account, deadline): (&str, Timestamp),
) -> Result<Ready, No> {
    let clock = case.context.env.clock.clone();
    let (account, env, acting) = actor(case, &request, account).await?;
    loop {
        let assessment = match engine::assess(&env, &request).await {
            Ok(assessment) => assessment,
            Err(findings) => return Err(refused(findings)),
        };
        let errors: Vec<&Finding> =
            assessment.plan.findings.iter().filter(|finding| finding.is_error()).collect();
        if errors.is_empty() {
            return Ok(Ready { request, assessment, env, acting, account });
        }
        // Another run is at work: that passes, and what else speaks against it may be that run's doing.
        if !errors.iter().any(|finding| passes(finding)) {
            return Err(refused(assessment.plan.findings.clone()));
        }
        let words = errors.iter().map(|finding| finding.message.clone()).collect::<Vec<_>>().join("; ");
        if clock.now() > deadline {
            return Err(No::Declined(Verdict::Refused, "DeadlineExceeded", words, assessment.plan.findings));
        }
        case.tell(|progress| progress.wait(words));
        if let Some((_, writer)) = &case.told {
            writer.write(clock.now()).await?;
        }
        drop(assessment);
        case.slot.give_back();
        waited(case).await?;
        while !case.slot.take() {
            waited(case).await?;
        }
    }
}

/// Waits until it is asked again, or until somebody does not want it any more.
pub(super) async fn waited(case: &mut Case) -> Result<(), No> {
    waited_for(case, ASK_AGAIN).await
}

/// The same for so long.
pub(super) async fn waited_for(case: &mut Case, length: Duration) -> Result<(), No> {
    let until = tokio::time::Instant::now() + length;
    while let Ok(Some(said)) = tokio::time::timeout_at(until, case.outside.1.recv()).await {
        match said {
            Outside::Stop(reason, by) => {
                let reason = match reason {
                    StopReason::UserAbort => "UserAbort",
                    StopReason::Deleted => "Deleted",
                    StopReason::DurationExceeded => "DurationExceeded",
                    // This replica ends: another one begins it.
                    _ => return Err(No::Failed(WorkError::Taken)),
                };
                return Err(No::Declined(Verdict::Aborted, reason, by, Vec::new()));
            }
            Outside::Lost(_) => return Err(No::Failed(WorkError::Taken)),
            // What concerns steps is asked for again when they begin.
            _ => {}
        }
    }
    Ok(())
}

async fn account(access: &Access, namespace: &str, name: &str) -> Result<Account, No> {
    match account_uid(access, namespace, name).await? {
        Some(uid) => Ok(Account { namespace: namespace.to_owned(), name: name.to_owned(), uid }),
        None => {
            let message = format!("there is no ServiceAccount {name} in namespace {namespace}");
            let finding = Finding::error(code::ACCOUNT, format!("serviceaccount/{name}"), message);
            Err(refused(vec![finding.remedy(
                "make it and bind the rights that the faults need, or name another with serviceAccountName",
            )]))
        }
    }
}

/// Whether it begins, or goes on.
pub(super) enum Going {
    New,
    On,
}

/// Brings it to its end.
pub(super) async fn go(case: &mut Case, ready: Ready, how: Going) -> Result<(), WorkError> {
    let (tx, rx) = tokio::sync::mpsc::unbounded_channel();
    let outside = std::mem::replace(&mut case.outside, (tx, rx));
    case.outside.0 = outside.0.clone();
    // What was said while it waited was heard by nobody.
    for said in case.answers.standing(case.entry.as_deref()).into_iter().chain(case.notes()) {
        let _ = outside.0.send(said);
    }
    let start = Start {
        request: ready.request,
        id: Some(case.id.clone()),
        assessment: ready.assessment,
        revert_timeout: FOR_EVER,
        outside_tx: outside.0.clone(),
        observer: case.observer(&ready.acting),
        outside_rx: outside.1,
    };
    // On the heap, and one of them only.
    let run: BoxFuture<'_, _> = match how {
        Going::New => Box::pin(engine::run(&ready.env, start)),
        Going::On => Box::pin(engine::go_on(&ready.env, &case.id, start)),
    };
    let run = case.telling(run);
    let watched = watch(&case.context.access, &ready.account, (&ready.acting, &outside.0));
    let outcome = tokio::select! {
        biased;
        ended = run => ended?,
        never = watched => match never {},
    };
    tracing::info!(run = %case.id, verdict = %outcome.verdict, residue = outcome.residue.len(), "over");
    Ok(())
}

/// Looks at the account as long as the run goes on: when it is gone, nothing more is done in its name, and what is
/// in force is put back by the controller itself.
async fn watch(
    access: &Access,
    Account { namespace, name, uid }: &Account,
    (acting, tx): (&Acting, &tokio::sync::mpsc::UnboundedSender<Outside>),
) -> Infallible {
    let access = access.beside();
    loop {
        tokio::time::sleep(LOOK_AT_ACCOUNT).await;
        match account_uid(&access, namespace, name).await {
            Ok(Some(found)) if found == *uid => {}
            Ok(_) => {
                let by = format!("ServiceAccount {namespace}/{name}");
                let _ = tx.send(Outside::Stop(StopReason::AccountGone, by));
                acting.as_controller();
                return std::future::pending().await;
            }
            Err(error) => {
                tracing::warn!(namespace, account = name, %error, "whether the account is still there cannot be read");
            }
        }
    }
}
