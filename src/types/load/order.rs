//! What `firedrill send` is told to send, and what it says of it: JSON both ways.

use serde::{Deserialize, Serialize};

use super::{LoadTally, LoadWindow, Pace};
use crate::types::Length;

/// A load to be sent, as one argument of a command line. No Secret's value is in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SendOrder {
    /// What is requested.
    pub url: String,
    /// How.
    pub method: String,
    /// With these headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<SentHeader>,
    /// With this body.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub body: String,
    /// Over HTTP/2.
    #[serde(default)]
    pub http2: bool,
    /// How many, and how they follow each other.
    pub pace: Pace,
    /// From which random arrivals follow.
    pub seed: u64,
    /// How long one may take from when it is due.
    pub timeout: Length,
    /// How many may wait at once.
    pub max_in_flight: u32,
    /// The lengths of the windows that are reported.
    pub windows: Vec<Length>,
}

/// A header: exactly one of its value and the variable of the environment that holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SentHeader {
    /// Its name.
    pub name: String,
    /// Its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The variable that holds its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
}

/// A line about a load: where it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SendReport {
    /// How long it has been sent, in milliseconds.
    pub age_ms: u64,
    /// What became of its requests, for each length that was asked for.
    pub windows: Vec<(Length, LoadWindow)>,
    /// What became of all requests so far.
    pub tally: LoadTally,
}
