//! One SMTP session: the loop, greetings, TLS, and how a fault bends a reply. Mail transactions stand in `transaction`, signing in in `sign_in`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tracing::debug;

use crate::command::{Command, parse};
use crate::fault::{Stage, What};
use crate::options::SinkOptions;
use crate::reply::{Reply, render_text};
use crate::sign_in::SignIn;
use crate::sink::Shared;
use crate::transaction::{Body, Transaction};
use crate::wire::{Line, Stream, Wire};

/// Longest AUTH line in octets (RFC 4954 §4).
const AUTH_LINE_BYTES: usize = 12_288;

/// What happens after a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// The next command.
    Continue,
    /// The handshake, then everything anew.
    Encrypt,
    /// The session is over; what is in the output leaves first.
    End,
}

/// What a fault leaves of a command that was about to be carried out.
pub(crate) enum Before {
    /// Carry it out, then let [`Session::after`] see to the reply.
    Proceed(Option<What>),
    /// It was answered (or not) in another way.
    Instead(Flow),
}

/// What the session reads next.
pub(crate) enum Phase {
    Commands,
    SignIn(SignIn),
    Body(Body),
}

/// Who the client says it is.
pub(crate) struct Hello {
    pub(crate) name: String,
    pub(crate) extended: bool,
}

pub(crate) struct Session {
    pub(crate) shared: Arc<Shared>,
    pub(crate) options: Arc<SinkOptions>,
    pub(crate) id: u64,
    pub(crate) wire: Wire,
    pub(crate) hello: Option<Hello>,
    pub(crate) user: Option<String>,
    pub(crate) transaction: Option<Transaction>,
    pub(crate) phase: Phase,
    pub(crate) tls: bool,
    pub(crate) client_certificate: bool,
    /// Letters taken in this session.
    pub(crate) taken: u32,
    peer: SocketAddr,
}

impl Session {
    pub(crate) fn new(shared: Arc<Shared>, stream: Box<dyn Stream>, id: u64, peer: SocketAddr) -> Self {
        let options = shared.options();
        Self {
            shared,
            options,
            id,
            wire: Wire::new(stream),
            hello: None,
            user: None,
            transaction: None,
            phase: Phase::Commands,
            tls: false,
            client_certificate: false,
            taken: 0,
            peer,
        }
    }

    /// Serves the session to its end. `too_many` turns the client away at the door.
    pub(crate) async fn run(mut self, too_many: bool) {
        let (id, peer) = (self.id, self.peer);
        match self.serve(too_many).await {
            Ok(()) => debug!(session = id, %peer, "mail session ended"),
            Err(error) => debug!(session = id, %peer, %error, "mail session broke off"),
        }
    }

    async fn serve(&mut self, too_many: bool) -> io::Result<()> {
        if self.options.implicit_tls && !self.encrypt().await? {
            return Ok(());
        }
        let mut flow = self.greet(too_many).await?;
        loop {
            if flow == Flow::Continue {
                flow = self.converse().await?;
            }
            match flow {
                Flow::Continue => {}
                Flow::Encrypt => {
                    if !self.encrypt().await? {
                        return Ok(());
                    }
                    flow = Flow::Continue;
                }
                Flow::End => {
                    self.wire.end().await;
                    return Ok(());
                }
            }
        }
    }

    async fn greet(&mut self, too_many: bool) -> io::Result<Flow> {
        if too_many {
            self.push(&Reply::new(421, "4.7.0", "too many sessions"));
            return Ok(Flow::End);
        }
        // The greeting carries no enhanced code: nothing was announced yet.
        let greeting = Reply::new(220, "", format!("{} ESMTP Tidings sink", self.options.host));
        match self.before(Stage::Connect).await? {
            Before::Proceed(fault) => self.after(fault, &greeting).await,
            Before::Instead(flow) => Ok(flow),
        }
    }

    /// Reads and answers until the session ends or is to be encrypted.
    async fn converse(&mut self) -> io::Result<Flow> {
        loop {
            let flow = match std::mem::replace(&mut self.phase, Phase::Commands) {
                Phase::Commands => self.next_command().await?,
                Phase::SignIn(step) => self.next_sign_in_line(step).await?,
                Phase::Body(body) => self.next_body_part(body).await?,
            };
            match flow {
                Some(Flow::Continue) => {}
                Some(flow) => return Ok(flow),
                None => match self.wire.fill(self.options.idle).await {
                    Ok(0) => return Ok(Flow::End),
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                        self.push(&Reply::new(421, "4.4.2", "silent for too long"));
                        return Ok(Flow::End);
                    }
                    Err(error) => return Err(error),
                },
            }
        }
    }

    /// Answers the next command of the input; `None` if it holds no whole one.
    async fn next_command(&mut self) -> io::Result<Option<Flow>> {
        let limit = self.options.max_line_bytes;
        let auth = self.wire.input.rest().get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"AUTH "));
        match self.wire.input.line(if auth { limit.max(AUTH_LINE_BYTES) } else { limit }) {
            Line::Incomplete => return Ok(None),
            Line::Text(line) => match parse(&line) {
                Ok(command) => {
                    if self.sent_ahead(&command) {
                        self.push(&Reply::new(554, "5.5.0", "SMTP protocol synchronization: PIPELINING was not announced"));
                        return Ok(Some(Flow::End));
                    }
                    return self.obey(command).await.map(Some);
                }
                Err(reply) => self.push(&reply),
            },
            Line::TooLong => self.push(&Reply::new(500, "5.5.2", "line too long")),
            Line::Malformed => self.push(&Reply::new(500, "5.5.2", "lines are UTF-8 and end in CRLF")),
        }
        Ok(Some(Flow::Continue))
    }

    /// Whether the client has sent more than this command without leave to (RFC 2920). The octets of a BDAT belong to it.
    fn sent_ahead(&self, command: &Command) -> bool {
        !self.announced(self.options.extensions.pipelining) && !matches!(command, Command::Bdat { .. }) && !self.wire.input.is_empty()
    }

    /// Whether an extension holds in this session: it is on, and the client asked with EHLO.
    pub(crate) fn announced(&self, extension: bool) -> bool {
        extension && self.hello.as_ref().is_some_and(|hello| hello.extended)
    }

    async fn obey(&mut self, command: Command) -> io::Result<Flow> {
        match command {
            Command::Hello { name, extended } => self.hello(name, extended).await,
            Command::Mail { path, parameters } => self.mail(path, parameters).await,
            Command::Rcpt { path, parameters } => self.rcpt(path, parameters).await,
            Command::Data => self.data().await,
            Command::Bdat { size, last } => {
                self.bdat(size, last);
                Ok(Flow::Continue)
            }
            Command::StartTls => self.start_tls().await,
            Command::Auth { mechanism, initial } => self.auth(&mechanism, initial).await,
            Command::Rset => {
                self.transaction = None;
                self.answer(&Reply::new(250, "2.0.0", "forgotten"))
            }
            Command::Noop => self.answer(&Reply::new(250, "2.0.0", "ok")),
            Command::Vrfy => self.answer(&Reply::new(252, "2.1.5", "send some mail and see")),
            Command::Help => self.answer(&Reply::new(214, "2.0.0", "see RFC 5321")),
            Command::Quit => match self.before(Stage::Quit).await? {
                Before::Proceed(fault) => {
                    self.after(fault, &Reply::new(221, "2.0.0", "bye")).await?;
                    Ok(Flow::End)
                }
                Before::Instead(_) => Ok(Flow::End),
            },
        }
    }

    async fn hello(&mut self, name: String, extended: bool) -> io::Result<Flow> {
        if extended && !self.options.extensions.ehlo {
            return self.answer(&Reply::new(502, "5.5.1", "EHLO is unknown here"));
        }
        let fault = match self.before(Stage::Ehlo).await? {
            Before::Proceed(fault) => fault,
            Before::Instead(flow) => return Ok(flow),
        };
        // RFC 5321 §4.1.4: a second EHLO works like RSET.
        self.transaction = None;
        self.hello = Some(Hello { name, extended });
        let text = if extended { self.announcement() } else { format!("250 {}", self.options.host) };
        self.after_bytes(fault, &render_text(&text)).await
    }

    /// The lines of the EHLO reply (RFC 5321 §4.1.1.1).
    fn announcement(&self) -> String {
        let (options, on) = (&self.options, &self.options.extensions);
        let mut lines = vec![options.host.clone()];
        let mut line = |wanted: bool, text: &str| {
            if wanted {
                lines.push(text.to_owned());
            }
        };
        line(on.pipelining, "PIPELINING");
        line(on.size, &format!("SIZE {}", options.max_message_bytes));
        line(on.eight_bit_mime, "8BITMIME");
        line(on.smtputf8, "SMTPUTF8");
        line(on.enhanced_status_codes, "ENHANCEDSTATUSCODES");
        line(on.dsn, "DSN");
        line(on.chunking, "CHUNKING");
        line(self.may_start_tls(), "STARTTLS");
        let names: Vec<_> = options.mechanisms.iter().map(|mechanism| mechanism.name()).collect();
        line(self.offers_auth() && (self.tls || !options.auth_needs_tls), &format!("AUTH {}", names.join(" ")));
        lines.extend(options.extra_ehlo_lines.iter().cloned());
        let last = lines.len() - 1;
        let joined: Vec<_> =
            lines.iter().enumerate().map(|(at, text)| format!("250{}{text}", if at == last { ' ' } else { '-' })).collect();
        joined.join("\n")
    }

    fn may_start_tls(&self) -> bool {
        self.options.extensions.starttls && self.options.tls.is_some() && !self.tls
    }

    async fn start_tls(&mut self) -> io::Result<Flow> {
        if self.tls {
            return self.answer(&Reply::out_of_order("encrypted already"));
        }
        if !self.may_start_tls() {
            return self.answer(&Reply::new(502, "5.5.1", "not offered"));
        }
        if !self.wire.input.is_empty() {
            // Whatever follows was sent in the clear and may be an attacker's (RFC 3207 §4.2, CVE-2011-0411): none of it counts.
            self.push(&Reply::out_of_order("nothing may follow STARTTLS before its reply"));
            return Ok(Flow::End);
        }
        match self.before(Stage::StartTls).await? {
            Before::Proceed(fault) => match self.after(fault, &Reply::new(220, "2.0.0", "go ahead")).await? {
                Flow::Continue => {
                    self.wire.flush().await?;
                    Ok(Flow::Encrypt)
                }
                flow => Ok(flow),
            },
            Before::Instead(flow) => Ok(flow),
        }
    }

    /// Shakes hands and forgets all that was said before (RFC 3207 §4.2); false if the handshake failed.
    async fn encrypt(&mut self) -> io::Result<bool> {
        let Some(config) = self.options.tls.clone() else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "TLS without a certificate"));
        };
        let wire = std::mem::replace(&mut self.wire, Wire::new(Box::new(tokio::io::empty())));
        match wire.encrypt(config).await {
            Ok((wire, certificate)) => {
                self.wire = wire;
                self.client_certificate = certificate;
            }
            Err(error) => {
                debug!(session = self.id, peer = %self.peer, %error, "TLS handshake failed");
                self.shared.count_failed_handshake();
                return Ok(false);
            }
        }
        self.tls = true;
        self.hello = None;
        self.user = None;
        self.transaction = None;
        Ok(true)
    }

    /// Queues a reply that no fault can bend.
    pub(crate) fn push(&mut self, reply: &Reply) {
        // Before EHLO, too, the codes are given: they are plain text to those who do not know them.
        let bytes = reply.render(self.options.extensions.enhanced_status_codes);
        self.wire.push(&bytes);
    }

    #[allow(clippy::unnecessary_wraps, reason = "ends handlers that return io::Result")]
    pub(crate) fn answer(&mut self, reply: &Reply) -> io::Result<Flow> {
        self.push(reply);
        Ok(Flow::Continue)
    }

    /// Asks the script before a command takes effect and does what must happen first.
    pub(crate) async fn before(&mut self, stage: Stage) -> io::Result<Before> {
        let recipients = self.transaction.as_ref().map_or(&[][..], |transaction| &transaction.recipients);
        let fault = self.shared.strike(stage, &recipients.iter().map(|recipient| recipient.address.as_str()));
        self.strike(fault).await
    }

    /// As [`Self::before`] for RCPT, whose recipient is not yet one of the transaction's.
    pub(crate) async fn before_rcpt(&mut self, address: &str) -> io::Result<Before> {
        let fault = self.shared.strike(Stage::Rcpt, &std::iter::once(address));
        self.strike(fault).await
    }

    async fn strike(&mut self, fault: Option<What>) -> io::Result<Before> {
        Ok(match fault {
            Some(What::Hangup) => Before::Instead(Flow::End),
            Some(What::Garbage(bytes)) => {
                self.wire.push(&bytes);
                Before::Instead(Flow::Continue)
            }
            Some(What::Reply(text)) if text.starts_with(['4', '5']) => {
                self.wire.push(&render_text(&text));
                Before::Instead(if text.starts_with("421") { Flow::End } else { Flow::Continue })
            }
            Some(What::Stall(time)) => {
                self.wire.flush().await?;
                tokio::time::sleep(time).await;
                Before::Proceed(None)
            }
            other => Before::Proceed(other),
        })
    }

    /// Gives the reply of a command that took effect, as the fault has it.
    pub(crate) async fn after(&mut self, fault: Option<What>, reply: &Reply) -> io::Result<Flow> {
        let bytes = reply.render(self.options.extensions.enhanced_status_codes);
        self.after_bytes(fault, &bytes).await
    }

    async fn after_bytes(&mut self, fault: Option<What>, reply: &[u8]) -> io::Result<Flow> {
        match fault {
            Some(What::Reply(text)) => self.wire.push(&render_text(&text)),
            Some(What::SurplusReply(text)) => {
                self.wire.push(reply);
                self.wire.push(&render_text(&text));
            }
            Some(What::ReplyInBytes) => self.wire.send_in_bytes(reply).await?,
            Some(What::CutReplyAfter(count)) => {
                self.wire.push(&reply[..count.min(reply.len())]);
                return Ok(Flow::End);
            }
            Some(What::HangupAfterAccept) => return Ok(Flow::End),
            Some(What::HangupAfterReply) => {
                self.wire.push(reply);
                return Ok(Flow::End);
            }
            None | Some(What::Hangup | What::Garbage(_) | What::Stall(_)) => self.wire.push(reply),
        }
        Ok(Flow::Continue)
    }
}
