//! Round trips from the agent's own network namespace to a pod, by packets that a fault selects.
//!
//! A TCP SYN is answered by a SYN-ACK or a RST, whether somebody listens or not, and an echo request by an
//! echo. Datagrams are answered by who listens, if at all, and otherwise by errors that the kernel sends once a
//! second: nothing that shows a loss.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    net::{RecvFlags, recvfrom},
};
use socket2::{Domain, Protocol as Number, Socket, Type};

use super::{
    clock,
    packet::{ICMP, ICMPV6, TCP, checksum},
    wire::{Direction, MEASURED_AT, MEASURED_FROM, Protocol, Refusal, RefusalCode, Report},
};

/// Between two packets.
const PAUSE: Duration = Duration::from_millis(5);
const SYN: u8 = 2;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Task {
    /// The pod's address.
    pub address: IpAddr,
    /// Which packets are to match the fault.
    pub direction: Direction,
    /// What is sent.
    pub protocol: Protocol,
    /// A port of the fault.
    pub port: Option<u16>,
    /// How many.
    pub count: u32,
    /// How long to wait for the last.
    pub timeout: Duration,
}

/// Measures.
///
/// # Errors
/// It cannot be measured like this, or the socket failed.
pub fn measure(pod: String, task: &Task) -> Result<Report, Refusal> {
    if task.protocol == Protocol::Udp {
        return Err(Refusal {
            code: RefusalCode::Unsupported,
            why: "round trips over UDP show nothing: whether one is answered is up to the application"
                .to_owned(),
            remedy: "Measure the fault by a probe of the application.".to_owned(),
        });
    }
    let times = round_trips(task).map_err(|error| Refusal {
        code: RefusalCode::Failed,
        why: format!("round trips to {}: {error}", task.address),
        remedy: "The agent needs the capability NET_RAW and a route to the pod.".to_owned(),
    })?;
    let rtt_us: Vec<u64> =
        times.iter().flatten().map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)).collect();
    let lost = task.count - u32::try_from(rtt_us.len()).unwrap_or(task.count);
    Ok(Report::Measured { pod, rtt_us, lost })
}

/// How long each took; None for one that was not answered.
fn round_trips(task: &Task) -> io::Result<Vec<Option<Duration>>> {
    let source = source_towards(task.address)?;
    let socket =
        Socket::new(Domain::for_address(SocketAddr::new(task.address, 0)), Type::RAW, Some(number(task)))?;
    socket.set_nonblocking(true)?;
    let count = task.count as usize;
    let (mut sent, mut times) = (Vec::with_capacity(count), vec![None; count]);
    let (mut next, mut buffer) = (clock::now(), [0; 2048]);
    let mut over = next + task.timeout;
    while times.iter().any(Option::is_none) && clock::now() < over {
        if sent.len() < count && clock::now() >= next {
            let bytes = packet(task, source, u16::try_from(sent.len()).unwrap_or_default());
            sent.push(clock::now());
            socket.send_to(&bytes, &SocketAddr::new(task.address, 0).into())?;
            (next, over) = (next + PAUSE, clock::now() + task.timeout);
        }
        let until = if sent.len() < count { next } else { over };
        let mut one = [PollFd::new(&socket, PollFlags::IN)];
        let wait = clock::timespec(until.saturating_sub(clock::now()));
        if poll(&mut one, Some(&wait)).map_err(io::Error::from)? == 0 {
            continue;
        }
        let now = clock::now();
        let (length, from) = match recvfrom(&socket, &mut buffer, RecvFlags::DONTWAIT) {
            Ok((_, length, from)) => (length, from.and_then(|from| SocketAddr::try_from(from).ok())),
            Err(rustix::io::Errno::AGAIN) => continue,
            Err(error) => return Err(error.into()),
        };
        let from_it = from.is_some_and(|from| from.ip() == task.address);
        if let Some(index) = answered(task, &buffer[..length]).filter(|_| from_it)
            && let (Some(then), Some(time @ None)) = (sent.get(index), times.get_mut(index))
        {
            *time = Some(now.saturating_sub(*then));
        }
    }
    Ok(times)
}

/// The address from which the agent reaches another.
fn source_towards(address: IpAddr) -> io::Result<IpAddr> {
    let any: IpAddr = if address.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let socket = UdpSocket::bind((any, 0))?;
    // Sends nothing: a datagram socket that is connected knows its own address.
    socket.connect((address, 9))?;
    Ok(socket.local_addr()?.ip())
}

fn number(task: &Task) -> Number {
    Number::from(i32::from(match (task.protocol, task.address) {
        (Protocol::Icmp, IpAddr::V4(_)) => ICMP,
        (Protocol::Icmp, IpAddr::V6(_)) => ICMPV6,
        _ => TCP,
    }))
}

/// The packet with this index, from its transport header on.
fn packet(task: &Task, source: IpAddr, index: u16) -> Vec<u8> {
    if task.protocol == Protocol::Icmp {
        let kind = if task.address.is_ipv4() { 8 } else { 128 };
        let mut bytes = vec![kind, 0, 0, 0];
        bytes.extend([MEASURED_FROM.to_be_bytes(), index.to_be_bytes()].concat());
        return summed(bytes, 2, task, source, ICMPV6);
    }
    let (port, telling) = (task.port.unwrap_or(MEASURED_AT), MEASURED_FROM + index);
    let (from, to) = match task.direction {
        Direction::Egress => (port, telling),
        Direction::Ingress => (telling, port),
    };
    let mut bytes = [from.to_be_bytes(), to.to_be_bytes()].concat();
    // Sequence, acknowledgement; header length, flags, window; checksum, urgent pointer.
    bytes.extend(u32::from(index).to_be_bytes());
    bytes.extend([0, 0, 0, 0, 5 << 4, SYN, 0x20, 0, 0, 0, 0, 0]);
    summed(bytes, 16, task, source, TCP)
}

/// With its checksum at this place. ICMP for IPv4 has no pseudo-header.
fn summed(mut bytes: Vec<u8>, at: usize, task: &Task, source: IpAddr, protocol: u8) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or_default().to_be_bytes();
    let sum = match (source, task.address) {
        (IpAddr::V4(_), _) if task.protocol == Protocol::Icmp => checksum(&[&bytes]),
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            checksum(&[&from.octets(), &to.octets(), &[0, protocol], &length, &bytes])
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            checksum(&[&from.octets(), &to.octets(), &[0, protocol], &length, &bytes])
        }
        _ => 0,
    };
    bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// Which packet this is the answer to. A raw socket for IPv4 hears the IP header as well.
fn answered(task: &Task, bytes: &[u8]) -> Option<usize> {
    let skipped = if task.address.is_ipv4() { usize::from(bytes.first()? & 15) * 4 } else { 0 };
    let bytes = bytes.get(skipped..)?;
    let field = |at: usize| bytes.get(at..at + 2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    if task.protocol == Protocol::Icmp {
        let reply = if task.address.is_ipv4() { 0 } else { 129 };
        return (*bytes.first()? == reply && field(4)? == MEASURED_FROM).then_some(usize::from(field(6)?));
    }
    let port = task.port.unwrap_or(MEASURED_AT);
    let (telling, fixed) = match task.direction {
        Direction::Egress => (field(0)?, field(2)?),
        Direction::Ingress => (field(2)?, field(0)?),
    };
    (fixed == port).then(|| telling.checked_sub(MEASURED_FROM).map(usize::from)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(address: &str, direction: Direction, protocol: Protocol) -> Task {
        let address = address.parse().expect("an address");
        let timeout = Duration::from_secs(1);
        Task { address, direction, protocol, port: Some(5432), count: 3, timeout }
    }

    #[test]
    fn a_packet_and_its_answer_find_each_other() {
        for direction in [Direction::Egress, Direction::Ingress] {
            let task = task("fd00::2", direction, Protocol::Tcp);
            let mut sent = packet(&task, "fd00::1".parse().expect("an address"), 7);
            let destination = u16::from_be_bytes([sent[2], sent[3]]);
            assert_eq!(destination == 5432, direction == Direction::Ingress);
            // The answer comes back the other way round.
            sent[..4].rotate_left(2);
            assert_eq!(answered(&task, &sent), Some(7));
            sent[0] ^= 1;
            sent[2] ^= 1;
            assert_ne!(answered(&task, &sent), Some(7));
        }
    }

    #[test]
    fn checksums_fit_with_what_they_cover() {
        let source = "10.0.0.1".parse().expect("an address");
        let sent = packet(&task("10.0.0.2", Direction::Ingress, Protocol::Icmp), source, 3);
        assert_eq!(checksum(&[&sent]), 0);
        let sent = packet(&task("10.0.0.2", Direction::Ingress, Protocol::Tcp), source, 3);
        assert_eq!(checksum(&[&[10, 0, 0, 1, 10, 0, 0, 2, 0, 6, 0, 20], &sent]), 0);
    }

    #[test]
    fn what_cannot_be_measured_is_said() {
        let refusal = measure(String::new(), &task("10.0.0.2", Direction::Ingress, Protocol::Udp));
        assert_eq!(refusal.expect_err("nothing").code, RefusalCode::Unsupported);
    }
}
