//! How a desk agrees with the desks of other nodes: when it looks at the relay's sheet, what it asks for, and what follows for its breaker and its sessions.

use super::RelayDesk;
use crate::{
    breaker::Condition,
    budget::Budget,
    news::News,
    together::{Ask, LOOK, Link, Word},
};
use std::time::Duration;
use tidings_core::{Lane, Timestamp, lane::LaneSet};
use tidings_store::{Slate, SlateWritten};
use tokio::time::Instant;

/// How often a desk tries at once to write what others keep writing over.
const TRIES: u32 = 5;

/// The name of a relay's sheet in the database.
fn sheet_of(relay: &str) -> String {
    format!("relay:{relay}")
}

fn since_epoch(now: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(now.as_millisecond()).unwrap_or(0))
}

impl RelayDesk {
    /// When it must look or write again.
    pub(super) fn confer_at(&self, now: Instant) -> Option<Instant> {
        if !self.member.is_shared() {
            return None;
        }
        let ends = self.member.until(now).filter(|until| *until > now);
        let soon = self.member.may_write_at().filter(|at| *at > now);
        [Some(self.look_at), self.member.renew_at().filter(|at| *at > now), ends, soon].into_iter().flatten().min()
    }

    /// Looks at what the others say, if it is time.
    pub(super) async fn look(&mut self) {
        if self.member.is_shared() && Instant::now() >= self.look_at {
            self.read_sheet().await;
            self.look_at = Instant::now() + LOOK;
        }
    }

    /// Says whether it could be read.
    pub(super) async fn read_sheet(&mut self) -> bool {
        let before = Instant::now();
        match self.store.slate(&sheet_of(&self.plan.name)).await {
            Ok(slate) => {
                let link = Link { said: since_epoch(slate.now), before, after: Instant::now() };
                let begins = if self.member.is_whole() { self.begins.as_mut() } else { None };
                let member = &mut self.member;
                self.bench.confer(|letters, _| member.look(slate.version, &slate.text, link, letters, begins));
                self.follow();
                true
            }
            Err(error) => {
                tracing::warn!(relay = %self.plan.name, error = %error, "what all nodes know of the relay cannot be read; trying again");
                false
            }
        }
    }

    /// What it could use, and what it has to say.
    fn ask(&self, leave: bool) -> Ask {
        let view = self.bench.view();
        let count = |number: usize| u16::try_from(number).unwrap_or(u16::MAX);
        let (open, used) = (count(self.sessions.len()), count(self.sessions.len().saturating_sub(view.idle)));
        let cap = if self.courier.one_at_a_time() { 1 } else { self.cap.max(1) };
        let takes_more = !self.house.open_lanes().is_empty() && !self.is_paused();
        let need = match self.breaker.condition() {
            Condition::Held(..) => u16::from(self.word == Some(Word::Probe)),
            Condition::Probing(_) => 1,
            Condition::Open if takes_more => used.saturating_add(count(view.queued)).min(cap).max(used),
            Condition::Open => used,
        };
        let urgent: usize = view.by_lane[..=Lane::Requests as usize].iter().sum();
        Ask {
            need: need.min(self.plan.limits.sessions.max(1)),
            open,
            busy: takes_more && view.queued > 0 && self.breaker.is_open() && self.queues.iter().any(|queue| !queue.pending.is_empty()),
            answers: self.answers,
            letters: (view.queued + view.in_flight) as u64 + self.wished,
            in_flight: view.in_flight as u64,
            urgent: view.queued == urgent && self.wished == 0,
            word: self.word.clone(),
            leave,
        }
    }

    /// Writes what is worth writing. `signs_on`: letters were claimed, and what cannot be agreed on now is given back.
    pub(super) async fn confer(&mut self, signs_on: bool) {
        if !self.member.is_shared() {
            return;
        }
        let (ask, now) = (self.ask(false), Instant::now());
        let begins = self.begins.as_ref().filter(|_| self.member.is_whole());
        let worth = self.bench.confer(|letters, _| self.member.is_worth_a_try(&ask, now, letters.as_deref(), begins));
        if worth {
            self.write_sheet(false).await;
        }
        self.allow();
        if signs_on {
            self.return_what_others_send();
        }
    }

    /// Letters that this node can get no session for, because others have them all, are theirs to send.
    fn return_what_others_send(&self) {
        if self.member.is_whole() && self.sessions.is_empty() && self.member.is_hopeless(Instant::now()) && self.bench.view().queued > 0 {
            self.bench.return_queued("not sent: other nodes have all sessions of the relay");
        }
        let (view, now) = (self.bench.view(), Instant::now());
        let urgent = view.by_lane[..=Lane::Requests as usize].iter().sum::<usize>() == view.queued;
        let spent = self.bench.confer(|letters, held| {
            letters.is_some_and(|budget| {
                let room = budget.room(now, held.in_flight);
                budget.credit(held.in_flight) == 0 && if urgent { room.urgent == 0 } else { room.any == 0 }
            })
        });
        if spent && view.queued > 0 {
            self.bench.return_queued("not sent: a limit of the relay is reached");
        }
    }

    /// Writes what is worth writing; says whether anything was.
    pub(super) async fn write_sheet(&mut self, leave: bool) -> bool {
        for _ in 0..TRIES {
            let ask = self.ask(leave);
            let now = Instant::now();
            let member = &mut self.member;
            let begins = if member.is_whole() { self.begins.as_mut() } else { None };
            let Some(draft) = self.bench.confer(|letters, _| member.draft(&ask, letters, begins, now)) else {
                // Nobody needs the word any more.
                if self.word.take().is_some() {
                    self.followed = None;
                }
                self.follow();
                return false;
            };
            self.allow();
            let before = Instant::now();
            let written = self.store.write_slate(&sheet_of(&self.plan.name), draft.expected, &draft.text).await;
            let member = &mut self.member;
            let begins: Option<&mut Budget> = if member.is_whole() { self.begins.as_mut() } else { None };
            match written {
                Ok(SlateWritten::Done(slate)) => {
                    self.bench.confer(|letters, _| member.written(draft, slate.version, letters, begins));
                    (self.word, self.answers) = (None, false);
                    self.follow();
                    self.bench.rouse_sessions();
                    return true;
                }
                Ok(SlateWritten::Moved(Slate { version, text, now })) => {
                    let link = Link { said: since_epoch(now), before, after: Instant::now() };
                    self.bench.confer(|letters, _| member.moved(draft, version, &text, link, letters, begins));
                }
                Err(error) => {
                    tracing::warn!(relay = %self.plan.name, error = %error, "what this node takes of the relay's limits cannot be noted; trying again");
                    member.in_doubt(draft);
                    self.look_at = Instant::now() + LOOK;
                    return false;
                }
            }
        }
        false
    }

    /// Gives back what it holds, and leaves an exact count.
    pub(super) async fn leave(&mut self) {
        if self.member.is_known() {
            self.word = None;
            self.write_sheet(true).await;
        }
    }

    /// Tells the bench what the others leave to this node.
    fn allow(&self) {
        let now = Instant::now();
        let until = self.member.until(now).filter(|_| self.member.is_whole() || self.bench.room().is_some());
        self.bench.allow(self.member.seats_to_use(now), until);
    }

    /// Whether it makes sense to claim: there are sessions to be had.
    pub(super) fn may_claim(&self) -> bool {
        !self.member.is_whole() || (self.member.is_known() && (self.member.seats(Instant::now()) > 0 || self.member.free() > 0))
    }

    /// Brings the breaker in line with what all nodes know.
    fn follow(&mut self) {
        self.allow();
        if !self.member.is_whole() || matches!(self.word, Some(Word::Trouble(..) | Word::Recovered)) {
            return;
        }
        let hold = self.member.hold();
        if hold == self.followed.as_ref() && hold.is_none() == self.breaker.is_open() {
            return;
        }
        self.followed = hold.cloned();
        let now = Instant::now();
        let Some(hold) = &self.followed else {
            if self.breaker.release() {
                self.works_again();
            }
            return;
        };
        let (trouble, until) = (hold.trouble(), self.member.probe_at().unwrap_or(now));
        let (failures, probes) = (hold.failures as usize, self.member.is_prober());
        self.held_since = self.member.held_since(now);
        self.next_probe = (!probes).then_some(until);
        if probes && matches!(self.breaker.condition(), Condition::Held(..)) {
            (self.cap, self.probe_wanted) = (1, true);
            self.heard(LaneSet::ALL);
        }
        if self.breaker.follow(trouble.clone(), failures, until, probes) {
            self.cap = 1;
            tracing::warn!(relay = %self.plan.name, reason = %trouble.sentence(), "relay held, as another node has found");
            self.news.tell(&self.plan.name, News::Held { trouble });
        }
    }

    /// Goes from held to probing when it is time, and no other node does.
    pub(super) async fn probe_if_due(&mut self) {
        let now = Instant::now();
        if !self.member.is_whole() {
            if self.breaker.probe_if_due(now) {
                (self.cap, self.probe_wanted, self.next_probe) = (1, true, None);
                self.heard(LaneSet::ALL);
            }
            return;
        }
        if !self.breaker.is_probe_due(now) || self.is_paused() || self.word.is_some() || self.member.hold().is_none() {
            return;
        }
        if self.breaker.wants_letter(now) {
            self.heard(LaneSet::ALL);
            self.claim_for_probe().await;
            if self.bench.view().queued == 0 {
                // Asked again when something comes.
                self.next_probe = None;
                return;
            }
        }
        self.word = Some(Word::Probe);
        self.write_sheet(false).await;
        if self.word.take_if(|word| *word == Word::Probe).is_some() || !self.member.is_prober() {
            self.next_probe = Some(Instant::now() + LOOK / 4);
        }
    }
}
