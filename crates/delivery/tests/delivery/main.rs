//! Delivery against servers that speak the protocol, or break it: scripted dialogues, the mail sink, the real outbox.

#![allow(clippy::disallowed_methods, reason = "tests run by the machine's clock and talk to their child processes by the environment")]
#![allow(clippy::unwrap_used, reason = "a test that meets what cannot be must fail")]

mod chunks;
mod cuts;
mod failover;
mod farewells;
mod faulty;
mod flow;
mod folders;
mod graph;
mod house;
mod manners;
mod proxy;
mod refit;
mod refusals;
mod reports;
mod scripts;
mod secure;
mod sessions;
mod sign_in;
mod together;
mod tokens;
