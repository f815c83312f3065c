//! Volumes that outlive pods: claims of StatefulSets, and where a claim's volume can be used.
//!
//! Every claim is bound when its first pod is, as with a StorageClass that waits for the first consumer, to a volume
//! that can be used in the zone of that pod's node and in no other, as those of clouds are. So a pod that keeps its claim
//! waits for its zone.
//!
//! Sources: `pkg/controller/statefulset/stateful_pod_control.go` and `stateful_set_utils.go` (claims, retention),
//! `pkg/scheduler/framework/plugins/volumebinding` (`binder.go`), v1.36. There are no StorageClasses, and volumes have no
//! size that could run out.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::ControlLoop;
use super::action::{Action, Target};
use super::views::{Node, NodeSelector, Pod, StatefulSet};
use crate::sim::scheduler::{self, ZONE};
use crate::sim::store::{Kind, Object, Selector};

/// The annotation by which the scheduler tells a provisioner where the first consumer goes.
const SELECTED: &str = "volume.kubernetes.io/selected-node";

/// The claims of a namespace, by name.
pub type Claims = BTreeMap<String, Arc<Object>>;

/// What is missing of the claims of a set's pod, and the volumes by which the pod uses them, by name of the template.
pub fn of_pod(set: &StatefulSet, index: i64, claims: &Claims) -> (Vec<Action>, Vec<(String, Value)>) {
    let (mut missing, mut volumes) = (Vec::new(), Vec::new());
    for template in &set.spec.volume_claim_templates {
        let of = template["metadata"]["name"].as_str().unwrap_or_default();
        let name = format!("{of}-{}-{index}", set.name());
        let volume = json!({"name": of, "persistentVolumeClaim": {"claimName": name}});
        volumes.push((of.to_owned(), volume));
        if claims.contains_key(&name) {
            continue;
        }
        let mut labels = template["metadata"]["labels"].as_object().cloned().unwrap_or_default();
        labels.extend(set.spec.selector.pairs.iter().map(|(key, value)| (key.clone(), json!(value))));
        let mut metadata = json!({"name": name, "namespace": set.namespace(), "labels": labels});
        if let Some(annotations) = template["metadata"].get("annotations") {
            metadata["annotations"] = annotations.clone();
        }
        if set.spec.persistent_volume_claim_retention_policy.when_deleted == "Delete" {
            metadata["ownerReferences"] = json!([set.object.controller_reference()]);
        }
        let claim = json!({"metadata": metadata, "spec": template["spec"], "status": {"phase": "Pending"}});
        missing.extend(Object::from_value(Kind::PERSISTENT_VOLUME_CLAIM, claim).map(Action::Create));
    }
    (missing, volumes)
}

/// Puts the volumes of claims into a pod's spec; one of the same name in the template gives way (`updateStorage`).
pub fn mount(spec: &mut Value, volumes: Vec<(String, Value)>) {
    if volumes.is_empty() {
        return;
    }
    let Some(fields) = spec.as_object_mut() else { return };
    let list = fields.entry("volumes").or_insert_with(|| json!([]));
    let Some(list) = list.as_array_mut() else { return };
    list.retain(|volume| !volumes.iter().any(|(name, _)| volume["name"] == name.as_str()));
    list.extend(volumes.into_iter().map(|(_, volume)| volume));
}

/// The claims of ordinals that the set has given up, where it is to give them up too.
pub fn given_up(set: &StatefulSet, claims: &Claims, there: &dyn Fn(i64) -> bool) -> Vec<Action> {
    if set.spec.persistent_volume_claim_retention_policy.when_scaled != "Delete" {
        return Vec::new();
    }
    let ordinal = |name: &str| -> Option<i64> {
        set.spec.volume_claim_templates.iter().find_map(|template| {
            let of = template["metadata"]["name"].as_str()?;
            name.strip_prefix(&format!("{of}-{}-", set.name()))?.parse().ok()
        })
    };
    let gone = claims
        .iter()
        .filter(|(name, claim)| !claim.terminating() && ordinal(name).is_some_and(|index| !there(index)));
    gone.map(|(_, claim)| Action::Delete(Target::of(claim), None)).collect()
}

/// What the volumes of a pod say of the node that it goes to.
#[derive(Default)]
pub struct Volumes {
    /// The claims that have no volume yet.
    unbound: Vec<Arc<Object>>,
    /// Where each volume can be used; none: anywhere.
    places: Vec<NodeSelector>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ClaimSpec {
    volume_name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct VolumeSpec {
    node_affinity: Affinity,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Affinity {
    required: Option<NodeSelector>,
}

impl Volumes {
    /// Whether all of them can be used on the node.
    pub fn reach(&self, node: &Node) -> bool {
        self.places.iter().all(|place| scheduler::meets(place, node))
    }

    /// Binds what is not bound yet, where the pod goes.
    pub fn bind(&self, node: &Node) -> Vec<Action> {
        let zone = node.meta().labels.get(ZONE);
        let mut actions = Vec::new();
        for claim in &self.unbound {
            let (spec, name) =
                (claim.field::<Value>("spec").unwrap_or_default(), format!("pvc-{}", claim.meta.uid));
            let (modes, size) = (spec["accessModes"].clone(), spec["resources"]["requests"].clone());
            let mut volume = json!({
                "metadata": {"name": name},
                "spec": {"accessModes": modes, "capacity": size, "persistentVolumeReclaimPolicy": "Delete",
                    "storageClassName": spec["storageClassName"], "volumeMode": "Filesystem",
                    "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "uid": claim.meta.uid,
                        "namespace": claim.meta.namespace, "name": claim.meta.name}},
                "status": {"phase": "Bound"},
            });
            if let Some(zone) = zone {
                let requirement = json!({"key": ZONE, "operator": "In", "values": [zone]});
                volume["spec"]["nodeAffinity"] =
                    json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [requirement]}]}});
            }
            super::views::drop_nulls(&mut volume);
            actions.extend(Object::from_value(Kind::PERSISTENT_VOLUME, volume).map(Action::Create));
            let mut status: Map<String, Value> = Map::new();
            status.insert("phase".to_owned(), json!("Bound"));
            status.extend(
                [("accessModes", modes), ("capacity", size)].map(|(key, value)| (key.to_owned(), value)),
            );
            let bound = json!({"metadata": {"annotations": {SELECTED: node.name()}}, "spec": {"volumeName": name},
                "status": status});
            actions.push(Action::Merge(Target::of(claim), bound));
        }
        actions
    }
}

impl ControlLoop {
    /// The volumes of a pod that is to be placed.
    ///
    /// # Errors
    /// The claim that is not there: the pod cannot be placed.
    pub(super) fn volumes_of(&self, pod: &Pod) -> Result<Volumes, String> {
        let mut volumes = Volumes::default();
        for name in &pod.spec.claims {
            let claim = self.store.get(&Kind::PERSISTENT_VOLUME_CLAIM, pod.namespace(), name);
            let Some(claim) = claim else { return Err(format!("persistentvolumeclaim {name:?} not found")) };
            let bound = claim.field::<ClaimSpec>("spec").unwrap_or_default().volume_name;
            if bound.is_empty() {
                volumes.unbound.push(claim);
                continue;
            }
            let volume = self.store.get(&Kind::PERSISTENT_VOLUME, "", &bound);
            let spec = volume.and_then(|volume| volume.field::<VolumeSpec>("spec").ok()).unwrap_or_default();
            volumes.places.extend(spec.node_affinity.required);
        }
        Ok(volumes)
    }

    /// The claims of a namespace, for a set that has any.
    pub(super) fn claims_of(&self, set: &StatefulSet) -> Claims {
        if set.spec.volume_claim_templates.is_empty() {
            return Claims::new();
        }
        let all =
            self.store.list(&Kind::PERSISTENT_VOLUME_CLAIM, Some(set.namespace()), &Selector::everything());
        all.into_iter().map(|claim| (claim.meta.name.clone(), claim)).collect()
    }

    /// A claim that is gone takes its volume along (reclaim policy Delete).
    pub(super) fn claim_gone(&mut self, claim: &Object) {
        let bound = claim.field::<ClaimSpec>("spec").unwrap_or_default().volume_name;
        if let Some(volume) = self.store.get(&Kind::PERSISTENT_VOLUME, "", &bound) {
            self.apply(&Action::Delete(Target::of(&volume), None));
        }
    }
}
