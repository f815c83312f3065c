//! `firedrill allow`

use anyhow::bail;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{Global, Usage, connect, controller::NamespaceArgs};
use crate::{
    cluster::{Access, ApiError, Write},
    controller::{
        self,
        manifests::{UNDO_ROLE, base_role, fault_role},
    },
    faults::{self, FAULTS, LOAD_POD},
    plan::{protected, within_a_namespace},
    types::{ExitCode, ObjectRef, nearest},
};

/// Who writes what is made here.
const MANAGER: &str = "firedrill-allow";

#[derive(Args)]
pub(super) struct AllowArgs {
    /// The namespace.
    #[arg(value_name = "NAMESPACE")]
    name: String,

    /// Only the rights of this fault. Repeatable; default: of all faults that need no right outside of the namespace and
    /// no agent. loadPod: of loads that are sent from a pod.
    #[arg(long, value_name = "NAME")]
    fault: Vec<String>,

    /// The account that experiments name as serviceAccountName.
    #[arg(long, value_name = "NAME", default_value = "firedrill")]
    service_account: String,

    #[command(flatten)]
    controller: NamespaceArgs,

    /// Ask the API server, and change nothing.
    #[arg(long)]
    dry_run: bool,

    /// What standard output ends with: the objects, for kubectl apply --server-side -f -.
    #[arg(short, long, value_enum)]
    output: Option<Shape>,
}

/// How objects are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shape {
    /// YAML.
    Yaml,
    /// JSON: a List.
    Json,
}

pub(super) fn run(global: &Global, args: &AllowArgs) -> anyhow::Result<ExitCode> {
    if protected(&args.name) {
        bail!(Usage(format!("namespace {} is protected; nothing opens it", args.name)));
    }
    let faults = chosen(&args.fault)?;
    let objects = objects(&args.name, &args.service_account, &faults, &args.controller.controller_namespace);
    // Printed for somebody else to apply, it needs no cluster.
    if !(args.dry_run && args.output.is_some()) {
        let written = connect::runtime()?.block_on(write(global, args, &objects));
        written?;
    }
    match args.output {
        None => Ok(ExitCode::Ok),
        Some(Shape::Json) => {
            let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
            super::print(&serde_json::to_string_pretty(&list)?)
        }
        Some(Shape::Yaml) => {
            let texts: Result<Vec<String>, _> = objects.iter().map(serde_yaml::to_string).collect();
            super::print(&texts?.join("---\n"))
        }
    }
}

/// The faults that are named, or all that can be allowed within a namespace.
fn chosen(named: &[String]) -> anyhow::Result<Vec<&'static str>> {
    if named.is_empty() {
        let all = FAULTS.iter().map(|fault| fault.info()).filter(|info| within_a_namespace(info));
        return Ok(all.map(|info| info.name).collect());
    }
    let one = |name: &String| {
        // What a load with `from: Pod` asks for is given likewise.
        if *name == LOAD_POD.name {
            return Ok(LOAD_POD.name);
        }
        let Some(fault) = faults::find(name) else {
            let near = nearest(name, FAULTS.iter().map(|fault| fault.info().name));
            let near = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
            bail!(Usage(format!("--fault {name}: there is no such fault{near}")));
        };
        if !within_a_namespace(fault.info()) {
            bail!(Usage(format!(
                "--fault {name}: it needs rights outside of the namespace, or an agent; SECURITY.md lists them"
            )));
        }
        Ok(fault.info().name)
    };
    named.iter().map(one).collect()
}

/// The label; the account, with a role a fault; and that the controller may act as the account there, and put back
/// what that cannot put back any more.
fn objects(namespace: &str, account: &str, faults: &[&str], controller: &str) -> Vec<Value> {
    let own = json!({"kind": "ServiceAccount", "name": account, "namespace": namespace});
    let other = json!({"kind": "ServiceAccount", "name": controller::ACCOUNT, "namespace": controller});
    let binding = |name: String, (kind, role): (&str, &str), subject: &Value| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": name, "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
            "subjects": [subject],
        })
    };
    let acting = format!("firedrill:controller:{account}");
    let mut objects = vec![
        json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": namespace, "labels": {"firedrill.dev/allowed": "true"}},
        }),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": namespace}}),
        binding(format!("{account}:runs"), ("ClusterRole", base_role()), &own),
    ];
    objects.extend(
        faults.iter().map(|fault| {
            binding(format!("{account}:fault:{fault}"), ("ClusterRole", &fault_role(fault)), &own)
        }),
    );
    objects.extend([
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": acting, "namespace": namespace},
            "rules": [
                {"apiGroups": [""], "resources": ["serviceaccounts"], "resourceNames": [account], "verbs": ["impersonate"]},
            ],
        }),
        binding(acting.clone(), ("Role", &acting), &other),
        binding("firedrill:controller:undo".to_owned(), ("ClusterRole", UNDO_ROLE), &other),
    ]);
    objects
}

async fn write(global: &Global, args: &AllowArgs, objects: &[Value]) -> anyhow::Result<()> {
    let connection = connect::connect(global, 0).await?;
    let access = Access::new(connection.env.kube.clone());
    let space = ObjectRef::namespaced("v1", "Namespace", "", &args.name);
    // Applying would make it: a slip of the pen is not meant to.
    match access.get(&space).await {
        Ok(_) => {}
        Err(ApiError::NotFound) => bail!("there is no namespace {}", args.name),
        Err(error) => return Err(error.into()),
    }
    let how = Write { manager: MANAGER, dry_run: args.dry_run };
    let done = if args.dry_run { "would be applied" } else { "applied" };
    for body in objects {
        let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (kind, name) = (text("/kind"), text("/metadata/name"));
        let object = ObjectRef::namespaced(text("/apiVersion"), kind, text("/metadata/namespace"), name);
        access.apply(&object, body, how).await.map_err(|error| anyhow::anyhow!("{kind} {name}: {error}"))?;
        super::say(&format!("{} {name} {done}", kind.to_lowercase()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_gets_what_it_was_given_and_only_the_controller_may_act_as_it() {
        let objects = objects("kitchen", "drill", &["podKill"], "ops");
        let said: Vec<String> = objects
            .iter()
            .map(|one| {
                let role = one.pointer("/roleRef/name").and_then(Value::as_str).unwrap_or_default();
                let who = one.pointer("/subjects/0/namespace").and_then(Value::as_str).unwrap_or_default();
                format!("{} {role} {who}", one["kind"].as_str().unwrap_or_default()).trim().to_owned()
            })
            .collect();
        let expected = [
            "Namespace",
            "ServiceAccount",
            "RoleBinding firedrill:runs kitchen",
            "RoleBinding firedrill:fault:podKill kitchen",
            "Role",
            "RoleBinding firedrill:controller:drill ops",
            "RoleBinding firedrill:undo ops",
        ];
        assert_eq!(said, expected);
        assert_eq!(objects[4]["rules"][0]["resourceNames"], json!(["drill"]));
        assert!(
            objects.iter().all(|one| one["kind"] == "Namespace" || one["metadata"]["namespace"] == "kitchen")
        );
    }

    #[test]
    fn what_is_no_fault_or_needs_more_than_a_namespace_is_refused() {
        assert!(chosen(&[]).is_ok_and(|all| all.contains(&"podKill") && !all.contains(&"nodeDrain")));
        let said = |name: &str| chosen(&[name.to_owned()]).expect_err("refused").to_string();
        assert!(said("podKil").contains("did you mean podKill?"));
        assert!(said("nodeDrain").contains("outside of the namespace"));
    }
}
