//! A game day on the page.

use super::DayFacts;
use crate::report::{
    Tone,
    html::{badge, end_table, heading, table},
    markup::Markup,
};

/// How it ended, in a word.
pub(in crate::report) fn word_of(day: &DayFacts) -> (Tone, String) {
    (day.tone(), day.verdict.to_string())
}

/// The article of a game day; those of its experiments follow, the first with this number.
pub(in crate::report) fn article(day: &DayFacts, first: usize, markup: &mut Markup) {
    let (tone, word) = word_of(day);
    markup.open("header", &[("class", "head")]);
    markup.open("p", &[("class", "eyebrow")]);
    markup.leaf("strong", &[], "Game day");
    markup.text(" \u{b7} ");
    markup.text(&day.location());
    markup.close();
    heading(&day.game_day, tone, &word, markup);
    if !day.description.is_empty() {
        markup.leaf("p", &[("class", "lead")], &day.description);
    }
    markup.leaf("p", &[("class", "why")], &day.meaning());
    markup.close();
    circumstances(day, markup);
    table("What became of each experiment", &["Experiment", "Verdict", "Clocks", "Why"], markup);
    for (at, entry) in day.experiments.iter().enumerate() {
        markup.open("tr", &[]);
        markup.open("th", &[("scope", "row")]);
        markup.leaf("a", &[("href", &format!("#run-{}", first + at))], &entry.name);
        markup.close();
        markup.open("td", &[]);
        badge(entry.tone(), &entry.verdict, markup);
        markup.close();
        markup.leaf("td", &[], &entry.clocks());
        markup.leaf("td", &[], &entry.meaning());
        markup.close();
    }
    end_table(markup);
    if day.asked.is_empty() {
        return;
    }
    table("What was asked before and between them", &["When", "What", "Holds", "Answer"], markup);
    for asked in &day.asked {
        markup.open("tr", &[]);
        markup.leaf("td", &[], &day.moment(asked.at));
        markup.leaf("th", &[("scope", "row")], &asked.what);
        markup.open("td", &[]);
        let (tone, word) = if asked.holds { (Tone::Good, "yes") } else { (Tone::Bad, "no") };
        badge(tone, word, markup);
        markup.close();
        markup.leaf("td", &[], &asked.detail);
        markup.close();
    }
    end_table(markup);
}

fn circumstances(day: &DayFacts, markup: &mut Markup) {
    markup.open("dl", &[("class", "facts")]);
    for (term, what) in [
        ("Who", day.by.as_str()),
        ("When", &day.when()),
        ("People", &day.who().join(", ")),
        ("File", &day.file),
        ("Seed", &day.seed.to_string()),
        ("Exit code", &day.exit_code.to_string()),
    ] {
        if !what.is_empty() {
            markup.open("div", &[]);
            markup.leaf("dt", &[], term);
            markup.leaf("dd", &[], what);
            markup.close();
        }
    }
    markup.close();
}
