//! Signing in to a mailbox: a password by PLAIN (RFC 4616) or LOGIN, an access token by OAUTHBEARER (RFC 7628) or XOAUTH2.

use super::{
    response::Tag,
    session::{Session, quoted},
};
use crate::{
    courier::{RelayTrouble, TroubleKind},
    error::ImapError,
    oauth::Token,
    plan::{AuthMechanism, AuthPlan, Proof},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use tidings_core::outbox::Stage;
use zeroize::Zeroizing;

fn trouble(kind: TroubleKind, what: impl Into<String>) -> RelayTrouble {
    RelayTrouble::new(kind, Stage::Auth, what)
}

impl Session {
    /// Signs in. A refusal is [`TroubleKind::Auth`].
    pub(super) async fn sign_in(&mut self, auth: &AuthPlan, token: Option<&Token>) -> Result<(), ImapError> {
        if !self.is_encrypted() && !auth.allow_cleartext {
            let what = "the session is not encrypted, and the password or token would travel readable";
            return Err(trouble(TroubleKind::Configuration, what).hint("choose another tls, or set allow_cleartext = true").into());
        }
        let user = auth.user.as_str();
        let (name, opening, last) = match (&auth.proof, token) {
            (Proof::Password(password), _) if self.offers("AUTH=PLAIN") => {
                ("PLAIN", Zeroizing::new(format!("\0{user}\0{}", password.reveal())), "")
            }
            (Proof::Password(password), _) => return self.login(user, password.reveal()).await,
            (Proof::Tokens(_), Some(token)) => {
                let token = token.secret().reveal();
                if auth.mechanism == AuthMechanism::XOAuth2 || !self.offers("AUTH=OAUTHBEARER") {
                    ("XOAUTH2", Zeroizing::new(format!("user={user}\x01auth=Bearer {token}\x01\x01")), "")
                } else {
                    // RFC 5801 §4: these two are written otherwise in an authorization identity. RFC 7628 §3.2.3: a refusal is answered by one octet 0x01.
                    let user = user.replace('=', "=3D").replace(',', "=2C");
                    ("OAUTHBEARER", Zeroizing::new(format!("n,a={user},\x01auth=Bearer {token}\x01\x01")), "AQ==")
                }
            }
            (Proof::Tokens(_), None) => return Err(trouble(TroubleKind::Configuration, "there is no access token").into()),
        };
        let encoded = Zeroizing::new(STANDARD.encode(opening.as_bytes()));
        self.authenticate(name, &encoded, last).await
    }

    /// `AUTHENTICATE` (RFC 9051 §6.2.2), the opening in the same line if the server takes it so (SASL-IR, RFC 4959).
    async fn authenticate(&mut self, name: &str, opening: &str, last: &str) -> Result<(), ImapError> {
        let at_once = self.offers("SASL-IR");
        let command = if at_once { format!("AUTHENTICATE {name} {opening}") } else { format!("AUTHENTICATE {name}") };
        let tag = self.send(&Zeroizing::new(command)).await?;
        let mut shown = at_once;
        loop {
            let response = self.next_response().await?;
            match response.tag {
                Tag::Continue if !shown => {
                    shown = true;
                    self.send_line(opening).await?;
                }
                // Why it is refused, in base64; something must be answered before the refusal comes.
                Tag::Continue => self.send_line(last).await?,
                Tag::Of(ref found) if *found == tag => return self.signed_in(&response.word(), &response.words(), response.code(), name),
                Tag::Untagged => self.heed(&response),
                Tag::Of(_) => return Err(ImapError::Garbled("an answer to what was not asked")),
            }
        }
    }

    /// `LOGIN` (RFC 9051 §6.2.3), for servers without AUTH=PLAIN.
    async fn login(&mut self, user: &str, password: &str) -> Result<(), ImapError> {
        if self.offers("LOGINDISABLED") {
            return Err(trouble(TroubleKind::Configuration, "the server takes no password: it offers neither AUTH=PLAIN nor LOGIN")
                .hint("set tls = \"starttls\" or \"implicit\", or write oauth2 in place of the password")
                .into());
        }
        let (Some(user), Some(password)) = (quoted(user), quoted(password)) else {
            let what = "the server knows only LOGIN, which has no way to write this user name or password";
            return Err(trouble(TroubleKind::Configuration, what).into());
        };
        let tag = self.send(&Zeroizing::new(format!("LOGIN {user} {}", Zeroizing::new(password).as_str()))).await?;
        loop {
            let response = self.next_response().await?;
            match response.tag {
                Tag::Of(ref found) if *found == tag => {
                    return self.signed_in(&response.word(), &response.words(), response.code(), "LOGIN");
                }
                Tag::Untagged => self.heed(&response),
                _ => return Err(ImapError::Garbled("an answer to what was not asked")),
            }
        }
    }

    fn signed_in(&mut self, word: &str, words: &str, code: Option<String>, name: &str) -> Result<(), ImapError> {
        let code = code.unwrap_or_default().to_ascii_uppercase();
        if word == "OK" {
            // What may be done is told anew, here or when it is asked for.
            self.forget_offers(&code);
            return Ok(());
        }
        let what = format!("{name} is answered {word} {}", words.chars().take(200).collect::<String>());
        // RFC 5530 §3.
        let found = match code.split(' ').next().unwrap_or_default() {
            "UNAVAILABLE" | "INUSE" | "LIMIT" | "SERVERBUG" => trouble(TroubleKind::Busy, what),
            _ if word == "BAD" => {
                trouble(TroubleKind::Configuration, what).hint("the server does not know this way to sign in: check what it offers")
            }
            _ => trouble(TroubleKind::Auth, what)
                .hint("check user name and password or token, and that IMAP is switched on for this mailbox"),
        };
        Err(found.into())
    }
}
