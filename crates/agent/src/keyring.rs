//! The keys that sign links: files in a folder, the last one by name signs, all of them verify.
//!
//! ES256 (P-256, RFC 7518 §3.4) rather than Ed25519, because the applications that verify are mostly .NET ones, which know no other curve without help. A key is
//! renewed by a second file beside the first, which goes on verifying what it has signed until it is taken away.

use crate::error::KeyringError;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use ring::{
    digest,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey},
};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
use serde_json::{Value, json};
use std::{
    fmt, fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// How the files of keys end.
const ENDING: &str = "pem";

/// The keys of a folder.
pub struct Keyring {
    keys: Vec<Key>,
}

struct Key {
    id: String,
    pair: EcdsaKeyPair,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| &key.id)).finish()
    }
}

impl Keyring {
    /// Reads the keys of a folder; if there is none, one is made, for its owner only.
    ///
    /// # Errors
    /// [`KeyringError`] if a key cannot be read, made or used, or may be read by others.
    pub fn open(folder: &Path) -> Result<Self, KeyringError> {
        let mut files = files(folder)?;
        if files.is_empty() {
            files.push(Self::add_key(folder)?);
        }
        let keys = files.iter().map(|file| Key::read(file)).collect::<Result<_, _>>()?;
        Ok(Self { keys })
    }

    /// Makes a key that signs from the next [`Keyring::open`] on; the others still verify. The answer is its file.
    ///
    /// # Errors
    /// [`KeyringError`] if the file cannot be made.
    pub fn add_key(folder: &Path) -> Result<PathBuf, KeyringError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| KeyringError::Io { path, source }
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed(folder))?;
        let last = files(folder)?.iter().filter_map(|file| file.file_stem()?.to_str()?.parse::<u32>().ok()).max().unwrap_or(0);
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).map_err(|_| KeyringError::Random)?;
        let text = pem(pkcs8.as_ref());
        let file = folder.join(format!("{:04}.{ENDING}", last.saturating_add(1)));
        // Under its own name only once it is whole: a crash in between leaves nothing that looks like a key.
        let draft = folder.join(format!(".{:04}.new", last.saturating_add(1)));
        let write = || -> io::Result<()> {
            let mut out = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
            out.write_all(text.as_bytes())?;
            out.sync_all()?;
            // Of two that make a first key at once one wins, and both read that one.
            match fs::hard_link(&draft, &file) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => fs::remove_file(&draft)?,
            }
            fs::File::open(folder)?.sync_all()
        };
        write().map_err(failed(&file))?;
        Ok(file)
    }

    /// The id of the key that signs, and its signature over `message`.
    pub(crate) fn sign(&self, message: impl FnOnce(&str) -> String) -> Option<String> {
        let key = self.keys.last()?;
        let text = message(&key.id);
        let signed = key.pair.sign(&SystemRandom::new(), text.as_bytes()).ok()?;
        Some(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signed)))
    }

    /// Whether the key of this id has signed the message.
    pub(crate) fn verifies(&self, id: &str, message: &[u8], signature: &[u8]) -> bool {
        let Some(key) = self.keys.iter().find(|key| key.id == id) else { return false };
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.pair.public_key().as_ref()).verify(message, signature).is_ok()
    }

    /// The public keys, for whoever verifies by himself (RFC 7517 §5).
    pub fn public_keys(&self) -> Value {
        let keys = self.keys.iter().rev().map(|key| {
            let (x, y) = point(&key.pair);
            json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": key.id, "x": x, "y": y})
        });
        json!({"keys": keys.collect::<Vec<_>>()})
    }
}

impl Key {
    fn read(file: &Path) -> Result<Self, KeyringError> {
        let failed = |source| KeyringError::Io { path: file.to_owned(), source };
        let no_key = || KeyringError::NoKey { path: file.to_owned() };
        if fs::metadata(file).map_err(failed)?.permissions().mode() & 0o077 != 0 {
            return Err(KeyringError::Open { path: file.to_owned() });
        }
        let text = Zeroizing::new(fs::read(file).map_err(failed)?);
        let der = PrivatePkcs8KeyDer::from_pem_slice(&text).map_err(|_| no_key())?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_pkcs8_der(), &SystemRandom::new());
        let pair = pair.map_err(|_| no_key())?;
        Ok(Self { id: thumbprint(&pair), pair })
    }
}

/// The files of keys in a folder, in order of their names; none if there is no folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>, KeyringError> {
    let listed = match fs::read_dir(folder) {
        Ok(list) => list.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    };
    let mut files = listed.map_err(|source| KeyringError::Io { path: folder.to_owned(), source })?;
    files.retain(|file| file.extension().is_some_and(|ending| ending == ENDING));
    files.sort();
    Ok(files)
}

fn pem(der: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(STANDARD.encode(der));
    let mut text = Zeroizing::new(String::from("-----BEGIN PRIVATE KEY-----\n"));
    for line in body.as_bytes().chunks(64) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text.push_str("-----END PRIVATE KEY-----\n");
    text
}

/// The two coordinates of a public key, which stands as an uncompressed point (SEC 1 §2.3.3).
fn point(pair: &EcdsaKeyPair) -> (String, String) {
    let point = &pair.public_key().as_ref()[1..];
    let (x, y) = point.split_at(point.len() / 2);
    (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y))
}

/// RFC 7638: the digest of the key's required members in the order of their names.
fn thumbprint(pair: &EcdsaKeyPair) -> String {
    let (x, y) = point(pair);
    let text = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(keyring: &Keyring) -> (String, String, Vec<u8>) {
        let mut id = String::new();
        let text = keyring
            .sign(|key| {
                id = key.to_owned();
                "message".to_owned()
            })
            .unwrap();
        let signature = URL_SAFE_NO_PAD.decode(text.strip_prefix("message.").unwrap()).unwrap();
        (id, text, signature)
    }

    #[test]
    fn a_key_is_made_once_for_its_owner_only_and_a_second_one_takes_over() {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys");
        let first = Keyring::open(&keys).unwrap();
        assert_eq!(fs::metadata(keys.join("0001.pem")).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&keys).unwrap().permissions().mode() & 0o777, 0o700);
        let again = Keyring::open(&keys).unwrap();
        let (old, _, signature) = signed(&first);
        assert!(again.verifies(&old, b"message", &signature));
        assert!(!again.verifies(&old, b"massage", &signature));
        assert!(!again.verifies("another", b"message", &signature));

        assert_eq!(Keyring::add_key(&keys).unwrap(), keys.join("0002.pem"));
        let both = Keyring::open(&keys).unwrap();
        let (new, _, by_new) = signed(&both);
        assert_ne!(old, new);
        assert!(both.verifies(&old, b"message", &signature) && both.verifies(&new, b"message", &by_new));
        assert!(!first.verifies(&new, b"message", &by_new));
        let names: Vec<_> = both.public_keys()["keys"].as_array().unwrap().iter().map(|key| key["kid"].clone()).collect();
        assert_eq!(names, [new, old]);
        assert_eq!(fs::read_dir(&keys).unwrap().count(), 2, "no draft is left");
    }

    #[test]
    fn whoever_has_the_public_keys_verifies_by_himself() {
        let folder = tempfile::tempdir().unwrap();
        let keyring = Keyring::open(folder.path()).unwrap();
        let (id, _, signature) = signed(&keyring);
        let key = &keyring.public_keys()["keys"][0];
        let part = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
        let point = [vec![4], part("x"), part("y")].concat();
        assert_eq!((key["kid"].as_str(), point.len()), (Some(id.as_str()), 65));
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(b"message", &signature).unwrap();
    }

    #[test]
    fn a_key_that_others_may_read_or_that_is_none_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        Keyring::open(folder.path()).unwrap();
        let file = folder.path().join("0001.pem");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Keyring::open(folder.path()), Err(KeyringError::Open { path }) if path == file));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&file, "no key").unwrap();
        assert!(matches!(Keyring::open(folder.path()), Err(KeyringError::NoKey { path }) if path == file));
    }
}
