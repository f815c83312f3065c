//! Blocks of addresses, as NetworkPolicies have them (RFC 4632 and RFC 4291).

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A block of IP addresses such as `10.0.0.0/8`.
///
/// Ordered by family, address and length; bits beyond the length are zero, so that one block has one spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cidr {
    address: IpAddr,
    bits: u8,
}

/// The text is not a block of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a block of addresses such as 10.0.0.0/8 or 2001:db8::/64")]
pub struct CidrError(String);

/// The address with all bits after the first `bits` cleared, and the length of its family.
fn masked(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
            IpAddr::V6((u128::from(v6) & mask).into())
        }
    }
}

impl Cidr {
    /// One address.
    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        Self { address, bits: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// All addresses of the family of `address`.
    #[must_use]
    pub fn everything(address: IpAddr) -> Self {
        Self { address: masked(address, 0), bits: 0 }
    }

    /// Its first address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// How many bits all its addresses have in common.
    #[must_use]
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// Whether the address is in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.bits) == self.address
    }

    /// Whether every address of `other` is in it.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.bits <= other.bits && self.contains(other.address)
    }

    /// Whether it holds every address of its family.
    #[must_use]
    pub fn is_everybody(&self) -> bool {
        self.bits == 0
    }

    /// Whether these blocks together hold every address of a family.
    #[must_use]
    pub fn hold_everybody(blocks: &[Self]) -> bool {
        [true, false].into_iter().any(|v4| {
            let (width, mut next) = (if v4 { 32 } else { 128 }, 0_u128);
            let mut of: Vec<_> = blocks.iter().filter(|block| block.address.is_ipv4() == v4).collect();
            of.sort();
            for block in of {
                let start = match block.address {
                    IpAddr::V4(v4) => u128::from(u32::from(v4)),
                    IpAddr::V6(v6) => u128::from(v6),
                };
                if start > next {
                    return false;
                }
                let size = 1_u128.checked_shl(width - u32::from(block.bits));
                let Some(end) = size.and_then(|size| start.checked_add(size)) else { return true };
                next = next.max(end);
            }
            v4 && next == 1 << 32
        })
    }

    /// The block that holds exactly the addresses of both, if there is one and neither covers the other.
    #[must_use]
    pub fn joined(&self, other: &Self) -> Option<Self> {
        let shorter = Self { address: masked(self.address, self.bits.checked_sub(1)?), bits: self.bits - 1 };
        let halves = self.bits == other.bits && self.address != other.address;
        (halves && shorter.covers(other)).then_some(shorter)
    }

    /// Whether there is an address in both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.covers(other) || other.covers(self)
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let wrong = || CidrError(text.to_owned());
        let (address, bits) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        // Go's parser takes neither a sign nor further zeros in front.
        let plain = bits.bytes().all(|b| b.is_ascii_digit()) && (bits == "0" || !bits.starts_with('0'));
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.parse().ok().filter(|bits: &u8| plain && *bits <= longest).ok_or_else(wrong)?;
        Ok(Self { address: masked(address, bits), bits })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().expect("a literal of this test")
    }

    #[test]
    fn blocks_are_read_and_written_in_one_way() {
        for (text, written) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("10.0.0.7/32", "10.0.0.7/32"),
            ("2001:DB8:0::1/64", "2001:db8::/64"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(cidr(text).to_string(), written);
        }
        for wrong in [
            "",
            "10.0.0.1",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0.0/08",
            "a/8",
            "10.0.0/8",
        ] {
            assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_block_contains_what_has_its_first_bits() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert!(
            cidr("10.0.0.0/8").contains(ip("10.255.1.2")) && !cidr("10.0.0.0/8").contains(ip("11.0.0.0"))
        );
        assert!(cidr("0.0.0.0/0").contains(ip("255.255.255.255")) && !cidr("0.0.0.0/0").contains(ip("::1")));
        assert!(cidr("::/0").contains(ip("2001:db8::1")) && !cidr("::/0").contains(ip("10.0.0.1")));
        assert!(
            Cidr::host(ip("10.0.0.7")).contains(ip("10.0.0.7"))
                && !Cidr::host(ip("10.0.0.7")).contains(ip("10.0.0.6"))
        );
        assert_eq!(Cidr::everything(ip("10.0.0.7")), cidr("0.0.0.0/0"));
        assert!(
            cidr("10.0.0.0/8").covers(&cidr("10.9.0.0/16"))
                && !cidr("10.9.0.0/16").covers(&cidr("10.0.0.0/8"))
        );
        assert!(
            cidr("10.9.0.0/16").overlaps(&cidr("10.0.0.0/8"))
                && !cidr("10.9.0.0/16").overlaps(&cidr("10.8.0.0/16"))
        );
    }
}
