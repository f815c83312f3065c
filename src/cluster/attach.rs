//! Agents over `pods/attach`: API server, kubelet, runtime, and never the network that is being broken.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::{AttachParams, AttachedProcess},
};
use tokio::io::{AsyncRead, ReadBuf};

use super::ApiError;
use crate::{
    env::{AGENT_CONTAINER, Agents, AttachError, Attached},
    types::ObjectRef,
};

/// How long the upgrade may take (29 ms where it was measured).
const UPGRADE: Duration = Duration::from_secs(5);
/// What may wait on either side before the other is held up. An order is a line of a few kilobytes.
const BUFFER: usize = 64 * 1024;

/// The attach subresource, over websocket.
#[derive(Clone)]
pub struct WebSockets {
    client: Client,
}

impl WebSockets {
    /// Over this client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }
}

impl fmt::Debug for WebSockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebSockets")
    }
}

impl Agents for WebSockets {
    fn attach(&self, pod: &ObjectRef) -> BoxFuture<'static, Result<Attached, AttachError>> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace);
        let name = pod.name.clone();
        Box::pin(async move {
            let how = AttachParams::default()
                .container(AGENT_CONTAINER)
                .stdin(true)
                .stdout(true)
                .stderr(false)
                .max_stdin_buf_size(BUFFER)
                .max_stdout_buf_size(BUFFER);
            let opened = tokio::time::timeout(UPGRADE, api.attach(&name, &how)).await;
            let mut process = opened
                .map_err(|_| AttachError::Unreachable(format!("no answer within {UPGRADE:?}")))?
                .map_err(why)?;
            let (Some(orders), Some(reports)) = (process.stdin(), process.stdout()) else {
                return Err(AttachError::Unreachable("a stream without both directions".to_owned()));
            };
            let reports = Reports { reports: Box::pin(reports), _process: process };
            Ok(Attached { orders: Box::new(orders), reports: Box::new(reports) })
        })
    }
}

/// The output, and with it what keeps the connection.
struct Reports<R> {
    reports: Pin<Box<R>>,
    _process: AttachedProcess,
}

impl<R: AsyncRead> AsyncRead for Reports<R> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        self.get_mut().reports.as_mut().poll_read(context, buffer)
    }
}

fn why(error: kube::Error) -> AttachError {
    match ApiError::from(error) {
        ApiError::NotFound => AttachError::NoSuchPod,
        ApiError::Forbidden(words) => AttachError::Forbidden(words),
        ApiError::Invalid(words) => AttachError::NotRunning(words),
        // That of `firedrill sim serve`; a rehearsal has some.
        ApiError::Server { code: 501, message } => {
            AttachError::Forbidden(format!("{message}; firedrill rehearse has them"))
        }
        error => AttachError::Unreachable(error.to_string()),
    }
}
