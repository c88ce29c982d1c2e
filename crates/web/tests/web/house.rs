//! A served router on a free loopback port, and a client that writes its requests by hand.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use axum::Router;
use tidings_web::{ConnectionLimits, Farewell, Listener, RequestIds, Surface, TlsFiles};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Longest wait of any test for something that must happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) struct House {
    pub(crate) addr: SocketAddr,
    end: Option<oneshot::Sender<()>>,
    serving: JoinHandle<Farewell>,
}

pub(crate) fn a_surface() -> Surface {
    Surface::new(RequestIds::seeded(0xfeed))
}

impl House {
    pub(crate) async fn open(router: Router) -> Self {
        Self::open_with(router, ConnectionLimits::default(), None).await
    }

    pub(crate) async fn open_with(router: Router, limits: ConnectionLimits, tls: Option<&TlsFiles>) -> Self {
        the_log();
        let mut listener = Listener::bind("127.0.0.1:0").await.unwrap().with_limits(limits);
        if let Some(files) = tls {
            listener = listener.with_tls(files).unwrap();
        }
        let addr = listener.bound_addr();
        let (end, ended) = oneshot::channel::<()>();
        let serving = tokio::spawn(listener.serve(router, async move {
            let _ = ended.await;
        }));
        Self { addr, end: Some(end), serving }
    }

    /// Tells the server to end; [`House::farewell`] waits for it.
    pub(crate) fn close(&mut self) {
        self.end.take().unwrap().send(()).unwrap();
    }

    pub(crate) async fn farewell(self) -> Farewell {
        timeout(DEADLINE, self.serving).await.unwrap().unwrap()
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    /// Sends a request as it stands and reads until the server closes.
    pub(crate) async fn say(&self, request: &str) -> Reply {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        read_reply(&mut stream).await
    }

    /// A request without a body, with these header lines.
    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &[&str]) -> Reply {
        let lines = [&["Host: tidings", "Connection: close"], headers].concat().join("\r\n");
        self.say(&format!("{method} {path} HTTP/1.1\r\n{lines}\r\n\r\n")).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, &[]).await
    }

    /// A POST with a body of this length.
    pub(crate) async fn post(&self, path: &str, body: &str) -> Reply {
        let length = body.len();
        self.say(&format!("POST {path} HTTP/1.1\r\nHost: tidings\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")).await
    }
}

pub(crate) async fn read_reply(stream: &mut TcpStream) -> Reply {
    let mut bytes = Vec::new();
    timeout(DEADLINE, stream.read_to_end(&mut bytes)).await.expect("the server closes").unwrap();
    Reply(String::from_utf8(bytes).unwrap())
}

/// A reply as it came over the wire.
#[derive(Debug)]
pub(crate) struct Reply(pub(crate) String);

impl Reply {
    pub(crate) fn status(&self) -> u16 {
        self.0.split(' ').nth(1).unwrap_or_else(|| panic!("no status line: {self:?}")).parse().unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let head = self.0.split("\r\n\r\n").next()?;
        head.lines().filter_map(|line| line.split_once(": ")).find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(crate) fn body(&self) -> &str {
        self.0.split_once("\r\n\r\n").unwrap().1
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(self.body()).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body as a problem of this status.
    pub(crate) fn problem(&self, status: u16) -> serde_json::Value {
        assert_eq!(self.status(), status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        problem
    }
}

/// Everything this process logs, of all tests: look for your own request id.
///
/// One subscriber for the whole process: tracing asks each log statement once whether anybody listens, and with a subscriber per thread
/// the answer may come from another test's thread.
pub(crate) fn the_log() -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log::default();
        let writer = log.clone();
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false).with_writer(move || writer.clone()).init();
        log
    })
}

#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
