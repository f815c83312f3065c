//! From a Run to what the engine runs: the experiment read and checked, with the Run's parameters.

use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::{AUTHOR, Context, agents};
use crate::{
    api::{
        self, API_VERSION, Act, Acts, GameDay, RunSpec, SourceText,
        check::{Document, Given},
    },
    cluster::ApiError,
    engine::Request,
    plan::Consent,
    types::{Finding, ObjectRef, codes::guard as code},
};

/// Why there is nothing to run.
pub(super) enum Unreadable {
    /// It is wrong, or not for the controller.
    Refused(Vec<Finding>),
    /// It could not be read just now.
    Api(ApiError),
}

/// Reads the experiment of a Run in `namespace`, and says how it is to be run, and who wrote it.
pub(super) async fn read(
    context: &Context,
    namespace: &str,
    spec: &RunSpec,
    seed: u64,
) -> Result<(Request, Vec<String>), Unreadable> {
    let name = spec.experiment_ref.as_ref().map(|experiment| experiment.name.clone()).unwrap_or_default();
    let found = found(context, namespace, ("Experiment", &name)).await?;
    let own = text(&found, "Experiment");
    let all = match found.data.pointer("/spec/steadyStateFrom") {
        Some(_) => experiments(context, namespace).await?,
        None => Vec::new(),
    };
    let others = all.iter().map(|found| text(found, "Experiment"));
    let beside = others.filter(|other| other.name != own.name).collect();
    let (document, value) = accepted(own, (beside, spec), "the experiment declares no such parameter")?;
    let Document::Experiment(experiment) = document else { return Err(Unreadable::Refused(Vec::new())) };
    let act = Act { experiment: *experiment, json: value, source: format!("experiment/{name}") };
    let refused = agents::refused(context, namespace, &act.experiment).await.map_err(Unreadable::Api)?;
    if !refused.is_empty() {
        return Err(Unreadable::Refused(refused));
    }
    Ok((of(context, namespace, &act, seed), authors(&found, &all)))
}

/// What a Run names.
async fn found(
    context: &Context,
    namespace: &str,
    (kind, name): (&str, &str),
) -> Result<DynamicObject, Unreadable> {
    match context.access.get(&ObjectRef::namespaced(API_VERSION, kind, namespace, name)).await {
        Err(ApiError::NotFound) => {
            let message = format!("there is no {kind} {name} in namespace {namespace}");
            let subject = format!("{}/{name}", kind.to_lowercase());
            let finding = Finding::error(code::NO_EXPERIMENT, subject, message);
            Err(Unreadable::Refused(vec![
                finding.remedy("kubectl apply it, or make a Run that names another"),
            ]))
        }
        found => found.map_err(Unreadable::Api),
    }
}

/// Who changed it last, where the API server stamps that.
fn author(object: &DynamicObject) -> Option<String> {
    object.metadata.annotations.as_ref()?.get(AUTHOR).filter(|author| !author.is_empty()).cloned()
}

/// Who wrote it and whatever it names, and what that names in its turn.
fn authors(found: &DynamicObject, all: &[DynamicObject]) -> Vec<String> {
    let mut authors: Vec<String> = author(found).into_iter().collect();
    let mut used = vec![found];
    let mut left: Vec<&DynamicObject> = all.iter().collect();
    while let Some(user) = used.pop() {
        let spec = user.data["spec"].to_string();
        let name =
            |other: &DynamicObject| format!("\"{}\"", other.metadata.name.as_deref().unwrap_or_default());
        let (named, others): (Vec<_>, Vec<_>) =
            left.into_iter().partition(|other| spec.contains(&name(other)));
        authors.extend(named.iter().filter_map(|other| author(other)));
        used.extend(named);
        left = others;
    }
    authors
}

/// Reads the game day of a Run in `namespace`, and everything that it runs.
pub(super) async fn game_day(
    context: &Context,
    namespace: &str,
    spec: &RunSpec,
) -> Result<Frozen, Unreadable> {
    let name = spec.game_day_ref.as_ref().map(|day| day.name.clone()).unwrap_or_default();
    let found = found(context, namespace, ("GameDay", &name)).await?;
    let others = experiments(context, namespace).await?;
    let beside = others.iter().map(|found| text(found, "Experiment")).collect();
    let (document, value) = accepted(
        text(&found, "GameDay"),
        (beside, spec),
        "no experiment of the game day declares such a parameter",
    )?;
    let Document::GameDay { day, acts } = document else { return Err(Unreadable::Refused(Vec::new())) };
    let mut refused = Vec::new();
    for act in &acts.experiments {
        refused.extend(agents::refused(context, namespace, &act.experiment).await.map_err(Unreadable::Api)?);
    }
    if !refused.is_empty() {
        return Err(Unreadable::Refused(refused));
    }
    let authors = authors(&found, &others);
    Ok(Frozen { day: *day, value, acts: *acts, authors })
}

/// A game day as it was when it was read.
pub(super) struct Frozen {
    pub day: GameDay,
    pub value: Value,
    pub acts: Acts,
    /// Who wrote it and what it runs.
    pub authors: Vec<String>,
}

/// How an experiment is to be run.
pub(super) fn of(context: &Context, namespace: &str, act: &Act, seed: u64) -> Request {
    Request {
        experiment: act.experiment.clone(),
        value: act.json.clone(),
        file: format!("experiment/{}", act.experiment.metadata.name),
        namespace: namespace.to_owned(),
        seed,
        environment: context.settings.environment.clone(),
        // Nobody is there to be asked.
        consent: Consent { of_nodes: true, ..Consent::default() },
        source: context.settings.source.clone(),
        holder: context.holder.clone(),
        asked_by: String::new(),
    }
}

/// The Experiments of a namespace.
async fn experiments(context: &Context, namespace: &str) -> Result<Vec<DynamicObject>, Unreadable> {
    let like = ObjectRef::namespaced(API_VERSION, "Experiment", namespace, "");
    context.access.list(&like, "").await.map_err(Unreadable::Api)
}

/// The document of a text with the parameters that a Run gives, and the same as JSON.
fn accepted(
    own: SourceText,
    (beside, spec): (Vec<SourceText>, &RunSpec),
    undeclared: &str,
) -> Result<(Document, Value), Unreadable> {
    let given = Given { parameters: spec.values(), beside, must_be_whole: true };
    let read = api::read_with(&[own], &given);
    let mut findings = read.findings;
    findings.extend(given.parameters.keys().filter(|name| !read.parameters.contains(*name)).map(|name| {
        Finding::error(code::NO_EXPERIMENT, format!("parameters.{name}"), undeclared)
            .remedy("take it out of the Run's parameters, or mend its name")
    }));
    if findings.iter().any(Finding::is_error) {
        return Err(Unreadable::Refused(findings));
    }
    // Without a finding it was accepted.
    let first = read.documents.into_iter().next();
    first.map(|accepted| (accepted.document, accepted.json)).ok_or(Unreadable::Refused(findings))
}

/// An object as the text that its author could have written: what the server adds is left out.
pub fn text(object: &DynamicObject, kind: &str) -> SourceText {
    let metadata = &object.metadata;
    let name = metadata.name.as_deref().unwrap_or_default();
    let value = json!({
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": name, "namespace": metadata.namespace, "labels": metadata.labels.clone().unwrap_or_default()},
        "spec": object.data.get("spec").cloned().unwrap_or(Value::Null),
    });
    SourceText::new(format!("{}/{name}", kind.to_lowercase()), value.to_string())
}
