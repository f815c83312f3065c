//! Verbs over `kube::Client`: mirror, snapshot, evict, cordon, patch, leases, rights.
//!
//! Every call is bounded in time and in number, every answer is classified ([`ApiError`]), and every
//! change passes the [`Fence`]: whoever no longer owns the run can change nothing.

mod access;
mod acting;
mod agents;
mod attach;
mod autoscaler;
mod container;
mod error;
mod evict;
mod fields;
mod follow;
mod lease;
mod machine;
mod mirror;
mod patch;
mod reader;
mod replica;
mod rights;
mod rollout;
mod scar;
mod secret;
mod segments;
mod selector;
mod shown;
mod signal;
mod snapshot;
mod toleration;
mod view;
mod written;

pub use access::{Access, Fence, Write};
pub use acting::{Acting, account_of, account_uid, account_user, client_as};
pub use agents::{AGENT_TTL, OrderError, Sessions};
pub use attach::WebSockets;
pub use autoscaler::Autoscaler;
pub use container::Container;
pub use error::ApiError;
pub use evict::{Budgets, Evicted};
pub use fields::{manages, owner_of};
pub use follow::{Change, FixedBackoff, follow};
pub use lease::{Lease, LeaseError, Tenure};
pub use machine::{Drain, Machine, MachineMark, Unowned};
pub use mirror::{Mirror, Scope};
pub use patch::JsonPatch;
pub use reader::{Reader, reader};
pub use replica::{
    LEASE_LABEL, LIVES_FOR, LeaseSeen, RENEWED_EVERY, Replica, ReplicaError, bury, claim, fence, leases_in,
    unclaim,
};
pub use rights::{Identity, Missing, grantable, identity, missing_rights};
pub use rollout::{Rollout, fingerprint};
pub use scar::{RUN_LABEL, Scar, UNDO_PREFIX};
pub use secret::{SecretError, secret_text};
pub use segments::{JournalFound, OnTrouble, SegmentPlace, SegmentSize, SegmentTrouble, Segments};
pub use selector::PodSelector;
pub use snapshot::{Key, Snapshot};
pub use toleration::{Toleration, stays_for};
pub use view::{Node, Owner, Pdb, Pod, Space, Taint, Workload};
pub use written::Written;
