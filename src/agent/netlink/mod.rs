//! Netlink without a library: messages, a socket, and the three conversations that the agent needs.

pub mod links;
pub mod queue;
pub mod rules;

use std::{io, time::Duration};

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    net::{
        AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind,
        netlink::{NETFILTER, SocketAddrNetlink},
        recv, sendto, socket_with,
        sockopt::{
            Timeout, set_socket_recv_buffer_size_force, set_socket_send_buffer_size_force, set_socket_timeout,
        },
    },
};

/// It is a request.
pub const REQUEST: u16 = 1;
/// Answer with an error code, also when it is none.
pub const ACK: u16 = 4;
/// All of them.
pub const DUMP: u16 = 0x300;
/// Make one that is not there.
pub const CREATE: u16 = 0x400;
/// At the end.
pub const APPEND: u16 = 0x800;

const HEADER: usize = 16;
const NESTED: u16 = 0x8000;
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// One message or several, being written.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Messages {
    bytes: Vec<u8>,
    begun: usize,
}

impl Messages {
    /// Begins a message; the one before is complete.
    pub fn begin(&mut self, kind: u16, flags: u16, seq: u32) -> &mut Self {
        self.begun = self.bytes.len();
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&seq.to_ne_bytes());
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.fit()
    }

    /// Begins a message of netfilter: subsystem and number, family, and the resource.
    pub fn netfilter(&mut self, (kind, flags): (u16, u16), seq: u32, family: u8, resource: u16) -> &mut Self {
        let [high, low] = resource.to_be_bytes();
        self.begin(kind, flags, seq).raw(&[family, 0, high, low])
    }

    /// Bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self.fit()
    }

    /// An attribute.
    pub fn put(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let length = u16::try_from(4 + value.len()).expect("attributes are short");
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.fit()
    }

    /// A number as netfilter has them.
    pub fn number(&mut self, kind: u16, value: u32) -> &mut Self {
        self.put(kind, &value.to_be_bytes())
    }

    /// A text with its end.
    pub fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.put(kind, &bytes)
    }

    /// An attribute made of attributes.
    pub fn nest(&mut self, kind: u16, inside: impl FnOnce(&mut Self)) -> &mut Self {
        let at = self.bytes.len();
        self.put(kind | NESTED, &[]);
        inside(self);
        let length = u16::try_from(self.bytes.len() - at).expect("a rule is short");
        self.bytes[at..at + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }

    /// What was written.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Starts over, with the memory kept.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Pads to four bytes, and says in the header how long the message is by now.
    fn fit(&mut self) -> &mut Self {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        let length = u32::try_from(self.bytes.len() - self.begun).expect("a message is short");
        self.bytes[self.begun..self.begun + 4].copy_from_slice(&length.to_ne_bytes());
        self
    }
}

/// The protocol of nf_tables and of queues.
pub fn netfilter() -> Option<Protocol> {
    Some(NETFILTER)
}

/// A message that was received.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// Its kind.
    pub kind: u16,
    /// The number of what it answers.
    pub seq: u32,
    /// What comes after the header.
    pub body: &'a [u8],
}

impl Received<'_> {
    /// The error that it reports; `Ok` for an acknowledgement; None if it is something else.
    pub fn outcome(&self) -> Option<io::Result<()>> {
        (self.kind == ERROR).then(|| match self.body.first_chunk().map(|code| i32::from_ne_bytes(*code)) {
            Some(0) => Ok(()),
            Some(code) => Err(io::Error::from_raw_os_error(-code)),
            None => Err(io::ErrorKind::InvalidData.into()),
        })
    }
}

/// The messages in a datagram; what is cut off is not among them.
pub fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Received<'_>> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
        let message = bytes.get(..length).filter(|message| message.len() >= HEADER)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Received {
            kind: u16::from_ne_bytes([message[4], message[5]]),
            seq: u32::from_ne_bytes([message[8], message[9], message[10], message[11]]),
            body: &message[HEADER..],
        })
    })
}

/// The attributes in some bytes: kind without its flags, and value.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u16::from_ne_bytes(*bytes.first_chunk()?) as usize;
        let attribute = bytes.get(..length).filter(|attribute| attribute.len() >= 4)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([attribute[2], attribute[3]]) & 0x3fff, &attribute[4..]))
    })
}

/// A netlink socket in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    seq: u32,
}

impl Socket {
    /// Opens one.
    pub fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        bind(&fd, &SocketAddrNetlink::new(0, 0))?;
        set_socket_timeout(&fd, Timeout::Recv, Some(Duration::from_secs(5)))?;
        Ok(Self { fd, seq: 0 })
    }

    /// Room for so many bytes on their way in and out, beyond what everybody may have.
    pub fn enlarge(&self, bytes: usize) -> io::Result<()> {
        set_socket_send_buffer_size_force(&self.fd, bytes)?;
        Ok(set_socket_recv_buffer_size_force(&self.fd, bytes)?)
    }

    /// A number for the next message.
    pub fn next(&mut self) -> u32 {
        self.seq += 1;
        self.seq
    }

    /// Sends what was written.
    pub fn send(&self, messages: &Messages) -> io::Result<()> {
        sendto(&self.fd, messages.bytes(), SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        Ok(())
    }

    /// Receives a datagram into the buffer, and says how long it is.
    pub fn receive(&self, buffer: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
        Ok(recv(&self.fd, buffer, flags)?.0)
    }

    /// Sends, and waits until the last message, with this number, is acknowledged.
    pub fn acknowledged(&self, messages_sent: &Messages, last: u32) -> io::Result<()> {
        self.send(messages_sent)?;
        let mut buffer = vec![0; 64 * 1024];
        let mut failed = Ok(());
        loop {
            let length = self.receive(&mut buffer, RecvFlags::empty())?;
            for message in messages(&buffer[..length]) {
                let Some(outcome) = message.outcome() else { continue };
                failed = failed.and(outcome);
                if message.seq == last {
                    return failed;
                }
            }
        }
    }

    /// Asks for all of something, and hands each to `each`.
    pub fn dump(&self, request: &Messages, mut each: impl FnMut(Received<'_>)) -> io::Result<()> {
        self.send(request)?;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = self.receive(&mut buffer, RecvFlags::empty())?;
            for message in messages(&buffer[..length]) {
                if message.kind == DONE {
                    return Ok(());
                }
                match message.outcome() {
                    Some(outcome) => return outcome,
                    None => each(message),
                }
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(kinds in proptest::collection::vec((1u16..0x2000, ".{0,40}"), 0..20)) {
            let mut sent = Messages::default();
            for (seq, (kind, value)) in (1..).zip(&kinds) {
                sent.begin(*kind, ACK, seq).put(*kind, value.as_bytes()).nest(7, |inside| {
                    inside.number(1, seq);
                });
            }
            let read: Vec<_> = messages(sent.bytes()).collect();
            prop_assert_eq!(read.len(), kinds.len());
            for (seq, (message, (kind, value))) in (1..).zip(read.iter().zip(&kinds)) {
                prop_assert_eq!((message.kind, message.seq), (*kind, seq));
                let inside: Vec<_> = attributes(message.body).collect();
                prop_assert_eq!(inside[0], (*kind, value.as_bytes()));
                let number = u32::to_be_bytes(seq);
                prop_assert_eq!(attributes(inside[1].1).collect::<Vec<_>>(), vec![(1, &number[..])]);
            }
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for message in messages(&bytes) {
                let _ = message.outcome();
                for (_, value) in attributes(message.body) {
                    attributes(value).for_each(drop);
                }
            }
        }
    }
}
