//! Bad input: each gets the error that helps, and nothing accepted is lost over it.

#[path = "../house/mod.rs"]
mod house;

mod database;
mod files;
mod requests;
