//! A door before an LDAP server that passes every message on, until it is told to keep the next change, or the server's answer to it, to itself: the moments between two steps of
//! Tidings, held for as long as a test likes.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// What is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// The request to change an entry: the server never hears of it.
    Request,
    /// The answer that it was made: the server has changed the entry, and the client never hears of that.
    Answer,
}

impl Keep {
    /// Whether a message is one of these: by the tag of its operation (RFC 4511 §4.6), and an answer by its result, success.
    fn is(self, message: &[u8]) -> bool {
        matches!((self, operation(message)), (Self::Request, Some([0x66, ..])) | (Self::Answer, Some([0x67, _, 0x0a, 1, 0, ..])))
    }
}

#[derive(Default)]
struct Orders {
    keep: Mutex<Option<Keep>>,
    has_kept: AtomicBool,
}

/// The door.
pub(crate) struct Gate {
    port: u16,
    orders: Arc<Orders>,
}

impl Gate {
    /// A door before the server on this port.
    pub(crate) fn before(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let orders = Arc::new(Orders::default());
        let shared = Arc::clone(&orders);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A server that is down is as good as a line that breaks.
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)) else { continue };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
                    let orders = Arc::clone(&shared);
                    thread::spawn(move || {
                        let _ = pass(&from, &to, &orders);
                        let _ = from.shutdown(Shutdown::Both);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
            }
        });
        Self { port, orders }
    }

    pub(crate) fn url(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.port)
    }

    /// The next of these is kept.
    pub(crate) fn keep(&self, what: Keep) {
        self.orders.has_kept.store(false, Ordering::SeqCst);
        *self.orders.keep.lock().expect("nobody panics with it") = Some(what);
    }

    /// Whether it was.
    pub(crate) fn has_kept(&self) -> bool {
        self.orders.has_kept.load(Ordering::SeqCst)
    }
}

/// Passes on message by message. One that is kept is the last on its line; the line stays open until its ends close it.
fn pass(mut from: &TcpStream, mut to: &TcpStream, orders: &Orders) -> io::Result<()> {
    loop {
        let message = message(&mut from)?;
        let kept = {
            let mut keep = orders.keep.lock().expect("nobody panics with it");
            keep.take_if(|keep| keep.is(&message)).is_some()
        };
        if kept {
            orders.has_kept.store(true, Ordering::SeqCst);
            return io::copy(&mut from, &mut io::sink()).map(|_| ());
        }
        to.write_all(&message)?;
    }
}

/// One message (RFC 4511 §5.1): tag, length, content.
fn message(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 2];
    from.read_exact(&mut bytes)?;
    let more = if bytes[1] & 0x80 == 0 { 0 } else { usize::from(bytes[1] & 0x7f) };
    bytes.resize(2 + more, 0);
    from.read_exact(&mut bytes[2..])?;
    let length = if more == 0 { usize::from(bytes[1]) } else { bytes[2..].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)) };
    let head = bytes.len();
    bytes.resize(head + length, 0);
    from.read_exact(&mut bytes[head..])?;
    Ok(bytes)
}

/// A message's operation, behind its number.
fn operation(message: &[u8]) -> Option<&[u8]> {
    let head = 2 + if message[1] & 0x80 == 0 { 0 } else { usize::from(message[1] & 0x7f) };
    let number = usize::from(*message.get(head + 1)?);
    message.get(head + 2 + number..)
}
