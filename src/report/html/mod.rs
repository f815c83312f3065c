//! The report for a room of people: a page that needs no script and nothing from outside, to be shown,
//! printed and filled in together.
//!
//! It forbids itself everything but its own style (Content Security Policy Level 3), and writes whatever
//! comes from outside through `markup`: a name cannot become an element.

mod chart;
mod curve;
mod method;
mod scale;
mod signals;
mod story;
mod verdict;

pub(super) use verdict::heading;

use super::{Chapter, Facts, Tone, day, markup::Markup, text::headline};
use crate::types::Verdict;

/// Nothing is loaded, run, framed or sent; styles are the page's own.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// The page, ending in a line break; one article a chapter.
pub fn render(chapters: &[Chapter]) -> String {
    let mut markup = Markup::new("<!doctype html>\n");
    markup.open("html", &[("lang", "en")]);
    markup.open("head", &[]);
    markup.void("meta", &[("charset", "utf-8")]);
    markup.void("meta", &[("http-equiv", "Content-Security-Policy"), ("content", POLICY)]);
    markup.void("meta", &[("name", "viewport"), ("content", "width=device-width, initial-scale=1")]);
    markup.void("meta", &[("name", "color-scheme"), ("content", "light dark")]);
    markup.void("meta", &[("name", "referrer"), ("content", "no-referrer")]);
    markup.leaf("title", &[], &title(chapters));
    markup.open("style", &[]);
    markup.verbatim(include_str!("page.css"));
    markup.close();
    markup.close();
    markup.open("body", &[]);
    patterns(&mut markup);
    markup.open("main", &[]);
    if chapters.len() != 1 {
        index(chapters, &mut markup);
    }
    for (number, chapter) in chapters.iter().enumerate() {
        self::chapter(chapter, number, &mut markup);
    }
    markup.finish()
}

fn title(chapters: &[Chapter]) -> String {
    match chapters {
        [chapter] => format!("{}: {}", word_of(chapter).1, name_of(chapter)),
        [Chapter::Day(day), rest @ ..] if !rest.iter().any(|other| matches!(other, Chapter::Day(_))) => {
            format!("{}: game day {}", word_of(&chapters[0]).1, day.game_day)
        }
        _ => {
            let days = chapters.iter().filter(|chapter| matches!(chapter, Chapter::Day(_))).count();
            let experiments = format!("{} experiments", chapters.len() - days);
            if days > 0 { format!("{days} game days, {experiments}") } else { experiments }
        }
    }
}

fn name_of(chapter: &Chapter) -> &str {
    match chapter {
        Chapter::Run(facts) => &facts.experiment,
        Chapter::Lost { experiment, .. } | Chapter::Skipped { experiment, .. } => experiment,
        Chapter::Day(day) => &day.game_day,
    }
}

fn word_of(chapter: &Chapter) -> (Tone, String) {
    match chapter {
        Chapter::Run(facts) => verdict_word(facts),
        Chapter::Lost { .. } => (Tone::Bad, "Not on record".to_owned()),
        Chapter::Skipped { .. } => (Tone::Faint, "Skipped".to_owned()),
        Chapter::Day(day) => day::word_of(day),
    }
}

/// How it ended, in a word or three.
fn verdict_word(facts: &Facts) -> (Tone, String) {
    let (tone, _) = headline(facts);
    let word = match facts.outcome.verdict {
        None => "No verdict".to_owned(),
        Some(Verdict::NotSteady) => "Not steady".to_owned(),
        Some(verdict) => verdict.to_string(),
    };
    let more = match (facts.outcome.finished, facts.residue.is_empty()) {
        (false, _) => ", no end",
        (true, false) => ", not all is back",
        (true, true) => "",
    };
    (tone, format!("{word}{more}"))
}

/// The class of a tone, and its sign: no colour stands alone.
fn looks(tone: Tone) -> (&'static str, &'static str) {
    match tone {
        Tone::Good => ("good", "\u{2713}"),
        Tone::Warning => ("warning", "!"),
        Tone::Bad => ("bad", "\u{2717}"),
        Tone::Strong => ("strong", "\u{25b8}"),
        Tone::Plain => ("plain", ""),
        Tone::Faint => ("faint", ""),
    }
}

/// A word in the colour of what it means, after its sign.
pub(super) fn badge(tone: Tone, words: &str, markup: &mut Markup) {
    let (class, sign) = looks(tone);
    markup.open("span", &[("class", &format!("badge {class}"))]);
    if !sign.is_empty() {
        markup.leaf("span", &[("aria-hidden", "true")], sign);
        markup.text(" ");
    }
    markup.text(words);
    markup.close();
}

/// What charts are filled with where a colour alone would not do.
fn patterns(markup: &mut Markup) {
    markup.open("svg", &[("class", "patterns"), ("width", "0"), ("height", "0"), ("aria-hidden", "true")]);
    markup.open("defs", &[]);
    markup.open(
        "pattern",
        &[
            ("id", "no-data"),
            ("width", "7"),
            ("height", "7"),
            ("patternUnits", "userSpaceOnUse"),
            ("patternTransform", "rotate(45)"),
        ],
    );
    markup.void("line", &[("x1", "0"), ("x2", "0"), ("y1", "0"), ("y2", "7"), ("class", "hatch")]);
    markup.close();
    markup.close();
    markup.close();
}

fn index(chapters: &[Chapter], markup: &mut Markup) {
    markup.open("header", &[("class", "index")]);
    markup.leaf("h1", &[], &title(chapters));
    markup.open("ol", &[]);
    for (number, chapter) in chapters.iter().enumerate() {
        let (tone, word) = word_of(chapter);
        markup.open("li", &[]);
        badge(tone, &word, markup);
        markup.text(" ");
        markup.leaf("a", &[("href", &format!("#run-{number}"))], name_of(chapter));
        markup.close();
    }
    markup.close();
    markup.close();
}

fn chapter(chapter: &Chapter, number: usize, markup: &mut Markup) {
    let id = format!("run-{number}");
    markup.open("article", &[("id", &id)]);
    match chapter {
        Chapter::Run(facts) => run(facts, &id, markup),
        Chapter::Lost { error, .. } => unreported(chapter, error, markup),
        Chapter::Skipped { why, .. } => unreported(chapter, why, markup),
        Chapter::Day(day) => day::article(day, number + 1, markup),
    }
    markup.close();
}

fn unreported(chapter: &Chapter, why: &str, markup: &mut Markup) {
    let (tone, word) = word_of(chapter);
    markup.open("header", &[("class", "head")]);
    verdict::heading(name_of(chapter), tone, &word, markup);
    markup.leaf("p", &[("class", "why")], why);
    markup.close();
}

fn run(facts: &Facts, id: &str, markup: &mut Markup) {
    verdict::head(facts, id, markup);
    verdict::open_ends(facts, markup);
    verdict::circumstances(facts, markup);
    // Why it is refused is all that there is to say of a run that was.
    let refused = facts.outcome.verdict == Some(Verdict::Refused);
    if refused {
        story::findings(facts, id, markup);
    }
    verdict::clocks(facts, id, markup);
    signals::section_of(facts, id, markup);
    method::section_of(facts, id, markup);
    method::deployed(facts, id, markup);
    story::timeline(facts, id, markup);
    if !refused {
        story::findings(facts, id, markup);
    }
    story::notes(facts, markup);
    story::review(facts, id, markup);
    markup.open("footer", &[]);
    markup.text("Written by firedrill ");
    markup.text(&facts.source.version);
    markup.text(" from the journal of ");
    markup.leaf("code", &[], facts.run.as_str());
    markup.text(". Nothing is in it that is not in the journal.");
    markup.close();
}

/// Begins a section with its heading.
fn section(title: &str, id: &str, markup: &mut Markup) {
    markup.open("section", &[("id", id)]);
    markup.leaf("h2", &[], title);
}

/// Begins a table: what it shows for those who do not see it, and the heads of its columns.
pub(super) fn table(caption: &str, heads: &[&str], markup: &mut Markup) {
    markup.open("div", &[("class", "scroll")]);
    markup.open("table", &[]);
    markup.leaf("caption", &[], caption);
    markup.open("thead", &[]);
    markup.open("tr", &[]);
    for head in heads {
        markup.leaf("th", &[("scope", "col")], head);
    }
    markup.close();
    markup.close();
    markup.open("tbody", &[]);
}

/// Ends what [`table`] began.
pub(super) fn end_table(markup: &mut Markup) {
    for _ in ["tbody", "table", "div"] {
        markup.close();
    }
}

#[cfg(test)]
mod tests;
