//! `tidings serve`: the house, open for business until it is told to stop.

use super::block_on;
use crate::{
    assemble::{self, Ears, House, Told},
    clock::SystemClock,
    directories::Plans,
    http,
    reload::Reloader,
};
use anyhow::{Context, Result};
use std::{process::ExitCode, sync::Arc, time::Duration};
use tidings_web::{Listener, TlsFiles};

/// How long letters on the wire may take to be settled once the house is told to stop. A relay that has the whole letter may take long to answer
/// (RFC 5321 §4.5.3.2.6), and leaving early would make a duplicate; but whoever stops us loses patience, too.
const FAREWELL: Duration = Duration::from_secs(25);

/// Runs the command.
pub fn run(config: &crate::args::ConfigArg) -> Result<ExitCode> {
    let settings = assemble::settings_for_sending(&config.config)?;
    assemble::start_logging(&settings);
    block_on(async move {
        let lock = Arc::new(assemble::lock(&settings)?);
        let alone = assemble::lock_on_server(&settings).await?;
        let mut ears = Ears::open()?;
        let tls = settings.server.tls.as_ref().map(|tls| TlsFiles { cert: tls.cert_file.clone(), key: tls.key_file.clone() });
        let mut listener = Listener::bind(&settings.server.listen.to_string()).await?;
        if let Some(tls) = &tls {
            listener = listener.with_tls(tls)?;
        }
        let plans = Plans::of(&settings)?;
        let mut house = House::build(settings).await?;
        let mut reloader = Reloader::new(config.config.clone(), Arc::clone(&lock), &house)?;
        let readiness = Arc::new(http::readiness::HouseReadiness::new(house.store.clone()));
        let exposition = http::metrics::Exposition::install(house.store.clone(), Arc::new(SystemClock))?;
        let upkeep = tokio::spawn(exposition.clone().upkeep());
        let scim = http::scim(&house);
        let router = http::router(&house, &scim, reloader.relays(), Arc::clone(&readiness), exposition)?;
        let herald = house.herald()?;
        let mut postman = house.postman()?;
        let crowds = house.crowds();
        let mut sources = plans.start(&house.feed, &scim)?;

        let (address, encrypted) = (listener.bound_addr(), listener.is_tls());
        let (close, closed) = tokio::sync::watch::channel(false);
        let serving = tokio::spawn(listener.serve(router, async move {
            let mut closed = closed;
            let _ = closed.wait_for(|closed| *closed).await;
        }));
        let mode = house.safety.mode.as_str();
        tracing::info!(listen = %address, tls = encrypted, relays = house.relays.len(), safety.mode = mode, version = env!("CARGO_PKG_VERSION"), "ready");
        notify_supervisor("READY=1");

        while ears.hear().await == Told::Reload {
            notify_supervisor(&reloading());
            if let Some(plans) = reloader.reload(&mut house, &mut postman, &herald) {
                // The old ones stop first: one at a time feeds a directory.
                drop(std::mem::take(&mut sources));
                sources = plans
                    .start(&house.feed, &scim)
                    .inspect_err(|error| tracing::error!(%error, "the directories rest"))
                    .unwrap_or_default();
            }
            notify_supervisor("READY=1");
        }
        tracing::info!("told to stop: taking no more events, finishing what is on the wire");
        notify_supervisor("STOPPING=1");
        readiness.leave();
        let _ = close.send(true);
        drop(sources);
        let farewell = serving.await.context("closing the HTTP surface")?;
        // Whatever chunk is being told is written or not at all.
        crowds.abort();
        postman.stop(FAREWELL).await;
        drop(herald);
        upkeep.abort();
        drop((reloader, lock, alone));
        tracing::info!(requests.dropped = farewell.dropped, "stopped");
        Ok(ExitCode::SUCCESS)
    })
}

/// What systemd wants to hear at the beginning of a reload (`sd_notify(3)`: with the monotonic clock, in microseconds).
fn reloading() -> String {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    format!("RELOADING=1\nMONOTONIC_USEC={}", now.tv_sec * 1_000_000 + now.tv_nsec / 1000)
}

/// Tells systemd (`sd_notify(3)`) where we stand, if it asked to be told.
fn notify_supervisor(state: &str) {
    let Some(socket) = assemble::environment("NOTIFY_SOCKET") else { return };
    let told = std::os::unix::net::UnixDatagram::unbound().and_then(|channel| {
        use std::os::linux::net::SocketAddrExt;
        let address = match socket.strip_prefix('@') {
            Some(name) => std::os::unix::net::SocketAddr::from_abstract_name(name)?,
            None => std::os::unix::net::SocketAddr::from_pathname(&socket)?,
        };
        channel.send_to_addr(state.as_bytes(), &address)
    });
    if let Err(error) = told {
        tracing::warn!(error = %error, "the supervisor cannot be told");
    }
}
