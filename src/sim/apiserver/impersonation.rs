//! Acting as somebody else by header: constrained (KEP-5284) where both of its rights are there, else in the form that
//! every server has (pkg/endpoints/filters/impersonation/mode.go of k8s.io/apiserver v0.36). Answers of the one are
//! cached there for 10 s; here nothing is.

use http::HeaderMap;

use super::rbac::{self, Attributes, User};
use crate::sim::store::{Status, Store};

/// Whom the headers name: user and groups.
struct Wanted {
    name: String,
    groups: Vec<String>,
}

/// The user that a request is made as, who may have asked for it with `attributes`. `None`: nobody else is named.
///
/// # Errors
/// 403, in the words of the first form that is tried.
pub(super) fn impersonated(
    store: &Store,
    headers: &HeaderMap,
    user: &User,
    attributes: &Attributes,
) -> Result<Option<User>, Status> {
    let texts = |name: &str| -> Vec<String> {
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok().map(str::to_owned)).collect()
    };
    let name = texts("impersonate-user").into_iter().next().unwrap_or_default();
    if name.is_empty() {
        return Ok(None);
    }
    let wanted = Wanted { name, groups: texts("impersonate-group") };
    if let Err(refused) = constrained(store, user, attributes, &wanted) {
        all(store, user, &legacy(&wanted)).map_err(|status| refused.unwrap_or(status))?;
    }
    let groups: Vec<&str> = wanted.groups.iter().map(String::as_str).collect();
    Ok(Some(User::new(&wanted.name, &groups)))
}

/// Err(None): there is no such form for whom is named.
fn constrained(
    store: &Store,
    user: &User,
    attributes: &Attributes,
    wanted: &Wanted,
) -> Result<(), Option<Status>> {
    let named = &wanted.name;
    let (mode, one) = match (rbac::service_account(named), named.strip_prefix("system:node:")) {
        (Some((namespace, name)), _) => ("serviceaccount", ("serviceaccounts", namespace, name)),
        (None, Some(node)) => ("arbitrary-node", ("nodes", "", node)),
        (None, None) => ("user-info", ("users", "", named.as_str())),
    };
    if mode != "user-info" && !wanted.groups.is_empty() {
        return Err(None);
    }
    let on = Attributes { verb: format!("impersonate-on:{mode}:{}", attributes.verb), ..attributes.clone() };
    let mut rights = vec![on];
    rights.extend(acting((&format!("impersonate:{mode}"), "authentication.k8s.io"), one, wanted));
    all(store, user, &rights).map_err(Some)
}

fn legacy(wanted: &Wanted) -> Vec<Attributes> {
    let one = match rbac::service_account(&wanted.name) {
        Some((namespace, name)) => ("serviceaccounts", namespace, name),
        None => ("users", "", wanted.name.as_str()),
    };
    acting(("impersonate", ""), one, wanted).collect()
}

/// The right to be that one, and of each of the groups.
fn acting<'a>(
    (verb, group): (&'a str, &'a str),
    one: (&'a str, &'a str, &'a str),
    wanted: &'a Wanted,
) -> impl Iterator<Item = Attributes> + 'a {
    let groups = wanted.groups.iter().map(|group| ("groups", "", group.as_str()));
    std::iter::once(one).chain(groups).map(move |(resource, namespace, name)| Attributes {
        verb: verb.into(),
        group: group.into(),
        resource: resource.into(),
        namespace: namespace.into(),
        name: name.into(),
        ..Attributes::default()
    })
}

fn all(store: &Store, user: &User, wanted: &[Attributes]) -> Result<(), Status> {
    match wanted.iter().find(|attributes| !rbac::allowed(store, user, attributes)) {
        Some(refused) => Err(rbac::denied(user, refused)),
        None => Ok(()),
    }
}
