//! AUTH on the wire (RFC 4954 §4): command, challenges and answers, verdict.

use super::{mechanism::Mechanism, trouble};
use crate::{
    courier::{RelayTrouble, TroubleKind},
    smtp::{
        classify::ReplyTable,
        dialogue::Speaker,
        reply::Reply,
        wire::{Lost, Wire},
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::time::Duration;
use tidings_core::outbox::Stage;
use zeroize::Zeroizing;

/// RFC 4954 §4: an initial response travels with AUTH only if the line stays within 512 octets.
const MAX_AUTH_LINE: usize = 512;
/// RFC 4954 §4: the longest answer, in octets without its line end.
const MAX_ANSWER: usize = 12_288;
/// No mechanism here needs more than three.
const MOST_CHALLENGES: u8 = 10;

/// Why an exchange did not let us in.
pub(super) enum Failure {
    /// The relay refused, and the session stands.
    Refused(Reply, RelayTrouble),
    /// Nothing more can be done on this session.
    Ended(RelayTrouble),
}

impl Failure {
    pub(super) fn into_trouble(self) -> RelayTrouble {
        match self {
            Self::Refused(_, trouble) | Self::Ended(trouble) => trouble,
        }
    }
}

/// RFC 4954 §4: an empty initial response is written as `=`.
fn beside_auth(response: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(if response.is_empty() { "=".to_owned() } else { STANDARD.encode(response) })
}

/// Runs one exchange to its end.
pub(super) async fn run(wire: &mut Wire, mechanism: &mut dyn Mechanism, table: &ReplyTable, limit: Duration) -> Result<(), Failure> {
    let mut line = Zeroizing::new(format!("AUTH {}", mechanism.name()));
    let mut held_back = mechanism.initial();
    if let Some(initial) = &held_back {
        let encoded = beside_auth(initial);
        if line.len() + 1 + encoded.len() + 2 <= MAX_AUTH_LINE {
            line.push(' ');
            line.push_str(&encoded);
            held_back = None;
        }
        // Too long for one line: then it answers the empty challenge.
    }
    let secret = line.split(' ').nth(2).is_some();
    wire.recorder.note(Speaker::Us, || format!("AUTH {}{}", mechanism.name(), if secret { " ***" } else { "" }));
    for _ in 0..MOST_CHALLENGES {
        line.push_str("\r\n");
        wire.write(line.as_bytes(), limit).await.map_err(|(_, lost)| broken(&lost))?;
        let reply = wire.reply(limit).await.map_err(|lost| broken(&lost))?;
        match reply.code {
            235 => return mechanism.finish().map_err(|objection| Failure::Ended(objection.into_trouble())),
            334 => {}
            400..=599 => return Err(refused(mechanism, table, reply)),
            _ => {
                let what = format!("unexpected answer to AUTH: {}", reply.line());
                return Err(Failure::Ended(trouble(TroubleKind::Protocol, what)));
            }
        }
        let answer = match held_back.take() {
            Some(initial) => Ok(initial),
            None => answer(mechanism, &reply).await,
        };
        match answer {
            Ok(answer) => {
                line = Zeroizing::new(STANDARD.encode(&*answer));
                if line.len() > MAX_ANSWER {
                    cancel(wire, limit).await;
                    let what = format!("the answer to {} would be longer than the {MAX_ANSWER} octets that AUTH allows", mechanism.name());
                    return Err(Failure::Ended(trouble(TroubleKind::Configuration, what)));
                }
                // An empty line gives nothing away and tells more when shown as what it is.
                wire.recorder.note(Speaker::Us, || if line.is_empty() { "(an empty line)" } else { "***" });
            }
            Err(told) => {
                cancel(wire, limit).await;
                return Err(Failure::Ended(told));
            }
        }
    }
    cancel(wire, limit).await;
    Err(Failure::Ended(trouble(TroubleKind::Protocol, format!("the relay never stops asking ({})", mechanism.name()))))
}

/// RFC 4954 §4: a lone asterisk cancels. The session is closed next, so its answer does not matter.
async fn cancel(wire: &mut Wire, limit: Duration) {
    let _ = wire.write(b"*\r\n", limit).await;
}

async fn answer(mechanism: &mut dyn Mechanism, reply: &Reply) -> Result<Zeroizing<Vec<u8>>, RelayTrouble> {
    let text = reply.lines().next().unwrap_or_default().trim();
    let challenge = match STANDARD.decode(text) {
        Ok(challenge) => challenge,
        Err(_) if mechanism.takes_raw_challenges() => text.as_bytes().to_vec(),
        Err(_) => return Err(trouble(TroubleKind::Protocol, "the relay sent a challenge that is not base64")),
    };
    mechanism.answer(&challenge).await.map_err(super::mechanism::Objection::into_trouble)
}

/// The relay's refusal, with what it said inside the exchange.
fn refused(mechanism: &dyn Mechanism, table: &ReplyTable, reply: Reply) -> Failure {
    let mut told = table.trouble(Stage::Auth, &reply);
    if let Some(remark) = mechanism.remark() {
        tracing::warn!(mechanism = mechanism.name(), reason = %remark, "the relay says why it refuses the access token");
        told.what = format!("{} [{remark}]", told.what);
    }
    Failure::Refused(reply, told)
}

fn broken(lost: &Lost) -> Failure {
    let kind = if matches!(lost, Lost::Malformed(_)) { TroubleKind::Protocol } else { TroubleKind::Unreachable };
    Failure::Ended(trouble(kind, lost.words()))
}
