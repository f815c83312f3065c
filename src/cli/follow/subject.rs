//! What Runs are made of: experiments and game days that are in the cluster, and files that are brought there first.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::{
    api::{API_VERSION, check::Accepted},
    cli::{SettingArgs, Usage, input},
    cluster::{Access, ApiError, Write, identity},
    controller::RunSeen,
    types::ObjectRef,
};

/// Who applies files.
const MANAGER: &str = "firedrill";
/// So many fields of somebody else's are named.
const NAMED: usize = 4;

/// What a Run is made of.
pub(super) struct Subject {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
    /// Of those that were given, the ones that are for it.
    pub parameters: Vec<(String, String)>,
    /// As it was written, if it comes from a file.
    pub written: Option<Value>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Experiment,
    GameDay,
}

impl Kind {
    /// The field of a Run that names one.
    fn field(self) -> &'static str {
        match self {
            Self::Experiment => "experimentRef",
            Self::GameDay => "gameDayRef",
        }
    }

    /// `experiment/NAME` and `gameday/NAME`, unless there is a file of that name.
    pub(super) fn named(path: &Path) -> Option<(Self, String)> {
        let kind = match path.parent()?.to_str()? {
            "experiment" => Self::Experiment,
            "gameday" => Self::GameDay,
            _ => return None,
        };
        Some((kind, path.file_name()?.to_str()?.to_owned())).filter(|_| !path.exists())
    }
}

/// What was asked for, read and checked before anybody is asked.
pub(super) struct Asked {
    there: Vec<(Kind, String)>,
    files: Option<input::Input>,
    parameters: Vec<(String, String)>,
}

impl Asked {
    /// Reads the files among the arguments.
    ///
    /// # Errors
    /// Files and parameters that cannot be read; what is wrong in them is in the answer.
    pub(super) fn read(setting: &SettingArgs) -> anyhow::Result<Self> {
        let mut files = setting.files.clone();
        let (names, paths): (Vec<PathBuf>, Vec<PathBuf>) =
            std::mem::take(&mut files.files).into_iter().partition(|path| Kind::named(path).is_some());
        files.files = paths;
        let there: Vec<_> = names.iter().filter_map(|path| Kind::named(path)).collect();
        let any = there.is_empty() || !files.files.is_empty() || !files.more.is_empty();
        let parameters = input::parameters(&files.param).map_err(Usage::from)?.into_iter().collect();
        let files = any.then(|| input::read(&files, input::For::Running)).transpose()?;
        Ok(Self { there, files, parameters })
    }

    /// What was read of files, if there are any.
    pub(super) fn files(&self) -> Option<&input::Input> {
        self.files.as_ref()
    }

    /// Everything to make Runs of; what is in files is in the cluster then, as it was written. Nothing is changed there
    /// before all of it is known to be taken.
    ///
    /// # Errors
    /// What the API server says against a file, and fields of it that are somebody else's.
    pub(super) async fn subjects(self, access: &Access, namespace: &str) -> anyhow::Result<Vec<Subject>> {
        let named = self.there.into_iter().map(|(kind, name)| Subject {
            kind,
            namespace: namespace.to_owned(),
            name,
            parameters: self.parameters.clone(),
            written: None,
        });
        let mut subjects: Vec<Subject> = named.collect();
        let Some(files) = &self.files else { return Ok(subjects) };
        let experiments = files.experiments()?;
        for dry_run in [true, false] {
            for accepted in &experiments {
                apply(access, (namespace, accepted), dry_run).await?;
            }
        }
        subjects.extend(experiments.into_iter().map(|accepted| {
            let declared = accepted.written["spec"]["parameters"].as_array().into_iter().flatten();
            let declared: Vec<&str> = declared.filter_map(|one| one["name"].as_str()).collect();
            let own = self.parameters.iter().filter(|(name, _)| declared.contains(&name.as_str()));
            let object = object(accepted, namespace);
            Subject {
                kind: Kind::Experiment,
                namespace: object.namespace,
                name: object.name,
                parameters: own.cloned().collect(),
                written: Some(accepted.written.clone()),
            }
        }));
        Ok(subjects)
    }
}

/// The object of a document.
fn object(accepted: &Accepted, namespace: &str) -> ObjectRef {
    let metadata = accepted.document.metadata();
    let namespace = metadata.namespace.as_deref().unwrap_or(namespace);
    ObjectRef::namespaced(API_VERSION, "Experiment", namespace, &metadata.name)
}

/// Brings an experiment to the cluster as it was written, as `kubectl apply --server-side` does: what somebody else
/// manages and wants otherwise is a conflict.
async fn apply(
    access: &Access,
    (namespace, accepted): (&str, &Accepted),
    dry_run: bool,
) -> anyhow::Result<()> {
    let object = object(accepted, namespace);
    let mut body = accepted.written.clone();
    body["metadata"]["namespace"] = object.namespace.clone().into();
    let (name, file) = (&object.name, accepted.source.as_str());
    let applied = access.apply_unforced(&object, &body, Write { manager: MANAGER, dry_run }).await;
    let as_it_is = format!("run it as it is there with firedrill run --controller experiment/{name}");
    let found = match applied {
        Ok(found) => found,
        Err(ApiError::NotFound) => bail!(
            "there is no namespace {}, or the cluster does not know Experiments: firedrill crds | kubectl apply \
             --server-side -f -",
            object.namespace
        ),
        Err(ApiError::Conflict(why)) => bail!(
            "experiment/{name} in namespace {} is not changed, for {file} says otherwise than somebody else does: {}; \
             {as_it_is}, or bring yours first: kubectl apply --server-side --force-conflicts -f {file}",
            object.namespace,
            why.replace('\n', ", "),
        ),
        Err(error) => return Err(error).with_context(|| format!("experiment/{name} cannot be applied")),
    };
    let mut beyond = Vec::new();
    differing(&accepted.written["spec"], &found.data["spec"], "spec", &mut beyond);
    if beyond.is_empty() {
        return Ok(());
    }
    beyond.truncate(NAMED);
    bail!(
        "experiment/{name} in namespace {} would not be what {file} says: somebody else's {} would stay in it; \
         {as_it_is}, or bring yours first: kubectl replace -f {file}",
        object.namespace,
        beyond.join(", ")
    )
}

/// The fields in which what is there is not what was written.
fn differing(written: &Value, there: &Value, path: &str, into: &mut Vec<String>) {
    match (written, there) {
        (Value::Object(written), Value::Object(there)) => {
            let names = written.keys().chain(there.keys().filter(|name| !written.contains_key(*name)));
            for name in names {
                let of = |map: &serde_json::Map<String, Value>| map.get(name).cloned().unwrap_or_default();
                differing(&of(written), &of(there), &format!("{path}.{name}"), into);
            }
        }
        (Value::Array(written), Value::Array(there)) if written.len() == there.len() => {
            for (at, (one, two)) in written.iter().zip(there).enumerate() {
                differing(one, two, &format!("{path}[{at}]"), into);
            }
        }
        // 1 and 1.0 are the same number to the API server.
        (Value::Number(one), Value::Number(two)) if one.as_f64() == two.as_f64() => {}
        (one, two) if one == two => {}
        _ => into.push(path.to_owned()),
    }
}

/// Makes a Run.
///
/// # Errors
/// The API server's.
pub(super) async fn create(
    access: &Access,
    Subject { kind, namespace, name, parameters, .. }: &Subject,
    seed: Option<u64>,
) -> anyhow::Result<RunSeen> {
    let by = identity(access).await?.name;
    let mut spec = json!({kind.field(): {"name": name}, "requestedBy": by});
    if let Some(seed) = seed {
        spec["seed"] = seed.into();
    }
    if !parameters.is_empty() {
        let values = parameters.iter().map(|(name, value)| json!({"name": name, "value": value}));
        spec["parameters"] = values.collect::<Vec<_>>().into();
    }
    let body = json!({
        "apiVersion": API_VERSION,
        "kind": "Run",
        "metadata": {"generateName": format!("{name}-"), "namespace": namespace},
        "spec": spec,
    });
    let object = ObjectRef::namespaced(API_VERSION, "Run", namespace, "");
    let made = access.create(&object, body, Write::default()).await;
    let made = made.map_err(|error| match error {
        ApiError::NotFound => anyhow::anyhow!(
            "there is no namespace {namespace}, or the cluster does not know Runs: firedrill crds | kubectl apply \
             --server-side -f -"
        ),
        error => anyhow::Error::from(error).context(format!("a Run of {name} cannot be created")),
    })?;
    RunSeen::read(&made).context("the API server answers with something that is no Run")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named() {
        let written = json!({"a": 1, "b": [{"name": "x", "c": 1.0}], "d": {"e": "f"}});
        let mut found = Vec::new();
        differing(
            &written,
            &json!({"a": 1.0, "b": [{"name": "x", "c": 1}], "d": {"e": "f"}}),
            "spec",
            &mut found,
        );
        assert_eq!(found, Vec::<String>::new());
        let there = json!({"a": 2, "b": [{"name": "x", "c": 1.0, "g": true}], "d": {"e": "f"}, "h": []});
        differing(&written, &there, "spec", &mut found);
        assert_eq!(found, ["spec.a", "spec.b[0].g", "spec.h"]);
        found.clear();
        differing(&written, &json!({"a": 1, "b": [], "d": {}}), "spec", &mut found);
        assert_eq!(found, ["spec.b", "spec.d.e"]);
    }
}
