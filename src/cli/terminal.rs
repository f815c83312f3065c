//! What is typed, line by line, for whoever asks at the moment.
//!
//! A read of the terminal cannot be called back, so there is one for the whole process; what is typed while nobody
//! asks is lost.

use std::{
    io::{BufRead as _, IsTerminal as _},
    sync::{Mutex, Once, PoisonError},
};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

static LISTENER: Mutex<Option<UnboundedSender<String>>> = Mutex::new(None);
static READER: Once = Once::new();

/// Whether there is somebody to ask.
pub(super) fn attended() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// The lines typed from now on; whoever listened before hears no more.
pub(super) fn lines() -> UnboundedReceiver<String> {
    let (line_tx, line_rx) = unbounded_channel();
    *LISTENER.lock().unwrap_or_else(PoisonError::into_inner) = Some(line_tx);
    READER.call_once(|| {
        std::thread::spawn(|| {
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                if let Some(listener) = &*LISTENER.lock().unwrap_or_else(PoisonError::into_inner) {
                    // Nobody asks any more.
                    let _ = listener.send(line);
                }
            }
            // The end of what is typed: whoever waits for a line is told so.
            *LISTENER.lock().unwrap_or_else(PoisonError::into_inner) = None;
        });
    });
    line_rx
}
