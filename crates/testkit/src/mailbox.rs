//! A mailbox on a real Dovecot: IMAP in clear, by STARTTLS and by TLS, passwords and access tokens, mails put into its Maildir as a mail server would.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::certs::CertFiles;
use crate::folder::Folder;
use crate::ports::free_port;
use crate::process::{Program, Running, installed};
use crate::wait;

/// Time to come up and to end.
const READY: Duration = Duration::from_secs(20);
/// Who reads mail if this is root, whom Dovecot lets read none.
const NOBODY: u32 = 65534;
/// Dovecot's part that speaks IMAP; it comes in a package of its own.
const IMAP: &str = "/usr/lib/dovecot/imap";

/// A mailbox about to be made.
pub struct MailboxBuilder {
    user: String,
    password: String,
    certificate: Option<CertFiles>,
    introspection: Option<String>,
    capability: Option<String>,
}

impl MailboxBuilder {
    /// Speaks TLS with this certificate; not at all without.
    #[must_use]
    pub fn certificate(mut self, files: &CertFiles) -> Self {
        self.certificate = Some(files.clone());
        self
    }

    /// Takes access tokens too, by XOAUTH2 and OAUTHBEARER, and asks there what they are worth (RFC 7662).
    #[must_use]
    pub fn introspection(mut self, url: &str) -> Self {
        self.introspection = Some(url.to_owned());
        self
    }

    /// Announces these capabilities after the sign-in in place of its own.
    #[must_use]
    pub fn capability(mut self, words: &str) -> Self {
        self.capability = Some(words.to_owned());
        self
    }

    /// Starts Dovecot.
    ///
    /// # Panics
    /// If it is not installed or does not come up.
    pub fn start(self) -> Mailbox {
        assert!(Path::new(IMAP).exists(), "{IMAP} is missing: install the package dovecot-imapd");
        let folder = Folder::new("mailbox");
        let (port, tls_port) = (free_port(), free_port());
        folder.write("users", format!("{}:{{PLAIN}}{}::::::\n", self.user, self.password));
        if let Some(url) = &self.introspection {
            let settings = format!(
                "introspection_mode = post\nintrospection_url = {url}\nusername_attribute = username\nactive_attribute = active\nactive_value = true\n"
            );
            folder.write("oauth2.conf", settings);
        }
        let own = rustix::process::geteuid().as_raw();
        let uid = if own == 0 { NOBODY } else { own };
        folder.write("dovecot.conf", self.config(folder.path(), port, tls_port, uid));
        let mut mailbox = Mailbox { folder, port, tls_port, uid, running: None, number: AtomicU64::new(1) };
        for name in ["mail/cur", "mail/new", "mail/tmp"] {
            fs::create_dir_all(mailbox.folder.join(name)).expect("a folder in our own folder can be made");
        }
        for name in ["mail", "mail/cur", "mail/new", "mail/tmp"] {
            mailbox.hand_over(&mailbox.folder.join(name));
        }
        mailbox.start();
        mailbox
    }

    /// The syntax is that of Dovecot 2.3.
    fn config(&self, own: &Path, port: u16, tls_port: u16, uid: u32) -> String {
        let own = own.display();
        let mut text = format!(
            "base_dir = {own}/run\nstate_dir = {own}/run\nlog_path = {own}/log\nprotocols = imap\nlisten = 127.0.0.1\ndisable_plaintext_auth = no\n\
             auth_username_format = %u\nauth_failure_delay = 0\nfirst_valid_uid = 1\nmail_max_userip_connections = 0\n\
             mail_location = maildir:{own}/mail\nauth_mechanisms = plain login{}\n",
            if self.introspection.is_some() { " xoauth2 oauthbearer" } else { "" }
        );
        if self.introspection.is_some() {
            writeln!(text, "passdb {{\n  driver = oauth2\n  mechanisms = xoauth2 oauthbearer\n  args = {own}/oauth2.conf\n}}")
                .expect("a String takes everything");
        }
        match &self.certificate {
            None => text.push_str("ssl = no\n"),
            Some(files) => {
                let (certificate, key) = (files.cert_pem.display(), files.key_pem.display());
                writeln!(text, "ssl = yes\nssl_cert = <{certificate}\nssl_key = <{key}").expect("a String takes everything");
            }
        }
        if let Some(words) = &self.capability {
            writeln!(text, "protocol imap {{\n  imap_capability = {words}\n}}").expect("a String takes everything");
        }
        let tls_port = if self.certificate.is_some() { tls_port } else { 0 };
        write!(
            text,
            "passdb {{\n  driver = passwd-file\n  args = username_format=%u {own}/users\n}}\n\
             userdb {{\n  driver = static\n  args = uid={uid} gid={uid} home={own}/mail\n}}\n\
             service anvil {{\n  unix_listener anvil-auth-penalty {{\n    mode = 0\n  }}\n}}\n\
             service imap-login {{\n  inet_listener imap {{\n    address = 127.0.0.1\n    port = {port}\n  }}\n  inet_listener imaps {{\n    address = 127.0.0.1\n    port = {tls_port}\n    ssl = yes\n  }}\n}}\n\
             namespace inbox {{\n  inbox = yes\n}}\n"
        )
        .expect("a String takes everything");
        text
    }
}

/// A mailbox. Dropped, its Dovecot ends.
pub struct Mailbox {
    folder: Folder,
    port: u16,
    tls_port: u16,
    uid: u32,
    running: Option<Running>,
    number: AtomicU64,
}

impl Mailbox {
    /// The mailbox of this user.
    pub fn of(user: &str, password: &str) -> MailboxBuilder {
        assert!(!user.contains([':', '\n']) && !password.contains([':', '\n']), "a passwd-file has no way to write that");
        let (user, password) = (user.to_owned(), password.to_owned());
        MailboxBuilder { user, password, certificate: None, introspection: None, capability: None }
    }

    /// The port for IMAP in clear, and by STARTTLS.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port for IMAP by TLS.
    pub fn tls_port(&self) -> u16 {
        self.tls_port
    }

    /// Dovecot's log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Starts Dovecot, again after [`Mailbox::kill`], on the same ports.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start(&mut self) {
        let program = installed("dovecot", "dovecot-core");
        let running = Program::new(program).args(["-F", "-c"]).args([self.folder.join("dovecot.conf")]).start(self.folder.path());
        let ready = wait::try_until(READY, || std::net::TcpStream::connect(("127.0.0.1", self.port)).ok());
        assert!(ready.is_some(), "Dovecot does not come up: {} {}", running.stderr(), self.log());
        self.running = Some(running);
    }

    /// Kills Dovecot with everything that it serves.
    ///
    /// # Panics
    /// If its port stays open.
    pub fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.kill9();
        }
        let gone = wait::try_until(READY, || std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err().then_some(()));
        assert!(gone.is_some(), "Dovecot goes on");
    }

    /// Puts a mail into the inbox, as a mail server does: written elsewhere, then renamed.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn deliver(&self, mail: &[u8]) {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let name = format!("{number:010}.M{number}P{}.test", std::process::id());
        let part = self.folder.join(format!("mail/tmp/{name}"));
        fs::write(&part, mail).expect("a file in our own folder can be written");
        self.hand_over(&part);
        fs::rename(&part, self.folder.join(format!("mail/new/{name}"))).expect("a file in our own folder can be renamed");
    }

    /// The mails of a folder, with the flags that their files' names carry (`S` is seen).
    pub fn mails(&self, folder: &str) -> Vec<(Vec<u8>, String)> {
        let base = if folder == "INBOX" { self.folder.join("mail") } else { self.folder.join(format!("mail/.{folder}")) };
        let mut mails = Vec::new();
        for part in ["new", "cur"] {
            let Ok(entries) = fs::read_dir(base.join(part)) else { continue };
            for entry in entries.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let flags = name.rsplit_once(":2,").map(|(_, flags)| flags.to_owned()).unwrap_or_default();
                // It may be moved or renamed at this moment; then it is found at the next look.
                if let Ok(bytes) = fs::read(entry.path()) {
                    mails.push((bytes, flags));
                }
            }
        }
        mails
    }

    /// Forgets the numbers of the inbox's messages: it comes back with another UIDVALIDITY. To be called while Dovecot does not run.
    ///
    /// # Panics
    /// If the list cannot be removed.
    pub fn forget_numbers(&self) {
        for entry in fs::read_dir(self.folder.join("mail")).expect("our own folder can be read").flatten() {
            if entry.file_name().to_string_lossy().starts_with("dovecot") {
                // A process that was killed last may still be putting another one in its place.
                let removed = fs::remove_file(entry.path());
                assert!(removed.is_ok() || !entry.path().exists(), "{}: {removed:?}", entry.path().display());
            }
        }
        // The next one is made of the time in seconds.
        std::thread::sleep(Duration::from_millis(1100));
    }

    fn hand_over(&self, path: &Path) {
        if rustix::process::geteuid().is_root() {
            chown(path, Some(self.uid), Some(self.uid)).expect("root may give files away");
        }
    }

    /// The folder with its configuration and mails.
    pub fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }
}
