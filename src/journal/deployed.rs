//! What was deployed, and when that was looked at.

use serde::{Deserialize, Serialize};

use crate::types::ObjectRef;

/// When something was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Moment {
    /// Before the first fault.
    Before,
    /// After everything was back.
    After,
}

/// What runs in a workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deployed {
    /// Which workload.
    pub workload: ObjectRef,
    /// `deployment.kubernetes.io/revision`, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Images with digests, as the kubelets report them.
    pub images: Vec<String>,
    /// The commit, where a label or annotation names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}
