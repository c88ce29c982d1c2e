//! Postfix as a durable relay: an instance of its own with default settings, without DNS, apart from any system instance.

use crate::{
    child,
    flush::{FlushTally, Shim},
};
use anyhow::{Context, Result, bail, ensure};
use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};
use tokio::{io::AsyncReadExt, net::TcpStream, process::Command};

/// How long `postfix start`, `postfix stop` and readiness may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The services of `master.cf` behind the listening one; none of them is jailed, so that no files have to be copied.
const SERVICES: &str = "pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
";

/// The instance. Dropped while it runs, it is stopped.
#[derive(Debug)]
pub(crate) struct Postfix {
    etc: PathBuf,
    log: PathBuf,
    addr: SocketAddr,
    flushes: FlushTally,
    running: AtomicBool,
}

impl Postfix {
    /// Writes configuration and folders below `folder`; everything it takes goes on to `onward`. Its processes count their flushes.
    ///
    /// # Errors
    /// If it is not installed, this is not root, or Postfix's own users could not get into the folder.
    pub(crate) fn lay_out(folder: &Path, onward: SocketAddr, shim: &Shim) -> Result<Self> {
        child::installed("postfix", "postfix")?;
        ensure!(rustix::process::geteuid().is_root(), "only root can start Postfix: run as root, or leave it out with --only");
        for part in folder.ancestors().skip(1) {
            let mode = fs::metadata(part).with_context(|| format!("looking at {}", part.display()))?.permissions().mode();
            ensure!(mode & 0o001 != 0, "Postfix's users cannot get into {}; give a folder they can reach with --work", part.display());
        }
        for name in ["etc", "spool", "lib"] {
            fs::create_dir_all(folder.join(name)).with_context(|| format!("making {name} of Postfix"))?;
        }
        chown(folder.join("lib"), Some(user_id("postfix")?), None).context("giving a folder to the user postfix")?;
        let addr = child::free_address()?;
        let flushes = FlushTally::make(folder.join("flushes"))?;
        let counting = shim.environment(&folder.join("flushes"), Duration::ZERO).map(|(name, value)| format!("{name}={value}")).join(" ");
        let own = folder.display();
        let main = format!(
            "compatibility_level = 3.6
queue_directory = {own}/spool
data_directory = {own}/lib
maillog_file = {own}/log
maillog_file_prefixes = {own}
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = relay.example.org
mydestination =
local_recipient_maps =
alias_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
relayhost = [{}]:{}
smtp_dns_support_level = disabled
smtpd_peername_lookup = no
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_tls_security_level = none
notify_classes =
import_environment = MAIL_CONFIG MAIL_DEBUG MAIL_LOGTAG TZ LANG=C {counting}
",
            onward.ip(),
            onward.port()
        );
        let etc = folder.join("etc");
        fs::write(etc.join("main.cf"), main).context("writing main.cf")?;
        fs::write(etc.join("master.cf"), format!("{addr} inet n - n - - smtpd\n{SERVICES}")).context("writing master.cf")?;
        Ok(Self { etc, log: folder.join("log"), addr, flushes, running: AtomicBool::new(false) })
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Flushes of all its processes so far.
    ///
    /// # Errors
    /// If the count cannot be read.
    pub(crate) fn flushes(&self) -> Result<u64> {
        self.flushes.count()
    }

    /// Starts it and waits for its greeting.
    ///
    /// # Errors
    /// If it does not come up; the message holds the end of its log.
    pub(crate) async fn start(&self) -> Result<()> {
        self.running.store(true, Ordering::Release);
        let mut command = Command::new("/usr/sbin/postfix");
        command.args(self.arguments("start"));
        child::finish(command, PATIENCE).await.with_context(|| self.log_tail())?;
        let start = Instant::now();
        while !self.greets().await {
            if start.elapsed() > PATIENCE {
                bail!("Postfix does not answer on {}\n{}", self.addr, self.log_tail());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Stops it. Its queue is empty by then, if the sink has every letter.
    ///
    /// # Errors
    /// If it does not stop.
    pub(crate) async fn stop(&self) -> Result<()> {
        let mut command = Command::new("/usr/sbin/postfix");
        command.args(self.arguments("stop"));
        child::finish(command, PATIENCE).await?;
        self.running.store(false, Ordering::Release);
        Ok(())
    }

    async fn greets(&self) -> bool {
        let greeting = async {
            let mut code = [0; 4];
            TcpStream::connect(self.addr).await?.read_exact(&mut code).await?;
            std::io::Result::Ok(&code == b"220 ")
        };
        matches!(tokio::time::timeout(Duration::from_secs(5), greeting).await, Ok(Ok(true)))
    }

    fn arguments(&self, verb: &'static str) -> [&std::ffi::OsStr; 3] {
        ["-c".as_ref(), self.etc.as_os_str(), verb.as_ref()]
    }

    fn log_tail(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(8).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        if self.running.load(Ordering::Acquire) {
            let mut command = std::process::Command::new("/usr/sbin/postfix");
            let stopped = command.args(self.arguments("stop")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
            if !stopped.is_ok_and(|status| status.success()) {
                eprintln!("postfix -c {} stop failed", self.etc.display());
            }
        }
    }
}

fn user_id(name: &str) -> Result<u32> {
    let users = fs::read_to_string("/etc/passwd").context("reading /etc/passwd")?;
    let of = |line: &str| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    };
    users.lines().find_map(of).with_context(|| format!("there is no user {name}; the package postfix is not fully installed"))
}
