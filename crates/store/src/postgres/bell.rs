//! The bell: tells other nodes that something may have become due, and hears it from them. A hint and never the truth: who does not hear it looks a little later.
//!
//! `NOTIFY` makes all commits of a server that carry one wait for each other (one lock for the whole server), so no verb carries one: a node rings by itself, beside its verbs, and at most so
//! often.

use crate::{
    postgres::{connect::Address, fault::in_full},
    store::Arrivals,
};
use deadpool_postgres::Pool;
use futures_util::StreamExt;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};
use tidings_core::{Lane, lane::LaneSet};
use tokio::sync::{Notify, watch};
use tokio_postgres::AsyncMessage;

/// Between two rings of a node.
const PAUSE: Duration = Duration::from_millis(40);
/// Before the server is asked again to let us listen.
const AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];
const CHANNEL: &str = "tidings_arrivals";

/// One node's bell.
#[derive(Debug)]
pub(crate) struct Bell {
    /// Tells our own ringing from that of others.
    name: String,
    lanes: AtomicU8,
    pulled: Notify,
}

impl Bell {
    pub(crate) fn of(name: String) -> Arc<Self> {
        Arc::new(Self { name, lanes: AtomicU8::new(0), pulled: Notify::new() })
    }

    /// Has others told of these lanes soon.
    pub(crate) fn pull(&self, lanes: LaneSet) {
        let bits = lanes.iter().fold(0, |bits, lane| bits | 1 << lane as u8);
        self.lanes.fetch_or(bits, Ordering::Relaxed);
        self.pulled.notify_one();
    }

    /// Rings for what has gathered, without end.
    pub(crate) async fn ring(self: Arc<Self>, pool: Pool) {
        loop {
            self.pulled.notified().await;
            let words = format!("{} {}", self.name, self.lanes.swap(0, Ordering::Relaxed));
            let rung = async {
                let client = pool.get().await?;
                let statement = client.prepare_cached("SELECT pg_notify($1, $2)").await?;
                client.execute(&statement, &[&CHANNEL, &words]).await?;
                Ok::<_, deadpool_postgres::PoolError>(())
            };
            if let Err(error) = rung.await {
                tracing::debug!(error = in_full(&error), "other nodes could not be told of what has arrived");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Listens to others, without end, on a connection of its own.
    pub(crate) async fn listen(self: Arc<Self>, address: Arc<Address>, arrivals: watch::Sender<Arrivals>) {
        let mut wait = AGAIN[0];
        loop {
            match self.listen_once(&address, &arrivals).await {
                Ok(()) => wait = AGAIN[0],
                Err(error) => tracing::debug!(error = in_full(&error), "nothing is heard of other nodes for now"),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(AGAIN[1]);
        }
    }

    /// Until the connection ends.
    async fn listen_once(&self, address: &Address, arrivals: &watch::Sender<Arrivals>) -> Result<(), tokio_postgres::Error> {
        let (client, mut connection) = address.config.connect(address.tls.clone()).await?;
        let mut messages = futures_util::stream::poll_fn(move |context| connection.poll_message(context));
        let (asked, hear) = (client.batch_execute("LISTEN tidings_arrivals"), async {
            while let Some(message) = messages.next().await {
                if let AsyncMessage::Notification(notice) = message?
                    && let Some(lanes) = self.lanes_of(notice.payload())
                {
                    arrivals.send_modify(|arrivals| arrivals.count(lanes));
                }
            }
            Ok(())
        });
        // The connection answers only while its messages are asked for.
        let (asked, heard) = tokio::join!(asked, hear);
        asked.and(heard)
    }

    /// The lanes that another node tells of.
    fn lanes_of(&self, words: &str) -> Option<LaneSet> {
        let (name, bits) = words.split_once(' ')?;
        let bits: u8 = bits.parse().ok().filter(|_| name != self.name)?;
        let mut lanes = LaneSet::NONE;
        for lane in Lane::ALL.into_iter().filter(|lane| bits & 1 << *lane as u8 != 0) {
            lanes.add(lane);
        }
        Some(lanes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_hears_others_and_not_itself() {
        let (ours, theirs) = (Bell::of("a".to_owned()), Bell::of("b".to_owned()));
        let mut lanes = LaneSet::NONE;
        lanes.add(Lane::Codes);
        lanes.add(Lane::Digests);
        theirs.pull(lanes);
        let words = format!("b {}", theirs.lanes.load(Ordering::Relaxed));
        assert_eq!(ours.lanes_of(&words), Some(lanes));
        assert_eq!(theirs.lanes_of(&words), None);
        assert_eq!(ours.lanes_of("nonsense"), None);
    }
}
