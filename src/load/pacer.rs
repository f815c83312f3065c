//! Keeps the time of a load: a thread that sleeps until the next request is due, and says so.
//!
//! A timer of tokio is a millisecond coarse, and a task that waits behind others comes later still. A thread
//! that only sleeps is woken by the kernel's high-resolution timers within some tens of microseconds
//! (man 7 time: timer slack 50 µs) and costs next to nothing.

use std::{thread, time::Duration};

use tokio::{sync::mpsc, time::Instant};

use crate::types::load::Schedule;

/// How long a sleep lasts at the least: at thousands of requests a second several are due then, and waking for each
/// would take more of the machine than sending them. None leaves later than this for it.
const SHORTEST_SLEEP: Duration = Duration::from_micros(250);
/// How long a sleep lasts at the most, so that a load that has ended is noticed.
const LONGEST_SLEEP: Duration = Duration::from_millis(50);

/// Sends each instant on when it has come, until nobody listens or `ended` says so.
///
/// # Errors
/// The system has no more threads.
pub(super) fn start(
    mut schedule: Schedule,
    begin: Instant,
    due_tx: mpsc::UnboundedSender<Duration>,
    ended: impl Fn() -> bool + Send + 'static,
) -> std::io::Result<()> {
    let pace = move || {
        loop {
            let due = schedule.next_due();
            loop {
                let wait = (begin + due).saturating_duration_since(Instant::now());
                if wait.is_zero() {
                    break;
                }
                if ended() {
                    return;
                }
                thread::sleep(wait.clamp(SHORTEST_SLEEP, LONGEST_SLEEP));
            }
            if due_tx.send(due).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("load-pacer".to_owned()).spawn(pace).map(drop)
}
