//! Packets that were copied and dropped, sent again by raw sockets with a mark.
//!
//! A packet that is held on the sender's output hook counts as not yet sent, and TCP waits for it: bulk
//! transfers starve. One that was dropped there is not missed, as its copy arrives.

use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6},
};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{
    netlink::{links, rules::MARK},
    packet::Packet,
};

/// Raw sockets of this thread's network namespace.
#[derive(Debug)]
pub struct Resend {
    four: Socket,
    /// None where IPv6 is switched off.
    six: Option<Socket>,
    largest: usize,
}

impl Resend {
    /// Opens them.
    pub fn open() -> io::Result<Self> {
        let six = raw(Domain::IPV6).ok();
        Ok(Self { four: raw(Domain::IPV4)?, six, largest: links::mtu()? })
    }

    /// Whether a packet can be sent again: what is larger than the link is only cut up further down, and has
    /// to be held instead.
    pub fn takes(&self, packet: &Packet, bytes: &[u8]) -> bool {
        bytes.len() <= self.largest && (packet.source.is_ipv4() || self.six.is_some())
    }

    /// Sends a packet, header and all, on this interface if it is for the link only.
    pub fn send(&self, bytes: &[u8], to: IpAddr, interface: u32) -> io::Result<()> {
        let socket = match to {
            IpAddr::V4(_) => &self.four,
            IpAddr::V6(_) => self.six.as_ref().ok_or(io::ErrorKind::Unsupported)?,
        };
        socket.send_to(bytes, &address(to, interface))?;
        Ok(())
    }
}

fn raw(domain: Domain) -> io::Result<Socket> {
    // IPPROTO_RAW: the header is in what is sent.
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(255)))?;
    socket.set_mark(MARK)?;
    socket.set_nonblocking(true)?;
    socket.set_send_buffer_size(4 << 20)?;
    Ok(socket)
}

fn address(to: IpAddr, interface: u32) -> SockAddr {
    let local = |six: Ipv6Addr| six.is_unicast_link_local() || six.is_multicast();
    match to {
        IpAddr::V6(six) if local(six) => SocketAddr::V6(SocketAddrV6::new(six, 0, 0, interface)).into(),
        other => SocketAddr::new(other, 0).into(),
    }
}
