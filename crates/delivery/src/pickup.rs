//! The pickup directory of a mail server on this machine: a letter appears there whole, once, and under a name that a second attempt recognises.
//!
//! "Sent" means here only "handed to the folder". Letters are composed under a name that nobody polls, made durable, and renamed without overwriting;
//! several letters share the flush of the folder. The facts about Exchange, IIS and .NET behind this: Exchange polls `*.eml`, works on `*.tmp`, leaves
//! `*.bad`; files are not dot-stuffed.

use crate::{
    courier::{Courier, Load, RelayTrouble, SessionEnd, Source, TroubleKind},
    plan::PickupPlan,
    smtp::whole_lines,
    sole,
};
use async_trait::async_trait;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tidings_core::{
    Id,
    outbox::{Outcome, Refusal, Stage},
};

/// Letters that share one flush of the folder.
const BATCH: usize = 32;
/// Exchange refuses longer headers.
const LONGEST_HEADER: usize = 64 * 1024;
/// The extension under which a letter is composed; mail servers poll `eml` and use `tmp` themselves.
pub(crate) const COMPOSING: &str = "tidings-part";

/// Puts letters into a pickup directory.
pub struct PickupCourier {
    plan: Arc<PickupPlan>,
    tally: Mutex<Tally>,
}

/// What is known of the files in a folder: rather too many than too few.
#[derive(Debug, Default)]
struct Tally {
    /// The last count and what was written since; unknown at first.
    waiting: Option<u64>,
    /// Reserved and not written yet.
    under_way: u64,
    /// Written so far, for those that come while a count goes on.
    written: u64,
}

impl Tally {
    /// Reserves up to [`BATCH`] of what is left; `None` if nothing is, or it is not known.
    fn take(&mut self, most: u64) -> Option<usize> {
        let room = most.saturating_sub(self.waiting? + self.under_way).min(BATCH as u64);
        self.under_way += room;
        usize::try_from(room).ok().filter(|room| *room > 0)
    }
}

impl PickupCourier {
    /// A courier for this directory.
    pub fn new(plan: PickupPlan) -> Self {
        Self { plan: Arc::new(plan), tally: Mutex::default() }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves room for up to [`BATCH`] files. The folder is counted only when what is known of it leaves no room.
    async fn reserve(&self) -> Result<usize, RelayTrouble> {
        let most = self.plan.max_waiting;
        if most == 0 {
            return Ok(BATCH);
        }
        let (known, written_before) = {
            let mut tally = self.tally();
            (tally.take(most), tally.written)
        };
        if let Some(room) = known {
            return Ok(room);
        }
        let plan = Arc::clone(&self.plan);
        let counted = blocking(move || count(&plan.folder)).await?;
        let mut tally = self.tally();
        tally.waiting = Some(counted + (tally.written - written_before));
        tally.take(most).ok_or_else(|| {
            let what = format!("{counted} files wait in {} and are not collected", self.plan.folder.display());
            RelayTrouble::new(TroubleKind::Busy, Stage::Write, what).hint("see whether the mail server that empties it runs")
        })
    }

    /// Of what was reserved so much was written, perhaps.
    fn release(&self, reserved: usize, written: usize) {
        if self.plan.max_waiting > 0 {
            let mut tally = self.tally();
            tally.under_way -= reserved as u64;
            tally.written += written as u64;
            if let Some(waiting) = &mut tally.waiting {
                *waiting += written as u64;
            }
        }
    }
}

/// Gives a reservation back also when the session is cut off.
struct Reserved<'a> {
    courier: &'a PickupCourier,
    room: usize,
    written: usize,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.courier.release(self.room, self.written);
    }
}

#[async_trait]
impl Courier for PickupCourier {
    async fn session(&self, source: &mut dyn Source) -> SessionEnd {
        let plan = Arc::clone(&self.plan);
        if let Err(trouble) = blocking(move || probe(&plan)).await {
            return SessionEnd::Trouble(trouble);
        }
        match self.reserve().await {
            Ok(room) => self.release(room, 0),
            Err(trouble) => return SessionEnd::Trouble(trouble),
        }
        source.opened();
        while let Some(first) = source.next().await {
            let mut reserved = match self.reserve().await {
                Ok(room) => Reserved { courier: self, room, written: 0 },
                Err(trouble) => {
                    source.report(first.item, Outcome::Returned { what: format!("not handed over: {trouble}") });
                    return SessionEnd::Trouble(trouble);
                }
            };
            let mut batch = vec![first];
            while batch.len() < reserved.room
                && let Some(load) = source.try_next()
            {
                batch.push(load);
            }
            reserved.written = batch.len();
            let items: Vec<Id> = batch.iter().map(|load| load.item).collect();
            let plan = Arc::clone(&self.plan);
            match blocking(move || hand_over(&plan, &batch)).await {
                Ok(outcomes) => items.into_iter().zip(outcomes).for_each(|(item, outcome)| source.report(item, outcome)),
                Err(trouble) => {
                    for item in items {
                        source.report(item, Outcome::Returned { what: format!("not handed over: {trouble}") });
                    }
                    return SessionEnd::Trouble(trouble);
                }
            }
        }
        SessionEnd::Done
    }
}

/// Runs file work away from the threads that serve connections.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RelayTrouble> + Send + 'static,
) -> Result<T, RelayTrouble> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(RelayTrouble::new(TroubleKind::Folder, Stage::Write, format!("writing broke off: {error}"))))
}

/// A file error as trouble of the folder, with advice.
pub(crate) fn folder_trouble(path: &Path, error: &io::Error) -> RelayTrouble {
    let hint = match error.kind() {
        io::ErrorKind::NotFound => "the folder does not exist; create it, or correct its path",
        io::ErrorKind::PermissionDenied => "this program's user may not write there; grant it",
        io::ErrorKind::ReadOnlyFilesystem => "the file system is mounted read-only",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "the disk is full; letters wait until there is room",
        io::ErrorKind::NotADirectory => "a file stands where the folder should be",
        _ => "check the folder and the disk",
    };
    RelayTrouble::new(TroubleKind::Folder, Stage::Write, format!("{}: {error}", path.display())).hint(hint)
}

/// Sessions begin side by side: each tries the folder with a file of its own.
static TRIES: AtomicU64 = AtomicU64::new(0);

/// Whether a file can be made in the folder; the permission bits alone do not tell.
fn probe(plan: &PickupPlan) -> Result<(), RelayTrouble> {
    let folder = &plan.folder;
    let number = TRIES.fetch_add(1, Ordering::Relaxed);
    let path = folder.join(format!("probe-{}-{number}.{COMPOSING}", std::process::id()));
    let made = create(&path).and_then(|_| fs::remove_file(&path));
    made.or_else(|error| if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(folder_trouble(folder, &error)) })?;
    room_on_disk(plan)
}

/// A disk that is nearly full is left to the mail server, which needs room for its own work on what lies there.
fn room_on_disk(plan: &PickupPlan) -> Result<(), RelayTrouble> {
    let disk = rustix::fs::statvfs(&plan.folder).map_err(|errno| folder_trouble(&plan.folder, &errno.into()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free >= plan.min_free {
        return Ok(());
    }
    let what = format!("{}: {free} bytes are free on its disk, and {} must be", plan.folder.display(), plan.min_free);
    Err(RelayTrouble::new(TroubleKind::Folder, Stage::Write, what).hint("the disk is nearly full; letters wait until there is room"))
}

/// How many letters wait in a folder.
fn count(folder: &Path) -> Result<u64, RelayTrouble> {
    let trouble = |error: io::Error| folder_trouble(folder, &error);
    let mut waiting = 0;
    for entry in fs::read_dir(folder).map_err(trouble)? {
        let name = entry.map_err(trouble)?.file_name();
        waiting += u64::from(Path::new(&name).extension().is_some_and(|end| end.eq_ignore_ascii_case("eml")));
    }
    Ok(waiting)
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o660).open(path)
}

/// Hands a batch over: all durable, or trouble; after trouble the ones already there are recognised by the next attempt.
fn hand_over(plan: &PickupPlan, batch: &[Load]) -> Result<Vec<Outcome>, RelayTrouble> {
    let folder = plan.folder.as_path();
    let trouble = |error: io::Error| folder_trouble(folder, &error);
    room_on_disk(plan)?;
    let mut outcomes = Vec::with_capacity(batch.len());
    let mut text = Vec::new();
    let mut composed = Vec::new();
    for load in batch {
        if let Some(there) = already_handed_over(folder, load.item) {
            outcomes.push(Outcome::Sent { reply: format!("{there} (handed over by an earlier attempt)") });
            continue;
        }
        text.clear();
        compose(load, plan, &mut text);
        if let Some(fault) = unfit(&text, plan.x_headers) {
            outcomes.push(Outcome::Refused(Refusal::Permanent { stage: Stage::Write, reply: fault }));
            continue;
        }
        let part = folder.join(format!("{}.{COMPOSING}", load.item));
        let mut file = create(&part).map_err(trouble)?;
        if let Err(error) = file.write_all(&text).and_then(|()| file.sync_data()) {
            // Room for others; what is left of it would be overwritten by the next attempt anyway.
            let _ = fs::remove_file(&part);
            return Err(trouble(error));
        }
        let name = format!("{}.eml", load.item);
        composed.push((part, folder.join(&name)));
        outcomes.push(Outcome::Sent { reply: name });
    }
    if composed.is_empty() {
        return Ok(outcomes);
    }
    for (part, name) in composed {
        rename_without_overwriting(&part, &name).map_err(trouble)?;
    }
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(trouble)?;
    Ok(outcomes)
}

/// What a mail server would not take from its folder, and would leave there as `.bad`. Exchange: headers of 64 KiB at most; without an envelope of their own,
/// From or Sender, and a Sender where From names several.
fn unfit(text: &[u8], x_headers: bool) -> Option<String> {
    let header = text.windows(4).position(|end| end == b"\r\n\r\n").unwrap_or(text.len());
    if header > LONGEST_HEADER {
        return Some(format!("the header is {header} bytes long, and mail servers take {LONGEST_HEADER} from a folder"));
    }
    if x_headers {
        return None;
    }
    let (fields, _) = sole::split(text);
    let named = |wanted: &str| {
        let of = |field: &&[u8]| {
            field.split(|b| *b == b':').next().is_some_and(|name| name.trim_ascii().eq_ignore_ascii_case(wanted.as_bytes()))
        };
        fields.iter().find(|field| of(field)).map_or(0, |field| field.split(|b| *b == b'@').count() - 1)
    };
    match (named("from"), named("sender")) {
        (0, 0) => Some("the letter has neither From nor Sender, and the mail server would not know whom it is from".to_owned()),
        (2.., 0) => Some("the letter has several From addresses and no Sender".to_owned()),
        _ => None,
    }
}

/// The file under which an earlier attempt stands, as we or the mail server call it.
fn already_handed_over(folder: &Path, item: Id) -> Option<String> {
    ["eml", "tmp", "bad"].into_iter().map(|extension| format!("{item}.{extension}")).find(|name| folder.join(name).exists())
}

fn rename_without_overwriting(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::{
        fs::{CWD, RenameFlags, renameat_with},
        io::Errno,
    };
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // Another attempt was faster: it holds the same bytes.
        Err(Errno::EXIST) => fs::remove_file(from),
        // File systems that do not know the flag: a link does not overwrite either.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => match fs::hard_link(from, to) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => fs::remove_file(from),
        },
        Err(errno) => Err(errno.into()),
    }
}

/// The file's content: lines whole, the envelope in front or in the headers.
fn compose(load: &Load, plan: &PickupPlan, out: &mut Vec<u8>) {
    let to = load.to.address().as_str();
    if plan.x_headers {
        envelope(load, plan.replay, out);
        whole_lines(&load.bytes, out);
    } else {
        // The mail server sends to everybody in To, Cc and Bcc.
        sole::addressed_to_alone(&load.bytes, to, out);
    }
}

/// The envelope as headers, first of all. What Exchange Replay understands beyond the addresses are the parameters of RFC 3461 with our own name for the
/// letter, so that a report of failure can be matched.
fn envelope(load: &Load, replay: bool, out: &mut Vec<u8>) {
    let to = load.to.address().as_str();
    let sender = load.sender.as_ref().map_or("<>", |sender| sender.as_str());
    let fields = if replay {
        let sender = sender.trim_start_matches('<').trim_end_matches('>');
        let body = if load.eight_bit { "8bitmime" } else { "7bit" };
        format!(
            "X-Sender: <{sender}> BODY={body} RET=HDRS ENVID={}\r\nX-Receiver: <{to}> NOTIFY=FAILURE,DELAY ORcpt={}\r\nX-CreatedBy: Tidings\r\n",
            load.item,
            xtext(to)
        )
    } else {
        format!("X-Sender: {sender}\r\nX-Receiver: {to}\r\n")
    };
    out.extend_from_slice(fields.as_bytes());
}

/// RFC 3461 §4: `+`, `=` and what is not printable ASCII as `+XX`.
fn xtext(text: &str) -> String {
    text.bytes()
        .map(|b| if matches!(b, b'!'..=b'~') && b != b'+' && b != b'=' { char::from(b).to_string() } else { format!("+{b:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidings_core::{
        Address,
        guard::{EnvironmentGuard, Mode, Verdict},
        outbox::Role,
    };

    fn load(to: &str, bytes: &str) -> Load {
        let guard = EnvironmentGuard::new(Mode::Live, None, None, vec![]);
        let Verdict::Send(to) = guard.admit(&Address::parse(to).unwrap(), Role::To) else { panic!("a live guard sends") };
        let sender = Some(Address::parse("from@example.org").unwrap());
        Load::new(Id::from_number(77), to, sender, bytes.as_bytes().into(), "m@example.org".into())
    }

    fn composed(to: &str, bytes: &str, x_headers: bool) -> String {
        let mut out = Vec::new();
        compose(&load(to, bytes), &PickupPlan { x_headers, ..PickupPlan::new("/") }, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn plan(folder: &Path) -> PickupPlan {
        PickupPlan { min_free: 0, ..PickupPlan::new(folder) }
    }

    #[test]
    fn replay_says_how_to_report_failures() {
        let mut out = Vec::new();
        compose(&load("a+b@example.org", "Subject: x\r\n\r\nbé\r\n"), &PickupPlan { replay: true, ..PickupPlan::new("/") }, &mut out);
        let id = Id::from_number(77);
        let envelope = format!(
            "X-Sender: <from@example.org> BODY=8bitmime RET=HDRS ENVID={id}\r\nX-Receiver: <a+b@example.org> NOTIFY=FAILURE,DELAY ORcpt=a+2Bb@example.org\r\nX-CreatedBy: Tidings\r\nSubject: x\r\n"
        );
        assert!(String::from_utf8_lossy(&out).starts_with(&envelope), "{}", String::from_utf8_lossy(&out));
    }

    #[test]
    fn what_a_mail_server_would_leave_as_bad_fails_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let pickup = PickupPlan { x_headers: false, ..plan(folder.path()) };
        let long = format!("From: f@example.org\r\nTo: ada@example.org\r\nX-Long: {}\r\n\r\nx\r\n", "y".repeat(LONGEST_HEADER));
        for (bytes, words) in [
            (long.as_str(), "the header is"),
            ("To: ada@example.org\r\n\r\nx\r\n", "neither From nor Sender"),
            ("From: a@example.org, b@example.org\r\nTo: ada@example.org\r\n\r\nx\r\n", "no Sender"),
        ] {
            let outcomes = hand_over(&pickup, &[load("ada@example.org", bytes)]).unwrap();
            assert!(
                matches!(&outcomes[0], Outcome::Refused(Refusal::Permanent { reply, .. }) if reply.contains(words)),
                "{words}: {outcomes:?}"
            );
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let good = "From: a@example.org\r\nTo: ada@example.org\r\n\r\nx\r\n";
        assert!(matches!(&hand_over(&pickup, &[load("ada@example.org", good)]).unwrap()[0], Outcome::Sent { .. }));
    }

    #[test]
    fn a_disk_without_room_is_trouble_with_advice() {
        let folder = tempfile::tempdir().unwrap();
        let trouble = probe(&PickupPlan { min_free: u64::MAX, ..plan(folder.path()) }).unwrap_err();
        assert!(trouble.sentence().contains("nearly full"), "{trouble}");
    }

    #[test]
    fn the_envelope_stands_first_and_dots_stay_single() {
        let text = composed("ada@example.org", "Subject: x\r\n\r\n.dot\nbare\r\n", true);
        assert_eq!(text, "X-Sender: from@example.org\r\nX-Receiver: ada@example.org\r\nSubject: x\r\n\r\n.dot\r\nbare\r\n");
    }

    #[test]
    fn sessions_that_begin_at_the_same_time_do_not_take_the_folder_for_missing() {
        let folder = tempfile::tempdir().unwrap();
        let plan = PickupPlan::new(folder.path());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..200).for_each(|_| probe(&plan).unwrap()));
            }
        });
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn without_x_headers_nobody_but_the_cleared_recipient_is_named() {
        let own = "From: f@example.org\r\nTo: Ada <ada@example.org>\r\n\r\nTo: eve@example.org\r\n";
        assert_eq!(composed("ada@example.org", own, false), own);
        let copied = "From: f@example.org\r\nTo: Ada\r\n <ada@example.org>\r\nCc: bob@example.org\r\nSubject: x\r\n\r\nbody\r\n";
        assert_eq!(
            composed("test@example.org", copied, false),
            "To: test@example.org\r\nFrom: f@example.org\r\nSubject: x\r\n\r\nbody\r\n"
        );
        assert!(!composed("ada@example.org", copied, false).contains("bob"));
    }

    #[test]
    fn a_second_attempt_sees_the_first_also_under_the_servers_names() {
        for extension in ["eml", "tmp", "bad"] {
            let folder = tempfile::tempdir().unwrap();
            let item = Id::from_number(77);
            fs::write(folder.path().join(format!("{item}.{extension}")), "as it was").unwrap();
            let outcomes = hand_over(&plan(folder.path()), &[load("ada@example.org", "\r\nx")]).unwrap();
            assert!(matches!(&outcomes[0], Outcome::Sent { reply } if reply.contains("earlier attempt")), "{outcomes:?}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
            assert_eq!(fs::read_to_string(folder.path().join(format!("{item}.{extension}"))).unwrap(), "as it was");
        }
    }

    #[test]
    fn a_file_that_appears_meanwhile_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let (part, name) = (folder.path().join("a.part"), folder.path().join("a.eml"));
        fs::write(&part, "second").unwrap();
        fs::write(&name, "first").unwrap();
        rename_without_overwriting(&part, &name).unwrap();
        assert_eq!(fs::read_to_string(&name).unwrap(), "first");
        assert!(!part.exists());
    }

    #[test]
    fn a_missing_folder_is_trouble_with_advice() {
        let trouble = probe(&plan(Path::new("/nowhere/at/all"))).unwrap_err();
        assert_eq!(trouble.kind, TroubleKind::Folder);
        assert!(trouble.sentence().contains("does not exist"), "{trouble}");
    }
}
