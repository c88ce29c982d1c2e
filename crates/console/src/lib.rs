//! The operator's window on the outbox and the relays. What a person can do here stands in the item's history with the name of the token.
//!
//! Today it is the HTTP API; pages come on top of the same verbs.

pub mod api;
