//! Framing: one message a line, with its length and checksum.
//!
//! A line is `fd1 LENGTH CRC JSON\n`: decimal length of the JSON in bytes, its CRC-32 in eight hexadecimal
//! digits. Several attaches share one standard input byte by byte, so a line may be torn or mixed with
//! another: what is not a frame is no message. A session begins with a bare line break.

use serde::{Serialize, de::DeserializeOwned};

/// No line is longer, its end aside.
pub const LONGEST: usize = 256 * 1024;

/// Why a line is no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Not a frame, a torn one, or one with a flipped bit.
    #[error("not a frame: {0}")]
    NotAFrame(&'static str),
    /// A whole frame with something else in it.
    #[error("not a message: {0}")]
    NotAMessage(String),
}

/// A message as its line, line break included.
pub fn encode<T: Serialize>(message: &T) -> String {
    let json = serde_json::to_string(message).expect("messages have string keys and finite numbers");
    format!("fd1 {} {:08x} {json}\n", json.len(), crc32fast::hash(json.as_bytes()))
}

/// The JSON of a line.
///
/// # Errors
/// The line is not a whole frame.
pub fn payload(line: &str) -> Result<&str, FrameError> {
    let line = line.trim_end_matches(['\r', '\n']);
    if line.len() > LONGEST {
        return Err(FrameError::NotAFrame("it is too long"));
    }
    let rest = line.strip_prefix("fd1 ").ok_or(FrameError::NotAFrame("it does not begin with fd1"))?;
    let parts = rest.split_once(' ').and_then(|(length, rest)| Some((length, rest.split_once(' ')?)));
    let (length, (crc, json)) = parts.ok_or(FrameError::NotAFrame("it has no length and checksum"))?;
    if length != json.len().to_string() {
        return Err(FrameError::NotAFrame("its length does not fit"));
    }
    if crc != format!("{:08x}", crc32fast::hash(json.as_bytes())) {
        return Err(FrameError::NotAFrame("its checksum does not fit"));
    }
    Ok(json)
}

/// The message of a line.
///
/// # Errors
/// The line is not a whole frame, or holds no such message.
pub fn decode<T: DeserializeOwned>(line: &str) -> Result<T, FrameError> {
    serde_json::from_str(payload(line)?).map_err(|error| FrameError::NotAMessage(error.to_string()))
}

/// Cuts a stream of bytes into lines, and keeps no more than one line of it.
#[derive(Debug, Default)]
pub struct Lines {
    begun: Vec<u8>,
    skipping: bool,
}

impl Lines {
    /// The lines that these bytes complete, without line breaks and without empty ones. What is too long is
    /// dropped up to its end.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut whole = Vec::new();
        let mut pieces = bytes.split(|byte| *byte == b'\n');
        let last = pieces.next_back().unwrap_or_default();
        for piece in pieces {
            self.add(piece);
            if !self.begun.is_empty() {
                whole.push(String::from_utf8_lossy(&self.begun).into_owned());
            }
            self.begun.clear();
            self.skipping = false;
        }
        self.add(last);
        whole
    }

    fn add(&mut self, piece: &[u8]) {
        if self.begun.len() + piece.len() > LONGEST {
            self.begun.clear();
            self.skipping = true;
        } else if !self.skipping {
            self.begun.extend_from_slice(piece);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_message_comes_back(message in ".{0,200}") {
            let line = encode(&message);
            prop_assert_eq!(line.matches('\n').count(), 1);
            prop_assert_eq!(decode::<String>(&line), Ok(message));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            for line in Lines::default().push(&bytes) {
                prop_assert!(decode::<String>(&line).is_err());
            }
        }

        #[test]
        fn a_flipped_bit_is_no_message(message in "[ -~]{1,40}", at in 0usize..60, bit in 0u8..8) {
            let mut bytes = encode(&message).into_bytes();
            let at = at % (bytes.len() - 1);
            bytes[at] ^= 1 << bit;
            for line in Lines::default().push(&bytes) {
                prop_assert!(decode::<String>(&line).is_err(), "{}", line);
            }
        }

        #[test]
        fn lines_are_the_same_however_they_arrive(cuts in proptest::collection::vec(0usize..90, 0..6)) {
            let text = format!("\nrubbish\n{}{}half", encode(&"one"), encode(&"two"));
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let mut lines = Lines::default();
            let read: Vec<String> =
                cuts.windows(2).flat_map(|pair| lines.push(&text.as_bytes()[pair[0]..pair[1]])).collect();
            prop_assert_eq!(read, Lines::default().push(text.as_bytes()));
        }
    }

    #[test]
    fn a_line_without_end_is_dropped_up_to_its_end() {
        let mut lines = Lines::default();
        for _ in 0..5 {
            assert!(lines.push(&vec![b'x'; LONGEST / 2]).is_empty());
        }
        assert!(lines.begun.len() <= LONGEST);
        let read = lines.push(format!("x\n{}", encode(&7)).as_bytes());
        assert_eq!(read.len(), 1);
        assert_eq!(decode::<u8>(&read[0]), Ok(7));
    }
}
