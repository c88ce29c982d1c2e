//! The two-way way to a new password: a link is made for a reader, confirmed once on a page, and its reader handed over to the application that asks for the password.
//!
//! [`Links`] makes links, [`Confirmations`] confirms them and redeems the codes that its page hands over, [`routes`] is what stands on HTTP. All three go by one
//! [`Keyring`]. What deliberately does not live here: the letters (an event with its link goes through the one door, like any other), sending, and accounts: nothing
//! in this room knows whether somebody exists.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that cannot go on has failed"))]

mod confirm;
mod error;
mod guesses;
mod keyring;
mod links;
mod page;
mod routes;
mod token;

pub use confirm::{Confirmations, Confirmed, LinkFault, Outcome, Redeemed};
pub use error::{KeyringError, LinkError};
pub use keyring::Keyring;
pub use links::{Links, Plan};
pub use page::Pages;
pub use routes::routes;
