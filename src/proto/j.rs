//! Protocol j: protocol i in envelopes without the characters that the line would eat.

mod envelope;

use std::time::Duration;

use self::envelope::{Avoided, Front, OPEN, PACKET_MAX, Unwrapped, unwrap, wrap};
use super::i::I;
use super::{Channel, Counters, Event, Packets, Protocol, Start, Violation, Way};
use crate::base::limits::J_SKIPPED_MAX;
use crate::base::time::{Instant, Now};
use crate::dialogue::Facts;
use crate::wire::packet::{self, HEADER, I_DATA_MAX, I_OVERHEAD, parse_i};

/// Between the lists and the first packet (Taylor's time).
const PAUSE: Duration = Duration::from_secs(2);
/// Our list again, while the peer's has not come. Taylor says its own but once.
const LIST_WAIT: Duration = Duration::from_secs(5);
const LISTS_MAX: u32 = 12;
/// After so many of ours a peer that sends packets has heard one, and its own list was lost.
const LISTS_ENOUGH: u32 = 3;
/// Lists that we answer while running.
const LIST_ANSWERS_MAX: u32 = 8;
/// When the rest of an envelope has not come after this time and twice the line's own, it is none.
const PARTIAL_WAIT: Duration = Duration::from_secs(2);

pub struct J {
    inner: I,
    stage: Stage,
    avoided: Avoided,
    received: Vec<u8>,
    /// What came since the last envelope and was none. After the end it is the session's.
    skipped: Vec<u8>,
    /// Our list is to be sent.
    list_due: bool,
    lists: u32,
    answers: u32,
    /// Since when what looks like an envelope is not whole, and how many bytes it would have.
    partial: Option<(Instant, usize)>,
    /// The largest packet that we ask for, bytes.
    packet_max: usize,
    facts: Facts,
}

enum Stage {
    New,
    /// Our list has left then, and the peer's has not come.
    Listing(Instant),
    /// Both know both lists.
    Pausing(Instant),
    Running,
    Failed,
    Ended,
}

impl J {
    pub fn new(mut start: Start) -> Self {
        let size_max = (PACKET_MAX - I_OVERHEAD) as u16;
        start.parameters.packet_size = start.parameters.packet_size.min(size_max);
        Self {
            packet_max: usize::from(start.parameters.packet_size) + I_OVERHEAD,
            facts: start.facts.clone(),
            inner: I::new(start),
            stage: Stage::New,
            avoided: Avoided::standard(),
            received: Vec::new(),
            skipped: Vec::new(),
            list_due: false,
            lists: 0,
            answers: 0,
            partial: None,
        }
    }

    fn open(&mut self, now: Now) {
        if matches!(self.stage, Stage::New) {
            self.stage = Stage::Listing(now.instant);
            self.list_due = true;
        }
    }

    fn handle_list(&mut self, now: Now, list: &Avoided) {
        self.avoided.unite(list);
        match self.stage {
            Stage::Listing(_) => self.stage = Stage::Pausing(now.instant + PAUSE),
            // It has missed ours.
            Stage::Pausing(_) | Stage::Running if self.answers < LIST_ANSWERS_MAX => {
                self.answers += 1;
                self.list_due = true;
            }
            Stage::New | Stage::Pausing(_) | Stage::Running | Stage::Failed | Stage::Ended => {}
        }
    }

    /// Whether the envelope can be believed. The header of a packet in i has a weak check, and one damaged byte in the
    /// index changes two bytes of it alike: so what is restored there must be what is avoided.
    fn is_sound(&mut self, unwrapped: &Unwrapped) -> bool {
        let (header, data): (Vec<usize>, _) = unwrapped.altered.iter().partition(|at| **at < HEADER);
        let value = |at: &usize| unwrapped.packet[*at];
        match parse_i(&unwrapped.packet, I_DATA_MAX) {
            packet::Front::Packet(_, length) if length == unwrapped.packet.len() => {
                // The peer read another list than we sent; the checksum says that it is right.
                data.iter().map(value).for_each(|byte| self.avoided.insert(byte));
                header.iter().map(value).all(|byte| self.avoided.contains(byte))
            }
            packet::Front::Damaged(_, length) => length == unwrapped.packet.len() && header.is_empty(),
            packet::Front::Packet(..) | packet::Front::Incomplete | packet::Front::Nothing => false,
        }
    }

    /// Leaves what is no envelope, or no longer one. A packet was in it, most likely.
    fn skip(&mut self, now: Now) {
        if matches!(self.stage, Stage::Running) {
            self.inner.handle_noise(now);
        }
        self.partial = None;
        let next = memchr::memchr_iter(OPEN, &self.received).find(|at| *at > 0);
        let room = J_SKIPPED_MAX.saturating_sub(self.skipped.len());
        let skipped: Vec<u8> = self.received.drain(..next.unwrap_or(self.received.len())).collect();
        self.skipped.extend(skipped.into_iter().take(room));
    }

    fn read(&mut self, now: Now) {
        loop {
            // A false beginning in the midst of noise would swallow what follows it.
            let data_max = if self.skipped.is_empty() { PACKET_MAX } else { self.packet_max };
            match unwrap(&self.received, data_max) {
                Front::Incomplete(_) if self.received.is_empty() => {
                    self.partial = None;
                    return;
                }
                Front::Incomplete(length) => {
                    // Where nobody knows the speed, it is whole in time as long as more of it comes.
                    let since = self.partial.filter(|_| self.facts.speed.is_some()).map(|(since, _)| since);
                    self.partial = Some((since.unwrap_or(now.instant), length));
                    return;
                }
                Front::List(list, used) => {
                    self.received.drain(..used);
                    self.partial = None;
                    self.handle_list(now, &list);
                }
                Front::Packet(unwrapped, used) if self.is_sound(&unwrapped) => {
                    self.received.drain(..used);
                    self.partial = None;
                    // Behind damage i trusts less.
                    if !std::mem::take(&mut self.skipped).is_empty() {
                        self.inner.handle_input(now, &[0]);
                    }
                    self.inner.handle_input(now, &unwrapped.packet);
                    self.heard_packet(now);
                }
                Front::Packet(..) | Front::Nothing => self.skip(now),
            }
        }
    }

    /// When it is given up.
    fn partial_until(&self) -> Option<Instant> {
        self.partial.map(|(since, length)| since + PARTIAL_WAIT + self.facts.line_time(length) * 2)
    }

    fn heard_packet(&mut self, now: Now) {
        if matches!(self.stage, Stage::Listing(_)) && self.lists >= LISTS_ENOUGH {
            self.stage = Stage::Pausing(now.instant);
        }
    }

    fn look_at_clock(&mut self, now: Now) {
        match self.stage {
            Stage::Listing(left) if left + LIST_WAIT <= now.instant => {
                if self.lists >= LISTS_MAX {
                    self.stage = Stage::Failed;
                } else {
                    self.stage = Stage::Listing(now.instant);
                    self.list_due = true;
                }
            }
            Stage::Pausing(until) if until <= now.instant => self.stage = Stage::Running,
            _ => {}
        }
    }

    /// Puts each packet that i has written into an envelope.
    fn wrap_all(&self, mut packets: &[u8], out: &mut Vec<u8>) {
        while let [_, _, _, kind, low, _, ..] = *packets {
            let data = usize::from(kind & 0x0f) << 8 | usize::from(low);
            let length = if data == 0 { HEADER } else { data + I_OVERHEAD };
            let (packet, rest) = packets.split_at(length);
            wrap(packet, &self.avoided, out);
            packets = rest;
        }
    }
}

impl Protocol for J {
    fn handle_input(&mut self, now: Now, bytes: &[u8]) {
        self.open(now);
        self.inner.listen(now);
        self.received.extend_from_slice(bytes);
        self.read(now);
    }

    fn handle_timeout(&mut self, now: Now) {
        self.look_at_clock(now);
        if self.partial_until().is_some_and(|until| until <= now.instant) {
            self.skip(now);
            self.read(now);
        }
        self.inner.handle_timeout(now);
    }

    fn poll_transmit(&mut self, now: Now, out: &mut Vec<u8>) {
        self.open(now);
        self.look_at_clock(now);
        if std::mem::take(&mut self.list_due) {
            out.extend(Avoided::standard().print());
            self.lists += 1;
        }
        if matches!(self.stage, Stage::Running) {
            let mut packets = Vec::new();
            self.inner.poll_transmit(now, &mut packets);
            self.wrap_all(&packets, out);
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let own = match self.stage {
            Stage::Listing(left) => Some(left + LIST_WAIT),
            Stage::Pausing(until) => Some(until),
            Stage::New | Stage::Running | Stage::Failed | Stage::Ended => None,
        };
        [own, self.partial_until(), self.inner.poll_timeout()].into_iter().flatten().min()
    }

    fn poll_event(&mut self) -> Option<Event> {
        match self.stage {
            Stage::Failed => {
                self.stage = Stage::Ended;
                Some(Event::Failed(Violation::NoStart('j')))
            }
            Stage::Ended => None,
            Stage::New | Stage::Listing(_) | Stage::Pausing(_) | Stage::Running => match self.inner.poll_event()? {
                Event::Failed(Violation::NoStart(_)) => Some(Event::Failed(Violation::NoStart('j'))),
                event => Some(event),
            },
        }
    }

    fn room(&self, channel: Channel) -> usize {
        self.inner.room(channel)
    }

    fn waiting(&self) -> usize {
        self.inner.waiting()
    }

    fn send_command(&mut self, channel: Channel, command: &[u8]) {
        self.inner.send_command(channel, command);
    }

    fn send_data(&mut self, channel: Channel, offset: u64, data: &[u8]) {
        self.inner.send_data(channel, offset, data);
    }

    fn begin_file(&mut self, channel: Channel, way: Way) {
        self.inner.begin_file(channel, way);
    }

    fn shut_down(&mut self, now: Now) {
        self.inner.shut_down(now);
    }

    fn channels(&self) -> u8 {
        self.inner.channels()
    }

    fn unread(&mut self) -> Vec<u8> {
        let mut unread = std::mem::take(&mut self.skipped);
        unread.append(&mut self.received);
        unread
    }

    fn counters(&self) -> Counters {
        self.inner.counters()
    }

    fn packets(&self) -> Option<Packets> {
        self.inner.packets()
    }

    fn round_trip(&self) -> Option<Duration> {
        self.inner.round_trip()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::testing::{Bench, hex};
    use crate::wire::packet::IPacket;

    const LIST: &[u8] = b"^\\021\\023~";
    const SYNC: &str = "5e 20 36 3d 20 2e 40 07 00 00 20 04 24 04 00 10 07 85 7f 30 46 7e";

    fn started() -> Bench {
        let mut j = Bench::new('j', true);
        assert_eq!(j.sent(), LIST);
        assert_eq!(j.feed(LIST), []);
        assert!(j.sent().is_empty(), "a pause comes first");
        j.pass(2);
        assert_eq!(j.sent(), hex("5e 20 36 3d 20 2e 40 07 00 00 30 04 34 04 00 10 07 85 7f 30 46 7e"));
        assert_eq!(j.feed(&hex(SYNC)), [Event::Started]);
        j
    }

    #[test]
    fn a_conversation_begins_with_the_captured_bytes() {
        let mut j = started();
        j.protocol.send_command(Channel::Ours(1), b"H");
        assert_eq!(j.sent(), hex("5e 20 34 3d 20 2c 40 07 09 00 10 02 1b 48 00 86 86 28 0d 7e"));
    }

    #[test]
    fn noise_between_envelopes_is_skipped_and_the_good_bye_is_left() {
        let mut j = started();
        let told = j
            .feed(&[b"noise^ 6= .@", &hex("5e 20 34 3d 20 2c 40 07 09 00 00 02 0b 48 00 86 86 28 0d 7e")[..]].concat());
        assert_eq!(told, [Event::Command { channel: Channel::Theirs(1), text: b"H".to_vec() }]);
        j.feed(b"\x10OOOOOO\0\x10OOO");
        assert_eq!(j.protocol.unread(), b"\x10OOOOOO\0\x10OOO");
    }

    #[test]
    fn a_lost_list_is_said_again_and_asked_for() {
        let mut j = Bench::new('j', true);
        assert_eq!(j.sent(), LIST);
        j.pass(5);
        assert_eq!(j.sent(), LIST);
        j.pass(5);
        assert_eq!(j.sent(), LIST);
        j.feed(&hex(SYNC));
        assert!(!j.sent().is_empty(), "a peer that sends packets has heard ours");
        let mut j = started();
        j.feed(LIST);
        assert_eq!(j.sent()[..LIST.len()], *LIST, "the peer has not heard ours");
    }

    #[test]
    fn no_list_ends_the_call() {
        let mut j = Bench::new('j', true);
        for _ in 0..LISTS_MAX {
            assert_eq!(j.sent(), LIST);
            j.pass(5);
        }
        assert_eq!(j.events(), [Event::Failed(Violation::NoStart('j'))]);
    }

    #[test]
    fn an_envelope_is_waited_for_as_long_as_more_of_it_comes_where_nobody_knows_the_speed() {
        let facts = Facts { speed: None, ..Facts::serial("line", 0) };
        let mut j = Bench::on(facts, 'j');
        j.feed(LIST);
        j.pass(2);
        let ours = |kind, number, data: &[u8]| {
            let (mut packet, mut out) = (Vec::new(), Vec::new());
            let data = data.to_vec();
            packet::write_i(
                &IPacket { kind, number, local: 1, acknowledged: 0, remote: 0, caller: true, data },
                &mut packet,
            );
            wrap(&packet, &Avoided::standard(), &mut out);
            out
        };
        assert_eq!(j.feed(&ours(packet::IKind::Sync, 0, &[4, 0, 16, 7])), [Event::Started]);
        let text = [[b'a'; 499].as_slice(), &[0]].concat();
        let mut told = Vec::new();
        for piece in ours(packet::IKind::Data, 1, &text).chunks(120) {
            told.extend(j.feed(piece));
            j.pass(1);
        }
        assert_eq!(told, [Event::Command { channel: Channel::Theirs(1), text: vec![b'a'; 499] }]);
    }

    #[test]
    fn a_damaged_index_changes_no_header() {
        let mut j = started();
        // Packet 2 on channel 1: its second byte, 11 hex, goes as 31 with the index `20 41`; the last of its header is
        // avoided too.
        let mut packet = Vec::new();
        let kind = packet::IKind::Data;
        let data = b"S\0".to_vec();
        let inside = IPacket { kind, number: 2, local: 1, acknowledged: 0, remote: 0, caller: false, data };
        packet::write_i(&inside, &mut packet);
        let mut out = Vec::new();
        wrap(&packet, &Avoided::standard(), &mut out);
        let place = out.len() - 4;
        assert_eq!(out[place], 0x41);
        out[place] = 0x42;
        j.feed(&out);
        assert_eq!(j.protocol.counters().bad_order, 0, "no packet with another number came of it");
    }
}
