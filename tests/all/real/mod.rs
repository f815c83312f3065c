//! The same on real servers; see tests/real. Without them these tests say so and pass.

mod agents;
mod answers;
mod calls;
mod clock;
mod disturbances;
mod doctor;
mod endings;
mod impersonation;
mod node;
mod policies;
mod schema;
mod sight;
mod types;

use futures::{StreamExt as _, stream};

use crate::scenarios::{
    bench::{Real, create},
    blocking, play,
    row::{Judged, Row},
    rows,
};

/// Rows in flight at once.
const AT_ONCE: usize = 6;

async fn played(real: &Real, row: Row) -> Result<(), String> {
    let begun = tokio::time::Instant::now();
    let result = match real.place(&row).await {
        Ok(place) => play(&place, &row).await,
        Err(error) => Err(format!("{}: {error}", row.name)),
    };
    real.clear(&row).await;
    let took = begun.elapsed().as_secs_f64();
    match &result {
        Ok(played) => println!("{:<36} {}, {took:.1} s", row.name, played.summary),
        Err(error) => println!("{:<36} WRONG after {took:.1} s\n{error}", row.name),
    }
    result.map(|_| ())
}

fn wanted(judged: Judged) -> Vec<Row> {
    let only = std::env::var("FIREDRILL_BENCH_ROWS").ok();
    let named = |row: &Row| only.as_ref().is_none_or(|only| row.name.contains(only.as_str()));
    rows::all().into_iter().filter(|row| row.judged == judged && named(row)).collect()
}

/// A fixed sample where FIREDRILL_BENCH_SAMPLE says so: every so many of what takes a minute a row.
fn sampled(rows: Vec<Row>) -> Vec<Row> {
    let every = std::env::var("FIREDRILL_BENCH_SAMPLE").ok().and_then(|every| every.parse().ok());
    rows.into_iter().step_by(every.unwrap_or(1).max(1)).collect()
}

/// What is wrong, with how it began and how it ended.
fn in_short(error: &str) -> String {
    let lines: Vec<String> = error.lines().map(|line| line.chars().take(400).collect()).collect();
    let left_out = 3..lines.len().saturating_sub(8).max(3);
    let shown = lines.iter().enumerate().filter(|(number, _)| !left_out.contains(number));
    shown.map(|(_, line)| line.as_str()).collect::<Vec<_>>().join("\n")
}

/// Takes the definitions of our kinds to the server, as `kubectl apply --server-side` does.
async fn define(real: &Real) {
    schema::apply_crds(&real.client()).await;
}

#[test]
fn every_row_ends_the_same_on_a_real_control_plane() {
    let Some(real) = Real::from_env("the table of scenarios").filter(|real| !real.has_metrics()) else {
        return;
    };
    blocking(async {
        define(&real).await;
        let rows = stream::iter(wanted(Judged::Anywhere));
        let beside = rows.map(|row| played(&real, row)).buffer_unordered(AT_ONCE);
        let mut results: Vec<Result<(), String>> = beside.collect().await;
        for row in wanted(Judged::Alone) {
            results.push(played(&real, row).await);
        }
        let of = results.len();
        // Once more, and short: a log may be kept by its end only.
        let wrong: Vec<String> =
            results.into_iter().filter_map(Result::err).map(|error| in_short(&error)).collect();
        assert!(wrong.is_empty(), "of {of} rows {} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    });
}

#[test]
fn every_row_with_metrics_ends_the_same_on_real_nodes() {
    let Some(real) = Real::from_env("the table of scenarios").filter(Real::has_metrics) else { return };
    blocking(async {
        define(&real).await;
        let mut rows = sampled(wanted(Judged::WithMetrics));
        rows.extend(wanted(Judged::OnNodes));
        if let Some(row) = rows.first() {
            create(&real.client(), &crate::kit::manifests(&row.objects)).await.expect("the shop is accepted");
        }
        let mut wrong = Vec::new();
        for row in rows {
            let begun = tokio::time::Instant::now();
            let result = match real.place(&row).await {
                Ok(place) => play(&place, &row).await,
                Err(error) => Err(error),
            };
            let said = result.as_ref().map(|played| &played.summary);
            println!("{:<36} {:.1} s {said:?}", row.name, begun.elapsed().as_secs_f64());
            wrong.extend(result.err());
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}
