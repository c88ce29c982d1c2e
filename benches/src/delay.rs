//! A long line: a TCP proxy on loopback that hands every byte on a fixed time after it came, in order and without limiting how much is on the way. It stands for a
//! distant relay, where the kernel cannot delay packets. Plain threads, because a runtime's timer is no finer than a millisecond.

use anyhow::{Context, Result};
use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

/// Bytes read at a time.
const READ: usize = 64 * 1024;

/// The line. Dropped, its connections break and its threads end.
#[derive(Debug)]
pub(crate) struct LongLine {
    addr: SocketAddr,
    inside: Arc<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    over: AtomicBool,
    /// Both ends of every connection, to be able to end them.
    streams: Mutex<Vec<TcpStream>>,
}

impl LongLine {
    /// A line to `end` on which a byte takes `one_way` in either direction. Connecting itself is not delayed.
    ///
    /// # Errors
    /// If there is no free port.
    pub(crate) fn to(end: SocketAddr, one_way: Duration) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("opening the long line")?;
        let addr = listener.local_addr().context("asking for the port of the long line")?;
        let inside = Arc::new(Inside::default());
        let shared = Arc::clone(&inside);
        thread::spawn(move || {
            for near in listener.incoming() {
                if shared.over.load(Ordering::Acquire) {
                    return;
                }
                // Nobody at the far end, or no threads left: the caller sees its connection close.
                if let Ok(near) = near
                    && let Ok(far) = TcpStream::connect(end)
                {
                    shared.join(&near, &far, one_way).ok();
                }
            }
        });
        Ok(Self { addr, inside })
    }

    /// Where the line begins.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for LongLine {
    fn drop(&mut self) {
        self.inside.over.store(true, Ordering::Release);
        // The thread that accepts wakes up and sees that it is over.
        drop(TcpStream::connect(self.addr));
        for stream in self.inside.streams.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // A connection that is closed already needs no end.
            stream.shutdown(Shutdown::Both).ok();
        }
    }
}

impl Inside {
    fn join(&self, near: &TcpStream, far: &TcpStream, one_way: Duration) -> std::io::Result<()> {
        {
            // Known before the first byte flows, so that a line that is dropped meanwhile ends this connection too.
            let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
            if self.over.load(Ordering::Acquire) {
                return Ok(());
            }
            streams.extend([near.try_clone()?, far.try_clone()?]);
        }
        for (from, to) in [(near, far), (far, near)] {
            to.set_nodelay(true)?;
            let (source, sink) = (from.try_clone()?, to.try_clone()?);
            let (sender, receiver) = channel();
            thread::Builder::new().spawn(move || take(source, &sender, one_way))?;
            thread::Builder::new().spawn(move || give(sink, &receiver))?;
        }
        Ok(())
    }
}

/// Reads until the end, and notes when each piece is due at the other end.
fn take(mut from: TcpStream, sender: &Sender<(Instant, Vec<u8>)>, one_way: Duration) {
    let mut buffer = vec![0; READ];
    loop {
        // A broken connection ends like a closed one.
        let length = from.read(&mut buffer).unwrap_or(0);
        let sent = sender.send((Instant::now() + one_way, buffer[..length].to_vec()));
        if length == 0 || sent.is_err() {
            return;
        }
    }
}

/// Writes each piece when it is due; an empty one is the end.
fn give(mut to: TcpStream, receiver: &Receiver<(Instant, Vec<u8>)>) {
    while let Ok((due, piece)) = receiver.recv() {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if piece.is_empty() || to.write_all(&piece).is_err() {
            break;
        }
    }
    to.shutdown(Shutdown::Write).ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;

    #[test]
    fn bytes_come_in_order_and_late_both_ways() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let end = listener.local_addr().unwrap();
        let echo = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).unwrap();
            stream.write_all(&bytes).unwrap();
        });
        let one_way = Duration::from_millis(20);
        let line = LongLine::to(end, one_way).unwrap();
        let mut stream = TcpStream::connect(line.addr()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
        let start = Instant::now();
        stream.write_all(&bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut back = Vec::new();
        stream.read_to_end(&mut back).unwrap();
        assert!(start.elapsed() >= 2 * one_way);
        assert!(back == bytes, "{} bytes came back", back.len());
        echo.join().unwrap();
    }

    #[test]
    fn a_line_that_is_dropped_closes_its_connections() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let line = LongLine::to(listener.local_addr().unwrap(), Duration::ZERO).unwrap();
        let mut near = TcpStream::connect(line.addr()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        near.write_all(b"x").unwrap();
        far.read_exact(&mut [0]).unwrap();
        drop(line);
        for end in [&mut near, &mut far] {
            end.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let read = end.read(&mut [0]).or_else(|error| if error.kind() == ErrorKind::ConnectionReset { Ok(0) } else { Err(error) });
            assert_eq!(read.unwrap(), 0);
        }
    }
}
