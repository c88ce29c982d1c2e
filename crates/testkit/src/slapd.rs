//! OpenLDAP's server: an instance of its own with a database in its own folder, apart from any system instance.
//!
//! Below the suffix `dc=example,dc=org` there are `ou=people` and `ou=groups` from the start. The rest is LDIF, as OpenLDAP's own tools take it.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::certs::CertFiles;
use crate::folder::Folder;
use crate::ports::free_port;
use crate::process::{Ended, Program, Running, installed};
use crate::wait;

/// Time to come up, and for one of the tools.
const PATIENCE: Duration = Duration::from_secs(60);
/// The tree of every instance.
pub const SUFFIX: &str = "dc=example,dc=org";
/// The account that may do everything.
pub const ADMIN: &str = "cn=admin,dc=example,dc=org";
/// Its password.
pub const PASSWORD: &str = "secret";

const TOP: &str = "dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: people

dn: ou=groups,dc=example,dc=org
objectClass: organizationalUnit
ou: groups
";

/// An instance about to be started.
#[derive(Debug, Clone)]
pub struct SlapdBuilder {
    syncprov: bool,
    session_log: Option<u32>,
    refint: bool,
    memberof: bool,
    tls: Option<(CertFiles, PathBuf)>,
    size_limit: Option<u32>,
    room: u64,
    flush: bool,
    access: String,
    settings: Vec<String>,
    audit: bool,
    empty: bool,
    ldif: String,
}

impl SlapdBuilder {
    /// Without content synchronisation (RFC 4533), which is there otherwise.
    #[must_use]
    pub fn without_sync(mut self) -> Self {
        self.syncprov = false;
        self
    }

    /// Keeps a log of so many changes, so that a client that was away is told what was deleted and not what is still there.
    #[must_use]
    pub fn session_log(mut self, changes: u32) -> Self {
        self.session_log = Some(changes);
        self
    }

    /// Names of entries that are renamed or deleted are mended where they stand as member, owner or manager.
    #[must_use]
    pub fn refint(mut self) -> Self {
        self.refint = true;
        self
    }

    /// Members bear `memberOf`.
    #[must_use]
    pub fn memberof(mut self) -> Self {
        self.memberof = true;
        self
    }

    /// Speaks TLS with this certificate, on a port of its own and after STARTTLS; client certificates of this authority (PEM) sign in as `cn=NAME,ou=people` and the suffix.
    #[must_use]
    pub fn tls(mut self, certificate: &CertFiles, authority: &Path) -> Self {
        self.tls = Some((certificate.clone(), authority.to_owned()));
        self
    }

    /// Gives at most so many entries to one search, or to one page of it.
    #[must_use]
    pub fn size_limit(mut self, entries: u32) -> Self {
        self.size_limit = Some(entries);
        self
    }

    /// The database may grow to so many octets; 64 MiB unless set.
    #[must_use]
    pub fn room(mut self, octets: u64) -> Self {
        self.room = octets;
        self
    }

    /// Does not flush its changes to the disk: for large loads.
    #[must_use]
    pub fn without_flush(mut self) -> Self {
        self.flush = false;
        self
    }

    /// Who may read and write, in place of: everybody reads, people with a password write.
    #[must_use]
    pub fn replace_access(mut self, lines: &str) -> Self {
        lines.clone_into(&mut self.access);
        self
    }

    /// A line of configuration for the database, behind all others.
    #[must_use]
    pub fn setting(mut self, line: &str) -> Self {
        self.settings.push(line.to_owned());
        self
    }

    /// Without any entry, not even the suffix: for a replica.
    #[must_use]
    pub fn empty(mut self) -> Self {
        self.empty = true;
        self
    }

    /// Keeps every change it makes, for [`Slapd::changes_of`].
    #[must_use]
    pub fn audited(mut self) -> Self {
        self.audit = true;
        self
    }

    /// Entries that are there from the start (LDIF).
    #[must_use]
    pub fn content(mut self, ldif: &str) -> Self {
        self.ldif.push('\n');
        self.ldif.push_str(ldif);
        self
    }

    /// Lays the instance out, starts it and waits until it answers.
    ///
    /// # Panics
    /// If slapd is not installed, the content is no LDIF, or the instance does not come up.
    pub fn start(self) -> Slapd {
        let program = installed("slapd", "slapd");
        installed("ldapmodify", "ldap-utils");
        let folder = Folder::new("slapd");
        fs::create_dir(folder.join("db")).expect("a folder in our own folder can be made");
        folder.write("slapd.conf", self.config(folder.path()));
        let mut slapd = Slapd { program, port: free_port(), tls_port: self.tls.as_ref().map(|_| free_port()), running: None, folder };
        if !self.empty {
            slapd.add_offline(&format!("{TOP}{}", self.ldif));
        }
        slapd.start();
        slapd
    }

    fn config(&self, folder: &Path) -> String {
        let own = folder.display();
        let mut text = String::new();
        for schema in ["core", "cosine", "inetorgperson"] {
            writeln!(text, "include /etc/ldap/schema/{schema}.schema").expect("a String takes everything");
        }
        text.push_str("modulepath /usr/lib/ldap\nmoduleload back_mdb\n");
        for (wanted, module) in
            [(self.syncprov, "syncprov"), (self.refint, "refint"), (self.memberof, "memberof"), (self.audit, "auditlog")]
        {
            if wanted {
                writeln!(text, "moduleload {module}").expect("a String takes everything");
            }
        }
        if let Some((certificate, authority)) = &self.tls {
            write!(
                text,
                "TLSCACertificateFile {}\nTLSCertificateFile {}\nTLSCertificateKeyFile {}\nTLSVerifyClient try\n\
                 authz-regexp \"^cn=([^,]+)$\" \"cn=$1,ou=people,{SUFFIX}\"\n",
                authority.display(),
                certificate.cert_pem.display(),
                certificate.key_pem.display()
            )
            .expect("a String takes everything");
        }
        write!(
            text,
            "sizelimit {}
database mdb
suffix \"{SUFFIX}\"
rootdn \"{ADMIN}\"
rootpw {PASSWORD}
directory {own}/db
maxsize {}
index objectClass,entryUUID,entryCSN,modifyTimestamp,member,uid eq
{}
",
            self.size_limit.map_or_else(|| "unlimited".to_owned(), |entries| entries.to_string()),
            self.room,
            self.access
        )
        .expect("a String takes everything");
        if !self.flush {
            text.push_str("envflags nosync writemap\n");
        }
        if self.memberof {
            text.push_str("overlay memberof\n");
        }
        if self.refint {
            text.push_str("overlay refint\nrefint_attributes member owner manager\n");
        }
        if self.syncprov {
            text.push_str("overlay syncprov\nsyncprov-checkpoint 100 1\n");
            if let Some(changes) = self.session_log {
                writeln!(text, "syncprov-sessionlog {changes}").expect("a String takes everything");
            }
        }
        if self.audit {
            writeln!(text, "overlay auditlog\nauditlog {own}/audit.ldif").expect("a String takes everything");
        }
        for line in &self.settings {
            writeln!(text, "{line}").expect("a String takes everything");
        }
        text
    }
}

/// A running slapd. Dropped, it ends.
#[derive(Debug)]
pub struct Slapd {
    program: PathBuf,
    port: u16,
    tls_port: Option<u16>,
    running: Option<Running>,
    // Last: what runs there must have ended before its folder goes.
    folder: Folder,
}

impl Slapd {
    /// An instance with content synchronisation, in clear text.
    pub fn builder() -> SlapdBuilder {
        SlapdBuilder {
            syncprov: true,
            session_log: None,
            refint: false,
            memberof: false,
            tls: None,
            size_limit: None,
            room: 64 << 20,
            flush: true,
            access: format!(
                "access to attrs=userPassword by anonymous auth by * none\naccess to * by dn.children=\"ou=people,{SUFFIX}\" write by * read"
            ),
            settings: Vec::new(),
            audit: false,
            empty: false,
            ldif: String::new(),
        }
    }

    /// Its port for clear text and STARTTLS on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address for clear text and STARTTLS.
    pub fn url(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.port)
    }

    /// Its port for TLS from the start.
    ///
    /// # Panics
    /// If it was built without a certificate.
    pub fn tls_port(&self) -> u16 {
        self.tls_port.expect("it was built with a certificate")
    }

    /// The instance's own folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it has written to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("slapd.err")).unwrap_or_default()
    }

    /// The changes that somebody has made so far (LDIF, one each).
    pub fn changes_of(&self, dn: &str) -> Vec<String> {
        let log = fs::read_to_string(self.folder.join("audit.ldif")).unwrap_or_default();
        let by = format!("modifiersName: {dn}");
        log.split("\n\n").filter(|change| change.lines().any(|line| line == by)).map(str::to_owned).collect()
    }

    /// Carries out changes (LDIF) as the administrator.
    ///
    /// # Panics
    /// If they are not accepted.
    pub fn modify(&self, ldif: &str) {
        self.modify_as(ADMIN, PASSWORD, ldif);
    }

    /// Carries out changes as somebody with a password.
    ///
    /// # Panics
    /// If they are not accepted.
    pub fn modify_as(&self, dn: &str, password: &str, ldif: &str) {
        let ended = self.try_modify_as(dn, password, ldif);
        assert!(ended.status.success(), "the changes are not accepted: {}\n{ldif}", ended.stderr);
    }

    /// Tries to carry out changes as somebody with a password.
    pub fn try_modify_as(&self, dn: &str, password: &str, ldif: &str) -> Ended {
        Program::new(installed("ldapmodify", "ldap-utils"))
            .args(["-x", "-H", &self.url(), "-D", dn, "-w", password])
            .input(format!("{}\n", ldif.trim()))
            .run(self.folder.path(), PATIENCE * 10)
    }

    /// Entries that fit, as LDIF with operational attributes.
    ///
    /// # Panics
    /// If it cannot be searched.
    pub fn search(&self, filter: &str) -> String {
        let ended = self.searched(filter);
        assert!(ended.status.success(), "it cannot be searched: {}", ended.stderr);
        ended.stdout
    }

    /// The same of a server whose tree need not be there yet; `None` if it is not.
    pub fn try_search(&self, filter: &str) -> Option<String> {
        Some(self.searched(filter)).filter(|ended| ended.status.success()).map(|ended| ended.stdout)
    }

    fn searched(&self, filter: &str) -> Ended {
        let scratch = Folder::new("ldapsearch");
        Program::new(installed("ldapsearch", "ldap-utils"))
            .args(["-x", "-LLL", "-o", "ldif-wrap=no", "-H", &self.url(), "-D", ADMIN, "-w", PASSWORD, "-b", SUFFIX, filter, "*", "+"])
            .run(scratch.path(), PATIENCE)
    }

    /// Adds entries while it does not run: the quick way for many.
    ///
    /// # Panics
    /// If it runs, or the entries are not accepted.
    pub fn add_offline(&self, ldif: &str) {
        assert!(self.running.is_none(), "entries are added offline while it is stopped");
        let file = self.folder.write("add.ldif", ldif);
        // Without `-q`, which saves no time at this size: with it and `-w`, slapadd 2.5 aborts now and then at its very end ("double free or corruption").
        let ended = Program::new(installed("slapadd", "slapd"))
            .args(["-w", "-f"])
            .args([self.folder.join("slapd.conf")])
            .args(["-l"])
            .args([&file])
            .run(self.folder.path(), PATIENCE * 10);
        assert!(ended.status.success(), "the entries are not accepted: {}", ended.stderr);
        fs::remove_file(file).expect("our own file can be removed");
    }

    /// Starts it again after it was stopped or killed.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start(&mut self) {
        let mut urls = self.url();
        if let Some(port) = self.tls_port {
            write!(urls, " ldaps://127.0.0.1:{port}").expect("a String takes everything");
        }
        let mut running = Program::new(&self.program)
            .args(["-d", "0", "-h", &urls, "-f"])
            .args([self.folder.join("slapd.conf")])
            .start(self.folder.path());
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        wait::until("slapd to answer", PATIENCE, || {
            if let Some(status) = running.status() {
                panic!("slapd ended before it was ready ({status}): {}", running.stderr());
            }
            TcpStream::connect(address).ok()
        });
        self.running = Some(running);
    }

    /// Stops it in order.
    ///
    /// # Panics
    /// If it does not end.
    pub fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.terminate();
            assert!(running.wait(PATIENCE).is_some(), "slapd does not end");
        }
    }

    /// Kills it.
    pub fn kill9(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.kill9();
        }
    }

    /// Copies the database as it is. It is stopped for that if it runs.
    ///
    /// # Panics
    /// If it cannot be copied.
    pub fn backup(&mut self) -> Backup {
        let ran = self.running.is_some();
        self.stop();
        let copy = Backup { folder: Folder::new("slapd-copy") };
        copy_database(&self.folder.join("db/data.mdb"), &copy.folder.join("data.mdb"));
        if ran {
            self.start();
        }
        copy
    }

    /// Puts a copy in place of the database. It is stopped for that if it runs.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn restore(&mut self, backup: &Backup) {
        let ran = self.running.is_some();
        self.stop();
        // What is left of the readers of the database as it was.
        if let Err(error) = fs::remove_file(self.folder.join("db/lock.mdb")) {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "our own file can be removed: {error}");
        }
        copy_database(&backup.folder.join("data.mdb"), &self.folder.join("db/data.mdb"));
        if ran {
            self.start();
        }
    }
}

/// The file is as long as it may ever become, and nearly all of it is a hole.
fn copy_database(from: &Path, to: &Path) {
    let scratch = Folder::new("copy");
    let ended = Program::new(installed("cp", "coreutils")).args(["--sparse=always"]).args([from, to]).run(scratch.path(), PATIENCE);
    assert!(ended.status.success(), "the database cannot be copied: {}", ended.stderr);
}

/// A copy of an instance's database.
#[derive(Debug)]
pub struct Backup {
    folder: Folder,
}

/// A person below `ou=people`, who may sign in with the password `secret` and change what is there.
pub fn person(name: &str) -> String {
    format!(
        "dn: cn={name},ou=people,{SUFFIX}\nobjectClass: inetOrgPerson\ncn: {name}\nsn: {name}\nuid: {name}\nmail: {name}@example.org\nuserPassword: {PASSWORD}\n\n"
    )
}

/// A group below `ou=groups` with people from below `ou=people` as members.
pub fn group(name: &str, members: &[&str]) -> String {
    let mut ldif = format!("dn: cn={name},ou=groups,{SUFFIX}\nobjectClass: groupOfNames\ncn: {name}\n");
    for member in members {
        writeln!(ldif, "member: cn={member},ou=people,{SUFFIX}").expect("a String takes everything");
    }
    ldif.push('\n');
    ldif
}
