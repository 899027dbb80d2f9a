//! Finds packets in a stream of bytes that may be damaged or have holes.

use crate::wire::packet::{Front, HEADER};

/// Cuts received bytes into packets. After damage it hunts for the next packet byte by byte, and trusts less.
pub struct Scanner<P> {
    parse: fn(&[u8], usize) -> Front<P>,
    mark: u8,
    /// Most data a packet may claim while hunting: a false header in the midst of data would swallow good packets.
    hunting_max: usize,
    anything_max: usize,
    bytes: Vec<u8>,
    /// How many of them are done with.
    done: usize,
    /// The last packet ended where the next bytes begin.
    in_step: bool,
    /// A damaged packet of this length is at the front, its number already reported.
    damaged: Option<usize>,
}

/// What came next in the stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Scanned<P> {
    Packet {
        packet: P,
        /// It followed its predecessor without a gap. Where it did not, a packet without data (and so without a
        /// real check) may be a chance arrangement of bytes.
        in_step: bool,
    },
    /// A good header over damaged data; in i with these as they came.
    Damaged { packet: P, in_step: bool },
    /// No packet begins where one should.
    Noise,
}

impl<P> Scanner<P> {
    pub fn new(parse: fn(&[u8], usize) -> Front<P>, mark: u8, hunting_max: usize, anything_max: usize) -> Self {
        Self { parse, mark, hunting_max, anything_max, bytes: Vec::new(), done: 0, in_step: true, damaged: None }
    }

    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.done);
        self.done = 0;
        self.bytes.extend_from_slice(bytes);
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.done..]
    }

    pub fn take_rest(&mut self) -> Vec<u8> {
        let rest = self.rest().to_vec();
        self.bytes.clear();
        self.done = 0;
        rest
    }

    pub fn next(&mut self) -> Option<Scanned<P>> {
        self.pass_damaged()?;
        loop {
            let max = if self.in_step { self.anything_max } else { self.hunting_max };
            match (self.parse)(self.rest(), max) {
                Front::Incomplete => return None,
                Front::Packet(packet, length) => {
                    self.done += length;
                    let in_step = std::mem::replace(&mut self.in_step, true);
                    return Some(Scanned::Packet { packet, in_step });
                }
                Front::Damaged(packet, length) => {
                    self.damaged = Some(length);
                    return Some(Scanned::Damaged { packet, in_step: self.in_step });
                }
                Front::Nothing => {
                    self.skip();
                    if std::mem::replace(&mut self.in_step, false) {
                        return Some(Scanned::Noise);
                    }
                }
            }
        }
    }

    /// Gives up waiting for the rest of what looked like a packet: nothing has come for long. A damaged packet that is
    /// all here was a packet, so the next one follows in step.
    pub fn give_up_partial(&mut self) {
        if self.damaged == Some(self.rest().len()) {
            self.done = self.bytes.len();
            self.damaged = None;
        } else if !self.rest().is_empty() {
            self.skip();
            self.in_step = false;
            self.damaged = None;
        }
    }

    /// To the next byte with which a packet could begin.
    fn skip(&mut self) {
        let rest = self.rest();
        let next = memchr::memchr_iter(self.mark, rest).find(|&at| at > 0);
        self.done += next.unwrap_or(rest.len());
    }

    /// Leaves a damaged packet: as a whole if another packet follows where it should; otherwise bytes may have been
    /// lost from it, and what it claims as its data may hold the packets after it. `None`: more bytes will tell.
    fn pass_damaged(&mut self) -> Option<()> {
        let Some(length) = self.damaged else { return Some(()) };
        let after = &self.rest()[length..];
        match (self.parse)(after, self.anything_max) {
            Front::Incomplete if after.len() < HEADER => return None,
            Front::Incomplete | Front::Packet(..) | Front::Damaged(..) => {
                self.done += length;
                // Two headers that agree on where the second is are no chance arrangement.
                self.in_step = true;
            }
            Front::Nothing => {
                self.skip();
                self.in_step = false;
            }
        }
        self.damaged = None;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::packet::{G_FIELD_MAX, G_MARK, GPacket, parse_g, write_g_data};

    fn packet(sequence: u8) -> Vec<u8> {
        let mut out = Vec::new();
        write_g_data(sequence, 0, &[b'a' + sequence; 64], 64, &mut out);
        out
    }

    /// `1` a packet, `1?` out of step, `1!` damaged, `~` noise.
    fn scan(portions: &[&[u8]]) -> String {
        let mut scanner = Scanner::new(parse_g, G_MARK, 64, G_FIELD_MAX);
        let mut found = Vec::new();
        for portion in portions {
            scanner.feed(portion);
            while let Some(scanned) = scanner.next() {
                found.push(match scanned {
                    Scanned::Packet { packet: GPacket::Data { sequence, .. }, in_step } => {
                        format!("{sequence}{}", if in_step { "" } else { "?" })
                    }
                    Scanned::Damaged { packet: GPacket::Data { sequence, .. }, .. } => format!("{sequence}!"),
                    Scanned::Packet { .. } | Scanned::Damaged { .. } => "control".to_owned(),
                    Scanned::Noise => "~".to_owned(),
                });
            }
        }
        found.join(" ")
    }

    fn check(stream: &[Vec<u8>], expected: &str) {
        let stream = stream.concat();
        assert_eq!(scan(&[&stream]), expected);
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(scan(&bytes), expected, "byte by byte");
    }

    #[test]
    fn packets_are_found_between_noise() {
        check(&[packet(1), packet(2)], "1 2");
        check(&[b"login: ".to_vec(), packet(1), vec![G_MARK], packet(2)], "~ 1? ~ 2?");
    }

    #[test]
    fn a_changed_byte_costs_its_packet_alone() {
        let mut bad = packet(2);
        bad[30] ^= 1;
        check(&[packet(1), bad, packet(3)], "1 2! 3");
        let mut bad = packet(2);
        bad[4] ^= 1;
        check(&[packet(1), bad, packet(3)], "1 ~ 3?");
    }

    #[test]
    fn a_lost_byte_does_not_cost_the_next_packet() {
        let mut short = packet(2);
        short.remove(30);
        check(&[packet(1), short, packet(3), packet(4)], "1 2! 3? 4");
    }

    #[test]
    fn a_false_header_does_not_hold_up_for_ever() {
        let mut scanner = Scanner::new(parse_g, G_MARK, 64, G_FIELD_MAX);
        let whole = packet(2);
        scanner.feed(&whole[..20]);
        scanner.feed(&packet(3)[..40]);
        assert_eq!(scanner.next(), None);
        scanner.give_up_partial();
        scanner.feed(&packet(3)[40..]);
        assert!(matches!(scanner.next(), Some(Scanned::Packet { in_step: false, .. })));
    }

    #[test]
    fn damaged_packets_in_a_row_are_in_step_again() {
        let mut bad = packet(2);
        bad[30] ^= 1;
        let mut scanner = Scanner::new(parse_g, G_MARK, 64, G_FIELD_MAX);
        scanner.feed(b"~~");
        scanner.feed(&bad.repeat(3));
        let steps: Vec<bool> = std::iter::from_fn(|| scanner.next())
            .filter_map(|scanned| if let Scanned::Damaged { in_step, .. } = scanned { Some(in_step) } else { None })
            .collect();
        assert_eq!(steps, [false, true, true]);
    }

    #[test]
    fn silence_after_a_damaged_packet_leaves_the_next_in_step() {
        let mut scanner = Scanner::new(parse_g, G_MARK, 64, G_FIELD_MAX);
        let mut bad = packet(2);
        bad[30] ^= 1;
        scanner.feed(&bad);
        assert!(matches!(scanner.next(), Some(Scanned::Damaged { in_step: true, .. })));
        assert_eq!(scanner.next(), None);
        scanner.give_up_partial();
        scanner.feed(&packet(2));
        assert!(matches!(scanner.next(), Some(Scanned::Packet { in_step: true, .. })));
    }

    #[test]
    fn large_claims_are_believed_in_step_only() {
        let mut large = Vec::new();
        write_g_data(2, 0, &[b'x'; 128], 128, &mut large);
        check(&[packet(1), large.clone()], "1 2");
        check(&[b"~".to_vec(), large, packet(3)], "~ 3?");
    }
}
