//! Looks on while a relay's certificate is judged: keeps what an administrator wants to know of one that was refused, and when one that was accepted ends.

use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};
use tidings_core::Timestamp;
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _, x509::X509Name};

/// A certificate that ends within so many days is warned of.
const WARN_DAYS: i64 = 14;
const DAY: i64 = 24 * 60 * 60;
/// Most characters of a name that are shown.
const MAX_NAME: usize = 200;

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Certificate {
    subject: String,
    issuer: String,
    /// Seconds since 1970.
    from: i64,
    until: i64,
}

impl Certificate {
    /// `None` if it cannot be read.
    fn read(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let validity = certificate.validity();
        Some(Self {
            subject: name(certificate.subject()),
            issuer: name(certificate.issuer()),
            from: validity.not_before.timestamp(),
            until: validity.not_after.timestamp(),
        })
    }

    /// The first moment of its life.
    pub(crate) fn from(&self) -> String {
        moment(self.from)
    }

    /// The last moment of its life.
    pub(crate) fn until(&self) -> String {
        moment(self.until)
    }
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "subject {}; issuer {}; valid from {} to {}", self.subject, self.issuer, self.from(), self.until())
    }
}

fn name(name: &X509Name<'_>) -> String {
    let text: String = name.to_string().chars().map(|c| if c.is_control() { '?' } else { c }).take(MAX_NAME).collect();
    if text.is_empty() { "without a name".to_owned() } else { text }
}

fn moment(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| "an unknown day".to_owned(), |moment| moment.strftime("%Y-%m-%d %H:%M UTC").to_string())
}

/// A certificate that was refused, and why. Travels inside the TLS library's error.
#[derive(Debug, thiserror::Error)]
#[error("{wrong}")]
pub(crate) struct Refused {
    pub(crate) wrong: CertificateError,
    pub(crate) certificate: Option<Certificate>,
}

/// A certificate that was accepted and ends soon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ending {
    /// Whole days left.
    pub(crate) days: i64,
    pub(crate) certificate: Certificate,
}

#[derive(Debug, Default)]
struct Seen {
    ending: Option<Ending>,
    /// The day on which the ending was last told as news.
    told: Option<i64>,
    day: i64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Witness {
    judge: Arc<dyn ServerCertVerifier>,
    seen: Mutex<Seen>,
}

impl Witness {
    /// Beside the one who judges.
    pub(crate) fn beside(judge: Arc<dyn ServerCertVerifier>) -> Self {
        Self { judge, seen: Mutex::default() }
    }

    /// The latest certificate that was accepted, if it ends soon; and whether this is news: not told yet today.
    pub(crate) fn ending(&self) -> Option<(Ending, bool)> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let ending = seen.ending.clone()?;
        let day = seen.day;
        Some((ending, seen.told.replace(day) != Some(day)))
    }

    fn note(&self, certificate: Option<Certificate>, now: i64) {
        let days = certificate.as_ref().map_or(i64::MAX, |certificate| (certificate.until - now).div_euclid(DAY));
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.day = now.div_euclid(DAY);
        seen.ending = certificate.filter(|_| days < WARN_DAYS).map(|certificate| Ending { days, certificate });
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = self.judge.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verdict {
            Ok(verified) => {
                self.note(Certificate::read(end_entity), i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
                Ok(verified)
            }
            Err(Error::InvalidCertificate(wrong)) => {
                let refused = Refused { wrong, certificate: Certificate::read(end_entity) };
                Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refused)))))
            }
            Err(other) => Err(other),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.judge.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.judge.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.judge.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

    fn certificate(name: &str, year: i32) -> Certificate {
        let mut params = CertificateParams::new(vec!["relay.example.org".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(year, 12, 31));
        let signed = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        Certificate::read(signed.der()).unwrap()
    }

    fn witness() -> Witness {
        let mut roots = rustls::RootCertStore::empty();
        let signed = CertificateParams::new(vec!["a".to_owned()]).unwrap().self_signed(&KeyPair::generate().unwrap()).unwrap();
        roots.add(signed.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        Witness::beside(rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap())
    }

    #[test]
    fn a_certificate_tells_its_names_and_dates() {
        let text = certificate("relay\u{1b}[31m", 2030).to_string();
        assert!(text.starts_with("subject "), "{text}");
        assert!(text.contains("CN=relay?[31m") && text.ends_with("valid from 2000-01-01 00:00 UTC to 2030-12-31 00:00 UTC"), "{text}");
    }

    #[test]
    fn a_certificate_is_warned_of_in_its_last_days_once_a_day() {
        let (witness, certificate) = (witness(), certificate("relay", 2030));
        let days_before = |days: i64| certificate.until - days * DAY;
        witness.note(Some(certificate.clone()), days_before(15));
        assert_eq!(witness.ending(), None);
        witness.note(Some(certificate.clone()), days_before(13));
        let (ending, is_news) = witness.ending().unwrap();
        assert_eq!((ending.days, is_news), (13, true));
        assert!(!witness.ending().unwrap().1, "told already");
        witness.note(Some(certificate.clone()), days_before(12));
        assert!(witness.ending().unwrap().1, "another day");
        witness.note(None, days_before(11));
        assert_eq!(witness.ending(), None);
    }
}
