//! Reads: threads with read-only connections of their own, so that a long listing holds up neither the writer nor the runtime.

use crate::{
    error::StoreError,
    sqlite::{fault::Fault, space::Space},
};
use rusqlite::Connection;
use std::{
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::JoinHandle,
};
use tokio::sync::oneshot;

type Question = Box<dyn FnOnce(&Connection) + Send>;

/// The handles of the reading threads.
pub(crate) struct Readers {
    queue: Option<mpsc::Sender<Question>>,
    threads: Vec<JoinHandle<()>>,
    space: Arc<Space>,
}

impl Readers {
    /// Starts a thread for each connection.
    pub(crate) fn start(connections: Vec<Connection>, space: Arc<Space>) -> Result<Self, StoreError> {
        let (queue, questions) = mpsc::channel::<Question>();
        let questions = Arc::new(Mutex::new(questions));
        let mut threads = Vec::new();
        for db in connections {
            let questions = questions.clone();
            let serve = move || {
                loop {
                    // The lock is held while waiting, so that one thread waits for the queue and the others for the lock.
                    let next = questions.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(question) = next else { break };
                    question(&db);
                }
            };
            let thread = std::thread::Builder::new().name("store-reader".to_owned()).spawn(serve);
            threads.push(thread.map_err(|error| StoreError::Unavailable(format!("no thread for a reader: {error}")))?);
        }
        Ok(Self { queue: Some(queue), threads, space })
    }

    /// Asks the database something. What `read` sees is one moment of the database.
    pub(crate) async fn ask<T, F>(&self, read: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        let gone = || StoreError::Unavailable("the readers have stopped".to_owned());
        let (reply, answer) = oneshot::channel();
        let question: Question = Box::new(move |db| {
            // A caller that has gone away does not wait for its answer.
            let _ = reply.send(one_moment(db, read));
        });
        self.queue.as_ref().ok_or_else(gone)?.send(question).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?.map_err(|fault| fault.into_store(&self.space))
    }
}

/// Runs all of a question's statements on the same snapshot.
fn one_moment<T>(db: &Connection, read: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, Fault> {
    let moment = db.unchecked_transaction()?;
    let answer = read(&moment)?;
    moment.finish()?;
    Ok(answer)
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a reader of the outbox ended by a panic");
            }
        }
    }
}
