//! A mail sink that counts: the ceiling for delivering, faster than `smtp-sink`, and the judge of losses and duplicates by Message-ID.

use anyhow::{Context, Result, bail};
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
    task::{JoinHandle, JoinSet},
};

/// The longest command line taken, in bytes (RFC 5321 §4.5.3.1.4 asks for 512; extensions ask for more).
const LONGEST_LINE: usize = 4_096;
const GREETING: &[u8] = b"220 sink.example.org ESMTP\r\n";
const HELLO: &[u8] = b"250-sink.example.org\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES\r\n";

/// The sink. Dropped, it ends.
#[derive(Debug)]
pub(crate) struct CountingSink {
    addr: SocketAddr,
    tally: Arc<Tally>,
    door: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Tally {
    letters: AtomicU64,
    bytes: AtomicU64,
    /// How often each Message-ID came, if anybody wants to know.
    names: Option<Mutex<HashMap<Box<[u8]>, u64>>>,
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
    /// Listens on a free loopback port. With `names`, it keeps every Message-ID.
    ///
    /// # Errors
    /// If there is no free port.
    pub(crate) async fn listen(names: bool) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("opening the counting sink")?;
        let addr = listener.local_addr().context("asking for the sink's port")?;
        let tally = Arc::new(Tally { names: names.then(Mutex::default), ..Tally::default() });
        let door = tokio::spawn(receive(listener, Arc::clone(&tally)));
        Ok(Self { addr, tally, door })
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
    loop {
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
        let goes_on = dialogue.take(&mut input, &mut replies, &tally);
        if !replies.is_empty() {
            stream.write_all(&replies).await?;
            replies.clear();
        }
        if !goes_on {
            return Ok(());
        }
    }
}

/// Where a session stands.
#[derive(Debug, Default)]
struct Dialogue {
    /// Whether content is being received.
    content: bool,
    /// How far the content was searched for its end.
    searched: usize,
}

impl Dialogue {
    /// Takes everything that is complete from `input` and appends the replies. `false` ends the session.
    fn take(&mut self, input: &mut Vec<u8>, replies: &mut Vec<u8>, tally: &Tally) -> bool {
        let mut at = 0;
        let mut goes_on = true;
        while goes_on {
            let rest = &input[at..];
            if self.content {
                // The line end of DATA itself was left in place, so that a lone dot ends an empty letter.
                let Some(end) = memmem::find(&rest[self.searched..], b"\r\n.\r\n") else {
                    self.searched = rest.len().saturating_sub(4);
                    break;
                };
                let end = self.searched + end;
                tally.count(&rest[2.min(end)..end]);
                replies.extend_from_slice(b"250 2.0.0 taken\r\n");
                at += end + 5;
                (self.content, self.searched) = (false, 0);
            } else {
                let Some(end) = memchr::memchr(b'\n', rest) else {
                    goes_on = rest.len() <= LONGEST_LINE;
                    break;
                };
                let verb = rest[..end].trim_ascii().split(|&byte| byte == b' ').next().unwrap_or_default().to_ascii_uppercase();
                let mut used = end + 1;
                match verb.as_slice() {
                    b"EHLO" => replies.extend_from_slice(HELLO),
                    b"HELO" | b"MAIL" | b"RCPT" | b"RSET" | b"NOOP" => replies.extend_from_slice(b"250 2.0.0 ok\r\n"),
                    b"DATA" if rest[..end].ends_with(b"\r") => {
                        replies.extend_from_slice(b"354 go on\r\n");
                        self.content = true;
                        used = end - 1;
                    }
                    b"QUIT" => {
                        replies.extend_from_slice(b"221 2.0.0 bye\r\n");
                        goes_on = false;
                    }
                    _ => replies.extend_from_slice(b"500 5.5.2 unknown\r\n"),
                }
                at += used;
            }
        }
        input.drain(..at);
        goes_on
    }
}

impl Tally {
    fn count(&self, content: &[u8]) {
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

    #[test]
    fn letters_are_found_however_the_bytes_are_cut() {
        let wire = format!(
            "EHLO me\r\nMAIL FROM:<>\r\nRCPT TO:<a@example.org>\r\nDATA\r\n{}.\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n{}.\r\nDATA\r\n.\r\nQUIT\r\n",
            letter("1"),
            letter("1")
        );
        for cut in 1..wire.len() {
            let tally = Tally { names: Some(Mutex::default()), ..Tally::default() };
            let (mut dialogue, mut input, mut replies, mut goes_on) = (Dialogue::default(), Vec::new(), Vec::new(), true);
            for piece in wire.as_bytes().chunks(cut) {
                assert!(goes_on, "the session ended before QUIT");
                input.extend_from_slice(piece);
                goes_on = dialogue.take(&mut input, &mut replies, &tally);
            }
            assert!(!goes_on && input.is_empty());
            assert_eq!(tally.letters.load(Ordering::Acquire), 3);
            assert_eq!(tally.names.as_ref().unwrap().lock().unwrap()[b"<1>".as_slice()], 2);
            let codes: Vec<_> =
                String::from_utf8(replies).unwrap().lines().filter(|l| &l[3..4] == " ").map(|l| l[..3].to_owned()).collect();
            assert_eq!(codes.join(" "), "250 250 250 354 250 250 250 354 250 354 250 221");
        }
    }

    #[tokio::test]
    async fn a_session_over_tcp_is_counted_and_a_duplicate_is_seen() {
        let sink = CountingSink::listen(true).await.unwrap();
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
}
