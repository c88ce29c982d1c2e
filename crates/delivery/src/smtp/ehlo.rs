//! What a relay offers in its answer to EHLO (RFC 5321 §4.1.1.1).

use super::reply::Reply;

/// The extensions that matter to a sender.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Offer {
    /// PIPELINING (RFC 2920).
    pub(crate) pipelining: bool,
    /// CHUNKING (RFC 3030).
    pub(crate) chunking: bool,
    /// DSN (RFC 3461).
    pub(crate) dsn: bool,
    /// SIZE (RFC 1870); `Some(0)` is no fixed limit.
    pub(crate) size: Option<u64>,
    /// 8BITMIME (RFC 6152).
    pub(crate) eight_bit: bool,
    /// SMTPUTF8 (RFC 6531).
    pub(crate) smtputf8: bool,
    /// STARTTLS (RFC 3207).
    pub(crate) starttls: bool,
    /// Sign-in mechanisms (RFC 4954), upper case, in the relay's order.
    pub(crate) auth: Vec<String>,
}

impl Offer {
    /// Reads the reply; the first line is the relay's name, unknown extensions are passed over.
    pub(crate) fn read(reply: &Reply) -> Self {
        let mut offer = Self::default();
        for line in reply.lines().skip(1) {
            // Old servers write AUTH=LOGIN.
            let mut words = line.split([' ', '=', '\t']).filter(|word| !word.is_empty());
            let Some(name) = words.next() else { continue };
            match name.to_ascii_uppercase().as_str() {
                "PIPELINING" => offer.pipelining = true,
                "CHUNKING" => offer.chunking = true,
                "DSN" => offer.dsn = true,
                "SIZE" => offer.size = Some(words.next().and_then(|n| n.parse().ok()).unwrap_or(0)),
                "8BITMIME" => offer.eight_bit = true,
                "SMTPUTF8" => offer.smtputf8 = true,
                "STARTTLS" => offer.starttls = true,
                "AUTH" => {
                    for mechanism in words.map(str::to_ascii_uppercase) {
                        if !offer.auth.contains(&mechanism) {
                            offer.auth.push(mechanism);
                        }
                    }
                }
                _ => {}
            }
        }
        offer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_extensions_are_read_and_others_passed_over() {
        let text = "250-relay PIPELINING\r\n250-pipelining\r\n250-SIZE 1000\r\n250-XNEW a\r\n250-DSN\r\n250-chunking\r\n250-AUTH PLAIN login\r\n250-AUTH=LOGIN\r\n250 8BITMIME\r\n";
        let offer = Offer::read(&Reply::parse(text.as_bytes()).unwrap().unwrap().0);
        let auth = vec!["PLAIN".to_owned(), "LOGIN".to_owned()];
        assert_eq!(
            offer,
            Offer { pipelining: true, chunking: true, dsn: true, size: Some(1000), eight_bit: true, auth, ..Offer::default() }
        );
    }

    #[test]
    fn the_name_of_the_relay_is_no_extension() {
        let offer = Offer::read(&Reply::parse(b"250 PIPELINING\r\n").unwrap().unwrap().0);
        assert_eq!(offer, Offer::default());
    }
}
