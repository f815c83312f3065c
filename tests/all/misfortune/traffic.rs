//! Faults of the network that meet nobody's packets, and what a plan can say of that beforehand.

use firedrill::{
    engine::{self, Outside},
    journal::{Entry, Record, StopReason},
    types::{
        Verdict,
        codes::{guard, hazard},
    },
};

use super::{
    agents::{LATENCY, is_fault, seen},
    assert_sound,
};
use crate::{
    crash::house::{deployment, experiment, house, settled, settled_with, settles},
    kit::in_virtual_time,
};

/// How many packets of others a fault had met.
fn met(entry: &Entry) -> Option<Option<u64>> {
    match &entry.record {
        Record::Reverted { injection, met, .. } if is_fault(injection) => Some(*met),
        _ => None,
    }
}

/// What nobody's packets have met has shown nothing, however the agent sees its own round trips.
#[test]
fn a_fault_that_meets_nobody_proves_nothing() {
    in_virtual_time(async {
        for nobody in ["ports: [5432]", "to: [{cidr: 192.0.2.0/24}]", "protocol: ICMP"] {
            let stage = settled(7).await;
            let before = stage.state();
            let step = LATENCY.replace("{delay", &format!("{{{nobody}, delay"));
            let later = "{name: later, target: {workload: deployment/web, count: 1}, podKill: {}}";
            let request = stage.request(&experiment(&[&step, later]), 7);
            let ran = stage.run(request).await.expect("not refused");
            assert_eq!(ran.verdict(), Verdict::Inconclusive, "{nobody}");
            assert_eq!(ran.entries.iter().filter(|entry| seen(&entry.record)).count(), 2, "{nobody}");
            let met: Vec<Option<u64>> = ran.entries.iter().filter_map(met).collect();
            assert_eq!(met, [Some(0), Some(0)], "{nobody}");
            let decided = ran.entries.iter().find_map(|entry| match &entry.record {
                Record::Decided { reason, message, .. } => Some((reason.clone(), message.clone())),
                _ => None,
            });
            let (reason, message) = decided.expect("a verdict");
            assert_eq!(reason, "NoTraffic", "{nobody}");
            assert!(message.contains("FD3058") && message.contains("step hit"), "{message}");
            let after = ran
                .entries
                .iter()
                .any(|entry| matches!(&entry.record, Record::StepStarted { step } if step == "later"));
            assert!(!after, "nothing more is broken in vain");
            assert_sound(&stage, &ran, nobody);
            assert_eq!(settles(&stage, &before).await, Vec::<String>::new());
        }
    });
}

/// A verdict that was there before stands, and an abort does not wait for the count.
#[test]
fn what_decided_before_stands_over_what_met_nobody() {
    in_virtual_time(async {
        let stage = settled(7).await;
        let step = LATENCY.replace("{delay", "{ports: [5432], delay");
        let request = stage.request(&experiment(&[&step]), 7);
        let stop = |entry: &Entry, tx: &tokio::sync::mpsc::UnboundedSender<Outside>| {
            if seen(&entry.record) {
                let _ = tx.send(Outside::Stop(StopReason::Signal, "a person".to_owned()));
            }
        };
        let ran = stage.run_with(request, stop).await.expect("not refused");
        assert_eq!(ran.verdict(), Verdict::Aborted);
        assert!(ran.entries.iter().filter_map(met).all(|met| met == Some(0)));
        assert_sound(&stage, &ran, "aborted");
    });
}

/// Of several targets one that meets something will do; those that met nothing are named.
#[test]
fn a_target_that_met_nobody_is_named_beside_one_that_met_somebody() {
    in_virtual_time(async {
        let stage = settled(7).await;
        // Nobody goes to api but web; nobody goes to web's second Service.
        let request = stage.request(&experiment(&[
            "{name: hit, target: {pods: {matchExpressions: [{key: app, operator: In, values: [web, lonely]}]}, count: all}, networkLatency: {delay: 100ms}, duration: 60s}",
        ]), 7);
        let mut objects = house();
        objects.push(deployment("lonely", 1));
        let stage = settled_with(&objects, 7).await;
        let ran = stage.run(request).await.expect("not refused");
        assert_eq!(ran.verdict(), Verdict::Passed, "{:#?}", ran.entries);
        let met: Vec<Option<u64>> = ran.entries.iter().filter_map(met).collect();
        assert_eq!(met.iter().filter(|met| **met == Some(0)).count(), 1, "{met:?}");
        assert_eq!(met.len(), 5);
        let facts = firedrill::report::Facts::from_entries(&ran.entries).expect("it can be read");
        let text = firedrill::report::text::render(&facts, &firedrill::report::Style::default());
        assert!(text.contains("it met nobody's traffic [FD3058]"), "{text}");
    });
}

/// Before the first change: the peers of every step, and all that is missing of each.
#[test]
fn every_peer_that_is_not_there_is_named_at_once() {
    in_virtual_time(async {
        let stage = settled(7).await;
        let second = LATENCY
            .replace("hit", "second")
            .replace("{delay", "{to: [{service: cache}, {service: api}, {workload: deployment/store}], from: [{service: queue}], delay");
        let first = LATENCY.replace("{delay", "{to: [{service: api}], delay");
        let request = stage.request(&experiment(&[&first, &second]), 7);
        let refused = stage.run(request).await.err().expect("three of them are not there");
        let missing: Vec<&str> = refused
            .iter()
            .filter(|finding| finding.code == guard::DEPENDENCY)
            .map(|finding| finding.subject.as_str())
            .collect();
        for name in ["cache", "store", "queue"] {
            assert!(missing.iter().any(|subject| subject.contains(name)), "{name}: {refused:#?}");
        }
        assert_eq!(missing.len(), 3, "{missing:?}");
    });
}

/// Ports that nobody declares, and pods that are dialled through a Service which is not meant.
#[test]
fn a_plan_warns_of_traffic_that_may_not_be_there() {
    in_virtual_time(async {
        let mut objects = house();
        let mut front = objects.iter().find(|object| object["kind"] == "Service").expect("one").clone();
        front["metadata"]["name"] = "front".into();
        objects.push(front);
        let stage = settled_with(&objects, 7).await;
        for (traffic, code, words) in [
            (
                "to: [{service: api}], ports: [5432]",
                hazard::NOBODY_MEANT,
                "port 5432 is declared by none of its peers",
            ),
            (
                "from: [{workload: deployment/api}], ports: [81]",
                hazard::NOBODY_MEANT,
                "the target's containers",
            ),
            (
                "to: [{service: api}, {pods: {matchLabels: {app: none}}}]",
                hazard::NOBODY_MEANT,
                "none of those that are meant",
            ),
            ("to: [{workload: deployment/web}]", hazard::PAST_SERVICE, "front"),
        ] {
            let step = LATENCY.replace("{delay", &format!("{{{traffic}, delay"));
            let request = stage.request(&experiment(&[&step]), 7);
            let assessed = engine::assess(&stage.env, &request).await.expect("it can be looked at");
            let found = assessed.plan.findings.iter().find(|finding| finding.code == code);
            let found = found.unwrap_or_else(|| panic!("{traffic}: {:#?}", assessed.plan.findings));
            assert!(found.message.contains(words) && !found.is_error(), "{traffic}: {found}");
        }
        for right in [
            "to: [{service: api}], ports: [80]",
            "to: [{service: api}], ports: [8080]",
            "from: [{workload: deployment/api}], ports: [8080]",
            "delay: 1s",
        ] {
            let step =
                LATENCY.replace("{delay", &format!("{{{right}, delay")).replace("delay: 1s, delay", "delay");
            let request = stage.request(&experiment(&[&step]), 7);
            let assessed = engine::assess(&stage.env, &request).await.expect("it can be looked at");
            let doubted = |finding: &&firedrill::types::Finding| {
                [hazard::NOBODY_MEANT, hazard::PAST_SERVICE].contains(&finding.code)
            };
            assert_eq!(assessed.plan.findings.iter().find(doubted), None, "{right}");
        }
    });
}
