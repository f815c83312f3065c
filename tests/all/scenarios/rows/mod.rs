//! The table.

mod agents;
mod clamp;
mod cordon;
mod cut;
mod disturbances;
mod drain;
mod evict;
mod guard;
mod kill;
mod load;
mod method;
mod metrics;
mod nodes;
mod release;
mod restart;
mod rounds;
mod scale;
mod taint;
mod terminate;
mod zone;

pub use self::{
    agents::agents,
    clamp::clamp,
    cordon::cordon,
    cut::dependency_cut,
    disturbances::{disturbances, program},
    drain::drain,
    evict::evict,
    guard::guard,
    kill::kill,
    load::load,
    method::{method, namespace_deleted},
    metrics::metrics,
    nodes::nodes,
    release::release,
    restart::restart,
    rounds::rounds,
    scale::scale,
    taint::taint,
    terminate::terminate,
    zone::zone,
};

use super::{
    objects::{budget, deployment, place, stateful_set},
    row::Row,
};

/// The whole table.
pub fn all() -> Vec<Row> {
    let faults = [
        kill(),
        evict(),
        drain(),
        cordon(),
        taint(),
        zone(),
        scale(),
        restart(),
        clamp(),
        release(),
        dependency_cut(),
        terminate(),
        agents(),
        disturbances(),
    ];
    let others = [method(), rounds(), load(), guard(), metrics(), nodes()];
    faults.into_iter().chain(others).flatten().collect()
}

/// What the API server is asked about: pods under no budget, under one that is spent, and under two.
pub fn answering() -> Vec<String> {
    vec![
        place(),
        deployment("web", 2),
        stateful_set("stuck", 1),
        budget("stuck", "stuck", "minAvailable: 1"),
        stateful_set("twice", 1),
        budget("twice", "twice", "minAvailable: 0"),
        budget("again", "twice", "minAvailable: 0"),
    ]
}
