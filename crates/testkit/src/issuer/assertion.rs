//! Judging signed assertions (RFC 7515, 7519, 7523) from the issuer's side.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{self, KeyPair as _, UnparsedPublicKey, VerificationAlgorithm};
use ring::{digest, rand::SystemRandom, rsa};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;

/// The longest life of an assertion, as at Microsoft.
const LONGEST_S: i64 = 600;

/// What the issuer knows of a client's key.
pub(super) struct PublicKey {
    bytes: Vec<u8>,
    is_rsa: bool,
    certificate: Option<Vec<u8>>,
}

impl PublicKey {
    pub(super) fn of(key: &Path, certificate: Option<&Path>) -> Self {
        let key = PrivateKeyDer::from_pem_file(key).expect("a key of ours is PEM");
        let der = key.secret_der();
        let rsa = rsa::KeyPair::from_pkcs8(der).or_else(|_| rsa::KeyPair::from_der(der)).map(|pair| pair.public().as_ref().to_vec());
        let (bytes, is_rsa) = rsa.map_or_else(
            |_| {
                let curve = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
                let pair = signature::EcdsaKeyPair::from_pkcs8(curve, der, &SystemRandom::new()).expect("a key of ours is RSA or P-256");
                (pair.public_key().as_ref().to_vec(), false)
            },
            |bytes| (bytes, true),
        );
        let certificate = certificate.map(|path| CertificateDer::from_pem_file(path).expect("a certificate of ours is PEM").to_vec());
        Self { bytes, is_rsa, certificate }
    }
}

/// Header and claims of an assertion, unjudged.
pub(super) fn parts(text: &str) -> Option<(Value, Value)> {
    let mut parts = text.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()));
    Some((parts.next()??, parts.next()??))
}

/// What an assertion must be.
pub(super) struct Judge<'a> {
    pub(super) key: &'a PublicKey,
    pub(super) issuer: &'a str,
    pub(super) subject: Option<&'a str>,
    pub(super) audience: &'a str,
}

impl Judge<'_> {
    /// The claims of an assertion that is good in all respects.
    pub(super) fn claims(&self, text: &str) -> Result<Value, String> {
        let (header, claims) = parts(text).ok_or("no JWT")?;
        let algorithm: &dyn VerificationAlgorithm = match (header["alg"].as_str(), self.key.is_rsa) {
            (Some("RS256"), true) => &signature::RSA_PKCS1_2048_8192_SHA256,
            (Some("PS256"), true) => &signature::RSA_PSS_2048_8192_SHA256,
            (Some("ES256"), false) => &signature::ECDSA_P256_SHA256_FIXED,
            (other, _) => return Err(format!("the algorithm {other:?} does not go with the key")),
        };
        let (signed, mark) = text.rsplit_once('.').ok_or("no JWT")?;
        let mark = URL_SAFE_NO_PAD.decode(mark).map_err(|_| "the signature is no base64url")?;
        UnparsedPublicKey::new(algorithm, &self.key.bytes).verify(signed.as_bytes(), &mark).map_err(|_| "the signature is wrong")?;
        if let Some(certificate) = &self.key.certificate {
            let sha1 = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, certificate));
            let sha256 = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, certificate));
            if header["x5t"] != sha1.as_str() && header["x5t#S256"] != sha256.as_str() {
                return Err("no thumbprint of the registered certificate".to_owned());
            }
        }
        if claims["iss"] != self.issuer || self.subject.is_some_and(|subject| claims["sub"] != subject) {
            return Err("iss or sub is another one".to_owned());
        }
        if claims["aud"] != self.audience {
            return Err(format!("aud is {}, not {}", claims["aud"], self.audience));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
        let time = |name: &str| claims[name].as_i64().unwrap_or(i64::MIN);
        if time("exp") <= now || time("exp") > now + LONGEST_S || time("iat") > now + 60 || time("iat") < now - LONGEST_S {
            return Err(format!("iat {} and exp {} do not fit the present {now}", claims["iat"], claims["exp"]));
        }
        Ok(claims)
    }
}
