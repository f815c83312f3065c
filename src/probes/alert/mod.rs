//! `alert`: whether somebody is told. Quiet before the fault, firing in time, quiet again after it.

mod answers;
mod rule;

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Measure, MetricSource, Probe, ProbeInfo, Reading, Rule, Source, Variable, VariableType,
    source::{self, connection, own_source},
};
use crate::types::{FieldSchema, Finding, Length, codes::guard};
use answers::Told;

/// See [`INFO`].
pub struct Alert;

/// An alert of Prometheus or Alertmanager.
pub static INFO: ProbeInfo = ProbeInfo {
    name: "alert",
    summary: "An alert of Prometheus: quiet, firing in time, quiet again.",
    example: "name: somebody-is-paged\nalert: {name: CheckoutErrors, firesWithin: 2m, clearsWithin: 5m}\n",
    fields: &[
        FieldSchema {
            name: "name",
            description: "Name of the alert, the rule's `alert`.",
            required: true,
            default: None,
            schema: "text",
        },
        FieldSchema {
            name: "labels",
            description: "Labels that it carries. Of several alerts that do, one that fires is enough.",
            required: false,
            default: None,
            schema: "labels",
        },
        FieldSchema {
            name: "firesWithin",
            description: "Without expect: it must fire this soon after the first fault was in force. Default: it must stay quiet.",
            required: false,
            default: None,
            schema: "duration",
        },
        FieldSchema {
            name: "clearsWithin",
            description: "Without expect, with firesWithin: it must be quiet this soon after the last fault was lifted.",
            required: false,
            default: Some("5m"),
            schema: "duration",
        },
        FieldSchema {
            name: "api",
            description: "What is asked. Prometheus: its rules; one that does not exist, fails or is not evaluated any more is no data. Alertmanager, with server or service: its alerts; a silenced or inhibited one does not fire, and a name that nobody knows is quiet.",
            required: false,
            default: Some("Prometheus"),
            schema: r#"{"type":"string","enum":["Prometheus","Alertmanager"]}"#,
        },
        FieldSchema {
            name: "server",
            description: "URL of a Prometheus or Alertmanager, in place of spec.prometheus. At most one of server and service.",
            required: false,
            default: None,
            schema: r#"{"type":"string","maxLength":1024,"pattern":"^https?://[^\\s]+$"}"#,
        },
        source::SERVICE,
        source::AUTH,
        source::TLS,
    ],
    variables: &[
        Variable {
            name: "firing",
            kind: VariableType::Bool,
            description: "Whether it fires: somebody is told.",
        },
        Variable {
            name: "pending",
            kind: VariableType::Bool,
            description: "Whether its condition holds, but not yet for as long as the rule asks. Alertmanager never knows.",
        },
        Variable {
            name: "activeFor",
            kind: VariableType::Double,
            description: "Seconds since its condition holds; 0 when it does not.",
        },
    ],
    default_value: Some("firing ? 1.0 : 0.0"),
};

/// The fields, decoded.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Params {
    name: String,
    labels: Option<LabelSelector>,
    fires_within: Option<Length>,
    clears_within: Option<Length>,
    api: Api,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
enum Api {
    #[default]
    Prometheus,
    Alertmanager,
}

impl Params {
    fn read(params: &Value) -> Self {
        serde_json::from_value(params.clone()).unwrap_or_default()
    }

    fn clears_within(&self) -> Length {
        self.clears_within.unwrap_or(Length::from_secs(300))
    }

    /// Whether an alert of that name with these labels is meant. Labels that cannot be read select none.
    fn means(&self, labels: &BTreeMap<String, String>) -> bool {
        match self.labels.clone().map(Selector::try_from) {
            None => true,
            Some(Ok(selector)) => selector.matches(labels),
            Some(Err(_)) => false,
        }
    }
}

impl Probe for Alert {
    fn info(&self) -> &'static ProbeInfo {
        &INFO
    }

    fn lint(&self, params: &Value) -> Vec<Finding> {
        let read = Params::read(params);
        let mut findings = connection("alert", params);
        let mut unfit = |message: &str, remedy: &str| {
            findings.push(Finding::error(guard::FIELDS, "alert", message).remedy(remedy));
        };
        if read.api == Api::Alertmanager && own_source(params).is_none() {
            unfit(
                "an Alertmanager needs a server or service of its own",
                "spec.prometheus is a Prometheus; name the Alertmanager here",
            );
        }
        if read.clears_within.is_some() && read.fires_within.is_none() {
            unfit(
                "clearsWithin without firesWithin: an alert that has to stay quiet has nothing to clear",
                "add firesWithin, or take clearsWithin out",
            );
        }
        if read.labels.is_some_and(|labels| Selector::try_from(labels).is_err()) {
            unfit("the labels select nothing: an operator does not fit its values", "see LabelSelector");
        }
        findings
    }

    fn source(&self, params: &Value) -> Option<Option<Source>> {
        Some(own_source(params))
    }

    fn measure<'a>(&'a self, measure: &'a Measure, params: &'a Value) -> BoxFuture<'a, Reading> {
        Box::pin(async move {
            let Some(source) = &measure.metrics else {
                return Reading::Missing("there is no place that knows of alerts".to_owned());
            };
            let params = Params::read(params);
            let told = match params.api {
                Api::Prometheus => prometheus(measure, source, &params).await,
                Api::Alertmanager => alertmanager(measure, source, &params).await,
            };
            match told {
                Ok(Told { firing, pending, active_for }) => Reading::Measured(BTreeMap::from([
                    ("firing", json!(firing)),
                    ("pending", json!(pending)),
                    ("activeFor", json!(active_for)),
                ])),
                Err(why) => Reading::Missing(why),
            }
        })
    }

    fn promise(&self, params: &Value) -> Option<String> {
        let params = Params::read(params);
        Some(match params.fires_within {
            None => "stays quiet".to_owned(),
            Some(fires) => {
                let clears = params.clears_within();
                format!(
                    "quiet before, fires within {fires} of the first fault, quiet within {clears} of the last revert"
                )
            }
        })
    }

    fn alerts(&self) -> bool {
        true
    }

    fn rule(&self, params: &Value) -> Option<Box<dyn Rule>> {
        Some(Box::new(rule::Obligation::of(&Params::read(params))))
    }
}

/// Rules, and the source's own time, from Prometheus' HTTP API (docs: HTTP API, "Rules").
async fn prometheus(measure: &Measure, source: &MetricSource, params: &Params) -> Result<Told, String> {
    let (rules, now) = futures::join!(
        source.get(&measure.access, &measure.http, "/api/v1/rules?type=alert"),
        source.query(&measure.access, &measure.http, "time()"),
    );
    let rules = rules.map_err(|error| error.to_string())?;
    let now = answers::time(&now.map_err(|error| error.to_string())?)?;
    answers::of_rules(&rules, params, now)
}

/// Alerts that are not over, from Alertmanager's HTTP API (its api/v2/openapi.yaml, `getAlerts`).
async fn alertmanager(measure: &Measure, source: &MetricSource, params: &Params) -> Result<Told, String> {
    let answer = source.get(&measure.access, &measure.http, "/api/v2/alerts").await;
    answers::of_alerts(&answer.map_err(|error| error.to_string())?, params)
}
