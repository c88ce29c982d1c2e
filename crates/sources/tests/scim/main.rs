//! The SCIM service as clients meet it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../common/desk.rs"]
mod desk;
mod entra;
mod house;
mod judge;
mod lists;
mod manners;
mod okta;
mod together;
