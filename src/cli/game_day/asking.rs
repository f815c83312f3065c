//! Waiting, and asking people.

use jiff::Timestamp;

use super::{ASSUMED, Attendance, Attended};
use crate::{
    cli::{say, terminal},
    controller::day::{End, Heard, Question, answer},
    engine::Outside,
    report::clean,
    types::{ExitCode, Length},
};

impl Attended<'_> {
    pub(super) async fn question(
        &mut self,
        question: &Question<'_>,
        until: Timestamp,
    ) -> anyhow::Result<Heard> {
        match self.venue.attendance.clone() {
            Attendance::Assumed { .. } => {
                let now = self.venue.env.clock.now();
                let assumed = now.checked_add(ASSUMED).unwrap_or(Timestamp::MAX);
                if let Some(end) = self.until(assumed.min(until)).await {
                    return Ok(Heard::Ended(end));
                }
                let detail = format!("taken as said, after {}", Length(ASSUMED));
                Ok(if assumed > until { Heard::Nobody } else { Heard::Answer(true, detail) })
            }
            Attendance::Person(by) => Ok(self.typed(question, &by, until).await),
        }
    }

    /// Waits until then, unless somebody ends the day.
    pub(super) async fn until(&mut self, until: Timestamp) -> Option<End> {
        tokio::select! {
            biased;
            Some(outside) = self.outside_rx.recv() => Some(ended_by(&outside)),
            () = self.venue.env.clock.sleep_until(until) => None,
        }
    }

    async fn typed(&mut self, question: &Question<'_>, by: &str, until: Timestamp) -> Heard {
        let mut typed = terminal::lines();
        let text = question.words.lines().map(clean).collect::<Vec<_>>().join("\n  ");
        let runbook = match question.runbook {
            "" => String::new(),
            runbook => format!("\n  see {}", clean(runbook)),
        };
        say(&format!("\n  {text}{runbook}\n\n{}: type `yes`, or `no` and why", clean(question.what)));
        loop {
            tokio::select! {
                biased;
                Some(outside) = self.outside_rx.recv() => return Heard::Ended(ended_by(&outside)),
                line = typed.recv() => {
                    let Some(line) = line else {
                        return Heard::Answer(false, "nobody is there to answer any more".to_owned());
                    };
                    match understood(&line) {
                        Some((holds, comment)) => return Heard::Answer(holds, answer(holds, by, &comment)),
                        None => say("type `yes`, or `no` and why"),
                    }
                }
                () = self.venue.env.clock.sleep_until(until) => return Heard::Nobody,
            }
        }
    }
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
