//! Files, a real database, and what is told of them.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod deltas;
#[path = "../common/desk.rs"]
mod desk;
mod folders;
mod full;
mod house;
