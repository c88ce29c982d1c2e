//! Letters through an open session: several on the way at once in chunks, one round trip each by DATA, or one command at a time, as the relay can.
//!
//! ```text
//! Chunks   us     MAIL RCPT BDAT content(1) RSET MAIL RCPT BDAT content(2) RSET MAIL RCPT BDAT content(3) …
//!          relay      250 250 250 │ 250 250 250 250 │ …                                  (no waiting in between)
//!
//! Ahead    us     MAIL RCPT DATA │ content(1) . MAIL RCPT DATA │ content(2) . MAIL RCPT DATA │ content(3) .
//!          relay          250 250 354 │          250  250 250 354 │          250  250 250 354 │          250
//! ```
//!
//! RFC 2920 §3.1 lets content be first in the next group of commands, so the next envelope rides behind it. RFC 3030 needs no 354, so whole letters may follow
//! each other; a relay that refuses one reads its octets and drops them. What state a refused chunk leaves is undefined there, so the next group begins with RSET.
//!
//! Every command sent puts one entry into the queue of owed replies, and a reply belongs to the first letter on the way. A reply that is missing, malformed, out
//! of range, early or surplus ends the session: who guesses here takes the answer to one letter for that to another, and loses mail. What became of the letters
//! on the way then follows from two facts alone: what the relay said before, and how many octets have left.
//!
//! Who says 421 closes and has not looked at what came later (RFC 5321 §3.8): then no letter on the way was taken. That is believed once the relay has closed. One
//! that says more, or stays, may carry on, and what it says then is not taken for an answer to anything.

mod answers;
mod pace;
mod slot;

use super::{
    SmtpCourier, content,
    dialogue::Speaker,
    ehlo::Offer,
    envelope,
    wire::{LAST_WORDS, Lost, Patience, Wire},
};
use crate::courier::{Load, RelayTrouble, SessionEnd, Source, TroubleKind};
use pace::Pace;
use slot::{Ask, Broken, Cause, Owed, Slot, returned, unknown};
use std::{collections::VecDeque, time::Duration};
use tidings_core::{
    Id,
    outbox::{Outcome, Stage},
};
use tokio::time::Instant;

/// How long a relay may take over QUIT; nothing hangs on its answer.
const FAREWELL: Duration = Duration::from_secs(5);
/// Slowest content worth waiting for: 500 bytes a second.
const MILLIS_PER_BYTE: u64 = 2;
/// Octets on the way at which no further letter is begun; the first one goes whatever its size.
const MOST_AFLOAT: u64 = 1024 * 1024;

/// How letters travel in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// One command at a time.
    Steps,
    /// By DATA, the next envelope behind the content.
    Ahead,
    /// By BDAT.
    Chunks,
}

/// An open session.
pub(super) struct Session<'a> {
    courier: &'a SmtpCourier,
    wire: Wire,
    offer: Offer,
    way: Way,
    owed: VecDeque<Owed>,
    /// The letters on the way, in order.
    letters: VecDeque<Slot>,
    /// A letter whose content was answered, until the answers to the commands behind it show that the relay and we still count alike.
    unconfirmed: Option<(Id, Outcome)>,
    pace: Pace,
    /// The position up to which everything was answered.
    answered_to: u64,
    /// A transaction may have been begun and not ended.
    rset_due: bool,
    /// Letters begun.
    carried: u32,
    /// Letters answered for.
    answered: u32,
    /// How the session ends once the letters on the way are answered for.
    ending: Option<SessionEnd>,
}

impl<'a> Session<'a> {
    pub(super) fn new(courier: &'a SmtpCourier, wire: Wire, offer: Offer) -> Self {
        let way = match (offer.pipelining && !courier.is_careful(), offer.chunking && courier.may_chunk()) {
            (false, _) => Way::Steps,
            (true, false) => Way::Ahead,
            (true, true) => Way::Chunks,
        };
        Self {
            courier,
            wire,
            offer,
            way,
            owed: VecDeque::with_capacity(64),
            letters: VecDeque::with_capacity(16),
            unconfirmed: None,
            pace: Pace::default(),
            answered_to: 0,
            rset_due: false,
            carried: 0,
            answered: 0,
            ending: None,
        }
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
        loop {
            if self.letters.is_empty() {
                if let Some(end) = self.ending.take() {
                    return (end, false);
                }
                if self.is_full() {
                    return (SessionEnd::Limit, true);
                }
                match self.next_load(source).await {
                    Ok(Some(load)) => self.begin(load),
                    Ok(None) => return (SessionEnd::Done, true),
                    Err(end) => return (end, false),
                }
            }
            self.send_ahead(source);
            let taken = match self.answer().await {
                Ok((owed, reply)) => self.take(source, owed, &reply),
                Err(broken) => Err(broken),
            };
            if let Err(broken) = taken {
                return (self.break_off(source, broken).await, false);
            }
        }
    }

    /// No further letter may be begun in this session.
    fn is_full(&self) -> bool {
        self.carried >= self.courier.limits.messages_per_session || (self.way != Way::Steps && self.courier.is_careful())
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
        let words = match self.wire.reply(LAST_WORDS).await {
            Ok(reply) if reply.code == 421 => return SessionEnd::Done,
            Ok(reply) => reply.line(),
            Err(lost) => lost.words(),
        };
        SessionEnd::Trouble(Broken::surplus(Stage::Mail, &words).trouble)
    }

    /// Begins letters behind those on the way, as far as the way of this session allows and letters are at hand.
    fn send_ahead(&mut self, source: &mut dyn Source) {
        while self.has_room() {
            let Some(load) = source.try_next() else { return };
            match envelope::refuse_locally(&load, &self.offer) {
                None => self.begin(load),
                Some(refusal) => source.report(load.item, refusal),
            }
        }
    }

    fn has_room(&self) -> bool {
        let room = match self.way {
            Way::Steps => false,
            // The content is queued: the next envelope leaves with it.
            Way::Ahead => self.letters.len() == 1 && self.letters[0].content.is_some() && self.letters[0].refusal.is_none(),
            Way::Chunks => {
                self.courier.chunks_are_proven()
                    && self.letters.len() < self.pace.window()
                    && self.wire.outgoing.queued() - self.answered_to < MOST_AFLOAT
                    // The first letter of a relay is alone until its chunk was taken.
                    && self.letters.iter().all(|slot| slot.content.is_some())
            }
        };
        room && self.ending.is_none() && !self.is_full()
    }

    /// Queues the first commands of a letter, all of them if the relay need not be waited for.
    fn begin(&mut self, load: Load) {
        self.carried += 1;
        let chunked = self.way == Way::Chunks;
        let rset = std::mem::take(&mut self.rset_due) || (chunked && !self.letters.is_empty());
        self.letters.push_back(Slot { load, refusal: None, open: false, content: None, chunked, begun: Instant::now() });
        if rset {
            self.ask(Ask::Rset);
        }
        match self.way {
            Way::Steps if rset => {}
            Way::Steps => self.ask(Ask::Mail),
            Way::Ahead => {
                self.ask(Ask::Mail);
                self.ask(Ask::Rcpt);
                self.ask(Ask::Data);
            }
            Way::Chunks => {
                self.ask(Ask::Mail);
                self.ask(Ask::Rcpt);
                if self.courier.chunks_are_proven() {
                    self.send_content();
                }
            }
        }
    }

    /// Queues a command of the latest letter.
    fn ask(&mut self, ask: Ask) {
        let (load, offer, reports) =
            (&self.letters.back().expect("a command is about a letter").load, &self.offer, self.courier.plan.reports);
        let text = self.wire.outgoing.text(|out| match ask {
            Ask::Rset => out.extend_from_slice(b"RSET\r\n"),
            Ask::Mail => envelope::mail(out, load, offer, reports),
            Ask::Rcpt => envelope::rcpt(out, load, offer, reports),
            Ask::Data => out.extend_from_slice(b"DATA\r\n"),
            Ask::Content => out.extend_from_slice(b".\r\n"),
        });
        self.wire.recorder.note(Speaker::Us, || String::from_utf8_lossy(text).trim_end().to_owned());
        self.owed.push_back(Owed { ask, ends: self.wire.outgoing.queued() });
    }

    /// Queues the content of the latest letter; its own bytes if they can travel as they are.
    fn send_content(&mut self) {
        let slot = self.letters.back_mut().expect("content is that of a letter");
        let outgoing = &mut self.wire.outgoing;
        let (start, bytes) = (outgoing.queued(), &slot.load.bytes);
        let clean = content::is_clean(bytes);
        if slot.chunked {
            let made = (!clean).then(|| content::chunk(bytes));
            let size = made.as_ref().map_or(bytes.len(), Vec::len);
            let text = outgoing.text(|out| content::bdat(out, size));
            self.wire.recorder.note(Speaker::Us, || format!("{} ({size} bytes of content)", String::from_utf8_lossy(text).trim_end()));
            match made {
                Some(made) => _ = outgoing.text(|out| out.extend_from_slice(&made)),
                None => outgoing.shared(bytes),
            }
        } else {
            if clean && content::is_dotless(bytes) {
                outgoing.shared(bytes);
                outgoing.text(|out| out.extend_from_slice(b".\r\n"));
            } else {
                outgoing.text(|out| content::encode(bytes, out));
            }
            let size = outgoing.queued() - start;
            self.wire.recorder.note(Speaker::Us, || format!("({size} bytes of content, ended by a dot)"));
        }
        let ends = outgoing.queued();
        slot.content = Some((start, ends));
        self.owed.push_back(Owed { ask: Ask::Content, ends });
    }

    /// Ends the session where it stands and says of every letter on the way what is known.
    async fn break_off(&mut self, source: &mut dyn Source, broken: Broken) -> SessionEnd {
        let Broken { trouble, cause } = broken;
        if let Some((item, outcome)) = self.unconfirmed.take() {
            // A breach right behind the answer: it may not have been the answer.
            source.report(item, if trouble.kind == TroubleKind::Protocol { unknown(&trouble) } else { outcome });
        }
        let doubt = match cause {
            Cause::Farewell => self.carries_on().await.map(|how| unknown(format_args!("{trouble}, but {how}"))),
            Cause::Closed | Cause::Trouble => Some(unknown(&trouble)),
        };
        let in_doubt = self.report_all(source, &trouble, cause, doubt.as_ref());
        if in_doubt > 1 || (in_doubt > 0 && cause == Cause::Farewell) {
            self.courier.mistrust_chunks();
        }
        let between_letters = cause == Cause::Closed && self.answered > 0 && in_doubt == 0 && trouble.stage == Stage::Mail;
        match self.ending.take() {
            Some(end) => end,
            // A relay that closes between two letters has had enough of this session, no more.
            None if between_letters => SessionEnd::Limit,
            None => SessionEnd::Trouble(trouble),
        }
    }

    /// Reports every letter on the way, those that left whole and may have been taken with this `doubt`; gives how many these are.
    fn report_all(&mut self, source: &mut dyn Source, trouble: &RelayTrouble, cause: Cause, doubt: Option<&Outcome>) -> usize {
        let handed = self.wire.outgoing.handed();
        let mut in_doubt = 0;
        for (place, slot) in std::mem::take(&mut self.letters).into_iter().enumerate() {
            let doubt = doubt.filter(|_| match slot.refusal {
                None => slot.is_whole(handed),
                // What the relay says of itself is no word about the letter if it does not keep it.
                Some(Outcome::Returned { .. }) => slot.is_whole(handed) && cause == Cause::Farewell,
                Some(_) => false,
            });
            in_doubt += usize::from(doubt.is_some());
            let outcome = match (doubt, slot.refusal) {
                (Some(doubt), _) => doubt.clone(),
                (None, Some(refusal)) => refusal,
                (None, None) if place == 0 => returned(trouble),
                (None, None) => Outcome::Returned { what: "the session ended before the relay got to the letter".to_owned() },
            };
            source.report(slot.load.item, outcome);
        }
        in_doubt
    }

    /// Whether a relay that has said 421 may carry on with letters that it holds, and how that shows. One that closes at once costs no time.
    async fn carries_on(&mut self) -> Option<String> {
        let handed = self.wire.outgoing.handed();
        if !self.letters.iter().any(|slot| slot.is_whole(handed)) {
            return None;
        }
        let until = Instant::now() + LAST_WORDS;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.wire.reply(left).await {
                Ok(reply) if reply.code == 421 && !left.is_zero() => {}
                Ok(reply) => return Some(format!("it carried on: {}", reply.line())),
                Err(lost) if lost.is_closed() && self.wire.unread() == 0 => return None,
                Err(Lost::Late(_)) => return Some("it did not close".to_owned()),
                Err(lost) => return Some(format!("it carried on: {}", lost.words())),
            }
        }
    }

    /// How long the next owed reply may take.
    fn patience(&self, owed: Owed) -> Patience {
        let timeouts = &self.courier.timeouts;
        let slot = self.letters.front().expect("a reply is owed for a letter");
        let size = match (owed.ask, slot.content) {
            (Ask::Content, Some((start, end))) => end - start,
            _ => 0,
        };
        let answer = match owed.ask {
            Ask::Content => timeouts.final_dot,
            _ => timeouts.command,
        };
        let writing = timeouts.command + Duration::from_millis(size * MILLIS_PER_BYTE);
        let attempt =
            (timeouts.command * 3 + timeouts.final_dot) * 2 + Duration::from_millis(slot.load.bytes.len() as u64 * MILLIS_PER_BYTE);
        Patience { ends: owed.ends, writing, answer, at_latest: (slot.begun + attempt, attempt) }
    }
}
