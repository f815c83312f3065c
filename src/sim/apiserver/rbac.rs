//! Who may do what: Kubernetes RBAC over the stored roles and bindings, and the reviews of users and tokens
//! (plugin/pkg/auth/authorizer/rbac/rbac.go of kubernetes v1.36).

use super::request::Target;
use crate::sim::store::{Kind, Object, Selector, Status, StatusDetails, Store};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;

/// An authenticated user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    /// User name, for example `system:serviceaccount:shop:breaker`.
    pub name: String,
    /// Groups.
    pub groups: Vec<String>,
}

/// What tokens of ServiceAccounts begin with; the account's UID follows.
pub(super) const TOKEN: &str = "simulated.";

/// The group that is above RBAC.
pub const MASTERS: &str = "system:masters";

impl User {
    /// A user with groups; `system:authenticated` is added, and for service accounts their groups.
    #[must_use]
    pub fn new(name: &str, groups: &[&str]) -> Self {
        let mut groups: Vec<String> = groups.iter().map(|g| (*g).to_string()).collect();
        if let Some((namespace, _)) = service_account(name) {
            groups.push("system:serviceaccounts".into());
            groups.push(format!("system:serviceaccounts:{namespace}"));
        }
        groups.push("system:authenticated".into());
        Self { name: name.into(), groups }
    }

    /// The administrator that clients are by default.
    #[must_use]
    pub fn admin() -> Self {
        Self::new("kubernetes-admin", &[MASTERS])
    }
}

/// Namespace and name of the ServiceAccount that a user is.
pub(super) fn service_account(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix("system:serviceaccount:")?.split_once(':')
}

/// What somebody wants to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Attributes {
    pub namespace: String,
    pub verb: String,
    pub group: String,
    pub version: String,
    pub resource: String,
    pub subresource: String,
    pub name: String,
    /// Set for paths that are no resource.
    #[serde(skip)]
    pub path: String,
}

impl Attributes {
    /// To do that to what a request is about.
    pub(super) fn of(target: &Target, verb: &str) -> Self {
        Self {
            namespace: target.namespace.clone(),
            verb: verb.into(),
            group: target.group.clone(),
            version: target.version.clone(),
            resource: target.resource.clone(),
            subresource: target.subresource.clone(),
            name: target.name.clone(),
            path: String::new(),
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct Rule {
    verbs: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    api_groups: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resources: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resource_names: Vec<String>,
    #[serde(rename = "nonResourceURLs", skip_serializing_if = "Vec::is_empty")]
    non_resource_urls: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RoleRef {
    kind: String,
    name: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Subject {
    kind: String,
    name: String,
    namespace: String,
}

impl Rule {
    fn allows(&self, a: &Attributes) -> bool {
        let has = |list: &[String], want: &str| list.iter().any(|x| x == "*" || x == want);
        if !has(&self.verbs, &a.verb) {
            return false;
        }
        if !a.path.is_empty() {
            return self.non_resource_urls.iter().any(|u| {
                u == "*"
                    || *u == a.path
                    || u.strip_suffix('*').is_some_and(|prefix| a.path.starts_with(prefix))
            });
        }
        let full = if a.subresource.is_empty() {
            a.resource.clone()
        } else {
            format!("{}/{}", a.resource, a.subresource)
        };
        let any_of_sub = format!("*/{}", a.subresource);
        has(&self.api_groups, &a.group)
            && self
                .resources
                .iter()
                .any(|r| r == "*" || *r == full || (!a.subresource.is_empty() && *r == any_of_sub))
            && (self.resource_names.is_empty() || self.resource_names.contains(&a.name))
    }
}

/// The rules that bind a user in a namespace (empty: cluster-wide only).
fn rules_for(store: &Store, user: &User, namespace: &str) -> Vec<Rule> {
    let mut out = Vec::new();
    for binding in store.list(&Kind::CLUSTER_ROLE_BINDING, None, &Selector::everything()) {
        add_rules(store, user, &binding, &mut out);
    }
    if !namespace.is_empty() {
        for binding in store.list(&Kind::ROLE_BINDING, Some(namespace), &Selector::everything()) {
            add_rules(store, user, &binding, &mut out);
        }
    }
    out
}

fn add_rules(store: &Store, user: &User, binding: &Arc<Object>, out: &mut Vec<Rule>) {
    let subjects: Vec<Subject> =
        serde_json::from_str(binding.raw("subjects").unwrap_or("[]")).unwrap_or_default();
    let namespace = &binding.meta.namespace;
    let bound = subjects.iter().any(|s| match s.kind.as_str() {
        "User" => s.name == user.name,
        "Group" => user.groups.contains(&s.name),
        "ServiceAccount" => {
            let at = if s.namespace.is_empty() { namespace } else { &s.namespace };
            service_account(&user.name) == Some((at, &s.name))
        }
        _ => false,
    });
    if !bound {
        return;
    }
    let role: RoleRef = binding.field("roleRef").unwrap_or_default();
    let found = match role.kind.as_str() {
        "ClusterRole" => store.get(&Kind::CLUSTER_ROLE, "", &role.name),
        "Role" => store.get(&Kind::ROLE, namespace, &role.name),
        _ => None,
    };
    let rules = found.and_then(|r| serde_json::from_str::<Vec<Rule>>(r.raw("rules")?).ok());
    out.extend(rules.unwrap_or_default());
}

/// Whether RBAC lets a user do this.
pub(super) fn allowed(store: &Store, user: &User, attributes: &Attributes) -> bool {
    user.groups.iter().any(|g| g == MASTERS)
        || rules_for(store, user, &attributes.namespace).iter().any(|r| r.allows(attributes))
}

/// 403 in the words of staging/src/k8s.io/apiserver/pkg/endpoints/handlers/responsewriters/errors.go.
pub(super) fn denied(user: &User, a: &Attributes) -> Status {
    if !a.path.is_empty() {
        let why = format!("forbidden: User \"{}\" cannot {} path \"{}\"", user.name, a.verb, a.path);
        let mut status = Status::failure(403, "Forbidden", why);
        status.details = Some(Box::default());
        return status;
    }
    let resource = if a.subresource.is_empty() {
        a.resource.clone()
    } else {
        format!("{}/{}", a.resource, a.subresource)
    };
    let scope = if a.namespace.is_empty() {
        "at the cluster scope".into()
    } else {
        format!("in the namespace \"{}\"", a.namespace)
    };
    let why = format!(
        "User \"{}\" cannot {} resource \"{resource}\" in API group \"{}\" {scope}",
        user.name, a.verb, a.group
    );
    let qualified =
        if a.group.is_empty() { a.resource.clone() } else { format!("{}.{}", a.resource, a.group) };
    let subject = if a.name.is_empty() { qualified } else { format!("{qualified} \"{}\"", a.name) };
    let mut status = Status::failure(403, "Forbidden", format!("{subject} is forbidden: {why}"));
    status.details = Some(Box::new(StatusDetails {
        name: a.name.clone(),
        group: a.group.clone(),
        kind: a.resource.clone(),
        ..StatusDetails::default()
    }));
    status
}

/// Answers the reviews of authorization.k8s.io and authentication.k8s.io; `None` for any other resource.
pub(super) fn review(store: &Store, user: &User, resource: &str, body: &Value) -> Option<Value> {
    let mut answer = body.clone();
    let spec = &body["spec"];
    answer["status"] = match resource {
        "selfsubjectaccessreviews" => access(store, user, spec),
        "subjectaccessreviews" | "localsubjectaccessreviews" => {
            let groups: Vec<String> = serde_json::from_value(spec["groups"].clone()).unwrap_or_default();
            let name = spec["user"].as_str().unwrap_or_default().to_string();
            access(store, &User { name, groups }, spec)
        }
        "selfsubjectrulesreviews" => {
            let namespace = spec["namespace"].as_str().unwrap_or_default();
            let mut rules = rules_for(store, user, namespace);
            if user.groups.iter().any(|g| g == MASTERS) {
                let all = || vec!["*".to_string()];
                rules.push(Rule { verbs: all(), api_groups: all(), resources: all(), ..Rule::default() });
                rules.push(Rule { verbs: all(), non_resource_urls: all(), ..Rule::default() });
            }
            let (paths, resources): (Vec<_>, Vec<_>) =
                rules.into_iter().partition(|r| !r.non_resource_urls.is_empty());
            json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": false})
        }
        "selfsubjectreviews" => json!({"userInfo": {"username": user.name, "groups": user.groups}}),
        "tokenreviews" => token_review(store, spec["token"].as_str().unwrap_or_default()),
        _ => return None,
    };
    let kind = match resource {
        "selfsubjectaccessreviews" => "SelfSubjectAccessReview",
        "subjectaccessreviews" => "SubjectAccessReview",
        "localsubjectaccessreviews" => "LocalSubjectAccessReview",
        "selfsubjectrulesreviews" => "SelfSubjectRulesReview",
        "tokenreviews" => "TokenReview",
        _ => "SelfSubjectReview",
    };
    let authenticates = matches!(kind, "SelfSubjectReview" | "TokenReview");
    let group = if authenticates { "authentication" } else { "authorization" };
    answer["kind"] = kind.into();
    answer["apiVersion"] = format!("{group}.k8s.io/v1").into();
    Some(answer)
}

/// Whose token it is, as long as the account is there. It is not signed: who knows an account's UID can make one.
fn token_review(store: &Store, token: &str) -> Value {
    let uid = token.strip_prefix(TOKEN).and_then(|rest| rest.split_once('.')).map(|(uid, _)| uid);
    let accounts = store.list(&Kind::SERVICE_ACCOUNT, None, &Selector::everything());
    let Some(account) = accounts.iter().find(|account| Some(account.meta.uid.as_str()) == uid) else {
        return json!({"authenticated": false, "error": "[invalid bearer token, token lookup failed]"});
    };
    let name = format!("system:serviceaccount:{}:{}", account.meta.namespace, account.meta.name);
    let user = User::new(&name, &[]);
    json!({"authenticated": true,
        "user": {"username": user.name, "uid": account.meta.uid, "groups": user.groups}})
}

fn access(store: &Store, user: &User, spec: &Value) -> Value {
    let attributes = if let Some(path) = spec.get("nonResourceAttributes") {
        let text = |k: &str| path[k].as_str().unwrap_or_default().to_string();
        Attributes { verb: text("verb"), path: text("path"), ..Attributes::default() }
    } else {
        serde_json::from_value(spec["resourceAttributes"].clone()).unwrap_or_default()
    };
    if allowed(store, user, &attributes) {
        json!({"allowed": true, "reason": "RBAC: allowed"})
    } else {
        json!({"allowed": false})
    }
}

/// The roles and bindings that every cluster has (plugin/pkg/auth/authorizer/rbac/bootstrappolicy/policy.go),
/// as far as the embedded cluster's users need them.
pub(super) fn bootstrap() -> Vec<Value> {
    let role = |name: &str, rules: Value| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": name, "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}}, "rules": rules})
    };
    let bind = |name: &str, group: &str| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": name, "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group}]})
    };
    let read = json!(["get", "list", "watch"]);
    let write = json!(["create", "delete", "deletecollection", "patch", "update"]);
    let viewed = json!([
        {"apiGroups": [""], "verbs": read, "resources": ["configmaps", "endpoints", "events", "namespaces", "persistentvolumeclaims", "pods",
            "pods/log", "pods/status", "serviceaccounts", "services", "services/status"]},
        {"apiGroups": ["apps"], "verbs": read, "resources": ["daemonsets", "daemonsets/status", "deployments",
            "deployments/scale", "deployments/status", "replicasets", "replicasets/scale", "replicasets/status",
            "statefulsets", "statefulsets/scale", "statefulsets/status"]},
        {"apiGroups": ["autoscaling"], "verbs": read, "resources": ["horizontalpodautoscalers"]},
        {"apiGroups": ["discovery.k8s.io"], "verbs": read, "resources": ["endpointslices"]},
        {"apiGroups": ["policy"], "verbs": read, "resources": ["poddisruptionbudgets", "poddisruptionbudgets/status"]},
        {"apiGroups": ["networking.k8s.io"], "verbs": read, "resources": ["networkpolicies"]},
        {"apiGroups": ["metrics.k8s.io"], "verbs": read, "resources": ["pods", "nodes"]},
    ]);
    let mut edited = viewed.as_array().cloned().unwrap_or_default();
    edited.extend([
        json!({"apiGroups": [""], "verbs": write, "resources": ["configmaps", "endpoints", "events", "persistentvolumeclaims", "pods", "secrets",
            "serviceaccounts", "services", "pods/attach", "pods/exec", "pods/proxy", "services/proxy"]}),
        json!({"apiGroups": [""], "verbs": ["get", "list", "watch"], "resources": ["secrets", "pods/attach", "pods/exec", "services/proxy"]}),
        json!({"apiGroups": [""], "verbs": ["create"], "resources": ["pods/eviction", "serviceaccounts/token"]}),
        json!({"apiGroups": [""], "verbs": ["patch", "update"], "resources": ["pods/ephemeralcontainers"]}),
        json!({"apiGroups": [""], "verbs": ["impersonate"], "resources": ["serviceaccounts"]}),
        json!({"apiGroups": ["apps"], "verbs": write, "resources": ["daemonsets", "deployments", "deployments/rollback",
            "deployments/scale", "replicasets", "replicasets/scale", "statefulsets", "statefulsets/scale"]}),
        json!({"apiGroups": ["autoscaling"], "verbs": write, "resources": ["horizontalpodautoscalers"]}),
        json!({"apiGroups": ["policy"], "verbs": write, "resources": ["poddisruptionbudgets"]}),
        json!({"apiGroups": ["networking.k8s.io"], "verbs": write, "resources": ["networkpolicies"]}),
        json!({"apiGroups": ["coordination.k8s.io"], "verbs": ["create", "delete", "deletecollection", "get", "list",
            "patch", "update", "watch"], "resources": ["leases"]}),
    ]);
    let mut administered = edited.clone();
    administered
        .push(json!({"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["rolebindings", "roles"],
        "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]}));
    let all = json!(["*"]);
    vec![
        role(
            "cluster-admin",
            json!([{"apiGroups": all, "resources": all, "verbs": all}, {"nonResourceURLs": all, "verbs": all}]),
        ),
        role("view", viewed),
        role("edit", Value::Array(edited)),
        role("admin", Value::Array(administered)),
        role(
            "system:discovery",
            json!([{"verbs": ["get"], "nonResourceURLs":
            ["/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz", "/version", "/version/"]}]),
        ),
        role(
            "system:basic-user",
            json!([
            {"apiGroups": ["authorization.k8s.io"], "verbs": ["create"], "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]},
            {"apiGroups": ["authentication.k8s.io"], "verbs": ["create"], "resources": ["selfsubjectreviews"]}]),
        ),
        bind("cluster-admin", MASTERS),
        bind("system:discovery", "system:authenticated"),
        bind("system:basic-user", "system:authenticated"),
    ]
}
