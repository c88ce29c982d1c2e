//! A session's end of the bench.

use super::{Bench, IDLE};
use crate::courier::{Load, Source};
use async_trait::async_trait;
use std::sync::Arc;
use tidings_core::{Id, outbox::Outcome};

/// One session's end of the bench.
pub(crate) struct Seat {
    bench: Arc<Bench>,
    /// It was told to make room: there are more sessions than there may be.
    leaving: bool,
    /// Items this session has and has not reported.
    mine: Vec<Id>,
    /// How many it was given.
    pub(crate) taken: u64,
    /// Whether it was let in.
    pub(crate) was_opened: bool,
    /// Whether it was told that it is no longer wanted.
    pub(crate) dismissed: bool,
    /// The first item that came back unsent: the one at hand when the session broke.
    pub(crate) returned: Option<Id>,
}

impl Seat {
    pub(crate) fn at(bench: Arc<Bench>) -> Self {
        bench.shelves().sessions += 1;
        Self { bench, leaving: false, mine: Vec::new(), taken: 0, was_opened: false, dismissed: false, returned: None }
    }

    /// Whether this session is one too many, and is to end after what it has at hand.
    fn is_too_many(&mut self) -> bool {
        let mut s = self.bench.shelves();
        if !self.leaving && s.sessions - s.leaving > usize::from(s.seats) {
            (self.leaving, s.leaving) = (true, s.leaving + 1);
        }
        self.leaving
    }
}

/// Counts a session as idle while it waits, also when the wait is cancelled.
struct Idle<'a>(&'a Bench);

impl<'a> Idle<'a> {
    fn at(bench: &'a Bench) -> Self {
        bench.shelves().idle += 1;
        Self(bench)
    }
}

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        self.0.shelves().idle -= 1;
    }
}

#[async_trait]
impl Source for Seat {
    fn try_next(&mut self) -> Option<Load> {
        if self.is_too_many() {
            return None;
        }
        let load = self.bench.take()?;
        self.taken += 1;
        self.mine.push(load.item);
        Some(load)
    }

    async fn next(&mut self) -> Option<Load> {
        if let Some(load) = self.try_next() {
            return Some(load);
        }
        let bench = Arc::clone(&self.bench);
        let _idle = Idle::at(&bench);
        let until = tokio::time::Instant::now() + IDLE;
        loop {
            let call = bench.work.notified();
            tokio::pin!(call);
            call.as_mut().enable();
            if let Some(load) = self.try_next() {
                return Some(load);
            }
            if self.leaving || !bench.shelves().gate || tokio::time::timeout_at(until, call).await.is_err() {
                self.dismissed = true;
                return None;
            }
        }
    }

    fn report(&mut self, item: Id, outcome: Outcome) {
        self.mine.retain(|mine| *mine != item);
        if matches!(outcome, Outcome::Returned { .. }) {
            self.returned.get_or_insert(item);
        }
        self.bench.report(item, outcome, self.was_opened);
    }

    fn opened(&mut self) {
        self.was_opened = true;
        self.bench.shelves().opened += 1;
        self.bench.attention.notify_one();
    }
}

impl Drop for Seat {
    /// A session that is cut off leaves nobody in doubt whether its items were settled.
    fn drop(&mut self) {
        {
            let mut s = self.bench.shelves();
            s.sessions -= 1;
            s.leaving -= usize::from(self.leaving);
        }
        for item in std::mem::take(&mut self.mine) {
            self.bench.report(item, Outcome::Unknown { what: "the session was cut off".to_owned() }, self.was_opened);
        }
    }
}
