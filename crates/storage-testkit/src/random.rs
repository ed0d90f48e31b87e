//! Numbers by chance that are the same in every run.

/// splitmix64, from its seed.
#[derive(Clone, Copy, Debug)]
pub struct Random(pub u64);

impl Random {
    /// A number below `end`; 0 where that is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end.max(1)
    }

    /// An index below `len`; 0 where that is 0.
    pub fn index(&mut self, len: usize) -> usize {
        let end = u64::try_from(len).unwrap_or(u64::MAX);
        usize::try_from(self.below(end)).unwrap_or(0)
    }

    /// One of these.
    pub fn one_of<T, const N: usize>(&mut self, of: [T; N]) -> T {
        let chosen = of.into_iter().nth(self.index(N));
        chosen.unwrap_or_else(|| unreachable!("a choice among nothing"))
    }

    /// True one time of so many.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}
