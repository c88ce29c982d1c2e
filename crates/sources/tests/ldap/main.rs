//! Directories against a real slapd, with a real store behind the feed; Active Directory's own way against a stand-in.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[allow(dead_code, unreachable_pub, reason = "the stand-in needs a part of it")]
#[path = "../../src/ldap/ber.rs"]
mod ber;
mod comparing;
mod counting;
#[path = "../common/desk.rs"]
mod desk;
mod dirsync;
mod domain_controller;
mod following;
mod house;
mod outages;
mod renaming;
mod secure;
