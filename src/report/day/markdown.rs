//! A game day to hand round.

use super::DayFacts;
use crate::report::markdown::{escape, row, section, table};

/// The game day as Markdown, ending in a line break; its experiments follow by themselves.
pub fn render(day: &DayFacts) -> String {
    let mut out =
        format!("# Game day {}: {}\n\n", escape(&day.game_day), day.verdict.to_string().to_uppercase());
    if !day.description.is_empty() {
        out.push_str(&format!("> {}\n\n", escape(&day.description)));
    }
    out.push_str(&format!("**{}**\n\n", escape(&day.meaning())));
    table(&["", ""], &mut out);
    let code = day.exit_code.to_string();
    for (label, what) in [
        ("Where", day.location().as_str()),
        ("Who", &day.by),
        ("When", &day.when()),
        ("People", &day.who().join(", ")),
        ("File", &day.source()),
        ("Exit code", &code),
    ] {
        if !what.is_empty() {
            row(&[label.to_owned(), escape(what)], &mut out);
        }
    }
    section("Experiments", &mut out);
    table(&["Experiment", "Verdict", "Clocks", "Why"], &mut out);
    for entry in &day.experiments {
        let cells = [entry.name.as_str(), &entry.verdict, &entry.clocks(), &entry.meaning()];
        row(&cells.map(escape), &mut out);
    }
    if !day.asked.is_empty() {
        section("Before and between", &mut out);
        table(&["When", "What", "Holds", "Answer"], &mut out);
        for asked in &day.asked {
            let holds = if asked.holds { "yes" } else { "no" };
            let cells = [day.moment(asked.at), asked.what.clone(), holds.to_owned(), asked.detail.clone()];
            row(&cells.map(|cell| escape(&cell)), &mut out);
        }
    }
    out
}
