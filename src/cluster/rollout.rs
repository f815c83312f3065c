//! How a workload goes from one pod template to the next, and what tells two templates apart.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// What a rollout of a workload is like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollout {
    /// Whether it is paused: a Deployment makes no new ReplicaSet meanwhile.
    pub paused: bool,
    /// `RollingUpdate`, `Recreate` or `OnDelete`.
    pub strategy: String,
    /// How many pods may be not ready at once while it goes on; of a `Recreate`, all.
    pub unavailable: i32,
    /// Pods with an ordinal below this keep the former template (StatefulSets).
    pub partition: i32,
}

/// `strategy` of a Deployment, `updateStrategy` of a StatefulSet or DaemonSet.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Strategy {
    #[serde(rename = "type")]
    kind: String,
    rolling_update: Option<RollingUpdate>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RollingUpdate {
    max_unavailable: Value,
    max_surge: Value,
    partition: i32,
}

/// What is kept of a pod template.
#[derive(Default)]
pub(super) struct Template {
    pub(super) fingerprint: String,
    /// Name and image, init containers aside.
    pub(super) containers: Vec<(String, String)>,
    /// Labels and annotations.
    pub(super) marks: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct RawTemplate {
    metadata: TemplateMeta,
    spec: TemplateSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct TemplateMeta {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct TemplateSpec {
    containers: Vec<Container>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Container {
    name: String,
    image: String,
}

impl Template {
    pub(super) fn read(template: Value) -> Self {
        let fingerprint = fingerprint(&template);
        // One that does not have a template's shape says nothing of what it holds.
        let raw: RawTemplate = serde_json::from_value(template).unwrap_or_default();
        Self {
            fingerprint,
            containers: raw.spec.containers.into_iter().map(|c| (c.name, c.image)).collect(),
            marks: raw.metadata.labels.into_iter().chain(raw.metadata.annotations).collect(),
        }
    }
}

impl Rollout {
    /// As the controllers resolve it: `ResolveFenceposts` in `pkg/controller/deployment/util`,
    /// `getStatefulSetMaxUnavailable` in `pkg/controller/statefulset`, `UnavailableCount` in
    /// `pkg/controller/daemon/util`.
    pub(super) fn read(kind: &str, replicas: i32, paused: bool, strategy: Strategy) -> Self {
        let rolling = strategy.rolling_update.unwrap_or_default();
        let (unavailable, surge) = (&rolling.max_unavailable, &rolling.max_surge);
        let at_once = match (kind, strategy.kind.as_str()) {
            (_, "Recreate") => replicas,
            (_, "OnDelete") => 0,
            ("Deployment", _) => {
                let surge = share(surge, replicas, true).unwrap_or_else(|| quarter(replicas, true));
                let down = share(unavailable, replicas, false).unwrap_or_else(|| quarter(replicas, false));
                if surge == 0 && down == 0 { 1 } else { down }
            }
            ("DaemonSet", _) => share(unavailable, replicas, true).unwrap_or(1),
            _ => share(unavailable, replicas, false).unwrap_or(1).max(1),
        };
        Self {
            paused,
            strategy: strategy.kind,
            unavailable: at_once.clamp(0, replicas.max(0)),
            partition: rolling.partition,
        }
    }
}

/// A number or a percentage of `of`.
fn share(value: &Value, of: i32, up: bool) -> Option<i32> {
    match value {
        Value::Number(number) => i32::try_from(number.as_i64()?).ok(),
        Value::String(text) => {
            let percent: i64 = text.strip_suffix('%')?.parse().ok()?;
            let parts = i64::from(of).checked_mul(percent)?;
            i32::try_from(if up { parts.saturating_add(99).div_euclid(100) } else { parts / 100 }).ok()
        }
        _ => None,
    }
}

/// What a Deployment says when it says nothing (`SetDefaults_Deployment`).
fn quarter(of: i32, up: bool) -> i32 {
    share(&Value::from("25%"), of, up).unwrap_or(0)
}

/// What tells one pod template from another: 16 hexadecimal digits of the 64-bit FNV-1a hash (RFC 9923) of its JSON.
/// No protection against forgery; it tells a rollout that somebody has begun from one that nobody has.
pub fn fingerprint(template: &Value) -> String {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let text = template.to_string();
    let hash = text.bytes().fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn down(kind: &str, replicas: i32, strategy: Value) -> i32 {
        let strategy = serde_json::from_value(strategy).expect("a strategy");
        Rollout::read(kind, replicas, false, strategy).unavailable
    }

    #[test]
    fn as_many_are_down_at_once_as_the_controllers_let() {
        let rolling = |fields: Value| json!({"type": "RollingUpdate", "rollingUpdate": fields});
        assert_eq!(down("Deployment", 4, json!({})), 1);
        assert_eq!(down("Deployment", 3, rolling(json!({"maxUnavailable": "25%", "maxSurge": "25%"}))), 0);
        assert_eq!(down("Deployment", 3, rolling(json!({"maxUnavailable": 0, "maxSurge": 0}))), 1);
        assert_eq!(down("Deployment", 3, rolling(json!({"maxUnavailable": 9, "maxSurge": 0}))), 3);
        assert_eq!(down("Deployment", 3, json!({"type": "Recreate"})), 3);
        assert_eq!(down("StatefulSet", 3, rolling(json!({"partition": 0}))), 1);
        assert_eq!(down("DaemonSet", 10, rolling(json!({"maxUnavailable": "15%"}))), 2);
        assert_eq!(down("DaemonSet", 10, json!({"type": "OnDelete", "rollingUpdate": null})), 0);
    }

    #[test]
    fn templates_are_told_apart_by_any_field() {
        let one = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"image": "a:1"}]}});
        let mut two = one.clone();
        assert_eq!(fingerprint(&one), fingerprint(&two));
        two["spec"]["containers"][0]["env"] = json!([]);
        assert_ne!(fingerprint(&one), fingerprint(&two));
        assert_eq!(fingerprint(&Value::Null).len(), 16);
    }
}
