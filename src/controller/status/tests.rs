use jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::{
    api::{API_VERSION, LocalRef, RunSpec},
    controller::run_id,
    faults::Injection,
    journal::{DayHeader, DayRecord, Environment, Header, RevertOutcome},
    types::{Epoch, InjectionId, ObjectRef, RunId, codes},
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).expect("a time")
}

fn run() -> RunSeen {
    let object = ObjectRef {
        uid: "7d3e".to_owned(),
        ..ObjectRef::namespaced(API_VERSION, "Run", "shop", "checkout-x")
    };
    RunSeen {
        id: run_id(&object),
        spec: Ok(RunSpec {
            experiment_ref: Some(LocalRef { name: "checkout".to_owned() }),
            ..RunSpec::default()
        }),
        object,
        generation: 1,
        created: at(-10),
        deleted: false,
        finalizer: true,
        hands: Default::default(),
        status: json!({}),
    }
}

/// Records, one a second.
struct Told {
    progress: Progress,
    next: u64,
}

impl Told {
    fn new() -> Self {
        let experiment = json!({"apiVersion": API_VERSION, "kind": "Experiment", "metadata": {"name": "checkout"},
            "spec": {"hypothesis": "It heals.", "steadyState": [],
                     "method": [{"name": "lose-half", "target": {"workload": "deployment/checkout"}, "scale": {"replicas": 1}, "duration": "1m"}]}});
        let header = Header {
            run: RunId::new("checkout", 1),
            version: String::new(),
            experiment,
            file: String::new(),
            seed: 7,
            by: "ada".to_owned(),
            holder: "a".to_owned(),
            environment: Environment::default(),
            namespace: "shop".to_owned(),
            namespaces: vec!["shop".to_owned()],
            limits: std::collections::BTreeMap::new(),
            metrics: String::new(),
            server_ahead_ms: 0,
            approvals: 0,
            asked_by: String::new(),
        };
        let mut told = Self { progress: Progress::default(), next: 0 };
        told.add(Record::RunStarted(Box::new(header)));
        told
    }

    fn add(&mut self, record: Record) {
        let (seq, at) = (self.next, at(i64::try_from(self.next).expect("few")));
        self.next += 1;
        self.progress.on(&Entry { seq, at, epoch: Epoch(1), record });
    }

    fn status(&self) -> Value {
        render(&run(), &self.progress, &About::default(), at(9999))
    }
}

fn injection(number: usize) -> Injection {
    let mut target = ObjectRef::namespaced("apps/v1", "Deployment", &"n".repeat(63), &"d".repeat(253));
    target.uid = format!("uid-{number}");
    Injection {
        id: InjectionId::new("lose-half", number),
        fault: "scale".to_owned(),
        target,
        displaced: Vec::new(),
        action: json!({"replicas": 1}),
        before: json!({"replicas": 3}),
        replicas_lost: 0,
        effect_within: Length::from_secs(30),
        until: at(600),
    }
}

fn condition<'a>(status: &'a Value, kind: &str) -> &'a Value {
    let all = status["conditions"].as_array().expect("conditions");
    all.iter().find(|one| one["type"] == kind).unwrap_or_else(|| panic!("no {kind} in {all:?}"))
}

#[test]
fn it_stays_within_its_bound_at_six_thousand_targets_that_are_all_left() {
    let mut told = Told::new();
    let long = "ü".repeat(4000);
    let finding = Finding::error(codes::guard::POD_LIMIT, long.clone(), long.clone()).remedy(long.clone());
    told.add(Record::Planned { findings: vec![finding; 50], earliest_abort_ms: 0, calls: 1 });
    told.add(Record::BaselineStarted {});
    told.add(Record::BaselineHeld { stats: std::collections::BTreeMap::new() });
    told.add(Record::StepStarted { step: "lose-half".to_owned() });
    let injections: Vec<Injection> = (0..6000).map(injection).collect();
    told.add(Record::InjectIntended {
        step: "lose-half".to_owned(),
        injections: injections.clone(),
        owners: Vec::new(),
    });
    for injection in &injections {
        let (injection, detail) = (injection.id.clone(), long.clone());
        told.add(Record::Injected { injection, outcome: InjectOutcome::Done, detail });
    }
    let status = told.status();
    assert_eq!(status["targets"], json!({"selected": 6000, "inForce": 6000, "reverted": 0, "skipped": 0}));
    assert_eq!(status["currentStep"], "checkout/lose-half");
    let residue: Vec<Residue> = injections
        .iter()
        .map(|injection| Residue {
            injection: injection.id.clone(),
            target: injection.target.clone(),
            what: long.clone(),
            remedy: long.clone(),
        })
        .collect();
    let (verdict, reason) = (Verdict::Failed, "Violated".to_owned());
    told.add(Record::Decided { verdict, reason, message: long });
    told.add(Record::Finished { verdict, clocks: Clocks::default(), residue });
    let about = About {
        holder: "h".repeat(400),
        seed: Some(u64::MAX / 2),
        journal: SegmentSize { segments: 4, bytes: 1 << 40 },
    };
    let status = render(&run(), &told.progress, &about, at(9999));
    let size = status.to_string().len();
    assert!(size <= MOST, "{size} bytes");
    assert_eq!(status["residue"]["count"], 6000);
    assert_eq!(status["residue"]["items"].as_array().map(Vec::len), Some(10));
    assert_eq!(status["findings"].as_array().map(Vec::len), Some(16));
    assert_eq!(condition(&status, "Restored")["reason"], "Residue");
}

#[test]
fn it_says_where_a_run_is() {
    let mut told = Told::new();
    assert_eq!(told.status()["phase"], "Pending");
    told.add(Record::BaselineStarted {});
    assert_eq!(told.status()["phase"], "Baseline");
    assert_eq!(condition(&told.status(), "Steady")["status"], "Unknown");
    told.add(Record::BaselineHeld { stats: std::collections::BTreeMap::new() });
    told.add(Record::StepStarted { step: "lose-half".to_owned() });
    told.add(Record::InjectIntended {
        step: "lose-half".to_owned(),
        injections: vec![injection(0)],
        owners: Vec::new(),
    });
    told.add(Record::HoldChanged { held: true, by: "ada".to_owned() });
    assert_eq!(told.status()["reason"], "Held");
    told.add(Record::HoldChanged { held: false, by: "ada".to_owned() });
    let id = injection(0).id;
    told.add(Record::Injected { injection: id.clone(), outcome: InjectOutcome::Done, detail: String::new() });
    told.add(Record::EffectSeen { injection: id.clone(), evidence: String::new() });
    let status = told.status();
    assert_eq!(status["phase"], "Observing");
    assert_eq!(status["injectionTime"], "2027-01-15T08:00:08Z");
    assert_eq!(condition(&status, "FaultsInForce")["status"], "True");
    assert_eq!(condition(&status, "Restored")["status"], "False");
    told.add(Record::MethodEnded {});
    told.add(Record::RevertStarted { injections: vec![id.clone()] });
    told.add(Record::Reverted {
        injection: id,
        outcome: RevertOutcome::Restored,
        detail: String::new(),
        met: None,
    });
    told.add(Record::AllReverted { residue: Vec::new() });
    told.add(Record::Recovered { since: at(12) });
    let (verdict, reason) = (Verdict::Passed, "HypothesisHeld".to_owned());
    told.add(Record::Decided { verdict, reason, message: "the hypothesis held".to_owned() });
    let clocks = Clocks { rto_ms: Some(72_000), recovery_ms: Some(0), ..Clocks::default() };
    told.add(Record::Finished { verdict, clocks, residue: Vec::new() });
    let status = told.status();
    assert_eq!((&status["phase"], &status["verdict"]), (&json!("Finished"), &json!("Passed")));
    assert_eq!(status["measured"], json!({"rto": "1m12s", "recovery": "0s"}));
    for (kind, reason) in
        [("Succeeded", "HypothesisHeld"), ("Restored", "Verified"), ("FaultsInForce", "AllReverted")]
    {
        assert_eq!(condition(&status, kind)["reason"], reason);
    }
    assert!(status["currentStep"].is_null());
}

#[test]
fn a_condition_keeps_its_time_until_it_says_something_else() {
    let told = Told::new();
    let mut run = run();
    run.status = render(&run, &told.progress, &About::default(), at(1));
    let status = render(&run, &told.progress, &About::default(), at(50));
    assert_eq!(condition(&status, "Succeeded")["lastTransitionTime"], "2027-01-15T08:00:01Z");
    let mut progress = told.progress;
    progress.decline(at(60), (Verdict::Refused, "Refused", "no".to_owned()), Vec::new());
    let status = render(&run, &progress, &About::default(), at(60));
    let succeeded = condition(&status, "Succeeded");
    assert_eq!(succeeded["status"], "False");
    assert_eq!(succeeded["lastTransitionTime"], "2027-01-15T08:01:00Z");
}

#[test]
fn what_it_says_is_in_the_schema() {
    let schema = &crate::api::schema::kind("Run").expect("a kind").status;
    let mut told = Told::new();
    told.add(Record::Planned {
        findings: vec![Finding::error(codes::guard::HOST, "a", "b")],
        earliest_abort_ms: 0,
        calls: 1,
    });
    let status = told.status();
    for (name, value) in status.as_object().expect("an object") {
        let field = schema.field(name).unwrap_or_else(|| panic!("status.{name} is not in the schema"));
        for below in value.as_object().into_iter().flatten() {
            assert!(field.schema.field(below.0).is_some(), "status.{name}.{} is not in the schema", below.0);
        }
    }
}

/// Records of a game day and of its parts, one a second.
struct DayOf {
    progress: Progress,
    seconds: i64,
    /// The number of the next record of the journal that is written.
    next: u64,
}

impl DayOf {
    fn new(names: &[String]) -> Self {
        let entries: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
        let header = DayHeader {
            version: String::new(),
            game_day: json!({"spec": {"experiments": entries}}),
            experiments: Vec::new(),
            between: None,
            prerequisites: Vec::new(),
            seed: 7,
            by: "ada".to_owned(),
            environment: Environment::default(),
            scheduled: None,
            hash: format!("sha256:{}", "f".repeat(64)),
            approvals: vec!["b".repeat(253); 2],
        };
        let mut day = Self { progress: Progress::default(), seconds: 0, next: 0 };
        day.add(Record::Day(DayRecord::Began(Box::new(header))));
        day
    }

    fn add(&mut self, record: Record) {
        let (seq, at) = (self.next, at(self.seconds));
        (self.next, self.seconds) = (seq + 1, self.seconds + 1);
        self.progress.on(&Entry { seq, at, epoch: Epoch(1), record });
    }

    /// Another part begins; what is on record of it is that of `told`.
    fn part(&mut self, name: &str, told: &Told, records: Vec<Record>) {
        let state = told.progress.state.as_ref().expect("it has begun");
        self.progress.turn(name, &[]);
        self.next = 0;
        self.add(Record::RunStarted(Box::new(state.header.clone())));
        records.into_iter().for_each(|record| self.add(record));
    }

    fn status(&self) -> Value {
        render(&run(), &self.progress, &About { holder: "h".repeat(400), ..About::default() }, at(9999))
    }
}

fn left(injections: &[Injection], words: &str) -> Vec<Residue> {
    let left = injections.iter().map(|injection| Residue {
        injection: injection.id.clone(),
        target: injection.target.clone(),
        what: words.to_owned(),
        remedy: words.to_owned(),
    });
    left.collect()
}

#[test]
fn a_game_day_stays_within_its_bound_at_as_many_experiments_as_it_may_have() {
    let names: Vec<String> = (0..32).map(|number| format!("{}{number:02}", "e".repeat(61))).collect();
    let (mut day, told, long) = (DayOf::new(&names), Told::new(), "ü".repeat(4000));
    let finding = Finding::error(codes::guard::POD_LIMIT, long.clone(), long.clone()).remedy(long.clone());
    let clocks = Clocks {
        detection_ms: Some(59_999),
        abort_ms: Some(59_999),
        revert_ms: Some(3_599_999),
        recovery_ms: Some(359_999_999),
        rto_ms: Some(359_999_999),
        rpo_ms: Some(359_999_999),
        ..Clocks::default()
    };
    for name in &names {
        let (verdict, reason) = (Verdict::Inconclusive, "R".repeat(90));
        let injections: Vec<Injection> = (0..200).map(injection).collect();
        day.part(
            name,
            &told,
            vec![
                Record::Planned { findings: vec![finding.clone(); 20], earliest_abort_ms: 0, calls: 1 },
                Record::BaselineStarted {},
                Record::BaselineHeld { stats: std::collections::BTreeMap::new() },
                Record::Decided { verdict, reason, message: long.clone() },
                Record::Finished { verdict, clocks, residue: left(&injections, &long) },
            ],
        );
    }
    let (verdict, reason, message) = (Verdict::Inconclusive, "R".repeat(90), long);
    day.add(Record::Day(DayRecord::Over { verdict, reason, message, code: 6 }));
    let status = day.status();
    let size = status.to_string().len();
    assert!(size <= MOST, "{size} bytes");
    assert_eq!(status["experiments"].as_array().map(Vec::len), Some(32));
    assert_eq!(status["experiments"][31]["rto"], "99h59m59.999s");
    assert_eq!(status["residue"]["count"], 32 * 200);
    assert_eq!(status["residue"]["items"].as_array().map(Vec::len), Some(10));
}

#[test]
fn a_game_day_says_whether_it_was_steady_and_what_is_still_in_force_of_it() {
    let names = ["one".to_owned(), "two".to_owned()];
    let (mut day, told) = (DayOf::new(&names), Told::new());
    assert_eq!(condition(&day.status(), "Steady")["status"], "Unknown");
    let held = || Record::BaselineHeld { stats: std::collections::BTreeMap::new() };
    day.part("one", &told, vec![Record::BaselineStarted {}, held()]);
    assert_eq!(condition(&day.status(), "Steady")["reason"], "BaselineHeld");
    assert_eq!(condition(&day.status(), "FaultsInForce")["status"], "False");
    let (verdict, reason, message) = (Verdict::Aborted, "Aborted".to_owned(), String::new());
    day.add(Record::Decided { verdict, reason, message });
    day.add(Record::Finished {
        verdict,
        clocks: Clocks::default(),
        residue: left(&[injection(0)], "it is scaled"),
    });
    let faults = condition(&day.status(), "FaultsInForce").clone();
    assert_eq!((&faults["status"], &faults["message"]), (&json!("True"), &json!("1 fault")));
    // Between two parts, and in the next, what is known stays.
    day.part("two", &told, vec![Record::BaselineStarted {}]);
    assert_eq!(condition(&day.status(), "Steady")["status"], "True");
    assert_eq!(condition(&day.status(), "FaultsInForce")["status"], "True");
    let (verdict, reason) = (Verdict::NotSteady, "NotSteady".to_owned());
    day.add(Record::Decided { verdict, reason, message: "ready is 2".to_owned() });
    day.add(Record::Finished { verdict, clocks: Clocks::default(), residue: Vec::new() });
    assert_eq!(condition(&day.status(), "Steady")["status"], "False");
    let (verdict, reason, message) = (Verdict::NotSteady, "NotSteady".to_owned(), "ready is 2".to_owned());
    day.add(Record::Day(DayRecord::Over { verdict, reason, message, code: 6 }));
    let status = day.status();
    let steady = condition(&status, "Steady");
    assert_eq!((&steady["status"], &steady["message"]), (&json!("False"), &json!("ready is 2")));
    assert_eq!(condition(&status, "FaultsInForce")["status"], "True");
    assert_eq!(condition(&status, "Restored")["reason"], "Residue");
}
