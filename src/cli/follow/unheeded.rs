//! Flags of a local run that the controller does not heed: refused by name, with what does it there.

use anyhow::bail;

use crate::cli::{SettingArgs, TellArgs, Usage};

/// A flag, the variable that may give it, what was given, and what there is instead.
struct Flag<'a> {
    name: &'static str,
    variable: Option<&'static str>,
    given: Option<&'a str>,
    instead: &'static str,
}

/// Refuses what would be ignored in silence. What a variable gives is meant for runs from here: then it is only said.
///
/// # Errors
/// The first flag that is not for the controller.
pub(super) fn refuse(setting: &SettingArgs, tell: &TellArgs) -> anyhow::Result<()> {
    for Flag { name, variable, given, instead } in flags(setting, tell) {
        let Some(given) = given else { continue };
        match variable.filter(|name| std::env::var(name).is_ok_and(|value| value == given)) {
            Some(variable) => super::super::say(&format!("{variable} is not heeded there: {instead}")),
            None => bail!(Usage(format!("--controller does not take {name}: {instead}"))),
        }
    }
    if setting.files.selector.is_some() && named_only(setting) {
        bail!(Usage("-l selects among the documents of files, and no file is given".to_owned()));
    }
    Ok(())
}

fn flags<'a>(setting: &'a SettingArgs, tell: &'a TellArgs) -> [Flag<'a>; 8] {
    let flag = |name, given, instead| Flag { name, variable: None, given, instead };
    let first = |list: &'a [String]| list.first().map(String::as_str);
    let agents = &setting.agents;
    [
        flag(
            "--allow-namespace",
            first(&setting.allow_namespace),
            "the namespace's label is the consent that counts there; firedrill allow NAMESPACE sets it",
        ),
        flag(
            "--bystanders",
            first(&setting.bystanders),
            "a Guardrail names them there, in spec.nodes.bystanders",
        ),
        flag(
            "--revert-timeout",
            tell.revert_timeout.map(|_| ""),
            "the controller goes on reverting until everything is back; firedrill wait RUN --timeout waits for as long as \
             you do",
        ),
        Flag {
            variable: Some("FIREDRILL_PROMETHEUS"),
            ..flag(
                "--prometheus",
                setting.prometheus.as_deref(),
                "name it in the file, in spec.prometheus, or start the controller with its own --prometheus (the chart's \
                 value prometheus)",
            )
        },
        Flag {
            variable: Some("FIREDRILL_IMAGE"),
            ..flag(
                "--image",
                setting.image.as_deref(),
                "the controller has its own --image (the chart's value image)",
            )
        },
        Flag {
            variable: Some("FIREDRILL_AGENT_IMAGE"),
            ..flag("--agent-image", agents.agent_image.as_deref(), AGENTS)
        },
        Flag {
            variable: Some("FIREDRILL_AGENT_NAMESPACE"),
            ..flag("--agent-namespace", agents.agent_namespace.as_deref(), AGENTS)
        },
        flag("--agent-pull-secret", agents.agent_pull_secret.as_deref(), AGENTS),
    ]
}

const AGENTS: &str = "the controller places agents as it was started (the chart's values agents)";

fn named_only(setting: &SettingArgs) -> bool {
    let mut files = setting.files.files.iter().chain(&setting.files.more);
    files.all(|path| super::subject::Kind::named(path).is_some())
}
