//! Strategic merge patch (staging/src/k8s.io/apimachinery/pkg/util/strategicpatch/patch.go), with the merge
//! keys of the built-in types and the directives `$patch`, `$retainKeys`, `$deleteFromPrimitiveList`,
//! `$setElementOrder`.

use crate::sim::store::listmap::{ListMerge, list_merge};
use crate::sim::store::{Kind, Status};
use serde_json::{Map, Value};

/// Merges a patch into a document of a built-in kind.
///
/// # Errors
/// 400 for a patch that does not fit (a list where a map is, an element without its merge key).
pub(super) fn merge(kind: &Kind, document: &mut Value, patch: &Value) -> Result<(), Status> {
    match (document, patch) {
        (Value::Object(map), Value::Object(patch)) => merge_map(kind, map, patch),
        (_, Value::Object(_)) => Err(Status::bad_request("the object to patch is not a map")),
        _ => Err(Status::bad_request("invalid JSON document: a patch is a map")),
    }
}

fn merge_map(kind: &Kind, map: &mut Map<String, Value>, patch: &Map<String, Value>) -> Result<(), Status> {
    match patch.get("$patch").and_then(Value::as_str) {
        Some("replace") => {
            map.clear();
            map.extend(patch.iter().filter(|(k, _)| *k != "$patch").map(|(k, v)| (k.clone(), v.clone())));
            return Ok(());
        }
        Some("delete") => {
            map.clear();
            return Ok(());
        }
        Some("merge") | None => {}
        Some(other) => return Err(Status::bad_request(format!("unknown patch type found: {other}"))),
    }
    if let Some(Value::Array(keep)) = patch.get("$retainKeys") {
        map.retain(|name, _| keep.iter().any(|k| k == name));
    }
    for (name, value) in patch {
        if let Some(list) = name.strip_prefix("$deleteFromPrimitiveList/") {
            if let (Some(Value::Array(have)), Some(gone)) = (map.get_mut(list), value.as_array()) {
                have.retain(|v| !gone.contains(v));
            }
        } else if name.starts_with('$') {
            // $setElementOrder is done after the lists are merged; the others were above.
        } else if value.is_null() {
            map.remove(name);
        } else {
            merge_field(kind, map, name, value)?;
        }
    }
    for (name, order) in patch {
        if let (Some(list), Value::Array(order)) = (name.strip_prefix("$setElementOrder/"), order) {
            reorder(kind, map, list, order);
        }
    }
    Ok(())
}

fn merge_field(kind: &Kind, map: &mut Map<String, Value>, name: &str, value: &Value) -> Result<(), Status> {
    match (map.get_mut(name), value) {
        (Some(Value::Object(have)), Value::Object(patch)) => {
            merge_map(kind, have, patch)?;
        }
        (Some(Value::Array(have)), Value::Array(patch)) => match list_merge(kind, false, name) {
            ListMerge::Atomic => *have = without_directives(patch),
            ListMerge::Set => {
                for item in patch.iter().filter(|i| !have.contains(i)).cloned().collect::<Vec<_>>() {
                    have.push(item);
                }
            }
            ListMerge::Keyed { strategic, .. } => merge_keyed(kind, have, patch, strategic)?,
        },
        (_, Value::Array(patch)) => {
            map.insert(name.into(), Value::Array(without_directives(patch)));
        }
        (_, Value::Object(patch)) => {
            let mut fresh = Map::new();
            merge_map(kind, &mut fresh, patch)?;
            map.insert(name.into(), Value::Object(fresh));
        }
        (_, scalar) => {
            map.insert(name.into(), scalar.clone());
        }
    }
    Ok(())
}

fn without_directives(items: &[Value]) -> Vec<Value> {
    items.iter().filter(|i| i.get("$patch").is_none()).cloned().collect()
}

fn merge_keyed(kind: &Kind, have: &mut Vec<Value>, patch: &[Value], key: &str) -> Result<(), Status> {
    if patch.iter().any(|i| i["$patch"] == "replace") {
        *have = without_directives(patch);
        return Ok(());
    }
    let before: Vec<Value> = have.iter().filter_map(|h| h.get(key).cloned()).collect();
    for item in patch {
        let Some(id) = item.get(key) else {
            return Err(Status::bad_request(format!(
                "map: {item} does not contain declared merge key: {key}"
            )));
        };
        let at = have.iter().position(|h| h.get(key) == Some(id));
        match (at, item["$patch"] == "delete") {
            (Some(i), true) => {
                have.remove(i);
            }
            (None, true) => {}
            (Some(i), false) => merge(kind, &mut have[i], item)?,
            (None, false) => have.push(item.clone()),
        }
    }
    in_order(have, patch, key, &before);
    Ok(())
}

/// Elements of the patch keep its order and come before those that only the server has, unless the server had
/// one of those in front (`mergeSortedSlice`).
fn in_order(have: &mut Vec<Value>, patch: &[Value], key: &str, before: &[Value]) {
    let at = |item: &Value| before.iter().position(|id| item.get(key) == Some(id));
    let patched = |item: &Value| patch.iter().position(|p| p.get(key) == item.get(key));
    let (mut left, right): (Vec<Value>, Vec<Value>) =
        have.drain(..).partition(|item| patched(item).is_some());
    left.sort_by_key(patched);
    let mut right = right.into_iter().peekable();
    for item in left {
        while right.peek().is_some_and(|r| at(&item).is_some_and(|i| at(r).is_some_and(|j| j < i))) {
            have.extend(right.next());
        }
        have.push(item);
    }
    have.extend(right);
}

/// Puts the elements that `order` names in that order; others keep their place behind.
fn reorder(kind: &Kind, map: &mut Map<String, Value>, list: &str, order: &[Value]) {
    let key = match list_merge(kind, false, list) {
        ListMerge::Keyed { strategic, .. } => Some(strategic),
        _ => None,
    };
    if let Some(Value::Array(items)) = map.get_mut(list) {
        let same = |item: &Value, wanted: &Value| match key {
            Some(key) => item.get(key) == wanted.get(key),
            None => item == wanted,
        };
        items.sort_by_key(|item| order.iter().position(|w| same(item, w)).unwrap_or(usize::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn merged(kind: &Kind, mut document: Value, patch: &Value) -> Value {
        merge(kind, &mut document, patch).expect("fits");
        document
    }

    #[test]
    fn containers_merge_by_name_and_taints_are_replaced() {
        let document = json!({"spec": {"containers": [{"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}]}, {"name": "b"}]}});
        let patch = json!({"spec": {"containers": [{"name": "a", "env": [{"name": "Y", "value": "2"}]}, {"name": "b", "$patch": "delete"}]}});
        let out = merged(&Kind::POD, document, &patch);
        assert_eq!(
            out,
            json!({"spec": {"containers": [{"name": "a", "image": "1",
            "env": [{"name": "Y", "value": "2"}, {"name": "X", "value": "1"}]}]}})
        );
        let out = merged(
            &Kind::NODE,
            json!({"spec": {"taints": [{"key": "a"}]}}),
            &json!({"spec": {"taints": [{"key": "b"}]}}),
        );
        assert_eq!(
            out,
            json!({"spec": {"taints": [{"key": "b"}]}}),
            "as a real server does: the list is replaced"
        );
    }

    #[test]
    fn null_removes_and_element_order_is_kept() {
        let out = merged(
            &Kind::NODE,
            json!({"spec": {"unschedulable": true}}),
            &json!({"spec": {"unschedulable": null}}),
        );
        assert_eq!(out, json!({"spec": {}}));
        let patch = json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "b", "image": "2"}]});
        let out = merged(&Kind::POD, json!({"containers": [{"name": "a"}, {"name": "b"}]}), &patch);
        assert_eq!(out, json!({"containers": [{"name": "b", "image": "2"}, {"name": "a"}]}));
    }
}
