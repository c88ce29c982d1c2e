//! How letters of a relay are signed: the sender's name and address.

use tidings_core::Address;

/// What a relay's letters carry in From, Reply-To and the envelope.
#[derive(Debug, Clone)]
pub struct RelayImprint {
    /// The relay's name.
    pub name: String,
    /// The From address.
    pub from: Address,
    /// The From name; the organisation's if absent.
    pub from_name: Option<String>,
    /// The Reply-To address.
    pub reply_to: Option<Address>,
    /// The envelope sender; the From address if absent.
    pub envelope_from: Option<Address>,
}
