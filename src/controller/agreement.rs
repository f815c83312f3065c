//! Who has agreed to what: approvals are bound to the hash of what was asked, and count for a while.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::{
    begin::{ASK_AGAIN, No, waited_for},
    covering,
    notices::Notice,
    status::second,
    work::{Case, WorkError},
};
use crate::{
    api::{Approval, Guardrail, NoticeEvent},
    cluster::{Access, ApiError},
    plan,
    types::{ObjectRef, Verdict, counted},
};

/// How long an approval counts where nothing else is said, as in a GameDay.
pub(super) const VALID_FOR: Duration = Duration::from_secs(24 * 3600);
/// How long what is agreed to is taken to be as it was read, where no watch says that it has changed: labels of
/// namespaces, and changes that a watch has missed.
const READ_AGAIN: Duration = Duration::from_secs(300);
/// How far the clock of whoever approves may be ahead.
const AHEAD: SignedDuration = SignedDuration::from_mins(5);

/// What somebody else has to agree to.
pub(super) struct Ask {
    /// All of it: files, parameters, limits, Guardrails.
    pub what: Value,
    /// Who wrote it, who may not agree to it either.
    pub authors: Vec<String>,
    /// How many have to.
    pub required: u32,
    pub valid_for: Duration,
    /// Not before; None: at once.
    pub start: Option<Timestamp>,
    /// Not after.
    pub deadline: Timestamp,
}

/// What Guardrails say of agreeing to what is run in a namespace.
pub(super) struct Terms {
    /// How many have to agree to anything there.
    pub required: u32,
    /// They are part of what is agreed to.
    pub guardrails: Value,
}

/// Reads the Guardrails over a namespace.
pub(super) async fn terms(access: &Access, namespace: &str) -> Result<Terms, ApiError> {
    let all = covering::readable(access).await?;
    let system = match covering::labels(access, "kube-system").await {
        Err(ApiError::NotFound | ApiError::Forbidden(_)) => BTreeMap::new(),
        labels => labels?,
    };
    let labels = covering::labels(access, namespace).await?;
    let rules = Rules::over(all.iter(), &system, &labels);
    Ok(Terms { required: rules.required, guardrails: rules.as_agreed() })
}

/// The Guardrails over a namespace.
pub(super) struct Rules<'a> {
    covering: Vec<&'a Guardrail>,
    /// How many have to agree to anything there.
    pub required: u32,
    /// Whether the cluster is said to be production, by a Guardrail or a label.
    production: bool,
}

impl<'a> Rules<'a> {
    /// Of `all`, with the labels of the namespace kube-system and of the one that they are over.
    pub(super) fn over(
        all: impl Iterator<Item = &'a Guardrail>,
        system: &BTreeMap<String, String>,
        labels: &BTreeMap<String, String>,
    ) -> Self {
        let mut production = plan::labelled_production(system);
        let mut covering = Vec::new();
        for guardrail in all {
            production |= plan::declared_production(std::slice::from_ref(guardrail)).is_some();
            if guardrail.covers(labels).unwrap_or(false) {
                covering.push(guardrail);
            }
        }
        covering.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        let asked = covering.iter().map(|guardrail| guardrail.spec.approvals.required).max().unwrap_or(0);
        Self { covering, required: asked.max(u32::from(production)), production }
    }

    /// All that they allow and ask for. The red button is not part of it, which changes nothing of that, nor are words
    /// for people.
    fn as_agreed(&self) -> Value {
        let rule = |guardrail: &&Guardrail| {
            let mut spec = json!(guardrail.spec);
            if let Some(spec) = spec.as_object_mut() {
                spec.retain(|field, _| !["halt", "haltReason", "description"].contains(&field.as_str()));
            }
            json!({"name": guardrail.metadata.name, "spec": spec})
        };
        let covering: Vec<Value> = self.covering.iter().map(rule).collect();
        json!({"production": self.production, "covering": covering})
    }
}

/// The hash that approvals are bound to. Maps are sorted, so that the same is the same from everybody.
pub(super) fn hash(what: &Value) -> String {
    let digest = Sha256::digest(what.to_string().as_bytes());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Who has agreed to `hash` and counts: nobody twice, none of `own`, who asked or wrote it, nobody for longer than it is
/// valid.
pub(super) fn agreed<'a>(
    approvals: &'a [Approval],
    (hash, own): (&str, &[String]),
    valid_for: Duration,
    now: Timestamp,
) -> Vec<&'a str> {
    let counts = |approval: &&Approval| {
        let age = now.duration_since(approval.time);
        approval.hash == hash
            && !own.contains(&approval.by)
            && !approval.by.is_empty()
            && age >= -AHEAD
            && Duration::try_from(age).unwrap_or_default() <= valid_for
    };
    let mut names: Vec<&str> = approvals.iter().filter(counts).map(|approval| approval.by.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Whose approvals do not count because they have asked for it or written it, in words.
fn own_ones(approvals: &[Approval], (hash, own): (&str, &[String])) -> String {
    let own = approvals.iter().filter(|approval| approval.hash == hash && own.contains(&approval.by));
    let names: BTreeSet<&str> = own.map(|approval| approval.by.as_str()).collect();
    match names.is_empty() {
        true => String::new(),
        false => {
            let names = names.into_iter().collect::<Vec<_>>().join(", ");
            format!(" (that of {names} does not count, who has asked for it or written what is run)")
        }
    }
}

/// Waits until enough have agreed and its time has come; who has agreed. None: what they agree to may have changed since
/// it was read, and has to be read again. While it waits it takes no place, and asks nobody.
pub(super) async fn look(case: &mut Case, ask: &Ask) -> Result<Option<Vec<String>>, No> {
    let Some((_, writer)) = case.told.clone() else { return Ok(None) };
    let (read, outdated) = (Instant::now(), case.answers.outdated());
    let mut fresh = true;
    loop {
        let now = case.context.env.clock.now();
        let Asked { hash, names, words, begins } = asked(case, ask, now);
        let enough = names.len() >= ask.required as usize;
        let approved = (ask.required > 0).then(|| (enough, names.join(", ")));
        case.tell(|progress| progress.asks(&hash, approved, words.clone()));
        if now > ask.deadline {
            let reason = if enough { "DeadlineExceeded" } else { "ApprovalMissing" };
            let until = second(ask.deadline);
            let words = if enough { format!("it could not begin before {until}") } else { words };
            return Err(No::Declined(Verdict::Refused, reason, words, Vec::new()));
        }
        match (begins, fresh) {
            (true, true) if case.slot.take() => return Ok(Some(names)),
            // Whoever has room begins it.
            (true, true) => return Err(No::Failed(WorkError::Full)),
            (true, false) => return Ok(None),
            _ => {}
        }
        case.slot.give_back();
        writer.write(now).await?;
        let left = ask.start.and_then(|start| Duration::try_from(start.duration_since(now)).ok());
        waited_for(case, ASK_AGAIN.min(left.filter(|left| !left.is_zero()).unwrap_or(ASK_AGAIN))).await?;
        if case.answers.outdated() != outdated || read.elapsed() >= READ_AGAIN {
            return Ok(None);
        }
        fresh = false;
    }
}

/// Where it stands.
struct Asked {
    hash: String,
    /// Who has agreed and counts.
    names: Vec<String>,
    /// What it waits for.
    words: String,
    /// Whether it waits for nothing more.
    begins: bool,
}

/// Looks who has agreed at `now`, and asks those who are to agree once for each thing that is asked.
fn asked(case: &mut Case, ask: &Ask, now: Timestamp) -> Asked {
    let run = case.told.as_ref().map(|(run, _)| run);
    let by = run.and_then(|run| run.spec.as_ref().ok()).map(|spec| spec.requested_by.clone());
    let own: Vec<String> = ask.authors.iter().cloned().chain(by).collect();
    let hash = hash(&ask.what);
    let approvals = case.answers.approvals();
    let names = agreed(&approvals, (&hash, &own), ask.valid_for, now);
    let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
    let enough = names.len() >= ask.required as usize;
    if enough {
        // When what was agreed to counts no more, it is asked for once more.
        case.asked.clear();
    }
    let start = ask.start.filter(|start| *start > now);
    let words = match (enough, start) {
        (false, _) => {
            let needed = counted(ask.required as usize, "approval");
            let ObjectRef { name, namespace, .. } = &case.object;
            let own = own_ones(&approvals, (&hash, &own));
            format!("{needed} needed, {} there{own}: firedrill approve {name} -n {namespace}", names.len())
        }
        (true, Some(start)) => format!("begins {}", second(start)),
        (true, None) => String::new(),
    };
    if let Some(notices) = case.notices.as_ref().filter(|_| !enough && case.asked != hash) {
        let asked = Notice {
            hash: hash.clone(),
            starts: ask.start,
            ..Notice::new(NoticeEvent::ApprovalRequested, words.clone())
        };
        notices.tell(asked);
        case.asked.clone_from(&hash);
    }
    Asked { hash, names, words, begins: enough && start.is_none() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn approval(by: &str, hash: &str, seconds: i64) -> Approval {
        let time = Timestamp::from_second(1_800_000_000 + seconds).expect("a time");
        Approval { by: by.to_owned(), hash: hash.to_owned(), time, comment: String::new() }
    }

    #[test]
    fn an_approval_counts_once_for_what_was_asked_and_never_of_who_asked() {
        let now = Timestamp::from_second(1_800_000_000).expect("a time");
        let day = Duration::from_secs(24 * 3600);
        let all = [
            approval("bob", "sha256:1", -60),
            approval("bob", "sha256:1", -30),
            approval("ada", "sha256:1", -30),
            approval("cy", "sha256:0", -30),
            approval("dora", "sha256:1", -24 * 3600 - 1),
            approval("eve", "sha256:1", 301),
            approval("fay", "sha256:1", 200),
            approval("", "sha256:1", 0),
        ];
        let own = ["ada".to_owned()];
        assert_eq!(agreed(&all, ("sha256:1", &own), day, now), ["bob", "fay"]);
        assert_eq!(agreed(&all, ("sha256:0", &own), day, now), ["cy"]);
        assert_eq!(agreed(&all, ("sha256:1", &["fay".to_owned()]), day, now), ["ada", "bob"]);
        let own_ones = |own: &str| own_ones(&all, ("sha256:1", &[own.to_owned()]));
        assert!(own_ones("ada").contains("that of ada does not count"));
        assert_eq!((own_ones("cy"), own_ones("nobody")), (String::new(), String::new()));
    }

    /// Who agreed that it may be done in staging has not agreed that it may in production, nor at any hour.
    #[test]
    fn whatever_a_guardrail_allows_or_asks_for_is_agreed_to_with_it() {
        let none = BTreeMap::new();
        let hashed = |spec: Value, system: &BTreeMap<String, String>| {
            let guardrail = json!({"metadata": {"name": "platform"}, "spec": spec});
            let guardrail = Guardrail::from_value(&guardrail).expect("a Guardrail");
            let rules = Rules::over(std::iter::once(&guardrail), system, &none);
            (hash(&rules.as_agreed()), rules.required)
        };
        let before = hashed(json!({"limits": {"pods": "30%"}}), &none);
        assert_eq!(before.1, 0);
        for (field, value) in [
            ("environment", json!("production")),
            ("allowProduction", json!(true)),
            ("timeZone", json!("Europe/London")),
            ("windows", json!([{"days": ["Monday"], "from": "09:00", "to": "17:00"}])),
            ("blackouts", json!([{"name": "freeze", "from": "12-20", "to": "01-06"}])),
            ("approvals", json!({"required": 1})),
            ("concurrentRuns", json!(2)),
            ("limits", json!({"pods": "40%"})),
            ("faults", json!({"denied": ["scale"]})),
            ("nodes", json!({"bystanders": ["monitoring"]})),
            ("probeHosts", json!(["example.com"])),
        ] {
            let mut spec = json!({"limits": {"pods": "30%"}});
            spec[field] = value;
            assert_ne!(hashed(spec, &none).0, before.0, "{field}");
        }
        let halted = json!({"limits": {"pods": "30%"}, "halt": true, "haltReason": "x", "description": "y"});
        assert_eq!(hashed(halted, &none), before);
        let system = BTreeMap::from([("firedrill.dev/environment".to_owned(), "production".to_owned())]);
        let labelled = hashed(json!({"limits": {"pods": "30%"}}), &system);
        assert_eq!(labelled.1, 1);
        assert_ne!(labelled.0, before.0, "a label says so");
    }

    #[test]
    fn the_hash_is_of_what_is_said_and_not_of_how_it_is_written() {
        let one: Value = serde_json::from_str(r#"{"a": 1, "b": {"c": 2, "d": 3}}"#).expect("JSON");
        let two: Value = serde_json::from_str(r#"{"b": {"d": 3, "c": 2}, "a": 1}"#).expect("JSON");
        assert_eq!(hash(&one), hash(&two));
        assert_ne!(hash(&one), hash(&json!({"a": 1})));
        // FIPS 180-4 gives the digest of nothing; of `null` it was taken with sha256sum.
        assert_eq!(
            hash(&Value::Null),
            "sha256:74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b"
        );
    }
}
