//! Action items are due on days of the calendar.

use crate::api::{is_day, yaml::Node};
use crate::types::codes::format as codes;

use super::report::Report;

pub(super) fn check(spec: &Node, report: &mut Report<'_>) {
    let notes = spec.get("notes").map(Node::items).unwrap_or_default();
    for (index, note) in notes.iter().enumerate() {
        let Some(due) = note.at(&["action", "due"]) else { continue };
        // One that does not even look like a day was told already.
        if let Some(text) = due.text().filter(|text| text.len() == 10 && !is_day(text))
            && !report.refused_at(due.span)
        {
            let path = format!("spec.notes[{index}].action.due");
            let message = format!("the calendar has no day `{text}`");
            report.error(codes::FORM, (&path, due.span), &message, "");
        }
    }
}
