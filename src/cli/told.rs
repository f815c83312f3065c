//! How a run is told: live on standard error, then as a report on standard output and in files.

use std::{
    collections::BTreeSet,
    io::{IsTerminal as _, Stderr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use clap::ValueEnum;
use jiff::Timestamp;

use super::{
    TellArgs,
    timeline::{Mode, Timeline},
};
use crate::{
    controller::day,
    engine::{EngineError, Outcome, Request, Unwritten},
    env::{Env, Storage},
    journal::{self, Entry},
    report::{self, AFTER_ANOTHER, Chapter, DayFacts, Facts, Style},
    types::{ExitCode, Finding, RunId, Verdict, counted},
};

/// The live timeline, shared with the engine.
#[derive(Clone)]
pub(super) struct Told(Arc<Mutex<Timeline<Stderr>>>);

impl Told {
    pub(super) fn new(_args: &TellArgs, style: &Style) -> Self {
        let mode = Mode { progress: std::io::stderr().is_terminal(), style: *style };
        Self(Arc::new(Mutex::new(Timeline::new(std::io::stderr(), mode))))
    }

    pub(super) fn on(&self, entry: &Entry) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).on(entry);
    }

    pub(super) fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).close();
    }
}

/// Kinds of report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    #[default]
    Text,
    /// For machines: a document an experiment, one after another.
    Json,
    /// For a document or a ticket.
    Markdown,
    /// For a CI system: JUnit's XML.
    Junit,
    /// For a room of people, and for printing: a page that needs nothing else.
    Html,
}

impl Format {
    /// The report of what became of each experiment.
    pub(super) fn render(self, chapters: &[Chapter], style: &Style) -> String {
        let one_by_one = |run: &dyn Fn(&Facts) -> String, day: &dyn Fn(&DayFacts) -> String| {
            let told = chapters.iter().filter_map(|chapter| match chapter {
                Chapter::Day(facts) => Some(day(facts)),
                chapter => chapter.run().map(run),
            });
            told.collect::<Vec<_>>().join("\n")
        };
        match self {
            Self::Text => one_by_one(&|facts| report::text::render(facts, style), &|facts| {
                report::day::text(facts, style)
            }),
            Self::Json => documents(chapters),
            Self::Markdown => one_by_one(&report::markdown::render, &report::day::markdown),
            Self::Junit => report::junit::render(chapters),
            Self::Html => report::html::render(chapters),
        }
    }

    /// Whether several experiments make one document, so that it is complete only with the last of them.
    fn is_whole(self) -> bool {
        matches!(self, Self::Junit | Self::Html)
    }
}

/// A document for each experiment, and one for each game day with all of its experiments in it.
fn documents(mut chapters: &[Chapter]) -> String {
    let mut documents = Vec::new();
    while let Some((first, rest)) = chapters.split_first() {
        let of_day = match first {
            Chapter::Day(day) => day.experiments.len().min(rest.len()),
            _ => 0,
        };
        let (its, others) = rest.split_at(of_day);
        match first {
            Chapter::Day(day) => documents.push(report::day::json(day, its)),
            chapter => documents.extend(chapter.run().map(report::json::render)),
        }
        chapters = others;
    }
    documents.join("\n")
}

/// The reports of a command: on standard output, and in files that hold what is known so far.
pub(super) struct Reports<'a> {
    args: &'a TellArgs,
    chapters: Vec<Chapter>,
    /// Where the report is missing by now, each said once.
    missing: BTreeSet<PathBuf>,
    /// Whether one of them could not even be made.
    unwritten: bool,
}

impl<'a> Reports<'a> {
    pub(super) fn new(args: &'a TellArgs) -> Self {
        Self { args, chapters: Vec::new(), missing: BTreeSet::new(), unwritten: false }
    }

    /// One more experiment is over. A report that cannot be written is no reason to stop: the verdict holds,
    /// written down here or not, and [`Self::close`] does not let it pass.
    pub(super) fn add(&mut self, chapter: Chapter) {
        let output = self.args.output;
        // For people, standard error has said already why it is refused.
        let said = output == Format::Text
            && chapter.run().is_some_and(|facts| facts.outcome.verdict == Some(Verdict::Refused));
        if !output.is_whole() && !said {
            self.print(&output.render(std::slice::from_ref(&chapter), &super::stdout_style()));
        }
        self.chapters.push(chapter);
        self.write();
    }

    /// A game day is over: the whole of it, and its experiments. Without the reports of those, where only the whole
    /// is to be shown.
    pub(super) fn add_day(&mut self, day: DayFacts, experiments: Vec<Chapter>, briefly: bool) {
        let mut chapters = vec![Chapter::Day(Box::new(day))];
        chapters.extend(experiments);
        if !self.args.output.is_whole() {
            let shown = if briefly && self.args.output == Format::Text { &chapters[..0] } else { &chapters };
            if !shown.is_empty() {
                self.print(&self.args.output.render(shown, &super::stdout_style()));
            }
        }
        self.chapters.extend(chapters);
        self.write();
    }

    /// An experiment was refused before there was a journal of it.
    pub(super) fn refused(&mut self, request: &Request, by: &str, findings: &[Finding], at: Timestamp) {
        self.add(day::refused(request, by, findings, at));
    }

    /// One that could not be begun, or not be followed to its end: why. With what to exit for it.
    pub(super) fn lost(&mut self, experiment: &str, error: &anyhow::Error) -> ExitCode {
        let code = super::failed(error);
        self.note(Chapter::Lost { experiment: experiment.to_owned(), error: super::in_one_line(error) });
        code
    }

    /// One that is over, and of which nothing but this can be said here: its report is missing where one was asked for.
    pub(super) fn unwritten(&mut self, experiment: &str, why: &str) {
        let asked =
            self.args.output != Format::Text || self.args.junit.is_some() || !self.args.report.is_empty();
        if asked {
            super::say(&format!("error: the report is not written: {why}"));
            self.unwritten = true;
        }
        self.note(Chapter::Lost { experiment: experiment.to_owned(), error: why.to_owned() });
    }

    /// Something of which there is nothing to show but in what holds several.
    fn note(&mut self, chapter: Chapter) {
        self.chapters.push(chapter);
        self.write();
    }

    /// Every experiment is over, with these codes, but `rest`, which do not run any more; `lost` is the one
    /// that could not be begun, and why. Says with what to exit: not 0 while a report is missing.
    pub(super) fn close(
        mut self,
        codes: Vec<ExitCode>,
        lost: Option<(String, anyhow::Error)>,
        rest: impl ExactSizeIterator<Item = String>,
    ) -> anyhow::Result<ExitCode> {
        if rest.len() > 0 {
            let (were, them) = if rest.len() == 1 { ("was", "it") } else { ("were", "them") };
            let left = lost.is_some() || codes.contains(&ExitCode::Residue);
            let hint = if left { String::new() } else { format!(" (--keep-going runs {them})") };
            super::say(&format!("{} {were} not run{hint}", counted(rest.len(), "experiment")));
        }
        if let Some((experiment, error)) = &lost {
            let (experiment, error) = (experiment.clone(), super::in_one_line(error));
            self.chapters.push(Chapter::Lost { experiment, error });
        }
        self.chapters
            .extend(rest.map(|experiment| Chapter::Skipped { experiment, why: AFTER_ANOTHER.to_owned() }));
        self.write();
        if self.args.output.is_whole() {
            self.print(&self.args.output.render(&self.chapters, &super::stdout_style()));
        }
        // What could not be begun says nothing against what was found before it.
        let lost = lost.map(|(_, error)| super::failed(&error));
        match ExitCode::worst(codes.into_iter().chain(lost)) {
            ExitCode::Ok if self.unwritten || !self.missing.is_empty() => Ok(ExitCode::Invalid),
            code => Ok(code),
        }
    }

    fn print(&mut self, text: &str) {
        if let Err(error) = super::print(text)
            && self.missing.insert(PathBuf::from("-"))
        {
            super::say(&format!("error: the report is not printed: {error:#}"));
        }
    }

    /// Writes every file anew.
    fn write(&mut self) {
        let named = self.args.report.iter().filter_map(|path| Some((path, kind(path).ok()?)));
        let junit = self.args.junit.iter().map(|path| (path, Format::Junit));
        for (path, format) in named.chain(junit) {
            let text = format.render(&self.chapters, &Style::default());
            match std::fs::write(path, text) {
                Ok(()) => {
                    self.missing.remove(path);
                }
                Err(error) if self.missing.insert(path.clone()) => {
                    super::say(&format!("error: the report is not written: {}: {error}", path.display()));
                }
                Err(_) => {}
            }
        }
    }
}

/// Whether an experiment that ended so is the last one.
pub(super) fn stops(code: Option<&ExitCode>, args: &TellArgs) -> bool {
    match code {
        Some(ExitCode::Residue) => true,
        Some(ExitCode::Ok) | None => false,
        Some(_) => !args.keep_going,
    }
}

/// Writes the report of what a run came to, and says with what to exit.
pub(super) fn end(
    outcome: Result<Outcome, EngineError>,
    (env, experiment): (&Env, &str),
    reports: &mut Reports<'_>,
    told: &Told,
) -> anyhow::Result<ExitCode> {
    told.close();
    let (chapter, code) = concluded(outcome, env, experiment)?;
    reports.add(chapter);
    Ok(code)
}

/// What a run came to, and with what to exit.
///
/// # Errors
/// It could not be begun at all.
pub(super) fn concluded(
    outcome: Result<Outcome, EngineError>,
    env: &Env,
    experiment: &str,
) -> anyhow::Result<(Chapter, ExitCode)> {
    let on_record = |run: &RunId| {
        let experiment = experiment.to_owned();
        chapter(&*env.storage, run)
            .unwrap_or_else(|error| Chapter::Lost { experiment, error: format!("{error:#}") })
    };
    let lost = |error: String| Chapter::Lost { experiment: experiment.to_owned(), error };
    match outcome {
        Ok(outcome) => {
            let code = outcome.exit_code();
            let Some(Unwritten { why, entries }) = outcome.unwritten else {
                return Ok((on_record(&outcome.run), code));
            };
            // The disk does not know how it went on; the report does.
            super::say(&format!("error: the journal of run {} cannot be written: {why}", outcome.run));
            let facts = Facts::from_entries(&entries);
            let chapter =
                facts.map_or_else(|error| lost(error.to_string()), |facts| Chapter::Run(Box::new(facts)));
            Ok((chapter, code))
        }
        Err(EngineError::JournalLost { error, taken_back }) => {
            super::say(&format!("error: the journal cannot be written: {error}"));
            for (injection, words) in &taken_back {
                super::say(&format!("  {injection}: {words}"));
            }
            let left = taken_back.iter().any(|(_, words)| words.starts_with("not taken back"));
            let chapter = lost(format!("the journal cannot be written: {error}"));
            Ok((chapter, if left { ExitCode::Residue } else { ExitCode::Inconclusive }))
        }
        Err(error @ (EngineError::Left(_) | EngineError::Lost(..))) => {
            super::say(&format!("error: {error}"));
            let (EngineError::Left(run) | EngineError::Lost(run, _)) = &error else {
                return Err(error.into());
            };
            Ok((on_record(run), ExitCode::Residue))
        }
        Err(error) => Err(error.into()),
    }
}

/// A run, read from its journal.
pub(super) fn chapter(storage: &dyn Storage, run: &RunId) -> anyhow::Result<Chapter> {
    let entries = journal::read(storage, run)?;
    Ok(Chapter::Run(Box::new(Facts::from_entries(&entries)?)))
}

/// What kind of report a file's name asks for.
fn kind(path: &Path) -> anyhow::Result<Format> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("html") => Ok(Format::Html),
        Some("md") => Ok(Format::Markdown),
        Some("json") => Ok(Format::Json),
        Some("txt") => Ok(Format::Text),
        _ => anyhow::bail!("the name has to end in .html, .md, .json or .txt"),
    }
}

/// A file for a report, refused before anything is run.
pub(super) fn file(text: &str) -> anyhow::Result<PathBuf> {
    kind(Path::new(text))?;
    writable(text)
}

/// A file in a folder that is there.
pub(super) fn writable(text: &str) -> anyhow::Result<PathBuf> {
    let path = PathBuf::from(text);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    match folder {
        Some(folder) if !folder.is_dir() => anyhow::bail!("there is no folder {}", folder.display()),
        _ if path.is_dir() => anyhow::bail!("it is a folder"),
        _ => Ok(path),
    }
}
