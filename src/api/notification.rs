//! A notification of a GameDay decoded: who is told of what (format.md, section 7).

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::GameDay;
use crate::{
    load::{LoadHeader, ValueFrom},
    types::Length,
};

/// What somebody can be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NoticeEvent {
    /// A run begins soon.
    Upcoming,
    /// Somebody has to agree.
    ApprovalRequested,
    /// A run has begun.
    Started,
    /// One experiment of it is over.
    ExperimentFinished,
    /// A step or a gate waits for a person.
    ManualStep,
    /// Normal is lost.
    Violated,
    /// It ends early, and everything is put back.
    Aborted,
    /// It is over.
    Finished,
    /// Something cannot be put back; it is tried again and again.
    Stuck,
}

impl NoticeEvent {
    /// All of them, in the order in which they come.
    pub const ALL: [Self; 9] = [
        Self::Upcoming,
        Self::ApprovalRequested,
        Self::Started,
        Self::ExperimentFinished,
        Self::ManualStep,
        Self::Violated,
        Self::Aborted,
        Self::Finished,
        Self::Stuck,
    ];

    /// As files name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Upcoming => "Upcoming",
            Self::ApprovalRequested => "ApprovalRequested",
            Self::Started => "Started",
            Self::ExperimentFinished => "ExperimentFinished",
            Self::ManualStep => "ManualStep",
            Self::Violated => "Violated",
            Self::Aborted => "Aborted",
            Self::Finished => "Finished",
            Self::Stuck => "Stuck",
        }
    }

    /// Whether it is told of where nobody says of what.
    fn usual(self) -> bool {
        !matches!(self, Self::ExperimentFinished | Self::ManualStep)
    }
}

impl fmt::Display for NoticeEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Who is told of what: exactly one of `slack` and `webhook`. The Secrets in it are read by whoever sends.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notification {
    /// Unique.
    pub name: String,
    /// Of what; empty: all but ExperimentFinished and ManualStep.
    #[serde(default)]
    pub events: Vec<NoticeEvent>,
    /// How long before, for Upcoming; None: 15m.
    #[serde(default)]
    pub lead: Option<Length>,
    /// A Slack webhook.
    #[serde(default)]
    pub slack: Option<SlackHook>,
    /// Any webhook.
    #[serde(default)]
    pub webhook: Option<Webhook>,
}

/// A Slack webhook.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlackHook {
    /// Where its URL is kept: whoever knows it may post.
    #[serde(rename = "webhookURL")]
    pub webhook_url: ValueFrom,
    /// The channel; empty: the webhook's own.
    #[serde(default)]
    pub channel: String,
}

/// Whatever takes JSON by POST.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Webhook {
    /// Where to post; exactly one of this and `url_from`.
    #[serde(default)]
    pub url: Option<String>,
    /// Where the URL is kept.
    #[serde(default)]
    pub url_from: Option<ValueFrom>,
    /// Headers.
    #[serde(default)]
    pub headers: Vec<LoadHeader>,
}

impl Notification {
    /// Whether it is told of `event`.
    pub fn wants(&self, event: NoticeEvent) -> bool {
        if self.events.is_empty() { event.usual() } else { self.events.contains(&event) }
    }

    /// `lead` or its default.
    pub fn lead(&self) -> Duration {
        self.lead.map_or(Duration::from_secs(15 * 60), |lead| lead.0)
    }
}

impl GameDay {
    /// The notifications that are told of Upcoming, each with how long before.
    pub fn leads(&self) -> impl Iterator<Item = (&str, Duration)> {
        let upcoming = |one: &&Notification| one.wants(NoticeEvent::Upcoming);
        self.spec.notifications.iter().filter(upcoming).map(|one| (one.name.as_str(), one.lead()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_is_decoded_and_what_is_absent_has_its_default() {
        let text = include_str!("../../tests/format/examples/reference-game-day.yaml");
        let value: serde_json::Value = serde_yaml::from_str(text).expect("YAML");
        let day = GameDay::from_value(&value).expect("it decodes");
        let [team] = &day.spec.notifications[..] else { panic!("one notification") };
        assert_eq!(
            team.slack.as_ref().map(|slack| slack.webhook_url.secret_key_ref.name.as_str()),
            Some("slack")
        );
        assert_eq!(day.leads().collect::<Vec<_>>(), [("team", Duration::from_secs(900))]);
        let named: Vec<NoticeEvent> = team.events.clone();
        let usual = Notification { events: Vec::new(), lead: None, ..team.clone() };
        let wanted = |one: &Notification| -> Vec<NoticeEvent> {
            NoticeEvent::ALL.into_iter().filter(|event| one.wants(*event)).collect()
        };
        assert_eq!(wanted(&usual), named, "the reference lists the default");
        assert_eq!(usual.lead(), Duration::from_secs(900));
        let only = Notification { events: vec![NoticeEvent::ManualStep], ..usual };
        assert_eq!(wanted(&only), [NoticeEvent::ManualStep]);
        assert!(NoticeEvent::ALL.into_iter().all(|event| format!("{event:?}") == event.name()));
    }
}
