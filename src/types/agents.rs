//! Where agents run, and from which image.

use serde::{Deserialize, Serialize};

/// The agent's image of this version, without the name of a registry.
pub const AGENT_IMAGE: &str = concat!("firedrill/firedrill-agent:", env!("CARGO_PKG_VERSION"));

/// The namespace of agents' pods, unless another is named.
pub const AGENT_NAMESPACE: &str = "firedrill-agents";

/// What the names of agents' pods begin with; eight hexadecimal digits follow.
pub const AGENT_POD: &str = "firedrill-agent-";

/// Whether a pod of that name could be an agent's.
pub fn is_agent_name(name: &str) -> bool {
    let digits = name.strip_prefix(AGENT_POD).unwrap_or_default();
    digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'))
}

/// How the agents of a run are placed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AgentSettings {
    /// The image.
    pub image: String,
    /// The namespace of their pods.
    pub namespace: String,
    /// The Secret there that the image is pulled with; empty: none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pull_secret: String,
}

impl Default for AgentSettings {
    fn default() -> Self {
        Self {
            image: AGENT_IMAGE.to_owned(),
            namespace: AGENT_NAMESPACE.to_owned(),
            pull_secret: String::new(),
        }
    }
}

impl AgentSettings {
    /// Whether they are as nobody has said otherwise.
    pub fn usual(&self) -> bool {
        *self == Self::default()
    }
}
