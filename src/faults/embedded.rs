//! The agents of an embedded cluster, as a run attaches to them.

use std::sync::Arc;

use futures::future::BoxFuture;

use crate::{
    env::{Agents, AttachError, Attached},
    sim::{
        agents::{self, AttachFailure},
        apiserver::{ApiServer, User},
        cluster::Cluster,
    },
    types::ObjectRef,
};

struct Embedded {
    server: ApiServer,
    agents: agents::Agents,
    user: User,
}

/// Agents that answer within the process, to this user.
pub fn embedded_agents(cluster: &Cluster, user: User) -> Arc<dyn Agents> {
    Arc::new(Embedded { server: cluster.sim().server().clone(), agents: cluster.agents().clone(), user })
}

impl Agents for Embedded {
    fn attach(&self, pod: &ObjectRef) -> BoxFuture<'static, Result<Attached, AttachError>> {
        let (server, agents, user) = (self.server.clone(), self.agents.clone(), self.user.clone());
        let pod = pod.clone();
        Box::pin(async move {
            let which = (pod.namespace.as_str(), pod.name.as_str(), pod.uid.as_str());
            let stream = agents.attach(&server, user, which).await.map_err(why)?;
            let (reports, orders) = tokio::io::split(stream);
            Ok(Attached { orders: Box::new(orders), reports: Box::new(reports) })
        })
    }
}

fn why(failure: AttachFailure) -> AttachError {
    match failure {
        AttachFailure::Broken(why) => AttachError::Unreachable(why),
        AttachFailure::Answered(status) => match status.code {
            404 => AttachError::NoSuchPod,
            401 | 403 => AttachError::Forbidden(status.message),
            400 => AttachError::NotRunning(status.message),
            _ => AttachError::Unreachable(status.message),
        },
    }
}
