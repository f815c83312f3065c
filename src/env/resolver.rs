//! Where names lead to, and where nothing that a file asks for is ever sent.

use std::{
    net::{IpAddr, SocketAddr},
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use http::Uri;
use hyper_util::client::legacy::connect::dns::Name;

/// Whether nothing is ever sent there: link-local addresses, where clouds answer for a machine's credentials
/// (RFC 3927, RFC 4291 section 2.5.6, and fd00:ec2::254 of EC2).
pub fn is_forbidden(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => {
            v6.is_unicast_link_local() || v6.segments() == [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254]
        }
    }
}

/// The address that a URL's host is, if it is one.
pub fn literal_address(url: &Uri) -> Option<IpAddr> {
    let host = url.host()?;
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Finds addresses for connections, whenever one is opened: a name may mean something else by then.
#[derive(Clone, Copy, Debug)]
pub struct Resolver {
    guarded: bool,
}

impl Resolver {
    /// Every address that a name has.
    pub fn open() -> Self {
        Self { guarded: false }
    }

    /// None of those that are [forbidden](is_forbidden). A URL whose host is an address is not asked about here.
    pub fn guarded() -> Self {
        Self { guarded: true }
    }
}

impl tower::Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = std::io::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let guarded = self.guarded;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> =
                found.filter(|address| !guarded || !is_forbidden(address.ip())).collect();
            if guarded && allowed.is_empty() {
                return Err(std::io::Error::other("no address that may be sent to"));
            }
            Ok(allowed.into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use tower::Service as _;

    use super::*;

    #[test]
    fn link_local_addresses_are_told_from_others_however_they_are_written() {
        for (address, forbidden) in [
            ("169.254.169.254", true),
            ("fe80::1", true),
            ("::ffff:169.254.1.1", true),
            ("fd00:ec2::254", true),
            ("10.0.0.1", false),
            ("127.0.0.1", false),
            ("fd00::1", false),
        ] {
            assert_eq!(is_forbidden(address.parse().expect("an address")), forbidden, "{address}");
        }
        let url = |text: &str| text.parse::<Uri>().expect("a URL");
        assert_eq!(literal_address(&url("http://[fe80::1]:80/")), "fe80::1".parse().ok());
        assert_eq!(literal_address(&url("http://shop.example.com/")), None);
    }

    #[tokio::test]
    async fn a_name_that_leads_to_a_link_local_address_leads_nowhere() {
        let name = |text: &str| text.parse::<Name>().expect("a name");
        let found = Resolver::open().call(name("169.254.169.254")).await.expect("an address");
        assert_eq!(found.count(), 1);
        assert!(Resolver::guarded().call(name("169.254.169.254")).await.is_err());
        assert_eq!(Resolver::guarded().call(name("127.0.0.1")).await.expect("an address").count(), 1);
    }
}
