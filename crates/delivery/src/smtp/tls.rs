//! Encryption: trust, versions, our own certificate; and certificate errors in words an administrator understands.

use super::witness::{Ending, Refused, Witness};
use crate::{
    courier::{RelayTrouble, TroubleKind},
    error::TlsPlanError,
    plan::{SmtpPlan, TlsMin},
    secret::Secret,
};
use rustls::{
    CertificateError, ClientConfig, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use std::{io, sync::Arc, time::Duration};
use tidings_core::outbox::Stage;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

pub(super) const CLIENT_CERTIFICATE_HINT: &str =
    "if the relay asks for a client certificate, set client_cert_file and client_key_file to one it trusts";

/// What is needed to encrypt a session with one relay.
#[derive(Clone)]
pub(crate) struct Encryption {
    connector: TlsConnector,
    name: ServerName<'static>,
    host: String,
    witness: Arc<Witness>,
}

impl Encryption {
    /// Reads certificates and keys of a plan.
    pub(crate) fn from_plan(plan: &SmtpPlan) -> Result<Self, TlsPlanError> {
        Self::with(&plan.host, plan.ca_pem.as_deref(), plan.client_identity.as_ref(), plan.tls_min)
    }

    /// For a host, with authorities to trust in place of the platform's, and a certificate and key to show (PEM).
    pub(crate) fn with(
        host: &str,
        ca_pem: Option<&[u8]>,
        client_identity: Option<&(Vec<u8>, Secret)>,
        tls_min: TlsMin,
    ) -> Result<Self, TlsPlanError> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| TlsPlanError::Host(host.to_owned()))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions: &[_] = match tls_min {
            TlsMin::V1_2 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            TlsMin::V1_3 => &[&rustls::version::TLS13],
        };
        let unusable = |what| move |source| TlsPlanError::Unusable { what, source };
        let builder =
            ClientConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions).map_err(unusable("tls_min"))?;
        let inner: Arc<dyn ServerCertVerifier> = if let Some(pem) = ca_pem {
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(authorities(pem)?), provider).build();
            verifier.map_err(|error| TlsPlanError::Unusable { what: "ca_file", source: rustls::Error::General(error.to_string()) })?
        } else {
            Arc::new(rustls_platform_verifier::Verifier::new(provider).map_err(unusable("the platform's list of authorities"))?)
        };
        let witness = Arc::new(Witness::beside(inner));
        let verifier: Arc<dyn ServerCertVerifier> = Arc::<Witness>::clone(&witness);
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let config = match client_identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let chain = certificates("client_cert_file", chain)?;
                let key = PrivateKeyDer::from_pem_slice(key.reveal().as_bytes())
                    .map_err(|source| TlsPlanError::Pem { what: "client_key_file", source })?;
                builder.with_client_auth_cert(chain, key).map_err(unusable("client_cert_file with client_key_file"))?
            }
        };
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name, host: host.to_owned(), witness })
    }

    /// What there is to say about a certificate that was accepted and will not be for long; and whether that has not been said today.
    pub(crate) fn warning(&self) -> Option<(String, bool)> {
        let (Ending { days, certificate }, is_news) = self.witness.ending()?;
        let left = match days {
            0 => "within a day".to_owned(),
            1 => "in 1 day".to_owned(),
            days => format!("in {days} days"),
        };
        Some((
            format!("the certificate of {} ends on {}, {left} ({certificate}); letters wait once it has", self.host, certificate.until()),
            is_news,
        ))
    }

    /// The handshake.
    pub(crate) async fn handshake(&self, stream: TcpStream, limit: Duration) -> Result<TlsStream<TcpStream>, RelayTrouble> {
        match tokio::time::timeout(limit, self.connector.connect(self.name.clone(), stream)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(explain(&error, &self.host)),
            Err(_) => Err(trouble(format!("the TLS handshake took longer than {} s", limit.as_secs_f64()))
                .hint("the port may expect clear text first: tls = \"starttls\"")),
        }
    }
}

fn authorities(pem: &[u8]) -> Result<RootCertStore, TlsPlanError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("ca_file", pem)? {
        roots.add(certificate).map_err(|source| TlsPlanError::Unusable { what: "ca_file", source })?;
    }
    if roots.is_empty() { Err(TlsPlanError::NoAuthority) } else { Ok(roots) }
}

fn certificates(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsPlanError> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|source| TlsPlanError::Pem { what, source })
}

fn trouble(what: impl Into<String>) -> RelayTrouble {
    RelayTrouble::new(TroubleKind::Tls, Stage::Tls, what)
}

/// A failed handshake as a sentence with advice.
fn explain(error: &io::Error, host: &str) -> RelayTrouble {
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return trouble(format!("the TLS handshake with {host} broke: {error}")).hint("the port may not speak TLS; check port and tls");
    };
    match error {
        rustls::Error::InvalidCertificate(wrong) => certificate(wrong, host),
        rustls::Error::InvalidMessage(_) => trouble(format!("what {host} sends is not TLS: {error}"))
            .hint("the port speaks clear text first: tls = \"starttls\", or use port 465 with tls = \"implicit\""),
        rustls::Error::PeerIncompatible(_) | rustls::Error::AlertReceived(rustls::AlertDescription::ProtocolVersion) => {
            trouble(format!("{host} offers no TLS version that is allowed here: {error}"))
                .hint("the relay is too old, or tls_min is too high")
        }
        rustls::Error::AlertReceived(alert) => {
            trouble(format!("{host} refused the TLS handshake: {alert:?}")).hint(CLIENT_CERTIFICATE_HINT)
        }
        other => trouble(format!("the TLS handshake with {host} failed: {other}")),
    }
}

fn certificate(wrong: &CertificateError, host: &str) -> RelayTrouble {
    let (wrong, shown) = match wrong {
        CertificateError::Other(inner) => match inner.0.downcast_ref::<Refused>() {
            Some(Refused { wrong, certificate }) => (wrong, certificate.as_ref()),
            None => (wrong, None),
        },
        wrong => (wrong, None),
    };
    let mut found = judged(wrong, host, shown.map(|shown| (shown.from(), shown.until())));
    if let Some(shown) = shown {
        found.what = format!("{} ({shown})", found.what);
    }
    found
}

/// `valid` is from when until when.
fn judged(wrong: &CertificateError, host: &str, valid: Option<(String, String)>) -> RelayTrouble {
    let renew = "have the relay's administrator renew it; letters wait meanwhile";
    let clocks = "check the clocks of both machines";
    match wrong {
        CertificateError::ExpiredContext { .. } | CertificateError::Expired => match valid {
            Some((_, until)) => trouble(format!("the certificate of {host} expired on {until}")),
            None => trouble(format!("the certificate of {host} has expired")),
        }
        .hint(renew),
        CertificateError::NotValidYetContext { .. } | CertificateError::NotValidYet => match valid {
            Some((from, _)) => trouble(format!("the certificate of {host} is valid only from {from}")),
            None => trouble(format!("the certificate of {host} is not valid yet")),
        }
        .hint(clocks),
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names = if presented.is_empty() { "no name at all".to_owned() } else { presented.join(", ") };
            trouble(format!("the certificate is made out to {names}, not to {host}"))
                .hint("set host to a name that the certificate carries, or have the relay's certificate reissued")
        }
        CertificateError::NotValidForName => {
            trouble(format!("the certificate is not made out to {host}")).hint("set host to a name that the certificate carries")
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            trouble(format!("the certificate of {host} is signed by an authority that is not trusted here"))
                .hint("set ca_file to the certificate of the authority that signed it")
        }
        CertificateError::Revoked => trouble(format!("the certificate of {host} was revoked")).hint(renew),
        CertificateError::Other(inner) if inner.to_string().contains("CaUsedAsEndEntity") => {
            trouble(format!("{host} shows the certificate of an authority as its own"))
                .hint("give the relay a certificate of its own, signed by that authority")
        }
        other => trouble(format!("the certificate of {host} is not accepted: {other}")).hint("check the relay's certificate and ca_file"),
    }
}
