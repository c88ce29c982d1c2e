//! The main job, seen from outside: events go in by HTTP, letters come out at a mail relay, and the commands say what happened.

#[path = "../house/mod.rs"]
mod house;

mod accepting;
mod commands;
mod crashing;
mod deciding;
mod explaining;
mod fetching;
mod flooding;
mod graph;
mod guarding;
mod operating;
mod recipients;
mod returning;
mod stopping;
mod watching;
