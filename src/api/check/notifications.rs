//! What only the meaning of a notification can tell: whether anything could be posted as it says.

use http::{HeaderName, HeaderValue, Uri, header};

use crate::api::yaml::Node;
use crate::env::{is_forbidden, literal_address};
use crate::types::codes::{format as codes, guard};

use super::report::Report;

/// Headers whose values are credentials.
const CREDENTIALS: [HeaderName; 3] = [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::COOKIE];
/// Headers that follow from what is sent and where.
const OURS: [HeaderName; 7] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::HOST,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
/// Where Slack's webhooks are: the rest of such a URL is all that one needs to post.
const SLACK: &str = "hooks.slack.com";

/// Holds addresses and headers of a GameDay's notifications against what can be posted.
pub(super) fn check(spec: &Node, report: &mut Report<'_>) {
    for (index, one) in items(spec, "notifications").iter().enumerate() {
        let Some(webhook) = one.get("webhook") else { continue };
        let path = format!("spec.notifications[{index}].webhook");
        if let Some(url) = webhook.get("url") {
            address(url, &format!("{path}.url"), report);
        }
        for (number, header) in items(webhook, "headers").iter().enumerate() {
            self::header(header, &format!("{path}.headers[{number}]"), report);
        }
    }
}

fn items<'a>(node: &'a Node, list: &str) -> &'a [Node] {
    node.get(list).map(Node::items).unwrap_or_default()
}

fn address(node: &Node, path: &str, report: &mut Report<'_>) {
    // What does not even look like one was told already.
    let Some(text) = node.text().filter(|_| !report.refused_at(node.span)) else { return };
    let read: Option<Uri> = text.parse().ok();
    let Some(url) = read.filter(|url: &Uri| url.host().is_some_and(|host| !host.is_empty())) else {
        let remedy = "write it as https://HOST/PATH";
        return report.error(codes::FORM, (path, node.span), "the URL cannot be read", remedy);
    };
    if let Some(address) = literal_address(&url).filter(|address| is_forbidden(*address)) {
        let message = format!("{address} is a link-local address, as those of cloud metadata are");
        let remedy = "name the service itself; nothing opens this";
        return report.error(guard::LOAD_ADDRESS, (path, node.span), &message, remedy);
    }
    if url.host().is_some_and(|host| host.eq_ignore_ascii_case(SLACK)) {
        let remedy = "keep it in a Secret: slack: {webhookURL: {secretKeyRef: {name: NAME, key: KEY}}}";
        report.error(codes::SECRET, (path, node.span), "the URL of a Slack webhook is a secret", remedy);
    }
}

fn header(node: &Node, path: &str, report: &mut Report<'_>) {
    let Some(name) = node.get("name") else { return };
    let Some(known) = name.text().and_then(|text| text.parse::<HeaderName>().ok()) else { return };
    if OURS.contains(&known) {
        let message = format!("the header {known} follows from what is sent");
        report.error(codes::FORM, (&format!("{path}.name"), name.span), &message, "leave it out");
    }
    let Some(value) = node.get("value") else { return };
    let Some(text) = value.text() else { return };
    let path = format!("{path}.value");
    if CREDENTIALS.contains(&known) {
        let remedy = "write valueFrom: {secretKeyRef: {name: NAME, key: KEY}}";
        report.error(codes::SECRET, (&path, value.span), "a secret stands in the file", remedy);
    } else if HeaderValue::from_str(text).is_err() {
        let message = format!("the value of header {known} cannot be sent");
        report.error(
            codes::FORM,
            (&path, value.span),
            &message,
            "write it in one line, without control characters",
        );
    }
}
