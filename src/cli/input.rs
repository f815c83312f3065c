//! Files, folders and standard input into documents.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{IsTerminal, Read as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use kube::core::{Selector, SelectorExt};

use super::{FileArgs, Usage};
use crate::{
    api::{
        self, Act, SourceText,
        check::{Accepted, Document, Given},
    },
    controller::day::Planned,
    types::{ExitCode, Finding, counted, nearest},
};

/// Texts, read.
pub(super) struct Input {
    pub texts: Vec<SourceText>,
    pub documents: Vec<Accepted>,
    pub findings: Vec<Finding>,
}

impl Input {
    /// Shows findings on standard error; the exit code if any of them is an error.
    pub(super) fn refused(&self) -> Option<ExitCode> {
        if !self.findings.is_empty() {
            super::say(rendered(&self.texts, &self.findings, &super::stderr_style()).trim_end());
        }
        self.findings.iter().any(Finding::is_error).then_some(ExitCode::Invalid)
    }

    /// The experiments and game days among the documents; none is an error. An experiment that a game day refers to
    /// runs there, and not once more by itself.
    pub(super) fn items(&self) -> anyhow::Result<Vec<Item<'_>>> {
        let days = self.documents.iter().filter_map(|accepted| match &accepted.document {
            Document::GameDay { acts, .. } => Some(acts),
            _ => None,
        });
        let acts: Vec<&Act> = days.flat_map(|acts| &acts.experiments).collect();
        let mut items = Vec::new();
        for accepted in &self.documents {
            match &accepted.document {
                Document::Experiment(experiment) => {
                    let same = |act: &&&Act| {
                        act.source == accepted.source
                            && act.experiment.metadata.name == experiment.metadata.name
                    };
                    if acts.iter().find(same).is_none() {
                        items.push(Item::Experiment(Box::new(Act {
                            experiment: (**experiment).clone(),
                            json: accepted.json.clone(),
                            source: accepted.source.clone(),
                        })));
                    }
                }
                Document::GameDay { day, acts } => {
                    items.push(Item::Day(Planned { day, acts, file: &accepted.source }));
                }
                _ => {}
            }
        }
        if items.is_empty() {
            bail!(Usage("there is no Experiment and no GameDay in what was read".to_owned()));
        }
        Ok(items)
    }

    /// The experiments; a game day is not brought to a cluster from here.
    pub(super) fn experiments(&self) -> anyhow::Result<Vec<&Accepted>> {
        let mut experiments = Vec::new();
        for accepted in &self.documents {
            match &accepted.document {
                Document::Experiment(_) => experiments.push(accepted),
                Document::GameDay { day, .. } => bail!(Usage(format!(
                    "a game day is run from the cluster: kubectl apply it with the experiments that it names, then \
                     firedrill run --controller gameday/{}",
                    day.metadata.name
                ))),
                _ => {}
            }
        }
        if experiments.is_empty() {
            bail!(Usage("there is no Experiment in what was read".to_owned()));
        }
        Ok(experiments)
    }
}

/// Something to run.
pub(super) enum Item<'a> {
    /// An experiment by itself.
    Experiment(Box<Act>),
    /// A game day.
    Day(Planned<'a>),
}

impl Item<'_> {
    /// The experiments of it, in order.
    pub(super) fn acts(&self) -> &[Act] {
        match self {
            Self::Experiment(act) => std::slice::from_ref(&**act),
            Self::Day(planned) => &planned.acts.experiments,
        }
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Experiment(act) => &act.experiment.metadata.name,
            Self::Day(planned) => &planned.day.metadata.name,
        }
    }
}

/// Findings with the lines they are about.
pub(super) fn rendered(texts: &[SourceText], findings: &[Finding], style: &crate::report::Style) -> String {
    let style = if style.colour { api::check::Style::Styled } else { api::check::Style::Plain };
    api::check::render(findings, texts, style)
}

/// What files are read for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    /// To say what is wrong with them.
    Checking,
    /// To run them: they have to be whole.
    Running,
}

/// Reads what the arguments name, and checks it.
pub(super) fn read(args: &FileArgs, purpose: For) -> anyhow::Result<Input> {
    readable(args, purpose).map_err(Usage::from)
}

fn readable(args: &FileArgs, purpose: For) -> anyhow::Result<Input> {
    let mut texts = Vec::new();
    let mut passed_over = Vec::new();
    for path in args.files.iter().chain(&args.more) {
        match path.is_dir() {
            true => gather(path, &mut texts, &mut passed_over)?,
            false => texts.push(text(path)?),
        }
    }
    if !passed_over.is_empty() {
        let (files, which) = (counted(passed_over.len(), "file"), passed_over.join(", "));
        super::say(&format!("passed over {files} without a kind of firedrill's: {which}"));
    }
    if args.files.is_empty() && args.more.is_empty() {
        bail!("no file is given; name files, folders, or - for standard input");
    }
    if texts.is_empty() {
        bail!("no file with a kind of firedrill's is in what is named");
    }
    let given = Given {
        parameters: parameters(&args.param)?,
        beside: beside(&texts)?,
        must_be_whole: purpose == For::Running,
    };
    let read = api::read_with(&texts, &given);
    declared(&given, &read.parameters)?;
    let mut documents = read.documents;
    if let Some(selector) = &args.selector {
        let selector: Selector = parse_selector(selector)?;
        documents.retain(|accepted| selector.matches(&accepted.document.metadata().labels));
    }
    Ok(Input { texts, documents, findings: read.findings })
}

/// `--param NAME=VALUE`, each name once.
pub(super) fn parameters(given: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut parameters = BTreeMap::new();
    for text in given {
        let Some((name, value)) = text.split_once('=') else { bail!("--param {text}: write NAME=VALUE") };
        if parameters.insert(name.to_owned(), value.to_owned()).is_some() {
            bail!("--param {name} is given twice");
        }
    }
    Ok(parameters)
}

/// A value for a parameter that no file declares is a slip of the pen.
fn declared(given: &Given, declared: &BTreeSet<String>) -> anyhow::Result<()> {
    let Some(name) = given.parameters.keys().find(|name| !declared.contains(*name)) else { return Ok(()) };
    match nearest(name, declared.iter().map(String::as_str)) {
        Some(near) => bail!("--param {name}: no file declares it; did you mean {near}?"),
        None => bail!("--param {name}: no file declares it"),
    }
}

/// The other files in the folders of those that are read: `steadyStateFrom` may name what is in them, and game days
/// what is in the folder above too.
fn beside(texts: &[SourceText]) -> anyhow::Result<Vec<SourceText>> {
    let says = |text: &SourceText, word: &str| String::from_utf8_lossy(&text.bytes).contains(word);
    let mut folders: BTreeSet<PathBuf> = BTreeSet::new();
    for text in texts.iter().filter(|text| text.name != "-") {
        let of_days = says(text, "GameDay");
        if of_days || says(text, "steadyStateFrom") {
            folders.extend(folder(&text.name));
        }
        if of_days {
            folders.extend(folder(&text.name).map(|folder| folder.join("..")).and_then(plain));
        }
    }
    let whole = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let read: BTreeSet<PathBuf> = texts.iter().map(|text| whole(Path::new(&text.name))).collect();
    let mut others = Vec::new();
    for folder in folders {
        for path in yaml_files(&folder)? {
            if !read.contains(&whole(&path)) {
                others.extend(Some(text(&path)?).filter(is_ours));
            }
        }
    }
    Ok(others)
}

/// A folder's path without the way back in it, where that can be said by words alone.
fn plain(folder: PathBuf) -> Option<PathBuf> {
    let inside = folder.parent()?;
    match inside.file_name() {
        Some(_) => {
            let above = inside.parent().filter(|above| !above.as_os_str().is_empty());
            Some(above.map_or_else(|| PathBuf::from("."), Path::to_path_buf))
        }
        None => folder.is_dir().then_some(folder),
    }
}

fn folder(file: &str) -> Option<PathBuf> {
    let parent = Path::new(file).parent()?;
    Some(if parent.as_os_str().is_empty() { PathBuf::from(".") } else { parent.to_owned() })
}

fn parse_selector(text: &str) -> anyhow::Result<Selector> {
    use kube::core::Expression;
    let requirement = |part: &str| {
        let part = part.trim();
        let owned = |text: &str| text.trim().to_owned();
        if let Some((key, value)) = part.split_once("!=") {
            Ok(Expression::NotEqual(owned(key), owned(value)))
        } else if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
            Ok(Expression::Equal(owned(key), owned(value)))
        } else if let Some(key) = part.strip_prefix('!') {
            Ok(Expression::DoesNotExist(owned(key)))
        } else if part.is_empty() || part.contains(' ') {
            bail!("selector `{text}`: write KEY=VALUE, KEY!=VALUE, KEY or !KEY, separated by commas")
        } else {
            Ok(Expression::Exists(owned(part)))
        }
    };
    text.split(',').map(requirement).collect()
}

/// What a folder and the folders in it hold, in the order of their names. There may be other people's
/// manifests among it; a file that was named is meant.
fn gather(folder: &Path, texts: &mut Vec<SourceText>, passed_over: &mut Vec<String>) -> anyhow::Result<()> {
    let mut files = Vec::new();
    below(folder, &mut files)?;
    if files.is_empty() {
        bail!("{} holds no .yaml, .yml or .json", folder.display());
    }
    for file in files {
        let text = text(&file)?;
        if is_ours(&text) {
            texts.push(text);
        } else {
            passed_over.push(text.name);
        }
    }
    Ok(())
}

/// The files below a folder; hidden folders are not entered, nor are links to folders, which may lead back.
fn below(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    files.extend(yaml_files(folder)?);
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !hidden && entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    folders.sort();
    folders.iter().try_for_each(|folder| below(folder, files))
}

/// A file, or standard input: no more of it than shows that it is too long.
fn text(path: &Path) -> anyhow::Result<SourceText> {
    let most = api::yaml::MAX_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        if std::io::stdin().is_terminal() {
            super::say("reading standard input; end it with Ctrl-D");
        }
        std::io::stdin().take(most).read_to_end(&mut bytes).context("standard input")?;
        return Ok(SourceText::new("-", bytes));
    }
    let read = std::fs::File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes));
    read.with_context(|| path.display().to_string())?;
    Ok(SourceText::new(path.display().to_string(), bytes))
}

/// Whether a text holds a document of one of our kinds: an apiVersion of our group, in YAML or JSON, in
/// whatever quotes.
fn is_ours(text: &SourceText) -> bool {
    String::from_utf8_lossy(&text.bytes).split("apiVersion").skip(1).any(|after| {
        let value = after.trim_start_matches(|c: char| matches!(c, '"' | '\'' | ':') || c.is_whitespace());
        value.starts_with("firedrill.dev/")
    })
}

/// The YAML and JSON files of a folder, by name, those of the folders in it aside.
pub(super) fn yaml_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if matches!(extension, Some("yaml" | "yml" | "json")) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
