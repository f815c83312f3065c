//! Guardrails that are there from the beginning and restrict nothing: what a button is for, somebody has to be able to
//! press at once. Neither says `halt`, so that nothing that applies it again takes a halt back.

use serde_json::{Value, json};

use crate::{api::API_VERSION, controller::DRAIN_GUARDRAIL};

/// The red button: on call may change this one, and no other.
pub const HALT_GUARDRAIL: &str = "halt";

pub(super) fn guardrails() -> Vec<Value> {
    let empty = |(name, description): (&str, &str)| {
        json!({
            "apiVersion": API_VERSION, "kind": "Guardrail", "metadata": {"name": name},
            "spec": {"description": description},
        })
    };
    [
        (
            HALT_GUARDRAIL,
            "The red button: with halt every run aborts and puts everything back, and none starts (firedrill halt).",
        ),
        (DRAIN_GUARDRAIL, "Halts while the controller is taken away (firedrill controller drain)."),
    ]
    .map(empty)
    .to_vec()
}
