//! Which hosts a file would have the controller reach. Pure.
//!
//! The controller sits where authors of files do not: what it reaches on their behalf are Services of the
//! cluster, and hosts that a Guardrail lists.

use http::Uri;
use serde_json::Value;

use crate::{
    api::Guardrail,
    env::{is_forbidden, literal_address},
    types::{Finding, codes::guard as code, service_of_host},
};

/// Keys whose text is an address.
const ADDRESSES: [&str; 3] = ["url", "address", "server"];

/// What helps against a host that may not be reached.
pub(super) const REMEDY: &str =
    "name a Service of the cluster (NAME.NAMESPACE.svc), or have a Guardrail list the host in probeHosts";

/// A finding for each host of `experiment` (the document) that the controller may not reach.
pub(super) fn refused(experiment: &Value, guardrails: &[&Guardrail]) -> Vec<Finding> {
    let mut addresses = Vec::new();
    for place in ["steadyState", "prometheus", "load"] {
        gather(&experiment["spec"][place], &format!("spec.{place}"), &mut addresses);
    }
    for (number, step) in experiment["spec"]["method"].as_array().into_iter().flatten().enumerate() {
        gather(&step["load"], &format!("spec.method[{number}].load"), &mut addresses);
    }
    addresses
        .into_iter()
        .filter_map(|(place, address)| {
            let host = host(&address);
            if host.as_deref().is_some_and(|host| allowed(host, guardrails)) {
                return None;
            }
            let message = format!("the controller may not reach {}", host.unwrap_or(address));
            Some(Finding::error(code::HOST, place, message).remedy(REMEDY))
        })
        .collect()
}

/// Whether the controller may post to this address: never to one that is link-local, whoever lists it.
pub(super) fn may_post(url: &Uri, guardrails: &[&Guardrail]) -> bool {
    let host = url.host().map(|host| host.trim_matches(['[', ']']));
    host.is_some_and(|host| allowed(host, guardrails)) && !literal_address(url).is_some_and(is_forbidden)
}

fn allowed(host: &str, guardrails: &[&Guardrail]) -> bool {
    let listed = || guardrails.iter().flat_map(|guardrail| &guardrail.spec.probe_hosts);
    service_of_host(host).is_some() || listed().any(|rule| covers(rule, host))
}

fn gather(value: &Value, place: &str, into: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value.as_str().filter(|_| ADDRESSES.contains(&key.as_str())) {
                    Some(address) => into.push((format!("{place}.{key}"), address.to_owned())),
                    None => gather(value, &format!("{place}.{key}"), into),
                }
            }
        }
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                gather(item, &format!("{place}[{number}]"), into);
            }
        }
        _ => {}
    }
}

/// `shop.example.com` of `https://shop.example.com:8443/cart?x=1`, as the client will read it; None: it reads nothing.
fn host(address: &str) -> Option<String> {
    let address: Uri = address.parse().ok()?;
    Some(address.host()?.trim_matches(['[', ']']).to_owned())
}

/// `*.example.com` covers what is below it, not itself.
fn covers(rule: &str, host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    match rule.strip_prefix("*.") {
        Some(domain) => {
            host.strip_suffix(domain).is_some_and(|below| below.len() > 1 && below.ends_with('.'))
        }
        None => host == rule,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn guardrail(hosts: &[&str]) -> Guardrail {
        let value = json!({"metadata": {"name": "g"}, "spec": {"probeHosts": hosts}});
        Guardrail::from_value(&value).expect("a Guardrail")
    }

    #[test]
    fn only_services_and_listed_hosts_are_reached() {
        let experiment = json!({"spec": {
            "prometheus": {"server": "http://prometheus.monitoring.svc:9090"},
            "steadyState": [
                {"name": "a", "http": {"url": "http://checkout.shop.svc.cluster.local/cart"}},
                {"name": "b", "http": {"url": "https://shop.example.com/healthz"}},
                {"name": "c", "tcp": {"address": "169.254.169.254:80"}},
                {"name": "d", "http": {"url": "http://user@[fd00::1]:80/"}},
                {"name": "e", "http": {"url": "http://evil.example\\@checkout.shop.svc/"}},
            ],
            "method": [{"load": {"url": "http://metadata.internal/", "requestsPerSecond": 1}},
                       {"podKill": {}, "description": "see url: http://x"}],
        }});
        let said = |guardrails: &[&Guardrail]| -> Vec<String> {
            refused(&experiment, guardrails).into_iter().map(|finding| finding.message).collect()
        };
        let unread = "http://evil.example\\@checkout.shop.svc/";
        let hosts = ["shop.example.com", "169.254.169.254", "fd00::1", unread, "metadata.internal"];
        assert_eq!(said(&[]), hosts.map(|host| format!("the controller may not reach {host}")));
        let listed = guardrail(&["*.example.com"]);
        assert_eq!(said(&[&listed]).len(), 4);
    }

    #[test]
    fn nothing_is_posted_to_a_link_local_address_whoever_lists_it() {
        let listed = guardrail(&["169.254.169.254", "hooks.example.com", "192.0.2.7"]);
        let may = |url: &str| may_post(&url.parse().expect("a URL"), &[&listed]);
        assert!(
            may("https://hooks.example.com/x") && may("http://192.0.2.7/") && may("http://hook.ops.svc/")
        );
        assert!(!may("http://169.254.169.254/") && !may("http://hooks.example.org/") && !may("/path"));
    }

    #[test]
    fn a_wildcard_covers_what_is_below_it() {
        assert!(covers("*.example.com", "shop.example.com") && covers("*.example.com", "a.b.Example.com."));
        assert!(!covers("*.example.com", "example.com") && !covers("*.example.com", "badexample.com"));
        assert!(covers("example.com", "example.com") && !covers("example.com", "shop.example.com"));
    }
}
