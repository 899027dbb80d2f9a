//! The answering side's login: asks name and password before a session, as `uucpd` and `uucico -l` do.

use std::time::Duration;

use crate::base::limits::WRONG_LOGIN_DELAY_S;
use crate::base::time::{Instant, Now};
use crate::dialogue::{Dialogue, Request};

/// How long the whole login may take (4.3BSD's uucpd: 60 s).
pub const LOGIN_TIMEOUT: Duration = Duration::from_secs(60);
/// Name or password.
const WORD_MAX: usize = 128;
const TRIES_MAX: u32 = 3;
/// What is kept of what comes while a wrong login waits for its answer.
const HELD_MAX: usize = 1024;

/// Who knows the passwords. It takes the same time whether the name exists or not.
pub trait Gatekeeper: Send {
    fn admits(&mut self, login: &str, password: &str) -> bool;
}

/// How a login failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoginFailure {
    #[error("wrong password for `{0}`")]
    Wrong(String),
    /// The name is not told: a caller that is out of step gives its password there.
    #[error("there is no such login; `bangpath user list` names them")]
    Unknown,
    #[error("no login within {} s", LOGIN_TIMEOUT.as_secs())]
    Silence,
    #[error("the caller hung up during the login")]
    LineLost,
}

/// Prompts for a name and a password. Its outcome is the name.
pub struct LoginPrompt {
    gatekeeper: Box<dyn Gatekeeper>,
    login: Option<String>,
    /// The last that was wrong.
    wrong: String,
    word: Vec<u8>,
    tries: u32,
    out: Vec<u8>,
    deadline: Instant,
    outcome: Option<Result<String, LoginFailure>>,
    unread: Vec<u8>,
    /// When a wrong login is answered, so that nobody guesses fast; until then nothing is heard.
    answer_at: Option<Instant>,
    held: Vec<u8>,
    /// The last word ended in CR: a LF behind it belongs to it.
    after_cr: bool,
}

impl LoginPrompt {
    pub fn new(now: Now, gatekeeper: Box<dyn Gatekeeper>) -> Self {
        Self {
            gatekeeper,
            login: None,
            wrong: String::new(),
            word: Vec::new(),
            tries: 0,
            out: b"login: ".to_vec(),
            deadline: now.instant + LOGIN_TIMEOUT,
            outcome: None,
            unread: Vec::new(),
            answer_at: None,
            held: Vec::new(),
            after_cr: false,
        }
    }

    /// The name has been asked for already, by a getty.
    pub fn for_password(now: Now, gatekeeper: Box<dyn Gatekeeper>, login: String) -> Self {
        Self { login: Some(login), out: b"Password:".to_vec(), ..Self::new(now, gatekeeper) }
    }

    fn handle_word(&mut self, now: Now, word: String) {
        let Some(login) = self.login.take() else {
            // The carriage return that many chat scripts send first is no name.
            if word.is_empty() {
                self.out.extend_from_slice(b"login: ");
            } else {
                self.login = Some(word);
                self.out.extend_from_slice(b"Password:");
            }
            return;
        };
        if self.gatekeeper.admits(&login, &word) {
            self.outcome = Some(Ok(login));
            return;
        }
        self.tries += 1;
        self.wrong = login;
        self.answer_at = Some(now.instant + Duration::from_secs(WRONG_LOGIN_DELAY_S) * self.tries);
    }

    fn answer_wrong(&mut self, now: Now) {
        self.answer_at = None;
        self.out.extend_from_slice(b"\r\nLogin incorrect\r\n");
        if self.tries >= TRIES_MAX {
            let login = self.wrong.chars().filter(|c| !c.is_control()).collect();
            self.outcome = Some(Err(LoginFailure::Wrong(login)));
            return;
        }
        self.out.extend_from_slice(b"login: ");
        let held = std::mem::take(&mut self.held);
        self.handle_input(now, &held);
    }
}

impl Dialogue for LoginPrompt {
    type Outcome = Result<String, LoginFailure>;

    fn handle_input(&mut self, now: Now, bytes: &[u8]) {
        for (n, byte) in bytes.iter().enumerate() {
            if self.answer_at.is_some() {
                let room = HELD_MAX - self.held.len();
                self.held.extend(&bytes[n..(n + room).min(bytes.len())]);
                return;
            }
            let byte = byte & 0x7f;
            let lf_of_crlf = byte == b'\n' && std::mem::take(&mut self.after_cr);
            match byte {
                _ if lf_of_crlf => {}
                b'\r' | b'\n' => {
                    self.after_cr = byte == b'\r';
                    let word = String::from_utf8_lossy(&std::mem::take(&mut self.word)).into_owned();
                    self.handle_word(now, word);
                }
                0x20..0x7f if self.word.len() < WORD_MAX => self.word.push(byte),
                _ => {}
            }
            if self.outcome.is_some() {
                self.unread = bytes[n + 1..].to_vec();
                return;
            }
        }
    }

    fn handle_timeout(&mut self, now: Now) {
        if now.instant >= self.deadline {
            self.outcome.get_or_insert(Err(LoginFailure::Silence));
        } else if self.answer_at.is_some_and(|at| at <= now.instant) {
            self.answer_wrong(now);
        }
    }

    fn handle_hangup(&mut self, _now: Now) {
        self.outcome.get_or_insert(Err(LoginFailure::LineLost));
    }

    fn poll_transmit(&mut self, _now: Now, out: &mut Vec<u8>) {
        out.append(&mut self.out);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Some(self.answer_at.map_or(self.deadline, |at| at.min(self.deadline)))
    }

    fn room(&self) -> usize {
        // Who does not take the prompts that he asks for is not heard.
        if self.answer_at.is_some() || !self.out.is_empty() { 0 } else { HELD_MAX }
    }

    fn poll_request(&mut self) -> Option<Request<Self::Outcome>> {
        let outcome = self.outcome.take()?;
        Some(Request::Finish { outcome, unread: std::mem::take(&mut self.unread) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct OneUser;
    impl Gatekeeper for OneUser {
        fn admits(&mut self, login: &str, password: &str) -> bool {
            (login, password) == ("Uvillage", "secret")
        }
    }

    /// Hears `input` byte by byte, with as much patience as it asks for. What is said when, in seconds, and the outcome.
    fn check(input: &str, said: &str, outcome: Option<Result<&str, &str>>) {
        check_prompt(LoginPrompt::new(Now::default(), Box::new(OneUser)), input, said, outcome);
    }

    fn check_prompt(mut prompt: LoginPrompt, input: &str, said: &str, outcome: Option<Result<&str, &str>>) {
        let mut now = Now::default();
        let (mut out, mut got) = (Vec::new(), None);
        let mut input = input.bytes();
        while got.is_none() {
            prompt.poll_transmit(now, &mut out);
            if let Some(Request::Finish { outcome, .. }) = prompt.poll_request() {
                got = Some(outcome.map_err(|e| e.to_string()));
            } else if prompt.room() == 0 {
                let at = prompt.poll_timeout().expect("it waits");
                out.extend(format!("[{} s]", at.since(now.instant).as_secs()).bytes());
                now.instant = at;
                prompt.handle_timeout(now);
            } else {
                match input.next() {
                    Some(byte) => prompt.handle_input(now, &[byte]),
                    None => break,
                }
            }
        }
        let got = got.as_ref().map(|o| o.as_deref().map_err(String::as_str));
        assert_eq!((String::from_utf8_lossy(&out).as_ref(), got), (said, outcome));
    }

    #[test]
    fn a_login_is_asked_for_and_checked() {
        check("Uvillage\rsecret\r", "login: Password:", Some(Ok("Uvillage")));
        check("\rUvillage\r\nsecret\r", "login: login: Password:", Some(Ok("Uvillage")));
        check(&"x".repeat(5000), "login: ", None);
    }

    #[test]
    fn after_a_getty_that_took_the_name_the_password_is_asked_for() {
        let after_name = || LoginPrompt::for_password(Now::default(), Box::new(OneUser), "Uvillage".to_owned());
        check_prompt(after_name(), "secret\r", "Password:", Some(Ok("Uvillage")));
        let said = "Password:[2 s]\r\nLogin incorrect\r\nlogin: Password:";
        check_prompt(after_name(), "b\rUvillage\rsecret\r", said, Some(Ok("Uvillage")));
    }

    #[test]
    fn each_wrong_login_is_answered_later_than_the_last() {
        let said = "login: Password:[2 s]\r\nLogin incorrect\r\nlogin: Password:[4 s]\r\nLogin incorrect\r\n\
                    login: Password:[6 s]\r\nLogin incorrect\r\n";
        check("a\rb\ra\rb\ra\rb\r", said, Some(Err("wrong password for `a`")));
        let said = "login: Password:[2 s]\r\nLogin incorrect\r\nlogin: Password:";
        check("a\rb\rUvillage\rsecret\r", said, Some(Ok("Uvillage")));
    }

    #[test]
    fn what_comes_ahead_of_the_answer_waits_for_it() {
        let mut now = Now::default();
        let mut prompt = LoginPrompt::new(now, Box::new(OneUser));
        prompt.handle_input(now, b"a\rb\rUvillage\rsecret\rrest");
        assert!(prompt.poll_request().is_none());
        now.instant = prompt.poll_timeout().expect("it waits");
        prompt.handle_timeout(now);
        let outcome = prompt.poll_request().expect("it is over");
        assert_eq!(outcome, Request::Finish { outcome: Ok("Uvillage".to_owned()), unread: b"rest".to_vec() });
        let mut endless = LoginPrompt::new(now, Box::new(OneUser));
        endless.handle_input(now, b"a\rb\r");
        for _ in 0..1000 {
            endless.handle_input(now, &[b'x'; 1000]);
        }
        assert_eq!(endless.held.len(), HELD_MAX);
    }

    #[test]
    fn who_never_logs_in_holds_the_line_for_a_minute_at_most() {
        for word in [&b""[..], b"x", b"\r", b"a\rb\r"] {
            let mut now = Now::default();
            let begin = now.instant;
            let mut prompt = LoginPrompt::new(now, Box::new(OneUser));
            let outcome = loop {
                if let Some(Request::Finish { outcome, .. }) = prompt.poll_request() {
                    break outcome;
                }
                // A byte or a word each second, as long as it listens.
                let wanted = prompt.poll_timeout().expect("it has a limit");
                now.instant = wanted.min(now.instant + Duration::from_secs(1));
                prompt.handle_timeout(now);
                if prompt.room() > 0 {
                    prompt.handle_input(now, word);
                }
            };
            let held = now.instant.since(begin);
            assert!(outcome.is_err() && held <= LOGIN_TIMEOUT, "{word:?}: {outcome:?} after {held:?}");
        }
    }
}
