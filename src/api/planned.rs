//! What the format has and this version does not do yet: part of every schema, refused by name.
//!
//! From the tables of faults and probes of the reference (format.md, sections 2 and 3). An entry goes
//! when the fault or probe of that name is registered; a test says which ones are superfluous.

use crate::types::FieldSchema;

/// A fault or probe that is not built yet.
#[derive(Debug)]
pub struct Planned {
    /// As written in files.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// Its fields.
    pub fields: &'static [FieldSchema],
    /// For faults: over at once, so that it takes no duration.
    pub instant: bool,
}

/// The planned fault of that name.
pub fn fault(name: &str) -> Option<&'static Planned> {
    FAULTS.iter().find(|planned| planned.name == name)
}

/// The planned probe of that name.
pub fn probe(name: &str) -> Option<&'static Planned> {
    PROBES.iter().find(|planned| planned.name == name)
}

const fn field(name: &'static str, schema: &'static str, description: &'static str) -> FieldSchema {
    FieldSchema { name, description, required: false, default: None, schema }
}

const fn required(field: FieldSchema) -> FieldSchema {
    FieldSchema { required: true, ..field }
}

const fn with_default(field: FieldSchema, default: &'static str) -> FieldSchema {
    FieldSchema { default: Some(default), ..field }
}

const fn lasting(name: &'static str, summary: &'static str, fields: &'static [FieldSchema]) -> Planned {
    Planned { name, summary, fields, instant: false }
}

const COUNT: &str = r#"{"type":"integer","minimum":1,"maximum":100000}"#;
const PORT: &str = r#"{"type":"integer","minimum":1,"maximum":65535}"#;
const QUANTITY: &str =
    r#"{"type":"string","minLength":1,"maxLength":32,"pattern":"^[0-9]+(\\.[0-9]+)?([KMGTPE]i?|[mkunE])?$"}"#;
const PATH: &str = r#"{"type":"string","minLength":1,"maxLength":1024,"pattern":"^/"}"#;

const TO: FieldSchema = field("to", "peers", "Peers of outgoing traffic.");
const FROM: FieldSchema = field("from", "peers", "Peers of incoming traffic. Neither to nor from: all.");
const PORTS: FieldSchema = field("ports", "ports", "Ports and ranges such as 8000-8100. Default: all.");
const PROTOCOL: FieldSchema =
    field("protocol", r#"{"type":"string","enum":["TCP","UDP","SCTP","ICMP"]}"#, "Protocol. Default: all.");
const SHARE: FieldSchema = required(field("share", "percent", "The share of packets that is hit."));
const CONTAINER: FieldSchema = field("container", "label", "Name of the container. Default: the first.");

/// The faults.
pub static FAULTS: &[Planned] = &[
    lasting(
        "cpuStress",
        "Burn CPU within the pods' own limits.",
        &[
            field("cores", COUNT, "How many cores. Exactly one of cores and load."),
            field("load", "percent", "What share of the pod's CPU."),
            CONTAINER,
        ],
    ),
    lasting(
        "diskFill",
        "Fill a file system of the pods.",
        &[
            required(field("path", PATH, "Where.")),
            field("size", QUANTITY, "How much. Exactly one of size and share."),
            field("share", "percent", "What share of it."),
            CONTAINER,
        ],
    ),
    lasting(
        "diskIO",
        "Load a disk of the pods.",
        &[
            required(field("path", PATH, "Where.")),
            with_default(field("readers", COUNT, "Readers at once."), "1"),
            with_default(field("writers", COUNT, "Writers at once."), "1"),
            with_default(field("blockSize", QUANTITY, "Size of one block."), "4Ki"),
            CONTAINER,
        ],
    ),
    lasting(
        "dnsFault",
        "Answer DNS names wrongly.",
        &[
            required(field("names", "texts", "Names, or *. and a domain.")),
            required(field(
                "answer",
                r#"{"type":"string","enum":["NXDomain","ServFail","Refused","Timeout","Address"]}"#,
                "What is answered.",
            )),
            field("address", "text", "The address, for Address."),
            with_default(field("delay", "duration", "How late."), "0s"),
        ],
    ),
    lasting(
        "httpFault",
        "Answer HTTP requests wrongly or late.",
        &[
            required(field("port", PORT, "Port of the pods.")),
            field(
                "match",
                r#"{"type":"object","properties":{"method":{"type":"string","maxLength":16,"description":"Method."},"path":{"type":"string","maxLength":1024,"description":"Prefix of the path."},"host":{"type":"string","maxLength":253,"description":"Host."}}}"#,
                "Which requests. Default: all.",
            ),
            field(
                "abort",
                r#"{"type":"object","required":["status"],"properties":{"status":{"type":"integer","minimum":100,"maximum":599,"description":"Status code."}}}"#,
                "Answer with this status.",
            ),
            field("delay", "duration", "Answer so much later."),
            with_default(field("share", "percent", "The share of requests that is hit."), "100%"),
        ],
    ),
    lasting(
        "memoryStress",
        "Use up memory within the pods' own limits.",
        &[
            field("size", QUANTITY, "How much. Exactly one of size and share."),
            field("share", "percent", "What share of the limit."),
            CONTAINER,
        ],
    ),
    lasting(
        "networkBandwidth",
        "Narrow the network of pods.",
        &[TO, FROM, PORTS, PROTOCOL, required(field("rate", QUANTITY, "Bits per second, such as 10M."))],
    ),
    lasting("networkCorruption", "Corrupt packets.", &[TO, FROM, PORTS, PROTOCOL, SHARE]),
    lasting("networkDuplication", "Send packets twice.", &[TO, FROM, PORTS, PROTOCOL, SHARE]),
    lasting(
        "networkReordering",
        "Deliver packets out of order.",
        &[
            TO,
            FROM,
            PORTS,
            PROTOCOL,
            SHARE,
            with_default(field("delay", "duration", "How long a packet is held."), "10ms"),
        ],
    ),
];

/// The probes.
pub static PROBES: &[Planned] = &[lasting(
    "command",
    "A command of the person's machine; command line only, with --allow-commands.",
    &[required(field("command", "texts", "Program and arguments."))],
)];
