//! Encryption: whom to trust, and our own certificate.

use super::{
    error::LdapError,
    plan::{LdapPlan, PlanError, Server, Tls},
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use rustls_platform_verifier::BuilderVerifierExt as _;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// What is needed to encrypt connections; `None` if no server asks for it.
#[derive(Clone)]
pub(crate) struct Encryption(Option<TlsConnector>);

impl Encryption {
    pub(crate) fn from_plan(plan: &LdapPlan) -> Result<Self, PlanError> {
        if plan.servers.iter().all(|server| server.tls == Tls::None) {
            return Ok(Self(None));
        }
        let wrong = |what: &'static str| move |error: rustls::Error| PlanError::Tls { what, why: error.to_string() };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(wrong("TLS"))?;
        let builder = match &plan.ca_pem {
            Some(pem) => builder.with_root_certificates(authorities(pem)?),
            None => builder.with_platform_verifier().map_err(wrong("the platform's list of authorities"))?,
        };
        let config = match &plan.client_identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let chain = certificates("client_cert_file", chain)?;
                let key = PrivateKeyDer::from_pem_slice(key.reveal().as_bytes())
                    .map_err(|error| PlanError::Tls { what: "client_key_file", why: error.to_string() })?;
                builder.with_client_auth_cert(chain, key).map_err(wrong("client_cert_file with client_key_file"))?
            }
        };
        Ok(Self(Some(TlsConnector::from(Arc::new(config)))))
    }

    /// The handshake.
    pub(crate) async fn handshake(&self, server: &Server, stream: TcpStream) -> Result<TlsStream<TcpStream>, LdapError> {
        let failed = |why: String| LdapError::Tls { server: server.to_string(), why };
        let connector = self.0.as_ref().ok_or_else(|| failed("nothing was prepared for it".to_owned()))?;
        let name = ServerName::try_from(server.host.clone()).map_err(|_| failed(format!("`{}` is not a host name", server.host)))?;
        connector.connect(name, stream).await.map_err(|error| {
            let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            failed(cause.map_or_else(|| error.to_string(), explain))
        })
    }
}

fn authorities(pem: &[u8]) -> Result<RootCertStore, PlanError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("ca_file", pem)? {
        roots.add(certificate).map_err(|error| PlanError::Tls { what: "ca_file", why: error.to_string() })?;
    }
    if roots.is_empty() {
        return Err(PlanError::Tls { what: "ca_file", why: "it holds no certificate".to_owned() });
    }
    Ok(roots)
}

fn certificates(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PlanError> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|error| PlanError::Tls { what, why: error.to_string() })
}

fn explain(error: &rustls::Error) -> String {
    use rustls::CertificateError as Wrong;
    match error {
        rustls::Error::InvalidCertificate(Wrong::UnknownIssuer | Wrong::BadSignature) => {
            "its certificate is signed by an authority that is not trusted here; set ca_file to that authority's certificate".to_owned()
        }
        rustls::Error::InvalidCertificate(Wrong::NotValidForName | Wrong::NotValidForNameContext { .. }) => {
            "its certificate is made out to another name; write the name that the certificate bears into url".to_owned()
        }
        rustls::Error::InvalidCertificate(Wrong::Expired | Wrong::ExpiredContext { .. }) => "its certificate has expired".to_owned(),
        rustls::Error::InvalidMessage(_) => "what it sends is not TLS; use `ldap://` with starttls, or the port for ldaps (636)".to_owned(),
        rustls::Error::AlertReceived(alert) => {
            format!("it refused the handshake ({alert:?}); if it asks for a client certificate, set client_cert_file and client_key_file")
        }
        other => other.to_string(),
    }
}
