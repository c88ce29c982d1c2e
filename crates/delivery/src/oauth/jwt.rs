//! Assertions signed by the client's key (RFC 7515, 7519, 7523).

use super::plan::{ClientKey, Grant, KeyAlgorithm, TokenPlan};
use crate::error::KeyError;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{digest, rand::SystemRandom, rsa, signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

/// How long an assertion holds. Endpoints take at most 10 minutes (Microsoft) or an hour (Google); this leaves room for a clock that is a little off.
const LIFETIME_S: i64 = 300;

enum Key {
    Rsa(rsa::KeyPair),
    P256(signature::EcdsaKeyPair),
}

impl Key {
    fn read(pem: &str) -> Result<Self, KeyError> {
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(KeyError::Pem)?;
        match &der {
            PrivateKeyDer::Pkcs1(der) => {
                rsa::KeyPair::from_der(der.secret_pkcs1_der()).map(Self::Rsa).map_err(|e| KeyError::Unusable(e.to_string()))
            }
            PrivateKeyDer::Pkcs8(der) => {
                let der = der.secret_pkcs8_der();
                let curve = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
                rsa::KeyPair::from_pkcs8(der).map(Self::Rsa).or_else(|not_rsa| {
                    signature::EcdsaKeyPair::from_pkcs8(curve, der, &SystemRandom::new())
                        .map(Self::P256)
                        .map_err(|not_p256| KeyError::Unusable(format!("as RSA: {not_rsa}; as P-256: {not_p256}")))
                })
            }
            _ => Err(KeyError::Form),
        }
    }

    fn algorithm(&self, wanted: KeyAlgorithm) -> Result<&'static str, KeyError> {
        match (self, wanted) {
            (Self::Rsa(_), KeyAlgorithm::ByKey | KeyAlgorithm::Rs256) => Ok("RS256"),
            (Self::Rsa(_), KeyAlgorithm::Ps256) => Ok("PS256"),
            (Self::P256(_), KeyAlgorithm::ByKey | KeyAlgorithm::Es256) => Ok("ES256"),
            (Self::Rsa(_), KeyAlgorithm::Es256) => Err(KeyError::Algorithm { key: "an RSA key", cannot: "ES256" }),
            (Self::P256(_), KeyAlgorithm::Rs256) => Err(KeyError::Algorithm { key: "a P-256 key", cannot: "RS256" }),
            (Self::P256(_), KeyAlgorithm::Ps256) => Err(KeyError::Algorithm { key: "a P-256 key", cannot: "PS256" }),
        }
    }

    fn sign(&self, algorithm: &str, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let random = SystemRandom::new();
        let failed = |_| KeyError::Unusable("it does not sign".to_owned());
        match self {
            Self::Rsa(pair) => {
                let mut signed = vec![0; pair.public().modulus_len()];
                let padding: &dyn signature::RsaEncoding =
                    if algorithm == "PS256" { &signature::RSA_PSS_SHA256 } else { &signature::RSA_PKCS1_SHA256 };
                pair.sign(padding, &random, message, &mut signed).map_err(failed)?;
                Ok(signed)
            }
            Self::P256(pair) => Ok(pair.sign(&random, message).map_err(failed)?.as_ref().to_vec()),
        }
    }
}

/// An assertion for a token plan, dated `now_s` (seconds of Unix time), for the mailbox of `user`, with a fresh `jti`.
pub(super) fn assertion(plan: &TokenPlan, key: &ClientKey, user: &str, now_s: i64, jti: [u8; 16]) -> Result<Zeroizing<String>, KeyError> {
    let pair = Key::read(key.pem.reveal())?;
    let algorithm = pair.algorithm(key.algorithm)?;
    let header = header(key, algorithm)?;
    let mut claims = json!({
        "iss": plan.client_id,
        "sub": plan.client_id,
        "aud": plan.token_url,
        "jti": URL_SAFE_NO_PAD.encode(jti),
        "iat": now_s,
        "nbf": now_s,
        "exp": now_s + LIFETIME_S,
    });
    if plan.grant == Grant::JwtBearer {
        // RFC 7523 §3: here the subject is whom the token is for, and the scope stands inside (Google's form).
        claims["sub"] = user.into();
        if let Some(scope) = &plan.scope {
            claims["scope"] = scope.as_str().into();
        }
    }
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let mut text = Zeroizing::new(format!("{}.{}", part(&Value::Object(header)), part(&claims)));
    let signed = pair.sign(algorithm, text.as_bytes())?;
    text.push('.');
    text.push_str(&URL_SAFE_NO_PAD.encode(signed));
    Ok(text)
}

fn header(key: &ClientKey, algorithm: &str) -> Result<Map<String, Value>, KeyError> {
    let mut header = Map::new();
    header.insert("alg".to_owned(), algorithm.into());
    header.insert("typ".to_owned(), "JWT".into());
    if let Some(id) = &key.id {
        header.insert("kid".to_owned(), id.as_str().into());
    }
    if let Some(pem) = &key.certificate_pem {
        let certificate = CertificateDer::pem_slice_iter(pem).next().ok_or(KeyError::NoCertificate)?.map_err(KeyError::CertificatePem)?;
        // Microsoft pairs the old thumbprint with RS256 and the new one with the others.
        let (name, hash) = if algorithm == "RS256" { ("x5t", &digest::SHA1_FOR_LEGACY_USE_ONLY) } else { ("x5t#S256", &digest::SHA256) };
        header.insert(name.to_owned(), URL_SAFE_NO_PAD.encode(digest::digest(hash, &certificate)).into());
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{oauth::plan::ClientProof, secret::Secret};
    use rcgen::{CertificateParams, KeyPair};
    use ring::signature::{KeyPair as _, UnparsedPublicKey};

    fn p256() -> (ClientKey, Vec<u8>, Vec<u8>) {
        let pair = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["client".to_owned()]).unwrap().self_signed(&pair).unwrap();
        let key = ClientKey {
            pem: Secret::new(pair.serialize_pem()),
            certificate_pem: Some(certificate.pem().into_bytes()),
            id: Some("key-1".to_owned()),
            algorithm: KeyAlgorithm::ByKey,
        };
        let Key::P256(read) = Key::read(&pair.serialize_pem()).unwrap() else { panic!("a P-256 key") };
        (key, read.public_key().as_ref().to_vec(), certificate.der().to_vec())
    }

    fn plan(key: &ClientKey) -> TokenPlan {
        TokenPlan::new("https://login.example.org/token", "client-7", ClientProof::Key(Box::new(key.clone())))
            .scope("https://mail.google.com/")
    }

    fn part(text: &str, at: usize) -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text.split('.').nth(at).unwrap()).unwrap()).unwrap()
    }

    #[test]
    fn an_assertion_says_who_asks_where_and_until_when() {
        let (key, public, certificate) = p256();
        let text = assertion(&plan(&key), &key, "post@example.org", 1_800_000_000, [7; 16]).unwrap();
        let thumbprint = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, &certificate));
        assert_eq!(part(&text, 0), json!({"alg": "ES256", "typ": "JWT", "kid": "key-1", "x5t#S256": thumbprint}));
        let claims = part(&text, 1);
        assert_eq!(
            (&claims["iss"], &claims["sub"], &claims["aud"]),
            (&json!("client-7"), &json!("client-7"), &json!("https://login.example.org/token"))
        );
        assert_eq!(
            (&claims["iat"], &claims["exp"], &claims["jti"]),
            (&json!(1_800_000_000), &json!(1_800_000_300), &json!("BwcHBwcHBwcHBwcHBwcHBw"))
        );
        assert_eq!(claims.get("scope"), None);
        let (signed, signature) = text.rsplit_once('.').unwrap();
        let verifier = UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, public);
        verifier.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
        let bearer = assertion(&plan(&key).grant(Grant::JwtBearer), &key, "post@example.org", 1_800_000_000, [7; 16]).unwrap();
        assert_eq!(
            (&part(&bearer, 1)["sub"], &part(&bearer, 1)["scope"]),
            (&json!("post@example.org"), &json!("https://mail.google.com/"))
        );
    }

    #[test]
    fn a_key_that_does_not_fit_says_why() {
        let (key, ..) = p256();
        let said = |key: &ClientKey| assertion(&plan(key), key, "u", 0, [0; 16]).unwrap_err().to_string();
        assert!(said(&ClientKey { algorithm: KeyAlgorithm::Rs256, ..key.clone() }).contains("a P-256 key cannot sign RS256"));
        assert!(said(&ClientKey { pem: Secret::new("rubbish"), ..key.clone() }).contains("PEM"));
        assert!(said(&ClientKey { certificate_pem: Some(b"none".to_vec()), ..key.clone() }).contains("no certificate"));
        let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
        assert!(said(&ClientKey { pem: Secret::new(ed25519), ..key }).contains("as RSA"));
    }
}
