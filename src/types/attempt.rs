//! What `firedrill connect` says of each attempt, and how its image is known.

use serde::{Deserialize, Serialize};

/// The image that carries this version, without the name of a registry: whoever mirrors it says where with `--image`.
pub const IMAGE: &str = concat!("firedrill/firedrill:", env!("CARGO_PKG_VERSION"));

/// Whether an image is firedrill's own, wherever it is mirrored: the last part of its name says so.
pub fn is_own_image(image: &str) -> bool {
    is_named(image, "firedrill")
}

/// Whether an image is that of the agent, wherever it is mirrored.
pub fn is_agent_image(image: &str) -> bool {
    is_named(image, "firedrill-agent")
}

fn is_named(image: &str, name: &str) -> bool {
    let last = image.rsplit('/').next().unwrap_or_default();
    last.split([':', '@']).next() == Some(name)
}

/// One attempt to open a connection: a line of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// Which round of attempts, from 0; all addresses are tried in each.
    pub round: u64,
    /// `HOST:PORT`, as it was asked for.
    pub address: String,
    /// Whether it was opened.
    pub connected: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_is_known_wherever_it_is_mirrored() {
        for image in [IMAGE, "firedrill", "firedrill:1", "mirror.example.com:5000/sre/firedrill@sha256:ab"] {
            assert!(is_own_image(image), "{image}");
        }
        for image in ["nginx:1", "firedrill/shop:1", "mirror.example.com/firedrill-agent:1", ""] {
            assert!(!is_own_image(image), "{image}");
        }
        for image in ["firedrill/firedrill-agent:1", "mirror.example.com:5000/firedrill-agent@sha256:ab"] {
            assert!(is_agent_image(image), "{image}");
        }
        assert!(!is_agent_image(IMAGE));
    }
}
