//! How an agent has ended: from its last words, or from its pod.

use kube::api::DynamicObject;

use crate::{
    agent::wire::{End, Report, ReportLine, frame},
    cluster::{Access, ApiError},
    types::ObjectRef,
};

/// Lines of its log in which its last words are looked for: it ticks every second.
const LAST_LINES: u32 = 8;

/// Why it has ended, for people.
pub(super) fn in_words(why: End) -> &'static str {
    match why {
        End::Silence => "no beat had reached it for its time to live, so it took everything back",
        End::Deadline => "its deadline had passed, so it took everything back",
        End::Terminated => "its pod was told to end, and it took everything back",
        End::WorkerDied => "its worker had died, and the kernel took everything back with it",
        End::Left => "it was told to leave, and took everything back",
    }
}

/// How the agent of this pod has ended; None while it may be there.
pub(super) async fn ending(access: &Access, pod: &ObjectRef) -> Option<String> {
    let now = match access.get(pod).await {
        Ok(now) => now,
        Err(ApiError::NotFound) => return Some("its pod is gone".to_owned()),
        Err(_) => return None,
    };
    let over = matches!(now.data["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if !over {
        return None;
    }
    let log = access.log(pod, LAST_LINES).await.unwrap_or_default();
    let last = log.lines().filter_map(|line| frame::decode::<ReportLine>(line).ok());
    let mut said = last.filter_map(|line| match line.report {
        Report::Ended { why, .. } => Some(in_words(why).to_owned()),
        _ => None,
    });
    Some(said.next_back().unwrap_or_else(|| terminated(&now)))
}

/// What its kubelet says of it.
fn terminated(pod: &DynamicObject) -> String {
    let status = &pod.data["status"];
    let state = &status["containerStatuses"][0]["state"]["terminated"];
    let reason = state["reason"].as_str().or(status["reason"].as_str()).unwrap_or("for no known reason");
    match state["exitCode"].as_i64() {
        Some(code) => format!("its container has ended ({reason}, exit code {code})"),
        None => format!("its pod has ended ({reason})"),
    }
}
