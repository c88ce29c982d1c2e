//! How many links that are not valid one address may try. A link that is valid always works, also from there: many readers may share an address, and nobody is to be
//! able to lock them out.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

/// Guesses that an address has in a minute.
const MOST: u32 = 20;
/// The minute, in seconds.
const SPAN_S: i64 = 60;
/// Addresses that are remembered; when there are more, whoever is new counts as having guessed enough.
const ADDRESSES: usize = 10_000;

/// The guesses of the running minute.
#[derive(Default)]
pub(crate) struct Guesses(Mutex<HashMap<IpAddr, (i64, u32)>>);

impl Guesses {
    /// Notes a guess from an address at this moment, in seconds; whether there were too many.
    pub(crate) fn too_many(&self, from: IpAddr, now: i64) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= ADDRESSES {
            seen.retain(|_, (since, _)| (0..SPAN_S).contains(&(now - *since)));
        }
        let from = neighbourhood(from);
        if seen.len() >= ADDRESSES && !seen.contains_key(&from) {
            return true;
        }
        let (since, count) = seen.entry(from).or_insert((now, 0));
        // A clock that was set back begins a new minute, too.
        if !(0..SPAN_S).contains(&(now - *since)) {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count > MOST
    }
}

/// An IPv6 host has a whole network of 64 bits to itself.
fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_guesses_a_minute() {
        let guesses = Guesses::default();
        let (one, other): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        assert!((0..MOST).all(|_| !guesses.too_many(one, 1000)));
        assert!(guesses.too_many(one, 1059));
        assert!(!guesses.too_many(other, 1059));
        assert!(!guesses.too_many(one, 1060));
        assert!((0..MOST).filter(|_| guesses.too_many("2001:db8::ffff".parse().unwrap(), 1059)).count() == 1, "one network is one guesser");
    }

    #[test]
    fn memory_is_bounded() {
        let guesses = Guesses::default();
        for n in 0..u32::try_from(ADDRESSES).unwrap() {
            assert!(!guesses.too_many(IpAddr::V4(n.into()), 0));
        }
        assert!(guesses.too_many("255.0.0.1".parse().unwrap(), 30));
        assert!(!guesses.too_many("255.0.0.1".parse().unwrap(), 60));
        assert_eq!(guesses.0.lock().unwrap().len(), 1);
    }
}
