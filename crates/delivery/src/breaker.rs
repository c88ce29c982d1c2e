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
/// The pauses that a relay may ask for: it is asked again at least once an hour.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_hours(1);
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
        let delay = delay_of(&self.plan, &trouble, self.failures, dice);
        self.failures += 1;
        self.condition = Condition::Held(trouble, now + delay);
        delay
    }

    /// Another session of a relay that is held was told to leave it alone for longer; gives the delay until the probe, if that has changed.
    pub(crate) fn prolong(&mut self, pause: Option<Duration>, now: Instant) -> Option<Duration> {
        let Condition::Held(_, until) = &mut self.condition else { return None };
        let pause = as_asked(pause?);
        (now + pause > *until).then(|| {
            *until = now + pause;
            pause
        })
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

    /// Goes by what all nodes know: why the relay is held, how often it has failed, until when, and whether this node is the one who probes. Says whether it was open before.
    pub(crate) fn follow(&mut self, trouble: RelayTrouble, failures: usize, until: Instant, probes: bool) -> bool {
        let was_open = self.is_open();
        self.failures = failures;
        self.condition = if probes { Condition::Probing(trouble) } else { Condition::Held(trouble, until) };
        was_open
    }

    /// Another node's probe got through; says whether the relay was held.
    pub(crate) fn release(&mut self) -> bool {
        !self.is_open() && self.recovered()
    }

    /// Whether it is time for a probe.
    pub(crate) fn is_probe_due(&self, now: Instant) -> bool {
        matches!(&self.condition, Condition::Held(_, until) if *until <= now)
    }

    /// Whether a probe has failed already since the trouble began.
    pub(crate) fn probe_failed(&self) -> bool {
        self.failures > 1
    }

    /// Whether it takes a letter to see that the trouble is over: it was not in getting in.
    pub(crate) fn probes_with_a_letter(&self) -> bool {
        matches!(&self.condition, Condition::Probing(trouble) if !GETTING_IN.contains(&trouble.stage))
    }

    /// Whether the next letter is for a probe that is due or under way.
    pub(crate) fn wants_letter(&self, now: Instant) -> bool {
        match &self.condition {
            Condition::Open => false,
            Condition::Held(trouble, until) => *until <= now && !GETTING_IN.contains(&trouble.stage),
            Condition::Probing(_) => self.probes_with_a_letter(),
        }
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

/// How long a relay is left alone after its trouble, given how often it has failed before.
pub(crate) fn delay_of(plan: &BreakerPlan, trouble: &RelayTrouble, failures: usize, dice: f64) -> Duration {
    let kind = trouble.kind;
    let delays = if kind.needs_a_person() || kind == TroubleKind::Quota { &plan.slow_delays } else { &plan.delays };
    // A spent quota does not come back within minutes: the longest delay from the first time on.
    let step = if kind == TroubleKind::Quota { usize::MAX } else { failures };
    let written = delays.get(step).or(delays.last()).copied().unwrap_or(Duration::from_secs(60));
    let varied = written.mul_f64(1.0 + JITTER * (dice.clamp(0.0, 1.0) * 2.0 - 1.0));
    // What the relay asks for holds, and is never cut short by dice.
    trouble.pause.map_or(varied, as_asked)
}

/// The pause that a relay gets if it asks for this one.
pub(crate) fn as_asked(pause: Duration) -> Duration {
    pause.clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
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
    fn a_pause_that_the_relay_asks_for_holds_and_may_be_prolonged() {
        let mut breaker = Breaker::new(BreakerPlan::default());
        let now = Instant::now();
        let asks = |seconds| trouble(TroubleKind::Busy, Stage::Content).pause(Some(Duration::from_secs(seconds)));
        assert_eq!(breaker.hold(asks(17), now, 0.0), Duration::from_secs(17), "no dice");
        assert_eq!(breaker.prolong(Some(Duration::from_secs(9)), now), None, "shorter than what was asked already");
        assert_eq!(breaker.prolong(None, now), None);
        assert_eq!(breaker.prolong(Some(Duration::from_secs(30)), now), Some(Duration::from_secs(30)));
        assert!(!breaker.probe_if_due(now + Duration::from_secs(29)) && breaker.probe_if_due(now + Duration::from_secs(30)));
        assert_eq!(breaker.prolong(Some(Duration::from_mins(5)), now), None, "the probe is on its way");
        assert_eq!(breaker.hold(asks(999_999), now, 1.0), Duration::from_hours(1), "nobody is left alone for ever");
        assert_eq!(breaker.hold(asks(0), now, 1.0), Duration::from_secs(1));
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
