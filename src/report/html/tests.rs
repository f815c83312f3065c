//! The page as a whole, on hand-made journals.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::Value;

use super::render;
use crate::{
    journal::{Entry, Record, SampleState},
    report::{
        Chapter, Facts, journals,
        markup::reader::{self, Start},
    },
};

fn chapter(entries: &[Entry]) -> Chapter {
    Chapter::Run(Box::new(Facts::from_entries(entries).expect("a journal")))
}

fn page(entries: &[Entry]) -> String {
    render(&[chapter(entries)])
}

fn read(page: &str) -> Vec<Start> {
    reader::read(page).expect("well-formed")
}

/// What a page may be made of: nothing that runs, loads, frames or sends.
fn is_harmless(elements: &[Start]) -> Result<(), String> {
    const ELEMENTS: &str = "a article body caption code dd defs desc div dl dt figcaption figure footer h1 h2 h3 h4 \
        head header html li line main meta nav ol p path pattern rect section span strong style svg table \
        tbody td text th thead time title tr ul";
    let known: BTreeSet<&str> = ELEMENTS.split_whitespace().collect();
    for element in elements {
        if !known.contains(element.name.as_str()) {
            return Err(format!("<{}>", element.name));
        }
        for (name, value) in &element.attributes {
            let bad = name.starts_with("on")
                || name == "src"
                || name == "style"
                || (name == "href" && !value.starts_with("#run-"));
            if bad {
                return Err(format!("{name}={value}"));
            }
        }
        if element.name == "style" && element.within != ["html", "head"] {
            return Err("a style that is not the page's".to_owned());
        }
    }
    Ok(())
}

#[test]
fn the_body_of_a_failed_run_reads_as_its_golden_file() {
    let page = page(&journals::failed());
    let (_, body) = page.split_once("<main>").expect("a body");
    journals::golden("failed.html", &format!("<main>{body}"));
}

#[test]
fn every_prefix_of_every_journal_is_a_page() {
    for (name, entries) in journals::all() {
        for end in 1..=entries.len() {
            let page = page(&entries[..end]);
            let elements = read(&page);
            is_harmless(&elements).unwrap_or_else(|bad| panic!("{name} up to {end}: {bad}"));
            let ids: Vec<&str> = elements.iter().filter_map(|element| element.attribute("id")).collect();
            let once: BTreeSet<&str> = ids.iter().copied().collect();
            assert_eq!(ids.len(), once.len(), "{name} up to {end}: ids");
            for link in elements.iter().filter_map(|element| element.attribute("href")) {
                assert!(once.contains(&link[1..]), "{name} up to {end}: {link} leads nowhere");
            }
        }
    }
}

#[test]
fn what_is_seen_first_is_the_verdict() {
    for (name, word) in [
        ("passed", "Passed"),
        ("failed", "Failed"),
        ("not-steady", "Not steady"),
        ("no-data", "Inconclusive"),
        ("residue", "Aborted, not all is back"),
        ("died", "No verdict, no end"),
    ] {
        let (_, entries) = journals::all().into_iter().find(|(other, _)| *other == name).expect("a journal");
        let elements = read(&page(&entries));
        let heading = elements.iter().find(|element| element.name == "h1").expect("a heading");
        assert!(heading.text.contains(word), "{name}: {}", heading.text);
    }
}

#[test]
fn every_chart_has_a_title_a_description_and_its_marks() {
    let elements = read(&page(&journals::failed()));
    let charts: Vec<&Start> =
        elements.iter().filter(|element| element.attribute("class") == Some("chart")).collect();
    assert_eq!(charts.len(), 3);
    for chart in charts {
        let labelled = chart.attribute("aria-labelledby").expect("labelled");
        for id in labelled.split(' ') {
            let label = elements.iter().find(|element| element.attribute("id") == Some(id));
            assert!(label.is_some_and(|label| !label.text.is_empty()), "{id}");
        }
    }
    let classed = |class: &str| elements.iter().filter(|e| e.attribute("class") == Some(class)).count();
    // Each chart: the pods killed, the drain; two of three were violated, both at 80 s.
    assert_eq!((classed("instant"), classed("fault"), classed("violated")), (3, 3, 2));
    let elements = read(&page(&journals::no_data()));
    assert!(elements.iter().any(|element| element.attribute("class") == Some("gap")));
}

#[test]
fn an_unmeasured_lane_says_so() {
    let page = page(&journals::passed());
    assert!(page.contains("Not measured: no probe of this experiment has signal: Traffic."));
    assert!(page.contains("Not measured: no probe of this experiment has signal: Saturation."));
}

#[test]
fn residue_comes_with_its_remedy_before_everything_else() {
    let elements = read(&page(&journals::residue()));
    let place = |wanted: &dyn Fn(&Start) -> bool| elements.iter().position(wanted).expect("there");
    let alarm = place(&|element| element.attribute("class") == Some("alarm"));
    assert!(elements[alarm].text.contains("kubectl -n shop scale deployment/orders --replicas=4"));
    assert!(alarm < place(&|element| element.attribute("id") == Some("run-0-clocks")));
    assert!(!page(&journals::passed()).contains("class=\"alarm\""));
    assert!(page(&journals::died()).contains("firedrill rollback checkout-survives-pod-loss-x7k2p"));
}

#[test]
fn several_experiments_make_one_page() {
    let chapters = [
        chapter(&journals::passed()),
        Chapter::Lost { experiment: "b<b>".to_owned(), error: "no <cluster>".to_owned() },
        Chapter::Skipped { experiment: "c".to_owned(), why: "no".to_owned() },
    ];
    let elements = read(&render(&chapters));
    is_harmless(&elements).expect("harmless");
    assert_eq!(elements.iter().filter(|element| element.name == "article").count(), 3);
    let text = &elements[0].text;
    assert!(text.contains("3 experiments") && text.contains("no <cluster>") && text.contains("Skipped"));
}

#[test]
fn a_hundred_targets_make_a_short_table() {
    let page = page(&journals::hundred());
    assert!(page.contains("The 100 targets of lose-half"), "the caption");
    assert!(page.contains("and 38 more"), "names beyond those that are shown are counted");
    assert!(page.len() < 60_000, "{}", page.len());
}

/// An hour with many probes, each sampled every five seconds, one of them flapping.
#[test]
fn an_hour_with_many_probes_is_a_small_page() {
    let mut journal = journals::Journal::rehearsal();
    let sampled = |probe: String, value: f64| Record::Sampled {
        probe,
        state: if value < 0.95 { SampleState::Outside } else { SampleState::Within },
        value: Some(value),
        expect: Some(value >= 0.99),
        during: Some(value >= 0.95),
        check: None,
        note: String::new(),
        alerting: false,
        awaited: false,
    };
    let mut word: u64 = 7;
    for secs in (0..3600).step_by(5) {
        for probe in 0..40 {
            word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let value = (word >> 11) as f64 / (1_u64 << 53) as f64;
            journal.push(f64::from(secs), sampled(format!("probe-{probe}"), value));
        }
        let flapping = if secs % 10 == 0 { 0.5 } else { 1.0 };
        journal.push(f64::from(secs), sampled("availability".to_owned(), flapping));
    }
    let page = page(&journal.entries);
    assert!(read(&page).len() > 500);
    assert!(page.len() < 500_000, "{} bytes", page.len());
}

/// `value` with every text that holds `owned` replaced.
fn replaced(value: &mut Value, by: &str) {
    match value {
        Value::String(text) if text.contains("owned") => by.clone_into(text),
        Value::Array(items) => items.iter_mut().for_each(|item| replaced(item, by)),
        Value::Object(fields) => fields.values_mut().for_each(|field| replaced(field, by)),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_names_and_messages_say_the_page_is_as_harmless(
        text in prop_oneof![
            any::<String>(),
            "[\\PC\\s<>&\"'/=;{}()\\u{0}-\\u{1f}\\u{fffe}]{0,60}",
            Just("</style></title><script>alert(1)</script><img src=x onerror=alert(1)>".to_owned()),
            Just("\" onmouseover=\"alert(1)\" x=\"".to_owned()),
            Just("]]>--><!--&#0;&amp;#x0;\u{0}\u{ffff}".to_owned()),
        ],
    ) {
        let mut entries = journals::hostile();
        for entry in &mut entries {
            let mut value = serde_json::to_value(&*entry).expect("JSON");
            replaced(&mut value, &text);
            *entry = serde_json::from_value(value).expect("an entry");
        }
        let facts = Chapter::Run(Box::new(Facts::from_entries(&entries).expect("a journal")));
        let elements = reader::read(&render(std::slice::from_ref(&facts))).map_err(TestCaseError::fail)?;
        is_harmless(&elements).map_err(TestCaseError::fail)?;
        reader::read(&crate::report::junit::render(&[facts])).map_err(TestCaseError::fail)?;
    }
}
