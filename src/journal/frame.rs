//! Framing: one record a line, with its length and checksum.
//!
//! A line is `LENGTH CRC JSON\n`: decimal length of the JSON in bytes, its CRC-32 in eight hexadecimal
//! digits. It can be read with ordinary tools, and a tear or a flipped bit shows.

use super::Entry;

/// What is wrong with a journal's bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {record} of the journal, at byte {offset}, is damaged: {what}")]
pub struct Damage {
    /// Which record, from 0.
    pub record: u64,
    /// Where it begins.
    pub offset: usize,
    /// What does not fit.
    pub what: String,
}

/// One entry as its line.
pub fn encode(entry: &Entry) -> Result<Vec<u8>, serde_json::Error> {
    let json = serde_json::to_vec(entry)?;
    let mut line = format!("{} {:08x} ", json.len(), crc32fast::hash(&json)).into_bytes();
    line.extend_from_slice(&json);
    line.push(b'\n');
    Ok(line)
}

/// All whole entries, and how many bytes they take: what comes after that is a torn tail.
///
/// # Errors
/// Damage that is not at the end, and a gap in the sequence.
pub fn decode(bytes: &[u8]) -> Result<(Vec<Entry>, usize), Damage> {
    let mut entries = Vec::new();
    let mut offset = 0;
    while offset < bytes.len() {
        let damage = |what: String| Damage { record: entries.len() as u64, offset, what };
        let rest = &bytes[offset..];
        let Some(end) = rest.iter().position(|&byte| byte == b'\n') else {
            break;
        };
        let last = end + 1 == rest.len();
        match line(&rest[..end]) {
            Ok(entry) if entry.seq == entries.len() as u64 => entries.push(entry),
            Ok(entry) => return Err(damage(format!("it is numbered {}", entry.seq))),
            // A line that ends the file may be a tear that happens to end in a line break.
            Err(_) if last => break,
            Err(what) => return Err(damage(what)),
        }
        offset += end + 1;
    }
    Ok((entries, offset))
}

/// The last record in the end of a journal, wherever that was cut; None where not all of it is there, or not whole.
pub fn last(end: &[u8]) -> Option<Entry> {
    let lines = end.strip_suffix(b"\n")?;
    line(lines.rsplit(|&byte| byte == b'\n').next()?).ok()
}

fn line(line: &[u8]) -> Result<Entry, String> {
    let text = std::str::from_utf8(line).map_err(|_| "it is not UTF-8".to_owned())?;
    let mut parts = text.splitn(3, ' ');
    let (Some(length), Some(crc), Some(json)) = (parts.next(), parts.next(), parts.next()) else {
        return Err("it has no length and checksum".to_owned());
    };
    if length.parse() != Ok(json.len()) {
        return Err(format!("it should have {length} bytes and has {}", json.len()));
    }
    if crc != format!("{:08x}", crc32fast::hash(json.as_bytes())) {
        return Err("its checksum does not fit".to_owned());
    }
    serde_json::from_str(json).map_err(|error| format!("it cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::{journal::Record, types::Epoch};

    fn journal(count: u64) -> Vec<u8> {
        let entry = |seq| Entry {
            seq,
            at: Timestamp::UNIX_EPOCH,
            epoch: Epoch(1),
            record: Record::Noted { text: format!("note {seq}\nwith a line break"), written: None },
        };
        (0..count).flat_map(|seq| encode(&entry(seq)).expect("encodes")).collect()
    }

    proptest! {
        #[test]
        fn a_torn_tail_is_dropped_wherever_it_tears(cut in 0usize..1000) {
            let whole = journal(8);
            let cut = cut.min(whole.len());
            let (entries, length) = decode(&whole[..cut]).expect("a tear is no damage");
            prop_assert!(length <= cut);
            prop_assert_eq!(journal(entries.len() as u64), &whole[..length]);
        }

        #[test]
        fn a_flipped_bit_in_the_middle_is_named(at in 0usize..500, bit in 0u8..8) {
            let mut bytes = journal(8);
            // The line break before the last record aside: without it that record's tear looks the same.
            let at = at % (journal(7).len() - 1);
            bytes[at] ^= 1 << bit;
            // A changed length digit or a lost line break is damage as well.
            prop_assert!(decode(&bytes).is_err());
        }

        #[test]
        fn rubbish_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn the_last_record_is_read_from_the_end_alone() {
        let (seven, all) = (journal(7).len(), journal(8));
        for from in 0..=seven {
            assert_eq!(last(&all[from..]).map(|entry| entry.seq), Some(7), "{from}");
        }
        assert_eq!(last(&all[seven + 1..]), None, "half of it is none");
        assert_eq!((last(&all[..all.len() - 1]), last(b""), last(b"\n")), (None, None, None));
    }

    #[test]
    fn a_missing_record_is_damage() {
        let mut bytes = journal(3);
        let first = journal(1).len();
        bytes.drain(first..journal(2).len());
        let damage = decode(&bytes).expect_err("a gap");
        assert_eq!((damage.record, damage.offset), (1, first));
    }
}
