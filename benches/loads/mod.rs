//! Loads: how exactly they keep their time, what they say of a stall, what an hour of one costs a rehearsal.

use std::{
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use firedrill::{
    env::{LoadOrder, LoadWire},
    load,
    sim::{SimConfig, cluster::Cluster},
    types::load::{Arrivals, LoadTally, Pace},
};
use http::{HeaderMap, Method};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::figures::{Table, quantile};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// All figures of loads.
pub fn all(table: &mut Table) -> crate::Outcome {
    pacing(table)?;
    stall(table)?;
    rehearsed(table)
}

fn order(url: &str, per_second: f64) -> crate::Outcome<LoadOrder> {
    Ok(LoadOrder {
        url: url.parse()?,
        method: Method::GET,
        headers: HeaderMap::new(),
        body: Bytes::new(),
        http2: false,
        pace: Pace { per_second, ramp_up: Duration::ZERO, arrivals: Arrivals::Constant },
        seed: 7,
        timeout: Duration::from_secs(5),
        max_in_flight: 1000,
        keep: Duration::from_secs(10),
    })
}

/// A server on a thread and port of its own that is told of every request and may wait before it answers.
fn server<F: Future<Output = ()> + Send + 'static>(
    before_answer: impl Fn() -> F + Clone + Send + Sync + 'static,
) -> crate::Outcome<String> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let url = format!("http://{}/", listener.local_addr()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let Ok(listener) = TcpListener::from_std(listener) else { return };
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, before_answer.clone()));
            }
        });
    });
    Ok(url)
}

/// Requests without a body come whole on loopback, one at a time on each connection.
async fn serve<F: Future<Output = ()>>(mut stream: TcpStream, before_answer: impl Fn() -> F) {
    let _ = stream.set_nodelay(true);
    let mut request = [0; 1024];
    while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
        before_answer().await;
        if stream.write_all(ANSWER).await.is_err() {
            return;
        }
    }
}

fn sent_for(order: LoadOrder, seconds: u64) -> crate::Outcome<LoadTally> {
    let load = load::network().begin(order)?;
    std::thread::sleep(Duration::from_secs(seconds));
    Ok(load.end())
}

/// How late requests leave at 10,000 a second, by the load itself and by the server that they reach.
fn pacing(table: &mut Table) -> crate::Outcome {
    const PER_SECOND: f64 = 10_000.0;
    let seen: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let all = seen.clone();
    let url = server(move || {
        if let Ok(mut all) = all.lock() {
            all.push(Instant::now());
        }
        async {}
    })?;
    // The first connections are opened beforehand.
    sent_for(order(&url, 1_000.0)?, 1)?;
    std::thread::sleep(Duration::from_millis(300));
    seen.lock().map_err(|_| "poisoned")?.clear();
    let tally = sent_for(order(&url, PER_SECOND)?, 5)?;
    let late = tally.sent_late_p99_us.unwrap_or(u64::MAX);
    table.at_most("load at 10,000 requests/s: sent late, p99", late as f64 / 1_000.0, (1.0, "ms"));
    // Where the server stands on the schedule is not known but for the request that came with the least delay.
    let arrivals = seen.lock().map_err(|_| "poisoned")?.clone();
    let first = *arrivals.first().ok_or("nothing arrived")?;
    let off = |(number, at): (usize, &Instant)| {
        at.duration_since(first).as_secs_f64() * 1_000.0 - number as f64 * 1_000.0 / PER_SECOND
    };
    let off: Vec<f64> = arrivals.iter().enumerate().map(off).collect();
    let least = off.iter().copied().fold(f64::INFINITY, f64::min);
    let late: Vec<f64> = off.iter().map(|off| off - least).collect();
    table.note("the same, as the server saw them arrive, p99", quantile(&late, 0.99), "ms");
    let share = tally.answered as f64 / (tally.sent + tally.overflowed).max(1) as f64;
    table.note(format!("the same: answered of {}", tally.sent + tally.overflowed), share * 100.0, "%");
    table.note("the same: latency, p99", tally.p99_us.unwrap_or_default() as f64 / 1_000.0, "ms");
    Ok(())
}

/// A server that answers nothing for a second, four seconds after its first request.
fn stalling() -> crate::Outcome<String> {
    let begun: Arc<Mutex<Option<tokio::time::Instant>>> = Arc::default();
    server(move || {
        let now = tokio::time::Instant::now();
        let first = begun.lock().map_or(now, |mut first| *first.get_or_insert(now));
        let (from, until) = (first + Duration::from_secs(4), first + Duration::from_secs(5));
        let stalled = now >= from && now < until;
        async move {
            if stalled {
                tokio::time::sleep_until(until).await;
            }
        }
    })
}

/// A server that answers nothing for a second, in ten. Of evenly spaced requests those of that second wait for what is
/// left of it, so that the longest waits are spread evenly from a second down: what share `q` of all exceeds is a
/// second less `q` of the ten.
fn stall(table: &mut Table) -> crate::Outcome {
    const LASTS: f64 = 10.0;
    let url = stalling()?;
    let tally = sent_for(order(&url, 200.0)?, LASTS as u64)?;
    for (name, reported, share) in [("p99.9", tally.p999_us, 0.001), ("p99", tally.p99_us, 0.01)] {
        let truth = 1.0 - share * LASTS;
        let off = (reported.unwrap_or_default() as f64 / 1e6 / truth - 1.0).abs() * 100.0;
        table.at_most(
            format!("a server that stalls for 1 s: reported {name} off the true one"),
            off,
            (5.0, "%"),
        );
    }
    // What others say of the same stall in the same run, where they are installed.
    let truth = 1.0 - 0.001 * LASTS;
    for (name, others) in [("oha", oha as fn(&str) -> crate::Outcome<Option<f64>>), ("wrk", wrk)] {
        match others(&stalling()?)? {
            Some(reported) => {
                let off = (reported / truth - 1.0).abs() * 100.0;
                table.note(format!("the same, as {name} reports p99.9: off the true one"), off, "%");
            }
            None => println!("{name} is not installed: what it says of the same stall is not shown"),
        }
    }
    Ok(())
}

/// What a command prints; None if there is no such command.
fn said_by(command: &mut Command) -> crate::Outcome<Option<String>> {
    match command.output() {
        Ok(output) if output.status.success() => {
            Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()))
        }
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned().into()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// p99.9 in seconds as oha (`cargo install oha`) has it at the same rate, told to count from when requests were due.
fn oha(url: &str) -> crate::Outcome<Option<f64>> {
    let flags = [
        "-z",
        "10s",
        "-q",
        "200",
        "-c",
        "300",
        "--latency-correction",
        "--no-tui",
        "--output-format",
        "json",
    ];
    let Some(said) = said_by(Command::new("oha").args(flags).arg(url))? else { return Ok(None) };
    let said: serde_json::Value = serde_json::from_str(&said)?;
    Ok(Some(said["latencyPercentiles"]["p99.9"].as_f64().ok_or("oha says no p99.9")?))
}

/// The same as wrk has it, which sends as fast as it is answered: whoever waits asks nothing meanwhile.
fn wrk(url: &str) -> crate::Outcome<Option<f64>> {
    let script = std::env::temp_dir().join(format!("firedrill-bench-{}.lua", std::process::id()));
    std::fs::write(
        &script,
        "done = function(summary, latency, requests) io.write('p999 ', latency:percentile(99.9), '\\n') end\n",
    )?;
    let said = said_by(Command::new("wrk").args(["-t1", "-c20", "-d10s", "-s"]).arg(&script).arg(url));
    std::fs::remove_file(&script)?;
    let Some(said) = said? else { return Ok(None) };
    let micros = said.lines().find_map(|line| line.strip_prefix("p999 ")?.trim().parse::<f64>().ok());
    Ok(Some(micros.ok_or("wrk says no p99.9")? / 1e6))
}

/// An hour of 200 requests a second on the embedded cluster, measured every five seconds, beside the same hour without.
fn rehearsed(table: &mut Table) -> crate::Outcome {
    let hour = |with_load: bool| -> crate::Outcome<f64> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
        runtime.block_on(async {
            let cluster =
                Cluster::start(&SimConfig::default(), &crate::manifests(10, 5)).map_err(|s| s.message)?;
            cluster.settle(Duration::from_secs(600)).await.map_err(|waiting| waiting.join(", "))?;
            let wire: LoadWire = load::embedded(cluster.metrics());
            let start = Instant::now();
            let load = match with_load {
                true => Some(wire.begin(order("http://app-01.shop.svc/", 200.0)?)?),
                false => None,
            };
            for _ in 0..720 {
                tokio::time::sleep(Duration::from_secs(5)).await;
                if let Some(load) = &load {
                    std::hint::black_box(load.window(Duration::from_secs(5)));
                }
            }
            if let Some(tally) = load.map(|load| load.end())
                && tally.sent < 720_000
            {
                return Err(format!("{tally:?}").into());
            }
            Ok(start.elapsed().as_secs_f64())
        })
    };
    let (without, with) = (hour(false)?, hour(true)?);
    table.at_most("an hour of 200 requests/s in a rehearsal, more than without", with - without, (0.5, "s"));
    Ok(())
}
