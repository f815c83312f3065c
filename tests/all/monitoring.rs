//! What watches the controller reads what it tells: dashboard, alerts and documentation name the metrics that there
//! are, with the labels that they have.

use std::collections::{BTreeMap, BTreeSet};

use firedrill::{
    controller::metrics::{GameDayTold, Metrics},
    sim::{Sim, SimConfig},
    types::Verdict,
};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, api::ListParams};
use promql_parser::parser::{Expr, VectorSelector};
use serde_json::Value;

use crate::{kit::in_virtual_time, tidy::text};

const ALERTS: &str = "charts/firedrill/alerts/firedrill.yaml";
const DASHBOARD: &str = "charts/firedrill/dashboards/firedrill.json";
const DOCS: &str = "docs/observability.md";

/// A page with everything that can be on it.
fn page() -> String {
    let metrics = Metrics::default();
    let held = GameDayTold {
        overdue: true,
        verdict: Some(Verdict::Passed),
        succeeded: Some("2026-11-24T10:00:00Z".parse().expect("a time")),
    };
    metrics.set_game_day("shop", "weekly", held);
    in_virtual_time(async {
        let client = metrics.counting(&Sim::new(&SimConfig::default()).client());
        let spaces: Api<Namespace> = Api::all(client);
        spaces.list(&ListParams::default()).await.expect("an answer");
    });
    metrics.render()
}

/// Names of series, with their labels.
fn told() -> BTreeMap<String, BTreeSet<String>> {
    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in page().lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').expect("a sample");
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let labels = labels.split("\",").filter_map(|label| label.split_once('=')).map(|(name, _)| name);
        told.entry(name.to_owned()).or_default().extend(labels.map(str::to_owned));
    }
    told
}

fn families() -> BTreeSet<String> {
    let page = page();
    let heads = page.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' '));
    heads.map(|(name, _)| name.to_owned()).collect()
}

/// Alert, expression, annotations.
fn alerts() -> Vec<(String, String, Value)> {
    let file: Value = serde_yaml::from_str(&text(ALERTS)).expect("YAML");
    let groups = file["groups"].as_array().expect("groups").iter();
    let rules = groups.flat_map(|group| group["rules"].as_array().expect("rules"));
    let word = |value: &Value| value.as_str().expect("a text").to_owned();
    rules.map(|rule| (word(&rule["alert"]), word(&rule["expr"]), rule["annotations"].clone())).collect()
}

/// Title of the panel, and expression; Grafana's own variables are filled in.
fn panels() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&text(DASHBOARD)).expect("JSON");
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        let title = panel["title"].as_str().expect("a title");
        for target in panel["targets"].as_array().expect("targets") {
            let expr = target["expr"].as_str().expect("an expression");
            let expr = expr.replace("$__rate_interval", "5m").replace("$__range", "1d");
            assert!(!expr.contains('$'), "{title}: {expr}");
            found.push((title.to_owned(), expr));
        }
    }
    found
}

/// What an expression reads and groups by that is not told.
fn unknown(expr: &str) -> Vec<String> {
    let parsed = promql_parser::parser::parse(expr).unwrap_or_else(|error| panic!("{expr}: {error}"));
    let mut wrong = Vec::new();
    let read = reads(&parsed, &told(), &mut wrong);
    assert!(!read.is_empty() || !wrong.is_empty(), "{expr} reads nothing");
    wrong
}

/// The labels of what an expression reads.
fn reads(
    expression: &Expr,
    told: &BTreeMap<String, BTreeSet<String>>,
    wrong: &mut Vec<String>,
) -> BTreeSet<String> {
    let mut selector = |selector: &VectorSelector| {
        let name = selector.name.clone().unwrap_or_default();
        let Some(labels) = told.get(&name) else {
            wrong.push(format!("no metric {name}"));
            return BTreeSet::new();
        };
        let asked = selector.matchers.matchers.iter().map(|matcher| &matcher.name);
        wrong.extend(
            asked.filter(|label| !labels.contains(*label)).map(|label| format!("no {label} of {name}")),
        );
        // A series without labels is read all the same.
        labels.iter().cloned().chain([format!("of {name}")]).collect()
    };
    match expression {
        Expr::Aggregate(aggregate) => {
            let labels = reads(&aggregate.expr, told, wrong);
            let by = aggregate.modifier.iter().flat_map(|by| &by.labels().labels);
            wrong.extend(
                by.filter(|label| !labels.contains(*label)).map(|label| format!("no {label} to group by")),
            );
            labels
        }
        Expr::Unary(unary) => reads(&unary.expr, told, wrong),
        Expr::Paren(paren) => reads(&paren.expr, told, wrong),
        Expr::Subquery(subquery) => reads(&subquery.expr, told, wrong),
        Expr::Binary(binary) => {
            let mut labels = reads(&binary.lhs, told, wrong);
            labels.extend(reads(&binary.rhs, told, wrong));
            labels
        }
        Expr::Call(call) => call.args.args.iter().flat_map(|one| reads(one, told, wrong)).collect(),
        Expr::VectorSelector(one) => selector(one),
        Expr::MatrixSelector(matrix) => selector(&matrix.vs),
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => BTreeSet::new(),
    }
}

#[test]
fn alerts_and_dashboard_read_what_the_controller_tells() {
    let (alerts, panels) = (alerts(), panels());
    assert!(alerts.len() > 5 && panels.len() > 15, "{} and {}", alerts.len(), panels.len());
    let all = alerts.into_iter().map(|(name, expr, _)| (name, expr)).chain(panels);
    let wrong: Vec<String> = all
        .flat_map(|(place, expr)| unknown(&expr).into_iter().map(move |why| format!("{place}: {why}")))
        .collect();
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn what_is_not_told_is_found_out() {
    for (expr, why) in [
        ("sum(firedrill_runs)", "no metric firedrill_runs"),
        ("rate(firedrill_run_rto_seconds[5m])", "no metric firedrill_run_rto_seconds"),
        ("firedrill_runs_total{outcome=\"Passed\"}", "no outcome of firedrill_runs_total"),
        ("sum by (pod, verdict) (increase(firedrill_runs_total[1d]))", "no pod to group by"),
    ] {
        assert_eq!(unknown(expr), [why], "{expr}");
    }
    assert_eq!(unknown("sum by (le) (rate(firedrill_run_rto_seconds_bucket[5m]))"), Vec::<String>::new());
}

#[test]
fn each_alert_says_what_ought_to_be_how_it_was_found_and_what_to_do() {
    let docs = text(DOCS);
    let mut names = BTreeSet::new();
    for (name, _, words) in alerts() {
        for kind in ["summary", "standard", "discovery", "resolution"] {
            let text = words[kind].as_str().unwrap_or_default();
            assert!(text.len() > 20 && text.ends_with('.'), "{name}: {kind}: {text}");
        }
        assert!(docs.contains(&format!("| `{name}` |")), "{DOCS} does not name {name}");
        assert!(names.insert(name.clone()), "{name} is there twice");
    }
}

#[test]
fn the_table_of_metrics_names_them_all_and_no_others() {
    let docs = text(DOCS);
    let rows = docs.lines().filter_map(|line| line.strip_prefix("| `firedrill_"));
    let named = rows.filter_map(|row| row.split(['`', '{']).next());
    let named: BTreeSet<String> = named.map(|name| format!("firedrill_{name}")).collect();
    assert_eq!(named, families(), "{DOCS}, left, and what the controller tells, right");
}
