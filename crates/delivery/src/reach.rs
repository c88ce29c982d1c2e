//! From a host's name to a connection with it.

use crate::{
    courier::{RelayTrouble, TroubleKind},
    smtp::dialogue::{Recorder, Speaker},
};
use std::{net::SocketAddr, time::Duration};
use tidings_core::outbox::Stage;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};

/// Tries every address of the host, each with its share of the time that is left.
pub(crate) async fn connect(host: &str, port: u16, limit: Duration, recorder: &Recorder) -> Result<TcpStream, RelayTrouble> {
    let host = host.trim_matches(['[', ']']);
    let until = Instant::now() + limit;
    let trouble = |what: String| RelayTrouble::new(TroubleKind::Unreachable, Stage::Connect, what);
    let found = timeout_at(until, tokio::net::lookup_host((host, port))).await;
    let addresses: Vec<SocketAddr> = match found {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => {
            return Err(trouble(format!("{host} cannot be found: {error}")).hint("check host and the name servers of this machine"));
        }
        Err(_) => return Err(trouble(format!("looking up {host} took too long")).hint("check the name servers of this machine")),
    };
    let mut last = format!("{host} has no address");
    for (tried, address) in addresses.iter().enumerate() {
        let left = until.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Without this each letter waits 40 ms for a delayed acknowledgement (Nagle).
                stream.set_nodelay(true).map_err(|error| trouble(format!("TCP_NODELAY cannot be set: {error}")))?;
                recorder.note(Speaker::Note, || format!("connected to {address}"));
                return Ok(stream);
            }
            Ok(Err(error)) => last = format!("{host}:{port} ({}) cannot be reached: {error}", address.ip()),
            Err(_) => last = format!("{host}:{port} ({}) does not answer", address.ip()),
        }
    }
    Err(trouble(last).hint("check host and port, and whether a firewall stands between"))
}
