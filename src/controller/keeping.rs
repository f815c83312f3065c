//! Which journals have been kept for long enough. Pure.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;

use crate::{cluster::JournalFound, types::RunId};

/// How long the journal of a run is kept.
const KEPT_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
/// How many bytes all journals may take.
const ROOM: u64 = 256 * 1024 * 1024;

/// The journals to be deleted: older than they are kept for, and the oldest of what is beyond the room there is.
/// Never one of `needed`: of runs that are not over, or that somebody works on.
pub(super) fn expired(
    journals: &[JournalFound],
    needed: &BTreeSet<RunId>,
    now: Timestamp,
) -> Vec<JournalFound> {
    let mut oldest: Vec<&JournalFound> = journals.iter().collect();
    oldest.sort_by(|a, b| a.last.cmp(&b.last).then_with(|| a.run.cmp(&b.run)));
    let mut room: u64 = journals.iter().map(|journal| journal.bytes).sum();
    let mut expired = Vec::new();
    for journal in oldest {
        let old = journal.last.checked_add(KEPT_FOR).is_ok_and(|until| until <= now);
        if (old || room > ROOM) && !needed.contains(&journal.run) {
            room -= journal.bytes;
            expired.push(journal.clone());
        }
    }
    expired
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
