//! Encryption at rest of what must not be read from the disk: sensitive letters and the secret fields of the events that caused them.
//!
//! XChaCha20-Poly1305 with a random nonce of 192 bits (draft-irtf-cfrg-xchacha-03), so that nonces need no counter that would have to survive a crash. The row and
//! column a text belongs to are its associated data: a ciphertext moved to another row does not open.

use crate::error::StoreError;
use base64::{
    Engine,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use sha2::{Digest as _, Sha256};
use std::{
    fmt, fs,
    io::{ErrorKind, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};
use tidings_core::verp::VerpKey;
use zeroize::{Zeroize, Zeroizing};

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
const HEX: &[u8; 16] = b"0123456789abcdef";

/// The standard alphabet, with or without padding: keys are pasted from many tools.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&base64::alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));

/// The key for sensitive letters: 32 bytes, wiped from memory when dropped, never printed.
#[derive(Clone)]
pub struct SealKey(Zeroizing<[u8; KEY_BYTES]>);

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(***)")
    }
}

impl SealKey {
    /// From 32 bytes.
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// From text: 64 hexadecimal digits, or 32 bytes in base 64 (RFC 4648 §4, padding optional). Surrounding blanks are ignored.
    ///
    /// # Errors
    /// [`StoreError::Key`] if the text is neither; it never repeats the text.
    pub fn from_text(text: &str) -> Result<Self, StoreError> {
        let text = text.trim();
        let malformed = || StoreError::Key("it must be 64 hexadecimal digits or 32 bytes in base 64".to_owned());
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        if text.len() == 2 * KEY_BYTES {
            for (slot, pair) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
                let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok()).ok_or_else(malformed);
                *slot = digit(pair[0])? << 4 | digit(pair[1])?;
            }
            return Ok(Self(key));
        }
        let bytes = Zeroizing::new(BASE64.decode(text).map_err(|_| malformed())?);
        if bytes.len() != KEY_BYTES {
            return Err(malformed());
        }
        key.copy_from_slice(&bytes);
        Ok(Self(key))
    }

    /// From a file; if there is none, one is made with a fresh random key and rights for its owner only.
    ///
    /// # Errors
    /// [`StoreError::Key`] if the file cannot be read or made, may be read by others than its owner, or holds no key.
    pub fn load_or_create(path: &Path) -> Result<Self, StoreError> {
        let wrong = |what: &str, error: &std::io::Error| StoreError::Key(format!("{what} {}: {error}", path.display()));
        match fs::OpenOptions::new().read(true).open(path) {
            Ok(file) => Self::load(path, file),
            Err(error) if error.kind() == ErrorKind::NotFound => match Self::create(path) {
                Ok(key) => Ok(key),
                // Another process was faster: its key counts.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    Self::load(path, fs::File::open(path).map_err(|error| wrong("cannot read", &error))?)
                }
                Err(error) => Err(wrong("cannot make", &error)),
            },
            Err(error) => Err(wrong("cannot read", &error)),
        }
    }

    fn load(path: &Path, file: fs::File) -> Result<Self, StoreError> {
        let wrong = |error: std::io::Error| StoreError::Key(format!("cannot read {}: {error}", path.display()));
        let mode = file.metadata().map_err(wrong)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(StoreError::Key(format!(
                "{} may be read or changed by others than its owner (mode {mode:03o}); make it private with chmod 600",
                path.display()
            )));
        }
        // A key file is short; a longer file is not one and is not read into memory.
        let mut text = Zeroizing::new(String::new());
        file.take(1024).read_to_string(&mut text).map_err(wrong)?;
        Self::from_text(&text)
            .map_err(|_| StoreError::Key(format!("{} must hold 64 hexadecimal digits or 32 bytes in base 64", path.display())))
    }

    /// Written beside its place and linked there, so that a process that dies or one that looks at the wrong moment never finds half a key.
    fn create(path: &Path) -> std::io::Result<Self> {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        fill(&mut *key).map_err(|error| std::io::Error::other(error.to_string()))?;
        let mut text = Zeroizing::new(hex(&*key));
        text.push(b'\n');
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let draft = path.with_extension(format!("draft-{}", std::process::id()));
        let linked = write_private(&draft, &text).and_then(|()| fs::hard_link(&draft, path));
        let removed = fs::remove_file(&draft);
        linked?;
        removed?;
        fs::File::open(folder)?.sync_all()?;
        Ok(Self(key))
    }

    /// The key of return paths: made from this one, and nothing of this one can be told from it.
    pub(crate) fn return_paths(&self) -> VerpKey {
        VerpKey::new(Sha256::new().chain_update(b"tidings key of return paths\0").chain_update(*self.0).finalize().into())
    }

    /// Encrypts `text` for one place in the database.
    pub(crate) fn seal(&self, place: Place, text: &[u8]) -> Result<Vec<u8>, StoreError> {
        let mut nonce = [0; NONCE_BYTES];
        fill(&mut nonce)?;
        let cipher = XChaCha20Poly1305::new((&*self.0).into());
        let sealed = cipher
            .encrypt(&XNonce::from(nonce), Payload { msg: text, aad: &place.associated_data() })
            .map_err(|_| StoreError::Key("a text is too long to be encrypted".to_owned()))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// Decrypts what [`SealKey::seal`] made for the same place; `None` if it was changed, moved, or made with another key.
    pub(crate) fn open(&self, place: Place, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_BYTES>()?;
        let cipher = XChaCha20Poly1305::new((&*self.0).into());
        cipher.decrypt(&XNonce::from(*nonce), Payload { msg: rest, aad: &place.associated_data() }).ok().map(Zeroizing::new)
    }
}

/// Where a ciphertext stands: what it is encrypted for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    /// The bytes of a letter, by its id.
    Letter(i64),
    /// The secret fields of an event, by its id.
    EventSecret(i64),
    /// The value by which a wrong key is noticed when the database is opened.
    KeyCheck,
}

impl Place {
    fn associated_data(self) -> [u8; 9] {
        let (column, row) = match self {
            Self::Letter(id) => (1, id),
            Self::EventSecret(id) => (2, id),
            Self::KeyCheck => (3, 0),
        };
        let mut data = [column; 9];
        data[1..].copy_from_slice(&row.to_be_bytes());
        data
    }
}

/// Random bytes from the operating system.
pub(crate) fn fill(bytes: &mut [u8]) -> Result<(), StoreError> {
    getrandom::fill(bytes).map_err(|error| StoreError::Key(format!("the system gives no random bytes: {error}")))
}

/// As hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> Vec<u8> {
    // Room for a line end, so that a key is not left behind by a reallocation.
    let mut text = Vec::with_capacity(2 * bytes.len() + 1);
    for byte in bytes {
        text.extend([HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
    text
}

/// Overwrites a text that has been sealed.
pub(crate) fn wipe(text: &mut Vec<u8>) {
    text.zeroize();
}

fn write_private(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SealKey {
        SealKey::from_bytes([7; KEY_BYTES])
    }

    #[test]
    fn what_is_sealed_opens_in_its_own_place_only() {
        let sealed = key().seal(Place::Letter(5), b"Winter-2026").unwrap();
        assert!(!sealed.windows(6).any(|w| w == b"Winter"));
        assert_eq!(key().open(Place::Letter(5), &sealed).unwrap().as_slice(), b"Winter-2026");
        assert!(key().open(Place::Letter(6), &sealed).is_none());
        assert!(key().open(Place::EventSecret(5), &sealed).is_none());
        assert!(SealKey::from_bytes([8; KEY_BYTES]).open(Place::Letter(5), &sealed).is_none());
        assert!(key().open(Place::Letter(5), &sealed[..20]).is_none());
    }

    #[test]
    fn the_same_text_is_never_sealed_the_same_way_twice() {
        assert_ne!(key().seal(Place::KeyCheck, b"x").unwrap(), key().seal(Place::KeyCheck, b"x").unwrap());
    }

    #[test]
    fn a_key_is_read_from_hexadecimal_and_from_base_64() {
        let hex = SealKey::from_text(&format!(" {}\n", "07".repeat(32))).unwrap();
        assert_eq!(*hex.0, *key().0);
        let base = SealKey::from_text("BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=").unwrap();
        assert_eq!(*base.0, *key().0);
        let unpadded = SealKey::from_text("BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc").unwrap();
        assert_eq!(*unpadded.0, *key().0);
    }

    #[test]
    fn a_malformed_key_is_refused_and_not_repeated() {
        for text in ["", "short", &"zz".repeat(32), "BwcH"] {
            let error = SealKey::from_text(text).unwrap_err().to_string();
            assert!(error.contains("64 hexadecimal digits"), "{error}");
            assert!(text.is_empty() || !error.contains(text), "{error}");
        }
    }

    #[test]
    fn a_key_prints_as_stars() {
        assert_eq!(format!("{:?}", key()), "SealKey(***)");
    }

    #[test]
    fn a_key_file_is_made_once_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys/seal.key");
        let first = SealKey::load_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(*SealKey::load_or_create(&path).unwrap().0, *first.0);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no draft is left behind");
    }

    #[test]
    fn a_key_file_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seal.key");
        SealKey::load_or_create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = SealKey::load_or_create(&path).unwrap_err().to_string();
        assert!(error.contains("mode 640") && error.contains("chmod 600"), "{error}");
    }
}
