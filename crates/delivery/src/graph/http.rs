//! One HTTP/1.1 request at a time over a connection that is kept (RFC 9112): whoever asks always knows whether the request had left whole when it was lost.
//!
//! That is what a general client does not tell, and what makes the difference between "not handed over" and "nobody knows".

use crate::smtp::Stream;
use httparse::Status;
use std::{
    future::poll_fn,
    io,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::ReadBuf,
    time::{Instant, timeout_at},
};
use zeroize::Zeroizing;

/// Bytes read at a time.
const READ_AT_ONCE: usize = 4096;
/// The longest head of an answer, and the most of its body that is read.
const LONGEST_HEAD: usize = 32 * 1024;
const LONGEST_BODY: usize = 64 * 1024;
/// Most header fields of an answer.
const MOST_FIELDS: usize = 100;
/// How long to listen for an answer when the request can no longer be written: servers refuse large ones unread.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) reason: String,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    /// As much of it as came, and is wanted.
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// The first field of this name, given in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// Whether a field holds this word among its list.
    fn lists(&self, name: &str, word: &str) -> bool {
        let values = self.headers.iter().filter(|(found, _)| found == name);
        values.flat_map(|(_, value)| value.split(',')).any(|listed| listed.trim().eq_ignore_ascii_case(word))
    }

    #[cfg(test)]
    pub(super) fn of(status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { status, reason: String::new(), headers, body: body.as_bytes().to_vec() }
    }
}

/// No answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// The request had not left whole: it cannot have been carried out.
    Unsent(String),
    /// It had, and nobody knows.
    Lost(String),
    /// What came is not HTTP.
    Garbled(String),
}

/// A connection to a server.
#[derive(Debug)]
pub(super) struct Line {
    stream: Stream,
    inbox: Vec<u8>,
    used_at: Instant,
    /// Whether another request may follow.
    keeps: bool,
}

/// How far a request has got.
#[derive(Default)]
struct Progress {
    written: usize,
    flushed: bool,
    /// Why no more can be written.
    deaf: Option<String>,
}

impl Line {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, inbox: Vec::new(), used_at: Instant::now(), keeps: true }
    }

    /// Whether another request may be put on this connection: the server keeps it open, has said nothing unasked, and it has not lain idle for long, for which
    /// servers and what stands between close connections without a word.
    pub(super) async fn is_fit(&mut self, longest_idle: Duration) -> bool {
        if !self.keeps || self.used_at.elapsed() > longest_idle || !self.inbox.is_empty() {
            return false;
        }
        let mut room = [0; 1];
        poll_fn(|cx| Poll::Ready(self.stream.poll_read(cx, &mut ReadBuf::new(&mut room)).is_pending())).await
    }

    /// Sends a request and waits for its answer; the limit is for both together.
    pub(super) async fn ask(&mut self, request: &Zeroizing<Vec<u8>>, limit: Duration) -> Result<Answer, Unanswered> {
        let (mut progress, mut until) = (Progress::default(), Instant::now() + limit);
        self.keeps = false;
        loop {
            let was_deaf = progress.deaf.is_some();
            let moved = timeout_at(until, poll_fn(|cx| self.poll_move(cx, request, &mut progress))).await;
            let whole = progress.flushed;
            let unanswered = |what: String| if whole { Unanswered::Lost(what) } else { Unanswered::Unsent(what) };
            let (ended, lost) = match moved {
                Ok(Ok(more)) => (!more, "the connection was closed without an answer".to_owned()),
                Ok(Err(error)) => (true, format!("the connection broke: {error}")),
                Err(_) => (true, format!("no answer within {} s", limit.as_secs_f64())),
            };
            if let Some(answer) = self.received(ended)? {
                return Ok(answer);
            }
            if ended {
                return Err(unanswered(progress.deaf.unwrap_or(lost)));
            }
            if progress.deaf.is_some() && !was_deaf {
                until = until.min(Instant::now() + LAST_WORDS);
            }
        }
    }

    /// Ready with news: bytes in the inbox (`true`), the end of the connection (`false`), or the request can no longer be written.
    fn poll_move(&mut self, cx: &mut Context<'_>, request: &[u8], progress: &mut Progress) -> Poll<io::Result<bool>> {
        let was_deaf = progress.deaf.is_some();
        if !was_deaf && let Poll::Ready(Err(error)) = self.poll_send(cx, request, progress) {
            progress.deaf = Some(format!("the connection broke: {error}"));
        }
        let mut room = [0; READ_AT_ONCE];
        let mut buffer = ReadBuf::new(&mut room);
        match self.stream.poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) => {
                self.inbox.extend_from_slice(buffer.filled());
                Poll::Ready(Ok(!buffer.filled().is_empty()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending if progress.deaf.is_some() && !was_deaf => Poll::Ready(Ok(true)),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, request: &[u8], progress: &mut Progress) -> Poll<io::Result<()>> {
        while progress.written < request.len() {
            match std::task::ready!(self.stream.poll_write(cx, &request[progress.written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => progress.written += n,
            }
        }
        if !progress.flushed {
            std::task::ready!(self.stream.poll_flush(cx))?;
            progress.flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    /// The answer, once it is whole; `ended`: no more will come, and what there is must do.
    fn received(&mut self, ended: bool) -> Result<Option<Answer>, Unanswered> {
        loop {
            let garbled = |what: &str| Unanswered::Garbled(format!("what it answers is no HTTP: {what}"));
            let Some((answer, head, old)) = head(&self.inbox).map_err(garbled)? else {
                return if self.inbox.len() > LONGEST_HEAD { Err(garbled("its head has no end")) } else { Ok(None) };
            };
            // RFC 9110 §15.2: interim answers.
            if (100..200).contains(&answer.status) {
                self.inbox.drain(..head);
                continue;
            }
            let (body, end) = match body(&answer, &self.inbox[head..]) {
                Body::Whole(body, length) => (body, Some(head + length)),
                Body::UntilTheEnd(body) | Body::Partial(body) if ended || body.len() >= LONGEST_BODY => (body, None),
                Body::UntilTheEnd(_) | Body::Partial(_) => return Ok(None),
            };
            let closes = answer.lists("connection", "close") || (old && !answer.lists("connection", "keep-alive"));
            self.keeps = end == Some(self.inbox.len()) && !closes && !ended;
            self.used_at = Instant::now();
            self.inbox.clear();
            return Ok(Some(Answer { body, ..answer }));
        }
    }
}

/// Status and fields, their length, and whether it is HTTP/1.0; `None` if they are not whole yet.
fn head(bytes: &[u8]) -> Result<Option<(Answer, usize, bool)>, &'static str> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let length = match response.parse(bytes) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err("too many header fields"),
        Err(_) => return Err("a malformed head"),
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let headers = response.headers.iter().map(|field| (field.name.to_ascii_lowercase(), text(field.value))).collect();
    let (status, reason) = (response.code.unwrap_or_default(), response.reason.unwrap_or_default().to_owned());
    Ok(Some((Answer { status, reason, headers, body: Vec::new() }, length, response.version == Some(0))))
}

enum Body {
    /// With the number of bytes it took.
    Whole(Vec<u8>, usize),
    /// It ends with the connection.
    UntilTheEnd(Vec<u8>),
    Partial(Vec<u8>),
}

/// RFC 9112 §6.3.
fn body(answer: &Answer, bytes: &[u8]) -> Body {
    if matches!(answer.status, 204 | 304) {
        return Body::Whole(Vec::new(), 0);
    }
    if answer.lists("transfer-encoding", "chunked") {
        return chunks(bytes);
    }
    match answer.header("content-length").map(str::parse::<usize>) {
        Some(Ok(length)) if bytes.len() >= length => Body::Whole(bytes[..length].to_vec(), length),
        Some(Ok(_)) => Body::Partial(bytes.to_vec()),
        Some(Err(_)) | None => Body::UntilTheEnd(bytes.to_vec()),
    }
}

/// RFC 9112 §7.1. What is no chunk ends the body.
fn chunks(bytes: &[u8]) -> Body {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let (skip, size) = match httparse::parse_chunk_size(&bytes[at..]) {
            Ok(Status::Complete((skip, size))) => (skip, usize::try_from(size).unwrap_or(usize::MAX)),
            Ok(Status::Partial) => return Body::Partial(body),
            Err(_) => return Body::UntilTheEnd(body),
        };
        at += skip;
        if size == 0 {
            // Trailer fields, if any, up to an empty line.
            loop {
                let Some(line) = bytes[at..].windows(2).position(|end| end == b"\r\n") else { return Body::Partial(body) };
                at += line + 2;
                if line == 0 {
                    return Body::Whole(body, at);
                }
            }
        }
        let Some(chunk) = at.checked_add(size).and_then(|end| bytes.get(at..end)) else {
            body.extend_from_slice(&bytes[at..]);
            return Body::Partial(body);
        };
        body.extend_from_slice(chunk);
        at += size;
        match bytes.get(at..at + 2) {
            Some(b"\r\n") => at += 2,
            Some(_) => return Body::UntilTheEnd(body),
            None => return Body::Partial(body),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
    };

    const LIMIT: Duration = Duration::from_secs(20);

    /// A line to a server that reads so many bytes (all of the request if `None`), says what it is to say, and closes or waits.
    async fn line(reads: usize, says: &'static str, closes: bool) -> Line {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let mut read = vec![0; reads];
            server.read_exact(&mut read).await.unwrap();
            for piece in says.as_bytes().chunks(7) {
                server.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            if !closes {
                // Until the other side has gone.
                let _ = server.read(&mut [0; 1]).await;
            }
        });
        Line::new(Stream::Plain(stream))
    }

    fn request() -> Zeroizing<Vec<u8>> {
        Zeroizing::new(b"POST / HTTP/1.1\r\n\r\n".to_vec())
    }

    async fn asked(says: &'static str, closes: bool) -> (Result<Answer, Unanswered>, bool) {
        let mut line = line(request().len(), says, closes).await;
        let answer = line.ask(&request(), LIMIT).await;
        (answer, line.is_fit(LIMIT).await)
    }

    #[tokio::test]
    async fn an_answer_ends_as_its_head_says() {
        for (says, closes, status, body, fit) in [
            ("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", false, 202, "", true),
            ("HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\nConnection: close\r\n\r\n", false, 202, "", false),
            ("HTTP/1.0 202 Accepted\r\nContent-Length: 0\r\n\r\n", false, 202, "", false),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nabcde", false, 403, "abcde", true),
            ("HTTP/1.1 204 No Content\r\n\r\n", false, 204, "", true),
            (
                "HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: 1\r\n\r\n",
                false,
                400,
                "abcde",
                true,
            ),
            ("HTTP/1.1 500 Oops\r\n\r\nup to the end", true, 500, "up to the end", false),
            // What is lost of a body costs nothing: the status has said what counts.
            ("HTTP/1.1 202 Accepted\r\nContent-Length: 10\r\n\r\nabc", true, 202, "abc", false),
            ("HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc", true, 202, "abc", false),
            ("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\nmore", false, 202, "", false),
        ] {
            let (answer, is_fit) = asked(says, closes).await;
            let answer = answer.unwrap();
            assert_eq!((answer.status, String::from_utf8_lossy(&answer.body).as_ref(), is_fit), (status, body, fit), "{says}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_does_not_come_is_lost_only_if_the_request_had_left() {
        assert!(matches!(asked("", true).await.0, Err(Unanswered::Lost(_))));
        assert!(matches!(asked("HTTP/1.1 202 Acc", true).await.0, Err(Unanswered::Lost(_))));
        assert!(matches!(asked("220 mail.example.org ESMTP\r\n", false).await.0, Err(Unanswered::Garbled(_))));
        let mut waiting = line(request().len(), "", false).await;
        let limit = Duration::from_millis(50);
        assert_eq!(waiting.ask(&request(), limit).await, Err(Unanswered::Lost("no answer within 0.05 s".to_owned())));
        // Larger than what the buffers of two sockets take: the server hangs up on the half of it.
        let large = Zeroizing::new(vec![b'x'; 64 << 20]);
        let mut line = line(100, "", true).await;
        assert!(matches!(line.ask(&large, LIMIT).await, Err(Unanswered::Unsent(_))));
    }

    #[tokio::test]
    async fn a_refusal_is_heard_though_the_request_is_not_read() {
        let large = Zeroizing::new(vec![b'x'; 64 << 20]);
        let mut line = line(100, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", false).await;
        assert_eq!(line.ask(&large, LIMIT).await.unwrap().status, 413);
        assert!(!line.is_fit(LIMIT).await, "the rest of the request was never sent");
    }

    #[tokio::test]
    async fn a_connection_is_fit_while_the_server_keeps_it_and_for_a_while() {
        let mut closed = line(0, "", true).await;
        // The end arrives some time; until then it looks fit.
        let until = Instant::now() + LIMIT;
        while closed.is_fit(LIMIT).await {
            assert!(Instant::now() < until, "the end is not seen");
            tokio::task::yield_now().await;
        }
        let mut open = line(1, "", false).await;
        assert!(open.is_fit(LIMIT).await && !open.is_fit(Duration::ZERO).await);
    }
}
