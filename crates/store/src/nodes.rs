//! Nodes: the running `tidings serve` of one database, what tells them apart, and what only one of them does at a time.
//!
//! A membership is a lease by the database's clock. Others take back what a node has leased only by ending its membership, in one transaction; until then it is the node's, however long it was
//! silent. The node itself goes by [`Tenure`], on its own monotonic clock and counted from before it asked: it stops before anybody can have taken its place.

use crate::error::StoreError;
use async_trait::async_trait;
use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};
use tidings_core::Timestamp;
use tokio::sync::watch;

/// Numbers for nodes, 0 to below this one; number 0 is that of the one process that serves a file. Those from here to 1023 are for commands, which are no members.
pub const NODE_NUMBERS: u16 = 768;

/// What a node says of itself when it joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewNode {
    /// Its name for people: the machine's, usually.
    pub shown: String,
    /// The program's version.
    pub version: String,
    /// What it could do alone: see [`Nodes::beat`].
    pub offers: Vec<String>,
    /// The name in leases of the process that was this node before, if that is known to have ended: what it held is taken back at once.
    pub predecessor: Option<String>,
    /// How long it may be silent before others take over its work.
    pub lease: Duration,
}

/// What a node has become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// For ids; borne by no other member.
    pub number: u16,
    /// Its name in leases; never given again.
    pub name: String,
    /// How long it lasts from before the joining or the last beat; `None` if nobody else can take it while this process lives.
    pub lease: Option<Duration>,
    /// Items taken back from the predecessor.
    pub recovered: u64,
}

/// The answer to a beat.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pulse {
    /// The duties this node has now, in order of their names.
    pub duties: Vec<String>,
    /// Those of them that are others' fair part: to be given up ([`Nodes::give_up`]) once their work has stopped.
    pub surplus: Vec<String>,
    /// Members whose lease had lapsed and whose place was closed by this beat, with the items taken back from each.
    pub lapsed: Vec<(String, u64)>,
}

/// A living node as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct NodeRow {
    /// Its name for people.
    pub node: String,
    /// Its number.
    pub number: u16,
    /// Its name in leases.
    pub name: String,
    /// The program's version.
    pub version: String,
    /// When it joined.
    pub since: Timestamp,
    /// When it was last heard of.
    pub seen: Timestamp,
    /// The duties it has.
    pub duties: Vec<String>,
}

/// Who serves a database.
#[async_trait]
pub trait Nodes: Send + Sync + 'static {
    /// Joins: gives a number that no living node bears, the one that was left longest ago, and a name for leases that was never given.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the database cannot be written, or all numbers are borne.
    async fn join(&self, node: NewNode) -> Result<Membership, StoreError>;

    /// Prolongs a membership, and with it every duty it has; takes duties that are free, up to a fair part of those that it offers; closes the places of others that have lapsed: what they had
    /// leased waits again, marked "may be a duplicate". Gives `None` if the membership is lost, and then nothing has changed.
    ///
    /// Nobody's place is closed by a node that was silent itself for half a lease, until it has beaten for a whole one: a database that comes back finds all of its nodes late.
    async fn beat(&self, membership: &Membership, offers: &[String]) -> Result<Option<Pulse>, StoreError>;

    /// Gives up duties that this member has; others take them at their next beat.
    async fn give_up(&self, membership: &Membership, duties: &[String]) -> Result<(), StoreError>;

    /// Leaves: duties are free at once, and items that were still leased wait again; gives their number. One that is no member any more leaves nothing behind either.
    async fn leave(&self, membership: &Membership) -> Result<u64, StoreError>;

    /// The living nodes by number.
    async fn nodes(&self) -> Result<Vec<NodeRow>, StoreError>;
}

/// Under which name, and until when by its own clock, a node may use what it has leased.
#[derive(Debug)]
pub struct Tenure {
    now: RwLock<Standing>,
    changes: watch::Sender<u64>,
}

#[derive(Debug, Clone)]
struct Standing {
    name: Arc<str>,
    number: u16,
    /// Counts the memberships.
    term: u64,
    /// `None`: as long as the process lives.
    until: Option<Instant>,
}

impl Tenure {
    /// Begins with a membership that was asked for at this moment, or later.
    pub fn of(membership: &Membership, asked: Instant) -> Arc<Self> {
        let until = membership.lease.map(|lease| asked + lease);
        let now = Standing { name: membership.name.as_str().into(), number: membership.number, term: 1, until };
        Arc::new(Self { now: RwLock::new(now), changes: watch::Sender::new(1) })
    }

    /// That of a process which nobody else can take the place of.
    pub fn alone(name: &str) -> Arc<Self> {
        Self::of(&Membership { number: 0, name: name.to_owned(), lease: None, recovered: 0 }, Instant::now())
    }

    fn read(&self) -> Standing {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether what was leased may be used at this moment.
    pub fn holds(&self) -> bool {
        self.now.read().unwrap_or_else(PoisonError::into_inner).until.is_none_or(|until| Instant::now() < until)
    }

    /// How long it holds from now on, if it ends.
    pub fn left(&self) -> Option<Duration> {
        self.read().until.map(|until| until.saturating_duration_since(Instant::now()))
    }

    /// The name in leases.
    pub fn name(&self) -> Arc<str> {
        self.read().name
    }

    /// The name in leases, and the term in which it is borne.
    pub fn bearing(&self) -> (Arc<str>, u64) {
        let now = self.read();
        (now.name, now.term)
    }

    /// The number for ids.
    pub fn number(&self) -> u16 {
        self.now.read().unwrap_or_else(PoisonError::into_inner).number
    }

    /// Counts the memberships: what was leased in another term is not this node's any more.
    pub fn term(&self) -> u64 {
        self.now.read().unwrap_or_else(PoisonError::into_inner).term
    }

    /// Tells of every change, with the term.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// A beat that was asked for at this moment was answered.
    pub fn prolong(&self, membership: &Membership, asked: Instant) {
        let term = {
            let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
            now.until = membership.lease.map(|lease| asked + lease);
            now.term
        };
        self.changes.send_replace(term);
    }

    /// The membership is lost: nothing holds until another one begins.
    pub fn lose(&self) {
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        now.until = Some(Instant::now());
        now.term += 1;
        self.changes.send_replace(now.term);
    }

    /// Another membership begins.
    pub fn renew(&self, membership: &Membership, asked: Instant) {
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        let until = membership.lease.map(|lease| asked + lease);
        *now = Standing { name: membership.name.as_str().into(), number: membership.number, term: now.term + 1, until };
        self.changes.send_replace(now.term);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, lease: Option<Duration>) -> Membership {
        Membership { number: 7, name: name.to_owned(), lease, recovered: 0 }
    }

    #[test]
    fn a_tenure_ends_by_the_clock_counted_from_before_it_was_asked_for() {
        let lease = Some(Duration::from_secs(20));
        let Some(long_ago) = Instant::now().checked_sub(Duration::from_secs(30)) else { return };
        let tenure = Tenure::of(&member("a", lease), long_ago);
        assert!(!tenure.holds() && tenure.left() == Some(Duration::ZERO), "the answer took longer than the lease");
        tenure.prolong(&member("a", lease), Instant::now());
        assert!(tenure.holds());
        let term = tenure.term();
        tenure.lose();
        assert!(!tenure.holds() && tenure.term() != term);
        tenure.renew(&member("b", lease), Instant::now());
        assert!(tenure.holds() && &*tenure.name() == "b" && tenure.term() > term + 1);
        assert!(Tenure::alone("serve").holds() && Tenure::alone("serve").left().is_none());
    }
}
