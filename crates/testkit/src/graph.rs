//! Microsoft Graph's `sendMail` on loopback, as Microsoft documents it: MIME in base64, errors in its JSON, throttling with `Retry-After`, four calls at a time.
//!
//! It judges what it is sent with code of its own, keeps connections open as Graph does, and misbehaves on request, one behaviour for each call. What it takes it
//! keeps with the recipients that Exchange would send to: everybody in To, Cc and Bcc.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;

use crate::certs::CertFiles;
use crate::http;

/// Time for each read and write, and for a connection without a call.
const PATIENCE: Duration = Duration::from_secs(60);
/// The largest body that is taken.
const LARGEST_BODY: usize = 4 * 1024 * 1024;
/// Calls at a time.
const AT_ONCE: usize = 4;

/// What a call is met with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manner {
    /// As documented.
    Good,
    /// Answers like this without looking, and carries nothing out: status, header lines without line ends, body.
    Says(u16, Vec<String>, String),
    /// Answers rightly, but only after this time.
    Slow(Duration),
    /// Reads so many bytes of the body and hangs up.
    CutAt(usize),
    /// Carries the call out and hangs up without an answer.
    CutAfter,
    /// Carries the call out and answers so all the same, as a gateway in between would: status.
    LateError(u16),
    /// Takes the call, answers, and closes the connection although nobody asked for that.
    ClosesBehind,
}

impl Manner {
    /// An error in Graph's JSON.
    pub fn error(status: u16, code: &str, headers: &[&str]) -> Self {
        let body = error_body(code, "As the test has it.", "00000000-0000-4000-8000-000000000000");
        let headers = headers.iter().map(|line| (*line).to_owned()).collect();
        Self::Says(status, headers, body)
    }
}

/// A letter that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Everybody in To, Cc and Bcc.
    pub recipients: Vec<String>,
    /// The address in From.
    pub from: String,
    /// The Message-ID with its angle brackets.
    pub message_id: String,
    /// The MIME bytes.
    pub bytes: Vec<u8>,
    /// The `client-request-id`.
    pub client_request_id: String,
    /// When.
    pub at: Instant,
}

#[derive(Default)]
struct State {
    manners: VecDeque<Manner>,
    /// Until then every call is throttled.
    throttled_until: Option<Instant>,
    taken: Vec<Taken>,
    calls: Vec<Instant>,
    statuses: Vec<u16>,
    at_once: usize,
    most_at_once: usize,
    connections: usize,
    slow: Duration,
}

struct Shared {
    mailbox: String,
    introspection: String,
    state: Mutex<State>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A Graph. Dropped, it ends.
pub struct Graph {
    shared: Arc<Shared>,
    url: String,
    port: u16,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Graph {
    /// A Graph with one mailbox, whose tokens an issuer judges by introspection (RFC 7662, `introspection_url`). Speaks HTTPS with a certificate for `localhost`,
    /// plain HTTP without.
    ///
    /// # Panics
    /// If it cannot listen or the certificate cannot be used.
    pub fn start(certificate: Option<&CertFiles>, mailbox: &str, introspection_url: &str) -> Self {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port of this machine can be had");
        let port = socket.local_addr().expect("a bound socket has an address").port();
        let tls = certificate.map(tls);
        let scheme = if tls.is_some() { "https" } else { "http" };
        let state = Mutex::default();
        let shared = Arc::new(Shared { mailbox: mailbox.to_owned(), introspection: introspection_url.to_owned(), state });
        let (stop, serving) = (Arc::new(AtomicBool::new(false)), Arc::clone(&shared));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            for stream in socket.incoming() {
                if stopped.load(Ordering::Acquire) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (tls, shared) = (tls.clone(), Arc::clone(&serving));
                // A client that leaves early is no matter here: tests look at what it makes of it.
                std::thread::spawn(move || {
                    let _ = converse(stream, tls, &shared);
                });
            }
        });
        Self { shared, url: format!("{scheme}://localhost:{port}/v1.0"), port, stop, thread: Some(thread) }
    }

    /// The address of the API.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Meets the next calls like this, one after the other; then as documented again.
    pub fn meet(&self, manners: impl IntoIterator<Item = Manner>) {
        self.shared.state().manners.extend(manners);
    }

    /// Whether behaviours are left that no call has met.
    pub fn has_manners_left(&self) -> bool {
        !self.shared.state().manners.is_empty()
    }

    /// Throttles every call from now on for so long, telling `Retry-After`.
    pub fn throttle(&self, time: Duration) {
        self.shared.state().throttled_until = Some(Instant::now() + time);
    }

    /// Every call takes so long from now on.
    pub fn take_your_time(&self, time: Duration) {
        self.shared.state().slow = time;
    }

    /// The letters taken so far.
    pub fn letters(&self) -> Vec<Taken> {
        self.shared.state().taken.clone()
    }

    /// When the calls came, good and bad.
    pub fn calls(&self) -> Vec<Instant> {
        self.shared.state().calls.clone()
    }

    /// What was answered, in order.
    pub fn statuses(&self) -> Vec<u16> {
        self.shared.state().statuses.clone()
    }

    /// The most calls that were under way at one time.
    pub fn most_at_once(&self) -> usize {
        self.shared.state().most_at_once
    }

    /// The connections so far.
    pub fn connections(&self) -> usize {
        self.shared.state().connections
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Wakes the thread; if nobody listens any more it has ended.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn tls(files: &CertFiles) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(&files.cert_pem).expect("a certificate of ours can be read");
    let chain = chain.collect::<Result<_, _>>().expect("a certificate of ours is PEM");
    let key = PrivateKeyDer::from_pem_file(&files.key_pem).expect("a key of ours is PEM");
    let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("ring speaks both versions").with_no_client_auth();
    Arc::new(builder.with_single_cert(chain, key).expect("key and certificate belong together"))
}

fn converse(stream: TcpStream, tls: Option<Arc<ServerConfig>>, shared: &Shared) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    shared.state().connections += 1;
    match tls {
        None => calls(stream, shared),
        Some(config) => {
            let session = ServerConnection::new(config).map_err(io::Error::other)?;
            calls(StreamOwned::new(session, stream), shared)
        }
    }
}

/// The head of a call.
struct Call {
    method: String,
    path: String,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    length: usize,
    /// HTTP/1.0, which knows neither chunks nor kept connections.
    old: bool,
}

impl Call {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// Counts a call while it lasts.
struct UnderWay<'a>(&'a Shared);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.state().at_once -= 1;
    }
}

/// Answers calls until the other side closes the connection.
fn calls(mut stream: impl Read + Write, shared: &Shared) -> io::Result<()> {
    let mut inbox = Vec::new();
    while let Some(call) = head(&mut stream, &mut inbox)? {
        let (manner, busy) = {
            let mut state = shared.state();
            state.calls.push(Instant::now());
            state.at_once += 1;
            state.most_at_once = state.most_at_once.max(state.at_once);
            (state.manners.pop_front().unwrap_or(Manner::Good), state.at_once > AT_ONCE)
        };
        let under_way = UnderWay(shared);
        if let Manner::CutAt(bytes) = manner {
            return body(&mut stream, &mut inbox, call.length.min(bytes)).map(drop);
        }
        if call.length > LARGEST_BODY {
            return answer(&mut stream, shared, &call, 413, &[], &error_body("RequestEntityTooLarge", "Too large.", "-"), true);
        }
        let content = body(&mut stream, &mut inbox, call.length)?;
        let slow = shared.state().slow;
        if !slow.is_zero() {
            std::thread::sleep(slow);
        }
        let throttled = shared.state().throttled_until.and_then(|until| until.checked_duration_since(Instant::now()));
        let closes = manner == Manner::ClosesBehind;
        let (status, headers, said) = match (manner, throttled) {
            (Manner::Says(status, headers, body), _) => (status, headers, body),
            (_, Some(left)) => {
                let headers = vec![format!("Retry-After: {}", left.as_millis().div_ceil(1000))];
                (429, headers, error_body("ApplicationThrottled", "Application is over its limit.", "-"))
            }
            _ if busy => {
                let headers = vec!["Retry-After: 1".to_owned()];
                (429, headers, error_body("ApplicationThrottled", "Application is over its MailboxConcurrency limit.", "-"))
            }
            (Manner::Slow(time), _) => {
                std::thread::sleep(time);
                carried_out(shared, &call, &content)
            }
            (Manner::CutAfter, _) => {
                carried_out(shared, &call, &content);
                return Ok(());
            }
            (Manner::LateError(status), _) => {
                carried_out(shared, &call, &content);
                (status, Vec::new(), error_body("UnknownError", "", "-"))
            }
            (Manner::Good | Manner::ClosesBehind | Manner::CutAt(_), _) => carried_out(shared, &call, &content),
        };
        drop(under_way);
        answer(&mut stream, shared, &call, status, &headers, &said, false)?;
        if closes || call.old {
            return Ok(());
        }
    }
    Ok(())
}

fn error_body(code: &str, message: &str, id: &str) -> String {
    let inner = json!({"date": "2026-11-22T12:00:00", "request-id": id, "client-request-id": id});
    json!({"error": {"code": code, "message": message, "innerError": inner}}).to_string()
}

fn answer(
    stream: &mut impl Write,
    shared: &Shared,
    call: &Call,
    status: u16,
    headers: &[String],
    body: &str,
    closes: bool,
) -> io::Result<()> {
    let number = {
        let mut state = shared.state();
        state.statuses.push(status);
        state.statuses.len()
    };
    let reason = if status == 202 { "Accepted" } else { "Said" };
    let mut head = format!("HTTP/1.1 {status} {reason}\r\nrequest-id: 00000000-0000-4000-8000-{number:012}\r\n");
    if call.header("return-client-request-id") == Some("true") {
        head.extend([format!("client-request-id: {}\r\n", call.header("client-request-id").unwrap_or_default())]);
    }
    for header in headers {
        head.extend([format!("{header}\r\n")]);
    }
    if closes {
        head.push_str("Connection: close\r\n");
    }
    head.push_str("Content-Type: application/json\r\n");
    let body = if call.old {
        head.extend([format!("Content-Length: {}\r\n\r\n", body.len())]);
        body.to_owned()
    } else {
        // Graph answers in chunks.
        head.push_str("Transfer-Encoding: chunked\r\n\r\n");
        if body.is_empty() { "0\r\n\r\n".to_owned() } else { format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()) }
    };
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
    stream.flush()
}

/// What Graph does with a call that it looks at: status, more headers, body.
fn carried_out(shared: &Shared, call: &Call, content: &[u8]) -> (u16, Vec<String>, String) {
    let refuse = |status, code: &str, message: &str| (status, Vec::new(), error_body(code, message, "-"));
    let token = call.header("authorization").and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    if !is_active(shared, token) {
        let challenge = vec!["WWW-Authenticate: Bearer realm=\"\", error=\"invalid_token\"".to_owned()];
        return (401, challenge, error_body("InvalidAuthenticationToken", "Lifetime validation failed, the token is expired.", "-"));
    }
    let user = call.path.strip_prefix("/v1.0/users/").and_then(|rest| rest.strip_suffix("/sendMail"));
    match (call.method.as_str(), user) {
        ("POST", Some(user)) if user.replace("%40", "@") == shared.mailbox => {}
        ("POST", Some(user)) => return refuse(404, "ErrorInvalidUser", &format!("The requested user '{user}' is invalid.")),
        _ => return refuse(400, "BadRequest", "Resource not found for the segment."),
    }
    if call.header("content-type") != Some("text/plain") {
        return refuse(400, "BadRequest", "Unable to read JSON request payload.");
    }
    let Ok(bytes) = STANDARD.decode(content) else {
        return refuse(400, "ErrorMimeContentInvalidBase64String", "Invalid base64 string for MIME content.");
    };
    let letter = read(bytes, call.header("client-request-id").unwrap_or_default());
    if letter.recipients.is_empty() {
        return refuse(400, "ErrorInvalidRecipients", "At least one recipient is not valid.");
    }
    if letter.recipients.iter().any(|address| address.ends_with(".invalid")) {
        return refuse(400, "ErrorInvalidRecipients", "At least one recipient is not valid., Recipient is not resolved.");
    }
    // A letter without From goes in the mailbox's name.
    if !letter.from.is_empty() && !letter.from.eq_ignore_ascii_case(&shared.mailbox) {
        let why = "The user account which was used to submit this request does not have the right to send mail on behalf of the specified sending account.";
        return refuse(403, "ErrorSendAsDenied", why);
    }
    shared.state().taken.push(letter);
    (202, Vec::new(), String::new())
}

fn is_active(shared: &Shared, token: &str) -> bool {
    let form = format!("token={token}");
    let reply = http::post(&shared.introspection, None, "application/x-www-form-urlencoded", form.as_bytes());
    reply.is_ok_and(|reply| reply.json()["active"] == true)
}

fn read(bytes: Vec<u8>, id: &str) -> Taken {
    let text = String::from_utf8_lossy(&bytes).replace("\r\n ", " ").replace("\r\n\t", " ");
    let head = text.split("\r\n\r\n").next().unwrap_or_default();
    let fields = |wanted: &str| -> Vec<String> {
        let named = head.lines().filter_map(|line| line.split_once(':')).filter(|(name, _)| name.trim().eq_ignore_ascii_case(wanted));
        named.map(|(_, value)| value.trim().to_owned()).collect()
    };
    let recipients = ["To", "Cc", "Bcc"].iter().flat_map(|name| fields(name)).flat_map(|value| addresses(&value)).collect();
    let from = fields("From").first().and_then(|value| addresses(value).into_iter().next()).unwrap_or_default();
    let message_id = fields("Message-ID").into_iter().next().unwrap_or_default();
    Taken { recipients, from, message_id, bytes, client_request_id: id.to_owned(), at: Instant::now() }
}

/// The addresses of a field: quoted names are passed over, commas part what is left.
fn addresses(value: &str) -> Vec<String> {
    let unquoted: String = value.split('"').step_by(2).collect();
    let one = |part: &str| {
        let inner = part.rsplit_once('<').map_or(part, |(_, rest)| rest.split('>').next().unwrap_or_default());
        inner.trim().to_owned()
    };
    unquoted.split(',').map(one).filter(|address| !address.is_empty()).collect()
}

/// The head of the next call; `None` if the other side has closed the connection between two.
fn head(stream: &mut impl Read, inbox: &mut Vec<u8>) -> io::Result<Option<Call>> {
    let end = loop {
        if let Some(end) = inbox.windows(4).position(|w| w == b"\r\n\r\n") {
            break end;
        }
        if more(stream, inbox)? == 0 {
            return if inbox.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
    };
    let text = String::from_utf8_lossy(&inbox[..end]).into_owned();
    inbox.drain(..end + 4);
    let mut lines = text.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let (method, path) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let old = first.next().as_deref() == Some("HTTP/1.0");
    let headers: Vec<_> =
        lines.filter_map(|line| line.split_once(':')).map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned())).collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok()).unwrap_or(0);
    Ok(Some(Call { method, path, headers, length, old }))
}

fn body(stream: &mut impl Read, inbox: &mut Vec<u8>, length: usize) -> io::Result<Vec<u8>> {
    while inbox.len() < length {
        if more(stream, inbox)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(inbox.drain(..length).collect())
}

fn more(stream: &mut impl Read, inbox: &mut Vec<u8>) -> io::Result<usize> {
    let mut piece = [0; 16 * 1024];
    let read = stream.read(&mut piece)?;
    inbox.extend_from_slice(&piece[..read]);
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issuer::Issuer;

    fn post(graph: &Graph, token: &str, mime: &str) -> (u16, String) {
        let url = format!("{}/users/post@example.org/sendMail", graph.url());
        let reply = http::post(&url, Some(token), "text/plain", STANDARD.encode(mime).as_bytes()).unwrap();
        (reply.status, reply.text())
    }

    #[test]
    fn it_takes_what_is_right_and_says_what_is_wrong() {
        let issuer = Issuer::builder().client("a", "b").start();
        let form = b"grant_type=client_credentials&client_id=a&client_secret=b";
        let token = http::post(&issuer.token_url(), None, "application/x-www-form-urlencoded", form).unwrap().json();
        let token = token["access_token"].as_str().unwrap();
        let graph = Graph::start(None, "post@example.org", &issuer.introspection_url());
        let letter =
            "From: Post <post@example.org>\r\nTo: \"King, Ada\" <ada@example.org>,\r\n bob@example.org\r\nCc: c@example.org\r\n\r\nhello";
        assert_eq!(post(&graph, token, letter).0, 202);
        let kept = graph.letters().remove(0);
        assert_eq!(kept.recipients, ["ada@example.org", "bob@example.org", "c@example.org"]);
        assert_eq!((kept.from.as_str(), kept.bytes.as_slice()), ("post@example.org", letter.as_bytes()));
        for (token, letter, status, code) in [
            ("another", letter, 401, "InvalidAuthenticationToken"),
            (token, "From: post@example.org\r\n\r\n", 400, "ErrorInvalidRecipients"),
            (token, "From: other@example.org\r\nTo: a@example.org\r\n\r\n", 403, "ErrorSendAsDenied"),
        ] {
            let (found, said) = post(&graph, token, letter);
            assert!(found == status && said.contains(code), "{found} {said}");
        }
        graph.meet([Manner::error(503, "ServiceUnavailable", &["Retry-After: 3"])]);
        assert_eq!(post(&graph, token, letter).0, 503);
        graph.throttle(Duration::from_secs(20));
        assert_eq!(post(&graph, token, letter).0, 429);
        assert_eq!(graph.letters().len(), 1);
    }
}
