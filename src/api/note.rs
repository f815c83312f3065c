//! What people have observed, and what is to be done about it (format.md, section 8).

use std::collections::BTreeMap;

use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

use super::RunSpec;

/// Something that somebody has observed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observation {
    /// Who.
    pub by: String,
    /// When.
    pub time: Timestamp,
    /// What; of an action item: what is to be done.
    pub text: String,
    /// Set: it is an action item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<ActionItem>,
}

/// That something is to be done, or has been.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ActionItem {
    /// Who does it; empty only where it is done.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// Until which day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due: Option<Date>,
    /// The item of the same words is done.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub done: bool,
}

/// An action item that nobody has said is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenAction {
    /// The Run in which it was written down last.
    pub run: String,
    /// What is to be done.
    pub text: String,
    /// Who does it.
    pub owner: String,
    /// Until which day.
    pub due: Option<Date>,
}

impl Observation {
    /// In a line: who, what, and for an action item until when by whom.
    pub fn in_words(&self) -> String {
        let Self { by, text, action, .. } = self;
        match action {
            None => format!("{by}: {text}"),
            Some(ActionItem { done: true, .. }) => format!("{by}: done: {text}"),
            Some(ActionItem { owner, due, .. }) => {
                let due = due.map_or_else(String::new, |due| format!(", due {due}"));
                format!("{by}: action item: {text} ({owner}{due})")
            }
        }
    }
}

/// The action items of these Runs, each with its name, that are open: what was written last about an item, by its words,
/// is what holds. By the day on which they are due. Pure.
pub fn open_actions<'a>(runs: impl IntoIterator<Item = (&'a str, &'a RunSpec)>) -> Vec<OpenAction> {
    let mut last: BTreeMap<&str, (Timestamp, &str, &ActionItem)> = BTreeMap::new();
    for (run, spec) in runs {
        for note in &spec.notes {
            let Some(action) = &note.action else { continue };
            let said = (note.time, run, action);
            let known = last.entry(note.text.trim()).or_insert(said);
            if known.0 <= note.time {
                *known = said;
            }
        }
    }
    let open = last.into_iter().filter(|(_, (.., action))| !action.done);
    let mut open: Vec<OpenAction> = open
        .map(|(text, (_, run, action))| OpenAction {
            run: run.to_owned(),
            text: text.to_owned(),
            owner: action.owner.clone(),
            due: action.due,
        })
        .collect();
    open.sort_by(|a, b| (a.due.is_none(), a.due, &a.text).cmp(&(b.due.is_none(), b.due, &b.text)));
    open
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(notes: serde_json::Value) -> RunSpec {
        serde_json::from_value(json!({"gameDayRef": {"name": "weekly"}, "notes": notes})).expect("a Run")
    }

    fn note(day: u32, text: &str, action: serde_json::Value) -> serde_json::Value {
        json!({"by": "ada", "time": format!("2026-11-{day:02}T10:00:00Z"), "text": text, "action": action})
    }

    #[test]
    fn what_was_written_last_about_an_item_is_what_holds() {
        let of = |owner: &str, due: &str| json!({"owner": owner, "due": due});
        let first = spec(json!([
            note(3, "raise the pool's limit", of("bob", "2026-12-15")),
            note(3, "write the runbook", of("cy", "2026-12-01")),
            note(3, "page somebody who is awake", of("bob", "2026-11-20")),
            {"by": "ada", "time": "2026-11-03T10:00:00Z", "text": "the queue is long"},
        ]));
        let second = spec(json!([
            note(10, "write the runbook ", json!({"done": true})),
            note(10, "raise the pool's limit", of("dora", "2026-12-31")),
        ]));
        // In whichever order they are listed.
        for runs in [[("a", &first), ("b", &second)], [("b", &second), ("a", &first)]] {
            let open = open_actions(runs);
            let said: Vec<(&str, &str, &str, String)> = open
                .iter()
                .map(|one| {
                    (
                        one.run.as_str(),
                        one.text.as_str(),
                        one.owner.as_str(),
                        one.due.map_or_else(String::new, |due| due.to_string()),
                    )
                })
                .collect();
            assert_eq!(
                said,
                [
                    ("a", "page somebody who is awake", "bob", "2026-11-20".to_owned()),
                    ("b", "raise the pool's limit", "dora", "2026-12-31".to_owned()),
                ]
            );
        }
        assert_eq!(open_actions([("b", &second)]).len(), 1, "what is done was never open there");
    }

    #[test]
    fn a_note_says_in_a_line_what_it_is() {
        let spec = spec(json!([
            note(3, "write the runbook", json!({"owner": "cy", "due": "2026-12-01"})),
            note(4, "write the runbook", json!({"done": true})),
            {"by": "bob", "time": "2026-11-03T10:00:00Z", "text": "the queue is long"},
        ]));
        let words: Vec<String> = spec.notes.iter().map(Observation::in_words).collect();
        assert_eq!(
            words,
            [
                "ada: action item: write the runbook (cy, due 2026-12-01)",
                "ada: done: write the runbook",
                "bob: the queue is long"
            ]
        );
        let written = serde_json::to_value(&spec).expect("it is written");
        assert_eq!(written["notes"][2].get("action"), None);
        assert_eq!(written["notes"][0]["action"], json!({"owner": "cy", "due": "2026-12-01"}));
    }
}
