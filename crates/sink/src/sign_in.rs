//! Signing in: AUTH PLAIN (RFC 4616) and LOGIN under RFC 4954.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::fault::Stage;
use crate::options::Mechanism;
use crate::reply::Reply;
use crate::session::{Before, Flow, Phase, Session};
use crate::wire::Line;

/// Longest response line in octets (RFC 4954 §4).
const RESPONSE_BYTES: usize = 12_288;

/// What the client is to send next.
#[derive(Debug)]
pub(crate) enum SignIn {
    /// PLAIN: everything in one.
    Plain,
    /// LOGIN: the user name.
    Name,
    /// LOGIN: the password of this user.
    Password(String),
}

impl Session {
    /// Whether this server knows users at all.
    pub(crate) fn offers_auth(&self) -> bool {
        self.options.extensions.auth && !self.options.users.is_empty() && !self.options.mechanisms.is_empty()
    }

    pub(crate) async fn auth(&mut self, mechanism: &str, initial: Option<String>) -> io::Result<Flow> {
        let refusal = if !self.announced(self.offers_auth()) {
            Some(Reply::new(502, "5.5.1", "not offered"))
        } else if self.user.is_some() {
            Some(Reply::out_of_order("signed in already"))
        } else if self.transaction.is_some() {
            Some(Reply::out_of_order("not within a mail transaction"))
        } else if self.options.require_tls && !self.tls {
            Some(Reply::new(530, "5.7.0", "must issue a STARTTLS command first"))
        } else if self.options.auth_needs_tls && !self.tls {
            Some(Reply::new(538, "5.7.11", "encryption required for the requested mechanism"))
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return self.answer(&refusal);
        }
        let Some(mechanism) = self.options.mechanisms.iter().copied().find(|known| known.name() == mechanism) else {
            return self.answer(&Reply::new(504, "5.5.4", "unknown mechanism"));
        };
        let step = match mechanism {
            Mechanism::Plain => SignIn::Plain,
            Mechanism::Login => SignIn::Name,
        };
        match initial {
            // RFC 4954 §4: a single "=" is an initial response of no octets.
            Some(initial) => self.respond(step, if initial == "=" { "" } else { &initial }).await,
            None => Ok(self.challenge(step)),
        }
    }

    fn challenge(&mut self, step: SignIn) -> Flow {
        let text = match step {
            SignIn::Plain => String::new(),
            SignIn::Name => STANDARD.encode("Username:"),
            SignIn::Password(_) => STANDARD.encode("Password:"),
        };
        self.push(&Reply::new(334, "", text));
        self.phase = Phase::SignIn(step);
        Flow::Continue
    }

    pub(crate) async fn next_sign_in_line(&mut self, step: SignIn) -> io::Result<Option<Flow>> {
        match self.wire.input.line(RESPONSE_BYTES) {
            Line::Incomplete => {
                self.phase = Phase::SignIn(step);
                Ok(None)
            }
            Line::Text(text) if text == "*" => self.answer(&Reply::new(501, "5.7.0", "sign-in cancelled")).map(Some),
            Line::Text(text) => self.respond(step, &text).await.map(Some),
            Line::TooLong => self.answer(&Reply::new(500, "5.5.6", "response too long")).map(Some),
            Line::Malformed => self.answer(&Reply::new(501, "5.5.2", "that is no base64")).map(Some),
        }
    }

    async fn respond(&mut self, step: SignIn, response: &str) -> io::Result<Flow> {
        let text = STANDARD.decode(response).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let Some(text) = text else {
            return self.answer(&Reply::new(501, "5.5.2", "that is no base64"));
        };
        match step {
            SignIn::Name => Ok(self.challenge(SignIn::Password(text))),
            SignIn::Password(name) => self.verdict(&name, &text).await,
            SignIn::Plain => {
                let mut parts = text.split('\0');
                match (parts.next(), parts.next(), parts.next(), parts.next()) {
                    // Nobody may act for somebody else here.
                    (Some(act_as), Some(name), Some(password), None) if act_as.is_empty() || act_as == name => {
                        self.verdict(name, password).await
                    }
                    (Some(_), Some(_), Some(_), None) => self.verdict("", "").await,
                    _ => self.answer(&Reply::new(501, "5.5.2", "PLAIN has three parts")),
                }
            }
        }
    }

    async fn verdict(&mut self, name: &str, password: &str) -> io::Result<Flow> {
        let known = self.options.users.get(name).is_some_and(|right| right == password);
        if !known {
            self.shared.count_refused_sign_in();
        }
        match self.before(Stage::Auth).await? {
            Before::Instead(flow) => Ok(flow),
            Before::Proceed(fault) if known => {
                self.user = Some(name.to_owned());
                self.after(fault, &Reply::new(235, "2.7.0", "welcome")).await
            }
            Before::Proceed(fault) => self.after(fault, &Reply::new(535, "5.7.8", "user name or password is wrong")).await,
        }
    }
}
