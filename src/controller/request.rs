//! From a Run to what the engine runs: the experiment read and checked, with the Run's parameters.

use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::{Context, agents};
use crate::{
    api::{
        self, API_VERSION, RunSpec, SourceText,
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

/// Reads the experiment of a Run in `namespace`, and says how it is to be run.
pub(super) async fn read(
    context: &Context,
    namespace: &str,
    spec: &RunSpec,
    seed: u64,
) -> Result<Request, Unreadable> {
    let name = spec.experiment_ref.as_ref().map(|experiment| experiment.name.clone()).unwrap_or_default();
    let object = ObjectRef::namespaced(API_VERSION, "Experiment", namespace, &name);
    let found = match context.access.get(&object).await {
        Ok(found) => found,
        Err(ApiError::NotFound) => {
            let message = format!("there is no Experiment {name} in namespace {namespace}");
            let finding = Finding::error(code::NO_EXPERIMENT, format!("experiment/{name}"), message);
            return Err(Unreadable::Refused(vec![finding.remedy("kubectl apply it, or mend experimentRef")]));
        }
        Err(error) => return Err(Unreadable::Api(error)),
    };
    let own = text(&found);
    let mut beside = Vec::new();
    if found.data.pointer("/spec/steadyStateFrom").is_some() {
        let like = ObjectRef { name: String::new(), ..object };
        let all = context.access.list(&like, "").await.map_err(Unreadable::Api)?;
        let others = all.iter().filter(|other| other.metadata.name.as_deref() != Some(name.as_str()));
        beside.extend(others.map(text));
    }
    let given = Given { parameters: spec.values(), beside, must_be_whole: true };
    let read = api::read_with(&[own], &given);
    let mut findings = read.findings;
    findings.extend(given.parameters.keys().filter(|name| !read.parameters.contains(*name)).map(|name| {
        Finding::error(
            code::NO_EXPERIMENT,
            format!("parameters.{name}"),
            "the experiment declares no such parameter",
        )
        .remedy("take it out of the Run's parameters, or mend its name")
    }));
    if findings.iter().any(Finding::is_error) {
        return Err(Unreadable::Refused(findings));
    }
    let accepted = read.documents.into_iter().find_map(|accepted| match accepted.document {
        Document::Experiment(experiment) => Some((*experiment, accepted.json)),
        _ => None,
    });
    // Without a finding it was accepted.
    let Some((experiment, value)) = accepted else { return Err(Unreadable::Refused(findings)) };
    let refused = agents::refused(context, namespace, &experiment).await.map_err(Unreadable::Api)?;
    if !refused.is_empty() {
        return Err(Unreadable::Refused(refused));
    }
    Ok(Request {
        experiment,
        value,
        file: format!("experiment/{name}"),
        namespace: namespace.to_owned(),
        seed,
        environment: context.settings.environment.clone(),
        consent: Consent::default(),
        source: context.settings.source.clone(),
        holder: context.holder.clone(),
    })
}

/// An object as the text that its author could have written: what the server adds is left out.
fn text(object: &DynamicObject) -> SourceText {
    let metadata = &object.metadata;
    let name = metadata.name.as_deref().unwrap_or_default();
    let value = json!({
        "apiVersion": API_VERSION,
        "kind": "Experiment",
        "metadata": {"name": name, "namespace": metadata.namespace, "labels": metadata.labels.clone().unwrap_or_default()},
        "spec": object.data.get("spec").cloned().unwrap_or(Value::Null),
    });
    SourceText::new(format!("experiment/{name}"), value.to_string())
}
