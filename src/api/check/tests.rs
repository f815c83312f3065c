use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;

/// The YAML files of a folder of the repository, sorted.
fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the folder is part of the repository")
        .map(|entry| entry.expect("it can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn source(path: &Path) -> Source {
    let name = path.file_name().expect("a file").to_string_lossy().into_owned();
    Source::new(name, std::fs::read(path).expect("it can be read"))
}

fn data(name: &str) -> Source {
    source(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api/check/testdata").join(name))
}

fn codes_of(read: &Read) -> Vec<String> {
    read.findings.iter().map(|finding| finding.code.to_string()).collect()
}

/// `UPDATE_GOLDEN=1 cargo test` writes the expected renderings anew.
#[test]
fn findings_look_as_they_did() {
    for path in files("src/api/check/testdata") {
        let source = source(&path);
        let read = read(std::slice::from_ref(&source));
        let found = render(&read.findings, &[source], Style::Plain);
        let golden = path.with_extension("txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &found).expect("the expectation can be written");
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(found, expected, "{}", path.display());
    }
}

/// Each mistake once, at the field that it is about, with what helps.
#[test]
fn a_mistake_in_a_fault_of_an_agent_is_said_once_and_at_its_field() {
    for (fault, target, at, words) in [
        ("networkLatency: {delay: 10ms, jitter: 11ms}", "", "11ms", "lower it"),
        ("networkLatency: {delay: 2m}", "", "2m", "ask for less"),
        ("networkLatency: {delay: 0s}", "", "0s", ""),
        ("networkLatency: {delay: 10ms, ports: [80, 0]}", "", "0]", ""),
        ("networkLatency: {delay: 10ms, ports: [80, 65536]}", "", "65536", "1 to 65535"),
        ("networkLatency: {delay: 10ms, correlation: 0.5}", "", "0.5", "write 50%"),
        ("networkLatency: {delay: 10ms, correlation: \"0.25\"}", "", "\"0.25\"", "write 25%"),
        ("networkLoss: {share: 10}", "", "10}", "write 10%"),
        ("networkLoss: {share: 0%}", "", "0%", "ask for more"),
        ("networkLoss: {loss: 10%}", "", "loss: ", "did you mean `share: 10%`?"),
        (
            "networkPartition: {to: [{cidr: 10.0.0.0/8, except: [10.1.0.0/16, 192.168.0.0/16]}]}",
            "",
            "192.168",
            "a part of the cidr",
        ),
        ("networkPartition: {to: [{cidr: 10.0.0.1}]}", "", "10.0.0.1}", "192.0.2.7/32"),
        (
            "networkPartition: {from: [{host: \"http://db.example.com:80/x\"}]}",
            "",
            "\"http:",
            "write db.example.com",
        ),
        ("containerKill: {signal: USR1}", "", "USR1", "KILL, TERM"),
        ("containerKill: {}", ", follow: true", "follow", "leave it out"),
    ] {
        let duration = if fault.starts_with("network") { ", duration: 1m" } else { "" };
        let text = format!(
            "apiVersion: firedrill.dev/v1alpha1\nkind: Experiment\nmetadata: {{name: a}}\nspec:\n  hypothesis: It holds.\n  \
             steadyState: [{{name: a, kubernetes: {{apiVersion: v1, kind: Service, name: a}}, expect: \"true\"}}]\n  \
             method:\n  - {{name: hit, target: {{workload: deployment/a{target}}}, {fault}{duration}}}\n"
        );
        let read = read(&[Source::new("a.yaml", text.as_str())]);
        let [finding] = &read.findings[..] else { panic!("{fault}: {:#?}", read.findings) };
        let place = finding.place.as_ref().expect("in the file");
        assert!(text[place.span.0..].starts_with(at), "{fault}: {} at {:?}", finding, &text[place.span.0..]);
        assert!(finding.is_error() && finding.remedy.contains(words), "{fault}: {finding}");
    }
}

#[test]
fn one_pass_shows_sixteen_mistakes_and_more() {
    let read = read(&[data("sixteen-mistakes.yaml")]);
    assert!(read.documents.is_empty());
    let (errors, _) = count(&read.findings);
    assert!(errors >= 25, "{errors}");
    let mut kinds = codes_of(&read);
    kinds.sort();
    kinds.dedup();
    assert!(kinds.len() >= 16, "{kinds:?}");
}

#[test]
fn what_is_right_is_accepted_without_a_word() {
    let read = read(&[data("accepted.yaml")]);
    assert_eq!(read.findings, vec![]);
    let Document::Experiment(experiment) = &read.documents[0].document else { panic!("an Experiment") };
    assert_eq!(experiment.spec.method.len(), 24);
    assert_eq!(experiment.spec.method[1].name, "step-2");
}

#[test]
fn the_examples_of_the_reference_are_accepted_or_not_supported_yet() {
    let mut accepted = Vec::new();
    let beside: Vec<Source> = files("tests/format/examples").iter().map(|path| source(path)).collect();
    let given = Given { beside, ..Given::default() };
    for path in files("tests/format/examples") {
        let source = source(&path);
        let read = read_with(std::slice::from_ref(&source), &given);
        // Not every experiment that the reference names is among the examples.
        let elsewhere = source.name == "reference-game-day.yaml";
        for finding in read.findings.iter().filter(|finding| finding.code != codes::NOT_YET) {
            let rendered = render(&read.findings, std::slice::from_ref(&source), Style::Plain);
            assert!(elsewhere && finding.code == codes::REFERENCE, "{rendered}");
        }
        if read.findings.is_empty() {
            assert_eq!(read.documents.len(), 1, "{}", source.name);
            accepted.push(source.name);
        }
    }
    assert_eq!(
        accepted,
        [
            "00-shared-steady-state.yaml",
            "01-kill-50-of-checkout-slo-from-prometheus.yaml",
            "02-latency-to-postgres-under-load-client-si.yaml",
            "03-drain-each-node-of-a-pool-one-after-anot.yaml",
            "04-lose-a-zone-for-10-minutes-autoscaler-an.yaml",
            "05-random-kills-every-30-s-for-30-min-hpa-a.yaml",
            "06-a-dependency-at-zero.yaml",
            "07-a-bad-release-must-be-rolled-back-by-the.yaml",
            "08-dr-drill-region-fail-over-with-people-in.yaml",
            "09-partition-pods-born-later-too.yaml",
            "14-guardrail-of-a-platform-team.yaml",
            "15-a-run-by-hand.yaml",
            "reference-guardrail.yaml",
            "reference-run.yaml",
        ]
    );
}

#[test]
fn examples_of_faults_and_probes_are_accepted() {
    let head =
        "apiVersion: firedrill.dev/v1alpha1\nkind: Experiment\nmetadata: {name: a}\nspec:\n  hypothesis: x\n";
    let indent = |text: &str| {
        let lines = text.lines().enumerate();
        lines.map(|(at, line)| format!("  {} {line}\n", if at == 0 { "-" } else { " " })).collect::<String>()
    };
    let load = "  load:\n  - {name: shoppers, url: \"http://checkout.shop.svc/\", requestsPerSecond: 10}\n";
    let probe = "name: ok\nprometheus: {query: up}\nexpect: value == 1.0\n";
    let mut texts: Vec<String> = crate::probes::PROBES
        .iter()
        .map(|probe| format!("{head}{load}  steadyState:\n{}", indent(probe.info().example)))
        .collect();
    texts.extend(crate::faults::FAULTS.iter().map(|fault| {
        format!("{head}  steadyState:\n{}  method:\n{}", indent(probe), indent(fault.info().example))
    }));
    for text in texts {
        let source = Source::new("example", text);
        let read = read(std::slice::from_ref(&source));
        assert_eq!(read.findings, vec![], "{}", render(&read.findings, &[source], Style::Plain));
    }
}

#[test]
fn parameters_are_filled_in() {
    let given = |value: &str| Given {
        parameters: [("app".to_owned(), value.to_owned())].into(),
        must_be_whole: true,
        ..Given::default()
    };
    let read = read_with(&[data("accepted.yaml")], &given("cart"));
    assert_eq!(read.findings, vec![]);
    assert_eq!(read.parameters, ["app".to_owned()].into());
    let json = &read.documents[0].json;
    assert_eq!(json["spec"]["steadyState"][1]["kubernetes"]["name"], "cart");
    assert_eq!(json["spec"]["parameters"][0]["default"], "cart", "the journal says what was run");
    let Document::Experiment(experiment) = &read.documents[0].document else { panic!("an Experiment") };
    assert_eq!(experiment.spec.params(), [("app".to_owned(), "cart".to_owned())].into());
    // As a whole: nothing gets into a query that the pattern does not let in.
    let read = read_with(&[data("accepted.yaml")], &given("cart\"} or up{x=\"1"));
    assert_eq!(codes_of(&read), ["FD1045"]);
    let open = |must_be_whole| {
        let read = read_with(&[data("parameters.yaml")], &Given { must_be_whole, ..Given::default() });
        read.findings.iter().find(|finding| finding.code == codes::PARAMETER).map(Finding::is_error)
    };
    assert_eq!((open(false), open(true)), (Some(false), Some(true)));
}

#[test]
fn probes_of_another_experiment_come_with_their_source() {
    let read = read(&[data("accepted.yaml")]);
    let json = &read.documents[0].json;
    let borrowed = json["spec"]["steadyState"].as_array().and_then(|probes| probes.last()).expect("a probe");
    assert_eq!(borrowed["name"], "errors");
    assert_eq!(borrowed["prometheus"]["server"], "https://shared.example.com");
    assert_eq!(json["spec"].get("steadyStateFrom"), None, "what is journaled needs no other file");
}

#[test]
fn the_same_object_in_two_files_is_found() {
    let first = Source { name: "a.yaml".into(), ..data("accepted.yaml") };
    let second = Source { name: "b.yaml".into(), ..data("accepted.yaml") };
    let read = read(&[first, second]);
    assert_eq!(codes_of(&read), ["FD1012", "FD1012"]);
    assert_eq!(
        read.findings[0].message,
        "Experiment `checkout-survives-pod-loss` is given twice; first in a.yaml:3:18"
    );
    assert_eq!(read.documents.len(), 2);
}

#[test]
fn json_carries_places() {
    let read = read(&[data("tab.yaml")]);
    let json = json(&read.findings);
    assert_eq!(json[0]["code"], "FD1002");
    assert_eq!(json[0]["place"]["line"], 4);
    assert_eq!(json[0]["severity"], "Error");
}

#[test]
fn secrets_are_not_repeated() {
    let source = data("probes.yaml");
    let read = read(std::slice::from_ref(&source));
    let rendered = render(&read.findings, &[source], Style::Plain);
    assert!(rendered.contains("FD1061"));
    assert!(!rendered.contains("geheim"), "{rendered}");
}

#[test]
fn styled_and_plain_say_the_same() {
    let source = data("kinds.yaml");
    let read = read(std::slice::from_ref(&source));
    let sources = [source];
    let styled = render(&read.findings, &sources, Style::Styled);
    let mut plain = String::new();
    let mut rest = styled.as_str();
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        rest = after.split_once('m').map_or("", |(_, after)| after);
    }
    plain.push_str(rest);
    assert_eq!(plain, render(&read.findings, &sources, Style::Plain));
}

#[test]
fn nothing_of_ours_in_a_text_is_an_error_but_foreign_documents_are_left_alone() {
    assert_eq!(codes_of(&read(&[Source::new("empty", "")])), ["FD1010"]);
    let foreign = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n";
    assert_eq!(codes_of(&read(&[Source::new("x", foreign)])), ["FD1010", "FD1013"]);
    let both = format!(
        "{foreign}---\napiVersion: firedrill.dev/v1alpha1\nkind: Guardrail\nmetadata: {{name: a}}\nspec: {{}}\n"
    );
    assert_eq!(codes_of(&read(&[Source::new("x", both)])), ["FD1013"]);
}

/// Every code of the family that a file can cause is caused by a file here.
#[test]
fn every_code_is_shown_by_a_file() {
    let mut sources: Vec<Source> = files("src/api/check/testdata").iter().map(|path| source(path)).collect();
    sources.push(Source::new("latin1", b"a: \xe4".to_vec()));
    sources.push(data("accepted.yaml"));
    let found = codes_of(&read(&sources));
    let missing: Vec<String> =
        codes::CODES.iter().map(|info| info.code.to_string()).filter(|code| !found.contains(code)).collect();
    assert_eq!(missing, Vec::<String>::new());
}

/// Removes the entry at a path of indices; None when there is none.
fn without(json: &serde_json::Value, path: &[String]) -> serde_json::Value {
    let mut copy = json.clone();
    let (last, parents) = path.split_last().expect("a path has a last part");
    let parent = parents.iter().try_fold(&mut copy, |value, part| match value {
        serde_json::Value::Array(items) => items.get_mut(part.parse::<usize>().ok()?),
        other => other.get_mut(part),
    });
    if let Some(serde_json::Value::Object(map)) = parent {
        map.remove(last);
    }
    copy
}

fn paths(json: &serde_json::Value, above: &[String], into: &mut Vec<Vec<String>>) {
    let below = |part: String| [above, &[part]].concat();
    match json {
        serde_json::Value::Object(map) => {
            for (key, value) in map {
                into.push(below(key.clone()));
                paths(value, &below(key.clone()), into);
            }
        }
        serde_json::Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                paths(value, &below(index.to_string()), into);
            }
        }
        _ => {}
    }
}

/// Schema and types cannot drift apart: each field that is given means something to what is decoded.
#[test]
fn every_accepted_field_is_decoded() {
    /// Read by the controller; or written out with its default.
    const SILENT: &[&str] = &["serviceAccountName"];
    const DEFAULTS: &[&str] = &["every", "for", "role", "onMissing", "onViolation", "scheme", "path"];
    let read = read(&[data("accepted.yaml")]);
    let json = &read.documents[0].json;
    let whole = Experiment::from_value(json).expect("it was accepted");
    let mut all = Vec::new();
    paths(&json["spec"], &["spec".to_owned()], &mut all);
    assert!(all.len() > 100);
    for path in all {
        let name = path.last().expect("never empty").as_str();
        // Of a parameter its value is what counts.
        let told = path[1] == "parameters" && ["description", "pattern"].contains(&name);
        if told || SILENT.contains(&name) || DEFAULTS.contains(&name) {
            continue;
        }
        match Experiment::from_value(&without(json, &path)) {
            Err(_) => {}
            Ok(less) => assert_ne!(format!("{less:?}"), format!("{whole:?}"), "{path:?} is not decoded"),
        }
    }
}

/// And the other way round: a supported field of the schema is given in that file.
#[test]
fn every_supported_field_is_in_the_accepted_file() {
    fn below(schema: &crate::api::schema::Schema, nodes: &[&Node], path: &str, missing: &mut Vec<String>) {
        let items: Vec<&Node> = nodes
            .iter()
            .flat_map(
                |node| if node.items().is_empty() { vec![*node] } else { node.items().iter().collect() },
            )
            .collect();
        for field in schema.item().fields().iter().filter(|field| field.schema.supported) {
            let path = format!("{path}.{}", field.name);
            let values: Vec<&Node> = items.iter().filter_map(|node| node.get(&field.name)).collect();
            if values.is_empty() { missing.push(path) } else { below(&field.schema, &values, &path, missing) }
        }
    }
    let parsed = yaml::parse(&data("accepted.yaml").bytes);
    let schema = &kind("Experiment").expect("a kind").spec;
    let mut missing = Vec::new();
    below(schema, &[parsed.documents[0].get("spec").expect("a spec")], "spec", &mut missing);
    // Alternatives of what is given, decoded by the same types or handed on as they are.
    missing.retain(|path| {
        !["auth", "tls", "ca", "selector", "pods", "nodes", "replicas"]
            .iter()
            .any(|part| path.split('.').any(|p| p == *part))
    });
    assert_eq!(
        missing,
        vec![
            "spec.prometheus.server",
            "spec.steadyState.alert.server",
            "spec.steadyState.prometheus.service",
            "spec.steadyState.slo.server"
        ]
    );
}

const ACCEPTED: &str = include_str!("testdata/accepted.yaml");

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn any_text_after_a_good_beginning_is_survived(rest in "[ -~\\n\\t\u{e4}\u{1f600}]{0,200}") {
        let head = "apiVersion: firedrill.dev/v1alpha1\nkind: Experiment\nmetadata: {name: a}\nspec:\n  method:\n  - ";
        let source = Source::new("x", format!("{head}{rest}"));
        let read = read(std::slice::from_ref(&source));
        prop_assert!(read.has_errors());
        render(&read.findings, &[source], Style::Styled);
    }

    /// Mutated files are refused with places, or accepted and decoded; never a panic, never a document
    /// that check lets through and the types refuse.
    #[test]
    fn what_check_accepts_decodes(
        line in 0..ACCEPTED.lines().count(),
        other in 0..ACCEPTED.lines().count(),
        put in "(|#|- wait: 1s|    for: 3s|  [a-z]{1,5}: [a-z0-9%]{1,4}|[ -~]{0,20})",
        what in 0..3,
    ) {
        let mut lines: Vec<&str> = ACCEPTED.lines().collect();
        match what {
            0 => { lines.remove(line); }
            1 => lines[line] = &put,
            _ => lines.swap(line, other),
        }
        let read = read(&[Source::new("mutated", lines.join("\n"))]);
        for finding in &read.findings {
            prop_assert!(finding.place.is_some());
            prop_assert!(finding.subject != "document" || finding.message.contains("a document is") || finding.code != codes::TYPE, "{finding:?}");
        }
        let left_out = |finding: &Finding| {
            finding.is_error() || finding.code == codes::PARAMETER || finding.code == codes::FOREIGN
        };
        prop_assert_eq!(read.documents.len() < 2, read.findings.iter().any(left_out));
    }
}

/// Who refuses what: `tests/format/refused/table.tsv` lists each sample; the same table is held against a
/// real API server where there is one. Here: check refuses all of them, each with the code in its name.
#[test]
fn check_refuses_every_sample_with_its_code() {
    let table = include_str!("../../../tests/format/refused/table.tsv");
    let rows: Vec<(&str, &str)> = table
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('\t'))
        .collect();
    let beside: Vec<Source> = files("tests/format/examples").iter().map(|path| source(path)).collect();
    let given = Given { beside, ..Given::default() };
    let files = files("tests/format/refused");
    let stems: Vec<String> =
        files.iter().map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned()).collect();
    assert_eq!(stems, rows.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    for ((name, by), path) in rows.iter().zip(&files) {
        assert!(["client", "server", "check"].contains(by), "{name}: {by}");
        let source = source(path);
        let read = read_with(std::slice::from_ref(&source), &given);
        let found = codes_of(&read);
        let rendered = render(&read.findings, &[source], Style::Plain);
        assert!(read.documents.is_empty(), "{name} is accepted");
        assert!(found.contains(&name[..6].to_owned()), "{name}: {rendered}");
        // One mistake is one finding, but where a field vanished with what was wrong.
        assert!(found.len() == 1 || ["FD1004-merge-key"].contains(name), "{name}: {rendered}");
    }
}

/// A megabyte of mistakes costs no more than a moment.
#[test]
fn hostile_sizes_are_bounded() {
    let head = "apiVersion: firedrill.dev/v1alpha1\nkind: Experiment\nmetadata: {name: a}\nspec:\n";
    let keys: String = (0..20_000).map(|at| format!("  key{at}: 1\n")).collect();
    let steps: String = (0..20_000).map(|_| "  - revert: x\n").collect();
    let same: String = "  a: 1\n".repeat(20_000);
    for text in [format!("{head}{keys}"), format!("{head}  method:\n{steps}"), format!("{head}{same}")] {
        assert!(text.len() < yaml::MAX_BYTES);
        let begin = tokio::time::Instant::now();
        let read = read(&[Source::new("x", text)]);
        assert!(read.has_errors() && read.findings.len() <= 1000, "{}", read.findings.len());
        assert!(begin.elapsed() < std::time::Duration::from_secs(30), "{:?}", begin.elapsed());
    }
}
