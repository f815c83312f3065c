//! What is to be done about a Run, from what is seen of it. Pure: no clock, no cluster, no memory.
//!
//! Level-triggered: whatever was missed, the same question gets the same answer when it is asked again.

use std::time::Duration;

use jiff::Timestamp;

use super::{seen::RunSeen, status::second};
use crate::types::Verdict;

/// Who works on a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Nobody.
    Free,
    /// This replica.
    Mine,
    /// Another one, which lives.
    Alive(String),
    /// One that is dead.
    Dead(String),
}

/// What this replica is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Here {
    /// Whether it works on this run just now.
    pub working: bool,
    /// Whether it is about to end.
    pub draining: bool,
    /// Whether it has worked on this run a moment ago.
    pub rested: bool,
    /// Whether it could take one more.
    pub room: bool,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Desired {
    /// Nothing, until something changes or until then.
    Wait(Option<Timestamp>),
    /// Claim it, from a dead replica if one is named, and do what its journal asks for.
    Work(Option<String>),
    /// Tell whoever works on it here that it is to end.
    Stop(Stop),
    /// It has been over for long enough: delete it with its journal.
    Expire,
}

/// Why a run that goes on here is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// `spec.abort`.
    Abort,
    /// It was deleted.
    Deleted,
    /// This replica is about to end.
    Draining,
}

/// What is to be done about `run` at `now`.
pub fn desired(run: &RunSeen, claim: &Claim, here: Here, now: Timestamp) -> Desired {
    if here.working {
        return match reason_to_stop(run, here) {
            Some(stop) => Desired::Stop(stop),
            None => Desired::Wait(None),
        };
    }
    // What is for later waits in somebody's hands, collects approvals until then, and takes no place; what nobody wants
    // any more takes none either.
    let later = run.spec.as_ref().is_ok_and(|spec| spec.start_time.is_some_and(|start| start > now));
    let room = here.room || run.finalizer || later || aborted(run);
    let ending = brought_to_its_end(claim, Here { room, ..here });
    // A claim that nobody works on is to be brought to its end, whatever became of the Run.
    if *claim != Claim::Free || run.finalizer || !matches!(ending, Desired::Work(_)) {
        return ending;
    }
    if run.deleted {
        return Desired::Wait(None);
    }
    if run.over() { expiry(run, now) } else { Desired::Work(None) }
}

/// What is to be done about what was begun, whether its Run is still there or not.
pub fn brought_to_its_end(claim: &Claim, here: Here) -> Desired {
    match claim {
        // Whoever lives does it.
        Claim::Alive(_) => Desired::Wait(None),
        _ if here.working || here.draining || here.rested => Desired::Wait(None),
        // What may be in force waits for no room.
        Claim::Dead(who) => Desired::Work(Some(who.clone())),
        Claim::Free if !here.room => Desired::Wait(None),
        Claim::Free | Claim::Mine => Desired::Work(None),
    }
}

fn reason_to_stop(run: &RunSeen, here: Here) -> Option<Stop> {
    if aborted(run) {
        return Some(Stop::Abort);
    }
    if run.deleted {
        return Some(Stop::Deleted);
    }
    here.draining.then_some(Stop::Draining)
}

fn aborted(run: &RunSeen) -> bool {
    run.spec.as_ref().is_ok_and(|spec| spec.abort)
}

fn expiry(run: &RunSeen, now: Timestamp) -> Desired {
    let ttl = run.spec.as_ref().ok().and_then(|spec| spec.ttl_after_finished);
    let due = ttl.zip(run.completed()).and_then(|(ttl, end)| end.checked_add(ttl.0).ok());
    match due {
        // What is left of it is named in it.
        Some(_) if run.residue() => Desired::Wait(None),
        Some(due) if due <= now => Desired::Expire,
        due => Desired::Wait(due),
    }
}

/// What is on record of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// Nothing: nothing was changed.
    None,
    /// It has begun, and has no end.
    Open,
    /// It has its end.
    Whole,
}

/// What whoever has claimed a run does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Course {
    /// Run it.
    Start,
    /// Put back what its journal says: its former owner is gone.
    Recover,
    /// Write down what came of it.
    Conclude,
    /// It does not begin: verdict, reason, words.
    Decline(Verdict, &'static str, String),
    /// There is nothing to do but to let go of it.
    LetGo,
}

/// What whoever has claimed a run does, `run` being None when the Run is not there any more.
pub fn course(run: Option<&RunSeen>, record: Record, now: Timestamp) -> Course {
    match (record, run) {
        (Record::Whole, _) => return Course::Conclude,
        (Record::Open, _) => return Course::Recover,
        (Record::None, None) => return Course::LetGo,
        (Record::None, Some(run)) if run.deleted || run.over() => return Course::LetGo,
        _ => {}
    }
    let Some(run) = run else { return Course::LetGo };
    let spec = match &run.spec {
        Ok(spec) => spec,
        Err(error) => {
            return Course::Decline(Verdict::Refused, "Invalid", format!("it cannot be read: {error}"));
        }
    };
    if spec.abort {
        let words = format!("it was aborted before it began, by {}", run.aborted());
        return Course::Decline(Verdict::Aborted, "UserAbort", words);
    }
    let deadline = spec.deadline(run.created);
    if now > deadline {
        let words = format!("it could not begin before {}", second(deadline));
        return Course::Decline(Verdict::Refused, "DeadlineExceeded", words);
    }
    Course::Start
}

/// How long a claim of this replica that was not brought to its end waits before it is tried again.
pub const AGAIN: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{
        api::{API_VERSION, LocalRef, RunSpec},
        controller::seen::run_id,
        types::{Length, ObjectRef},
    };

    const NOW: i64 = 1_800_000_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(NOW + seconds).expect("a time")
    }

    fn object() -> ObjectRef {
        ObjectRef {
            uid: "7d3e".to_owned(),
            ..ObjectRef::namespaced(API_VERSION, "Run", "shop", "checkout-x")
        }
    }

    fn status(over: Option<i64>, residue: u64) -> serde_json::Value {
        match over {
            Some(end) => json!({"phase": "Finished", "completionTime": at(end).to_string(),
                                "residue": {"count": residue}}),
            None => json!({}),
        }
    }

    prop_compose! {
        fn runs()(
            abort in any::<bool>(), game_day in any::<bool>(), deleted in any::<bool>(), finalizer in any::<bool>(),
            start in prop::option::of(-4000_i64..4000), over in prop::option::of(-4000_i64..0),
            (ttl, residue, readable) in (prop::option::of(0_u64..4000), 0_u64..2, any::<bool>()),
        ) -> RunSeen {
            let named = || Some(LocalRef { name: "checkout".to_owned() });
            let spec = RunSpec {
                experiment_ref: named().filter(|_| !game_day),
                game_day_ref: named().filter(|_| game_day),
                abort,
                start_time: start.map(at),
                ttl_after_finished: ttl.map(Length::from_secs),
                ..RunSpec::default()
            };
            RunSeen {
                id: run_id(&object()),
                object: object(),
                spec: if readable { Ok(spec) } else { Err("not readable".to_owned()) },
                generation: 1,
                created: at(-1000),
                deleted,
                finalizer,
                hands: Default::default(),
                status: status(over, residue),
            }
        }
    }

    fn claims() -> impl Strategy<Value = Claim> {
        prop_oneof![
            Just(Claim::Free),
            Just(Claim::Mine),
            Just(Claim::Alive("b".to_owned())),
            Just(Claim::Dead("c".to_owned())),
        ]
    }

    prop_compose! {
        fn replicas()(
            working in any::<bool>(), draining in any::<bool>(), rested in any::<bool>(), room in any::<bool>(),
        ) -> Here {
            Here { working, draining, rested, room }
        }
    }

    proptest! {
        #[test]
        fn nobody_takes_what_another_works_on(run in runs(), here in replicas()) {
            let here = Here { working: false, ..here };
            let wanted = desired(&run, &Claim::Alive("b".to_owned()), here, at(0));
            prop_assert_eq!(wanted, Desired::Wait(None));
        }

        #[test]
        fn a_replica_that_ends_takes_nothing_up(run in runs(), claim in claims(), here in replicas()) {
            let here = Here { working: false, draining: true, ..here };
            prop_assert!(matches!(desired(&run, &claim, here, at(0)), Desired::Wait(_)));
        }

        #[test]
        fn what_works_here_is_stopped_whenever_there_is_a_reason(run in runs(), claim in claims(), here in replicas()) {
            let here = Here { working: true, ..here };
            let wanted = desired(&run, &claim, here, at(0));
            let abort = run.spec.as_ref().is_ok_and(|spec| spec.abort);
            prop_assert_eq!(matches!(wanted, Desired::Stop(_)), abort || run.deleted || here.draining);
            prop_assert!(!matches!(wanted, Desired::Work(_) | Desired::Expire));
        }

        #[test]
        fn a_finalizer_is_never_forgotten(run in runs(), claim in claims()) {
            let run = RunSeen { finalizer: true, ..run };
            let here = Here { working: false, draining: false, rested: false, room: true };
            let wanted = desired(&run, &claim, here, at(0));
            prop_assert_eq!(matches!(wanted, Desired::Work(_)), !matches!(claim, Claim::Alive(_)));
        }

        #[test]
        fn the_dead_are_named_to_whoever_takes_over_and_wait_for_no_room(run in runs(), room in any::<bool>()) {
            let here = Here { working: false, draining: false, rested: false, room };
            let wanted = desired(&run, &Claim::Dead("c".to_owned()), here, at(0));
            prop_assert_eq!(wanted, Desired::Work(Some("c".to_owned())));
        }

        #[test]
        fn what_has_begun_is_put_back_whatever_the_run_says(run in prop::option::of(runs()), late in 0_i64..9000) {
            prop_assert_eq!(course(run.as_ref(), Record::Open, at(late)), Course::Recover);
            prop_assert_eq!(course(run.as_ref(), Record::Whole, at(late)), Course::Conclude);
        }

        #[test]
        fn only_what_may_run_is_started(run in runs(), late in -900_i64..9000) {
            if course(Some(&run), Record::None, at(late)) == Course::Start {
                let spec = run.spec.as_ref().expect("readable");
                prop_assert!(!spec.abort && !run.deleted && !run.over());
                prop_assert!(at(late) <= spec.deadline(run.created));
            }
        }

        #[test]
        fn nothing_with_residue_and_nothing_unfinished_expires(run in runs(), claim in claims(), here in replicas()) {
            if desired(&run, &claim, here, at(0)) == Desired::Expire {
                prop_assert!(run.over() && !run.residue() && !run.finalizer && claim == Claim::Free);
            }
        }
    }

    #[test]
    fn one_for_later_takes_no_place_until_then() {
        let run = RunSeen {
            id: run_id(&object()),
            object: object(),
            spec: Ok(RunSpec {
                experiment_ref: Some(LocalRef::default()),
                start_time: Some(at(60)),
                ..RunSpec::default()
            }),
            generation: 1,
            created: at(-10),
            deleted: false,
            finalizer: false,
            hands: Default::default(),
            status: json!({}),
        };
        let full = Here { working: false, draining: false, rested: false, room: false };
        assert_eq!(desired(&run, &Claim::Free, full, at(0)), Desired::Work(None));
        assert_eq!(desired(&run, &Claim::Free, full, at(60)), Desired::Wait(None));
        let here = Here { room: true, ..full };
        assert_eq!(desired(&run, &Claim::Free, here, at(60)), Desired::Work(None));
    }
}
