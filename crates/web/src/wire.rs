//! The byte stream under a connection, with two protections that hyper leaves to its transport.
//!
//! **A client that does not read.** Nothing bounds how long a reply may stand in a full socket buffer; here a write that makes no progress
//! for the write limit fails, and the connection ends.
//!
//! **A client that is still sending when the answer is final.** A server that closes then makes the kernel send a reset, which may destroy
//! the reply (a 413, a 401) before the client reads it (RFC 9112 §9.6). So after the last byte only our half is closed, and what still comes
//! is read and thrown away: for a second, up to a bound.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 4 * 1024 * 1024;

pub(crate) struct Wire<T> {
    io: T,
    write_limit: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
    linger: Option<Pin<Box<Sleep>>>,
    discarded: usize,
    /// Set when the server is going down: nobody is waited for then.
    hurry: Arc<AtomicBool>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Wire<T> {
    pub(crate) fn new(io: T, write_limit: Duration, hurry: Arc<AtomicBool>) -> Self {
        Self { io, write_limit, stalled: None, linger: None, discarded: 0, hurry }
    }

    /// Lets progress through, and turns a wait that lasts too long into an error.
    fn bounded<R>(&mut self, cx: &mut Context<'_>, step: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if step.is_ready() {
            self.stalled = None;
            return step;
        }
        let limit = self.write_limit;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(limit)));
        match stalled.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read its reply"))),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Reads and forgets until the client closes, or time or bytes are used up.
    fn discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut space = [0_u8; 8192];
        while self.discarded < LINGER_BYTES && !self.hurry.load(Ordering::Relaxed) {
            if self.linger.get_or_insert_with(|| Box::pin(sleep(LINGER))).as_mut().poll(cx).is_ready() {
                break;
            }
            let mut buffer = ReadBuf::new(&mut space);
            match ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => self.discarded += buffer.filled().len(),
                _ => break,
            }
        }
        Poll::Ready(())
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wire<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let step = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.bounded(cx, step)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let step = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.bounded(cx, step)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let step = Pin::new(&mut self.io).poll_flush(cx);
        self.bounded(cx, step)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            let step = Pin::new(&mut self.io).poll_shutdown(cx);
            ready!(self.bounded(cx, step))?;
        }
        self.discard(cx).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn calm() -> Arc<AtomicBool> {
        Arc::new(AtomicBool::new(false))
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_is_given_up() {
        let (_client, server) = tokio::io::duplex(16);
        let mut wire = Wire::new(server, Duration::from_millis(30), calm());
        let error = wire.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn what_still_comes_after_the_reply_is_read_and_the_reply_survives() {
        let (mut client, server) = tokio::io::duplex(16);
        let mut wire = Wire::new(server, Duration::from_secs(5), calm());
        let serving = tokio::spawn(async move {
            wire.write_all(b"413").await.unwrap();
            wire.shutdown().await.unwrap();
            wire.discarded
        });
        client.write_all(&[0; 1000]).await.unwrap();
        let mut reply = Vec::new();
        client.read_to_end(&mut reply).await.unwrap();
        drop(client);
        assert_eq!(reply, b"413");
        assert_eq!(serving.await.unwrap(), 1000);
    }

    #[tokio::test]
    async fn nobody_is_waited_for_when_the_server_goes_down() {
        let (_client, server) = tokio::io::duplex(16);
        let mut wire = Wire::new(server, Duration::from_secs(5), Arc::new(AtomicBool::new(true)));
        tokio::time::timeout(LINGER / 2, wire.shutdown()).await.unwrap().unwrap();
    }
}
