//! A load that a pod sends: what it says of it, as it is read through the API server.
//!
//! The pod prints a line a second (`firedrill send`), and its last lines are read as often. Nothing that the load
//! itself wears down is between it and whoever reads: a log goes kubelet → API server. What was said too long ago is
//! not taken for now.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{task::AbortHandle, time::Instant};

use crate::{
    cluster::{Access, ApiError},
    env::Underway,
    types::{
        ObjectRef,
        load::{LoadTally, LoadWindow, SendReport},
    },
};

/// From one look at the log to the next: how often the pod says something.
const LOOK: Duration = Duration::from_secs(1);
/// What was said longer ago says nothing of now.
const STALE: Duration = Duration::from_secs(5);
/// Lines that are read: the last one may be half of one, or no report.
const LINES: u32 = 5;

/// Follows what a pod says of the load that it sends, until it is dropped.
pub fn from_pod(access: Access, pod: ObjectRef) -> Arc<dyn Underway> {
    let told: Arc<Mutex<Told>> = Arc::default();
    let task = tokio::spawn(follow(access, pod, told.clone()));
    Arc::new(Followed { told, task: task.abort_handle() })
}

/// What is known of it.
#[derive(Default)]
struct Told {
    last: Option<(SendReport, Instant)>,
    /// Why the log could not be read the last time.
    error: Option<ApiError>,
}

struct Followed {
    told: Arc<Mutex<Told>>,
    task: AbortHandle,
}

async fn follow(access: Access, pod: ObjectRef, told: Arc<Mutex<Told>>) {
    loop {
        let read = access.log(&pod, LINES).await;
        {
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            match read {
                Ok(text) => {
                    told.error = None;
                    let newest = newest(&text);
                    // The same line again is no news: its pod may have died.
                    if newest.is_some() && newest != told.last.as_ref().map(|(report, _)| report.clone()) {
                        told.last = newest.map(|report| (report, Instant::now()));
                    }
                }
                Err(error) => told.error = Some(error),
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The last line that is whole.
fn newest(text: &str) -> Option<SendReport> {
    text.lines().rev().find_map(|line| serde_json::from_str(line).ok())
}

impl Followed {
    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Underway for Followed {
    fn age(&self) -> Duration {
        let told = self.lock();
        told.last.as_ref().map_or(Duration::ZERO, |(report, _)| Duration::from_millis(report.age_ms))
    }

    fn window(&self, length: Duration) -> LoadWindow {
        let told = self.lock();
        let windows = told.last.iter().flat_map(|(report, _)| &report.windows);
        let mut of_length = windows.filter(|(of, _)| of.0 == length);
        of_length.next().map(|(_, window)| window.clone()).unwrap_or_default()
    }

    fn tally(&self) -> LoadTally {
        self.lock().last.as_ref().map(|(report, _)| report.tally.clone()).unwrap_or_default()
    }

    fn unheard(&self) -> Option<(Duration, String)> {
        let told = self.lock();
        let (_, at) = told.last.as_ref()?;
        let silent = at.elapsed();
        if silent <= STALE {
            return None;
        }
        let why = told.error.as_ref().map_or_else(String::new, |error| format!(": {error}"));
        Some((silent, format!("the pod that sends it has said nothing for {}s{why}", silent.as_secs())))
    }

    fn end(&self) -> LoadTally {
        self.task.abort();
        self.tally()
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Length;

    #[test]
    fn half_a_line_is_none() {
        let line = |age_ms| {
            let report = SendReport {
                age_ms,
                windows: vec![(Length::from_secs(5), LoadWindow { ended: age_ms, ..LoadWindow::default() })],
                tally: LoadTally::default(),
            };
            serde_json::to_string(&report).expect("JSON")
        };
        let (one, two) = (line(1000), line(2000));
        let whole = format!("{one}\n{two}\n");
        assert_eq!(newest(&whole).map(|report| report.age_ms), Some(2000));
        assert_eq!(newest(&whole[..whole.len() - 9]).map(|report| report.age_ms), Some(1000));
        assert_eq!(newest("something else\n"), None);
    }
}
