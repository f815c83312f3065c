//! Patches, scale, server-side apply, dry runs, validation.

use super::*;

#[tokio::test(start_paused = true)]
async fn taints_by_json_patch_behave_as_tried_on_a_real_server() {
    let sim = sim();
    let api: Api<Node> = Api::all(sim.client());
    let params = PatchParams::default();
    let taint = |key: &str| json!({"key": key, "value": "RUN", "effect": "NoSchedule"});
    let keys = |node: &Node| -> Vec<String> {
        node.spec.clone().unwrap_or_default().taints.unwrap_or_default().into_iter().map(|t| t.key).collect()
    };
    // No list: `test null` passes when absent.
    let fresh = json_patch(
        json!([{"op": "test", "path": "/spec/taints", "value": null}, {"op": "add", "path": "/spec/taints", "value": [taint("fd")]}]),
    );
    assert_eq!(keys(&api.patch("n2", &params, &fresh).await.expect("no list yet")), ["fd"]);
    let refused = api_error(api.patch("n2", &params, &fresh).await.expect_err("there is a list now"));
    assert_eq!((refused.code, refused.reason.as_str()), (422, "Invalid"));
    assert_eq!(refused.message, "the server rejected our request due to an error in our request");
    // Taken away, the last one takes the list along.
    let last = json_patch(json!([{"op": "remove", "path": "/spec/taints/0"}]));
    let bare = api.patch("n2", &params, &last).await.expect("ours");
    assert_eq!(bare.spec.expect("a spec").taints, None);
    // List present.
    let append = json_patch(json!([{"op": "add", "path": "/spec/taints/-", "value": taint("fd")}]));
    assert_eq!(keys(&api.patch("n1", &params, &append).await.expect("appended")), ["base", "fd"]);
    assert_eq!(api_error(api.patch("n1", &params, &append).await.expect_err("duplicate")).code, 422);
    // Removal guarded by tests of single members.
    let guarded = |value: &str| {
        json_patch(
            json!([{"op": "test", "path": "/spec/taints/1/key", "value": "fd"}, {"op": "test", "path": "/spec/taints/1/value", "value": value},
            {"op": "remove", "path": "/spec/taints/1"}]),
        )
    };
    assert_eq!(api_error(api.patch("n1", &params, &guarded("OTHER")).await.expect_err("not ours")).code, 422);
    assert_eq!(keys(&api.patch("n1", &params, &guarded("RUN")).await.expect("ours")), ["base"]);
    // Strategic merge replaces the list.
    let strategic = Patch::Strategic(json!({"spec": {"taints": [taint("new")]}}));
    assert_eq!(keys(&api.patch("n1", &params, &strategic).await.expect("replaced")), ["new"]);
    // A cordon that finds another's cordon.
    let cordon = json_patch(
        json!([{"op": "test", "path": "/spec/unschedulable", "value": null}, {"op": "add", "path": "/spec/unschedulable", "value": true}]),
    );
    // What is false is not written, as Go's `omitempty` has it.
    let open = Patch::Merge(json!({"spec": {"unschedulable": false}}));
    let opened = api.patch("n1", &params, &open).await.expect("opened");
    assert_eq!(opened.spec.and_then(|spec| spec.unschedulable), None);
    api.patch("n1", &params, &cordon).await.expect("cordoned");
    assert_eq!(api_error(api.patch("n1", &params, &cordon).await.expect_err("cordoned already")).code, 422);
    // Another object under the same name.
    let other = Patch::Merge(json!({"metadata": {"uid": "other"}}));
    assert_eq!(api_error(api.patch("n1", &params, &other).await.expect_err("uid")).code, 422);
    let stale = Patch::Merge(json!({"metadata": {"resourceVersion": "1"}, "spec": {"unschedulable": false}}));
    assert_eq!(api_error(api.patch("n1", &params, &stale).await.expect_err("version")).code, 409);
    let no_labels = json_patch(json!([{"op": "add", "path": "/metadata/labels/x", "value": "y"}]));
    assert_eq!(api_error(api.patch("n1", &params, &no_labels).await.expect_err("no labels map")).code, 422);
}

fn managers(meta: &kube::core::ObjectMeta, field: &str) -> Vec<(String, Option<String>)> {
    let entries = meta.managed_fields.clone().unwrap_or_default();
    let has = |fields: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::FieldsV1>| {
        fields.as_ref().is_some_and(|f| f.0["f:spec"].get(field).is_some())
    };
    entries
        .into_iter()
        .filter(|e| has(&e.fields_v1))
        .map(|e| (e.manager.unwrap_or_default(), e.subresource))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn scale_keeps_the_managers_name_and_ignores_metadata() {
    let sim = sim();
    let api: Api<Deployment> = Api::namespaced(sim.client(), "shop");
    let typed = serde_json::from_value(deployment(3)).expect("typed");
    let made = api
        .create(&PostParams { field_manager: Some("kubectl".into()), ..PostParams::default() }, &typed)
        .await
        .expect("created");
    let scar = "firedrill:RUN:replicas=3";
    let patch = Patch::Merge(json!({"metadata": {"labels": {"x": "y"}}, "spec": {"replicas": 1}}));
    let scaled = api
        .patch_scale(
            "web",
            &PatchParams { field_manager: Some(scar.into()), ..PatchParams::default() },
            &patch,
        )
        .await
        .expect("scaled");
    assert_eq!(scaled.spec.and_then(|s| s.replicas), Some(1));
    let now = api.get("web").await.expect("read");
    assert!(now.metadata.labels.is_none(), "metadata of the body is not taken");
    assert_eq!(managers(&now.metadata, "f:replicas"), [(scar.to_string(), Some("scale".to_string()))]);
    assert_eq!(now.metadata.generation, Some(2));
    // A write that changes nothing takes over nothing; one that does, does.
    let by = |name: &str| PatchParams { field_manager: Some(name.into()), ..PatchParams::default() };
    let same = Patch::Merge(json!({"spec": {"replicas": 1}}));
    api.patch("web", &by("person"), &same).await.expect("no-op");
    assert_eq!(managers(&api.get("web").await.expect("read").metadata, "f:replicas")[0].0, scar);
    let other = Patch::Merge(json!({"spec": {"replicas": 2}}));
    api.patch("web", &by("person"), &other).await.expect("changed");
    assert_eq!(
        managers(&api.get("web").await.expect("read").metadata, "f:replicas"),
        [("person".to_string(), None)]
    );
    let wrong = Patch::Merge(json!({"metadata": {"uid": "other"}, "spec": {"replicas": 9}}));
    let refused = api_error(api.patch_scale("web", &PatchParams::default(), &wrong).await.expect_err("uid"));
    assert_eq!(refused.code, 409);
    let test = json_patch(
        json!([{"op": "test", "path": "/spec/replicas", "value": 7}, {"op": "replace", "path": "/spec/replicas", "value": 0}]),
    );
    assert_eq!(
        api_error(api.patch_scale("web", &PatchParams::default(), &test).await.expect_err("test")).code,
        422
    );
    assert_eq!(made.metadata.uid, api.get("web").await.expect("read").metadata.uid);
}

#[tokio::test(start_paused = true)]
async fn server_side_apply_conflicts_unless_forced_and_gives_up_fields() {
    let sim = sim();
    let api: Api<Deployment> = Api::namespaced(sim.client(), "shop");
    let mut config = deployment(3);
    config["metadata"]["labels"] = json!({"team": "a"});
    api.patch("web", &PatchParams::apply("gitops"), &Patch::Apply(&config)).await.expect("created by apply");
    let scale = Patch::Merge(json!({"spec": {"replicas": 1}}));
    api.patch(
        "web",
        &PatchParams { field_manager: Some("firedrill".into()), ..PatchParams::default() },
        &scale,
    )
    .await
    .expect("scaled");
    let conflict = api_error(
        api.patch("web", &PatchParams::apply("gitops"), &Patch::Apply(&config)).await.expect_err("conflict"),
    );
    assert_eq!(conflict.code, 409);
    assert_eq!(
        conflict.message,
        "Apply failed with 1 conflict: conflict with \"firedrill\" using apps/v1: .spec.replicas"
    );
    config["metadata"].as_object_mut().expect("map").remove("labels");
    let forced = api
        .patch("web", &PatchParams::apply("gitops").force(), &Patch::Apply(&config))
        .await
        .expect("forced");
    assert_eq!(forced.spec.replicas, Some(3));
    let part = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "annotations": {"a": "b"}}});
    api.patch("web", &PatchParams::apply("annotator"), &Patch::Apply(&part))
        .await
        .expect("a part of an object conflicts with nothing");
    assert_eq!(managers(&forced.metadata, "f:replicas")[0].0, "gitops");
    assert!(forced.metadata.labels.unwrap_or_default().is_empty(), "a field that is no longer applied goes");
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_leaves_nothing() {
    let sim = sim();
    pod(&sim, "a", "web", "Running");
    let before = sim.store().version();
    let client = sim.client();
    let (pods, nodes): (Api<Pod>, Api<Node>) =
        (Api::namespaced(client.clone(), "shop"), Api::all(client.clone()));
    let deployments: Api<Deployment> = Api::namespaced(client, "shop");
    let post = PostParams { dry_run: true, ..PostParams::default() };
    let made = deployments
        .create(&post, &serde_json::from_value(deployment(1)).expect("typed"))
        .await
        .expect("created, as if");
    assert!(made.metadata.uid.is_some());
    let patched = nodes
        .patch(
            "n1",
            &PatchParams { dry_run: true, ..PatchParams::default() },
            &Patch::Merge(json!({"spec": {"unschedulable": true}})),
        )
        .await;
    assert_eq!(patched.expect("patched, as if").spec.and_then(|s| s.unschedulable), Some(true));
    pods.delete("a", &DeleteParams { dry_run: true, ..DeleteParams::default() })
        .await
        .expect("deleted, as if");
    let invalid = nodes
        .patch(
            "n1",
            &PatchParams { dry_run: true, ..PatchParams::default() },
            &Patch::Merge(json!({"spec": {"taints": [{"key": "a", "effect": "no"}]}})),
        )
        .await;
    assert_eq!(api_error(invalid.expect_err("validated all the same")).code, 422);
    assert_eq!(sim.store().version(), before);
}

#[tokio::test(start_paused = true)]
async fn unknown_fields_are_dropped_or_refused_as_asked() {
    let sim = sim();
    let body = r#"{"metadata":{"name":"m"},"data":{"a":"b"},"dta":{}}"#;
    let uri = "/api/v1/namespaces/shop/configmaps";
    let (code, _, answer) = raw_call(&sim, "POST", &format!("{uri}?fieldValidation=Strict"), &[], body).await;
    assert_eq!(code, 400);
    assert_eq!(
        answer["message"],
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"dta\""
    );
    let (code, _, made) = raw_call(&sim, "POST", uri, &[], body).await;
    assert_eq!((code, made.get("dta")), (201, None));
    let api: Api<ConfigMap> = Api::namespaced(sim.client(), "shop");
    assert_eq!(api.get("m").await.expect("read").data.expect("data")["a"], "b");
}

#[tokio::test(start_paused = true)]
async fn a_budget_is_typed_and_a_stale_namespace_is_refused() {
    let sim = sim();
    budget(&sim, "web", "web", &json!({"observedGeneration": 1, "disruptionsAllowed": 1}));
    let api: Api<PodDisruptionBudget> = Api::namespaced(sim.client(), "shop");
    assert_eq!(api.get("web").await.expect("read").status.expect("status").disruptions_allowed, Some(1));
    let api: Api<Deployment> = Api::namespaced(sim.client(), "nowhere");
    let mut body = deployment(1);
    body["metadata"]["namespace"] = "nowhere".into();
    let error = api_error(
        api.create(&PostParams::default(), &serde_json::from_value(body).expect("typed"))
            .await
            .expect_err("no namespace"),
    );
    assert_eq!((error.code, error.message.as_str()), (404, "namespaces \"nowhere\" not found"));
}
