//! `slo`: a service level objective, by burn rate or by a test that may stop at any time.

mod counters;
pub mod eprocess;
mod rule;
mod windows;

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Measure, Probe, ProbeInfo, Reading, Rule, Source, Variable, VariableType,
    prometheus::{Asking, elements},
    source::{self, connection, own_source},
    unfit,
};
use crate::types::{FieldSchema, Finding, Length};
use counters::Sums;

/// Where the rule finds the counters.
const COUNTERS: &str = "counters";

/// See [`INFO`].
pub struct Slo;

/// A service level objective over good events and all.
pub static INFO: ProbeInfo = ProbeInfo {
    name: "slo",
    summary: "A service level objective, by a sequential test.",
    example: "name: checkout-slo\nslo:\n  good: 'sum(rate(http_requests_total{code!~\"5..\"}[1m]))'\n  total: 'sum(rate(http_requests_total[1m]))'\n  objective: 99.9%\n",
    fields: &[
        FieldSchema {
            name: "good",
            description: "PromQL of the rate of good events. Without expect, a sum of rates or increases of counters.",
            required: true,
            default: None,
            schema: "promql",
        },
        FieldSchema {
            name: "total",
            description: "PromQL of the rate of all events. Without expect, a sum of rates or increases of counters.",
            required: true,
            default: None,
            schema: "promql",
        },
        FieldSchema {
            name: "objective",
            description: "The share that has to be good.",
            required: true,
            default: None,
            schema: "percent",
        },
        FieldSchema {
            name: "windows",
            description: "Windows of burnRate, in place of those of the queries; the smallest of their burn rates counts. The SRE workbook pages on [1h, 5m] above 14.4, and on [6h, 30m] above 6.",
            required: false,
            default: None,
            schema: r#"{"type":"array","minItems":1,"maxItems":4,"items":{"type":"string","maxLength":16,"pattern":"^[1-9][0-9]*(s|m|h)$"}}"#,
        },
        FieldSchema {
            name: "falseAlarm",
            description: "Without expect: how often the test may be wrong, the probability within an hour.",
            required: false,
            default: Some("1%"),
            schema: "percent",
        },
        source::SERVER,
        source::SERVICE,
        source::AUTH,
        source::TLS,
    ],
    variables: &[
        Variable {
            name: "errorRatio",
            kind: VariableType::Double,
            description: "The share of events that is not good.",
        },
        Variable {
            name: "burnRate",
            kind: VariableType::Double,
            description: "How many times as fast as the objective allows errors come, over the windows of the queries or over `windows`.",
        },
        Variable {
            name: "good",
            kind: VariableType::Double,
            description: "What good gives; 0 without a series.",
        },
        Variable { name: "total", kind: VariableType::Double, description: "What total gives." },
    ],
    default_value: Some("errorRatio"),
};

/// The fields, decoded.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Params {
    good: String,
    total: String,
    objective: String,
    false_alarm: Option<String>,
    windows: Vec<Length>,
}

impl Params {
    fn read(params: &Value) -> Self {
        serde_json::from_value(params.clone()).unwrap_or_default()
    }

    /// The ratio of errors that the objective allows; None if it is no percentage.
    fn budget(&self) -> Option<f64> {
        share(&self.objective).map(|objective| 1.0 - objective)
    }

    fn alpha(&self) -> Option<f64> {
        self.false_alarm.as_deref().map_or(Some(0.01), share)
    }

    fn sums(&self) -> Option<Sums> {
        Sums::of(&self.good, &self.total)
    }
}

/// `99.9%` as 0.999.
fn share(percent: &str) -> Option<f64> {
    let number: f64 = percent.strip_suffix('%')?.parse().ok()?;
    (0.0..=100.0).contains(&number).then_some(number / 100.0)
}

impl Probe for Slo {
    fn info(&self) -> &'static ProbeInfo {
        &INFO
    }

    fn lint(&self, params: &Value) -> Vec<Finding> {
        let read = Params::read(params);
        let mut findings = connection("slo", params);
        if read.budget().is_some_and(|budget| budget <= 0.0) {
            let remedy = "leave something: 99.99% is one error in ten thousand";
            findings.push(unfit("slo", "an objective of 100% leaves no error to burn", remedy));
        }
        if read.alpha().is_some_and(|alpha| alpha <= 0.0) {
            findings.push(unfit(
                "slo",
                "a test that is never wrong never finds anything",
                "write 1% or 0.1%",
            ));
        }
        findings
    }

    fn source(&self, params: &Value) -> Option<Option<Source>> {
        Some(own_source(params))
    }

    fn measure<'a>(&'a self, measure: &'a Measure, params: &'a Value) -> BoxFuture<'a, Reading> {
        Box::pin(async move {
            let Some(source) = &measure.metrics else {
                return Reading::Missing("there is no place that answers PromQL".to_owned());
            };
            let params = Params::read(params);
            match read(&Asking { measure, source, max_age: None }, &params).await {
                Ok(variables) => Reading::Measured(variables),
                Err(why) => Reading::Missing(why),
            }
        })
    }

    fn promise(&self, params: &Value) -> Option<String> {
        let params = Params::read(params);
        let (budget, alpha) = (params.budget()?, params.alpha()?);
        params.sums()?;
        let percent = |share: f64| format!("{}%", (share * 1e8).round() / 1e6);
        Some(format!(
            "errors stay within {} (false alarms at most {} an hour)",
            percent(budget),
            percent(alpha)
        ))
    }

    fn rule(&self, params: &Value) -> Option<Box<dyn Rule>> {
        let params = Params::read(params);
        Some(Box::new(rule::Sequential::new(params.budget()?, params.alpha()?)))
    }
}

/// What there is to know of one instant.
async fn read(asking: &Asking<'_>, params: &Params) -> Result<BTreeMap<&'static str, Value>, String> {
    let sums = params.sums();
    let counters = async {
        match &sums {
            Some(sums) => counted(asking, sums).await.map(Some),
            None => Ok(None),
        }
    };
    let longer = params.windows.iter().map(|window| over(asking, params, *window));
    let (now, longer, counters, stale) = futures::join!(
        ratio(asking, &params.good, &params.total),
        futures::future::try_join_all(longer),
        counters,
        asking.staleness(&params.total),
    );
    if let Some(why) = stale {
        return Err(why);
    }
    let (good, total, ratio) = now?;
    let budget = params.budget().filter(|budget| *budget > 0.0).ok_or("the objective is no percentage")?;
    let burning = longer?.into_iter().reduce(f64::min).unwrap_or(ratio);
    let mut variables = BTreeMap::from([
        ("errorRatio", json!(ratio)),
        ("burnRate", json!(burning / budget)),
        ("good", json!(good)),
        ("total", json!(total)),
    ]);
    variables.extend(counters?.map(|counters| (COUNTERS, counters)));
    Ok(variables)
}

/// Good events, all of them, and the share of the others.
async fn ratio(asking: &Asking<'_>, good: &str, total: &str) -> Result<(f64, f64, f64), String> {
    let (good, total) = futures::join!(rate(asking, good), rate(asking, total));
    let total = total?.ok_or("total gives no series")?;
    // Where every event is bad there may be no series of good ones.
    let good = good?.unwrap_or(0.0);
    if total <= 0.0 {
        return Err("there are no events: total is 0".to_owned());
    }
    Ok((good, total, (1.0 - good / total).clamp(0.0, 1.0)))
}

/// The share of errors over another window.
async fn over(asking: &Asking<'_>, params: &Params, window: Length) -> Result<f64, String> {
    let over = |query: &str| windows::over(query, window.0).ok_or("a query does not parse");
    let (good, total) = (over(&params.good)?, over(&params.total)?);
    ratio(asking, &good, &total).await.map(|(_, _, ratio)| ratio)
}

/// The one number that a query gives; None: no series.
async fn rate(asking: &Asking<'_>, query: &str) -> Result<Option<f64>, String> {
    let elements = elements(&asking.ask(query).await?)?;
    if elements.len() > 1 {
        return Err(format!("the query gives {} series where one is expected", elements.len()));
    }
    let Some(element) = elements.first() else { return Ok(None) };
    let number = element.number().filter(|number| number.is_finite());
    number.map(Some).ok_or_else(|| format!("the value is {}", element.text()))
}

/// The counters behind both, at one instant.
async fn counted(asking: &Asking<'_>, sums: &Sums) -> Result<Value, String> {
    let elements = elements(&asking.ask(&sums.query()).await?)?;
    let series = elements.iter().filter_map(|element| {
        Some((element.metric(), element.number().filter(|number| number.is_finite())?))
    });
    Ok(sums.variable(series))
}
