//! The game days whose times are asked for, and the Guardrails over them: of files, and of the cluster.

use std::collections::{BTreeMap, BTreeSet};

use kube::api::DynamicObject;

use super::{FileArgs, Global, connect, input};
use crate::{
    api::{
        self, API_VERSION, Acts, GameDay, SourceText,
        check::{Document, Given},
    },
    cluster::{Access, ApiError},
    controller::{forbidding::Forbidding, text_of},
    plan,
    types::{ExitCode, ObjectRef},
};

/// A game day, and the namespaces that it concerns.
pub(super) struct Found {
    pub day: GameDay,
    pub namespaces: BTreeSet<String>,
}

/// All of them, and what is held against their times.
#[derive(Default)]
pub(super) struct Known {
    pub days: Vec<Found>,
    pub forbidding: Forbidding,
}

impl Known {
    /// Takes in what files say; Some: with what to exit, as there are mistakes in them.
    ///
    /// # Errors
    /// Files that cannot be read.
    pub(super) fn read(&mut self, files: &FileArgs) -> anyhow::Result<Option<ExitCode>> {
        let read = input::read(files, input::For::Checking)?;
        let refused = read.refused();
        for accepted in read.documents {
            match accepted.document {
                Document::GameDay { day, acts } => self.add(*day, &acts),
                Document::Guardrail(guardrail) => {
                    let name = guardrail.metadata.name.clone();
                    self.forbidding.add(&name, Some(*guardrail));
                }
                _ => {}
            }
        }
        Ok(refused)
    }

    fn add(&mut self, day: GameDay, acts: &Acts) {
        let own = day.metadata.namespace.clone().unwrap_or_default();
        let mut namespaces = BTreeSet::from([own.clone()]);
        namespaces
            .extend(acts.experiments.iter().flat_map(|act| plan::namespaces(&act.experiment.spec, &own)));
        self.days.push(Found { day, namespaces });
    }

    /// Takes in what is in the cluster: its Guardrails, and its game days unless files name those that are meant.
    ///
    /// # Errors
    /// The API server's.
    pub(super) async fn ask(&mut self, global: &Global, days: bool) -> anyhow::Result<()> {
        let connection = connect::connect(global, 0).await?;
        let access = Access::new(connection.env.kube.clone());
        if days {
            let own = connection.asked(global);
            for (day, others) in game_days(&access, (global.namespace.as_deref(), &own)).await? {
                self.take(&day, &others);
            }
        }
        match access.list_if_served(API_VERSION, "Guardrail").await {
            Ok(found) => found.iter().flatten().for_each(|found| self.forbidding.add_found(found)),
            Err(ApiError::Forbidden(_)) => super::say(
                "you may not read Guardrails, so theirs are not held against these times; ask for the verb list on \
                 guardrails.firedrill.dev (role firedrill:halt)",
            ),
            Err(error) => return Err(error.into()),
        }
        let all: BTreeSet<String> = self.days.iter().flat_map(|found| found.namespaces.clone()).collect();
        for name in all {
            // What it is labelled with where nobody may know counts as what Guardrails select.
            if let Ok(found) = access.get(&ObjectRef::namespaced("v1", "Namespace", "", &name)).await {
                self.forbidding.add_namespace(&name, found.metadata.labels.unwrap_or_default());
            }
        }
        Ok(())
    }

    /// One as the API server has it, among the experiments of its namespace.
    fn take(&mut self, found: &DynamicObject, experiments: &[SourceText]) {
        let text = text_of(found, "GameDay");
        let given = Given { parameters: BTreeMap::new(), beside: experiments.to_vec(), must_be_whole: false };
        let read = api::read_with(std::slice::from_ref(&text), &given);
        let errors: Vec<String> = read
            .findings
            .iter()
            .filter(|finding| finding.is_error())
            .map(|finding| finding.message.clone())
            .collect();
        if !errors.is_empty() {
            let namespace = found.metadata.namespace.as_deref().unwrap_or_default();
            super::say(&format!(
                "{} in namespace {namespace} is not Ready: {}",
                text.name,
                errors.join("; ")
            ));
        }
        for accepted in read.documents {
            if let Document::GameDay { day, acts } = accepted.document {
                self.add(*day, &acts);
            }
        }
    }
}

/// Game days, each with the experiments of its namespace: of the one that is asked for, or of all. Whoever may not see
/// all of them sees those of the context's.
async fn game_days(
    access: &Access,
    (asked, own): (Option<&str>, &str),
) -> anyhow::Result<Vec<(DynamicObject, Vec<SourceText>)>> {
    let of = |namespace: &str| ObjectRef::namespaced(API_VERSION, "GameDay", namespace, "");
    let listed = match access.list(&of(asked.unwrap_or_default()), "").await {
        Err(ApiError::Forbidden(_)) if asked.is_none() => {
            super::say(&format!(
                "you may not list the game days of all namespaces: these are those of {own}"
            ));
            access.list(&of(own), "").await
        }
        listed => listed,
    };
    let days = match listed {
        Err(ApiError::NotFound) => anyhow::bail!(
            "the cluster does not know GameDays: firedrill crds | kubectl apply --server-side -f -"
        ),
        listed => listed?,
    };
    let mut beside: BTreeMap<String, Vec<SourceText>> = BTreeMap::new();
    let namespaces: BTreeSet<String> = days.iter().filter_map(|day| day.metadata.namespace.clone()).collect();
    for namespace in namespaces {
        let like = ObjectRef::namespaced(API_VERSION, "Experiment", &namespace, "");
        let found = access.list(&like, "").await?;
        beside.insert(namespace, found.iter().map(|found| text_of(found, "Experiment")).collect());
    }
    let with = |day: DynamicObject| {
        let experiments = day.metadata.namespace.as_ref().and_then(|namespace| beside.get(namespace));
        (day, experiments.cloned().unwrap_or_default())
    };
    Ok(days.iter().cloned().map(with).collect())
}
