//! PLAIN (RFC 4616) and LOGIN: the password itself, so only under TLS unless allowed by name.

use super::mechanism::{Mechanism, Objection};
use crate::secret::Secret;
use async_trait::async_trait;
use zeroize::Zeroizing;

/// PLAIN (RFC 4616): user name and password in one.
pub(super) struct Plain<'a> {
    user: &'a str,
    password: &'a Secret,
    said: bool,
}

impl<'a> Plain<'a> {
    pub(super) fn of(user: &'a str, password: &'a Secret) -> Self {
        Self { user, password, said: false }
    }
}

#[async_trait]
impl Mechanism for Plain<'_> {
    fn name(&self) -> &'static str {
        "PLAIN"
    }

    fn initial(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        self.said = true;
        Some(Zeroizing::new(["", self.user, self.password.reveal()].join("\0").into_bytes()))
    }

    async fn answer(&mut self, _: &[u8]) -> Result<Zeroizing<Vec<u8>>, Objection> {
        Err(Objection::nonsense("a second challenge to PLAIN"))
    }

    fn finish(&self) -> Result<(), Objection> {
        if self.said { Ok(()) } else { Err(Objection::nonsense("a welcome before PLAIN was said")) }
    }
}

/// LOGIN: user name, then password, each asked for; what the prompts say is not to be relied on.
pub(super) struct Login<'a> {
    user: &'a str,
    password: &'a Secret,
    asked: u8,
}

impl<'a> Login<'a> {
    pub(super) fn of(user: &'a str, password: &'a Secret) -> Self {
        Self { user, password, asked: 0 }
    }
}

#[async_trait]
impl Mechanism for Login<'_> {
    fn name(&self) -> &'static str {
        "LOGIN"
    }

    fn initial(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        None
    }

    /// There are servers that write the prompt as plain words.
    fn takes_raw_challenges(&self) -> bool {
        true
    }

    async fn answer(&mut self, _: &[u8]) -> Result<Zeroizing<Vec<u8>>, Objection> {
        self.asked += 1;
        match self.asked {
            1 => Ok(Zeroizing::new(self.user.as_bytes().to_vec())),
            2 => Ok(Zeroizing::new(self.password.reveal().as_bytes().to_vec())),
            _ => Err(Objection::nonsense("a third challenge to LOGIN")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_is_the_example_of_rfc_4616() {
        let password = Secret::new("tanstaaftanstaaf");
        assert_eq!(Plain::of("tim", &password).initial().unwrap().as_slice(), b"\0tim\0tanstaaftanstaaf");
    }

    #[tokio::test]
    async fn login_answers_two_prompts_whatever_they_say() {
        let password = Secret::new("s3cret ü");
        let mut login = Login::of("ada", &password);
        assert_eq!(login.answer(b"anything").await.unwrap().as_slice(), b"ada");
        assert_eq!(login.answer(b"").await.unwrap().as_slice(), "s3cret ü".as_bytes());
        assert!(login.answer(b"again").await.is_err());
    }
}
