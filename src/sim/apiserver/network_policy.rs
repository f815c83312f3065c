//! Defaults and validation of NetworkPolicies (pkg/apis/networking/v1/defaults.go and
//! pkg/apis/networking/validation of kubernetes v1.36).

use serde_json::{Map, Value, json};

use crate::sim::store::StatusCause;
use crate::types::Cidr;

/// The rules of both directions: field, and the field of its peers.
const RULES: [(&str, &str); 2] = [("ingress", "from"), ("egress", "to")];
const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];

/// `policyTypes` as the rules imply them, and the protocol of ports.
pub(super) fn defaults(spec: &mut Map<String, Value>) {
    let some = |list: Option<&Value>| list.and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    if !some(spec.get("policyTypes")) {
        let types = if some(spec.get("egress")) { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
        spec.insert("policyTypes".to_owned(), types);
    }
    for (rules, _) in RULES {
        let rules = spec.get_mut(rules).and_then(Value::as_array_mut).into_iter().flatten();
        let ports = rules.filter_map(|rule| rule.get_mut("ports")?.as_array_mut());
        for port in ports.flatten().filter_map(Value::as_object_mut) {
            super::defaults::default(port, "protocol", "TCP");
        }
    }
}

/// What is wrong with the spec of a policy.
pub(super) fn validate(spec: &Value, out: &mut Vec<StatusCause>) {
    selector(&spec["podSelector"], "spec.podSelector", out);
    for (direction, peers) in RULES {
        for (at, rule) in list(&spec[direction]).enumerate() {
            let path = format!("spec.{direction}[{at}]");
            for (at, item) in list(&rule["ports"]).enumerate() {
                port(item, &format!("{path}.ports[{at}]"), out);
            }
            for (at, item) in list(&rule[peers]).enumerate() {
                peer(item, &format!("{path}.{peers}[{at}]"), out);
            }
        }
    }
    let types = &spec["policyTypes"];
    if list(types).count() > 2 {
        let why = "may not specify more than two policyTypes";
        out.push(StatusCause::invalid("spec.policyTypes", &types.to_string(), why));
        return;
    }
    for (at, item) in list(types).enumerate() {
        supported(item, &format!("spec.policyTypes[{at}]"), &["Egress", "Ingress"], out);
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn supported(value: &Value, field: &str, known: &[&str], out: &mut Vec<StatusCause>) {
    if value.as_str().is_some_and(|text| known.contains(&text)) {
        return;
    }
    let known: Vec<String> = known.iter().map(|text| format!("{text:?}")).collect();
    out.push(StatusCause {
        reason: "FieldValueNotSupported".into(),
        message: format!("Unsupported value: {value}: supported values: {}", known.join(", ")),
        field: field.into(),
    });
}

/// `ValidateLabelSelector`, as far as its requirements go.
fn selector(value: &Value, path: &str, out: &mut Vec<StatusCause>) {
    for (at, requirement) in list(&value["matchExpressions"]).enumerate() {
        let path = format!("{path}.matchExpressions[{at}]");
        let values = list(&requirement["values"]).count();
        match requirement["operator"].as_str().unwrap_or_default() {
            "In" | "NotIn" if values == 0 => out.push(StatusCause::required(
                &format!("{path}.values"),
                "must be specified when `operator` is 'In' or 'NotIn'",
            )),
            "Exists" | "DoesNotExist" if values > 0 => out.push(StatusCause::forbidden(
                &format!("{path}.values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            )),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => out.push(StatusCause::invalid(
                &format!("{path}.operator"),
                &format!("{other:?}"),
                "not a valid selector operator",
            )),
        }
    }
}

fn port(port: &Value, path: &str, out: &mut Vec<StatusCause>) {
    if !port["protocol"].is_null() {
        supported(&port["protocol"], &format!("{path}.protocol"), &PROTOCOLS, out);
    }
    let mut number = |value: &Value, field: &str| {
        if !value.as_i64().is_some_and(|number| (1..=65_535).contains(&number)) {
            let why = "must be between 1 and 65535, inclusive";
            out.push(StatusCause::invalid(&format!("{path}.{field}"), &value.to_string(), why));
        }
    };
    let (from, to) = (&port["port"], &port["endPort"]);
    if from.is_number() {
        number(from, "port");
        if !to.is_null() {
            number(to, "endPort");
        }
    }
    let why = match (from.as_i64(), to.as_i64()) {
        (_, None) => return,
        (Some(from), Some(to)) if to < from => "must be greater than or equal to `port`",
        (Some(_), Some(_)) => return,
        (None, Some(_)) if from.is_null() => "may not be specified when `port` is not specified",
        (None, Some(_)) => "may not be specified when `port` is non-numeric",
    };
    out.push(StatusCause::invalid(&format!("{path}.endPort"), &to.to_string(), why));
}

fn peer(peer: &Value, path: &str, out: &mut Vec<StatusCause>) {
    let there = |field: &str| peer.get(field).is_some_and(|value| !value.is_null());
    for field in ["podSelector", "namespaceSelector"] {
        selector(&peer[field], &format!("{path}.{field}"), out);
    }
    let selectors = there("podSelector") || there("namespaceSelector");
    if there("ipBlock") {
        block(&peer["ipBlock"], &format!("{path}.ipBlock"), out);
        if selectors {
            out.push(StatusCause::forbidden(path, "may not specify both ipBlock and another peer"));
        }
    } else if !selectors {
        out.push(StatusCause::required(path, "must specify a peer"));
    }
}

fn block(block: &Value, path: &str, out: &mut Vec<StatusCause>) {
    const WRONG: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
    let mut read = |value: &Value, field: &str| -> Option<Cidr> {
        let read = value.as_str().unwrap_or_default().parse().ok();
        if read.is_none() {
            out.push(StatusCause::invalid(field, &value.to_string(), WRONG));
        }
        read
    };
    if block["cidr"].as_str().unwrap_or_default().is_empty() {
        out.push(StatusCause::required(&format!("{path}.cidr"), ""));
        return;
    }
    let cidr = read(&block["cidr"], &format!("{path}.cidr"));
    let mut wide = Vec::new();
    for (at, item) in list(&block["except"]).enumerate() {
        let field = format!("{path}.except[{at}]");
        let except = read(item, &field);
        if let (Some(cidr), Some(except)) = (cidr, except)
            && (cidr == except || !cidr.covers(&except))
        {
            let why = "must be a strict subset of `cidr`";
            wide.push(StatusCause::invalid(&field, &item.to_string(), why));
        }
    }
    out.extend(wide);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(spec: Value) -> Vec<(String, String)> {
        let mut out = Vec::new();
        validate(&spec, &mut out);
        out.into_iter().map(|cause| (cause.field, cause.message)).collect()
    }

    #[test]
    fn egress_is_implied_by_its_rules_alone() {
        let defaulted = |spec: Value| {
            let Value::Object(mut spec) = spec else { panic!("a literal") };
            defaults(&mut spec);
            Value::Object(spec)
        };
        assert_eq!(defaulted(json!({"podSelector": {}}))["policyTypes"], json!(["Ingress"]));
        assert_eq!(defaulted(json!({"egress": []}))["policyTypes"], json!(["Ingress"]));
        let both = defaulted(json!({"egress": [{"ports": [{"port": 53}]}]}));
        assert_eq!(both["policyTypes"], json!(["Ingress", "Egress"]));
        assert_eq!(both["egress"][0]["ports"][0]["protocol"], "TCP");
        assert_eq!(
            defaulted(json!({"egress": [{}], "policyTypes": ["Egress"]}))["policyTypes"],
            json!(["Egress"])
        );
    }

    #[test]
    fn what_the_api_server_refuses() {
        let to = |peer: Value| json!({"egress": [{"to": [peer]}], "policyTypes": ["Egress"]});
        let port = |port: Value| json!({"ingress": [{"ports": [port]}]});
        for (spec, field, message) in [
            (to(json!({})), "spec.egress[0].to[0]", "Required value: must specify a peer"),
            (
                to(json!({"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}})),
                "spec.egress[0].to[0]",
                "Forbidden: may not specify both ipBlock and another peer",
            ),
            (to(json!({"ipBlock": {}})), "spec.egress[0].to[0].ipBlock.cidr", "Required value"),
            (
                to(json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}})),
                "spec.egress[0].to[0].ipBlock.except[0]",
                "Invalid value: \"11.0.0.0/16\": must be a strict subset of `cidr`",
            ),
            (
                to(json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]}})),
                "spec.egress[0].to[0].ipBlock.except[0]",
                "Invalid value: \"10.0.0.0/8\": must be a strict subset of `cidr`",
            ),
            (
                to(json!({"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}})),
                "spec.egress[0].to[0].podSelector.matchExpressions[0].values",
                "Required value: must be specified when `operator` is 'In' or 'NotIn'",
            ),
            (
                port(json!({"port": 70000})),
                "spec.ingress[0].ports[0].port",
                "Invalid value: 70000: must be between 1 and 65535, inclusive",
            ),
            (
                port(json!({"port": 80, "endPort": 79})),
                "spec.ingress[0].ports[0].endPort",
                "Invalid value: 79: must be greater than or equal to `port`",
            ),
            (
                port(json!({"endPort": 79})),
                "spec.ingress[0].ports[0].endPort",
                "Invalid value: 79: may not be specified when `port` is not specified",
            ),
            (
                port(json!({"port": "web", "endPort": 79})),
                "spec.ingress[0].ports[0].endPort",
                "Invalid value: 79: may not be specified when `port` is non-numeric",
            ),
            (
                port(json!({"port": 80, "protocol": "ICMP"})),
                "spec.ingress[0].ports[0].protocol",
                "Unsupported value: \"ICMP\": supported values: \"TCP\", \"UDP\", \"SCTP\"",
            ),
            (
                json!({"policyTypes": ["Both"]}),
                "spec.policyTypes[0]",
                "Unsupported value: \"Both\": supported values: \"Egress\", \"Ingress\"",
            ),
        ] {
            assert_eq!(wrong(spec), [(field.to_owned(), message.to_owned())]);
        }
        let fine = json!({"podSelector": {"matchExpressions": [{"key": "a", "operator": "Exists"}]},
            "policyTypes": ["Egress"], "egress": [
                {"to": [{"namespaceSelector": {}, "podSelector": {}}, {"ipBlock": {"cidr": "::/0", "except": ["2001:db8::/64"]}}],
                 "ports": [{"port": 8000, "endPort": 8100, "protocol": "TCP"}, {"port": "web"}, {}]}]});
        assert_eq!(wrong(fine), []);
    }
}
