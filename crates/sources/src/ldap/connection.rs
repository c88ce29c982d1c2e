//! One connection to one server: set up, signed in, asking and hearing.
//!
//! Answers are read only when they are asked for: whoever is slow to record them slows the server down, and nothing piles up in between.

use super::{
    ber::{self, Malformed},
    control,
    error::{INVALID_NAME, LdapError, NO_SUCH_OBJECT, SUCCESS},
    filter,
    message::{
        self, Answer, Control, Credentials, Ending, Message, Modification, NOTICE_OF_DISCONNECTION, RawEntry, START_TLS, Scope, Search,
    },
    plan::{Bind, LdapPlan, Server, Tls},
    tls::Encryption,
};
use std::{io, pin::Pin, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, timeout},
};

/// The longest message that is taken: a group of a million members fits in.
const LONGEST: usize = 256 << 20;
/// So much is read at once.
const PORTION: usize = 64 << 10;

trait Stream: AsyncRead + AsyncWrite + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Send + Sync> Stream for T {}

/// A connection that is signed in.
pub(crate) struct Connection {
    stream: Pin<Box<dyn Stream>>,
    /// What was read; from `start` on it is not taken yet.
    buffer: Vec<u8>,
    start: usize,
    next_id: i64,
    server: String,
    answer_timeout: Duration,
    /// When the server was last heard of.
    heard: Instant,
}

/// What the server says of itself (RFC 4512 §5.1).
#[derive(Debug, Clone, Default)]
pub(crate) struct Root {
    pub(crate) controls: Vec<String>,
    pub(crate) contexts: Vec<String>,
    /// Active Directory's count of changes of this server, and which server's count it is.
    pub(crate) changes: Option<(u64, String)>,
}

/// How a search ended: what the server said, and the controls beside it.
pub(crate) struct Finished {
    pub(crate) ending: Ending,
    pub(crate) controls: Vec<Control>,
}

/// Something that a search gives.
pub(crate) enum Found {
    Entry(RawEntry, Vec<Control>),
    /// Entries lie on other servers, which are not asked.
    Reference(Vec<String>),
    Intermediate {
        oid: Option<String>,
        value: Vec<u8>,
    },
    Finished(Finished),
}

impl Connection {
    /// Connects, encrypts and signs in.
    pub(crate) async fn open(server: &Server, plan: &LdapPlan, encryption: &Encryption) -> Result<Self, LdapError> {
        let all = Self::set_up(server, plan, encryption);
        timeout(plan.connect_timeout, all)
            .await
            .unwrap_or_else(|_| Err(LdapError::Silent { server: server.to_string(), doing: "connecting", after: plan.connect_timeout }))
    }

    async fn set_up(server: &Server, plan: &LdapPlan, encryption: &Encryption) -> Result<Self, LdapError> {
        let failed = |source| LdapError::Connect { server: server.to_string(), source };
        let stream = TcpStream::connect((server.host.as_str(), server.port)).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let mut connection = match server.tls {
            Tls::None => Self::on(Box::pin(stream), server, plan.answer_timeout),
            Tls::Implicit => Self::on(Box::pin(encryption.handshake(server, stream).await?), server, plan.answer_timeout),
            Tls::StartTls => {
                let stream = start_tls(stream, server, plan.answer_timeout).await?;
                Self::on(Box::pin(encryption.handshake(server, stream).await?), server, plan.answer_timeout)
            }
        };
        let credentials = match &plan.bind {
            Bind::Anonymous => None,
            Bind::Simple { dn, password } => Some(Credentials::Simple { dn, password: password.reveal() }),
            Bind::External => Some(Credentials::External),
        };
        if let Some(credentials) = credentials {
            let id = connection.number();
            connection.write(&message::bind(id, credentials)).await?;
            match connection.answer_to(id, "signing in").await?.answer {
                Answer::Bound(ending) => connection.demand(ending, "signing in")?,
                _ => return Err(connection.malformed(Malformed("an answer to something else"))),
            }
        }
        Ok(connection)
    }

    fn on(stream: Pin<Box<dyn Stream>>, server: &Server, answer_timeout: Duration) -> Self {
        Self { stream, buffer: Vec::new(), start: 0, next_id: 1, server: server.to_string(), answer_timeout, heard: Instant::now() }
    }

    /// The server, as messages name it.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// How long ago the server was last heard of.
    pub(crate) fn quiet_for(&self) -> Duration {
        self.heard.elapsed()
    }

    /// What is there to be said about the server itself.
    pub(crate) async fn root(&mut self) -> Result<Root, LdapError> {
        let wanted = ["supportedControl", "namingContexts", "highestCommittedUSN", "dsServiceName"].map(str::to_owned);
        let Some(entry) = self.base_entry("", &wanted).await? else { return Ok(Root::default()) };
        let texts = |name: &str| entry.names(name).map(str::to_owned).collect();
        let changes = entry.text("highestCommittedUSN").and_then(|count| count.parse().ok()).zip(entry.text("dsServiceName"));
        Ok(Root { controls: texts("supportedControl"), contexts: texts("namingContexts"), changes })
    }

    /// One entry by its name; `None` if there is none.
    pub(crate) async fn base_entry(&mut self, dn: &str, attributes: &[String]) -> Result<Option<RawEntry>, LdapError> {
        let any = filter::compile("(objectClass=*)").expect("this is a filter");
        self.entry(&Search { base: dn, scope: Scope::Base, filter: &any, attributes }).await
    }

    /// The one entry that a search of the scope `Base` finds; `None` if there is none, or the name is none that an entry can have.
    pub(crate) async fn entry(&mut self, search: &Search<'_>) -> Result<Option<RawEntry>, LdapError> {
        let id = self.search(search, &[]).await?;
        let mut found = None;
        loop {
            match self.found(id).await? {
                Found::Entry(entry, _) => found = Some(entry),
                Found::Finished(end) if matches!(end.ending.code, NO_SUCH_OBJECT | INVALID_NAME) => return Ok(None),
                Found::Finished(end) => {
                    self.demand(end.ending, "reading an entry")?;
                    return Ok(found);
                }
                Found::Reference(_) | Found::Intermediate { .. } => {}
            }
        }
    }

    /// Begins a search; the number given back names it.
    pub(crate) async fn search(&mut self, search: &Search<'_>, controls: &[Control]) -> Result<i64, LdapError> {
        let id = self.number();
        self.write(&message::search(id, search, controls)).await?;
        Ok(id)
    }

    /// The next thing that a search gives, which must come in time.
    pub(crate) async fn found(&mut self, id: i64) -> Result<Found, LdapError> {
        let message = self.answer_to(id, "searching").await?;
        self.as_found(message)
    }

    /// The next thing that any search gives, whenever that is, with the number of the search. Nothing is lost if it is not waited for to the end.
    pub(crate) async fn any_found(&mut self) -> Result<(i64, Found), LdapError> {
        let message = self.receive().await?;
        let id = message.id;
        Ok((id, self.as_found(message)?))
    }

    fn as_found(&self, message: Message) -> Result<Found, LdapError> {
        Ok(match message.answer {
            Answer::Entry(entry) => Found::Entry(entry, message.controls),
            Answer::Reference(urls) => Found::Reference(urls),
            Answer::Intermediate { oid, value } => Found::Intermediate { oid, value },
            Answer::Done(ending) => Found::Finished(Finished { ending, controls: message.controls }),
            _ => return Err(self.malformed(Malformed("an answer to something else"))),
        })
    }

    /// Changes an entry, all of it or nothing.
    pub(crate) async fn modify(&mut self, dn: &str, changes: &[Modification], controls: &[Control]) -> Result<(), LdapError> {
        let id = self.number();
        self.write(&message::modify(id, dn, changes, controls)).await?;
        match self.answer_to(id, "changing an entry").await?.answer {
            Answer::Modified(ending) => self.demand(ending, "to change an entry"),
            _ => Err(self.malformed(Malformed("an answer to something else"))),
        }
    }

    /// Asks for something small, to hear whether the server is there.
    pub(crate) async fn knock(&mut self) -> Result<i64, LdapError> {
        let any = filter::compile("(objectClass=*)").expect("this is a filter");
        self.search(&Search { base: "", scope: Scope::Base, filter: &any, attributes: &["1.1".to_owned()] }, &[]).await
    }

    /// Lets a search go.
    pub(crate) async fn abandon(&mut self, search: i64) -> Result<(), LdapError> {
        let id = self.number();
        self.write(&message::abandon(id, search)).await
    }

    /// Says farewell.
    pub(crate) async fn close(mut self) {
        let id = self.number();
        // It is over either way.
        let _ = self.write(&message::unbind(id)).await;
        let _ = timeout(Duration::from_secs(1), self.stream.shutdown()).await;
    }

    /// An error unless the operation succeeded.
    pub(crate) fn demand(&self, ending: Ending, doing: &'static str) -> Result<(), LdapError> {
        if ending.code == SUCCESS { Ok(()) } else { Err(self.refused(ending, doing)) }
    }

    /// A refusal as an error.
    pub(crate) fn refused(&self, ending: Ending, doing: &'static str) -> LdapError {
        LdapError::Refused { server: self.server.clone(), doing, code: ending.code, text: ending.text }
    }

    /// What came cannot be understood.
    pub(crate) fn malformed(&self, source: Malformed) -> LdapError {
        LdapError::Malformed { server: self.server.clone(), source }
    }

    /// Whether a whole message was read and not taken yet.
    pub(crate) fn has_more(&self) -> bool {
        matches!(self.whole(), Ok(Some(_)))
    }

    fn number(&mut self) -> i64 {
        let id = self.next_id;
        // RFC 4511 §4.1.1.1: at most 2³¹ − 1, and 0 is the server's own.
        self.next_id = if id >= i64::from(i32::MAX) { 1 } else { id + 1 };
        id
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), LdapError> {
        let all = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        match timeout(self.answer_timeout, all).await {
            Ok(written) => written.map_err(|source| LdapError::Lost { server: self.server.clone(), source }),
            Err(_) => Err(LdapError::Silent { server: self.server.clone(), doing: "being asked", after: self.answer_timeout }),
        }
    }

    /// The next answer to this request; answers to others that were let go are passed over.
    async fn answer_to(&mut self, id: i64, doing: &'static str) -> Result<Message, LdapError> {
        loop {
            let limit = self.answer_timeout;
            let message = match timeout(limit, self.receive()).await {
                Ok(message) => message?,
                Err(_) => return Err(LdapError::Silent { server: self.server.clone(), doing, after: limit }),
            };
            if message.id == id {
                return Ok(message);
            }
        }
    }

    /// The next message. Nothing is lost if it is not waited for to the end.
    async fn receive(&mut self) -> Result<Message, LdapError> {
        loop {
            if let Some(end) = self.whole()? {
                let message = message::read(&self.buffer[self.start..end]).map_err(|wrong| self.malformed(wrong))?;
                self.start = end;
                self.heard = Instant::now();
                if let (0, Answer::Extended { ending, oid }) = (message.id, &message.answer)
                    && oid.as_deref().is_none_or(|oid| oid == NOTICE_OF_DISCONNECTION)
                {
                    return Err(self.refused(ending.clone(), "to go on with this connection"));
                }
                return Ok(message);
            }
            self.make_room();
            let lost = |source| LdapError::Lost { server: self.server.clone(), source };
            if self.stream.read_buf(&mut self.buffer).await.map_err(lost)? == 0 {
                return Err(LdapError::Lost { server: self.server.clone(), source: io::ErrorKind::UnexpectedEof.into() });
            }
        }
    }

    /// Where the next whole message ends, if it is all there.
    fn whole(&self) -> Result<Option<usize>, LdapError> {
        let Some(header) = ber::header(&self.buffer[self.start..]).map_err(|wrong| self.malformed(wrong))? else { return Ok(None) };
        if header.tag != ber::SEQUENCE || header.length > LONGEST {
            return Err(self.malformed(Malformed("it is no message, or one of an impossible length")));
        }
        let end = self.start + header.head + header.length;
        Ok((end <= self.buffer.len()).then_some(end))
    }

    /// Drops what was taken, and makes room to read on.
    fn make_room(&mut self) {
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
            // A message of many megabytes leaves no room behind that nobody needs.
            self.buffer.shrink_to(PORTION * 4);
        } else if self.start >= PORTION {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.reserve(PORTION);
    }
}

/// Asks for encryption; nothing may follow the server's consent in clear text.
async fn start_tls(stream: TcpStream, server: &Server, answer_timeout: Duration) -> Result<TcpStream, LdapError> {
    let failed = |source| LdapError::Lost { server: server.to_string(), source };
    let refused = |why: &str| LdapError::Tls { server: server.to_string(), why: why.to_owned() };
    let mut stream = stream;
    stream.write_all(&message::extended(1, START_TLS)).await.map_err(failed)?;
    let mut buffer = Vec::new();
    let all = async {
        loop {
            let header = ber::header(&buffer).map_err(|_| refused("it does not speak LDAP"))?;
            match header {
                Some(header) if header.length > PORTION => return Err(refused("it does not speak LDAP")),
                Some(header) if buffer.len() >= header.head + header.length => return Ok(header.head + header.length),
                _ => {}
            }
            if stream.read_buf(&mut buffer).await.map_err(failed)? == 0 {
                return Err(failed(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    };
    let end = timeout(answer_timeout, all)
        .await
        .unwrap_or_else(|_| Err(LdapError::Silent { server: server.to_string(), doing: "asked for TLS", after: answer_timeout }))?;
    match message::read(&buffer[..end]) {
        Ok(Message { answer: Answer::Extended { ending, .. }, .. }) if ending.code == SUCCESS && end == buffer.len() => Ok(stream),
        Ok(Message { answer: Answer::Extended { ending, .. }, .. }) if ending.code == SUCCESS => Err(refused("it spoke on in clear text")),
        Ok(Message { answer: Answer::Extended { ending, .. }, .. }) => {
            Err(refused(&format!("it does not offer STARTTLS ({}: {}); use ldaps://", ending.code, ending.text.trim())))
        }
        _ => Err(refused("it does not speak LDAP")),
    }
}

/// Goes through a search page by page, so that neither side holds all of it.
pub(crate) struct Pages<'a> {
    search: Search<'a>,
    size: u32,
    state: PageState,
}

/// What comes next of a search by pages.
pub(crate) enum Step {
    Entry(RawEntry),
    /// A page is over: here the connection may be asked other things.
    PageOver,
    Over,
}

enum PageState {
    Begin(Vec<u8>),
    Running(i64),
    Last,
    Over,
}

impl<'a> Pages<'a> {
    /// A search by pages of this size; 0: in one go.
    pub(crate) const fn new(search: Search<'a>, size: u32) -> Self {
        Self { search, size, state: PageState::Begin(Vec::new()) }
    }

    /// The next step. `other` hears of references to other servers.
    pub(crate) async fn next(&mut self, connection: &mut Connection, mut other: impl FnMut(&[String])) -> Result<Step, LdapError> {
        loop {
            match &self.state {
                PageState::Over => return Ok(Step::Over),
                PageState::Last => {
                    self.state = PageState::Over;
                    return Ok(Step::PageOver);
                }
                PageState::Begin(cookie) => {
                    let control = (self.size > 0).then(|| control::page(self.size, cookie));
                    self.state = PageState::Running(connection.search(&self.search, control.as_slice()).await?);
                }
                PageState::Running(id) => match connection.found(*id).await? {
                    Found::Entry(entry, _) => return Ok(Step::Entry(entry)),
                    Found::Reference(urls) => other(&urls),
                    Found::Intermediate { .. } => {}
                    Found::Finished(end) => {
                        connection.demand(end.ending, "a search")?;
                        let value =
                            end.controls.iter().find(|control| control.oid == control::PAGED).and_then(|control| control.value.as_deref());
                        let next = value.map(control::next_page).transpose().map_err(|wrong| connection.malformed(wrong))?.flatten();
                        let Some(cookie) = next else {
                            self.state = PageState::Last;
                            continue;
                        };
                        self.state = PageState::Begin(cookie);
                        return Ok(Step::PageOver);
                    }
                },
            }
        }
    }
}
