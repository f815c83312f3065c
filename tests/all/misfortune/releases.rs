//! Scars of releases and autoscalers: claims of whoever may write the object.

use firedrill::{
    cluster::JsonPatch,
    engine,
    journal::{Residue, RevertOutcome},
    sim::store::Kind,
    types::ObjectRef,
};
use serde_json::{Value, json};

use super::Person;
use crate::{
    crash::{
        house::{object, settled},
        rollback,
    },
    kit::{Stage, in_virtual_time},
};

/// What came of everything that scars name.
async fn taken_back(stage: &Stage) -> Vec<Result<(RevertOutcome, String), Box<Residue>>> {
    let person = Person::of(stage);
    let (found, unseen) = engine::from_scars(person.access(), &[String::new()]).await;
    assert_eq!(unseen, Vec::new());
    let results = engine::revert_found(&stage.env, found, &rollback(false)).await;
    results.expect("the API server answers").into_iter().map(|(_, result)| result.map_err(Box::new)).collect()
}

fn web() -> ObjectRef {
    ObjectRef::namespaced("apps/v1", "Deployment", "shop", "web")
}

fn labels(run: &str, container: &str, revision: &str) -> JsonPatch {
    JsonPatch::new().add(
        "/metadata/labels",
        json!({
            "firedrill.dev/run": run,
            "undo.firedrill.dev/container": container,
            "undo.firedrill.dev/revision": revision,
        }),
    )
}

#[test]
fn labels_that_claim_a_release_are_validated_like_any_input() {
    in_virtual_time(async {
        let stage = settled(1).await;
        let person = Person::of(&stage);
        for (run, container, revision) in [
            ("../x", "main", "1"),
            ("trial-abcde", "other", "1"),
            ("trial-abcde", "main", "one"),
            ("trial-abcde", "main", "-1"),
        ] {
            // What the API server takes for a label value is not ours to choose.
            let Ok(planted) = person
                .access()
                .patch(&web(), None, &labels(run, container, revision), Default::default())
                .await
            else {
                continue;
            };
            let results = taken_back(&stage).await;
            assert_eq!(results, Vec::new(), "{run} {container} {revision}");
            let now = object(&stage, &Kind::DEPLOYMENT, "shop", "web");
            assert_eq!(now["spec"], planted.data["spec"], "{run} {container} {revision}");
        }
    });
}

/// A person releases an image and puts our labels beside it: it was never ours.
#[test]
fn what_a_person_has_released_is_not_taken_back_for_labels_alone() {
    in_virtual_time(async {
        let stage = settled(1).await;
        let person = Person::of(&stage);
        let image = "/spec/template/spec/containers/0/image";
        let release = labels("trial-abcde", "main", "1").add(image, "docker.io/local/app:2");
        person.patch(&web(), None, release).await;
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        let results = taken_back(&stage).await;
        let [Ok((RevertOutcome::ChangedSince, words))] = results.as_slice() else { panic!("{results:?}") };
        assert!(words.contains("kubectl"), "{words}");
        let now = object(&stage, &Kind::DEPLOYMENT, "shop", "web");
        assert_eq!(now.pointer(image), Some(&json!("docker.io/local/app:2")));
        assert_eq!(now.pointer("/metadata/labels"), None, "the labels go all the same");
    });
}

/// `revisionHistoryLimit: 0`, say: nothing is left that says what the image was.
#[test]
fn a_release_whose_former_replica_set_is_gone_is_named() {
    in_virtual_time(async {
        let stage = settled(1).await;
        Person::of(&stage).patch(&web(), None, labels("trial-abcde", "main", "99")).await;
        let before = object(&stage, &Kind::DEPLOYMENT, "shop", "web");
        let results = taken_back(&stage).await;
        let [Err(residue)] = results.as_slice() else { panic!("{results:?}") };
        assert!(residue.what.contains("revision 99"), "{residue:?}");
        assert_eq!(object(&stage, &Kind::DEPLOYMENT, "shop", "web")["spec"], before["spec"]);
    });
}

/// From the scar alone nobody knows what the bounds were changed to; managed fields know by whom.
#[test]
fn bounds_that_a_person_has_set_are_not_taken_back_for_a_scar_alone() {
    in_virtual_time(async {
        let stage = settled(1).await;
        let hpa = ObjectRef::namespaced("autoscaling/v2", "HorizontalPodAutoscaler", "shop", "api");
        let scar = |before: Value| {
            let text = json!({
                "run": "trial-abcde", "fault": "hpaClamp", "epoch": 1, "by": "mallory",
                "at": "2026-01-01T00:00:00Z", "until": "2026-01-01T01:00:00Z",
                "undoWith": "firedrill rollback trial-abcde", "before": before,
            });
            JsonPatch::new()
                .add("/metadata/labels", json!({"firedrill.dev/run": "trial-abcde"}))
                .add("/metadata/annotations", json!({"undo.firedrill.dev/hit.0": text.to_string()}))
        };
        let person = Person::of(&stage);
        let before = object(&stage, &Kind::HORIZONTAL_POD_AUTOSCALER, "shop", "api")["spec"].clone();
        for forged in
            [json!({"max": 0}), json!({"min": 9, "max": 4}), json!({"max": 4, "replicas": 1}), json!({})]
        {
            person.patch(&hpa, None, scar(forged.clone())).await;
            assert_eq!(taken_back(&stage).await, Vec::new(), "{forged}");
        }
        person.patch(&hpa, None, scar(json!({"min": 1, "max": 9}))).await;
        let results = taken_back(&stage).await;
        assert!(matches!(results.as_slice(), [Ok((RevertOutcome::ChangedSince, _))]), "{results:?}");
        let now = object(&stage, &Kind::HORIZONTAL_POD_AUTOSCALER, "shop", "api");
        assert_eq!(now["spec"], before);
        assert_eq!(now.pointer("/metadata/annotations"), None, "the scar goes all the same");
    });
}
