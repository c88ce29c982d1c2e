//! A desk: what many callers ask for at the same time is written for all of them in one transaction.
//!
//! A few transactions run at once, because the server flushes the log for all that commit at the same time; while all of them run, questions gather for the next one.

use crate::error::StoreError;
use futures_util::future::BoxFuture;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::AbortHandle,
    time::sleep,
};

/// Questions that may stand in the queue; beyond it callers wait.
const QUEUE: usize = 1024;
/// After a group of so many questions the next ones will not be long in coming …
const MANY: usize = 8;
/// … and so long they are waited for: what a transaction costs beside its rows is shared by more, and whoever asks in such a crowd waits for longer than this anyway.
const GATHERING: Duration = Duration::from_millis(3);
/// A group is closed at this many questions …
const GROUP: usize = 512;
/// … or at about this much to write, in bytes.
const GROUP_BYTES: usize = 8 << 20;

type Answer<A> = Result<A, StoreError>;
type Asked<Q, A> = (Q, oneshot::Sender<Answer<A>>);
/// Writes a group, and gives an answer for each of its questions in their order.
type Clerk<Q, A> = dyn Fn(Vec<Q>) -> BoxFuture<'static, Vec<Answer<A>>> + Send + Sync;

/// Where questions of one sort are handed in.
pub(crate) struct Desk<Q, A> {
    queue: mpsc::Sender<Asked<Q, A>>,
    work: AbortHandle,
}

impl<Q: Send + 'static, A: Send + 'static> Desk<Q, A> {
    /// Opens a desk that writes `at_once` groups at a time. `bytes` tells about how much a question writes.
    pub(crate) fn open(
        at_once: usize,
        bytes: fn(&Q) -> usize,
        clerk: impl Fn(Vec<Q>) -> BoxFuture<'static, Vec<Answer<A>>> + Send + Sync + 'static,
    ) -> Self {
        let (queue, questions) = mpsc::channel(QUEUE);
        let work = tokio::spawn(serve(questions, at_once, bytes, Arc::new(clerk))).abort_handle();
        Self { queue, work }
    }

    /// Hands a question in and waits until it is on disk.
    pub(crate) async fn ask(&self, question: Q) -> Answer<A> {
        let gone = || StoreError::Unavailable("the desk has closed".to_owned());
        let (reply, answer) = oneshot::channel();
        self.queue.send((question, reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

async fn serve<Q: Send + 'static, A: Send + 'static>(
    mut questions: mpsc::Receiver<Asked<Q, A>>,
    at_once: usize,
    bytes: fn(&Q) -> usize,
    clerk: Arc<Clerk<Q, A>>,
) {
    let places = Arc::new(Semaphore::new(at_once));
    let mut busy = false;
    loop {
        // A place first: what comes while none is free goes together.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Some(first) = questions.recv().await else { return };
        if busy && questions.len() < GROUP {
            sleep(GATHERING).await;
        }
        let mut size = bytes(&first.0);
        let mut group = vec![first];
        while group.len() < GROUP && size < GROUP_BYTES {
            let Ok(next) = questions.try_recv() else { break };
            size += bytes(&next.0);
            group.push(next);
        }
        busy = group.len() >= MANY;
        let clerk = Arc::clone(&clerk);
        // A task of its own: what has been begun is brought to its end also when the desk is given up.
        tokio::spawn(async move {
            let (group, replies): (Vec<Q>, Vec<_>) = group.into_iter().unzip();
            for (answer, reply) in clerk(group).await.into_iter().zip(replies) {
                // A caller that has gone away does not wait for its answer; the work stays done.
                let _ = reply.send(answer);
            }
            drop(place);
        });
    }
}

impl<Q, A> Drop for Desk<Q, A> {
    fn drop(&mut self) {
        self.work.abort();
    }
}
