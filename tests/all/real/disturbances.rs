//! Faults of agents on real nodes, seen from inside other pods: before, while they are in force, and afterwards.

use futures::{StreamExt as _, stream};

use super::{
    agents, define, in_short,
    sight::{Watch, judge},
    wanted,
};
use crate::scenarios::{
    bench::Real,
    blocking, play,
    row::{Judged, Row},
};

/// Rows in flight at once: what they see is told apart from a busy machine.
const AT_ONCE: usize = 3;

/// Plays a row while its pods look at each other; what was seen, in words.
async fn watched(real: &Real, row: &Row) -> Result<String, String> {
    let place = real.place(row).await?;
    crate::scenarios::bench::settled(&place.client, row).await?;
    let watch = Watch::start(place.client.clone(), row);
    // What there is before has to be seen as well.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let played = play(&place, row).await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let lines = watch.end().await;
    let played = played?;
    match judge(row, &lines, &played.entries) {
        Ok(figures) => Ok(std::iter::once(played.summary).chain(figures).collect::<Vec<_>>().join("\n    ")),
        Err(wrong) => Err(format!("{}: seen by its neighbours:\n  {}", row.name, wrong.join("\n  "))),
    }
}

async fn told(real: &Real, row: Row) -> Result<(), String> {
    let begun = tokio::time::Instant::now();
    let result = watched(real, &row).await;
    real.clear(&row).await;
    let took = begun.elapsed().as_secs_f64();
    match &result {
        Ok(said) => println!("{:<28} {took:.1} s, {said}", row.name),
        Err(error) => println!("{:<28} WRONG after {took:.1} s\n{error}", row.name),
    }
    result.map(|_| ())
}

#[test]
fn every_disturbance_is_felt_by_its_neighbours_and_gone_afterwards() {
    let Some(real) = Real::from_env("the faults of agents").filter(Real::has_metrics) else { return };
    blocking(async {
        define(&real).await;
        agents::let_in(&real).await;
        let rows = stream::iter(wanted(Judged::OnBoth));
        let results: Vec<Result<(), String>> =
            rows.map(|row| told(&real, row)).buffer_unordered(AT_ONCE).collect().await;
        let wrong: Vec<String> =
            results.iter().filter_map(|result| result.as_ref().err()).map(|error| in_short(error)).collect();
        assert!(
            wrong.is_empty(),
            "of {} rows {} are wrong:\n{}",
            results.len(),
            wrong.len(),
            wrong.join("\n")
        );
    });
}
