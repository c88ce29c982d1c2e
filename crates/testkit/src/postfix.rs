//! Postfix as the mail relay: an instance of its own, without DNS, apart from any system instance.

use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::certs::CertFiles;
use crate::dovecot::Dovecot;
use crate::folder::Folder;
use crate::ports::free_port;
use crate::process::{Ended, Program, installed};
use crate::wait;

/// Time for `postfix start`, `postfix stop` and readiness.
const PATIENCE: Duration = Duration::from_mins(1);

/// User and group of the delivered mail: nobody's.
const MAIL_OWNER: u32 = 65_534;

/// What the instance does with letters it has taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Onward {
    /// Everything for everybody goes into one Maildir below the instance's folder.
    Maildir,
    /// Everything goes on to this port of 127.0.0.1.
    Relay(u16),
}

/// An instance about to be started.
#[derive(Debug, Clone)]
pub struct PostfixBuilder {
    certificate: Option<CertFiles>,
    client_ca: Option<PathBuf>,
    users: Vec<(String, String)>,
    mechanisms: Vec<String>,
    introspection: Option<String>,
    onward: Onward,
    settings: Vec<String>,
}

impl PostfixBuilder {
    /// The certificate of the submission ports; without one there are none.
    #[must_use]
    pub fn certificate(mut self, files: &CertFiles) -> Self {
        self.certificate = Some(files.clone());
        self
    }

    /// The submission ports demand a client certificate signed by this authority (PEM).
    #[must_use]
    pub fn demand_client_certificate(mut self, authority: &Path) -> Self {
        self.client_ca = Some(authority.to_owned());
        self
    }

    /// A user who may sign in at the submission ports. With the first, these take mail only from who has signed in, and Dovecot is started.
    #[must_use]
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.users.push((name.to_owned(), password.to_owned()));
        self
    }

    /// The mechanisms offered, by Dovecot's names (`plain`, `login`, `cram-md5`, `scram-sha-256`, `xoauth2` …); `plain` and `login` unless set.
    #[must_use]
    pub fn mechanisms(mut self, names: &[&str]) -> Self {
        self.mechanisms = names.iter().map(|&name| name.to_owned()).collect();
        self
    }

    /// Takes access tokens that this address, an issuer's, calls good (RFC 7662); needs a [`user`](Self::user) and `xoauth2` or `oauthbearer` among the mechanisms.
    #[must_use]
    pub fn introspection(mut self, url: &str) -> Self {
        self.introspection = Some(url.to_owned());
        self
    }

    /// Passes everything on to this port of 127.0.0.1, a sink's perhaps, instead of into the Maildir.
    #[must_use]
    pub fn relay_to(mut self, port: u16) -> Self {
        self.onward = Onward::Relay(port);
        self
    }

    /// A line for `main.cf`, behind all others: `name = value`.
    #[must_use]
    pub fn setting(mut self, line: &str) -> Self {
        self.settings.push(line.to_owned());
        self
    }

    /// Lays the instance out, starts it and waits until its ports answer.
    ///
    /// # Panics
    /// If Postfix (or, with users, Dovecot) is not installed, this is not root, or the instance does not come up.
    pub fn start(self) -> Postfix {
        installed("postfix", "postfix");
        assert!(rustix::process::geteuid().is_root(), "Postfix can only be started by root; run this test as root");
        let folder = Folder::new("postfix");
        for name in ["etc", "spool", "lib", "mail"] {
            fs::create_dir(folder.join(name)).expect("a folder in our own folder can be made");
        }
        let postfix_user = user_id("postfix");
        chown(folder.join("lib"), Some(postfix_user), None).expect("root may give folders away");
        // The tool that cleans up after a stop in the middle of a letter has no other rights than Postfix's own user, and must be able to write that down.
        fs::write(folder.join("log"), "").expect("a file in our own folder can be made");
        chown(folder.join("log"), Some(postfix_user), None).expect("root may give files away");
        chown(folder.join("mail"), Some(MAIL_OWNER), Some(MAIL_OWNER)).expect("root may give folders away");
        let dovecot =
            (!self.users.is_empty()).then(|| Dovecot::start(folder.path(), &self.users, &self.mechanisms, self.introspection.as_deref()));
        let ports = Ports {
            plain: free_port(),
            submission: self.certificate.as_ref().map(|_| free_port()),
            implicit: self.certificate.as_ref().map(|_| free_port()),
        };
        folder.write("etc/main.cf", self.main_cf(folder.path(), dovecot.as_ref()));
        folder.write("etc/master.cf", self.master_cf(ports));
        let mut postfix = Postfix { ports, running: false, folder, _dovecot: dovecot };
        postfix.start();
        postfix
    }

    fn main_cf(&self, folder: &Path, dovecot: Option<&Dovecot>) -> String {
        let own = folder.display();
        let mut text = format!(
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
smtp_dns_support_level = disabled
smtpd_peername_lookup = no
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_tls_security_level = none
notify_classes =
"
        );
        let mut line = |text_line: &str| writeln!(text, "{text_line}").expect("a String takes everything");
        match self.onward {
            Onward::Relay(port) => line(&format!("relayhost = [127.0.0.1]:{port}")),
            Onward::Maildir => {
                line("virtual_mailbox_domains = static:all");
                line("virtual_mailbox_maps = static:all/");
                line(&format!("virtual_mailbox_base = {own}/mail"));
                line(&format!("virtual_uid_maps = static:{MAIL_OWNER}"));
                line(&format!("virtual_gid_maps = static:{MAIL_OWNER}"));
            }
        }
        if let Some(CertFiles { cert_pem, key_pem }) = &self.certificate {
            line(&format!("smtpd_tls_chain_files = {}, {}", key_pem.display(), cert_pem.display()));
            line("smtpd_tls_loglevel = 1");
        }
        if let Some(authority) = &self.client_ca {
            line(&format!("smtpd_tls_CAfile = {}", authority.display()));
        }
        if let Some(dovecot) = dovecot {
            line("smtpd_sasl_type = dovecot");
            line(&format!("smtpd_sasl_path = {}", dovecot.socket().display()));
            line("smtpd_sasl_security_options = noanonymous");
        }
        for setting in &self.settings {
            line(setting);
        }
        text
    }

    fn master_cf(&self, ports: Ports) -> String {
        let mut text = format!("127.0.0.1:{} inet n - n - - smtpd\n", ports.plain);
        let mut restrictions = String::new();
        if !self.users.is_empty() {
            restrictions.push_str("  -o smtpd_sasl_auth_enable=yes\n  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject\n");
        }
        if self.client_ca.is_some() {
            restrictions.push_str("  -o smtpd_tls_req_ccert=yes\n");
        }
        for (port, wrapper) in [(ports.submission, "no"), (ports.implicit, "yes")] {
            if let Some(port) = port {
                let tls = format!("  -o smtpd_tls_security_level=encrypt\n  -o smtpd_tls_wrappermode={wrapper}\n");
                let service = format!("127.0.0.1:{port} inet n - n - - smtpd\n{tls}{restrictions}");
                text.push_str(&service);
            }
        }
        text.push_str(
            "pickup unix n - n 60 1 pickup
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
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
",
        );
        text
    }
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    plain: u16,
    submission: Option<u16>,
    implicit: Option<u16>,
}

/// A Postfix instance. Dropped, it is stopped.
#[derive(Debug)]
pub struct Postfix {
    ports: Ports,
    running: bool,
    folder: Folder,
    /// Dropped, it ends.
    _dovecot: Option<Dovecot>,
}

/// A letter that Postfix has delivered into the Maildir.
#[derive(Debug, Clone)]
pub struct MaildirLetter {
    /// The file.
    pub path: PathBuf,
    /// As stored: lines end in LF, and Postfix has put Return-Path, X-Original-To, Delivered-To and Received before the letter's own headers.
    pub bytes: Vec<u8>,
    /// The envelope recipient.
    pub to: String,
    /// The envelope sender, empty for the null path.
    pub from: String,
}

impl Postfix {
    /// An instance with a plain port, no certificate, no users, that delivers into its Maildir.
    pub fn builder() -> PostfixBuilder {
        PostfixBuilder {
            certificate: None,
            client_ca: None,
            users: Vec::new(),
            mechanisms: vec!["plain".to_owned(), "login".to_owned()],
            introspection: None,
            onward: Onward::Maildir,
            settings: Vec::new(),
        }
    }

    /// The port without TLS or sign-in.
    pub fn plain_port(&self) -> u16 {
        self.ports.plain
    }

    /// The port that demands STARTTLS and, with users, a sign-in.
    ///
    /// # Panics
    /// If the instance has no certificate.
    pub fn submission_port(&self) -> u16 {
        self.ports.submission.expect("this Postfix was given no certificate")
    }

    /// The port that speaks TLS from the first byte and, with users, demands a sign-in.
    ///
    /// # Panics
    /// If the instance has no certificate.
    pub fn implicit_tls_port(&self) -> u16 {
        self.ports.implicit.expect("this Postfix was given no certificate")
    }

    /// Starts it again after [`Self::stop`] and waits until it answers. Nothing happens if it runs.
    ///
    /// # Panics
    /// If it does not come up; the message holds its log.
    pub fn start(&mut self) {
        if self.running {
            return;
        }
        let ended = self.control("start");
        assert!(ended.status.success(), "postfix start: {}\n{}\n{}", ended.status, ended.stderr, self.log());
        self.running = true;
        let greets = |port: u16, speaks_first: bool| {
            let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let ready = wait::try_until(PATIENCE, || {
                let mut stream = TcpStream::connect(addr).ok()?;
                stream.set_read_timeout(Some(PATIENCE)).ok()?;
                let mut greeting = [0; 4];
                (!speaks_first || stream.read_exact(&mut greeting).is_ok() && &greeting == b"220 ").then_some(())
            });
            assert!(ready.is_some(), "Postfix does not answer on port {port}:\n{}", self.log());
        };
        greets(self.ports.plain, true);
        self.ports.submission.iter().for_each(|port| greets(*port, true));
        self.ports.implicit.iter().for_each(|port| greets(*port, false));
    }

    /// Stops it: an outage. Its queue and Maildir stay, and nobody answers at its ports any more.
    ///
    /// # Panics
    /// If it does not stop.
    pub fn stop(&mut self) {
        if self.running {
            let ended = self.control("stop");
            assert!(ended.status.success(), "postfix stop: {}\n{}", ended.status, ended.stderr);
            self.running = false;
            // The master is gone; its children listen on the same sockets until each of them has read its signal.
            for port in [Some(self.ports.plain), self.ports.submission, self.ports.implicit].into_iter().flatten() {
                wait::until("Postfix's port to be shut", PATIENCE, || {
                    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err().then_some(())
                });
            }
        }
    }

    /// The letters delivered so far, in the order of their files' names, which begin with the time of delivery.
    ///
    /// # Panics
    /// If the Maildir cannot be read.
    pub fn maildir_letters(&self) -> Vec<MaildirLetter> {
        let Ok(entries) = fs::read_dir(self.folder.join("mail/all/new")) else {
            return Vec::new(); // Made with the first letter.
        };
        let mut paths: Vec<_> = entries.map(|entry| entry.expect("our own Maildir can be read").path()).collect();
        paths.sort();
        let read = |path: PathBuf| {
            let bytes = fs::read(&path).expect("our own Maildir can be read");
            let header = |name: &str| first_header(&bytes, name).unwrap_or_default();
            let (to, from) = (header("X-Original-To"), header("Return-Path").trim_matches(['<', '>']).to_owned());
            MaildirLetter { path, bytes, to, from }
        };
        paths.into_iter().map(read).collect()
    }

    /// Waits until so many letters are delivered and returns them.
    ///
    /// # Panics
    /// If they are not there `within` this time; the message holds the log.
    pub fn wait_for_letters(&self, count: usize, within: Duration) -> Vec<MaildirLetter> {
        let files = || fs::read_dir(self.folder.join("mail/all/new")).map_or(0, Iterator::count);
        let come = wait::try_until(within, || (files() >= count).then_some(()));
        assert!(come.is_some(), "{} of {count} letters after {within:?}:\n{}", files(), self.log());
        self.maildir_letters()
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Its folder: `etc`, `spool`, `mail`, `log`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn control(&self, verb: &str) -> Ended {
        let program = installed("postfix", "postfix");
        let etc = self.folder.join("etc");
        Program::new(program).args(["-c".as_ref(), etc.as_os_str(), verb.as_ref()]).run(self.folder.path(), PATIENCE)
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        if self.running {
            // A second panic while one is under way would abort the whole test process.
            if !self.stop_quietly() {
                eprintln!("postfix -c {}/etc stop failed", self.folder.path().display());
            }
        }
    }
}

impl Postfix {
    fn stop_quietly(&self) -> bool {
        let etc = self.folder.join("etc");
        let mut running =
            Program::new("/usr/sbin/postfix").args(["-c".as_ref(), etc.as_os_str(), "stop".as_ref()]).start(self.folder.path());
        running.wait(PATIENCE).is_some_and(|status| status.success())
    }
}

fn first_header(bytes: &[u8], name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().take_while(|line| !line.is_empty());
    lines.filter_map(|line| line.split_once(':')).find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim().to_owned())
}

/// The number of a user of this machine.
pub(crate) fn user_id(name: &str) -> u32 {
    let users = fs::read_to_string("/etc/passwd").expect("every Debian has /etc/passwd");
    let of = |line: &str| {
        let mut parts = line.split(':');
        (parts.next() == Some(name)).then(|| parts.nth(1).and_then(|id| id.parse().ok())).flatten()
    };
    users.lines().find_map(of).unwrap_or_else(|| panic!("there is no user {name}; its package is not fully installed"))
}
