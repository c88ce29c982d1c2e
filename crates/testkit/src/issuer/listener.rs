//! As much of an HTTP server as a token issuer needs: one request a connection, with or without TLS.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use crate::certs::CertFiles;

/// Time for each read and write.
const PATIENCE: Duration = Duration::from_secs(30);
/// The largest request.
const MOST_BYTES: usize = 64 * 1024;

/// A request.
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The body as a form.
    pub(super) fn form(&self) -> HashMap<String, String> {
        let body = String::from_utf8_lossy(&self.body);
        let fields = body.split('&').filter_map(|field| field.split_once('='));
        fields.map(|(name, value)| (form_decoded(name), form_decoded(value))).collect()
    }
}

/// A value of `application/x-www-form-urlencoded`, decoded.
pub(super) fn form_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = (first == b'%').then(|| after.get(..2)).flatten();
        let escaped = escaped.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        if let Some(byte) = escaped {
            bytes.push(byte);
            rest = &after[2..];
        } else {
            bytes.push(if first == b'+' { b' ' } else { first });
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// An answer.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<String>,
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(super) fn json(status: u16, value: &Value) -> Self {
        Self { status, headers: vec!["Content-Type: application/json".to_owned()], body: value.to_string().into_bytes() }
    }
}

/// A bound port.
pub(super) struct Listener {
    socket: TcpListener,
    tls: Option<Arc<ServerConfig>>,
}

impl Listener {
    pub(super) fn bind(certificate: Option<&CertFiles>) -> Self {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port of this machine can be had");
        let tls = certificate.map(|files| {
            let chain = CertificateDer::pem_file_iter(&files.cert_pem).expect("a certificate of ours can be read");
            let chain = chain.collect::<Result<_, _>>().expect("a certificate of ours is PEM");
            let key = PrivateKeyDer::from_pem_file(&files.key_pem).expect("a key of ours is PEM");
            let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
            let builder = builder.with_safe_default_protocol_versions().expect("ring speaks both versions").with_no_client_auth();
            Arc::new(builder.with_single_cert(chain, key).expect("key and certificate belong together"))
        });
        Self { socket, tls }
    }

    pub(super) fn port(&self) -> u16 {
        self.address().port()
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("a bound socket has an address")
    }

    /// Answers requests in threads of their own until dropped; no answer is a closed connection.
    pub(super) fn serve(self, answer: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static) -> Serving {
        let (stop, address) = (Arc::new(AtomicBool::new(false)), self.address());
        let (stopped, answer) = (Arc::clone(&stop), Arc::new(answer));
        let thread = std::thread::spawn(move || {
            for stream in self.socket.incoming() {
                if stopped.load(Ordering::Acquire) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (tls, answer) = (self.tls.clone(), Arc::clone(&answer));
                // A client that leaves early is no matter here: tests look at what it makes of it.
                std::thread::spawn(move || {
                    let _ = converse(stream, tls, answer.as_ref());
                });
            }
        });
        Serving { stop, address, thread: Some(thread) }
    }
}

/// A listener at work. Dropped, it ends.
pub(super) struct Serving {
    stop: Arc<AtomicBool>,
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Wakes the thread; if nobody listens any more it has ended.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn converse(stream: TcpStream, tls: Option<Arc<ServerConfig>>, answer: &dyn Fn(&Request) -> Option<Reply>) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    match tls {
        None => exchange(stream, answer),
        Some(config) => {
            let session = ServerConnection::new(config).map_err(io::Error::other)?;
            exchange(StreamOwned::new(session, stream), answer)
        }
    }
}

fn exchange(mut stream: impl Read + Write, answer: &dyn Fn(&Request) -> Option<Reply>) -> io::Result<()> {
    let request = read(&mut stream)?;
    let Some(reply) = answer(&request) else { return Ok(()) };
    let mut head = format!("HTTP/1.1 {} Said\r\nContent-Length: {}\r\nConnection: close\r\n", reply.status, reply.body.len());
    for header in &reply.headers {
        head.extend([header.as_str(), "\r\n"]);
    }
    head.push_str("\r\n");
    stream.write_all(&[head.as_bytes(), &reply.body].concat())?;
    stream.flush()
}

fn read(stream: &mut impl Read) -> io::Result<Request> {
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "no HTTP request");
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    let mut more = |bytes: &mut Vec<u8>| match stream.read(&mut piece)? {
        0 => Err(bad()),
        n if bytes.len() + n > MOST_BYTES => Err(bad()),
        n => {
            bytes.extend_from_slice(&piece[..n]);
            Ok(())
        }
    };
    let end = loop {
        match bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            Some(end) => break end,
            None => more(&mut bytes)?,
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (method, path) = (first.next().unwrap_or_default().to_owned(), first.next().unwrap_or_default().to_owned());
    let headers: Vec<_> =
        lines.filter_map(|line| line.split_once(':')).map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned())).collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").map_or(Ok(0), |(_, value)| value.parse::<usize>());
    let length = length.map_err(|_| bad())?;
    while bytes.len() < end + 4 + length {
        more(&mut bytes)?;
    }
    Ok(Request { method, path, headers, body: bytes[end + 4..end + 4 + length].to_vec() })
}
