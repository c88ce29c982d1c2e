//! Postfix's own measuring tools: `smtp-sink`, which takes mail as fast as it can and forgets it, and `smtp-source`, which makes it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::folder::Folder;
use crate::ports::free_port;
use crate::postfix::user_id;
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
        Self::start_on(free_port(), arguments)
    }

    /// Starts it on this port and has it keep what it takes in `letters`, where [`kept`] finds it; later runs add to it.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn start_keeping(port: u16, letters: &Path, arguments: &[&str]) -> Self {
        fs::create_dir_all(letters).expect("a folder for letters can be made");
        if rustix::process::geteuid().is_root() {
            chown(letters, Some(user_id("postfix")), None).expect("root may give folders away");
        }
        let template = format!("{}/%H%M%S.", letters.display());
        let arguments: Vec<&str> = ["-d", &template].into_iter().chain(arguments.iter().copied()).collect();
        Self::start_on(port, &arguments)
    }

    fn start_on(port: u16, arguments: &[&str]) -> Self {
        let folder = Folder::new("smtp-sink");
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

/// A letter that `smtp-sink` has kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptLetter {
    /// The envelope recipient.
    pub to: String,
    /// The letter as it came; lines end in LF.
    pub bytes: Vec<u8>,
}

/// The letters kept in a folder by [`SmtpSink::start_keeping`]: those whose final dot has come, answered or not.
///
/// # Panics
/// If the folder cannot be read.
pub fn kept(letters: &Path) -> Vec<KeptLetter> {
    let Ok(entries) = fs::read_dir(letters) else {
        return Vec::new(); // Made with the first start.
    };
    let files = entries.map(|entry| entry.expect("our own folder can be read").path());
    // A file vanishes when the letter it was made for is broken off.
    files.filter_map(|file| read(&fs::read(file).ok()?)).collect()
}

/// Before the letter stand headers of smtp-sink's own, the last of them a Received of three lines.
fn read(file: &[u8]) -> Option<KeptLetter> {
    let text = String::from_utf8_lossy(file);
    let to = text.lines().find_map(|line| line.strip_prefix("X-Rcpt-Args: "))?;
    let to = to.split('>').next()?.trim_start_matches('<').to_owned();
    let received = text.find("\nReceived: ")? + 1;
    let letter = text[received..].match_indices('\n').nth(2)?.0 + received + 1;
    Some(KeptLetter { to, bytes: text.as_bytes()[letter..].to_vec() })
}

/// The path of `smtp-source`.
///
/// # Panics
/// If it is not installed.
pub fn smtp_source() -> PathBuf {
    installed("smtp-source", "postfix")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_letter_is_read_without_what_was_put_before_it() {
        let file = b"X-Client-Addr: 127.0.0.1\nX-Client-Proto: ESMTP\nX-Helo-Args: me\nX-Mail-Args: <a@example.org>\nX-Rcpt-Args: <b@example.org> NOTIFY=NEVER\n\
            Received: from me ([127.0.0.1])\n\tby smtp-sink (smtp-sink) with ESMTP id 1;\n\tSun, 22 Nov 2026 00:00:00 +0000\nSubject: x\n\nhello\n\n";
        assert_eq!(read(file), Some(KeptLetter { to: "b@example.org".into(), bytes: b"Subject: x\n\nhello\n\n".to_vec() }));
        assert_eq!(read(b"X-Client-Addr: 127.0.0.1\n"), None);
    }
}
