//! What faults say of their own fields beyond their schema, at the fields that it is about.

use super::{method::Step, report::Report};
use crate::{api::yaml::Node, faults};

impl Step<'_> {
    /// What a fault has to say of its own fields beyond their schema.
    pub(super) fn lint(&self, report: &mut Report<'_>) {
        let Some((entry, fault)) = self.action.and_then(|entry| Some((entry, faults::find(&entry.key)?)))
        else {
            return;
        };
        let path = format!("{}.{}", self.path, entry.key);
        for finding in fault.lint(&entry.value.to_json()) {
            // One that names a field below the fault is about that.
            let field =
                finding.subject.strip_prefix(entry.key.as_str()).and_then(|rest| rest.strip_prefix('.'));
            match field.and_then(|field| Some((field, below(&entry.value, field)?))) {
                Some((_, node)) if report.refused_at(node.span) => {}
                Some((field, node)) => report.error(
                    finding.code,
                    (&format!("{path}.{field}"), node.span),
                    &finding.message,
                    &finding.remedy,
                ),
                None => {
                    report.error(finding.code, (&path, entry.value.span), &finding.message, &finding.remedy)
                }
            }
        }
    }
}

/// What is at a path such as `to[1].cidr`.
fn below<'a>(node: &'a Node, path: &str) -> Option<&'a Node> {
    path.split('.').try_fold(node, |node, part| {
        let (name, index) = match part.strip_suffix(']').and_then(|part| part.split_once('[')) {
            Some((name, index)) => (name, Some(index.parse::<usize>().ok()?)),
            None => (part, None),
        };
        let found = node.get(name)?;
        index.map_or(Some(found), |index| found.items().get(index))
    })
}
