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

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, Mutex},
        time::Duration,
    };

    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::{
        error::OTelSdkResult,
        trace::{SdkTracerProvider, Span, SpanData, SpanProcessor},
    };
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// Keeps what would be sent.
    #[derive(Clone, Debug, Default)]
    struct Kept(Arc<Mutex<Vec<SpanData>>>);

    impl SpanProcessor for Kept {
        fn on_start(&self, _: &mut Span, _: &opentelemetry::Context) {}

        fn on_end(&self, span: SpanData) {
            self.0.lock().expect("no panic holds it").push(span);
        }

        fn force_flush(&self) -> OTelSdkResult {
            Ok(())
        }

        fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
            Ok(())
        }
    }

    fn sent(during: impl FnOnce()) -> Vec<SpanData> {
        let kept = Kept::default();
        let provider = SdkTracerProvider::builder().with_span_processor(kept.clone()).build();
        let subscriber = tracing_subscriber::registry().with(layer(provider.tracer("firedrill")));
        tracing::subscriber::with_default(subscriber, during);
        let sent = kept.0.lock().expect("no panic holds it");
        sent.clone()
    }

    #[test]
    fn a_span_lasts_until_it_is_closed() {
        let spans = sent(|| {
            let span = tracing::info_span!("phase");
            span.in_scope(|| ());
            std::thread::sleep(Duration::from_millis(40));
        });
        let took = spans[0].end_time.duration_since(spans[0].start_time);
        assert!(took.expect("it ends after its beginning") >= Duration::from_millis(40));
    }

    #[test]
    fn our_spans_are_sent_and_what_went_wrong_in_them() {
        let spans = sent(|| {
            let run = tracing::info_span!("run");
            let _entered = run.enter();
            tracing::warn!("a lease could not be renewed");
            tracing::info!("it goes on");
            drop(tracing::debug_span!("revert", attempt = 2));
            drop(tracing::trace_span!("detail"));
            drop(tracing::info_span!(target: "hyper", "request"));
        });
        let names: Vec<&str> = spans.iter().map(|span| span.name.as_ref()).collect();
        assert_eq!(names, ["revert", "run"]);
        assert_eq!(spans[0].parent_span_id, spans[1].span_context.span_id());
        assert_eq!(spans[1].events.len(), 1, "{:?}", spans[1].events);
    }
}
