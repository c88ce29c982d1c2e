//! The token desk of one relay: one token for all its sessions, asked for once at a time, renewed early, used to its end while the endpoint is down.
//!
//! Lifetimes run on the monotonic clock: a wall clock that jumps neither ends a token nor keeps it alive.

use super::{
    answer::{Granted, trouble},
    plan::TokenPlan,
    request::{self, Failed},
};
use crate::{
    courier::{RelayTrouble, TroubleKind},
    dice::Dice,
    secret::Secret,
};
use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};
use tidings_core::Clock;
use tokio::time::Instant;
use ureq::Agent;

/// A token is renewed when this part of its life is over …
const RENEW_AT: f64 = 0.8;
/// … varied by a tenth either way, so that many relays and machines do not ask at once.
const JITTER: f64 = 0.1;
/// A renewal that failed is tried again after so long, while the held token lasts.
const RENEW_AGAIN: Duration = Duration::from_secs(30);
/// A token is not used in the last moments of its life, or the last tenth of a short one: it takes a while to the relay.
const LAST_MOMENTS: Duration = Duration::from_secs(5);

/// An access token. Which one it is counts: only the desk's present one can be reported as refused.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    text: Arc<Secret>,
    serial: u64,
}

impl Token {
    /// The token itself, for the one who signs in.
    pub(crate) fn secret(&self) -> &Secret {
        &self.text
    }
}

struct Held {
    token: Token,
    renew_at: Instant,
    ends_at: Instant,
}

struct State {
    held: Option<Held>,
    serial: u64,
    /// Tokens refused in a row.
    refused: u32,
    renewing: bool,
    /// What went wrong last, and when.
    failed: Option<(Instant, RelayTrouble)>,
    /// The endpoint asked to be left alone until then.
    not_before: Option<Instant>,
    dice: Dice,
}

struct Desk {
    plan: TokenPlan,
    user: String,
    limit: Duration,
    clock: Option<Arc<dyn Clock>>,
    agent: OnceLock<Result<Agent, RelayTrouble>>,
    state: Mutex<State>,
    /// Held while the endpoint is asked.
    flight: tokio::sync::Mutex<()>,
}

/// Gives out the access token of one relay.
#[derive(Clone)]
pub(crate) struct TokenDesk(Arc<Desk>);

impl TokenDesk {
    /// A desk that asks for tokens for the mailbox of `user`. The endpoint is asked when the first token is wanted, and may take `limit`; `clock` dates
    /// assertions.
    pub(crate) fn open(plan: TokenPlan, user: String, limit: Duration, clock: Option<Arc<dyn Clock>>) -> Self {
        let mut seed = [0; 8];
        // The dice only spread renewals: without randomness they fall together, and nothing else happens.
        let _ = getrandom::fill(&mut seed);
        let dice = Dice::seeded(u64::from_le_bytes(seed));
        let state = State { held: None, serial: 0, refused: 0, renewing: false, failed: None, not_before: None, dice };
        Self(Arc::new(Desk {
            plan,
            user,
            limit,
            clock,
            agent: OnceLock::new(),
            state: Mutex::new(state),
            flight: tokio::sync::Mutex::default(),
        }))
    }

    /// The endpoint's host, for messages.
    pub(crate) fn endpoint(&self) -> &str {
        self.0.plan.endpoint()
    }

    /// A token that holds, and whether it was asked for just now. All sessions that come while the endpoint is asked wait for the one answer.
    ///
    /// # Errors
    /// Why there is none, as the relay's trouble.
    pub(crate) async fn token(&self) -> Result<(Token, bool), RelayTrouble> {
        let came = Instant::now();
        if let Some(token) = self.held() {
            return Ok((token, false));
        }
        let _turn = self.0.flight.lock().await;
        if let Some(token) = self.held() {
            return Ok((token, false));
        }
        {
            let state = self.0.state();
            // Whoever had the turn while we waited has just asked.
            if let Some((at, trouble)) = &state.failed
                && (*at >= came || state.not_before.is_some_and(|until| Instant::now() < until))
            {
                return Err(trouble.clone());
            }
        }
        self.0.ask().await.map(|token| (token, true))
    }

    /// The relay let us in.
    pub(crate) fn accepted(&self) {
        self.0.state().refused = 0;
    }

    /// The relay refused this token: it is dropped. Says whether another one is worth a try on the spot: not if a fresh one was refused as well.
    pub(crate) fn refused(&self, token: &Token) -> bool {
        let mut state = self.0.state();
        if state.held.as_ref().is_none_or(|held| held.token.serial != token.serial) {
            // Another session has reported it, or has a new one already.
            return state.refused < 2;
        }
        state.held = None;
        state.refused += 1;
        state.refused < 2
    }

    /// The held token if it lasts; a renewal is set off when it is due.
    fn held(&self) -> Option<Token> {
        let mut state = self.0.state();
        let now = Instant::now();
        let held = state.held.as_ref().filter(|held| now < held.ends_at)?;
        let (token, due) = (held.token.clone(), held.renew_at <= now);
        if due && !state.renewing && state.not_before.is_none_or(|until| until <= now) {
            state.renewing = true;
            tokio::spawn(Arc::clone(&self.0).renew());
        }
        Some(token)
    }
}

/// Whatever becomes of a renewal, also if its runtime ends: the next one may begin.
struct Renewing(Arc<Desk>);

impl Drop for Renewing {
    fn drop(&mut self) {
        self.0.state().renewing = false;
    }
}

fn broken(desk: &Desk, what: &str) -> RelayTrouble {
    trouble(TroubleKind::Unreachable, desk.plan.endpoint(), what)
}

impl Desk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn renew(self: Arc<Self>) {
        let renewing = Renewing(self);
        let desk = &renewing.0;
        let _turn = desk.flight.lock().await;
        if let Err(trouble) = desk.ask().await {
            let mut state = desk.state();
            let again = Instant::now() + RENEW_AGAIN;
            if let Some(held) = &mut state.held {
                held.renew_at = again;
                let left_s = held.ends_at.saturating_duration_since(Instant::now()).as_secs();
                tracing::warn!(endpoint = desk.plan.endpoint(), reason = %trouble.sentence(), left_s, "the access token cannot be renewed yet; the held one is used to its end");
            }
        }
    }

    /// Asks the endpoint, with the turn to do so, and keeps what it gives.
    async fn ask(self: &Arc<Self>) -> Result<Token, RelayTrouble> {
        let desk = Arc::clone(self);
        let (tell, told) = tokio::sync::oneshot::channel();
        // A thread of its own and not the runtime's: nobody who stops this program waits for an endpoint that is slow.
        let thread = std::thread::Builder::new().name("token".to_owned()).spawn(move || {
            // Whoever asked may have gone meanwhile.
            let _ = tell.send(desk.ask_blocking());
        });
        let asked = match thread {
            Ok(_) => told.await.unwrap_or_else(|_| Err(broken(self, "asking broke off inside this program").into())),
            Err(error) => Err(broken(self, &format!("cannot be asked: {error}")).into()),
        };
        let now = Instant::now();
        let mut state = self.state();
        match asked {
            Ok(Granted { token, lifetime }) => {
                state.serial += 1;
                let token = Token { text: Arc::new(token), serial: state.serial };
                let part = RENEW_AT * (1.0 + JITTER * (state.dice.roll() * 2.0 - 1.0));
                let ends_at = now + lifetime.saturating_sub(LAST_MOMENTS.min(lifetime / 10));
                state.held = Some(Held { token: token.clone(), renew_at: now + lifetime.mul_f64(part), ends_at });
                (state.failed, state.not_before) = (None, None);
                tracing::debug!(endpoint = self.plan.endpoint(), lifetime_s = lifetime.as_secs(), "a new access token");
                Ok(token)
            }
            Err(Failed { trouble, retry_after }) => {
                state.failed = Some((now, trouble.clone()));
                state.not_before = retry_after.map(|pause| now + pause);
                Err(trouble)
            }
        }
    }

    fn ask_blocking(&self) -> Result<Granted, Failed> {
        let agent = self.agent.get_or_init(|| request::agent(&self.plan, self.limit));
        let agent = agent.as_ref().map_err(|trouble| Failed::from(trouble.clone()))?;
        let now_s = self.clock.as_ref().map(|clock| clock.now().as_second());
        request::ask(&self.plan, agent, &self.user, now_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::ClientProof;
    use tidings_testkit::issuer::{Behaviour, Issuer};

    fn desk(issuer: &Issuer) -> TokenDesk {
        let plan = TokenPlan::new(issuer.token_url(), "tidings", ClientProof::SecretInBody(Secret::new("secret")));
        TokenDesk::open(plan, "post".to_owned(), Duration::from_secs(20), None)
    }

    fn issuer() -> Issuer {
        Issuer::builder().client("tidings", "secret").start()
    }

    async fn until(what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !holds() {
            assert!(Instant::now() < deadline, "not within 20 s: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn change(desk: &TokenDesk, change: impl FnOnce(&mut Held)) {
        change(desk.0.state().held.as_mut().expect("a token is held"));
    }

    #[tokio::test]
    async fn renewal_falls_due_at_four_fifths_of_the_life_give_or_take_a_tenth() {
        let issuer = issuer();
        let mut seen = Vec::new();
        for _ in 0..20 {
            let (desk, before) = (desk(&issuer), Instant::now());
            desk.token().await.unwrap();
            let after = Instant::now();
            let state = desk.0.state();
            let held = state.held.as_ref().unwrap();
            let least = before + Duration::from_hours(1).mul_f64(0.72);
            assert!(held.renew_at >= least && held.renew_at <= after + Duration::from_hours(1).mul_f64(0.88));
            assert!(held.ends_at <= after + Duration::from_secs(3595));
            seen.push(held.renew_at - least);
        }
        assert!(seen.iter().max().unwrap().saturating_sub(*seen.iter().min().unwrap()) > Duration::from_secs(60), "no jitter: {seen:?}");
    }

    #[tokio::test]
    async fn a_renewal_keeps_nobody_waiting_and_happens_once() {
        let issuer = issuer();
        let desk = desk(&issuer);
        let (first, fresh) = desk.token().await.unwrap();
        assert!(fresh);
        issuer.behave(Behaviour::Slow(Duration::from_mins(1)));
        change(&desk, |held| held.renew_at = Instant::now());
        for _ in 0..5 {
            let (token, fresh) = desk.token().await.unwrap();
            assert!(!fresh && token.serial == first.serial);
        }
        until("the endpoint to be asked", || issuer.count() == 2).await;
        assert_eq!(desk.token().await.unwrap().0.serial, first.serial, "the held one serves while the endpoint takes its time");
        assert_eq!(issuer.count(), 2);
    }

    #[tokio::test]
    async fn a_renewal_replaces_the_token() {
        let issuer = issuer();
        let desk = desk(&issuer);
        let (first, _) = desk.token().await.unwrap();
        change(&desk, |held| held.renew_at = Instant::now());
        desk.token().await.unwrap();
        until("the new token", || desk.held().is_some_and(|token| token.serial > first.serial)).await;
        assert_eq!((issuer.count(), desk.token().await.unwrap().1), (2, false));
        assert!(desk.refused(&first), "a token that is no longer the present one costs nothing");
        assert!(desk.held().is_some());
    }

    #[tokio::test]
    async fn a_held_token_is_used_to_its_end_while_the_endpoint_is_down() {
        let issuer = issuer();
        let desk = desk(&issuer);
        let (first, _) = desk.token().await.unwrap();
        issuer.behave(Behaviour::Says { status: 503, headers: Vec::new(), body: String::new() });
        change(&desk, |held| held.renew_at = Instant::now());
        desk.token().await.unwrap();
        until("the renewal to fail", || issuer.count() == 2 && !desk.0.state().renewing).await;
        for _ in 0..5 {
            assert_eq!(desk.token().await.unwrap().0.serial, first.serial);
        }
        assert_eq!(issuer.count(), 2, "the next renewal has its time");
        change(&desk, |held| held.ends_at = Instant::now());
        let trouble = desk.token().await.unwrap_err();
        assert!(trouble.kind == TroubleKind::Unreachable && trouble.what.contains("HTTP 503"), "{trouble}");
        issuer.behave(Behaviour::Good);
        let (second, fresh) = desk.token().await.unwrap();
        assert!(fresh && second.serial > first.serial);
    }
}
