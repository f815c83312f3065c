//! What of a Run there is to answer and to skip: looked up before anything is written into it, where what is said once
//! stays said.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    api::{API_VERSION, GATE, GameDay, Gate, PREREQUISITES, StepAction, step_name},
    cluster::Access,
    controller::RunSeen,
    types::{ObjectRef, nearest},
};

/// Steps, gates and prerequisites as answers name them, and whether somebody is asked.
type Questions = BTreeMap<String, bool>;

/// Those of a Run, by the files in the cluster. None: whoever asks may not read them, or they are gone.
pub(super) async fn of(access: &Access, run: &RunSeen) -> Option<Questions> {
    let spec = run.spec.as_ref().ok()?;
    let read = async |kind: &str, name: &str| {
        let object = ObjectRef::namespaced(API_VERSION, kind, &run.object.namespace, name);
        serde_json::to_value(access.get(&object).await.ok()?).ok()
    };
    let mut questions = Questions::new();
    if let Some(named) = &spec.experiment_ref {
        steps(&named.name, &read("Experiment", &named.name).await?, &mut questions);
    }
    let Some(named) = &spec.game_day_ref else { return Some(questions) };
    let day = GameDay::from_value(&read("GameDay", &named.name).await?).ok()?.spec;
    for prerequisite in day.prerequisites.iter().filter(|one| one.manual.is_some()) {
        questions.insert(format!("{PREREQUISITES}/{}", prerequisite.name), true);
    }
    for entry in &day.experiments {
        steps(&entry.name, &read("Experiment", entry.experiment()).await?, &mut questions);
        if entry.gate == Gate::Manual {
            questions.insert(format!("{}/{GATE}", entry.name), true);
        }
    }
    Some(questions)
}

/// As they are written: what parameters are for is not known here.
fn steps(entry: &str, experiment: &Value, questions: &mut Questions) {
    let method = experiment["spec"]["method"].as_array();
    for (index, step) in method.into_iter().flatten().enumerate() {
        let name = step["name"].as_str().map_or_else(|| step_name(index), str::to_owned);
        questions.insert(format!("{entry}/{name}"), step["manual"].is_object());
    }
}

/// Why that cannot be said of `name`; None: it can. Pure.
pub(super) fn wrong(name: &str, action: StepAction, questions: &Questions) -> Option<String> {
    let all = || questions.keys().map(String::as_str);
    match (questions.get(name), action) {
        (None, _) => Some(match nearest(name, all()) {
            Some(near) => format!("there is no {name} in it; did you mean {near}?"),
            None => format!("there is no {name} in it; there are: {}", all().collect::<Vec<_>>().join(", ")),
        }),
        (Some(false), StepAction::Confirm | StepAction::Fail) => Some(format!(
            "{name} asks nobody: manual steps, gates and prerequisites are confirmed; skip has it not begin"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_asks_is_not_answered() {
        let mut questions = Questions::from([("drill/gate".to_owned(), true)]);
        let experiment =
            serde_json::json!({"spec": {"method": [{"name": "hand", "manual": {}}, {"wait": "1s"}]}});
        steps("drill", &experiment, &mut questions);
        let wrong = |name: &str, action| wrong(name, action, &questions);
        for (name, action) in [
            ("drill/gate", StepAction::Confirm),
            ("drill/hand", StepAction::Fail),
            ("drill/hand", StepAction::Skip),
            ("drill/step-2", StepAction::Skip),
        ] {
            assert_eq!(wrong(name, action), None, "{name}");
        }
        assert!(wrong("drill/step-2", StepAction::Confirm).is_some_and(|why| why.contains("asks nobody")));
        assert!(
            wrong("drill/hnad", StepAction::Skip).is_some_and(|why| why.contains("did you mean drill/hand?"))
        );
        let why = wrong("nosuch/x", StepAction::Skip).expect("it is wrong");
        assert!(why.ends_with("there are: drill/gate, drill/hand, drill/step-2"), "{why}");
    }
}
