//! What only the meaning of steps can tell.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::api::schema::{actions, fault_names};
use crate::api::step_name;
use crate::api::yaml::{Entry, Node, Span};
use crate::faults::{self, FaultInfo, Lifetime, TargetKind};
use crate::types::codes::format as codes;
use crate::types::{Length, nearest};

use super::overlap::InForce;
use super::report::Report;
use crate::api::schema::MAX_STEPS;

use super::steady_state::{Probes, judge, length, loss, named};
use super::walk::workload_type;

/// What is known of a step when later ones refer to it.
struct Earlier {
    /// None for an action that is not built or not clear.
    kind: Option<Kind>,
    index: usize,
    span: Span,
    reverted: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Background,
    Foreground,
    Instant,
    NoFault,
}

pub(super) fn check(spec: &Node, probes: &Probes<'_>, report: &mut Report<'_>) {
    let steps = spec.get("method").map(Node::items).unwrap_or_default();
    let steps = &steps[..steps.len().min(MAX_STEPS)];
    let all = names(steps);
    let mut earlier: BTreeMap<String, Earlier> = BTreeMap::new();
    let mut in_force = InForce::default();
    for (index, node) in steps.iter().enumerate() {
        if node.entries().is_empty() {
            continue;
        }
        let step = Step { node, index, path: format!("spec.method[{index}]"), action: action(node) };
        let name = step.name(&mut earlier, report);
        step.fields(report);
        step.lint(report);
        match step.action {
            Some(entry) if entry.key == "check" => checked(&entry.value, &step.path, probes, report),
            Some(entry) if entry.key == "revert" => {
                reverted(&entry.value, &step, (&all, &mut earlier), report)
            }
            _ => {}
        }
        let span = node.get("name").map_or(node.span, |name| name.span);
        in_force.step(&step, (&name, span), report);
        let kind = step.kind();
        earlier.entry(name).or_insert(Earlier { kind, index, span, reverted: false });
    }
    least(spec, steps, report);
    loss(spec, probes, report);
}

/// What the fault changes as a whole, if it does.
fn whole(fault: &FaultInfo) -> Option<&'static str> {
    if fault.whole_zone() {
        Some("a zone")
    } else {
        fault.targets.contains(&TargetKind::Workload).then_some("a workload")
    }
}

/// Every name of the method, as written or made.
fn names(steps: &[Node]) -> Vec<String> {
    let named = |(index, step): (usize, &Node)| {
        step.get("name").and_then(Node::text).map_or_else(|| step_name(index), str::to_owned)
    };
    steps.iter().enumerate().map(named).collect()
}

/// What the step does, if it does exactly one thing.
fn action(node: &Node) -> Option<&Entry> {
    let actions = actions();
    let mut given = node.entries().iter().filter(|entry| actions.contains(&entry.key.as_str()));
    match (given.next(), given.next()) {
        (Some(entry), None) => Some(entry),
        _ => None,
    }
}

/// One step of the list.
pub(super) struct Step<'a> {
    pub(super) node: &'a Node,
    index: usize,
    pub(super) path: String,
    pub(super) action: Option<&'a Entry>,
}

impl Step<'_> {
    /// The built fault that the step is, if it is one.
    pub(super) fn fault(&self) -> Option<&'static FaultInfo> {
        faults::find(&self.action?.key).map(|fault| fault.info())
    }

    /// Whether it is a fault, built or planned.
    fn is_fault(&self) -> bool {
        self.action.is_some_and(|entry| fault_names().any(|name| name == entry.key))
    }

    pub(super) fn background(&self) -> bool {
        self.node.get("background").and_then(Node::boolean) == Some(true)
    }

    fn kind(&self) -> Option<Kind> {
        let action = self.action?;
        match self.fault() {
            Some(fault) if fault.lifetime == Lifetime::Instant => Some(Kind::Instant),
            Some(_) if self.background() => Some(Kind::Background),
            Some(_) => Some(Kind::Foreground),
            None if action.key == "load" && self.background() => Some(Kind::Background),
            None if action.key == "load" => Some(Kind::Foreground),
            None if ["wait", "check", "revert", "manual"].contains(&action.key.as_str()) => {
                Some(Kind::NoFault)
            }
            None => None,
        }
    }

    pub(super) fn anchor(&self) -> Span {
        self.action.map_or(Span::new(self.node.span.start, self.node.span.start), |entry| entry.key_span)
    }

    fn name(&self, earlier: &mut BTreeMap<String, Earlier>, report: &mut Report<'_>) -> String {
        let made = step_name(self.index);
        let Some(node) = self.node.get("name") else {
            let waits = self.action.is_none_or(|entry| entry.key == "wait");
            if !waits {
                let message = "the step has no `name`; only a wait needs none";
                report.error(codes::MISSING_FIELD, (&self.path, self.anchor()), message, "");
            }
            return made;
        };
        let name = node.text().unwrap_or_default().to_owned();
        if let Some(first) = earlier.get(&name) {
            let place = report.place(first.span);
            let message = format!("`{name}` is there twice; first in line {}", place.line);
            report.error(
                codes::SAME_NAME,
                (&format!("{}.name", self.path), node.span),
                &message,
                "rename one of them",
            );
        }
        name
    }

    /// Fields beside the action that it needs, or that mean nothing to it.
    fn fields(&self, report: &mut Report<'_>) {
        let Some(action) = self.action else { return };
        let key = action.key.as_str();
        let planned = self.is_fault() && self.fault().is_none();
        let superfluous = |field: &str| self.node.entry(field).map(|entry| entry.key_span);
        let path = |field: &str| format!("{}.{field}", self.path);
        if !self.is_fault()
            && let Some(span) = superfluous("target")
        {
            let message = format!("`{key}` has no target; faults have");
            report.error(codes::TARGET, (&path("target"), span), &message, "leave it out");
        }
        if let Some(span) = superfluous("onFailure").filter(|_| !["check", "manual"].contains(&key)) {
            let message = format!("`onFailure` belongs to check and manual, not to {key}");
            report.error(codes::TOGETHER, (&path("onFailure"), span), &message, "leave it out");
        }
        if ["wait", "check", "revert", "manual"].contains(&key) {
            if let Some(span) = superfluous("duration") {
                let remedy = if key == "wait" { "the length is that of wait" } else { "leave it out" };
                report.error(
                    codes::STEP_DURATION,
                    (&path("duration"), span),
                    &format!("`{key}` takes no duration"),
                    remedy,
                );
            }
            if let Some(span) = superfluous("background").filter(|_| self.background()) {
                let message = format!("`{key}` cannot go on in the background; lasting faults can");
                report.error(codes::TOGETHER, (&path("background"), span), &message, "leave it out");
            }
        }
        if key == "load" && self.node.get("duration").is_none() && !self.background() {
            let message = "`load` lasts until it is ended, and has no duration";
            let remedy = "write for example duration: 2m, or background: true";
            report.error(codes::STEP_DURATION, (&self.path, self.anchor()), message, remedy);
        }
        if planned {
            return;
        }
        if let Some(fault) = self.fault() {
            self.lifetime(fault, report);
            self.target(fault, report);
        }
        self.rounds(report);
    }

    /// Whether `repeat` and `rolling` mean something here.
    fn rounds(&self, report: &mut Report<'_>) {
        let lifetime = self.fault().map(|fault| fault.lifetime);
        let key = self.action.map_or("", |action| action.key.as_str());
        if let Some(entry) = self.node.entry("repeat") {
            let path = format!("{}.repeat", self.path);
            if lifetime != Some(Lifetime::Instant) {
                let message = format!("`repeat` is for faults that are over at once, and `{key}` is not");
                let remedy = "rolling goes from batch to batch; several steps do the same again";
                report.error(codes::TOGETHER, (&path, entry.key_span), &message, remedy);
            }
            let (every, jitter) = (length(entry.value.get("every")), length(entry.value.get("jitter")));
            if let (Some(every), Some(jitter)) = (every, jitter)
                && jitter.0 >= every.0
            {
                let message = format!("a jitter of {jitter} lets a round meet the next, {every} later");
                report.error(codes::ORDER, (&path, entry.key_span), &message, "make it shorter than every");
            }
        }
        let Some(entry) = self.node.entry("rolling") else { return };
        let path = format!("{}.rolling", self.path);
        let at = (path.as_str(), entry.key_span);
        if lifetime.is_none() {
            report.error(
                codes::TOGETHER,
                at,
                &format!("`rolling` is for faults, and `{key}` is none"),
                "leave it out",
            );
        } else if self.node.get("repeat").is_some() {
            report.error(
                codes::TOGETHER,
                at,
                "`rolling` and `repeat` do not go together",
                "keep one of them",
            );
        } else if lifetime == Some(Lifetime::Lasting) && self.node.get("duration").is_none() {
            let message = "without `duration` no batch would ever be lifted";
            report.error(codes::STEP_DURATION, at, message, "write for example duration: 1m");
        } else if let Some(whole) = self.fault().and_then(whole) {
            let message = format!("`{key}` changes {whole} as a whole; there are no batches");
            report.error(codes::TOGETHER, at, &message, "leave it out");
        }
    }

    fn lifetime(&self, fault: &FaultInfo, report: &mut Report<'_>) {
        let (name, duration) = (fault.name, self.node.entry("duration"));
        match (fault.lifetime, duration) {
            (Lifetime::Instant, Some(entry)) => {
                let message = format!("`{name}` is over as soon as it is seen, and takes no duration");
                let remedy = "leave it out; a wait after it gives time";
                report.error(
                    codes::STEP_DURATION,
                    (&format!("{}.duration", self.path), entry.key_span),
                    &message,
                    remedy,
                );
            }
            (Lifetime::Lasting, None) if !self.background() => {
                let message = format!("`{name}` lasts until it is taken back, and needs a duration");
                let remedy = "write for example duration: 2m, or background: true";
                report.error(codes::STEP_DURATION, (&self.path, self.anchor()), &message, remedy);
            }
            _ => {}
        }
        let over_at_once = fault.lifetime == Lifetime::Instant && self.node.get("repeat").is_none();
        if let Some(entry) = self.node.entry("background").filter(|_| over_at_once)
            && self.background()
        {
            let message = format!("`{name}` is over as soon as it is seen, and takes no background");
            report.error(
                codes::TOGETHER,
                (&format!("{}.background", self.path), entry.key_span),
                &message,
                "leave it out",
            );
        }
    }

    fn target(&self, fault: &FaultInfo, report: &mut Report<'_>) {
        let path = format!("{}.target", self.path);
        let Some(entry) = self.node.entry("target") else {
            let message = format!("`{}` has no target", fault.name);
            report.error(
                codes::TARGET,
                (&self.path, self.anchor()),
                &message,
                &format!("aim it at {}", aims(fault)),
            );
            return;
        };
        let target = &entry.value;
        if target.entries().is_empty() {
            return;
        }
        let takes = |kind: TargetKind| fault.targets.contains(&kind);
        let mut selectors = 0;
        for (field, fits) in [
            ("pods", takes(TargetKind::Pods)),
            ("workload", takes(TargetKind::Workload) || takes(TargetKind::WorkloadPods)),
            ("nodes", takes(TargetKind::Nodes)),
            ("nodesRunning", takes(TargetKind::NodesRunning)),
        ] {
            let Some(given) = target.entry(field) else { continue };
            selectors += 1;
            if !fits {
                let message = format!("`{}` cannot be aimed at {field}", fault.name);
                let remedy = format!("aim it at {}", aims(fault));
                report.error(codes::TARGET, (&format!("{path}.{field}"), given.key_span), &message, &remedy);
            }
        }
        let zone = target.entry("zone");
        if selectors == 0 {
            match zone {
                None => {
                    let remedy = format!("aim it at {}", aims(fault));
                    report.error(
                        codes::TARGET,
                        (&path, entry.key_span),
                        "the target names nothing to aim at",
                        &remedy,
                    );
                }
                Some(zone) if !takes(TargetKind::Zone) && !takes(TargetKind::Nodes) => {
                    let message = format!("`{}` cannot be aimed at a whole zone", fault.name);
                    let remedy = format!("aim it at {}; zone beside it narrows it down", aims(fault));
                    report.error(codes::TARGET, (&format!("{path}.zone"), zone.key_span), &message, &remedy);
                }
                Some(_) => {}
            }
        }
        self.narrowing(fault, target, &path, report);
    }

    /// `count`, `namespace` and workload types that mean nothing to this fault.
    fn narrowing(&self, fault: &FaultInfo, target: &Node, path: &str, report: &mut Report<'_>) {
        if let Some((count, whole)) = target.entry("count").zip(whole(fault)) {
            let message = format!("`{}` changes {whole} as a whole; there is nothing to count", fault.name);
            report.error(codes::TARGET, (&format!("{path}.count"), count.key_span), &message, "leave it out");
        }
        let follows = target.get("follow").and_then(Node::boolean) == Some(true);
        if let Some(follow) =
            target.entry("follow").filter(|_| follows && fault.lifetime == Lifetime::Instant)
        {
            let message =
                format!("`{}` is over as soon as it is seen: what is born later is not hit", fault.name);
            let remedy = "leave it out; repeat hits again and again";
            report.error(codes::TARGET, (&format!("{path}.follow"), follow.key_span), &message, remedy);
        }
        let namespaced = ["pods", "workload", "nodesRunning"].iter().any(|field| target.get(field).is_some());
        if let Some(namespace) = target.entry("namespace").filter(|_| !namespaced) {
            let message = "nodes are in no namespace";
            report.error(
                codes::TARGET,
                (&format!("{path}.namespace"), namespace.key_span),
                message,
                "leave it out",
            );
        }
        let kind = target.get("workload").and_then(Node::text).and_then(workload_type);
        let scales = fault.writes.contains(&"spec.replicas");
        if let Some(workload) = target.get("workload").filter(|_| scales && kind == Some("daemonset")) {
            let message = format!("a DaemonSet has no replicas that `{}` could change", fault.name);
            report.error(codes::TARGET, (&format!("{path}.workload"), workload.span), &message, "");
        }
    }
}

/// `pods or workload`.
fn aims(fault: &FaultInfo) -> String {
    let mut names: Vec<&str> = fault
        .targets
        .iter()
        .map(|kind| match kind {
            TargetKind::Pods => "pods",
            TargetKind::WorkloadPods | TargetKind::Workload => "a workload",
            TargetKind::Nodes => "nodes",
            TargetKind::NodesRunning => "nodesRunning",
            TargetKind::Zone => "a zone",
        })
        .collect();
    names.dedup();
    names.join(" or ")
}

fn checked(node: &Node, path: &str, probes: &Probes<'_>, report: &mut Report<'_>) {
    let Some((at, name)) = node.get("probe").and_then(|at| Some((at, at.text()?))) else { return };
    let below = format!("{path}.check");
    let Some(probe) = named(probes, (&format!("{below}.probe"), at.span, name), report) else { return };
    match (node.get("expect"), &probe.variables) {
        (Some(expect), Some(variables)) => {
            judge(expect, variables, probe.has_value, &format!("{below}.expect"), report);
        }
        (None, Some(_)) if !probe.has_expect => {
            let message = format!("neither the check nor the probe `{name}` says what to expect");
            report.error(codes::MISSING_FIELD, (&below, at.span), &message, "add expect to the check");
        }
        _ => {}
    }
}

fn reverted(
    node: &Node,
    step: &Step<'_>,
    (all, earlier): (&[String], &mut BTreeMap<String, Earlier>),
    report: &mut Report<'_>,
) {
    let Some(name) = node.text() else { return };
    let path = format!("{}.revert", step.path);
    let mut error = |message: String, remedy: &str| {
        report.error(codes::REFERENCE, (&path, node.span), &message, remedy);
    };
    let Some(found) = earlier.get_mut(name).filter(|found| found.index < step.index) else {
        if all.iter().any(|other| other == name) {
            return error(format!("the step `{name}` has not begun yet"), "revert what stands before it");
        }
        let remedy = match nearest(name, all.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => String::new(),
        };
        return error(format!("there is no step `{name}`"), &remedy);
    };
    match found.kind {
        Some(Kind::Instant) => {
            error(format!("`{name}` is over as soon as it is seen"), "there is nothing to revert")
        }
        Some(Kind::NoFault) => error(format!("`{name}` is no fault"), "there is nothing to revert"),
        Some(Kind::Foreground) => {
            error(format!("`{name}` is over when the next step begins"), "give it background: true");
        }
        Some(Kind::Background) if found.reverted => error(format!("`{name}` has been reverted already"), ""),
        Some(Kind::Background) | None => found.reverted = true,
    }
}

/// What the steps take at the least has to fit into `limits.duration`.
fn least(spec: &Node, steps: &[Node], report: &mut Report<'_>) {
    let limit_node = spec.at(&["limits", "duration"]);
    let limit = length(limit_node).unwrap_or(Length::from_secs(3600));
    let foreground = |step: &&Node| step.get("background").and_then(Node::boolean) != Some(true);
    let takes = |step: &Node| {
        let waits = length(step.get("wait")).map_or(Duration::ZERO, |length| length.0);
        let lasts = length(step.get("duration")).map_or(Duration::ZERO, |length| length.0);
        let holds = length(step.at(&["check", "for"])).map_or(Duration::ZERO, |length| length.0);
        let repeats = length(step.at(&["repeat", "for"])).map_or(Duration::ZERO, |length| length.0);
        waits.saturating_add(lasts).saturating_add(holds).saturating_add(repeats)
    };
    let sum = steps.iter().filter(foreground).map(takes).fold(Duration::ZERO, Duration::saturating_add);
    if sum > limit.0 {
        let span = limit_node.map_or_else(
            || spec.entry("method").map(|entry| entry.key_span).unwrap_or_default(),
            |node| node.span,
        );
        let message =
            format!("the steps take {} at the least, longer than limits.duration, {limit}", Length(sum));
        report.error(
            codes::ORDER,
            ("spec.limits.duration", span),
            &message,
            "raise the limit or shorten the steps",
        );
    }
}
