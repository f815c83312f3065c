//! Half of 200 pods killed: by the engine, and by the same deletes sent bare.

use firedrill::{
    journal::Record,
    types::{ObjectRef, Verdict},
};
use tokio::time::Instant;

use super::{
    bare,
    bench::{Bench, NAMESPACE, Outcome},
    figures::{Table, median},
};

const APP: &str = "killed";
const PODS: usize = 200;
const KILLED: usize = 100;

/// 100 of 200.
pub async fn half(bench: &Bench, table: &mut Table) -> Outcome {
    bench.deploy(APP, PODS, None).await?;
    let (mut engine, mut spread, mut hand, mut hand_spread) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds.min(10) {
        whole(bench).await?;
        let (time, apart) = by_engine(bench).await?;
        engine.push(time);
        spread.push(apart);
        whole(bench).await?;
        let (time, apart) = by_hand(bench).await?;
        hand.push(time);
        hand_spread.push(apart);
    }
    bench.undeploy(APP).await?;
    let (engine, hand) = (median(&engine), median(&hand));
    table.note("kill of 100 of 200 pods: firedrill, intent to all gone", engine, "ms");
    table.note("kill of 100 of 200 pods: bare, until all are gone", hand, "ms");
    table.note("kill of 100 of 200 pods: first to last delete answered, firedrill", median(&spread), "ms");
    table.note("kill of 100 of 200 pods: first to last delete answered, bare", median(&hand_spread), "ms");
    table.at_most("kill of 100 of 200 pods: firedrill / bare", engine / hand, (1.5, "×"));
    Ok(())
}

async fn whole(bench: &Bench) -> Outcome {
    bench
        .until("whole again", |snapshot| {
            snapshot.pods_in(NAMESPACE).filter(|pod| pod.ready && !pod.terminating).count() == PODS
        })
        .await
}

async fn by_engine(bench: &Bench) -> Outcome<(f64, f64)> {
    let method = format!(
        "  - name: kill\n    target: {{workload: deployment/{APP}, count: {KILLED}}}\n    podKill: {{gracePeriod: 0s}}\n"
    );
    let probe = format!(
        "  - name: pods\n    kubernetes: {{apiVersion: apps/v1, kind: Deployment, name: {APP}}}\n    \
         value: object.status.readyReplicas\n    expect: value >= 0\n"
    );
    let ran = bench.run(&method, &probe, |_| {}, Verdict::Passed).await?;
    let seen = |record: &Record| matches!(record, Record::EffectSeen { .. });
    let injected = |record: &Record| matches!(record, Record::Injected { .. });
    let time = ran.between(|record| matches!(record, Record::InjectIntended { .. }), seen)?;
    Ok((time, ran.between(injected, injected)?))
}

async fn by_hand(bench: &Bench) -> Outcome<(f64, f64)> {
    let snapshot = bench.mirror.snapshot();
    let pods: Vec<ObjectRef> =
        snapshot.pods_in(NAMESPACE).take(KILLED).map(|pod| pod.object.clone()).collect();
    let start = Instant::now();
    let (first, last) = bare::delete(&bench.bare, &pods, 0).await?;
    bench.until("killed pods gone", |snapshot| pods.iter().all(|pod| snapshot.pod(pod).is_none())).await?;
    Ok((start.elapsed().as_secs_f64() * 1_000.0, last - first))
}
