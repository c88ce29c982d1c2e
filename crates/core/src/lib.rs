//! The words of the house: what happened, who is told, what a letter's way through the outbox looks like.
//!
//! Pure by rule: nothing in here reads a clock, draws randomness, opens a file or a socket. Times and random numbers come in as arguments, so that every
//! decision can be repeated and explained later. What deliberately does not live here: SQL (`store`), SMTP (`delivery`), templates (`render`).

pub mod address;
pub mod bounce;
pub mod directory;
pub mod event;
mod fault;
pub mod filter;
pub mod flood;
pub mod guard;
pub mod id;
pub mod kind;
pub mod lane;
pub mod locale;
pub mod notice;
pub mod outbox;
pub mod policy;
pub mod retry;
pub mod schedule;
pub mod subject;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;
pub mod trace;
pub mod verp;

pub use address::{Address, AddressError};
pub use event::Event;
pub use id::{Id, IdMint};
pub use kind::Kind;
pub use lane::Lane;
pub use locale::Locale;
pub use time::{Clock, Timestamp};
