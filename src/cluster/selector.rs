//! Which pods a budget or a workload means.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt};

/// Whom a budget covers, or which pods a workload has: read once, for it is asked about every pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodSelector(Option<Selector>);

impl PodSelector {
    /// As policy/v1 and apps/v1 mean it: empty selects every pod, absent (null) none. One that cannot be read
    /// selects none.
    pub(super) fn read(raw: Option<LabelSelector>) -> Self {
        Self(raw.and_then(|selector| Selector::try_from(selector).ok()))
    }

    /// The same from JSON, as it stands in an object.
    pub fn of(raw: &serde_json::Value) -> Self {
        Self::read(serde_json::from_value(raw.clone()).ok())
    }

    /// Whether it selects a pod with these labels.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.as_ref().is_some_and(|selector| selector.matches(labels))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn selects(selector: Value) -> bool {
        let raw = serde_json::from_value(selector).expect("a selector, or null");
        PodSelector::read(raw).matches(&BTreeMap::from([("app".to_owned(), "web".to_owned())]))
    }

    #[test]
    fn an_empty_selector_selects_every_pod_and_an_absent_one_none() {
        assert!(selects(json!({})));
        assert!(selects(json!({"matchLabels": {"app": "web"}})));
        assert!(!selects(json!({"matchLabels": {"app": "db"}})));
        assert!(!selects(Value::Null));
        assert!(!selects(
            json!({"matchExpressions": [{"key": "app", "operator": "Near", "values": ["web"]}]})
        ));
    }
}
