//! The sink as its holder sees it: opening and closing the door, the letters kept, the script of faults.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{broadcast, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tracing::debug;

use crate::error::Late;
use crate::fault::{Fault, Script, Stage, What};
use crate::letter::{Duplicate, Received};
use crate::options::SinkOptions;
use crate::session::Session;

/// Connections the kernel may hold before they are accepted.
const BACKLOG: u32 = 1024;

/// Letters a slow subscriber may be behind before it misses some.
const SUBSCRIPTION: usize = 4096;

/// A running mail sink. Dropping it ends its sessions and frees its port.
pub struct Sink {
    addr: SocketAddr,
    shared: Arc<Shared>,
    door: Mutex<Door>,
}

/// Numbers over the whole life of a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Connections accepted.
    pub sessions: u64,
    /// Sessions open now.
    pub open: usize,
    /// Most sessions open at one time.
    pub most_open: usize,
    /// Letters whose content has come whole, whatever was answered.
    pub contents: u64,
    /// Letters taken, kept or not.
    pub letters: u64,
    /// TLS handshakes that failed.
    pub failed_handshakes: u64,
    /// Sign-ins with a wrong name or password.
    pub refused_sign_ins: u64,
}

enum Door {
    Open {
        stop: oneshot::Sender<()>,
        task: JoinHandle<()>,
    },
    /// Nothing listens, connections are refused; the socket holds the port so that nobody else gets it, not even a client as its own end.
    Closed(#[allow(dead_code, reason = "held for its port")] Option<TcpSocket>),
}

impl Sink {
    /// Listens on `addr`; port 0 takes a free one, see [`Self::addr`].
    ///
    /// # Errors
    /// The error of the bind, or [`io::ErrorKind::InvalidInput`] if the options ask for implicit TLS without a certificate.
    ///
    /// # Panics
    /// Outside a tokio runtime with IO and time.
    pub fn listen(addr: SocketAddr, options: SinkOptions) -> io::Result<Self> {
        check(&options)?;
        let listener = socket(addr)?.listen(BACKLOG)?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared::new(options));
        let door = Mutex::new(open(listener, &shared));
        Ok(Self { addr, shared, door })
    }

    /// Where the sink listens, or listened before [`Self::close`].
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Plays an outage: stops listening and drops every session where it stands. Returns when all that is done; letters stay.
    pub async fn close(&self) {
        let door = std::mem::replace(&mut *lock(&self.door), Door::Closed(None));
        match door {
            Door::Open { stop, task } => {
                // A task that is gone already needs no word.
                let _ = stop.send(());
                let _ = task.await;
                *lock(&self.door) = Door::Closed(socket(self.addr).ok());
            }
            closed @ Door::Closed(_) => *lock(&self.door) = closed,
        }
    }

    /// Listens on the same address again; nothing happens if it does already.
    ///
    /// # Errors
    /// The error of the bind.
    ///
    /// # Panics
    /// Outside a tokio runtime with IO and time.
    pub fn reopen(&self) -> io::Result<()> {
        let mut door = lock(&self.door);
        if let Door::Closed(held) = &mut *door {
            let socket = held.take().map_or_else(|| socket(self.addr), Ok)?;
            *door = open(socket.listen(BACKLOG)?, &self.shared);
        }
        Ok(())
    }

    /// Replaces the options; sessions that are open keep the old ones.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] if they ask for implicit TLS without a certificate.
    pub fn reconfigure(&self, options: SinkOptions) -> io::Result<()> {
        check(&options)?;
        *lock(&self.shared.options) = Arc::new(options);
        Ok(())
    }

    /// Adds a rule to the script of faults. Of several that apply at once the oldest counts.
    pub fn add_fault(&self, fault: Fault) {
        lock(&self.shared.script).add(fault);
    }

    /// Ends all misbehaviour.
    pub fn clear_faults(&self) {
        lock(&self.shared.script).clear();
    }

    /// Letters taken since the sink was made.
    pub fn count(&self) -> u64 {
        *self.shared.count.borrow()
    }

    /// The letters kept, oldest first.
    pub fn letters(&self) -> Vec<Arc<Received>> {
        lock(&self.shared.letters).kept.iter().cloned().collect()
    }

    /// The letters kept with this envelope recipient, letter case aside.
    pub fn letters_to(&self, address: &str) -> Vec<Arc<Received>> {
        let kept = lock(&self.shared.letters);
        kept.kept.iter().filter(|letter| letter.to.iter().any(|to| to.eq_ignore_ascii_case(address))).cloned().collect()
    }

    /// Forgets the letters kept and the bookkeeping of duplicates; [`Self::count`] goes on.
    pub fn forget_letters(&self) {
        let mut letters = lock(&self.shared.letters);
        letters.kept.clear();
        letters.seen.clear();
    }

    /// Which letters reached a recipient more than once, by Message-ID. Letters without one are not counted.
    pub fn duplicates(&self) -> Vec<Duplicate> {
        let letters = lock(&self.shared.letters);
        let mut found: Vec<_> = letters
            .seen
            .iter()
            .filter(|(_, times)| **times > 1)
            .map(|((message_id, recipient), times)| Duplicate {
                message_id: message_id.to_string(),
                recipient: recipient.to_string(),
                times: *times,
            })
            .collect();
        found.sort();
        found
    }

    /// Waits until `n` letters were taken since the sink was made and returns those kept.
    ///
    /// # Errors
    /// [`Late`] if they have not come `within` this time.
    pub async fn wait_for(&self, n: u64, within: Duration) -> Result<Vec<Arc<Received>>, Late> {
        let mut count = self.shared.count.subscribe();
        let late = |_| Late { have: self.count(), waited: within };
        tokio::time::timeout(within, count.wait_for(|have| *have >= n)).await.map_err(late)?.expect("the sender lives as long as the sink");
        Ok(self.letters())
    }

    /// Waits until the letters kept are as `enough` wants them, asking it after each that comes, and returns them.
    ///
    /// # Errors
    /// [`Late`] if that is not so `within` this time.
    pub async fn wait_until(&self, mut enough: impl FnMut(&[Arc<Received>]) -> bool, within: Duration) -> Result<Vec<Arc<Received>>, Late> {
        let mut count = self.shared.count.subscribe();
        let waiting = async {
            loop {
                count.mark_unchanged();
                let letters = self.letters();
                if enough(&letters) {
                    return letters;
                }
                count.changed().await.expect("the sender lives as long as the sink");
            }
        };
        tokio::time::timeout(within, waiting).await.map_err(|_| Late { have: self.count(), waited: within })
    }

    /// Every letter from now on. A subscriber that falls thousands behind misses some and is told how many.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Received>> {
        self.shared.news.subscribe()
    }

    /// Numbers so far.
    pub fn statistics(&self) -> Statistics {
        let shared = &self.shared;
        Statistics {
            sessions: shared.sessions.load(Ordering::Relaxed),
            open: shared.open.load(Ordering::Relaxed),
            most_open: shared.most_open.load(Ordering::Relaxed),
            contents: shared.contents.load(Ordering::Relaxed),
            letters: self.count(),
            failed_handshakes: shared.failed_handshakes.load(Ordering::Relaxed),
            refused_sign_ins: shared.refused_sign_ins.load(Ordering::Relaxed),
        }
    }
}

fn check(options: &SinkOptions) -> io::Result<()> {
    if options.implicit_tls && options.tls.is_none() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "implicit TLS needs a certificate"));
    }
    Ok(())
}

fn socket(addr: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    Ok(socket)
}

fn open(listener: TcpListener, shared: &Arc<Shared>) -> Door {
    let (stop, stopped) = oneshot::channel();
    Door::Open { stop, task: tokio::spawn(accept(listener, Arc::clone(shared), stopped)) }
}

/// Accepts sessions until told to stop, or until the other end of `stopped` is gone; then ends them all.
async fn accept(listener: TcpListener, shared: Arc<Shared>, mut stopped: oneshot::Receiver<()>) {
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            Some(_) = sessions.join_next(), if !sessions.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    if let Err(error) = stream.set_nodelay(true) {
                        debug!(%peer, %error, "TCP_NODELAY was refused");
                    }
                    let (id, guard) = Shared::enter(&shared);
                    let too_many = shared.options().max_sessions.is_some_and(|most| guard.open > most);
                    let session = Session::new(Arc::clone(&shared), Box::new(stream), id, peer);
                    sessions.spawn(async move {
                        let _guard = guard;
                        session.run(too_many).await;
                    });
                }
                Err(error) => {
                    // Out of file descriptors, most likely: try again when some session has ended.
                    debug!(%error, "cannot accept a mail session");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
    }
    drop(listener);
    sessions.shutdown().await;
}

/// What the sessions share with the sink.
pub(crate) struct Shared {
    options: Mutex<Arc<SinkOptions>>,
    script: Mutex<Script>,
    letters: Mutex<Letters>,
    count: watch::Sender<u64>,
    news: broadcast::Sender<Arc<Received>>,
    sessions: AtomicU64,
    open: AtomicUsize,
    most_open: AtomicUsize,
    contents: AtomicU64,
    failed_handshakes: AtomicU64,
    refused_sign_ins: AtomicU64,
}

#[derive(Default)]
struct Letters {
    kept: VecDeque<Arc<Received>>,
    /// How often each (Message-ID, recipient) came.
    seen: HashMap<(Box<str>, Box<str>), u32>,
}

/// Counts a session as open while it lives.
pub(crate) struct OpenSession {
    shared: Arc<Shared>,
    open: usize,
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        self.shared.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    fn new(options: SinkOptions) -> Self {
        Self {
            options: Mutex::new(Arc::new(options)),
            script: Mutex::default(),
            letters: Mutex::default(),
            count: watch::Sender::new(0),
            news: broadcast::Sender::new(SUBSCRIPTION),
            sessions: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            most_open: AtomicUsize::new(0),
            contents: AtomicU64::new(0),
            failed_handshakes: AtomicU64::new(0),
            refused_sign_ins: AtomicU64::new(0),
        }
    }

    fn enter(shared: &Arc<Self>) -> (u64, OpenSession) {
        let id = shared.sessions.fetch_add(1, Ordering::Relaxed) + 1;
        let open = shared.open.fetch_add(1, Ordering::Relaxed) + 1;
        shared.most_open.fetch_max(open, Ordering::Relaxed);
        (id, OpenSession { shared: Arc::clone(shared), open })
    }

    pub(crate) fn options(&self) -> Arc<SinkOptions> {
        Arc::clone(&lock(&self.options))
    }

    pub(crate) fn strike<'a>(&self, stage: Stage, recipients: &(impl Iterator<Item = &'a str> + Clone)) -> Option<What> {
        lock(&self.script).strike(stage, recipients)
    }

    pub(crate) fn count_content(&self) {
        self.contents.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_failed_handshake(&self) {
        self.failed_handshakes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_refused_sign_in(&self) {
        self.refused_sign_ins.fetch_add(1, Ordering::Relaxed);
    }

    /// Keeps a letter and tells those who wait; its number, from 1.
    pub(crate) fn keep(&self, letter: Received) -> u64 {
        let cap = self.options().keep;
        let message_id = letter.header("Message-ID");
        let letter = Arc::new(letter);
        let number = {
            let mut letters = lock(&self.letters);
            if let Some(message_id) = message_id {
                for to in &letter.to {
                    *letters.seen.entry((message_id.as_str().into(), to.as_str().into())).or_default() += 1;
                }
            }
            letters.kept.push_back(Arc::clone(&letter));
            if let Some(cap) = cap {
                let surplus = letters.kept.len().saturating_sub(cap);
                letters.kept.drain(..surplus);
            }
            // Counted under the lock: whoever sees the number finds the letter.
            let mut number = 0;
            self.count.send_modify(|count| {
                *count += 1;
                number = *count;
            });
            number
        };
        // Nobody needs to be subscribed.
        let _ = self.news.send(letter);
        number
    }
}

/// A panic elsewhere leaves these values whole: each is changed in single steps.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
