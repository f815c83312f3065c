//! The embedded API server on a loopback port.
