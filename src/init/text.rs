//! The first experiment as text. Pure: the same find, the same file.

use std::fmt::Write as _;

use crate::{
    api::Signal,
    types::{Length, counted},
};

use super::{
    candidates::SIGNALS,
    families::{FAMILIES, IN_FLIGHT, Who, metrics_of},
    found::{Candidate, Found, Loss, Metrics, Sought},
    page::{Page, scalar},
    terms::{Terms, terms, written},
};

/// Longest name of an Experiment: it is a label's value as well.
const NAME_MAX: usize = 63;

/// A file, not yet written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Name of the Experiment.
    pub name: String,
    /// What the file holds.
    pub text: String,
}

/// Writes a first experiment of what was found.
pub fn draft(found: &Found) -> Draft {
    let ending = if found.loss().pods() > 0 { "-survives-pod-loss" } else { "-is-well" };
    let name = experiment_name(&found.name, ending);
    let mut page = Page::default();
    head(&mut page, found, &name);
    hypothesis(&mut page, found);
    source(&mut page, found);
    steady_state(&mut page, found);
    method(&mut page, found);
    Draft { name, text: page.text() }
}

/// A name that the API server takes, from one that may be longer and have dots.
fn experiment_name(workload: &str, ending: &str) -> String {
    let plain: String = workload
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' })
        .collect();
    let room = NAME_MAX - ending.len();
    let short: String = plain.chars().take(room).collect();
    format!("{}{ending}", short.trim_matches('-'))
}

fn head(page: &mut Page, found: &Found, name: &str) {
    let asks = match found.loss() {
        Loss::Half(_) => "does it survive the loss of half of its pods?",
        Loss::One => "does it survive the loss of a pod?",
        Loss::Single | Loss::Degraded => "is it well?",
    };
    page.comment(
        0,
        &format!(
            "A first experiment for deployment/{} in namespace {}: {asks} `firedrill init` wrote it from what it \
             found there, and all of it is meant to be changed. Nothing happens until you run it.",
            found.name, found.namespace
        ),
    );
    page.line(0, "#");
    page.line(0, "#   firedrill plan FILE                             says what a run would do to whom");
    page.line(
        0,
        "#   firedrill explain experiment.spec.steadyState   explains a field, and so for every other",
    );
    if !found.unseen.is_empty() {
        page.line(0, "#");
    }
    for unseen in &found.unseen {
        page.comment(0, &format!("Not looked at: {unseen}."));
    }
    page.line(0, "apiVersion: firedrill.dev/v1alpha1");
    page.line(0, "kind: Experiment");
    page.line(0, "metadata:");
    page.line(2, &format!("name: {}", scalar(name)));
    page.line(2, &format!("namespace: {}", scalar(&found.namespace)));
    page.line(0, "spec:");
}

/// How long the rates of a file take to forget what is over, in seconds.
fn memory(found: &Found) -> u64 {
    let taken = SIGNALS.iter().filter_map(|signal| found.sought(*signal)?.taken.as_ref());
    taken.map(|(candidate, _)| candidate.window).max().unwrap_or(0)
}

/// How long healing may take: the windows of the rates, twice what a pod needs, and a minute; in whole minutes.
fn rto(found: &Found) -> Length {
    let startup = found.startup.map_or(30, |startup| startup.as_secs().min(1800));
    Length::from_secs((memory(found) + 2 * startup + 60).div_ceil(60) * 60)
}

/// Whether it is known how its requests fare.
fn serves(found: &Found) -> bool {
    found.sought(Signal::Errors).is_some_and(|sought| sought.taken.is_some())
}

fn hypothesis(page: &mut Page, found: &Found) {
    let (name, rto) = (&found.name, rto(found));
    let lost = match found.loss() {
        Loss::Half(_) => Some("half of its pods are"),
        Loss::One => Some("one of its pods is"),
        Loss::Single | Loss::Degraded => None,
    };
    let sentence = match (lost, serves(found)) {
        (Some(lost), true) => {
            format!("{name} keeps serving while {lost} killed, and is whole again within {rto}.")
        }
        (Some(lost), false) => format!("When {lost} killed, {name} is whole again within {rto}."),
        (None, true) => format!("{name} serves, and all of its pods are ready."),
        (None, false) => format!("All pods of {name} are ready."),
    };
    page.comment(2, "One sentence that a run can prove wrong: say what your users get, and by when.");
    page.line(2, &format!("hypothesis: {}", scalar(&sentence)));
    page.gap();
}

/// Where PromQL is answered.
fn source(page: &mut Page, found: &Found) {
    let Some(source) = found.source() else { return };
    page.comment(
        2,
        &format!(
            "Where PromQL is answered is said on the command line (`--prometheus {source}`, or \
             $FIREDRILL_PROMETHEUS), so that the same file serves every cluster; a rehearsal answers by itself. To \
             have it here all the same:"
        ),
    );
    let parts = source.strip_prefix("service/").and_then(|rest| {
        let (namespace, rest) = rest.split_once('/')?;
        let (name, port) = rest.split_once(':')?;
        Some(format!("service: {{name: {name}, namespace: {namespace}, port: {port}}}"))
    });
    let parts = parts.unwrap_or_else(|| format!("server: {source:?}"));
    page.off(2, &[format!("prometheus: {{{parts}}}")]);
    page.gap();
}

fn steady_state(page: &mut Page, found: &Found) {
    page.comment(
        2,
        "What normal looks like. `expect` has to hold before anything is broken (else nothing is), and again for \
         recovery. `during` is how far it may slip in between: beyond that for longer than `for`, 10s unless a probe \
         says otherwise, the run ends, is Failed, and everything is put back. What is \"now\" here was so when this \
         was written.",
    );
    if let Metrics::Unasked(why) = &found.metrics {
        page.comment(2, &format!("Of the four golden signals none is here yet: {why}."));
    }
    page.line(2, "steadyState:");
    for signal in SIGNALS {
        golden(page, found, signal);
    }
    replicas(page, found);
}

/// Name of a signal's probe.
fn probe(signal: Signal) -> &'static str {
    match signal {
        Signal::Errors => "availability",
        Signal::Latency => "latency",
        Signal::Traffic => "requests",
        Signal::Saturation => "saturation",
    }
}

fn golden(page: &mut Page, found: &Found, signal: Signal) {
    let none = Sought::default();
    let sought = found.sought(signal).unwrap_or(&none);
    match &sought.taken {
        Some((candidate, seen)) => taken(page, signal, (candidate, *seen), &sought.others),
        None => missing(page, found, signal, sought),
    }
    page.gap();
}

/// A probe that is there.
fn taken(page: &mut Page, signal: Signal, (candidate, seen): (&Candidate, f64), others: &[Candidate]) {
    let Terms { expect, during, why } = terms(candidate.unit, seen);
    let what = match signal {
        Signal::Latency if candidate.query.contains("0.99") => "99th of a hundred requests",
        Signal::Latency => "mean of all requests",
        _ => "",
    };
    let unit = candidate.unit.words();
    let unit = if what.is_empty() { unit.to_owned() } else { format!("{unit}, {what}") };
    let mut words = format!(
        "{signal:?}, from {} ({}). Now: {} ({unit}). {why}",
        candidate.metric,
        candidate.writer,
        written(seen)
    );
    if !candidate.caveat.is_empty() {
        let _ = write!(words, " {}", candidate.caveat);
    }
    if !others.is_empty() {
        let names: Vec<String> =
            others.iter().map(|other| format!("{} ({})", other.metric, other.unit.words())).collect();
        let _ = write!(words, " There is also {}.", names.join(", "));
    }
    page.comment(2, &words);
    for line in probe_lines(signal, &candidate.query) {
        page.line(2, &line);
    }
    match expect {
        Some(expect) => {
            page.line(4, &format!("expect: {expect}"));
            page.line(4, &format!("during: {during}"));
        }
        None => page.line(4, "role: Informational"),
    }
}

fn probe_lines(signal: Signal, query: &str) -> Vec<String> {
    let mut lines = vec![format!("- name: {}", probe(signal)), format!("  signal: {signal:?}")];
    lines.push("  prometheus:".to_owned());
    lines.push("    query: |".to_owned());
    lines.extend(query.lines().map(|line| format!("      {line}")));
    lines
}

/// Why a signal has no probe, and one to fill in.
fn missing(page: &mut Page, found: &Found, signal: Signal, sought: &Sought) {
    let example = example(signal);
    let (why, query, expect) = match (&found.metrics, sought.silent.first()) {
        (Metrics::Unasked(_), _) => (
            format!("{signal:?}: take the marks away and put the name of a metric of yours in."),
            example.0.to_owned(),
            example.1,
        ),
        (Metrics::Asked { source, .. }, Some(silent)) => (
            format!(
                "{signal:?}: {source} has {} of it ({}), and it gives no number now, as when nobody asks anything. \
                 Send it some requests and let `firedrill init` look again, or take the marks away.",
                silent.metric, silent.identity
            ),
            silent.query.clone(),
            example.1,
        ),
        (Metrics::Asked { source, .. }, None) => (
            format!(
                "{signal:?}: nothing was found. {source} was asked for {} with labels of this workload (its \
                 namespace, with its pods, Services, app or job). If yours has another name, put it in here:",
                looked_for(signal).join(", ")
            ),
            example.0.to_owned(),
            example.1,
        ),
    };
    page.comment(2, &why);
    let mut lines = probe_lines(signal, &query);
    lines.extend(expect.iter().map(|line| format!("  {line}")));
    page.off(2, &lines);
    let service = found.services.iter().find_map(|service| Some((&service.name, service.port?)));
    if let (Signal::Errors, Some((name, port))) = (signal, service) {
        page.comment(2, "Without metrics a request can be sent instead, through the API server's proxy:");
        let url = format!("http://{name}.{}.svc:{port}/", found.namespace);
        page.off(
            2,
            &[
                "- name: answers".to_owned(),
                "  signal: Errors".to_owned(),
                format!("  http: {{url: {url:?}}}"),
                "  expect: status == 200 && latency <= 1.0".to_owned(),
            ],
        );
    }
}

/// A query with a name to fill in, and what to expect of it.
fn example(signal: Signal) -> (&'static str, [&'static str; 2]) {
    match signal {
        Signal::Errors => (
            "sum(rate(MY_REQUESTS_TOTAL{code!~\"5..\"}[1m]))\n  / sum(rate(MY_REQUESTS_TOTAL[1m]))",
            ["expect: value >= 0.99", "during: value >= 0.95"],
        ),
        Signal::Latency => (
            "histogram_quantile(0.99, sum by (le) (rate(MY_DURATION_SECONDS_BUCKET[1m])))",
            ["expect: value <= 0.5", "during: value <= 1.0"],
        ),
        Signal::Traffic => ("sum(rate(MY_REQUESTS_TOTAL[1m]))", ["expect: value >= 1.0", "during: \"true\""]),
        Signal::Saturation => ("sum(MY_QUEUE_LENGTH)", ["expect: value <= 100.0", "during: \"true\""]),
    }
}

/// Metrics that a signal was looked for in.
fn looked_for(signal: Signal) -> Vec<String> {
    let families = FAMILIES.iter();
    match signal {
        Signal::Errors | Signal::Traffic => {
            families.flat_map(|family| family.counts).map(|name| (*name).to_owned()).collect()
        }
        Signal::Latency => {
            families.filter_map(|family| family.durations).map(|(name, _)| format!("{name}_bucket")).collect()
        }
        Signal::Saturation => {
            let gauges = IN_FLIGHT.iter().map(|(name, _)| (*name).to_owned());
            metrics_of(Who::Pods).into_iter().chain(gauges).chain(metrics_of(Who::Autoscaler)).collect()
        }
    }
}

fn replicas(page: &mut Page, found: &Found) {
    let name = scalar(&found.name);
    let least = match &found.autoscaler {
        // It may well want fewer by then.
        Some(_) => 1,
        None => found.ready.saturating_sub(found.loss().pods()).max(1),
    };
    page.comment(
        2,
        &format!(
            "Its pods, asked of the API server: {} of {} ready now. `expect` compares with what is wanted at the time, \
             not with a number.",
            found.ready, found.replicas
        ),
    );
    page.line(2, "- name: replicas");
    page.line(4, &format!("kubernetes: {{apiVersion: apps/v1, kind: Deployment, name: {name}}}"));
    page.line(4, "value: object.status.readyReplicas");
    page.line(4, "expect: object.status.readyReplicas == object.spec.replicas");
    page.line(4, &format!("during: value >= {least}"));
    page.gap();
    if let Some(autoscaler) = &found.autoscaler {
        page.comment(
            2,
            &format!(
                "HorizontalPodAutoscaler {} moves the replicas between {} and {}. What it wants is recorded and not \
                 judged: a scale-out during a run is not held against it.",
                autoscaler.name, autoscaler.min, autoscaler.max
            ),
        );
        page.line(2, "- name: autoscaler");
        let name = scalar(&autoscaler.name);
        page.line(
            4,
            &format!(
                "kubernetes: {{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, name: {name}}}"
            ),
        );
        page.line(4, "value: object.status.desiredReplicas");
        page.line(4, "role: Informational");
        page.gap();
    }
}

/// The step that breaks something.
fn fault_lines(found: &Found) -> Vec<String> {
    let (step, count) = match found.loss() {
        Loss::Half(_) => ("lose-half", "50%"),
        _ => ("lose-one", "1"),
    };
    vec![
        format!("- name: {step}"),
        format!("  target: {{workload: deployment/{}, count: {count}}}", found.name),
        "  podKill: {gracePeriod: 1s}".to_owned(),
    ]
}

fn method(page: &mut Page, found: &Found) {
    let rto = rto(found);
    let check = ["- name: whole-again".to_owned(), format!("  check: {{probe: replicas, within: {rto}}}")];
    let missing = found.replicas.saturating_sub(found.ready);
    let why = match found.loss() {
        Loss::Half(_) | Loss::One => {
            page.comment(2, &breaking(found));
            page.line(2, "method:");
            for line in fault_lines(found).iter().chain(&check) {
                page.line(2, line);
            }
            page.gap();
            return limits(page, found);
        }
        Loss::Single => {
            "There is no method, so a run verifies the steady state and breaks nothing: with one replica \
                         every loss is an outage, and how it heals is no question. With a second one:"
                .to_owned()
        }
        Loss::Degraded => format!(
            "There is no method, so a run verifies the steady state and breaks nothing: {} of {} not ready as it is, \
             and no more than half may be. Once it is whole:",
            counted(missing, "pod"),
            if missing == 1 { format!("{} is", found.replicas) } else { format!("{} are", found.replicas) },
        ),
    };
    page.comment(2, &why);
    let mut lines = vec!["method:".to_owned()];
    lines.extend(fault_lines(found));
    lines.extend(check);
    page.off(2, &lines);
}

/// What the fault does, and what it does not.
fn breaking(found: &Found) -> String {
    let mut words = "What is broken, step by step. podKill deletes pods as a crash does, whatever a \
                     PodDisruptionBudget says; `count` is a number, a share or all."
        .to_owned();
    match found.budgets.first() {
        Some((name, rule)) => {
            let _ = write!(words, " podEvict in its place asks {name} ({rule}), as the drain of a node does.");
        }
        None => words.push_str(
            " No PodDisruptionBudget covers them: nothing keeps a drain from taking all at once, which nodeDrain \
             would show.",
        ),
    }
    words
}

fn limits(page: &mut Page, found: &Found) {
    let rto = rto(found);
    let mut reasons = Vec::new();
    if let Some(startup) = found.startup {
        reasons.push(format!("a pod needs {} to be ready", Length::from_secs(startup.as_secs().max(1))));
    }
    if memory(found) > 0 {
        reasons
            .push(format!("rates over {0} remember what is over for {0}", Length::from_secs(memory(found))));
    }
    let reasons = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", and ")) };
    let longer = Length::from_secs(rto.0.as_secs() + 60);
    page.comment(
        2,
        &format!(
            "Promises that are judged: `rto`, from the first fault seen until all is well again for good{reasons}; \
             `recoverWithin`, the same from the last fault lifted."
        ),
    );
    page.line(2, &format!("objectives: {{rto: {rto}, recoverWithin: {longer}}}"));
    page.comment(
        2,
        "However the run goes, no more pods than this are not ready by its doing, and it takes no longer.",
    );
    let most = Length::from_secs((3 * rto.0.as_secs()).max(600));
    page.line(2, &format!("limits: {{pods: 50%, duration: {most}}}"));
}
