//! Sends the spans of runs by OTLP, over HTTP, where the environment says whereto. Where it does not, nothing of this is
//! made.

mod carrier;
mod layer;
mod settings;

use std::{sync::Arc, time::Duration};

use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::{WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    resource::{EnvResourceDetector, TelemetryResourceDetector},
    trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider},
};
use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::{Layer, registry::Registry};

use super::Command;
use crate::env::{HttpClient, Tls};
use carrier::{Carrier, Counted, Told};
use settings::Settings;

/// So long the end of the program waits for the last spans. A controller that is told to end has 30 s, and takes up to 25.
const LAST: Duration = Duration::from_secs(3);
/// Spans that may wait to be sent, unless OTEL_BSP_MAX_QUEUE_SIZE says otherwise: a rehearsal goes through an hour in a
/// moment.
const QUEUE: usize = 8192;

/// Sends spans, from its beginning to [`Exporting::end`].
pub(super) struct Exporting {
    provider: SdkTracerProvider,
    tally: Arc<carrier::Tally>,
    runtime: Runtime,
    /// What was wrong with the settings and is done without.
    pub warnings: Vec<String>,
}

impl Exporting {
    /// Begins, if this command has spans and the environment wants them.
    ///
    /// # Errors
    /// They are wanted and cannot be sent: why, in words.
    pub fn begin(command: &Command) -> Result<Option<Self>, String> {
        let Some(about) = about(command) else { return Ok(None) };
        let settings = Settings::of(|name| std::env::var(name).ok(), |path| std::fs::read(path))?;
        let Some(settings) = settings else { return Ok(None) };
        let runtime =
            Builder::new_multi_thread().worker_threads(1).thread_name("traces").enable_all().build();
        let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
        let tally = Arc::<carrier::Tally>::default();
        let carrier = Carrier {
            runtime: runtime.handle().clone(),
            http: HttpClient::network(),
            tls: Tls { ca: settings.ca.clone(), ..Tls::default() },
            timeout: settings.timeout,
            tally: tally.clone(),
        };
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(carrier)
            .with_endpoint(settings.url.to_string())
            .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
            .with_timeout(settings.timeout)
            .build()
            .map_err(|error| format!("{}: {error}", settings.variable))?;
        let exporter = Told { inner: exporter, place: settings.place(), tally: tally.clone() };
        let batches = BatchConfigBuilder::default();
        let batches = match std::env::var_os("OTEL_BSP_MAX_QUEUE_SIZE") {
            Some(_) => batches,
            None => batches.with_max_queue_size(QUEUE),
        };
        let batches = BatchSpanProcessor::builder(exporter).with_batch_config(batches.build()).build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(Counted { inner: batches, tally: tally.clone() })
            .with_resource(resource(about, std::env::var("OTEL_SERVICE_NAME").ok()))
            .build();
        Ok(Some(Self { provider, tally, runtime, warnings: settings.warnings }))
    }

    /// What takes the spans off the program.
    pub fn layer(&self) -> Box<dyn Layer<Registry> + Send + Sync> {
        layer::layer(self.provider.tracer("firedrill"))
    }

    /// Sends what is left, within [`LAST`].
    pub fn end(self) {
        // Whatever comes of it, the program ends as it would have ended.
        let _ = self.provider.shutdown_with_timeout(LAST);
        self.tally.close();
        self.runtime.shutdown_background();
    }
}

/// What is said of whoever sends, beside its name; None for a command that drives no run in this process.
fn about(command: &Command) -> Option<Vec<KeyValue>> {
    let (name, pod) = match command {
        Command::Run(args) if args.is_here() => ("run", Vec::new()),
        Command::Rehearse(_) => ("rehearse", Vec::new()),
        Command::Rollback(_) => ("rollback", Vec::new()),
        Command::Controller(args) if args.serves() => ("controller", args.pod()),
        _ => return None,
    };
    let pod = pod.into_iter().filter(|(_, value)| !value.is_empty());
    let mut about: Vec<KeyValue> = pod.map(|(key, value)| KeyValue::new(key, value)).collect();
    about.push(KeyValue::new("firedrill.command", name));
    Some(about)
}

/// Whoever sends. OTEL_RESOURCE_ATTRIBUTES is heard before what we know ourselves, and the name for itself before that.
fn resource(about: Vec<KeyValue>, name: Option<String>) -> Resource {
    let own = [
        KeyValue::new("service.name", "firedrill"),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
    ];
    let known = Resource::builder_empty().with_attributes(own).with_attributes(about);
    let known =
        known.with_detectors(&[Box::new(TelemetryResourceDetector), Box::new(EnvResourceDetector::new())]);
    match name.filter(|name| !name.is_empty()) {
        Some(name) => known.with_service_name(name).build(),
        None => known.build(),
    }
}
