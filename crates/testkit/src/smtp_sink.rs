//! Postfix's own measuring tools: `smtp-sink`, which takes mail as fast as it can and forgets it, and `smtp-source`, which makes it.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use crate::folder::Folder;
use crate::ports::free_port;
use crate::process::{Program, Running, installed};
use crate::wait;

/// A running `smtp-sink`. Dropped, it ends.
#[derive(Debug)]
pub struct SmtpSink {
    port: u16,
    running: Running,
    _folder: Folder,
}

impl SmtpSink {
    /// Starts it with more arguments, such as `-w 1`, before the address; it announces PIPELINING, 8BITMIME and more.
    ///
    /// # Panics
    /// If it is not installed or does not come up.
    pub fn start(arguments: &[&str]) -> Self {
        let (folder, port) = (Folder::new("smtp-sink"), free_port());
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut program = Program::new(installed("smtp-sink", "postfix"));
        if rustix::process::geteuid().is_root() {
            program = program.args(["-u", "postfix"]);
        }
        let running = program.args(["-c"]).args(arguments).args([addr.to_string(), "1024".to_owned()]).start(folder.path());
        let ready = wait::try_until(Duration::from_secs(20), || TcpStream::connect(addr).ok());
        assert!(ready.is_some(), "smtp-sink does not come up: {}", running.stderr());
        Self { port, running, _folder: folder }
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Letters taken so far, as its counter (`-c`) shows them.
    pub fn count(&self) -> u64 {
        let shown = self.running.stdout();
        shown.rsplit(|c: char| !c.is_ascii_digit()).find_map(|number| number.parse().ok()).unwrap_or(0)
    }
}

/// The path of `smtp-source`.
///
/// # Panics
/// If it is not installed.
pub fn smtp_source() -> PathBuf {
    installed("smtp-source", "postfix")
}
