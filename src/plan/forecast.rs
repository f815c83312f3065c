//! What can be told beforehand: budgets that never give way, and how early a loss can be noticed.

use std::{collections::BTreeMap, time::Duration};

use super::{Displaced, guard::evicts};
use crate::{
    cluster::{Key, Pdb, Snapshot},
    faults::Injection,
    types::{
        Finding, Length, ObjectRef,
        codes::{guard as code, hazard},
    },
};

/// What the budgets say to the evictions that these injections take: errors for what can never finish,
/// warnings for what has to wait.
pub fn budgets(snapshot: &Snapshot, injections: &[Injection]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut covered: BTreeMap<Key, (&Pdb, usize)> = BTreeMap::new();
    let going = injections
        .iter()
        .flat_map(|injection| injection.displaced.iter().filter(|pod| evicts(injection, pod)));
    for object in going {
        let Some(pod) = snapshot.pod(object) else { continue };
        let budgets: Vec<_> = snapshot.pdbs_of(pod).collect();
        if let [one, two, ..] = budgets[..] {
            let message = format!(
                "PodDisruptionBudgets {} and {} both cover it, so it can never be evicted",
                one.object.name, two.object.name
            );
            findings.push(
                Finding::error(code::TWO_PDBS, object, message).remedy("make their selectors disjoint"),
            );
        } else if let [budget] = budgets[..] {
            let key = (budget.object.namespace.clone(), budget.object.name.clone());
            covered.entry(key).or_insert((budget, 0)).1 += 1;
        }
    }
    for (budget, pods) in covered.into_values() {
        let name = &budget.object.name;
        if budget.allowed > 0 {
            continue;
        }
        if budget.desired >= budget.expected {
            let message = format!(
                "can never finish: PDB {name} allows 0 ({} of {} pods have to be healthy), and {pods} of them would be evicted",
                budget.desired, budget.expected
            );
            findings.push(
                Finding::error(code::PDB_DEADLOCK, &budget.object, message)
                    .remedy("give the workload a replica more than the budget needs, or loosen the budget"),
            );
        } else {
            let message = format!(
                "PDB {name} allows 0 now ({} of {} pods are healthy), so {} to wait for that",
                budget.healthy,
                budget.expected,
                if pods == 1 { "1 eviction has".to_owned() } else { format!("{pods} evictions have") }
            );
            findings.push(Finding::warning(hazard::PDB_WAIT, &budget.object, message));
        }
    }
    findings
}

/// Each pod that goes, with its target, and the workload that has to replace it.
pub(super) fn displaced(snapshot: &Snapshot, injections: &[Injection]) -> Vec<Displaced> {
    let owner_of = |object: &ObjectRef| {
        let owner = snapshot.pod(object).and_then(|pod| snapshot.top_owner(pod));
        owner.map_or_else(
            || "nobody".to_owned(),
            |owner| format!("{}/{}", owner.kind.to_lowercase(), owner.name),
        )
    };
    let of = |injection: &Injection| {
        let with = injection.target.clone();
        let pods = injection.displaced.clone().into_iter();
        pods.map(move |pod| (pod, with.clone()))
    };
    injections.iter().flat_map(of).map(|(pod, with)| Displaced { owner: owner_of(&pod), pod, with }).collect()
}

/// The longest range of a PromQL query (`[1m]`): what happened is spread over that long a window, so it
/// takes that long to show in full.
pub fn query_window(query: &str) -> Duration {
    let mut longest = Duration::ZERO;
    let mut quote = None;
    let mut open = None;
    for (at, c) in query.char_indices() {
        match (quote, c) {
            (Some(q), _) if q == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '[') => open = Some(at + 1),
            (None, ']') => {
                if let Some(range) = open.take().and_then(|open| query.get(open..at)) {
                    // A subquery's range comes before its colon.
                    let range = range.split(':').next().unwrap_or(range).trim();
                    longest = longest.max(range.parse().map_or(Duration::ZERO, |length: Length| length.0));
                }
            }
            _ => {}
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_range_counts_and_strings_do_not() {
        for (query, secs) in [
            ("sum(rate(a[1m])) / sum(rate(b[5m]))", 300),
            (r#"rate(a{b="[9h]"}[30s])"#, 30),
            ("up", 0),
            ("max_over_time(rate(a[1m])[10m:30s])", 600),
            ("a[", 0),
        ] {
            assert_eq!(query_window(query).as_secs(), secs, "{query}");
        }
    }
}
