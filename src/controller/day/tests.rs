use serde_json::json;

use super::*;
use crate::{api::Experiment, types::Verdict};

/// A place where everything passes at once.
struct Place {
    now: Timestamp,
    /// What is on record from before.
    known: Vec<String>,
    played: Vec<String>,
}

impl Venue for Place {
    type Error = std::convert::Infallible;

    fn now(&self) -> Timestamp {
        self.now
    }

    fn by(&self) -> String {
        "ada".to_owned()
    }

    fn place(&self) -> String {
        "nowhere".to_owned()
    }

    fn on_record(&self, part: Part<'_>) -> bool {
        self.known.contains(&part.to_string())
    }

    fn tell(&mut self, _: i64, _: &str) {}

    fn said(&mut self, findings: Vec<Finding>) -> Vec<Finding> {
        findings
    }

    async fn refuses(&mut self, _: &Act) -> Result<bool, Self::Error> {
        Ok(false)
    }

    async fn play(&mut self, part: Part<'_>, act: &Act, _: (Timestamp, &End)) -> Result<Played, Self::Error> {
        self.played.push(part.to_string());
        let experiment = act.experiment.metadata.name.clone();
        let chapter = Chapter::Lost { experiment, error: "not kept".to_owned() };
        Ok(Played { chapter, code: ExitCode::Ok, ended: None })
    }

    async fn wait(&mut self, _: Timestamp) -> Result<Option<End>, Self::Error> {
        Ok(None)
    }

    async fn ask(&mut self, _: &Question<'_>, _: Timestamp) -> Result<Heard, Self::Error> {
        Ok(Heard::Answer(true, "yes".to_owned()))
    }

    fn answered(&mut self, _: &Asked) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// What is played of a day that began then, gone on with ten minutes later; and what it came to.
async fn gone_on_with(started: &str, known: &[&str]) -> (Vec<String>, Verdict, String) {
    let day = GameDay::from_value(&json!({
        "metadata": {"name": "weekly"},
        "spec": {
            "experiments": [{"name": "one"}],
            "timeZone": "UTC",
            "windows": [{"days": ["Tuesday"], "from": "09:00", "to": "12:00"}],
            "limits": {"duration": "2h"},
        },
    }))
    .expect("a game day");
    let json = json!({
        "metadata": {"name": "one"},
        "spec": {"hypothesis": "x", "steadyState": [{"name": "p", "prometheus": {"query": "up"}, "expect": "true"}]},
    });
    let experiment = Experiment::from_value(&json).expect("an experiment");
    let act = Act { experiment, json, source: "one.yaml".to_owned() };
    let acts = Acts { experiments: vec![act], between: None, prerequisites: Vec::new() };
    let calendar = Calendar::new(&day.spec).expect("a calendar");
    let outing = Outing {
        planned: Planned { day: &day, acts: &acts, file: "day.yaml" },
        calendar: &calendar,
        seed: 7,
        findings: Vec::new(),
        scheduled: None,
        replaced: None,
    };
    let started: Timestamp = started.parse().expect("a time");
    let now = started + SignedDuration::from_mins(10);
    let known = known.iter().map(|part| (*part).to_owned()).collect();
    let mut place = Place { now, known, played: Vec::new() };
    let held = hold(&outing, &mut place, (started, true)).await.expect("nothing goes wrong here");
    (place.played, held.day.verdict, held.day.reason)
}

/// Who began it may have died before it looked at its windows.
#[tokio::test]
async fn whoever_goes_on_with_a_day_of_which_nothing_is_on_record_looks_at_its_windows() {
    let (played, verdict, reason) = gone_on_with("2026-11-24T10:30:00Z", &[]).await;
    assert_eq!((played, verdict, reason.as_str()), (Vec::new(), Verdict::Refused, "Closed"));
    // All of it fitted when it began.
    let (played, ..) = gone_on_with("2026-11-24T10:00:00Z", &[]).await;
    assert_eq!(played, ["one"]);
    // Whoever began an experiment had looked.
    let (played, ..) = gone_on_with("2026-11-24T10:30:00Z", &["one"]).await;
    assert_eq!(played, ["one"]);
}
