//! Names of Services.

/// Namespace and name of the Service that `host` names: `NAME.NAMESPACE.svc`, with or without `.cluster.local` behind it
/// (Kubernetes docs, "DNS for Services and Pods"). None for any other host, names of single pods included.
pub fn service_of_host(host: &str) -> Option<(&str, &str)> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let host = host.strip_suffix(".cluster.local").unwrap_or(host).strip_suffix(".svc")?;
    let (name, namespace) = host.split_once('.')?;
    (!name.is_empty() && !namespace.is_empty() && !namespace.contains('.')).then_some((namespace, name))
}

/// The port that a URL of that scheme and port is sent to, and whether TLS is spoken there: without a port 443 with
/// `https`, 80 otherwise.
pub fn port_of(scheme: Option<&str>, port: Option<u16>) -> (u16, bool) {
    let tls = scheme == Some("https");
    (port.unwrap_or(if tls { 443 } else { 80 }), tls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_a_port_means_that_of_its_scheme() {
        for (scheme, port, expected) in [
            ("http", None, (80, false)),
            ("https", None, (443, true)),
            ("http", Some(8080), (8080, false)),
            ("https", Some(80), (80, true)),
        ] {
            assert_eq!(port_of(Some(scheme), port), expected, "{scheme} {port:?}");
        }
    }

    #[test]
    fn names_of_services_are_told_from_other_hosts() {
        for host in ["cart.shop.svc", "cart.shop.svc.", "cart.shop.svc.cluster.local"] {
            assert_eq!(service_of_host(host), Some(("shop", "cart")), "{host}");
        }
        for host in ["shop.example.com", "svc", "cart.svc", "pod-0.cart.shop.svc", "10.0.0.1", ".shop.svc"] {
            assert_eq!(service_of_host(host), None, "{host}");
        }
    }
}
