//! What several kinds, faults and probes have in common.

use super::build::*;
use super::{Merge, Schema, Shape};
use crate::types::codes::format as codes;

pub fn metadata() -> Schema {
    let any = || super::build::schema(Shape::Any);
    object(vec![
        field("name", "Name of the object.", subdomain()),
        field("generateName", "Beginning of a name that the API server completes; for Runs.", words(58)),
        field("namespace", "Namespace of the object; else -n, else the context's.", label()),
        field("labels", "Labels; those of an Experiment are copied to its Runs.", texts(64)),
        field("annotations", "Annotations.", texts(256)),
        field("finalizers", "Written by controllers.", list(words(256), 0, 64, Merge::Atomic)),
        field("ownerReferences", "Written by controllers.", any()),
        field("managedFields", "Written by the API server.", any()),
        field("uid", "Written by the API server.", any()),
        field("resourceVersion", "Written by the API server.", any()),
        field("generation", "Written by the API server.", any()),
        field("creationTimestamp", "Written by the API server.", any()),
        field("deletionTimestamp", "Written by the API server.", any()),
        field("deletionGracePeriodSeconds", "Written by the API server.", any()),
        field("selfLink", "Written by old API servers.", any()),
    ])
}

/// A label selector as `metav1.LabelSelector`; `{}` selects everything.
pub fn selector() -> Schema {
    let expression = object(vec![
        field("key", "Key of the label.", words(317)).required(),
        field("operator", "How key and values relate.", choice(&["In", "NotIn", "Exists", "DoesNotExist"]))
            .required(),
        field("values", "For In and NotIn.", list(text(63), 0, 32, Merge::Atomic)),
    ])
    .checked(
        codes::TOGETHER,
        "(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
        "values belong to In and NotIn, and to nothing else",
    );
    object(vec![
        field("matchLabels", "Labels that all have to be there.", texts(32)),
        field(
            "matchExpressions",
            "Conditions that all have to hold.",
            list(expression, 0, 16, Merge::Atomic),
        ),
    ])
}

/// A selector that says something: an empty one would be everything.
pub fn narrow_selector() -> Schema {
    selector().checked(
        codes::SELECTOR,
        "(has(self.matchLabels) && size(self.matchLabels) > 0) || (has(self.matchExpressions) && size(self.matchExpressions) > 0)",
        "an empty selector would be everything",
    )
}

fn key_of(what: &str) -> Schema {
    object(vec![
        field("name", &format!("Name of the {what}."), subdomain()).required(),
        field("key", "Key in it.", words(253)).required(),
    ])
}

/// A value that is kept in a Secret.
pub fn secret() -> Schema {
    object(vec![field("secretKeyRef", "The Secret and the key in it.", key_of("Secret")).required()])
}

/// How to authenticate.
pub fn auth() -> Schema {
    let basic = object(vec![
        field("username", "User name.", words(253)).required(),
        field("password", "Where the password is kept.", secret()).required(),
    ]);
    let token = object(vec![field("audience", "Audience of the token.", text(253)).default("\"\"")]);
    object(vec![
        field("bearerToken", "A bearer token, read with the rights of serviceAccountName.", secret()),
        field("basic", "User name and password.", basic),
        field("serviceAccountToken", "A token of serviceAccountName, by TokenRequest.", token).not_yet(),
    ])
    .exactly_one(
        &["bearerToken", "basic", "serviceAccountToken"],
        "auth takes exactly one of bearerToken, basic, serviceAccountToken",
    )
}

/// TLS settings of a client.
pub fn tls() -> Schema {
    let ca = object(vec![
        field("configMapKeyRef", "A ConfigMap and the key in it.", key_of("ConfigMap")),
        field("secretKeyRef", "A Secret and the key in it.", key_of("Secret")),
    ])
    .exactly_one(
        &["configMapKeyRef", "secretKeyRef"],
        "ca takes exactly one of configMapKeyRef, secretKeyRef",
    );
    object(vec![
        field("ca", "Certificates to trust.", ca).default("the system's roots"),
        field("serverName", "Name expected in the certificate.", text(253)).default("the host of the URL"),
        field("insecureSkipVerify", "Trust any certificate.", boolean()).default("false"),
    ])
}

/// A Service reached through the API server's proxy.
pub fn service() -> Schema {
    object(vec![
        field("name", "Name of the Service.", label()).required(),
        field("namespace", "Its namespace.", label()).default("the file's"),
        field("port", "Its port.", integer(1, 65535)).required(),
        field("scheme", "How to speak to it.", choice(&["http", "https"])).default("http"),
        field("path", "What stands before /api/v1.", text(253)).default("\"\""),
    ])
}

pub fn http_url() -> Schema {
    pattern(r"^https?://[^\s]+$", "a URL that begins with http:// or https://", 1024)
}

/// Peers of network faults; names of hosts mean something to some of them only.
pub fn peers(hosts: bool) -> Schema {
    let host = field(
        "host",
        "A DNS name, resolved when the fault is injected and again while it lasts.",
        words(253),
    );
    let peer = object(vec![
        field("service", "Name of a Service: its ready endpoints.", label()),
        field("workload", "TYPE[.GROUP]/NAME: its pods.", workload()),
        field("pods", "Pods by label.", narrow_selector()),
        field("cidr", "A range of addresses.", words(64)),
        field("except", "Ranges left out of cidr.", list(words(64), 0, 16, Merge::Atomic)),
        if hosts { host } else { host.not_yet() },
        field("namespace", "Where service, workload and pods are.", label()).default("the target's"),
    ])
    .exactly_one(
        &["service", "workload", "pods", "cidr", "host"],
        "a peer takes exactly one of service, workload, pods, cidr, host",
    );
    list(peer, 1, 32, Merge::Atomic)
}

pub fn parameters() -> Schema {
    named(
        object(vec![
            field("name", "Name of the parameter.", words(63)).required(),
            field("value", "Its value.", text(1024)).required(),
        ]),
        32,
    )
}

pub fn reference(what: &str) -> Schema {
    object(vec![
        field("name", &format!("Name of the {what}, in the same namespace."), subdomain()).required(),
    ])
}

pub fn references() -> Schema {
    named(reference("Experiment"), 16)
}

pub fn windows() -> Schema {
    let days = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
    let clock = || pattern("^([01][0-9]|2[0-3]):[0-5][0-9]$", "a time of day in quotes such as \"09:00\"", 5);
    list(
        object(vec![
            field("days", "Days of the week.", list(choice(&days), 1, 7, Merge::Set)).required(),
            field("from", "Beginning, as \"09:00\".", clock()).required(),
            field("to", "End, as \"17:00\".", clock()).required(),
        ])
        .checked(codes::ORDER, "self.from < self.to", "a window begins before it ends"),
        0,
        32,
        Merge::Atomic,
    )
}

pub fn blackouts() -> Schema {
    let day = || {
        pattern(
            "^([0-9]{4}-)?(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$",
            "a day such as 12-24 (every year) or 2026-11-26",
            10,
        )
    };
    named(
        object(vec![
            field("name", "Name of the blackout.", label()).required(),
            field("from", "First day; without a year: every year.", day()).required(),
            field("to", "Last day, included.", day()).required(),
        ])
        .checked(codes::ORDER, "size(self.from) == size(self.to)", "from and to both have a year, or neither")
        .checked(
            codes::ORDER,
            "size(self.from) < 10 || self.from <= self.to",
            "a blackout begins before it ends",
        ),
        64,
    )
}

/// Conditions as `metav1.Condition`.
pub fn conditions() -> Schema {
    list(
        object(vec![
            field("type", "Name of the condition.", words(316)).required(),
            field("status", "Whether it holds.", choice(&["True", "False", "Unknown"])).required(),
            field("reason", "Why, CamelCase and stable.", words(1024)).required(),
            field("message", "Why, for people.", text(32768)).required(),
            field("lastTransitionTime", "Since when.", time()).required(),
            field("observedGeneration", "The generation that it is about.", integer(0, i64::MAX)),
        ]),
        0,
        16,
        Merge::Map(&["type"]),
    )
}

pub fn last_run() -> Schema {
    object(vec![
        field("name", "Name of the Run.", text(253)),
        field("verdict", "Its verdict.", text(32)),
        field("completionTime", "When it was over.", time()),
    ])
}
