//! `grpc`: the health check of gRPC (its repository, doc/health-checking.md).
//!
//! Two messages of one field each are written and read here by hand (protobuf docs, "Encoding").

use std::{collections::BTreeMap, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use futures::future::BoxFuture;
use http::{Request, Response, header, uri::Authority};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Measure, NoAnswer, Probe, ProbeInfo, Reading, Variable, VariableType,
    service::{ClusterService, Silence, address, parsed},
    source::{Credentials, TlsSettings},
    unfit,
};
use crate::{
    env::{Http2, Tls},
    types::{FieldSchema, Finding, Length},
};

/// The method that is called (grpc/health/v1/health.proto).
const CHECK: &str = "/grpc.health.v1.Health/Check";
/// `SERVING` of `HealthCheckResponse.ServingStatus`.
const SERVING: u64 = 1;
/// Codes of gRPC (its repository, doc/statuscodes.md).
const OK: u32 = 0;
const NOT_FOUND: u32 = 5;
const UNIMPLEMENTED: u32 = 12;
const UNAUTHENTICATED: u32 = 16;
const PERMISSION_DENIED: u32 = 7;
/// An answer of one small message has no business being longer.
const BODY_MAX: usize = 64 << 10;

/// See [`INFO`].
pub struct Grpc;

/// A gRPC health check.
pub static INFO: ProbeInfo = ProbeInfo {
    name: "grpc",
    summary: "The gRPC health check.",
    example: "name: orders-serve\ngrpc: {address: \"orders.example.com:9000\", service: shop.Orders}\nexpect: serving && latency <= 0.2\n",
    fields: &[
        FieldSchema {
            name: "address",
            description: "HOST:PORT. A Service's name, such as NAME.NAMESPACE.svc:9000, has to mean something where firedrill runs: the API server's proxy passes no gRPC. It does in the cluster, and in a rehearsal.",
            required: true,
            default: None,
            schema: "text",
        },
        FieldSchema {
            name: "service",
            description: "Service asked for; empty: the whole server.",
            required: false,
            default: Some("\"\""),
            schema: "text",
        },
        FieldSchema {
            name: "tls",
            description: "TLS settings; {} for the system's authorities. Default: no TLS.",
            required: false,
            default: None,
            schema: "tls",
        },
    ],
    variables: &[
        Variable {
            name: "serving",
            kind: VariableType::Bool,
            description: "Whether it serves. No answer is outside, unless the expression asks for it: !serving.",
        },
        Variable {
            name: "latency",
            kind: VariableType::Double,
            description: "Seconds until the answer was read, connecting included; absent without an answer.",
        },
    ],
    default_value: Some("latency"),
};

impl Probe for Grpc {
    fn info(&self) -> &'static ProbeInfo {
        &INFO
    }

    fn lint(&self, params: &Value) -> Vec<Finding> {
        match address(params) {
            // A parameter without a value is not filled in yet.
            Some(address) if !address.contains("$(") && parsed(address).is_none() => {
                vec![unfit("grpc", "the address is not HOST:PORT", "write it as orders.example.com:9000")]
            }
            _ => Vec::new(),
        }
    }

    fn measure<'a>(&'a self, measure: &'a Measure, params: &'a Value) -> BoxFuture<'a, Reading> {
        Box::pin(async move {
            let Some((authority, port)) = address(params).and_then(parsed) else {
                return Reading::Missing("the address is not HOST:PORT".to_owned());
            };
            let tls = match tls(measure, params).await {
                Ok(tls) => tls,
                Err(why) => return Reading::Missing(why),
            };
            let service = params.get("service").and_then(Value::as_str).unwrap_or_default();
            let begun = Instant::now();
            let answer = match asked(measure, (&authority, port), service, tls).await {
                Ok(answer) => status(&answer),
                Err(silence) => Err(silence),
            };
            match answer {
                Ok(serving) => measured(serving, begun.elapsed()),
                Err(Silence::NoAnswer(why)) => no_answer(why),
                Err(Silence::NotAsked(why)) => Reading::Missing(why),
            }
        })
    }

    fn overdue(&self, within: Length) -> Reading {
        no_answer(format!("no answer within {within}"))
    }
}

/// The TLS settings, read; None: no TLS.
async fn tls(measure: &Measure, params: &Value) -> Result<Option<Tls>, String> {
    let Some(settings) = params.get("tls").filter(|settings| !settings.is_null()) else { return Ok(None) };
    let settings: TlsSettings =
        serde_json::from_value(settings.clone()).map_err(|error| format!("tls: {error}"))?;
    let named = (None, Some(&settings));
    let credentials = Credentials::read(&measure.access, &measure.namespace, named).await;
    credentials.map(|credentials| Some(credentials.tls)).map_err(|error| error.to_string())
}

/// Asks directly; where a Service's name means nothing, the API server's proxy says whether anybody is there.
async fn asked(
    measure: &Measure,
    (authority, port): (&Authority, u16),
    service: &str,
    tls: Option<Tls>,
) -> Result<Response<Bytes>, Silence> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let mut request = Request::post(format!("{scheme}://{authority}{CHECK}"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(question(service))
        .map_err(|error| Silence::NotAsked(error.to_string()))?;
    request.extensions_mut().insert(tls.unwrap_or_default());
    request.extensions_mut().insert(Http2);
    let inside = ClusterService::of_host(authority.host(), port, scheme);
    let again = inside.as_ref().map(|_| request.clone());
    let direct = measure.http.send(request).await.map_err(Silence::from);
    match (direct, inside, again) {
        (Err(Silence::NoAnswer(_)), Some(inside), Some(request)) => {
            through_proxy(measure, &inside, request).await
        }
        (direct, ..) => direct,
    }
}

/// The proxy speaks HTTP/1.1 to what is behind it (k8s.io/apimachinery, pkg/util/proxy), so only that nobody is there
/// comes through; and the embedded cluster, whose proxy is less particular.
async fn through_proxy(
    measure: &Measure,
    service: &ClusterService,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, Silence> {
    let not_passed = || {
        let words = "the API server's proxy passes no gRPC: give an address that is reached from here";
        Silence::NotAsked(words.to_owned())
    };
    match service.ask(&measure.access, request, BODY_MAX).await {
        Ok(answer) if grpc_status(&answer).is_some() => Ok(answer),
        Ok(_) => Err(not_passed()),
        Err(Silence::NoAnswer(why)) if why.contains("malformed HTTP") => Err(not_passed()),
        Err(silence) => Err(silence),
    }
}

/// `HealthCheckRequest { string service = 1; }` in a frame: not compressed, length, message (gRPC's
/// doc/PROTOCOL-HTTP2.md).
fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(1 << 3 | 2);
        let mut length = service.len();
        while length >= 0x80 {
            message.put_u8((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        message.put_u8(length as u8);
        message.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.extend_from_slice(&message);
    frame.freeze()
}

fn grpc_status(answer: &Response<Bytes>) -> Option<u32> {
    answer.headers().get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// Whether it serves.
fn status(answer: &Response<Bytes>) -> Result<bool, Silence> {
    let words =
        answer.headers().get("grpc-message").and_then(|words| words.to_str().ok()).unwrap_or_default();
    match grpc_status(answer) {
        Some(OK) => match serving(answer.body()) {
            Some(serving) => Ok(serving == SERVING),
            None => Err(Silence::NoAnswer("an answer that cannot be read".to_owned())),
        },
        // It answers, and knows no such service.
        Some(NOT_FOUND) => Ok(false),
        Some(UNIMPLEMENTED) => {
            Err(Silence::NotAsked("the server has no health check (grpc.health.v1)".to_owned()))
        }
        Some(code @ (UNAUTHENTICATED | PERMISSION_DENIED)) => {
            Err(Silence::NotAsked(format!("the server refuses to say: gRPC status {code} {words}")))
        }
        Some(code) => Err(Silence::NoAnswer(format!("gRPC status {code} {words}"))),
        None => Err(Silence::NoAnswer(format!("HTTP {}: no answer of gRPC", answer.status().as_u16()))),
    }
}

/// `HealthCheckResponse { ServingStatus status = 1; }` from its frame: 0 where the field is not there. None: it is
/// no such message.
fn serving(frame: &[u8]) -> Option<u64> {
    let (&compressed, rest) = frame.split_first()?;
    let (length, message) = rest.split_first_chunk::<4>()?;
    let mut rest = message.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    if compressed != 0 {
        return None;
    }
    let mut status = 0;
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        match key & 7 {
            0 => {
                let value = varint(&mut rest)?;
                if key >> 3 == 1 {
                    status = value;
                }
            }
            1 => rest = rest.get(8..)?,
            2 => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                rest = rest.get(length..)?;
            }
            5 => rest = rest.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn measured(serving: bool, latency: Duration) -> Reading {
    Reading::Measured(BTreeMap::from([
        ("serving", json!(serving)),
        ("latency", json!(latency.as_secs_f64())),
    ]))
}

fn no_answer(why: String) -> Reading {
    let variables = |serving: bool| BTreeMap::from([("serving", json!(serving))]);
    Reading::NoAnswer(NoAnswer { why, told: variables(false), untold: variables(true) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: &str, body: &'static [u8]) -> Response<Bytes> {
        let answer = Response::builder().header("grpc-status", code).body(Bytes::from_static(body));
        answer.expect("an answer")
    }

    #[test]
    fn messages_are_as_protobuf_has_them() {
        assert_eq!(&question("")[..], b"\0\0\0\0\0");
        assert_eq!(&question("a.B")[..], b"\0\0\0\0\x05\x0a\x03a.B");
        assert_eq!(question(&"x".repeat(200)).len(), 5 + 1 + 2 + 200);
        assert_eq!(serving(b"\0\0\0\0\x02\x08\x01"), Some(1));
        assert_eq!(serving(b"\0\0\0\0\0"), Some(0), "the default is not sent");
        assert_eq!(serving(b"\0\0\0\0\x06\x12\x02hi\x08\x02"), Some(2), "an unknown field is passed over");
        for broken in [
            &b""[..],
            b"\0\0\0",
            b"\0\0\0\0\x02\x08",
            b"\x01\0\0\0\x02\x08\x01",
            b"\0\0\0\0\x01\x0b",
            b"\0\xff\xff\xff\xff\x08",
            b"\0\0\0\0\x02\x12\x7f",
        ] {
            assert_eq!(serving(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn only_a_server_that_serves_serves() {
        let serves = |code, body| status(&answer(code, body));
        assert!(matches!(serves("0", b"\0\0\0\0\x02\x08\x01"), Ok(true)));
        assert!(matches!(serves("0", b"\0\0\0\0\x02\x08\x02"), Ok(false)));
        assert!(matches!(serves("5", b""), Ok(false)));
        assert!(matches!(serves("0", b"<html>"), Err(Silence::NoAnswer(_))));
        assert!(matches!(serves("14", b""), Err(Silence::NoAnswer(_))));
        assert!(matches!(serves("12", b""), Err(Silence::NotAsked(_))));
        assert!(matches!(serves("16", b""), Err(Silence::NotAsked(_))));
        assert!(matches!(status(&Response::new(Bytes::new())), Err(Silence::NoAnswer(_))));
    }
}
