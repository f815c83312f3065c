//! The way from a runner to the API server, which can be cut: silently, as when a network breaks.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use futures::future::BoxFuture;
use tokio::net::{TcpListener, TcpStream};

use crate::scenarios::row::Actor;

static CUT: AtomicBool = AtomicBool::new(false);
/// How soon a connection notices.
const NOTICE: Duration = Duration::from_millis(50);
/// Longer than an agent keeps anything without a beat.
const APART: Duration = Duration::from_secs(25);

/// Passes connections on to this address; the port at which it listens.
pub async fn lay(to: String) -> std::io::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((from, _)) = listener.accept().await {
            tokio::spawn(pass(from, to.clone()));
        }
    });
    Ok(port)
}

/// Until the wire is cut: then nothing comes through any more, and nobody is told. What was open then is closed when
/// the wire is whole again.
async fn pass(mut from: TcpStream, to: String) {
    let passing = async {
        while CUT.load(Ordering::Relaxed) {
            tokio::time::sleep(NOTICE).await;
        }
        if let Ok(mut to) = TcpStream::connect(&to).await {
            tokio::select! {
                biased;
                () = cut() => while CUT.load(Ordering::Relaxed) {
                    tokio::time::sleep(NOTICE).await;
                },
                _ = tokio::io::copy_bidirectional(&mut from, &mut to) => {}
            }
        }
    };
    passing.await;
}

async fn cut() {
    while !CUT.load(Ordering::Relaxed) {
        tokio::time::sleep(NOTICE).await;
    }
}

/// Cuts it for some time.
pub fn is_cut(_: Actor) -> BoxFuture<'static, Result<String, String>> {
    Box::pin(async {
        CUT.store(true, Ordering::Relaxed);
        tokio::time::sleep(APART).await;
        CUT.store(false, Ordering::Relaxed);
        Ok(String::new())
    })
}
