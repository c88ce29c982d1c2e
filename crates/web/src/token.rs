//! Bearer tokens (RFC 6750) and what they may do.
//!
//! A token is `tid_` and 64 hexadecimal digits: 256 random bits, so a plain SHA-256 is all that needs to be kept of it; there is nothing
//! to guess and no salt to add. The clear text exists once, when it is minted.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use async_trait::async_trait;
use sha2::{Digest, Sha256};

use crate::error::{KeeperError, ScopeError};

/// How every token begins, so that people and secret scanners recognise one.
pub const TOKEN_PREFIX: &str = "tid_";

const RANDOM_BYTES: usize = 32;

/// What a token may be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Post events: `events:write`.
    EventsWrite,
    /// Provision users and groups by SCIM: `scim:write`.
    ScimWrite,
    /// Post reports about letters that came back: `bounces:write`.
    BouncesWrite,
    /// Look at outbox items and traces: `outbox:read`.
    OutboxRead,
    /// Retry, cancel, hold and release outbox items: `outbox:write`.
    OutboxWrite,
    /// Everything: `admin`.
    Admin,
}

impl Scope {
    /// Every scope, in the order they are listed to people.
    pub const ALL: [Self; 6] = [Self::EventsWrite, Self::ScimWrite, Self::BouncesWrite, Self::OutboxRead, Self::OutboxWrite, Self::Admin];

    /// The name as it is written in commands, files and challenges.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EventsWrite => "events:write",
            Self::ScimWrite => "scim:write",
            Self::BouncesWrite => "bounces:write",
            Self::OutboxRead => "outbox:read",
            Self::OutboxWrite => "outbox:write",
            Self::Admin => "admin",
        }
    }

    pub(crate) fn written_list() -> String {
        Self::ALL.map(Self::as_str).join(", ")
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text).ok_or_else(|| ScopeError::Unknown { found: text.to_owned() })
    }
}

/// A set of scopes, written as a list: `events:write,outbox:read`.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct ScopeSet(u8);

impl ScopeSet {
    /// Whether this set allows `scope`; `admin` allows everything.
    pub const fn allows(self, scope: Scope) -> bool {
        self.0 & (scope.bit() | Scope::Admin.bit()) != 0
    }

    /// The scopes named in this set, without those that `admin` includes.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.0 & scope.bit() != 0)
    }

    /// Whether nothing is allowed.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Scope> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}

impl FromStr for ScopeSet {
    type Err = ScopeError;

    /// Reads a list separated by commas or blanks (the latter as OAuth writes scopes, RFC 6749 §3.3).
    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let words = text.split(|c: char| c == ',' || c.is_ascii_whitespace()).filter(|word| !word.is_empty());
        let set: Self = words.map(Scope::from_str).collect::<Result<_, _>>()?;
        if set.is_empty() { Err(ScopeError::Empty) } else { Ok(set) }
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, scope) in self.iter().enumerate() {
            write!(f, "{}{scope}", if n == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl fmt::Debug for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScopeSet({self})")
    }
}

/// The SHA-256 of a token's clear text: what the store keeps and looks up.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// The digest of a token's clear text, prefix included.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// The bytes to store.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for TokenDigest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for TokenDigest {
    /// The first four bytes: enough to tell two apart in a log, not enough to look one up.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest(")?;
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("…)")
    }
}

/// Makes a token of 32 random bytes: its clear text, to be shown once, and the digest to keep.
pub fn mint(random: [u8; RANDOM_BYTES]) -> (String, TokenDigest) {
    use fmt::Write as _;
    let mut token = String::with_capacity(TOKEN_PREFIX.len() + 2 * RANDOM_BYTES);
    token.push_str(TOKEN_PREFIX);
    for byte in random {
        write!(token, "{byte:02x}").expect("a String takes every write");
    }
    let digest = TokenDigest::of(&token);
    (token, digest)
}

/// Whether a text could have been minted here; anything else is refused without asking the store.
pub(crate) fn looks_minted(token: &str) -> bool {
    token
        .strip_prefix(TOKEN_PREFIX)
        .is_some_and(|rest| rest.len() == 2 * RANDOM_BYTES && rest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

/// What the holder of a token may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The name the token was made under, for logs and audit entries.
    pub name: String,
    /// What it allows.
    pub scopes: ScopeSet,
    /// From when on it no longer counts, if ever.
    pub expires: Option<SystemTime>,
}

/// Knows the tokens; the binary plugs the store in.
#[async_trait]
pub trait TokenKeeper: Send + Sync {
    /// The grant of the token with this digest, `None` if there is none (never made, or revoked).
    ///
    /// # Errors
    /// [`KeeperError`] if the store cannot be asked; the request is then answered with 503.
    async fn find(&self, digest: &TokenDigest) -> Result<Option<Grant>, KeeperError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_print_and_parse_alike() {
        for scope in Scope::ALL {
            assert_eq!(scope.to_string().parse::<Scope>(), Ok(scope));
        }
        let set: ScopeSet = "outbox:read, events:write".parse().unwrap();
        assert_eq!(set.to_string(), "events:write,outbox:read");
        assert_eq!("events:write outbox:read".parse(), Ok(set));
    }

    #[test]
    fn a_wrong_scope_is_told_what_is_allowed() {
        let error = "events:write,outbox:delete".parse::<ScopeSet>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`outbox:delete` is not a scope (allowed: events:write, scim:write, bounces:write, outbox:read, outbox:write, admin)"
        );
        assert_eq!(" , ".parse::<ScopeSet>(), Err(ScopeError::Empty));
    }

    #[test]
    fn admin_allows_everything_and_others_only_themselves() {
        let admin = ScopeSet::from_iter([Scope::Admin]);
        assert!(Scope::ALL.into_iter().all(|scope| admin.allows(scope)));
        let reader = ScopeSet::from_iter([Scope::OutboxRead]);
        let allowed: Vec<Scope> = Scope::ALL.into_iter().filter(|scope| reader.allows(*scope)).collect();
        assert_eq!(allowed, [Scope::OutboxRead]);
    }

    #[test]
    fn a_token_is_its_random_bytes_and_only_its_digest_is_kept() {
        let (token, digest) = mint([0xab; 32]);
        assert_eq!(token, format!("tid_{}", "ab".repeat(32)));
        assert!(looks_minted(&token));
        assert_eq!(digest, TokenDigest::of(&token));
        assert_ne!(digest, mint([0xac; 32]).1);
        assert!(format!("{digest:?}").len() < 30);
    }

    #[test]
    fn the_digest_is_the_published_sha_256() {
        // FIPS 180-2, appendix B.1.
        let digest = TokenDigest::of("abc");
        assert_eq!(digest.as_bytes()[..4], [0xba, 0x78, 0x16, 0xbf]);
    }

    #[test]
    fn what_was_not_minted_here_is_seen_at_once() {
        let (token, _) = mint([7; 32]);
        for wrong in ["", "tid_", &token[..67], &token.to_uppercase(), &format!("{token}0"), &token.replace("tid_", "tok_")] {
            assert!(!looks_minted(wrong), "{wrong}");
        }
    }
}
