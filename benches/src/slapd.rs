//! OpenLDAP's server: an instance of its own with a database in its own folder, apart from any system instance.

use crate::{
    child::{self, Running},
    company::{self, Company, SUFFIX},
    proc,
};
use anyhow::{Context, Result, bail, ensure};
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    process::{Child, ChildStdin, Command},
};

/// Time to come up, and to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time to fill the database.
const FILLING: Duration = Duration::from_secs(30 * 60);
/// The account that may do everything, and its password.
const ADMIN: &str = "cn=admin,dc=example,dc=org";
const PASSWORD: &str = "secret";
/// Disk that an object and a membership may take, as entries and in the database: generous, since a full disk would disturb others. 1,100,000 objects with
/// 5,000,000 memberships were seen to take 2.3 GB together.
const OBJECT_BYTES: u64 = 5_000;
const MEMBERSHIP_BYTES: u64 = 500;
/// Disk that must be left for others.
const SPARE: u64 = 4 << 30;

/// A running instance with content synchronisation (RFC 4533) that holds a company. Dropped, it ends.
#[derive(Debug)]
pub(crate) struct Slapd {
    addr: SocketAddr,
    running: Running,
    // Last: what runs there must have ended before its folder goes.
    folder: TempDir,
}

impl Slapd {
    /// Fills a database in a folder below `work` and starts on it.
    ///
    /// # Errors
    /// If slapd is not installed, the disk has too little room, or the instance does not come up.
    pub(crate) async fn start(company: &Company, work: &Path) -> Result<Self> {
        let (program, filler) = (child::installed("slapd", "slapd")?, child::installed("slapadd", "slapd")?);
        let needed = company.objects() * OBJECT_BYTES + company.memberships * MEMBERSHIP_BYTES + SPARE;
        let free = proc::free_bytes(work)?;
        ensure!(needed <= free, "a directory of this size may take {} GiB of disk, and {} are free", needed >> 30, free >> 30);
        let folder = tempfile::Builder::new().prefix("slapd-").tempdir_in(work).context("making a folder for slapd")?;
        fs::create_dir(folder.path().join("db")).context("making a folder for slapd's database")?;
        let config = folder.path().join("slapd.conf");
        fs::write(&config, configuration(folder.path(), needed)).context("writing slapd.conf")?;
        fill(&filler, company, folder.path(), &config).await?;
        let addr = child::free_address()?;
        let mut command = Command::new(program);
        command.args(["-d", "0", "-h", &format!("ldap://{addr}"), "-f"]).arg(&config);
        let running = Running::start(command, &folder.path().join("slapd.log"))?;
        let mut slapd = Self { addr, running, folder };
        slapd.answers().await?;
        Ok(slapd)
    }

    async fn answers(&mut self) -> Result<()> {
        let start = Instant::now();
        while TcpStream::connect(self.addr).await.is_err() {
            self.running.must_run()?;
            ensure!(start.elapsed() < PATIENCE, "slapd does not answer\n{}", self.running.log_tail());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Where it listens, as LDAP clients are told.
    pub(crate) fn url(&self) -> String {
        format!("ldap://{}", self.addr)
    }

    /// Bytes of its database.
    pub(crate) fn data_bytes(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(self.folder.path().join("db/data.mdb")).map_or(0, |meta| meta.blocks() * 512)
    }

    /// Somebody who makes changes over one connection.
    ///
    /// # Errors
    /// If `ldapmodify` is not installed.
    pub(crate) fn editor(&self) -> Result<Editor> {
        let log = self.folder.path().join("ldapmodify.log");
        let file = fs::File::create(&log).context("making the log of ldapmodify")?;
        let mut command = Command::new(child::installed("ldapmodify", "ldap-utils")?);
        command.args(["-x", "-H", &self.url(), "-D", ADMIN, "-w", PASSWORD]);
        command.stdin(std::process::Stdio::piped()).stdout(file.try_clone().context("sharing a log")?).stderr(file).kill_on_drop(true);
        let mut child = command.spawn().context("starting ldapmodify")?;
        let input = child.stdin.take().context("the input of ldapmodify")?;
        Ok(Editor { child, input, log })
    }

    /// Ends it in order.
    ///
    /// # Errors
    /// If it had to be killed.
    pub(crate) async fn stop(self) -> Result<()> {
        self.running.stop(PATIENCE).await
    }
}

/// Writes the company as entries and has slapd's own tool read them, which no server could take as fast.
async fn fill(filler: &Path, company: &Company, folder: &Path, config: &Path) -> Result<()> {
    let entries = folder.join("entries.ldif");
    let (writer, path) = (*company, entries.clone());
    tokio::task::spawn_blocking(move || writer.write_entries(&path)).await.context("the writer of entries broke off")??;
    let mut command = Command::new(filler);
    // Without `-q`: with it and `-w`, slapadd 2.5 aborts now and then at its very end.
    command.args(["-w", "-f"]).arg(config).arg("-l").arg(&entries);
    child::finish(command, FILLING).await.context("filling slapd's database")?;
    fs::remove_file(entries).context("removing the entries")
}

/// Not flushed: what is measured is the server that listens to it.
fn configuration(folder: &Path, room: u64) -> String {
    let own = folder.display();
    format!(
        "include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload syncprov
sizelimit unlimited
timelimit unlimited
database mdb
suffix \"{SUFFIX}\"
rootdn \"{ADMIN}\"
rootpw {PASSWORD}
directory {own}/db
maxsize {room}
envflags nosync writemap
index objectClass,entryUUID,entryCSN eq
access to * by * read
overlay syncprov
syncprov-checkpoint 100 1
"
    )
}

/// Makes single changes, each as soon as it is told.
#[derive(Debug)]
pub(crate) struct Editor {
    child: Child,
    input: ChildStdin,
    log: PathBuf,
}

impl Editor {
    /// Adds somebody to a group. Returns the moment before the change was told.
    ///
    /// # Errors
    /// If `ldapmodify` has ended, as it does when a change is refused.
    pub(crate) async fn add_member(&mut self, group: u64, member: u64) -> Result<Instant> {
        let change = format!("dn: {}\nchangetype: modify\nadd: member\nmember: {}\n\n", company::group(group), company::person(member));
        if let Some(status) = self.child.try_wait().context("looking after ldapmodify")? {
            bail!("ldapmodify ended: {status}: {}", fs::read_to_string(&self.log).unwrap_or_default());
        }
        let start = Instant::now();
        self.input.write_all(change.as_bytes()).await.context("telling ldapmodify a change")?;
        self.input.flush().await.context("telling ldapmodify a change")?;
        Ok(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_company_is_found_and_changed() {
        if child::installed("slapd", "slapd").is_err() {
            eprintln!("SKIPPED: slapd is not installed");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let company = Company { people: 200, groups: 5, memberships: 50 };
        let slapd = Slapd::start(&company, folder.path()).await.unwrap();
        assert!(slapd.data_bytes() > 10_000);
        let outsider = (0..200).find(|person| company.members(1).all(|member| member != *person)).unwrap();
        let mut editor = slapd.editor().unwrap();
        editor.add_member(1, outsider).await.unwrap();
        let start = Instant::now();
        loop {
            let mut search = Command::new(child::installed("ldapsearch", "ldap-utils").unwrap());
            search.args(["-x", "-LLL", "-o", "ldif-wrap=no", "-H", &slapd.url(), "-b", &company::group(1), "member"]);
            let found = child::finish(search, PATIENCE).await.unwrap();
            if found.contains(&company::person(outsider)) {
                break;
            }
            assert!(start.elapsed() < PATIENCE, "{found}");
        }
        slapd.stop().await.unwrap();
    }
}
