//! Neighbours for tests: real programs, each on its own loopback port and in its own folder, ended when their value is dropped.
//!
//! Everything here is synchronous and meant for tests: what cannot be done is a panic that says why. A neighbour that is not installed is a
//! panic that names its Debian package; nothing is skipped. Folders of a test that fails are kept and their place is printed.

#![allow(clippy::disallowed_methods, reason = "a neighbour is found by the PATH of the machine")]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that cannot go on has failed"))]

pub mod browser;
pub mod certs;
pub mod disk;
mod dovecot;
pub mod exim;
pub mod folder;
pub mod graph;
pub mod http;
pub mod issuer;
pub mod judge;
pub mod mailbox;
mod neighbours;
pub mod pickup_watch;
pub mod ports;
pub mod postfix;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod scim_judge;
pub mod scram_server;
pub mod slapd;
pub mod smtp_server;
pub mod smtp_sink;
pub mod wait;
