//! What the controller was told, as far as a Deployment in its namespace says so.

use serde_json::Value;

use crate::{
    cluster::{Access, ApiError},
    controller::{ACCOUNT, manifests::Installed},
    types::{AgentSettings, ObjectRef},
};

/// What is known of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Deployed {
    /// The controller's namespace.
    pub namespace: String,
    /// Name of the Deployment; None: there is none, or it may not be read.
    pub name: Option<String>,
    account: Option<String>,
    /// Where PromQL is answered when a file does not say.
    pub source: Option<String>,
    agents: Option<AgentSettings>,
}

impl Deployed {
    /// Where nobody says anything.
    pub(super) fn unknown(namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), ..Self::default() }
    }

    /// Looks for the Deployment whose container is `firedrill controller`.
    pub(super) async fn look(access: &Access, namespace: &str) -> Result<Self, ApiError> {
        let like = ObjectRef::namespaced("apps/v1", "Deployment", namespace, "");
        let listed = access.list(&like, "").await?;
        let seen = listed.iter().find_map(|deployment| {
            let pod = deployment.data.pointer("/spec/template/spec")?;
            let containers = pod["containers"].as_array()?;
            let container = containers.iter().find(|container| Told::of(container).is_controller())?;
            let told = Told::of(container);
            let usual = AgentSettings::default();
            Some(Self {
                namespace: namespace.to_owned(),
                name: deployment.metadata.name.clone(),
                account: pod["serviceAccountName"].as_str().map(str::to_owned),
                source: told.value("--prometheus", "FIREDRILL_PROMETHEUS"),
                agents: told.value("--agent-namespace", "FIREDRILL_AGENT_NAMESPACE").map(|namespace| {
                    AgentSettings {
                        image: told.value("--agent-image", "FIREDRILL_AGENT_IMAGE").unwrap_or(usual.image),
                        namespace,
                        pull_secret: told.value("--agent-pull-secret", "").unwrap_or_default(),
                    }
                }),
            })
        });
        Ok(seen.unwrap_or_else(|| Self::unknown(namespace)))
    }

    /// Whether there is one.
    pub(super) fn seen(&self) -> bool {
        self.name.is_some()
    }

    /// What the manifests are made for; who else is in them is not said here.
    pub(super) fn installed(&self) -> Installed {
        Installed {
            namespace: self.namespace.clone(),
            account: self.account.clone().unwrap_or_else(|| ACCOUNT.to_owned()),
            agents: self.agents.clone(),
            ..Installed::default()
        }
    }
}

/// A container's words and environment.
struct Told<'a> {
    words: Vec<&'a str>,
    env: &'a Value,
}

impl<'a> Told<'a> {
    fn of(container: &'a Value) -> Self {
        let lists = ["command", "args"].into_iter().filter_map(|field| container[field].as_array());
        Self { words: lists.flatten().filter_map(Value::as_str).collect(), env: &container["env"] }
    }

    /// `controller` is a subcommand: it comes before any flag that takes a value of that name.
    fn is_controller(&self) -> bool {
        self.words.contains(&"controller")
    }

    /// A flag's value, as one word or two, or that of its variable.
    fn value(&self, flag: &str, variable: &str) -> Option<String> {
        let given = self.words.iter().enumerate().find_map(|(at, word)| match word.strip_prefix(flag)? {
            "" => self.words.get(at + 1).copied(),
            rest => rest.strip_prefix('='),
        });
        let mut env = self.env.as_array().into_iter().flatten();
        let set = || env.find(|one| one["name"] == variable).and_then(|one| one["value"].as_str());
        given.or_else(set).filter(|value| !value.is_empty()).map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_flag_is_read_in_every_form() {
        let value = |container: Value| Told::of(&container).value("--prometheus", "FIREDRILL_PROMETHEUS");
        let url = Some("http://prometheus:9090".to_owned());
        assert_eq!(value(json!({"args": ["controller", "--prometheus=http://prometheus:9090"]})), url);
        assert_eq!(value(json!({"command": ["controller", "--prometheus", "http://prometheus:9090"]})), url);
        let env = json!([{"name": "FIREDRILL_PROMETHEUS", "value": "http://prometheus:9090"}]);
        assert_eq!(value(json!({"args": ["controller"], "env": env})), url);
        assert_eq!(value(json!({"args": ["controller", "--prometheus-like=x"]})), None);
        assert_eq!(value(json!({})), None);
    }
}
