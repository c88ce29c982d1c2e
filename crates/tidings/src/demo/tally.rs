//! What the demo comes to: events, letters, retries, duplicates, lost.

use anyhow::Result;
use std::{collections::HashSet, sync::Arc};
use tidings_core::{Id, outbox::State};
use tidings_sink::Sink;
use tidings_store::{Filter, ItemRow, Store};

/// The sums.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Tally {
    /// Events accepted.
    pub events: u64,
    /// Events posted again, which changed nothing.
    pub known: u64,
    /// Letters accepted into the outbox.
    pub letters: u64,
    /// Letters that the relay's sink holds.
    pub arrived: u64,
    /// Letters that still wait.
    pub waiting: u64,
    /// Attempts that ended without the relay taking the letter.
    pub retries: u64,
    /// Letters that arrived more than once.
    pub duplicates: u64,
    /// Letters that are neither there nor on their way.
    pub lost: u64,
}

/// The items that nothing more happens to: taken before a demo begins, those of earlier demos in its folder.
///
/// # Errors
/// If the outbox cannot be read.
pub async fn over<S: Store + ?Sized>(store: &S) -> Result<HashSet<Id>> {
    let mut over = HashSet::new();
    let mut before: Option<Id> = None;
    loop {
        let page = store.items(Filter::default(), before, 500).await?;
        over.extend(page.items.iter().filter(|item| item.state.is_final()).map(|item| item.id));
        before = page.next;
        if before.is_none() {
            return Ok(over);
        }
    }
}

/// Counts: the outbox knows what was promised, the sink what arrived. Items of `earlier` are none of this demo's; what an earlier one left on its way is.
pub async fn count(store: &Arc<dyn Store>, sink: &Sink, earlier: &HashSet<Id>, events: u64, known: u64) -> Result<Tally> {
    let there: HashSet<(String, String)> = sink
        .letters()
        .iter()
        .flat_map(|letter| {
            let id = letter.header("Message-ID").unwrap_or_default().trim_matches(['<', '>']).to_owned();
            letter.to.iter().map(move |to| (id.clone(), to.to_lowercase())).collect::<Vec<_>>()
        })
        .collect();
    let mut tally = Tally { events, known, duplicates: sink.duplicates().len() as u64, arrived: there.len() as u64, ..Tally::default() };
    let mut before: Option<Id> = None;
    loop {
        let page = store.items(Filter::default(), before, 500).await?;
        for item in page.items.iter().filter(|item| !earlier.contains(&item.id)) {
            tally.letters += 1;
            tally.retries += retries(store, item).await?;
            let arrived = there.contains(&(item.message_id.clone(), item.to.to_lowercase()));
            match item.state {
                State::Waiting | State::Claimed | State::Held => tally.waiting += 1,
                _ if !arrived => tally.lost += 1,
                _ => {}
            }
        }
        before = page.next;
        if before.is_none() {
            return Ok(tally);
        }
    }
}

async fn retries(store: &Arc<dyn Store>, item: &ItemRow) -> Result<u64> {
    let history = store.item(item.id).await?.map(|detail| detail.history).unwrap_or_default();
    Ok(history.iter().filter(|line| matches!(line.what.as_str(), "refused" | "returned" | "unknown" | "lapsed")).count() as u64)
}

impl Tally {
    /// Whether every letter arrived exactly once and something was sent at all.
    pub fn whole(&self) -> bool {
        self.letters > 0 && self.arrived == self.letters && self.waiting == 0 && self.lost == 0 && self.duplicates == 0
    }

    /// A short table.
    pub fn table(&self) -> String {
        let rows = [
            ("events accepted", self.events),
            ("events known already", self.known),
            ("letters written", self.letters),
            ("letters arrived", self.arrived),
            ("letters waiting", self.waiting),
            ("attempts repeated", self.retries),
            ("duplicates", self.duplicates),
            ("lost", self.lost),
        ];
        rows.map(|(name, value)| format!("{name:<22}{value:>6}")).join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_demo_in_which_every_letter_arrived_once_succeeds() {
        let good = Tally { letters: 3, arrived: 3, ..Tally::default() };
        assert!(good.whole());
        assert!(!Tally { lost: 1, ..good.clone() }.whole());
        assert!(!Tally { duplicates: 1, ..good.clone() }.whole());
        assert!(!Tally { arrived: 2, ..good }.whole());
        assert!(!Tally::default().whole());
    }
}
