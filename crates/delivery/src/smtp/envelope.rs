//! The commands of one letter, and whether a relay that offers this much can take it at all.

use super::ehlo::Offer;
use crate::courier::Load;
use std::io::Write as _;
use tidings_core::outbox::{Outcome, Refusal, Stage};

/// What our side refuses in the relay's place, because the relay would have to: `None` if the letter may be tried.
pub(super) fn refuse_locally(load: &Load, offer: &Offer) -> Option<Outcome> {
    let never = |stage, reply: String| Some(Outcome::Refused(Refusal::Permanent { stage, reply }));
    let size = load.bytes.len() as u64;
    match offer.size {
        // RFC 1870 §6.
        Some(limit) if limit > 0 && size > limit => {
            return never(Stage::Mail, format!("the letter has {size} bytes, the relay takes at most {limit} (SIZE); it was not sent"));
        }
        _ => {}
    }
    if load.smtputf8 && !offer.smtputf8 {
        return never(
            Stage::Mail,
            "an address or a header is not ASCII and the relay does not offer SMTPUTF8 (RFC 6531); it was not sent".to_owned(),
        );
    }
    if load.eight_bit && !offer.eight_bit {
        return never(Stage::Mail, "the letter is not 7-bit and the relay does not offer 8BITMIME (RFC 6152); it was not sent".to_owned());
    }
    None
}

/// Appends MAIL FROM with the parameters that the relay offers and the letter needs.
pub(super) fn mail(out: &mut Vec<u8>, load: &Load, offer: &Offer) {
    out.extend_from_slice(b"MAIL FROM:<");
    if let Some(sender) = &load.sender {
        out.extend_from_slice(sender.as_str().as_bytes());
    }
    out.push(b'>');
    if offer.size.is_some() {
        write!(out, " SIZE={}", load.bytes.len()).expect("memory takes everything");
    }
    if load.eight_bit {
        out.extend_from_slice(b" BODY=8BITMIME");
    }
    if load.smtputf8 {
        out.extend_from_slice(b" SMTPUTF8");
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends RCPT TO. The address cannot hold a line break or an unquoted `>`: see [`tidings_core::Address`].
pub(super) fn rcpt(out: &mut Vec<u8>, load: &Load) {
    out.extend_from_slice(b"RCPT TO:<");
    out.extend_from_slice(load.to.address().as_str().as_bytes());
    out.extend_from_slice(b">\r\n");
}
