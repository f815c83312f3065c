//! A pod's containers, as its kubelet reports them.

use serde::Deserialize;

/// A container, as its kubelet reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// Its id, without the runtime's name in front.
    pub id: String,
    /// How often it was started again.
    pub restarts: u32,
    /// Whether it runs.
    pub running: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ContainerStatus {
    pub(super) name: String,
    pub(super) image: String,
    #[serde(rename = "imageID")]
    pub(super) image_id: String,
    #[serde(rename = "containerID")]
    container_id: String,
    restart_count: u32,
    pub(super) state: ContainerState,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ContainerState {
    pub(super) waiting: Option<Waiting>,
    running: Option<Runs>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Waiting {
    pub(super) reason: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Runs {}

impl ContainerStatus {
    pub(super) fn read(&self) -> (String, Container) {
        let id = self.container_id.split_once("://").map_or(&*self.container_id, |(_, id)| id);
        let running = self.state.running.is_some();
        (self.name.clone(), Container { id: id.to_owned(), restarts: self.restart_count, running })
    }
}
