//! One file a probe, the expressions they are judged by, and their registry.
//!
//! A probe measures ([`Probe::measure`], raw) and is judged elsewhere, purely: see [`Judge`].

mod alert;
mod buckets;
pub mod cel;
mod freshness;
mod grpc;
mod http;
mod info;
mod judge;
mod kubernetes;
mod load;
mod prometheus;
mod rule;
mod service;
pub mod slo;
mod source;
mod stats;
mod tcp;

pub use info::{ProbeInfo, Variable, VariableType};
pub use judge::{Expressions, Judge, Judgement, Past, common_variables};
pub use prometheus::SeriesNow;
pub use rule::{Course, Opinion, Rule};
pub use source::{MetricSource, ServiceRef, Source, SourceError};
pub use stats::Stats;

use std::{collections::BTreeMap, time::Duration};

use futures::{future::BoxFuture, stream::BoxStream};
use serde_json::Value;

use crate::{
    cluster::Access,
    env::{HttpClient, Loads},
    types::{Finding, Length, codes::guard},
};

/// What a measurement may touch.
#[derive(Clone)]
pub struct Measure {
    /// The API server.
    pub access: Access,
    /// Everything else.
    pub http: HttpClient,
    /// Where PromQL is answered for this probe.
    pub metrics: Option<MetricSource>,
    /// The file's namespace.
    pub namespace: String,
    /// The loads that are under way.
    pub loads: Loads,
    /// How often the probe is measured: what a sample is about that looks back.
    pub every: Duration,
}

/// What was measured, raw.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// Variables for the expressions.
    Measured(BTreeMap<&'static str, Value>),
    /// What was to be measured is not there: that is outside, not missing.
    Absent(String),
    /// What was asked gave no answer.
    NoAnswer(NoAnswer),
    /// There is nothing to judge, and why.
    Missing(String),
}

/// No answer: outside, unless an expression asks for just that. It does if it holds with `told` and no longer
/// with `untold`: `status == 0` does; `status < 500` holds with either and so has not thought of it.
#[derive(Clone, Debug, PartialEq)]
pub struct NoAnswer {
    /// What is known of the reason.
    pub why: String,
    /// The variables that say that there is no answer.
    pub told: BTreeMap<&'static str, Value>,
    /// The same variables with values that no answer and no lack of one has.
    pub untold: BTreeMap<&'static str, Value>,
}

/// A way of measuring.
pub trait Probe: Send + Sync {
    /// What everything else derives from.
    fn info(&self) -> &'static ProbeInfo;

    /// What can be said of the fields beyond their schema. Pure.
    fn lint(&self, params: &Value) -> Vec<Finding>;

    /// The source of metrics that the fields name, if the probe needs one at all: None when it does not,
    /// `Some(None)` when it is the file's or the place's.
    fn source(&self, _params: &Value) -> Option<Option<Source>> {
        None
    }

    /// What is judged when the file gives no `expect`, in words; None: it has to give one.
    fn promise(&self, _params: &Value) -> Option<String> {
        None
    }

    /// Whether it can say that somebody is alerted.
    fn alerts(&self) -> bool {
        false
    }

    /// Judges that, and says when somebody is alerted.
    fn rule(&self, _params: &Value) -> Option<Box<dyn Rule>> {
        None
    }

    /// Measures once. The caller bounds it in time.
    fn measure<'a>(&'a self, measure: &'a Measure, params: &'a Value) -> BoxFuture<'a, Reading>;

    /// What speaks against judging so what is measured, as far as that shows beforehand. Their subject is the caller's.
    fn doubts<'a>(
        &'a self,
        _measure: &'a Measure,
        _params: &'a Value,
        _judge: &'a Judge,
    ) -> BoxFuture<'a, Vec<Finding>> {
        Box::pin(std::future::ready(Vec::new()))
    }

    /// What it means that measuring took longer than the file allows.
    fn overdue(&self, within: Length) -> Reading {
        Reading::Missing(format!("no answer within {within}"))
    }

    /// Yields whenever what is measured may have changed, for probes that need not wait for their interval.
    fn changes(&self, _measure: &Measure, _params: &Value) -> Option<BoxStream<'static, ()>> {
        None
    }
}

/// Every probe, by name.
pub static PROBES: &[&dyn Probe] = &[
    &kubernetes::Kubernetes,
    &prometheus::Prometheus,
    &http::Http,
    &tcp::Tcp,
    &alert::Alert,
    &slo::Slo,
    &grpc::Grpc,
    &load::Load,
];

/// The probe called `name` in files.
pub fn find(name: &str) -> Option<&'static dyn Probe> {
    PROBES.iter().copied().find(|probe| probe.info().name == name)
}

/// A rule over a probe's fields that does not hold.
fn unfit(probe: &str, message: &str, remedy: &str) -> Finding {
    Finding::error(guard::FIELDS, probe, message).remedy(remedy)
}

/// A right that measuring takes and that nobody gave: what was asked for, and the API server's words. Their subject is
/// the caller's.
fn forbidden(resource: &str, namespace: Option<&str>, why: &str) -> Finding {
    let place =
        namespace.map_or("in all namespaces".to_owned(), |namespace| format!("in namespace {namespace}"));
    let (verbs, flag) = match resource {
        "secrets" => ("get", "--secret NAME".to_owned()),
        _ if resource.ends_with("/proxy") => ("get", format!("--read {resource}")),
        _ => ("get, list and watch", format!("--read {resource}")),
    };
    let open = namespace.map_or(String::new(), |namespace| {
        format!("; an account that the controller acts as gets it by firedrill allow {namespace} {flag}")
    });
    Finding::error(guard::NO_RIGHT, "", format!("{resource} {place} may not be read: {why}"))
        .remedy(format!("grant {verbs} on {resource} {place}{open}"))
}
