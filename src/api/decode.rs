//! Probes and steps decoded: what every one has, and the one entry that names its kind.

use std::time::Duration;

use serde::{Deserialize, de::Error as _};
use serde_json::{Map, Value};

use super::{
    Action, OnMissing, OnViolation, Patience, ProbeSpec, Repeat, Role, Rolling, Signal, Step, Target,
};
use crate::{faults, types::Length};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawProbe {
    name: String,
    signal: Option<Signal>,
    #[serde(default)]
    description: String,
    value: Option<String>,
    expect: Option<String>,
    during: Option<String>,
    every: Option<Length>,
    timeout: Option<Length>,
    #[serde(rename = "for")]
    patience: Option<Length>,
    samples: Option<RawSamples>,
    window: Option<Length>,
    #[serde(default)]
    role: Role,
    #[serde(default)]
    on_missing: OnMissing,
    #[serde(default)]
    on_violation: OnViolation,
}

#[derive(Deserialize)]
struct RawSamples {
    outside: u32,
    of: u32,
}

/// The fields that every probe has; what is left names its kind.
const PROBE_FIELDS: [&str; 15] = [
    "name",
    "signal",
    "description",
    "value",
    "expect",
    "during",
    "every",
    "timeout",
    "for",
    "samples",
    "window",
    "role",
    "onMissing",
    "onViolation",
    "$comment",
];
/// The fields that every step has; what is left names its action.
const STEP_FIELDS: [&str; 8] =
    ["name", "description", "target", "duration", "background", "onFailure", "repeat", "rolling"];

/// The one entry of `map` that is not among `known`.
fn only_other(map: &Map<String, Value>, known: &[&str], what: &str) -> Result<(String, Value), String> {
    let mut others = map.iter().filter(|(key, _)| !known.contains(&key.as_str()));
    match (others.next(), others.next()) {
        (Some((key, value)), None) => Ok((key.clone(), value.clone())),
        (None, _) => Err(format!("a {what} has exactly one kind, and none is here")),
        (Some((one, _)), Some((two, _))) => {
            Err(format!("a {what} has exactly one kind, not both {one} and {two}"))
        }
    }
}

impl ProbeSpec {
    /// Whether the kind judges it by its own rule, which has its own patience: the first sample outside is one too
    /// many. `for` and `samples` are then about a lack of data.
    pub fn by_rule(&self) -> bool {
        self.expect.is_none() && self.during.is_none() && self.role != Role::Informational
    }
}

impl<'de> Deserialize<'de> for ProbeSpec {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = Map::deserialize(deserializer)?;
        let (kind, params) = only_other(&map, &PROBE_FIELDS, "probe").map_err(D::Error::custom)?;
        let raw: RawProbe = serde_json::from_value(Value::Object(map)).map_err(D::Error::custom)?;
        let every = raw.every.map_or(Duration::from_secs(5), |length| length.0);
        let patience = match (raw.patience, raw.samples) {
            (_, Some(samples)) => Patience::Samples { outside: samples.outside, of: samples.of },
            (Some(length), None) => Patience::For(length.0),
            (None, None) => Patience::For(every * 2),
        };
        Ok(Self {
            name: raw.name,
            signal: raw.signal,
            description: raw.description,
            kind,
            params,
            value: raw.value,
            expect: raw.expect,
            during: raw.during,
            every,
            timeout: raw.timeout.map_or(Duration::from_secs(5).min(every), |length| length.0),
            patience,
            window: raw.window.map(|length| length.0),
            role: raw.role,
            on_missing: raw.on_missing,
            on_violation: raw.on_violation,
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawStep {
    #[serde(default)]
    name: String,
    #[serde(default)]
    description: String,
    target: Option<Target>,
    duration: Option<Length>,
    #[serde(default)]
    background: bool,
    #[serde(default)]
    on_failure: OnViolation,
    repeat: Option<Repeat>,
    rolling: Option<Rolling>,
}

impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = Map::deserialize(deserializer)?;
        let (kind, params) = only_other(&map, &STEP_FIELDS, "step").map_err(D::Error::custom)?;
        let raw: RawStep = serde_json::from_value(Value::Object(map)).map_err(D::Error::custom)?;
        let mut target = raw.target;
        let action = match kind.as_str() {
            "wait" => serde_json::from_value::<Length>(params).map(|length| Action::Wait(length.0)),
            "check" => serde_json::from_value(params).map(Action::Check),
            "revert" => serde_json::from_value(params).map(Action::Revert),
            "manual" => serde_json::from_value(params).map(Action::Manual),
            "load" => serde_json::from_value(params).map(Action::Load),
            _ => {
                let whole_zone = faults::find(&kind).is_some_and(|fault| fault.info().whole_zone());
                if let Some(target) = target.as_mut().filter(|_| whole_zone) {
                    // A node that joins a lost zone is lost too.
                    target.follow.get_or_insert(true);
                }
                Ok(Action::Fault { kind, params })
            }
        };
        Ok(Self {
            name: raw.name,
            description: raw.description,
            target,
            action: action.map_err(D::Error::custom)?,
            duration: raw.duration.map(|length| length.0),
            background: raw.background,
            on_failure: raw.on_failure,
            repeat: raw.repeat,
            rolling: raw.rolling,
        })
    }
}
