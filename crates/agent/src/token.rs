//! Signed tokens (JWT, RFC 7519, as JWS compact serialisation, RFC 7515) of two uses, each with its own `typ`, so that none passes for the other
//! (RFC 8725 §3.11): the link in a letter, and the code that the application gets.

use crate::keyring::Keyring;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

/// No token of ours is longer, in bytes.
const LONGEST: usize = 4096;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// To be confirmed on our page.
    Link,
    /// To be redeemed by the application.
    Code,
}

impl Use {
    const fn typ(self) -> &'static str {
        match self {
            Self::Link => "reset-link+jwt",
            Self::Code => "reset-code+jwt",
        }
    }
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Claims {
    /// Who has made it: this agent's public address.
    pub(crate) iss: String,
    /// For whom: the confirmation page, or the application.
    pub(crate) aud: String,
    /// Whose password it is about.
    pub(crate) sub: String,
    /// When it was made, in seconds of Unix time.
    pub(crate) iat: i64,
    /// Until when it holds.
    pub(crate) exp: i64,
    /// Its name; a code bears that of its link.
    pub(crate) jti: String,
    /// The language of the letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) locale: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    typ: String,
    kid: String,
}

/// The token of these claims; `None` only if the system has no random numbers.
pub(crate) fn sealed(keyring: &Keyring, of: Use, claims: &Claims) -> Option<String> {
    let part = |value: serde_json::Result<String>| URL_SAFE_NO_PAD.encode(value.expect("texts and numbers serialise"));
    keyring.sign(|kid| {
        let header = Header { alg: "ES256".to_owned(), typ: of.typ().to_owned(), kid: kid.to_owned() };
        format!("{}.{}", part(serde_json::to_string(&header)), part(serde_json::to_string(claims)))
    })
}

/// The claims of a token that one of our keys has signed for this use; whether they still hold is not looked at.
pub(crate) fn opened(keyring: &Keyring, of: Use, token: &str) -> Option<Claims> {
    if token.len() > LONGEST {
        return None;
    }
    let (message, signature) = token.rsplit_once('.')?;
    let (header, claims) = message.split_once('.')?;
    let header: Header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    if header.alg != "ES256" || header.typ != of.typ() {
        return None;
    }
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    if !keyring.verifies(&header.kid, message.as_bytes(), &signature) {
        return None;
    }
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keyring() -> Keyring {
        let folder = tempfile::tempdir().unwrap();
        Keyring::open(folder.path()).unwrap()
    }

    fn claims() -> Claims {
        let text = |text: &str| text.to_owned();
        Claims { iss: text("a"), aud: text("b"), sub: text("ada"), iat: 1, exp: 2, jti: text("j"), locale: None }
    }

    #[test]
    fn a_token_opens_for_its_own_use_and_by_its_own_keys_only() {
        let keyring = keyring();
        let token = sealed(&keyring, Use::Link, &claims()).unwrap();
        assert_eq!(opened(&keyring, Use::Link, &token), Some(claims()));
        assert_eq!(opened(&keyring, Use::Code, &token), None);
        assert_eq!(opened(&self::keyring(), Use::Link, &token), None);
    }

    #[test]
    fn no_bit_of_a_token_can_be_turned() {
        let keyring = keyring();
        let token = sealed(&keyring, Use::Link, &claims()).unwrap();
        for (at, bit) in (0..token.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut bytes = token.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            if let Ok(forged) = String::from_utf8(bytes) {
                assert_eq!(opened(&keyring, Use::Link, &forged), None, "bit {bit} of byte {at}");
            }
        }
        for cut in 0..token.len() {
            assert_eq!(opened(&keyring, Use::Link, &token[..cut]), None);
        }
    }

    #[test]
    fn an_algorithm_of_the_senders_choice_is_refused() {
        let keyring = keyring();
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let claims = part(&serde_json::to_string(&claims()).unwrap());
        for header in [r#"{"alg":"none","typ":"reset-link+jwt","kid":""}"#, r#"{"alg":"HS256","typ":"reset-link+jwt","kid":"x"}"#] {
            for signature in ["", "AAAA"] {
                assert_eq!(opened(&keyring, Use::Link, &format!("{}.{claims}.{signature}", part(header))), None);
            }
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,200}") {
            thread_local!(static KEYRING: Keyring = keyring());
            prop_assert_eq!(KEYRING.with(|keyring| opened(keyring, Use::Link, &text)), None);
        }
    }
}
