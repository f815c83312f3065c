//! The lines of the controller's log, and the spans that are traced.

use std::{
    collections::BTreeMap,
    io::Write,
    sync::{Arc, Mutex},
};

use firedrill::{
    api::API_VERSION,
    cluster::Write as Change,
    sim::{
        apiserver::mischief::{Action, Matcher, Rule, Turn},
        store::Status,
    },
    types::ObjectRef,
};
use serde_json::{Value, json};
use tracing::span::{Attributes, Id};
use tracing_subscriber::{
    Layer,
    fmt::format::FmtSpan,
    layer::{Context, SubscriberExt as _},
    registry::LookupSpan,
};

use super::office::{Office, SCALE};
use crate::kit::in_virtual_time;

/// Where a log goes.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Every line that is logged meanwhile, as `firedrill controller` writes it with FIREDRILL_LOG=firedrill=debug.
fn logged(work: impl Future<Output = ()>) -> Vec<Value> {
    let log = Log::default();
    let writer = log.clone();
    let logs = tracing_subscriber::fmt().json().flatten_event(true).with_max_level(tracing::Level::DEBUG);
    let logs = logs.with_span_events(FmtSpan::CLOSE).with_writer(move || writer.clone()).finish();
    // What is logged first by another test, on a thread without a log, would be held for what nobody wants, were this
    // the only log there is (tracing-core, `Rebuilder::JustOne`).
    let _other = tracing::Dispatch::new(tracing_subscriber::fmt().with_writer(std::io::sink).finish());
    let guard = tracing::subscriber::set_default(logs);
    in_virtual_time(work);
    drop(guard);
    let text = String::from_utf8(log.0.lock().expect("no panic").clone()).expect("text");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines.filter(|line| line["target"].as_str().is_some_and(|from| from.starts_with("firedrill::"))).collect()
}

/// What the filter of docs/observability.md looks at.
fn ids(line: &Value) -> Vec<&str> {
    let spans = line["spans"].as_array().into_iter().flatten();
    let all = [&line["run"], &line["span"]["run"]].into_iter().chain(spans.map(|span| &span["run"]));
    all.filter_map(Value::as_str).collect()
}

fn says(line: &Value, words: &str) -> bool {
    line["message"].as_str().is_some_and(|message| message.contains(words))
}

#[test]
fn every_line_about_a_run_says_which() {
    let lines = logged(async {
        let office = Office::open(&[SCALE]).await;
        let replica = office.replica("a");
        let run = office.run("trial-1", json!({})).await;
        office.shrunk().await;
        // Its lease of the namespace cannot be renewed for a while.
        let mischief = office.stage.cluster.sim().mischief();
        let refused = Status::internal("the store is busy");
        let matcher = Matcher {
            namespace: "shop".to_owned(),
            name: "firedrill".to_owned(),
            ..Matcher::on("update", "leases")
        };
        mischief.add(Rule { matcher, turn: Turn::First(2), action: Action::Answer(refused) });
        assert_eq!(office.over(&run).await["verdict"], "Passed");
        replica.ends().await;
    });
    let ours = |line: &&Value| {
        let from = line["target"].as_str().unwrap_or_default();
        let rooms =
            ["engine", "cluster::mirror", "controller::work", "controller::begin", "controller::events"];
        rooms.iter().any(|room| from.starts_with(&format!("firedrill::{room}")))
    };
    let about: Vec<&Value> = lines.iter().filter(ours).collect();
    for words in ["Finished", "a lease could not be renewed"] {
        assert!(about.iter().any(|line| says(line, words)), "nobody says {words}: {lines:#?}");
    }
    for line in about {
        assert!(ids(line).first().is_some_and(|run| run.starts_with("trial-1-")), "{line}");
        assert!(line["span"]["run"].as_str().is_some_and(|run| run.starts_with("trial-1-")), "{line}");
    }
}

#[test]
fn what_is_told_of_a_game_day_and_what_its_schedule_makes_is_found_by_the_id_of_its_run() {
    let lines = logged(async {
        let office = Office::open(&[SCALE]).await;
        let replica = office.replica("a");
        let object = ObjectRef::namespaced(API_VERSION, "GameDay", "shop", "nightly");
        // No Guardrail lists that host.
        let day = json!({"apiVersion": API_VERSION, "kind": "GameDay", "metadata": {"name": "nightly", "namespace": "shop"},
        "spec": {
            "schedule": "5 0 * * *", "timeZone": "Europe/London", "runsHistoryLimit": 1,
            "experiments": [{"name": "one", "experimentRef": {"name": "trial"}}],
            "notifications": [{"name": "all", "events": ["Started"], "webhook": {"url": "https://hooks.example.com/"}}],
        }});
        office.access.create(&object, day, Change::default()).await.expect("it is created");
        office
            .until("it is held", async || office.status(&object).await["lastRun"]["verdict"] == "Passed")
            .await;
        replica.ends().await;
    });
    let of = |words: &str| {
        let line = lines.iter().find(|line| says(line, words));
        line.unwrap_or_else(|| panic!("nobody says {words}: {lines:#?}"))
    };
    let made = ids(of("made, as its schedule asks for"))[0].to_owned();
    assert!(made.starts_with("nightly-") && made.matches('-').count() == 2, "{made} is an id and no name");
    assert!(ids(of("not told")).contains(&made.as_str()), "{}", of("not told"));
    // A part of it is a run of its own, within the Run of the day.
    let part = lines.iter().find(|line| says(line, "Finished")).expect("its experiment is over");
    assert!(ids(part).contains(&made.as_str()) && ids(part).iter().any(|id| id.contains("-one-")), "{part}");
}

#[test]
fn a_run_its_phases_steps_injections_and_reverts_are_spans_with_its_id_and_how_long_they_took() {
    let lines = logged(async {
        let office = Office::open(&[SCALE, "{name: look, wait: 10s}"]).await;
        let replica = office.replica("a");
        let run = office.run("trial-1", json!({})).await;
        assert_eq!(office.over(&run).await["verdict"], "Passed");
        replica.ends().await;
    });
    let mut closed: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for line in lines.iter().filter(|line| says(line, "close")) {
        assert!(line["time.busy"].is_string() && line["time.idle"].is_string(), "{line}");
        let span = &line["span"];
        assert!(span["run"].as_str().is_some_and(|run| run.starts_with("trial-1-")), "{line}");
        closed.entry(span["name"].as_str().expect("a name")).or_default().push(span);
    }
    let of = |name: &str, field: &str| -> Vec<&str> {
        let all = closed.get(name).map(Vec::as_slice).unwrap_or_default();
        all.iter().map(|span| span[field].as_str().unwrap_or_default()).collect()
    };
    assert_eq!((of("work", "run").len(), of("run", "run").len()), (1, 1), "{closed:#?}");
    let phases = of("phase", "phase");
    assert_eq!(phases.first(), Some(&"Pending"), "{phases:?}");
    assert_eq!(phases.last(), Some(&"Recovering"), "{phases:?}");
    for phase in ["Baseline", "Injecting", "Observing"] {
        assert!(phases.contains(&phase), "{phase} is missing of {phases:?}");
    }
    assert_eq!(of("step", "step"), ["shrink", "look"]);
    for name in ["injection", "effect", "revert"] {
        assert_eq!(of(name, "fault"), ["scale"], "{name}");
        assert!(of(name, "target")[0].contains("web"), "{name}");
    }
    let begun = lines.iter().find(|line| says(line, "StepStarted")).expect("a step has begun");
    assert_eq!(begun["span"]["name"], "phase", "{begun}");
}

/// Whatever subscribes: the names of each span's parents, and how often it was closed.
#[derive(Clone, Default)]
struct Tree(Arc<Mutex<BTreeMap<Vec<&'static str>, [u32; 2]>>>);

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Tree {
    fn on_new_span(&self, _: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.count(id, &context, 0);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        self.count(&id, &context, 1);
    }
}

impl Tree {
    fn count<S: for<'a> LookupSpan<'a> + tracing::Subscriber>(
        &self,
        id: &Id,
        context: &Context<'_, S>,
        which: usize,
    ) {
        let scope = context.span_scope(id).into_iter().flat_map(|scope| scope.from_root());
        let path: Vec<&'static str> = scope
            .filter(|span| span.metadata().target().starts_with("firedrill::"))
            .map(|span| span.metadata().name())
            .collect();
        if !path.is_empty() {
            self.0.lock().expect("no panic").entry(path).or_default()[which] += 1;
        }
    }
}

#[test]
fn whatever_subscribes_sees_each_span_within_what_it_is_part_of_and_every_one_is_closed() {
    let tree = Tree::default();
    let _other = tracing::Dispatch::new(tracing_subscriber::fmt().with_writer(std::io::sink).finish());
    let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(tree.clone()));
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let replica = office.replica("a");
        let run = office.run("trial-1", json!({})).await;
        assert_eq!(office.over(&run).await["verdict"], "Passed");
        replica.ends().await;
    });
    drop(guard);
    let seen = tree.0.lock().expect("no panic").clone();
    let within: [&[&str]; 7] = [
        &["work"],
        &["work", "run"],
        &["work", "run", "phase"],
        &["work", "run", "step"],
        &["work", "run", "step", "injection"],
        &["work", "run", "step", "effect"],
        &["work", "run", "phase", "revert"],
    ];
    for path in within {
        assert!(seen.contains_key(path), "{path:?} is not among {seen:?}");
    }
    assert_eq!(seen.len(), within.len(), "{seen:?}");
    for (path, [opened, closed]) in seen {
        assert_eq!(opened, closed, "{path:?}");
    }
}

/// As many as the targets: nobody pays for them who has not asked for details.
#[test]
fn spans_of_single_targets_are_of_level_debug_and_those_of_parts_of_a_run_are_not() {
    let text = crate::tidy::text("src/engine/spans.rs");
    let of = |level: &str| text.matches(&format!("{level}_span!(")).count();
    assert_eq!((of("info"), of("debug")), (3, 3));
    let lines = logged(async {
        let office = Office::open(&[SCALE]).await;
        let replica = office.replica("a");
        let run = office.run("trial-1", json!({})).await;
        office.over(&run).await;
        replica.ends().await;
    });
    for line in lines.iter().filter(|line| says(line, "close")) {
        let single =
            ["injection", "effect", "revert"].contains(&line["span"]["name"].as_str().unwrap_or_default());
        assert_eq!(line["level"], if single { "DEBUG" } else { "INFO" }, "{line}");
    }
}
