//! The report for machines.
//!
//! One object. `schemaVersion` is a number that grows when a field changes its meaning or goes away; new
//! fields may come at any time, so a reader ignores what it does not know. All other fields are those of
//! [`Facts`] and the types that it holds, documented there, in camelCase:
//!
//! | field | what |
//! |---|---|
//! | `run`, `experiment`, `hypothesis`, `source`, `place`, `people`, `limits` | what was run, where, by whom |
//! | `outcome` | `finished`, `verdict`, `reason`, `message`, `exitCode`, `phase`, `stop` |
//! | `started`, `ended`, `lastSeen`, `faultWindow` | moments, RFC 3339 in UTC |
//! | `clocks`, `objectives`, `breakdown` | lengths in milliseconds; absent or null: not measured |
//! | `loads` | what was sent on purpose, and what became of it; lengths in microseconds |
//! | `steps` | the method with every injection: target, action, before-image, outcome, evidence, revert |
//! | `violations`, `notRecovered`, `lanes`, `probes` | what was measured; `probes[].samples` is everything |
//! | `deployed` | what ran before and after |
//! | `residue`, `inForce` | what is not back, or not known to be |
//! | `plan`, `notes`, `timeline` | findings, remarks, and all of it in sentences |

use serde::Serialize;

use super::{Facts, ink::hidden};

/// Grows when a field changes its meaning or goes away.
pub const SCHEMA_VERSION: u32 = 1;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    schema_version: u32,
    #[serde(flatten)]
    facts: &'a Facts,
}

/// The report as indented JSON, ending in a line break. Whatever a terminal might obey is written as an
/// escape, which JSON readers undo: the report may be printed as it is.
pub fn render(facts: &Facts) -> String {
    harmless(&Document { schema_version: SCHEMA_VERSION, facts })
}

/// Indented JSON, ending in a line break, that a terminal obeys nothing of.
pub(super) fn harmless(document: &impl Serialize) -> String {
    let json = serde_json::to_string_pretty(document).expect("plain data with text as keys is JSON");
    let mut out = String::with_capacity(json.len() + 1);
    let mut units = [0; 2];
    for c in json.chars() {
        // Line breaks are the indentation's own; within strings they are escaped already.
        if c != '\n' && hidden(c) {
            out.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            out.push(c);
        }
    }
    out.push('\n');
    out
}
