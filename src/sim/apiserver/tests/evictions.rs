//! Evictions and their budgets.

use super::*;

#[tokio::test(start_paused = true)]
async fn evictions_answer_as_the_real_server_does() {
    let sim = sim();
    for name in ["a", "b", "c"] {
        pod(&sim, name, "web", "Running");
    }
    let healthy = |allowed: i64| json!({"observedGeneration": 1, "disruptionsAllowed": allowed, "currentHealthy": 3, "desiredHealthy": 3 - allowed});
    budget(&sim, "web", "web", &healthy(1));
    let dry = EvictParams {
        post_options: PostParams { dry_run: true, ..PostParams::default() },
        ..EvictParams::default()
    };
    for name in ["a", "b", "c"] {
        evict(&sim, name, &dry).await.expect("a dry run does not add up");
    }
    evict(&sim, "a", &EvictParams::default()).await.expect("one is allowed");
    let object = sim.store().get(&Kind::POD_DISRUPTION_BUDGET, "shop", "web").expect("budget");
    let status: Value = object.field("status").expect("status");
    assert_eq!(status["disruptionsAllowed"], 0);
    assert!(status["disruptedPods"]["a"].is_string());
    let gone = sim.store().get(&Kind::POD, "shop", "a").expect("still in its grace");
    assert!(gone.terminating() && gone.raw("status").is_some_and(|s| s.contains("DisruptionTarget")));

    set_status(
        &sim,
        &Kind::POD_DISRUPTION_BUDGET,
        "web",
        &json!({"observedGeneration": 1, "disruptionsAllowed": 0, "currentHealthy": 2, "desiredHealthy": 2}),
    );
    let body = r#"{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"b","namespace":"shop"}}"#;
    let uri = "/api/v1/namespaces/shop/pods/b/eviction";
    let (code, headers, answer) = raw_call(&sim, "POST", uri, &[], body).await;
    assert_eq!(code, 429);
    assert!(headers.get("retry-after").is_none(), "0 seconds are not written");
    assert_eq!(answer["message"], "Cannot evict pod as it would violate the pod's disruption budget.");
    assert_eq!(
        answer["details"]["causes"],
        json!([{"reason": "DisruptionBudget", "message": "The disruption budget web needs 2 healthy pods and has 2 currently"}])
    );

    set_status(
        &sim,
        &Kind::POD_DISRUPTION_BUDGET,
        "web",
        &json!({"observedGeneration": 0, "disruptionsAllowed": 1}),
    );
    let (code, headers, answer) = raw_call(&sim, "POST", uri, &[], body).await;
    assert_eq!((code, headers["retry-after"].to_str().expect("text")), (429, "10"));
    assert_eq!(answer["details"]["retryAfterSeconds"], 10);

    budget(&sim, "second", "web", &healthy(1));
    let double = evict(&sim, "b", &EvictParams::default()).await.expect_err("two budgets");
    assert_eq!(double.code, 500);
    assert!(double.message.contains("more than one PodDisruptionBudget"));
    evict(&sim, "a", &EvictParams::default()).await.expect("a terminating pod asks no budget");
    pod(&sim, "waiting", "web", "Pending");
    evict(&sim, "waiting", &EvictParams::default()).await.expect("nor does a pending one");
}

#[tokio::test(start_paused = true)]
async fn an_eviction_with_a_failed_precondition_has_taken_its_slot() {
    let sim = sim();
    pod(&sim, "a", "web", "Running");
    budget(
        &sim,
        "web",
        "web",
        &json!({"observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1}),
    );
    // Not by `Api::evict`: kube-core 5.0 spells the field `delete_options`, which a server drops in silence.
    let uri = "/api/v1/namespaces/shop/pods/a/eviction";
    let body = |options: Value| json!({"metadata": {"name": "a"}, "deleteOptions": options}).to_string();
    let dry = body(json!({"preconditions": {"uid": "other"}, "dryRun": ["All"]}));
    assert_eq!(raw_call(&sim, "POST", uri, &[], &dry).await.0, 409);
    let allowed = |sim: &Sim| {
        let object = sim.store().get(&Kind::POD_DISRUPTION_BUDGET, "shop", "web").expect("budget");
        object.field::<Value>("status").expect("status")["disruptionsAllowed"].clone()
    };
    assert_eq!(allowed(&sim), 1, "a dry run burns no budget");
    let (code, _, refused) =
        raw_call(&sim, "POST", uri, &[], &body(json!({"preconditions": {"uid": "other"}}))).await;
    assert_eq!((code, &refused["reason"]), (409, &json!("Conflict")));
    assert_eq!(allowed(&sim), 0, "the slot is taken before the precondition is looked at");
    assert!(!sim.store().get(&Kind::POD, "shop", "a").expect("pod").terminating());
}
