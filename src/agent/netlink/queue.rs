//! The queue of packets: received with their content, accepted or dropped later and in any order.

use std::io;

use rustix::{
    fd::{AsFd, BorrowedFd},
    net::RecvFlags,
};

use super::{ACK, Messages, Socket, attributes, messages, netfilter};
use crate::agent::wire::Direction;

const SUBSYSTEM: u16 = 3 << 8;
const PACKET: u16 = SUBSYSTEM;
const VERDICT: u16 = SUBSYSTEM | 1;
const CONFIG: u16 = SUBSYSTEM | 2;
const DROP: u32 = 0;
const ACCEPT: u32 = 1;
const LOCAL_IN: u8 = 1;
/// Accept rather than drop what the queue has no room for.
const FAIL_OPEN: u32 = 1;
/// Numbers that nobody is known to use; the first that is free is taken.
const NUMBERS: std::ops::Range<u16> = 61_610..61_642;
/// Held at once in one namespace; what comes beyond passes (fail open).
pub const LONGEST: u32 = 16_384;
/// Verdicts that are sent at once.
const TOGETHER: usize = 64 * 32;

/// A packet that waits for its verdict.
#[derive(Debug)]
pub struct Queued<'a> {
    /// Its number.
    pub id: u32,
    /// Which way it goes.
    pub direction: Direction,
    /// The interface on which it leaves.
    pub interface: u32,
    /// From its IP header on.
    pub bytes: &'a [u8],
}

/// A queue in this thread's network namespace.
#[derive(Debug)]
pub struct Queue {
    socket: Socket,
    /// Its number.
    pub number: u16,
    verdicts: Messages,
}

impl Queue {
    /// Opens one that nobody else reads.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::open(netfilter())?;
        socket.enlarge(4 << 20)?;
        let mut refused = io::Error::from(io::ErrorKind::NotFound);
        for number in NUMBERS {
            match configure(&mut socket, number, (1, &[1, 0, 0, 0])) {
                Ok(()) => {
                    // Whole packets; as long as may be; open when it fails.
                    configure(&mut socket, number, (2, &[0, 0, 0xff, 0xff, 2]))?;
                    configure(&mut socket, number, (3, &LONGEST.to_be_bytes()))?;
                    let seq = socket.next();
                    let mut request = Messages::default();
                    request
                        .netfilter((CONFIG, ACK), seq, 0, number)
                        .number(4, FAIL_OPEN)
                        .number(5, FAIL_OPEN);
                    socket.acknowledged(&request, seq)?;
                    return Ok(Self { socket, number, verdicts: Messages::default() });
                }
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    /// The next packet that is there, if any. Packets that the kernel had no room to hand over have passed.
    pub fn receive<'a>(&mut self, buffer: &'a mut [u8]) -> io::Result<Option<Queued<'a>>> {
        let length = loop {
            match self.socket.receive(buffer, RecvFlags::DONTWAIT) {
                Ok(length) => break length,
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        };
        // A report that a verdict came too late is no packet, and the queue may hold more behind it.
        Ok(messages(&buffer[..length])
            .find_map(|message| (message.kind == PACKET).then(|| queued(message.body.get(4..)?)).flatten()))
    }

    /// Lets a packet pass; at the latest with [`Queue::flush`].
    pub fn accept(&mut self, id: u32) -> io::Result<()> {
        self.verdict(id, ACCEPT)
    }

    /// Drops a packet; at the latest with [`Queue::flush`].
    pub fn drop(&mut self, id: u32) -> io::Result<()> {
        self.verdict(id, DROP)
    }

    fn verdict(&mut self, id: u32, verdict: u32) -> io::Result<()> {
        let both = [verdict.to_be_bytes(), id.to_be_bytes()].concat();
        self.verdicts.netfilter((VERDICT, 0), 0, 0, self.number).put(2, &both);
        if self.verdicts.bytes().len() >= TOGETHER { self.flush() } else { Ok(()) }
    }

    /// Sends the verdicts that were given.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.verdicts.bytes().is_empty() {
            return Ok(());
        }
        let sent = self.socket.send(&self.verdicts);
        self.verdicts.clear();
        sent
    }
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn configure(socket: &mut Socket, number: u16, (kind, value): (u16, &[u8])) -> io::Result<()> {
    let seq = socket.next();
    let mut request = Messages::default();
    request.netfilter((CONFIG, ACK), seq, 0, number).put(kind, value);
    socket.acknowledged(&request, seq)
}

fn queued(body: &[u8]) -> Option<Queued<'_>> {
    let (mut head, mut interface, mut bytes) = (None, 0, &[][..]);
    for (kind, value) in attributes(body) {
        match kind {
            1 => head = value.first_chunk::<7>(),
            6 => interface = value.first_chunk().map_or(0, |index| u32::from_be_bytes(*index)),
            10 => bytes = value,
            _ => {}
        }
    }
    let head = head?;
    Some(Queued {
        id: u32::from_be_bytes([head[0], head[1], head[2], head[3]]),
        direction: if head[6] == LOCAL_IN { Direction::Ingress } else { Direction::Egress },
        interface,
        bytes,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = queued(&bytes);
        }
    }

    #[test]
    fn a_packet_is_read() {
        let mut message = Messages::default();
        message.netfilter((PACKET, 0), 0, 2, 61_610);
        message.put(1, &[0, 0, 1, 2, 8, 0, 3]).put(6, &[0, 0, 0, 2]).put(10, b"packet");
        let received = messages(message.bytes()).next().expect("a message");
        let read = queued(&received.body[4..]).expect("a packet");
        assert_eq!(
            (read.id, read.direction, read.interface, read.bytes),
            (258, Direction::Egress, 2, &b"packet"[..])
        );
    }
}
