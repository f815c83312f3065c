//! Experiment: format.md, section 1.

use super::build::*;
use super::registry::{actions, fault_fields, fault_names, probe_fields, probe_names};
use super::{Column, Field, KindSchema, MAX_PROBES, MAX_STEPS, Merge, Schema, shared};
use crate::api::planned;
use crate::faults::{self, Lifetime};
use crate::types::codes::format as codes;

pub fn kind() -> KindSchema {
    KindSchema {
        kind: "Experiment",
        plural: "experiments",
        short_names: &["exp"],
        namespaced: true,
        description: "A hypothesis, its steady state, what to break, and how far that may go. Applying it starts nothing; a Run does.",
        spec: spec(),
        status: status(),
        columns: &[
            Column {
                name: "Ready",
                kind: "string",
                path: ".status.conditions[?(@.type==\"Ready\")].status",
                wide: false,
            },
            Column { name: "Last-Verdict", kind: "string", path: ".status.lastRun.verdict", wide: false },
            Column { name: "Last-Run", kind: "date", path: ".status.lastRun.completionTime", wide: false },
            Column { name: "Hypothesis", kind: "string", path: ".spec.hypothesis", wide: true },
            Column { name: "Age", kind: "date", path: ".metadata.creationTimestamp", wide: false },
        ],
    }
}

fn spec() -> Schema {
    object(vec![
        field("hypothesis", "What is expected to hold, in one sentence.", words(1024)).required(),
        field(
            "serviceAccountName",
            "The controller acts as this ServiceAccount; the command line acts as you.",
            subdomain(),
        )
        .default("firedrill"),
        field(
            "parameters",
            "Values that a Run or --param may set: $(params.NAME) in texts, params.NAME in CEL.",
            declared(),
        ),
        field(
            "prometheus",
            "Where the queries of prometheus, alert and slo probes are answered. Default: --prometheus, $FIREDRILL_PROMETHEUS, or the controller's own setting.",
            source(),
        ),
        field(
            "steadyStateFrom",
            "Takes the probes of other Experiments of this namespace.",
            shared::references(),
        ),
        field(
            "load",
            "Requests that are sent from before Baseline until recovery is judged.",
            named(load(true), 16),
        ),
        field(
            "steadyState",
            "The probes that say what normal looks like; at least one is judged, here or from steadyStateFrom.",
            named(probe(), MAX_PROBES),
        ),
        field("baseline", "How Baseline goes.", baseline()),
        field(
            "method",
            "The steps, in order. Default: none, a Run then only verifies the steady state.",
            method(),
        ),
        field("objectives", "What is promised.", objectives()),
        field(
            "limits",
            "How far the damage may go at any one moment; a Guardrail may only tighten.",
            limits(),
        ),
        field("onRunnerLoss", "What a survivor does when the runner is lost.", choice(&["Revert", "Resume"]))
            .default("Revert"),
    ])
}

fn declared() -> Schema {
    named(
        object(vec![
            field("name", "Name, camelCase.", pattern("^[a-z][A-Za-z0-9]*$", "a camelCase name", 63))
                .required(),
            field("description", "What it is for.", text(1024)),
            field(
                "default",
                "Its value when none is given. Default: none, then one has to be given.",
                text(1024),
            ),
            field("pattern", "What the whole value has to match.", words(1024))
                .default("^[A-Za-z0-9._:/@-]*$"),
        ]),
        32,
    )
}

fn source() -> Schema {
    object(vec![
        field("server", "URL of a Prometheus.", shared::http_url()),
        field("service", "A Service, reached through the API server's proxy.", shared::service()),
        field("auth", "How to authenticate. Default: not at all.", shared::auth()),
        field("tls", "TLS settings.", shared::tls()),
    ])
    .exactly_one(&["server", "service"], "prometheus takes exactly one of server, service")
}

/// A load of the experiment, or a load step.
fn load(is_named: bool) -> Schema {
    let header = object(vec![
        field("name", "Name of the header.", words(256)).required(),
        field("value", "Its value.", text(1024)),
        field("valueFrom", "Where its value is kept.", shared::secret()),
    ])
    .exactly_one(&["value", "valueFrom"], "a header takes exactly one of value, valueFrom");
    let mut fields: Vec<Field> = Vec::new();
    if is_named {
        fields.push(field("name", "Name of the load, for load probes.", label()).required());
    }
    fields.extend([
        field(
            "from",
            "Who sends it: the runner, or a pod of firedrill's own image in the file's namespace, for as long as the load lasts.",
            choice(&["Runner", "Pod"]),
        )
        .default("Runner"),
        field("url", "What is requested.", shared::http_url()).required(),
        field(
            "requestsPerSecond",
            "How many, open loop: whether or not earlier ones are answered.",
            integer(1, 1_000_000),
        )
        .required(),
        field(
            "arrivals",
            "How they follow each other: evenly, or at random as independent people come.",
            choice(&["Constant", "Poisson"]),
        )
        .default("Constant"),
        field(
            "method",
            "HTTP method.",
            choice(&["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]),
        )
        .default("GET"),
        field("headers", "Headers.", named(header, 32)),
        field("body", "Body.", text(65536)),
        field(
            "protocol",
            "HTTP/1.1, or HTTP/2: by ALPN with https, and with prior knowledge otherwise.",
            choice(&["HTTP1", "HTTP2"]),
        )
        .default("HTTP1"),
        field("rampUp", "How long the rate takes to grow from nothing.", duration()).default("0s"),
        field("timeout", "How long one request may take from when it is due.", positive()).default("5s"),
        field(
            "maxInFlight",
            "Requests waiting at once; one more is not sent and counts as an error.",
            integer(1, 100_000),
        )
        .default("1000"),
    ]);
    object(fields)
}

fn probe() -> Schema {
    let samples = object(vec![
        field("outside", "So many outside are a violation.", integer(1, 1000)).required(),
        field("of", "Of so many last samples.", integer(1, 1000)).required(),
    ])
    .checked(codes::ORDER, "self.outside <= self.of", "outside is at most of");
    let mut fields = vec![
        field("name", "Name, unique among the probes.", label()).required(),
        field("signal", "Its lane in the report.", choice(&["Latency", "Traffic", "Errors", "Saturation"])),
        field("description", "For people.", text(1024)),
    ];
    fields.extend(probe_fields());
    fields.extend([
        field("value", "CEL to a number: what is recorded, charted and compared. Default: the kind's own.", cel()),
        field("expect", "CEL to true or false. Holds in Baseline, and again for recovery. Required but for alert, slo and Informational probes.", cel()),
        field("during", "CEL to true or false. Guards from the first injection until recovery; \"true\" is anything goes.", cel())
            .default("expect"),
        field("every", "How often it is measured; kubernetes also measures on each change.", positive()).default("5s"),
        field("timeout", "How long one measurement may take; at most every.", positive()).default("5s, at most every"),
        field("for", "Continuously outside this long is a violation; 0s: the first sample. Of alert and slo without expect: without data this long.", duration()).default("2 x every"),
        field("samples", "Instead of for: so many of the last samples outside are a violation.", samples),
        field("window", "Gives window.min, max, mean, p50, p95, p99, first, last, count of value over this time.", positive()),
        field("role", "Hypothesis is judged; a violated StopCondition aborts; Informational is only recorded.",
            choice(&["Hypothesis", "StopCondition", "Informational"])).default("Hypothesis"),
        field("onMissing", "What it means when there is no data for as long as for.",
            choice(&["Inconclusive", "Violation", "Ignore"])).default("Inconclusive"),
        field("onViolation", "Whether a violation ends the method; the verdict is Failed all the same.",
            choice(&["Abort", "Continue"])).default("Abort"),
    ]);
    let kinds: Vec<&str> = probe_names().collect();
    object(fields)
        .exactly_one(&kinds, "a probe is exactly one of its kinds")
        .at_most_one(&["for", "samples"], "a probe takes at most one of for, samples")
        .rule(
            "!has(self.timeout) || duration(self.timeout) <= (has(self.every) ? duration(self.every) : duration('5s'))",
            "timeout is at most every",
        )
        .rule(
            "has(self.expect) || has(self.alert) || has(self.slo) || (has(self.role) && self.role == 'Informational')",
            "expect is required, but for alert, slo and Informational probes",
        )
}

fn baseline() -> Schema {
    object(vec![
        field("duration", "How long everything has to be steady.", positive())
            .default("the longest for, at least two samples of each probe"),
        field("within", "How long it may take to become steady first.", duration()).default("0s"),
    ])
}

fn method() -> Schema {
    list(step(), 0, MAX_STEPS, Merge::Atomic).rule(
        "self.all(s, !has(s.name) || self.exists_one(t, has(t.name) && t.name == s.name))",
        "the names of steps are unique",
    )
}

fn step() -> Schema {
    let mut fields = vec![
        field("name", "Name, unique among the steps. Required but for wait.", label()),
        field("description", "For people.", text(1024)),
        field("target", "What the fault is done to; for faults only.", target()),
    ];
    fields.extend(fault_fields());
    let manual = object(vec![
        field("instructions", "What to do, Markdown.", words(8192)).required(),
        field("runbook", "Where more is written.", text(1024)),
        field("timeout", "How long it may take.", positive()).default("1h"),
        field("onTimeout", "What happens then.", choice(&["Fail", "Abort", "Continue"])).default("Fail"),
        field("assume", "How long a rehearsal takes it to last.", duration()).default("5m"),
    ]);
    let check = object(vec![
        field("probe", "A probe of the steady state.", label()).required(),
        field("expect", "CEL to true or false.", cel()).default("the probe's"),
        field("within", "How long it may take to hold.", duration()).default("0s: now"),
        field("for", "How long it then has to hold.", duration()).default("0s: one sample"),
    ]);
    let repeat = object(vec![
        field("every", "How often.", positive()).required(),
        field("times", "How many times.", integer(1, 10_000)),
        field("for", "Or for how long.", positive()),
        field("jitter", "How much a round may be early or late.", duration()).default("0s"),
    ])
    .exactly_one(&["times", "for"], "repeat takes exactly one of times, for");
    let rolling = object(vec![
        field("batch", "How many at once.", bound()).default("1"),
        field("pause", "How long to wait between batches.", duration()).default("0s"),
    ]);
    fields.extend([
        field("wait", "Nothing happens for this long.", positive()),
        field("load", "Requests, for duration.", load(false)),
        field("check", "A probe has to hold.", check),
        field("manual", "A person does something and confirms it.", manual),
        field("revert", "Ends this background step now.", label()),
        field("duration", "How long, from \"seen in force\". Required for lasting faults and load, unless background.", positive()),
        field("background", "Whether the next step begins while this one is in force. Without duration it stays until revert or the end of the method.", boolean())
            .default("false"),
        field("onFailure", "What a failed check or manual step does.", choice(&["Abort", "Continue"])).default("Abort"),
        field("repeat", "Again and again, with targets chosen anew.", repeat),
        field("rolling", "Batch after batch: inject, hold, revert, expect holds again, pause.", rolling),
    ]);
    step_rules(object(fields))
}

/// What a step's fields have to do with each other.
fn step_rules(step: Schema) -> Schema {
    let all = actions();
    let instant = any_of(&of_lifetime(true));
    let lasting = any_of(&of_lifetime(false));
    step
        .exactly_one(&all, "a step is exactly one of a fault, wait, load, check, manual, revert")
        .rule("has(self.wait) || has(self.name)", "a step has a name, unless it is a wait")
        .rule(
            &format!("has(self.target) == ({})", any_of(&fault_names().collect::<Vec<_>>())),
            "a fault has a target, and nothing else has",
        )
        .rule(
            &format!(
                "!(has(self.duration) || (has(self.background) && self.background && !has(self.repeat))) || !({instant} || has(self.wait) || has(self.check) || has(self.revert))"
            ),
            "what is over at once has neither duration nor background, unless it is repeated in the background",
        )
        .rule(
            &format!(
                "has(self.duration) || (has(self.background) && self.background) || !({lasting} || has(self.load))"
            ),
            "what lasts has a duration, or background: true",
        )
        .rule(&format!("!has(self.repeat) || {instant}"), "repeat is for faults that are over at once")
        .rule(
            &format!("!has(self.rolling) || (has(self.target) && !has(self.repeat) && (has(self.duration) || {instant}))"),
            "rolling is for faults, with a duration if they last, and not together with repeat",
        )
        .rule("!has(self.onFailure) || has(self.check) || has(self.manual)", "onFailure belongs to check and manual")
}

/// The faults that are over at once, or those that last.
fn of_lifetime(instant: bool) -> Vec<&'static str> {
    let is_instant = |name: &str| match (faults::find(name), planned::fault(name)) {
        (Some(fault), _) => fault.info().lifetime == Lifetime::Instant,
        (None, Some(planned)) => planned.instant,
        (None, None) => false,
    };
    fault_names().filter(|name| is_instant(name) == instant).collect()
}

/// `has(self.a) || has(self.b)`.
fn any_of(names: &[&str]) -> String {
    names.iter().map(|name| format!("has(self.{name})")).collect::<Vec<_>>().join(" || ")
}

fn target() -> Schema {
    let exclude = object(vec![
        field("selector", "By label.", shared::narrow_selector()),
        field("names", "By name.", list(words(253), 0, 64, Merge::Set)),
    ]);
    object(vec![
        field("pods", "Pods by label.", shared::narrow_selector()),
        field("workload", "TYPE[.GROUP]/NAME, such as deployment/checkout: the workload, or its pods.", workload()),
        field("nodes", "Nodes by label.", shared::narrow_selector()),
        field("nodesRunning", "TYPE/NAME: the nodes that run its pods.", workload()),
        field("zone", "Alone: all its nodes. With another: only what is in that zone.", words(63)),
        field("namespace", "Where pods and workload are.", label()).default("the file's"),
        field("names", "Only objects of these names. Default: all.", list(words(253), 1, 64, Merge::Set)),
        field("exclude", "What is left out before counting. Default: nothing.", exclude),
        field("count", "How many: 2, 50% of the healthy (rounded down, at least 1), or all. Not for faults on a whole workload.", amount())
            .default("1; all for a zone alone"),
        field("follow", "Whether what is born later gets the fault too.", boolean())
            .default("false; true for a zone as a whole"),
    ])
    .at_most_one(&["pods", "workload", "nodes", "nodesRunning"], "a target takes at most one of pods, workload, nodes, nodesRunning")
    .rule(
        "has(self.pods) || has(self.workload) || has(self.nodes) || has(self.nodesRunning) || has(self.zone)",
        "a target names pods, a workload, nodes or a zone",
    )
}

fn objectives() -> Schema {
    let rpo = object(vec![
        field("within", "How much may be lost at most, in time.", positive()).required(),
        field("probe", "The probe whose value is the seconds of data lost.", label()).required(),
    ]);
    object(vec![
        field(
            "recoverWithin",
            "From the last fault lifted to when every expect holds and stays for stableFor.",
            positive(),
        )
        .default("5m"),
        field("stableFor", "How long steady has to last.", duration()).default("the longest for"),
        field(
            "rto",
            "From the first fault in force to when every expect holds again for good, faults still in force or not. Default: measured, not judged.",
            positive(),
        ),
        field(
            "rpo",
            "How much data may be lost: what a probe says, in seconds, when service is back. Default: not judged.",
            rpo,
        ),
        field(
            "detectWithin",
            "From the first fault in force to the first alert. Default: measured, not judged.",
            positive(),
        ),
    ])
}

fn limits() -> Schema {
    object(vec![
        field("pods", "Of the pods any workload wants: not ready, for whatever reason.", bound())
            .default("50%"),
        field(
            "degradedPods",
            "Of the pods any workload wants: slowed, starved or fed errors by this run.",
            bound(),
        )
        .default("100%"),
        field("nodes", "Of all nodes: not ready or unschedulable.", bound()).default("34%"),
        field(
            "duration",
            "First injection to the end of the method; then everything is reverted.",
            positive(),
        )
        .default("1h"),
    ])
}

fn status() -> Schema {
    object(vec![
        field("observedGeneration", "The generation that the rest is about.", integer(0, i64::MAX)),
        field("hash", "Hash of the spec with steadyStateFrom resolved.", text(128)),
        field(
            "conditions",
            "Ready: False says every finding that the API server could not see.",
            shared::conditions(),
        ),
        field("lastRun", "The last Run that finished.", shared::last_run()),
    ])
}
