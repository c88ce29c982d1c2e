//! The floor under load of real connections: a listener on port 0, clients that behave and clients that do not.

#![allow(clippy::disallowed_methods, reason = "tests run by the machine's clock and talk to their child processes by the environment")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod clients;
mod house;
mod problems;
mod serving;
mod tokens;
