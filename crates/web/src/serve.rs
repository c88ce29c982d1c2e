//! The listener: from an address to answered requests, and to an orderly end.
//!
//! HTTP/1.1 over TCP or TLS. The number of connections is bounded by not accepting more: the kernel's queue holds the rest, so a burst waits
//! instead of failing. At the end the listener closes first, idle connections next, and requests in flight are finished until a deadline.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tower::Service;

use crate::error::{BindError, TlsError, chain};
use crate::tls::{ClientCertificate, ClientCheck, TlsFiles};
use crate::wire::Wire;

/// Largest head of a request (request line and all headers) we read.
const HEAD_BYTES: usize = 64 * 1024;
/// How long to wait before accepting again when the system is out of file handles or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long dropped connections may take to let go.
const DROP_TIME: Duration = Duration::from_secs(1);

/// What a connection may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Open connections at most; further ones wait in the kernel's queue. Default 4,096.
    pub connections: u32,
    /// Time for the TLS handshake. Default 10 s.
    pub handshake: Duration,
    /// Time for the head of a request, also how long a connection may be idle between two requests. Default 30 s.
    pub header_read: Duration,
    /// How long a reply may stand without the client reading a byte of it. Default 30 s.
    pub write_stall: Duration,
    /// Time for requests in flight once the server is told to end; what is not finished then is dropped. Default 20 s.
    pub shutdown: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connections: 4096,
            handshake: Duration::from_secs(10),
            header_read: Duration::from_secs(30),
            write_stall: Duration::from_secs(30),
            shutdown: Duration::from_secs(20),
        }
    }
}

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Farewell {
    /// Connections that were still busy at the deadline and were cut off; 0 is an orderly end.
    pub dropped: u32,
}

/// An address we listen on. Connections wait from [`Listener::bind`] on and are answered by [`Listener::serve`].
pub struct Listener {
    tcp: TcpListener,
    bound: SocketAddr,
    tls: Option<TlsAcceptor>,
    clients: Option<ClientCheck>,
    limits: ConnectionLimits,
}

impl Listener {
    /// Listens on `address`: `127.0.0.1:8025`, `[::1]:8025`, `localhost:8025`; port 0 takes any free one, see [`Listener::bound_addr`].
    ///
    /// # Errors
    /// [`BindError`] naming the address and why.
    pub async fn bind(address: &str) -> Result<Self, BindError> {
        let candidates =
            tokio::net::lookup_host(address).await.map_err(|source| BindError::NotAnAddress { address: address.to_owned(), source })?;
        let candidates: Vec<SocketAddr> = candidates.collect();
        let tcp = TcpListener::bind(&candidates[..]).await.map_err(|source| BindError::from_io(address, source))?;
        let bound = tcp.local_addr().map_err(|source| BindError::from_io(address, source))?;
        Ok(Self { tcp, bound, tls: None, clients: None, limits: ConnectionLimits::default() })
    }

    /// Speaks TLS on every connection, and asks clients for certificates if the files name authorities for them.
    ///
    /// # Errors
    /// [`TlsError`] naming the file that cannot be used.
    pub fn with_tls(mut self, files: &TlsFiles) -> Result<Self, TlsError> {
        self.tls = Some(TlsAcceptor::from(files.load()?));
        self.clients.clone_from(&files.clients);
        Ok(self)
    }

    /// Other limits than the defaults.
    #[must_use]
    pub fn with_limits(mut self, limits: ConnectionLimits) -> Self {
        self.limits = limits;
        self
    }

    /// The address connections reach us at, with the port that was taken for port 0.
    pub fn bound_addr(&self) -> SocketAddr {
        self.bound
    }

    /// Whether [`Listener::with_tls`] was called: `https` rather than `http`.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Answers requests with `router` until `shutdown` ends, then closes in order. Handlers find the client's address in
    /// `ConnectInfo<SocketAddr>`, and its certificate, if it has shown one, in `Extension<ClientCertificate>`. Dropping the returned future drops all connections.
    pub async fn serve(self, router: Router, shutdown: impl Future<Output = ()>) -> Farewell {
        let Self { tcp, bound, tls, clients, limits } = self;
        let slots = Arc::new(Semaphore::new(limits.connections as usize));
        let (phase, phases) = watch::channel(Phase::Serving);
        let hurry = Arc::new(AtomicBool::new(false));
        let host = Arc::new(Host { router: router.with_state(()), tls, clients, limits, hurry: Arc::clone(&hurry) });

        let mut shutdown = std::pin::pin!(shutdown);
        tracing::info!(server.addr = %bound, server.tls = host.tls.is_some(), "listening");
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut shutdown => break,
                accepted = accept(&tcp, &slots) => accepted,
            };
            let (stream, peer, slot) = accepted;
            tokio::spawn(Arc::clone(&host).attend(stream, peer, phases.clone(), slot));
        }

        drop(tcp);
        hurry.store(true, Ordering::Relaxed);
        phase.send_replace(Phase::Draining);
        tracing::info!(server.addr = %bound, connections = open(&slots, limits.connections), "no longer listening");
        let all = slots.acquire_many(limits.connections);
        if tokio::time::timeout(limits.shutdown, all).await.is_ok() {
            return Farewell { dropped: 0 };
        }
        let dropped = open(&slots, limits.connections);
        phase.send_replace(Phase::Dropping);
        tracing::warn!(connections = dropped, "requests were still running at the deadline and are dropped");
        let _ = tokio::time::timeout(DROP_TIME, slots.acquire_many(limits.connections)).await;
        Farewell { dropped }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    Draining,
    Dropping,
}

fn open(slots: &Semaphore, connections: u32) -> u32 {
    connections - u32::try_from(slots.available_permits()).unwrap_or(connections).min(connections)
}

/// The next connection, once there is a slot for it. A connection that failed before it began is no reason to stop.
async fn accept(tcp: &TcpListener, slots: &Arc<Semaphore>) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    if slots.available_permits() == 0 {
        tracing::warn!("as many connections are open as are allowed; further ones wait");
    }
    let slot = Arc::clone(slots).acquire_owned().await.expect("the slots are never closed");
    loop {
        match tcp.accept().await {
            Ok((stream, peer)) => return (stream, peer, slot),
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                tracing::error!(%error, "a connection could not be accepted; trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// What all connections share.
struct Host {
    router: Router,
    tls: Option<TlsAcceptor>,
    clients: Option<ClientCheck>,
    limits: ConnectionLimits,
    hurry: Arc<AtomicBool>,
}

impl Host {
    /// One connection from handshake to close; its slot is free when this ends, however it ends.
    async fn attend(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, mut phases: watch::Receiver<Phase>, slot: OwnedSemaphorePermit) {
        let _slot = slot;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        let Some(acceptor) = &self.tls else {
            return self.converse(stream, peer, None, phases).await;
        };
        let handshake = tokio::time::timeout(self.limits.handshake, acceptor.accept(stream));
        tokio::select! {
            done = handshake => match done {
                Ok(Ok(stream)) => {
                    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
                    let certificate = self.clients.as_ref().zip(shown).map(|(clients, shown)| clients.judge(shown));
                    self.converse(stream, peer, certificate, phases).await;
                }
                Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                Err(_) => tracing::debug!("a TLS handshake took too long"),
            },
            _ = phases.changed() => {}
        }
    }

    async fn converse<T>(&self, stream: T, peer: SocketAddr, certificate: Option<ClientCertificate>, mut phases: watch::Receiver<Phase>)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let wire = Wire::new(stream, self.limits.write_stall, Arc::clone(&self.hurry));
        let service = service_fn(|mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            if let Some(certificate) = &certificate {
                request.extensions_mut().insert(certificate.clone());
            }
            self.router.clone().call(request.map(axum::body::Body::new) as Request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_read)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(wire), service);
        let mut connection = std::pin::pin!(connection);
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(error = %chain(&error), "a connection broke");
                    }
                    return;
                }
                // An error means that the future of `serve` was dropped.
                changed = phases.changed() => match changed.map(|()| *phases.borrow_and_update()) {
                    Ok(Phase::Serving) => {}
                    Ok(Phase::Draining) => connection.as_mut().graceful_shutdown(),
                    Ok(Phase::Dropping) | Err(_) => return,
                },
            }
        }
    }
}
