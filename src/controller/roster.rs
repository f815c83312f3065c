//! Which replicas there are and which runs they have, as their Leases show it.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use super::reconcile::Claim;
use crate::{
    cluster::{Change, LIVES_FOR, LeaseSeen},
    types::RunId,
};

/// A replica, as its Lease shows it.
struct Member {
    version: String,
    fenced: bool,
    /// When its Lease was seen to move last, by our own clock: clocks of others do not count.
    moved: Instant,
}

/// All of them.
pub(super) struct Roster {
    /// Who asks.
    own: String,
    members: BTreeMap<String, Member>,
    /// Who has a run, and what Run that is, NAMESPACE/NAME.
    claims: BTreeMap<RunId, (String, String)>,
    /// Members that a list which is under way has not shown yet.
    unseen: BTreeSet<String>,
    /// Whether all were listed once.
    pub listed: bool,
}

impl Roster {
    /// Nobody yet, as `own` sees it.
    pub(super) fn new(own: &str) -> Self {
        Self {
            own: own.to_owned(),
            members: BTreeMap::new(),
            claims: BTreeMap::new(),
            unseen: BTreeSet::new(),
            listed: false,
        }
    }

    /// Takes in what the watch says.
    pub(super) fn take(&mut self, change: Change) {
        match change {
            Change::Listing => {
                self.unseen = self.members.keys().cloned().collect();
                self.claims.clear();
            }
            Change::Listed => {
                for gone in std::mem::take(&mut self.unseen) {
                    self.members.remove(&gone);
                }
                self.listed = true;
            }
            Change::Is(object) => match LeaseSeen::read(&object) {
                Some(LeaseSeen::Replica { name, version, fenced }) => {
                    self.unseen.remove(&name);
                    let known = self.members.get(&name).filter(|known| known.version == version);
                    let moved = known.map_or_else(Instant::now, |known| known.moved);
                    self.members.insert(name, Member { version, fenced, moved });
                }
                Some(LeaseSeen::Claim { run, object, holder }) => {
                    self.claims.insert(run, (holder, object));
                }
                None => {}
            },
            Change::Gone(object) => match LeaseSeen::read(&object) {
                Some(LeaseSeen::Replica { name, .. }) => {
                    self.members.remove(&name);
                }
                Some(LeaseSeen::Claim { run, .. }) => {
                    self.claims.remove(&run);
                }
                None => {}
            },
            Change::Broken(why) => tracing::warn!(why, "the watch on Leases broke off; it begins again"),
        }
    }

    /// Who has a run, as far as can be told.
    pub(super) fn claim(&self, run: &RunId) -> Claim {
        let Some((holder, _)) = self.claims.get(run) else { return Claim::Free };
        if *holder == self.own {
            return Claim::Mine;
        }
        if self.lives(holder) { Claim::Alive(holder.clone()) } else { Claim::Dead(holder.clone()) }
    }

    fn lives(&self, name: &str) -> bool {
        let member = self.members.get(name).filter(|member| !member.fenced);
        member.is_some_and(|member| member.moved.elapsed() < LIVES_FOR)
    }

    /// Whether this one comes first among those that live.
    pub(super) fn leads(&self) -> bool {
        let first = self.members.keys().find(|name| **name == self.own || self.lives(name));
        first.is_some_and(|first| *first == self.own)
    }

    /// All runs that somebody has, and what Runs those are.
    pub(super) fn claimed(&self) -> impl Iterator<Item = (&RunId, &str)> {
        self.claims.iter().map(|(run, (_, object))| (run, object.as_str()))
    }

    /// The version of a replica's Lease that was seen last; empty if it has none.
    pub(super) fn version(&self, name: &str) -> String {
        self.members.get(name).map(|member| member.version.clone()).unwrap_or_default()
    }

    /// Forgets replicas that are dead and have nothing any more, and names them.
    pub(super) fn forget_dead(&mut self) -> Vec<String> {
        let held: BTreeSet<&String> = self.claims.values().map(|(holder, _)| holder).collect();
        let dead = self.members.iter().filter(|(name, member)| {
            // Long enough for everybody to have seen it.
            member.moved.elapsed() >= 4 * LIVES_FOR && !held.contains(name) && **name != self.own
        });
        let dead: Vec<String> = dead.map(|(name, _)| name.clone()).collect();
        for name in &dead {
            self.members.remove(name);
        }
        dead
    }
}
