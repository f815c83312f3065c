//! Agents that the controller places: where its administrators have said so, with its own rights there.

use super::Context;
use crate::{
    api::{Action, Experiment},
    cluster::{ApiError, missing_rights},
    engine::{self, Leftover},
    faults,
    types::{AGENT_NAMESPACE, Finding, codes::guard as code},
};

/// The steps that take agents, each with its fault.
fn steps(experiment: &Experiment) -> impl Iterator<Item = (&str, &str)> {
    experiment.spec.method.iter().filter_map(|step| match &step.action {
        Action::Fault { kind, .. } if faults::find(kind).is_some_and(|fault| fault.info().agent) => {
            Some((step.name.as_str(), kind.as_str()))
        }
        _ => None,
    })
}

/// What speaks against running it from here: for its agents, and for where it is.
///
/// # Errors
/// The API server's.
pub(super) async fn refused(
    context: &Context,
    namespace: &str,
    experiment: &Experiment,
) -> Result<Vec<Finding>, ApiError> {
    let settings = &context.settings.environment.agents;
    // Whatever is done to agents' pods there is done with the controller's own rights.
    if namespace == settings.namespace {
        let finding = Finding::error(code::PROTECTED, format!("namespace/{namespace}"), "agents run in it");
        return Ok(vec![finding.remedy("keep experiments and Runs in the namespace of their targets")]);
    }
    if !context.settings.agents {
        let refused = steps(experiment).map(|(step, fault)| {
            let message = format!(
                "{fault} takes agents, and this controller places none: it was started without --agent-namespace"
            );
            Finding::error(code::NOT_FROM_CONTROLLER, format!("step {step}"), message).remedy(
                "start the controller with --agent-namespace (agents.enabled in the chart), or run it from the command line",
            )
        });
        return Ok(refused.collect());
    }
    if steps(experiment).next().is_none() {
        return Ok(Vec::new());
    }
    let there = Some(settings.namespace.as_str());
    let wanted = faults::AGENT_RIGHTS.map(|right| (right.verb, right.group, right.resource, there));
    let missing = missing_rights(&context.access, &wanted).await?;
    let refused = missing.into_iter().map(|missing| {
        let (verb, resource) = (&missing.verb, &missing.resource);
        let message = format!("the controller itself may not {verb} {resource} in namespace {}", settings.namespace);
        Finding::error(code::NO_RIGHT, resource, message).remedy(format!(
            "firedrill controller manifests --only agents --agent-namespace {} | kubectl apply --server-side -f -",
            settings.namespace
        ))
    });
    Ok(refused.collect())
}

/// Agents that are left in a namespace of their own; those in the usual one are found with all other scars.
pub(super) async fn left(context: &Context, namespace: &str) -> Vec<Leftover> {
    if !context.settings.agents || namespace == AGENT_NAMESPACE {
        return Vec::new();
    }
    engine::agents_left(&context.access, namespace).await.unwrap_or_else(|error| {
        tracing::warn!(namespace, %error, "whether agents are left cannot be seen");
        Vec::new()
    })
}
