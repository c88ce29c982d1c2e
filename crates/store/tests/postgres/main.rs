//! What is PostgreSQL's own: several nodes on one database, backends and servers that are killed, encryption, the schema.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

#[path = "../house/mod.rs"]
mod house;

mod broken;
mod copying;
mod failover;
mod members;
mod mirror;
mod nodes;
mod opening;
mod tables;
mod upgrade;
