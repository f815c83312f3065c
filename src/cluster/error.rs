//! What the API server answers when it does not say yes.

use std::time::Duration;

/// A refusal or failure of one call, classified by what can be done about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// 404: it is not there.
    #[error("not found")]
    NotFound,
    /// 409: a precondition (uid, resourceVersion) failed, or another writer was faster.
    #[error("conflict: {0}")]
    Conflict(String),
    /// 409 AlreadyExists.
    #[error("it exists already")]
    AlreadyExists,
    /// 422: a failed JSON-patch test, another uid, or a value that the server refuses.
    #[error("refused as invalid: {0}")]
    Invalid(String),
    /// 401, 403.
    #[error("not allowed: {0}")]
    Forbidden(String),
    /// 403 because the namespace is going away.
    #[error("the namespace is being deleted")]
    Terminating,
    /// 429 by a PodDisruptionBudget.
    #[error("no disruption allowed: {message}")]
    NoBudget {
        /// The server's words, which name the budget.
        message: String,
        /// How long to wait; zero means until the budget changes.
        retry_after: Duration,
    },
    /// 429 otherwise: the server is busy.
    #[error("the API server is busy")]
    Busy {
        /// How long to wait.
        retry_after: Duration,
    },
    /// 5xx.
    #[error("server error {code}: {message}")]
    Server {
        /// The status code.
        code: u16,
        /// The server's words.
        message: String,
    },
    /// No answer in time: it may have happened.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// No connection, or it broke off: it may have happened.
    #[error("cannot reach the API server: {0}")]
    Unreachable(String),
    /// We no longer own the run: nothing was sent.
    #[error("this process no longer owns the run: {0}")]
    Fenced(String),
    /// An answer that cannot be read.
    #[error("an answer that cannot be read: {0}")]
    Malformed(String),
}

impl ApiError {
    /// Whether the same call may succeed a little later, without anybody changing anything else.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Busy { .. } | Self::TimedOut(_) | Self::Unreachable(_) => true,
            Self::Server { code, .. } => matches!(code, 500 | 502 | 503 | 504),
            _ => false,
        }
    }

    /// Whether the call may have taken effect although it failed.
    pub fn is_uncertain(&self) -> bool {
        matches!(self, Self::TimedOut(_) | Self::Unreachable(_) | Self::Server { .. })
    }

    /// How long the server asks to wait, if it does.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after } | Self::NoBudget { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }
}

impl From<kube::Error> for ApiError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => classify(&status),
            kube::Error::SerdeError(error) => Self::Malformed(error.to_string()),
            kube::Error::BuildRequest(error) => Self::Invalid(error.to_string()),
            kube::Error::Auth(error) => Self::Forbidden(format!("credentials: {error}")),
            other => Self::Unreachable(chain(&other)),
        }
    }
}

/// What the server says, as 403, of a budget whose controller has fallen behind.
const BUDGET_BEHIND: [&str; 2] = ["DisruptedPods map too big", "pdb disruptions allowed is negative"];

fn classify(status: &kube::core::Status) -> ApiError {
    let message = status.message.clone();
    let retry_after = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    let retry_after = Duration::from_secs(u64::from(retry_after));
    match (status.code, status.reason.as_str()) {
        (404, _) => ApiError::NotFound,
        (409, "AlreadyExists") => ApiError::AlreadyExists,
        (409, _) => ApiError::Conflict(message),
        (422 | 400, _) => ApiError::Invalid(message),
        (403, _) if has_cause(status, "NamespaceTerminating") => ApiError::Terminating,
        // The budget's own bookkeeping, which its controller clears, and nobody's rights
        // (registry/core/pod/storage/eviction.go, `checkAndDecrement`).
        (403, _) if BUDGET_BEHIND.iter().any(|words| message.contains(words)) => {
            ApiError::NoBudget { message, retry_after }
        }
        (401 | 403, _) => ApiError::Forbidden(message),
        (429, _) if has_cause(status, "DisruptionBudget") || message.contains("disruption budget") => {
            ApiError::NoBudget { message: budget_words(status), retry_after }
        }
        (429, _) => ApiError::Busy { retry_after },
        (code, _) => ApiError::Server { code, message },
    }
}

fn has_cause(status: &kube::core::Status, reason: &str) -> bool {
    status.details.as_ref().is_some_and(|details| details.causes.iter().any(|cause| cause.reason == reason))
}

/// The cause names the budget and its numbers; the message does not.
fn budget_words(status: &kube::core::Status) -> String {
    let causes = status.details.as_ref().map_or(&[][..], |details| &details.causes);
    causes
        .iter()
        .find(|cause| cause.reason == "DisruptionBudget")
        .map_or_else(|| status.message.clone(), |cause| cause.message.clone())
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let words = inner.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        source = inner.source();
    }
    text
}
