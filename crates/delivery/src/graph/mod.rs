//! Delivery by Microsoft Graph: each letter is a call of `sendMail` with its MIME bytes (`Content-Type: text/plain`, base64), so that the bytes are ours.
//!
//! Graph takes the recipients from the header, not from an envelope: what is posted has the one recipient that the environment guard has let through (`sole`).
//! The token comes from the same desk as for SMTP. What does not live here: limits in time, which the relay's desk keeps; letters described in JSON.

mod answer;
mod http;
mod plan;

pub use plan::GraphPlan;

use crate::{
    courier::{Courier, Load, RelayTrouble, SessionEnd, Source, TroubleKind},
    oauth::{Token, TokenDesk},
    plan::{Limits, Timeouts, TlsMin},
    reach,
    smtp::{
        Encryption, Stream,
        dialogue::{Dialogue, Recorder, Speaker},
    },
    sole,
};
use answer::{Verdict, judge};
use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{Answer, Line, Unanswered};
use plan::Target;
use std::{
    error::Error as _,
    fmt::Write as _,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tidings_core::{
    Clock,
    outbox::{Outcome, Refusal, Stage},
};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// The calls that an application may make at a time for one mailbox (Microsoft Graph service-specific throttling limits, Outlook).
pub const CALLS_AT_ONCE: u16 = 4;
/// The largest request that Graph takes, in octets of base64.
const LARGEST_REQUEST: usize = 4 * 1024 * 1024;
/// A connection that has lain idle for longer is not used again.
const LONGEST_IDLE: Duration = Duration::from_secs(20);
/// Most characters of a refusal's body that a recorded dialogue shows.
const MOST_SHOWN: usize = 600;

/// Carries letters to one mailbox's `sendMail`.
pub struct GraphCourier {
    plan: GraphPlan,
    limits: Limits,
    timeouts: Timeouts,
    clock: Arc<dyn Clock>,
    tokens: TokenDesk,
    encryption: OnceLock<Result<Encryption, RelayTrouble>>,
    /// More calls than Graph allows are never made, whatever the limits say.
    calls: Semaphore,
}

/// Why a call came to nothing, and what becomes of the letter.
type Broken = (RelayTrouble, Outcome);

impl GraphCourier {
    /// A courier for one mailbox. `timeouts.final_dot` is for a whole call, `timeouts.command` for the token endpoint.
    pub fn new(plan: GraphPlan, limits: Limits, timeouts: Timeouts, clock: Arc<dyn Clock>) -> Self {
        let tokens = TokenDesk::open(plan.tokens.clone(), plan.mailbox.clone(), timeouts.command, Some(Arc::clone(&clock)));
        let calls = Semaphore::new(usize::from(CALLS_AT_ONCE));
        Self { plan, limits, timeouts, clock, tokens, encryption: OnceLock::new(), calls }
    }

    /// One session with everything said in it written down.
    pub(crate) async fn recorded(&self, source: &mut dyn Source) -> (SessionEnd, Dialogue) {
        let recorder = Recorder::on();
        let end = self.work(source, &recorder).await;
        (end, recorder.dialogue())
    }

    async fn work(&self, source: &mut dyn Source, recorder: &Recorder) -> SessionEnd {
        self.visit(source, recorder).await.unwrap_or_else(|trouble| {
            recorder.note(Speaker::Note, || trouble.sentence());
            SessionEnd::Trouble(trouble)
        })
    }

    async fn visit(&self, source: &mut dyn Source, recorder: &Recorder) -> Result<SessionEnd, RelayTrouble> {
        let target = self.plan.target()?;
        let mut line = self.dial(&target, recorder).await?;
        self.token(recorder).await?;
        // That the mailbox may send shows only with a letter: troubles of that kind are at a later stage than this.
        source.opened();
        for _ in 0..self.limits.messages_per_session {
            let Some(load) = source.next().await else { return Ok(SessionEnd::Done) };
            match self.hand_over(&mut line, &target, &load, recorder).await {
                Ok(outcome) => source.report(load.item, outcome),
                Err((trouble, outcome)) => {
                    source.report(load.item, outcome);
                    return Err(trouble);
                }
            }
        }
        Ok(SessionEnd::Limit)
    }

    /// A connection, encrypted if the address says so.
    async fn dial(&self, target: &Target, recorder: &Recorder) -> Result<Line, RelayTrouble> {
        let stream = reach::connect(&target.host, target.port, self.timeouts.connect, recorder).await?;
        if !target.encrypted {
            return Ok(Line::new(Stream::Plain(stream)));
        }
        let stream = self.encryption(target)?.handshake(stream, self.timeouts.connect).await.map_err(|mut trouble| {
            if trouble.what.contains("not TLS") || trouble.what.contains("took longer") {
                trouble.hint = Some("check url, and whether something in between answers in Graph's place".to_owned());
            }
            trouble
        })?;
        recorder.note(Speaker::Note, || {
            let version = stream.get_ref().1.protocol_version().and_then(|v| v.as_str()).unwrap_or("TLS");
            format!("encrypted with {version}")
        });
        Ok(Line::new(Stream::Tls(Box::new(stream))))
    }

    fn encryption(&self, target: &Target) -> Result<&Encryption, RelayTrouble> {
        let made = self.encryption.get_or_init(|| {
            Encryption::with(&target.host, self.plan.ca_pem.as_deref(), None, TlsMin::V1_2).map_err(|error| {
                let because = error.source().map(|source| format!(": {source}")).unwrap_or_default();
                RelayTrouble::new(TroubleKind::Configuration, Stage::Tls, format!("{error}{because}"))
            })
        });
        made.as_ref().map_err(Clone::clone)
    }

    async fn token(&self, recorder: &Recorder) -> Result<Token, RelayTrouble> {
        let (token, fresh) = self.tokens.token().await?;
        if fresh {
            recorder.note(Speaker::Note, || format!("access token from {}", self.tokens.endpoint()));
        }
        Ok(token)
    }

    /// One letter. With a token that is refused, once more with a fresh one, since a token may end before its time.
    async fn hand_over(&self, line: &mut Line, target: &Target, load: &Load, recorder: &Recorder) -> Result<Outcome, Broken> {
        let body = body(load);
        if body.len() > LARGEST_REQUEST {
            let reply = format!("the letter makes a request of {} octets, and Graph takes {LARGEST_REQUEST}", body.len());
            return Ok(Outcome::Refused(Refusal::Permanent { stage: Stage::Content, reply }));
        }
        loop {
            let token = self.token(recorder).await.map_err(not_sent)?;
            let answer = self.call(line, target, &token, &body, recorder).await?;
            match judge(&answer, self.clock.now()) {
                Verdict::Settled(outcome) => {
                    self.tokens.accepted();
                    return Ok(outcome);
                }
                Verdict::Trouble(trouble, outcome) => return Err((trouble, outcome)),
                Verdict::BadToken(trouble) => {
                    if !self.tokens.refused(&token) {
                        return Err(not_sent(trouble));
                    }
                    tracing::info!(mailbox = %self.plan.masked(), reply = %trouble.what, "Graph refused the access token; asking for another one");
                }
            }
        }
    }

    /// One call, on the connection there is if it is fit, else on another.
    async fn call(&self, line: &mut Line, target: &Target, token: &Token, body: &str, recorder: &Recorder) -> Result<Answer, Broken> {
        let _turn = self.calls.acquire().await.expect("nobody closes it");
        if !line.is_fit(LONGEST_IDLE).await {
            *line = self.dial(target, recorder).await.map_err(not_sent)?;
        }
        recorder.note(Speaker::Us, || {
            let path = &target.path;
            format!("POST {path}\nAuthorization: Bearer ***\nContent-Type: text/plain\n({} octets of base64)", body.len())
        });
        let answer = line.ask(&request(target, token, body), self.timeouts.final_dot).await.map_err(|unanswered| {
            let trouble = |kind, stage, what: &str| RelayTrouble::new(kind, stage, what);
            match unanswered {
                Unanswered::Unsent(what) => not_sent(trouble(TroubleKind::Unreachable, Stage::Data, &what)),
                Unanswered::Lost(what) => {
                    let unknown = Outcome::Unknown { what: format!("nobody knows whether it was sent: {what}") };
                    (trouble(TroubleKind::Unreachable, Stage::Content, &what), unknown)
                }
                Unanswered::Garbled(what) => {
                    let unknown = Outcome::Unknown { what: format!("nobody knows whether it was sent: {what}") };
                    let trouble = trouble(TroubleKind::Protocol, Stage::Content, &what);
                    (trouble.hint("check url, and whether something in between answers in Graph's place"), unknown)
                }
            }
        })?;
        recorder.note(Speaker::Relay, || shown(&answer, token));
        Ok(answer)
    }
}

/// Trouble before the letter could be taken.
fn not_sent(trouble: RelayTrouble) -> Broken {
    let what = format!("not handed over: {trouble}");
    (trouble, Outcome::Returned { what })
}

/// What is posted: the letter with its one recipient, in base64.
fn body(load: &Load) -> String {
    let mut mime = Vec::with_capacity(load.bytes.len() + 256);
    sole::addressed_to_alone(&load.bytes, load.to.address().as_str(), &mut mime);
    STANDARD.encode(&mime)
}

/// The request, whole. It holds the token, so it is erased with it.
fn request(target: &Target, token: &Token, body: &str) -> Zeroizing<Vec<u8>> {
    let (path, authority, length) = (&target.path, &target.authority, body.len());
    let mut bytes = Zeroizing::new(Vec::with_capacity(length + token.secret().reveal().len() + 1024));
    bytes.extend_from_slice(format!("POST {path} HTTP/1.1\r\nHost: {authority}\r\nAuthorization: Bearer ").as_bytes());
    bytes.extend_from_slice(token.secret().reveal().as_bytes());
    let (version, id) = (env!("CARGO_PKG_VERSION"), request_id());
    let rest = format!(
        "\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nAccept: application/json\r\nUser-Agent: tidings/{version}\r\nclient-request-id: {id}\r\nreturn-client-request-id: true\r\n\r\n"
    );
    bytes.extend_from_slice(rest.as_bytes());
    bytes.extend_from_slice(body.as_bytes());
    bytes
}

/// A UUID of version 4 (RFC 9562 §5.4), by which Microsoft's support finds a call.
fn request_id() -> String {
    let mut bytes = [0; 16];
    // Without randomness the id names nothing, and nothing else depends on it.
    let _ = getrandom::fill(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut id = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if [4, 6, 8, 10].contains(&at) {
            id.push('-');
        }
        write!(id, "{byte:02x}").expect("a String takes everything");
    }
    id
}

/// An answer for a recorded dialogue, without the token, should it be repeated.
fn shown(answer: &Answer, token: &Token) -> String {
    let mut text = format!("HTTP {} {}", answer.status, answer.reason).trim_end().to_owned();
    for name in ["request-id", "client-request-id", "retry-after", "www-authenticate"] {
        if let Some(value) = answer.header(name) {
            write!(text, "\n{name}: {value}").expect("a String takes everything");
        }
    }
    let body = String::from_utf8_lossy(&answer.body);
    if !body.trim().is_empty() {
        write!(text, "\n{}", body.chars().take(MOST_SHOWN).collect::<String>()).expect("a String takes everything");
    }
    text.replace(token.secret().reveal(), "***")
}

#[async_trait]
impl Courier for GraphCourier {
    async fn session(&self, source: &mut dyn Source) -> SessionEnd {
        self.work(source, &Recorder::default()).await
    }
}
