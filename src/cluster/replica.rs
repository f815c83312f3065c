//! The processes of the controller among themselves: who lives, and who works on which run.
//!
//! Each replica keeps one Lease that says that it lives; a claim is a Lease a run that names its replica and is
//! never renewed. Whoever takes over from a dead replica first fences it off by writing into its Lease, guarded
//! by the version that was seen to stand still: one that wakes up finds that, and owns nothing any more.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, DynamicObject, ObjectMeta, PostParams, Preconditions},
};

use super::{Access, ApiError, RUN_LABEL, lease::stamped};
use crate::types::{ObjectRef, RunId};

/// On every Lease here: `replica` or `claim`.
pub const LEASE_LABEL: &str = "firedrill.dev/lease";
/// Of a claim or a journal: which Run, NAMESPACE/NAME.
pub(super) const OF_RUN: &str = "firedrill.dev/of-run";
/// Of a replica: its pod, NAME/UID.
const POD: &str = "firedrill.dev/pod";
/// How long a replica that does not renew is taken to live (client-go's lease duration).
pub const LIVES_FOR: Duration = Duration::from_secs(15);
/// How often it renews (client-go's retry period).
pub const RENEWED_EVERY: Duration = Duration::from_secs(2);

/// Why a Lease is not to be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplicaError {
    /// Others hold this replica for dead, and have what it had.
    #[error("replica {0} was held for dead and fenced off")]
    Fenced(String),
    /// Another replica has the run, or was faster.
    #[error("another replica has it")]
    Taken,
    /// The server.
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// What a watch on the Leases shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseSeen {
    /// A replica.
    Replica {
        /// Its identity.
        name: String,
        /// Moves with each renewal.
        version: String,
        /// Whether it was fenced off.
        fenced: bool,
    },
    /// A claim.
    Claim {
        /// Which run.
        run: RunId,
        /// Which Run, NAMESPACE/NAME.
        object: String,
        /// Its replica.
        holder: String,
    },
}

impl LeaseSeen {
    /// Reads a Lease; None for one of others.
    pub fn read(object: &DynamicObject) -> Option<Self> {
        let labels = object.metadata.labels.as_ref()?;
        let annotations = object.metadata.annotations.clone().unwrap_or_default();
        let text = |key: &str| annotations.get(key).cloned().unwrap_or_default();
        let holder = object.data.pointer("/spec/holderIdentity").and_then(|holder| holder.as_str());
        let holder = holder.unwrap_or_default().to_owned();
        match labels.get(LEASE_LABEL)?.as_str() {
            "replica" => Some(Self::Replica {
                name: object.metadata.name.clone()?,
                version: object.metadata.resource_version.clone().unwrap_or_default(),
                fenced: holder.is_empty(),
            }),
            "claim" => {
                Some(Self::Claim { run: RunId::parse(&text(RUN_LABEL))?, object: text(OF_RUN), holder })
            }
            _ => None,
        }
    }
}

/// This process, as a replica.
pub struct Replica {
    access: Access,
    namespace: String,
    raw: Lease,
}

impl Replica {
    /// Joins under a name that no other process has. `pod`: its pod, NAME/UID; empty outside of a cluster.
    ///
    /// # Errors
    /// The API server's.
    pub async fn join(
        access: &Access,
        (namespace, name): (&str, &str),
        pod: &str,
        now: Timestamp,
    ) -> Result<Self, ReplicaError> {
        let mut raw = lease(name, "replica", &[(POD, pod)]);
        raw.spec = Some(renewed(name, now));
        let access = access.beside();
        let made = access.read(api(&access, namespace).create(&PostParams::default(), &raw)).await;
        Ok(Self { raw: made?, namespace: namespace.to_owned(), access })
    }

    /// Its identity.
    pub fn name(&self) -> String {
        self.raw.name_any()
    }

    /// The API server's time at the last renewal, to the second; None when that went wrong.
    pub fn server_time(&self) -> Option<Timestamp> {
        stamped(&self.raw.metadata)
    }

    /// Says once more that it lives.
    ///
    /// # Errors
    /// [`ReplicaError::Fenced`] when others have what it had; the API server's.
    pub async fn renew(&mut self, now: Timestamp) -> Result<(), ReplicaError> {
        let name = self.name();
        self.raw.spec = Some(renewed(&name, now));
        let leases = api(&self.access, &self.namespace);
        match self.access.read(leases.replace(&name, &PostParams::default(), &self.raw)).await {
            Ok(raw) => {
                self.raw = raw;
                Ok(())
            }
            // Somebody has written, or an answer was lost: what is there decides.
            Err(ApiError::Conflict(_)) => {
                let raw = self.access.read(leases.get(&name)).await?;
                let holder = raw.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
                if holder != Some(name.as_str()) || raw.uid() != self.raw.uid() {
                    return Err(ReplicaError::Fenced(name));
                }
                self.raw.metadata.resource_version = raw.resource_version();
                // Whenever that was written, it was not now. The server keeps what is not said.
                self.raw.metadata.managed_fields = None;
                Ok(())
            }
            Err(ApiError::NotFound) => Err(ReplicaError::Fenced(name)),
            Err(error) => Err(error.into()),
        }
    }

    /// Leaves: whoever is left need not wait until it is held for dead.
    ///
    /// # Errors
    /// The API server's; then the Lease lapses by itself.
    pub async fn leave(self) -> Result<(), ApiError> {
        let name = self.name();
        delete(&self.access, (&self.namespace, &name), self.raw.uid()).await
    }
}

/// Fences off a replica whose Lease has stood still at `version`. The pod that it ran in, NAME/UID, if it said so.
///
/// # Errors
/// [`ReplicaError::Taken`] when it has moved: it lives. The API server's.
pub async fn fence(
    access: &Access,
    (namespace, name): (&str, &str),
    version: &str,
) -> Result<Option<String>, ReplicaError> {
    let leases = api(access, namespace);
    let mut raw = match access.read(leases.get(name)).await {
        Ok(raw) => raw,
        Err(ApiError::NotFound) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let pod = raw.annotations().get(POD).filter(|pod| !pod.is_empty()).cloned();
    if raw.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).is_none_or(str::is_empty) {
        return Ok(pod);
    }
    if raw.metadata.resource_version.as_deref() != Some(version) {
        return Err(ReplicaError::Taken);
    }
    raw.spec.get_or_insert_default().holder_identity = Some(String::new());
    match access.read(leases.replace(name, &PostParams::default(), &raw)).await {
        Ok(_) => Ok(pod),
        Err(ApiError::Conflict(_)) => Err(ReplicaError::Taken),
        Err(ApiError::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Deletes the Lease of a replica that is dead and has nothing any more.
///
/// # Errors
/// The API server's.
pub async fn bury(access: &Access, namespace: &str, name: &str) -> Result<(), ApiError> {
    delete(access, (namespace, name), None).await
}

/// Claims a run for `holder`; from `over`, if a replica that is dead has it.
///
/// # Errors
/// [`ReplicaError::Taken`] when another has it; the API server's.
pub async fn claim(
    access: &Access,
    namespace: &str,
    (run, object): (&RunId, &str),
    (holder, over): (&str, Option<&str>),
) -> Result<(), ReplicaError> {
    let (leases, name) = (api(access, namespace), claim_name(run));
    let mut raw = match access.read(leases.get(&name)).await {
        Ok(raw) => raw,
        Err(ApiError::NotFound) => {
            let mut raw = lease(&name, "claim", &[(RUN_LABEL, run.as_str()), (OF_RUN, object)]);
            raw.spec = Some(LeaseSpec { holder_identity: Some(holder.to_owned()), ..LeaseSpec::default() });
            return settled(access.read(leases.create(&PostParams::default(), &raw)).await);
        }
        Err(error) => return Err(error.into()),
    };
    let held = raw.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
    if held == holder {
        return Ok(());
    }
    if !held.is_empty() && over != Some(held.as_str()) {
        return Err(ReplicaError::Taken);
    }
    raw.spec.get_or_insert_default().holder_identity = Some(holder.to_owned());
    // Guarded by resourceVersion: of two takers one gets a conflict.
    settled(access.read(leases.replace(&name, &PostParams::default(), &raw)).await)
}

fn settled<T>(answer: Result<T, ApiError>) -> Result<(), ReplicaError> {
    match answer {
        Ok(_) => Ok(()),
        Err(ApiError::Conflict(_) | ApiError::AlreadyExists | ApiError::NotFound) => Err(ReplicaError::Taken),
        Err(error) => Err(error.into()),
    }
}

/// Gives a claim back, if `holder` has it.
///
/// # Errors
/// The API server's; then it lapses with its replica.
pub async fn unclaim(
    access: &Access,
    namespace: &str,
    (run, holder): (&RunId, &str),
) -> Result<(), ApiError> {
    let (leases, name) = (api(access, namespace), claim_name(run));
    let raw = match access.read(leases.get(&name)).await {
        Ok(raw) => raw,
        Err(ApiError::NotFound) => return Ok(()),
        Err(error) => return Err(error),
    };
    if raw.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()) != Some(holder) {
        return Ok(());
    }
    let preconditions = Preconditions { uid: raw.uid(), resource_version: raw.resource_version() };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match access.read(leases.delete(&name, &params)).await {
        Ok(_) | Err(ApiError::NotFound | ApiError::Conflict(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Where the Leases of replicas and claims are, to be followed.
pub fn leases_in(namespace: &str) -> ObjectRef {
    ObjectRef::namespaced("coordination.k8s.io/v1", "Lease", namespace, "")
}

fn claim_name(run: &RunId) -> String {
    format!("run-{run}")
}

async fn delete(
    access: &Access,
    (namespace, name): (&str, &str),
    uid: Option<String>,
) -> Result<(), ApiError> {
    let preconditions = uid.map(|uid| Preconditions { uid: Some(uid), resource_version: None });
    let params = DeleteParams { preconditions, ..DeleteParams::default() };
    match access.read(api(access, namespace).delete(name, &params)).await {
        Ok(_) | Err(ApiError::NotFound | ApiError::Conflict(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

fn api(access: &Access, namespace: &str) -> Api<Lease> {
    Api::namespaced(access.client().clone(), namespace)
}

fn lease(name: &str, what: &str, annotations: &[(&str, &str)]) -> Lease {
    let texts = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    Lease {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(texts(&[(LEASE_LABEL, what)])),
            annotations: Some(texts(annotations)),
            ..ObjectMeta::default()
        },
        spec: None,
    }
}

fn renewed(name: &str, now: Timestamp) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(name.to_owned()),
        lease_duration_seconds: i32::try_from(LIVES_FOR.as_secs()).ok(),
        renew_time: Some(MicroTime(now)),
        ..LeaseSpec::default()
    }
}
