//! SCRAM-SHA-1 and SCRAM-SHA-256, both also bound to the TLS session (-PLUS): RFC 5802, RFC 7677.
//!
//! The password does not travel, who listens learns nothing that signs in, and the relay proves that it knows the password too: a welcome without that proof is
//! an impostor's. Stretching the password is costly by design, so its result is kept for the relay, and computed beside the runtime.

use super::{
    binding::Binding,
    mechanism::{Mechanism, Objection},
};
use crate::secret::Secret;
use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{digest, hmac, pbkdf2};
use std::{num::NonZeroU32, sync::Arc};
use zeroize::Zeroizing;

/// RFC 5802 §5.1: fewer rounds than these make a stolen verifier cheap to try passwords against.
const FEW_ITERATIONS: u32 = 4096;
/// More are refused: a relay, or who plays it, could keep this machine busy at will. Some seconds' work.
const MOST_ITERATIONS: u32 = 10_000_000;
/// Stretched passwords kept for a relay. A relay has one salt for an account; two clustered ones may have a few.
const MOST_KEYS: usize = 4;
/// Bytes of randomness in a nonce; 18 make 24 characters without padding.
const NONCE_BYTES: usize = 18;

/// The hash of a SCRAM mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Sha1,
    Sha256,
}

impl Hash {
    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
        }
    }

    fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            Self::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
        }
    }

    fn mac(self, key: &[u8], message: &[u8]) -> hmac::Tag {
        hmac::sign(&hmac::Key::new(self.hmac(), key), message)
    }

    /// `Hi` of RFC 5802 §2.2, which is PBKDF2 with one block.
    fn stretch(self, password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Zeroizing<Vec<u8>> {
        let mut key = Zeroizing::new(vec![0; self.digest().output_len()]);
        pbkdf2::derive(self.pbkdf2(), iterations, salt, password, &mut key);
        key
    }
}

/// What the client says of channel binding (RFC 5802 §6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Flag {
    /// There is none.
    None,
    /// We could, and the relay does not offer it: who has taken the offer out of the relay's words is found out by this.
    Unoffered,
    /// This one.
    Bound(Binding),
}

impl Flag {
    /// The header of GS2 (RFC 5801 §4), without an authorization identity.
    fn header(&self) -> String {
        match self {
            Self::None => "n,,".to_owned(),
            Self::Unoffered => "y,,".to_owned(),
            Self::Bound(binding) => format!("p={},,", binding.name),
        }
    }

    fn data(&self) -> &[u8] {
        match self {
            Self::None | Self::Unoffered => &[],
            Self::Bound(binding) => &binding.data,
        }
    }
}

/// A password stretched with this salt.
struct Stretched {
    hash: Hash,
    salt: Vec<u8>,
    iterations: NonZeroU32,
    key: Zeroizing<Vec<u8>>,
}

/// The stretched passwords of one relay; wiped with it. One session computes, the others wait for it.
#[derive(Default)]
pub(super) struct Keys(tokio::sync::Mutex<Vec<Stretched>>);

impl Keys {
    async fn stretched(&self, hash: Hash, password: &Secret, salt: Vec<u8>, iterations: NonZeroU32) -> Zeroizing<Vec<u8>> {
        let mut kept = self.0.lock().await;
        if let Some(found) = kept.iter().find(|kept| kept.hash == hash && kept.salt == salt && kept.iterations == iterations) {
            return found.key.clone();
        }
        if iterations.get() < FEW_ITERATIONS {
            tracing::warn!(iterations, "the relay keeps the password with fewer than 4096 rounds of hashing (RFC 5802 §5.1)");
        }
        let (password, work_salt) = (prepared(password.reveal()), salt.clone());
        let work = tokio::task::spawn_blocking(move || hash.stretch(password.as_bytes(), &work_salt, iterations));
        let key = work.await.expect("hashing does not panic, and a runtime that ends drops the session first");
        if kept.len() == MOST_KEYS {
            kept.remove(0);
        }
        kept.push(Stretched { hash, salt, iterations, key: key.clone() });
        key
    }
}

/// Prepared by `SASLprep` (RFC 4013). A text that it forbids is taken as it stands: servers that prepare nothing hold it in that form, and others refuse it anyway.
fn prepared(text: &str) -> Zeroizing<String> {
    Zeroizing::new(stringprep::saslprep(text).map_or_else(|_| text.to_owned(), std::borrow::Cow::into_owned))
}

/// A fresh nonce, or why the system has no randomness.
pub(super) fn nonce() -> Result<String, getrandom::Error> {
    let mut bytes = [0; NONCE_BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(STANDARD.encode(bytes))
}

enum Step {
    /// The relay's first message is due.
    First,
    /// The relay's proof is due: this message signed by this key.
    Proof(hmac::Key, String),
    Done,
}

/// One SCRAM exchange.
pub(super) struct Scram<'a> {
    name: &'static str,
    hash: Hash,
    flag: Flag,
    bare: String,
    nonce: String,
    password: &'a Secret,
    keys: Arc<Keys>,
    step: Step,
}

impl<'a> Scram<'a> {
    pub(super) fn of(hash: Hash, flag: Flag, user: &str, password: &'a Secret, nonce: String, keys: Arc<Keys>) -> Self {
        let name = match (hash, &flag) {
            (Hash::Sha1, Flag::Bound(_)) => "SCRAM-SHA-1-PLUS",
            (Hash::Sha256, Flag::Bound(_)) => "SCRAM-SHA-256-PLUS",
            (Hash::Sha1, _) => "SCRAM-SHA-1",
            (Hash::Sha256, _) => "SCRAM-SHA-256",
        };
        // RFC 5802 §5.1: these two are written otherwise in a name.
        let user = prepared(user).replace('=', "=3D").replace(',', "=2C");
        let bare = format!("n={user},r={nonce}");
        Self { name, hash, flag, bare, nonce, password, keys, step: Step::First }
    }

    async fn proof(&mut self, challenge: &str) -> Result<Zeroizing<Vec<u8>>, Objection> {
        let first = ServerFirst::read(challenge)?;
        if !first.nonce.starts_with(&self.nonce) || first.nonce.len() == self.nonce.len() {
            return Err(Objection::impostor("the relay's SCRAM answer belongs to another sign-in"));
        }
        let salted = self.keys.stretched(self.hash, self.password, first.salt, first.iterations).await;
        let channel = STANDARD.encode([self.flag.header().as_bytes(), self.flag.data()].concat());
        let unproved = format!("c={channel},r={}", first.nonce);
        let message = format!("{},{challenge},{unproved}", self.bare);
        let client_key = Zeroizing::new(self.hash.mac(&salted, b"Client Key").as_ref().to_vec());
        let stored_key = digest::digest(self.hash.digest(), &client_key);
        let signature = self.hash.mac(stored_key.as_ref(), message.as_bytes());
        let proof: Zeroizing<Vec<u8>> = Zeroizing::new(client_key.iter().zip(signature.as_ref()).map(|(key, sign)| key ^ sign).collect());
        let server_key = self.hash.mac(&salted, b"Server Key");
        self.step = Step::Proof(hmac::Key::new(self.hash.hmac(), server_key.as_ref()), message);
        Ok(Zeroizing::new(format!("{unproved},p={}", STANDARD.encode(&*proof)).into_bytes()))
    }

    fn check(&mut self, key: &hmac::Key, message: &str, challenge: &str) -> Result<Zeroizing<Vec<u8>>, Objection> {
        let told = challenge.strip_prefix("v=").and_then(|rest| STANDARD.decode(rest.split(',').next().unwrap_or_default()).ok());
        let told = told.ok_or_else(|| Objection::nonsense("no SCRAM proof of its own"))?;
        if hmac::verify(key, message.as_bytes(), &told).is_err() {
            return Err(Objection::impostor("the relay does not know the password itself: its SCRAM proof is wrong"));
        }
        self.step = Step::Done;
        Ok(Zeroizing::default())
    }
}

#[async_trait]
impl Mechanism for Scram<'_> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn initial(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        Some(Zeroizing::new(format!("{}{}", self.flag.header(), self.bare).into_bytes()))
    }

    async fn answer(&mut self, challenge: &[u8]) -> Result<Zeroizing<Vec<u8>>, Objection> {
        let challenge = std::str::from_utf8(challenge).map_err(|_| Objection::nonsense("a SCRAM message that is not UTF-8"))?;
        // RFC 5802 §7: some relays break off already where their first message is due.
        if let Some(error) = challenge.strip_prefix("e=") {
            let error: String = error.chars().take(100).map(|c| if c.is_control() { '?' } else { c }).collect();
            return Err(Objection::not_let_in(format!("the relay broke the sign-in off: {error}")));
        }
        match std::mem::replace(&mut self.step, Step::First) {
            Step::First => self.proof(challenge).await,
            Step::Proof(key, message) => self.check(&key, &message, challenge),
            Step::Done => Err(Objection::nonsense("a third challenge to SCRAM")),
        }
    }

    fn finish(&self) -> Result<(), Objection> {
        match self.step {
            Step::Done => Ok(()),
            Step::First | Step::Proof(..) => Err(Objection::impostor("the relay did not prove that it knows the password (SCRAM)")),
        }
    }
}

/// The relay's first message: `r=nonce,s=salt,i=rounds` and extensions that may be passed over.
#[derive(Debug)]
struct ServerFirst<'a> {
    nonce: &'a str,
    salt: Vec<u8>,
    iterations: NonZeroU32,
}

impl<'a> ServerFirst<'a> {
    fn read(text: &'a str) -> Result<Self, Objection> {
        let wrong = || Objection::nonsense("no SCRAM challenge");
        let mut parts = text.split(',');
        // RFC 5802 §5.1: an `m=` here is an extension that must be understood, and none is.
        let mut part = |name: &str| parts.next().and_then(|part| part.strip_prefix(name)).ok_or_else(wrong);
        let nonce = part("r=")?;
        let salt = STANDARD.decode(part("s=")?).map_err(|_| wrong())?;
        let iterations: u32 = part("i=")?.parse().map_err(|_| wrong())?;
        if iterations > MOST_ITERATIONS {
            return Err(Objection::refused(
                format!("the relay wants {iterations} rounds of hashing; at most {MOST_ITERATIONS} are made"),
                "choose another auth.mechanism, or have the relay keep the password with fewer rounds",
            ));
        }
        let iterations = NonZeroU32::new(iterations).ok_or_else(wrong)?;
        if salt.is_empty() { Err(wrong()) } else { Ok(Self { nonce, salt, iterations }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER_FIRST_1: &str = "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096";
    const SERVER_FIRST_256: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    fn exchange<'a>(hash: Hash, nonce: &str, password: &'a Secret) -> Scram<'a> {
        Scram::of(hash, Flag::None, "user", password, nonce.to_owned(), Arc::default())
    }

    #[tokio::test]
    async fn sha_1_is_the_example_of_rfc_5802() {
        let password = Secret::new("pencil");
        let mut scram = exchange(Hash::Sha1, "fyko+d2lbbFgONRv9qkxdawL", &password);
        assert_eq!(scram.initial().unwrap().as_slice(), b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL");
        let answer = scram.answer(SERVER_FIRST_1.as_bytes()).await.unwrap();
        assert_eq!(
            std::str::from_utf8(&answer).unwrap(),
            "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="
        );
        assert!(scram.finish().is_err(), "the relay has proved nothing yet");
        assert!(scram.answer(b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=").await.unwrap().is_empty());
        scram.finish().unwrap();
    }

    #[tokio::test]
    async fn sha_256_is_the_example_of_rfc_7677() {
        let password = Secret::new("pencil");
        let mut scram = exchange(Hash::Sha256, "rOprNGfwEbeRWgbNEkqO", &password);
        let answer = scram.answer(SERVER_FIRST_256.as_bytes()).await.unwrap();
        assert_eq!(
            std::str::from_utf8(&answer).unwrap(),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        scram.answer(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").await.unwrap();
        scram.finish().unwrap();
    }

    #[tokio::test]
    async fn a_relay_that_does_not_prove_itself_is_an_impostor() {
        let password = Secret::new("pencil");
        let mut wrong = exchange(Hash::Sha1, "fyko+d2lbbFgONRv9qkxdawL", &password);
        wrong.answer(SERVER_FIRST_1.as_bytes()).await.unwrap();
        let objection = wrong.answer(b"v=AAAApqV8S7suAoZWja4dJRkFsKQ=").await.unwrap_err().into_trouble();
        assert!(objection.what.contains("does not know the password itself"), "{objection}");
        assert!(wrong.finish().is_err());
        let other = "r=somebody+else+s+nonce,s=QSXCR+Q6sek8bf92,i=4096";
        let objection = exchange(Hash::Sha1, "fyko", &password).answer(other.as_bytes()).await.unwrap_err().into_trouble();
        assert!(objection.what.contains("belongs to another sign-in"), "{objection}");
    }

    #[tokio::test]
    async fn a_relay_that_breaks_off_says_why() {
        let password = Secret::new("pencil");
        let mut scram = exchange(Hash::Sha1, "fyko+d2lbbFgONRv9qkxdawL", &password);
        let early = scram.answer(b"e=unsupported-channel-binding-type").await.unwrap_err().into_trouble();
        assert!(early.sentence().contains("unsupported-channel-binding-type (check user name and password, or"), "{}", early.sentence());
        scram.answer(SERVER_FIRST_1.as_bytes()).await.unwrap();
        let late = scram.answer(b"e=invalid-proof").await.unwrap_err().into_trouble();
        assert_eq!((late.kind, late.what.as_str()), (crate::courier::TroubleKind::Auth, "the relay broke the sign-in off: invalid-proof"));
        assert!(scram.finish().is_err());
    }

    #[tokio::test]
    async fn what_is_no_challenge_is_refused() {
        let password = Secret::new("pencil");
        for challenge in [
            "",
            "r=abcd",
            "r=abcdX,s=QSXC",
            "r=abcdX,s=QSXC,i=0",
            "r=abcdX,s=QSXC,i=-1",
            "r=abcdX,s=QSXC,i=10000001",
            "r=abcdX,s=QSXC,i=99999999999999",
            "r=abcdX,s=,i=4096",
            "r=abcdX,s=*,i=4096",
            "m=must,r=abcdX,s=QSXC,i=4096",
            "r=abcd,s=QSXC,i=4096",
            "e=other-error",
        ] {
            assert!(exchange(Hash::Sha256, "abcd", &password).answer(challenge.as_bytes()).await.is_err(), "{challenge}");
        }
        assert!(exchange(Hash::Sha256, "abcd", &password).answer(&[0xFF]).await.is_err());
    }

    #[tokio::test]
    async fn a_password_is_stretched_once_for_a_salt() {
        let (keys, password) = (Arc::new(Keys::default()), Secret::new("pencil"));
        for nonce in ["rOprNGfwEbeRWgbNEkqO", "rOprNGfwEbeRWgbN"] {
            let mut scram = Scram::of(Hash::Sha256, Flag::None, "user", &password, nonce.to_owned(), Arc::clone(&keys));
            scram.answer(SERVER_FIRST_256.as_bytes()).await.unwrap();
        }
        assert_eq!(keys.0.lock().await.len(), 1);
        for salt in 0..10_u8 {
            keys.stretched(Hash::Sha1, &password, vec![salt], NonZeroU32::MIN).await;
        }
        let kept: Vec<_> = keys.0.lock().await.iter().map(|kept| kept.salt.clone()).collect();
        assert_eq!(kept, [[6], [7], [8], [9]], "the oldest go");
    }

    #[tokio::test]
    async fn names_and_passwords_are_prepared_and_escaped() {
        let password = Secret::new("x");
        // RFC 4013 §3: a soft hyphen is dropped, ª becomes a; RFC 5802 §5.1: = and , are escaped.
        let mut scram = Scram::of(Hash::Sha1, Flag::Unoffered, "I\u{AD}X\u{AA}=,", &password, "n".to_owned(), Arc::default());
        assert_eq!(std::str::from_utf8(&scram.initial().unwrap()).unwrap(), "y,,n=IXa=3D=2C,r=n");
        assert_eq!(prepared("pass\u{A0}word").as_str(), "pass word");
        assert_eq!(prepared("\u{7}bell").as_str(), "\u{7}bell", "what may not be prepared is taken as it stands");
    }

    #[tokio::test]
    async fn the_channel_binding_is_part_of_what_is_proved() {
        let password = Secret::new("pencil");
        let bound = Flag::Bound(Binding { name: "tls-exporter", data: vec![1, 2, 3] });
        let mut scram = Scram::of(Hash::Sha256, bound, "user", &password, "rOprNGfwEbeRWgbNEkqO".to_owned(), Arc::default());
        assert_eq!(scram.name(), "SCRAM-SHA-256-PLUS");
        assert_eq!(scram.initial().unwrap().as_slice(), b"p=tls-exporter,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let answer = scram.answer(SERVER_FIRST_256.as_bytes()).await.unwrap();
        let answer = String::from_utf8(answer.to_vec()).unwrap();
        let channel = answer.strip_prefix("c=").unwrap().split(',').next().unwrap();
        assert_eq!(STANDARD.decode(channel).unwrap(), b"p=tls-exporter,,\x01\x02\x03");
        assert!(scram.answer(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").await.is_err(), "the proof for another channel");
    }
}
