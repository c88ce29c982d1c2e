//! What one node at a time does: the work behind each duty, begun when this node gets it and ended before it gives it up.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{PoisonError, RwLock},
};
use tokio::{
    sync::{Mutex, Notify},
    task::JoinHandle,
};

/// Telling of relays in trouble.
pub const ALERTS: &str = "alerts";
/// Telling crowds in chunks, and of what the flood guard holds.
pub const CROWDS: &str = "crowds";
/// Fetching reports from a mailbox.
pub const MAILBOX: &str = "mailbox";

/// Begins a duty's work for the member of this name in leases. Dropped or aborted at any point it must leave everything whole.
pub type Begin = Box<dyn Fn(&str) -> JoinHandle<()> + Send + Sync>;

/// Works by their duties.
pub type Works = BTreeMap<String, Begin>;

/// The duties of this node.
pub struct Duties {
    works: Mutex<Desk>,
    /// What this node has; for those that only ask.
    held: RwLock<BTreeSet<String>>,
    changed: Notify,
}

#[derive(Default)]
struct Desk {
    works: Works,
    /// Offered without a task: whoever does it asks [`Duties::has`].
    asked: BTreeSet<String>,
    /// Under whose name, and what is at work.
    holder: String,
    running: BTreeMap<String, JoinHandle<()>>,
    closed: bool,
}

impl Duties {
    /// Works that may begin once this node has their duties.
    pub fn of(works: Works, asked: &[&str]) -> Self {
        let mut desk = Desk::default();
        (desk.works, desk.asked) = (works, asked.iter().map(ToString::to_string).collect());
        Self { works: Mutex::new(desk), held: RwLock::default(), changed: Notify::new() }
    }

    /// What this node could do.
    pub async fn offers(&self) -> Vec<String> {
        let desk = self.works.lock().await;
        if desk.closed {
            return Vec::new();
        }
        desk.works.keys().chain(&desk.asked).cloned().collect()
    }

    /// Whether this node has a duty now.
    pub fn has(&self, duty: &str) -> bool {
        self.held.read().unwrap_or_else(PoisonError::into_inner).contains(duty)
    }

    /// When it offers something else than before.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Has these duties from now on, under this name, and no others: what is not among them has ended once this returns.
    pub async fn have(&self, duties: BTreeSet<String>, holder: &str) {
        let mut desk = self.works.lock().await;
        self.held.write().unwrap_or_else(PoisonError::into_inner).clone_from(&duties);
        if desk.holder != holder {
            desk.end(|_| true).await;
            holder.clone_into(&mut desk.holder);
        }
        desk.end(|duty| !duties.contains(duty)).await;
        desk.begin(&duties);
    }

    /// Other works in place of those that fit; the others go on. Old ones end before new ones begin.
    pub async fn exchange(&self, fits: impl Fn(&str) -> bool, works: Works) {
        let mut desk = self.works.lock().await;
        desk.end(&fits).await;
        desk.works.retain(|duty, _| !fits(duty));
        desk.works.extend(works);
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner).clone();
        desk.begin(&held);
        self.changed.notify_one();
    }

    /// Ends all works and offers none any more.
    pub async fn close(&self) {
        let mut desk = self.works.lock().await;
        desk.closed = true;
        self.held.write().unwrap_or_else(PoisonError::into_inner).clear();
        desk.end(|_| true).await;
        self.changed.notify_one();
    }
}

impl Desk {
    async fn end(&mut self, which: impl Fn(&str) -> bool) {
        let ending: Vec<String> = self.running.keys().filter(|duty| which(duty)).cloned().collect();
        for duty in ending {
            let Some(task) = self.running.remove(&duty) else { continue };
            task.abort();
            if task.await.is_err_and(|error| error.is_panic()) {
                tracing::error!(duty, "the work of a duty broke off");
            }
            tracing::debug!(duty, "the work of a duty has ended");
        }
    }

    fn begin(&mut self, duties: &BTreeSet<String>) {
        if self.closed {
            return;
        }
        for (duty, begin) in &self.works {
            if duties.contains(duty) && !self.running.contains_key(duty) {
                tracing::debug!(duty, "the work of a duty begins");
                self.running.insert(duty.clone(), begin(&self.holder));
            }
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        for task in self.running.values() {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    /// A work that counts those at it.
    fn work(at_it: &Arc<AtomicUsize>) -> Begin {
        struct Leaves(Arc<AtomicUsize>);
        impl Drop for Leaves {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        let at_it = Arc::clone(at_it);
        Box::new(move |_| {
            at_it.fetch_add(1, Ordering::SeqCst);
            let leaves = Leaves(Arc::clone(&at_it));
            tokio::spawn(async move {
                let _leaves = leaves;
                std::future::pending::<()>().await;
            })
        })
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[tokio::test]
    async fn a_work_runs_while_its_duty_is_had_and_never_twice() {
        let at_it = [Arc::<AtomicUsize>::default(), Arc::default()];
        let count = || at_it.each_ref().map(|at_it| at_it.load(Ordering::SeqCst));
        let works = Works::from([("a".to_owned(), work(&at_it[0])), ("b".to_owned(), work(&at_it[1]))]);
        let duties = Duties::of(works, &["alerts"]);
        assert_eq!(duties.offers().await, ["a", "b", "alerts"]);
        duties.have(names(&["a", "alerts", "unknown"]), "node-1").await;
        assert_eq!((count(), duties.has("alerts"), duties.has("b")), ([1, 0], true, false));
        duties.have(names(&["a", "b"]), "node-1").await;
        assert_eq!(count(), [1, 1]);
        duties.have(names(&["b"]), "node-1").await;
        assert_eq!(count(), [0, 1]);
        duties.have(names(&["b"]), "node-2").await;
        assert_eq!(count(), [0, 1], "under another name it has begun anew");
        duties.exchange(|duty| duty == "b", Works::from([("c".to_owned(), work(&at_it[0]))])).await;
        assert_eq!(
            (count(), duties.offers().await),
            ([0, 0], names(&["a", "alerts", "c"]).into_iter().filter(|n| n != "alerts").chain(["alerts".to_owned()]).collect::<Vec<_>>())
        );
        duties.have(names(&["c"]), "node-2").await;
        assert_eq!(count(), [1, 0]);
        duties.close().await;
        assert_eq!((count(), duties.offers().await.len()), ([0, 0], 0));
        duties.have(names(&["c"]), "node-2").await;
        assert_eq!(count(), [0, 0], "nothing begins any more");
    }
}
