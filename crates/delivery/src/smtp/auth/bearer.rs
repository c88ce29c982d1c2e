//! Access tokens: OAUTHBEARER (RFC 7628) and XOAUTH2, its forerunner at Google and Microsoft.
//!
//! Both say why they refuse in a challenge of JSON, to which something must be answered before the refusal proper comes: nothing for XOAUTH2, one octet 0x01 for
//! OAUTHBEARER (RFC 7628 §3.2.3).

use super::mechanism::{Mechanism, Objection};
use crate::secret::Secret;
use async_trait::async_trait;
use zeroize::Zeroizing;

/// Most characters kept of each part of the relay's reason.
const MOST: usize = 200;

pub(super) struct Bearer<'a> {
    name: &'static str,
    opening: Zeroizing<String>,
    token: &'a Secret,
    reason: Option<String>,
}

impl<'a> Bearer<'a> {
    /// XOAUTH2.
    pub(super) fn xoauth2(user: &str, token: &'a Secret) -> Self {
        let opening = Zeroizing::new(format!("user={user}\x01auth=Bearer {}\x01\x01", token.reveal()));
        Self { name: "XOAUTH2", opening, token, reason: None }
    }

    /// OAUTHBEARER (RFC 7628 §3.1), with the relay's name and port so that it can tell whom the token was meant for.
    pub(super) fn oauthbearer(user: &str, host: &str, port: u16, token: &'a Secret) -> Self {
        // RFC 5801 §4: these two are written otherwise in an authorization identity.
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let opening = Zeroizing::new(format!("n,a={user},\x01host={host}\x01port={port}\x01auth=Bearer {}\x01\x01", token.reveal()));
        Self { name: "OAUTHBEARER", opening, token, reason: None }
    }
}

#[async_trait]
impl Mechanism for Bearer<'_> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn initial(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        Some(Zeroizing::new(self.opening.as_bytes().to_vec()))
    }

    fn takes_raw_challenges(&self) -> bool {
        true
    }

    async fn answer(&mut self, challenge: &[u8]) -> Result<Zeroizing<Vec<u8>>, Objection> {
        if self.reason.is_some() {
            return Err(Objection::nonsense(format!("a second challenge to {}", self.name)));
        }
        self.reason = Some(reason(challenge, self.token.reveal()));
        Ok(Zeroizing::new(if self.name == "XOAUTH2" { Vec::new() } else { vec![1] }))
    }

    fn finish(&self) -> Result<(), Objection> {
        match &self.reason {
            None => Ok(()),
            Some(reason) => Err(Objection::nonsense(format!("a welcome behind a refusal ({reason})"))),
        }
    }

    fn remark(&self) -> Option<String> {
        self.reason.clone()
    }
}

/// The relay's reason in one line: `status 401, scope https://mail.google.com/`. Whatever it sends, the token does not come back in it.
fn reason(challenge: &[u8], token: &str) -> String {
    let clean = |text: &str| -> String {
        let masked = if token.is_empty() { text.to_owned() } else { text.replace(token, "***") };
        masked.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MOST).collect()
    };
    let Ok(serde_json::Value::Object(parts)) = serde_json::from_slice(challenge) else {
        return clean(&String::from_utf8_lossy(challenge));
    };
    let mut said = Vec::new();
    for name in ["status", "scope", "schemes", "error", "error_description"] {
        match parts.get(name) {
            Some(serde_json::Value::String(text)) if !text.is_empty() => said.push(format!("{name} {}", clean(text))),
            Some(serde_json::Value::Number(number)) => said.push(format!("{name} {number}")),
            _ => {}
        }
    }
    if said.is_empty() { "no reason".to_owned() } else { said.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg";

    #[test]
    fn the_openings_are_the_examples_of_google_and_rfc_7628() {
        let token = Secret::new(TOKEN);
        let opening = Bearer::xoauth2("someuser@example.com", &token).initial().unwrap();
        assert_eq!(opening.as_slice(), b"user=someuser@example.com\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg\x01\x01");
        // RFC 7628 §4.1, with its token of one line.
        let token = Secret::new("vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==");
        let opening = Bearer::oauthbearer("user@example.com", "server.example.com", 587, &token).initial().unwrap();
        assert_eq!(
            opening.as_slice(),
            b"n,a=user@example.com,\x01host=server.example.com\x01port=587\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01"
        );
        assert!(Bearer::oauthbearer("a=b,c", "h", 1, &token).initial().unwrap().starts_with(b"n,a=a=3Db=2Cc,\x01"));
    }

    #[tokio::test]
    async fn a_refusal_is_read_and_answered_as_each_mechanism_wants_it() {
        let token = Secret::new(TOKEN);
        let json = br#"{"status":"401","schemes":"bearer mac","scope":"https://mail.google.com/"}"#;
        let mut xoauth2 = Bearer::xoauth2("u", &token);
        assert!(xoauth2.answer(json).await.unwrap().is_empty());
        assert_eq!(xoauth2.remark().unwrap(), "status 401, scope https://mail.google.com/, schemes bearer mac");
        assert!(xoauth2.finish().is_err() && xoauth2.answer(json).await.is_err());
        let mut oauthbearer = Bearer::oauthbearer("u", "h", 25, &token);
        assert_eq!(oauthbearer.answer(br#"{"status":"invalid_token"}"#).await.unwrap().as_slice(), b"\x01");
        assert_eq!(oauthbearer.remark().unwrap(), "status invalid_token");
    }

    #[tokio::test]
    async fn a_relay_that_sends_the_token_back_does_not_get_it_into_a_log() {
        let token = Secret::new(TOKEN);
        for challenge in [format!("{{\"status\":\"{TOKEN} is wrong\"}}"), format!("wrong:\r\n{TOKEN}")] {
            let mut mechanism = Bearer::xoauth2("u", &token);
            mechanism.answer(challenge.as_bytes()).await.unwrap();
            let remark = mechanism.remark().unwrap();
            assert!(remark.contains("***") && !remark.contains(TOKEN) && !remark.contains('\n'), "{remark}");
        }
    }
}
