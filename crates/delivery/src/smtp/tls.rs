//! Encryption: trust, versions, our own certificate; and certificate errors in words an administrator understands.

use crate::{
    courier::{RelayTrouble, TroubleKind},
    error::TlsPlanError,
    plan::{SmtpPlan, TlsMin},
};
use rustls::{
    CertificateError, ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use std::{io, sync::Arc, time::Duration};
use tidings_core::{Timestamp, outbox::Stage};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// What is needed to encrypt a session with one relay.
#[derive(Clone)]
pub(crate) struct Encryption {
    connector: TlsConnector,
    name: ServerName<'static>,
    host: String,
}

impl Encryption {
    /// Reads certificates and keys of a plan.
    pub(crate) fn from_plan(plan: &SmtpPlan) -> Result<Self, TlsPlanError> {
        let name = ServerName::try_from(plan.host.clone()).map_err(|_| TlsPlanError::Host(plan.host.clone()))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions: &[_] = match plan.tls_min {
            TlsMin::V1_2 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            TlsMin::V1_3 => &[&rustls::version::TLS13],
        };
        let unusable = |what| move |source| TlsPlanError::Unusable { what, source };
        let builder =
            ClientConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions).map_err(unusable("tls_min"))?;
        let builder = if let Some(pem) = &plan.ca_pem {
            builder.with_root_certificates(authorities(pem)?)
        } else {
            let platform = rustls_platform_verifier::Verifier::new(provider).map_err(unusable("the platform's list of authorities"))?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(platform))
        };
        let config = match &plan.client_identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let chain = certificates("client_cert_file", chain)?;
                let key = PrivateKeyDer::from_pem_slice(key.reveal().as_bytes())
                    .map_err(|source| TlsPlanError::Pem { what: "client_key_file", source })?;
                builder.with_client_auth_cert(chain, key).map_err(unusable("client_cert_file with client_key_file"))?
            }
        };
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name, host: plan.host.clone() })
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

fn day(time: UnixTime) -> String {
    let moment = i64::try_from(time.as_secs()).ok().and_then(|s| Timestamp::from_second(s).ok());
    moment.map_or_else(|| "an unknown day".to_owned(), |moment| moment.strftime("%Y-%m-%d %H:%M UTC").to_string())
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
        rustls::Error::AlertReceived(alert) => trouble(format!("{host} refused the TLS handshake: {alert:?}"))
            .hint("if the relay asks for a client certificate, set client_cert_file and client_key_file to one it trusts"),
        other => trouble(format!("the TLS handshake with {host} failed: {other}")),
    }
}

fn certificate(wrong: &CertificateError, host: &str) -> RelayTrouble {
    let renew = "have the relay's administrator renew it; letters wait meanwhile";
    match wrong {
        CertificateError::ExpiredContext { not_after, .. } => {
            trouble(format!("the certificate of {host} expired on {}", day(*not_after))).hint(renew)
        }
        CertificateError::Expired => trouble(format!("the certificate of {host} has expired")).hint(renew),
        CertificateError::NotValidYetContext { not_before, .. } => {
            trouble(format!("the certificate of {host} is valid only from {}", day(*not_before))).hint("check the clocks of both machines")
        }
        CertificateError::NotValidYet => {
            trouble(format!("the certificate of {host} is not valid yet")).hint("check the clocks of both machines")
        }
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
