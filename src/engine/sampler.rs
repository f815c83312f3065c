//! Measuring: one task a probe, each at its own interval, never in lockstep with the method.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use jiff::Timestamp;
use tokio::{
    sync::{Notify, mpsc},
    task::AbortHandle,
    time::{Instant, MissedTickBehavior},
};

use crate::{
    api::ProbeSpec,
    env::Clock,
    probes::{self, Measure, Reading},
    types::Length,
};

/// Changes that come faster than this are measured together.
const CHANGES_APART: Duration = Duration::from_millis(100);

/// A measurement, sampler → drive.
pub(super) struct Measured {
    /// Which probe.
    pub probe: String,
    /// When it was asked for.
    pub at: Timestamp,
    /// What came back.
    pub reading: Reading,
}

/// Measures one probe until dropped.
pub(super) struct Sampler {
    task: AbortHandle,
    now: Arc<Notify>,
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Sampler {
    /// Begins to measure at once, and then every interval, on every change that the probe can see, and when
    /// asked to. Probes start `offset` apart, so that they do not all ask at the same instant.
    pub(super) fn start(
        probe: &ProbeSpec,
        measure: Measure,
        clock: Clock,
        (measured_tx, offset): (mpsc::UnboundedSender<Measured>, Duration),
    ) -> Self {
        let now = Arc::new(Notify::new());
        let task = tokio::spawn(sample(probe.clone(), measure, clock, (measured_tx, now.clone(), offset)));
        Self { task: task.abort_handle(), now }
    }

    /// Measures now, whatever the interval.
    pub(super) fn measure_now(&self) {
        self.now.notify_one();
    }
}

async fn sample(
    spec: ProbeSpec,
    measure: Measure,
    clock: Clock,
    (measured_tx, now, offset): (mpsc::UnboundedSender<Measured>, Arc<Notify>, Duration),
) {
    let Some(probe) = probes::find(&spec.kind) else { return };
    let mut ticks = tokio::time::interval_at(Instant::now() + offset, spec.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let changes =
        || probe.changes(&measure, &spec.params).unwrap_or_else(|| futures::stream::pending().boxed());
    let mut changes = changes();
    loop {
        tokio::select! {
            biased;
            _ = ticks.tick() => {}
            () = now.notified() => {}
            change = changes.next() => {
                if change.is_none() {
                    changes = futures::stream::pending().boxed();
                    continue;
                }
                tokio::time::sleep(CHANGES_APART).await;
                // What has come together since is one change.
                while futures::FutureExt::now_or_never(changes.next()).flatten().is_some() {}
            }
        }
        let at = clock.now();
        let reading = match tokio::time::timeout(spec.timeout, probe.measure(&measure, &spec.params)).await {
            Ok(reading) => reading,
            Err(_) => probe.overdue(Length(spec.timeout)),
        };
        if measured_tx.send(Measured { probe: spec.name.clone(), at, reading }).is_err() {
            return;
        }
    }
}
