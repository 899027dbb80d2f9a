//! Chance that is the same for the same seed, everywhere and forever: splitmix64.

#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// Independent streams from one seed: name each `stream` differently.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut chance = Self(seed ^ stream.wrapping_mul(0xd134_2543_de82_ef95));
        chance.next();
        chance
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// From 0 up to, not including, `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub fn happens(&mut self, probability: f64) -> bool {
        ((self.next() >> 11) as f64) < probability * (1_u64 << 53) as f64
    }

    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }

    /// Lines of letters, as mail has them: no NUL, no control characters but line feeds.
    pub fn text(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| if self.below(60) == 0 { b'\n' } else { b' ' + self.below(90) as u8 }).collect()
    }
}
