//! Names for events, letters and outbox items: 63-bit numbers that grow with time.
//!
//! Layout, from the top: 41 bits of milliseconds since 2020-01-01 (until 2089), 12 bits of sequence, 10 bits of node. A number rather than a UUID, because
//! it is the key of narrow, hot tables; growing with time, so that inserts append. A mint never repeats itself, also when the clock is set back: it goes on
//! from the highest number it has seen.

use crate::time::Timestamp;
use std::{
    fmt,
    str::FromStr,
    sync::atomic::{AtomicI64, Ordering},
};

const EPOCH_MS: i64 = 1_577_836_800_000;
const NODE_BITS: u32 = 10;
const TICK_BITS: u32 = 12;
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const LENGTH: usize = 13;

/// The name of an event, a letter or an outbox item. Printed as 13 characters of Crockford's base 32, which sort like the number does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(i64);

impl Id {
    /// From the number that the store keeps.
    pub const fn from_number(number: i64) -> Self {
        Self(number)
    }

    /// The lowest that a mint makes at `at` or later. The other way round it is no bound: after the clock was set back a mint goes on above its highest.
    pub fn first_of(at: Timestamp) -> Self {
        Self(((at.as_millisecond() - EPOCH_MS).max(0) << TICK_BITS) << NODE_BITS)
    }

    /// The number that the store keeps; never negative for a minted id.
    pub const fn number(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [b'0'; LENGTH];
        let mut rest = self.0.cast_unsigned();
        for slot in text.iter_mut().rev() {
            *slot = ALPHABET[(rest & 31) as usize];
            rest >>= 5;
        }
        f.write_str(std::str::from_utf8(&text).expect("the alphabet is ASCII"))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not the name of anything in this house.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an id: 13 letters and digits as printed by tidings")]
pub struct IdError(pub String);

impl FromStr for Id {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || IdError(text.chars().take(40).collect());
        if text.len() != LENGTH {
            return Err(wrong());
        }
        let mut number: u64 = 0;
        for byte in text.bytes() {
            let digit = ALPHABET.iter().position(|&a| a == byte.to_ascii_lowercase()).ok_or_else(wrong)?;
            number = number.checked_mul(32).and_then(|n| n.checked_add(digit as u64)).ok_or_else(wrong)?;
        }
        i64::try_from(number).map(Self).map_err(|_| wrong())
    }
}

impl serde::Serialize for Id {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Id {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Makes ids. One per process, started from the highest id that the store holds.
#[derive(Debug)]
pub struct IdMint {
    last_tick: AtomicI64,
    node: AtomicI64,
}

impl IdMint {
    /// A mint for `node` (0 to 1023) that only makes ids above `highest`.
    pub fn starting_after(highest: Option<Id>, node: u16) -> Self {
        let last_tick = AtomicI64::new(highest.map_or(0, |id| id.0 >> NODE_BITS));
        Self { last_tick, node: AtomicI64::new(number(node)) }
    }

    /// Goes on for another node, above all that it has made.
    pub fn renumber(&self, node: u16) {
        self.node.store(number(node), Ordering::Relaxed);
    }

    /// The next id; `now` decides its leading bits unless the clock stands behind an id already made.
    pub fn mint(&self, now: Timestamp) -> Id {
        let wanted = (now.as_millisecond() - EPOCH_MS).max(0) << TICK_BITS;
        let mut last = self.last_tick.load(Ordering::Relaxed);
        loop {
            let tick = wanted.max(last + 1);
            match self.last_tick.compare_exchange_weak(last, tick, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Id((tick << NODE_BITS) | self.node.load(Ordering::Relaxed)),
                Err(seen) => last = seen,
            }
        }
    }
}

/// A node's number as it stands in an id.
fn number(node: u16) -> i64 {
    i64::from(node) & ((1 << NODE_BITS) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mint_never_repeats_even_when_the_clock_is_set_back() {
        let mint = IdMint::starting_after(None, 3);
        let noon: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let first = mint.mint(noon);
        let second = mint.mint(noon - jiff::SignedDuration::from_hours(5));
        assert!(second > first);
        let after_restart = IdMint::starting_after(Some(second), 3).mint(noon - jiff::SignedDuration::from_hours(9));
        assert!(after_restart > second);
    }

    #[test]
    fn a_mint_that_goes_on_under_another_number_goes_on_above() {
        let mint = IdMint::starting_after(None, 900);
        let noon: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let first = mint.mint(noon);
        mint.renumber(2);
        let second = mint.mint(noon);
        assert!(second > first && second.number() & 1023 == 2);
    }

    #[test]
    fn nothing_minted_from_a_moment_on_lies_below_its_first_id() {
        let noon: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let mint = IdMint::starting_after(None, 0);
        let before = mint.mint(noon - jiff::SignedDuration::from_millis(1));
        assert!(before < Id::first_of(noon) && Id::first_of(noon) <= mint.mint(noon));
        assert!(Id::first_of(noon) < mint.mint(noon - jiff::SignedDuration::from_hours(1)), "set back, it goes on above its highest");
    }

    #[test]
    fn an_id_reads_back_as_printed_and_sorts_like_its_text() {
        let mint = IdMint::starting_after(None, 0);
        let a = mint.mint("2026-11-21T12:00:00Z".parse().unwrap());
        let b = mint.mint("2026-11-21T12:00:01Z".parse().unwrap());
        assert_eq!(a.to_string().parse::<Id>(), Ok(a));
        assert!(a.to_string() < b.to_string());
        assert!("not an id!".parse::<Id>().is_err());
        assert!("zzzzzzzzzzzzz".parse::<Id>().is_err());
    }
}
