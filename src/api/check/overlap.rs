//! Steps that hold the same field of the same object at the same time, as far as the file alone shows it.
//!
//! Only what is certain: where it takes the cluster to tell who is hit, `plan` says the same (FD3017).

use std::time::Duration;

use crate::api::yaml::{Node, Span};
use crate::faults::{FaultInfo, TargetKind};
use crate::types::codes::format as codes;

use super::method::Step;
use super::report::Report;
use super::steady_state::length;
use super::walk::workload_type;

/// A step in the background.
struct Held {
    step: String,
    span: Span,
    writes: &'static [&'static str],
    aim: Aim,
    /// How much longer at the most; None: until it is reverted.
    left: Option<Duration>,
}

/// A target that two steps share for certain if they share this.
#[derive(PartialEq)]
enum Aim {
    /// The namespace as written, the type, the name.
    Workload(String, &'static str, String),
    /// The one name that the target allows.
    Node(String),
    /// All of what this selects.
    All(serde_json::Value),
}

/// Everything that is held between one step and the next.
#[derive(Default)]
pub(super) struct InForce(Vec<Held>);

impl InForce {
    /// Takes the next step in, with its name, and reports what it holds twice.
    pub(super) fn step(&mut self, step: &Step<'_>, (name, span): (&str, Span), report: &mut Report<'_>) {
        if let Some(of) = step.node.get("revert").and_then(Node::text) {
            self.0.retain(|held| held.step != of);
        }
        if let Some((fault, aim)) = step.fault().and_then(|fault| Some((fault, aim(step.node, fault)?))) {
            self.twice(step, (name, fault, &aim), report);
            if step.background() && !self.0.iter().any(|held| held.step == name) {
                // Batches follow each other, for as long as that takes.
                let whole = step.node.get("rolling").is_none();
                let left = length(step.node.get("duration")).filter(|_| whole).map(|length| length.0);
                self.0.push(Held { step: name.to_owned(), span, writes: fault.writes, aim, left });
                return;
            }
        }
        let took = at_least(step.node);
        for held in &mut self.0 {
            held.left = held.left.map(|left| left.saturating_sub(took));
        }
        self.0.retain(|held| held.left != Some(Duration::ZERO));
    }

    fn twice(&self, step: &Step<'_>, (name, fault, aim): (&str, &FaultInfo, &Aim), report: &mut Report<'_>) {
        let shared = |held: &&Held| held.aim == *aim && held.writes.iter().any(|w| fault.writes.contains(w));
        let Some(held) = self.0.iter().find(shared) else { return };
        let field = held.writes.iter().find(|field| fault.writes.contains(field)).unwrap_or(&"fields");
        let (first, line) = (&held.step, report.place(held.span).line);
        let message = format!(
            "`{name}` would change the target's {field} while `{first}`, in line {line}, holds it; neither could be put back to what was there before"
        );
        let remedy = format!(
            "put `revert: {first}` before it, or give `{first}` a duration that is over by then, and a wait"
        );
        report.error(codes::SAME_FIELD, (&format!("{}.target", step.path), step.anchor()), &message, &remedy);
    }
}

/// What passes at the least before the step after this one begins.
fn at_least(step: &Node) -> Duration {
    if step.get("background").and_then(Node::boolean) == Some(true) {
        return Duration::ZERO;
    }
    let of = |node: Option<&Node>| length(node).map_or(Duration::ZERO, |length| length.0);
    let waits = of(step.get("wait")).saturating_add(of(step.get("duration")));
    waits.saturating_add(of(step.at(&["check", "for"])))
}

/// Who is hit, where the file alone says so.
fn aim(step: &Node, fault: &FaultInfo) -> Option<Aim> {
    let target = step.get("target")?;
    if let Some(text) = target.get("workload").and_then(Node::text) {
        if !fault.targets.contains(&TargetKind::Workload) {
            return None;
        }
        let (kind, (_, name)) = (workload_type(text)?, text.split_once('/')?);
        let namespace = target.get("namespace").and_then(Node::text).unwrap_or_default();
        return Some(Aim::Workload(namespace.to_owned(), kind, name.to_owned()));
    }
    if let [one] = target.get("names").map(Node::items).unwrap_or_default() {
        return one.text().map(|name| Aim::Node(name.to_owned()));
    }
    let selected = ["nodes", "nodesRunning", "pods"].iter().any(|field| target.get(field).is_some());
    let all = match target.get("count").and_then(Node::text) {
        Some(count) => count == "all",
        None => target.get("zone").is_some() && !selected,
    };
    all.then(|| Aim::All(target.to_json()))
}
