//! What people have observed, and what is to be done about it (format.md, section 8).

use std::collections::BTreeMap;

use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::RunSpec;

/// How long the words of an item may be where it outlives its Run, in bytes; those of a note may be longer, and are the
/// same as far as they go.
const WORDS: usize = 512;

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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenAction {
    /// The Run in which it was written down last.
    pub run: String,
    /// When that was.
    pub time: Timestamp,
    /// What is to be done.
    pub text: String,
    /// Who does it.
    pub owner: String,
    /// Until which day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due: Option<Date>,
}

impl OpenAction {
    /// Those that the status of a GameDay names: they outlive the Runs in which they were written down.
    pub fn carried(status: &Value) -> Vec<Self> {
        let all = status["openActions"].as_array().into_iter().flatten();
        all.filter_map(|one| serde_json::from_value(one.clone()).ok()).collect()
    }

    /// Whether two texts are the same item's.
    pub fn same(one: &str, other: &str) -> bool {
        words(one) == words(other)
    }

    /// As the status of a GameDay names it.
    pub fn to_status(&self) -> Value {
        let text = words(&self.text).to_owned();
        serde_json::to_value(Self { text, ..self.clone() }).unwrap_or_default()
    }
}

/// By which words an item is known.
fn words(text: &str) -> &str {
    let text = text.trim();
    let mut end = text.len().min(WORDS);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].trim_end()
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

/// The action items of these Runs, each with its name, that are open, and those that were `carried` from Runs before
/// them: what was written last about an item, by its words, is what holds. By the day on which they are due. Pure.
pub fn open_actions<'a>(
    carried: Vec<OpenAction>,
    runs: impl IntoIterator<Item = (&'a str, &'a RunSpec)>,
) -> Vec<OpenAction> {
    let carried = carried.into_iter().map(|open| (open, false));
    let written = runs.into_iter().flat_map(|(run, spec)| {
        spec.notes.iter().filter_map(move |note| {
            let action = note.action.as_ref()?;
            let open = OpenAction {
                run: run.to_owned(),
                time: note.time,
                text: note.text.trim().to_owned(),
                owner: action.owner.clone(),
                due: action.due,
            };
            Some((open, action.done))
        })
    });
    let mut last: BTreeMap<String, (OpenAction, bool)> = BTreeMap::new();
    for said in carried.chain(written) {
        let known = last.entry(words(&said.0.text).to_owned()).or_insert_with(|| said.clone());
        if known.0.time <= said.0.time {
            *known = said;
        }
    }
    let mut open: Vec<OpenAction> =
        last.into_values().filter(|(_, done)| !done).map(|(open, _)| open).collect();
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
            let open = open_actions(Vec::new(), runs);
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
        let alone = open_actions(Vec::new(), [("b", &second)]);
        assert_eq!(alone.len(), 1, "what is done was never open there");
    }

    #[test]
    fn what_is_open_outlives_the_run_in_which_it_was_written_down() {
        let long = "ü".repeat(2000);
        let due = || json!({"owner": "cy", "due": "2026-12-01"});
        let first = spec(json!([note(3, "write the runbook", due()), note(4, &long, due())]));
        let open = open_actions(Vec::new(), [("a", &first)]);
        let status = json!({"openActions": open.iter().map(OpenAction::to_status).collect::<Vec<_>>()});
        assert!(status.to_string().len() < 1500, "{status}");
        let carried = || OpenAction::carried(&status);
        assert_eq!(carried()[0], open[0]);
        // Whether the Run is still there or not, it is one item.
        for open in [open_actions(carried(), [("a", &first)]), open_actions(carried(), [])] {
            assert_eq!(open.iter().map(|one| one.run.as_str()).collect::<Vec<_>>(), ["a", "a"]);
        }
        let done = || json!({"done": true});
        let second = spec(json!([note(5, &long, done()), note(5, "write the runbook", done())]));
        assert_eq!(open_actions(carried(), [("b", &second)]), []);
        let earlier = spec(json!([note(2, "write the runbook", done())]));
        assert_eq!(open_actions(carried(), [("b", &earlier)]).len(), 2, "it was written down again since");
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
