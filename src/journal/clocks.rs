//! What was measured of a run.

use serde::{Deserialize, Serialize};

/// What was measured, in milliseconds; None: not measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Clocks {
    /// First fault in force to the first violation or alert.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detection_ms: Option<u64>,
    /// First fault in force to the first alert.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alert_ms: Option<u64>,
    /// The sample that completes a violation to the last verified revert.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abort_ms: Option<u64>,
    /// Begin of reverting to the last verified revert.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revert_ms: Option<u64>,
    /// First fault in force to steady for good, faults still in force or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rto_ms: Option<u64>,
    /// Last fault lifted to steady for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery_ms: Option<u64>,
    /// Data lost when service was back, by the word of the probe that `rpo` names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpo_ms: Option<u64>,
    /// How exact all that is: the longest sampling interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolution_ms: Option<u64>,
}
