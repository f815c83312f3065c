//! `tcp`: whether a connection can be opened.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Method, Request, uri::Authority};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Measure, NoAnswer, Probe, ProbeInfo, Reading, Variable, VariableType,
    service::{ClusterService, Silence, address, parsed},
    unfit,
};
use crate::types::{FieldSchema, Finding, Length};

/// See [`INFO`].
pub struct Tcp;

/// A TCP connection, opened and let go of.
pub static INFO: ProbeInfo = ProbeInfo {
    name: "tcp",
    summary: "A TCP connection.",
    example: "name: database-listens\ntcp: {address: \"db.example.com:5432\"}\nexpect: connected && latency <= 0.2\n",
    fields: &[FieldSchema {
        name: "address",
        description: "HOST:PORT. A Service's name, such as NAME.NAMESPACE.svc:5432, is reached through the API server's proxy, which sends a GET over the connection: what listens sees it, its time is part of the latency, and what stays silent upon it counts as not connected.",
        required: true,
        default: None,
        schema: "text",
    }],
    variables: &[
        Variable {
            name: "connected",
            kind: VariableType::Bool,
            description: "Whether it could be opened. If not, that is outside, unless the expression asks for it: !connected.",
        },
        Variable {
            name: "latency",
            kind: VariableType::Double,
            description: "Seconds until it was open, resolving the name included; absent if it could not be opened.",
        },
    ],
    default_value: Some("latency"),
};

impl Probe for Tcp {
    fn info(&self) -> &'static ProbeInfo {
        &INFO
    }

    fn lint(&self, params: &Value) -> Vec<Finding> {
        match address(params) {
            // A parameter without a value is not filled in yet.
            Some(address) if !address.contains("$(") && parsed(address).is_none() => {
                vec![unfit("tcp", "the address is not HOST:PORT", "write it as db.example.com:5432")]
            }
            _ => Vec::new(),
        }
    }

    fn measure<'a>(&'a self, measure: &'a Measure, params: &'a Value) -> BoxFuture<'a, Reading> {
        Box::pin(async move {
            let Some((authority, port)) = address(params).and_then(parsed) else {
                return Reading::Missing("the address is not HOST:PORT".to_owned());
            };
            let begun = Instant::now();
            let connected = match ClusterService::of_host(authority.host(), port, "http") {
                Some(service) => through_proxy(measure, &service).await,
                None => directly(measure, &authority).await,
            };
            match connected {
                Ok(()) => measured(begun.elapsed()),
                Err(Silence::NoAnswer(why)) => no_answer(why),
                Err(Silence::NotAsked(why)) => Reading::Missing(why),
            }
        })
    }

    fn overdue(&self, within: Length) -> Reading {
        no_answer(format!("no connection within {within}"))
    }
}

async fn directly(measure: &Measure, to: &Authority) -> Result<(), Silence> {
    let mut request = Request::new(Bytes::new());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() =
        to.as_str().parse().map_err(|_| Silence::NotAsked("the address cannot be read".to_owned()))?;
    measure.http.send(request).await?;
    Ok(())
}

/// The proxy speaks HTTP, and what listens may not: then the connection was open nevertheless, unless it was the
/// dialling that failed (Go's net package: an error of the operation "dial").
async fn through_proxy(measure: &Measure, service: &ClusterService) -> Result<(), Silence> {
    let request = Request::new(Bytes::new());
    match service.ask(&measure.access, request, 4096).await {
        Ok(_) => Ok(()),
        Err(Silence::NoAnswer(why))
            if why.contains("error trying to reach service") && !why.contains("dial ") =>
        {
            Ok(())
        }
        Err(silence) => Err(silence),
    }
}

fn measured(latency: Duration) -> Reading {
    Reading::Measured(BTreeMap::from([("connected", json!(true)), ("latency", json!(latency.as_secs_f64()))]))
}

fn no_answer(why: String) -> Reading {
    let variables = |connected: bool| BTreeMap::from([("connected", json!(connected))]);
    Reading::NoAnswer(NoAnswer { why, told: variables(false), untold: variables(true) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probes::{Expressions, Judge, Past};

    #[test]
    fn addresses_have_a_host_and_a_port() {
        for good in
            ["db.example.com:5432", "10.0.0.1:80", "[::1]:80", "db.shop.svc:5432", "$(params.db):5432"]
        {
            assert!(Tcp.lint(&json!({"address": good})).is_empty(), "{good}");
        }
        for bad in ["db", "db:", ":80", "db:0", "db:70000", "http://db:80", "a@db:80", "db:80/x", ""] {
            assert_eq!(Tcp.lint(&json!({"address": bad})).len(), 1, "{bad}");
        }
    }

    #[test]
    fn no_connection_is_outside_unless_it_is_asked_for() {
        let within = |expect| {
            let expressions = Expressions { expect: Some(expect), ..Expressions::default() };
            let judge = Judge::compile(&INFO, expressions, &BTreeMap::new()).expect("compiles");
            judge.judge(&no_answer("refused".to_owned()), &Past::default(), None).0.expect
        };
        for expect in ["connected", "latency < 1.0", "value < 1.0", "connected || latency < 1.0"] {
            assert_eq!(within(expect), Some(false), "{expect}");
        }
        assert_eq!(within("!connected"), Some(true), "that a cut holds is a hypothesis, too");
    }
}
