//! Loads that are refused: nothing is sent to where nothing can be, or nobody may. What a load does where it can be
//! sent is in `tests/all/loads.rs` and, over sockets, beside the sender.

use crate::scenarios::{
    objects::{account, any, deployment, place},
    row::{Row, row},
};

fn to(name: &'static str, url: &str) -> Row {
    let (place, web) = (place(), deployment("web", 2));
    let surge =
        format!("  - name: surge\n    load: {{url: '{url}', requestsPerSecond: 10}}\n    duration: 5s");
    row(name).objects(&[&place, &web]).spec(&any(), &surge, "").never(&["LoadStarted"])
}

fn by_a_pod(name: &'static str) -> Row {
    let surge = "  - name: surge\n    load: {from: Pod, url: 'http://nobody.$NS.svc/', requestsPerSecond: 10}\n    duration: 5s";
    to(name, "").spec(&any(), surge, "")
}

/// Loads.
pub fn load() -> Vec<Row> {
    vec![
        // RFC 2606, section 2: never resolved.
        to("load-to-nowhere", "http://nowhere.invalid/").refused(&["FD2031"]),
        to("load-to-a-service-that-is-not-there", "http://nobody.$NS.svc/").refused(&["FD2031"]),
        by_a_pod("load-from-a-pod-without-the-rights")
            .objects(&[
                &place(),
                &deployment("web", 2),
                &account("- {apiGroups: [\"\"], resources: [pods], verbs: [delete]}"),
            ])
            .by_account()
            .refused(&["FD2001"]),
        by_a_pod("load-from-a-pod-to-nobody").refused(&["FD2031"]),
        to("load-on-a-protected-namespace", "http://nobody.kube-system.svc/").refused(&["FD2004", "FD2031"]),
    ]
}
