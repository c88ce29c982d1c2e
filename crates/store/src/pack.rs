//! Letters made small before they are stored: zstd (RFC 8878) against a dictionary, the pattern that a letter was written after.
//!
//! A letter differs from its pattern in a few names and dates, so that what is left of six kilobytes is a few hundred bytes; a letter costs about as much to
//! write as its bytes. Patterns are kept in the database: a letter can be read whatever became of the template it was made from. Sensitive letters are not
//! made small: their length would tell something about what they hold.

use crate::error::StoreError;
use sha2::{Digest as _, Sha256};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tidings_core::outbox::Pattern;
use zstd::zstd_safe::{CCtx, CDict, DCtx, DDict, compress_bound, get_error_name, get_frame_content_size};

/// One of the fast levels, which leave the few bytes that are new as they are; a higher level finds hardly anything more in a letter that is like its pattern.
const LEVEL: i32 = -3;
/// Shorter letters are not worth it.
const SHORTEST: usize = 512;
/// Longer letters are worth it only if most of them stands in the pattern too: a picture, for one.
const LONG: usize = 32 * 1024;
/// Longest letter that is made from a stored one: more than any that was ever accepted.
const LONGEST: u64 = 64 * 1024 * 1024;
/// Memory for prepared patterns, in bytes: a hundred of usual size. Letters of patterns that find no room are stored as they are.
const ROOM: usize = 8 << 20;

/// A pattern ready for use.
pub(crate) struct Mould {
    /// Keeps the address by which it is found from being used again.
    pattern: Arc<Pattern>,
    digest: [u8; 32],
    dictionary: CDict<'static>,
}

impl Mould {
    /// What the database knows it by.
    pub(crate) fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Its text.
    pub(crate) fn text(&self) -> &[u8] {
        self.pattern.text()
    }
}

/// The patterns in use, and the working memory for packing and unpacking; shared by all threads of a store.
#[derive(Default)]
pub(crate) struct Patterns {
    moulds: Mutex<Shelf<usize, Mould>>,
    opened: Mutex<Shelf<i64, DDict<'static>>>,
    packing: Mutex<Vec<CCtx<'static>>>,
    unpacking: Mutex<Vec<DCtx<'static>>>,
}

/// Prepared patterns, and the memory they take.
struct Shelf<K, T> {
    things: HashMap<K, Arc<T>>,
    bytes: usize,
}

impl<K, T> Default for Shelf<K, T> {
    fn default() -> Self {
        Self { things: HashMap::new(), bytes: 0 }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Patterns {
    /// The smaller form of a letter and the mould it needs to be read again, if that is worth it.
    pub(crate) fn pack(&self, bytes: &[u8], pattern: &Arc<Pattern>) -> Option<(Vec<u8>, Arc<Mould>)> {
        if bytes.len() < SHORTEST || bytes.len() > LONG.max(pattern.text().len() * 2) {
            return None;
        }
        let mould = self.mould(pattern)?;
        let mut small = vec![0; compress_bound(bytes.len())];
        let mut context = lock(&self.packing).pop().unwrap_or_default();
        let done = context.compress_using_cdict(small.as_mut_slice(), bytes, &mould.dictionary);
        lock(&self.packing).push(context);
        let length = done.ok().filter(|length| length * 4 < bytes.len() * 3)?;
        small.truncate(length);
        small.shrink_to_fit();
        Some((small, mould))
    }

    fn mould(&self, pattern: &Arc<Pattern>) -> Option<Arc<Mould>> {
        let place = Arc::as_ptr(pattern) as usize;
        let mut known = lock(&self.moulds);
        if let Some(mould) = known.things.get(&place) {
            return Some(Arc::clone(mould));
        }
        if known.bytes + pattern.text().len() > ROOM {
            return None;
        }
        let (digest, dictionary) = (Sha256::digest(pattern.text()).into(), CDict::create(pattern.text(), LEVEL));
        known.bytes += dictionary.sizeof();
        let mould = Arc::new(Mould { pattern: Arc::clone(pattern), digest, dictionary });
        known.things.insert(place, Arc::clone(&mould));
        Some(mould)
    }

    /// The letter that was packed. `text` gives the pattern's text if it is not known yet.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if the bytes, or the pattern, are not what was written; whatever `text` gives.
    pub(crate) fn unpack<E: From<StoreError>>(
        &self,
        packed: &[u8],
        number: i64,
        text: impl FnOnce() -> Result<Vec<u8>, E>,
    ) -> Result<Vec<u8>, E> {
        let known = lock(&self.opened).things.get(&number).cloned();
        let dictionary = if let Some(dictionary) = known {
            dictionary
        } else {
            let dictionary = Arc::new(DDict::create(&text()?));
            let mut opened = lock(&self.opened);
            if opened.bytes > ROOM {
                *opened = Shelf::default();
            }
            opened.bytes += dictionary.sizeof();
            opened.things.insert(number, Arc::clone(&dictionary));
            dictionary
        };
        let corrupt = |why: &str| StoreError::Corrupt(format!("a letter after pattern {number}: {why}"));
        let length = get_frame_content_size(packed).ok().flatten().filter(|length| *length <= LONGEST);
        let length = length.and_then(|length| usize::try_from(length).ok()).ok_or_else(|| corrupt("its length is not there"))?;
        let mut bytes = vec![0; length];
        let mut context = lock(&self.unpacking).pop().unwrap_or_default();
        let done = context.decompress_using_ddict(bytes.as_mut_slice(), packed, &dictionary);
        lock(&self.unpacking).push(context);
        match done {
            Ok(found) if found == length => Ok(bytes),
            Ok(_) => Err(corrupt("it is too short").into()),
            Err(code) => Err(corrupt(get_error_name(code)).into()),
        }
    }
}

/// How long the letter is that was packed, in bytes, told by the head of what is stored.
pub(crate) fn whole_length(head: &[u8]) -> Option<u64> {
    get_frame_content_size(head).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str) -> Vec<u8> {
        let lines = (0..60).map(|line| format!("{line}: dear {name}, you have joined the group.\r\n"));
        lines.collect::<String>().into_bytes()
    }

    fn unpacked(patterns: &Patterns, packed: &[u8], pattern: &Pattern) -> Result<Vec<u8>, StoreError> {
        patterns.unpack(packed, 7, || Ok(pattern.text().to_vec()))
    }

    #[test]
    fn a_letter_after_its_pattern_becomes_small_and_comes_back() {
        let (patterns, pattern) = (Patterns::default(), Arc::new(Pattern::new(text("Ada"))));
        let letter = text("Linus");
        let (packed, mould) = patterns.pack(&letter, &pattern).unwrap();
        assert!(packed.len() * 10 < letter.len(), "{} bytes", packed.len());
        assert_eq!(unpacked(&patterns, &packed, &pattern).unwrap(), letter);
        let (_, again) = patterns.pack(&letter, &pattern).unwrap();
        assert!(Arc::ptr_eq(&mould, &again));
    }

    #[test]
    fn what_is_too_short_too_long_or_unlike_is_left_as_it_is() {
        let (patterns, pattern) = (Patterns::default(), Arc::new(Pattern::new(text("Ada"))));
        assert!(patterns.pack(&text("Ada")[..500], &pattern).is_none());
        assert!(patterns.pack(&text("Ada").repeat(20), &pattern).is_none());
        let long = Arc::new(Pattern::new(text("Ada").repeat(20)));
        assert!(patterns.pack(&text("Linus").repeat(20), &long).is_some(), "a long letter whose pattern is as long");
        let mut state = 1_u32;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        });
        assert!(patterns.pack(&noise.take(4000).collect::<Vec<_>>(), &pattern).is_none());
    }

    #[test]
    fn torn_bytes_and_another_pattern_are_noticed_or_at_least_do_no_harm() {
        let (patterns, pattern) = (Patterns::default(), Arc::new(Pattern::new(text("Ada"))));
        let (packed, _) = patterns.pack(&text("Linus"), &pattern).unwrap();
        for cut in 0..packed.len() {
            assert!(matches!(unpacked(&patterns, &packed[..cut], &pattern), Err(StoreError::Corrupt(_))), "{cut}");
        }
        let other = Patterns::default();
        assert!(unpacked(&other, &packed, &Pattern::new(b"another".to_vec())).map_or(true, |bytes| bytes != text("Linus")));
    }
}
