//! A game day for a terminal.

use super::DayFacts;
use crate::report::{NARROWEST, Style, Tone, wrap};

/// Columns of a label in the head.
const LABEL: usize = 12;

/// The game day as text, ending in a line break; its experiments follow by themselves.
pub fn render(day: &DayFacts, style: &Style) -> String {
    let mut page = Page { style, width: style.width.max(NARROWEST), out: String::new() };
    let word = day.verdict.to_string().to_uppercase();
    let tone = day.tone();
    page.out.push_str(&format!(
        "{} {}  game day {}  (exit code {})\n",
        style.mark(tone),
        style.paint(tone, &word),
        style.paint(Tone::Strong, &day.game_day),
        day.exit_code
    ));
    page.block(2, Tone::Plain, &day.meaning());
    page.out.push('\n');
    page.labelled("What", &day.description);
    page.labelled("Where", &day.location());
    page.labelled("Who", &day.by);
    page.labelled("When", &day.when());
    page.labelled("People", &day.who().join(", "));
    page.labelled("File", &day.source());
    experiments(day, &mut page);
    asked(day, &mut page);
    page.out
}

struct Page<'a> {
    style: &'a Style,
    width: usize,
    out: String,
}

impl Page<'_> {
    fn block(&mut self, indent: usize, tone: Tone, text: &str) {
        let safe = self.style.plain(text);
        for part in wrap(&safe, self.width.saturating_sub(indent)) {
            let part = self.style.paint(tone, &part);
            self.out.push_str(&format!("{:indent$}{part}\n", ""));
        }
    }

    fn labelled(&mut self, label: &str, text: &str) {
        if text.is_empty() {
            return;
        }
        let safe = self.style.plain(text);
        for (number, part) in wrap(&safe, self.width.saturating_sub(LABEL + 2)).into_iter().enumerate() {
            let label = if number == 0 { label } else { "" };
            let label = self.style.paint(Tone::Faint, &format!("{label:<LABEL$}"));
            self.out.push_str(&format!("  {label}{part}\n"));
        }
    }

    fn heading(&mut self, text: &str) {
        self.out.push('\n');
        self.block(0, Tone::Strong, text);
    }
}

fn experiments(day: &DayFacts, page: &mut Page<'_>) {
    page.heading("EXPERIMENTS, in order");
    let longest = day.experiments.iter().map(|entry| entry.name.chars().count()).max().unwrap_or(0);
    for entry in &day.experiments {
        let (mark, clocks) = (page.style.mark(entry.tone()), entry.clocks());
        let name = page.style.plain(&format!("{:<longest$}", entry.name));
        let verdict = page.style.paint(entry.tone(), &format!("{:<12}", entry.verdict));
        let line = format!("  {mark} {name}  {verdict}  {clocks}");
        page.out.push_str(line.trim_end());
        page.out.push('\n');
        page.block(6, Tone::Faint, &entry.meaning());
        if let Some(run) = entry.run.as_ref().filter(|run| run.as_str() != entry.name) {
            page.block(6, Tone::Faint, &format!("run {run}"));
        }
    }
}

fn asked(day: &DayFacts, page: &mut Page<'_>) {
    if day.asked.is_empty() {
        return;
    }
    page.heading("BEFORE AND BETWEEN");
    for asked in &day.asked {
        let tone = if asked.holds { Tone::Good } else { Tone::Bad };
        let (mark, what) = (page.style.mark(tone), page.style.plain(&asked.what));
        page.out.push_str(&format!("  {:<8}{mark} {what}\n", day.moment(asked.at)));
        page.block(12, Tone::Faint, &asked.detail);
    }
}
