//! Ports for neighbours that must be told theirs.

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{FlockOperation, flock};

/// Below the range that Linux gives to outgoing connections (32768 and up), so that no client takes a port between choosing and binding.
const FIRST: u32 = 20_000;
const COUNT: u32 = 12_000;

static TRIED: AtomicU32 = AtomicU32::new(0);
static HELD: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A port of 127.0.0.1 on which nobody listens, kept for this process: other test processes that ask here get others.
///
/// # Panics
/// If there is none left, or the temporary folder cannot be written.
pub fn free_port() -> u16 {
    let folder = std::env::temp_dir().join(format!("tidings-ports-{}", rustix::process::getuid().as_raw()));
    std::fs::create_dir_all(&folder).expect("the temporary folder can be written");
    let start = std::process::id().wrapping_mul(97);
    for _ in 0..COUNT {
        let port = FIRST + start.wrapping_add(TRIED.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(port).expect("the range ends below 65536");
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(folder.join(port.to_string()));
        let file = file.expect("the temporary folder can be written");
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            HELD.lock().expect("nobody panics while holding this").push(file);
            return port;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
}
