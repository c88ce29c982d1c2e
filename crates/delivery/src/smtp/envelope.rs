//! The commands of one letter, and whether a relay that offers this much can take it at all.

use super::ehlo::Offer;
use crate::{courier::Load, plan::Reports};
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

/// Appends MAIL FROM with the parameters that the relay offers and the letter needs. With DSN, ENVID is the outbox item: a report can be matched to it.
pub(super) fn mail(out: &mut Vec<u8>, load: &Load, offer: &Offer, reports: Reports) {
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
    if offer.dsn && reports != Reports::Unasked {
        // RFC 3461 §4.3, §4.4. An item's number is letters and digits, which xtext leaves alone.
        write!(out, " RET=HDRS ENVID={}", load.item).expect("memory takes everything");
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends RCPT TO. The address cannot hold a line break or an unquoted `>`: see [`tidings_core::Address`].
pub(super) fn rcpt(out: &mut Vec<u8>, load: &Load, offer: &Offer, reports: Reports) {
    let address = load.to.address();
    out.extend_from_slice(b"RCPT TO:<");
    out.extend_from_slice(address.as_str().as_bytes());
    out.push(b'>');
    if offer.dsn && reports != Reports::Unasked {
        notify(out, reports);
        original(out, address.as_str());
    }
    out.extend_from_slice(b"\r\n");
}

/// RFC 3461 §4.1.
fn notify(out: &mut Vec<u8>, reports: Reports) {
    let words = match reports {
        Reports::Unasked => return,
        Reports::Never | Reports::Of { success: false, failure: false, delay: false } => [Some("NEVER"), None, None],
        Reports::Of { success, failure, delay } => [success.then_some("SUCCESS"), failure.then_some("FAILURE"), delay.then_some("DELAY")],
    };
    let mut before = " NOTIFY=";
    for word in words.into_iter().flatten() {
        out.extend_from_slice(before.as_bytes());
        out.extend_from_slice(word.as_bytes());
        before = ",";
    }
}

/// ORCPT: the address as it was before the relay changed it. RFC 3461 §4.2 with xtext (§4), or RFC 6533 §3 for an address beyond ASCII.
fn original(out: &mut Vec<u8>, address: &str) {
    let ascii = address.is_ascii();
    out.extend_from_slice(if ascii { b" ORCPT=rfc822;" } else { b" ORCPT=utf-8;" });
    for c in address.chars() {
        let written = match (c, ascii) {
            ('+' | '=', true) => write!(out, "+{:02X}", u32::from(c)),
            ('!'..='~', true) => write!(out, "{c}"),
            // A blank in a quoted local part.
            (_, true) => write!(out, "+{:02X}", u32::from(c)),
            ('!'..='~', false) if !matches!(c, '\\' | '+' | '=') => write!(out, "{c}"),
            (_, false) => write!(out, "\\x{{{:X}}}", u32::from(c)),
        };
        written.expect("memory takes everything");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidings_core::{
        Address, Id,
        guard::{EnvironmentGuard, Mode, Verdict},
        outbox::Role,
    };

    fn load(to: &str) -> Load {
        let guard = EnvironmentGuard::new(Mode::Live, None, None, vec![]);
        let Verdict::Send(to) = guard.admit(&Address::parse(to).unwrap(), Role::To) else { panic!("a live guard sends") };
        Load::new(Id::from_number(7), to, None, b"x\r\n".as_slice().into(), "7@house".to_owned())
    }

    fn commands(to: &str, offer: &Offer, reports: Reports) -> String {
        let (mut out, load) = (Vec::new(), load(to));
        mail(&mut out, &load, offer, reports);
        rcpt(&mut out, &load, offer, reports);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn reports_are_asked_for_only_where_they_are_offered() {
        let offer = Offer { dsn: true, ..Offer::default() };
        let plain = "MAIL FROM:<>\r\nRCPT TO:<ada@example.org>\r\n";
        assert_eq!(commands("ada@example.org", &Offer::default(), Reports::default()), plain);
        assert_eq!(commands("ada@example.org", &offer, Reports::Unasked), plain);
        let asked = commands("ada@example.org", &offer, Reports::default());
        let envid = Id::from_number(7);
        assert_eq!(
            asked,
            format!(
                "MAIL FROM:<> RET=HDRS ENVID={envid}\r\nRCPT TO:<ada@example.org> NOTIFY=FAILURE,DELAY ORCPT=rfc822;ada@example.org\r\n"
            )
        );
        let all = Reports::Of { success: true, failure: true, delay: true };
        assert!(commands("a@example.org", &offer, all).contains(" NOTIFY=SUCCESS,FAILURE,DELAY "));
        assert!(commands("a@example.org", &offer, Reports::Never).contains(" NOTIFY=NEVER "));
        let none = Reports::Of { success: false, failure: false, delay: false };
        assert!(commands("a@example.org", &offer, none).contains(" NOTIFY=NEVER "));
    }

    #[test]
    fn the_original_address_is_written_so_that_it_reads_back() {
        let offer = Offer { dsn: true, ..Offer::default() };
        let original = |to: &str| {
            let commands = commands(to, &offer, Reports::default());
            commands.trim_end().rsplit_once(" ORCPT=").unwrap().1.to_owned()
        };
        assert_eq!(original("ada+x=y@example.org"), "rfc822;ada+2Bx+3Dy@example.org");
        assert_eq!(original("\"a b\"@example.org"), "rfc822;\"a+20b\"@example.org");
        assert_eq!(original("jörg+x@bücher.example"), "utf-8;j\\x{F6}rg\\x{2B}x@xn--bcher-kva.example");
    }
}
