//! The connection: buffered input cut into lines, replies collected and sent in one write.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

/// Room made for one read.
const READ_BYTES: usize = 32 * 1024;

/// Time a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(30);

/// Time the other side has to hang up too.
const LINGER: Duration = Duration::from_secs(1);

/// A TCP or TLS stream.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Bytes received and not yet used.
#[derive(Debug, Default)]
pub(crate) struct Input {
    bytes: Vec<u8>,
    used: usize,
    /// The rest of an overlong line is being thrown away.
    skipping: bool,
}

/// What the input holds when asked for a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// No whole line yet.
    Incomplete,
    /// A line, without its CRLF.
    Text(String),
    /// A line longer than allowed; it is gone.
    TooLong,
    /// A line that does not end in CRLF, or is not UTF-8, or holds a NUL; it is gone.
    Malformed,
}

impl Input {
    pub(crate) fn rest(&self) -> &[u8] {
        &self.bytes[self.used..]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    pub(crate) fn consume(&mut self, count: usize) {
        self.used += count;
        debug_assert!(self.used <= self.bytes.len());
    }

    #[cfg(test)]
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next line, at most `limit` octets with its CRLF.
    pub(crate) fn line(&mut self, limit: usize) -> Line {
        let rest = &self.bytes[self.used..];
        let Some(at) = rest.iter().position(|b| *b == b'\n') else {
            if self.skipping || rest.len() >= limit {
                self.skipping = true;
                self.used = self.bytes.len();
            }
            return Line::Incomplete;
        };
        let line = &rest[..=at];
        let found = if self.skipping || line.len() > limit {
            Line::TooLong
        } else {
            match line.strip_suffix(b"\r\n").and_then(|text| std::str::from_utf8(text).ok()) {
                Some(text) if !text.contains(['\0', '\r']) => Line::Text(text.to_owned()),
                _ => Line::Malformed,
            }
        };
        self.skipping = false;
        self.used += at + 1;
        found
    }

    /// Moves what is unused to the front and makes room for one read.
    fn make_room(&mut self) -> &mut Vec<u8> {
        self.bytes.drain(..self.used);
        self.used = 0;
        self.bytes.reserve(READ_BYTES);
        &mut self.bytes
    }
}

/// One connection with its two buffers.
pub(crate) struct Wire {
    stream: Box<dyn Stream>,
    pub(crate) input: Input,
    output: Vec<u8>,
}

impl Wire {
    pub(crate) fn new(stream: Box<dyn Stream>) -> Self {
        Self { stream, input: Input::default(), output: Vec::new() }
    }

    /// Puts a reply behind those that wait to be sent.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
    }

    /// Sends the replies collected, in one write.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        if !self.output.is_empty() {
            self.stream.write_all(&self.output).await?;
            self.output.clear();
            self.stream.flush().await?;
        }
        Ok(())
    }

    /// Sends these bytes, one a write, behind what was collected.
    pub(crate) async fn send_in_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.flush().await?;
        for byte in bytes {
            self.stream.write_all(std::slice::from_ref(byte)).await?;
            self.stream.flush().await?;
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Sends the replies collected, then reads once; the number of bytes read, 0 at the end.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] if nothing comes for `idle`.
    pub(crate) async fn fill(&mut self, idle: Duration) -> io::Result<usize> {
        self.flush().await?;
        let room = self.input.make_room();
        tokio::time::timeout(idle, self.stream.read_buf(room)).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    /// Sends what is left and ends the connection in good order: what the client still sends is read and thrown away for a moment,
    /// because closing with unread input would reset the connection and could take the last replies with it.
    pub(crate) async fn end(&mut self) {
        // The other side may be gone already; there is nobody left to tell.
        if self.flush().await.is_err() || self.stream.shutdown().await.is_err() {
            return;
        }
        let mut sunk = [0; 4096];
        let drain = async { while matches!(self.stream.read(&mut sunk).await, Ok(count) if count > 0) {} };
        let _ = tokio::time::timeout(LINGER, drain).await;
    }

    /// Shakes hands and goes on encrypted with empty buffers; says whether the client showed a certificate.
    pub(crate) async fn encrypt(self, config: Arc<ServerConfig>) -> io::Result<(Self, bool)> {
        let stream = tokio::time::timeout(HANDSHAKE, TlsAcceptor::from(config).accept(self.stream))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let certificate = stream.get_ref().1.peer_certificates().is_some_and(|chain| !chain.is_empty());
        Ok((Self::new(Box::new(stream)), certificate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(line: &str) -> Line {
        Line::Text(line.into())
    }

    #[test]
    fn lines_come_out_one_by_one_and_the_rest_stays() {
        let mut input = Input::default();
        input.extend(b"EHLO a\r\nNOOP\r\nQU");
        assert_eq!(input.line(512), text("EHLO a"));
        assert_eq!(input.line(512), text("NOOP"));
        assert_eq!(input.line(512), Line::Incomplete);
        input.make_room();
        input.extend(b"IT\r\n");
        assert_eq!(input.line(512), text("QUIT"));
        assert!(input.is_empty());
    }

    #[test]
    fn an_overlong_line_is_reported_once_however_it_arrives() {
        let mut input = Input::default();
        for _ in 0..10 {
            input.extend(&[b'x'; 100]);
            assert_eq!(input.line(128), Line::Incomplete);
        }
        input.extend(b"y\r\nNOOP\r\n");
        assert_eq!(input.line(128), Line::TooLong);
        assert_eq!(input.line(128), text("NOOP"));
        input.extend(format!("{}\r\n{}\r\n", "z".repeat(126), "z".repeat(127)).as_bytes());
        assert_eq!(input.line(128), text(&"z".repeat(126)));
        assert_eq!(input.line(128), Line::TooLong);
    }

    #[test]
    fn lines_that_are_no_lines_are_told_apart() {
        let mut input = Input::default();
        input.extend(b"NOOP\nNO\rOP\r\nN\xffP\r\nN\0P\r\n");
        for _ in 0..4 {
            assert_eq!(input.line(512), Line::Malformed);
        }
    }
}
