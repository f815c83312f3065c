//! Roles, bindings and policies as they are in the cluster, each compared with what this version's manifests say.

use futures::future::join_all;
use serde_json::{Value, json};

use super::{
    Looked,
    deployed::Deployed,
    difference::{Difference, differences},
    found, missing, of_installation, unreadable,
};
use crate::{
    cluster::{Access, ApiError},
    controller::manifests::{ADMISSION, Installed, Part, manifests},
    types::{Finding, ObjectRef, counted},
};

/// What somebody's policy says before the names of users.
const USERS: &str = "request.userInfo.username in [";
/// What an account is called by the API server.
const ACCOUNT: &str = "system:serviceaccount:";

/// All of them, in the order in which they matter.
pub(super) async fn parts(access: &Access, deployed: &Deployed) -> Vec<Looked> {
    let installed = deployed.installed();
    let rights = part(access, deployed, (Part::Rights, &installed)).await;
    let policies = part(access, deployed, (Part::Policies, &installed)).await;
    vec![
        rights,
        policies,
        stamp(access, deployed, &installed).await,
        nodes(access, deployed, &installed).await,
        agents(access, deployed, installed).await,
    ]
}

fn name(part: Part) -> &'static str {
    match part {
        Part::Rights => "rights",
        Part::Policies => "policies",
        Part::Guardrails => "guardrails",
        Part::Nodes => "nodes",
        Part::Stamp => "stamp",
        Part::Agents => "agents",
    }
}

/// Who fills in who asks, where the API server has that.
async fn stamp(access: &Access, deployed: &Deployed, installed: &Installed) -> Looked {
    let what = name(Part::Stamp);
    match access.list_if_served(&format!("{ADMISSION}/v1"), "MutatingAdmissionPolicy").await {
        Ok(None) => Looked {
            what,
            found: "this API server fills nothing in (Kubernetes 1.36 and later do)".to_owned(),
            findings: Vec::new(),
        },
        Ok(Some(_)) | Err(_) => part(access, deployed, (Part::Stamp, installed)).await,
    }
}

/// Whether anything of it is there says whether it was installed at all; its own policy says for whom.
async fn nodes(access: &Access, deployed: &Deployed, installed: &Installed) -> Looked {
    let all = manifests(Part::Nodes, installed);
    let there = join_all(all.iter().map(async |object| access.get(&at(object)).await)).await;
    if there.iter().all(|found| matches!(found, Err(ApiError::NotFound))) {
        let found = "off: no account may hit nodes from the controller".to_owned();
        return Looked { what: name(Part::Nodes), found, findings: Vec::new() };
    }
    let users = there.iter().flatten().find_map(|found| users(&found.data));
    let accounts = users.into_iter().flatten();
    let accounts = accounts.filter_map(|user| user.strip_prefix(ACCOUNT).map(str::to_owned)).collect();
    part(access, deployed, (Part::Nodes, &Installed { node_accounts: accounts, ..installed.clone() })).await
}

/// Where the controller places agents, what lets them in and nobody else.
async fn agents(access: &Access, deployed: &Deployed, mut installed: Installed) -> Looked {
    if installed.agents.is_none() {
        let found = match deployed.seen() {
            true => "off: the controller places none",
            false => "unknown: whether the controller places any is not said by a Deployment",
        };
        return Looked { what: name(Part::Agents), found: found.to_owned(), findings: Vec::new() };
    }
    let user = crate::cluster::account_user(&installed.namespace, &installed.account);
    for object in manifests(Part::Agents, &installed) {
        // Only the policy over users names the controller.
        let names_it = object["spec"].to_string().contains(&user);
        if names_it && let Ok(found) = access.get(&at(&object)).await {
            let others = users(&found.data).into_iter().flatten();
            installed.agent_users = others.filter(|other| *other != user).collect();
        }
    }
    part(access, deployed, (Part::Agents, &installed)).await
}

/// Which of the Guardrails that come with the installation are not among those that are `there`. What is in them is on
/// call's affair.
pub(super) fn guardrails(deployed: &Deployed, there: &[&str]) -> Vec<Finding> {
    if !deployed.seen() {
        return Vec::new();
    }
    let (part, installed) = (Part::Guardrails, deployed.installed());
    let brought = manifests(part, &installed).iter().map(at).collect::<Vec<_>>();
    let gone = brought.iter().filter(|object| !there.contains(&object.name.as_str()));
    let message = format!("it is not there, so that {}", without(part));
    let finding =
        |object: &ObjectRef| of_installation(false, (&subject(object), &message), &remedy(part, &installed));
    gone.map(finding).collect()
}

/// The users that a policy names.
fn users(data: &Value) -> Option<Vec<String>> {
    let spec = &data["spec"];
    let lists = [&spec["matchConditions"], &spec["validations"]];
    let mut all = lists.into_iter().filter_map(Value::as_array).flatten();
    let named = all.find_map(|one| one["expression"].as_str()?.strip_prefix(USERS)?.strip_suffix(']'))?;
    let names = named.split(',').map(|name| name.trim().trim_matches('\'').to_owned());
    Some(names.filter(|name| !name.is_empty()).collect())
}

fn at(object: &Value) -> ObjectRef {
    let text = |at: &str| object.pointer(at).and_then(Value::as_str).unwrap_or_default();
    ObjectRef::namespaced(
        text("/apiVersion"),
        text("/kind"),
        text("/metadata/namespace"),
        text("/metadata/name"),
    )
}

/// One part, object by object.
async fn part(access: &Access, deployed: &Deployed, (part, installed): (Part, &Installed)) -> Looked {
    let all = manifests(part, installed);
    let there = join_all(all.iter().map(async |object| access.get(&at(object)).await)).await;
    let remedy = remedy(part, installed);
    // Whoever runs the controller with rights of their own needs no roles.
    let serious = deployed.seen() && matches!(part, Part::Rights | Part::Agents);
    let (mut findings, mut unread, mut fine) = (Vec::new(), Vec::new(), 0);
    if there.iter().all(|found| matches!(found, Err(ApiError::NotFound))) {
        let message =
            format!("none of its {} is there, so that {}", counted(all.len(), "object"), without(part));
        findings.push(of_installation(serious, (name(part), &message), &remedy));
        return Looked { what: name(part), found: found((fine, 0), all.len()), findings };
    }
    for (wanted, answer) in all.iter().zip(there) {
        let object = at(wanted);
        let subject = subject(&object);
        match answer {
            Ok(is) => {
                let is = json!({"metadata": {"labels": is.metadata.labels}, "spec": is.data["spec"],
                    "rules": is.data["rules"], "roleRef": is.data["roleRef"], "subjects": is.data["subjects"]});
                let differences = differences(wanted, &is);
                fine += usize::from(differences.is_empty());
                findings.extend(differences.into_iter().map(|difference| match difference {
                    Difference::Lacks(words) => of_installation(serious, (&subject, &words), &remedy),
                    Difference::Besides(words) => of_installation(false, (&subject, &words), &remedy),
                }));
            }
            Err(ApiError::NotFound) => {
                let message = format!("it is not there, so that {}", without(part));
                findings.push(of_installation(serious, (&subject, &message), &remedy));
            }
            Err(error) => unread.push((subject, error)),
        }
    }
    findings.extend(unread_of(part, &unread));
    Looked { what: name(part), found: found((fine, unread.len()), all.len()), findings }
}

/// One finding for all that cannot be read: it is the same right that is missing.
fn unread_of(part: Part, unread: &[(String, ApiError)]) -> Option<Finding> {
    let (subject, error) = unread.first()?;
    match unread.len() {
        1 => Some(unreadable(subject, error)),
        count => Some(unreadable(&format!("{count} objects of the {}", name(part)), error)),
    }
}

fn subject(object: &ObjectRef) -> String {
    let kind = object.kind.to_lowercase();
    match object.namespace.as_str() {
        "" => format!("{kind}/{}", object.name),
        namespace => format!("{kind}/{} in {namespace}", object.name),
    }
}

/// What is without it.
fn without(part: Part) -> &'static str {
    match part {
        Part::Rights => "the controller, or whoever is to be bound to it, may not do what it takes",
        Part::Policies => "authors are not held to their own rights",
        Part::Guardrails => "on call cannot press the red button, and nothing keeps new Runs out of a drain",
        Part::Nodes => "changes of nodes are not held to leave a scar, or cannot be taken back",
        Part::Stamp => "who asks for a Run and who wrote what it runs is not filled in",
        Part::Agents => "agents cannot be placed, or somebody else may place them",
    }
}

/// What makes it as it should be.
fn remedy(part: Part, installed: &Installed) -> String {
    let mut flags = format!("--only {}", name(part));
    if installed.namespace != crate::controller::NAMESPACE {
        flags.push_str(&format!(" --controller-namespace {}", installed.namespace));
    }
    match part {
        Part::Nodes => {
            // The policy that says for whom may be what is missing.
            let unknown = installed.node_accounts.is_empty().then_some("NAMESPACE:NAME");
            let accounts = installed.node_accounts.iter().map(String::as_str).chain(unknown);
            flags.extend(accounts.map(|account| format!(" --node-account {account}")));
        }
        Part::Agents => {
            if let Some(settings) = &installed.agents {
                flags.push_str(&format!(
                    " --agent-namespace {} --agent-image {}",
                    settings.namespace, settings.image
                ));
                if !settings.pull_secret.is_empty() {
                    flags.push_str(&format!(" --agent-pull-secret {}", settings.pull_secret));
                }
            }
            flags.extend(installed.agent_users.iter().map(|user| format!(" --agent-user {user}")));
        }
        Part::Rights | Part::Policies | Part::Guardrails | Part::Stamp => {}
    }
    let apply = "kubectl apply --server-side --force-conflicts -f -";
    missing(&format!("firedrill controller manifests {flags} | {apply}"))
}
