//! What an order may ask for.

use std::time::Duration;

use super::{
    Disturbance, Effect, Leg, Limits, Order, Protocol, Refusal,
    RefusalCode::{self, Limit, Malformed},
};

const LEGS: usize = 8;
const BLOCKS: usize = 4096;
const PORTS: usize = 64;
const WITHIN: Duration = Duration::from_secs(24 * 60 * 60);
const ROUND_TRIPS: u32 = 200;
const ROUND_TRIP: Duration = Duration::from_secs(10);

type Checked = Result<(), Refusal>;

/// A refusal in words.
pub fn refuse<T>(code: RefusalCode, why: impl Into<String>, remedy: &str) -> Result<T, Refusal> {
    Err(Refusal { code, why: why.into(), remedy: remedy.to_owned() })
}

const MEND: &str = "Send an order that this version knows.";

/// Whether the order makes sense and is within the limits.
pub fn order(order: &Order, limits: &Limits) -> Checked {
    match order {
        Order::Hello | Order::Beat | Order::Lift { .. } | Order::Count { .. } | Order::Leave => Ok(()),
        Order::Enter { pod } => uid(pod),
        Order::Apply { pod, disturbance, within_ms, .. } => {
            uid(pod)?;
            span("withinMs", Duration::from_millis(*within_ms), WITHIN)?;
            self::disturbance(disturbance, limits)
        }
        Order::Kill { pod, container, process, .. } => {
            uid(pod)?;
            container.as_deref().map_or(Ok(()), uid)?;
            match process {
                Some(name) if name.is_empty() || name.contains(['\0', '\n']) => {
                    refuse(Malformed, "a process without a name", MEND)
                }
                _ => Ok(()),
            }
        }
        Order::Measure { pod, address, port, count, timeout_ms, .. } => {
            uid(pod)?;
            span("timeoutMs", Duration::from_millis(*timeout_ms), ROUND_TRIP)?;
            if address.is_loopback() || address.is_multicast() || address.is_unspecified() {
                return refuse(Malformed, format!("{address} is no pod's address"), MEND);
            }
            if *port == Some(0) || !(1..=ROUND_TRIPS).contains(count) {
                return refuse(Malformed, format!("port {port:?}, {count} round trips"), MEND);
            }
            Ok(())
        }
    }
}

/// A UID or a container's id: long enough to name one, and nothing but what such names are made of.
fn uid(text: &str) -> Checked {
    let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (8..=128).contains(&text.len()) && text.bytes().all(known) {
        return Ok(());
    }
    refuse(Malformed, format!("{text:?} is no UID"), MEND)
}

fn span(what: &str, span: Duration, longest: Duration) -> Checked {
    if span.is_zero() || span > longest {
        return refuse(Malformed, format!("{what} is {span:?}; it is above 0 and up to {longest:?}"), MEND);
    }
    Ok(())
}

fn disturbance(disturbance: &Disturbance, limits: &Limits) -> Checked {
    if disturbance.legs.is_empty() || disturbance.legs.len() > LEGS {
        return refuse(Malformed, format!("{} legs; there are 1 to {LEGS}", disturbance.legs.len()), MEND);
    }
    disturbance.legs.iter().try_for_each(leg)?;
    match disturbance.effect {
        Effect::Latency { delay_us, jitter_us, correlation_percent, .. } => {
            if delay_us == 0 || jitter_us > delay_us {
                return refuse(Malformed, format!("a delay of {delay_us} µs ± {jitter_us} µs"), MEND);
            }
            percent("correlationPercent", correlation_percent, 0.0)?;
            let (delay, most) = (Duration::from_micros(delay_us), limits.delay_max);
            if delay > most {
                let why = format!("a delay of {delay:?} is above this agent's limit of {most:?}");
                return refuse(Limit, why, "Ask for less, or start the agent with a higher --max-delay.");
            }
            Ok(())
        }
        Effect::Loss { share_percent } => {
            percent("sharePercent", share_percent, f64::MIN_POSITIVE)?;
            let most = limits.loss_max_percent;
            if share_percent > most {
                let why = format!("a loss of {share_percent} % is above this agent's limit of {most} %");
                return refuse(Limit, why, "Ask for less, or start the agent with a higher --max-loss.");
            }
            Ok(())
        }
        Effect::Partition => Ok(()),
    }
}

fn percent(what: &str, share: f64, least: f64) -> Checked {
    if share.is_finite() && (least..=100.0).contains(&share) {
        return Ok(());
    }
    refuse(Malformed, format!("{what} is {share}"), MEND)
}

fn leg(leg: &Leg) -> Checked {
    let blocks = leg.peers.len() + leg.except.len();
    if blocks > BLOCKS || leg.ports.len() > PORTS {
        let why = format!("{blocks} blocks of addresses and {} of ports", leg.ports.len());
        return refuse(Limit, why, "Name fewer, larger blocks: at most 4096 of addresses and 64 of ports.");
    }
    if leg.ports.iter().any(|range| range.first == 0 || range.first > range.last) {
        return refuse(Malformed, format!("ports {:?}", leg.ports), MEND);
    }
    if leg.protocol == Some(Protocol::Icmp) && !leg.ports.is_empty() {
        return refuse(Malformed, "ICMP has no ports", MEND);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::wire::{Direction, Distribution, PortRange};

    const LIMITS: Limits = Limits {
        ttl: Duration::from_secs(10),
        deadline: Duration::from_secs(600),
        delay_max: Duration::from_millis(200),
        loss_max_percent: 50.0,
    };

    fn any_leg() -> Leg {
        Leg {
            direction: Direction::Egress,
            peers: Vec::new(),
            except: Vec::new(),
            ports: Vec::new(),
            protocol: None,
        }
    }

    fn latency(delay_us: u64, jitter_us: u64, correlation_percent: f64) -> Effect {
        Effect::Latency { delay_us, jitter_us, correlation_percent, distribution: Distribution::Normal }
    }

    fn code(legs: Vec<Leg>, effect: Effect) -> Option<RefusalCode> {
        disturbance(&Disturbance { legs, effect }, &LIMITS).err().map(|refusal| refusal.code)
    }

    #[test]
    fn effects_are_held_to_sense_and_to_the_limits() {
        for (effect, expected) in [
            (latency(200_000, 200_000, 100.0), None),
            (latency(200_001, 0, 0.0), Some(Limit)),
            (latency(0, 0, 0.0), Some(Malformed)),
            (latency(10, 11, 0.0), Some(Malformed)),
            (latency(10, 0, 100.1), Some(Malformed)),
            (latency(10, 0, -0.1), Some(Malformed)),
            (Effect::Loss { share_percent: 50.0 }, None),
            (Effect::Loss { share_percent: 50.1 }, Some(Limit)),
            (Effect::Loss { share_percent: 0.0 }, Some(Malformed)),
            (Effect::Loss { share_percent: f64::NAN }, Some(Malformed)),
            (Effect::Partition, None),
        ] {
            assert_eq!(code(vec![any_leg()], effect.clone()), expected, "{effect:?}");
        }
    }

    #[test]
    fn legs_are_held_to_sense() {
        let ports = |first, last| Leg { ports: vec![PortRange { first, last }], ..any_leg() };
        let icmp = Leg { protocol: Some(Protocol::Icmp), ..ports(1, 1) };
        let many = Leg { peers: vec!["10.0.0.0/8".parse().expect("a block"); BLOCKS + 1], ..any_leg() };
        for (legs, expected) in [
            (Vec::new(), Some(Malformed)),
            (vec![any_leg(); LEGS + 1], Some(Malformed)),
            (vec![ports(0, 5)], Some(Malformed)),
            (vec![ports(6, 5)], Some(Malformed)),
            (vec![ports(5, 6)], None),
            (vec![icmp], Some(Malformed)),
            (vec![many], Some(Limit)),
        ] {
            assert_eq!(code(legs.clone(), Effect::Partition), expected, "{} legs", legs.len());
        }
    }

    #[test]
    fn a_short_uid_names_too_many() {
        for bad in ["", "a", "../../../etc", "6F1e9b0a-0000", "a_b_c_d_e_f", "12345678/"] {
            assert!(uid(bad).is_err(), "{bad}");
        }
        for good in ["0b5c9c9e-9a43-4a4e-8a3c-6f1e9b0a1c2d", "0123456789abcdef0123456789abcdef"] {
            assert!(uid(good).is_ok(), "{good}");
        }
    }
}
