//! An open-loop load of HTTP requests: what a file says of it, and who sends it.
//!
//! Open loop means that arrivals never wait for answers: a request is due when its schedule says so, and its
//! latency counts from that instant ([`crate::types::load`]). What would exceed `maxInFlight` is not sent and
//! counts as an error, never left out in silence.
//!
//! [`network`] opens sockets from this process, [`embedded`] offers the same load to the traffic of an
//! embedded cluster; a pod in the cluster is told what to send and says how it goes ([`from_pod`]). Loads change nothing and end with the process that sends them: there is nothing to undo.

mod embedded;
mod network;
mod pacer;
mod pod;
mod sent;
mod slots;
mod spec;

pub use embedded::embedded;
pub use network::network;
pub use pod::from_pod;
pub use sent::{ordered, to_send};
pub use spec::{LoadFrom, LoadHeader, LoadSpec, Protocol, SecretKey, ValueFrom};
