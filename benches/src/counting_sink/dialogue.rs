//! The sink's side of SMTP (RFC 5321, RFC 3030), as far as a client that does nothing wrong needs it.

use super::Tally;
use memchr::memmem;

/// The longest command line taken, in bytes (RFC 5321 §4.5.3.1.4 asks for 512; extensions ask for more).
const LONGEST_LINE: usize = 4_096;
const HELLO: &[u8] = b"250-sink.example.org\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES\r\n";
const HELLO_CHUNKING: &[u8] =
    b"250-sink.example.org\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n250 ENHANCEDSTATUSCODES\r\n";

/// Where a session stands.
#[derive(Debug, Default)]
pub(super) struct Dialogue {
    receiving: Receiving,
    /// The last recipient, without angle brackets.
    to: Vec<u8>,
    /// The content of earlier chunks of this letter.
    chunks: Vec<u8>,
    by_data: u64,
}

/// What the next bytes are.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Receiving {
    /// A command.
    #[default]
    Command,
    /// Content that ends with a dot. The line end of DATA itself was left in place, so that a lone dot ends an empty letter.
    Data {
        /// How far it was searched for its end.
        searched: usize,
    },
    /// A chunk of this many bytes.
    Chunk { size: usize, last: bool },
}

/// What became of the bytes at hand.
enum Step {
    /// So many were used.
    Used(usize),
    /// More are needed.
    Wants,
    /// The session is over after so many.
    Over(usize),
}

impl Dialogue {
    /// Whether a letter is being received by DATA.
    pub(super) fn in_data(&self) -> bool {
        matches!(self.receiving, Receiving::Data { .. })
    }

    /// Letters received by DATA so far.
    pub(super) fn letters_by_data(&self) -> u64 {
        self.by_data
    }

    /// Takes everything that is complete from `input` and appends the replies. `false` ends the session.
    pub(super) fn take(&mut self, input: &mut Vec<u8>, replies: &mut Vec<u8>, tally: &Tally) -> bool {
        let mut at = 0;
        let goes_on = loop {
            let rest = &input[at..];
            let step = match self.receiving {
                Receiving::Command => self.command(rest, replies, tally.chunking),
                Receiving::Data { searched } => self.data(rest, searched, replies, tally),
                Receiving::Chunk { size, last } => self.chunk(rest, size, last, replies, tally),
            };
            match step {
                Step::Used(used) => at += used,
                Step::Wants => break true,
                Step::Over(used) => {
                    at += used;
                    break false;
                }
            }
        };
        input.drain(..at);
        goes_on
    }

    fn command(&mut self, rest: &[u8], replies: &mut Vec<u8>, chunking: bool) -> Step {
        let Some(end) = memchr::memchr(b'\n', rest) else {
            return if rest.len() <= LONGEST_LINE { Step::Wants } else { Step::Over(rest.len()) };
        };
        let line = rest[..end].trim_ascii();
        let mut words = line.split(|&byte| byte == b' ');
        match words.next().unwrap_or_default().to_ascii_uppercase().as_slice() {
            b"EHLO" => replies.extend_from_slice(if chunking { HELLO_CHUNKING } else { HELLO }),
            b"RCPT" => {
                self.to.clear();
                let address = line.splitn(2, |&byte| byte == b'<').nth(1).and_then(|rest| rest.split(|&byte| byte == b'>').next());
                self.to.extend_from_slice(address.unwrap_or_default());
                replies.extend_from_slice(b"250 2.1.5 ok\r\n");
            }
            b"HELO" | b"MAIL" | b"RSET" | b"NOOP" => {
                self.chunks.clear();
                replies.extend_from_slice(b"250 2.0.0 ok\r\n");
            }
            b"DATA" if rest[..end].ends_with(b"\r") => {
                replies.extend_from_slice(b"354 go on\r\n");
                self.receiving = Receiving::Data { searched: 0 };
                return Step::Used(end - 1);
            }
            b"BDAT" if chunking => {
                let size = words.next().and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
                let last = words.next().is_some_and(|word| word.eq_ignore_ascii_case(b"LAST"));
                // Without a size nobody knows where the next command begins (RFC 3030 §2).
                let Some(size) = size else { return Step::Over(end + 1) };
                self.receiving = Receiving::Chunk { size, last };
            }
            b"QUIT" => {
                replies.extend_from_slice(b"221 2.0.0 bye\r\n");
                return Step::Over(end + 1);
            }
            _ => replies.extend_from_slice(b"500 5.5.2 unknown\r\n"),
        }
        Step::Used(end + 1)
    }

    fn data(&mut self, rest: &[u8], searched: usize, replies: &mut Vec<u8>, tally: &Tally) -> Step {
        let Some(end) = memmem::find(&rest[searched..], b"\r\n.\r\n") else {
            self.receiving = Receiving::Data { searched: rest.len().saturating_sub(4) };
            return Step::Wants;
        };
        let end = searched + end;
        tally.count(&rest[2.min(end)..end], &self.to);
        replies.extend_from_slice(b"250 2.0.0 taken\r\n");
        self.by_data += 1;
        self.receiving = Receiving::Command;
        Step::Used(end + 5)
    }

    fn chunk(&mut self, rest: &[u8], size: usize, last: bool, replies: &mut Vec<u8>, tally: &Tally) -> Step {
        let Some(chunk) = rest.get(..size) else { return Step::Wants };
        if !last {
            self.chunks.extend_from_slice(chunk);
        } else if self.chunks.is_empty() {
            tally.count(chunk, &self.to);
        } else {
            self.chunks.extend_from_slice(chunk);
            tally.count(&self.chunks, &self.to);
            self.chunks.clear();
        }
        replies.extend_from_slice(b"250 2.0.0 taken\r\n");
        self.receiving = Receiving::Command;
        Step::Used(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Mutex, atomic::Ordering};

    fn letter(name: &str) -> String {
        format!("Subject: x\r\nMessage-Id: <{name}>\r\n\r\nHello\r\n..dot\r\n")
    }

    /// Plays a session whose bytes come in pieces of every length; gives the tally and the reply codes of each.
    fn played(wire: &str, chunking: bool) -> impl Iterator<Item = (Tally, String)> {
        (1..wire.len()).map(move |cut| {
            let tally = Tally { names: Some(Mutex::default()), chunking, ..Tally::default() };
            let (mut dialogue, mut input, mut replies, mut goes_on) = (Dialogue::default(), Vec::new(), Vec::new(), true);
            for piece in wire.as_bytes().chunks(cut) {
                assert!(goes_on, "the session ended before QUIT");
                input.extend_from_slice(piece);
                goes_on = dialogue.take(&mut input, &mut replies, &tally);
            }
            assert!(!goes_on && input.is_empty());
            let replies = String::from_utf8(replies).unwrap();
            let codes: Vec<_> = replies.lines().filter(|l| &l[3..4] == " ").map(|l| &l[..3]).collect();
            (tally, codes.join(" "))
        })
    }

    #[test]
    fn letters_are_found_however_the_bytes_are_cut() {
        let wire = format!(
            "EHLO me\r\nMAIL FROM:<>\r\nRCPT TO:<a@example.org>\r\nDATA\r\n{}.\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n{}.\r\nDATA\r\n.\r\nQUIT\r\n",
            letter("1"),
            letter("1")
        );
        for (tally, codes) in played(&wire, false) {
            assert_eq!(tally.letters.load(Ordering::Acquire), 3);
            assert_eq!(tally.names.as_ref().unwrap().lock().unwrap()[b"<1>".as_slice()], 2);
            assert_eq!(codes, "250 250 250 354 250 250 250 354 250 354 250 221");
        }
    }

    #[test]
    fn chunks_are_put_together_and_what_looks_like_a_command_in_them_is_content() {
        let one = letter("1") + "QUIT\r\n.\r\n";
        let (head, tail) = one.split_at(20);
        let wire = format!(
            "EHLO me\r\nMAIL FROM:<>\r\nRCPT TO:<a@example.org>\r\nBDAT {} LAST\r\n{one}MAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nBDAT 20\r\n{head}bdat {} last\r\n{tail}QUIT\r\n",
            one.len(),
            tail.len()
        );
        for (tally, codes) in played(&wire, true) {
            assert_eq!(tally.letters.load(Ordering::Acquire), 2);
            assert_eq!(tally.bytes.load(Ordering::Acquire), 2 * one.len() as u64);
            assert_eq!(tally.names.as_ref().unwrap().lock().unwrap()[b"<1>".as_slice()], 2);
            assert_eq!(codes, "250 250 250 250 250 250 250 250 221");
        }
    }
}
