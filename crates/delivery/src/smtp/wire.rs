//! A connection with our own byte buffer: nothing that a relay says is dropped or read ahead unseen, and every wait has a deadline.

use super::{
    alarm::Alarm,
    dialogue::{Recorder, Speaker},
    outgoing::{Outgoing, PIECES},
    reply::{Malformed, Reply},
};
use std::{
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::client::TlsStream;

/// Bytes read at a time; replies are short.
const READ_AT_ONCE: usize = 4096;
/// How long to listen for a last word when the relay stops reading, or has said that it closes.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(1);
const CLOSED: &str = "the relay closed the connection";

/// Clear or encrypted.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buffer),
        }
    }

    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, slices),
        }
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            // A TCP socket has nothing to flush.
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }
}

/// Why nothing more can be read or written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The relay closed or reset the connection.
    Closed(String),
    /// The relay ended the encryption with this alert (RFC 8446 §6). With TLS 1.3 that is how a missing client certificate shows, after the handshake.
    Alert(String),
    /// A deadline passed.
    Late(Duration),
    /// What came is no reply.
    Malformed(&'static str),
}

impl Lost {
    /// In words.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Closed(why) => why.clone(),
            Self::Alert(alert) => format!("the relay ended the encryption: {alert}"),
            Self::Late(limit) => format!("no answer within {} s", limit.as_secs_f64()),
            Self::Malformed(what) => format!("the relay does not keep to the protocol: {what}"),
        }
    }

    /// Whether the relay ended the connection, so that nothing more can come of it.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self, Self::Closed(_) | Self::Alert(_))
    }

    fn io(error: &io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::AlertReceived(alert)) => Self::Alert(format!("{alert:?}")),
            _ => Self::Closed(format!("the connection broke: {error}")),
        }
    }
}

/// A connection to a relay.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: Stream,
    inbox: Vec<u8>,
    /// Where the unread part of `inbox` begins.
    read_to: usize,
    pub(crate) recorder: Recorder,
    /// What [`Wire::exchange`] is to write.
    pub(crate) outgoing: Outgoing,
    unflushed: bool,
    /// Why nothing can be written any more; the relay may still have said something.
    deaf: Option<Lost>,
    alarm: Alarm,
}

/// How long a reply may be waited for: the whole of it, not each read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// The position in the outgoing bytes up to which they must have left before the reply can be due.
    pub(crate) ends: u64,
    /// For writing up to there.
    pub(crate) writing: Duration,
    /// For the reply once all of that has left.
    pub(crate) answer: Duration,
    /// The end of all patience, however much is still moving, and how long that was.
    pub(crate) at_latest: (Instant, Duration),
}

impl Wire {
    pub(crate) fn new(stream: Stream, recorder: Recorder) -> Self {
        let (inbox, outgoing) = (Vec::with_capacity(READ_AT_ONCE), Outgoing::default());
        Self { stream, inbox, read_to: 0, recorder, outgoing, unflushed: false, deaf: None, alarm: Alarm::default() }
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    /// The TLS session, if there is one.
    pub(crate) fn tls(&self) -> Option<&rustls::ClientConnection> {
        match &self.stream {
            Stream::Plain(_) => None,
            Stream::Tls(stream) => Some(stream.get_ref().1),
        }
    }

    /// Bytes that were received and not yet read as a reply.
    pub(crate) fn unread(&self) -> usize {
        self.inbox.len() - self.read_to
    }

    /// Gives up the clear connection for a handshake. Only with an empty inbox: see RFC 3207 §6 and the callers.
    pub(crate) fn into_clear(self) -> Option<(TcpStream, Recorder)> {
        match self.stream {
            Stream::Plain(stream) => Some((stream, self.recorder)),
            Stream::Tls(_) => None,
        }
    }

    /// Reads whatever comes next into the inbox; `Ok(0)` is the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.read_to > 0 {
            self.inbox.drain(..self.read_to);
            self.read_to = 0;
        }
        let mut room = [0_u8; READ_AT_ONCE];
        let mut buffer = ReadBuf::new(&mut room);
        ready!(self.stream.poll_read(cx, &mut buffer))?;
        self.inbox.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// As [`Wire::poll_fill`]. Safe to cancel.
    async fn fill(&mut self) -> io::Result<usize> {
        poll_fn(|cx| self.poll_fill(cx)).await
    }

    /// A reply that is whole in the inbox.
    fn received(&mut self) -> Result<Option<Reply>, Lost> {
        if self.unread() == 0 {
            return Ok(None);
        }
        let Some((reply, length)) = Reply::parse(&self.inbox[self.read_to..]).map_err(|wrong| Lost::Malformed(wrong.0))? else {
            return Ok(None);
        };
        self.read_to += length;
        self.recorder.note(Speaker::Relay, || reply.lines().map(|l| format!("{} {l}", reply.code)).collect::<Vec<_>>().join("\n"));
        Ok(Some(reply))
    }

    /// The reply that is whole in the inbox, left there; an error if what is there is none, or not yet.
    pub(crate) fn peek(&self) -> Option<Result<Reply, Malformed>> {
        let unread = &self.inbox[self.read_to..];
        if unread.is_empty() {
            return None;
        }
        Some(Reply::parse(unread).and_then(|reply| reply.map(|(reply, _)| reply).ok_or(Malformed("half a reply"))))
    }

    /// The next reply; the limit is for the whole of it, not for each read.
    pub(crate) async fn reply(&mut self, limit: Duration) -> Result<Reply, Lost> {
        let mut until = None;
        loop {
            if let Some(reply) = self.received()? {
                return Ok(reply);
            }
            let until = *until.get_or_insert_with(|| Instant::now() + limit);
            match timeout_at(until, self.fill()).await {
                Err(_) => return Err(Lost::Late(limit)),
                Ok(Ok(0)) => return Err(Lost::Closed(CLOSED.to_owned())),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(Lost::io(&error)),
            }
        }
    }

    /// The next reply, while what is outgoing is written as far as the relay takes it. Reading goes on while writing waits, so that two full buffers can
    /// never wait for each other.
    pub(crate) async fn exchange(&mut self, patience: Patience) -> Result<Reply, Lost> {
        let mut deadline = None;
        loop {
            if let Some(reply) = self.received()? {
                return Ok(reply);
            }
            poll_fn(|cx| self.poll_exchange(cx, &patience, &mut deadline)).await?;
        }
    }

    /// Ready with news in the inbox, or when there will be none. `deadline` is what holds now and whether it is for the answer.
    fn poll_exchange(
        &mut self,
        cx: &mut Context<'_>,
        patience: &Patience,
        deadline: &mut Option<(bool, Instant)>,
    ) -> Poll<Result<(), Lost>> {
        if self.deaf.is_none()
            && let Poll::Ready(Err(lost)) = self.poll_send(cx)
        {
            (self.deaf, *deadline) = (Some(lost), None);
        }
        match self.poll_fill(cx) {
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(self.deaf.take().unwrap_or_else(|| Lost::Closed(CLOSED.to_owned())))),
            Poll::Ready(Ok(_)) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(Lost::io(&error))),
            Poll::Pending => {}
        }
        let whole = self.outgoing.handed() >= patience.ends;
        let limit = match (whole, &self.deaf) {
            (true, _) => patience.answer,
            (false, None) => patience.writing,
            (false, Some(_)) => LAST_WORDS,
        };
        let until = match *deadline {
            Some((for_answer, until)) if for_answer == whole => until,
            _ => deadline.insert((whole, Instant::now() + limit)).1,
        };
        let (at_latest, in_all) = patience.at_latest;
        ready!(self.alarm.poll(cx, until.min(at_latest)));
        let limit = if at_latest < until { in_all } else { limit };
        Poll::Ready(Err(self.deaf.take().unwrap_or(Lost::Late(limit))))
    }

    /// Writes what is outgoing, as far as the connection takes it.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        while !self.outgoing.is_empty() {
            let mut slices = [IoSlice::new(&[]); PIECES];
            let count = self.outgoing.slices(&mut slices);
            match ready!(self.stream.poll_write_vectored(cx, &slices[..count])) {
                Ok(0) => return Poll::Ready(Err(Lost::Closed("the connection takes no more".to_owned()))),
                Ok(count) => {
                    self.outgoing.advance(count);
                    self.unflushed = true;
                }
                Err(error) => return Poll::Ready(Err(Lost::io(&error))),
            }
        }
        if self.unflushed {
            ready!(self.stream.poll_flush(cx)).map_err(|error| Lost::io(&error))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Waits until the relay says or ends something unasked. Safe to cancel.
    pub(crate) async fn speaks_up(&mut self) {
        if self.unread() == 0 {
            // An error and an end are news as well as bytes are: the session is over in each case.
            let _ = self.fill().await;
        }
    }

    /// Writes all of `bytes`. On failure says how many of them were handed to the connection, which may or may not have carried them.
    pub(crate) async fn write(&mut self, bytes: &[u8], limit: Duration) -> Result<(), (usize, Lost)> {
        let stream = &mut self.stream;
        let mut handed = 0;
        let work = async {
            while handed < bytes.len() {
                match poll_fn(|cx| stream.poll_write(cx, &bytes[handed..])).await {
                    Ok(0) => return Err(Lost::Closed("the connection takes no more".to_owned())),
                    Ok(n) => handed += n,
                    Err(error) => return Err(Lost::io(&error)),
                }
            }
            poll_fn(|cx| stream.poll_flush(cx)).await.map_err(|error| Lost::io(&error))
        };
        match tokio::time::timeout(limit, work).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(lost)) => Err((handed, lost)),
            Err(_) => Err((handed, Lost::Late(limit))),
        }
    }

    /// Ends the connection in order: TLS close-notify, then FIN. Bounded, and never an error.
    pub(crate) async fn close(mut self, limit: Duration) {
        let _ = tokio::time::timeout(limit, async {
            match &mut self.stream {
                Stream::Plain(stream) => stream.shutdown().await,
                Stream::Tls(stream) => stream.shutdown().await,
            }
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::{io::AsyncReadExt as _, net::TcpListener};

    async fn pair() -> (Wire, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Wire::new(Stream::Plain(client), Recorder::default()), listener.accept().await.unwrap().0)
    }

    fn patience(ends: u64, writing: u64, answer: u64, in_all: u64) -> Patience {
        let ms = Duration::from_millis;
        Patience { ends, writing: ms(writing), answer: ms(answer), at_latest: (Instant::now() + ms(in_all), ms(in_all)) }
    }

    #[tokio::test]
    async fn each_deadline_strikes_for_what_it_is_about() {
        const LONG: u64 = 600_000;
        let late = |millis| Err(Lost::Late(Duration::from_millis(millis)));
        let (mut wire, _relay) = pair().await;
        wire.outgoing.text(|out| out.extend_from_slice(b"NOOP\r\n"));
        assert_eq!(wire.exchange(patience(6, LONG, 30, LONG)).await, late(30), "the answer");
        assert_eq!(wire.exchange(patience(6, LONG, LONG, 40)).await, late(40), "the whole attempt");
        // More than any buffer takes, to a relay that does not read.
        wire.outgoing.shared(&Arc::from(vec![b'x'; 64 << 20]));
        assert_eq!(wire.exchange(patience(wire.outgoing.queued(), 50, LONG, LONG)).await, late(50), "the content");
        // What left before may be answered all the same.
        assert!(wire.outgoing.handed() > 6 && wire.outgoing.handed() < wire.outgoing.queued());
        assert_eq!(wire.exchange(patience(6, LONG, 60, LONG)).await, late(60));
    }

    #[tokio::test]
    async fn answers_are_taken_while_writing_waits() {
        let (mut wire, mut relay) = pair().await;
        wire.outgoing.shared(&Arc::from(vec![b'x'; 64 << 20]));
        // The relay reads on only once its first answers have gone out.
        let serving = tokio::spawn(async move {
            relay.write_all(&b"250 early\r\n".repeat(3)).await.unwrap();
            let (mut got, mut buffer) = (0, vec![0; 1 << 20]);
            while got < 64 << 20 {
                got += relay.read(&mut buffer).await.unwrap();
            }
            relay.write_all(b"250 all\r\n").await.unwrap();
            relay
        });
        let mut said = Vec::new();
        for _ in 0..4 {
            said.push(wire.exchange(patience(0, 20_000, 20_000, 20_000)).await.unwrap().line());
        }
        assert_eq!(said, ["250 early", "250 early", "250 early", "250 all"]);
        assert_eq!(wire.outgoing.handed(), 64 << 20);
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn a_relay_that_stops_reading_may_have_said_why() {
        let (mut wire, mut relay) = pair().await;
        wire.outgoing.shared(&Arc::from(vec![b'x'; 64 << 20]));
        let serving = tokio::spawn(async move {
            relay.write_all(b"552 too big\r\n").await.unwrap();
            relay.shutdown().await.unwrap();
        });
        let wait = patience(64 << 20, 20_000, 20_000, 20_000);
        assert_eq!(wire.exchange(wait).await.unwrap().line(), "552 too big");
        assert!(matches!(wire.exchange(wait).await, Err(Lost::Closed(_))));
        serving.await.unwrap();
    }
}
