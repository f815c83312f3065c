//! Remedies that can be followed in a rehearsal: there is no cluster that kubectl could be asked about.

use super::Facts;
use crate::types::{CodeInfo, Finding, codes::guard};

/// The findings with remedies about the rehearsal's own world in place of kubectl's; `manifests` is where that is
/// described.
pub fn without_a_cluster(findings: &mut [Finding], manifests: &str) {
    for finding in findings.iter_mut().filter(|finding| finding.remedy.contains("kubectl")) {
        finding.remedy = match &finding.code {
            code if *code == guard::NO_CONSENT => {
                let namespace = finding.subject.trim_start_matches("namespace/");
                format!(
                    "label namespace {namespace} firedrill.dev/allowed: \"true\" in {manifests}, or --allow-namespace {namespace}"
                )
            }
            _ if finding.remedy.starts_with("wait") => {
                "let a wait or a check come before it, until that is over".to_owned()
            }
            _ => format!("all that there is in this rehearsal is in {manifests}"),
        };
    }
}

/// What the catalogue says to do about a code, where it can be done: in a rehearsal nothing with kubectl.
pub(super) fn resolution(facts: &Facts, info: &CodeInfo) -> Option<&'static str> {
    (!facts.place.rehearsal || !info.resolution.contains("kubectl")).then_some(info.resolution)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_remedy_sends_to_a_cluster_that_is_not_there() {
        let finding = |code, remedy: &str| Finding::error(code, "namespace/shop", "no").remedy(remedy);
        let mut findings = [
            finding(guard::NO_CONSENT, "kubectl label namespace shop firedrill.dev/allowed=true"),
            finding(guard::ROLLOUT, "wait: kubectl rollout status deployment/checkout -n shop"),
            finding(guard::NO_TARGET, "kubectl get pods,nodes --show-labels shows what there is"),
            finding(guard::POD_LIMIT, "hit fewer"),
        ];
        without_a_cluster(&mut findings, "the manifests");
        let remedies: Vec<&str> = findings.iter().map(|finding| finding.remedy.as_str()).collect();
        assert!(remedies.iter().all(|remedy| !remedy.contains("kubectl")), "{remedies:?}");
        assert!(remedies[0].contains("--allow-namespace shop"));
        assert!(remedies[1].contains("a wait or a check"));
        assert!(remedies[2].contains("in the manifests"));
        assert_eq!(remedies[3], "hit fewer");
    }
}
