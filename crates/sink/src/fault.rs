//! Misbehaviour on command: which fault strikes at which moment of a session.

use std::time::Duration;

/// A moment of an SMTP session at which the sink can misbehave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// A session was opened; the reply is the greeting.
    Connect,
    /// EHLO or HELO.
    Ehlo,
    /// STARTTLS, before the handshake.
    StartTls,
    /// The verdict on the credentials, not the challenges before it.
    Auth,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA; the reply is the 354. BDAT has no such moment.
    Data,
    /// The end of the content: the final dot, or the last BDAT.
    Content,
    /// QUIT.
    Quit,
}

/// How often a fault strikes. Numbers start at 1 and count the times its stage was reached, over all sessions, since the fault was added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// Each time.
    Always,
    /// Only this time.
    Nth(u64),
    /// The first so many times, never again afterwards.
    First(u64),
    /// Each n-th time: the n-th, the 2n-th and so on; 0 is never.
    Every(u64),
    /// When the recipient (at RCPT) or any recipient (at DATA and content) contains this text, letter case aside.
    ToAddressContains(String),
}

/// What the sink does instead of behaving.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// This reply in place of its own; a `\n` inside makes it several lines. With a 4yz or 5yz the command has no effect, and a 421 ends the session.
    Reply(String),
    /// The session ends without a reply and the command has no effect: content sent is not kept.
    Hangup,
    /// The command takes effect, content is kept, and the session ends before the reply: the window of RFC 1047.
    HangupAfterAccept,
    /// The reply is sent, then the session ends.
    HangupAfterReply,
    /// Silence for so long, then as usual. Replies to earlier commands leave first.
    Stall(Duration),
    /// These bytes in place of the reply; the command has no effect.
    Garbage(Vec<u8>),
    /// The usual reply and, in the same write, this one that nobody asked for.
    SurplusReply(String),
    /// The usual reply, one byte a write.
    ReplyInBytes,
    /// The command takes effect, only so many bytes of the reply are sent, then the session ends.
    CutReplyAfter(usize),
}

impl What {
    /// [`What::Reply`] from a text.
    pub fn reply(text: impl Into<String>) -> Self {
        Self::Reply(text.into())
    }
}

/// One rule of the script: at `stage`, `when` it applies, do `what`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The moment.
    pub stage: Stage,
    /// How often.
    pub when: When,
    /// What happens.
    pub what: What,
}

impl Fault {
    /// A rule from its three parts.
    pub fn new(stage: Stage, when: When, what: What) -> Self {
        Self { stage, when, what }
    }
}

/// The rules in force, each with the number of times its stage was reached.
#[derive(Debug, Default)]
pub(crate) struct Script {
    rules: Vec<(Fault, u64)>,
}

impl Script {
    pub(crate) fn add(&mut self, fault: Fault) {
        self.rules.push((fault, 0));
    }

    pub(crate) fn clear(&mut self) {
        self.rules.clear();
    }

    /// Counts the stage for every rule of it and returns what the first one that applies wants.
    pub(crate) fn strike<'a>(&mut self, stage: Stage, recipients: &(impl Iterator<Item = &'a str> + Clone)) -> Option<What> {
        let mut struck = None;
        for (fault, seen) in self.rules.iter_mut().filter(|(fault, _)| fault.stage == stage) {
            *seen += 1;
            let applies = match &fault.when {
                When::Always => true,
                When::Nth(n) => *seen == *n,
                When::First(n) => *seen <= *n,
                When::Every(n) => seen.is_multiple_of(*n),
                When::ToAddressContains(part) => {
                    let part = part.to_lowercase();
                    recipients.clone().any(|to| to.to_lowercase().contains(&part))
                }
            };
            if applies && struck.is_none() {
                struck = Some(fault.what.clone());
            }
        }
        struck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(when: When) -> Script {
        let mut script = Script::default();
        script.add(Fault::new(Stage::Rcpt, when, What::Hangup));
        script
    }

    fn strikes(script: &mut Script, times: usize) -> Vec<bool> {
        (0..times).map(|_| script.strike(Stage::Rcpt, &std::iter::once("Ada@Example.org")).is_some()).collect()
    }

    #[test]
    fn counted_rules_strike_at_their_numbers_only() {
        assert_eq!(strikes(&mut script(When::Nth(2)), 4), [false, true, false, false]);
        assert_eq!(strikes(&mut script(When::First(2)), 4), [true, true, false, false]);
        assert_eq!(strikes(&mut script(When::Every(2)), 4), [false, true, false, true]);
        assert_eq!(strikes(&mut script(When::Every(0)), 2), [false, false]);
    }

    #[test]
    fn an_address_rule_ignores_letter_case_and_other_stages_do_not_count() {
        assert_eq!(strikes(&mut script(When::ToAddressContains("ada@".into())), 1), [true]);
        assert_eq!(strikes(&mut script(When::ToAddressContains("bob@".into())), 1), [false]);
        let mut script = script(When::Nth(1));
        assert_eq!(script.strike(Stage::Mail, &std::iter::empty()), None);
        assert_eq!(script.strike(Stage::Rcpt, &std::iter::empty()), Some(What::Hangup));
    }
}
