//! Delivery by SMTP (RFC 5321, 6409): a session engine of our own, because no library pipelines across messages and counts replies strictly.

mod alarm;
mod auth;
pub mod classify;
mod content;
pub mod dialogue;
mod ehlo;
mod engine;
mod envelope;
mod hello;
mod outgoing;
pub mod preset;
pub mod reply;
mod tls;
mod wire;
mod witness;

pub(crate) use content::whole_lines;
pub(crate) use tls::Encryption;
pub(crate) use wire::Stream;

use crate::{
    courier::{Courier, RelayTrouble, SessionEnd, Source, TroubleKind},
    error::TlsPlanError,
    plan::{Limits, SmtpPlan, Timeouts},
};
use async_trait::async_trait;
use auth::SignIn;
use classify::ReplyTable;
use dialogue::{Dialogue, Recorder};
use engine::Session;
use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tidings_core::Clock;
use tokio::time::Instant;

/// How long a relay that broke the protocol is spoken to one command at a time.
const CAREFUL_FOR: Duration = Duration::from_mins(10);

/// Carries letters to one mail relay.
pub struct SmtpCourier {
    plan: SmtpPlan,
    limits: Limits,
    timeouts: Timeouts,
    table: ReplyTable,
    sign_in: SignIn,
    encryption: OnceLock<Result<Encryption, TlsPlanError>>,
    careful_until: Mutex<Option<Instant>>,
    /// Until then no letters are sent in chunks.
    unchunked_until: Mutex<Option<Instant>>,
    /// The relay has taken a chunk.
    chunks_proven: AtomicBool,
}

impl SmtpCourier {
    /// A courier for one relay. Certificates are read at the first session, and what is wrong with them is that session's trouble.
    pub fn new(plan: SmtpPlan, limits: Limits, timeouts: Timeouts) -> Self {
        let (table, encryption) = (ReplyTable { own: plan.replies.clone() }, OnceLock::new());
        let sign_in = SignIn::for_plan(plan.auth.as_ref(), timeouts.command, None);
        let (careful_until, unchunked_until) = (Mutex::new(None), Mutex::new(None));
        let chunks_proven = AtomicBool::new(false);
        Self { plan, limits, timeouts, table, sign_in, encryption, careful_until, unchunked_until, chunks_proven }
    }

    /// With a clock, which signed token requests (RFC 7523) carry the time of; everything else here runs on the monotonic one.
    #[must_use]
    pub fn with_clock(mut self, clock: &Arc<dyn Clock>) -> Self {
        self.sign_in = SignIn::for_plan(self.plan.auth.as_ref(), self.timeouts.command, Some(clock));
        self
    }

    /// Whether commands must not be sent ahead of replies.
    fn is_careful(&self) -> bool {
        !self.plan.pipelining || is_ahead(&self.careful_until)
    }

    fn may_chunk(&self) -> bool {
        self.plan.chunking && !is_ahead(&self.unchunked_until)
    }

    /// Whether the relay has taken a chunk, so that letters may be sent before the answers to their envelopes.
    fn chunks_are_proven(&self) -> bool {
        self.chunks_proven.load(Ordering::Relaxed)
    }

    fn prove_chunks(&self) {
        if !self.chunks_are_proven() {
            self.chunks_proven.store(true, Ordering::Relaxed);
        }
    }

    /// A session broke with several letters on the way, or BDAT is not what it should be: for a while no more letters than one are put at stake.
    fn mistrust_chunks(&self) {
        self.chunks_proven.store(false, Ordering::Relaxed);
        *self.unchunked_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + CAREFUL_FOR);
    }

    fn learn_from(&self, trouble: &RelayTrouble) {
        if trouble.kind == TroubleKind::Protocol {
            *self.careful_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + CAREFUL_FOR);
        }
    }

    async fn work(&self, source: &mut dyn Source, recorder: Recorder) -> SessionEnd {
        let end = match self.open(recorder).await {
            Err(trouble) => SessionEnd::Trouble(trouble),
            Ok((wire, offer)) => {
                source.opened();
                Session::new(self, wire, offer).run(source).await
            }
        };
        if let SessionEnd::Trouble(trouble) = &end {
            self.learn_from(trouble);
        }
        end
    }

    /// One session with everything said in it written down.
    pub(crate) async fn recorded(&self, source: &mut dyn Source) -> (SessionEnd, Dialogue) {
        let recorder = Recorder::on();
        let end = self.work(source, recorder.clone()).await;
        (end, recorder.dialogue())
    }
}

fn is_ahead(until: &Mutex<Option<Instant>>) -> bool {
    until.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| Instant::now() < until)
}

#[async_trait]
impl Courier for SmtpCourier {
    async fn session(&self, source: &mut dyn Source) -> SessionEnd {
        self.work(source, Recorder::default()).await
    }

    /// The relay has lately broken the protocol.
    fn one_at_a_time(&self) -> bool {
        is_ahead(&self.careful_until)
    }
}
