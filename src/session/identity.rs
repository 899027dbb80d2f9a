//! What a modem says of itself, asked by AT commands.

use std::time::Duration;

use super::dial::LineReader;
use crate::base::time::{Instant, Now};
use crate::dialogue::{Dialogue, Nudge, Request};

/// The modem itself; its maker, its version: which of them tells what differs from maker to maker.
const QUESTIONS: [&str; 4] = ["AT", "ATI", "ATI3", "ATI6"];
/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Lines that are kept: some modems tell a page of settings.
const LINES_MAX: usize = 12;

/// Asks a modem who it is.
pub struct Identity {
    reader: LineReader,
    next: usize,
    answered: bool,
    lines: Vec<String>,
    deadline: Instant,
    asked: bool,
    over: bool,
}

impl Identity {
    pub fn new(now: Now) -> Self {
        Self {
            reader: LineReader::default(),
            next: 0,
            answered: false,
            lines: Vec::new(),
            deadline: now.instant + ANSWER_TIMEOUT,
            asked: false,
            over: false,
        }
    }

    fn go_on(&mut self, now: Now) {
        self.next += 1;
        self.asked = false;
        self.deadline = now.instant + ANSWER_TIMEOUT;
        self.over |= self.next == QUESTIONS.len() || !self.answered;
    }
}

impl Dialogue for Identity {
    /// What it says, a line each; `None`: it does not answer.
    type Outcome = Option<Vec<String>>;

    fn handle_input(&mut self, now: Now, bytes: &[u8]) {
        for byte in bytes {
            let Some(line) = self.reader.push(*byte) else { continue };
            match line.as_str() {
                "OK" | "ERROR" => {
                    self.answered = true;
                    self.go_on(now);
                }
                // The echo of what was asked.
                _ if QUESTIONS.contains(&line.as_str()) => {}
                _ if self.lines.len() < LINES_MAX && !self.lines.contains(&line) => self.lines.push(line),
                _ => {}
            }
        }
    }

    fn handle_timeout(&mut self, now: Now) {
        if now.instant >= self.deadline && !self.over {
            self.go_on(now);
        }
    }

    fn handle_hangup(&mut self, _now: Now) {
        self.over = true;
    }

    fn handle_nudge(&mut self, _now: Now, nudge: Nudge) {
        self.over |= nudge != Nudge::Store;
    }

    fn poll_transmit(&mut self, _now: Now, out: &mut Vec<u8>) {
        if let Some(question) = QUESTIONS.get(self.next).filter(|_| !self.asked && !self.over) {
            self.asked = true;
            out.extend_from_slice(question.as_bytes());
            out.push(b'\r');
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        (!self.over).then_some(self.deadline)
    }

    fn poll_request(&mut self) -> Option<Request<Self::Outcome>> {
        if !self.over {
            return None;
        }
        let outcome = self.answered.then(|| std::mem::take(&mut self.lines));
        Some(Request::Finish { outcome, unread: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answers: &[&str], expected: Option<&[&str]>) {
        let now = Now::default();
        let mut identity = Identity::new(now);
        for answer in answers {
            identity.poll_transmit(now, &mut Vec::new());
            for byte in answer.trim_end_matches('\n').bytes() {
                assert_eq!(identity.poll_request(), None);
                identity.handle_input(now, &[byte]);
            }
        }
        while let Some(at) = identity.poll_timeout() {
            identity.handle_timeout(Now { instant: at, ..now });
        }
        let Some(Request::Finish { outcome, .. }) = identity.poll_request() else { panic!("over") };
        assert_eq!(
            outcome.as_deref(),
            expected.map(|lines| lines.iter().map(|l| (*l).to_owned()).collect::<Vec<_>>()).as_deref()
        );
    }

    #[test]
    fn a_modem_tells_what_it_is_and_a_silent_one_nothing() {
        let answers = [
            "AT\r\r\nOK\r\n",
            "ATI\r\r\n5601\r\n\r\nOK\r\n",
            "\r\nCourier V.Everything\r\n\r\nOK\r\n",
            "\r\nERROR\r\n",
        ];
        check(&answers, Some(&["5601", "Courier V.Everything"]));
        check(&["\r\nOK\r\n"], Some(&[]));
        check(&[], None);
        let page = "setting\r\n".repeat(10) + &(0..100).map(|n| format!("S{n}=0\r\n")).collect::<String>();
        let lines: Vec<String> =
            std::iter::once("setting".to_owned()).chain((0..11).map(|n| format!("S{n}=0"))).collect();
        check(&["OK\r\n", &page], Some(&lines.iter().map(String::as_str).collect::<Vec<_>>()));
    }
}
