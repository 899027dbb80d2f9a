//! Which packet size suits the line: small packets lose less to an error, large ones less to their headers.

use crate::dialogue::Facts;
use crate::wire::packet::I_OVERHEAD;

/// Smaller than this does not pay even at one damaged byte in a thousand.
pub const SIZE_MIN: usize = 64;
/// What is lost at most of what two of us send, where nothing else is known: the rest is mended.
const MENDED: f64 = 4e-5;
/// After so many bytes the past counts half.
const MEMORY: f64 = 100_000.0;

/// What one direction of the line does to packets.
#[derive(Debug)]
pub struct Noise {
    /// The line as we take it to be before we know it: so many losses in so many bytes.
    before: (f64, f64),
    bytes: f64,
    losses: f64,
}

impl Noise {
    /// A line that damages nothing, as far as anybody knows, suits packets of about 1,000 until it does; one that may, those
    /// of 316, until some thousand bytes have told what it is like. (A large packet is the dearest way to find out.) What earlier
    /// calls have counted says more than either. Between two of us most of what is damaged is mended, which costs little in packets
    /// of any size, and does not count as a loss: they begin with 500.
    pub fn on(facts: &Facts) -> Self {
        let counted = facts.errors.map(|in_a_million| f64::from(in_a_million).max(9.0) / 1e6);
        let rate = counted.unwrap_or(if facts.reliable { 9e-6 } else { 1e-4 });
        let rate = if facts.peer_is_ours { rate.min(MENDED) } else { rate };
        let bytes = match facts.errors {
            None if !facts.reliable && !facts.peer_is_ours => 3_000.0,
            // Three losses at most: a line that has become better is soon believed.
            _ => (3.0 / rate).min(10_000.0),
        };
        let before = (rate * bytes, bytes);
        Self { before, bytes: 0.0, losses: 0.0 }
    }

    pub fn carried(&mut self, bytes: usize) {
        self.bytes += bytes as f64;
        if self.bytes > MEMORY {
            self.bytes /= 2.0;
            self.losses /= 2.0;
        }
    }

    pub fn lost(&mut self) {
        self.losses += 1.0;
    }

    /// Whether enough was lost to tell noise from an accident.
    pub fn is_certain(&self) -> bool {
        self.losses >= 3.0
    }

    /// The share of bytes that are damaged, as far as is known.
    fn rate(&self) -> f64 {
        let (losses, bytes) = self.before;
        (self.losses + losses) / (self.bytes + bytes)
    }

    /// Larger packets than this are lost more often than four times in ten, whatever else speaks for them: one of them may
    /// then be lost so often in a row that the call ends.
    pub fn bearable_size(&self) -> usize {
        ((0.5 / self.rate()) as usize).max(SIZE_MIN)
    }

    /// The size that carries most, `max` at most. With e the rate of damaged bytes and h the bytes around the data, the
    /// share n / (n + h) of a packet, times its chance (1 - e)^(n + h), is best near n = sqrt(h / e).
    pub fn best_size(&self, max: usize) -> usize {
        let best = (I_OVERHEAD as f64 / self.rate()).sqrt() as usize;
        best.clamp(SIZE_MIN.min(max), max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(reliable: bool, bytes: usize, losses: usize, sizes: std::ops::Range<usize>) {
        let mut noise = Noise::on(&Facts { reliable, ..Facts::serial("line", 9600) });
        for _ in 0..bytes / 100 {
            noise.carried(100);
        }
        (0..losses).for_each(|_| noise.lost());
        let size = noise.best_size(1024);
        assert!(sizes.contains(&size), "{bytes} bytes, {losses} losses: {size}");
    }

    #[test]
    fn the_size_follows_the_noise() {
        check(true, 0, 0, 900..1025);
        check(true, 3_000, 1, 300..400);
        check(false, 0, 0, 300..330);
        check(false, 3_000, 0, 440..460);
        check(false, 30_000, 0, 1000..1025);
        check(false, 3_000, 1, 200..220);
        for reliable in [false, true] {
            check(reliable, 50_000, 0, 1024..1025);
            check(reliable, 50_000, 15, 170..220);
            check(reliable, 50_000, 50, 90..120);
            check(reliable, 5_000, 100, 64..65);
        }
    }

    #[test]
    fn what_earlier_calls_counted_is_begun_with() {
        for (errors, sizes) in [(0, 900..1025), (100, 300..330), (300, 175..190), (1000, 90..110)] {
            let size = Noise::on(&Facts { errors: Some(errors), ..Facts::serial("line", 9600) }).best_size(1024);
            assert!(sizes.contains(&size), "{errors} in a million: {size}");
        }
    }

    #[test]
    fn what_is_mended_is_no_reason_for_small_packets() {
        let ours = |errors| Facts { errors, peer_is_ours: true, ..Facts::serial("line", 9600) };
        for errors in [None, Some(300), Some(1000)] {
            let size = Noise::on(&ours(errors)).best_size(1024);
            assert!((480..520).contains(&size), "{errors:?}: {size}");
        }
        assert!(Noise::on(&ours(Some(5))).best_size(1024) > 1000, "a clean line is one here as well");
    }

    #[test]
    fn a_line_that_has_become_better_is_soon_believed() {
        let mut noise = Noise::on(&Facts { errors: Some(1_000_000), ..Facts::serial("line", 9600) });
        assert_eq!(noise.best_size(1024), 64);
        (0..1000).for_each(|_| noise.carried(100));
        assert!(noise.best_size(1024) > 500, "{}", noise.best_size(1024));
    }

    #[test]
    fn the_past_is_forgotten() {
        let mut noise = Noise::on(&Facts::serial("line", 9600));
        (0..50).for_each(|_| noise.lost());
        (0..10_000).for_each(|_| noise.carried(100));
        assert_eq!(noise.best_size(1024), 1024);
        assert_eq!(noise.best_size(32), 32, "what the peer allows counts more");
    }
}
