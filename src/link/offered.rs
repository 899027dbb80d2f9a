//! The serial port that a telnet caller sets (RFC 2217): one of ours that is lent, or one that it takes us to have.
//! Terminal emulators, simulators and WiFi modems set the line to whom they call; there what they set is noted.

use super::rfc2217::{
    BREAK, BREAK_OFF, BREAK_ON, CARRIER, CLEAR_TO_SEND, DATA_SET_READY, DTR_ON, FLOW_INWARDS_NONE, FLOW_NONE,
    FLOW_RTS_CTS, FLOW_XON_XOFF, FLOWCONTROL_RESUME, FLOWCONTROL_SUSPEND, FRAMING, NOTHING_UNSENT, NOTIFY_LINESTATE,
    NOTIFY_MODEMSTATE, OVERRUN, PARITY_EVEN, PARITY_NONE, PARITY_ODD, PURGE_BOTH, PURGE_DATA, PURGE_UNREAD,
    PURGE_UNSENT, RING, RTS_OFF, RTS_ON, SET_BAUDRATE, SET_CONTROL, SET_DATASIZE, SET_LINESTATE_MASK,
    SET_MODEMSTATE_MASK, SET_PARITY, SET_STOPSIZE, SIGNATURE, TOLD, WRONG_PARITY,
};
use super::serial::{Flow, LineErrors, Lines, Parity, Queue};
use crate::base::limits::OFFERED_SPEEDS;

/// We are there.
const READY: u8 = CARRIER | DATA_SET_READY | CLEAR_TO_SEND;

/// What the caller has set, and what stands where it has set nothing.
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
    line: Option<Box<dyn Lines>>,
    /// Which changes of the line and of the modem lines the caller wants to hear of.
    line_mask: u8,
    modem_mask: u8,
    /// What it was last told.
    modem_state: u8,
    errors: Option<LineErrors>,
    unsent: bool,
    /// The caller has no room: nothing may be sent.
    pub suspended: bool,
}

impl Default for OfferedPort {
    fn default() -> Self {
        Self {
            speed: 9600,
            named: false,
            data_bits: 8,
            parity: PARITY_NONE,
            stop_bits: 1,
            control: [FLOW_NONE, BREAK_OFF, DTR_ON, RTS_ON, FLOW_INWARDS_NONE],
            line: None,
            // RFC 2217 section 3
            line_mask: 0,
            modem_mask: 255,
            modem_state: READY,
            errors: None,
            unsent: false,
            suspended: false,
        }
    }
}

impl OfferedPort {
    /// Of a line of ours at this speed, eight bits without parity.
    pub fn lent(line: Option<Box<dyn Lines>>, speed: Option<u32>) -> Self {
        let mut port = Self { speed: speed.unwrap_or(9600), line, ..Self::default() };
        port.errors = port.line.as_ref().and_then(|line| line.errors());
        port
    }

    /// The modem lines now: what the caller is told before it asks. Of the others it is told from here on.
    pub fn modem_state(&mut self) -> u8 {
        self.modem_state = self.look_at_modem();
        self.modem_state
    }

    fn look_at_modem(&self) -> u8 {
        let Some(state) = self.line.as_ref().and_then(|line| line.state()) else { return READY };
        let lines = [
            (state.carrier, CARRIER),
            (state.ringing, RING),
            (state.data_set_ready, DATA_SET_READY),
            (state.clear_to_send, CLEAR_TO_SEND),
        ];
        lines.into_iter().filter(|(on, _)| *on).map(|(_, bit)| bit).sum()
    }

    /// What has happened on the line since the caller was last told, and whether anything is unsent.
    fn line_state(&mut self) -> u8 {
        let Some(line) = &self.line else { return NOTHING_UNSENT };
        self.unsent = line.unsent() > 0;
        let empty = if self.unsent { 0 } else { NOTHING_UNSENT };
        let (Some(is), Some(was)) = (line.errors(), self.errors) else { return empty };
        self.errors = Some(is);
        let errors = [
            (is.breaks != was.breaks, BREAK),
            (is.framing != was.framing, FRAMING),
            (is.wrong_parity != was.wrong_parity, WRONG_PARITY),
            (is.overruns != was.overruns, OVERRUN),
        ];
        errors.into_iter().filter(|(happened, _)| *happened).map(|(_, bit)| bit).sum::<u8>() | empty
    }

    /// What has changed since the caller was last told, as far as it wants to hear of it: numbers and values.
    pub fn news(&mut self) -> Vec<(u8, u8)> {
        let mut news = Vec::new();
        let was = self.modem_state;
        let is = self.modem_state();
        // Of a ring its end counts.
        let changes = ((was ^ is) & READY | was & !is & RING) >> 4;
        if (was ^ is | changes) & self.modem_mask != 0 {
            news.push((NOTIFY_MODEMSTATE, (is | changes) & self.modem_mask));
        }
        let was_unsent = self.unsent;
        let state = self.line_state();
        let is_news = if was_unsent { state } else { state & !NOTHING_UNSENT };
        if is_news & self.line_mask != 0 {
            news.push((NOTIFY_LINESTATE, state & self.line_mask));
        }
        news
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
            SET_LINESTATE_MASK => {
                self.line_mask = first;
                vec![first]
            }
            SET_MODEMSTATE_MASK => {
                self.modem_mask = first;
                vec![first]
            }
            PURGE_DATA => {
                if let (Some(line), Some(queue)) = (&self.line, queue(first)) {
                    line.purge(queue);
                }
                vec![first]
            }
            code if code == NOTIFY_LINESTATE - TOLD => vec![self.line_state()],
            code if code == NOTIFY_MODEMSTATE - TOLD => vec![self.modem_state()],
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
            // Mark, space and one stop bit and a half are of no line that has them everywhere.
            let possible = match (&self.line, parity_of(parity)) {
                (Some(line), Some(parity)) => line.set_format(data_bits, parity, stop_bits),
                (Some(_), None) => false,
                (None, _) => true,
            };
            if !possible {
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
            self.line.iter().for_each(|line| set_control(&**line, place, value));
        }
        Some(self.control[place])
    }
}

/// A client that goes leaves nothing behind that the next call would not expect.
impl Drop for OfferedPort {
    fn drop(&mut self) {
        let Some(line) = &self.line else { return };
        if self.control[1] == BREAK_ON {
            line.set_break(false);
        }
        if self.control[3] == RTS_OFF {
            line.set_rts(true);
        }
    }
}

/// One of flow control, break, DTR and RTS, in the order of their questions. Flow inwards is the same as outwards.
fn set_control(line: &dyn Lines, place: usize, value: u8) {
    match (place, value) {
        (0, FLOW_NONE) => line.set_flow(Flow::None),
        (0, FLOW_XON_XOFF) => line.set_flow(Flow::XonXoff),
        (0, FLOW_RTS_CTS) => line.set_flow(Flow::RtsCts),
        (1, _) => line.set_break(value == BREAK_ON),
        (2, _) => line.set_dtr(value == DTR_ON),
        (3, _) => line.set_rts(value == RTS_ON),
        _ => {}
    }
}

fn parity_of(number: u8) -> Option<Parity> {
    match number {
        PARITY_NONE => Some(Parity::None),
        PARITY_ODD => Some(Parity::Odd),
        PARITY_EVEN => Some(Parity::Even),
        _ => None,
    }
}

fn queue(number: u8) -> Option<Queue> {
    match number {
        PURGE_UNREAD => Some(Queue::Unread),
        PURGE_UNSENT => Some(Queue::Unsent),
        PURGE_BOTH => Some(Queue::Both),
        _ => None,
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
