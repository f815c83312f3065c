//! Steps that a person takes: answered, not answered, answered out of turn.

use firedrill::{
    engine::Outside,
    journal::{Answer, Entry, Record},
    types::Verdict,
};

use crate::kit::{Ran, Stage, in_virtual_time, shop};

fn file(manual: &str, more: &str) -> String {
    format!(
        "
apiVersion: firedrill.dev/v1alpha1
kind: Experiment
metadata: {{name: fail-over, namespace: shop}}
spec:
  hypothesis: People can do it.
  steadyState:
  - name: replicas
    kubernetes: {{apiVersion: apps/v1, kind: Deployment, name: checkout}}
    value: object.status.readyReplicas
    expect: object.status.readyReplicas == object.spec.replicas
    during: 'true'
    every: 1s
    for: 2s
  method:
  - name: fewer
    target: {{workload: deployment/checkout}}
    scale: {{by: -1}}
    background: true
  - name: promote
    manual: {{instructions: Promote the replica., {manual}}}{more}
  - wait: 1s
"
    )
}

/// Runs it as if on a real cluster, where nobody is assumed to have answered.
fn ran(text: &str, answers: &'static [(&'static str, Answer)]) -> Ran {
    in_virtual_time(async {
        let stage = Stage::new(&shop(), 3).await;
        let before = stage.state();
        let mut request = stage.request(text, 3);
        request.environment.rehearsal = false;
        let ran = stage
            .run_with(request, move |entry, outside_tx| {
                if let Record::StepStarted { step } = &entry.record
                    && step == "promote"
                {
                    for (step, answer) in answers {
                        let said =
                            Outside::Answered((*step).to_owned(), *answer, "ada".to_owned(), "so".to_owned());
                        outside_tx.send(said).expect("the run listens");
                    }
                }
            })
            .await
            .expect("not refused");
        assert!(stage.state() == before, "everything is back");
        ran
    })
}

fn answers(entries: &[Entry]) -> Vec<Answer> {
    let answer = |entry: &Entry| match &entry.record {
        Record::ManualAnswered { answer, .. } => Some(*answer),
        _ => None,
    };
    entries.iter().filter_map(answer).collect()
}

#[test]
fn a_person_confirms_or_says_that_it_failed() {
    let done = ran(&file("timeout: 1m", ""), &[("promote", Answer::Confirmed), ("promote", Answer::Failed)]);
    assert_eq!((done.verdict(), answers(&done.entries)), (Verdict::Passed, vec![Answer::Confirmed]));
    let failed = ran(&file("timeout: 1m", ""), &[("promote", Answer::Failed)]);
    assert_eq!(failed.verdict(), Verdict::Failed);
    let waited = |ran: &Ran| ran.entries.iter().any(|entry| matches!(entry.record, Record::MethodEnded {}));
    assert!(!waited(&failed), "a failed step ends the method");
    let goes_on = ran(&file("timeout: 1m", "\n    onFailure: Continue"), &[("promote", Answer::Failed)]);
    assert_eq!(goes_on.verdict(), Verdict::Failed);
    assert!(waited(&goes_on));
}

#[test]
fn nobody_answers() {
    for (on_timeout, verdict) in
        [("Fail", Verdict::Failed), ("Abort", Verdict::Aborted), ("Continue", Verdict::Passed)]
    {
        let silent = ran(&file(&format!("timeout: 20s, onTimeout: {on_timeout}"), ""), &[]);
        assert_eq!(
            (silent.verdict(), answers(&silent.entries)),
            (verdict, vec![Answer::TimedOut]),
            "{on_timeout}"
        );
    }
}

#[test]
fn what_is_not_asked_cannot_be_answered() {
    let stray = ran(&file("timeout: 20s", ""), &[("fewer", Answer::Failed), ("nothing", Answer::Confirmed)]);
    assert_eq!((stray.verdict(), answers(&stray.entries)), (Verdict::Failed, vec![Answer::TimedOut]));
}

#[test]
fn a_rehearsal_assumes_an_answer() {
    in_virtual_time(async {
        let stage = Stage::new(&shop(), 3).await;
        let ran =
            stage.run(stage.request(&file("timeout: 1m, assume: 3m", ""), 3)).await.expect("not refused");
        assert_eq!((ran.verdict(), answers(&ran.entries)), (Verdict::Passed, vec![Answer::Confirmed]));
        let at = |wanted: &str| {
            let found = ran.entries.iter().find(|entry| match &entry.record {
                Record::StepStarted { step } | Record::ManualAnswered { step, .. } => {
                    step == "promote" && format!("{:?}", entry.record).starts_with(wanted)
                }
                _ => false,
            });
            found.expect("the record is there").at
        };
        assert_eq!(at("ManualAnswered").duration_since(at("StepStarted")).as_secs(), 180);
    });
}
