//! Where random bytes come from: the operating system in a node, a seed in a simulation.

/// A source of random bytes. Whoever implements it for production must be cryptographically strong.
pub trait Random {
    /// Fills all of `out`.
    fn fill(&mut self, out: &mut [u8]);

    /// A random 64-bit value.
    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A value in `0..bound`, unbiased enough for jitter; 0 for a bound of 0.
    fn below(&mut self, bound: u64) -> u64 {
        // A 128-bit product keeps the bias under 2^-64 times the bound.
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }
}

/// The library's own generator, seeded by the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&mut self, out: &mut [u8]) {
        // aws-lc's generator fails only when the machine has no entropy at all; going on with
        // predictable keys would be worse than stopping.
        #[allow(clippy::expect_used)]
        aws_lc_rs::rand::fill(out).expect("the operating system gives random bytes");
    }
}

/// A reproducible sequence (SplitMix64), for simulations and tests. Never for keys in production.
#[derive(Clone, Debug)]
pub struct SeededRandom {
    state: u64,
}

impl SeededRandom {
    /// The sequence of `seed`.
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }
}

impl Random for SeededRandom {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.state;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^= mixed >> 31;
            chunk.copy_from_slice(&mixed.to_le_bytes()[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_itself_and_stays_below_its_bound() {
        let (mut first, mut second) = (SeededRandom::new(7), SeededRandom::new(7));
        for bound in [1, 2, 10, u64::MAX] {
            let value = first.below(bound);
            assert_eq!(value, second.below(bound));
            assert!(value < bound);
        }
        assert_eq!(first.below(0), 0);
    }

    #[test]
    fn splitmix_matches_its_published_first_value() {
        // The reference implementation's first output for seed 0.
        let mut bytes = [0; 8];
        SeededRandom::new(0).fill(&mut bytes);
        assert_eq!(u64::from_le_bytes(bytes), 0xe220_a839_7b1d_cdaf);
    }
}
