//! Where a run takes place.

use serde::{Deserialize, Serialize};

use crate::types::{AgentSettings, IMAGE};

/// Where a run happens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Environment {
    /// The cluster's name in the kubeconfig; `embedded` in a rehearsal.
    pub cluster: String,
    /// URL of the API server.
    pub server: String,
    /// Context.
    pub context: String,
    /// The server's version.
    pub version: String,
    /// Whether it is the embedded cluster.
    pub rehearsal: bool,
    /// The image of firedrill itself, where another than the usual one is to be pulled.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// How agents are placed, where that is not as usual.
    #[serde(default, skip_serializing_if = "AgentSettings::usual")]
    pub agents: AgentSettings,
}

impl Environment {
    /// The same with that image, if one is named.
    #[must_use]
    pub fn with_image(self, image: Option<&str>) -> Self {
        Self { image: image.unwrap_or_default().to_owned(), ..self }
    }

    /// The same with agents that are placed so.
    #[must_use]
    pub fn with_agents(self, agents: AgentSettings) -> Self {
        Self { agents, ..self }
    }

    /// The image of firedrill itself, for what has to run in the cluster.
    pub fn image(&self) -> &str {
        if self.image.is_empty() { IMAGE } else { &self.image }
    }
}
