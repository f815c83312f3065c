//! Whether somebody with a token may read a path of ours: what the API server says, which alone knows.

use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec},
    authorization::v1::{NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, api::PostParams};

use super::{Access, ApiError};

/// What somebody with a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Nobody that the API server knows.
    Unknown,
    /// Known, and may not.
    Refused,
    /// Known, and may.
    Allowed,
}

/// Asks whose `token` it is (TokenReview), and whether they may `get` the path, which is no resource
/// (SubjectAccessReview).
///
/// # Errors
/// The API server's.
pub async fn reader(access: &Access, token: &str, path: &str) -> Result<Reader, ApiError> {
    let spec = TokenReviewSpec { token: token.to_owned(), ..TokenReviewSpec::default() };
    let review = TokenReview { spec, ..TokenReview::default() };
    let reviews: Api<TokenReview> = Api::all(access.client().clone());
    let answer = access.read(reviews.create(&PostParams::default(), &review)).await?.status;
    let known = answer.filter(|status| status.authenticated == Some(true)).and_then(|status| status.user);
    let Some(user) = known else { return Ok(Reader::Unknown) };
    let spec = SubjectAccessReviewSpec {
        user: user.username,
        groups: user.groups,
        uid: user.uid,
        extra: user.extra,
        non_resource_attributes: Some(NonResourceAttributes {
            path: Some(path.to_owned()),
            verb: Some("get".to_owned()),
        }),
        ..SubjectAccessReviewSpec::default()
    };
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let reviews: Api<SubjectAccessReview> = Api::all(access.client().clone());
    let answer = access.read(reviews.create(&PostParams::default(), &review)).await?.status;
    let allowed = answer.is_some_and(|status| status.allowed && status.denied != Some(true));
    Ok(if allowed { Reader::Allowed } else { Reader::Refused })
}
