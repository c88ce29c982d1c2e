//! Encryption of the connection to the server, by `sslmode` as libpq means it (PostgreSQL documentation, "SSL Support", table 34.1).

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use std::{path::PathBuf, sync::Arc};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How much a server has to prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Nothing: `prefer` and `require` only keep out who listens.
    Any,
    /// That its certificate is of a known authority: `verify-ca`.
    Authority,
    /// That it is the host that was asked for, too: `verify-full`.
    Host,
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What TLS needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) trust: Trust,
    /// `sslrootcert`; the system's authorities if absent.
    pub(crate) authorities: Option<PathBuf>,
}

/// The connector.
pub(crate) fn connector(plan: &Plan) -> Result<MakeRustlsConnect, Cause> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match plan.trust {
        Trust::Any => Arc::new(Lenient { judge: None, provider: Arc::clone(&provider) }),
        Trust::Authority => Arc::new(Lenient { judge: Some(judge(plan, &provider)?), provider: Arc::clone(&provider) }),
        Trust::Host => judge(plan, &provider)?,
    };
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(MakeRustlsConnect::new(config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()))
}

fn judge(plan: &Plan, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, Cause> {
    let Some(path) = &plan.authorities else {
        return Ok(Arc::new(rustls_platform_verifier::Verifier::new(Arc::clone(provider))?));
    };
    let failed = |error: Cause| -> Cause { format!("sslrootcert {}: {error}", path.display()).into() };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| failed(error.into()))? {
        roots.add(certificate.map_err(|error| failed(error.into()))?).map_err(|error| failed(error.into()))?;
    }
    if roots.is_empty() {
        return Err(failed("it holds no certificate".into()));
    }
    Ok(WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build().map_err(|error| failed(error.into()))?)
}

/// Asks for less than the whole: no authority at all, or one but for any name.
#[derive(Debug)]
struct Lenient {
    judge: Option<Arc<dyn ServerCertVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use rustls::{
            CertificateError::{NotValidForName, NotValidForNameContext},
            Error::InvalidCertificate,
        };
        let Some(judge) = &self.judge else { return Ok(ServerCertVerified::assertion()) };
        match judge.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is looked at last, when the authority has been found to be known.
            Err(InvalidCertificate(NotValidForName | NotValidForNameContext { .. })) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
