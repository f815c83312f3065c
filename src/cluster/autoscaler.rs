//! What is kept of a HorizontalPodAutoscaler.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

use super::{
    fields,
    scar::RUN_LABEL,
    view::{Condition, RawAutoscaler, object},
};
use crate::types::ObjectRef;

/// A HorizontalPodAutoscaler.
#[derive(Clone, Debug, PartialEq)]
pub struct Autoscaler {
    /// Which one.
    pub object: ObjectRef,
    /// Kind and name of what it scales.
    pub target: (String, String),
    /// The KEDA ScaledObject behind it, if there is one.
    pub scaled_object: Option<String>,
    /// Least replicas; absent is 1, see [`Autoscaler::least`].
    pub min: Option<i32>,
    /// Most replicas.
    pub max: i32,
    /// How many there are, as it says.
    pub current: i32,
    /// How many there should be, as it says.
    pub desired: i32,
    /// Status and reason of its conditions, by type: `ScalingActive`, `ScalingLimited` …
    pub conditions: BTreeMap<String, (String, String)>,
    /// When its status was written last, as managed fields say, to the second.
    pub status_written: Option<Timestamp>,
    /// When anything else of it was.
    pub written: Option<Timestamp>,
    /// Who set `spec.maxReplicas` last, as far as managed fields say.
    pub max_manager: Option<String>,
    /// The run whose change it carries.
    pub run: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct AutoscalerSpec {
    scale_target_ref: ScaleTarget,
    min_replicas: Option<i32>,
    max_replicas: i32,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ScaleTarget {
    kind: String,
    name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct AutoscalerStatus {
    current_replicas: i32,
    desired_replicas: i32,
    conditions: Option<Vec<Condition>>,
}

impl Autoscaler {
    pub(super) fn read(raw: RawAutoscaler) -> Self {
        let (meta, status) = (&raw.metadata, raw.status.unwrap_or_default());
        let labels = meta.labels.as_ref();
        let written = |status: bool| {
            let entries = meta.managed_fields.iter().flatten();
            let entries = entries.filter(|entry| (entry.subresource.as_deref() == Some("status")) == status);
            entries.filter_map(|entry| entry.time.as_ref().map(|time| time.0)).max()
        };
        let conditions = status.conditions.unwrap_or_default();
        Self {
            object: object(meta, "autoscaling/v2", "HorizontalPodAutoscaler"),
            target: (raw.spec.scale_target_ref.kind, raw.spec.scale_target_ref.name),
            scaled_object: labels.and_then(|labels| labels.get("scaledobject.keda.sh/name")).cloned(),
            min: raw.spec.min_replicas,
            max: raw.spec.max_replicas,
            current: status.current_replicas,
            desired: status.desired_replicas,
            conditions: conditions.into_iter().map(|c| (c.kind, (c.status, c.reason))).collect(),
            status_written: written(true),
            written: written(false),
            max_manager: fields::owner_of(meta, &["f:spec", "f:maxReplicas"]),
            run: labels.and_then(|labels| labels.get(RUN_LABEL)).cloned(),
        }
    }

    /// Least replicas, with the default (`SetDefaults_HorizontalPodAutoscaler`).
    pub fn least(&self) -> i32 {
        self.min.unwrap_or(1)
    }

    /// Whether a condition of its is `True`; None without it.
    pub fn holds(&self, condition: &str) -> Option<bool> {
        self.conditions.get(condition).map(|(status, _)| status == "True")
    }
}
