//! What is said on the way, for those who watch the program: its log, and its traces.

use tracing_subscriber::{
    EnvFilter, Layer, filter::LevelFilter, fmt::format::FmtSpan, layer::SubscriberExt as _,
    registry::Registry, util::SubscriberInitExt as _,
};

use super::{Command, traces::Exporting};

/// Begins both. What sends traces has to be [ended](Exporting::end).
pub(super) fn begin(command: &Command) -> Option<Exporting> {
    let controller = matches!(command, Command::Controller(_));
    let (traces, wrong) = match Exporting::begin(command) {
        Ok(traces) => (traces, None),
        Err(why) => (None, Some(why)),
    };
    // Each has a filter of its own: how much is logged says nothing about what is sent.
    let layers: Vec<_> =
        [Some(log(controller)), traces.as_ref().map(Exporting::layer)].into_iter().flatten().collect();
    tracing_subscriber::registry().with(layers).init();
    let mut warnings: Vec<String> =
        wrong.map(|why| format!("no traces are sent: {why}")).into_iter().collect();
    warnings.extend(traces.iter().flat_map(|traces| traces.warnings.iter().cloned()));
    for warning in warnings {
        if controller {
            tracing::warn!("{warning}");
        } else {
            super::say(&format!("warning: {warning}"));
        }
    }
    traces
}

/// Logs go to standard error, and only on request: the timeline is what people read. The controller's are read by
/// machines, and there is nothing else to read.
fn log(controller: bool) -> Box<dyn Layer<Registry> + Send + Sync> {
    let usual = if controller { "firedrill=info" } else { "off" };
    let filter = EnvFilter::try_from_env("FIREDRILL_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    // Who wants details wants to know how long each part of a run took, too.
    let detailed = filter.max_level_hint().is_some_and(|level| level >= LevelFilter::DEBUG);
    let spans = if detailed { FmtSpan::CLOSE } else { FmtSpan::NONE };
    let logs = tracing_subscriber::fmt::layer().with_span_events(spans).with_writer(std::io::stderr);
    if controller {
        logs.json().flatten_event(true).with_filter(filter).boxed()
    } else {
        logs.with_filter(filter).boxed()
    }
}
