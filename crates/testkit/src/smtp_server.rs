//! npm's smtp-server: an SMTP server written by others, with sign-in by PLAIN, LOGIN, CRAM-MD5 and XOAUTH2 after STARTTLS.

use serde_json::{Value, json};

use crate::certs::CertFiles;
use crate::folder::Folder;
use crate::neighbours;
use crate::process::{Program, Running, installed};

/// A running server. Dropped, it ends.
#[derive(Debug)]
pub struct SmtpServer {
    port: u16,
    running: Running,
    _folder: Folder,
}

impl SmtpServer {
    /// Starts it with this certificate. It lets in `user` with `password`, or with an access token that is good for `user` at `introspection`
    /// (RFC 7662, plain HTTP).
    ///
    /// # Panics
    /// If node or the package are not installed, or it does not come up.
    pub fn start(certificate: &CertFiles, user: &str, password: &str, introspection: &str) -> Self {
        let modules = neighbours::installed("smtp-server").join("node_modules");
        let folder = Folder::new("smtp-server");
        let settings = json!({
            "cert": certificate.cert_pem, "key": certificate.key_pem, "user": user, "password": password,
            "introspection": introspection,
        });
        let program = Program::new(installed("node", "nodejs")).env("NODE_PATH", modules);
        let mut running =
            program.args([neighbours::script("smtp-server/server.js").into_os_string(), settings.to_string().into()]).start(folder.path());
        let port = neighbours::port(&mut running);
        Self { port, running, _folder: folder }
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The letters it has taken: `method`, `user` and the list `to`.
    pub fn letters(&self) -> Vec<Value> {
        neighbours::lines(&self.running).split_off(1)
    }
}
