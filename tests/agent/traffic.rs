//! Traffic between hosts of a world.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

use crate::world::{Host, beside, inside};

/// Milliseconds within which an undisturbed round trip comes back, however busy the machine is.
pub const NORMAL: f64 = 12.0;

/// Monotonic time.
pub fn now() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Answers every datagram to this port, over both families, for as long as the test lasts.
pub fn echo(host: &Host, port: u16) {
    for address in [&host.v4, &host.v6] {
        let at = SocketAddr::new(address.parse().expect("an address"), port);
        let socket = inside(&host.namespace, move || UdpSocket::bind(at).expect("a free port"));
        thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(&buffer[..length], from);
            }
        });
    }
}

/// Takes connections on this port and drops them, for as long as the test lasts.
pub fn listen(host: &Host, port: u16) {
    let at = SocketAddr::new(host.v4.parse().expect("an address"), port);
    let listener = inside(&host.namespace, move || TcpListener::bind(at).expect("a free port"));
    thread::spawn(move || listener.incoming().for_each(drop));
}

/// Whether a connection is opened within a second.
pub fn connects(from: &Host, to: &Host, port: u16) -> bool {
    let at = SocketAddr::new(to.v4.parse().expect("an address"), port);
    inside(&from.namespace, move || TcpStream::connect_timeout(&at, Duration::from_secs(1)).is_ok())
}

/// Round trips of so many datagrams, one every so often; None for those that do not come back in a second.
pub fn round_trips(
    from: &Host,
    to: IpAddr,
    port: u16,
    (count, pause): (usize, Duration),
) -> Vec<Option<Duration>> {
    let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    beside(&from.namespace, move || {
        let socket = UdpSocket::bind((any, 0)).expect("a port");
        socket.connect((to, port)).expect("a route");
        let hearing = socket.try_clone().expect("a socket");
        let began = now();
        let heard = thread::spawn(move || hear(&hearing, count));
        let mut sent = Vec::with_capacity(count);
        for index in 0..count {
            let at = began + pause * index as u32;
            thread::sleep(at.saturating_sub(now()));
            sent.push(now());
            let _ = socket.send(&(index as u32).to_be_bytes());
        }
        let heard = heard.join().expect("it hears");
        sent.iter().zip(heard).map(|(sent, heard)| heard.map(|heard| heard.saturating_sub(*sent))).collect()
    })
    .join()
    .expect("it sends")
}

/// When each came back. Ends when none has come for a second.
fn hear(socket: &UdpSocket, count: usize) -> Vec<Option<Duration>> {
    socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a time-out");
    let (mut heard, mut buffer, mut left) = (vec![None; count], [0; 64], count);
    while left > 0 {
        match socket.recv(&mut buffer) {
            Ok(4) => {
                let index = u32::from_be_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]) as usize;
                if let Some(slot @ None) = heard.get_mut(index) {
                    *slot = Some(now());
                    left -= 1;
                }
            }
            Ok(_) => {}
            // An error of ICMP that came back.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(_) => break,
        }
    }
    heard
}

/// The median round trip of fifty datagrams in milliseconds; infinite if most are lost.
pub fn median_ms(from: &Host, to: &str, port: u16) -> f64 {
    let to = to.parse().expect("an address");
    let times = round_trips(from, to, port, (50, Duration::from_millis(2)));
    let mut millis: Vec<f64> =
        times.iter().map(|time| time.map_or(f64::INFINITY, |time| time.as_secs_f64() * 1000.0)).collect();
    millis.sort_unstable_by(f64::total_cmp);
    millis[25]
}
