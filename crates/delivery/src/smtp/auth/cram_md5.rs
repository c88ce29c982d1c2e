//! CRAM-MD5 (RFC 2195): a digest of the relay's challenge. The password does not travel, but who listens can try passwords against the digest.

use super::mechanism::{Mechanism, Objection};
use crate::secret::Secret;
use async_trait::async_trait;
use hmac::{Hmac, KeyInit as _, Mac as _};
use md5::Md5;
use std::fmt::Write as _;
use zeroize::Zeroizing;

pub(super) struct CramMd5<'a> {
    user: &'a str,
    password: &'a Secret,
    answered: bool,
}

impl<'a> CramMd5<'a> {
    pub(super) fn of(user: &'a str, password: &'a Secret) -> Self {
        Self { user, password, answered: false }
    }
}

#[async_trait]
impl Mechanism for CramMd5<'_> {
    fn name(&self) -> &'static str {
        "CRAM-MD5"
    }

    fn initial(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        None
    }

    async fn answer(&mut self, challenge: &[u8]) -> Result<Zeroizing<Vec<u8>>, Objection> {
        if std::mem::replace(&mut self.answered, true) {
            return Err(Objection::nonsense("a second challenge to CRAM-MD5"));
        }
        if challenge.is_empty() {
            return Err(Objection::nonsense("an empty challenge to CRAM-MD5"));
        }
        let mut mac = Hmac::<Md5>::new_from_slice(self.password.reveal().as_bytes()).expect("HMAC takes keys of any length");
        mac.update(challenge);
        let mut answer = format!("{} ", self.user);
        for byte in mac.finalize().into_bytes() {
            write!(answer, "{byte:02x}").expect("a String takes everything");
        }
        Ok(Zeroizing::new(answer.into_bytes()))
    }

    fn finish(&self) -> Result<(), Objection> {
        if self.answered { Ok(()) } else { Err(Objection::nonsense("a welcome before CRAM-MD5 was answered")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_answer_is_the_example_of_rfc_2195() {
        let password = Secret::new("tanstaaftanstaaf");
        let mut mechanism = CramMd5::of("tim", &password);
        let answer = mechanism.answer(b"<1896.697170952@postoffice.reston.mci.net>").await.unwrap();
        assert_eq!(answer.as_slice(), b"tim b913a602c7eda7a495b4e6e7334d3890");
        assert!(mechanism.answer(b"<1@x>").await.is_err(), "one challenge is all there is");
    }
}
