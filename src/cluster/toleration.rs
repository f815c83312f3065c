//! Which taints a pod puts up with, and for how long.

use serde::Deserialize;

use super::Taint;

/// What a pod tolerates (core/v1 `Toleration`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Toleration {
    /// Of taints with this key; empty: of all.
    pub key: String,
    /// `Exists` or `Equal`; empty: `Equal`.
    pub operator: String,
    /// For `Equal`.
    pub value: String,
    /// Of taints with this effect; empty: of all.
    pub effect: String,
    /// For so many seconds; None: for ever.
    pub toleration_seconds: Option<i64>,
}

impl Toleration {
    /// Whether it is about `taint` (`ToleratesTaint` in k8s.io/component-helpers).
    pub fn tolerates(&self, taint: &Taint) -> bool {
        let value = match self.operator.as_str() {
            "" | "Equal" => self.value == taint.value,
            other => other == "Exists",
        };
        (self.effect.is_empty() || self.effect == taint.effect)
            && (self.key.is_empty() || self.key == taint.key)
            && value
    }

    /// Whether it lets a pod outlast a taint of effect NoExecute that Kubernetes does not set by itself. Every pod
    /// has two that do not (admission plugin DefaultTolerationSeconds).
    pub(super) fn matters(&self) -> bool {
        let by_itself = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
        (self.effect.is_empty() || self.effect == "NoExecute") && !by_itself.contains(&self.key.as_str())
    }
}

/// How long a pod stays on a node that gets `taint`, of effect NoExecute: seconds, or None for ever. The shortest of
/// the tolerations that end counts (`getMinTolerationTime` in pkg/controller/tainteviction).
pub fn stays_for(tolerations: &[Toleration], taint: &Taint) -> Option<u64> {
    let about: Vec<_> = tolerations.iter().filter(|toleration| toleration.tolerates(taint)).collect();
    if about.is_empty() {
        return Some(0);
    }
    let shortest = about.iter().filter_map(|toleration| toleration.toleration_seconds).min();
    shortest.map(|seconds| u64::try_from(seconds).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_toleration_that_ends_counts() {
        let taint = Taint { key: "k".to_owned(), value: "v".to_owned(), effect: "NoExecute".to_owned() };
        let one = |operator: &str, value: &str, seconds| Toleration {
            key: "k".to_owned(),
            operator: operator.to_owned(),
            value: value.to_owned(),
            effect: String::new(),
            toleration_seconds: seconds,
        };
        let all = Toleration { operator: "Exists".to_owned(), ..Toleration::default() };
        for (tolerations, stays) in [
            (vec![], Some(0)),
            (vec![one("", "other", None)], Some(0)),
            (vec![one("", "v", None)], None),
            (vec![one("Equal", "v", Some(60)), one("Exists", "", Some(30))], Some(30)),
            (vec![one("Equal", "v", Some(60)), all.clone()], Some(60)),
            (vec![one("Exists", "", Some(-5))], Some(0)),
            (vec![all], None),
        ] {
            assert_eq!(stays_for(&tolerations, &taint), stays, "{tolerations:?}");
        }
    }
}
