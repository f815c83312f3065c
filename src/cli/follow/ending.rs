//! How a Run that was followed has ended: what is said of it, what is reported, with what to exit.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    Desk,
    following::Following,
    subject::{Kind, Subject},
};
use crate::{
    api::API_VERSION,
    cli::{self, cluster_run, report, told::Reports},
    controller::RunSeen,
    journal::Header,
    report::{Chapter, DayFacts, Facts},
    types::{Code, ExitCode, Finding, ObjectRef, Phase, Verdict},
};

/// A Run that is over, or gone.
pub(super) struct Ending<'a> {
    pub subject: &'a Subject,
    pub seen: &'a RunSeen,
    /// Somebody has deleted it, and it was not seen to be over before.
    pub gone: bool,
    pub following: &'a Following<'a>,
}

impl Ending<'_> {
    /// With what to exit: as a local run that ended so.
    pub(super) fn code(&self) -> ExitCode {
        match (self.gone, self.following.journal.end()) {
            (false, _) => cluster_run::exit_code(self.seen),
            (true, Some((verdict, residue))) => ExitCode::of(verdict, residue),
            (true, None) if !self.begun() => ExitCode::Refused,
            (true, None) if self.following.leaves_something() => ExitCode::Residue,
            (true, None) => ExitCode::Aborted,
        }
    }

    /// Whether anything was written down of it.
    fn begun(&self) -> bool {
        let journal = &self.following.journal;
        let before = matches!(self.seen.phase(), None | Some(Phase::Pending | Phase::AwaitingApproval));
        !journal.entries.is_empty() || (journal.unread.is_some() && !before)
    }

    /// Whether its status says that there is a journal; of one that is gone, whether it had begun.
    fn recorded(&self) -> bool {
        let records = self.seen.status["journal"]["records"].as_u64().unwrap_or(0) > 0;
        if self.gone { self.begun() } else { records }
    }

    /// In a line, and what spoke against it where no journal says so.
    pub(super) fn say(&self) {
        if !self.gone {
            cli::say(&cluster_run::ended(self.seen));
            if self.following.journal.entries.is_empty() {
                for finding in self.findings() {
                    cli::say(&format!("  [{}] {}: {}", finding.code, finding.subject, finding.message));
                    if !finding.remedy.is_empty() {
                        cli::say(&format!("      {}", finding.remedy));
                    }
                }
            }
            return;
        }
        let (name, id) = (&self.seen.object.name, &self.seen.id);
        let came = match (self.following.journal.end(), self.code()) {
            (Some((verdict, false)), _) => format!("{verdict}, and everything is back"),
            (Some((verdict, true)), _) => {
                format!("{verdict}, and something is left: firedrill rollback {id}")
            }
            (None, ExitCode::Refused) => "before anything was changed".to_owned(),
            (None, ExitCode::Residue) => {
                format!("its journal does not say that everything is back: firedrill rollback {id}")
            }
            (None, _) => "a Run goes when what it had in force is back".to_owned(),
        };
        cli::say(&format!("Run {name} was deleted: {came}"));
    }

    /// Its report.
    pub(super) async fn report(&self, desk: &Desk<'_>, reports: &mut Reports<'_>) {
        let journal = &self.following.journal;
        let name = &self.seen.object.name;
        // Nothing is written down of what never began.
        if journal.entries.is_empty() && !self.recorded() {
            return reports.add(self.declined(desk).await);
        }
        let why = match &journal.unread {
            Some(why) => why.clone(),
            None if !journal.entries.is_empty() => {
                match report::day_kept(desk.access, desk.controller, &journal.entries).await {
                    Ok(Some((day, chapters))) => return reports.add_day(day, chapters, false),
                    Ok(None) => match Facts::from_entries(&journal.entries) {
                        Ok(facts) => return reports.add(Chapter::Run(Box::new(facts))),
                        Err(error) => error.to_string(),
                    },
                    Err(error) => cli::in_one_line(&error),
                }
            }
            None => format!(
                "there is no journal of Run {name} in namespace {}; is the controller in another \
                 (--controller-namespace)?",
                desk.controller
            ),
        };
        let ended = cluster_run::ended(self.seen);
        let ended = if self.gone { format!("{name}: deleted") } else { ended };
        reports.unwritten(&self.subject.name, &format!("{ended}; {why}"));
    }

    /// Verdict, reason and words of what ended before it began.
    fn meaning(&self) -> (Verdict, String, String) {
        if self.gone {
            return (
                Verdict::Refused,
                "Deleted".to_owned(),
                "the Run was deleted before it began".to_owned(),
            );
        }
        let text = |field: &str| self.seen.status[field].as_str().unwrap_or_default().to_owned();
        let verdict = serde_json::from_value(self.seen.status["verdict"].clone());
        (verdict.unwrap_or(Verdict::Refused), text("reason"), text("message"))
    }

    /// The chapter of a Run that never began.
    async fn declined(&self, desk: &Desk<'_>) -> Chapter {
        let seen = self.seen;
        let meaning = self.meaning();
        let at = seen.completed().unwrap_or(seen.created);
        let by = seen.spec.as_ref().map(|spec| spec.requested_by.clone()).unwrap_or_default();
        let seed = seen.status["seed"].as_u64().unwrap_or(0);
        let environment = desk.connection.environment.clone();
        if self.subject.kind == Kind::GameDay {
            let (verdict, reason, message) = meaning;
            return Chapter::Day(Box::new(DayFacts {
                game_day: self.subject.name.clone(),
                namespace: seen.object.namespace.clone(),
                description: String::new(),
                file: format!("gameday/{}", self.subject.name),
                seed,
                place: format!("cluster {}", environment.cluster),
                by,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                scheduled: None,
                started: seen.created,
                ended: at,
                people: Vec::new(),
                verdict,
                reason,
                message: [vec![message], self.findings().map(|finding| finding.message).collect()]
                    .concat()
                    .join("; "),
                exit_code: self.code() as u8,
                experiments: Vec::new(),
                asked: Vec::new(),
            }));
        }
        let header = Header {
            run: seen.id.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            experiment: self.experiment(desk).await,
            file: format!("experiment/{}", self.subject.name),
            seed,
            by,
            holder: String::new(),
            environment,
            namespace: seen.object.namespace.clone(),
            namespaces: Vec::new(),
            limits: BTreeMap::new(),
            metrics: String::new(),
            server_ahead_ms: 0,
            approvals: 0,
            asked_by: String::new(),
        };
        Chapter::Run(Box::new(Facts::declined(header, meaning, self.findings().collect(), at)))
    }

    /// What it would have run, as far as that can be read.
    async fn experiment(&self, desk: &Desk<'_>) -> Value {
        if let Some(written) = &self.subject.written {
            return written.clone();
        }
        let Subject { namespace, name, .. } = self.subject;
        let object = ObjectRef::namespaced(API_VERSION, "Experiment", namespace, name);
        let spec = match desk.access.get(&object).await {
            Ok(found) => found.data["spec"].clone(),
            Err(_) => json!({"hypothesis": ""}),
        };
        json!({"apiVersion": API_VERSION, "kind": "Experiment", "metadata": {"name": name, "namespace": namespace}, "spec": spec})
    }

    /// What its status says against it.
    fn findings(&self) -> impl Iterator<Item = Finding> {
        let all = self.seen.status["findings"].as_array().into_iter().flatten();
        all.map(|finding| {
            let text = |field: &str| finding[field].as_str().unwrap_or_default();
            let (subject, message) = text("message").split_once(": ").unwrap_or(("", text("message")));
            let code = Code(text("code").to_owned().into());
            // The family of what is worth knowing, and refuses nothing.
            let found = match text("code").starts_with("FD4") {
                true => Finding::warning(code, subject, message),
                false => Finding::error(code, subject, message),
            };
            found.remedy(text("remedy"))
        })
    }
}
