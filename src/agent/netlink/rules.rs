//! The rules that lead a pod's packets to the agent: one table in its network namespace, owned by the agent's
//! socket, so that the kernel removes it when that process is gone.

use std::io;

use super::{ACK, APPEND, CREATE, DUMP, Messages, Socket, attributes, links::LOOPBACK, netfilter};
use crate::{
    agent::wire::{Direction, Nfqueue, PortRange},
    types::Cidr,
};

/// What every table of firedrill is called, with the run after it.
pub const PREFIX: &str = "firedrill_";
/// Packets with this mark are the agent's own: sent, not disturbed.
pub const MARK: u32 = 0x0f1d_0a11;

const INET: u8 = 1;
const SUBSYSTEM: u16 = 10 << 8;
const NEWTABLE: u16 = SUBSYSTEM;
const GETTABLE: u16 = SUBSYSTEM | 1;
const DELTABLE: u16 = SUBSYSTEM | 2;
const NEWCHAIN: u16 = SUBSYSTEM | 3;
const NEWRULE: u16 = SUBSYSTEM | 6;
const DELRULE: u16 = SUBSYSTEM | 8;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const OWNER: u32 = 2;
/// Before connection tracking: what is lost or sent again later was never seen by it.
const PRIORITY: i32 = -300;

const VERDICT: u32 = 0;
const REGISTER: u32 = 1;
const ACCEPT: u32 = 1;
const META_MARK: u32 = 3;
const META_IIF: u32 = 4;
const META_OIF: u32 = 5;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;
const EQUAL: u32 = 0;
const AT_MOST: u32 = 3;
const AT_LEAST: u32 = 5;

/// What one rule leads to the queue: what fits all that it names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pick {
    /// Which way.
    pub direction: Direction,
    /// The other end.
    pub peer: Option<Cidr>,
    /// The number of the transport protocol.
    pub protocol: Option<u8>,
    /// The destination port; of what has none, some bytes that are in its place.
    pub ports: Option<PortRange>,
}

/// Names of tables of firedrill in this thread's network namespace.
pub fn tables() -> io::Result<Vec<String>> {
    let mut socket = Socket::open(netfilter())?;
    let mut request = Messages::default();
    request.netfilter((GETTABLE, DUMP), socket.next(), INET, 0);
    let mut found = Vec::new();
    socket.dump(&request, |message| {
        let names = attributes(message.body.get(4..).unwrap_or_default()).filter(|(kind, _)| *kind == 1);
        let names = names.map(|(_, name)| String::from_utf8_lossy(name).trim_end_matches('\0').to_owned());
        found.extend(names.filter(|name| name.starts_with(PREFIX)));
    })?;
    Ok(found)
}

/// Deletes a table that no living process owns.
pub fn delete(name: &str) -> io::Result<()> {
    let mut socket = Socket::open(netfilter())?;
    let mut batch = Batch::begin(&mut socket);
    batch.message((DELTABLE, 0), |message| {
        message.text(1, name);
    });
    batch.send()
}

/// The agent's table in one network namespace.
#[derive(Debug)]
pub struct Table {
    socket: Socket,
    name: String,
    how: Nfqueue,
    /// Whether the kernel knows it.
    there: bool,
    /// Whether the kernel removes it with this process.
    pub owned: bool,
}

impl Table {
    /// A table for a run in this thread's network namespace; nothing is in the kernel yet.
    pub fn new(run: &str, how: Nfqueue) -> io::Result<Self> {
        let socket = Socket::open(netfilter())?;
        socket.enlarge(1 << 20)?;
        Ok(Self { socket, name: format!("{PREFIX}{run}"), how, there: false, owned: true })
    }

    /// Leads these packets, and no others, to the queue. In one transaction.
    pub fn lead(&mut self, picks: &[Pick], queue: u16) -> io::Result<()> {
        match self.try_lead(picks, queue) {
            // Before Linux 5.12 nobody owns a table.
            Err(error) if !self.there && self.owned && matches!(error.raw_os_error(), Some(22 | 95)) => {
                self.owned = false;
                self.try_lead(picks, queue)
            }
            other => other,
        }
    }

    fn try_lead(&mut self, picks: &[Pick], queue: u16) -> io::Result<()> {
        let (name, how, there) = (self.name.clone(), self.how, self.there);
        let flags = if self.owned { OWNER } else { 0 };
        let mut batch = Batch::begin(&mut self.socket);
        if !there {
            batch.message((NEWTABLE, CREATE), |table| {
                table.text(1, &name).number(2, flags);
            });
        }
        for direction in [Direction::Egress, Direction::Ingress] {
            let (chain, hook) = chain(direction);
            if there {
                batch.message((DELRULE, 0), |rule| {
                    rule.text(1, &name).text(2, chain);
                });
            } else {
                batch.message((NEWCHAIN, CREATE), |message| {
                    message.text(1, &name).text(3, chain).nest(4, |place| {
                        place.number(1, hook).put(2, &PRIORITY.to_be_bytes());
                    });
                    message.text(7, "filter");
                });
            }
            let mut add = |write: &dyn Fn(&mut Messages)| {
                batch.message((NEWRULE, CREATE | APPEND), |rule| {
                    rule.text(1, &name).text(2, chain).nest(4, |list| write(list));
                });
            };
            add(&|list| leave_alone(list, direction));
            add(&|list| leave_alone_own(list));
            for pick in picks.iter().filter(|pick| pick.direction == direction) {
                add(&|list| {
                    conditions(list, pick);
                    to_queue(list, how, queue);
                });
            }
        }
        batch.send()?;
        self.there = true;
        Ok(())
    }

    /// Takes the table away.
    pub fn remove(&mut self) -> io::Result<()> {
        if !self.there {
            return Ok(());
        }
        let name = self.name.clone();
        let mut batch = Batch::begin(&mut self.socket);
        batch.message((DELTABLE, 0), |table| {
            table.text(1, &name);
        });
        batch.send()?;
        self.there = false;
        Ok(())
    }
}

fn chain(direction: Direction) -> (&'static str, u32) {
    match direction {
        Direction::Egress => ("egress", 3),
        Direction::Ingress => ("ingress", 1),
    }
}

/// A transaction.
struct Batch<'a> {
    socket: &'a mut Socket,
    messages: Messages,
    last: u32,
}

impl<'a> Batch<'a> {
    fn begin(socket: &'a mut Socket) -> Self {
        let mut messages = Messages::default();
        messages.netfilter((BATCH_BEGIN, 0), socket.next(), 0, SUBSYSTEM >> 8);
        Self { socket, messages, last: 0 }
    }

    fn message(&mut self, (kind, flags): (u16, u16), write: impl FnOnce(&mut Messages)) {
        self.last = self.socket.next();
        write(self.messages.netfilter((kind, flags | ACK), self.last, INET, 0));
    }

    fn send(mut self) -> io::Result<()> {
        self.messages.netfilter((BATCH_END, 0), self.socket.next(), 0, SUBSYSTEM >> 8);
        self.socket.acknowledged(&self.messages, self.last)
    }
}

/// The loopback interface.
fn leave_alone(list: &mut Messages, direction: Direction) {
    let interface = if direction == Direction::Egress { META_OIF } else { META_IIF };
    meta(list, interface);
    compare(list, EQUAL, &LOOPBACK.to_ne_bytes());
    accept(list);
}

/// What the agent sends itself.
fn leave_alone_own(list: &mut Messages) {
    meta(list, META_MARK);
    compare(list, EQUAL, &MARK.to_ne_bytes());
    accept(list);
}

fn conditions(list: &mut Messages, pick: &Pick) {
    if let Some(peer) = pick.peer {
        let four = peer.address().is_ipv4();
        meta(list, META_NFPROTO);
        compare(list, EQUAL, &[if four { 2 } else { 10 }]);
        let (offset, value) = match (peer.address(), pick.direction) {
            (std::net::IpAddr::V4(four), Direction::Ingress) => (12, four.octets().to_vec()),
            (std::net::IpAddr::V4(four), Direction::Egress) => (16, four.octets().to_vec()),
            (std::net::IpAddr::V6(six), Direction::Ingress) => (8, six.octets().to_vec()),
            (std::net::IpAddr::V6(six), Direction::Egress) => (24, six.octets().to_vec()),
        };
        if peer.bits() > 0 {
            payload(list, NETWORK, offset, &value);
            mask(list, value.len(), peer.bits());
            compare(list, EQUAL, &value);
        }
    }
    if let Some(protocol) = pick.protocol {
        meta(list, META_L4PROTO);
        compare(list, EQUAL, &[protocol]);
    }
    if let Some(ports) = pick.ports {
        payload(list, TRANSPORT, 2, &[0; 2]);
        compare(list, AT_LEAST, &ports.first.to_be_bytes());
        compare(list, AT_MOST, &ports.last.to_be_bytes());
    }
}

fn to_queue(list: &mut Messages, how: Nfqueue, queue: u16) {
    // Without a reader packets pass.
    const BYPASS: u16 = 1;
    if how == Nfqueue::Native {
        expression(list, "queue", |data| {
            data.put(1, &queue.to_be_bytes()).put(2, &1u16.to_be_bytes()).put(3, &BYPASS.to_be_bytes());
        });
        return;
    }
    // struct xt_NFQ_info_v3: number, how many, flags; padded to eight.
    let info: Vec<u8> = [queue, 1, BYPASS, 0].iter().flat_map(|field| field.to_ne_bytes()).collect();
    expression(list, "target", |data| {
        data.text(1, "NFQUEUE").number(2, 3).put(3, &info);
    });
}

fn expression(list: &mut Messages, name: &str, data: impl FnOnce(&mut Messages)) {
    list.nest(1, |element| {
        element.text(1, name).nest(2, data);
    });
}

fn meta(list: &mut Messages, key: u32) {
    expression(list, "meta", |data| {
        data.number(1, REGISTER).number(2, key);
    });
}

fn payload(list: &mut Messages, base: u32, offset: u32, like: &[u8]) {
    expression(list, "payload", |data| {
        data.number(1, REGISTER).number(2, base).number(3, offset).number(4, like.len() as u32);
    });
}

fn mask(list: &mut Messages, length: usize, bits: u8) {
    let mask: Vec<u8> = (0..length)
        .map(|byte| match usize::from(bits).saturating_sub(byte * 8) {
            0 => 0,
            left @ 1..8 => !(0xff >> left),
            _ => 0xff,
        })
        .collect();
    expression(list, "bitwise", |data| {
        data.number(1, REGISTER).number(2, REGISTER).number(3, length as u32);
        data.nest(4, |value| {
            value.put(1, &mask);
        });
        data.nest(5, |value| {
            value.put(1, &vec![0; length]);
        });
    });
}

fn compare(list: &mut Messages, how: u32, value: &[u8]) {
    expression(list, "cmp", |data| {
        data.number(1, REGISTER).number(2, how).nest(3, |inside| {
            inside.put(1, value);
        });
    });
}

fn accept(list: &mut Messages) {
    expression(list, "immediate", |data| {
        data.number(1, VERDICT).nest(2, |inside| {
            inside.nest(2, |verdict| {
                verdict.number(1, ACCEPT);
            });
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_masked_by_its_length() {
        for (bits, expected) in [(1, [0x80, 0, 0, 0]), (12, [0xff, 0xf0, 0, 0]), (32, [0xff; 4])] {
            let mut list = Messages::default();
            list.begin(0, 0, 0);
            mask(&mut list, 4, bits);
            let found = list.bytes().windows(4).filter(|window| *window == expected).count();
            assert!(found >= 1, "{bits}: {:x?}", list.bytes());
        }
    }

    #[test]
    fn a_queue_always_has_its_bypass() {
        for how in [Nfqueue::Native, Nfqueue::Compat] {
            let mut list = Messages::default();
            list.begin(0, 0, 0);
            to_queue(&mut list, how, 0x1234);
            let flags: &[u8] = match how {
                // An attribute of six bytes, number 3, big end first.
                Nfqueue::Native => &[6, 0, 3, 0, 0, 1],
                _ => &[0x34, 0x12, 1, 0, 1, 0, 0, 0],
            };
            assert!(list.bytes().windows(flags.len()).any(|window| window == flags), "{:x?}", list.bytes());
        }
    }
}
