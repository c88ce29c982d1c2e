//! A certificate authority for one test, and certificates good and bad.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd};

use crate::folder::Folder;

/// When a certificate holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// Now, and for long.
    Good,
    /// No longer: it ended in 2021.
    Expired,
    /// Not before the year 2100.
    NotYet,
}

/// A certificate and its key, both PEM files.
#[derive(Debug, Clone)]
pub struct CertFiles {
    /// The certificate.
    pub cert_pem: PathBuf,
    /// Its private key (PKCS #8).
    pub key_pem: PathBuf,
}

/// A certificate authority that nobody trusts who was not told to. Its files vanish with it.
pub struct TestCa {
    folder: Folder,
    issuer: Issuer<'static, KeyPair>,
    pem: PathBuf,
    issued: std::cell::Cell<u32>,
}

impl TestCa {
    /// A fresh authority with a key of its own.
    ///
    /// # Panics
    /// If the key or the files cannot be made.
    #[allow(clippy::new_without_default, reason = "making keys and files is not a default")]
    pub fn new() -> Self {
        let folder = Folder::new("ca");
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = params("Tidings test authority", Validity::Good);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).expect("a certificate can be signed");
        let pem = folder.write("ca.pem", certificate.pem());
        Self { folder, issuer: Issuer::new(params, key), pem, issued: std::cell::Cell::new(0) }
    }

    /// The authority's own certificate, for those who are to trust it.
    pub fn pem_path(&self) -> &Path {
        &self.pem
    }

    /// A server certificate for a host name or IP address. For a wrong-name test, issue one for another name.
    ///
    /// # Panics
    /// If `host` is neither.
    pub fn issue(&self, host: &str, validity: Validity) -> CertFiles {
        let mut params = params(host, validity);
        params.subject_alt_names = names(host);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(&params)
    }

    /// A client certificate for this name.
    pub fn issue_client(&self, name: &str, validity: Validity) -> CertFiles {
        let mut params = params(name, validity);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> CertFiles {
        let number = self.issued.replace(self.issued.get() + 1);
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate can be signed");
        CertFiles {
            cert_pem: self.folder.write(format!("{number}.pem"), certificate.pem()),
            key_pem: self.folder.write(format!("{number}.key"), key.serialize_pem()),
        }
    }
}

fn names(host: &str) -> Vec<rcgen::SanType> {
    CertificateParams::new(vec![host.to_owned()]).unwrap_or_else(|error| panic!("{host} is no host name: {error}")).subject_alt_names
}

fn params(name: &str, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let (from, to) = match validity {
        Validity::Good => (2020, 2099),
        Validity::Expired => (2020, 2021),
        Validity::NotYet => (2100, 2101),
    };
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(to, 1, 1);
    params
}
