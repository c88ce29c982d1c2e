//! A mailbox that is read by IMAP (RFC 9051, RFC 3501): as much of a client as taking reports out of a folder needs, with the sign-in of the couriers.
//!
//! What lives here: connection, encryption, sign-in, commands. What does not: which mails are reports, and what is remembered of a folder (`bounces`).

mod response;
mod session;
mod sign_in;

pub use session::{Selected, Session};

use crate::{
    courier::{RelayTrouble, TroubleKind},
    error::ImapError,
    oauth::TokenDesk,
    plan::{AuthPlan, Proof, Timeouts, TlsMin, TlsMode},
    reach,
    smtp::{Encryption, Stream, dialogue::Recorder},
};
use std::{error::Error as _, sync::Arc};
use tidings_core::{Clock, outbox::Stage};
use tokio::net::TcpStream;

/// A server with a mailbox, and how to sign in to it.
#[derive(Debug, Clone, PartialEq)]
pub struct ImapPlan {
    /// Host name or IP address; the name that its certificate must carry.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Encryption: [`TlsMode::Implicit`], [`TlsMode::StartTls`] or [`TlsMode::None`]; the modes that take what is offered count as required STARTTLS.
    pub tls: TlsMode,
    /// Certificate authorities to trust in place of the platform's (PEM).
    pub ca_pem: Option<Vec<u8>>,
    /// How to sign in.
    pub auth: AuthPlan,
    /// How long each step may take: `command` is for an answer.
    pub timeouts: Timeouts,
}

/// Opens sessions with one mailbox.
pub struct Imap {
    plan: ImapPlan,
    tokens: Option<TokenDesk>,
}

impl Imap {
    /// For this mailbox. `clock` dates signed token requests.
    pub fn new(plan: ImapPlan, clock: &Arc<dyn Clock>) -> Self {
        let tokens = match &plan.auth.proof {
            Proof::Password(_) => None,
            Proof::Tokens(tokens) => {
                let clock = Some(Arc::clone(clock));
                Some(TokenDesk::open(tokens.as_ref().clone(), plan.auth.user.clone(), plan.timeouts.command, clock))
            }
        };
        Self { plan, tokens }
    }

    /// The server's name, for messages.
    pub fn host(&self) -> &str {
        &self.plan.host
    }

    /// A session that is signed in. An access token that is refused is tried once more as a fresh one, since a token may end before its time.
    ///
    /// # Errors
    /// [`ImapError::NotIn`] with what is wrong and what to do about it.
    pub async fn open(&self) -> Result<Session, ImapError> {
        if !self.plan.auth.is_for(&self.plan.host, self.plan.port, self.plan.tls) {
            let what = "the credentials were given for another host, port or TLS mode and are not sent here";
            return Err(RelayTrouble::new(TroubleKind::Configuration, Stage::Auth, what).into());
        }
        let Some(desk) = &self.tokens else {
            let mut session = self.connect().await?;
            session.sign_in(&self.plan.auth, None).await?;
            return Ok(session);
        };
        loop {
            let (token, _) = desk.token().await?;
            let mut session = self.connect().await?;
            match session.sign_in(&self.plan.auth, Some(&token)).await {
                Ok(()) => {
                    desk.accepted();
                    return Ok(session);
                }
                Err(ImapError::NotIn(trouble)) if trouble.kind == TroubleKind::Auth => {
                    if !desk.refused(&token) {
                        return Err(trouble.into());
                    }
                    tracing::info!(imap.host = %self.plan.host, reply = %trouble.what, "the mailbox refused the access token; asking for another one");
                }
                Err(other) => return Err(other),
            }
        }
    }

    /// Connected, encrypted as planned, and greeted.
    async fn connect(&self) -> Result<Session, ImapError> {
        let stream = reach::connect(&self.plan.host, self.plan.port, self.plan.timeouts.connect, &Recorder::default()).await?;
        let limit = self.plan.timeouts.command;
        match self.plan.tls {
            TlsMode::None => Session::greet(Stream::Plain(stream), limit).await,
            TlsMode::Implicit => Session::greet(self.encrypt(stream).await?, limit).await,
            TlsMode::StartTls | TlsMode::StartTlsWhenAvailable | TlsMode::Auto => {
                let stream = Session::greet(Stream::Plain(stream), limit).await?.start_tls().await?;
                // RFC 9051 §6.2.1: what was said in clear is forgotten; there is no second greeting.
                Session::after_start_tls(self.encrypt(stream).await?, limit).await
            }
        }
    }

    async fn encrypt(&self, stream: TcpStream) -> Result<Stream, RelayTrouble> {
        let encryption = Encryption::with(&self.plan.host, self.plan.ca_pem.as_deref(), None, TlsMin::V1_2).map_err(|error| {
            let because = error.source().map(|source| format!(": {source}")).unwrap_or_default();
            RelayTrouble::new(TroubleKind::Configuration, Stage::Tls, format!("{error}{because}"))
        })?;
        let stream = encryption.handshake(stream, self.plan.timeouts.connect).await.map_err(|mut trouble| {
            if trouble.what.contains("not TLS") || trouble.what.contains("took longer") {
                trouble.hint = Some("the port speaks clear text first: tls = \"starttls\", or port 993 with tls = \"implicit\"".to_owned());
            }
            trouble
        })?;
        Ok(Stream::Tls(Box::new(stream)))
    }
}
