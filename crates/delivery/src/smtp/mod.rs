//! Delivery by SMTP (RFC 5321, 6409): a session engine of our own, because no library pipelines across messages and counts replies strictly.

mod auth;
pub mod classify;
mod content;
pub mod dialogue;
mod ehlo;
mod engine;
mod envelope;
mod hello;
pub mod preset;
pub mod reply;
mod tls;
mod wire;

pub(crate) use content::whole_lines;

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
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};
use tidings_core::Clock;
use tls::Encryption;
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
}

impl SmtpCourier {
    /// A courier for one relay. Certificates are read at the first session, and what is wrong with them is that session's trouble.
    pub fn new(plan: SmtpPlan, limits: Limits, timeouts: Timeouts) -> Self {
        let (table, encryption) = (ReplyTable { own: plan.replies.clone() }, OnceLock::new());
        let sign_in = SignIn::for_plan(plan.auth.as_ref(), timeouts.command, None);
        Self { plan, limits, timeouts, table, sign_in, encryption, careful_until: Mutex::new(None) }
    }

    /// With a clock, which signed token requests (RFC 7523) carry the time of; everything else here runs on the monotonic one.
    #[must_use]
    pub fn with_clock(mut self, clock: &Arc<dyn Clock>) -> Self {
        self.sign_in = SignIn::for_plan(self.plan.auth.as_ref(), self.timeouts.command, Some(clock));
        self
    }

    /// Whether the relay has lately broken the protocol, so that commands must not be sent ahead of replies.
    fn is_careful(&self) -> bool {
        !self.plan.pipelining
            || self.careful_until.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| Instant::now() < until)
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

#[async_trait]
impl Courier for SmtpCourier {
    async fn session(&self, source: &mut dyn Source) -> SessionEnd {
        self.work(source, Recorder::default()).await
    }
}
