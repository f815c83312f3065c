//! `firedrill allow`

use anyhow::bail;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{Global, Usage, connect, controller::NamespaceArgs};
use crate::{
    cluster::{Access, ApiError, Write},
    controller::manifests::{Installed, opened},
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
    /// no agent. Those that take an agent have to be named, for a controller that places them. loadPod: of loads that are
    /// sent from a pod.
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
    let controller =
        Installed { namespace: args.controller.controller_namespace.clone(), ..Installed::default() };
    let objects = opened(&args.name, &args.service_account, &faults, &controller);
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
        if fault.info().rights.iter().any(|right| right.cluster_wide) {
            bail!(Usage(format!(
                "--fault {name}: it needs rights outside of the namespace; SECURITY.md lists them"
            )));
        }
        Ok(fault.info().name)
    };
    named.iter().map(one).collect()
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
    fn what_is_no_fault_or_needs_more_than_a_namespace_is_refused() {
        assert!(chosen(&[]).is_ok_and(|all| all.contains(&"podKill") && !all.contains(&"nodeDrain")));
        let said = |name: &str| chosen(&[name.to_owned()]).expect_err("refused").to_string();
        assert!(said("podKil").contains("did you mean podKill?"));
        assert!(said("nodeDrain").contains("outside of the namespace"));
        assert!(chosen(&[]).is_ok_and(|all| !all.contains(&"networkLoss")), "an agent is not given unasked");
        assert!(chosen(&["networkLoss".to_owned()]).is_ok_and(|all| all == ["networkLoss"]));
    }
}
