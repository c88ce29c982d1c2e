//! A small HTTP/1.1 client (RFC 9112) that keeps its connection: as little work as possible beside the server that is measured.

use anyhow::{Context, Result, bail, ensure};
use memchr::memmem;
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// The longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// The longest answer taken, in bytes.
const LONGEST: usize = 16 * 1024 * 1024;

/// A kept connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer; its body lives until the next exchange.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    /// The status code.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: &'a [u8],
}

impl Connection {
    /// Connects, with `TCP_NODELAY`.
    ///
    /// # Errors
    /// If nobody listens.
    pub(crate) async fn open(addr: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(addr).await.with_context(|| format!("connecting to {addr}"))?;
        stream.set_nodelay(true).context("setting TCP_NODELAY")?;
        Ok(Self { stream, buffer: Vec::with_capacity(4096) })
    }

    /// Sends one request, as bytes, and waits for its answer.
    ///
    /// # Errors
    /// If the connection breaks, the answer is not HTTP with a Content-Length, or takes more than a minute.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<Answer<'_>> {
        let (status, body) = timeout(PATIENCE, self.trade(request)).await.context("no answer within a minute")??;
        Ok(Answer { status, body: &self.buffer[body] })
    }

    async fn trade(&mut self, request: &[u8]) -> Result<(u16, std::ops::Range<usize>)> {
        self.stream.write_all(request).await.context("sending a request")?;
        self.buffer.clear();
        let mut whole = None;
        loop {
            if whole.is_none() {
                whole = head(&self.buffer)?;
            }
            if let Some(head) = &whole
                && self.buffer.len() >= head.end + head.length
            {
                ensure!(self.buffer.len() == head.end + head.length, "bytes behind the end of an answer");
                return Ok((head.status, head.end..head.end + head.length));
            }
            let read = self.stream.read_buf(&mut self.buffer).await.context("reading an answer")?;
            ensure!(read > 0, "the connection was closed in the middle of an answer");
            ensure!(self.buffer.len() <= LONGEST, "an answer of more than {LONGEST} bytes");
        }
    }
}

struct Head {
    status: u16,
    /// Where the body begins.
    end: usize,
    /// Its length.
    length: usize,
}

/// Reads the head of an answer once it is there in full.
fn head(bytes: &[u8]) -> Result<Option<Head>> {
    let Some(end) = memmem::find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&bytes[..end]).context("the head of an answer is not ASCII")?;
    let mut lines = text.split("\r\n");
    let status =
        lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
    let Some(status) = status else { bail!("not an HTTP/1.1 answer: {}", text.lines().next().unwrap_or_default()) };
    let length = lines.filter_map(|line| line.split_once(':')).find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|(_, value)| value.trim().parse().ok()).context("an answer without Content-Length")?;
    Ok(Some(Head { status, end: end + 4, length }))
}

/// One GET on a connection of its own.
///
/// # Errors
/// As for [`Connection::exchange`].
pub(crate) async fn get(addr: SocketAddr, path: &str) -> Result<(u16, String)> {
    let mut connection = Connection::open(addr).await?;
    let answer = connection.exchange(format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\n\r\n").as_bytes()).await?;
    Ok((answer.status, String::from_utf8_lossy(answer.body).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn an_answer_in_pieces_is_put_together_and_the_connection_is_kept() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 64];
            for piece_length in [7, 1000] {
                assert!(stream.read(&mut request).await.unwrap() > 0);
                for piece in b"HTTP/1.1 202 Accepted\r\ncontent-length: 5\r\n\r\nhello".chunks(piece_length) {
                    stream.write_all(piece).await.unwrap();
                    stream.flush().await.unwrap();
                }
            }
        });
        let mut connection = Connection::open(addr).await.unwrap();
        for _ in 0..2 {
            let answer = connection.exchange(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            assert_eq!((answer.status, answer.body), (202, b"hello".as_slice()));
        }
        server.await.unwrap();
    }

    #[test]
    fn an_answer_that_is_not_http_is_refused() {
        assert!(head(b"220 mail.example.org ESMTP\r\n\r\n").is_err());
        assert!(head(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
        assert!(head(b"HTTP/1.1 200 OK\r\nContent-Le").unwrap().is_none());
    }
}
