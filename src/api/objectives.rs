//! What an Experiment promises, and how far its damage may go.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::types::{Amount, Length};

/// What is promised.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Objectives {
    /// Last fault lifted to steady again; None: 5m.
    pub recover_within: Option<Length>,
    /// How long steady has to last; None: the longest `for`.
    pub stable_for: Option<Length>,
    /// First fault in force to steady again; None: measured, not judged.
    pub rto: Option<Length>,
    /// How much data may be lost; None: not judged.
    pub rpo: Option<Rpo>,
    /// First fault in force to the first alert; None: measured, not judged.
    pub detect_within: Option<Length>,
}

/// How much data may be lost, by the application's own word.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Rpo {
    /// So much at most.
    pub within: Length,
    /// The probe whose value is the seconds that are lost.
    pub probe: String,
}

/// How far the damage may go.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    /// Of the pods any workload wants, not ready; None: 50%.
    pub pods: Option<Amount>,
    /// Slowed, starved or fed errors; None: 100%.
    pub degraded_pods: Option<Amount>,
    /// Of all nodes, not ready or unschedulable; None: 34%.
    pub nodes: Option<Amount>,
    /// First injection to the end of the method; None: 1h.
    pub duration: Option<Length>,
}

impl Objectives {
    /// `recoverWithin` or its default.
    pub fn recover_within(&self) -> Duration {
        self.recover_within.map_or(Duration::from_secs(300), |length| length.0)
    }
}

impl Limits {
    /// `pods` or its default.
    pub fn pods(&self) -> Amount {
        self.pods.unwrap_or(Amount::Percent(50))
    }

    /// `nodes` or its default.
    pub fn nodes(&self) -> Amount {
        self.nodes.unwrap_or(Amount::Percent(34))
    }

    /// `duration` or its default.
    pub fn duration(&self) -> Duration {
        self.duration.map_or(Duration::from_secs(3600), |length| length.0)
    }
}
