//! Who we are, and what we may do.

use futures::future;
use k8s_openapi::api::{
    authentication::v1::SelfSubjectReview,
    authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec},
};
use kube::{Api, api::PostParams};

use super::{Access, ApiError};

/// The person or account behind the client, as the API server sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User name.
    pub name: String,
    /// Groups.
    pub groups: Vec<String>,
}

/// One right that is not there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Missing {
    /// `patch`.
    pub verb: String,
    /// API group, empty for the core group.
    pub group: String,
    /// `nodes`, `pods/eviction`, `deployments.apps/scale`.
    pub resource: String,
    /// The namespace, or None for all of them.
    pub namespace: Option<String>,
    /// What the authorizer says, if anything.
    pub reason: String,
}

/// Asks who we are.
pub async fn identity(access: &Access) -> Result<Identity, ApiError> {
    let reviews: Api<SelfSubjectReview> = Api::all(access.client().clone());
    let (params, review) = (PostParams::default(), SelfSubjectReview::default());
    let review = access.ask(|| reviews.create(&params, &review)).await?;
    let user = review.status.and_then(|status| status.user_info).unwrap_or_default();
    Ok(Identity { name: user.username.unwrap_or_default(), groups: user.groups.unwrap_or_default() })
}

/// Asks the authorizer for each of `wanted` — verb, group, resource with subresource, namespace — and
/// hands back those that are refused, in the order asked.
///
/// Access reviews, not the rules review: that one is incomplete with webhook authorizers.
pub async fn missing_rights(
    access: &Access,
    wanted: &[(&str, &str, &str, Option<&str>)],
) -> Result<Vec<Missing>, ApiError> {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(access.client().clone());
    let asked = wanted.iter().map(|&(verb, group, resource, namespace)| {
        let reviews = reviews.clone();
        async move {
            let (plural, sub) =
                resource.split_once('/').map_or((resource, None), |(plural, sub)| (plural, Some(sub)));
            let attributes = ResourceAttributes {
                verb: Some(verb.to_owned()),
                group: Some(group.to_owned()),
                resource: Some(plural.to_owned()),
                subresource: sub.map(str::to_owned),
                namespace: namespace.map(str::to_owned),
                ..ResourceAttributes::default()
            };
            let spec =
                SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
            let review = SelfSubjectAccessReview { spec, ..Default::default() };
            let params = PostParams::default();
            let answer = access.ask(|| reviews.create(&params, &review)).await?;
            let status = answer.status.unwrap_or_default();
            Ok((!status.allowed).then(|| Missing {
                verb: verb.to_owned(),
                group: group.to_owned(),
                resource: match (group, sub) {
                    ("", _) => resource.to_owned(),
                    (group, None) => format!("{plural}.{group}"),
                    (group, Some(sub)) => format!("{plural}.{group}/{sub}"),
                },
                namespace: namespace.map(str::to_owned),
                reason: status.reason.unwrap_or_default(),
            }))
        }
    });
    let answers: Vec<Result<Option<Missing>, ApiError>> = future::join_all(asked).await;
    answers.into_iter().filter_map(Result::transpose).collect()
}

/// Those of `missing` that somebody could grant: a right on a group that the server does not know is nobody's.
pub async fn grantable(access: &Access, missing: Vec<Missing>) -> Result<Vec<Missing>, ApiError> {
    // Groups of others are spelled like hosts; only those may be unknown.
    if !missing.iter().any(|right| right.group.contains('.')) {
        return Ok(missing);
    }
    let groups = access.read(access.client().list_api_groups()).await?;
    let known = |right: &Missing| {
        !right.group.contains('.') || groups.groups.iter().any(|group| group.name == right.group)
    };
    Ok(missing.into_iter().filter(known).collect())
}
