//! One try to post a notice: whom it goes to, whether that is allowed, and what came back.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri, header};
use serde_json::Value;

use super::{About, Notice, words};
use crate::{
    api::{Notification, SlackHook, Webhook},
    cluster::{Access, Acting, ApiError, SecretError, account_uid, account_user, client_as, secret_text},
    controller::{covering::covering, hosts},
    env::{Env, FirstBytes, Guarded, HttpClient, HttpError},
    load::{SecretKey, ValueFrom},
};

/// What a sender of notices calls itself.
const AGENT: &str = concat!("firedrill/", env!("CARGO_PKG_VERSION"));

/// Why a notice was not sent.
pub(super) struct Failure {
    /// In words, without a URL and without anything of a Secret.
    pub why: String,
    /// What to do.
    pub remedy: &'static str,
    /// Whether another try may help.
    pub passes: bool,
    /// How long to wait before that, if somebody has said so.
    pub after: Option<Duration>,
}

impl Failure {
    /// Another try may help.
    pub fn passing(why: impl Into<String>) -> Self {
        Self { why: why.into(), remedy: "look at what takes it", passes: true, after: None }
    }

    fn lasting(why: impl Into<String>, remedy: &'static str) -> Self {
        Self { why: why.into(), remedy, passes: false, after: None }
    }
}

impl From<SecretError> for Failure {
    fn from(error: SecretError) -> Self {
        let remedy = "give the account the right to get that Secret, by name";
        Self { passes: error.transient, ..Self::lasting(error.to_string(), remedy) }
    }
}

/// Where it goes to.
struct Address {
    url: Uri,
    headers: HeaderMap,
    /// Texts that are never said.
    hidden: Vec<String>,
}

/// Posts for one notification.
pub(super) struct Postman {
    notification: Arc<Notification>,
    about: About,
    http: HttpClient,
    /// With the controller's own rights.
    own: Access,
    /// With those of the file's account, and never with any other.
    account: Access,
}

impl Postman {
    pub fn new(env: &Env, about: &About, notification: &Arc<Notification>) -> Self {
        let user = account_user(&about.on.namespace, &about.account);
        Self {
            notification: notification.clone(),
            about: about.clone(),
            http: env.http.clone(),
            own: Access::new(env.kube.clone()),
            account: Access::new(client_as(&env.kube, &user, &Acting::default(), "")),
        }
    }

    pub fn name(&self) -> &str {
        &self.notification.name
    }

    /// Posts once.
    pub async fn post(&self, notice: &Notice) -> Result<(), Failure> {
        let (address, body) = match (&self.notification.slack, &self.notification.webhook) {
            (Some(slack), _) => {
                (self.of_slack(slack).await?, words::slack(&self.about, notice, &slack.channel))
            }
            (None, Some(webhook)) => {
                (self.of_webhook(webhook).await?, words::json(&self.about, notice, self.name()))
            }
            // No file that is accepted says so.
            (None, None) => return Err(Failure::lasting("neither slack nor webhook", "give one of them")),
        };
        let covering =
            covering(&self.own, &self.about.on.namespace).await.map_err(|error| not_now(&error))?;
        if !hosts::may_post(&address.url, &covering.iter().collect::<Vec<_>>()) {
            return Err(Failure::lasting("the controller may not reach its host", hosts::REMEDY));
        }
        self.send(address, &body).await
    }

    async fn of_slack(&self, slack: &SlackHook) -> Result<Address, Failure> {
        let url = self.secret(&slack.webhook_url).await?;
        Address::new(url.trim(), true)
    }

    async fn of_webhook(&self, webhook: &Webhook) -> Result<Address, Failure> {
        let mut address = match (&webhook.url, &webhook.url_from) {
            (_, Some(from)) => Address::new(self.secret(from).await?.trim(), true)?,
            (Some(url), None) => Address::new(url, false)?,
            (None, None) => return Err(Failure::lasting("neither url nor urlFrom", "give one of them")),
        };
        for given in &webhook.headers {
            let value = match (&given.value_from, &given.value) {
                (Some(from), _) => self.secret(from).await?,
                (None, value) => value.clone().unwrap_or_default(),
            };
            address.put(&given.name, &value, given.value_from.is_some())?;
        }
        Ok(address)
    }

    /// A text of a Secret, as the account that the run acts as, as long as it is the same one.
    async fn secret(&self, from: &ValueFrom) -> Result<String, Failure> {
        let About { on, account, account_uid: uid, .. } = &self.about;
        let found = account_uid(&self.own, &on.namespace, account).await.map_err(|error| not_now(&error))?;
        if found.as_ref() != Some(uid) {
            let why =
                format!("ServiceAccount {}/{account}, as which its Secret is read, is gone", on.namespace);
            return Err(Failure::lasting(why, "make it again, and start another run"));
        }
        let ValueFrom { secret_key_ref: SecretKey { name, key } } = from;
        Ok(secret_text(&self.account, &on.namespace, (name, key)).await?)
    }

    async fn send(&self, address: Address, body: &Value) -> Result<(), Failure> {
        let mut request = Request::new(Bytes::from(body.to_string()));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = address.url.clone();
        *request.headers_mut() = address.headers.clone();
        request.extensions_mut().insert(Guarded);
        // What it answers beside its status is nothing to us.
        request.extensions_mut().insert(FirstBytes(0));
        match self.http.send(request).await {
            Ok(answer) => judged(answer.status(), answer.headers()),
            Err(HttpError::Unreachable(why)) => Err(Failure::passing(address.without(&why))),
            Err(HttpError::Settings(why)) => Err(Failure::lasting(address.without(&why), "look at its URL")),
        }
    }
}

/// What the API server's answer means for a notice.
fn not_now(error: &ApiError) -> Failure {
    let passes = error.is_transient();
    Failure { passes, ..Failure::lasting(format!("what allows it cannot be read: {error}"), "") }
}

fn judged(status: StatusCode, headers: &HeaderMap) -> Result<(), Failure> {
    if status.is_success() {
        return Ok(());
    }
    let why = format!("it answers {}", status.as_u16());
    if status.is_redirection() {
        return Err(Failure::lasting(
            format!("{why}, and redirects are not followed"),
            "name where it leads to",
        ));
    }
    if !status.is_server_error()
        && status != StatusCode::TOO_MANY_REQUESTS
        && status != StatusCode::REQUEST_TIMEOUT
    {
        return Err(Failure::lasting(why, "look at its URL and headers"));
    }
    // Seconds; the other form, a date, is not waited for (RFC 9110, section 10.2.3).
    let after = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    Err(Failure { after: after.map(Duration::from_secs), ..Failure::passing(why) })
}

impl Address {
    fn new(text: &str, secret: bool) -> Result<Self, Failure> {
        let read: Option<Uri> = text.parse().ok();
        let usable = |url: &Uri| {
            matches!(url.scheme_str(), Some("http" | "https"))
                && url.host().is_some_and(|host| !host.is_empty())
        };
        let Some(url) = read.filter(usable) else {
            let remedy = "write it as https://HOST/PATH, in one line";
            return Err(Failure::lasting("its URL cannot be read", remedy));
        };
        let mut hidden = vec![text.to_owned()];
        hidden.extend(url.path_and_query().map(|path| path.as_str().to_owned()));
        if secret {
            hidden.extend(url.authority().map(|authority| authority.as_str().to_owned()));
            hidden.extend(url.host().map(str::to_owned));
        }
        let headers = HeaderMap::from_iter([
            (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (header::USER_AGENT, HeaderValue::from_static(AGENT)),
        ]);
        Ok(Self { url, headers, hidden })
    }

    /// One more header, in place of one of ours.
    fn put(&mut self, name: &str, value: &str, secret: bool) -> Result<(), Failure> {
        let known: HeaderName =
            name.parse().map_err(|_| Failure::lasting(format!("{name} is no name of a header"), ""))?;
        let value = HeaderValue::from_str(value);
        let mut sent = value.map_err(|_| {
            Failure::lasting(format!("the value of header {name} cannot be sent"), "write it in one line")
        })?;
        sent.set_sensitive(secret);
        if secret {
            self.hidden.extend(sent.to_str().ok().map(str::to_owned));
        }
        self.headers.insert(known, sent);
        Ok(())
    }

    /// Words with everything left out that is not to be said.
    fn without(&self, words: &str) -> String {
        let mut hidden: Vec<&String> = self.hidden.iter().filter(|text| text.len() > 1).collect();
        hidden.sort_by_key(|text| std::cmp::Reverse(text.len()));
        hidden.into_iter().fold(words.to_owned(), |words, text| words.replace(text.as_str(), "…"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::new(text, true).unwrap_or_else(|failure| panic!("{}", failure.why))
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let of = |status: u16, after: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(after) = after {
                headers.insert(header::RETRY_AFTER, after.parse().expect("a value"));
            }
            judged(StatusCode::from_u16(status).expect("a status"), &headers)
                .err()
                .map(|failure| (failure.passes, failure.after.map(|after| after.as_secs())))
        };
        assert_eq!((of(200, None), of(204, None)), (None, None));
        for status in [408, 429, 500, 502, 503, 504] {
            assert_eq!(of(status, None), Some((true, None)), "{status}");
        }
        for status in [301, 307, 400, 401, 403, 404, 410] {
            assert_eq!(of(status, None), Some((false, None)), "{status}");
        }
        assert_eq!(of(429, Some("7")), Some((true, Some(7))));
        assert_eq!(of(503, Some("Fri, 31 Dec 1999 23:59:59 GMT")), Some((true, None)));
    }

    #[test]
    fn nothing_that_is_secret_is_repeated() {
        let mut address = address("https://hooks.example.com:8443/services/T0/B1?key=abc");
        address.put("X-Key", "geheim", true).unwrap_or_else(|failure| panic!("{}", failure.why));
        let words = "dns error for hooks.example.com:8443: /services/T0/B1?key=abc, geheim";
        assert_eq!(address.without(words), "dns error for …: …, …");
        assert!(!format!("{:?}", address.headers).contains("geheim"));
        for wrong in ["hooks.example.com/x", "ftp://hooks.example.com/", "https://", "https://a b/", ""] {
            let failure = Address::new(wrong, true).err().unwrap_or_else(|| panic!("{wrong} is taken"));
            assert!(wrong.is_empty() || !failure.why.contains(wrong), "{}", failure.why);
        }
    }
}
