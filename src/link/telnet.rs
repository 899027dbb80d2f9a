//! Telnet, one end of it and without I/O: bytes of the network ⇄ bytes of the conversation (RFC 854, 855, 856, 858).

use std::task::Waker;

use super::comport::SerialServer;
use super::offered::OfferedPort;
use super::rfc2217::{self, NOTIFY_MODEMSTATE};
use super::serial::Lines;
use crate::base::limits::{OFFERED_ANSWERS_MAX, TELNET_ANSWERS_MAX, TELNET_SUBNEGOTIATION_MAX};

pub(super) const IAC: u8 = 255;
const DONT: u8 = 254;
const DO: u8 = 253;
const WONT: u8 = 252;
const WILL: u8 = 251;
const SB: u8 = 250;
const SE: u8 = 240;
const BINARY: u8 = 0;
const SUPPRESS_GO_AHEAD: u8 = 3;

/// Whether the other end speaks telnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    Telnet,
    /// It does and has called us: it may set the serial port that it takes us to have.
    TelnetCaller,
    /// Its first byte tells: no login begins with an IAC. Nothing later does.
    FirstByteTells,
    Plain,
}

/// An option at one end. We never ask for one to end, so RFC 1143 needs no more states than these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    No,
    Asked,
    Yes,
}

/// The options that may be on, at one end.
#[derive(Debug, Default)]
struct Options {
    binary: State,
    suppress_go_ahead: State,
    /// On our side we are the client of a serial port, on theirs they are.
    com_port: State,
}

impl Options {
    fn of(&mut self, code: u8) -> Option<&mut State> {
        match code {
            BINARY => Some(&mut self.binary),
            SUPPRESS_GO_AHEAD => Some(&mut self.suppress_go_ahead),
            rfc2217::OPTION => Some(&mut self.com_port),
            _ => None,
        }
    }
}

/// Where in the bytes from the network we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Data,
    /// Behind a carriage return, whose NUL is no data.
    Return,
    Command,
    Option(u8),
    Subnegotiation,
    /// Behind an IAC within a subnegotiation.
    SubnegotiationCommand,
}

/// One end of a telnet connection.
pub(super) struct Telnet {
    speaks: Speaks,
    ours: Options,
    theirs: Options,
    place: Place,
    subnegotiation: Vec<u8>,
    answers: usize,
    /// What goes to the network next.
    pub out: Vec<u8>,
    /// What the other end has told of its serial port.
    pub serial: SerialServer,
    /// What a caller has set; `None` where we have called.
    offered: Option<OfferedPort>,
    /// Wakes whoever reads, who also sends what others than the writer have put into `out`.
    pub waker: Option<Waker>,
}

impl Telnet {
    pub fn new(speaks: Speaks) -> Self {
        let offered = matches!(speaks, Speaks::TelnetCaller | Speaks::FirstByteTells).then(OfferedPort::default);
        let speaks = if speaks == Speaks::TelnetCaller { Speaks::Telnet } else { speaks };
        let mut telnet = Self {
            speaks,
            offered,
            ours: Options::default(),
            theirs: Options::default(),
            place: Place::Data,
            subnegotiation: Vec::new(),
            answers: 0,
            out: Vec::new(),
            serial: SerialServer::default(),
            waker: None,
        };
        if speaks == Speaks::Telnet {
            telnet.offer();
        }
        telnet
    }

    /// Binary and no go-ahead, both ways.
    fn offer(&mut self) {
        for option in [SUPPRESS_GO_AHEAD, BINARY] {
            for (verb, end) in [(WILL, &mut self.ours), (DO, &mut self.theirs)] {
                let state = end.of(option).expect("an option of ours");
                if *state == State::No {
                    *state = State::Asked;
                    self.out.extend([IAC, verb, option]);
                }
            }
        }
    }

    /// Asks to be let at a serial port (RFC 2217).
    pub fn offer_serial(&mut self) {
        self.ours.com_port = State::Asked;
        self.out.extend([IAC, WILL, rfc2217::OPTION]);
    }

    /// `None` until the other end has answered.
    pub fn has_serial(&self) -> Option<bool> {
        match self.ours.com_port {
            State::Yes => Some(true),
            State::No => Some(false),
            State::Asked => None,
        }
    }

    /// The speed of the other end's line, where it has named it.
    pub fn speed(&self) -> Option<u32> {
        self.offered.as_ref().and_then(OfferedPort::speed)
    }

    /// What the caller sets is from now on this line of ours.
    pub fn lend(&mut self, line: Option<Box<dyn Lines>>, speed: Option<u32>) {
        self.offered = Some(OfferedPort::lent(line, speed));
    }

    /// Tells the client of a lent line what has changed of it. To one that takes nothing it is told later.
    pub fn tell_news(&mut self) {
        let listens = self.theirs.com_port == State::Yes && self.out.len() < OFFERED_ANSWERS_MAX;
        let Some(port) = self.offered.as_mut().filter(|port| listens && !port.suspended) else { return };
        for (code, value) in port.news() {
            self.request(code, &[value]);
        }
    }

    /// A peer takes too little of what it is answered, and has not said why.
    pub fn is_overfull(&self) -> bool {
        self.out.len() > OFFERED_ANSWERS_MAX && !self.is_held()
    }

    /// The caller wants to hear nothing for now, no answer either (RFC 2217 section 5).
    pub fn is_held(&self) -> bool {
        self.offered.as_ref().is_some_and(|port| port.suspended)
    }

    /// The other end has no room: nothing may be sent.
    pub fn is_suspended(&self) -> bool {
        self.serial.suspended || self.is_held()
    }

    /// Whether both ends have agreed that every byte value passes; `None` where it is not for telnet to say.
    pub fn is_eight_bit(&self) -> Option<bool> {
        let agreed = self.ours.binary == State::Yes && self.theirs.binary == State::Yes;
        (self.speaks == Speaks::Telnet).then_some(agreed)
    }

    /// The first byte has told that it is no telnet.
    pub fn is_plain(&self) -> bool {
        self.speaks == Speaks::Plain
    }

    /// Takes bytes of the network; those of the conversation are put behind `data`.
    pub fn receive(&mut self, bytes: &[u8], data: &mut Vec<u8>) {
        if let (Speaks::FirstByteTells, Some(first)) = (self.speaks, bytes.first()) {
            self.speaks = if *first == IAC { Speaks::Telnet } else { Speaks::Plain };
            if *first == IAC {
                self.offer();
            }
        }
        if self.speaks == Speaks::Plain {
            data.extend_from_slice(bytes);
            return;
        }
        for byte in bytes {
            self.place = self.receive_byte(*byte, data);
        }
    }

    fn receive_byte(&mut self, byte: u8, data: &mut Vec<u8>) -> Place {
        match self.place {
            Place::Data | Place::Return if byte == IAC => Place::Command,
            Place::Return if byte == 0 => Place::Data,
            Place::Data | Place::Return => {
                data.push(byte);
                if byte == b'\r' && self.theirs.binary != State::Yes { Place::Return } else { Place::Data }
            }
            Place::Command => match byte {
                IAC => {
                    data.push(IAC);
                    Place::Data
                }
                WILL | WONT | DO | DONT => Place::Option(byte),
                SB => {
                    self.subnegotiation.clear();
                    Place::Subnegotiation
                }
                // Go-ahead, "are you there" and the like: nothing that a program needs.
                _ => Place::Data,
            },
            Place::Option(verb) => {
                self.negotiate(verb, byte);
                Place::Data
            }
            Place::Subnegotiation if byte == IAC => Place::SubnegotiationCommand,
            Place::Subnegotiation => {
                self.keep(byte);
                Place::Subnegotiation
            }
            Place::SubnegotiationCommand => match byte {
                IAC => {
                    self.keep(IAC);
                    Place::Subnegotiation
                }
                SE => {
                    self.handle_serial();
                    Place::Data
                }
                // Its end is missing.
                _ => {
                    self.place = Place::Command;
                    self.receive_byte(byte, data)
                }
            },
        }
    }

    fn handle_serial(&mut self) {
        let [rfc2217::OPTION, told @ ..] = &self.subnegotiation[..] else { return };
        if self.ours.com_port == State::Yes {
            self.serial.handle(told);
        } else if let (State::Yes, Some(port)) = (self.theirs.com_port, &mut self.offered)
            && let Some((code, value)) = port.answer(told)
            && self.out.len() < OFFERED_ANSWERS_MAX
        {
            self.request(code, &value);
        }
    }

    /// What is too long is of no option that we know.
    fn keep(&mut self, byte: u8) {
        if self.subnegotiation.len() < TELNET_SUBNEGOTIATION_MAX {
            self.subnegotiation.push(byte);
        }
    }

    /// RFC 1143 section 7. What is already so is not answered: two ends that did would never stop.
    fn negotiate(&mut self, verb: u8, option: u8) {
        let (end, agree, refuse) = match verb {
            WILL | WONT => (&mut self.theirs, DO, DONT),
            _ => (&mut self.ours, WILL, WONT),
        };
        let may = match option {
            BINARY | SUPPRESS_GO_AHEAD => true,
            rfc2217::OPTION => verb == WILL && self.offered.is_some(),
            _ => false,
        };
        let answer = match (verb, end.of(option)) {
            (WILL | DO, Some(state @ State::No)) if may => {
                *state = State::Yes;
                Some(agree)
            }
            (WILL | DO, Some(state @ State::Asked)) => {
                *state = State::Yes;
                None
            }
            (WILL | DO, Some(State::Yes)) => None,
            (WILL | DO, _) => Some(refuse),
            (_, Some(state @ State::Yes)) => {
                *state = State::No;
                Some(refuse)
            }
            (_, Some(state)) => {
                *state = State::No;
                None
            }
            (_, None) => None,
        };
        if let Some(answer) = answer.filter(|_| self.answers < TELNET_ANSWERS_MAX) {
            self.answers += 1;
            self.out.extend([IAC, answer, option]);
            if (answer, option) == (DO, rfc2217::OPTION) {
                // pyserial takes a port without news of its lines for none.
                let state = self.offered.as_mut().map(OfferedPort::modem_state);
                state.into_iter().for_each(|state| self.request(NOTIFY_MODEMSTATE, &[state]));
            }
        }
    }

    /// Puts bytes of the conversation behind what goes to the network.
    pub fn send(&mut self, data: &[u8]) {
        if self.speaks != Speaks::Telnet {
            self.out.extend_from_slice(data);
            return;
        }
        let mut bytes = data.iter().peekable();
        while let Some(byte) = bytes.next() {
            self.out.push(*byte);
            match byte {
                &IAC => self.out.push(IAC),
                // Bare, it may mean anything to a terminal (RFC 854, page 11).
                b'\r' if self.ours.binary != State::Yes && bytes.peek() != Some(&&b'\n') => self.out.push(0),
                _ => {}
            }
        }
    }

    /// Asks something of the serial port at the other end, or answers.
    pub fn request(&mut self, code: u8, value: &[u8]) {
        self.out.extend([IAC, SB, rfc2217::OPTION, code]);
        for byte in value {
            self.out.push(*byte);
            if *byte == IAC {
                self.out.push(IAC);
            }
        }
        self.out.extend([IAC, SE]);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a network gives, whole and byte by byte, and what is answered beyond our offers.
    fn check(telnet: impl Fn() -> Telnet, wire: &[u8], data: &[u8], answers: &[u8]) -> Telnet {
        let mut whole = telnet();
        let offered = whole.out.len();
        let mut got = Vec::new();
        whole.receive(wire, &mut got);
        assert_eq!((&got[..], &whole.out[offered..]), (data, answers), "{wire:?}");
        let mut split = telnet();
        got.clear();
        for byte in wire {
            split.receive(&[*byte], &mut got);
        }
        assert_eq!((&got[..], &split.out[offered..]), (data, answers), "{wire:?} byte by byte");
        whole
    }

    fn fresh() -> Telnet {
        Telnet::new(Speaks::Telnet)
    }

    fn sent(telnet: &mut Telnet, data: &[u8]) -> Vec<u8> {
        telnet.out.clear();
        telnet.send(data);
        std::mem::take(&mut telnet.out)
    }

    const BINARY_AGREED: &[u8] = &[IAC, WILL, BINARY, IAC, DO, BINARY];

    #[test]
    fn binary_and_no_go_ahead_are_offered_both_ways() {
        let offers = [IAC, WILL, 3, IAC, DO, 3, IAC, WILL, 0, IAC, DO, 0];
        assert_eq!(fresh().out, offers);
    }

    #[test]
    fn escapes_and_returns_are_undone() {
        check(fresh, &[b'a', IAC, IAC, b'b'], &[b'a', 255, b'b'], &[]);
        check(fresh, b"login\r\0\r\n\r\0\0", b"login\r\r\n\r\0", &[]);
        check(fresh, &[b'x', IAC, 249, b'y', IAC, 246, b'\r', IAC, IAC, 0], b"xy\r\xff\0", &[]);
        let agreed = [BINARY_AGREED, b"\r\0\n"].concat();
        assert_eq!(check(fresh, &agreed, b"\r\0\n", &[]).is_eight_bit(), Some(true));
    }

    #[test]
    fn escapes_and_returns_are_made() {
        let mut telnet = fresh();
        assert_eq!(sent(&mut telnet, b"\xff\ra\r\n\r"), b"\xff\xff\r\0a\r\n\r\0");
        assert_eq!(telnet.is_eight_bit(), Some(false));
        telnet.receive(BINARY_AGREED, &mut Vec::new());
        assert_eq!(sent(&mut telnet, b"\xff\ra\r\n\r"), b"\xff\xff\ra\r\n\r");
    }

    #[test]
    fn every_byte_value_passes_between_two_of_us_whatever_was_agreed() {
        let all: Vec<u8> = (0..=255).chain([13, 0, 13, 10, 13, 13, 255, 255]).collect();
        for agreed in [false, true] {
            let (mut near, mut far) = (fresh(), fresh());
            if agreed {
                far.receive(&std::mem::take(&mut near.out), &mut Vec::new());
                near.receive(&std::mem::take(&mut far.out), &mut Vec::new());
                assert_eq!((near.is_eight_bit(), far.is_eight_bit()), (Some(true), Some(true)));
                assert!(near.out.is_empty() && far.out.is_empty(), "no answer asks for another");
            }
            let mut got = Vec::new();
            far.receive(&sent(&mut near, &all), &mut got);
            assert_eq!(got, all, "agreed: {agreed}");
        }
    }

    #[test]
    fn what_we_do_not_do_is_refused_and_what_is_so_is_not_answered() {
        // Echo, terminal type, window size.
        check(fresh, &[IAC, WILL, 1, IAC, DO, 24, IAC, DO, 31], &[], &[IAC, DONT, 1, IAC, WONT, 24, IAC, WONT, 31]);
        check(fresh, &[IAC, WONT, 1, IAC, DONT, 24], &[], &[]);
        check(fresh, &[BINARY_AGREED, BINARY_AGREED].concat(), &[], &[]);
        let refused = check(fresh, &[IAC, WONT, BINARY, IAC, DO, BINARY], &[], &[]);
        assert_eq!(refused.is_eight_bit(), Some(false));
        // They change their mind.
        let ended = check(fresh, &[BINARY_AGREED, &[IAC, DONT, BINARY]].concat(), &[], &[IAC, WONT, BINARY]);
        assert_eq!(ended.is_eight_bit(), Some(false));
        // Whom we have called may not make us a server of serial ports, and nobody a client.
        check(
            fresh,
            &[IAC, DO, rfc2217::OPTION, IAC, WILL, rfc2217::OPTION],
            &[],
            &[IAC, WONT, rfc2217::OPTION, IAC, DONT, rfc2217::OPTION],
        );
    }

    #[test]
    fn a_caller_may_set_the_line_it_takes_us_to_have() {
        let caller = || Telnet::new(Speaks::TelnetCaller);
        let set: &[u8] = &[IAC, SB, 44, 1, 0, 0, 255, 255, 0, IAC, SE];
        let agreed = [&[IAC, WILL, rfc2217::OPTION][..], set, b"login"].concat();
        let answers: &[u8] =
            &[IAC, DO, 44, IAC, SB, 44, 107, 0xb0, IAC, SE, IAC, SB, 44, 101, 0, 0, 255, 255, 0, IAC, SE];
        assert_eq!(check(caller, &agreed, b"login", answers).speed(), Some(0xff00));
        // Not before it has been agreed on; and that we have one is never asked of us.
        assert_eq!(check(caller, set, b"", &[]).speed(), None);
        check(caller, &[IAC, DO, rfc2217::OPTION], b"", &[IAC, WONT, rfc2217::OPTION]);
        let mut telnet = check(
            caller,
            &[IAC, WILL, 44, IAC, SB, 44, 8, IAC, SE],
            b"",
            &[IAC, DO, 44, IAC, SB, 44, 107, 0xb0, IAC, SE],
        );
        assert!(telnet.is_suspended());
        for _ in 0..100_000 {
            telnet.receive(set, &mut Vec::new());
        }
        assert!(telnet.out.len() < OFFERED_ANSWERS_MAX + 20, "it takes no answers");
    }

    #[test]
    fn the_first_byte_tells_and_no_later_one() {
        let unsure = || Telnet::new(Speaks::FirstByteTells);
        assert_eq!(unsure().out, b"");
        let plain = check(unsure, b"Uhub\r\0\xff\xff\xfb\x00", b"Uhub\r\0\xff\xff\xfb\x00", b"");
        assert_eq!((plain.is_eight_bit(), plain.is_plain()), (None, true));
        let mut telnet = unsure();
        let mut data = Vec::new();
        telnet.receive(&[IAC, DO, 3, b'U', b'\r', 0], &mut data);
        assert_eq!(data, b"U\r");
        let said = [IAC, WILL, 3, IAC, DO, 3, IAC, WILL, 0, IAC, DO, 0];
        assert_eq!(telnet.out, said, "the offer is the answer");
    }

    #[test]
    fn what_a_peer_repeats_does_not_grow() {
        let mut telnet = fresh();
        let offered = telnet.out.len();
        let mut data = Vec::new();
        for _ in 0..100_000 {
            telnet.receive(&[IAC, WILL, 1, IAC, DO, BINARY, IAC, DONT, BINARY], &mut data);
        }
        assert_eq!(telnet.out.len(), offered + 3 * TELNET_ANSWERS_MAX);
        telnet.receive(&[IAC, SB, 24], &mut data);
        telnet.receive(&[7; 100_000], &mut data);
        assert_eq!((telnet.subnegotiation.len(), data.len()), (TELNET_SUBNEGOTIATION_MAX, 0));
        telnet.receive(&[IAC, SE, b'x'], &mut data);
        assert_eq!(data, b"x");
        // A subnegotiation without its end.
        telnet.receive(&[IAC, SB, 24, 1, IAC, WILL, 5, b'y'], &mut data);
        assert_eq!(data, b"xy");
    }
}
