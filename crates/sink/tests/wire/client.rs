//! A client that sends what it is told, byte for byte, and reads replies with a deadline.

use std::time::Duration;

use tidings_sink::{Sink, SinkOptions};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) fn a_sink(options: SinkOptions) -> Sink {
    Sink::listen("127.0.0.1:0".parse().unwrap(), options).unwrap()
}

pub(crate) struct Client<S = TcpStream> {
    pub(crate) stream: S,
    input: Vec<u8>,
}

impl Client {
    /// Connects and reads the greeting.
    pub(crate) async fn greeted(sink: &Sink) -> Self {
        let mut client = Self::connect(sink).await;
        client.expect("220 ").await;
        client
    }

    /// Connects, reads the greeting, says EHLO.
    pub(crate) async fn ready(sink: &Sink) -> Self {
        let mut client = Self::greeted(sink).await;
        client.ask("EHLO client.example.org", "250-").await;
        client
    }

    pub(crate) async fn connect(sink: &Sink) -> Self {
        let stream = TcpStream::connect(sink.addr()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) fn over(stream: S) -> Self {
        Self { stream, input: Vec::new() }
    }

    /// Sends these bytes in one write.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Sends a line and expects a reply that starts so.
    pub(crate) async fn ask(&mut self, line: &str, start: &str) -> String {
        self.send(format!("{line}\r\n")).await;
        self.expect(start).await
    }

    /// Reads one reply, all its lines, and expects it to start so.
    pub(crate) async fn expect(&mut self, start: &str) -> String {
        let reply = self.reply().await;
        assert!(reply.starts_with(start), "expected {start:?}, the sink said {reply:?}");
        reply
    }

    pub(crate) async fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            while let Some(at) = self.input.iter().position(|b| *b == b'\n') {
                let line = String::from_utf8(self.input.drain(..=at).collect()).unwrap();
                let last = line.as_bytes().get(3) != Some(&b'-');
                reply.push_str(&line);
                if last {
                    return reply;
                }
            }
            assert_ne!(self.read().await, 0, "the sink hung up after {reply:?}, left {:?}", self.input);
        }
    }

    /// One read into the buffer.
    async fn read(&mut self) -> usize {
        tokio::time::timeout(DEADLINE, self.stream.read_buf(&mut self.input)).await.expect("the sink says nothing").unwrap()
    }

    /// The bytes of one read of the socket.
    pub(crate) async fn one_read(&mut self) -> String {
        assert!(self.input.is_empty());
        self.input.reserve(64 * 1024);
        self.read().await;
        String::from_utf8(std::mem::take(&mut self.input)).unwrap()
    }

    /// Everything up to the end of the connection.
    pub(crate) async fn rest(&mut self) -> String {
        while tokio::time::timeout(DEADLINE, self.stream.read_buf(&mut self.input)).await.expect("the sink does not hang up").unwrap_or(0)
            > 0
        {}
        String::from_utf8_lossy(&std::mem::take(&mut self.input)).into_owned()
    }

    /// MAIL, RCPT, DATA, each reply awaited.
    pub(crate) async fn envelope(&mut self, to: &str) {
        self.ask("MAIL FROM:<news@example.org>", "250 ").await;
        self.ask(&format!("RCPT TO:<{to}>"), "250 ").await;
        self.ask("DATA", "354 ").await;
    }

    /// A whole letter; the reply to its dot.
    pub(crate) async fn letter(&mut self, to: &str, id: &str) -> String {
        self.envelope(to).await;
        self.send(content(id)).await;
        self.reply().await
    }
}

/// A small letter with this Message-ID, its final dot included.
pub(crate) fn content(id: &str) -> String {
    format!("Message-ID: <{id}>\r\nSubject: News\r\n\r\nHello.\r\n.\r\n")
}
