//! A TCP proxy on loopback that passes everything on, until it is told to play a bad line: cut at a byte, drip, say nothing.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Bytes passed on at a time.
const CHUNK: usize = 16 * 1024;

/// What a connection suffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mischief {
    /// Once so many bytes have gone from client to server, both ends are closed; nothing more passes.
    CutToServer(usize),
    /// Once so many bytes have gone from server to client, both ends are closed.
    CutToClient(usize),
    /// What the server says passes one byte at a time from this byte on, with a pause before each: a slow-loris.
    DripToClient {
        /// Bytes that pass as usual.
        from: usize,
        /// The pause before each byte after them.
        every: Duration,
    },
    /// The connection is accepted and nothing is ever said or read: a black hole behind an open port.
    Silence,
}

/// A proxy to one server. Dropped, it closes everything.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    door: Option<JoinHandle<()>>,
}

/// What was said over a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transcript {
    /// By the client.
    pub to_server: Vec<u8>,
    /// By the server.
    pub to_client: Vec<u8>,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    mischief: Mutex<Orders>,
    connections: Mutex<HashMap<u64, Vec<TcpStream>>>,
    transcript: Mutex<Transcript>,
    accepted: AtomicU64,
    struck: AtomicU64,
    over: AtomicBool,
}

#[derive(Debug, Default)]
struct Orders {
    next: Option<Mischief>,
    always: Option<Mischief>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    ToServer,
    ToClient,
}

impl Proxy {
    /// A proxy on a port of its own to `target`.
    ///
    /// # Panics
    /// If no port is free.
    pub fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port is free");
        let addr = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            target,
            mischief: Mutex::default(),
            connections: Mutex::default(),
            transcript: Mutex::default(),
            accepted: AtomicU64::new(0),
            struck: AtomicU64::new(0),
            over: AtomicBool::new(false),
        });
        let door = Some(thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        }));
        Self { addr, shared, door }
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// The next connection suffers this; the ones after it do not.
    pub fn next(&self, mischief: Mischief) {
        lock(&self.shared.mischief).next = Some(mischief);
    }

    /// Every connection from now on suffers this, or nothing.
    pub fn always(&self, mischief: Option<Mischief>) {
        lock(&self.shared.mischief).always = mischief;
    }

    /// Ends all connections where they stand.
    pub fn hang_up(&self) {
        self.shared.end(None);
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Acquire)
    }

    /// How many connections were cut at their byte so far.
    pub fn struck(&self) -> u64 {
        self.shared.struck.load(Ordering::Acquire)
    }

    /// Connections that are open now.
    pub fn open(&self) -> usize {
        lock(&self.shared.connections).len()
    }

    /// What was said over the latest connection so far.
    pub fn transcript(&self) -> Transcript {
        lock(&self.shared.transcript).clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Release);
        // The door sleeps in accept: this wakes it.
        let _ = TcpStream::connect(self.addr);
        if let Some(door) = self.door.take() {
            let _ = door.join();
        }
        self.shared.end(None);
    }
}

impl Shared {
    /// Closes one connection, or all.
    fn end(&self, one: Option<u64>) {
        let mut connections = lock(&self.connections);
        let ended: Vec<TcpStream> = match one {
            Some(id) => connections.remove(&id).unwrap_or_default(),
            None => connections.drain().flat_map(|(_, streams)| streams).collect(),
        };
        drop(connections);
        for stream in ended {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        let Ok((client, _)) = listener.accept() else { return };
        if shared.over.load(Ordering::Acquire) {
            return;
        }
        let id = shared.accepted.fetch_add(1, Ordering::AcqRel) + 1;
        let mischief = {
            let mut orders = lock(&shared.mischief);
            orders.next.take().or(orders.always)
        };
        // A client or server that is gone already ends the connection, which is what a proxy is for.
        let _ = connect(shared, client, id, mischief);
    }
}

fn connect(shared: &Arc<Shared>, client: TcpStream, id: u64, mischief: Option<Mischief>) -> io::Result<()> {
    client.set_nodelay(true)?;
    *lock(&shared.transcript) = Transcript::default();
    if mischief == Some(Mischief::Silence) {
        lock(&shared.connections).insert(id, vec![client]);
        return Ok(());
    }
    let server = TcpStream::connect(shared.target)?;
    server.set_nodelay(true)?;
    lock(&shared.connections).insert(id, vec![client.try_clone()?, server.try_clone()?]);
    for (way, from, to) in [(Way::ToServer, client.try_clone()?, server.try_clone()?), (Way::ToClient, server, client)] {
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            // However it ends, the connection is over.
            let struck = pump(&shared, way, mischief, from, &to).unwrap_or(false);
            if struck {
                shared.struck.fetch_add(1, Ordering::AcqRel);
                shared.end(Some(id));
            } else if way == Way::ToServer {
                // The client has nothing more to say, but the server may.
                let _ = to.shutdown(Shutdown::Write);
            } else {
                shared.end(Some(id));
            }
        });
    }
    Ok(())
}

/// Passes bytes on until the end; gives whether the mischief struck.
fn pump(shared: &Shared, way: Way, mischief: Option<Mischief>, mut from: TcpStream, mut to: &TcpStream) -> io::Result<bool> {
    let cut = match (mischief, way) {
        (Some(Mischief::CutToServer(at)), Way::ToServer) | (Some(Mischief::CutToClient(at)), Way::ToClient) => Some(at),
        _ => None,
    };
    let mut passed = 0;
    let mut room = vec![0; CHUNK];
    loop {
        if cut == Some(passed) {
            return Ok(true);
        }
        let most = cut.map_or(CHUNK, |at| (at - passed).min(CHUNK));
        let read = from.read(&mut room[..most])?;
        if read == 0 {
            return Ok(false);
        }
        let bytes = &room[..read];
        {
            let mut transcript = lock(&shared.transcript);
            let said = if way == Way::ToServer { &mut transcript.to_server } else { &mut transcript.to_client };
            said.extend_from_slice(bytes);
        }
        match mischief {
            Some(Mischief::DripToClient { from, every }) if way == Way::ToClient && passed + read > from => {
                let (at_once, slowly) = bytes.split_at(from.saturating_sub(passed));
                to.write_all(at_once)?;
                for byte in slowly {
                    thread::sleep(every);
                    to.write_all(&[*byte])?;
                }
            }
            _ => to.write_all(bytes)?,
        }
        passed += read;
    }
}

/// A panic elsewhere leaves these values whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait;

    /// A server that sends back what it gets.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || io::copy(&mut &stream, &mut &stream));
            }
        });
        addr
    }

    /// What comes back for "hello".
    fn hello(proxy: &Proxy) -> Vec<u8> {
        let mut stream = TcpStream::connect(proxy.addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        // It may be closed before, or while, we speak.
        let _ = stream.write_all(b"hello").and_then(|()| stream.shutdown(Shutdown::Write));
        let mut back = Vec::new();
        let _ = stream.read_to_end(&mut back);
        back
    }

    #[test]
    fn what_is_said_passes_and_a_cut_strikes_one_connection_at_its_byte() {
        let proxy = Proxy::to(echo());
        assert_eq!(hello(&proxy), b"hello");
        assert_eq!(proxy.transcript(), Transcript { to_server: b"hello".to_vec(), to_client: b"hello".to_vec() });
        for at in 0..5 {
            proxy.next(Mischief::CutToClient(at));
            assert_eq!(hello(&proxy), &b"hello"[..at]);
            assert_eq!(proxy.struck(), at as u64 + 1);
        }
        proxy.next(Mischief::CutToServer(0));
        assert_eq!(hello(&proxy), b"");
        assert_eq!(hello(&proxy), b"hello");
        wait::until("all connections to end", Duration::from_secs(10), || (proxy.open() == 0).then_some(()));
    }

    #[test]
    fn a_drip_passes_everything_one_byte_at_a_time() {
        let proxy = Proxy::to(echo());
        proxy.always(Some(Mischief::DripToClient { from: 2, every: Duration::from_millis(20) }));
        let start = std::time::Instant::now();
        assert_eq!(hello(&proxy), b"hello");
        assert!(start.elapsed() >= Duration::from_millis(60));
        proxy.always(Some(Mischief::Silence));
        let mut silent = TcpStream::connect(proxy.addr).unwrap();
        wait::until("the connection to be taken", Duration::from_secs(10), || (proxy.open() == 1).then_some(()));
        silent.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert!(silent.read(&mut [0; 1]).is_err());
        proxy.hang_up();
        silent.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert_eq!(silent.read(&mut [0; 1]).unwrap(), 0);
    }
}
