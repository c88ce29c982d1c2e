//! Variable envelope return paths: an envelope sender that names the item, so that whatever comes back says by its address alone what it is about.
//!
//! `bounces@example.org` becomes `bounces+<item>-<seal>@example.org`. The seal is a message authentication code under a key of the installation: without it anybody
//! who can count could have others' letters counted as returned.

use crate::{address::Address, id::Id};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;

/// Digits of the seal: 80 bits, more than anybody tries by mail.
const SEAL: usize = 16;
/// Digits of an item.
const ITEM: usize = 13;
/// What the tag adds to a local part: `+`, the item, `-`, the seal.
pub const TAG: usize = 1 + ITEM + 1 + SEAL;
/// The longest local part that has room for the tag (RFC 5321 §4.5.3.1.1: 64 octets).
pub const LONGEST_LOCAL: usize = 64 - TAG;

/// Letters that stand in an address in either case and are not taken for one another.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// The key that seals return paths. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct VerpKey([u8; 32]);

impl fmt::Debug for VerpKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerpKey(***)")
    }
}

impl VerpKey {
    /// From 32 bytes that nobody knows.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    fn seal(&self, item: Id) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key may have any length");
        mac.update(b"tidings return path\0");
        mac.update(&item.number().to_be_bytes());
        let code = mac.finalize().into_bytes();
        // Five bits a digit, of the first ten bytes.
        let bits = code.iter().take(SEAL * 5 / 8).fold(0u128, |bits, byte| bits << 8 | u128::from(*byte));
        (0..SEAL).rev().map(|place| char::from(DIGITS[(bits >> (place * 5) & 31) as usize])).collect()
    }

    /// The return path of an item: `base` with the item and its seal. `None` if `base` has no room for them.
    pub fn address(&self, base: &Address, item: Id) -> Option<Address> {
        if base.local().starts_with('"') || base.local().len() > LONGEST_LOCAL {
            return None;
        }
        Address::parse(&format!("{}+{item}-{}@{}", base.local(), self.seal(item), base.domain())).ok()
    }

    /// The item that a return path names, if the seal is ours.
    pub fn item(&self, address: &str) -> Option<Id> {
        let (local, _) = address.rsplit_once('@')?;
        let (_, tag) = local.rsplit_once('+')?;
        let (item, seal) = tag.split_once('-')?;
        let item: Id = item.parse().ok()?;
        let right = self.seal(item);
        // All digits are looked at, so that the time taken tells nothing about the first wrong one.
        let same =
            right.len() == seal.len() && right.bytes().zip(seal.bytes()).fold(0, |odd, (a, b)| odd | (a ^ b.to_ascii_lowercase())) == 0;
        same.then_some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_return_path_reads_back_whatever_became_of_its_case() {
        let (key, item) = (VerpKey::new([7; 32]), Id::from_number(123_456_789));
        let path = key.address(&Address::parse("bounces@example.org").unwrap(), item).unwrap();
        assert!(path.as_str().starts_with(&format!("bounces+{item}-")), "{}", path.as_str());
        assert_eq!(key.item(path.as_str()), Some(item));
        assert_eq!(key.item(&path.as_str().to_uppercase()), Some(item));
    }

    #[test]
    fn nobody_makes_a_return_path_by_guessing() {
        let (key, item) = (VerpKey::new([7; 32]), Id::from_number(123_456_789));
        let path = key.address(&Address::parse("bounces@example.org").unwrap(), item).unwrap();
        assert_eq!(VerpKey::new([8; 32]).item(path.as_str()), None, "another house's");
        let other = path.as_str().replace(&item.to_string(), &Id::from_number(123_456_790).to_string());
        assert_eq!(key.item(&other), None, "the seal of another item");
        for wrong in ["", "bounces@example.org", "bounces+x@example.org", &format!("bounces+{item}-@example.org"), &format!("b+{item}@x")] {
            assert_eq!(key.item(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_sender_without_room_for_it_has_none() {
        let key = VerpKey::new([7; 32]);
        let base = |length: usize| Address::parse(&format!("{}@example.org", "b".repeat(length))).unwrap();
        assert!(key.address(&base(LONGEST_LOCAL), Id::from_number(1)).is_some());
        assert!(key.address(&base(LONGEST_LOCAL + 1), Id::from_number(1)).is_none());
    }
}
