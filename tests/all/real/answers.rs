//! What the API server answers to the calls that firedrill makes: the embedded one as the real one.
//!
//! `answers.txt` is what the real one said; with the servers of tests/real it is held against them again.

use std::fmt::Write as _;

use kube::Client;
use serde_json::Value;

use super::calls::{NS, calls};
use crate::{
    kit::{Stage, in_virtual_time, manifests},
    scenarios::{
        bench::{Real, settled},
        blocking,
        row::{Row, row},
        rows::answering,
    },
};

/// Every answer on a line: name, status, reason, message.
async fn answers(client: &Client, place: &Row) -> Result<String, String> {
    settled(client, place).await?;
    let pods = crate::scenarios::state::api(client, ("", "v1", "Pod"), NS);
    let of_web = kube::api::ListParams::default().labels("app=web");
    let listed = pods.list(&of_web).await.map_err(|error| error.to_string())?;
    let pod = &listed.items.first().ok_or("web has no pods")?.metadata;
    let (name, uid) = (pod.name.clone().unwrap_or_default(), pod.uid.clone().unwrap_or_default());
    let mut text = String::new();
    for (what, method, path, kind, body) in calls() {
        let filled = |text: &str| text.replace("$POD", &name).replace("$UID", &uid);
        let body = match body {
            Value::Null => Vec::new(),
            Value::String(text) => text.into_bytes(),
            body => filled(&body.to_string()).into_bytes(),
        };
        let request = http::Request::builder().method(method).uri(filled(&path)).header("content-type", kind);
        let request = request.body(kube::client::Body::from(body)).map_err(|error| error.to_string())?;
        let response = client.send(request).await.map_err(|error| format!("{what}: {error}"))?;
        let status = response.status().as_u16();
        let bytes = http_body_util::BodyExt::collect(response.into_body()).await;
        let bytes = bytes.map_err(|error| format!("{what}: {error}"))?.to_bytes();
        let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let failed = answer["kind"] == "Status" && answer["status"] == "Failure";
        let word = |field: &str| if failed { answer[field].as_str().unwrap_or_default() } else { "" };
        let message = word("message").replace(&name, "$POD").replace(&uid, "$UID");
        let message = without_object(&message);
        let message = message.split_whitespace().map(without_number).collect::<Vec<_>>().join(" ");
        let _ = writeln!(text, "{what} | {status} | {} | {message}", word("reason"));
    }
    Ok(text)
}

fn place() -> Row {
    row(NS).objects(&answering().iter().map(String::as_str).collect::<Vec<_>>())
}

/// A word, unless it is a UID or a version in brackets, which are others each time.
fn without_number(word: &str) -> &str {
    let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let uid = bare.len() == 36 && bare.matches('-').count() == 4 && !bare.starts_with("00000000-");
    let version = word.starts_with('(') && bare.len() > 1 && bare.bytes().all(|byte| byte.is_ascii_digit());
    match (uid, version) {
        (true, _) => "UID",
        (_, true) => "VERSION",
        _ => word,
    }
}

/// A message that quotes a whole object, without that.
fn without_object(message: &str) -> String {
    match (message.split_once("\"{\\\""), message.rsplit_once("}\": ")) {
        (Some((before, _)), Some((_, after))) => format!("{before}OBJECT: {after}"),
        _ => message.to_owned(),
    }
}

/// Lines that differ.
fn difference(found: &str, golden: &str) -> String {
    let pairs = found.lines().zip(golden.lines()).filter(|(found, golden)| found != golden);
    pairs.fold(String::new(), |text, (found, golden)| format!("{text}\nreal:  {golden}\nfound: {found}"))
}

#[test]
fn the_embedded_server_answers_as_the_real_one() {
    let golden = include_str!("answers.txt");
    let place = place();
    let found = in_virtual_time(async {
        let stage = Stage::new(&manifests(&place.fill(&place.objects)), 7).await;
        answers(&stage.cluster.sim().client(), &place).await.expect("the server is asked")
    });
    assert_eq!(found.lines().count(), golden.lines().count());
    assert_eq!(difference(&found, golden), "");
}

#[test]
fn the_real_server_answers_as_written_down() {
    let Some(real) = Real::from_env("the answers of the API server").filter(|real| !real.has_metrics())
    else {
        return;
    };
    let place = place();
    let found = blocking(async {
        let found = match real.place(&place).await {
            Ok(at) => answers(&at.client, &place).await,
            Err(error) => Err(error),
        };
        // Also of one that failed: nodes that stay are room for the rows that want none.
        real.clear(&place).await;
        found.expect("the server is asked")
    });
    if let Some(file) = std::env::var_os("FIREDRILL_BENCH_ANSWERS") {
        std::fs::write(file, &found).expect("the answers can be written");
        return;
    }
    assert_eq!(difference(&found, include_str!("answers.txt")), "");
}
