//! What a network namespace has: addresses, and how large its packets may be.

use std::{io, net::IpAddr};

use super::{DUMP, Messages, Socket, attributes};

const GETLINK: u16 = 18;
const GETADDR: u16 = 22;
const IFLA_MTU: u16 = 4;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// The loopback interface is the first of every namespace.
pub const LOOPBACK: u32 = 1;

/// Every address of this thread's network namespace, but for those of its loopback interface.
pub fn addresses() -> io::Result<Vec<IpAddr>> {
    let socket = Socket::open(None)?;
    let mut request = Messages::default();
    request.begin(GETADDR, DUMP, 1).raw(&[0; 8]);
    let mut found = Vec::new();
    socket.dump(&request, |message| {
        // struct ifaddrmsg: family, length of the prefix, flags, scope, index.
        let Some((head, rest)) = message.body.split_at_checked(8) else { return };
        if head[4..8] == LOOPBACK.to_ne_bytes() {
            return;
        }
        // On a point-to-point link IFA_ADDRESS is the other end's.
        let mut local = None;
        for (kind, value) in attributes(rest) {
            if kind == IFA_LOCAL || (kind == IFA_ADDRESS && local.is_none()) {
                local = address(value);
            }
        }
        found.extend(local);
    })?;
    Ok(found)
}

/// The largest packet that every interface but the loopback takes.
pub fn mtu() -> io::Result<usize> {
    let socket = Socket::open(None)?;
    let mut request = Messages::default();
    request.begin(GETLINK, DUMP, 1).raw(&[0; 16]);
    let mut smallest = usize::from(u16::MAX);
    socket.dump(&request, |message| {
        // struct ifinfomsg: family, padding, type, index, flags, change.
        let Some((head, rest)) = message.body.split_at_checked(16) else { return };
        let up = head[8] & 1 == 1;
        if !up || head[4..8] == LOOPBACK.to_ne_bytes() {
            return;
        }
        let mtu = attributes(rest).find(|(kind, _)| *kind == IFLA_MTU);
        if let Some(mtu) = mtu.and_then(|(_, value)| value.first_chunk()) {
            smallest = smallest.min(u32::from_ne_bytes(*mtu) as usize);
        }
    })?;
    Ok(smallest)
}

fn address(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => <[u8; 4]>::try_from(value).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(value).ok().map(IpAddr::from),
        _ => None,
    }
}
