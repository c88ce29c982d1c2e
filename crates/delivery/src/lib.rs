//! The outbox's way out: claim, courier, settle. The only room that opens mail connections.
//!
//! A [`Postman`] keeps a desk for each relay. A desk claims due items, runs the sessions of a [`courier::Courier`], and turns what they report into
//! settlements, which one settler writes in groups. What does not live here: which letter goes to whom (deciding), what follows from an outcome
//! (`tidings_core::outbox`), SQL (`store`).

mod bench;
mod breaker;
mod budget;
pub mod courier;
mod dice;
mod direct;
mod drain;
pub mod error;
pub mod file;
mod gauges;
pub mod graph;
mod house;
pub mod imap;
pub mod news;
pub mod oauth;
pub mod pickup;
pub mod plan;
mod postman;
mod queue;
mod rate;
mod reach;
mod relay_desk;
mod roster;
mod secret;
mod settler;
pub mod smtp;
mod sole;
mod standings;
mod together;

pub use direct::{Delivered, deliver_now, probe};
pub use postman::{Postman, PostmanOptions, Refit, Route, Status};
pub use relay_desk::RelayStatus;
pub use secret::Secret;
