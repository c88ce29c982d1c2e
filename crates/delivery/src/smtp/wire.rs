//! A connection with our own byte buffer: nothing that a relay says is dropped or read ahead unseen, and every wait has a deadline.

use super::{
    dialogue::{Recorder, Speaker},
    reply::Reply,
};
use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll},
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

/// Clear or encrypted.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buffer),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, bytes),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
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
            Self::Late(limit) => format!("no answer within {} s", limit.as_secs_f64()),
            Self::Malformed(what) => format!("the relay does not keep to the protocol: {what}"),
        }
    }

    fn io(error: &io::Error) -> Self {
        Self::Closed(format!("the connection broke: {error}"))
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
}

impl Wire {
    pub(crate) fn new(stream: Stream, recorder: Recorder) -> Self {
        Self { stream, inbox: Vec::with_capacity(READ_AT_ONCE), read_to: 0, recorder }
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

    /// Reads whatever comes next into the inbox; `Ok(0)` is the end. Safe to cancel.
    async fn fill(&mut self) -> io::Result<usize> {
        if self.read_to > 0 {
            self.inbox.drain(..self.read_to);
            self.read_to = 0;
        }
        let Self { stream, inbox, .. } = self;
        poll_fn(|cx| {
            let mut room = [0_u8; READ_AT_ONCE];
            let mut buffer = ReadBuf::new(&mut room);
            match stream.poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) => {
                    inbox.extend_from_slice(buffer.filled());
                    Poll::Ready(Ok(buffer.filled().len()))
                }
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// The next reply; the limit is for the whole of it, not for each read.
    pub(crate) async fn reply(&mut self, limit: Duration) -> Result<Reply, Lost> {
        let mut until = None;
        loop {
            if self.unread() > 0
                && let Some((reply, length)) = Reply::parse(&self.inbox[self.read_to..]).map_err(|wrong| Lost::Malformed(wrong.0))?
            {
                self.read_to += length;
                self.recorder.note(Speaker::Relay, || reply.lines().map(|l| format!("{} {l}", reply.code)).collect::<Vec<_>>().join("\n"));
                return Ok(reply);
            }
            let until = *until.get_or_insert_with(|| Instant::now() + limit);
            match timeout_at(until, self.fill()).await {
                Err(_) => return Err(Lost::Late(limit)),
                Ok(Ok(0)) => return Err(Lost::Closed("the relay closed the connection".to_owned())),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(Lost::io(&error)),
            }
        }
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
