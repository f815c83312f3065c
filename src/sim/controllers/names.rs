//! Names and hashes that are the same in every run with one seed, whatever else happens in it.

use serde_json::Value;

/// The alphabet of `apimachinery/pkg/util/rand`: no vowels, so that no words come out.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// 64-bit FNV-1a over the parts, kept apart by a zero byte, then mixed (the finalizer of splitmix64).
#[must_use]
pub fn hash(parts: &[&str]) -> u64 {
    let mut state: u64 = 0xcbf2_9ce4_8422_2325;
    for part in parts {
        for byte in part.bytes().chain([0]) {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

/// Five characters, as `rand.String(5)` makes them.
#[must_use]
pub fn suffix(mut hash: u64) -> String {
    let mut out = String::with_capacity(5);
    for _ in 0..5 {
        out.push(char::from(ALPHABET[(hash % 27) as usize]));
        hash /= 27;
    }
    out
}

/// A number in `0.0..1.0`.
#[must_use]
pub fn fraction(hash: u64) -> f64 {
    (hash >> 11) as f64 / (1_u64 << 53) as f64
}

/// 64 hexadecimal digits that depend on the text alone: what stands for the digest of an image or the id of a
/// container.
#[must_use]
pub fn digest(text: &str) -> String {
    ["a", "b", "c", "d"].iter().map(|salt| format!("{:016x}", hash(&[salt, text]))).collect()
}

/// The `pod-template-hash` of a template. Kubernetes hashes Go's in-memory form with 32-bit FNV
/// (`ComputeHash` in `pkg/controller/controller_utils.go`); here it is the canonical JSON, so the letters differ
/// and the properties (equal templates, equal hash; safe characters) are the same.
#[must_use]
pub fn template_hash(template: &Value, collisions: i64) -> String {
    let mut state: u32 = 0x811c_9dc5;
    for byte in canonical(template).bytes().chain(collisions.to_string().bytes()) {
        state = (state ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    state.to_string().bytes().map(|digit| char::from(ALPHABET[usize::from(digit) % 27])).collect()
}

/// JSON with sorted keys and without `null`s or the template's own hash label.
#[must_use]
pub fn canonical(template: &Value) -> String {
    let mut template = template.clone();
    super::views::drop_nulls(&mut template);
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove("pod-template-hash");
        if labels.is_empty()
            && let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut)
        {
            metadata.remove("labels");
        }
    }
    sorted(&template).to_string()
}

/// The value with every object's keys in order, whatever map serde_json was built with.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut pairs: Vec<_> = map.iter().collect();
            pairs.sort_by(|a, b| a.0.cmp(b.0));
            Value::Object(pairs.into_iter().map(|(k, v)| (k.clone(), sorted(v))).collect())
        }
        Value::Array(list) => Value::Array(list.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_template_hash_ignores_order_nulls_and_itself() {
        let a = json!({"metadata": {"labels": {"app": "web", "pod-template-hash": "x"}, "creationTimestamp": null}, "spec": {"a": 1, "b": 2}});
        let b = json!({"spec": {"b": 2, "a": 1}, "metadata": {"labels": {"app": "web"}}});
        assert_eq!(template_hash(&a, 0), template_hash(&b, 0));
        assert_ne!(template_hash(&a, 0), template_hash(&a, 1));
    }

    #[test]
    fn names_are_safe_and_spread() {
        let names: std::collections::BTreeSet<_> =
            (0..1000).map(|n| suffix(hash(&["seed", "web", &n.to_string()]))).collect();
        assert!(names.len() > 995, "{}", names.len());
        assert!(names.iter().all(|n| n.len() == 5));
        assert_eq!(digest("app").len(), 64);
    }
}
