//! FD1xxx: what is wrong with a file.

use crate::types::{Code, CodeInfo};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $title:literal, $standard:literal, $discovery:literal, $resolution:literal;)*) => {
        $($(#[$doc])* #[doc = $title] pub const $name: Code = Code::new($code);)*

        /// The family, in order.
        pub static CODES: &[CodeInfo] = &[$(CodeInfo {
            code: $name,
            title: $title,
            standard: $standard,
            discovery: $discovery,
            resolution: $resolution,
        },)*];
    };
}

codes! {
    TEXT = "FD1001", "the text cannot be read",
        "YAML 1.2.2 section 5.2: UTF-8 here; at most 1 MiB, 64 levels, 256 documents.",
        "The bytes are decoded and counted before anything else.",
        "Save as UTF-8; split what is too large into several files.";
    SYNTAX = "FD1002", "the text is not YAML",
        "YAML 1.2.2; tabs may not indent.",
        "The YAML parser stops there; what follows in this file is not looked at.",
        "Mend the place that is underlined, or the line before it.";
    DUPLICATE_KEY = "FD1003", "the same key twice in one map",
        "YAML 1.2.2 section 3.2.1.3: keys are unique. kubectl refuses it, other clients take the last one in silence.",
        "Keys of a map are compared while it is read.",
        "Keep one of the two.";
    YAML_FEATURE = "FD1004", "a feature of YAML without a meaning here",
        "Merge keys belong to YAML 1.1; tags and keys that are not text have no counterpart in JSON, which the API server speaks.",
        "Merge keys (<<), tags and keys that are lists or maps are recognised while reading.",
        "Write the fields out; an alias for a whole value is understood.";
    ALIAS = "FD1005", "an alias that cannot be expanded",
        "Aliases may expand to 10,000 values in one file (CVE-2019-11253), and never to themselves.",
        "Aliases are counted and followed while reading.",
        "Write the value out.";
    NUMBER = "FD1006", "a number that cannot be kept",
        "JSON has neither NaN nor infinity; whole numbers have 64 bits.",
        "Plain scalars that look like numbers are converted while reading.",
        "Write a number within the range, or put quotes around what is text.";
    AMBIGUOUS = "FD1007", "YAML readers differ about this value",
        "YAML 1.1 reads yes, no, on, off, 012, 1_000 and 12:30 otherwise than YAML 1.2; kubectl's reader is one of the former.",
        "Plain scalars are compared with what YAML 1.1 makes of them.",
        "Put quotes around text; write true, false and plain decimal numbers.";
    KIND = "FD1010", "apiVersion or kind is not firedrill's",
        "Kubernetes API conventions: both are case-sensitive. Here firedrill.dev/v1alpha1 and Experiment, GameDay, Run, Guardrail.",
        "Both fields are compared before anything else of a document.",
        "Take the name that is offered.";
    METADATA = "FD1011", "metadata does not name the object",
        "RFC 1123 names; Kubernetes docs, Object Names and IDs. A name is also a label's value, hence at most 63 characters.",
        "metadata.name and metadata.namespace are held against the kind.",
        "Give a name of lower-case letters, digits and dashes; a namespace only to kinds that have one.";
    SAME_OBJECT = "FD1012", "the same object twice",
        "An object is its kind, namespace and name; the second apply would overwrite the first.",
        "Kind, namespace and name of all documents of all files are compared.",
        "Rename one, or leave one out.";
    FOREIGN = "FD1013", "a document that is not firedrill's",
        "Folders often hold other manifests beside experiments.",
        "apiVersion names another API group.",
        "Nothing, if it is meant to be there: it is left alone.";
    UNKNOWN_FIELD = "FD1020", "a field that does not exist",
        "Strict decoding, as kubectl asks for by default; other clients have unknown fields pruned in silence.",
        "Every key is looked up in the schema; the nearest name within two edits is offered.",
        "Take the name that is offered, or look with firedrill explain.";
    MISSING_FIELD = "FD1021", "a field is missing",
        "The schema of the format, which is also the CRD's.",
        "Required fields are looked for in every map.",
        "Add it; firedrill explain says what it is for.";
    TYPE = "FD1022", "a value of the wrong type",
        "The schema of the format, which is also the CRD's.",
        "The value's type is compared with the schema's.",
        "Write what is asked for; text that looks like a number or a boolean needs quotes.";
    CHOICE = "FD1023", "not one of the values there are",
        "Enumerations are case-sensitive, CamelCase as in the Kubernetes API.",
        "The value is compared with the list.",
        "Take one of the list.";
    FORM = "FD1024", "a text of the wrong form",
        "RFC 1123 for names, TYPE[.GROUP]/NAME as kubectl for workloads, RFC 3986 for URLs.",
        "The text is held against the pattern that the CRD has too.",
        "Write it in the form that is named.";
    RANGE = "FD1025", "too small, too large, too long or too many",
        "The bounds keep the API server's CEL cost and the size of objects in hand (format.md, section 11).",
        "Numbers, lengths and counts are compared with the schema's bounds.",
        "Stay within the bounds; split what is too large.";
    NO_VALUE = "FD1026", "a key without a value",
        "kube-apiserver drops null fields of custom resources: a step would lose its fault in silence.",
        "A key whose value is null is recognised while checking.",
        "Write {} for \"with all defaults\", or leave the key out.";
    NOT_YET = "FD1027", "part of the format, and not supported yet",
        "The format is fixed from the start; what is not built is refused by name and never ignored.",
        "The schema marks what this version does not do.",
        "Leave it out, or use a version that has it.";
    ONE_OF = "FD1028", "exactly one of several is asked for",
        "External tags, as Kubernetes has them for volumes and probes.",
        "The keys of the map are counted.",
        "Keep one; make several steps or probes of it.";
    TOGETHER = "FD1029", "fields that do not go together",
        "Each field says what it belongs to; one that has no effect is never meant.",
        "Fields are compared with each other.",
        "Leave out what has no meaning there, or add what it needs.";
    DURATION = "FD1030", "not a duration, or none that makes sense",
        "Go's time.ParseDuration, as Kubernetes users type it; time runs forwards.",
        "Durations are parsed; zero is refused where it would mean nothing.",
        "Write numbers with units: 30s, 1m30s, 200ms.";
    AMOUNT = "FD1031", "not a count or percentage that makes sense",
        "intstr as Kubernetes has it for maxUnavailable; 0 selects nothing, more than 100% is more than there is.",
        "Counts and percentages are parsed and compared with their bounds.",
        "Write 1 or more, 1% to 100%, or all where it is offered.";
    ORDER = "FD1032", "values that contradict each other",
        "A time-out ends before the next measurement begins; what is planned fits into its limit.",
        "Values that depend on each other are compared, defaults included.",
        "Change one of the two.";
    SELECTOR = "FD1033", "a selector that selects everything",
        "In Kubernetes an empty selector is everything; aimed at, that is never meant (krkn #1337).",
        "Selectors of targets and peers are looked at for a label or an expression.",
        "Name a label; all of a namespace can be a label of its own.";
    SAMPLING = "FD1034", "decided by a single sample",
        "Prometheus: an alert's for spans several evaluations; a window needs two points.",
        "for and window are compared with every.",
        "Lengthen it, or measure more often.";
    TARGET = "FD1041", "a target that does not fit",
        "Each fault lists what it can be aimed at; anything else has no target.",
        "target is compared with the fault of its step.",
        "Aim at what is listed; firedrill explain experiment.method.target.";
    STEP_DURATION = "FD1042", "a duration where there is none, or none where there has to be one",
        "Instant faults are over when seen; lasting ones need an end: duration, or background until revert or the end.",
        "duration is compared with the fault's lifetime.",
        "Add duration or background: true; take duration from what is over at once.";
    SAME_NAME = "FD1043", "the same name twice",
        "Steps and probes are referred to by name, in revert, check, status and reports.",
        "Names of a list are compared, those of unnamed steps (step-3) included.",
        "Rename one.";
    REFERENCE = "FD1044", "a reference to something that is not there",
        "check names a probe; revert names a background step before it; a game day names experiments and their parameters.",
        "Names are looked up in the same file; those of experiments also in what else was read, and in the files beside.",
        "Take the name that is offered, or declare it.";
    PARAMETER = "FD1045", "a parameter without a value, or with one that does not fit",
        "Values from outside go into queries and names: each has a pattern that it has to match as a whole.",
        "The declared parameters are compared with what is given.",
        "Give it with --param NAME=VALUE, or declare a default; widen pattern if the value is meant.";
    SAME_FIELD = "FD1046", "two steps hold the same field at the same time",
        "A change is put back to what was there before it; with two of one field in force neither before is what the other may go back to.",
        "Targets that are the same for certain, and whether the earlier step is over by then: by its duration and what the steps between take at the least, or by revert.",
        "Put `revert: STEP` before the later one, let the earlier one end in time, or make one step of the two.";
    SCHEDULE = "FD1047", "a schedule that is none, or that never comes",
        "Five fields of cron as vixie cron reads them, without @every and its like; the whole of a game day fits into its windows.",
        "The fields are read, held against the calendar (no month has 31 February), and 400 times of it against the windows.",
        "Write minute, hour, day, month and day of the week; move the schedule or the windows, or lower limits.duration.";
    CEL = "FD1050", "an expression that does not compile",
        "CEL (cel.dev) with Kubernetes' strings, lists and quantities; value is a double, times are seconds.",
        "Expressions are compiled against the variables of their probe.",
        "Mend what is underlined; firedrill explain experiment.steadyState.KIND lists the variables.";
    CEL_RESULT = "FD1051", "an expression of the wrong kind",
        "expect and during are true or false; value is a number.",
        "The type of the result is inferred where it can be.",
        "Compare with something, or take the number itself.";
    CEL_SUSPICIOUS = "FD1052", "an expression that is probably not meant",
        "CEL divides whole numbers to whole numbers: 3 / 4 is 0.",
        "Types are inferred where they can be.",
        "Write double(…) around one of the two.";
    PROMQL = "FD1053", "a query that does not parse",
        "PromQL as of Prometheus 3.",
        "The query is parsed and its types are checked; it is not run.",
        "Try the query in Prometheus' own console.";
    NOTHING_JUDGED = "FD1060", "nothing is judged",
        "A hypothesis needs something that can fail (Principles of Chaos: build a hypothesis around steady state).",
        "The probes that are not Informational are counted.",
        "Add a probe with expect, or change a role.";
    SECRET = "FD1061", "a secret stands in the file",
        "CWE-798: secrets belong into Secrets; files are kept in version control.",
        "A text stands where a reference to a Secret is asked for, or a URL holds a password.",
        "Refer to it: {secretKeyRef: {name: NAME, key: KEY}}. Consider the secret known.";
}
