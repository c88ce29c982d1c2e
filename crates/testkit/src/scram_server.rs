//! An SMTP server that takes SCRAM only, with channel binding: Python's scramp judges, OpenSSL gives the binding. TLS from the first byte.

use serde_json::{Value, json};

use crate::certs::CertFiles;
use crate::folder::Folder;
use crate::neighbours;
use crate::process::{Program, Running, installed};

/// How sign-in is bound to the session, and on which TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// `tls-exporter` (RFC 9266), TLS 1.3.
    Exporter,
    /// `tls-server-end-point` (RFC 5929), TLS 1.2.
    EndPoint,
}

/// A running server. Dropped, it ends.
#[derive(Debug)]
pub struct ScramServer {
    port: u16,
    running: Running,
    folder: Folder,
}

impl ScramServer {
    /// Starts it with this certificate, which must be signed with SHA-256.
    ///
    /// # Panics
    /// If Python or the packages are not installed, or it does not come up.
    pub fn start(certificate: &CertFiles, user: &str, password: &str, binding: Binding) -> Self {
        let packages = neighbours::installed("scram").join("packages");
        let folder = Folder::new("scram");
        let binding = match binding {
            Binding::Exporter => "tls-exporter",
            Binding::EndPoint => "tls-server-end-point",
        };
        let settings = json!({
            "cert": certificate.cert_pem, "key": certificate.key_pem, "user": user, "password": password, "binding": binding,
        });
        let program = Program::new(installed("python3", "python3")).env("PYTHONPATH", packages);
        let mut running =
            program.args([neighbours::script("scram/server.py").into_os_string(), settings.to_string().into()]).start(folder.path());
        let port = neighbours::port(&mut running);
        Self { port, running, folder }
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on it takes other bytes for the binding than the session's.
    pub fn break_binding(&self) {
        self.folder.write("broken", "");
    }

    /// The letters it has taken: `method`, `user`, and `binding` if there was one.
    pub fn letters(&self) -> Vec<Value> {
        neighbours::lines(&self.running).split_off(1)
    }
}
