//! The pickup directory of a mail server on this machine: a letter appears there whole, once, and under a name that a second attempt recognises.
//!
//! "Sent" means here only "handed to the folder". Letters are composed under a name that nobody polls, made durable, and renamed without overwriting;
//! several letters share the flush of the folder. The facts about Exchange, IIS and .NET behind this: Exchange polls `*.eml`, works on `*.tmp`, leaves
//! `*.bad`; files are not dot-stuffed.

use crate::{
    courier::{Courier, Load, RelayTrouble, SessionEnd, Source, TroubleKind},
    smtp::whole_lines,
};
use async_trait::async_trait;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};
use tidings_core::{
    Id,
    outbox::{Outcome, Stage},
};

/// Letters that share one flush of the folder.
const BATCH: usize = 32;
/// The extension under which a letter is composed; mail servers poll `eml` and use `tmp` themselves.
const COMPOSING: &str = "tidings-part";

/// Puts letters into a pickup directory.
pub struct PickupCourier {
    folder: Arc<Path>,
    x_headers: bool,
}

impl PickupCourier {
    /// A courier for `folder`; with `x_headers` the envelope stands in front of each letter (IIS, Exchange Replay).
    pub fn new(folder: PathBuf, x_headers: bool) -> Self {
        Self { folder: folder.into(), x_headers }
    }
}

#[async_trait]
impl Courier for PickupCourier {
    async fn session(&self, source: &mut dyn Source) -> SessionEnd {
        let folder = Arc::clone(&self.folder);
        if let Err(trouble) = blocking(move || probe(&folder)).await {
            return SessionEnd::Trouble(trouble);
        }
        source.opened();
        while let Some(first) = source.next().await {
            let mut batch = vec![first];
            while batch.len() < BATCH
                && let Some(load) = source.try_next()
            {
                batch.push(load);
            }
            let items: Vec<Id> = batch.iter().map(|load| load.item).collect();
            let (folder, x_headers) = (Arc::clone(&self.folder), self.x_headers);
            match blocking(move || hand_over(&folder, x_headers, &batch)).await {
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

/// Whether a file can be made in the folder; the permission bits alone do not tell.
fn probe(folder: &Path) -> Result<(), RelayTrouble> {
    let path = folder.join(format!("probe-{}.{COMPOSING}", std::process::id()));
    let made = create(&path).and_then(|_| fs::remove_file(&path));
    made.or_else(|error| if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(folder_trouble(folder, &error)) })
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o660).open(path)
}

/// Hands a batch over: all durable, or trouble; after trouble the ones already there are recognised by the next attempt.
fn hand_over(folder: &Path, x_headers: bool, batch: &[Load]) -> Result<Vec<Outcome>, RelayTrouble> {
    let trouble = |error: io::Error| folder_trouble(folder, &error);
    let mut outcomes = Vec::with_capacity(batch.len());
    let mut text = Vec::new();
    let mut composed = Vec::new();
    for load in batch {
        if let Some(there) = already_handed_over(folder, load.item) {
            outcomes.push(Outcome::Sent { reply: format!("{there} (handed over by an earlier attempt)") });
            continue;
        }
        text.clear();
        compose(load, x_headers, &mut text);
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
    for (part, name) in composed {
        rename_without_overwriting(&part, &name).map_err(trouble)?;
    }
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(trouble)?;
    Ok(outcomes)
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
fn compose(load: &Load, x_headers: bool, out: &mut Vec<u8>) {
    let to = load.to.address().as_str();
    if x_headers {
        let sender = load.sender.as_ref().map_or("<>", |sender| sender.as_str());
        out.extend_from_slice(format!("X-Sender: {sender}\r\nX-Receiver: {to}\r\n").as_bytes());
        whole_lines(&load.bytes, out);
    } else if addressed_only_to(&load.bytes, to) {
        whole_lines(&load.bytes, out);
    } else {
        // The mail server sends to everybody in To, Cc and Bcc: leave exactly the recipient whom the guard has let through.
        out.extend_from_slice(format!("To: {to}\r\n").as_bytes());
        let (fields, body) = split(&load.bytes);
        for field in fields.into_iter().filter(|field| recipient_field(field).is_none()) {
            whole_lines(field, out);
        }
        whole_lines(body, out);
    }
}

/// Header fields with their folded lines, and the rest from the empty line on.
fn split(message: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let mut fields = Vec::new();
    let (mut start, mut at) = (0, 0);
    while at < message.len() {
        let line = message[at..].iter().position(|b| *b == b'\n').map_or(message.len(), |end| at + end + 1);
        let folded = matches!(message[at], b' ' | b'\t');
        if !folded && at > start {
            fields.push(&message[start..at]);
            start = at;
        }
        if matches!(&message[at..line], b"\r\n" | b"\n") {
            return (fields, &message[at..]);
        }
        at = line;
    }
    fields.push(&message[start..]);
    (fields, &[])
}

/// The value of a field from which a mail server would take recipients.
fn recipient_field(field: &[u8]) -> Option<&[u8]> {
    let colon = field.iter().position(|b| *b == b':')?;
    let name = field[..colon].trim_ascii_end().to_ascii_lowercase();
    matches!(name.as_slice(), b"to" | b"cc" | b"bcc" | b"resent-to" | b"resent-cc" | b"resent-bcc").then(|| &field[colon + 1..])
}

/// Whether the headers name this recipient and nobody else.
fn addressed_only_to(message: &[u8], to: &str) -> bool {
    let (fields, _) = split(message);
    let named: Vec<&[u8]> = fields.into_iter().filter_map(recipient_field).collect();
    let [only] = named.as_slice() else { return false };
    let only = String::from_utf8_lossy(only);
    let only = only.trim();
    only.matches('@').count() == 1 && (only.eq_ignore_ascii_case(to) || only.to_lowercase().ends_with(&format!("<{}>", to.to_lowercase())))
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
        compose(&load(to, bytes), x_headers, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_envelope_stands_first_and_dots_stay_single() {
        let text = composed("ada@example.org", "Subject: x\r\n\r\n.dot\nbare\r\n", true);
        assert_eq!(text, "X-Sender: from@example.org\r\nX-Receiver: ada@example.org\r\nSubject: x\r\n\r\n.dot\r\nbare\r\n");
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
            let outcomes = hand_over(folder.path(), true, &[load("ada@example.org", "\r\nx")]).unwrap();
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
        let trouble = probe(Path::new("/nowhere/at/all")).unwrap_err();
        assert_eq!(trouble.kind, TroubleKind::Folder);
        assert!(trouble.sentence().contains("does not exist"), "{trouble}");
    }
}
