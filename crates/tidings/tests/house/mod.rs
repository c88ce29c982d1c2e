//! The harness: the real binary in a folder of its own, with a mail sink as its relay.
//!
//! ```ignore
//! let house = House::start(|config| config.relay_key("limits", "{ sessions = 2 }"));
//! house.accept(&[events::test_letter("1", "ada@example.org")]);
//! let letters = house.sink.wait_for(1);
//! ```
//!
//! Everything is synchronous. What cannot be done is a panic that says why; the folder of a test that fails is kept and its place printed.

#![allow(dead_code, reason = "each test file uses a part of the harness")]

pub(crate) mod config;
pub(crate) mod events;
pub(crate) mod mail;
pub(crate) mod metrics;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;
use tidings_testkit::folder::Folder;
use tidings_testkit::http::{self, Reply};
use tidings_testkit::ports::free_port;
use tidings_testkit::process::{Ended, Program, Running, installed};
use tidings_testkit::wait;

pub(crate) use config::Config;
pub(crate) use mail::Mail;
pub(crate) use metrics::Metrics;

/// How long a test waits for something that is to happen. Generous: two busy cores, a debug build.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The media types of the event API.
pub(crate) const STRUCTURED: &str = "application/cloudevents+json";
pub(crate) const BATCH: &str = "application/cloudevents-batch+json";

/// The scopes of the house's own token.
pub(crate) const SCOPES: &str = "events:write,outbox:read,outbox:write";

/// A house: a folder with configuration and database, a mail sink, and `tidings serve` while it runs. Fields are dropped in this order.
pub(crate) struct House {
    serving: Option<Running>,
    /// The mail relay.
    pub(crate) sink: Mail,
    /// Where the server listens, without a slash at the end.
    pub(crate) url: String,
    /// A token with all scopes that a client needs.
    pub(crate) token: String,
    config: Config,
    environment: Vec<(String, String)>,
    runs: AtomicU32,
    folder: Folder,
}

/// Where the binary under test is, for a suite that cargo does not tell.
pub(crate) static BINARY: OnceLock<PathBuf> = OnceLock::new();

/// The binary under test, without arguments.
#[allow(clippy::disallowed_methods, reason = "what the binary under test inherits is the harness's to decide")]
pub(crate) fn tidings() -> Program {
    // The history names the operator after these; nothing else of the surroundings may leak in.
    let binary = BINARY.get().map(PathBuf::as_path).or(option_env!("CARGO_BIN_EXE_tidings").map(Path::new));
    let program = Program::new(binary.expect("cargo, or the suite, says where the binary is")).env_clear().env("USER", "tester");
    ["PATH", "TMPDIR", "LLVM_PROFILE_FILE"].into_iter().fold(program, |program, name| match std::env::var_os(name) {
        Some(value) => program.env(name, value),
        None => program,
    })
}

/// What an independent reader (Python's `sqlite3`) finds in a database, one row a line.
#[track_caller]
pub(crate) fn sql(database: &Path, statement: &str) -> String {
    let script = "import sqlite3, sys\nfor row in sqlite3.connect(sys.argv[1], timeout=30).execute(sys.argv[2]): print(*row)";
    python(script, &[database.to_str().expect("a readable path"), statement])
}

/// Runs a Python program to its end; its output.
#[track_caller]
pub(crate) fn python(script: &str, arguments: &[&str]) -> String {
    let folder = Folder::new("python");
    let ended = Program::new(installed("python3", "python3")).args(["-I", "-c", script]).args(arguments).run(folder.path(), PATIENCE);
    assert!(ended.status.success(), "{}", ended.stderr);
    ended.stdout
}

/// Runs the binary with these arguments in an empty folder.
pub(crate) fn run(arguments: &[&str]) -> Ended {
    let folder = Folder::new("run");
    tidings().args(arguments).run(folder.path(), PATIENCE)
}

impl House {
    /// A house that is furnished and serves, with a token for every scope a client needs.
    pub(crate) fn start(configure: impl FnOnce(&mut Config)) -> Self {
        let mut house = Self::furnish(configure);
        house.token = house.create_token(SCOPES);
        house.serve();
        house
    }

    /// A house with its configuration written; nothing runs but the sink.
    pub(crate) fn furnish(configure: impl FnOnce(&mut Config)) -> Self {
        Self::furnish_with(Mail::open(), configure)
    }

    /// Like [`House::furnish`], with this sink as its relay.
    pub(crate) fn furnish_with(sink: Mail, configure: impl FnOnce(&mut Config)) -> Self {
        let folder = Folder::new("house");
        let listen = format!("127.0.0.1:{}", free_port());
        let mut config = Config::new(folder.path(), &listen, sink.addr().port());
        configure(&mut config);
        config.write();
        let url = format!("http://{listen}");
        Self { serving: None, sink, url, token: String::new(), config, environment: Vec::new(), runs: AtomicU32::new(0), folder }
    }

    /// The house's folder.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The configuration file.
    pub(crate) fn config_file(&self) -> PathBuf {
        self.config.file()
    }

    /// The folder of the database and the key.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The database.
    pub(crate) fn database(&self) -> PathBuf {
        self.data_dir().join("tidings.db")
    }

    /// Changes the configuration file; it counts from the next start on.
    pub(crate) fn reconfigure(&mut self, change: impl FnOnce(&mut Config)) {
        change(&mut self.config);
        self.config.write();
    }

    /// Sets a variable of the environment for the server and the commands from now on.
    pub(crate) fn set_environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// The binary in this house's surroundings, with these arguments and then the configuration.
    fn program(&self, arguments: &[&str]) -> Program {
        let program = tidings().args(arguments).args(["-c".into(), self.config.file()]);
        self.environment.iter().fold(program, |program, (name, value)| program.env(name, value))
    }

    // ----- the server -----------------------------------------------------------------------------------------------------------------

    /// Starts `tidings serve` and waits until it is ready.
    pub(crate) fn serve(&mut self) {
        self.serve_unready();
        let url = format!("{}/readyz", self.url);
        self.serving.as_mut().expect("just started").wait_ready(&url, PATIENCE);
    }

    /// Starts `tidings serve` and does not wait for it.
    pub(crate) fn serve_unready(&mut self) {
        assert!(self.serving.is_none(), "it serves already");
        self.serving = Some(self.start_serving());
    }

    /// Starts `tidings serve` for somebody who looks after it alone, and does not wait for it.
    pub(crate) fn start_serving(&self) -> Running {
        self.program(&["serve"]).start(self.folder.path())
    }

    /// Gives the running server away.
    pub(crate) fn take_serving(&mut self) -> Running {
        self.serving.take().expect("it serves")
    }

    /// The running server.
    pub(crate) fn serving(&mut self) -> &mut Running {
        self.serving.as_mut().expect("it serves")
    }

    /// SIGKILL to `tidings serve`.
    pub(crate) fn kill9(&mut self) {
        self.serving.take().expect("it serves").kill9();
    }

    /// SIGTERM to `tidings serve`, and waits for its end.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        let mut serving = self.serving.take().expect("it serves");
        serving.terminate();
        serving.wait(PATIENCE).unwrap_or_else(|| panic!("it has not ended {PATIENCE:?} after SIGTERM:\n{}", self.log()))
    }

    /// Everything that `tidings serve` has logged, in this run and earlier ones.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("tidings.err")).unwrap_or_default()
    }

    /// Whether the log says this.
    pub(crate) fn log_has(&self, words: &str) -> bool {
        self.log().contains(words)
    }

    // ----- commands -------------------------------------------------------------------------------------------------------------------

    /// Runs a command on this house's configuration.
    pub(crate) fn command(&self, arguments: &[&str]) -> Ended {
        self.command_with_input(arguments, "")
    }

    /// Runs a command on this house's configuration, with this on standard input.
    pub(crate) fn command_with_input(&self, arguments: &[&str], input: &str) -> Ended {
        self.run(self.program(arguments), input)
    }

    /// Runs a command that takes no configuration.
    pub(crate) fn bare_command(&self, arguments: &[&str], input: &str) -> Ended {
        self.run(tidings().args(arguments), input)
    }

    fn run(&self, program: Program, input: &str) -> Ended {
        // Output is appended to files of one name: each run needs its own folder.
        let run = self.folder.join("runs").join(self.runs.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir_all(&run).expect("a folder in our own folder can be made");
        program.input(input).run(&run, PATIENCE)
    }

    /// Runs a command with `--json`, demands that it succeeds, and reads its output.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        let ended = self.command(&arguments);
        assert!(ended.status.success(), "tidings {}: {}\n{}", arguments.join(" "), ended.status, ended.stderr);
        serde_json::from_str(&ended.stdout)
            .unwrap_or_else(|error| panic!("tidings {}: no JSON ({error}): {}", arguments.join(" "), ended.stdout))
    }

    /// `tidings outbox list` with these filters, without a limit.
    #[track_caller]
    pub(crate) fn outbox(&self, filters: &[&str]) -> Vec<Value> {
        let arguments: Vec<&str> = ["outbox", "list", "--limit", "1000000"].iter().chain(filters).copied().collect();
        match self.json(&arguments) {
            Value::Array(items) => items,
            other => panic!("a list is an array, not {other}"),
        }
    }

    /// `tidings outbox show` of the item.
    #[track_caller]
    pub(crate) fn show(&self, id: &str) -> Value {
        self.json(&["outbox", "show", id])
    }

    /// The entry of `tidings relay list` of this name.
    #[track_caller]
    pub(crate) fn relay(&self, name: &str) -> Value {
        let relays = self.json(&["relay", "list"]);
        let relays = relays.as_array().expect("a list is an array");
        relays.iter().find(|relay| relay["name"] == name).unwrap_or_else(|| panic!("no relay {name} among {relays:?}")).clone()
    }

    /// `tidings token create` with these scopes; the token.
    #[track_caller]
    pub(crate) fn create_token(&self, scopes: &str) -> String {
        let created = self.json(&["token", "create", "--scope", scopes, "--name", "test"]);
        created["token"].as_str().expect("a token is a text").to_owned()
    }

    // ----- HTTP -----------------------------------------------------------------------------------------------------------------------

    /// POST of anything to the event API, with the house's token.
    pub(crate) fn post(&self, content_type: &str, body: impl AsRef<[u8]>) -> Reply {
        let url = format!("{}/v1/events", self.url);
        http::post(&url, Some(&self.token), content_type, body.as_ref()).expect("the server answers")
    }

    /// Posts one event in structured mode.
    pub(crate) fn post_event(&self, event: &Value) -> Reply {
        self.post(STRUCTURED, event.to_string())
    }

    /// Posts a batch.
    pub(crate) fn post_batch(&self, events: &[Value]) -> Reply {
        self.post(BATCH, serde_json::to_vec(events).expect("values serialise"))
    }

    /// Posts a batch that must be accepted; the ids this house gave the events.
    #[track_caller]
    pub(crate) fn accept(&self, events: &[Value]) -> Vec<String> {
        let reply = self.post_batch(events);
        assert_eq!(reply.status, 202, "{}", reply.text());
        let ids = reply.json()["ids"].as_array().expect("ids are a list").clone();
        ids.iter().map(|id| id.as_str().expect("an id is a text").to_owned()).collect()
    }

    /// Any request with the house's token.
    pub(crate) fn request(&self, method: &str, path: &str) -> Reply {
        let bearer = format!("Bearer {}", self.token);
        http::request(method, &format!("{}{path}", self.url), &[("Authorization", &bearer)], &[]).expect("the server answers")
    }

    /// GET with the house's token; must be answered with 200 and JSON.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Value {
        let reply = self.request("GET", path);
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        reply.json()
    }

    /// `/metrics` now.
    #[track_caller]
    pub(crate) fn metrics(&self) -> Metrics {
        let reply = self.request("GET", "/metrics");
        assert_eq!(reply.status, 200);
        Metrics::parse(&reply.text())
    }

    // ----- waiting --------------------------------------------------------------------------------------------------------------------

    /// Looks until there is something to see.
    #[track_caller]
    pub(crate) fn until<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> T {
        self.until_within(what, PATIENCE, look)
    }

    /// Likewise, with this much patience.
    #[track_caller]
    pub(crate) fn until_within<T>(&self, what: &str, patience: Duration, mut look: impl FnMut() -> Option<T>) -> T {
        wait::try_until(patience, &mut look)
            .unwrap_or_else(|| panic!("waited {patience:?} in vain for {what}; the log says:\n{}", self.last_log_lines()))
    }

    /// Waits until this holds, with three times the usual patience.
    #[track_caller]
    pub(crate) fn until_all(&self, what: &str, holds: impl Fn() -> bool) {
        let done = wait::try_until(PATIENCE * 3, || holds().then_some(()));
        assert!(done.is_some(), "waited {:?} in vain for {what}; the log says:\n{}", PATIENCE * 3, self.last_log_lines());
    }

    /// Waits until nothing waits and nothing is claimed. Asks the running server.
    #[track_caller]
    pub(crate) fn until_quiet(&self) {
        self.until_quiet_within(PATIENCE);
    }

    /// Likewise, with this much patience.
    #[track_caller]
    pub(crate) fn until_quiet_within(&self, patience: Duration) {
        let quiet = wait::try_until(patience, || self.is_quiet().then_some(()));
        assert!(quiet.is_some(), "letters still wait after {patience:?}; the log says:\n{}", self.last_log_lines());
    }

    /// Whether nothing waits and nothing is claimed: by two looks that must be answered, and because between them letters may have come back and gone again, by one count of both.
    pub(crate) fn is_quiet(&self) -> bool {
        let busy =
            |state: &str| !self.get(&format!("/v1/outbox?state={state}&limit=1"))["items"].as_array().expect("items are a list").is_empty();
        let counted = |metrics: &Metrics, state: &str| metrics.sum("tidings_queue_items", &[&format!("state=\"{state}\"")]);
        !busy("waiting") && !busy("claimed") && {
            let metrics = self.metrics();
            counted(&metrics, "waiting") + counted(&metrics, "claimed") < 0.5
        }
    }

    /// Waits until the one item to this address stands in this state; the item.
    #[track_caller]
    pub(crate) fn until_state(&self, to: &str, state: &str) -> Value {
        self.until(&format!("the item to {to} to be {state}"), || {
            let page = self.get(&format!("/v1/outbox?to={to}&state={state}"));
            page["items"].as_array().expect("items are a list").first().cloned()
        })
    }

    /// Waits until so many letters have come to the sink since it was opened, and then until nothing waits.
    #[track_caller]
    pub(crate) fn until_quiet_after(&self, letters: u64) {
        self.sink.wait_for(letters);
        self.until_quiet();
    }

    fn last_log_lines(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().rev().take(30).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for House {
    fn drop(&mut self) {
        drop(self.serving.take());
        if !std::thread::panicking() {
            let log = self.log();
            assert!(!log.contains("panicked"), "a task of the server panicked:\n{}", self.last_log_lines());
            // No full address in a log line; a few hundred letters tell.
            for letter in self.sink.letters().iter().take(300) {
                assert!(letter.to.iter().all(|to| !log.contains(to.as_str())), "the log names {:?}:\n{}", letter.to, self.last_log_lines());
            }
        }
    }
}
