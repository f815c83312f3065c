//! Leases: who owns the runs of a namespace, and since which epoch.
//!
//! The algorithm is client-go's (leaderelection.go) with its default periods; what it lacks, fencing, is
//! the caller's [`Fence`](super::Fence): nothing is sent after the deadline that this process itself has
//! measured.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease as RawLease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, ObjectMeta, PostParams, Preconditions},
};
use tokio::time::Instant;

use super::{Access, ApiError};
use crate::types::{Epoch, RunId, planted};

/// The one name: two runs in a namespace cannot both hold it.
pub(super) const NAME: &str = "firedrill";
/// How long a lease is good after its renewal.
const DURATION: Duration = Duration::from_secs(15);
/// The owner stops this long before the others may take over.
const MARGIN: Duration = Duration::from_secs(5);

const RUN: &str = "firedrill.dev/run";
const BY: &str = "firedrill.dev/by";
const EPOCH: &str = "firedrill.dev/epoch";
const ABORT: &str = "firedrill.dev/abort";
const ACKNOWLEDGED: &str = "firedrill.dev/abort-acknowledged";

/// What a lease says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenure {
    /// The run that holds the namespace.
    pub run: RunId,
    /// The process: host and pid of a command line, pod of a controller.
    pub holder: String,
    /// Who started it.
    pub by: String,
    /// The owner's epoch.
    pub epoch: Epoch,
    /// When it was renewed last.
    pub renewed: Timestamp,
    /// Whether it is still good at the time of asking.
    pub fresh: bool,
    /// Who asked for an abort, if anybody.
    pub abort: Option<String>,
    /// Whether the owner has seen that.
    pub acknowledged: bool,
}

/// Why a namespace cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// Another run has it.
    #[error("run {} of {} holds namespace {namespace} (epoch {}, renewed {})", tenure.run, tenure.by, tenure.epoch, tenure.renewed)]
    Held {
        /// Which namespace.
        namespace: String,
        /// Who.
        tenure: Box<Tenure>,
    },
    /// It was ours and is no more.
    #[error("the lease of namespace {0} was taken over")]
    Lost(String),
    /// The server.
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// A held lease of one namespace.
pub struct Lease {
    access: Access,
    namespace: String,
    raw: RawLease,
    tenure: Tenure,
    /// When the renewal that succeeded last was asked for.
    confirmed: Instant,
}

impl Lease {
    /// How long an owner whose lease was taken from it may still send changes: until then nothing that it
    /// does can be put back for good.
    pub const LAST_WORD: Duration = DURATION.saturating_sub(MARGIN);

    /// What the lease of `namespace` says now; None if nobody has it.
    pub async fn read(access: &Access, namespace: &str, now: Timestamp) -> Result<Option<Tenure>, ApiError> {
        match access.read(api(access, namespace).get(NAME)).await {
            Ok(raw) => Ok(tenure(&raw, now)),
            Err(ApiError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The runs that hold a fresh lease anywhere, each with the namespaces where it does.
    pub async fn at_work(
        access: &Access,
        now: Timestamp,
    ) -> Result<BTreeMap<RunId, BTreeSet<String>>, ApiError> {
        let mut at_work: BTreeMap<RunId, BTreeSet<String>> = BTreeMap::new();
        for (namespace, found) in Self::all(access, "", now).await? {
            if found.fresh {
                at_work.entry(found.run).or_default().insert(namespace);
            }
        }
        Ok(at_work)
    }

    /// Takes the lease of `namespace` for `wanted`; of the same run's former owner only when it has lapsed
    /// or with `take_over`, of another run's only when it has lapsed.
    pub async fn acquire(
        access: &Access,
        namespace: &str,
        wanted: Tenure,
        take_over: bool,
    ) -> Result<Self, LeaseError> {
        let asked = Instant::now();
        let leases = api(access, namespace);
        let raw = match access.read(leases.get(NAME)).await {
            Ok(mut raw) => {
                if let Some(found) = tenure(&raw, wanted.renewed)
                    && (found.fresh && !planted("lease-freshness-ignored"))
                    && found.holder != wanted.holder
                    && !(take_over && found.run == wanted.run)
                {
                    return Err(LeaseError::Held {
                        namespace: namespace.to_owned(),
                        tenure: Box::new(found),
                    });
                }
                write_into(&mut raw, &wanted);
                // Guarded by resourceVersion: of two takers one gets a conflict.
                access.read(leases.replace(NAME, &PostParams::default(), &raw)).await
            }
            Err(ApiError::NotFound) => {
                let mut raw = RawLease {
                    metadata: ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() },
                    ..RawLease::default()
                };
                write_into(&mut raw, &wanted);
                access.read(leases.create(&PostParams::default(), &raw)).await
            }
            Err(error) => Err(error),
        };
        let raw = match raw {
            Ok(raw) => raw,
            Err(ApiError::Conflict(_) | ApiError::AlreadyExists) => {
                return Err(match Self::read(access, namespace, wanted.renewed).await? {
                    Some(found) => {
                        LeaseError::Held { namespace: namespace.to_owned(), tenure: Box::new(found) }
                    }
                    None => {
                        LeaseError::Api(ApiError::Conflict("the lease changes hands too fast".to_owned()))
                    }
                });
            }
            Err(error) => return Err(error.into()),
        };
        access.fence().extend(asked + DURATION - MARGIN);
        Ok(Self {
            access: access.clone(),
            namespace: namespace.to_owned(),
            raw,
            tenure: wanted,
            confirmed: asked,
        })
    }

    /// The API server's time at the last write, to the second, as it stamps managed fields.
    pub fn server_time(&self) -> Option<Timestamp> {
        stamped(&self.raw.metadata)
    }

    /// Renews it, and says whether somebody has asked for an abort since.
    ///
    /// # Errors
    /// [`LeaseError::Lost`] when another holds it: then the fence is closed for good.
    pub async fn renew(&mut self, now: Timestamp) -> Result<Option<String>, LeaseError> {
        let asked = Instant::now();
        let leases = api(&self.access, &self.namespace);
        let mut raw = match self.access.read(leases.get(NAME)).await {
            Ok(raw) => raw,
            Err(ApiError::NotFound) => return self.gone(asked).await,
            Err(error) => return Err(error.into()),
        };
        let found = tenure(&raw, now);
        if found
            .as_ref()
            .is_none_or(|found| found.holder != self.tenure.holder || found.epoch != self.tenure.epoch)
        {
            return self.lost();
        }
        let abort = found.and_then(|found| found.abort);
        self.tenure.renewed = now;
        write_into(&mut raw, &self.tenure);
        if abort.is_some() {
            raw.annotations_mut().insert(ACKNOWLEDGED.to_owned(), self.tenure.holder.clone());
        }
        match self.access.read(leases.replace(NAME, &PostParams::default(), &raw)).await {
            Ok(raw) => (self.raw, self.confirmed) = (raw, asked),
            // Somebody has written meanwhile (an abort, perhaps): the next renewal sees it.
            Err(ApiError::Conflict(_)) => return Ok(abort),
            Err(error) => return Err(error.into()),
        }
        self.access.fence().extend(asked + DURATION - MARGIN);
        Ok(abort)
    }

    /// The lease is not there any more. With a namespace that is being deleted it goes too, and nobody can have
    /// it there again: then what it stood for is still ours, nodes for instance, and has to be put back.
    async fn gone(&mut self, asked: Instant) -> Result<Option<String>, LeaseError> {
        // Whoever has taken it over keeps it for longer than this before it is given back.
        if asked.duration_since(self.confirmed) >= Self::LAST_WORD {
            return self.lost();
        }
        let trial = PostParams { dry_run: true, ..PostParams::default() };
        let mut raw = RawLease {
            metadata: ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() },
            ..RawLease::default()
        };
        write_into(&mut raw, &self.tenure);
        match self.access.read(api(&self.access, &self.namespace).create(&trial, &raw)).await {
            Err(ApiError::Terminating | ApiError::NotFound) => {
                self.confirmed = asked;
                self.access.fence().extend(asked + DURATION - MARGIN);
                Ok(None)
            }
            Err(error) if error.is_transient() => Err(error.into()),
            _ => self.lost(),
        }
    }

    fn lost(&self) -> Result<Option<String>, LeaseError> {
        self.access.fence().close(format!("the lease of namespace {} was taken over", self.namespace));
        Err(LeaseError::Lost(self.namespace.clone()))
    }

    /// Gives it back: the object is deleted if it is still ours.
    pub async fn release(self) -> Result<(), ApiError> {
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: self.raw.uid(), resource_version: None }),
            ..DeleteParams::default()
        };
        let leases = api(&self.access, &self.namespace);
        let ours = match self.access.read(leases.get(NAME)).await {
            Ok(raw) => {
                tenure(&raw, self.tenure.renewed).is_some_and(|found| found.holder == self.tenure.holder)
            }
            Err(ApiError::NotFound) => return Ok(()),
            Err(error) => return Err(error),
        };
        if !ours {
            return Ok(());
        }
        match self.access.read(leases.delete(NAME, &params)).await {
            Ok(_) | Err(ApiError::NotFound | ApiError::Conflict(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Every lease in `namespace` (empty: in all), with its namespace.
    pub async fn all(
        access: &Access,
        namespace: &str,
        now: Timestamp,
    ) -> Result<Vec<(String, Tenure)>, ApiError> {
        let found = list(access, namespace).await?;
        let held = found.iter().filter_map(|raw| Some((raw.namespace()?, tenure(raw, now)?)));
        Ok(held.collect())
    }

    /// Deletes the lapsed leases in `namespace` (empty: in all) that `theirs` says may go: their owners are
    /// gone, and nobody else would ever delete them. Which runs they named.
    pub async fn clear_lapsed(
        access: &Access,
        namespace: &str,
        now: Timestamp,
        theirs: impl Fn(&RunId) -> bool,
    ) -> Result<Vec<RunId>, ApiError> {
        let mut cleared = Vec::new();
        for raw in list(access, namespace).await? {
            let Some(found) = tenure(&raw, now).filter(|found| !found.fresh && theirs(&found.run)) else {
                continue;
            };
            // Of one that is taken or renewed meanwhile the version has moved.
            let preconditions = Preconditions { uid: raw.uid(), resource_version: raw.resource_version() };
            let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            let namespace = raw.namespace().unwrap_or_default();
            match access.read(api(access, &namespace).delete(NAME, &params)).await {
                Ok(_) => cleared.push(found.run),
                Err(ApiError::NotFound | ApiError::Conflict(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(cleared)
    }

    /// Asks whoever holds `namespace` to abort `run`. False if that run does not hold it.
    pub async fn request_abort(
        access: &Access,
        namespace: &str,
        run: &RunId,
        by: &str,
    ) -> Result<bool, ApiError> {
        let leases = api(access, namespace);
        loop {
            let mut raw = match access.read(leases.get(NAME)).await {
                Ok(raw) => raw,
                Err(ApiError::NotFound) => return Ok(false),
                Err(error) => return Err(error),
            };
            if raw.annotations().get(RUN).map(String::as_str) != Some(run.as_str()) {
                return Ok(false);
            }
            raw.annotations_mut().insert(ABORT.to_owned(), by.to_owned());
            match access.read(leases.replace(NAME, &PostParams::default(), &raw)).await {
                Ok(_) => return Ok(true),
                // The owner renews all the time; one of the next tries gets through.
                Err(ApiError::Conflict(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn api(access: &Access, namespace: &str) -> Api<RawLease> {
    Api::namespaced(access.client().clone(), namespace)
}

async fn list(access: &Access, namespace: &str) -> Result<Vec<RawLease>, ApiError> {
    let leases: Api<RawLease> =
        if namespace.is_empty() { Api::all(access.client().clone()) } else { api(access, namespace) };
    let ours = ListParams::default().fields(&format!("metadata.name={NAME}"));
    Ok(access.read(leases.list(&ours)).await?.items)
}

fn tenure(raw: &RawLease, now: Timestamp) -> Option<Tenure> {
    let annotations = raw.annotations();
    let spec = raw.spec.as_ref()?;
    let renewed = spec.renew_time.as_ref()?.0;
    let duration =
        Duration::from_secs(spec.lease_duration_seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(15));
    Some(Tenure {
        run: RunId::parse(annotations.get(RUN)?)?,
        holder: spec.holder_identity.clone().filter(|holder| !holder.is_empty())?,
        by: annotations.get(BY).cloned().unwrap_or_default(),
        epoch: Epoch(annotations.get(EPOCH).and_then(|epoch| epoch.parse().ok()).unwrap_or(0)),
        renewed,
        fresh: now < renewed.checked_add(duration).unwrap_or(Timestamp::MAX),
        abort: annotations.get(ABORT).cloned(),
        acknowledged: annotations.contains_key(ACKNOWLEDGED),
    })
}

fn write_into(raw: &mut RawLease, tenure: &Tenure) {
    let owned: BTreeMap<String, String> =
        [(RUN, tenure.run.to_string()), (BY, tenure.by.clone()), (EPOCH, tenure.epoch.to_string())]
            .map(|(key, value)| (key.to_owned(), value))
            .into();
    if raw.annotations().get(RUN) != owned.get(RUN) {
        raw.annotations_mut().remove(ABORT);
        raw.annotations_mut().remove(ACKNOWLEDGED);
    }
    raw.annotations_mut().extend(owned);
    raw.spec = Some(LeaseSpec {
        holder_identity: Some(tenure.holder.clone()),
        lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
        renew_time: Some(MicroTime(tenure.renewed)),
        acquire_time: raw.spec.take().and_then(|spec| spec.acquire_time).or(Some(MicroTime(tenure.renewed))),
        ..LeaseSpec::default()
    });
}

/// When the API server wrote an object last, by its own clock and to the second.
pub(super) fn stamped(object: &ObjectMeta) -> Option<Timestamp> {
    let times = object.managed_fields.iter().flatten().filter_map(|entry| entry.time.as_ref());
    times.map(|time| time.0).max()
}
