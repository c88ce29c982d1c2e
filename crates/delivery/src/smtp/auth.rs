//! Sign-in (RFC 4954): the mechanisms, the choice among them, and the exchange.

use super::{classify::ReplyTable, dialogue::Speaker, ehlo::Offer, wire::Wire};
use crate::{
    courier::{RelayTrouble, TroubleKind},
    plan::{AuthMechanism, AuthPlan, SmtpPlan},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::time::Duration;
use tidings_core::outbox::Stage;
use zeroize::Zeroizing;

/// RFC 4954 §4: an initial response travels with AUTH only if the line stays within 512 octets.
const MAX_AUTH_LINE: usize = 512;

/// A SASL mechanism (RFC 4422) from the client's side. SCRAM, CRAM-MD5 and the OAuth ones fit in the same shape: they answer more, or other, challenges.
pub(crate) trait Mechanism: Send {
    /// The name on the wire.
    fn name(&self) -> &'static str;
    /// Whether somebody who listens learns the password.
    fn shows_password(&self) -> bool;
    /// What may be sent together with AUTH, if the mechanism lets the client begin.
    fn initial(&mut self) -> Option<Zeroizing<Vec<u8>>>;
    /// The answer to a challenge, or why there is none.
    fn answer(&mut self, challenge: &[u8]) -> Result<Zeroizing<Vec<u8>>, &'static str>;
}

/// PLAIN (RFC 4616).
struct Plain<'a>(&'a AuthPlan, bool);

impl Mechanism for Plain<'_> {
    fn name(&self) -> &'static str {
        "PLAIN"
    }

    fn shows_password(&self) -> bool {
        true
    }

    fn initial(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        self.1 = true;
        Some(Zeroizing::new(["", &self.0.user, self.0.password.reveal()].join("\0").into_bytes()))
    }

    fn answer(&mut self, _: &[u8]) -> Result<Zeroizing<Vec<u8>>, &'static str> {
        if self.1 {
            return Err("a second challenge to PLAIN");
        }
        self.initial().ok_or("PLAIN has nothing to say")
    }
}

/// LOGIN: user name, then password, each asked for; what the prompts say is not to be relied on.
struct Login<'a>(&'a AuthPlan, u8);

impl Mechanism for Login<'_> {
    fn name(&self) -> &'static str {
        "LOGIN"
    }

    fn shows_password(&self) -> bool {
        true
    }

    fn initial(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        None
    }

    fn answer(&mut self, _: &[u8]) -> Result<Zeroizing<Vec<u8>>, &'static str> {
        self.1 += 1;
        match self.1 {
            1 => Ok(Zeroizing::new(self.0.user.clone().into_bytes())),
            2 => Ok(Zeroizing::new(self.0.password.reveal().as_bytes().to_vec())),
            _ => Err("a third challenge to LOGIN"),
        }
    }
}

fn trouble(kind: TroubleKind, what: impl Into<String>) -> RelayTrouble {
    RelayTrouble::new(kind, Stage::Auth, what)
}

/// The mechanism to use: the chosen one, or the best of those offered.
fn choose<'a>(auth: &'a AuthPlan, offer: &Offer) -> Result<Box<dyn Mechanism + 'a>, RelayTrouble> {
    let offers = |name: &str| offer.auth.iter().any(|offered| offered == name);
    let wanted = match auth.mechanism {
        AuthMechanism::Auto => ["PLAIN", "LOGIN"].into_iter().find(|name| offers(name)),
        AuthMechanism::Plain => Some("PLAIN").filter(|name| offers(name)),
        AuthMechanism::Login => Some("LOGIN").filter(|name| offers(name)),
    };
    match wanted {
        Some("PLAIN") => Ok(Box::new(Plain(auth, false))),
        Some(_) => Ok(Box::new(Login(auth, 0))),
        None if offer.auth.is_empty() => Err(trouble(TroubleKind::Configuration, "the relay offers no sign-in")
            .hint("many relays offer it only after encryption (set tls), or on another port (587, 465); or remove auth")),
        None => Err(trouble(
            TroubleKind::Configuration,
            format!("the relay offers only {}, none of which is wanted here", offer.auth.join(", ")),
        )
        .hint("set auth.mechanism to one that the relay offers; PLAIN and LOGIN are known here")),
    }
}

/// Signs in.
pub(crate) async fn sign_in(
    wire: &mut Wire,
    offer: &Offer,
    plan: &SmtpPlan,
    auth: &AuthPlan,
    table: &ReplyTable,
    limit: Duration,
) -> Result<(), RelayTrouble> {
    if !auth.belongs_to(plan) {
        return Err(trouble(TroubleKind::Configuration, "these credentials were given for another host, port or TLS mode")
            .hint("enter the password of this relay anew"));
    }
    let mut mechanism = choose(auth, offer)?;
    if mechanism.shows_password() && !wire.is_encrypted() && !auth.allow_cleartext {
        return Err(trouble(
            TroubleKind::Configuration,
            format!("{} would send the password readable, the session is not encrypted", mechanism.name()),
        )
        .hint("set tls to starttls or implicit; or, if you accept the risk, auth.allow_cleartext = true"));
    }
    let mut line = Zeroizing::new(format!("AUTH {}", mechanism.name()));
    if let Some(initial) = mechanism.initial() {
        let encoded = encode(&initial);
        if line.len() + 1 + encoded.len() + 2 <= MAX_AUTH_LINE {
            line.push(' ');
            line.push_str(&encoded);
        } else {
            // Too long for one line: wait for the empty challenge, then say it.
            return exchange(wire, mechanism.as_mut(), line, Some(encoded), table, limit).await;
        }
    }
    exchange(wire, mechanism.as_mut(), line, None, table, limit).await
}

/// RFC 4954 §4: an empty response is written as `=` beside AUTH.
fn encode(response: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(if response.is_empty() { "=".to_owned() } else { STANDARD.encode(response) })
}

async fn exchange(
    wire: &mut Wire,
    mechanism: &mut dyn Mechanism,
    first: Zeroizing<String>,
    mut held_back: Option<Zeroizing<String>>,
    table: &ReplyTable,
    limit: Duration,
) -> Result<(), RelayTrouble> {
    let mut line = first;
    wire.recorder.note(Speaker::Us, || {
        let secret = line.split(' ').nth(2).is_some();
        format!("AUTH {}{}", mechanism.name(), if secret { " ***" } else { "" })
    });
    loop {
        line.push_str("\r\n");
        let broken = |lost: super::wire::Lost| trouble(TroubleKind::Unreachable, lost.words());
        wire.write(line.as_bytes(), limit).await.map_err(|(_, lost)| broken(lost))?;
        let reply = wire.reply(limit).await.map_err(|lost| match lost {
            super::wire::Lost::Malformed(_) => trouble(TroubleKind::Protocol, lost.words()),
            lost => broken(lost),
        })?;
        match reply.code {
            235 => return Ok(()),
            334 => {}
            400..=599 => return Err(table.trouble(Stage::Auth, &reply)),
            _ => return Err(trouble(TroubleKind::Protocol, format!("unexpected answer to AUTH: {}", reply.line()))),
        }
        let answer = match held_back.take() {
            Some(encoded) => Ok(encoded),
            None => STANDARD
                .decode(reply.lines().next().unwrap_or_default().trim())
                .map_err(|_| "a challenge that is not base64")
                .or_else(|wrong| if mechanism.name() == "LOGIN" { Ok(Vec::new()) } else { Err(wrong) })
                .and_then(|challenge| mechanism.answer(&challenge))
                .map(|answer| Zeroizing::new(STANDARD.encode(&*answer))),
        };
        match answer {
            Ok(answer) => {
                wire.recorder.note(Speaker::Us, || "***");
                line = answer;
            }
            Err(wrong) => {
                // RFC 4954 §4: a lone asterisk cancels. The session is closed next, so its answer does not matter.
                let _ = wire.write(b"*\r\n", limit).await;
                return Err(trouble(TroubleKind::Protocol, format!("the relay sent {wrong}")));
            }
        }
    }
}
