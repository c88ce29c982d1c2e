//! Exim as a mail server that takes what it cannot deliver and reports that: an instance of its own, unpacked beside the machine's mail server and not installed.
//!
//! Debian's Exim insists on a user `Debian-exim`; a machine that has it only unpacked has no such user, so the names are told by `libnss_wrapper`. It needs no rights:
//! mail is delivered by the user who took it.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::time::Duration;

use crate::folder::Folder;
use crate::neighbours;
use crate::ports::free_port;
use crate::process::{Program, Running, installed};
use crate::wait;

/// Time to come up.
const PATIENCE: Duration = Duration::from_secs(30);

/// User and group that it runs under when the test is root: nobody's.
const OWNER: u32 = 65_534;

/// A running Exim. Dropped, it ends.
#[derive(Debug)]
pub struct Exim {
    port: u16,
    running: Running,
    folder: Folder,
}

impl Exim {
    /// Starts one that delivers mail for `example.org` into its mailbox and passes everything else on to a port of 127.0.0.1.
    ///
    /// # Panics
    /// If it is not unpacked or does not come up.
    pub fn start(onward: u16) -> Self {
        let unpacked = neighbours::installed("exim").join("root");
        let folder = Folder::new("exim");
        let port = free_port();
        // Copied, because it runs under another user, who may not look into the target folder.
        for (from, to) in [("usr/sbin", "bin"), ("usr/lib", "lib")] {
            fs::create_dir(folder.join(to)).expect("a folder in our own folder can be made");
            for file in files_below(&unpacked.join(from)) {
                let name = file.file_name().expect("a file has a name");
                let copy = folder.join(to).join(name);
                fs::copy(&file, &copy).expect("our own folder can be written");
                // Not as root: a program with that right is not told where its libraries are.
                fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).expect("the mode of our own file can be set");
            }
        }
        for name in ["spool", "log", "mail"] {
            fs::create_dir(folder.join(name)).expect("a folder in our own folder can be made");
        }
        let root = rustix::process::geteuid().is_root();
        let owner = if root { OWNER } else { rustix::process::geteuid().as_raw() };
        let group = if root { OWNER } else { rustix::process::getegid().as_raw() };
        folder.write("passwd", format!("root:x:0:0::/:/bin/sh\nDebian-exim:x:{owner}:{group}::/:/bin/sh\n"));
        folder.write("group", format!("root:x:0:\nDebian-exim:x:{group}:\n"));
        let config = folder.write("exim.conf", configuration(&folder, port, onward));
        if root {
            for name in ["spool", "log", "mail"] {
                chown(folder.join(name), Some(OWNER), Some(OWNER)).expect("root may give folders away");
            }
        }
        let exim = folder.join("bin/exim4");
        let arguments = ["-C".into(), config.into_os_string(), "-bdf".into()];
        let program = if root {
            let id = OWNER.to_string();
            Program::new(installed("setpriv", "util-linux"))
                .args(["--reuid", &id, "--regid", &id, "--clear-groups"])
                .args([exim.into_os_string()])
                .args(arguments)
        } else {
            Program::new(exim).args(arguments)
        };
        let running = program
            .env("LD_LIBRARY_PATH", folder.join("lib"))
            .env("LD_PRELOAD", folder.join("lib/libnss_wrapper.so"))
            .env("NSS_WRAPPER_PASSWD", folder.join("passwd"))
            .env("NSS_WRAPPER_GROUP", folder.join("group"))
            .start(folder.path());
        let exim = Self { port, running, folder };
        let up = wait::try_until(PATIENCE, || TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).ok());
        assert!(up.is_some(), "Exim does not come up: {}\n{}", exim.running.stderr(), exim.log());
        exim
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What lies in the mailbox of `example.org`, in the order in which it came, once there are so many mails.
    ///
    /// # Panics
    /// If they are not there `within` this time.
    pub fn wait_for_mail(&self, count: usize, within: Duration) -> Vec<Vec<u8>> {
        let files = || files_below(&self.folder.join("mail/new"));
        let come = wait::try_until(within, || (files().len() >= count).then_some(()));
        assert!(come.is_some(), "{} of {count} mails after {within:?}:\n{}", files().len(), self.log());
        let mut paths = files();
        // Not by name: Exim writes fractions of a second without leading zeros.
        paths.sort_by_key(|path| fs::metadata(path).and_then(|meta| meta.modified()).expect("our own mailbox can be read"));
        paths.iter().map(|path| fs::read(path).expect("our own mailbox can be read")).collect()
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
        files_below(&self.folder.join("log")).into_iter().map(read).collect()
    }
}

/// The regular files below a folder; links among them count as what they lead to.
fn files_below(folder: &std::path::Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files = Vec::new();
    for path in entries.filter_map(|entry| entry.ok().map(|entry| entry.path())) {
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files.retain(|path| path.is_file());
    files
}

fn configuration(folder: &Folder, port: u16, onward: u16) -> String {
    let own = folder.path().display();
    let mut text = String::new();
    write!(
        text,
        "primary_hostname = exim.example.net
exim_path = {own}/bin/exim4
spool_directory = {own}/spool
log_file_path = {own}/log/%slog
pid_file_path = {own}/spool/pid
deliver_drop_privilege = true
local_interfaces = <; [127.0.0.1]:{port}
daemon_smtp_ports = {port}
tls_advertise_hosts =
host_lookup =
rfc1413_query_timeout = 0s
dsn_advertise_hosts = *
never_users =
keep_environment = LD_LIBRARY_PATH : LD_PRELOAD : NSS_WRAPPER_PASSWD : NSS_WRAPPER_GROUP
acl_smtp_rcpt = take
begin acl
take:
  accept
begin routers
ours:
  driver = accept
  domains = example.org
  transport = box
onward:
  driver = manualroute
  route_list = * 127.0.0.1
  self = send
  transport = onward
begin transports
box:
  driver = appendfile
  directory = {own}/mail
  maildir_format
  envelope_to_add
  return_path_add
onward:
  driver = smtp
  port = {onward}
  allow_localhost
begin retry
* * F,1h,1m
"
    )
    .expect("a String takes everything");
    text
}
