//! `firedrill halt` and `firedrill unhalt`

use anyhow::{anyhow, bail};
use clap::Args;
use serde_json::{Value, json};

use super::{Global, connect};
use crate::{
    api::API_VERSION,
    cluster::{Access, ApiError, Lease, Write, identity},
    types::{ExitCode, ObjectRef, counted},
};

/// Who writes the button, whatever wrote it before.
const MANAGER: &str = "firedrill-halt";

/// Which button.
#[derive(Args)]
struct Button {
    /// The Guardrail whose `halt` is meant; one called halt covers everything, and is made if it is not there.
    #[arg(long, value_name = "NAME", default_value = "halt")]
    guardrail: String,
}

#[derive(Args)]
pub(super) struct HaltArgs {
    #[command(flatten)]
    button: Button,

    /// Shown to everyone who is stopped, with who halted.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

#[derive(Args)]
pub(super) struct UnhaltArgs {
    #[command(flatten)]
    button: Button,
}

pub(super) fn halt(global: &Global, args: &HaltArgs) -> anyhow::Result<ExitCode> {
    connect::runtime()?.block_on(async {
        let connection = connect::connect(global, 0).await?;
        let access = Access::new(connection.env.kube.clone());
        let by = identity(&access).await?.name;
        let reason = match args.reason.trim() {
            "" => format!("halted by {by}"),
            reason => format!("{reason} (halted by {by})"),
        };
        press(&access, &args.button, true, &reason).await?;
        super::say(&format!("halted by Guardrail {}: {reason}", args.button.guardrail));
        match Lease::at_work(&access, connection.env.clock.now()).await {
            Ok(runs) if runs.is_empty() => super::say("no run is at work"),
            Ok(runs) => {
                let names = runs.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                let runs = counted(runs.len(), "run");
                super::say(&format!(
                    "{runs} at work: {names}; those that it covers abort and put everything back"
                ));
            }
            // The button is pressed all the same.
            Err(error) => super::say(&format!(
                "that holds; who is at work is not told to whoever may not read it: {error}"
            )),
        }
        Ok(ExitCode::Ok)
    })
}

pub(super) fn unhalt(global: &Global, args: &UnhaltArgs) -> anyhow::Result<ExitCode> {
    connect::runtime()?.block_on(async {
        let connection = connect::connect(global, 0).await?;
        let access = Access::new(connection.env.kube.clone());
        let name = &args.button.guardrail;
        match access.get(&guardrail(name)).await {
            Ok(found) if found.data["spec"]["halt"] != true => {
                super::say(&format!("Guardrail {name} halts nothing"));
                return Ok(ExitCode::Ok);
            }
            Ok(_) => {}
            Err(ApiError::NotFound) => bail!("there is no Guardrail {name}: it halts nothing"),
            Err(error) => return Err(error.into()),
        }
        press(&access, &args.button, false, "").await?;
        let halting = others(&access).await;
        let more = if halting.is_empty() {
            String::new()
        } else {
            format!("; still halted by {}", halting.join(", "))
        };
        super::say(&format!("Guardrail {name} halts nothing any more{more}"));
        Ok(ExitCode::Ok)
    })
}

fn guardrail(name: &str) -> ObjectRef {
    ObjectRef::namespaced(API_VERSION, "Guardrail", "", name)
}

async fn press(access: &Access, button: &Button, halt: bool, reason: &str) -> anyhow::Result<()> {
    let name = &button.guardrail;
    let object = guardrail(name);
    // One of another name says more than `halt`: a slip of the pen must not make an empty one.
    if name != "halt" && matches!(access.get(&object).await, Err(ApiError::NotFound)) {
        bail!("there is no Guardrail {name}");
    }
    let body = json!({
        "apiVersion": API_VERSION,
        "kind": "Guardrail",
        "metadata": {"name": name},
        "spec": {"halt": halt, "haltReason": reason},
    });
    let how = Write { manager: MANAGER, dry_run: false };
    match access.apply(&object, &body, how).await {
        Ok(_) => Ok(()),
        Err(ApiError::NotFound) => Err(anyhow!(
            "this cluster knows no Guardrails; firedrill crds | kubectl apply --server-side -f - makes them known"
        )),
        Err(error) => Err(error.into()),
    }
}

/// The Guardrails that halt, as far as they can be read.
async fn others(access: &Access) -> Vec<String> {
    let listed = access.list_if_served(API_VERSION, "Guardrail").await;
    let objects = listed.ok().flatten().unwrap_or_default();
    let halts = |data: &Value| data["spec"]["halt"] == true;
    objects.into_iter().filter(|one| halts(&one.data)).filter_map(|one| one.metadata.name).collect()
}
