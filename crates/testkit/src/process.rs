//! Programs started by a test: the real binary, and the neighbours.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::http;
use crate::wait;

/// Time a program gets to end by itself when it is dropped.
const FAREWELL: Duration = Duration::from_secs(10);

/// The path of an installed program.
///
/// # Panics
/// If it is nowhere, naming the Debian `package` to install.
pub fn installed(program: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/bin", "/usr/local/bin"].map(PathBuf::from));
    folders
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| panic!("{program} is not installed, and this test needs it: apt-get install {package}"))
}

/// A program about to be started.
#[derive(Debug)]
pub struct Program {
    command: Command,
    name: String,
    input: Option<Vec<u8>>,
}

impl Program {
    /// The program at `path`, without arguments, with this process's environment.
    pub fn new(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        let name = path.file_name().map_or_else(|| "program".to_owned(), |name| name.to_string_lossy().into_owned());
        // It stays in the test's process group on purpose: a runner that ends a test by signalling its group ends its neighbours with it.
        let mut command = Command::new(path);
        command.stdin(Stdio::null());
        Self { command, name, input: None }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts from an empty environment.
    #[must_use]
    pub fn env_clear(mut self) -> Self {
        self.command.env_clear();
        self
    }

    /// What it reads from standard input; nothing unless given.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    /// Starts it in `folder`; its output is appended to the files `NAME.out` and `NAME.err` there.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(mut self, folder: &Path) -> Running {
        let open = |end: &str| {
            let path = folder.join(format!("{}.{end}", self.name));
            let file = File::options().create(true).append(true).open(&path);
            (file.unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display())), path)
        };
        let ((out, stdout), (err, stderr)) = (open("out"), open("err"));
        if self.input.is_some() {
            self.command.stdin(Stdio::piped());
        }
        self.command.current_dir(folder).stdout(out).stderr(err);
        let mut child = self.command.spawn().unwrap_or_else(|error| panic!("cannot start {}: {error}", self.name));
        if let Some(input) = self.input {
            let mut pipe = child.stdin.take().expect("it was asked for");
            // In a thread, because a program may end, or wait for its own reader, before it has read all.
            std::thread::spawn(move || {
                let _ = pipe.write_all(&input);
            });
        }
        Running { child, name: self.name, stdout, stderr, status: None }
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// If it cannot be started or has not ended `within` this time.
    pub fn run(self, folder: &Path, within: Duration) -> Ended {
        let mut running = self.start(folder);
        let status = running.wait(within);
        let (stdout, stderr) = (running.stdout(), running.stderr());
        let Some(status) = status else {
            running.kill9();
            panic!("{} has not ended within {within:?}; it said:\n{stdout}\n{stderr}", running.name);
        };
        Ended { status, stdout, stderr }
    }
}

/// A program that has ended.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// A program that runs. Dropped, it is asked to end and, after ten seconds, killed.
#[derive(Debug)]
pub struct Running {
    child: Child,
    name: String,
    stdout: PathBuf,
    stderr: PathBuf,
    status: Option<ExitStatus>,
}

impl Running {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard output, in this run and earlier ones in the same folder.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.stdout).unwrap_or_default()).into_owned()
    }

    /// What it has written to standard error, likewise.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.stderr).unwrap_or_default()).into_owned()
    }

    /// How it ended, if it has.
    pub fn status(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("a child of ours can be waited for");
        }
        self.status
    }

    /// Waits for its end; `None` if it still runs then.
    pub fn wait(&mut self, within: Duration) -> Option<ExitStatus> {
        wait::try_until(within, || self.status())
    }

    /// Waits until an HTTP GET of `url` is answered with 200.
    ///
    /// # Panics
    /// If it ends before, or is not ready `within` this time; the message holds what it wrote to standard error.
    pub fn wait_ready(&mut self, url: &str, within: Duration) {
        let ready = wait::try_until(within, || {
            if let Some(status) = self.status() {
                panic!("{} ended before it was ready ({status}):\n{}", self.name, self.stderr());
            }
            http::get(url).ok().filter(|reply| reply.status == 200)
        });
        assert!(ready.is_some(), "{} is not ready after {within:?}:\n{}", self.name, self.stderr());
    }

    /// SIGTERM: the polite request. Does nothing if it has ended.
    pub fn terminate(&mut self) {
        if self.status().is_none() {
            // It may end this very moment.
            let _ = kill_process(self.pid(), Signal::TERM);
        }
    }

    /// SIGHUP: many servers take their configuration anew then. Does nothing if it has ended.
    pub fn hang_up(&mut self) {
        if self.status().is_none() {
            // It may end this very moment.
            let _ = kill_process(self.pid(), Signal::HUP);
        }
    }

    /// SIGSTOP: it stands still until [`Running::thaw`], and what it is told waits.
    pub fn freeze(&mut self) {
        if self.status().is_none() {
            let _ = kill_process(self.pid(), Signal::STOP);
        }
    }

    /// SIGCONT: it goes on.
    pub fn thaw(&mut self) {
        if self.status().is_none() {
            let _ = kill_process(self.pid(), Signal::CONT);
        }
    }

    /// SIGKILL, to it alone, and waits for its end.
    pub fn kill9(&mut self) {
        if self.status().is_none() {
            // It may end this very moment.
            let _ = kill_process(self.pid(), Signal::KILL);
            self.status = Some(self.child.wait().expect("a child of ours can be waited for"));
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.terminate();
        if self.wait(FAREWELL).is_none() {
            self.kill9();
        }
    }
}
