//! The sink driven over raw TCP: what a client sees on the wire, and what the holder of the sink sees of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod client;
mod door;
mod extensions;
mod faults;
mod protocol;
mod secure;
