//! A tiny blocking HTTP/1.0 client: one request, one connection, plain TCP.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Time for connecting and for each read and write.
const TIMEOUT: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Names in lower case, values as sent.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {}", self.text()))
    }

    /// The first header of this name, given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// GET.
///
/// # Errors
/// What the connection says, or [`io::ErrorKind::InvalidData`] if the answer is no HTTP.
pub fn get(url: &str) -> io::Result<Reply> {
    request("GET", url, &[], &[])
}

/// POST with a content type, a bearer token if there is one, and a body.
///
/// # Errors
/// As [`get`].
pub fn post(url: &str, token: Option<&str>, content_type: &str, body: &[u8]) -> io::Result<Reply> {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let mut headers = vec![("Content-Type", content_type)];
    headers.extend(bearer.as_deref().map(|bearer| ("Authorization", bearer)));
    request("POST", url, &headers, body)
}

/// Any request. `url` is `http://host:port/path`.
///
/// # Errors
/// As [`get`].
pub fn request(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Reply> {
    let bad = |text: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("{text}: {url}"));
    let rest = url.strip_prefix("http://").ok_or_else(|| bad("only http:// here"))?;
    let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let addr = host.to_socket_addrs()?.next().ok_or_else(|| bad("no address"))?;
    let mut stream = TcpStream::connect_timeout(&addr, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.set_nodelay(true)?;
    // HTTP/1.0: the answer comes unchunked and ends with the connection.
    let mut head = format!("{method} {path} HTTP/1.0\r\nHost: {host}\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    head.push_str("\r\n");
    let mut message = head.into_bytes();
    message.extend_from_slice(body);
    // A server may answer, and close, before it has read a body it does not want: its answer counts.
    let written = stream.write_all(&message);
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    if answer.is_empty() {
        written?;
        read?;
    }
    parse(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("no HTTP answer from {url}")))
}

fn parse(answer: &[u8]) -> Option<Reply> {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let headers = lines.filter_map(|line| line.split_once(':')).map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned())).collect();
    Some(Reply { status, headers, body: answer[end + 4..].to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_apart() {
        let reply = parse(b"HTTP/1.1 202 Accepted\r\nX-Y:  z \r\n\r\n{\"a\":1}").unwrap();
        assert_eq!((reply.status, reply.header("x-y"), reply.json()["a"].as_i64()), (202, Some("z"), Some(1)));
        assert_eq!(parse(b"SSH-2.0\r\n\r\n"), None);
        assert_eq!(parse(b""), None);
    }
}
