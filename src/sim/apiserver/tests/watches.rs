//! Watches, and calls that go wrong on purpose.

use super::*;

#[tokio::test(start_paused = true)]
async fn watches_follow_selectors_and_end_when_history_is_gone() {
    let sim = sim();
    pod(&sim, "a", "web", "Running");
    let api: Api<Pod> = Api::namespaced(sim.client(), "shop");
    let version =
        api.list(&ListParams::default()).await.expect("list").metadata.resource_version.expect("version");
    let params = WatchParams::default().labels("app=web").timeout(100);
    let mut stream = api.watch(&params, &version).await.expect("watch").boxed();
    let relabel = |app: &str| Patch::Merge(json!({"metadata": {"labels": {"app": app}}}));
    api.patch("a", &PatchParams::default(), &relabel("other")).await.expect("relabelled");
    api.patch("a", &PatchParams::default(), &relabel("web")).await.expect("relabelled");
    assert!(matches!(stream.try_next().await, Ok(Some(WatchEvent::Deleted(_)))), "it no longer matches");
    assert!(matches!(stream.try_next().await, Ok(Some(WatchEvent::Added(_)))), "it matches again");
    let started = Instant::now();
    assert!(matches!(stream.try_next().await, Ok(Some(WatchEvent::Bookmark(_)))));
    assert!(matches!(stream.try_next().await, Ok(None)), "the watch times out");
    assert_eq!(started.elapsed().as_secs(), 99, "after its 100 s, counted from its start");
    sim.store().compact();
    let mut late = api.watch(&params, &version).await.expect("200").boxed();
    let Ok(Some(WatchEvent::Error(error))) = late.try_next().await else { panic!("an error in the stream") };
    assert_eq!((error.code, error.reason.as_str()), (410, "Expired"));
}

#[tokio::test(start_paused = true)]
async fn the_runtime_watcher_recovers_from_gone_and_outage() {
    use kube::runtime::{WatchStreamExt, watcher};
    let sim = sim();
    pod(&sim, "a", "web", "Running");
    let api: Api<Pod> = Api::namespaced(sim.client(), "shop");
    sim.mischief().add(Rule {
        matcher: Matcher::on("watch", "pods"),
        turn: Turn::First(1),
        action: Action::WatchGone,
    });
    let mut stream = watcher(api, watcher::Config::default()).default_backoff().applied_objects().boxed();
    let name = |p: Result<Option<Pod>, watcher::Error>| p.ok().flatten().and_then(|p| p.metadata.name);
    assert_eq!(name(stream.try_next().await).as_deref(), Some("a"));
    sim.mischief().outage(true);
    let other = sim.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(20)).await;
        other.mischief().outage(false);
        pod(&other, "b", "web", "Running");
    });
    let mut seen = Vec::new();
    while !seen.contains(&"b".to_string()) {
        seen.extend(name(stream.try_next().await));
    }
    assert!(sim.mischief().calls()[&("list".to_string(), "pods".to_string())] >= 2, "it had to list again");
}

#[tokio::test(start_paused = true)]
async fn mischief_hits_the_calls_that_it_names() {
    let sim = sim();
    let api: Api<Node> = Api::all(sim.client());
    let cordon = Patch::Merge(json!({"spec": {"unschedulable": true}}));
    let on = |turn, action| sim.mischief().add(Rule { matcher: Matcher::on("patch", "nodes"), turn, action });
    on(Turn::Nth(1), Action::Answer(Status::too_many_requests("slow down", 1)));
    on(Turn::Nth(2), Action::DropAfterCommit);
    let refused = api_error(api.patch("n1", &PatchParams::default(), &cordon).await.expect_err("refused"));
    assert_eq!((refused.code, refused.details.and_then(|d| d.retry_after_seconds.into())), (429, Some(1)));
    assert!(
        api.get("n1").await.expect("read").spec.unwrap_or_default().unschedulable.is_none(),
        "nothing happened"
    );
    let lost = api.patch("n1", &PatchParams::default(), &cordon).await.expect_err("lost");
    assert!(matches!(lost, kube::Error::Service(_)), "a broken connection: {lost}");
    assert_eq!(
        api.get("n1").await.expect("read").spec.and_then(|s| s.unschedulable),
        Some(true),
        "it happened all the same"
    );
    on(Turn::Nth(1), Action::TimeoutAfterCommit);
    let started = Instant::now();
    let late = api_error(api.patch("n2", &PatchParams::default(), &cordon).await.expect_err("late"));
    assert_eq!((late.code, started.elapsed().as_secs()), (504, 60));
    assert_eq!(sim.mischief().calls()[&("patch".to_string(), "nodes".to_string())], 3);
    sim.mischief().outage(true);
    assert!(matches!(api.get("n1").await.expect_err("out"), kube::Error::Service(_)));
}
