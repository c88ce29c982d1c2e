//! Letters through an open session: one round trip each when the relay pipelines, one command at a time when it does not.
//!
//! ```text
//! us     MAIL RCPT DATA │ content(1) . MAIL RCPT DATA │ content(2) . MAIL RCPT DATA │ content(3) .
//! relay          250 250 354 │          250  250 250 354 │          250  250 250 354 │          250
//! ```
//!
//! RFC 2920 §3.1 lets content be first in the next group of commands, so the next envelope rides behind it. Every command sent puts one entry into the queue of
//! expected replies. A reply that is missing, malformed, out of range or surplus ends the session: who guesses here takes the answer to one letter for that to
//! another, and loses mail.

use super::{
    SmtpCourier,
    classify::Meaning,
    content,
    dialogue::Speaker,
    ehlo::Offer,
    envelope,
    reply::Reply,
    wire::{Lost, Wire},
};
use crate::courier::{Load, RelayTrouble, SessionEnd, Source, TroubleKind};
use std::{collections::VecDeque, time::Duration};
use tidings_core::outbox::{Outcome, Stage};

/// How long a relay may take over QUIT; nothing hangs on its answer.
const FAREWELL: Duration = Duration::from_secs(5);
/// How long to listen for a last word when the relay stops reading.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Slowest content worth waiting for: 500 bytes a second.
const MILLIS_PER_BYTE: u64 = 2;

/// What the next reply answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Rset,
    Mail,
    Rcpt,
    Data,
    Content,
}

impl Expected {
    fn stage(self) -> Stage {
        match self {
            Self::Rset | Self::Mail => Stage::Mail,
            Self::Rcpt => Stage::Rcpt,
            Self::Data => Stage::Data,
            Self::Content => Stage::Content,
        }
    }

    /// Whether such a reply can answer such a command at all.
    fn allows(self, reply: &Reply) -> bool {
        match (self, reply.class()) {
            (Self::Data, 3) => reply.code == 354,
            (Self::Data, 2) | (_, 3) => false,
            (_, class) => (2..=5).contains(&class),
        }
    }
}

/// The session cannot go on.
struct Broken {
    trouble: RelayTrouble,
    /// The connection ended without a word.
    closed: bool,
}

impl From<RelayTrouble> for Broken {
    fn from(trouble: RelayTrouble) -> Self {
        Self { trouble, closed: false }
    }
}

fn broken(stage: Stage, lost: &Lost) -> Broken {
    let kind = if matches!(lost, Lost::Malformed(_)) { TroubleKind::Protocol } else { TroubleKind::Unreachable };
    Broken { trouble: RelayTrouble::new(kind, stage, lost.words()), closed: matches!(lost, Lost::Closed(_)) }
}

/// What the relay made of a content.
enum Verdict {
    /// An outcome, and the session may go on.
    Known(Outcome),
    /// An outcome, and the session is over.
    Last(Outcome, SessionEnd),
}

/// An open session.
pub(super) struct Session<'a> {
    courier: &'a SmtpCourier,
    wire: Wire,
    offer: Offer,
    pipelining: bool,
    expected: VecDeque<Expected>,
    /// A transaction was begun and not ended.
    rset_due: bool,
    out: Vec<u8>,
    carried: u32,
}

impl<'a> Session<'a> {
    pub(super) fn new(courier: &'a SmtpCourier, wire: Wire, offer: Offer) -> Self {
        let pipelining = offer.pipelining && !courier.is_careful();
        Self { courier, wire, offer, pipelining, expected: VecDeque::with_capacity(8), rset_due: false, out: Vec::new(), carried: 0 }
    }

    /// Works until the source ends it, the limit is reached or the relay is in trouble.
    pub(super) async fn run(mut self, source: &mut dyn Source) -> SessionEnd {
        let (end, alive) = self.carry(source).await;
        if let SessionEnd::Trouble(trouble) = &end {
            self.wire.recorder.note(Speaker::Note, || trouble.sentence());
        }
        if alive {
            self.wire.recorder.note(Speaker::Us, || "QUIT");
            if self.wire.write(b"QUIT\r\n", FAREWELL).await.is_ok() {
                let _ = self.wire.reply(FAREWELL).await;
            }
        }
        self.wire.close(FAREWELL).await;
        end
    }

    /// Gives the end, and whether the session still stands so that QUIT can be said.
    async fn carry(&mut self, source: &mut dyn Source) -> (SessionEnd, bool) {
        let mut ahead: Option<Load> = None;
        loop {
            let sent_ahead = ahead.is_some();
            let load = match ahead.take() {
                Some(load) => load,
                None if self.carried >= self.courier.limits.messages_per_session => return (SessionEnd::Limit, true),
                None => match self.next_load(source).await {
                    Ok(Some(load)) => load,
                    Ok(None) => return (SessionEnd::Done, true),
                    Err(end) => return (end, false),
                },
            };
            match self.envelope(&load, sent_ahead).await {
                Ok(None) => {}
                Ok(Some(refusal)) => {
                    self.carried += 1;
                    source.report(load.item, refusal);
                    continue;
                }
                Err(broken) => {
                    source.report(load.item, returned(&broken.trouble));
                    return (self.end_of(broken), false);
                }
            }
            self.out.clear();
            content::encode(&load.bytes, &mut self.out);
            let dot_end = self.out.len();
            self.carried += 1;
            if self.pipelining && self.carried < self.courier.limits.messages_per_session {
                ahead = self.take_admitted(source);
                if let Some(next) = &ahead {
                    self.group(next);
                }
            }
            match self.content(dot_end).await {
                Verdict::Known(outcome) => source.report(load.item, outcome),
                Verdict::Last(outcome, end) => {
                    source.report(load.item, outcome);
                    if let Some(next) = ahead {
                        source.report(next.item, Outcome::Returned { what: "the session ended before the content was sent".to_owned() });
                    }
                    return (end, false);
                }
            }
        }
    }

    /// A relay that closes between two letters has had enough of this session, no more.
    fn end_of(&self, broken: Broken) -> SessionEnd {
        if broken.closed && self.carried > 0 && broken.trouble.stage == Stage::Mail {
            SessionEnd::Limit
        } else {
            SessionEnd::Trouble(broken.trouble)
        }
    }

    /// The next load that the relay can take, waiting for it. Unasked bytes meanwhile, a stale 421 for one, end the session before a load is taken.
    async fn next_load(&mut self, source: &mut dyn Source) -> Result<Option<Load>, SessionEnd> {
        loop {
            if self.wire.unread() > 0 {
                return Err(self.unasked().await);
            }
            let load = tokio::select! {
                biased;
                () = self.wire.speaks_up() => return Err(self.unasked().await),
                load = source.next() => load,
            };
            match load {
                None => return Ok(None),
                Some(load) => match envelope::refuse_locally(&load, &self.offer) {
                    None => return Ok(Some(load)),
                    Some(refusal) => source.report(load.item, refusal),
                },
            }
        }
    }

    /// What the relay said, or that it left, while nothing was asked.
    async fn unasked(&mut self) -> SessionEnd {
        if self.wire.unread() == 0 {
            return SessionEnd::Done;
        }
        match self.wire.reply(LAST_WORDS).await {
            Ok(reply) if reply.code == 421 => SessionEnd::Done,
            Ok(reply) => SessionEnd::Trouble(surplus(&reply.line())),
            Err(lost) => SessionEnd::Trouble(surplus(&lost.words())),
        }
    }

    /// A load that is at hand.
    fn take_admitted(&mut self, source: &mut dyn Source) -> Option<Load> {
        loop {
            let load = source.try_next()?;
            match envelope::refuse_locally(&load, &self.offer) {
                None => return Some(load),
                Some(refusal) => source.report(load.item, refusal),
            }
        }
    }

    /// Appends the whole group of commands of a letter, and what they will be answered with.
    fn group(&mut self, load: &Load) {
        let start = self.out.len();
        if std::mem::take(&mut self.rset_due) {
            self.out.extend_from_slice(b"RSET\r\n");
            self.expected.push_back(Expected::Rset);
        }
        envelope::mail(&mut self.out, load, &self.offer);
        envelope::rcpt(&mut self.out, load);
        self.out.extend_from_slice(b"DATA\r\n");
        self.expected.extend([Expected::Mail, Expected::Rcpt, Expected::Data]);
        self.wire.recorder.note(Speaker::Us, || String::from_utf8_lossy(&self.out[start..]).into_owned());
    }

    /// Writes `out`; everything before was answered, so nothing may be left unread.
    async fn send(&mut self, stage: Stage) -> Result<(), Broken> {
        self.nothing_unread(stage)?;
        let limit = self.courier.timeouts.command;
        self.wire.write(&self.out, limit).await.map_err(|(_, lost)| broken(stage, &lost))
    }

    fn nothing_unread(&self, stage: Stage) -> Result<(), Broken> {
        if self.wire.unread() > 0 {
            return Err(RelayTrouble { stage, ..surplus("more replies than commands") }.into());
        }
        Ok(())
    }

    /// The next reply, checked against what was asked.
    async fn answer(&mut self) -> Result<Reply, Broken> {
        let asked = self.expected.pop_front().expect("a reply is read only after its command was sent");
        let limit = if asked == Expected::Content { self.courier.timeouts.final_dot } else { self.courier.timeouts.command };
        let reply = self.wire.reply(limit).await.map_err(|lost| broken(asked.stage(), &lost))?;
        if !asked.allows(&reply) {
            let what = format!("an answer that does not fit the command: {}", reply.line());
            return Err(RelayTrouble::new(TroubleKind::Protocol, asked.stage(), what).into());
        }
        Ok(reply)
    }

    /// The refusal of this letter that a reply stands for, if it is one.
    fn refusal(&self, stage: Stage, reply: &Reply) -> Result<Option<Outcome>, Broken> {
        if reply.class() < 4 {
            return Ok(None);
        }
        match self.courier.table.judge(stage, reply) {
            Meaning::Message(outcome) => Ok(Some(outcome)),
            Meaning::Relay(trouble) => Err(trouble.into()),
        }
    }

    /// Up to the 354: `None` if the relay waits for the content.
    async fn envelope(&mut self, load: &Load, sent_ahead: bool) -> Result<Option<Outcome>, Broken> {
        if !self.pipelining {
            return self.envelope_by_steps(load).await;
        }
        if !sent_ahead {
            self.out.clear();
            self.group(load);
            self.send(Stage::Mail).await?;
        }
        if self.expected.front() == Some(&Expected::Rset) {
            self.reset_answered().await?;
        }
        let mail = self.answer().await?;
        let mut refusal = self.refusal(Stage::Mail, &mail)?;
        let begun = refusal.is_none();
        let rcpt = self.answer().await?;
        if refusal.is_none() || rcpt.code == 421 {
            refusal = self.refusal(Stage::Rcpt, &rcpt)?;
        }
        let data = self.answer().await?;
        if data.code == 354 {
            self.nothing_unread(Stage::Data)?;
            if refusal.is_some() {
                self.lone_dot().await?;
            }
            return Ok(refusal);
        }
        if refusal.is_none() || data.code == 421 {
            refusal = self.refusal(Stage::Data, &data)?;
        }
        self.rset_due = begun;
        Ok(refusal)
    }

    /// RFC 2920 §3.1: the relay waits for content although it took no recipient.
    async fn lone_dot(&mut self) -> Result<(), Broken> {
        self.out.clear();
        self.out.extend_from_slice(b".\r\n");
        self.wire.recorder.note(Speaker::Us, || ".");
        self.expected.push_back(Expected::Content);
        self.send(Stage::Content).await?;
        let reply = self.answer().await?;
        if reply.code == 421 { self.refusal(Stage::Content, &reply).map(|_| ()) } else { Ok(()) }
    }

    async fn reset_answered(&mut self) -> Result<(), Broken> {
        let reply = self.answer().await?;
        match reply.class() {
            2 => Ok(()),
            _ if reply.code == 421 => self.refusal(Stage::Mail, &reply).map(|_| ()),
            _ => Err(RelayTrouble::new(TroubleKind::Protocol, Stage::Mail, format!("RSET was refused: {}", reply.line())).into()),
        }
    }

    /// Says one command and reads its answer.
    async fn step(&mut self, asks: Expected, write: impl FnOnce(&mut Vec<u8>)) -> Result<Reply, Broken> {
        self.out.clear();
        write(&mut self.out);
        self.wire.recorder.note(Speaker::Us, || String::from_utf8_lossy(&self.out).into_owned());
        self.expected.push_back(asks);
        self.send(asks.stage()).await?;
        self.answer().await
    }

    async fn envelope_by_steps(&mut self, load: &Load) -> Result<Option<Outcome>, Broken> {
        if std::mem::take(&mut self.rset_due) {
            self.out.clear();
            self.out.extend_from_slice(b"RSET\r\n");
            self.expected.push_back(Expected::Rset);
            self.send(Stage::Mail).await?;
            self.reset_answered().await?;
        }
        let offer = self.offer.clone();
        let mail = self.step(Expected::Mail, |out| envelope::mail(out, load, &offer)).await?;
        if let Some(refusal) = self.refusal(Stage::Mail, &mail)? {
            return Ok(Some(refusal));
        }
        let rcpt = self.step(Expected::Rcpt, |out| envelope::rcpt(out, load)).await?;
        let mut refusal = self.refusal(Stage::Rcpt, &rcpt)?;
        if refusal.is_none() {
            let data = self.step(Expected::Data, |out| out.extend_from_slice(b"DATA\r\n")).await?;
            refusal = self.refusal(Stage::Data, &data)?;
            self.nothing_unread(Stage::Data)?;
        }
        self.rset_due = refusal.is_some();
        Ok(refusal)
    }

    /// Writes the content and whatever rides behind it, and reads the answer to the dot that ends at `dot_end`.
    async fn content(&mut self, dot_end: usize) -> Verdict {
        self.wire.recorder.note(Speaker::Us, || format!("({dot_end} bytes of content, ended by a dot)"));
        self.expected.push_front(Expected::Content);
        let limit = self.courier.timeouts.command + Duration::from_millis(self.out.len() as u64 * MILLIS_PER_BYTE);
        let written = self.wire.write(&self.out, limit).await;
        let whole = match &written {
            Ok(()) => true,
            Err((handed, _)) => *handed >= dot_end,
        };
        let answered = match &written {
            Err((_, lost)) if !whole => self.last_words(lost).await,
            _ => self.answer().await,
        };
        let reply = match answered {
            Ok(reply) => reply,
            Err(broken) if whole => return Verdict::Last(unknown(&broken.trouble), SessionEnd::Trouble(broken.trouble)),
            Err(broken) => return Verdict::Last(returned(&broken.trouble), SessionEnd::Trouble(broken.trouble)),
        };
        let outcome = match self.refusal(Stage::Content, &reply) {
            Err(broken) => return Verdict::Last(returned(&broken.trouble), SessionEnd::Trouble(broken.trouble)),
            Ok(Some(refusal)) => refusal,
            Ok(None) if whole => Outcome::Sent { reply: reply.line() },
            Ok(None) => {
                let trouble = RelayTrouble::new(
                    TroubleKind::Protocol,
                    Stage::Content,
                    format!("an answer before the end of the content: {}", reply.line()),
                );
                return Verdict::Last(returned(&trouble), SessionEnd::Trouble(trouble));
            }
        };
        if written.is_ok() { Verdict::Known(outcome) } else { Verdict::Last(outcome, SessionEnd::Limit) }
    }

    /// A relay that stops reading may have said why.
    async fn last_words(&mut self, lost: &Lost) -> Result<Reply, Broken> {
        self.wire.reply(LAST_WORDS).await.map_err(|_| broken(Stage::Content, lost))
    }
}

fn surplus(what: &str) -> RelayTrouble {
    RelayTrouble::new(TroubleKind::Protocol, Stage::Mail, format!("the relay said something that was not asked for: {what}"))
}

fn returned(trouble: &RelayTrouble) -> Outcome {
    Outcome::Returned { what: format!("not sent: {trouble}") }
}

fn unknown(trouble: &RelayTrouble) -> Outcome {
    Outcome::Unknown { what: format!("the whole letter was sent, and then: {trouble}") }
}
