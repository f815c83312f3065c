//! Where PromQL is answered when a file does not say: asked once.

use std::time::Duration;

use serde_json::Value;

use super::{Looked, deployed::Deployed, of_installation};
use crate::{
    cluster::{Access, ApiError},
    env::Env,
    probes::{MetricSource, Source},
    types::Finding,
};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);
/// Answered by whatever speaks PromQL, whatever it has.
const QUERY: &str = "vector(1)";
/// How it is set.
const SET: &str = "helm upgrade with prometheus=URL or service/NAMESPACE/NAME:PORT, or firedrill controller \
                   --prometheus the same";

/// Asks it once. `given`: what the controller was told, by the word of whoever asks.
pub(super) async fn source(
    env: &Env,
    access: &Access,
    (deployed, given): (&Result<Deployed, ApiError>, Option<&str>),
) -> Looked {
    let what = "metrics";
    let told = deployed.as_ref().ok().filter(|deployed| deployed.seen());
    let named = given.or_else(|| told?.source.as_deref());
    let looked = |found: &str, findings: Vec<Finding>| Looked { what, found: found.to_owned(), findings };
    match (named, told) {
        (Some(named), _) => {
            let failed = match named.parse::<Source>() {
                Ok(source) => asked(env, access, &source).await,
                Err(error) => Some(of_installation(true, (named, &error.to_string()), SET)),
            };
            let found = if failed.is_some() { "no answer from" } else { "PromQL is answered by" };
            looked(&format!("{found} {named}"), failed.into_iter().collect())
        }
        (None, Some(_)) => {
            let words = format!("none: a probe that asks for PromQL names its own, or {SET}");
            looked(&words, Vec::new())
        }
        (None, None) => {
            let why = match deployed {
                Err(error) => format!("where it asks for metrics cannot be read off its Deployment: {error}"),
                Ok(_) => "no Deployment of this namespace says where it asks for metrics".to_owned(),
            };
            let remedy =
                "firedrill doctor --installation --prometheus SOURCE, with what the controller was told";
            looked("unknown", vec![of_installation(false, ("controller", &why), remedy)])
        }
    }
}

/// What is wrong with it.
async fn asked(env: &Env, access: &Access, source: &Source) -> Option<Finding> {
    let answered = async {
        let resolved = MetricSource::resolve(access, "", source).await?;
        resolved.query(access, &env.http, QUERY).await
    };
    let (why, status) = match tokio::time::timeout(ANSWER, answered).await {
        Err(_) => (format!("no answer within {ANSWER:?}"), None),
        Ok(Err(error)) => (error.to_string(), None),
        Ok(Ok(answer)) => {
            let status = answer.status();
            let body: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
            if status.is_success() && body["status"] == "success" {
                return None;
            }
            (format!("it answers {status}, and not as Prometheus does"), Some(status))
        }
    };
    // A name of the cluster's is not to be reached from elsewhere; what the API server's proxy says is so everywhere.
    let elsewhere = source.server.is_some() && status.is_none();
    let remedy = match elsewhere {
        true => format!("if only the cluster can reach it, nothing; else {SET}"),
        false => SET.to_owned(),
    };
    Some(of_installation(!elsewhere, (&source.to_string(), &why), &remedy))
}
