//! Channel binding (RFC 5056): what ties a sign-in to the TLS session it runs in, so that somebody between cannot pass it on.
//!
//! On TLS 1.3 it is `tls-exporter` (RFC 9266 §2); below, `tls-server-end-point` (RFC 5929 §4), because TLS 1.2 without the extended master secret must not use an
//! exporter for this.

use ring::digest;
use rustls::{ClientConnection, ProtocolVersion};
use x509_parser::{prelude::FromDer as _, signature_algorithm::RsaSsaPssParams, x509::AlgorithmIdentifier};

/// A binding and its name in IANA's registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binding {
    pub(super) name: &'static str,
    pub(super) data: Vec<u8>,
}

/// The binding of a TLS session, if it has one.
pub(super) fn of(connection: &ClientConnection) -> Option<Binding> {
    if connection.protocol_version()? == ProtocolVersion::TLSv1_3 {
        // RFC 9266 §2: this label, a context of no bytes, 32 bytes.
        let data = connection.export_keying_material(vec![0; 32], b"EXPORTER-Channel-Binding", Some(b"")).ok()?;
        return Some(Binding { name: "tls-exporter", data });
    }
    let certificate = connection.peer_certificates()?.first()?;
    Some(Binding { name: "tls-server-end-point", data: end_point(certificate)? })
}

/// RFC 5929 §4.1: the digest of the relay's certificate by the hash of its signature, SHA-256 in place of MD5 and SHA-1. `None` for signatures without one hash.
fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(certificate).ok()?;
    let hash = hash_of(&parsed.signature_algorithm)?;
    Some(digest::digest(hash, certificate).as_ref().to_vec())
}

fn hash_of(signature: &AlgorithmIdentifier<'_>) -> Option<&'static digest::Algorithm> {
    match signature.algorithm.to_id_string().as_str() {
        // RSA with MD5, SHA-1, SHA-256; ECDSA with SHA-1, SHA-256 (RFC 8017 appendix C, RFC 5758 §3.2).
        "1.2.840.113549.1.1.4" | "1.2.840.113549.1.1.5" | "1.2.840.113549.1.1.11" | "1.2.840.10045.4.1" | "1.2.840.10045.4.3.2" => {
            Some(&digest::SHA256)
        }
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => Some(&digest::SHA384),
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => Some(&digest::SHA512),
        // RSASSA-PSS names its hash in its parameters (RFC 4055 §3.1); SHA-1 unless told.
        "1.2.840.113549.1.1.10" => {
            let parameters = RsaSsaPssParams::try_from(signature.parameters.as_ref()?).ok()?;
            match parameters.hash_algorithm_oid().to_id_string().as_str() {
                "1.3.14.3.2.26" | "2.16.840.1.101.3.4.2.1" => Some(&digest::SHA256),
                "2.16.840.1.101.3.4.2.2" => Some(&digest::SHA384),
                "2.16.840.1.101.3.4.2.3" => Some(&digest::SHA512),
                _ => None,
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    fn certificate(algorithm: &'static rcgen::SignatureAlgorithm) -> Vec<u8> {
        let key = KeyPair::generate_for(algorithm).unwrap();
        CertificateParams::new(vec!["relay.example.org".to_owned()]).unwrap().self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_end_point_is_the_digest_by_the_hash_of_the_signature() {
        for (algorithm, length) in [(&rcgen::PKCS_ECDSA_P256_SHA256, 32), (&rcgen::PKCS_ECDSA_P384_SHA384, 48)] {
            let der = certificate(algorithm);
            let hash = if length == 32 { &digest::SHA256 } else { &digest::SHA384 };
            assert_eq!(end_point(&der).unwrap(), digest::digest(hash, &der).as_ref());
        }
    }

    #[test]
    fn a_signature_without_one_hash_gives_no_binding() {
        assert_eq!(end_point(&certificate(&rcgen::PKCS_ED25519)), None);
        assert_eq!(end_point(b"no certificate"), None);
    }
}
