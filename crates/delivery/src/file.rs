//! Everything appended to one file, for development and `safety.mode = "file"`: an mbox (RFC 4155, quoted in the "mboxrd" way) with the envelope recipient
//! in a header of its own.

use crate::{
    courier::{Courier, Load, RelayTrouble, SessionEnd, Source},
    pickup::{blocking, folder_trouble},
};
use async_trait::async_trait;
use std::{
    fs::OpenOptions,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};
use tidings_core::{Clock, Id, Timestamp, outbox::Outcome};

/// Letters that share one flush.
const BATCH: usize = 64;

/// Appends letters to one file, which only its owner may read.
pub struct FileCourier {
    path: Arc<Path>,
    clock: Arc<dyn Clock>,
    /// One writer at a time, so that letters do not mix.
    turn: Arc<Mutex<()>>,
}

impl FileCourier {
    /// A courier for this file; it is made when the first letter comes.
    pub fn new(path: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self { path: path.into(), clock, turn: Arc::default() }
    }
}

#[async_trait]
impl Courier for FileCourier {
    async fn session(&self, source: &mut dyn Source) -> SessionEnd {
        let write = |text: Vec<u8>| {
            let (path, turn) = (Arc::clone(&self.path), Arc::clone(&self.turn));
            blocking(move || append(&path, &turn, &text))
        };
        if let Err(trouble) = write(Vec::new()).await {
            return SessionEnd::Trouble(trouble);
        }
        source.opened();
        while let Some(first) = source.next().await {
            let (mut text, mut items): (Vec<u8>, Vec<Id>) = (Vec::new(), Vec::new());
            let mut next = Some(first);
            while let Some(load) = next {
                entry(&load, self.clock.now(), &mut text);
                items.push(load.item);
                next = if items.len() < BATCH { source.try_next() } else { None };
            }
            let written = write(text).await;
            for item in items {
                source.report(
                    item,
                    match &written {
                        Ok(()) => Outcome::Sent { reply: format!("appended to {}", self.path.display()) },
                        Err(trouble) => Outcome::Returned { what: format!("not written: {trouble}") },
                    },
                );
            }
            if let Err(trouble) = written {
                return SessionEnd::Trouble(trouble);
            }
        }
        SessionEnd::Done
    }
}

fn append(path: &Path, turn: &Mutex<()>, text: &[u8]) -> Result<(), RelayTrouble> {
    let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
    let trouble = |error| folder_trouble(path, &error);
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path).map_err(trouble)?;
    if text.is_empty() {
        return Ok(());
    }
    let before = file.metadata().map_err(trouble)?.len();
    if let Err(error) = file.write_all(text).and_then(|()| file.sync_data()) {
        // Take the torn end away, so that the next attempt does not stand behind half a letter.
        let _ = file.set_len(before);
        return Err(trouble(error));
    }
    Ok(())
}

/// One letter: the separator, the envelope recipient, the message with LF line ends, an empty line.
fn entry(load: &Load, now: Timestamp, out: &mut Vec<u8>) {
    let sender = load.sender.as_ref().map_or("MAILER-DAEMON", |sender| sender.as_str());
    let date = now.strftime("%a %b %e %H:%M:%S %Y");
    out.extend_from_slice(format!("From {sender} {date}\nX-Envelope-To: {}\n", load.to.address()).as_bytes());
    let mut whole = Vec::new();
    crate::smtp::whole_lines(&load.bytes, &mut whole);
    for line in whole.split_inclusive(|b| *b == b'\n') {
        let quotes = line.iter().take_while(|b| **b == b'>').count();
        if line[quotes..].starts_with(b"From ") {
            out.push(b'>');
        }
        out.extend_from_slice(line.strip_suffix(b"\r\n").unwrap_or(line));
        out.push(b'\n');
    }
    out.push(b'\n');
}
