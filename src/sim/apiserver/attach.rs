//! `pods/attach`, up to where the kubelet takes over: who may, and to what.
//!
//! Over a websocket it takes the rights `get` and `create` (kubernetes 1.35 and later).

use std::io;

use super::mischief::{Action, Seen};
use super::rbac::{self, Attributes};
use super::{ApiServer, REQUEST_TIMEOUT, User, broken, pause};
use crate::sim::controllers::node_lifecycle;
use crate::sim::controllers::views::{Node, Pod, View};
use crate::sim::store::{Kind, Status};

/// Why nobody got as far as the kubelet.
#[derive(Debug)]
pub(in crate::sim) enum AttachBroken {
    /// An answer.
    Answered(Status),
    /// The connection broke, in words.
    Broken(String),
}

impl ApiServer {
    /// A call of `pods/attach` comes in: what outages and mischief make of it. Whether the connection is to break as soon
    /// as it is there.
    pub(in crate::sim) async fn meet_attach(
        &self,
        user: &User,
        (namespace, name): (&str, &str),
    ) -> Result<bool, AttachBroken> {
        let cut = |kind| Err(AttachBroken::Broken(broken(kind).to_string()));
        if self.mischief.is_out() {
            return cut(io::ErrorKind::ConnectionRefused);
        }
        let action = self.mischief.meet(&Seen {
            verb: "get".into(),
            resource: "pods/attach".into(),
            namespace: namespace.into(),
            name: name.into(),
            user: user.name.clone(),
        });
        pause(self.config.read_latency).await;
        if self.mischief.is_out() {
            return cut(io::ErrorKind::ConnectionReset);
        }
        match action {
            None => Ok(false),
            Some(Action::DropAfterCommit) => Ok(true),
            Some(Action::Answer(status)) => Err(AttachBroken::Answered(status)),
            Some(Action::DropBeforeCommit | Action::WatchGone) => cut(io::ErrorKind::ConnectionReset),
            Some(Action::Latency(more)) => {
                pause(more).await;
                Ok(false)
            }
            Some(Action::TimeoutBeforeCommit | Action::TimeoutAfterCommit) => {
                pause(REQUEST_TIMEOUT).await;
                let why = "request did not complete within requested timeout - context deadline exceeded";
                Err(AttachBroken::Answered(Status::timeout(why, 0)))
            }
        }
    }

    /// The UID of the pod, if somebody may attach to that container of it and it runs.
    pub(in crate::sim) fn attachable(
        &self,
        user: &User,
        (namespace, name): (&str, &str),
        container: &str,
    ) -> Result<String, Status> {
        for verb in ["get", "create"] {
            let attributes = Attributes {
                namespace: namespace.to_owned(),
                verb: verb.to_owned(),
                version: "v1".to_owned(),
                resource: "pods".to_owned(),
                subresource: "attach".to_owned(),
                name: name.to_owned(),
                ..Attributes::default()
            };
            if !rbac::allowed(&self.store, user, &attributes) {
                return Err(rbac::denied(user, &attributes));
            }
        }
        let pod = self.store.get(&Kind::POD, namespace, name);
        let pod: Pod =
            View::new(pod.ok_or_else(|| Status::not_found(&Kind::POD, name))?).map_err(Status::internal)?;
        if pod.finished() {
            let phase = &pod.status.phase;
            let why = format!("cannot attach a container in a completed pod; current phase is {phase}");
            return Err(Status::bad_request(why));
        }
        let status = pod.status.container_statuses.iter().find(|status| status.name == container);
        if status.is_none_or(|status| status.state.running.is_none()) {
            let why = format!("container {container} not found in pod {name}_{namespace}");
            return Err(Status::bad_request(why));
        }
        let node = self.store.get(&Kind::NODE, "", &pod.spec.node_name);
        let node: Option<Node> = node.and_then(|node| View::new(node).ok());
        if !node.is_some_and(|node| node_lifecycle::kubelet_runs(&node)) {
            let node = &pod.spec.node_name;
            return Err(Status::internal(format!(
                "error dialing backend: dial tcp {node}:10250: i/o timeout"
            )));
        }
        Ok(pod.uid().to_owned())
    }
}
