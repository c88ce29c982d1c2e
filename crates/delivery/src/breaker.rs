//! The breaker of a relay: after trouble nothing is sent until a probe, one at a time and ever later, gets through.

use crate::{
    courier::{RelayTrouble, TroubleKind},
    plan::BreakerPlan,
};
use std::time::Duration;
use tidings_core::outbox::Stage;
use tokio::time::Instant;

/// How far a delay is varied either way.
const JITTER: f64 = 0.2;
/// The steps before a letter is spoken of.
const GETTING_IN: [Stage; 5] = [Stage::Connect, Stage::Greeting, Stage::Ehlo, Stage::Tls, Stage::Auth];

/// Where a relay stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Letters flow.
    Open,
    /// Left alone until then.
    Held(RelayTrouble, Instant),
    /// One session tries whether the trouble is over.
    Probing(RelayTrouble),
}

#[derive(Debug)]
pub(crate) struct Breaker {
    plan: BreakerPlan,
    condition: Condition,
    failures: usize,
}

impl Breaker {
    pub(crate) fn new(plan: BreakerPlan) -> Self {
        Self { plan, condition: Condition::Open, failures: 0 }
    }

    pub(crate) fn condition(&self) -> &Condition {
        &self.condition
    }

    pub(crate) fn is_open(&self) -> bool {
        self.condition == Condition::Open
    }

    /// Why letters wait, if they do.
    pub(crate) fn reason(&self) -> Option<&RelayTrouble> {
        match &self.condition {
            Condition::Open => None,
            Condition::Held(trouble, _) | Condition::Probing(trouble) => Some(trouble),
        }
    }

    /// Holds the relay; gives the delay until the next probe.
    pub(crate) fn hold(&mut self, trouble: RelayTrouble, now: Instant, dice: f64) -> Duration {
        let delays =
            if trouble.kind.needs_a_person() || trouble.kind == TroubleKind::Quota { &self.plan.slow_delays } else { &self.plan.delays };
        // A spent quota does not come back within minutes: the longest delay from the first time on.
        let step = if trouble.kind == TroubleKind::Quota { usize::MAX } else { self.failures };
        let written = delays.get(step).or(delays.last()).copied().unwrap_or(Duration::from_secs(60));
        let delay = written.mul_f64(1.0 + JITTER * (dice.clamp(0.0, 1.0) * 2.0 - 1.0));
        self.failures += 1;
        self.condition = Condition::Held(trouble, now + delay);
        delay
    }

    /// Goes from held to probing when it is time; says whether it did.
    pub(crate) fn probe_if_due(&mut self, now: Instant) -> bool {
        match &self.condition {
            Condition::Held(trouble, until) if *until <= now => {
                self.condition = Condition::Probing(trouble.clone());
                true
            }
            _ => false,
        }
    }

    /// Whether a probe has failed already since the trouble began.
    pub(crate) fn probe_failed(&self) -> bool {
        self.failures > 1
    }

    /// Whether it takes a letter to see that the trouble is over: it was not in getting in.
    pub(crate) fn probes_with_a_letter(&self) -> bool {
        matches!(&self.condition, Condition::Probing(trouble) if !GETTING_IN.contains(&trouble.stage))
    }

    /// The relay let a session in. Enough if the trouble was to get in; says whether the breaker closed.
    pub(crate) fn opened(&mut self) -> bool {
        matches!(&self.condition, Condition::Probing(trouble) if GETTING_IN.contains(&trouble.stage)) && self.recovered()
    }

    /// The relay answered for a letter, yes or no; says whether the breaker closed.
    pub(crate) fn answered(&mut self) -> bool {
        matches!(self.condition, Condition::Probing(_)) && self.recovered()
    }

    fn recovered(&mut self) -> bool {
        self.condition = Condition::Open;
        self.failures = 0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(kind: TroubleKind, stage: Stage) -> RelayTrouble {
        RelayTrouble::new(kind, stage, "x")
    }

    #[test]
    fn delays_grow_to_the_last_one_and_begin_anew_after_a_success() {
        let mut breaker = Breaker::new(BreakerPlan::default());
        let mut now = Instant::now();
        let mut wait = |breaker: &mut Breaker, kind| {
            let delay = breaker.hold(trouble(kind, Stage::Connect), now, 0.5);
            assert!(!breaker.probe_if_due(now));
            now += delay;
            assert!(breaker.probe_if_due(now));
            delay.as_secs()
        };
        let delays: Vec<_> = (0..8).map(|_| wait(&mut breaker, TroubleKind::Unreachable)).collect();
        assert_eq!(delays, [1, 2, 5, 10, 30, 60, 60, 60]);
        assert!(breaker.opened() && breaker.is_open());
        assert_eq!(wait(&mut breaker, TroubleKind::Auth), 60);
        assert!(breaker.opened());
        assert_eq!(wait(&mut breaker, TroubleKind::Quota), 600, "a spent quota comes back late");
    }

    #[test]
    fn a_relay_that_lets_us_in_and_then_fails_is_recovered_only_by_an_answer() {
        let mut breaker = Breaker::new(BreakerPlan::default());
        let now = Instant::now();
        let delay = breaker.hold(trouble(TroubleKind::Busy, Stage::Content), now, 0.5);
        assert!(!breaker.answered(), "an answer to an earlier letter does not end the hold");
        breaker.probe_if_due(now + delay);
        assert!(!breaker.opened() && breaker.probes_with_a_letter());
        assert!(breaker.answered() && !breaker.probes_with_a_letter());
    }
}
