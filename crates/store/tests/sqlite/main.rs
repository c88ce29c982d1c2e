//! What is SQLite's own: the file and its rights, group commit, the full disk, the crash, the second process.

#![allow(clippy::disallowed_methods, reason = "tests run by the machine's clock and talk to their child processes by the environment")]
#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

#[path = "../house/mod.rs"]
mod house;

mod clock;
mod crash;
mod disk;
mod file;
mod group;
mod mirror;
mod second;
mod secrets;
mod spans;
