//! Spans of `tracing` as those of OpenTelemetry.

use opentelemetry_sdk::trace::SdkTracer;
use tracing::{
    Event, Metadata, Subscriber,
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::{
    Layer,
    filter::filter_fn,
    layer::Context,
    registry::{LookupSpan, Registry},
};

/// What is sent: our spans down to single targets, and what went wrong within them. What the log shows decides nothing
/// here.
pub(super) fn layer(tracer: SdkTracer) -> Box<dyn Layer<Registry> + Send + Sync> {
    let spans = tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_context_activation(false)
        .with_tracked_inactivity(false)
        .with_location(false)
        .with_threads(false)
        .with_target(false);
    UntilClosed(spans).with_filter(filter_fn(is_sent).with_max_level_hint(LevelFilter::DEBUG)).boxed()
}

fn is_sent(of: &Metadata<'_>) -> bool {
    let least = if of.is_span() { LevelFilter::DEBUG } else { LevelFilter::WARN };
    *of.level() <= least && (of.target() == "firedrill" || of.target().starts_with("firedrill::"))
}

/// Spans end when they are closed. Left to itself the layer takes the time at which they were last left, which of a phase
/// is that of its last record.
struct UntilClosed<S>(OpenTelemetryLayer<S, SdkTracer>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for UntilClosed<S> {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.0.on_new_span(attributes, id, context);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        self.0.on_record(id, values, context);
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, context: Context<'_, S>) {
        self.0.on_follows_from(id, follows, context);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        self.0.on_event(event, context);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        self.0.on_close(id, context);
    }
}
