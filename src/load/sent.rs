//! A load as a pod is told of it, and as it takes that.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use super::{
    LoadSpec, Protocol, SecretKey,
    spec::{AGENT, put},
};
use crate::{
    env::LoadOrder,
    types::{
        Length,
        load::{SendOrder, SentHeader},
    },
};

/// How long the argument may be that says what to send: the kernel takes 128 KiB (execve(2), MAX_ARG_STRLEN).
const LONGEST: usize = 120 * 1024;

/// What a pod is to send, and from which Secrets which variables of its environment come.
///
/// # Errors
/// It cannot be said so, in words.
pub fn to_send(
    load: &LoadSpec,
    seed: u64,
    windows: &[Length],
) -> Result<(SendOrder, Vec<(String, SecretKey)>), String> {
    let (mut headers, mut secrets) = (Vec::new(), Vec::new());
    for (number, given) in load.headers.iter().enumerate() {
        let env = given.value_from.as_ref().map(|from| {
            let variable = format!("FIREDRILL_HEADER_{number}");
            secrets.push((variable.clone(), from.secret_key_ref.clone()));
            variable
        });
        let value = if env.is_some() { None } else { Some(given.value.clone().unwrap_or_default()) };
        headers.push(SentHeader { name: given.name.clone(), value, env });
    }
    let order = SendOrder {
        url: load.url.clone(),
        method: load.method.clone(),
        headers,
        body: load.body.clone(),
        http2: load.protocol == Protocol::Http2,
        pace: load.pace(),
        seed: load.seed_from(seed),
        timeout: load.timeout,
        max_in_flight: load.max_in_flight,
        windows: windows.to_vec(),
    };
    let length = serde_json::to_string(&order).map_err(|error| error.to_string())?.len();
    if length > LONGEST {
        return Err(format!(
            "it takes {length} bytes to tell a pod, and {LONGEST} are possible: shorten its body"
        ));
    }
    Ok((order, secrets))
}

/// What was told, ready to be sent. `env` reads a variable of the environment.
///
/// # Errors
/// What cannot be read; no value of a Secret is in the words.
pub fn ordered(order: &SendOrder, env: impl Fn(&str) -> Option<String>) -> Result<LoadOrder, String> {
    let mut headers = HeaderMap::new();
    headers.insert(header::USER_AGENT, HeaderValue::from_static(AGENT));
    for given in &order.headers {
        let name: HeaderName =
            given.name.parse().map_err(|_| format!("{} is no name of a header", given.name))?;
        let value = match &given.env {
            Some(variable) => env(variable).ok_or_else(|| format!("there is no variable {variable}"))?,
            None => given.value.clone().unwrap_or_default(),
        };
        put(&mut headers, name, (value.trim_end(), given.env.is_some()))?;
    }
    Ok(LoadOrder {
        url: order.url.parse().map_err(|_| "the URL cannot be read")?,
        method: order.method.parse::<Method>().map_err(|_| "the method is none")?,
        headers,
        body: Bytes::from(order.body.clone()),
        http2: order.http2,
        pace: order.pace,
        seed: order.seed,
        timeout: order.timeout.0,
        max_in_flight: order.max_in_flight,
        keep: order.windows.iter().map(|length| length.0).max().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn load(more: serde_json::Value) -> LoadSpec {
        let mut load =
            json!({"name": "shoppers", "url": "http://checkout.shop.svc/", "requestsPerSecond": 10});
        load.as_object_mut().expect("a map").extend(more.as_object().cloned().unwrap_or_default());
        serde_json::from_value(load).expect("a load")
    }

    /// Everything that the runner would send the pod sends too; what is secret it takes from its environment.
    #[test]
    fn a_pod_sends_what_the_runner_would() {
        let load = load(json!({
            "method": "POST", "body": "{}", "protocol": "HTTP2", "arrivals": "Poisson", "rampUp": "3s",
            "timeout": "700ms", "maxInFlight": 9,
            "headers": [
                {"name": "user-agent", "value": "drill"},
                {"name": "authorization", "valueFrom": {"secretKeyRef": {"name": "shop", "key": "token"}}},
            ],
        }));
        let (order, secrets) = to_send(&load, 7, &[Length::from_secs(2)]).expect("can be told");
        assert_eq!(
            secrets.iter().map(|(env, key)| (env.as_str(), key.key.as_str())).collect::<Vec<_>>(),
            [("FIREDRILL_HEADER_1", "token")]
        );
        let text = serde_json::to_string(&order).expect("JSON");
        let told: SendOrder = serde_json::from_str(&text).expect("the same");
        assert!(ordered(&told, |_| None).is_err_and(|why| why.contains("FIREDRILL_HEADER_1")));
        let sent = ordered(&told, |_| Some("Bearer s3cret\n".to_owned())).expect("ready");
        assert_eq!((sent.method.as_str(), &sent.body[..], sent.http2), ("POST", &b"{}"[..], true));
        assert_eq!((sent.pace, sent.seed), (load.pace(), load.seed_from(7)));
        assert_eq!((sent.timeout.as_millis(), sent.max_in_flight, sent.keep.as_secs()), (700, 9, 2));
        assert_eq!(sent.headers.get_all("user-agent").iter().collect::<Vec<_>>(), ["drill"]);
        let secret = sent.headers.get("authorization").expect("it is there");
        assert!(secret.is_sensitive() && secret == "Bearer s3cret");
    }

    #[test]
    fn what_no_argument_can_hold_is_refused() {
        let quotes = "\"".repeat(65_000);
        assert!(to_send(&load(json!({"body": quotes})), 7, &[]).is_err());
    }
}
