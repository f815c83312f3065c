//! Waiting, and asking people.

use jiff::Timestamp;

use super::{ASSUMED, Attendance, End, Going};
use crate::{
    cli::{say, terminal},
    engine::Outside,
    report::{Asked, clean},
    types::{ExitCode, Length},
};

impl Going<'_> {
    /// Waits until then, but no longer than the day may last.
    pub(super) async fn wait(&mut self, until: Timestamp) -> Result<(), End> {
        let clock = &self.venue.env.clock;
        tokio::select! {
            biased;
            Some(outside) = self.outside_rx.recv() => Err(ended_by(&outside)),
            () = clock.sleep_until(until.min(self.deadline)) => {
                if until > self.deadline { Err(self.too_long()) } else { Ok(()) }
            }
        }
    }

    /// That the day is over, finished or not.
    pub(super) fn too_long(&self) -> End {
        let (reason, message) = match self.outing.replaced {
            Some(at) if at <= self.deadline => ("Replaced", "the next one takes its place".to_owned()),
            _ => {
                let whole = Length(self.outing.planned.day.spec.duration());
                ("DurationExceeded", format!("the game day has taken all of its limits.duration, {whole}"))
            }
        };
        End { code: ExitCode::Aborted, reason, message }
    }

    /// Asks whether something is so, and writes the answer down.
    pub(super) async fn confirmed(&mut self, what: &str, words: &str, runbook: &str) -> Result<bool, End> {
        let begun = self.venue.env.clock.now();
        let (holds, detail) = match self.venue.attendance.clone() {
            Attendance::Assumed { .. } => {
                self.wait(self.after(Length(ASSUMED))).await?;
                (true, format!("taken as said, after {}", Length(ASSUMED)))
            }
            Attendance::Person(by) => self.ask(what, (words, runbook), &by).await?,
        };
        self.answered(what, begun, (holds, detail));
        Ok(holds)
    }

    pub(super) fn answered(&mut self, what: &str, begun: Timestamp, (holds, detail): (bool, String)) {
        let at = self.venue.env.clock.now();
        let took_ms = u64::try_from(at.duration_since(begun).as_millis()).unwrap_or(0);
        self.tell(&format!("{what}: {detail}"));
        self.asked.push(Asked { what: what.to_owned(), at, took_ms, holds, detail });
    }

    async fn ask(
        &mut self,
        what: &str,
        (words, runbook): (&str, &str),
        by: &str,
    ) -> Result<(bool, String), End> {
        let mut typed = terminal::lines();
        let text = words.lines().map(clean).collect::<Vec<_>>().join("\n  ");
        let runbook = if runbook.is_empty() { String::new() } else { format!("\n  see {}", clean(runbook)) };
        say(&format!("\n  {text}{runbook}\n\n{}: type `yes`, or `no` and why", clean(what)));
        loop {
            tokio::select! {
                biased;
                Some(outside) = self.outside_rx.recv() => return Err(ended_by(&outside)),
                line = typed.recv() => {
                    let Some(line) = line else {
                        return Ok((false, "nobody is there to answer any more".to_owned()));
                    };
                    match understood(&line) {
                        Some((holds, comment)) => return Ok((holds, answer(holds, by, &comment))),
                        None => say("type `yes`, or `no` and why"),
                    }
                }
                () = self.venue.env.clock.sleep_until(self.deadline) => return Err(self.too_long()),
            }
        }
    }
}

fn answer(holds: bool, by: &str, comment: &str) -> String {
    let word = if holds { "yes" } else { "no" };
    if comment.is_empty() { format!("{word}, {by}") } else { format!("{word}, {by}: {comment}") }
}

/// `yes`, `no`, each with words of one's own behind it.
fn understood(line: &str) -> Option<(bool, String)> {
    let line = line.trim();
    let (word, comment) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let holds = match word.trim_end_matches([',', ':', '.']).to_lowercase().as_str() {
        "y" | "yes" | "go" | "done" | "confirm" => true,
        "n" | "no" | "fail" | "failed" | "no-go" => false,
        _ => return None,
    };
    Some((holds, comment.trim().to_owned()))
}

/// What came from outside between two experiments: nothing is in force.
pub(super) fn ended_by(outside: &Outside) -> End {
    let by = match outside {
        Outside::Stop(_, by) | Outside::Lost(by) => by.clone(),
        _ => "a second signal".to_owned(),
    };
    End { code: ExitCode::Aborted, reason: "Signal", message: format!("ended by {by}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_words_that_people_type() {
        assert_eq!(understood(" yes "), Some((true, String::new())));
        assert_eq!(understood("go"), Some((true, String::new())));
        assert_eq!(understood("No, the lead is ill"), Some((false, "the lead is ill".to_owned())));
        assert_eq!((understood(""), understood("later")), (None, None));
        assert_eq!(answer(false, "ada", "ill"), "no, ada: ill");
    }
}
