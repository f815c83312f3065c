//! GameDay: format.md, section 7.

use super::build::*;
use super::{Column, KindSchema, Merge, Schema, shared};
use crate::api::NoticeEvent;
use crate::types::codes::format as codes;

/// What a header may be called (RFC 9110, section 5.6.2).
const TOKEN: &str = "^[-!#$%&'*+.^_`|~0-9A-Za-z]+$";

pub fn kind() -> KindSchema {
    KindSchema {
        kind: "GameDay",
        plural: "gamedays",
        short_names: &["gd"],
        namespaced: true,
        description: "Experiments in order, with a schedule, windows, approvals and people. It makes a Run when its schedule comes due.",
        spec: spec(),
        status: status(),
        columns: &[
            Column { name: "Schedule", kind: "string", path: ".spec.schedule", wide: false },
            Column { name: "Time-Zone", kind: "string", path: ".spec.timeZone", wide: false },
            Column { name: "Suspend", kind: "boolean", path: ".spec.suspend", wide: false },
            Column {
                name: "Ready",
                kind: "string",
                path: ".status.conditions[?(@.type==\"Ready\")].status",
                wide: true,
            },
            Column { name: "Next", kind: "string", path: ".status.nextRun", wide: false },
            Column { name: "Last-Verdict", kind: "string", path: ".status.lastRun.verdict", wide: false },
            Column { name: "Age", kind: "date", path: ".metadata.creationTimestamp", wide: false },
        ],
    }
}

fn experiment() -> Schema {
    object(vec![
        field("name", "Name, unique; the key in a Run's status.", label()).required(),
        field("experimentRef", "The Experiment.", shared::reference("Experiment")).default("{name: <name>}"),
        field("parameters", "Values of its parameters.", shared::parameters()),
        field("pauseBefore", "How long to wait before it.", duration()).default("0s"),
        field("gate", "Manual waits for go/no-go.", choice(&["Automatic", "Manual"])).default("Automatic"),
        field("onFailure", "What anything but Passed does.", choice(&["Stop", "Continue"]))
            .default("spec.onFailure"),
    ])
}

fn prerequisite() -> Schema {
    object(vec![
        field("name", "Name, unique.", label()).required(),
        field(
            "steadyStateFrom",
            "The steady state of this Experiment holds.",
            shared::reference("Experiment"),
        ),
        field(
            "manual",
            "A person confirms it.",
            object(vec![
                field("instructions", "What has to be so, Markdown.", words(8192)).required(),
                field("runbook", "Where more is written.", text(1024)).default("\"\""),
            ]),
        ),
    ])
    .exactly_one(
        &["steadyStateFrom", "manual"],
        "a prerequisite takes exactly one of steadyStateFrom, manual",
    )
}

fn approvals() -> Schema {
    object(vec![
        field("required", "How many.", integer(1, 16)).default("1"),
        field("requestBefore", "How long ahead the Run is created and waits.", positive()).default("24h"),
        field("validFor", "How long an approval holds.", positive()).default("24h"),
    ])
}

fn person() -> Schema {
    let roles = ["Owner", "Coordinator", "Reporter", "Observer", "OnCall", "Contact"];
    object(vec![
        field("role", "Role.", choice(&roles)).required(),
        field("name", "Name.", words(253)).required(),
        field("contact", "How to reach them.", text(253)),
    ])
}

fn spec() -> Schema {
    object(vec![
        field("description", "For people.", text(1024)).default("\"\""),
        field("serviceAccountName", "The controller acts as this ServiceAccount.", subdomain())
            .default("each Experiment's own"),
        field("experiments", "The experiments, in order.", list(experiment(), 1, 32, Merge::Map(&["name"])))
            .required(),
        field(
            "onFailure",
            "Whether anything but Passed ends the game day; residue and Aborted always do.",
            choice(&["Stop", "Continue"]),
        )
        .default("Stop"),
        field(
            "steadyStateFrom",
            "Also judged between experiments; each waits until it holds. Default: none.",
            shared::references(),
        ),
        field("prerequisites", "What has to hold before Baseline. Default: none.", named(prerequisite(), 32)),
        field(
            "schedule",
            "Five fields of cron such as \"0 10 * * TUE\", no @every. In the gap of a change of clocks: at its end; in the fold: once. Default: by hand.",
            cron(),
        ),
        field("timeZone", "IANA time zone of the schedule; required with it.", time_zone()),
        field(
            "cadence",
            "How often it must have run; in days too (90d). Default: none.",
            pattern("^[1-9][0-9]{0,3}(d|h)$", "a number of days or hours such as 90d", 8),
        ),
        field("suspend", "Whether the schedule rests.", boolean()).default("false"),
        field("startingDeadline", "Later than this is missed, and never caught up.", positive())
            .default("30m"),
        field(
            "concurrencyPolicy",
            "What happens when the last one still runs.",
            choice(&["Forbid", "Replace"]),
        )
        .default("Forbid"),
        field(
            "windows",
            "When it may run; the whole of it has to fit. Default: any time.",
            shared::windows(),
        ),
        field("blackouts", "Whole days on which it may not run. Default: none.", shared::blackouts()),
        field("approvals", "Who has to agree. Default: nobody.", approvals()),
        field(
            "people",
            "For the report and the notices. Default: none.",
            list(person(), 0, 64, Merge::Map(&["role", "name"])),
        ),
        field("notifications", "Who is told. Default: nobody.", named(notification(), 16)),
        field(
            "limits",
            "How long the whole of it may take.",
            object(vec![field("duration", "The whole game day.", positive()).default("4h")]),
        ),
        field("runsHistoryLimit", "Runs kept, but never one with residue deleted.", integer(0, 1000))
            .default("52"),
    ])
    .checked(
        codes::TOGETHER,
        "has(self.timeZone) || !(has(self.schedule) || has(self.windows) || has(self.blackouts))",
        "schedule, windows and blackouts need timeZone",
    )
}

fn notification() -> Schema {
    let url = || shared::secret();
    let header = object(vec![
        field(
            "name",
            "Name of the header.",
            pattern(TOKEN, "a header's name of letters, digits and dashes", 256),
        )
        .required(),
        field("value", "Its value.", text(1024)),
        field("valueFrom", "Where its value is kept.", shared::secret()),
    ])
    .exactly_one(&["value", "valueFrom"], "a header takes exactly one of value, valueFrom");
    let webhook = object(vec![
        field("url", "Where to post.", shared::http_url()),
        field("urlFrom", "Where the URL is kept.", url()),
        field("headers", "Headers.", named(header, 16)),
    ])
    .exactly_one(&["url", "urlFrom"], "a webhook takes exactly one of url, urlFrom");
    let slack = object(vec![
        field("webhookURL", "Where the webhook's URL is kept.", url()).required(),
        field("channel", "Channel.", text(80)).default("\"\""),
    ]);
    object(vec![
        field("name", "Name, unique.", label()).required(),
        field(
            "events",
            "Of what. Default: all but ExperimentFinished and ManualStep.",
            list(choice(&NoticeEvent::ALL.map(NoticeEvent::name)), 1, 16, Merge::Set),
        ),
        field("lead", "How long before, for Upcoming.", positive()).default("15m"),
        field("slack", "A Slack webhook.", slack),
        field("webhook", "Any webhook: a JSON object is posted.", webhook),
    ])
    .exactly_one(&["slack", "webhook"], "a notification takes exactly one of slack, webhook")
    .checked(
        codes::TOGETHER,
        "!has(self.lead) || !has(self.events) || 'Upcoming' in self.events",
        "lead is for the event Upcoming, which is not among events",
    )
}

fn status() -> Schema {
    let skipped = || {
        object(vec![
            field("time", "When it would have run.", time()),
            field("reason", "Why it does not.", text(253)),
        ])
    };
    let open = object(vec![
        field("text", "What is to be done.", text(512)),
        field("owner", "Who does it.", text(253)),
        field("due", "Until which day.", text(10)),
        field("run", "The Run in which it was written down last.", text(253)),
        field("time", "When that was.", time()),
    ]);
    object(vec![
        field("observedGeneration", "The generation that the rest is about.", integer(0, i64::MAX)),
        field("hash", "Hash of files, parameters and limits.", text(128)),
        field("conditions", "Ready and Overdue.", shared::conditions()),
        field("nextScheduleTime", "When it runs next.", time()),
        field("nextRun", "The same for people.", text(64)),
        field("nextSkipped", "What is skipped until then.", list(skipped(), 0, 16, Merge::Atomic)),
        field("lastScheduleTime", "The last time that a Run was made for.", time()),
        field("lastSkipped", "The last time that came due and was not run.", skipped()),
        field("active", "Names of unfinished Runs.", list(text(253), 0, 16, Merge::Atomic)),
        field(
            "openActions",
            "Action items of its Runs, also of those that are gone, that nobody has said are done.",
            list(open, 0, 64, Merge::Atomic),
        ),
        field("lastRun", "The last Run that is over, also one that was refused.", shared::last_run()),
        field("lastHeldTime", "When the last one was over that began: what cadence counts.", time()),
        field("lastSuccessfulTime", "When the last one was over that passed.", time()),
    ])
}
