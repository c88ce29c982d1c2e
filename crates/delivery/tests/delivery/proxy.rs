//! A go-between that shortens, delays and garbles what a session says, and writes down what really passed.

use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    task::JoinHandle,
    time::Instant,
};

/// What is done to one line that the relay says; lines count from 0.
#[derive(Debug, Clone)]
pub(crate) enum Tamper {
    Drop(usize),
    /// This in front of the line.
    Before(usize, &'static str),
    Replace(usize, &'static str),
}

/// How the go-between behaves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ways {
    /// Only so many bytes reach the relay, then it sees the end.
    pub(crate) up: Option<usize>,
    /// Only so many bytes reach the client, then it sees the end.
    pub(crate) down: Option<usize>,
    pub(crate) tamper: Option<Tamper>,
    /// Each direction takes so long.
    pub(crate) delay: Duration,
}

/// What passed.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    /// All that the client handed over, let through or not.
    pub(crate) up: Vec<u8>,
    /// What the client was told.
    pub(crate) down: Vec<u8>,
}

/// Goes between for one session; gives where, and a task that ends with it.
pub(crate) async fn between(relay: SocketAddr, ways: Ways) -> (SocketAddr, JoinHandle<Passed>) {
    let (addr, task) = between_several(relay, ways, 1).await;
    (addr, tokio::spawn(async move { task.await.unwrap().remove(0) }))
}

/// As [`between`] for so many sessions, one after the other.
pub(crate) async fn between_several(relay: SocketAddr, ways: Ways, sessions: usize) -> (SocketAddr, JoinHandle<Vec<Passed>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut all = Vec::new();
        for _ in 0..sessions {
            all.push(one_session(&listener, relay, &ways).await);
        }
        all
    });
    (addr, task)
}

/// Goes between for the next session that comes to `listener`, until both sides are gone.
pub(crate) async fn one_session(listener: &TcpListener, relay: SocketAddr, ways: &Ways) -> Passed {
    let (client, _) = listener.accept().await.unwrap();
    let server = TcpStream::connect(relay).await.unwrap();
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let (up, down) = tokio::join!(
        pass(from_client, to_server, ways.up, None, ways.delay),
        pass(from_server, to_client, ways.down, ways.tamper.clone(), ways.delay)
    );
    Passed { up: up.0, down: down.1 }
}

/// Reads to the end, whatever happens to the other side; gives what was read and what was passed on.
async fn pass(
    mut from: OwnedReadHalf,
    to: OwnedWriteHalf,
    limit: Option<usize>,
    tamper: Option<Tamper>,
    delay: Duration,
) -> (Vec<u8>, Vec<u8>) {
    let (late, on_time) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let writing = tokio::spawn(write(to, on_time, limit.unwrap_or(usize::MAX)));
    let (mut read, mut lines, mut buffer) = (Vec::new(), Lines { tamper, line: Vec::new(), number: 0 }, vec![0; 16 * 1024]);
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        read.extend_from_slice(&buffer[..count]);
        // The writer may have had enough; what comes is read all the same.
        let _ = late.send((Instant::now() + delay, lines.garbled(&buffer[..count])));
    }
    drop(late);
    (read, writing.await.unwrap())
}

async fn write(mut to: OwnedWriteHalf, mut on_time: mpsc::UnboundedReceiver<(Instant, Vec<u8>)>, limit: usize) -> Vec<u8> {
    let mut passed = Vec::new();
    while passed.len() < limit {
        let Some((at, bytes)) = on_time.recv().await else { break };
        tokio::time::sleep_until(at).await;
        let part = &bytes[..bytes.len().min(limit - passed.len())];
        if to.write_all(part).await.is_err() {
            break;
        }
        passed.extend_from_slice(part);
    }
    let _ = to.shutdown().await;
    passed
}

struct Lines {
    tamper: Option<Tamper>,
    line: Vec<u8>,
    number: usize,
}

impl Lines {
    fn garbled(&mut self, bytes: &[u8]) -> Vec<u8> {
        let Some(tamper) = &self.tamper else { return bytes.to_vec() };
        let mut out = Vec::new();
        for byte in bytes {
            self.line.push(*byte);
            if *byte != b'\n' {
                continue;
            }
            let line = std::mem::take(&mut self.line);
            match tamper {
                Tamper::Drop(at) if *at == self.number => {}
                Tamper::Before(at, words) if *at == self.number => {
                    out.extend_from_slice(format!("{words}\r\n").as_bytes());
                    out.extend_from_slice(&line);
                }
                Tamper::Replace(at, words) if *at == self.number => out.extend_from_slice(format!("{words}\r\n").as_bytes()),
                _ => out.extend_from_slice(&line),
            }
            self.number += 1;
        }
        out
    }
}
