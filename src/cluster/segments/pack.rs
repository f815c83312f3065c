//! One segment: which bytes of the journal it holds, compressed, and from where on they count.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
};

use flate2::{Compression, read::DeflateDecoder, write::DeflateEncoder};
use k8s_openapi::{ByteString, api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::ObjectMeta};

use super::{BYTES, JOURNAL, OF_RUN, SegmentPlace, UID};
use crate::{cluster::ApiError, types::RunId};

/// The most that a segment holds, compressed: well below the API server's 1 MiB, and quick to write.
pub(super) const MOST: usize = 190 * 1024;
/// The most that a segment may hold when unpacked; more is nothing that was written by us.
const MOST_UNPACKED: u64 = 64 * 1024 * 1024;
/// Where the bytes are.
const RECORDS: &str = "records";
/// From where on they count: what a torn tail had left beyond that is void.
const OFFSET: &str = "offset";

/// The name of a run's segment.
pub(super) fn name(run: &RunId, number: u64) -> String {
    format!("{run}-{number:06}")
}

/// As many of `bytes` as fit into a segment, compressed, and how many they are.
pub(super) fn compress(bytes: &[u8]) -> (Vec<u8>, usize) {
    let mut taken = bytes.len().min(8 * MOST);
    loop {
        let packed = deflate(&bytes[..taken]);
        if packed.len() <= MOST {
            return (packed, taken);
        }
        // Even what does not compress at all fits in the end.
        taken = (taken * 3 / 4).min(taken - 1);
    }
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    // Writing to memory does not fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}

/// The ConfigMap of a segment.
pub(super) fn segment(place: &SegmentPlace, number: u64, (packed, offset): (Vec<u8>, usize)) -> ConfigMap {
    let texts = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let bytes = packed.len().to_string();
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name(&place.run, number)),
            namespace: Some(place.namespace.clone()),
            labels: Some(texts(&[
                (JOURNAL, place.run.as_str()),
                ("app.kubernetes.io/managed-by", "firedrill"),
            ])),
            annotations: Some(texts(&[(OF_RUN, &place.object), (UID, &place.uid), (BYTES, &bytes)])),
            ..ObjectMeta::default()
        },
        data: Some(texts(&[(OFFSET, &offset.to_string())])),
        binary_data: Some([(RECORDS.to_owned(), ByteString(packed))].into()),
        immutable: Some(true),
    }
}

/// Whether two segments hold the same.
pub(super) fn same(one: &ConfigMap, other: &ConfigMap) -> bool {
    one.binary_data == other.binary_data && one.data == other.data
}

/// Puts what a segment holds after the segments before it. How many bytes it takes in the cluster.
pub(super) fn append(segment: &ConfigMap, into: &mut Vec<u8>) -> Result<u64, ApiError> {
    let offset = segment.data.as_ref().and_then(|data| data.get(OFFSET)?.parse::<usize>().ok());
    let offset = offset.filter(|offset| *offset <= into.len());
    let offset = offset.ok_or_else(|| wrong(segment, "it does not say where it begins"))?;
    into.truncate(offset);
    unpack(segment, into)
}

/// What a segment holds by itself.
pub(super) fn unpacked(segment: &ConfigMap) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::new();
    unpack(segment, &mut bytes)?;
    Ok(bytes)
}

fn unpack(segment: &ConfigMap, into: &mut Vec<u8>) -> Result<u64, ApiError> {
    let packed = segment.binary_data.as_ref().and_then(|data| data.get(RECORDS));
    let packed = packed.ok_or_else(|| wrong(segment, "it has no records"))?;
    let mut decoder = DeflateDecoder::new(packed.0.as_slice()).take(MOST_UNPACKED);
    let unpacked = decoder.read_to_end(into);
    unpacked.map_err(|error| wrong(segment, &format!("it cannot be unpacked: {error}")))?;
    Ok(packed.0.len() as u64)
}

fn wrong(segment: &ConfigMap, what: &str) -> ApiError {
    let name = segment.metadata.name.as_deref().unwrap_or_default();
    ApiError::Malformed(format!("journal segment {name}: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_never_larger_than_it_may_be() {
        // Words of a small generator: nothing that compresses.
        let mut word: u32 = 1;
        let noise = || {
            word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (word >> 24) as u8
        };
        let noise: Vec<u8> = std::iter::repeat_with(noise).take(3 * MOST).collect();
        let (mut at, mut segments) = (0, 0);
        while at < noise.len() {
            let (packed, taken) = compress(&noise[at..]);
            assert!(packed.len() <= MOST && taken > 0);
            at += taken;
            segments += 1;
        }
        assert!(segments <= 5, "{segments}");
        let text = vec![b'a'; 4 * MOST];
        assert_eq!(compress(&text).1, text.len());
    }

    #[test]
    fn what_was_torn_before_a_segment_is_void() {
        let place = SegmentPlace {
            namespace: "firedrill".to_owned(),
            run: RunId::new("a", 1),
            object: "shop/a".to_owned(),
            uid: "u".to_owned(),
        };
        let first = segment(&place, 0, (deflate(b"whole\nto"), 0));
        let second = segment(&place, 1, (deflate(b"next\n"), 6));
        let mut bytes = Vec::new();
        for segment in [&first, &second] {
            append(segment, &mut bytes).expect("unpacks");
        }
        assert_eq!(bytes, b"whole\nnext\n");
        let beyond = segment(&place, 2, (deflate(b"x"), 99));
        assert!(matches!(append(&beyond, &mut bytes), Err(ApiError::Malformed(_))));
        let broken = segment(&place, 2, (b"no deflate".to_vec(), 0));
        assert!(matches!(append(&broken, &mut bytes), Err(ApiError::Malformed(_))));
    }
}
