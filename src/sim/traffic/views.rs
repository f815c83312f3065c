//! What of objects concerns traffic and metrics.

use serde::Deserialize;

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Endpoint {
    pub conditions: EndpointConditions,
    pub target_ref: Reference,
}

/// A port of a Service or of an EndpointSlice.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Port {
    pub name: String,
    pub port: u16,
    pub app_protocol: String,
}

impl Port {
    /// Whether TLS is spoken there, as far as a manifest says so: by `appProtocol`, by the name that meshes go by
    /// (`https`, `https-…`), or by the number that is registered for it (IANA).
    pub fn speaks_tls(&self) -> bool {
        let named = self.name == "https" || self.name.starts_with("https-");
        self.app_protocol.eq_ignore_ascii_case("https") || named || self.port == 443
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct ServiceSpec {
    pub ports: Vec<Port>,
    #[serde(rename = "clusterIP")]
    pub cluster_ip: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct EndpointConditions {
    pub ready: Option<bool>,
    pub serving: Option<bool>,
    pub terminating: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Reference {
    pub uid: String,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PodSpec {
    pub node_name: String,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PodStatus {
    pub conditions: Vec<Condition>,
    pub container_statuses: Vec<ContainerStatus>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Condition {
    pub r#type: String,
    pub status: String,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ContainerStatus {
    pub restart_count: i64,
    pub state: ContainerState,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct ContainerState {
    pub running: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(default)]
pub(super) struct DeploymentSpec {
    pub replicas: i64,
}

impl Default for DeploymentSpec {
    fn default() -> Self {
        Self { replicas: 1 }
    }
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct DeploymentStatus {
    pub replicas: i64,
    pub ready_replicas: i64,
    pub available_replicas: i64,
    pub unavailable_replicas: i64,
    pub updated_replicas: i64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct NodeSpec {
    pub unschedulable: bool,
}
