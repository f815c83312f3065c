//! The way of a batch of spans to the collector, and what is said when it does not get there.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use opentelemetry::Context;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor},
};
use tokio::runtime::Handle;

use crate::env::{FirstBytes, HttpClient, Tls};

/// So much of an answer is read: a collector says what it did not take, and no more.
const ANSWER_MAX: usize = 64 << 10;

/// Sends requests in a runtime of its own: batches come from a thread without one, and the run's may stand still in
/// virtual time.
#[derive(Debug)]
pub(super) struct Carrier {
    pub runtime: Handle,
    pub http: HttpClient,
    pub tls: Tls,
    pub timeout: Duration,
    pub tally: Arc<Tally>,
}

impl opentelemetry_http::HttpClient for Carrier {
    fn send_bytes<'a, 'sent>(
        &'a self,
        mut request: Request<Bytes>,
    ) -> BoxFuture<'sent, Result<Response<Bytes>, opentelemetry_http::HttpError>>
    where
        'a: 'sent,
        Self: 'sent,
    {
        request.extensions_mut().insert(self.tls.clone());
        request.extensions_mut().insert(FirstBytes(ANSWER_MAX));
        let (http, timeout) = (self.http.clone(), self.timeout);
        // Begun here: what waits for it may have no runtime.
        let sent = self.runtime.spawn(async move { tokio::time::timeout(timeout, http.send(request)).await });
        Box::pin(async move {
            let why = match sent.await {
                Ok(Ok(Ok(answer))) if answer.status().is_success() => return Ok(answer),
                Ok(Ok(Ok(answer))) => {
                    self.tally.because(format!("it answers {}", answer.status().as_u16()));
                    return Ok(answer);
                }
                Ok(Ok(Err(error))) => error.to_string(),
                Ok(Err(_)) => format!("no answer within {} ms", timeout.as_millis()),
                Err(_) => "the program has ended".to_owned(),
            };
            self.tally.because(why.clone());
            Err(why.into())
        })
    }
}

/// What became of the spans.
#[derive(Debug, Default)]
pub(super) struct Tally {
    ended: AtomicU64,
    delivered: AtomicU64,
    /// The last batch was not taken, and that was said.
    failing: AtomicBool,
    why: Mutex<String>,
}

impl Tally {
    fn because(&self, why: String) {
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// Says so once, until it has gone well again.
    fn batch(&self, spans: u64, went_well: bool, place: &str) {
        if went_well {
            self.delivered.fetch_add(spans, Ordering::Relaxed);
        }
        if went_well && self.failing.swap(false, Ordering::Relaxed) {
            tracing::info!(collector = place, "traces are taken again");
        } else if !went_well && !self.failing.swap(true, Ordering::Relaxed) {
            let why = self.why.lock().unwrap_or_else(PoisonError::into_inner).clone();
            tracing::warn!(
                collector = place,
                why,
                "traces are not taken, and those spans are lost; runs go on"
            );
        }
    }

    /// What is said when all is over: of spans that are lost, unless that was said.
    pub fn close(&self) {
        let (ended, delivered) = (self.ended.load(Ordering::Relaxed), self.delivered.load(Ordering::Relaxed));
        let lost = ended.saturating_sub(delivered);
        if lost > 0 && !self.failing.load(Ordering::Relaxed) {
            tracing::warn!(lost, of = ended, "not all spans could be sent in time");
        }
    }
}

/// Counts what is to be sent.
#[derive(Debug)]
pub(super) struct Counted {
    pub inner: BatchSpanProcessor,
    pub tally: Arc<Tally>,
}

impl SpanProcessor for Counted {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.inner.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        self.tally.ended.fetch_add(1, Ordering::Relaxed);
        self.inner.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// Counts what is taken, and says in the log when nothing is.
#[derive(Debug)]
pub(super) struct Told {
    pub inner: opentelemetry_otlp::SpanExporter,
    pub place: String,
    pub tally: Arc<Tally>,
}

impl SpanExporter for Told {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        let result = self.inner.export(batch).await;
        self.tally.batch(spans, result.is_ok(), &self.place);
        result
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}
