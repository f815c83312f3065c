//! A Run that is told as it goes: from its journal, or from its status where that cannot be read.

use crate::{
    cli::{self, TellArgs, told::Told},
    cluster::{Access, ApiError, Segments},
    controller::RunSeen,
    engine,
    journal::{self, DayRecord, Entry, Record},
    report::clean,
    types::{RunId, Verdict},
};

/// What is told of a Run: its journal, and of a game day that of the part that runs.
pub(super) struct Following<'a> {
    tell: &'a TellArgs,
    pub journal: Journal,
    told: Told,
    part: Option<(Journal, Told)>,
    said: String,
}

impl<'a> Following<'a> {
    pub(super) fn new(run: &RunSeen, controller: &str, tell: &'a TellArgs) -> Self {
        let told = Told::new(tell, &cli::stderr_style());
        Self { tell, journal: Journal::of(&run.id, controller), told, part: None, said: String::new() }
    }

    /// Tells what is new.
    pub(super) async fn go_on(&mut self, access: &Access) {
        for entry in self.journal.go_on(access).await {
            match &entry.record {
                Record::Day(record) => self.day(access, record).await,
                _ => self.told.on(&entry),
            }
        }
        self.part(access).await;
    }

    async fn part(&mut self, access: &Access) {
        if let Some((journal, told)) = &mut self.part {
            for entry in journal.go_on(access).await {
                told.on(&entry);
            }
        }
    }

    async fn day(&mut self, access: &Access, record: &DayRecord) {
        let words = match record {
            DayRecord::Began(header) => format!("the game day begins, asked for by {}", header.by),
            DayRecord::Asked { asked } => format!("{}: {}", asked.what, asked.detail),
            DayRecord::Noted { text, .. } => format!("note: {text}"),
            DayRecord::Playing { part, run } => {
                // To its end, before the next is told.
                self.part(access).await;
                if let Some((_, told)) = self.part.take() {
                    told.close();
                }
                let told = Told::new(self.tell, &cli::stderr_style());
                self.part = Some((Journal::of(run, &self.journal.namespace), told));
                format!("{part} (run {run})")
            }
            DayRecord::Refused { part, findings } => {
                let first = findings.first().map_or(String::new(), |first| first.message.clone());
                format!("{part} is refused: {first}")
            }
            DayRecord::Skipped { part, why } => format!("{part} is skipped: {why}"),
            DayRecord::Over { .. } => return,
        };
        cli::say(&format!("== {}", clean(&words)));
    }

    /// What only the status says: what is waited for, and everything where there is no journal to read.
    pub(super) fn status(&mut self, run: &RunSeen) {
        let text = |field: &str| run.status[field].as_str().unwrap_or_default();
        let waits = ["Waiting", "AwaitingApproval", "Held"].contains(&text("reason"));
        let words = match self.journal.unread.is_some() {
            true if waits => format!("{} {} {}", text("phase"), text("currentStep"), text("message")),
            true => format!("{} {} {}", text("phase"), text("currentStep"), text("reason")),
            false if waits => format!("{} {}", text("currentStep"), text("message")),
            false => return,
        };
        if !words.trim().is_empty() && words != self.said {
            cli::say(clean(words.trim()).trim_end());
            self.said = words;
        }
    }

    /// Whether a journal says of something that it is to be taken back still.
    pub(super) fn leaves_something(&self) -> bool {
        let journals = self.part.iter().map(|(journal, _)| journal).chain([&self.journal]);
        let runs = journals.filter(|journal| matches!(journal.first(), Some(Record::RunStarted(_))));
        runs.into_iter().any(|journal| engine::leftovers(&journal.entries).is_ok_and(|left| !left.is_empty()))
    }

    pub(super) fn close(&self) {
        self.told.close();
        self.part.iter().for_each(|(_, told)| told.close());
    }
}

/// The journal of a run as far as it has been read.
pub(super) struct Journal {
    namespace: String,
    run: RunId,
    seen: (u64, Vec<u8>),
    pub entries: Vec<Entry>,
    /// Why it is not read any further.
    pub unread: Option<String>,
}

impl Journal {
    fn of(run: &RunId, controller: &str) -> Self {
        Self {
            namespace: controller.to_owned(),
            run: run.clone(),
            seen: (0, Vec::new()),
            entries: Vec::new(),
            unread: None,
        }
    }

    fn first(&self) -> Option<&Record> {
        self.entries.first().map(|entry| &entry.record)
    }

    /// How the run ended, and whether with residue; None: it has not.
    pub(super) fn end(&self) -> Option<(Verdict, bool)> {
        match &self.entries.last()?.record {
            Record::Finished { verdict, residue, .. } => Some((*verdict, !residue.is_empty())),
            Record::Day(DayRecord::Over { verdict, code, .. }) => {
                Some((*verdict, *code == crate::types::ExitCode::Residue as u8))
            }
            _ => None,
        }
    }

    /// What is new.
    async fn go_on(&mut self, access: &Access) -> Vec<Entry> {
        while self.unread.is_none() {
            match Segments::more(access, (&self.namespace, &self.run), &mut self.seen).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) if error.is_transient() => break,
                Err(error) => self.give_up(&error),
            }
        }
        let entries = match journal::decode(&self.seen.1) {
            Ok((entries, _)) => entries,
            Err(error) => {
                self.unread
                    .get_or_insert_with(|| format!("the journal of run {} is damaged: {error}", self.run));
                return Vec::new();
            }
        };
        // What was torn when its owner died is void: then there are fewer, and others.
        let known = self.entries.iter().zip(&entries).take_while(|(old, new)| old == new).count();
        let new = entries[known..].to_vec();
        self.entries = entries;
        new
    }

    /// It cannot be read, and it is no use to try again.
    fn give_up(&mut self, error: &ApiError) {
        let why = match error {
            ApiError::Forbidden(_) => forbidden(&self.namespace),
            error => error.to_string(),
        };
        let why = format!("the journal of run {} cannot be read: {why}", self.run);
        cli::say(&format!("{why}; told from the Run's status, and there can be no report"));
        self.unread = Some(why);
    }
}

/// That journals are not for whoever asks, and what to ask for.
pub(crate) fn forbidden(namespace: &str) -> String {
    format!(
        "you may not read ConfigMaps in namespace {namespace}, where the controller keeps journals; ask for the verbs get \
         and list on configmaps there (role firedrill:journals)"
    )
}
