//! A mail sink that counts: the ceiling for delivering, faster than `smtp-sink`, and the judge of losses and duplicates by Message-ID. It can offer CHUNKING, take
//! the time of its clients, and tell at once when a letter for a certain reader has come.

mod dialogue;

use anyhow::{Context, Result, bail};
use dialogue::Dialogue;
use memchr::memmem;
use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::{JoinHandle, JoinSet},
};

const GREETING: &[u8] = b"220 sink.example.org ESMTP\r\n";

/// What a sink does beside counting letters and bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Duties {
    /// It keeps every Message-ID.
    pub(crate) names: bool,
    /// It offers CHUNKING (RFC 3030).
    pub(crate) chunking: bool,
    /// It notes, for every letter by DATA, how long its client took: from the sink's 354 to the sink's reply to the whole letter.
    pub(crate) turns: bool,
    /// It answers so much later than it could.
    pub(crate) answers_after: Duration,
    /// It tells when a letter comes for a reader whose address begins so.
    pub(crate) watched: Option<&'static str>,
}

/// The sink. Dropped, it ends.
#[derive(Debug)]
pub(crate) struct CountingSink {
    addr: SocketAddr,
    tally: Arc<Tally>,
    arrivals: UnboundedReceiver<Arrival>,
    door: JoinHandle<()>,
}

/// A letter for a watched reader.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    /// The reader's address.
    pub(crate) to: String,
    /// When the letter's last byte had been read.
    pub(crate) at: Instant,
}

#[derive(Debug, Default)]
struct Tally {
    letters: AtomicU64,
    bytes: AtomicU64,
    chunking: bool,
    answers_after: Duration,
    /// How often each Message-ID came, if anybody wants to know.
    names: Option<Mutex<HashMap<Box<[u8]>, u64>>>,
    /// How long clients took for a letter.
    turns: Option<Mutex<Vec<Duration>>>,
    watched: Option<(&'static str, UnboundedSender<Arrival>)>,
}

/// What the Message-IDs say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Names {
    /// Different Message-IDs.
    pub(crate) distinct: u64,
    /// Letters that bore a Message-ID seen before.
    pub(crate) duplicates: u64,
}

impl CountingSink {
    /// Listens on a free loopback port.
    ///
    /// # Errors
    /// If there is no free port.
    pub(crate) async fn listen(duties: Duties) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("opening the counting sink")?;
        let addr = listener.local_addr().context("asking for the sink's port")?;
        let (teller, arrivals) = unbounded_channel();
        let tally = Arc::new(Tally {
            chunking: duties.chunking,
            answers_after: duties.answers_after,
            names: duties.names.then(Mutex::default),
            turns: duties.turns.then(Mutex::default),
            watched: duties.watched.map(|prefix| (prefix, teller)),
            ..Tally::default()
        });
        let door = tokio::spawn(receive(listener, Arc::clone(&tally)));
        Ok(Self { addr, tally, arrivals, door })
    }

    /// Its address.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Letters so far.
    pub(crate) fn letters(&self) -> u64 {
        self.tally.letters.load(Ordering::Acquire)
    }

    /// Bytes of content so far, as they came over the wire.
    pub(crate) fn bytes(&self) -> u64 {
        self.tally.bytes.load(Ordering::Acquire)
    }

    /// What the Message-IDs say; nothing if they are not kept.
    pub(crate) fn names(&self) -> Names {
        let Some(names) = &self.tally.names else { return Names { distinct: 0, duplicates: 0 } };
        let names = names.lock().expect("no session panics while it holds the names");
        let distinct = u64::try_from(names.len()).expect("fewer than 2^64 letters");
        Names { distinct, duplicates: names.values().sum::<u64>() - distinct }
    }

    /// How long clients took for each letter since this was last asked; empty if nobody takes their time.
    pub(crate) fn turns(&self) -> Vec<Duration> {
        let Some(turns) = &self.tally.turns else { return Vec::new() };
        std::mem::take(&mut turns.lock().expect("no session panics while it holds the times"))
    }

    /// The next letter for a watched reader.
    ///
    /// # Errors
    /// If none comes `within` this time.
    pub(crate) async fn arrival(&mut self, within: Duration) -> Result<Arrival> {
        let next = tokio::time::timeout(within, self.arrivals.recv()).await;
        next.ok().flatten().with_context(|| format!("no letter for a watched reader within {within:?}"))
    }

    /// Waits until there are so many letters and returns the moment.
    ///
    /// # Errors
    /// If they are not there `within` this time.
    pub(crate) async fn wait_for(&self, letters: u64, within: Duration) -> Result<Instant> {
        let start = Instant::now();
        loop {
            if self.letters() >= letters {
                return Ok(Instant::now());
            }
            if start.elapsed() > within {
                bail!("the sink has {} of {letters} letters after {within:?}", self.letters());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Drop for CountingSink {
    fn drop(&mut self) {
        self.door.abort();
    }
}

async fn receive(listener: TcpListener, tally: Arc<Tally>) {
    let mut sessions = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        sessions.spawn(session(stream, Arc::clone(&tally)));
        while sessions.try_join_next().is_some() {}
    }
}

/// One session, to its end; a broken connection just ends it.
async fn session(mut stream: TcpStream, tally: Arc<Tally>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(GREETING).await?;
    let (mut input, mut replies) = (Vec::with_capacity(65_536), Vec::new());
    let mut dialogue = Dialogue::default();
    let mut invited: Option<Instant> = None;
    loop {
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
        let before = dialogue.letters_by_data();
        let goes_on = dialogue.take(&mut input, &mut replies, &tally);
        if !replies.is_empty() {
            if !tally.answers_after.is_zero() {
                tokio::time::sleep(tally.answers_after).await;
            }
            stream.write_all(&replies).await?;
            replies.clear();
        }
        if let Some(turns) = &tally.turns {
            // A client that waits for 354, as it must (RFC 5321 §4.1.1.4), ends at most one letter a read.
            if dialogue.letters_by_data() > before
                && let Some(invited) = invited.take()
            {
                turns.lock().expect("no session panics while it holds the times").push(invited.elapsed());
            }
            if dialogue.in_data() {
                invited.get_or_insert_with(Instant::now);
            }
        }
        if !goes_on {
            return Ok(());
        }
    }
}

impl Tally {
    /// Takes note of a whole letter.
    fn count(&self, content: &[u8], to: &[u8]) {
        if let Some((prefix, teller)) = &self.watched
            && to.starts_with(prefix.as_bytes())
        {
            // A listener that has gone wants to know no more.
            let _ = teller.send(Arrival { to: String::from_utf8_lossy(to).into_owned(), at: Instant::now() });
        }
        if let Some(names) = &self.names {
            let name = message_id(content).unwrap_or_default();
            *names.lock().expect("no session panics while it holds the names").entry(name.into()).or_default() += 1;
        }
        self.bytes.fetch_add(u64::try_from(content.len()).expect("a letter is shorter than 2^64 bytes"), Ordering::AcqRel);
        self.letters.fetch_add(1, Ordering::AcqRel);
    }
}

/// The value of the header Message-ID.
fn message_id(content: &[u8]) -> Option<&[u8]> {
    const NAME: &[u8] = b"message-id:";
    let mut rest = content;
    loop {
        let end = memmem::find(rest, b"\r\n")?;
        let line = &rest[..end];
        if line.is_empty() {
            return None;
        }
        if line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)) {
            return Some(line[NAME.len()..].trim_ascii());
        }
        rest = &rest[end + 2..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(name: &str) -> String {
        format!("Subject: x\r\nMessage-Id: <{name}>\r\n\r\nHello\r\n..dot\r\n")
    }

    #[tokio::test]
    async fn a_session_over_tcp_is_counted_and_a_duplicate_is_seen() {
        let sink = CountingSink::listen(Duties { names: true, ..Duties::default() }).await.unwrap();
        let mut stream = TcpStream::connect(sink.addr()).await.unwrap();
        for name in ["a", "b", "a"] {
            let wire = format!("MAIL FROM:<>\r\nRCPT TO:<a@example.org>\r\nDATA\r\n{}.\r\n", letter(name));
            stream.write_all(wire.as_bytes()).await.unwrap();
        }
        sink.wait_for(3, Duration::from_secs(20)).await.unwrap();
        assert_eq!(sink.names(), Names { distinct: 2, duplicates: 1 });
        assert!(sink.bytes() > 100);
        assert!(sink.wait_for(4, Duration::from_millis(1)).await.is_err());
    }

    #[tokio::test]
    async fn a_client_that_dawdles_is_timed_and_a_watched_reader_is_told_of() {
        let mut sink = CountingSink::listen(Duties { turns: true, watched: Some("urgent"), ..Duties::default() }).await.unwrap();
        let mut stream = TcpStream::connect(sink.addr()).await.unwrap();
        let mut reply = [0; 256];
        for (to, delay) in [("a", 0), ("urgent.7", 40)] {
            stream.write_all(format!("MAIL FROM:<>\r\nRCPT TO:<{to}@example.org>\r\nDATA\r\n").as_bytes()).await.unwrap();
            let mut said = String::new();
            while !said.contains("354") {
                let length = stream.read(&mut reply).await.unwrap();
                said.push_str(std::str::from_utf8(&reply[..length]).unwrap());
            }
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(delay) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            stream.write_all(format!("{}.\r\n", letter(to)).as_bytes()).await.unwrap();
        }
        assert_eq!(sink.arrival(Duration::from_secs(20)).await.unwrap().to, "urgent.7@example.org");
        sink.wait_for(2, Duration::from_secs(20)).await.unwrap();
        let start = Instant::now();
        let mut turns = sink.turns();
        while turns.len() < 2 && start.elapsed() < Duration::from_secs(20) {
            tokio::time::sleep(Duration::from_millis(1)).await;
            turns.extend(sink.turns());
        }
        assert!(turns.len() == 2 && turns[1] >= Duration::from_millis(40), "{turns:?}");
    }
}
