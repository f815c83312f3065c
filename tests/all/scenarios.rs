//! One table of scenarios, for the embedded cluster and for real ones.

use firedrill::types::Verdict;

use crate::kit::{Stage, in_virtual_time, shop};

#[test]
fn the_first_experiment_passes() {
    in_virtual_time(async {
        let stage = Stage::new(&shop(), 7).await;
        let before = stage.state();
        let text = include_str!("../../experiments/checkout-survives-pod-loss.yaml");
        let ran = stage.run(stage.request(text, 7)).await.expect("not refused");
        assert_eq!(ran.verdict(), Verdict::Passed);
        assert_eq!(stage.state(), before);
    });
}
