//! One letter, now, with the dialogue written down: `tidings send-test`; and a session without a letter: `tidings relay probe`.
//!
//! The same couriers and the same guard as everywhere; only the source of letters is another one.

use crate::{
    courier::{Load, RelayTrouble, SessionEnd, Source},
    graph::GraphCourier,
    plan::{RelayPlan, Way},
    postman::courier_for,
    smtp::{
        SmtpCourier,
        dialogue::{Dialogue, Speaker},
    },
};
use async_trait::async_trait;
use std::{path::Path, sync::Arc};
use tidings_core::{
    Clock, Id,
    guard::{EnvironmentGuard, Verdict},
    outbox::Outcome,
};
use tidings_store::Lease;

/// What became of one letter.
#[derive(Debug, Clone)]
pub struct Delivered {
    /// What to settle the item with.
    pub outcome: Outcome,
    /// Set if the relay as a whole is in trouble; the outcome is then `Returned` or `Unknown`.
    pub trouble: Option<RelayTrouble>,
    /// What was said.
    pub dialogue: Dialogue,
}

/// Gives one load, or none, and keeps what is said about it.
#[derive(Default)]
struct Single {
    load: Option<Load>,
    outcome: Option<Outcome>,
}

#[async_trait]
impl Source for Single {
    fn try_next(&mut self) -> Option<Load> {
        self.load.take()
    }

    async fn next(&mut self) -> Option<Load> {
        self.load.take()
    }

    fn report(&mut self, _: Id, outcome: Outcome) {
        self.outcome = Some(outcome);
    }
}

/// Delivers one leased item by its relay. `file` is where letters go when the guard's mode is `file`.
pub async fn deliver_now(
    plan: &RelayPlan,
    guard: &EnvironmentGuard,
    file: Option<&Path>,
    clock: &Arc<dyn Clock>,
    lease: &Lease,
) -> Delivered {
    let without_courier = |outcome, why: &str| {
        let dialogue = Dialogue { lines: vec![(Speaker::Note, why.to_owned())] };
        Delivered { outcome, trouble: None, dialogue }
    };
    let load = |to| crate::bench::load(plan.return_paths.as_ref(), lease.clone(), to);
    match (guard.admit(&lease.to, lease.role), file) {
        (Verdict::Send(to), _) => session(plan, clock, Some(load(to))).await,
        (Verdict::ToFile(to), Some(path)) => {
            let plan = RelayPlan { way: Way::File { path: path.to_owned() }, ..plan.clone() };
            session(&plan, clock, Some(load(to))).await
        }
        (Verdict::ToFile(_), None) => {
            let why = "safety.mode is \"file\" but safety.file names no file";
            without_courier(Outcome::Withheld { why: why.to_owned() }, why)
        }
        (Verdict::Hold(why), _) => without_courier(Outcome::Withheld { why: why.clone() }, &why),
        (Verdict::Refuse(why), _) => without_courier(Outcome::Barred { why: why.clone() }, &why),
    }
}

/// Connects, signs in and says goodbye; for folders and files, looks whether they can be written.
///
/// # Errors
/// What is wrong with the relay, and what was said up to there.
pub async fn probe(plan: &RelayPlan, clock: &Arc<dyn Clock>) -> Result<Dialogue, (RelayTrouble, Dialogue)> {
    let delivered = session(plan, clock, None).await;
    match delivered.trouble {
        None => Ok(delivered.dialogue),
        Some(trouble) => Err((trouble, delivered.dialogue)),
    }
}

async fn session(plan: &RelayPlan, clock: &Arc<dyn Clock>, load: Option<Load>) -> Delivered {
    let mut source = Single { load, outcome: None };
    let (end, dialogue) = match &plan.way {
        Way::Smtp(smtp) => SmtpCourier::new(smtp.clone(), plan.limits, plan.timeouts).with_clock(clock).recorded(&mut source).await,
        Way::Graph(graph) => GraphCourier::new(graph.clone(), plan.limits, plan.timeouts, Arc::clone(clock)).recorded(&mut source).await,
        Way::Pickup(_) | Way::File { .. } => {
            let end = courier_for(plan, clock).session(&mut source).await;
            let line = match (&end, &source.outcome) {
                (SessionEnd::Trouble(trouble), _) => trouble.sentence(),
                (_, Some(Outcome::Sent { reply })) => reply.clone(),
                _ => "can be written".to_owned(),
            };
            (end, Dialogue { lines: vec![(Speaker::Note, line)] })
        }
    };
    let trouble = match end {
        SessionEnd::Trouble(trouble) => Some(trouble),
        SessionEnd::Done | SessionEnd::Limit => None,
    };
    let unsent = || Outcome::Returned {
        what: trouble.as_ref().map_or_else(|| "the relay closed the session".to_owned(), |trouble| format!("not sent: {trouble}")),
    };
    let outcome = source.outcome.unwrap_or_else(unsent);
    Delivered { outcome, trouble, dialogue }
}
