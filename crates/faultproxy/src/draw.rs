//! Where randomness comes from: one seed, and what it is for. The same seed, names and order of connections give the
//! same draws, whatever threads do.

use crate::spec::Direction;

/// The seed of everything random in one fault proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub u64);

impl Seed {
    /// For one toxic of one direction on the nth connection of a proxy.
    pub(crate) fn of(self, proxy: &str, toxic: &str, direction: Direction, connection: u64) -> Seed {
        let text = |hash: u64, text: &str| {
            text.bytes().fold(mix(hash ^ text.len() as u64), |hash, byte| mix(hash ^ u64::from(byte)))
        };
        let named = text(text(mix(self.0), proxy), toxic);
        Seed(mix(mix(named ^ direction as u64) ^ connection))
    }

    /// Whether a toxic of this toxicity strikes. One draw: a toxicity that rises strikes those it struck before, and
    /// some more.
    pub(crate) fn strikes(self, toxicity: f32) -> bool {
        let draw = (mix(self.0) >> 40) as f32 / (1_u32 << 24) as f32;
        draw < toxicity
    }

    /// A generator of its own.
    pub(crate) fn rng(self) -> fastrand::Rng {
        fastrand::Rng::with_seed(mix(!self.0))
    }
}

/// SplitMix64's finaliser: every bit of the input changes half of the output's. <https://prng.di.unimi.it/splitmix64.c>
const fn mix(input: u64) -> u64 {
    let mut z = input.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_question_has_the_same_answer_and_another_one_another() {
        let seed = Seed(7);
        let one = seed.of("redis", "slow", Direction::Downstream, 3);
        assert_eq!(one, seed.of("redis", "slow", Direction::Downstream, 3));
        let others = [
            Seed(8).of("redis", "slow", Direction::Downstream, 3),
            seed.of("redi", "sslow", Direction::Downstream, 3),
            seed.of("redis", "slow", Direction::Upstream, 3),
            seed.of("redis", "slow", Direction::Downstream, 4),
        ];
        assert!(others.iter().all(|other| *other != one));
    }

    #[test]
    fn toxicity_is_the_share_that_is_struck() {
        let struck =
            |toxicity| (0..20_000).filter(|n| Seed(1).of("p", "t", Direction::Upstream, *n).strikes(toxicity)).count();
        assert_eq!((struck(0.0), struck(-1.0), struck(1.0), struck(5.0)), (0, 0, 20_000, 20_000));
        assert!((5_600..6_400).contains(&struck(0.3)), "{}", struck(0.3));
        // Raising it adds to those that are struck already.
        for n in 0..1_000 {
            let draw = Seed(1).of("p", "t", Direction::Upstream, n);
            assert!(!draw.strikes(0.2) || draw.strikes(0.4));
        }
    }
}
