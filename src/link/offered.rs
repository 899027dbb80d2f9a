//! The serial port that a telnet caller sets (RFC 2217): one of ours that is lent, or one that it takes us to have.
//! Terminal emulators, simulators and WiFi modems set the line to whom they call; there what they set is noted.

use super::comport::{
    FLOWCONTROL_RESUME, FLOWCONTROL_SUSPEND, NOTIFY_MODEMSTATE, PURGE_DATA, SET_BAUDRATE, SET_CONTROL, SET_DATASIZE,
    SET_MODEMSTATE_MASK, SET_PARITY, SET_STOPSIZE, TOLD,
};
use super::lend::Board;
use crate::base::limits::OFFERED_SPEEDS;

const SIGNATURE: u8 = 0;
const SET_LINESTATE_MASK: u8 = 10;
/// Carrier, data set ready, clear to send: we are there.
const READY: u8 = 0xb0;

/// What the caller has set, and what stands where it has set nothing.
#[derive(Debug)]
pub(super) struct OfferedPort {
    speed: u32,
    /// The caller has named the speed of its line.
    named: bool,
    data_bits: u8,
    parity: u8,
    stop_bits: u8,
    /// By the question of SET-CONTROL that asks for each: flow, break, DTR, RTS, flow inwards.
    control: [u8; 5],
    /// The line, where there is one.
    line: Option<Board>,
    /// The caller has no room: nothing may be sent.
    pub suspended: bool,
}

impl Default for OfferedPort {
    fn default() -> Self {
        Self {
            speed: 9600,
            named: false,
            data_bits: 8,
            parity: 1,
            stop_bits: 1,
            control: [1, 6, 8, 11, 14],
            line: None,
            suspended: false,
        }
    }
}

impl OfferedPort {
    /// Of a line of ours at this speed, eight bits without parity.
    pub fn lent(line: Option<Board>, speed: Option<u32>) -> Self {
        let set = Self::default();
        Self { speed: speed.unwrap_or(set.speed), line, ..set }
    }

    /// What the caller is told of the modem lines before it asks.
    pub fn news(&self) -> (u8, [u8; 1]) {
        (NOTIFY_MODEMSTATE, [self.modem_state().unwrap_or(READY)])
    }

    /// The modem lines; `None` where there are none.
    pub fn modem_state(&self) -> Option<u8> {
        self.line.as_ref().and_then(Board::modem_state)
    }

    /// The speed that the caller has named.
    pub fn speed(&self) -> Option<u32> {
        self.named.then_some(self.speed)
    }

    /// Takes one request; what is to be answered has its number and the value that now holds. A value that no line can have
    /// changes nothing, and zero asks.
    pub fn answer(&mut self, request: &[u8]) -> Option<(u8, Vec<u8>)> {
        let (code, value) = request.split_first()?;
        let first = value.first().copied().unwrap_or(0);
        let told = match *code {
            // One that names itself wants no answer.
            SIGNATURE => value.is_empty().then(|| b"bangpath".to_vec())?,
            SET_BAUDRATE => {
                let speed = <[u8; 4]>::try_from(value).map_or(0, u32::from_be_bytes);
                if OFFERED_SPEEDS.contains(&speed) && self.line.as_ref().is_none_or(|line| line.set_speed(speed)) {
                    (self.speed, self.named) = (speed, true);
                }
                self.speed.to_be_bytes().to_vec()
            }
            SET_DATASIZE | SET_PARITY | SET_STOPSIZE => vec![self.format(*code, first)],
            SET_CONTROL => vec![self.control(first)?],
            SET_LINESTATE_MASK | SET_MODEMSTATE_MASK => vec![first],
            PURGE_DATA => {
                self.line.iter().for_each(|line| line.purge(first));
                vec![first]
            }
            code if code == NOTIFY_MODEMSTATE - TOLD => self.news().1.to_vec(),
            code if code == FLOWCONTROL_SUSPEND - TOLD => {
                self.suspended = true;
                return None;
            }
            code if code == FLOWCONTROL_RESUME - TOLD => {
                self.suspended = false;
                return None;
            }
            _ => return None,
        };
        Some((code + TOLD, told))
    }

    fn format(&mut self, code: u8, value: u8) -> u8 {
        let before = (self.data_bits, self.parity, self.stop_bits);
        let (held, known) = match code {
            SET_DATASIZE => (&mut self.data_bits, 5..=8),
            SET_PARITY => (&mut self.parity, 1..=5),
            _ => (&mut self.stop_bits, 1..=3),
        };
        if known.contains(&value) {
            *held = value;
            let (data_bits, parity, stop_bits) = (self.data_bits, self.parity, self.stop_bits);
            if self.line.as_ref().is_some_and(|line| !line.set_format(data_bits, parity, stop_bits)) {
                (self.data_bits, self.parity, self.stop_bits) = before;
            }
        }
        match code {
            SET_DATASIZE => self.data_bits,
            SET_PARITY => self.parity,
            _ => self.stop_bits,
        }
    }

    /// RFC 2217 section 3, SET-CONTROL: each question stands before what may be set.
    fn control(&mut self, value: u8) -> Option<u8> {
        let (place, question) = match value {
            0..=3 => (0, 0),
            4..=6 => (1, 4),
            7..=9 => (2, 7),
            10..=12 => (3, 10),
            13..=16 => (4, 13),
            // Flow control by DCD, DTR or DSR: what we have is told instead.
            17..=19 => return Some(self.control[0]),
            _ => return None,
        };
        if value != question {
            self.control[place] = value;
            self.line.iter().for_each(|line| line.set_control(value));
        }
        Some(self.control[place])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(port: &mut OfferedPort, request: &[u8], answer: Option<(u8, &[u8])>) {
        assert_eq!(port.answer(request), answer.map(|(code, told)| (code, told.to_vec())), "{request:?}");
    }

    #[test]
    fn what_a_caller_sets_is_acknowledged_with_the_value_that_holds() {
        let mut port = OfferedPort::default();
        check(&mut port, &[SET_BAUDRATE, 0, 0, 0, 0], Some((101, &[0, 0, 0x25, 0x80])));
        assert_eq!(port.speed(), None, "it has only asked");
        check(&mut port, &[SET_BAUDRATE, 0, 0, 4, 0xb0], Some((101, &[0, 0, 4, 0xb0])));
        for impossible in [&[SET_BAUDRATE, 0, 0, 0, 1][..], &[SET_BAUDRATE, 255, 255, 255, 255], &[SET_BAUDRATE, 9]] {
            check(&mut port, impossible, Some((101, &[0, 0, 4, 0xb0])));
        }
        assert_eq!(port.speed(), Some(1200));
        check(&mut port, &[SET_DATASIZE, 7], Some((102, &[7])));
        check(&mut port, &[SET_DATASIZE, 9], Some((102, &[7])));
        check(&mut port, &[SET_PARITY, 0], Some((103, &[1])));
        check(&mut port, &[SET_STOPSIZE, 2], Some((104, &[2])));
        check(&mut port, &[SET_CONTROL, 3], Some((105, &[3])));
        check(&mut port, &[SET_CONTROL, 0], Some((105, &[3])));
        check(&mut port, &[SET_CONTROL, 7], Some((105, &[8])));
        check(&mut port, &[SET_CONTROL, 9], Some((105, &[9])));
        check(&mut port, &[SET_CONTROL, 19], Some((105, &[3])));
        check(&mut port, &[SET_CONTROL, 20], None);
        check(&mut port, &[SET_MODEMSTATE_MASK, 255], Some((111, &[255])));
        check(&mut port, &[7], Some((107, &[READY])));
        check(&mut port, &[PURGE_DATA, 3], Some((112, &[3])));
        check(&mut port, &[SIGNATURE], Some((100, b"bangpath")));
        check(&mut port, b"\x00SyncTERM", None);
        check(&mut port, &[], None);
        check(&mut port, &[8], None);
        assert!(port.suspended);
        check(&mut port, &[9], None);
        assert!(!port.suspended);
        for code in 0..=255 {
            for value in 0..=255 {
                port.answer(&[code, value]);
            }
        }
    }
}
