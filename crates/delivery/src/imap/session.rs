//! A session: one command at a time, each answer with a deadline, whatever the server says in between heeded.

use super::response::{Malformed, Response, Tag, Value};
use crate::{
    courier::{RelayTrouble, TroubleKind},
    error::ImapError,
    smtp::Stream,
};
use base64::{
    Engine as _, alphabet,
    engine::{GeneralPurpose, general_purpose::NO_PAD},
};
use std::{collections::BTreeSet, fmt::Write as _, future::poll_fn, io, time::Duration};
use tidings_core::outbox::Stage;
use tokio::{
    io::ReadBuf,
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};

/// Bytes read at a time.
const READ_AT_ONCE: usize = 32 * 1024;
/// The most that is kept of the answer to one command.
const MOST_KEPT: usize = 8 << 20;
/// Messages named in one command: a line of at most 8 kB (RFC 7162 §4 wants servers to take that).
const MOST_NAMED: usize = 500;
/// RFC 9051 §5.1.3 and RFC 3501: `,` in place of `/`, and no padding.
const UTF_7: GeneralPurpose = GeneralPurpose::new(&alphabet::IMAP_MUTF7, NO_PAD);

/// A folder that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selected {
    /// Under another one the numbers of messages mean others (RFC 9051 §2.3.1.1).
    pub uid_validity: u32,
    /// Messages that come have this number or a higher one; 0 if the server does not say.
    pub uid_next: u32,
    /// How many messages there are.
    pub exists: u32,
}

/// A session with a mailbox, signed in.
#[derive(Debug)]
pub struct Session {
    stream: Stream,
    inbox: Vec<u8>,
    limit: Duration,
    commands: u64,
    /// What the server can do, in upper case.
    offers: BTreeSet<String>,
    /// Whether a message has come since [`Session::look_away`].
    news: bool,
    exists: u32,
}

impl Session {
    fn begin(stream: Stream, limit: Duration) -> Self {
        Self { stream, inbox: Vec::new(), limit, commands: 0, offers: BTreeSet::new(), news: false, exists: 0 }
    }

    /// Reads the greeting (RFC 9051 §7.1) and asks what the server can do.
    pub(super) async fn greet(stream: Stream, limit: Duration) -> Result<Self, ImapError> {
        let mut session = Self::begin(stream, limit);
        let greeting = session.next_response().await.map_err(at_the_door)?;
        let unfit = |kind, what: &str| ImapError::from(RelayTrouble::new(kind, Stage::Greeting, what.to_owned()));
        match (&greeting.tag, greeting.word().as_str()) {
            (Tag::Untagged, "OK") => {}
            (Tag::Untagged, "BYE") => return Err(unfit(TroubleKind::Busy, &format!("the server says good-bye: {}", greeting.words()))),
            _ => return Err(unfit(TroubleKind::Protocol, "what the server says is no greeting of IMAP")),
        }
        session.ask_offers().await?;
        Ok(session)
    }

    /// Goes on where STARTTLS has ended.
    pub(super) async fn after_start_tls(stream: Stream, limit: Duration) -> Result<Self, ImapError> {
        let mut session = Self::begin(stream, limit);
        session.ask_offers().await?;
        Ok(session)
    }

    /// STARTTLS (RFC 9051 §6.2.1), up to the handshake.
    pub(super) async fn start_tls(mut self) -> Result<TcpStream, ImapError> {
        let trouble = |kind, what: &str| ImapError::from(RelayTrouble::new(kind, Stage::Tls, what));
        if !self.offers("STARTTLS") {
            return Err(RelayTrouble::new(TroubleKind::Tls, Stage::Tls, "the server offers no STARTTLS, and encryption is required")
                .hint("the port may want TLS at once (993 with tls = \"implicit\"), or somebody between strips the offer")
                .into());
        }
        self.command("STARTTLS").await.map_err(|error| trouble(TroubleKind::Tls, &error.to_string()))?;
        if !self.inbox.is_empty() {
            let what = "clear text followed the answer to STARTTLS: somebody may be tampering with the connection";
            return Err(trouble(TroubleKind::Protocol, what));
        }
        match self.stream {
            Stream::Plain(stream) => Ok(stream),
            Stream::Tls(_) => Err(ImapError::Garbled("STARTTLS on an encrypted session")),
        }
    }

    pub(super) fn is_encrypted(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    /// Whether the server has announced a capability.
    pub(super) fn offers(&self, name: &str) -> bool {
        self.offers.contains(name)
    }

    async fn ask_offers(&mut self) -> Result<(), ImapError> {
        self.command("CAPABILITY").await.map(drop)
    }

    /// After signing in a server can do other things; the code may say which.
    pub(super) fn forget_offers(&mut self, code: &str) {
        self.offers.clear();
        self.note_offers(code);
    }

    fn note_offers(&mut self, line: &str) {
        let mut words = line.split_ascii_whitespace();
        if words.next().is_some_and(|word| word.eq_ignore_ascii_case("CAPABILITY")) {
            self.offers = words.map(str::to_ascii_uppercase).collect();
        }
    }

    /// Takes note of what the server says by itself.
    pub(super) fn heed(&mut self, response: &Response) {
        let text = response.text();
        let mut words = text.split_ascii_whitespace();
        match (words.next(), words.next()) {
            (Some(word), _) if word.eq_ignore_ascii_case("CAPABILITY") => self.note_offers(&text),
            (Some(word), _) if word.eq_ignore_ascii_case("OK") => self.note_offers(&response.code().unwrap_or_default()),
            (Some(number), Some(word)) if word.eq_ignore_ascii_case("EXISTS") => {
                let exists = number.parse().unwrap_or(self.exists);
                self.news |= exists > self.exists;
                self.exists = exists;
            }
            (Some(_), Some(word)) if word.eq_ignore_ascii_case("EXPUNGE") => self.exists = self.exists.saturating_sub(1),
            _ => {}
        }
    }

    /// Writes a command; gives its tag.
    pub(super) async fn send(&mut self, command: &str) -> Result<String, ImapError> {
        self.commands += 1;
        let tag = format!("T{}", self.commands);
        self.send_line(&zeroize::Zeroizing::new(format!("{tag} {command}"))).await?;
        Ok(tag)
    }

    pub(super) async fn send_line(&mut self, line: &str) -> Result<(), ImapError> {
        let bytes = zeroize::Zeroizing::new(format!("{line}\r\n").into_bytes());
        let mut written = 0;
        let stream = &mut self.stream;
        let writing = async {
            while written < bytes.len() {
                match poll_fn(|cx| stream.poll_write(cx, &bytes[written..])).await? {
                    0 => return Err(io::ErrorKind::WriteZero.into()),
                    n => written += n,
                }
            }
            poll_fn(|cx| stream.poll_flush(cx)).await
        };
        match timeout(self.limit, writing).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(ImapError::Lost(error.to_string())),
            Err(_) => Err(ImapError::Lost(format!("nothing can be written for {} s", self.limit.as_secs_f64()))),
        }
    }

    /// The next response, whatever it is.
    pub(super) async fn next_response(&mut self) -> Result<Response, ImapError> {
        let until = Instant::now() + self.limit;
        self.response_until(until).await?.ok_or_else(|| ImapError::Lost(format!("no answer within {} s", self.limit.as_secs_f64())))
    }

    /// The next response; `None` if none has come by then. Safe to cancel.
    async fn response_until(&mut self, until: Instant) -> Result<Option<Response>, ImapError> {
        loop {
            match Response::parse(&self.inbox) {
                Ok(Some((response, length))) => {
                    self.inbox.drain(..length);
                    return Ok(Some(response));
                }
                Ok(None) => {}
                Err(Malformed(what)) => return Err(ImapError::Garbled(what)),
            }
            let mut room = vec![0; READ_AT_ONCE];
            let mut buffer = ReadBuf::new(&mut room);
            match timeout_at(until, poll_fn(|cx| self.stream.poll_read(cx, &mut buffer))).await {
                Ok(Ok(())) if buffer.filled().is_empty() => return Err(ImapError::Lost("the server closed the connection".to_owned())),
                Ok(Ok(())) => self.inbox.extend_from_slice(buffer.filled()),
                Ok(Err(error)) => return Err(ImapError::Lost(error.to_string())),
                Err(_) => return Ok(None),
            }
        }
    }

    /// A command and everything said in answer; a refusal is an error.
    async fn command(&mut self, command: &str) -> Result<Vec<Response>, ImapError> {
        let tag = self.send(command).await?;
        let (mut kept, mut size) = (Vec::new(), 0);
        loop {
            let response = self.next_response().await?;
            match &response.tag {
                Tag::Untagged => {
                    if response.word() == "BYE" {
                        return Err(ImapError::Lost(format!("the server says good-bye: {}", response.words())));
                    }
                    self.heed(&response);
                    size += response.size();
                    if size > MOST_KEPT {
                        return Err(ImapError::Garbled("far more than was asked for"));
                    }
                    kept.push(response);
                }
                Tag::Of(found) if *found == tag => {
                    let name = command.split(' ').take(2).collect::<Vec<_>>().join(" ");
                    return match response.word().as_str() {
                        "OK" => {
                            self.note_offers(&response.code().unwrap_or_default());
                            Ok(kept)
                        }
                        _ => Err(ImapError::Refused { command: name, code: response.code(), words: response.text() }),
                    };
                }
                _ => return Err(ImapError::Garbled("an answer to what was not asked")),
            }
        }
    }

    /// Opens a folder.
    ///
    /// # Errors
    /// [`ImapError::Refused`] if there is none of that name.
    pub async fn select(&mut self, folder: &str) -> Result<Selected, ImapError> {
        if self.offers.is_empty() {
            self.ask_offers().await?;
        }
        let responses = self.command(&format!("SELECT {}", folder_name(folder))).await?;
        let number = |name: &str| {
            let codes = responses.iter().filter_map(Response::code);
            let mut named =
                codes.filter_map(|code| code.split_once(' ').map(|(found, number)| (found.to_ascii_uppercase(), number.to_owned())));
            named.find(|(found, _)| found == name).and_then(|(_, number)| number.trim().parse::<u32>().ok())
        };
        let uid_validity = number("UIDVALIDITY").ok_or(ImapError::Garbled("a folder without UIDVALIDITY"))?;
        self.news = false;
        Ok(Selected { uid_validity, uid_next: number("UIDNEXT").unwrap_or(0), exists: self.exists })
    }

    /// The numbers of the messages from one to another, both included; `None` is up to the last one. In order.
    ///
    /// # Errors
    /// If the session is lost, or the server refuses.
    pub async fn uids(&mut self, from: u32, to: Option<u32>) -> Result<Vec<u32>, ImapError> {
        let to_text = to.map_or_else(|| "*".to_owned(), |to| to.to_string());
        let responses = self.command(&format!("UID SEARCH UID {from}:{to_text}")).await?;
        let found = responses
            .iter()
            .filter(|response| response.word() == "SEARCH")
            .flat_map(|response| response.words().split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect::<Vec<u32>>());
        // RFC 9051 §6.4.8: `n:*` names the last message also if its number is lower.
        let unique: BTreeSet<u32> = found.filter(|uid| *uid >= from && to.is_none_or(|to| *uid <= to)).collect();
        Ok(unique.into_iter().collect())
    }

    /// The first so many bytes of a message, without marking it as seen; `None` if it is gone.
    ///
    /// # Errors
    /// If the session is lost, or the server refuses.
    pub async fn message(&mut self, uid: u32, most: usize) -> Result<Option<Vec<u8>>, ImapError> {
        let responses = self.command(&format!("UID FETCH {uid} (UID BODY.PEEK[]<0.{most}>)")).await?;
        for response in responses {
            let Ok(values) = response.values() else { continue };
            let [_, word, Value::List(parts)] = values.as_slice() else { continue };
            let part = |wanted: &dyn Fn(&Value) -> bool| parts.chunks(2).find(|pair| wanted(&pair[0])).and_then(|pair| pair.get(1));
            if !word.is("FETCH") || part(&|name| name.is("UID")).and_then(Value::number) != Some(uid) {
                continue;
            }
            let body = |name: &Value| matches!(name, Value::Atom(atom) if atom.to_ascii_uppercase().starts_with("BODY["));
            match part(&body) {
                Some(Value::Text(bytes)) => return Ok(Some(bytes.iter().copied().take(most).collect())),
                Some(Value::Nil) => return Ok(Some(Vec::new())),
                _ => {}
            }
        }
        Ok(None)
    }

    /// Takes messages to another folder, which is made if there is none: by MOVE (RFC 6851), else copied and then deleted.
    ///
    /// # Errors
    /// If the session is lost, or the server refuses; then all of them, or some, are still here.
    pub async fn move_to(&mut self, uids: &[u32], folder: &str) -> Result<(), ImapError> {
        let (name, moves) = (folder_name(folder), self.offers("MOVE"));
        for some in uids.chunks(MOST_NAMED) {
            let command = format!("UID {} {} {name}", if moves { "MOVE" } else { "COPY" }, set(some));
            if let Err(error) = self.command(&command).await {
                let ImapError::Refused { code, .. } = &error else { return Err(error) };
                if !code.as_ref().is_some_and(|code| code.to_ascii_uppercase().starts_with("TRYCREATE")) {
                    return Err(error);
                }
                self.command(&format!("CREATE {name}")).await?;
                self.command(&command).await?;
            }
            if !moves {
                self.delete(some).await?;
            }
        }
        Ok(())
    }

    /// Deletes messages: for good if the server can do that by number (UIDPLUS, RFC 4315); otherwise they are marked, and whoever next empties the folder does it, since a
    /// plain EXPUNGE would delete what others have marked as well.
    ///
    /// # Errors
    /// As [`Session::move_to`].
    pub async fn delete(&mut self, uids: &[u32]) -> Result<(), ImapError> {
        for some in uids.chunks(MOST_NAMED) {
            self.command(&format!("UID STORE {} +FLAGS.SILENT (\\Deleted)", set(some))).await?;
            if self.offers("UIDPLUS") || self.offers("IMAP4REV2") {
                self.command(&format!("UID EXPUNGE {}", set(some))).await?;
            }
        }
        Ok(())
    }

    /// Marks messages as seen.
    ///
    /// # Errors
    /// As [`Session::move_to`].
    pub async fn mark_seen(&mut self, uids: &[u32]) -> Result<(), ImapError> {
        for some in uids.chunks(MOST_NAMED) {
            self.command(&format!("UID STORE {} +FLAGS.SILENT (\\Seen)", set(some))).await?;
        }
        Ok(())
    }

    /// Whether the server tells of messages that come (RFC 2177).
    pub fn can_idle(&self) -> bool {
        self.offers("IDLE") || self.offers("IMAP4REV2")
    }

    /// From here on a message that comes is news.
    pub fn look_away(&mut self) {
        self.news = false;
    }

    /// Waits until a message has come since [`Session::look_away`], or for so long. Says whether one has.
    ///
    /// # Errors
    /// If the session is lost, or the server refuses.
    pub async fn idle(&mut self, longest: Duration) -> Result<bool, ImapError> {
        if self.news {
            return Ok(true);
        }
        let tag = self.send("IDLE").await?;
        let until = Instant::now() + longest;
        while !self.news {
            let Some(response) = self.response_until(until).await? else { break };
            match &response.tag {
                Tag::Continue => {}
                Tag::Untagged if response.word() == "BYE" => {
                    return Err(ImapError::Lost(format!("the server says good-bye: {}", response.words())));
                }
                Tag::Untagged => self.heed(&response),
                Tag::Of(found) if *found == tag && response.word() != "OK" => {
                    return Err(ImapError::Refused { command: "IDLE".to_owned(), code: response.code(), words: response.text() });
                }
                // It has ended the waiting by itself.
                Tag::Of(found) if *found == tag => return Ok(self.news),
                Tag::Of(_) => return Err(ImapError::Garbled("an answer to what was not asked")),
            }
        }
        self.send_line("DONE").await?;
        loop {
            let response = self.next_response().await?;
            match &response.tag {
                Tag::Of(found) if *found == tag => return Ok(self.news),
                Tag::Untagged => self.heed(&response),
                Tag::Continue => {}
                Tag::Of(_) => return Err(ImapError::Garbled("an answer to what was not asked")),
            }
        }
    }

    /// Says good-bye.
    pub async fn log_out(mut self) {
        // Whoever leaves does not mind how that is taken.
        let _ = self.command("LOGOUT").await;
    }
}

/// A loss before anything was said.
fn at_the_door(error: ImapError) -> ImapError {
    let kind = if matches!(error, ImapError::Garbled(_)) { TroubleKind::Protocol } else { TroubleKind::Unreachable };
    RelayTrouble::new(kind, Stage::Greeting, error.to_string()).hint("check host and port, and whether the port wants TLS at once").into()
}

/// Numbers as a set (RFC 9051 §9), runs drawn together.
fn set(uids: &[u32]) -> String {
    let mut text = String::new();
    let mut at = 0;
    while at < uids.len() {
        let first = at;
        while at + 1 < uids.len() && uids[at + 1] == uids[at] + 1 {
            at += 1;
        }
        let comma = if text.is_empty() { "" } else { "," };
        if first == at {
            write!(text, "{comma}{}", uids[first]).expect("a String takes everything");
        } else {
            write!(text, "{comma}{}:{}", uids[first], uids[at]).expect("a String takes everything");
        }
        at += 1;
    }
    text
}

/// A text in quotation marks; `None` if it has no such form.
pub(super) fn quoted(text: &str) -> Option<String> {
    let fits = text.bytes().all(|b| matches!(b, b' '..=b'~'));
    fits.then(|| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}

/// A folder's name as it is written: modified UTF-7 (RFC 3501 §5.1.3), in quotation marks.
fn folder_name(name: &str) -> String {
    let mut out = String::new();
    let mut foreign: Vec<u8> = Vec::new();
    let flush = |foreign: &mut Vec<u8>, out: &mut String| {
        if !foreign.is_empty() {
            write!(out, "&{}-", UTF_7.encode(&*foreign)).expect("a String takes everything");
            foreign.clear();
        }
    };
    for character in name.chars() {
        if matches!(character, ' '..='~') {
            flush(&mut foreign, &mut out);
            out.push_str(if character == '&' { "&-" } else { "" });
            if character != '&' {
                out.push(character);
            }
        } else {
            let mut units = [0; 2];
            foreign.extend(character.encode_utf16(&mut units).iter().flat_map(|unit| unit.to_be_bytes()));
        }
    }
    flush(&mut foreign, &mut out);
    quoted(&out).expect("what is left is printable ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_drawn_together() {
        assert_eq!(set(&[1, 2, 3, 5, 7, 8, 4_294_967_295]), "1:3,5,7:8,4294967295");
        assert_eq!((set(&[9]), set(&[])), ("9".to_owned(), String::new()));
    }

    #[test]
    fn a_folder_is_named_as_the_standard_has_it() {
        // RFC 3501 §5.1.3 shows the last but one.
        for (name, written) in [
            ("INBOX", "\"INBOX\""),
            ("R&D \"x\"", "\"R&-D \\\"x\\\"\""),
            ("Gelöscht", "\"Gel&APY-scht\""),
            ("~peter/mail/台北/日本語", "\"~peter/mail/&U,BTFw-/&ZeVnLIqe-\""),
            ("a\r\nT9 DELETE INBOX", "\"a&AA0ACg-T9 DELETE INBOX\""),
        ] {
            assert_eq!(folder_name(name), written);
        }
    }
}
