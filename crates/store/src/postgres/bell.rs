//! The bell: tells other nodes that something may have become due, and hears it from them. A hint and never the truth: who does not hear it looks a little later.
//!
//! `NOTIFY` makes all commits of a server that carry one wait for each other (one lock for the whole server), so no verb carries one: a node rings by itself, beside its verbs, and at most so
//! often.

use crate::{
    postgres::{
        connect::Address,
        fault::{Fault, in_full},
        front::Front,
    },
    store::Arrivals,
};
use deadpool_postgres::Pool;
use futures_util::StreamExt;
use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
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
    news: Mutex<News>,
    pulled: Notify,
}

/// What a node tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct News {
    lanes: LaneSet,
    /// The earliest moment at which something is due there, in milliseconds; `None` of a node of a version that does not say so.
    due: Option<i64>,
}

const NONE: News = News { lanes: LaneSet::NONE, due: None };

impl Bell {
    pub(crate) fn of(name: String) -> Arc<Self> {
        Arc::new(Self { name, news: Mutex::new(NONE), pulled: Notify::new() })
    }

    /// Has others told soon that something is due at this moment in these lanes.
    pub(crate) fn pull(&self, lanes: LaneSet, due: i64) {
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.iter().for_each(|lane| news.lanes.add(lane));
        news.due = Some(news.due.map_or(due, |earlier| earlier.min(due)));
        drop(news);
        self.pulled.notify_one();
    }

    /// What has gathered, in words for others; `None` if nothing has, because the last ring took what was pulled while it began.
    fn words(&self) -> Option<String> {
        let News { lanes, due } = mem::replace(&mut *self.news.lock().unwrap_or_else(PoisonError::into_inner), NONE);
        let bits = lanes.iter().fold(0, |bits, lane| bits | 1 << lane as u8);
        due.map(|due| format!("{}@{due} {bits}", self.name))
    }

    /// Rings for what has gathered, without end.
    pub(crate) async fn ring(self: Arc<Self>, pool: Pool) {
        loop {
            self.pulled.notified().await;
            let Some(words) = self.words() else { continue };
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
    pub(crate) async fn listen(self: Arc<Self>, address: Arc<Address>, front: Arc<Front>, arrivals: watch::Sender<Arrivals>) {
        let mut wait = AGAIN[0];
        loop {
            match self.listen_once(&address, &front, &arrivals).await {
                Ok(()) => wait = AGAIN[0],
                Err(fault) => tracing::debug!(error = %fault.into_store(), "nothing is heard of other nodes for now"),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(AGAIN[1]);
        }
    }

    /// Until the connection ends.
    async fn listen_once(&self, address: &Address, front: &Front, arrivals: &watch::Sender<Arrivals>) -> Result<(), Fault> {
        let (client, mut connection) = address.connect().await?;
        let mut messages = futures_util::stream::poll_fn(move |context| connection.poll_message(context));
        let (asked, hear) = (client.batch_execute("LISTEN tidings_arrivals"), async {
            while let Some(message) = messages.next().await {
                if let AsyncMessage::Notification(notice) = message?
                    && let Some(News { lanes, due }) = self.news_of(notice.payload())
                {
                    if let Some(due) = due {
                        front.due(due);
                    }
                    arrivals.send_modify(|arrivals| arrivals.count(lanes));
                }
            }
            Ok(())
        });
        // The connection answers only while its messages are asked for.
        let (asked, heard) = tokio::join!(asked, hear);
        asked.and(heard).map_err(Fault::from)
    }

    /// What another node tells of.
    fn news_of(&self, words: &str) -> Option<News> {
        let (name, bits) = words.split_once(' ')?;
        // Behind the name, where nodes that do not know of it take it for a part of that.
        let (name, due) = name.split_once('@').unwrap_or((name, ""));
        let bits: u8 = bits.parse().ok().filter(|_| name != self.name)?;
        let mut lanes = LaneSet::NONE;
        for lane in Lane::ALL.into_iter().filter(|lane| bits & 1 << *lane as u8 != 0) {
            lanes.add(lane);
        }
        Some(News { lanes, due: due.parse().ok() })
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
        theirs.pull(lanes, 700);
        theirs.pull(LaneSet::NONE, 500);
        theirs.pull(LaneSet::NONE, 600);
        let words = theirs.words().expect("they were pulled");
        assert_eq!(theirs.words(), None, "it is told once");
        assert_eq!(ours.news_of(&words), Some(News { lanes, due: Some(500) }));
        assert_eq!(theirs.news_of(&words), None);
        assert_eq!(ours.news_of("nonsense"), None);
        assert_eq!(ours.news_of("c@ nonsense"), None);
        // Of a node that does not say when.
        let bits = words.split_once(' ').expect("name and lanes").1;
        assert_eq!(ours.news_of(&format!("b {bits}")), Some(News { lanes, due: None }));
    }
}
