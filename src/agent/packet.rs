//! What has to be known of an IP packet, and no more.

use std::net::IpAddr;

/// Protocol numbers.
pub const ICMP: u8 = 1;
/// TCP.
pub const TCP: u8 = 6;
/// UDP.
pub const UDP: u8 = 17;
/// ICMP for IPv6.
pub const ICMPV6: u8 = 58;
const SCTP: u8 = 132;

/// A packet's addresses, protocol and destination port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Whence.
    pub source: IpAddr,
    /// Whither.
    pub destination: IpAddr,
    /// The number of its transport protocol.
    pub protocol: u8,
    /// The destination port, where the protocol has ports and this is the first fragment.
    pub port: Option<u16>,
    /// What IPv6 needs to find out who is on its link.
    pub discovery: bool,
}

impl Packet {
    /// Reads the headers; None for what is no IP packet.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        match bytes.first()? >> 4 {
            4 => Self::v4(bytes),
            6 => Self::v6(bytes),
            _ => None,
        }
    }

    fn v4(bytes: &[u8]) -> Option<Self> {
        let header = bytes.get(..20)?;
        let length = usize::from(header[0] & 15) * 4;
        let transport = bytes.get(length.max(20)..)?;
        let later = u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0;
        let protocol = header[9];
        Some(Self {
            source: four(&header[12..16])?,
            destination: four(&header[16..20])?,
            protocol,
            port: if later { None } else { port(protocol, transport) },
            discovery: false,
        })
    }

    fn v6(bytes: &[u8]) -> Option<Self> {
        let header = bytes.get(..40)?;
        let (mut protocol, mut rest, mut later) = (header[6], &bytes[40..], false);
        // Hop-by-hop, routing and destination options; a fragment header; authentication (RFC 8200, 4302).
        while let (0 | 43 | 44 | 51 | 60, Some(extension)) = (protocol, rest.get(..8)) {
            let length = match protocol {
                44 => 8,
                51 => (usize::from(extension[1]) + 2) * 4,
                _ => (usize::from(extension[1]) + 1) * 8,
            };
            later |= protocol == 44 && u16::from_be_bytes([extension[2], extension[3]]) & !7 != 0;
            protocol = extension[0];
            rest = rest.get(length..).unwrap_or_default();
        }
        // Multicast listeners (130 to 132, 143), routers, neighbours and redirects (133 to 137).
        let discovery =
            protocol == ICMPV6 && !later && rest.first().is_some_and(|kind| matches!(kind, 130..=137 | 143));
        Some(Self {
            source: sixteen(&header[8..24])?,
            destination: sixteen(&header[24..40])?,
            protocol,
            port: if later { None } else { port(protocol, rest) },
            discovery,
        })
    }
}

fn port(protocol: u8, transport: &[u8]) -> Option<u16> {
    let ports = transport.get(..4).filter(|_| matches!(protocol, TCP | UDP | SCTP))?;
    Some(u16::from_be_bytes([ports[2], ports[3]]))
}

fn four(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from)
}

fn sixteen(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

/// The Internet checksum of some pieces, each but the last of an even length (RFC 1071).
pub fn checksum(pieces: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for piece in pieces {
        for pair in piece.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
pub mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A packet with these addresses, protocol and ports.
    pub fn packet(source: &str, destination: &str, protocol: u8, port: u16) -> Vec<u8> {
        let (source, destination): (IpAddr, IpAddr) =
            (source.parse().expect("an address"), destination.parse().expect("an address"));
        let mut bytes = match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut bytes = vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, protocol, 0, 0];
                bytes.extend(source.octets());
                bytes.extend(destination.octets());
                bytes
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let mut bytes = vec![0x60, 0, 0, 0, 0, 20, protocol, 64];
                bytes.extend(source.octets());
                bytes.extend(destination.octets());
                bytes
            }
            _ => panic!("two families"),
        };
        bytes.extend([0x9c, 0x40]);
        bytes.extend(port.to_be_bytes());
        bytes.extend([0; 16]);
        bytes
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..120), six: bool) {
            if let Some(first) = bytes.first_mut() {
                *first = if six { 0x60 } else { 0x40 | *first & 15 };
            }
            let _ = Packet::read(&bytes);
        }
    }

    #[test]
    fn headers_are_read() {
        for (source, destination) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
            let read = Packet::read(&packet(source, destination, TCP, 5432)).expect("a packet");
            assert_eq!(read.source.to_string(), source);
            assert_eq!(read.destination.to_string(), destination);
            assert_eq!((read.protocol, read.port, read.discovery), (TCP, Some(5432), false));
        }
        let icmp = Packet::read(&packet("10.0.0.1", "10.0.0.2", ICMP, 1)).expect("a packet");
        assert_eq!(icmp.port, None);
    }

    #[test]
    fn a_later_fragment_has_no_port() {
        let mut bytes = packet("10.0.0.1", "10.0.0.2", UDP, 53);
        (bytes[6], bytes[7]) = (0, 185);
        assert_eq!(Packet::read(&bytes).expect("a packet").port, None);
        // IPv6: the fragment header says it; the first fragment still has its port.
        let plain = packet("fd00::1", "fd00::2", UDP, 53);
        for (offset, port) in [(0u16, Some(53)), (8, None)] {
            let mut bytes = plain[..40].to_vec();
            bytes[6] = 44;
            bytes.extend([UDP, 0]);
            bytes.extend((offset | 1).to_be_bytes());
            bytes.extend([0; 4]);
            bytes.extend(&plain[40..]);
            let read = Packet::read(&bytes).expect("a packet");
            assert_eq!((read.protocol, read.port), (UDP, port));
        }
    }

    #[test]
    fn neighbours_are_told_from_pings() {
        for (kind, discovery) in
            [(128, false), (129, false), (133, true), (135, true), (136, true), (143, true)]
        {
            let mut bytes = packet("fd00::1", "fd00::2", ICMPV6, 0);
            bytes[40] = kind;
            assert_eq!(Packet::read(&bytes).expect("a packet").discovery, discovery, "{kind}");
        }
    }

    #[test]
    fn checksums_are_the_internet_s() {
        // The example of RFC 1071, section 3, complemented.
        assert_eq!(checksum(&[&[0x00, 0x01, 0xf2, 0x03], &[0xf4, 0xf5, 0xf6, 0xf7]]), !0xddf2);
        assert_eq!(checksum(&[&[0xff]]), 0x00ff);
    }
}
