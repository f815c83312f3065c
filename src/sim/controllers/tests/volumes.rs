//! Volumes that outlive pods.

use super::*;
use crate::sim::scheduler::ZONE;

/// A StatefulSet `web` with a claim `data` for each pod.
fn with_claims(replicas: i64, spec: Value) -> Value {
    let mut object = deployment(replicas, json!({}));
    object["kind"] = json!("StatefulSet");
    object["spec"].as_object_mut().unwrap().remove("strategy");
    object["spec"]["serviceName"] = json!("web");
    object["spec"]["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]);
    json_patch::merge(&mut object["spec"], &spec);
    object
}

impl World {
    /// Name, phase and volume of each claim.
    fn claims(&self) -> Vec<(String, String, String)> {
        let claims =
            self.store().list(&Kind::PERSISTENT_VOLUME_CLAIM, Some("default"), &Selector::everything());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let of = |claim: &Object| {
            let claim = claim.to_value();
            let name = text(&claim["metadata"]["name"]);
            (name, text(&claim["status"]["phase"]), text(&claim["spec"]["volumeName"]))
        };
        claims.iter().map(|claim| of(claim)).collect()
    }

    fn volumes(&self) -> usize {
        self.store().count(&Kind::PERSISTENT_VOLUME)
    }

    fn scale(&self, replicas: i64) {
        self.change(&Kind::STATEFUL_SET, "web", |set| set["spec"]["replicas"] = json!(replicas));
    }

    fn zone_of(&self, pod: &str) -> String {
        let pod = self.pods().into_iter().find(|found| found.name() == pod).unwrap();
        let node = self.value(&Kind::NODE, &pod.spec.node_name);
        node["metadata"]["labels"][ZONE].as_str().unwrap_or_default().to_owned()
    }

    fn close(&self, zone: &str, closed: bool) {
        for node in self.store().list(&Kind::NODE, None, &Selector::everything()) {
            if node.meta.labels.get(ZONE).is_some_and(|of| of == zone) {
                self.change(&Kind::NODE, &node.meta.name, |node| {
                    node["spec"]["unschedulable"] = json!(closed)
                });
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn claims_stay_when_a_set_shrinks_and_are_used_again() {
    let world = start(3, &[with_claims(2, json!({}))]);
    world.until_ready(2).await;
    let before = world.claims();
    let names: Vec<&str> = before.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["data-web-0", "data-web-1"]);
    assert!(
        before.iter().all(|(_, phase, volume)| phase == "Bound" && volume.starts_with("pvc-")),
        "{before:?}"
    );
    let pod = world.value(&Kind::POD, "web-1");
    assert_eq!(pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"], "data-web-1");
    world.scale(1);
    sleep(seconds(20)).await;
    assert_eq!((world.pods().len(), world.claims(), world.volumes()), (1, before.clone(), 2));
    world.scale(2);
    world.until_ready(2).await;
    assert_eq!((world.claims(), world.volumes()), (before.clone(), 2));
    let options = DeleteOptions::default();
    world.store().delete(&Kind::STATEFUL_SET, "default", "web", &options).unwrap();
    sleep(seconds(60)).await;
    assert_eq!((world.pods().len(), world.claims()), (0, before), "Retain is the default");
}

#[tokio::test(start_paused = true)]
async fn claims_go_where_the_set_says_so_and_take_their_volumes_along() {
    let policy =
        json!({"persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete", "whenDeleted": "Delete"}});
    let world = start(3, &[with_claims(3, policy)]);
    world.until_ready(3).await;
    world.scale(1);
    sleep(seconds(30)).await;
    assert_eq!((world.claims().len(), world.volumes()), (1, 1));
    world.store().delete(&Kind::STATEFUL_SET, "default", "web", &DeleteOptions::default()).unwrap();
    sleep(seconds(60)).await;
    assert_eq!((world.claims().len(), world.volumes()), (0, 0));
}

/// What a lost zone means for whoever keeps data in it.
#[tokio::test(start_paused = true)]
async fn a_pod_waits_for_the_zone_of_its_volume() {
    let world = start(6, &[with_claims(1, json!({}))]);
    world.until_ready(1).await;
    let zone = world.zone_of("web-0");
    world.close(&zone, true);
    world.kill("web-0", 0);
    sleep(seconds(60)).await;
    let pod = world.value(&Kind::POD, "web-0");
    let said = pod["status"]["conditions"][0]["message"].as_str().unwrap_or_default().to_owned();
    assert!(
        said.contains("4 node(s) didn't match PersistentVolume's node affinity")
            && said.contains("2 node(s) were unschedulable"),
        "{said}"
    );
    world.close(&zone, false);
    world.until_ready(1).await;
    assert_eq!(world.zone_of("web-0"), zone);
}

#[tokio::test(start_paused = true)]
async fn a_pod_whose_claim_is_not_there_is_not_placed() {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "lone", "namespace": "default"},
        "spec": {"containers": [{"name": "app", "image": "web:1"}],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "mine"}}]}});
    let world = start(3, &[]);
    sleep(seconds(1)).await;
    world.sim.apply_manifests(&[pod]).unwrap();
    sleep(seconds(5)).await;
    let said = world.value(&Kind::POD, "lone")["status"]["conditions"][0]["message"].to_string();
    assert!(said.contains("0/3 nodes are available") && said.contains("not found"), "{said}");
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "mine", "namespace": "default"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    world.sim.apply_manifests(&[claim]).unwrap();
    world.until_ready(1).await;
    assert_eq!(world.claims()[0].1, "Bound");
}
