//! The message as it goes over the wire (RFC 5322, RFC 2045 to 2047).
//!
//! Written here rather than by a library, because the bytes must be the same each time they are made (boundaries come from the Message-ID, no clock, no
//! randomness), must fit every relay (ASCII, short lines), and must be refused rather than repaired when a value holds a line break.

pub(crate) mod encoding;
pub(crate) mod header;
pub(crate) mod subject;

use crate::error::RenderError;
use encoding::{Encoding, base64_lines};
use header::{Header, ascii_token, date};
use tidings_core::{Address, Id, Locale, Timestamp, notice::Notice};

/// A picture inside the message, shown by the HTML as `cid:` plus [`LOGO_ID`].
pub(crate) struct InlineImage<'a> {
    pub(crate) media_type: &'a str,
    pub(crate) bytes: &'a [u8],
}

/// Content-ID of the organisation's logo.
pub(crate) const LOGO_ID: &str = "logo@tidings";

/// All that the message says.
#[expect(clippy::struct_field_names, reason = "Message-ID is the field's name")]
pub(crate) struct Message<'a> {
    pub(crate) notice: &'a Notice,
    pub(crate) from: (Option<&'a str>, &'a Address),
    pub(crate) reply_to: Option<&'a Address>,
    pub(crate) message_id: &'a str,
    pub(crate) date: Timestamp,
    pub(crate) event_id: Id,
    pub(crate) locale: &'a Locale,
    pub(crate) subject: &'a str,
    pub(crate) text: &'a str,
    pub(crate) html: &'a str,
    pub(crate) logo: Option<InlineImage<'a>>,
}

impl Message<'_> {
    /// The bytes, CRLF everywhere, ASCII throughout unless an address itself needs SMTPUTF8 (RFC 6531).
    pub(crate) fn bytes(&self) -> Result<Vec<u8>, RenderError> {
        let picture = self.logo.as_ref().map_or(0, |logo| logo.bytes.len() * 3 / 2);
        let mut out = Vec::with_capacity(2048 + self.text.len() * 3 / 2 + self.html.len() * 5 / 4 + picture);
        let message_id = self.checked_message_id()?;
        self.header(&message_id, &mut out)?;
        self.body(boundary_seed(&message_id), &mut out);
        Ok(out)
    }

    fn header(&self, message_id: &str, out: &mut Vec<u8>) -> Result<(), RenderError> {
        let mut header = Header::new(out);
        let Notice { kind, rule, reader, cc, .. } = self.notice;
        header.addresses("From", [self.from])?;
        header.addresses("To", [(reader.party.name.as_deref(), &reader.address)])?;
        header.addresses("Cc", cc.iter().map(|copy| (copy.party.name.as_deref(), &copy.address)))?;
        header.addresses("Reply-To", self.reply_to.map(|address| (None, address)))?;
        header.text("Subject", self.subject)?;
        header.plain("Date", &date(self.date))?;
        header.plain("Message-ID", message_id)?;
        // RFC 3834 §5: nobody's absence note answers a notification; the second line says the same to Exchange.
        header.plain("Auto-Submitted", "auto-generated")?;
        header.plain("X-Auto-Response-Suppress", "All")?;
        header.plain("Content-Language", self.locale.as_str())?;
        header.plain("X-Tidings-Event", &self.event_id.to_string())?;
        header.plain("X-Tidings-Kind", kind.name)?;
        header.plain("X-Tidings-Rule", &ascii_token(rule, 300))?;
        header.plain("X-Tidings-Reason", &self.reasons())?;
        header.plain("MIME-Version", "1.0")
    }

    /// `owner=Payroll, manager=Linus Martin`.
    fn reasons(&self) -> String {
        let reasons = &self.notice.reader.reasons;
        let words = reasons.iter().map(|reason| match &reason.detail {
            Some(detail) => format!("{}={}", reason.code, ascii_token(detail, 300)),
            None => reason.code.to_owned(),
        });
        let all = words.collect::<Vec<_>>().join(", ");
        if all.is_empty() { "-".to_owned() } else { all }
    }

    fn checked_message_id(&self) -> Result<String, RenderError> {
        let inner = self.message_id.strip_prefix('<').and_then(|id| id.strip_suffix('>')).unwrap_or(self.message_id);
        let fits = inner.len() <= 240
            && inner.split('@').count() == 2
            && !inner.starts_with('@')
            && !inner.ends_with('@')
            && inner.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'<' | b'>'));
        if fits {
            Ok(format!("<{inner}>"))
        } else {
            Err(RenderError::Header {
                name: "Message-ID",
                why: "is not of the form `left@right` in printable ASCII (RFC 5322 §3.6.4)".to_owned(),
            })
        }
    }

    fn body(&self, seed: u64, out: &mut Vec<u8>) {
        // `=_` cannot occur in quoted-printable nor in base64 (RFC 2045 §6.7), so that no boundary is ever met inside a part.
        let outer = format!("=_tidings_{seed:016x}");
        put(out, &["Content-Type: multipart/alternative; boundary=\"", &outer, "\"\r\n\r\n--", &outer, "\r\n"]);
        text_part("plain", self.text, out);
        put(out, &["--", &outer, "\r\n"]);
        match &self.logo {
            None => text_part("html", self.html, out),
            Some(logo) => {
                let inner = format!("=_related_{seed:016x}");
                put(out, &["Content-Type: multipart/related; type=\"text/html\";\r\n boundary=\"", &inner, "\"\r\n\r\n--", &inner, "\r\n"]);
                text_part("html", self.html, out);
                put(out, &["--", &inner, "\r\nContent-Type: ", logo.media_type, "\r\nContent-Transfer-Encoding: base64\r\n"]);
                put(out, &["Content-ID: <", LOGO_ID, ">\r\nContent-Disposition: inline\r\n\r\n"]);
                base64_lines(logo.bytes, out);
                put(out, &["--", &inner, "--\r\n"]);
            }
        }
        put(out, &["--", &outer, "--\r\n"]);
    }
}

fn text_part(subtype: &str, text: &str, out: &mut Vec<u8>) {
    // The 7bit form could hold a line that looks like a boundary; nothing a reader is told is worth that risk.
    let encoding = match Encoding::for_text(text) {
        Encoding::SevenBit if text.contains("--=_") => Encoding::QuotedPrintable,
        other => other,
    };
    put(out, &["Content-Type: text/", subtype, "; charset=utf-8\r\nContent-Transfer-Encoding: ", encoding.name(), "\r\n\r\n"]);
    encoding.write(text, out);
    // The line end before a boundary belongs to the boundary (RFC 2046 §5.1.1); this one leaves the text its own.
    put(out, &["\r\n"]);
}

fn put(out: &mut Vec<u8>, pieces: &[&str]) {
    for piece in pieces {
        out.extend_from_slice(piece.as_bytes());
    }
}

/// FNV-1a of the Message-ID: the same letter has the same boundary each time it is written.
fn boundary_seed(message_id: &str) -> u64 {
    message_id.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
