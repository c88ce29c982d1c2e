//! Chance that can be had again.

use std::env;
use std::time::SystemTime;

/// Small, seeded, good enough to pick moments (`SplitMix64`).
pub(crate) struct Dice(u64);

impl Dice {
    /// Seeded by `TIDINGS_CRASH_SEED` if that is set, else by the clock; the seed is printed so that a run can be repeated.
    pub(crate) fn seeded() -> Self {
        let given = env::var("TIDINGS_CRASH_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("the clock is past 1970");
            u64::from(now.subsec_nanos()) ^ now.as_secs()
        });
        eprintln!("TIDINGS_CRASH_SEED={seed}");
        Self(seed)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % limit as u64).expect("below a usize")
    }

    /// Dice of their own for somebody else.
    pub(crate) fn another(&mut self) -> Self {
        Self(self.below(usize::MAX) as u64)
    }
}
