//! An attached stream: bytes to and fro between a client and a container, through the API server and the kubelet.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{mpsc, watch};

use crate::sim::apiserver::mischief::{Mischief, Streams};

/// The kubelet's end of a stream.
pub(super) struct Stream {
    /// What the client holds the other end of.
    pub client: DuplexStream,
    /// To the container's standard input.
    pub input: mpsc::UnboundedSender<Vec<u8>>,
    /// From its standard output; it ends with the container.
    pub output: mpsc::UnboundedReceiver<String>,
    /// How often the node was cut off.
    pub cut_off: watch::Receiver<u64>,
}

impl Stream {
    /// Carries bytes until either side ends, the API server goes away, or somebody cuts the stream. The container does not
    /// learn of that (no end of its input).
    pub(super) async fn carry(mut self, mischief: Mischief) {
        let (mut outage, mut streams) = (mischief.outage_signal(), mischief.streams_signal());
        let cuts = streams.borrow_and_update().cuts;
        let mut bytes = vec![0_u8; 16 * 1024];
        self.cut_off.mark_unchanged();
        loop {
            let Streams { held, cuts: now } = *streams.borrow_and_update();
            if now != cuts || *outage.borrow_and_update() {
                return;
            }
            tokio::select! {
                biased;
                Ok(()) = outage.changed() => {}
                Ok(()) = streams.changed() => {}
                Ok(()) = self.cut_off.changed() => return,
                said = self.output.recv(), if !held => match said {
                    Some(line) => {
                        if self.client.write_all(line.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                    None => return,
                },
                read = self.client.read(&mut bytes), if !held => match read {
                    Ok(0) | Err(_) => return,
                    Ok(n) => {
                        if self.input.send(bytes[..n].to_vec()).is_err() {
                            // The container has ended: what it said last comes first.
                            while let Some(line) = self.output.recv().await {
                                if self.client.write_all(line.as_bytes()).await.is_err() {
                                    return;
                                }
                            }
                            return;
                        }
                    }
                },
            }
        }
    }
}
