//! What a reply means for the first letter on the way, and what is said next.

use super::{
    super::{
        classify::Meaning,
        reply::{Enhanced, Reply},
    },
    Session, Way,
    slot::{Ask, Broken, Owed, returned},
};
use crate::courier::{RelayTrouble, SessionEnd, Source, TroubleKind};
use tidings_core::outbox::{Outcome, Stage};
use tokio::time::Instant;

/// What only MAIL is answered with.
const SENDER_OK: Enhanced = Enhanced(2, 1, 0);

impl Session<'_> {
    /// The next reply, checked against what is owed.
    pub(super) async fn answer(&mut self) -> Result<(Owed, Reply), Broken> {
        let owed = *self.owed.front().expect("a letter on the way is owed a reply");
        let (stage, patience) = (owed.ask.stage(), self.patience(owed));
        let reply = self.wire.exchange(patience).await.map_err(|lost| Broken::lost(stage, &lost))?;
        self.owed.pop_front();
        let early = self.wire.outgoing.handed() < owed.ends;
        if early && owed.ask != Ask::Content {
            return Err(self.unprompted(stage, &reply));
        }
        if early && reply.class() < 4 {
            return Err(Broken::breach(stage, format!("an answer before the end of the content: {}", reply.line())));
        }
        if !owed.ask.allows(&reply) {
            return Err(Broken::breach(stage, format!("an answer that does not fit the command: {}", reply.line())));
        }
        Ok((owed, reply))
    }

    /// A reply to what has not been said yet. It may be a 421, which comes when it pleases (RFC 5321 §3.8).
    fn unprompted(&self, stage: Stage, reply: &Reply) -> Broken {
        match self.courier.table.judge(stage, reply) {
            Meaning::Relay(trouble) if reply.code == 421 => Broken::farewell(trouble),
            _ => Broken::surplus(stage, &reply.line()),
        }
    }

    /// Takes a reply to where it belongs.
    pub(super) fn take(&mut self, source: &mut dyn Source, owed: Owed, reply: &Reply) -> Result<(), Broken> {
        match owed.ask {
            Ask::Rset => self.reset_answered(source, reply),
            Ask::Mail => self.mail_answered(source, reply),
            Ask::Rcpt => self.rcpt_answered(source, reply),
            Ask::Data => self.data_answered(source, reply),
            Ask::Content => self.content_answered(source, owed, reply),
        }
    }

    fn nothing_unread(&self, stage: Stage) -> Result<(), Broken> {
        if self.wire.unread() > 0 { Err(Broken::surplus(stage, "more replies than commands")) } else { Ok(()) }
    }

    /// Notes what a refusal means for the first letter. The relay's own trouble ends the session: at once, or, while other letters are in the relay's hands,
    /// when they are answered for. After a 421 none is.
    fn judge(&mut self, stage: Stage, reply: &Reply) -> Result<(), Broken> {
        if reply.class() < 4 {
            return Ok(());
        }
        let first = self.letters.front_mut().expect("a reply is about a letter");
        match self.courier.table.judge(stage, reply) {
            Meaning::Message(outcome) => {
                first.refusal.get_or_insert(outcome);
                Ok(())
            }
            Meaning::Relay(trouble) => {
                first.refusal.get_or_insert(returned(&trouble));
                self.relay_trouble(trouble, reply)
            }
        }
    }

    fn relay_trouble(&mut self, trouble: RelayTrouble, reply: &Reply) -> Result<(), Broken> {
        if reply.code == 421 {
            return Err(Broken::farewell(trouble));
        }
        let handed = self.wire.outgoing.handed();
        if self.letters.iter().skip(1).any(|slot| slot.is_whole(handed)) {
            self.ending.get_or_insert(SessionEnd::Trouble(trouble));
            return Ok(());
        }
        Err(trouble.into())
    }

    /// The first letter is answered for.
    fn finish(&mut self, source: &mut dyn Source, outcome: Outcome) {
        let slot = self.letters.pop_front().expect("a letter is answered for");
        self.answered += 1;
        self.answered_to = slot.content.map_or(self.answered_to, |(_, end)| end);
        self.pace.answered(slot.begun, Instant::now());
        if self.owed.is_empty() {
            source.report(slot.load.item, outcome);
        } else {
            self.unconfirmed = Some((slot.load.item, outcome));
        }
    }

    /// The first letter is refused, and nothing more of it is on the way.
    fn finish_refused(&mut self, source: &mut dyn Source) {
        let refusal = self.letters.front_mut().and_then(|slot| slot.refusal.take()).expect("the letter was refused");
        self.finish(source, refusal);
    }

    fn is_refused(&self) -> bool {
        self.letters.front().is_some_and(|slot| slot.refusal.is_some())
    }

    /// Whether the relay has begun a transaction for the first letter.
    fn is_open(&self) -> bool {
        self.letters.front().is_some_and(|slot| slot.open)
    }

    fn reset_answered(&mut self, source: &mut dyn Source, reply: &Reply) -> Result<(), Broken> {
        if reply.code == 421 {
            self.confirm(source);
            return self.judge(Stage::Mail, reply);
        }
        if reply.class() != 2 {
            return Err(Broken::breach(Stage::Mail, format!("RSET was refused: {}", reply.line())));
        }
        if self.unconfirmed.is_some() && reply.enhanced == Some(SENDER_OK) {
            return Err(Broken::breach(Stage::Mail, format!("an answer to MAIL where one to RSET is due: {}", reply.line())));
        }
        self.confirm(source);
        if self.way == Way::Steps {
            self.ask(Ask::Mail);
        }
        Ok(())
    }

    fn confirm(&mut self, source: &mut dyn Source) {
        if let Some((item, outcome)) = self.unconfirmed.take() {
            source.report(item, outcome);
        }
    }

    fn mail_answered(&mut self, source: &mut dyn Source, reply: &Reply) -> Result<(), Broken> {
        self.judge(Stage::Mail, reply)?;
        self.rset_due = false;
        let first = self.letters.front_mut().expect("MAIL is about a letter");
        first.open = first.refusal.is_none();
        match (self.way, self.is_refused()) {
            (Way::Steps, true) => self.finish_refused(source),
            (Way::Steps, false) => self.ask(Ask::Rcpt),
            _ => {}
        }
        Ok(())
    }

    fn rcpt_answered(&mut self, source: &mut dyn Source, reply: &Reply) -> Result<(), Broken> {
        if self.is_refused() && reply.class() == 2 {
            // One of the two answers is not what it seems.
            self.letters.front_mut().expect("RCPT is about a letter").refusal = None;
            return Err(Broken::breach(Stage::Rcpt, format!("a recipient was taken without a sender: {}", reply.line())));
        }
        self.confirm(source);
        if !self.is_refused() || reply.code == 421 {
            self.judge(Stage::Rcpt, reply)?;
        }
        let more = self.owed.front().is_some_and(|owed| matches!(owed.ask, Ask::Data | Ask::Content));
        if more {
            return Ok(());
        }
        if self.is_refused() {
            self.rset_due |= self.is_open();
            self.finish_refused(source);
        } else if self.way == Way::Chunks {
            self.nothing_unread(Stage::Rcpt)?;
            self.send_content();
        } else {
            self.ask(Ask::Data);
        }
        Ok(())
    }

    fn data_answered(&mut self, source: &mut dyn Source, reply: &Reply) -> Result<(), Broken> {
        if reply.code == 354 {
            self.nothing_unread(Stage::Data)?;
            if self.is_refused() {
                // RFC 2920 §3.1: the relay waits for content although it took no recipient.
                self.ask(Ask::Content);
            } else {
                self.send_content();
            }
            return Ok(());
        }
        if !self.is_refused() || reply.code == 421 {
            self.letters.front_mut().expect("DATA is about a letter").refusal.take_if(|_| reply.code == 421);
            self.judge(Stage::Data, reply)?;
        }
        self.rset_due |= self.is_open();
        self.finish_refused(source);
        Ok(())
    }

    fn content_answered(&mut self, source: &mut dyn Source, owed: Owed, reply: &Reply) -> Result<(), Broken> {
        let slot = self.letters.front_mut().expect("content is that of a letter");
        let chunked = slot.chunked;
        if slot.refusal.is_some() {
            return self.refused_content_answered(source, chunked, reply);
        }
        if reply.class() == 2 {
            self.check_taken(chunked, reply)?;
            if chunked {
                self.courier.prove_chunks();
            }
            self.finish(source, Outcome::Sent { reply: reply.line() });
            return Ok(());
        }
        if chunked && (500..=504).contains(&reply.code) {
            // Sender and recipient were taken: what the relay does not know is the command it offers, and the octets were no commands.
            self.courier.mistrust_chunks();
            let what = format!("the relay offers CHUNKING and does not know BDAT: {}", reply.line());
            let trouble = RelayTrouble::new(TroubleKind::Protocol, Stage::Content, what);
            slot.refusal = Some(returned(&trouble));
            return Err(trouble.into());
        }
        let early = self.wire.outgoing.handed() < owed.ends;
        // RFC 3030 §2: the state after a refused chunk is undefined.
        self.rset_due |= chunked;
        self.judge(Stage::Content, reply)?;
        self.finish_refused(source);
        if early {
            // The relay is owed the rest and may close; another session is simpler than guessing.
            self.confirm(source);
            self.ending.get_or_insert(SessionEnd::Limit);
            return Err(Broken::breach(Stage::Content, "the relay refused the content before its end".to_owned()));
        }
        Ok(())
    }

    /// Whether what looks like the answer to a content can be that.
    fn check_taken(&self, chunked: bool, reply: &Reply) -> Result<(), Broken> {
        let breach = |what: &str, reply: &Reply| Err(Broken::breach(Stage::Content, format!("{what}: {}", reply.line())));
        // Between letters in chunks no 354 shows that both sides count alike; but an answer about an address is none about a content (RFC 3463 §3.2).
        if chunked && matches!(reply.enhanced, Some(Enhanced(_, 1, _))) {
            self.courier.mistrust_chunks();
            return breach("an answer about an address where one about the letter is due", reply);
        }
        if !self.owed.is_empty() && reply.enhanced == Some(SENDER_OK) {
            return breach("an answer to MAIL where one to the letter before is due", reply);
        }
        match self.wire.peek() {
            // Two answers to one content, and they do not say the same.
            Some(Ok(second)) if self.owed.is_empty() && second.class() > 2 && second.code != 421 => {
                breach("two answers to one letter", &second)
            }
            Some(Err(_)) if self.owed.is_empty() => breach("an answer with more behind it", reply),
            _ => Ok(()),
        }
    }

    /// The relay has read, and dropped, the content of a letter whose sender or recipient it had refused; or the lone dot in its place.
    fn refused_content_answered(&mut self, source: &mut dyn Source, chunked: bool, reply: &Reply) -> Result<(), Broken> {
        if chunked && reply.class() == 2 {
            // One of the two answers is not what it seems: the letter may be delivered.
            self.letters.front_mut().expect("content is that of a letter").refusal = None;
            return Err(Broken::breach(Stage::Content, format!("the content of a refused letter was taken: {}", reply.line())));
        }
        self.rset_due |= chunked;
        if reply.code == 421 {
            self.judge(Stage::Content, reply)?;
        }
        self.finish_refused(source);
        Ok(())
    }
}
