//! `tidings serve`: the house, open for business until it is told to stop.

use super::block_on;
use crate::{
    agent,
    assemble::{self, Ears, House, Told},
    bounces,
    clock::SystemClock,
    directories::{self, Plans},
    duties::{ALERTS, Duties, MAILBOX},
    http,
    reload::Reloader,
};
use anyhow::{Context, Result};
use std::{path::Path, process::ExitCode, sync::Arc, time::Duration};
use tidings_web::{ClientCheck, Listener, TlsFiles};
use tokio::{sync::watch, task::JoinHandle};

/// How long letters on the wire may take to be settled once the house is told to stop. A relay that has the whole letter may take long to answer
/// (RFC 5321 §4.5.3.2.6), and leaving early would make a duplicate; but whoever stops us loses patience, too.
const FAREWELL: Duration = Duration::from_secs(25);

/// What kind of house is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trade {
    /// A whole one: `tidings serve`.
    Serve,
    /// The small one beside a target system: `tidings agent`.
    Agent,
}

/// Runs the command.
pub fn run(config: &Path, trade: Trade) -> Result<ExitCode> {
    let settings = assemble::settings_for_sending(config)?;
    agent::check_trade(config, &settings, trade)?;
    assemble::start_logging(&settings);
    block_on(async move {
        let lock = Arc::new(assemble::lock(&settings)?);
        let mut ears = Ears::open()?;
        let tls = settings.server.tls.as_ref().map(|tls| {
            let clients = settings.server.clients.as_ref();
            let clients = clients.map(|clients| ClientCheck { ca: clients.ca_file.clone(), names: clients.names.clone() });
            TlsFiles { cert: tls.cert_file.clone(), key: tls.key_file.clone(), clients }
        });
        let mut listener = Listener::bind(&settings.server.listen.to_string()).await?;
        if let Some(tls) = &tls {
            listener = listener.with_tls(tls)?;
        }
        let plans = Plans::of(&settings)?;
        let links = agent::Links::of(&settings)?;
        let mut house = House::build(settings).await?;
        agent::check_door(&house).await?;
        let mut reloader = Reloader::new(config.to_owned(), Arc::clone(&lock), &house)?;
        let readiness = Arc::new(http::readiness::HouseReadiness::new(house.store.clone()));
        let exposition = http::metrics::Exposition::install(house.store.clone(), Arc::new(SystemClock))?;
        let upkeep = tokio::spawn(exposition.clone().upkeep());
        let scim = http::scim(&house);
        let router = http::router(&house, &scim, reloader.relays(), Arc::clone(&readiness), exposition, links.as_ref())?;
        let forgetting = links.as_ref().map(|links| links.forgetting(&house));
        let mut works = plans.works(&house.feed, &scim);
        works.extend([house.crowd_work()]);
        works.extend(bounces::works(house.mailbox.as_ref(), &house.reports, &house.store));
        let duties = Arc::new(Duties::of(works, &[ALERTS]));
        let member = house.join(&duties).await?;
        let tells = Arc::clone(&duties);
        let herald = house.herald(move || tells.has(ALERTS))?;
        let mut postman = house.postman(member.tenure())?;
        let (leave, left) = watch::channel(false);
        let beating = tokio::spawn(member.run(left));

        let (address, encrypted) = (listener.bound_addr(), listener.is_tls());
        let (close, closed) = watch::channel(false);
        let serving = tokio::spawn(listener.serve(router, async move {
            let mut closed = closed;
            let _ = closed.wait_for(|closed| *closed).await;
        }));
        let mode = house.safety.mode.as_str();
        tracing::info!(listen = %address, tls = encrypted, relays = house.relays.len(), safety.mode = mode, version = env!("CARGO_PKG_VERSION"), "ready");
        notify_supervisor("READY=1");

        while ears.hear().await == Told::Reload {
            notify_supervisor(&reloading());
            let read_before = house.mailbox.clone();
            if let Some(plans) = reloader.reload(&mut house, &mut postman, &herald) {
                duties.exchange(directories::is_directory, plans.works(&house.feed, &scim)).await;
                if house.mailbox != read_before {
                    duties.exchange(|duty| duty == MAILBOX, bounces::works(house.mailbox.as_ref(), &house.reports, &house.store)).await;
                }
            }
            notify_supervisor("READY=1");
        }
        tracing::info!("told to stop: taking no more events, finishing what is on the wire");
        notify_supervisor("STOPPING=1");
        readiness.leave();
        let _ = close.send(true);
        // Whatever is being recorded, or told to a crowd, is written or not at all; others go on with it at once.
        duties.close().await;
        let farewell = serving.await.context("closing the HTTP surface")?;
        postman.stop(FAREWELL).await;
        drop(herald);
        upkeep.abort();
        forgetting.inspect(JoinHandle::abort);
        let _ = leave.send(true);
        beating.await.context("ending the membership")?.leave().await;
        drop((reloader, lock));
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
