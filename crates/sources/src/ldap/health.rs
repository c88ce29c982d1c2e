//! How a source does: pauses between attempts, when a failure is worth an event, and when it is time to compare everything.

use super::{error::LdapError, plan::LdapPlan, source::LdapSource};
use std::time::Duration;
use tokio::time::Instant;

/// Pauses vary by so much, so that many sources do not come back at the same moment.
const JITTER: f64 = 0.2;
/// So often it is noted that a source that works was heard of.
const NOTE_EVERY: Duration = Duration::from_secs(60);

/// How a source does.
pub(crate) struct Health {
    pauses: (Duration, Duration),
    grace: Duration,
    compare_every: Option<Duration>,
    failing_since: Option<Instant>,
    tries: u32,
    worked: bool,
    noted: Option<Instant>,
    compared: Instant,
    /// When deletions were last looked for.
    pub(crate) swept: Option<Instant>,
    /// Since when a server lags behind what is known.
    pub(crate) behind_since: Option<Instant>,
    /// Whether it was told that it fails.
    told: bool,
}

impl Health {
    pub(crate) fn new(plan: &LdapPlan) -> Self {
        Self {
            pauses: plan.pauses,
            grace: plan.failure_grace,
            compare_every: plan.compare_every,
            failing_since: None,
            tries: 0,
            worked: false,
            noted: None,
            compared: Instant::now(),
            swept: None,
            behind_since: None,
            told: false,
        }
    }

    /// Takes note that the source works: all that was to be caught up with is.
    pub(crate) async fn works(&mut self, source: &LdapSource) -> Result<(), LdapError> {
        let now = Instant::now();
        self.worked = true;
        self.tries = 0;
        self.told = false;
        let had_failed = self.failing_since.take().is_some();
        if had_failed || self.noted.is_none_or(|noted| now.duration_since(noted) >= NOTE_EVERY) {
            source.feed().source_works(source.directory()).await?;
            self.noted = Some(now);
        }
        Ok(())
    }

    /// Takes note that it failed; how long to wait now.
    pub(crate) fn failed(&mut self) -> Duration {
        self.failing_since.get_or_insert_with(Instant::now);
        let pause = self.pauses.0.saturating_mul(1 << self.tries.min(16)).min(self.pauses.1);
        self.tries += 1;
        let mut dice = [0; 1];
        // Without randomness sources come back together, and nothing else happens.
        let _ = getrandom::fill(&mut dice);
        pause.mul_f64(1.0 + JITTER * (f64::from(dice[0]) / 127.5 - 1.0))
    }

    /// Whether it has failed for long enough to tell.
    pub(crate) fn is_grave(&self) -> bool {
        self.failing_since.is_some_and(|since| since.elapsed() >= self.grace)
    }

    /// Takes note that the failure was told.
    pub(crate) const fn was_told(&mut self) {
        self.told = true;
    }

    /// Whether it had worked since this was last asked.
    pub(crate) fn take_worked(&mut self) -> bool {
        std::mem::take(&mut self.worked)
    }

    /// Whether it is time to compare everything.
    pub(crate) fn is_comparison_due(&self) -> bool {
        self.compare_every.is_some_and(|every| self.compared.elapsed() >= every)
    }

    /// How long until then.
    pub(crate) fn until_comparison(&self) -> Option<Duration> {
        self.compare_every.map(|every| every.saturating_sub(self.compared.elapsed()))
    }

    /// Takes note that everything was compared.
    pub(crate) fn compared(&mut self) {
        self.compared = Instant::now();
        self.swept = Some(Instant::now());
    }

    /// A server lags behind what is known. Gives whether that has been so for twice as long as a failure may last, and was told: then it is the truth. Time alone does not
    /// say so: a machine that stood still in between has told nothing.
    pub(crate) fn lags(&mut self) -> bool {
        self.behind_since.get_or_insert_with(Instant::now).elapsed() >= self.grace * 2 && self.told
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        mapping::{Mapping, Preset},
        plan::{Bind, Server},
    };
    use super::*;

    #[test]
    fn a_server_that_lags_is_believed_only_once_the_failure_was_told() {
        let server = Server::parse("ldap://127.0.0.1", false).unwrap();
        let mut plan = LdapPlan::new(vec![server], Bind::Anonymous, "dc=example,dc=org", Mapping::preset(Preset::OpenLdap));
        // As if the machine had stood still for longer than that.
        plan.failure_grace = Duration::ZERO;
        let mut health = Health::new(&plan);
        assert!(!health.lags());
        health.was_told();
        assert!(health.lags());
    }
}
