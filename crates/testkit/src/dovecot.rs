//! Dovecot, for its sign-in service only: Postfix asks it whether a name and a password fit.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::process::{Program, Running, installed};
use crate::wait;

/// Time to come up.
const READY: Duration = Duration::from_secs(20);

/// A running Dovecot with its own configuration and users.
#[derive(Debug)]
pub(crate) struct Dovecot {
    socket: PathBuf,
    /// Dropped, it ends.
    _running: Running,
}

impl Dovecot {
    /// Starts it below `folder`. `mechanisms` are Dovecot's names in lower case; access tokens are asked about at `introspection`.
    pub(crate) fn start(folder: &Path, users: &[(String, String)], mechanisms: &[String], introspection: Option<&str>) -> Self {
        let program = installed("dovecot", "dovecot-core");
        let own = folder.join("dovecot");
        std::fs::create_dir_all(&own).expect("a folder in our own folder can be made");
        let mut lines = String::new();
        for (name, password) in users {
            assert!(!name.contains([':', '\n']) && !password.contains([':', '\n']), "a passwd-file has no way to write {name:?}'s entry");
            writeln!(lines, "{name}:{{PLAIN}}{password}::::::").expect("a String takes everything");
        }
        std::fs::write(own.join("users"), lines).expect("a file in our own folder can be written");
        if let Some(url) = introspection {
            let settings = format!(
                "introspection_mode = post\nintrospection_url = {url}\nusername_attribute = username\nactive_attribute = active\nactive_value = true\n"
            );
            std::fs::write(own.join("oauth2.conf"), settings).expect("a file in our own folder can be written");
        }
        let socket = own.join("run/sign-in");
        let configuration = own.join("dovecot.conf");
        std::fs::write(&configuration, config(&own, &socket, mechanisms, introspection.is_some()))
            .expect("a file in our own folder can be written");
        let running = Program::new(program).args(["-F", "-c"]).args([&configuration]).start(&own);
        let ready = wait::try_until(READY, || std::os::unix::net::UnixStream::connect(&socket).ok());
        let log = || std::fs::read_to_string(own.join("log")).unwrap_or_default();
        assert!(ready.is_some(), "Dovecot does not come up: {} {}", running.stderr(), log());
        Self { socket, _running: running }
    }

    /// The socket on which it answers.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }
}

/// The syntax is that of Dovecot 2.3.
fn config(own: &Path, socket: &Path, mechanisms: &[String], tokens: bool) -> String {
    let (own, socket, mechanisms) = (own.display(), socket.display(), mechanisms.join(" "));
    let tokens = if tokens {
        format!("passdb {{\n  driver = oauth2\n  mechanisms = xoauth2 oauthbearer\n  args = {own}/oauth2.conf\n}}\n")
    } else {
        String::new()
    };
    format!(
        "base_dir = {own}/run
state_dir = {own}/run
log_path = {own}/log
protocols =
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_mechanisms = {mechanisms}
auth_username_format = %u
auth_failure_delay = 0
{tokens}passdb {{
  driver = passwd-file
  args = username_format=%u {own}/users
}}
userdb {{
  driver = static
  args = uid=65534 gid=65534 home=/nonexistent
}}
service anvil {{
  # Without this, every wrong password makes the next sign-in from this machine slower, by up to 15 s.
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service auth {{
  unix_listener {socket} {{
    mode = 0666
  }}
}}
"
    )
}
