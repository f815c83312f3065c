use std::{convert::Infallible, sync::atomic::AtomicUsize, sync::atomic::Ordering};

use http::{HeaderMap, Method, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{rt::TokioIo, server::conn::auto};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::types::load::{Arrivals, Pace};

fn order(port: u16, per_second: f64) -> LoadOrder {
    LoadOrder {
        url: format!("http://127.0.0.1:{port}/cart").parse().expect("a URL"),
        method: Method::GET,
        headers: HeaderMap::new(),
        body: Bytes::new(),
        http2: false,
        pace: Pace { per_second, ramp_up: Duration::ZERO, arrivals: Arrivals::Constant },
        seed: 7,
        timeout: Duration::from_millis(500),
        max_in_flight: 1000,
        keep: Duration::from_secs(10),
    }
}

/// Sends for so long, and what came of it.
async fn sent_for(order: LoadOrder, millis: u64) -> LoadTally {
    let load = network().begin(order).expect("it begins");
    tokio::time::sleep(Duration::from_millis(millis)).await;
    load.end()
}

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    (listener, port)
}

/// Does this with every connection.
async fn server<F: Future<Output = ()> + Send + 'static>(
    with: impl Fn(TcpStream) -> F + Send + 'static,
) -> u16 {
    let (listener, port) = listener().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(with(stream));
        }
    });
    port
}

/// Answers HTTP of either version after that time, with that status; counts what is HTTP/2.
async fn http_server(delay: Duration, status: u16, http2: Arc<AtomicUsize>) -> u16 {
    server(move |stream| {
        let http2 = http2.clone();
        async move {
            let service = service_fn(move |request: Request<Incoming>| {
                if request.version() == http::Version::HTTP_2 {
                    http2.fetch_add(1, Ordering::Relaxed);
                }
                async move {
                    tokio::time::sleep(delay).await;
                    let mut response = Response::new(Full::new(Bytes::from_static(b"ok")));
                    *response.status_mut() = http::StatusCode::from_u16(status).expect("a status");
                    Ok::<_, Infallible>(response)
                }
            });
            let builder = auto::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_answered_is_counted_and_timed() {
    let http2 = Arc::new(AtomicUsize::new(0));
    let port = http_server(Duration::from_millis(20), 200, http2.clone()).await;
    let load = network().begin(order(port, 200.0)).expect("it begins");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let window = load.window(Duration::from_secs(1));
    let tally = load.end();
    assert!((250..=300).contains(&tally.sent), "200 a second for a second and a half: {tally:?}");
    assert_eq!(tally.failed(), 0, "{tally:?}");
    assert!(
        tally.sent - tally.answered <= 40 && tally.unfinished == tally.sent - tally.answered,
        "{tally:?}"
    );
    assert!(tally.p50_us.is_some_and(|p50| (20_000..200_000).contains(&p50)), "{tally:?}");
    assert!(window.ended > 50 && window.failed == 0, "{window:?}");
    assert_eq!(http2.load(Ordering::Relaxed), 0);
    let later = load.end();
    assert_eq!(later, tally, "after its end nothing counts any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_is_spoken_where_it_is_asked_for() {
    let http2 = Arc::new(AtomicUsize::new(0));
    let port = http_server(Duration::ZERO, 200, http2.clone()).await;
    let tally = sent_for(LoadOrder { http2: true, ..order(port, 100.0) }, 1000).await;
    assert!(tally.answered > 50 && tally.failed() == 0, "{tally:?}");
    assert!(http2.load(Ordering::Relaxed) as u64 >= tally.answered);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_status_is_an_answer_and_a_failure() {
    let port = http_server(Duration::ZERO, 503, Arc::default()).await;
    let tally = sent_for(order(port, 100.0), 700).await;
    assert!(tally.answered > 20 && tally.refused_by_status == tally.answered, "{tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_refuses_is_not_connected() {
    let (listener, port) = listener().await;
    drop(listener);
    let tally = sent_for(order(port, 100.0), 700).await;
    assert!(tally.not_connected > 20 && tally.answered == 0, "{tally:?}");
    assert_eq!((tally.not_connected + tally.unfinished, tally.p50_us), (tally.sent, None), "{tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_hangs_runs_out_of_time_and_arrivals_do_not_wait_for_it() {
    let port = server(|mut stream| async move {
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all).await;
    })
    .await;
    let tally = sent_for(order(port, 100.0), 1300).await;
    assert!(tally.sent > 100, "arrivals go on: {tally:?}");
    assert!(tally.timed_out > 40 && tally.answered == 0, "{tally:?}");
    let p50 = tally.p50_us.expect("time-outs have a length");
    assert!((500_000..650_000).contains(&p50), "they count as having taken their time: {p50}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_is_slow_is_slow_for_everybody_who_was_due() {
    let port = http_server(Duration::from_millis(300), 200, Arc::default()).await;
    let tally = sent_for(order(port, 50.0), 1500).await;
    assert!(tally.answered > 40 && tally.failed() == 0, "{tally:?}");
    assert!(tally.p50_us.is_some_and(|p50| (300_000..450_000).contains(&p50)), "{tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_closes_early_has_broken_off() {
    let port = server(|mut stream| async move {
        let mut some = [0; 1024];
        let _ = stream.read(&mut some).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await;
    })
    .await;
    let tally = sent_for(order(port, 100.0), 700).await;
    assert!(tally.broken > 20 && tally.answered == 0, "{tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_exceeds_max_in_flight_is_not_sent_and_counts() {
    let port = http_server(Duration::from_millis(400), 200, Arc::default()).await;
    let tally = sent_for(LoadOrder { max_in_flight: 5, ..order(port, 200.0) }, 1000).await;
    assert!(tally.overflowed > 100, "{tally:?}");
    assert!(tally.sent <= 25, "five at once, each for 0.4 s: {tally:?}");
    let due = tally.sent + tally.overflowed;
    assert!((150..=200).contains(&due), "all that was due is accounted for: {tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_its_end_nothing_more_is_sent() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    let port = server(move |stream| {
        let counter = counter.clone();
        async move {
            let service = service_fn(move |_| {
                counter.fetch_add(1, Ordering::Relaxed);
                async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())) }
            });
            let builder = auto::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        }
    })
    .await;
    let load = network().begin(order(port, 200.0)).expect("it begins");
    tokio::time::sleep(Duration::from_millis(400)).await;
    drop(load);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let then = asked.load(Ordering::Relaxed);
    assert!(then > 20);
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(asked.load(Ordering::Relaxed), then);
}

#[tokio::test]
async fn names_are_looked_up_as_this_machine_does() {
    assert!(addresses("http://127.0.0.1:80/".parse().expect("a URL")).await.is_ok());
    let nowhere = addresses("http://checkout.shop.svc/".parse().expect("a URL")).await;
    assert!(nowhere.is_err_and(|why| why.contains("checkout.shop.svc")));
}
