//! Tells administrators of relays in trouble: mail about broken mail may not arrive by mail, so there are two ways.
//!
//! A [`Herald`] hears the news that desks tell, waits out hiccups ([`watch`]), and makes of the rest an ordinary event that goes through the house's one door,
//! with its letters by another relay than the one in trouble, and a signed message to a webhook ([`webhook`]). What does not live here: when a relay is held
//! (`delivery`), who gets the letter (a rule), how the letter reads (`templates/relay.*`).

pub mod alert;
pub mod error;
mod herald;
pub mod watch;
pub mod webhook;

pub use alert::{Alert, Matter};
pub use error::WebhookError;
pub use herald::{Door, Herald, HeraldOptions, HeraldPlan};
pub use watch::Way;
pub use webhook::Webhook;
