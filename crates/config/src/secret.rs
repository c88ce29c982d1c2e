//! Secrets: read from where the configuration says, wiped from memory, never printed.

use crate::{error::SecretError, load::Loading, read::Table};
use std::{
    fmt,
    io::Read,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};
use zeroize::Zeroizing;

/// How long a command may take to give a secret.
const COMMAND_LIMIT: Duration = Duration::from_secs(10);
/// The longest secret that is read, in bytes.
const LONGEST: u64 = 64 * 1024;

/// A secret. Prints as `***`, is wiped from memory when dropped, and is read only by [`Secret::reveal`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// A secret of this text.
    pub fn of(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The secret itself. Whoever asks sees to it that it goes nowhere but to whom it was given for.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The secret `name` of a table, from the key itself or one of its twins; `None` if none is written, or if it was told as a problem.
pub(crate) fn read(loading: &Loading<'_>, table: &Table<'_>, name: &str) -> Option<Secret> {
    let ways = [name.to_owned(), format!("{name}_file"), format!("{name}_env"), format!("{name}_command")];
    let written: Vec<&String> = ways.iter().filter(|way| table.has(way)).collect();
    if let [first, second, ..] = written.as_slice() {
        loading.problem(table.place(second), table.key(second), format!("the secret is given by `{first}` already; write one of the two"));
        return None;
    }
    let way = written.first()?.as_str();
    let text = table.text(way)?;
    let key = table.key(way);
    let found = match way.strip_prefix(name).unwrap_or_default() {
        "_file" => from_file(loading, &loading.resolve(text), || (table.place(way), key.clone())),
        "_env" => loading.env(text).map(Secret::of).ok_or_else(|| SecretError::Environment(crate::problem::shown(text))),
        "_command" => from_command(text, loading.folder()),
        _ => Ok(Secret::of(text)),
    };
    match found.and_then(|secret| if secret.reveal().is_empty() { Err(SecretError::Empty) } else { Ok(secret) }) {
        Ok(secret) => Some(secret),
        Err(error) => {
            loading.problem(table.place(way), key, error.to_string());
            None
        }
    }
}

fn from_file(loading: &Loading<'_>, path: &Path, place: impl Fn() -> (usize, String)) -> Result<Secret, SecretError> {
    let failed = |why: std::io::Error| SecretError::File { path: path.display().to_string(), why: crate::load::said(&why) };
    let file = std::fs::File::open(path).map_err(failed)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let mode = file.metadata().map_err(failed)?.mode();
        if mode & 0o007 != 0 {
            let (at, key) = place();
            loading.warning(
                at,
                key,
                format!("`{}` is open to every user of this machine (mode {:03o}); chmod 600 it", path.display(), mode & 0o777),
            );
        }
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(LONGEST).read_to_end(&mut bytes).map_err(failed)?;
    as_text(&bytes)
}

/// UTF-8 without the line break that editors and `echo` leave at the end.
fn as_text(bytes: &[u8]) -> Result<Secret, SecretError> {
    let text = std::str::from_utf8(bytes).map_err(|_| SecretError::Encoding)?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    Ok(Secret::of(text.strip_suffix('\r').unwrap_or(text)))
}

fn from_command(command: &str, folder: &Path) -> Result<Secret, SecretError> {
    from_command_within(command, folder, COMMAND_LIMIT)
}

fn from_command_within(command: &str, folder: &Path, limit: Duration) -> Result<Secret, SecretError> {
    let failed = |why: &dyn fmt::Display| SecretError::Command(why.to_string());
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if folder.is_dir() {
        shell.current_dir(folder);
    }
    // A group of its own, so that everything the command started ends with it.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut shell, 0);
    let mut child = shell.spawn().map_err(|e| failed(&e))?;
    let (mut out, mut complaints) = (child.stdout.take(), child.stderr.take());
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        // Both pipes are drained, the second one in a thread of its own, so that a talkative command is not stuck.
        let complaints = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = complaints.as_mut().map(|pipe| pipe.take(LONGEST).read_to_end(&mut text));
            text
        });
        let mut bytes = Zeroizing::new(Vec::new());
        let read = out.as_mut().map_or(Ok(0), |pipe| pipe.take(LONGEST).read_to_end(&mut bytes));
        let _ = sender.send((read, bytes, complaints.join().unwrap_or_default()));
    });
    let Ok((read, bytes, complaints)) = receiver.recv_timeout(limit) else {
        end(&mut child);
        return Err(SecretError::CommandSlow(limit.as_secs()));
    };
    // The pipes are closed; what still runs has closed them to work on, and is not waited for beyond a moment.
    let deadline = std::time::Instant::now() + Duration::from_secs(1);
    let status = loop {
        match child.try_wait().map_err(|e| failed(&e))? {
            Some(status) => break status,
            None if std::time::Instant::now() > deadline => {
                end(&mut child);
                return Err(SecretError::CommandSlow(limit.as_secs()));
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    read.map_err(|e| failed(&e))?;
    if !status.success() {
        let said = String::from_utf8_lossy(&complaints);
        let last = said.lines().last().map(|line| format!(": {}", crate::problem::shown(line))).unwrap_or_default();
        return Err(failed(&format_args!("{status}{last}")));
    }
    as_text(&bytes)
}

/// Ends the command and what it started.
fn end(child: &mut Child) {
    #[cfg(unix)]
    if let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print() {
        let secret = Secret::of("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
        assert_eq!(secret.reveal(), "hunter2");
    }

    #[test]
    fn one_line_break_at_the_end_is_dropped() {
        assert_eq!(as_text(b"geheim\r\n").unwrap().reveal(), "geheim");
        assert_eq!(as_text(b"two\nlines\n\n").unwrap().reveal(), "two\nlines\n");
        assert_eq!(as_text(&[0xFF]), Err(SecretError::Encoding));
    }

    #[test]
    fn a_command_gives_a_secret_or_a_reason() {
        let run = |command: &str| from_command_within(command, Path::new("."), Duration::from_secs(10));
        assert_eq!(run("echo geheim").unwrap().reveal(), "geheim");
        let failed = run("echo no such entry >&2; exit 3").unwrap_err().to_string();
        assert_eq!(failed, "the command failed: exit status: 3: no such entry");
    }

    #[test]
    fn a_slow_command_is_ended() {
        let begun = std::time::Instant::now();
        let slow = from_command_within("sleep 30 & sleep 30", Path::new("."), Duration::from_millis(100));
        assert_eq!(slow, Err(SecretError::CommandSlow(0)));
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}
