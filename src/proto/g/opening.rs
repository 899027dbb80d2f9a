//! The start of g: each side states in three steps what it can receive, until both know it.

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::time::Instant;
use crate::proto::Parameters;
use crate::wire::packet::{Control, G_FIELD_MAX, is_g_field};

/// How often we start from INITA before giving up: for longer than the 80 s in which Taylor's time-outs fall.
const STARTS_MAX: u32 = 16;
const SMALLEST_FIELD: usize = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    A,
    B,
    C,
}

pub struct Opening {
    window: u8,
    field: usize,
    wait: Duration,
    step: Step,
    starts: u32,
    /// What the peer has stated so far. A step answered in an earlier round is only sent, not waited for.
    peer_window: Option<u8>,
    peer_size: Option<u8>,
    timeout: Option<Instant>,
    /// When our INITB had left, if it was sent once only: the peer's INITC answers it.
    asked: Option<Instant>,
    answers: u32,
}

/// What the peer's packet meant.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    Nothing,
    /// All steps are done; when the question left that was answered just now, if that is certain.
    All {
        asked: Option<Instant>,
    },
    TooOften,
}

pub struct TooOften;

impl Opening {
    pub fn new(parameters: &Parameters) -> Self {
        let asked = usize::from(parameters.packet_size).clamp(SMALLEST_FIELD, G_FIELD_MAX);
        Self {
            window: parameters.window.clamp(1, 7),
            field: 1 << asked.ilog2(),
            // Taylor waits the whole time-out; a packet lost here should not cost that.
            wait: parameters.timeout / 2,
            step: Step::A,
            starts: 0,
            peer_window: None,
            peer_size: None,
            timeout: None,
            asked: None,
            answers: 0,
        }
    }

    pub fn our_window(&self) -> u8 {
        self.window
    }

    pub fn our_field(&self) -> usize {
        self.field
    }

    /// How many packets the peer takes unacknowledged.
    pub fn peer_window(&self) -> usize {
        usize::from(self.peer_window.unwrap_or(1))
    }

    /// The data field that the peer wants.
    pub fn peer_field(&self) -> usize {
        let field = SMALLEST_FIELD << self.peer_size.unwrap_or(0);
        assert!(is_g_field(field), "three bits of size cannot say {field}");
        field
    }

    pub fn knows_peer(&self) -> bool {
        self.peer_window.is_some() && self.peer_size.is_some()
    }

    pub fn timeout(&self) -> Option<Instant> {
        self.timeout
    }

    pub fn begin(&mut self, out: &mut VecDeque<Control>) {
        self.enter(Step::A, out);
    }

    /// From INITA again, because nothing came or the peer fell back.
    pub fn start_again(&mut self, now: Instant, out: &mut VecDeque<Control>) -> Result<(), TooOften> {
        self.starts += 1;
        self.timeout = Some(now + self.wait);
        if self.starts > STARTS_MAX {
            return Err(TooOften);
        }
        self.enter(Step::A, out);
        if self.peer_window.is_some() {
            self.enter(Step::B, out);
        }
        if self.knows_peer() {
            self.enter(Step::C, out);
        }
        Ok(())
    }

    fn enter(&mut self, step: Step, out: &mut VecDeque<Control>) {
        self.step = step;
        out.push_back(match step {
            Step::A => Control::InitA(self.window),
            Step::B => Control::InitB((self.field.ilog2() - SMALLEST_FIELD.ilog2()) as u8),
            Step::C => Control::InitC(self.window),
        });
    }

    /// A control packet was handed out and will have left then.
    pub fn sent(&mut self, control: Control, left: Instant) {
        self.timeout = Some(left + self.wait);
        if matches!(control, Control::InitB(_)) {
            self.asked = (self.starts == 0).then_some(left);
        }
    }

    /// What to do about an INIT packet while we have not started.
    pub fn handle(&mut self, now: Instant, control: Control, out: &mut VecDeque<Control>) -> Heard {
        match (self.step, control) {
            (Step::A, Control::InitA(window)) => {
                self.note_window(window);
                self.enter(Step::B, out);
            }
            (Step::B, Control::InitB(size)) => {
                self.peer_size = Some(size);
                self.enter(Step::C, out);
            }
            (Step::C, Control::InitC(window)) => {
                self.note_window(window);
                return Heard::All { asked: self.asked };
            }
            // Its answer to ours comes after it has fallen back; a packet of ours was lost.
            (Step::C, Control::InitA(window)) => {
                self.note_window(window);
                return self.fall_back(now, out);
            }
            (Step::B, Control::InitC(_)) => return self.fall_back(now, out),
            (Step::C, Control::InitB(size)) => self.peer_size = Some(size),
            (Step::A | Step::B, _) | (Step::C, _) => {}
        }
        Heard::Nothing
    }

    fn fall_back(&mut self, now: Instant, out: &mut VecDeque<Control>) -> Heard {
        match self.start_again(now, out) {
            Ok(()) => Heard::Nothing,
            Err(TooOften) => Heard::TooOften,
        }
    }

    /// A window of 0 cannot be meant.
    fn note_window(&mut self, window: u8) {
        self.peer_window = Some(window.max(1));
    }

    /// Whether one more INITC may be answered while we run.
    pub fn may_answer(&mut self, max: u32) -> bool {
        self.answers += 1;
        self.answers <= max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::testing::usual;
    use Control::{InitA, InitB, InitC};

    /// What is said in answer, after our INITA, to each of these in turn; `All` at the end if we have started.
    fn check(heard: &[Control], expected: &[&[Control]], started: bool) {
        let mut opening = Opening::new(&usual('g'));
        let mut out = VecDeque::new();
        opening.begin(&mut out);
        assert_eq!(out, [InitA(7)]);
        let mut last = Heard::Nothing;
        for (control, answer) in heard.iter().zip(expected) {
            out.clear();
            last = opening.handle(Instant::default(), *control, &mut out);
            assert_eq!(out, *answer, "to {control:?} of {heard:?}");
        }
        assert_eq!(matches!(last, Heard::All { .. }), started, "{heard:?}");
    }

    #[test]
    fn each_step_answers_the_one_before_and_a_lost_one_begins_anew() {
        check(&[InitA(3), InitB(5), InitC(3)], &[&[InitB(1)], &[InitC(7)], &[]], true);
        check(&[InitB(1), InitC(7)], &[&[], &[]], false);
        check(&[InitA(7), InitA(7), InitB(1)], &[&[InitB(1)], &[], &[InitC(7)]], false);
        check(&[InitA(7), InitC(7)], &[&[InitB(1)], &[InitA(7), InitB(1)]], false);
        let fell_back: &[Control] = &[InitA(7), InitB(1), InitC(7)];
        check(&[InitA(7), InitB(1), InitA(7), InitC(7)], &[&[InitB(1)], &[InitC(7)], fell_back, &[]], true);
        check(&[InitA(7), InitB(1), InitB(2), InitC(7)], &[&[InitB(1)], &[InitC(7)], &[], &[]], true);
    }

    #[test]
    fn what_the_peer_states_is_what_it_gets() {
        let mut opening = Opening::new(&Parameters { window: 9, packet_size: 5000, ..usual('g') });
        assert_eq!((opening.our_window(), opening.our_field()), (7, 4096));
        let mut out = VecDeque::new();
        opening.begin(&mut out);
        for control in [InitA(2), InitB(7), InitC(3)] {
            opening.handle(Instant::default(), control, &mut out);
        }
        assert_eq!((opening.peer_window(), opening.peer_field()), (3, 4096));
        let odd = Opening::new(&Parameters { window: 0, packet_size: 100, ..usual('g') });
        assert_eq!((odd.our_window(), odd.our_field()), (1, 64));
    }

    #[test]
    fn it_does_not_start_again_for_ever() {
        let mut opening = Opening::new(&usual('g'));
        let mut out = VecDeque::new();
        let starts = (0..100).take_while(|_| opening.start_again(Instant::default(), &mut out).is_ok()).count();
        assert_eq!(starts, STARTS_MAX as usize);
    }
}
