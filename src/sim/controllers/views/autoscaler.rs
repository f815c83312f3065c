//! HorizontalPodAutoscalers.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::{Condition, View};

/// A HorizontalPodAutoscaler.
pub type Autoscaler = View<AutoscalerSpec, AutoscalerStatus>;

/// `autoscaling/v2.HorizontalPodAutoscalerSpec`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AutoscalerSpec {
    pub scale_target_ref: CrossVersionObjectReference,
    pub min_replicas: Option<i64>,
    pub max_replicas: i64,
    pub metrics: Vec<MetricSpec>,
    pub behavior: Option<ScalingBehavior>,
}

/// `autoscaling/v2.CrossVersionObjectReference`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CrossVersionObjectReference {
    pub kind: String,
    pub name: String,
}

/// `autoscaling/v2.MetricSpec`: resource metrics; others are known by their type only.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct MetricSpec {
    #[serde(rename = "type")]
    pub kind: String,
    pub resource: Option<ResourceMetricSource>,
}

/// `autoscaling/v2.ResourceMetricSource`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ResourceMetricSource {
    pub name: String,
    pub target: MetricTarget,
}

/// `autoscaling/v2.MetricTarget`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MetricTarget {
    pub average_utilization: Option<i64>,
    pub average_value: Option<Value>,
}

/// `autoscaling/v2.HorizontalPodAutoscalerBehavior`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScalingBehavior {
    pub scale_up: Option<ScalingRules>,
    pub scale_down: Option<ScalingRules>,
}

/// `autoscaling/v2.HPAScalingRules`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScalingRules {
    pub stabilization_window_seconds: Option<i64>,
    pub select_policy: Option<String>,
    pub policies: Vec<ScalingPolicy>,
    pub tolerance: Option<Value>,
}

/// `autoscaling/v2.HPAScalingPolicy`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScalingPolicy {
    #[serde(rename = "type")]
    pub kind: String,
    pub value: i64,
    pub period_seconds: i64,
}

/// `autoscaling/v2.HorizontalPodAutoscalerStatus`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AutoscalerStatus {
    pub last_scale_time: Option<Timestamp>,
    pub current_replicas: i64,
    pub desired_replicas: i64,
    pub conditions: Vec<Condition>,
}
