//! ValidatingAdmissionPolicies: who may write which Experiment, Run, GameDay and Guardrail.
//!
//! Tried on a real API server: a look at the authorizer costs 350,000 of the 1,000,000 that an expression may,
//! and of the 10,000,000 that a policy may. So each right is asked for once, in an expression of its own, however
//! many steps need it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{ADMISSION, NODE_FAULTS, stamp::just_done};
use crate::{
    api::schema::{self, GROUP, Shape, VERSION},
    controller::{AUTHOR, HANDS},
    faults::{FAULTS, FaultInfo, LOAD_POD},
};

/// What a step may say beside its fault.
pub(super) const STEP_FIELDS: [&str; 13] = [
    "name",
    "description",
    "target",
    "wait",
    "load",
    "check",
    "manual",
    "revert",
    "duration",
    "background",
    "onFailure",
    "repeat",
    "rolling",
];
/// Groups that every server has; what is in others may not be installed.
const BUILT_IN: [&str; 5] = ["", "apps", "autoscaling", "policy", "networking.k8s.io"];
/// Whoever writes about the same spec again has changed nothing: finalizers, labels.
const CHANGED: (&str, &str) = ("spec-changed", "oldObject == null || object.spec != oldObject.spec");
const NAMESPACE: &str = "namespace(object.metadata.namespace)";
const METHOD: &str = "variables.method";

/// A policy in the making.
pub(super) struct Policy {
    name: &'static str,
    /// API group, version, resource, operations.
    pub over: (&'static str, &'static str, &'static str, &'static [&'static str]),
    pub conditions: Vec<(&'static str, String)>,
    pub variables: Vec<(&'static str, String)>,
    /// What has to be true, and in CEL what is said of who does not hold to it.
    pub rules: Vec<(String, String)>,
    /// Whether it is asked about each Guardrail.
    guardrails: bool,
}

impl Policy {
    pub(super) fn over(
        name: &'static str,
        resource: &'static str,
        operations: &'static [&'static str],
    ) -> Self {
        Self {
            name,
            over: (GROUP, VERSION, resource, operations),
            conditions: Vec::new(),
            variables: Vec::new(),
            rules: Vec::new(),
            guardrails: false,
        }
    }

    /// The policy and its binding.
    pub(super) fn objects(self) -> Vec<Value> {
        let name = format!("{}.{GROUP}", self.name);
        let named = |pairs: &[(&str, String)]| -> Vec<Value> {
            pairs.iter().map(|(name, expression)| json!({"name": name, "expression": expression})).collect()
        };
        let rule = |(expression, words): &(String, String)| json!({"expression": expression, "messageExpression": format!("'firedrill: ' + {words}"), "reason": "Forbidden"});
        let (group, version, resource, operations) = self.over;
        let mut policy = json!({
            "apiVersion": format!("{ADMISSION}/v1"), "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [
                    {"apiGroups": [group], "apiVersions": [version], "operations": operations, "resources": [resource]},
                ]},
                "validations": self.rules.iter().map(rule).collect::<Vec<_>>(),
            },
        });
        let mut binding = json!({
            "apiVersion": format!("{ADMISSION}/v1"), "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
            "spec": {"policyName": name, "validationActions": ["Deny"]},
        });
        if !self.conditions.is_empty() {
            policy["spec"]["matchConditions"] = named(&self.conditions).into();
        }
        if !self.variables.is_empty() {
            policy["spec"]["variables"] = named(&self.variables).into();
        }
        if self.guardrails {
            policy["spec"]["paramKind"] =
                json!({"apiVersion": format!("{GROUP}/{VERSION}"), "kind": "Guardrail"});
            binding["spec"]["paramRef"] = json!({"selector": {}, "parameterNotFoundAction": "Allow"});
        }
        vec![policy, binding]
    }
}

pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

pub(super) fn list<'a>(of: impl IntoIterator<Item = &'a str>) -> String {
    of.into_iter().map(quoted).collect::<Vec<_>>().join(", ")
}

/// The policies that every installation has.
pub(super) fn policies() -> Vec<Value> {
    let files = [experiments(), runs(), halt(), game_days(), authors("experiments"), authors("gamedays")];
    let all = files.into_iter().chain([hands(), guardrails()]);
    all.flat_map(Policy::objects).collect()
}

/// Whoever is said to have written a file is whoever changed it, and stays so until somebody else changes it. Where
/// nothing stamps it (before Kubernetes 1.36) nobody has to be said.
fn authors(resource: &'static str) -> Policy {
    let name = if resource == "gamedays" { "gameday-authors" } else { "experiment-authors" };
    let mut policy = Policy::over(name, resource, &["CREATE", "UPDATE"]);
    let said = |of: &str| format!("{of}.metadata.?annotations[?'{AUTHOR}'].orValue('')");
    policy.variables = vec![
        ("now", said("object")),
        ("before", format!("oldObject == null ? '' : {}", said("oldObject"))),
        ("same", "oldObject != null && object.spec == oldObject.spec".to_owned()),
    ];
    policy.rules.push((
        "variables.same ? variables.now == variables.before : variables.now in ['', request.userInfo.username]"
            .to_owned(),
        format!("'the annotation {AUTHOR} names who changed the spec: ' + request.userInfo.username"),
    ));
    policy.rules.push((
        "variables.same || variables.before == '' || variables.now != ''".to_owned(),
        format!("'the annotation {AUTHOR} cannot be taken away'"),
    ));
    policy
}

/// Whoever is said to have aborted a Run, or held it, or let it go on, is whoever has just done so. Where nothing stamps
/// it nobody has to be said, so that any client can abort.
fn hands() -> Policy {
    let mut policy = Policy::over("run-hands", "runs", &["CREATE", "UPDATE"]);
    for hand in HANDS {
        let said = |of: &str| format!("{of}.metadata.?annotations[?'{hand}'].orValue('')");
        let before = format!("(oldObject == null ? '' : {})", said("oldObject"));
        policy.rules.push((
            format!(
                "{now} == {before} || ({now} == request.userInfo.username && {})",
                just_done(hand),
                now = said("object")
            ),
            format!("'the annotation {hand} names who has done that: ' + request.userInfo.username"),
        ));
    }
    policy
}

/// Whether the caller may use an account of the namespace.
fn uses(account: &str) -> String {
    format!(
        "authorizer.group('').resource('serviceaccounts').{NAMESPACE}.name({account}).check('impersonate').allowed()"
    )
}

fn may_not(what: &str) -> String {
    format!("request.userInfo.username + ' may not {what} in namespace ' + object.metadata.namespace")
}

/// Whoever writes down faults holds their rights, and may use the account that they are done as.
fn experiments() -> Policy {
    let mut policy = Policy::over("experiments", "experiments", &["CREATE", "UPDATE"]);
    policy.conditions.push((CHANGED.0, CHANGED.1.to_owned()));
    policy.variables = vec![
        ("method", "has(object.spec.method) ? object.spec.method : []".to_owned()),
        ("account", "object.spec.?serviceAccountName.orValue('firedrill')".to_owned()),
        ("loads", "has(object.spec.load) ? object.spec.load : []".to_owned()),
    ];
    let known = STEP_FIELDS.into_iter().chain(FAULTS.iter().map(|fault| fault.info().name));
    policy.rules.push((
        format!("{METHOD}.all(s, dyn(s).all(k, k in [{}]))", list(known)),
        "'a step has a fault that this version does not know'".to_owned(),
    ));
    policy.rules.push((
        format!(
            "{METHOD}.all(s, !has(s.target) || !has(s.target.namespace) || s.target.namespace == object.metadata.namespace)"
        ),
        "'targets have to be in the namespace of the Experiment'".to_owned(),
    ));
    policy.rules.push((uses("variables.account"), "request.userInfo.username + ' may not use (impersonate) serviceaccount ' + variables.account + ' in namespace ' + object.metadata.namespace".to_owned()));
    let infos = || FAULTS.iter().map(|fault| fault.info());
    let of_nodes = infos().filter(|info| info.rights.iter().any(|right| right.cluster_wide));
    policy.rules.push((
        format!(
            "!({}) || namespaceObject.metadata.?labels[?'{NODE_FAULTS}'].orValue('') == 'true'",
            any_of(of_nodes.map(|info| info.name))
        ),
        format!("'faults of nodes need the label {NODE_FAULTS}=true on the namespace'"),
    ));
    policy.rules.extend(needed(infos()));
    policy
}

/// Whether any step has one of these.
fn any_of<'a>(faults: impl IntoIterator<Item = &'a str>) -> String {
    let of = |fault: &str| match fault {
        // It is no step's, but a load's that says so.
        name if name == LOAD_POD.name => {
            let sent = "(has(l.from) && l.from == 'Pod')";
            format!(
                "variables.loads.exists(l, {sent}) || {METHOD}.exists(s, has(s.load) && has(s.load.from) && s.load.from == 'Pod')"
            )
        }
        name => format!("{METHOD}.exists(s, has(s.{name}))"),
    };
    of_each(faults, of)
}

fn of_each<'a>(faults: impl IntoIterator<Item = &'a str>, of: impl Fn(&str) -> String) -> String {
    faults.into_iter().map(of).collect::<Vec<_>>().join(" || ")
}

/// For each right that changes something: whoever writes a fault that needs it has it.
fn needed(infos: impl Iterator<Item = &'static FaultInfo>) -> Vec<(String, String)> {
    let mut rights: BTreeMap<(bool, &str, &str, &str), BTreeSet<&str>> = BTreeMap::new();
    let mut either: BTreeMap<&str, Vec<(&str, &str, &str)>> = BTreeMap::new();
    for info in infos.chain([&LOAD_POD]) {
        if info.agent {
            // An agent is placed by no right of the author's; this is the nearest that there is.
            rights.entry((false, "", "pods/exec", "create")).or_default().insert(info.name);
        }
        for right in info.rights.iter().filter(|right| !matches!(right.verb, "get" | "list" | "watch")) {
            if BUILT_IN.contains(&right.group) {
                let key = (right.cluster_wide, right.group, right.resource, right.verb);
                rights.entry(key).or_default().insert(info.name);
            } else {
                // Which of them is installed is not known here.
                either.entry(info.name).or_default().push((right.group, right.resource, right.verb));
            }
        }
    }
    let mut rules: Vec<(String, String)> = rights
        .into_iter()
        .map(|((cluster_wide, group, resource, verb), faults)| {
            let names = faults.iter().copied().collect::<Vec<_>>().join(", ");
            let check = check(cluster_wide, (group, resource, verb));
            let place = if cluster_wide {
                "'in all namespaces'"
            } else {
                "'in namespace ' + object.metadata.namespace"
            };
            let words = format!(
                "request.userInfo.username + ' may not {verb} {resource} ' + {place} + ', as {names} would'"
            );
            (format!("!({}) || {check}", any_of(faults)), words)
        })
        .collect();
    for (fault, rights) in either {
        let checks = rights.iter().map(|right| check(true, *right)).collect::<Vec<_>>().join(" || ");
        let what = rights.iter().map(|(_, resource, verb)| format!("{verb} {resource}")).collect::<Vec<_>>();
        let words = format!("request.userInfo.username + ' may not {}, as {fault} would'", what.join(" or "));
        rules.push((format!("!({}) || {checks}", any_of([fault])), words));
    }
    rules
}

/// Without a namespace the authorizer is asked about all of them.
fn check(cluster_wide: bool, (group, resource, verb): (&str, &str, &str)) -> String {
    let (plural, sub) = resource.split_once('/').unwrap_or((resource, ""));
    let sub = if sub.is_empty() { String::new() } else { format!(".subresource('{sub}')") };
    let place = if cluster_wide { String::new() } else { format!(".{NAMESPACE}") };
    format!("authorizer.group('{group}').resource('{plural}'){sub}{place}.check('{verb}').allowed()")
}

/// What is in a list of the Run now and was not before.
fn new_in(list: &str) -> String {
    format!(
        "object.spec.?{list}.orValue([]).filter(x, oldObject == null || !oldObject.spec.?{list}.orValue([]).exists(y, y == x))"
    )
}

/// Who asks is who writes; whoever runs an Experiment may, and whoever agrees is somebody else who may.
fn runs() -> Policy {
    let mut policy = Policy::over("runs", "runs", &["CREATE", "UPDATE"]);
    policy.conditions.push((CHANGED.0, CHANGED.1.to_owned()));
    policy.variables = vec![
        ("by", "object.spec.?requestedBy.orValue('')".to_owned()),
        ("approvals", new_in("approvals")),
        ("steps", new_in("steps")),
        ("notes", new_in("notes")),
    ];
    let me = "request.userInfo.username";
    let mut rule = |expression: String, words: String| policy.rules.push((expression, words));
    rule(
        format!("oldObject != null || variables.by == {me}"),
        format!("'spec.requestedBy has to be ' + {me} + ', who asks'"),
    );
    rule(
        "oldObject == null || variables.by == oldObject.spec.?requestedBy.orValue('')".to_owned(),
        "'spec.requestedBy cannot change'".to_owned(),
    );
    for (field, resource) in [("experimentRef", "experiments"), ("gameDayRef", "gamedays")] {
        let check = format!(
            "authorizer.group('{GROUP}').resource('{resource}').{NAMESPACE}.name(object.spec.{field}.name).check('run').allowed()"
        );
        rule(
            format!("oldObject != null || !has(object.spec.{field}) || {check}"),
            may_not(&format!("run {resource} (verb run)")),
        );
    }
    rule(
        format!(
            "oldObject != null || !has(object.spec.serviceAccountName) || {}",
            uses("object.spec.serviceAccountName")
        ),
        may_not("use (impersonate) the serviceaccount that the Run names"),
    );
    for (list, verb) in [("approvals", "approves"), ("steps", "answers"), ("notes", "notes")] {
        rule(
            format!("variables.{list}.all(x, x.by == {me})"),
            format!("'whoever {verb} writes their own name: ' + {me}"),
        );
    }
    rule(
        format!("variables.approvals.size() == 0 || (variables.by != '' && variables.by != {me})"),
        "'nobody approves what they have asked for'".to_owned(),
    );
    rule(
        format!(
            "variables.approvals.size() == 0 || authorizer.group('{GROUP}').resource('runs').{NAMESPACE}.name(object.metadata.?name.orValue('')).check('approve').allowed()"
        ),
        may_not("approve runs (verb approve)"),
    );
    policy
}

/// The red button holds where Runs are made. Those that are there can still be aborted.
fn halt() -> Policy {
    let mut policy = Policy::over("halt", "runs", &["CREATE"]);
    policy.guardrails = true;
    let selector = "params.spec.?namespaceSelector";
    policy.variables = vec![
        ("labels", "namespaceObject.metadata.?labels.orValue({})".to_owned()),
        (
            "matches",
            format!(
                "{selector}.?matchLabels.orValue({{}}).all(k, k in variables.labels && variables.labels[k] == {selector}.matchLabels.value()[k])"
            ),
        ),
        (
            "expressions",
            format!(
                "{selector}.?matchExpressions.orValue([]).all(e, \
                 e.operator == 'In' ? e.key in variables.labels && variables.labels[e.key] in e.values : \
                 e.operator == 'NotIn' ? !(e.key in variables.labels && variables.labels[e.key] in e.values) : \
                 e.operator == 'Exists' ? e.key in variables.labels : !(e.key in variables.labels))"
            ),
        ),
    ];
    policy.rules.push((
        "!params.spec.?halt.orValue(false) || !variables.matches || !variables.expressions".to_owned(),
        "'halted by Guardrail ' + params.metadata.name + ': ' + params.spec.?haltReason.orValue('')"
            .to_owned(),
    ));
    policy
}

/// Of a Guardrail: what whoever may only press the button may write.
const BUTTON: [&str; 2] = ["halt", "haltReason"];

/// Whoever may patch a Guardrail and not update it may press its red button, and change nothing else of it: on call
/// opens neither production nor a host. RBAC knows no fields.
fn guardrails() -> Policy {
    let mut policy = Policy::over("guardrails", "guardrails", &["CREATE", "UPDATE"]);
    let keeper = format!(
        "authorizer.group('{GROUP}').resource('guardrails').name(object.metadata.?name.orValue('')).check('update').allowed()"
    );
    policy.variables = vec![("keeper", keeper)];
    let others = guardrail_fields();
    let all = |of: &dyn Fn(&str) -> String, names: &[&str], between: &str| {
        names.iter().map(|name| of(name)).collect::<Vec<_>>().join(between)
    };
    let same = |place: &'static str| {
        move |name: &str| format!("object.{place}.?{name} == oldObject.{place}.?{name}")
    };
    let others: Vec<&str> = others.iter().map(String::as_str).collect();
    let words = "request.userInfo.username + ' may set halt and haltReason of a Guardrail and nothing else of it; that takes the verb update'";
    policy.rules.push((
        format!("oldObject == null || ({}) || variables.keeper", all(&same("spec"), &others, " && ")),
        words.to_owned(),
    ));
    let held = ["labels", "annotations", "ownerReferences", "finalizers"];
    policy.rules.push((
        format!("oldObject == null || ({}) || variables.keeper", all(&same("metadata"), &held, " && ")),
        words.to_owned(),
    ));
    let says = |name: &str| format!("has(object.spec.{name})");
    policy.rules.push((
        format!("oldObject != null || !({}) || variables.keeper", all(&says, &others, " || ")),
        words.to_owned(),
    ));
    policy
}

/// All that a Guardrail says but for its button.
fn guardrail_fields() -> Vec<String> {
    let kind = schema::kinds().iter().find(|kind| kind.kind == "Guardrail");
    let fields = kind.map(|kind| match &kind.spec.shape {
        Shape::Object { fields, .. } => fields.iter().map(|field| field.name.clone()).collect(),
        _ => Vec::new(),
    });
    let mut fields = fields.unwrap_or_default();
    fields.retain(|name| !BUTTON.contains(&name.as_str()));
    fields
}

/// A GameDay runs Experiments later, as an account: whoever writes one may do both now.
fn game_days() -> Policy {
    let mut policy = Policy::over("gamedays", "gamedays", &["CREATE", "UPDATE"]);
    policy.conditions.push((CHANGED.0, CHANGED.1.to_owned()));
    policy.rules.push((
        format!("authorizer.group('{GROUP}').resource('experiments').{NAMESPACE}.check('run').allowed()"),
        may_not("run experiments (verb run)"),
    ));
    policy.rules.push((
        format!("!has(object.spec.serviceAccountName) || {}", uses("object.spec.serviceAccountName")),
        may_not("use (impersonate) the serviceaccount that the GameDay names"),
    ));
    policy
}
