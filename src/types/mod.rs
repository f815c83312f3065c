//! Vocabulary: identifiers, durations, amounts, objects, verdicts, findings.
//!
//! Everything here is plain data with no I/O; every other room speaks these words.

mod agents;
mod amount;
mod attempt;
mod cidr;
pub mod codes;
mod counted;
mod duration;
mod finding;
mod ids;
pub mod load;
mod logarithm;
mod nearest;
mod object;
mod planted;
mod schema;
mod service;
mod significant;
mod verdict;

pub use agents::{AGENT_IMAGE, AGENT_NAMESPACE, AGENT_POD, AgentSettings, is_agent_name};
pub use amount::{Amount, AmountError};
pub use attempt::{Attempt, IMAGE, is_agent_image, is_own_image};
pub use cidr::{Cidr, CidrError};
pub use counted::counted;
pub use duration::{DurationError, Length};
pub use finding::{Code, CodeInfo, Finding, Place, Severity};
pub use ids::{Epoch, InjectionId, RunId};
pub use logarithm::ln;
pub use nearest::nearest;
pub use object::ObjectRef;
pub use planted::planted;
pub use schema::FieldSchema;
pub use service::{port_of, service_of_host};
pub use significant::significant;
pub use verdict::{ExitCode, Phase, Verdict};
