//! Which journals have been kept for long enough. Pure.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;

use super::seen::owner;
use crate::{cluster::JournalFound, types::RunId};

/// How long the journal of a run is kept.
const KEPT_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long those of a game day are: a year and a month, so that the last one of its kind can be looked at.
const DAYS_KEPT_FOR: Duration = Duration::from_secs(400 * 24 * 3600);
/// How many bytes all journals may take.
const ROOM: u64 = 256 * 1024 * 1024;

/// The journals to be deleted: older than they are kept for, and the oldest of what is beyond the room there is.
/// Never one of `needed`: of runs that are not over, or that somebody works on.
pub(super) fn expired(
    journals: &[JournalFound],
    needed: &BTreeSet<RunId>,
    now: Timestamp,
) -> Vec<JournalFound> {
    let of = |journal: &JournalFound| owner(journal).map_or_else(|| journal.run.clone(), |(run, _)| run);
    // A Run with journals under other names than its own is a game day.
    let days: BTreeSet<RunId> =
        journals.iter().filter(|journal| of(journal) != journal.run).map(of).collect();
    let mut oldest: Vec<&JournalFound> = journals.iter().collect();
    oldest.sort_by(|a, b| a.last.cmp(&b.last).then_with(|| a.run.cmp(&b.run)));
    let mut room: u64 = journals.iter().map(|journal| journal.bytes).sum();
    let mut expired = Vec::new();
    for journal in oldest {
        let run = of(journal);
        let kept = if days.contains(&run) { DAYS_KEPT_FOR } else { KEPT_FOR };
        let old = journal.last.checked_add(kept).is_ok_and(|until| until <= now);
        if (old || room > ROOM) && !needed.contains(&run) {
            room -= journal.bytes;
            expired.push(journal.clone());
        }
    }
    expired
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::seen::{part_id, run_id};

    fn journal(name: &str, days: i64, megabytes: u64) -> JournalFound {
        JournalFound {
            run: RunId::new(name, 1),
            object: format!("shop/{name}"),
            uid: String::new(),
            last: Timestamp::from_second(-days * 24 * 3600).expect("a time"),
            names: Vec::new(),
            bytes: megabytes * 1024 * 1024,
        }
    }

    fn names(found: &[JournalFound]) -> Vec<&str> {
        found.iter().map(|journal| journal.object.as_str()).collect()
    }

    #[test]
    fn journals_are_kept_for_a_month_and_within_a_total_size() {
        let now = Timestamp::UNIX_EPOCH;
        let all = [journal("young", 1, 1), journal("old", 31, 1), journal("open", 99, 1)];
        let needed = BTreeSet::from([RunId::new("open", 1)]);
        assert_eq!(names(&expired(&all, &needed, now)), ["shop/old"]);
        let large = [journal("a", 3, 200), journal("b", 2, 100), journal("c", 1, 50)];
        assert_eq!(names(&expired(&large, &BTreeSet::new(), now)), ["shop/a"]);
        let needed = BTreeSet::from([RunId::new("a", 1)]);
        assert_eq!(names(&expired(&large, &needed, now)), ["shop/b"]);
    }

    #[test]
    fn the_journals_of_a_game_day_are_kept_for_longer_and_needed_with_it() {
        let now = Timestamp::UNIX_EPOCH;
        let own = |days, part: Option<&str>| {
            let object = crate::types::ObjectRef {
                uid: "7d3e".to_owned(),
                ..crate::types::ObjectRef::namespaced("firedrill.dev/v1alpha1", "Run", "shop", "weekly")
            };
            let run = part.map_or_else(|| run_id(&object), |part| part_id(&object, part));
            JournalFound { run, uid: object.uid, ..journal("weekly", days, 1) }
        };
        let all = [own(60, None), own(60, Some("pod-loss")), journal("old", 60, 1)];
        assert_eq!(names(&expired(&all, &BTreeSet::new(), now)), ["shop/old"]);
        let all = [own(401, None), own(401, Some("pod-loss"))];
        assert_eq!(expired(&all, &BTreeSet::new(), now).len(), 2);
        assert_eq!(expired(&all, &BTreeSet::from([all[0].run.clone()]), now), []);
    }
}
