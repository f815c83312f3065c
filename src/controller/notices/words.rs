//! What is posted. Pure.

use serde::Serialize;
use serde_json::{Value, json};

use super::{About, Notice};
use crate::{
    api::{API_VERSION, NoticeEvent, Person},
    controller::status::second,
    types::Verdict,
};

/// The longest words: whoever wants more reads the report.
const WORDS: usize = 2000;
/// Slack's own bound on a header (Slack docs, "Header block").
const HEADER: usize = 150;
/// Slack's own bound on the fields of a section.
const FIELDS: usize = 10;

/// The object that a webhook gets; what does not apply is not there.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    api_version: &'static str,
    kind: &'static str,
    id: String,
    event: NoticeEvent,
    notification: &'a str,
    time: String,
    cluster: &'a str,
    namespace: &'a str,
    game_day: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    run: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    experiment: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    step: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<Verdict>,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
    text: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    hash: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    starts: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    experiments: Vec<Value>,
    #[serde(skip_serializing_if = "<[Person]>::is_empty")]
    people: &'a [Person],
    see: String,
}

/// The JSON of a webhook.
pub(super) fn json(about: &About, notice: &Notice, notification: &str) -> Value {
    let experiments = notice.experiments.iter().map(|one| {
        let mut object = json!({"name": one.name, "verdict": one.verdict});
        if !one.reason.is_empty() {
            object["reason"] = one.reason.clone().into();
        }
        object
    });
    let body = Body {
        api_version: API_VERSION,
        kind: "Notice",
        id: id(about, notice),
        event: notice.event,
        notification,
        time: second(notice.time.unwrap_or_default()),
        cluster: &about.cluster,
        namespace: &about.on.namespace,
        game_day: &about.game_day,
        run: run(about),
        experiment: &notice.experiment,
        step: &notice.step,
        verdict: notice.verdict,
        reason: &notice.reason,
        text: headline(about, notice),
        message: cut(&notice.message, WORDS),
        hash: &notice.hash,
        starts: notice.starts.map(second),
        experiments: experiments.collect(),
        people: &about.people,
        see: see(about, notice),
    };
    serde_json::to_value(body).unwrap_or_default()
}

/// The same of each try: one that was not answered in time may have come all the same.
fn id(about: &About, notice: &Notice) -> String {
    let time = notice.time.unwrap_or_default().as_millisecond();
    let Notice { event, experiment, step, .. } = notice;
    let parts = [about.on.name.as_str(), event.name(), experiment, step];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    format!("{}/{time}", parts.join("/"))
}

/// The Run's name, if there is one.
fn run(about: &About) -> &str {
    if about.on.kind == "Run" { &about.on.name } else { "" }
}

/// How to see more.
fn see(about: &About, notice: &Notice) -> String {
    let namespace = &about.on.namespace;
    match run(about) {
        "" => format!("kubectl get gameday {} -n {namespace}", about.game_day),
        // Of what has not begun there is no report yet.
        run if notice.event == NoticeEvent::ApprovalRequested => {
            format!("kubectl get run {run} -n {namespace} -o yaml")
        }
        run => format!("firedrill report --controller -n {namespace} {run}"),
    }
}

/// All of it in one line.
pub(super) fn headline(about: &About, notice: &Notice) -> String {
    let day = format!("Game day {} in {}", about.game_day, about.on.namespace);
    let verdict = || notice.verdict.map_or_else(|| "over".to_owned(), |verdict| verdict.to_string());
    let because = if notice.reason.is_empty() { String::new() } else { format!(" ({})", notice.reason) };
    let of = if notice.experiment.is_empty() { String::new() } else { format!(" in {}", notice.experiment) };
    match notice.event {
        NoticeEvent::Upcoming => match notice.starts {
            Some(starts) => format!("{day} begins at {}", second(starts)),
            None => format!("{day} begins soon"),
        },
        NoticeEvent::ApprovalRequested => format!("{day} asks for approval"),
        NoticeEvent::Started => format!("{day} has begun"),
        NoticeEvent::ExperimentFinished => {
            format!("{day}: {} is over: {}{because}", notice.experiment, verdict())
        }
        NoticeEvent::ManualStep => format!("{day} waits for a person: {}{of}", notice.step),
        NoticeEvent::Violated => format!("{day}: normal is lost{of}"),
        NoticeEvent::Aborted => format!("{day} is aborted{because}, and everything is put back"),
        NoticeEvent::Finished => format!("{day} is over: {}{because}", verdict()),
        NoticeEvent::Stuck => format!("{day}: something cannot be put back{of}"),
    }
}

/// The JSON of a Slack webhook: `text` for where no blocks are shown, and blocks.
pub(super) fn slack(about: &About, notice: &Notice, channel: &str) -> Value {
    let headline = headline(about, notice);
    let mut blocks =
        vec![json!({"type": "header", "text": {"type": "plain_text", "text": cut(&headline, HEADER)}})];
    if !notice.message.is_empty() {
        blocks.push(section(&escaped(&notice.message, WORDS)));
    }
    let verdict = notice.verdict.map(|verdict| verdict.to_string()).unwrap_or_default();
    let pairs = [
        ("Run", run(about)),
        ("Cluster", &about.cluster),
        ("Experiment", &notice.experiment),
        ("Step", &notice.step),
        ("Verdict", &verdict),
        ("Reason", &notice.reason),
        ("Hash", &notice.hash),
    ];
    let given = pairs.into_iter().filter(|(_, value)| !value.is_empty()).take(FIELDS);
    let fields: Vec<Value> = given
        .map(|(name, value)| json!({"type": "mrkdwn", "text": format!("*{name}*\n{}", escaped(value, 400))}))
        .collect();
    if !fields.is_empty() {
        blocks.push(json!({"type": "section", "fields": fields}));
    }
    if !notice.experiments.is_empty() {
        let lines = notice.experiments.iter().map(|one| {
            let reason = if one.reason.is_empty() { String::new() } else { format!(" ({})", one.reason) };
            format!("• {}: {}{reason}", one.name, one.verdict)
        });
        blocks.push(section(&escaped(&lines.collect::<Vec<_>>().join("\n"), WORDS)));
    }
    let people = about.people.iter().map(|person| format!("{}: {}", person.role, person.name));
    let people = people.collect::<Vec<_>>().join(", ");
    let see = format!("`{}`", escaped(&see(about, notice), WORDS));
    let context = if people.is_empty() { see } else { format!("{} · {see}", escaped(&people, WORDS)) };
    blocks.push(json!({"type": "context", "elements": [{"type": "mrkdwn", "text": context}]}));
    let mut body = json!({"text": escaped(&headline, WORDS), "blocks": blocks});
    if !channel.is_empty() {
        body["channel"] = channel.into();
    }
    body
}

fn section(text: &str) -> Value {
    json!({"type": "section", "text": {"type": "mrkdwn", "text": text}})
}

/// At most so many characters, without the three that mean something to Slack: nobody is called by what stands in a
/// file.
fn escaped(text: &str, most: usize) -> String {
    let (mut written, mut length) = (String::new(), 0);
    for character in text.chars() {
        let mut plain = [0; 4];
        let piece = match character {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            other => other.encode_utf8(&mut plain),
        };
        length += piece.len();
        if length >= most {
            written.push('…');
            break;
        }
        written.push_str(piece);
    }
    written
}

/// At most so many characters.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::Outcome, *};
    use crate::types::ObjectRef;

    fn about() -> About {
        About {
            on: ObjectRef::namespaced(API_VERSION, "Run", "shop", "shop-weekly-29390520"),
            game_day: "shop-weekly".to_owned(),
            cluster: "staging".to_owned(),
            people: vec![Person { role: "Owner".to_owned(), name: "Ada".to_owned(), contact: String::new() }],
            account: "firedrill".to_owned(),
            account_uid: "u1".to_owned(),
        }
    }

    fn finished() -> Notice {
        let outcome = |name: &str, verdict: &str, reason: &str| Outcome {
            name: name.to_owned(),
            verdict: verdict.to_owned(),
            reason: reason.to_owned(),
        };
        Notice {
            verdict: Some(Verdict::Failed),
            reason: "Violated".to_owned(),
            experiments: vec![outcome("pod-loss", "Failed", "Violated"), outcome("zone-loss", "Skipped", "")],
            time: "2026-11-24T10:42:12.5Z".parse().ok(),
            ..Notice::new(NoticeEvent::Finished, "availability fell to 0.91 <@here> & stayed")
        }
    }

    #[test]
    fn a_webhook_gets_one_object_and_only_what_applies() {
        let expected = json!({
            "apiVersion": "firedrill.dev/v1alpha1", "kind": "Notice",
            "id": "shop-weekly-29390520/Finished/1795516932500",
            "event": "Finished", "notification": "team", "time": "2026-11-24T10:42:12Z",
            "cluster": "staging", "namespace": "shop", "gameDay": "shop-weekly", "run": "shop-weekly-29390520",
            "verdict": "Failed", "reason": "Violated",
            "text": "Game day shop-weekly in shop is over: Failed (Violated)",
            "message": "availability fell to 0.91 <@here> & stayed",
            "experiments": [
                {"name": "pod-loss", "verdict": "Failed", "reason": "Violated"},
                {"name": "zone-loss", "verdict": "Skipped"},
            ],
            "people": [{"role": "Owner", "name": "Ada"}],
            "see": "firedrill report --controller -n shop shop-weekly-29390520",
        });
        assert_eq!(json(&about(), &finished(), "team"), expected);
    }

    #[test]
    fn before_there_is_a_run_the_game_day_is_what_one_looks_at() {
        let mut about = about();
        about.on = ObjectRef::namespaced(API_VERSION, "GameDay", "shop", "shop-weekly");
        let starts = "2026-11-24T10:00:00Z".parse().ok();
        let notice = Notice { starts, ..Notice::new(NoticeEvent::Upcoming, "") };
        let body = json(&about, &notice, "team");
        assert_eq!(body["text"], "Game day shop-weekly in shop begins at 2026-11-24T10:00:00Z");
        assert_eq!(
            (&body["see"], &body["starts"]),
            (&json!("kubectl get gameday shop-weekly -n shop"), &json!("2026-11-24T10:00:00Z"))
        );
        assert!(body.get("run").is_none() && body.get("message").is_none(), "{body}");
        // And of a Run that waits there is no report yet.
        let asked = json(&self::about(), &Notice::new(NoticeEvent::ApprovalRequested, ""), "team");
        assert_eq!(asked["see"], "kubectl get run shop-weekly-29390520 -n shop -o yaml");
    }

    #[test]
    fn slack_gets_text_and_blocks_within_its_bounds_and_calls_nobody() {
        let mut notice = finished();
        notice.message.push_str(&"&".repeat(5000));
        let body = slack(&about(), &notice, "#drills");
        assert_eq!(
            (&body["channel"], &body["text"]),
            (&json!("#drills"), &json!("Game day shop-weekly in shop is over: Failed (Violated)"))
        );
        assert!(slack(&about(), &notice, "").get("channel").is_none());
        let text = body.to_string();
        assert!(text.contains("&lt;@here&gt; &amp; stayed") && !text.contains("<@here>"), "{text}");
        let blocks = body["blocks"].as_array().expect("blocks");
        let kinds: Vec<&str> = blocks.iter().filter_map(|block| block["type"].as_str()).collect();
        assert_eq!(kinds, ["header", "section", "section", "section", "context"]);
        // Slack docs: 3000 characters a text of a section, 2000 a field of one, 50 blocks.
        for block in blocks {
            let words = block["text"]["text"].as_str().unwrap_or_default();
            assert!(words.chars().count() <= 3000, "{words}");
            let fields = block["fields"].as_array().map_or(&[][..], Vec::as_slice);
            assert!(
                fields.len() <= FIELDS
                    && fields.iter().all(|one| one["text"].as_str().is_some_and(|text| text.len() <= 2000))
            );
        }
    }

    #[test]
    fn each_event_has_a_line_of_its_own() {
        let lines: std::collections::BTreeSet<String> =
            NoticeEvent::ALL.into_iter().map(|event| headline(&about(), &Notice::new(event, ""))).collect();
        assert_eq!(lines.len(), NoticeEvent::ALL.len(), "{lines:#?}");
    }
}
