//! A letter as it arrived, with the envelope it came in, and a small reader for its headers.

use std::time::SystemTime;

use crate::command::Parameter;

/// A letter the sink has answered for (or, under a fault, taken and not answered for).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// When its last byte came.
    pub at: SystemTime,
    /// The session it came by; numbers start at 1 and are never used twice.
    pub session: u64,
    /// Its place in that session, from 1.
    pub place: u32,
    /// The name the client gave with EHLO or HELO.
    pub helo: String,
    /// Whether the session was encrypted.
    pub tls: bool,
    /// Whether the client showed a certificate.
    pub client_certificate: bool,
    /// Who had signed in.
    pub user: Option<String>,
    /// The reverse path without its angle brackets; empty for the null path.
    pub from: String,
    /// Parameters of MAIL.
    pub mail_parameters: Vec<Parameter>,
    /// The accepted recipients, in order.
    pub to: Vec<String>,
    /// Parameters of RCPT, one list for each of `to`.
    pub rcpt_parameters: Vec<Vec<Parameter>>,
    /// Whether the content came by BDAT.
    pub chunked: bool,
    /// The content: dots unstuffed, lines ending in CRLF as sent.
    pub bytes: Vec<u8>,
}

impl Received {
    /// The first header of this name, letter case aside, unfolded (RFC 5322 §2.2.3) and trimmed. Encoded words stay as they are.
    pub fn header(&self, name: &str) -> Option<String> {
        self.fields().find_map(|field| value_of(&field, name))
    }

    /// All headers of this name, in order.
    pub fn headers(&self, name: &str) -> Vec<String> {
        self.fields().filter_map(|field| value_of(&field, name)).collect()
    }

    /// Everything after the empty line that ends the headers.
    pub fn body(&self) -> &[u8] {
        if self.bytes.starts_with(b"\r\n") {
            return &self.bytes[2..];
        }
        self.bytes.windows(4).position(|w| w == b"\r\n\r\n").map_or(&[], |at| &self.bytes[at + 4..])
    }

    /// The header fields, each unfolded into one line.
    fn fields(&self) -> impl Iterator<Item = String> {
        let mut lines = self.bytes.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).peekable();
        std::iter::from_fn(move || {
            let first = lines.next_if(|line| !line.is_empty())?;
            let mut field = String::from_utf8_lossy(first).into_owned();
            while let Some(more) = lines.next_if(|line| line.first().is_some_and(|b| matches!(b, b' ' | b'\t'))) {
                field.push_str(&String::from_utf8_lossy(more));
            }
            Some(field)
        })
    }
}

fn value_of(field: &str, name: &str) -> Option<String> {
    let (found, value) = field.split_once(':')?;
    found.trim_end().eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
}

/// A letter that reached the same recipient more than once. The key is Message-ID and recipient, because a copy (Cc) rightly
/// travels with the same bytes to somebody else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duplicate {
    /// The Message-ID, its angle brackets included.
    pub message_id: String,
    /// The envelope recipient.
    pub recipient: String,
    /// How often it came: 2 or more.
    pub times: u32,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn a_letter(content: &str) -> Received {
        Received {
            at: SystemTime::UNIX_EPOCH,
            session: 1,
            place: 1,
            helo: "client.example.org".into(),
            tls: false,
            client_certificate: false,
            user: None,
            from: "a@example.org".into(),
            mail_parameters: Vec::new(),
            to: vec!["b@example.org".into()],
            rcpt_parameters: vec![Vec::new()],
            chunked: false,
            bytes: content.as_bytes().to_vec(),
        }
    }

    #[test]
    fn headers_are_unfolded_and_found_whatever_their_case() {
        let letter = a_letter("Subject: one\r\n two\r\n\tthree\r\nReceived: x\r\nreceived: y\r\n\r\nSubject: not me\r\n");
        assert_eq!(letter.header("SUBJECT").as_deref(), Some("one two\tthree"));
        assert_eq!(letter.headers("Received"), ["x", "y"]);
        assert_eq!(letter.header("Date"), None);
        assert_eq!(letter.body(), b"Subject: not me\r\n");
    }

    #[test]
    fn a_letter_without_headers_or_without_body_is_read_too() {
        assert_eq!(a_letter("\r\nbody\r\n").body(), b"body\r\n");
        assert_eq!(a_letter("\r\nSubject: body\r\n").header("Subject"), None);
        assert_eq!(a_letter("Subject: x\r\n").body(), b"");
        assert_eq!(a_letter("").header("Subject"), None);
    }
}
