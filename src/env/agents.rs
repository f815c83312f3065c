//! The link to agents: the standard input and output of a pod's container, and nothing else.

use std::fmt;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::types::ObjectRef;

/// The container that orders go to.
pub const AGENT_CONTAINER: &str = "agent";

/// Whoever can attach to agents.
pub trait Agents: Send + Sync {
    /// Attaches to the container [`AGENT_CONTAINER`] of this pod. What is written goes to its standard input, what it
    /// prints from then on comes back. Two that are attached at once share one standard input.
    fn attach(&self, pod: &ObjectRef) -> BoxFuture<'static, Result<Attached, AttachError>>;
}

/// An open stream to an agent; it ends when either half is dropped.
pub struct Attached {
    /// Its standard input.
    pub orders: Box<dyn AsyncWrite + Send + Unpin>,
    /// Its standard output.
    pub reports: Box<dyn AsyncRead + Send + Unpin>,
}

impl fmt::Debug for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Attached")
    }
}

/// Why there is no stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    /// The pod is not there any more.
    #[error("there is no such pod")]
    NoSuchPod,
    /// It is there, and its container does not run (yet, or any more).
    #[error("its container does not run: {0}")]
    NotRunning(String),
    /// Not allowed: attaching takes `get` and `create` on `pods/attach`.
    #[error("not allowed: {0}")]
    Forbidden(String),
    /// The way there is broken, and may be mended.
    #[error("no way to it: {0}")]
    Unreachable(String),
}

/// Where there are no agents.
#[derive(Clone, Copy, Debug)]
pub struct NoAgents(
    /// Why.
    pub &'static str,
);

impl Agents for NoAgents {
    fn attach(&self, _pod: &ObjectRef) -> BoxFuture<'static, Result<Attached, AttachError>> {
        let why = self.0.to_owned();
        Box::pin(async move { Err(AttachError::Forbidden(why)) })
    }
}
