//! UUCP transfer protocols, sans-I/O: what carries commands and files within a session.

mod a;
mod e;
mod f;
mod g;
mod i;
mod j;
mod scan;
mod sizes;
mod stream;
mod t;
#[cfg(test)]
mod testing;
mod window;
mod y;

use std::time::Duration;

use crate::base::limits::{MOVED_BYTES_MIN, MOVED_WITHIN_S};
use crate::base::time::{Instant, Now};
use crate::dialogue::Facts;
use g::{G, Variant};
use stream::Stream;

/// One running transfer protocol. After each `handle_*`, `send_*` or `shut_down` the owner drains
/// `poll_event` and later `poll_transmit`.
pub trait Protocol: Send {
    fn handle_input(&mut self, now: Now, bytes: &[u8]);
    fn handle_timeout(&mut self, now: Now);

    /// Appends packets that may go now: control first, then data as far as the window allows; at most some KiB.
    fn poll_transmit(&mut self, now: Now, out: &mut Vec<u8>);
    fn poll_timeout(&self) -> Option<Instant>;

    /// One event at a time: in `t` the owner's reaction (`begin_file`) decides how the next bytes are framed.
    fn poll_event(&mut self) -> Option<Event>;

    /// How many bytes of `send_data` can be taken on this channel now. Zero until started.
    fn room(&self, channel: Channel) -> usize;

    /// Queues a command or reply, without its NUL. Always taken: the session looks at `waiting`.
    fn send_command(&mut self, channel: Channel, command: &[u8]);

    /// Bytes of commands and replies that have not gone to the line, in the stream protocols of files, too: they grow while
    /// the peer does not read.
    fn waiting(&self) -> usize;

    /// Queues file bytes, at most `room`; `offset` is their place in the file. Empty: end of file. In i an end that does
    /// not stand where the bytes ended takes back those that have not gone: nobody wants the file.
    fn send_data(&mut self, channel: Channel, offset: u64, data: &[u8]);

    /// A file follows on this channel, in this direction: what is received on it is file bytes up to their end, and a
    /// command after it. In i also before a refusal, for there the bytes do not wait for the answer.
    fn begin_file(&mut self, channel: Channel, way: Way);

    /// Sends the protocol's own good-bye after what is queued. `poll_event` yields `Closed` when it has been handed out.
    fn shut_down(&mut self, now: Now);

    /// How many commands of one side may be under way at once, after the start: 1 for all but i and j.
    fn channels(&self) -> u8 {
        1
    }

    /// Whether a file can begin in the middle.
    fn restarts(&self) -> bool {
        true
    }

    /// What came after the peer's end of the protocol: part of the session's own good-bye. Ask once, after the
    /// last event; input that comes later is the session's alone.
    fn unread(&mut self) -> Vec<u8>;

    /// How large the packets may be and how many go unacknowledged, from when it has started; `None` where there are no packets.
    fn packets(&self) -> Option<Packets> {
        None
    }

    /// What has been counted so far, for logs and `call`'s report.
    fn counters(&self) -> Counters;

    /// The shortest time from the end of a packet to its acknowledgement, where it measures that.
    fn round_trip(&self) -> Option<Duration> {
        None
    }
}

/// What the two sides have told each other of packets: the bytes of data in one at most, and the window, of what we send and of what we take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packets {
    pub sending: (usize, u8),
    pub receiving: (usize, u8),
}

/// Which conversation within the session: the one that we began by our command number n, or they by theirs.
/// Protocols with a single channel use `Ours(1)` for everything and leave it to the session to know whose turn it is.
/// Number 0 belongs to nobody: in i the hang-up is said on it, and it comes as `Theirs(0)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    Ours(u8),
    Theirs(u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// So many bytes will follow: e says it first.
    Out {
        bytes: u64,
    },
    In,
}

/// What a protocol has to tell its session.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// Both sides are ready. Comes first, once.
    Started,
    /// A command or reply, without its NUL.
    Command {
        channel: Channel,
        text: Vec<u8>,
    },
    /// File bytes and where they belong; in order within a channel. Protocols without positions count
    /// from zero at `begin_file`: the session adds where the transfer restarted.
    Data {
        channel: Channel,
        offset: u64,
        bytes: Vec<u8>,
    },
    EndOfFile {
        channel: Channel,
    },
    /// The file that is under way begins again from its first byte: what came of it does not count, what went of it
    /// is to be sent again. Only in f, whose sum is over the whole file.
    Again {
        channel: Channel,
    },
    /// The good-bye is on its way: look for it after `poll_transmit`, which has given all of it.
    Closed,
    /// The end: the peer broke the rules or went silent, or too many errors. The last event.
    Failed(Violation),
}

/// Why a protocol had to stop: the peer's or the line's doing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("the peer did not start protocol {0}")]
    NoStart(char),
    #[error("nothing came from the peer for {} s", .0.as_secs())]
    Silence(Duration),
    #[error("less than {MOVED_BYTES_MIN} bytes have moved within {} min", MOVED_WITHIN_S / 60)]
    Trickle,
    #[error("too many errors on the line: {0}")]
    TooManyErrors(Counters),
    #[error("the peer closed the protocol in the middle")]
    ClosedByPeer,
    #[error("the peer broke the rules: {0}")]
    Rule(&'static str),
}

/// Packets and errors of one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    pub sent: u64,
    pub resent: u64,
    pub received: u64,
    /// Damaged headers, damaged data, packets out of order.
    pub bad_header: u64,
    pub bad_data: u64,
    pub bad_order: u64,
    /// The peer's requests to send again.
    pub rejects: u64,
}

impl std::fmt::Display for Counters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "packets sent {}, resent {}, received {}; bad headers {}, bad data {}, out of order {}, rejects {}",
            self.sent, self.resent, self.received, self.bad_header, self.bad_data, self.bad_order, self.rejects
        )
    }
}

/// What a protocol is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameters {
    /// Packets the peer may have under way to us: 1-7 in g, G and v, 1-16 in i and j.
    pub window: u8,
    /// Largest packet that we ask the peer to send, bytes: a power of two 32-4096 in g, G and v, up to 4095 in i, 2997 in j.
    pub packet_size: u16,
    /// Waiting for a packet before asking again. The line's own time for what is under way comes on top.
    pub timeout: Duration,
    /// Time-outs in a row that end the call; in f, how often one file may go again.
    pub retries: u32,
    /// Errors, less one for every ten good packets, that end the call.
    pub errors: u32,
    /// In g, to a peer that announced packets above 64 bytes: also send smaller ones, as Taylor, UUPC and XP do. HDB,
    /// SVR4 and BSD take only the size that they announced.
    pub short_packets: bool,
}

/// What an operator has set of a protocol, per site. The rest follows from the link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    pub window: Option<u8>,
    pub packet_size: Option<u16>,
    pub timeout: Option<Duration>,
    pub retries: Option<u32>,
    pub errors: Option<u32>,
}

impl Settings {
    /// What this protocol is started with on a link. What is not set is Taylor's, where the wire shows it, but for packet sizes.
    pub fn on(&self, letter: char, facts: &Facts) -> Parameters {
        let (window, timeout_s) = match letter {
            'g' | 'G' | 'v' => (7, 10),
            'i' | 'j' => (16, 10),
            'a' => (1, 10),
            'y' => (1, 60),
            _ => (1, 120),
        };
        let retries = match letter {
            'f' => 2,
            'a' => 10,
            _ => 6,
        };
        let window = self.window.unwrap_or(window);
        Parameters {
            window,
            packet_size: self.packet_size.unwrap_or_else(|| sizes::packet_size(letter, window, facts)),
            timeout: self.timeout.unwrap_or_else(|| {
                // Where the way is that long, the usual time is over before the answer to a repetition can be here.
                let ways = facts.round_trip.unwrap_or_default() * WAYS_IN_A_TIMEOUT;
                Duration::from_secs(timeout_s).max(ways.min(LONG_TIMEOUT))
            }),
            retries: self.retries.unwrap_or(retries),
            errors: self.errors.unwrap_or(100),
            short_packets: true,
        }
    }
}

/// How often a packet can go there, and its answer come back, within one time-out.
const WAYS_IN_A_TIMEOUT: u32 = 3;
/// A peer that lies about the way does not hold the line for long.
const LONG_TIMEOUT: Duration = Duration::from_secs(30);

/// All that a protocol needs to begin.
#[derive(Debug, Clone)]
pub struct Start {
    /// We placed the call.
    pub caller: bool,
    pub facts: Facts,
    pub parameters: Parameters,
}

/// One line of the table: a letter, what it needs of a link, how to make one.
pub struct Entry {
    pub letter: char,
    pub needs: Needs,
    pub make: fn(Start) -> Box<dyn Protocol>,
}

/// What a link must give for a protocol to be chosen on it. (Full duplex none needs; i and j use it where it is.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    pub eight_bit: bool,
    /// XON and XOFF pass like other bytes.
    pub transparent: bool,
    pub reliable: bool,
    pub end_to_end: bool,
}

impl Needs {
    const PACKETS: Self = Self { eight_bit: true, transparent: true, reliable: false, end_to_end: false };
    const ESCAPED: Self = Self { transparent: false, ..Self::PACKETS };
    const SEVEN_BIT: Self = Self { eight_bit: false, transparent: false, ..Self::RELIABLE };
    const RELIABLE: Self = Self { reliable: true, ..Self::PACKETS };
    const STREAM: Self = Self { end_to_end: true, ..Self::RELIABLE };

    pub fn are_met(&self, facts: &Facts) -> bool {
        // Where only seven bits pass nothing is left but f, and its sum over each file finds damage.
        let reliable = facts.reliable || !facts.eight_bit;
        (facts.eight_bit || !self.eight_bit)
            && (facts.transparent || !self.transparent)
            && (reliable || !self.reliable)
            && (facts.end_to_end || !self.end_to_end)
    }
}

/// Every protocol we speak, best first on a link that has all it needs. First i: many files at once in both directions,
/// and a checksum that holds. Among the streams those that send least. On a line that may lose bytes the checksum of g
/// and its kin is weak, but a peer with j or a has i as well; and a loses ten seconds with Taylor now and then.
pub static PROTOCOLS: &[Entry] = &[
    Entry { letter: 'i', needs: Needs::PACKETS, make: |start| Box::new(i::I::new(start)) },
    Entry { letter: 't', needs: Needs::STREAM, make: |start| Box::new(Stream::new(start, t::T::default())) },
    Entry { letter: 'e', needs: Needs::STREAM, make: |start| Box::new(Stream::new(start, e::E::default())) },
    Entry {
        letter: 'y',
        needs: Needs::RELIABLE,
        make: |start| {
            let size = start.parameters.packet_size;
            Box::new(Stream::new(start, y::Y::new(size)))
        },
    },
    Entry { letter: 'j', needs: Needs::ESCAPED, make: |start| Box::new(j::J::new(start)) },
    Entry { letter: 'v', needs: Needs::PACKETS, make: |start| Box::new(G::new(start, Variant::Varying)) },
    Entry { letter: 'G', needs: Needs::PACKETS, make: |start| Box::new(G::new(start, Variant::Large)) },
    Entry { letter: 'g', needs: Needs::PACKETS, make: |start| Box::new(G::new(start, Variant::Small)) },
    Entry { letter: 'a', needs: Needs::ESCAPED, make: |start| Box::new(a::A::new(start)) },
    Entry {
        letter: 'f',
        needs: Needs::SEVEN_BIT,
        make: |start| {
            let repeats_max = start.parameters.retries;
            Box::new(Stream::new(start, f::F::new(repeats_max)))
        },
    },
];

/// The protocol of this letter, if we speak it.
pub fn entry(letter: char) -> Option<&'static Entry> {
    PROTOCOLS.iter().find(|e| e.letter == letter)
}

/// The letters that suit a link, best first: those of `configured` in its order (a configured list replaces the
/// choice entirely, as in Taylor), else all of the table that the link can carry.
pub fn suitable(facts: &Facts, configured: Option<&str>) -> String {
    match configured {
        Some(letters) => letters.chars().filter(|l| entry(*l).is_some()).collect(),
        // a loses ten seconds with Taylor on a busy machine, and every peer that has it has i or j: only if it is asked for.
        None => PROTOCOLS.iter().filter(|e| e.letter != 'a' && e.needs.are_met(facts)).map(|e| e.letter).collect(),
    }
}

/// The letters that would suit one link or another.
pub fn speakable() -> String {
    PROTOCOLS.iter().filter(|e| e.letter != 'a').map(|e| e.letter).collect()
}

#[cfg(test)]
mod tests {
    use super::testing::Bench;
    use super::*;

    fn check_choice(facts: &Facts, expected: &str) {
        assert_eq!(suitable(facts, None), expected, "{facts:?}");
    }

    #[test]
    fn the_link_decides_which_letters_are_offered() {
        let serial = Facts::serial("line", 9600);
        check_choice(&Facts::stream("pipe"), "iteyjvGgf");
        check_choice(&serial, "ijvGg");
        check_choice(&Facts { reliable: true, ..serial.clone() }, "iyjvGgf");
        check_choice(&Facts { transparent: false, ..serial.clone() }, "j");
        check_choice(&Facts { eight_bit: false, ..serial.clone() }, "f");
        check_choice(&Facts { eight_bit: false, ..Facts::stream("pad") }, "f");
        assert_eq!(suitable(&serial, Some("tqg")), "tg", "a configured list replaces the choice, with its order");
    }

    #[test]
    fn what_is_set_wins_over_what_would_suit_the_link() {
        let line = Facts::serial("line", 2400);
        let none = Settings::default();
        let timeout = Duration::from_secs(10);
        let usual = Parameters { window: 7, packet_size: 256, timeout, retries: 6, errors: 100, short_packets: true };
        assert_eq!(none.on('v', &line), usual);
        let all = Settings {
            window: Some(3),
            packet_size: Some(1024),
            timeout: Some(Duration::from_secs(20)),
            retries: Some(9),
            errors: Some(5),
        };
        let timeout = Duration::from_secs(20);
        let wanted = Parameters { window: 3, packet_size: 1024, timeout, retries: 9, errors: 5, short_packets: true };
        assert_eq!(all.on('v', &line), wanted);
        let windowed = Settings { window: Some(3), ..none };
        assert_eq!(windowed.on('G', &Facts::stream("pipe")).packet_size, 256);
    }

    #[test]
    fn a_peer_that_speaks_before_we_have_is_heard() {
        for entry in PROTOCOLS {
            let (mut caller, mut answerer) = (Bench::new(entry.letter, true), Bench::new(entry.letter, false));
            let mut events = answerer.events();
            for _ in 0..5 {
                let sent = caller.sent();
                events.extend(answerer.feed(&sent));
                let sent = answerer.sent();
                caller.feed(&sent);
                caller.pass(1);
                answerer.pass(1);
            }
            assert!(
                events.contains(&Event::Started) || answerer.events().contains(&Event::Started),
                "{}",
                entry.letter
            );
        }
    }
}
