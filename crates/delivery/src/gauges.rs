//! The numbers a desk keeps, looked up once.

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use tidings_core::{
    Lane,
    outbox::{Outcome, Refusal, Settlement, State},
};

pub(crate) struct Gauges {
    sent: [Counter; Lane::ALL.len()],
    latency: [Histogram; Lane::ALL.len()],
    transient: Counter,
    permanent: Counter,
    retried: Counter,
    unknown: Counter,
    /// 1 while the relay is held.
    pub(crate) held: Gauge,
    /// 1 while a limit keeps letters for the relay waiting.
    pub(crate) throttled: Gauge,
    /// Sessions open.
    pub(crate) sessions: Gauge,
}

impl Gauges {
    pub(crate) fn of(relay: &str) -> Self {
        let relay = relay.to_owned();
        Self {
            sent: Lane::ALL.map(|lane| counter!("tidings_sent_total", "relay" => relay.clone(), "lane" => lane.as_str())),
            latency: Lane::ALL.map(|lane| histogram!("tidings_accept_to_sent_seconds", "lane" => lane.as_str())),
            transient: counter!("tidings_refused_total", "relay" => relay.clone(), "class" => "transient"),
            permanent: counter!("tidings_refused_total", "relay" => relay.clone(), "class" => "permanent"),
            retried: counter!("tidings_retried_total", "relay" => relay.clone()),
            unknown: counter!("tidings_unknown_total", "relay" => relay.clone()),
            held: gauge!("tidings_relay_held", "relay" => relay.clone()),
            throttled: gauge!("tidings_relay_throttled", "relay" => relay.clone()),
            sessions: gauge!("tidings_sessions", "relay" => relay),
        }
    }

    /// Counts an outcome; `accepted` and the settlement's time give the latency.
    pub(crate) fn count(&self, lane: Lane, accepted: tidings_core::Timestamp, outcome: Counted, settlement: &Settlement) {
        match outcome {
            Counted::Sent => {
                self.sent[lane as usize].increment(1);
                self.latency[lane as usize].record(settlement.at.duration_since(accepted).as_secs_f64().max(0.0));
            }
            Counted::Transient => self.transient.increment(1),
            Counted::Permanent => self.permanent.increment(1),
            Counted::Unknown => self.unknown.increment(1),
            Counted::Nothing => return,
        }
        if settlement.state == State::Waiting {
            self.retried.increment(1);
        }
    }
}

/// What of an outcome is counted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Counted {
    Sent,
    Transient,
    Permanent,
    Unknown,
    Nothing,
}

impl From<&Outcome> for Counted {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Sent { .. } => Self::Sent,
            Outcome::Refused(Refusal::Transient { .. }) => Self::Transient,
            Outcome::Refused(Refusal::Permanent { .. }) => Self::Permanent,
            Outcome::Unknown { .. } => Self::Unknown,
            Outcome::Returned { .. } | Outcome::Withheld { .. } | Outcome::Barred { .. } => Self::Nothing,
        }
    }
}
