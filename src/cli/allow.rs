//! `firedrill allow`

use anyhow::bail;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{Global, Usage, connect, controller::NamespaceArgs};
use crate::{
    cluster::{Access, ApiError, Write},
    controller::manifests::{ACTING_ROLE, Impersonation, Installed, Opening, opened},
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

    /// A Secret of the namespace that probes, loads or notices read. Repeatable; those of an earlier call are read no more.
    #[arg(long, value_name = "NAME", value_parser = secret)]
    secret: Vec<String>,

    /// What else probes read in the namespace: RESOURCE, or RESOURCE.GROUP, as in jobs.batch. Repeatable; as with --secret,
    /// all of it is named each time.
    #[arg(long, value_name = "RESOURCE", value_parser = reads)]
    read: Vec<(String, String)>,

    /// How the controller is let act as the account. With constrained it may do meanwhile what runs and faults take, and
    /// what is read by --secret and --read; nothing else that the account was given.
    #[arg(long, value_name = "FORM", value_enum, default_value = "auto")]
    impersonation: Form,

    /// Ask the API server, and change nothing.
    #[arg(long)]
    dry_run: bool,

    /// What standard output ends with: the objects, for kubectl apply --server-side -f -.
    #[arg(short, long, value_enum)]
    output: Option<Shape>,
}

/// How the controller is let act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Constrained where the server and the installed controller have it, else legacy; legacy too where no server is asked.
    Auto,
    /// For what runs and faults take, and for nothing else; Kubernetes 1.36 and later.
    Constrained,
    /// For whatever the account may do.
    Legacy,
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
    let opening = |how| Opening {
        namespace: &args.name,
        account: &args.service_account,
        faults: faults.clone(),
        secrets: args.secret.clone(),
        reads: args.read.clone(),
        how,
    };
    let objects = |how| opened(&opening(how), &controller);
    // Printed for somebody else to apply, it needs no cluster.
    let objects = if args.dry_run && args.output.is_some() {
        let constrained = args.impersonation == Form::Constrained;
        objects(if constrained { Impersonation::Constrained } else { Impersonation::Legacy })
    } else {
        connect::runtime()?.block_on(write(global, args, objects))?
    };
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

/// Of what names in the API are made.
fn plain(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    !text.is_empty() && text.bytes().all(plain)
}

/// A name that a Secret may have.
fn secret(text: &str) -> Result<String, String> {
    match plain(text) && !text.starts_with(['-', '.']) && !text.ends_with(['-', '.']) {
        true => Ok(text.to_owned()),
        false => Err("a Secret is called by lower-case letters, digits, dashes and dots".to_owned()),
    }
}

/// What is in no namespace, and may be what a probe looks at.
const CLUSTER_WIDE: [&str; 8] = [
    "customresourcedefinitions",
    "namespaces",
    "nodeclaims",
    "nodepools",
    "nodes",
    "persistentvolumes",
    "priorityclasses",
    "storageclasses",
];

/// API group and resource of RESOURCE.GROUP, with a subresource behind either of them.
fn reads(text: &str) -> Result<(String, String), String> {
    let (kind, sub) = text.split_once('/').map_or((text, None), |(kind, sub)| (kind, Some(sub)));
    let (plural, group) = kind.split_once('.').map_or((kind, None), |(plural, group)| (plural, Some(group)));
    if ![Some(plural), group, sub].into_iter().flatten().all(plain) {
        let how =
            "write the plural in small letters, with its group if it has one: jobs.batch, services/proxy";
        return Err(how.to_owned());
    }
    if plural == "secrets" {
        return Err("name each Secret with --secret".to_owned());
    }
    if CLUSTER_WIDE.contains(&plural) {
        return Err(format!("{plural} are in no namespace: docs/security.md has the ClusterRole for them"));
    }
    let resource = sub.map_or_else(|| plural.to_owned(), |sub| format!("{plural}/{sub}"));
    Ok((group.unwrap_or_default().to_owned(), resource))
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

/// Whether a server of that version, as in v1.36.3, has constrained impersonation.
fn constrains(version: &str) -> bool {
    let mut numbers =
        version.trim_start_matches('v').split('.').map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(1), Some(36))
}

/// The form that is right for a server and for the controller's roles in it.
async fn impersonation(form: Form, version: &str, access: &Access) -> anyhow::Result<Impersonation> {
    match form {
        Form::Legacy => Ok(Impersonation::Legacy),
        Form::Constrained => Ok(Impersonation::Constrained),
        Form::Auto if !constrains(version) => Ok(Impersonation::Legacy),
        Form::Auto => {
            let role = ObjectRef::namespaced("rbac.authorization.k8s.io/v1", "ClusterRole", "", ACTING_ROLE);
            match access.get(&role).await {
                Ok(_) => return Ok(Impersonation::Constrained),
                Err(ApiError::NotFound) => {}
                // Whoever may not read it is not to loosen what somebody else has tied.
                Err(error) => bail!(
                    "whether clusterrole {ACTING_ROLE} of the controller is there cannot be read: {error}\n    \
                     remedy: say which form it is to be: --impersonation constrained (whoever runs this needs those rights \
                     too), or --impersonation legacy, with which the controller may do whatever the account may"
                ),
            }
            super::say(&format!(
                "clusterrole {ACTING_ROLE} of the controller is not there: it may do whatever the account may; run this again \
                 once it is installed"
            ));
            Ok(Impersonation::Legacy)
        }
    }
}

/// Applies what is right for the server, and hands it back.
async fn write(
    global: &Global,
    args: &AllowArgs,
    objects: impl Fn(Impersonation) -> Vec<Value>,
) -> anyhow::Result<Vec<Value>> {
    let connection = connect::connect(global, 0).await?;
    let access = Access::new(connection.env.kube.clone());
    let objects = objects(impersonation(args.impersonation, &connection.environment.version, &access).await?);
    let space = ObjectRef::namespaced("v1", "Namespace", "", &args.name);
    // Applying would make it: a slip of the pen is not meant to.
    match access.get(&space).await {
        Ok(_) => {}
        Err(ApiError::NotFound) => bail!("there is no namespace {}", args.name),
        Err(error) => return Err(error.into()),
    }
    let how = Write { manager: MANAGER, dry_run: args.dry_run };
    let done = if args.dry_run { "would be applied" } else { "applied" };
    for body in &objects {
        let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (kind, name) = (text("/kind"), text("/metadata/name"));
        let object = ObjectRef::namespaced(text("/apiVersion"), kind, text("/metadata/namespace"), name);
        access.apply(&object, body, how).await.map_err(|error| anyhow::anyhow!("{kind} {name}: {error}"))?;
        super::say(&format!("{} {name} {done}", kind.to_lowercase()));
    }
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_have_constrained_impersonation_from_their_version_on() {
        for version in ["v1.36.0", "v1.36.3+k3s1", "1.37.0", "v2.0.0", "v1.36.2-eks-1a2b3c4"] {
            assert!(constrains(version), "{version}");
        }
        for version in ["v1.35.9", "v1.9.1", "", "unknown"] {
            assert!(!constrains(version), "{version}");
        }
    }

    #[test]
    fn what_else_is_read_is_named_by_its_plural_and_group() {
        let of = |group: &str, resource: &str| Ok((group.to_owned(), resource.to_owned()));
        assert_eq!(reads("jobs.batch"), of("batch", "jobs"));
        assert_eq!(reads("services/proxy"), of("", "services/proxy"));
        assert_eq!(reads("certificates.cert-manager.io"), of("cert-manager.io", "certificates"));
        assert_eq!(reads("deployments.apps/scale"), of("apps", "deployments/scale"));
        for wrong in [
            "",
            ".batch",
            "jobs.",
            "Job",
            "*",
            "secrets",
            "nodes",
            "services/",
            "storageclasses.storage.k8s.io",
        ] {
            assert!(reads(wrong).is_err(), "{wrong}");
        }
    }

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
