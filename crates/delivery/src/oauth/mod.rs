//! Access tokens (RFC 6749) for relays that take no passwords: asked for at a token endpoint, kept while they last, renewed before they end.
//!
//! What lives here: the grants without a person (client credentials, RFC 6749 §4.4; signed assertions, RFC 7523), the request, and the desk that keeps one token
//! for a relay. How a token is shown to a relay stands in `smtp::auth`.

mod answer;
mod desk;
mod jwt;
mod plan;
mod request;

pub(crate) use desk::{Token, TokenDesk};
pub use plan::{ClientKey, ClientProof, Grant, KeyAlgorithm, TokenPlan};
