//! An agent in a folder of its own, set up by an `appsettings.json`.

use std::fs;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use tidings_testkit::folder::Folder;
use tidings_testkit::http::{self, Reply};
use tidings_testkit::ports::free_port;
use tidings_testkit::process::{Ended, Program, Running};
use tidings_testkit::wait;

use crate::house::{PATIENCE, STRUCTURED, tidings};

/// The path and the parameter of the confirmation page, as Netwrix's documentation has them.
pub(crate) const PAGE: &str = "/PasswordReset/Activate/";
pub(crate) const PARAMETER: &str = "activationCode";

pub(crate) struct Agent {
    running: Option<Running>,
    /// Where it listens, without a slash at the end.
    pub(crate) url: String,
    pub(crate) token: String,
    folder: Folder,
    runs: AtomicU32,
}

impl Agent {
    /// A folder with settings whose mail goes to this port; nothing runs. `change` changes the settings.
    pub(crate) fn furnish(mail_port: u16, change: impl FnOnce(&mut Value)) -> Self {
        let folder = Folder::new("agent");
        let listen = format!("127.0.0.1:{}", free_port());
        let url = format!("http://{listen}");
        let mut settings = json!({
            "PasswordResetSettings": {
                "MailSettings": { "FromAddress": "no-reply@nordwind.example", "Host": "127.0.0.1", "Port": mail_port, "SecureSocketOption": "None" },
                "TwoFactorSettings": { "ApplicationUri": "https://app.nordwind.example/", "ResetConfirmationUri": format!("{url}{PAGE}?{PARAMETER}=") }
            },
            "Tidings": { "Listen": listen, "Organisation": { "Name": "Nordwind" }, "Database": { "MinFree": "1MiB" } }
        });
        change(&mut settings);
        // With comments, as such files have them.
        folder.write("appsettings.json", format!("// The agent's settings.\n{settings:#}\n"));
        Self { running: None, url, token: String::new(), folder, runs: AtomicU32::new(0) }
    }

    /// An agent that runs, with a token that may post.
    pub(crate) fn start(mail_port: u16, change: impl FnOnce(&mut Value)) -> Self {
        let mut agent = Self::furnish(mail_port, change);
        agent.token = agent.create_token("events:write,outbox:read");
        agent.serve();
        agent
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn serve(&mut self) {
        let program = tidings().args(["agent", "--appsettings"]).args([self.path("appsettings.json")]);
        let mut running = program.start(self.folder.path());
        running.wait_ready(&format!("{}/readyz", self.url), PATIENCE);
        self.running = Some(running);
    }

    /// Likewise for one that speaks TLS, with the caller's way to see whether it is ready.
    pub(crate) fn serve_tls(&mut self, ready: impl Fn() -> bool) {
        let program = tidings().args(["agent", "--appsettings"]).args([self.path("appsettings.json")]);
        self.running = Some(program.start(self.folder.path()));
        let up = wait::try_until(PATIENCE, || ready().then_some(()));
        assert!(up.is_some(), "it is not ready:\n{}", self.log());
    }

    pub(crate) fn kill9(&mut self) {
        self.running.take().expect("it runs").kill9();
    }

    pub(crate) fn terminate(&mut self) -> ExitStatus {
        let mut running = self.running.take().expect("it runs");
        running.terminate();
        running.wait(PATIENCE).expect("it ends after SIGTERM")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("tidings.err")).unwrap_or_default()
    }

    pub(crate) fn run(&self, program: Program) -> Ended {
        let run = self.folder.join("runs").join(self.runs.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir_all(&run).expect("our own folder");
        program.run(&run, PATIENCE)
    }

    /// A command on this agent's settings.
    pub(crate) fn command(&self, arguments: &[&str]) -> Ended {
        let settings = self.path("appsettings.json");
        self.run(tidings().args(arguments).args(["--appsettings".into(), settings]))
    }

    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let ended = self.command(&arguments.iter().copied().chain(["--json"]).collect::<Vec<_>>());
        assert!(ended.status.success(), "{arguments:?}: {}", ended.stderr);
        serde_json::from_str(&ended.stdout).expect("JSON")
    }

    #[track_caller]
    pub(crate) fn create_token(&self, scopes: &str) -> String {
        self.json(&["token", "create", "--scope", scopes, "--name", "server"])["token"].as_str().expect("a text").to_owned()
    }

    pub(crate) fn post(&self, event: &Value) -> Reply {
        http::post(&format!("{}/v1/events", self.url), Some(&self.token), STRUCTURED, event.to_string().as_bytes()).expect("it answers")
    }

    #[track_caller]
    pub(crate) fn accept(&self, event: &Value) {
        let reply = self.post(event);
        assert_eq!(reply.status, 202, "{}", reply.text());
    }

    /// A page as a browser asks for it.
    #[expect(clippy::unused_self, reason = "it is asked of an agent, whose address the link holds")]
    pub(crate) fn get(&self, url: &str, language: &str) -> Reply {
        http::request("GET", url, &[("Accept-Language", language)], &[]).expect("it answers")
    }

    /// The page's button.
    #[expect(clippy::unused_self, reason = "it is asked of an agent, whose address the link holds")]
    pub(crate) fn press(&self, url: &str) -> Reply {
        http::request("POST", url, &[("Content-Type", "application/x-www-form-urlencoded")], &[]).expect("it answers")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.running.take());
        if !std::thread::panicking() {
            assert!(!self.log().contains("panicked"), "a task of the agent panicked:\n{}", self.log());
        }
    }
}
