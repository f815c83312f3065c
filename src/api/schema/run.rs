//! Run: format.md, section 8.

use super::build::*;
use super::{Column, Field, KindSchema, Merge, Schema, shared};
use crate::types::codes::format as codes;

pub fn kind() -> KindSchema {
    KindSchema {
        kind: "Run",
        plural: "runs",
        short_names: &[],
        namespaced: true,
        description: "One execution of an Experiment or a GameDay. Creating it starts it; spec.abort stops it.",
        spec: spec(),
        status: status(),
        columns: &[
            Column { name: "Subject", kind: "string", path: ".status.subject", wide: false },
            Column { name: "Phase", kind: "string", path: ".status.phase", wide: false },
            Column { name: "Step", kind: "string", path: ".status.currentStep", wide: false },
            Column { name: "Verdict", kind: "string", path: ".status.verdict", wide: false },
            Column { name: "RTO", kind: "string", path: ".status.measured.rto", wide: false },
            Column { name: "Recovery", kind: "string", path: ".status.measured.recovery", wide: false },
            Column { name: "Residue", kind: "integer", path: ".status.residue.count", wide: false },
            Column { name: "Reason", kind: "string", path: ".status.reason", wide: true },
            Column { name: "Requested-By", kind: "string", path: ".spec.requestedBy", wide: true },
            Column { name: "Seed", kind: "integer", path: ".status.seed", wide: true },
            Column { name: "Age", kind: "date", path: ".metadata.creationTimestamp", wide: false },
        ],
    }
}

/// A field that cannot change once the Run is created.
fn fixed(mut made: Field) -> Field {
    made.schema = made.schema.rule("self == oldSelf", "a Run's spec is fixed once it is created");
    made
}

fn approval() -> Schema {
    object(vec![
        field("by", "Who.", words(253)).required(),
        field("hash", "What was approved: status.hash.", words(128)).required(),
        field("time", "When.", time()).required(),
        field("comment", "Why.", text(1024)),
    ])
}

fn answer() -> Schema {
    object(vec![
        field("name", "EXPERIMENT/STEP.", words(127)).required(),
        field(
            "action",
            "Confirm or Fail a manual step or gate, Skip a step that has not begun.",
            choice(&["Confirm", "Fail", "Skip"]),
        )
        .required(),
        field("by", "Who.", words(253)).required(),
        field("time", "When.", time()).required(),
        field("comment", "Why.", text(1024)),
    ])
}

fn note() -> Schema {
    let day = pattern("^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$", "a day such as 2026-12-15", 10);
    let action = object(vec![
        field("owner", "Who does it.", words(253)),
        field("due", "Until which day.", day),
        field("done", "true: the item of the same words is done.", boolean()).default("false"),
    ])
    .checked(
        codes::TOGETHER,
        "(has(self.done) && self.done) || (has(self.owner) && has(self.due))",
        "an action item says who does it, and until when: owner and due",
    );
    object(vec![
        field("by", "Who.", words(253)).required(),
        field("time", "When.", time()).required(),
        field("text", "What was observed, or is to be done.", words(4096)).required(),
        field("action", "Makes it an action item.", action),
    ])
}

fn spec() -> Schema {
    let grows = |schema: Schema, what: &str| {
        schema.rule("oldSelf.all(x, x in self)", &format!("{what} may only grow"))
    };
    let fixed_names = [
        "gameDayRef",
        "experimentRef",
        "parameters",
        "seed",
        "serviceAccountName",
        "startTime",
        "startingDeadline",
        "ttlAfterFinished",
        "requestedBy",
    ];
    let mut spec = object(vec![
        fixed(field("gameDayRef", "The GameDay.", shared::reference("GameDay"))),
        fixed(field("experimentRef", "The Experiment.", shared::reference("Experiment"))),
        fixed(field("parameters", "Values of its parameters.", shared::parameters())),
        fixed(field("seed", "Fixes every choice. Default: random, see status.seed.", integer(0, i64::MAX))),
        fixed(
            field("serviceAccountName", "The controller acts as this ServiceAccount.", subdomain())
                .default("the files' own"),
        ),
        fixed(field("startTime", "Not before.", time()).default("now")),
        fixed(
            field("startingDeadline", "Later than this after startTime it is refused.", positive())
                .default("30m"),
        ),
        fixed(field(
            "ttlAfterFinished",
            "Then Run and journal are deleted, never with residue. Default: never.",
            positive(),
        )),
        fixed(field("requestedBy", "Who asked; set at admission.", text(253))),
        field("abort", "true reverts everything; cannot be taken back.", boolean()).default("false"),
        field("hold", "true: no new step starts; faults in force keep their durations.", boolean())
            .default("false"),
        field(
            "approvals",
            "Who agreed; may only grow.",
            // With the time among the keys, so that somebody can agree once more when it has run out.
            grows(list(approval(), 0, 32, Merge::Map(&["by", "hash", "time"])), "approvals"),
        ),
        field(
            "steps",
            "Answers to manual steps and gates; may only grow.",
            grows(list(answer(), 0, 256, Merge::Map(&["name"])), "steps"),
        ),
        field("notes", "Observations; may only grow.", grows(list(note(), 0, 100, Merge::Atomic), "notes")),
    ])
    .exactly_one(&["gameDayRef", "experimentRef"], "a Run takes exactly one of gameDayRef, experimentRef")
    .rule(
        "!has(oldSelf.abort) || !oldSelf.abort || (has(self.abort) && self.abort)",
        "abort cannot be taken back",
    );
    for name in ["approvals", "steps", "notes"] {
        let rule = format!("!has(oldSelf.{name}) || has(self.{name})");
        spec = spec.rule(&rule, &format!("{name} may only grow"));
    }
    for name in fixed_names {
        let rule = format!("has(self.{name}) == has(oldSelf.{name})");
        spec = spec.rule(&rule, "a Run's spec is fixed once it is created");
    }
    spec
}

const PHASES: &[&str] = &[
    "Pending",
    "AwaitingApproval",
    "Baseline",
    "Injecting",
    "Observing",
    "Reverting",
    "Recovering",
    "Finished",
    "Stuck",
];
const VERDICTS: &[&str] = &["Passed", "Failed", "Inconclusive", "Aborted", "NotSteady", "Refused", "Skipped"];

fn count() -> Schema {
    integer(0, i64::MAX)
}

fn residue() -> Schema {
    object(vec![
        field("apiVersion", "API version of the object.", text(253)),
        field("kind", "Its kind.", text(63)),
        field("namespace", "Its namespace.", text(63)),
        field("name", "Its name.", text(253)),
        field("what", "What is left.", text(1024)),
    ])
}

fn part() -> Schema {
    object(vec![
        field("name", "Name in the GameDay.", label()).required(),
        field("phase", "Where it is.", choice(PHASES)),
        field("verdict", "What it meant.", choice(VERDICTS)),
        field("reason", "Why.", text(64)),
        field("startTime", "Beginning.", time()),
        field("completionTime", "End.", time()),
        field("recovery", "Time to recover.", duration()),
        field("rto", "Time to heal.", duration()),
    ])
}

fn measured() -> Schema {
    object(vec![
        field("detection", "First fault to first violation or alert.", duration()),
        field("abort", "Violation to last revert.", duration()),
        field("revert", "The reverts themselves.", duration()),
        field("recovery", "Last fault lifted to steady.", duration()),
        field("rto", "First fault to steady.", duration()),
        field("rpo", "Data lost.", duration()),
    ])
}

fn targets() -> Schema {
    object(vec![
        field("selected", "Chosen.", count()),
        field("inForce", "With a fault in force.", count()),
        field("reverted", "Put back.", count()),
        field("skipped", "Left alone.", count()),
    ])
}

fn status() -> Schema {
    object(vec![
        field("observedGeneration", "The generation that the rest is about.", count()),
        field("subject", "KIND/NAME of what is run.", text(317)),
        field("phase", "Where it is.", choice(PHASES)),
        field("verdict", "What it meant; absent until decided.", choice(VERDICTS)),
        field("reason", "Why, CamelCase and stable.", text(64)),
        field("message", "Why, for people.", text(1024)),
        field(
            "conditions",
            "Accepted, Approved, Steady, FaultsInForce, Restored, Succeeded.",
            shared::conditions(),
        ),
        field("hash", "Hash of what is run.", text(128)),
        field("seed", "The seed that every choice came from.", integer(0, i64::MAX)),
        field(
            "runner",
            "Who runs it.",
            object(vec![
                field("identity", "Name of the runner.", text(317)),
                field("epoch", "Grows with each runner.", count()),
            ]),
        ),
        field("startTime", "Beginning.", time()),
        field("baselineTime", "Baseline held.", time()),
        field("injectionTime", "First fault in force.", time()),
        field("violationTime", "First violation.", time()),
        field("revertedTime", "Last revert verified.", time()),
        field("recoveredTime", "Steady again for good.", time()),
        field("completionTime", "End.", time()),
        field("currentStep", "Where it is, EXPERIMENT/STEP.", text(127)),
        field("measured", "The clocks; absent: not measured.", measured()),
        field("targets", "How many.", targets()),
        field("experiments", "Of a GameDay, each.", named(part(), 32)),
        field(
            "residue",
            "What could not be put back.",
            object(vec![
                field("count", "How many.", count()),
                field("items", "The first ten.", list(residue(), 0, 10, Merge::Atomic)),
            ]),
        ),
        field(
            "findings",
            "The first 16.",
            list(
                object(vec![
                    field("code", "Stable code.", text(16)),
                    field("message", "What.", text(1024)),
                    field("remedy", "What to do about it.", text(1024)),
                ]),
                0,
                16,
                Merge::Atomic,
            ),
        ),
        field(
            "journal",
            "Where the rest is.",
            object(vec![
                field("records", "Records.", count()),
                field("segments", "ConfigMaps.", count()),
                field("bytes", "Bytes.", count()),
            ]),
        ),
    ])
}
