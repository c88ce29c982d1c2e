//! A mail transaction: MAIL, RCPT, then DATA or BDAT, and the letter at its end.

use std::io;
use std::time::SystemTime;

use crate::command::Parameter;
use crate::content::Content;
use crate::fault::Stage;
use crate::letter::Received;
use crate::reply::Reply;
use crate::session::{Before, Flow, Phase, Session};

/// Between MAIL and the end of the content.
pub(crate) struct Transaction {
    from: String,
    parameters: Vec<Parameter>,
    smtputf8: bool,
    pub(crate) recipients: Vec<Recipient>,
    /// Content of the BDAT commands so far.
    chunks: Option<Content>,
}

pub(crate) struct Recipient {
    pub(crate) address: String,
    parameters: Vec<Parameter>,
}

/// Content on its way.
pub(crate) enum Body {
    /// After DATA, up to the dot.
    Dotted(Content),
    /// After BDAT.
    Chunk { content: Content, left: u64, size: u64, last: bool },
    /// Octets of a BDAT that came at the wrong time: they are read all the same (RFC 3030 §2), then this is said.
    Unwanted { left: u64, reply: Reply },
}

impl Session {
    pub(crate) async fn mail(&mut self, path: String, parameters: Vec<Parameter>) -> io::Result<Flow> {
        if let Err(refusal) = self.may_mail().and_then(|()| self.check_mail(&path, &parameters)) {
            return self.answer(&refusal);
        }
        match self.before(Stage::Mail).await? {
            Before::Instead(flow) => Ok(flow),
            Before::Proceed(fault) => {
                let smtputf8 = parameters.iter().any(|parameter| parameter.keyword == "SMTPUTF8");
                self.transaction = Some(Transaction { from: path, parameters, smtputf8, recipients: Vec::new(), chunks: None });
                self.after(fault, &Reply::new(250, "2.1.0", "sender ok")).await
            }
        }
    }

    fn may_mail(&self) -> Result<(), Reply> {
        if self.hello.is_none() {
            return Err(Reply::out_of_order("EHLO first"));
        }
        if self.options.require_tls && !self.tls {
            return Err(Reply::new(530, "5.7.0", "must issue a STARTTLS command first"));
        }
        if self.options.require_auth && self.user.is_none() {
            return Err(Reply::new(530, "5.7.0", "authentication required"));
        }
        if self.transaction.is_some() {
            return Err(Reply::out_of_order("one sender at a time"));
        }
        Ok(())
    }

    fn check_mail(&self, path: &str, parameters: &[Parameter]) -> Result<(), Reply> {
        let on = &self.options.extensions;
        let mut smtputf8 = false;
        for Parameter { keyword, value } in parameters {
            let value = value.as_deref();
            let (announced, sound) = match keyword.as_str() {
                "SIZE" => (on.size, value.is_some_and(|size| size.len() <= 20 && size.bytes().all(|b| b.is_ascii_digit()))),
                "BODY" => {
                    (on.eight_bit_mime, value.is_some_and(|body| ["7BIT", "8BITMIME"].iter().any(|known| known.eq_ignore_ascii_case(body))))
                }
                "SMTPUTF8" => {
                    smtputf8 = true;
                    (on.smtputf8, value.is_none())
                }
                "RET" => (on.dsn, value.is_some_and(|ret| ["FULL", "HDRS"].iter().any(|known| known.eq_ignore_ascii_case(ret)))),
                "ENVID" => (on.dsn, value.is_some_and(|id| id.len() <= 100)),
                "AUTH" => (self.offers_auth(), value.is_some()),
                _ => (false, true),
            };
            self.check_parameter(announced, sound)?;
            let too_large = |size: &str| size.parse::<u64>().map_or(true, |size| size > self.options.max_message_bytes);
            if keyword == "SIZE" && self.options.max_message_bytes != 0 && value.is_some_and(too_large) {
                return Err(too_big());
            }
        }
        check_script(path, smtputf8)
    }

    fn check_parameter(&self, announced: bool, sound: bool) -> Result<(), Reply> {
        match (self.announced(announced), sound) {
            (false, _) => Err(Reply::new(555, "5.5.4", "parameter not known here")),
            (true, false) => Err(Reply::bad_argument("bad value of a parameter")),
            (true, true) => Ok(()),
        }
    }

    pub(crate) async fn rcpt(&mut self, path: String, parameters: Vec<Parameter>) -> io::Result<Flow> {
        if let Err(refusal) = self.check_rcpt(&path, &parameters) {
            return self.answer(&refusal);
        }
        match self.before_rcpt(&path).await? {
            Before::Instead(flow) => Ok(flow),
            Before::Proceed(fault) => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.recipients.push(Recipient { address: path, parameters });
                }
                self.after(fault, &Reply::new(250, "2.1.5", "recipient ok")).await
            }
        }
    }

    fn check_rcpt(&self, path: &str, parameters: &[Parameter]) -> Result<(), Reply> {
        let transaction = self.transaction.as_ref().ok_or_else(|| Reply::out_of_order("MAIL first"))?;
        if transaction.chunks.is_some() {
            return Err(Reply::out_of_order("the content is on its way already"));
        }
        if transaction.recipients.len() >= self.options.max_recipients {
            return Err(Reply::new(452, "4.5.3", "too many recipients"));
        }
        for Parameter { keyword, value } in parameters {
            let known = self.options.extensions.dsn && matches!(keyword.as_str(), "NOTIFY" | "ORCPT");
            let sound = match (keyword.as_str(), value.as_deref()) {
                ("NOTIFY", Some(notify)) => is_notify(notify),
                ("ORCPT", Some(original)) => original.contains(';') && original.len() <= 500,
                _ => false,
            };
            self.check_parameter(known, sound)?;
        }
        check_script(path, transaction.smtputf8)
    }

    pub(crate) async fn data(&mut self) -> io::Result<Flow> {
        let refusal = match &self.transaction {
            None => Some(Reply::out_of_order("MAIL first")),
            Some(transaction) if transaction.chunks.is_some() => Some(Reply::out_of_order("BDAT and DATA do not mix")),
            Some(transaction) if transaction.recipients.is_empty() => Some(Reply::new(554, "5.5.1", "no valid recipients")),
            Some(_) => None,
        };
        if let Some(refusal) = refusal {
            return self.answer(&refusal);
        }
        match self.before(Stage::Data).await? {
            Before::Instead(flow) => Ok(flow),
            Before::Proceed(fault) => {
                self.phase = Phase::Body(Body::Dotted(Content::new(self.options.max_message_bytes)));
                self.after(fault, &Reply::new(354, "", "end with a dot on a line by itself")).await
            }
        }
    }

    pub(crate) fn bdat(&mut self, size: u64, last: bool) {
        let limit = self.options.max_message_bytes;
        let refusal = match &self.transaction {
            _ if !self.announced(self.options.extensions.chunking) => Some(Reply::new(502, "5.5.1", "not offered")),
            None => Some(Reply::out_of_order("MAIL first")),
            Some(transaction) if transaction.recipients.is_empty() => Some(Reply::new(554, "5.5.1", "no valid recipients")),
            Some(_) => None,
        };
        self.phase = Phase::Body(match (refusal, &mut self.transaction) {
            (None, Some(transaction)) => {
                let content = transaction.chunks.take().unwrap_or_else(|| Content::new(limit));
                Body::Chunk { content, left: size, size, last }
            }
            (refusal, _) => Body::Unwanted { left: size, reply: refusal.unwrap_or_else(|| Reply::out_of_order("MAIL first")) },
        });
    }

    /// Takes what the input holds of the content; `None` if more must be read.
    pub(crate) async fn next_body_part(&mut self, body: Body) -> io::Result<Option<Flow>> {
        match body {
            Body::Dotted(mut content) => {
                if content.take_stuffed(&mut self.wire.input) {
                    return self.end_content(content, false).await.map(Some);
                }
                self.phase = Phase::Body(Body::Dotted(content));
                Ok(None)
            }
            Body::Chunk { mut content, left, size, last } => {
                let left = content.take_raw(&mut self.wire.input, left);
                if left > 0 {
                    self.phase = Phase::Body(Body::Chunk { content, left, size, last });
                    return Ok(None);
                }
                if last {
                    return self.end_content(content, true).await.map(Some);
                }
                self.end_chunk(content, size).map(Some)
            }
            Body::Unwanted { left, reply } => {
                let have = self.wire.input.rest().len();
                let take = have.min(usize::try_from(left).unwrap_or(usize::MAX));
                self.wire.input.consume(take);
                let left = left - take as u64;
                if left > 0 {
                    self.phase = Phase::Body(Body::Unwanted { left, reply });
                    return Ok(None);
                }
                self.answer(&reply).map(Some)
            }
        }
    }

    fn end_chunk(&mut self, content: Content, size: u64) -> io::Result<Flow> {
        if content.too_large() {
            // RFC 3030 §2: after a refused chunk nothing but RSET or a new MAIL makes sense; later chunks get 503.
            self.transaction = None;
            return self.answer(&too_big());
        }
        if let Some(transaction) = &mut self.transaction {
            transaction.chunks = Some(content);
        }
        self.answer(&Reply::new(250, "2.0.0", format!("{size} octets")))
    }

    /// The dot or the last chunk: the letter is kept or refused, and the transaction is over either way.
    async fn end_content(&mut self, content: Content, chunked: bool) -> io::Result<Flow> {
        self.shared.count_content();
        let refusal = if content.too_large() {
            Some(too_big())
        } else if self.options.refuse_bare_newlines && content.has_bare_newline() {
            Some(Reply::new(550, "5.6.11", "a CR or LF stands alone"))
        } else {
            None
        };
        if let Some(refusal) = refusal {
            self.transaction = None;
            return self.answer(&refusal);
        }
        let before = self.before(Stage::Content).await?;
        let transaction = self.transaction.take().expect("content is only read within a transaction");
        match before {
            Before::Instead(flow) => Ok(flow),
            Before::Proceed(fault) => {
                self.taken += 1;
                let size = content.size();
                let letter = self.letter(transaction, content, chunked);
                let number = self.shared.keep(letter);
                self.after(fault, &Reply::new(250, "2.0.0", format!("kept as {number}, {size} octets"))).await
            }
        }
    }

    fn letter(&self, transaction: Transaction, content: Content, chunked: bool) -> Received {
        let (to, rcpt_parameters) = transaction.recipients.into_iter().map(|r| (r.address, r.parameters)).unzip();
        Received {
            at: SystemTime::now(),
            session: self.id,
            place: self.taken,
            helo: self.hello.as_ref().map(|hello| hello.name.clone()).unwrap_or_default(),
            tls: self.tls,
            client_certificate: self.client_certificate,
            user: self.user.clone(),
            from: transaction.from,
            mail_parameters: transaction.parameters,
            to,
            rcpt_parameters,
            chunked,
            bytes: content.into_bytes(),
        }
    }
}

fn too_big() -> Reply {
    Reply::new(552, "5.3.4", "message too big")
}

/// RFC 6531 §3.4: an address beyond ASCII needs SMTPUTF8 on MAIL.
fn check_script(address: &str, smtputf8: bool) -> Result<(), Reply> {
    if address.is_ascii() || smtputf8 { Ok(()) } else { Err(Reply::new(553, "5.6.7", "that address needs SMTPUTF8")) }
}

/// RFC 3461 §4.1: NEVER alone, or a list of the others.
fn is_notify(value: &str) -> bool {
    value.eq_ignore_ascii_case("NEVER")
        || value.split(',').all(|word| ["SUCCESS", "FAILURE", "DELAY"].iter().any(|known| known.eq_ignore_ascii_case(word)))
}
