use super::*;
use serde_json::json;

fn store() -> Store {
    let store = Store::new(&StoreConfig { seed: 7, ..StoreConfig::default() });
    store.create(Object::new(Kind::NAMESPACE, "", "shop")).expect("namespace");
    store
}

fn pod(name: &str) -> Object {
    let mut pod = Object::new(Kind::POD, "shop", name);
    pod.set_value("spec", &json!({"nodeName": "n1", "containers": []}));
    pod
}

#[tokio::test(start_paused = true)]
async fn writes_raise_the_version_and_reach_subscribers_in_order() {
    let store = store();
    let mut changes = store.subscribe(&Kind::POD);
    let made = store.create(pod("a")).expect("created");
    let written = store
        .modify(&Kind::POD, "shop", "a", |p| {
            p.meta.labels.insert("x".into(), "y".into());
            Ok(())
        })
        .expect("written");
    assert!(written.meta.resource_version > made.meta.resource_version);
    assert_eq!(written.meta.generation, 1, "a label is not desired state");
    let same = store.modify(&Kind::POD, "shop", "a", |_| Ok(())).expect("no write");
    assert_eq!(same.meta.resource_version, written.meta.resource_version);
    let options = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
    assert!(matches!(store.delete(&Kind::POD, "shop", "a", &options), Ok(Deleted::Gone(_))));
    let seen: Vec<_> = std::iter::from_fn(|| changes.try_next()).map(|e| e.kind).collect();
    assert_eq!(seen, [EventType::Added, EventType::Modified, EventType::Deleted]);
}

#[tokio::test(start_paused = true)]
async fn graceful_deletion_marks_first_and_only_shortens() {
    let store = store();
    store.create(pod("a")).expect("created");
    let delete = |grace| {
        let options = DeleteOptions { grace_period_seconds: grace, ..DeleteOptions::default() };
        store.delete(&Kind::POD, "shop", "a", &options).expect("delete").object().meta.clone()
    };
    assert_eq!(delete(None).deletion_grace_period_seconds, Some(30));
    assert_eq!(delete(Some(5)).deletion_grace_period_seconds, Some(5));
    assert_eq!(delete(Some(60)).deletion_grace_period_seconds, Some(5));
    assert_eq!(store.pods_on("n1").len(), 1);
    delete(Some(0));
    assert!(store.get(&Kind::POD, "shop", "a").is_none());
    assert!(store.pods_on("n1").is_empty());
}

#[tokio::test(start_paused = true)]
async fn stale_versions_and_foreign_uids_conflict() {
    let store = store();
    let first = store.create(pod("a")).expect("created");
    store
        .modify(&Kind::POD, "shop", "a", |p| {
            p.meta.labels.insert("x".into(), "y".into());
            Ok(())
        })
        .expect("written");
    assert!(store.update((*first).clone()).expect_err("stale").is("Conflict"));
    let options = DeleteOptions { uid: Some("other".into()), ..DeleteOptions::default() };
    let error = store.delete(&Kind::POD, "shop", "a", &options).expect_err("uid");
    assert_eq!(error.code, 409);
    assert!(
        error
            .message
            .contains("on Pod \"a\": the UID in the precondition (other) does not match the UID in record (")
    );
    assert_eq!(store.create(pod("a")).expect_err("taken").reason, "AlreadyExists");
}

#[tokio::test(start_paused = true)]
async fn finalizers_hold_an_object_until_the_last_is_gone() {
    let store = store();
    let mut map = Object::new(Kind::CONFIG_MAP, "shop", "a");
    map.meta.finalizers = vec!["x/y".into()];
    store.create(map).expect("created");
    let deleted = store.delete(&Kind::CONFIG_MAP, "shop", "a", &DeleteOptions::default()).expect("marked");
    assert!(matches!(deleted, Deleted::Marked(_)));
    store
        .modify(&Kind::CONFIG_MAP, "shop", "a", |o| {
            o.meta.finalizers.clear();
            Ok(())
        })
        .expect("released");
    assert!(store.get(&Kind::CONFIG_MAP, "shop", "a").is_none());
}

#[tokio::test(start_paused = true)]
async fn history_older_than_the_window_is_gone() {
    let store = store();
    let first = store.create(pod("a")).expect("created").meta.resource_version;
    store.create(pod("b")).expect("created");
    assert_eq!(store.resume(&Kind::POD, first).map(|(missed, _)| missed.len()).expect("known"), 1);
    tokio::time::sleep(Duration::from_secs(301)).await;
    store.create(pod("c")).expect("created");
    assert_eq!(store.resume(&Kind::POD, first).err().expect("too old").code, 410);
}

#[tokio::test(start_paused = true)]
async fn a_terminating_namespace_takes_nothing_new() {
    let store = store();
    store.delete(&Kind::NAMESPACE, "", "shop", &DeleteOptions::default()).expect("marked");
    let error = store.create(pod("a")).expect_err("terminating");
    assert_eq!(error.code, 403);
    assert_eq!(error.details.expect("details").causes[0].reason, "NamespaceTerminating");
    store.finalize_namespace("shop").expect("gone");
    assert_eq!(store.create(pod("a")).expect_err("no namespace").message, "namespaces \"shop\" not found");
}

#[tokio::test(start_paused = true)]
async fn one_seed_gives_one_identity() {
    let make = || {
        let store = store();
        let mut pod = pod("");
        pod.meta.generate_name = "web-".into();
        serde_json::to_string(&*store.create(pod).expect("created")).expect("json")
    };
    assert_eq!(make(), make());
}
