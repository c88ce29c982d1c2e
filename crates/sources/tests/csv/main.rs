//! Files, a real database, and what is told of them.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod deltas;
mod folders;
mod full;
mod house;
