//! Random numbers for jitter: small, seeded, repeatable in tests. Not for secrets.

/// A generator (`SplitMix64` by Steele, Lea and Flood).
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 to 1.
    pub(crate) fn roll(&mut self) -> f64 {
        f64::from(u32::try_from(self.next() >> 32).expect("32 bits are left")) / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rolls_stay_between_0_and_1_and_repeat_with_the_seed() {
        let rolls = |seed| {
            let mut dice = Dice::seeded(seed);
            (0..1000).map(|_| dice.roll()).collect::<Vec<_>>()
        };
        assert!(rolls(1).iter().all(|r| (0.0..=1.0).contains(r)));
        assert!(rolls(1).iter().any(|r| *r < 0.1) && rolls(1).iter().any(|r| *r > 0.9));
        assert_eq!(rolls(7), rolls(7));
        assert_ne!(rolls(7), rolls(8));
    }
}
