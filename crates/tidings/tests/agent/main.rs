//! `tidings agent` from outside: the settings file of Netwrix's agent, letters with temporary passwords, links that work once.

#![allow(clippy::disallowed_methods, reason = "the life of a link is a stretch of real time")]

#[path = "../house/mod.rs"]
mod house;
mod small_house;

mod doors;
mod one_way;
mod two_way;
