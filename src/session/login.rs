//! The answering side's login: asks name and password before a session, as `uucpd` and `uucico -l` do.

use std::time::Duration;

use crate::base::time::{Instant, Now};
use crate::dialogue::{Dialogue, Request};

/// How long the whole login may take (4.3BSD's uucpd: 60 s).
const LOGIN_TIMEOUT: Duration = Duration::from_secs(60);
/// Name or password.
const WORD_MAX: usize = 128;
const TRIES_MAX: u32 = 3;

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
    word: Vec<u8>,
    tries: u32,
    out: Vec<u8>,
    deadline: Instant,
    outcome: Option<Result<String, LoginFailure>>,
    unread: Vec<u8>,
    /// The last word ended in CR: a LF behind it belongs to it.
    after_cr: bool,
}

impl LoginPrompt {
    pub fn new(now: Now, gatekeeper: Box<dyn Gatekeeper>) -> Self {
        Self {
            gatekeeper,
            login: None,
            word: Vec::new(),
            tries: 0,
            out: b"login: ".to_vec(),
            deadline: now.instant + LOGIN_TIMEOUT,
            outcome: None,
            unread: Vec::new(),
            after_cr: false,
        }
    }

    fn handle_word(&mut self, word: String) {
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
        self.out.extend_from_slice(b"\r\nLogin incorrect\r\n");
        if self.tries >= TRIES_MAX {
            self.outcome = Some(Err(LoginFailure::Wrong(login.chars().filter(|c| !c.is_control()).collect())));
        } else {
            self.out.extend_from_slice(b"login: ");
        }
    }
}

impl Dialogue for LoginPrompt {
    type Outcome = Result<String, LoginFailure>;

    fn handle_input(&mut self, _now: Now, bytes: &[u8]) {
        for (n, byte) in bytes.iter().enumerate() {
            let byte = byte & 0x7f;
            let lf_of_crlf = byte == b'\n' && std::mem::take(&mut self.after_cr);
            match byte {
                _ if lf_of_crlf => {}
                b'\r' | b'\n' => {
                    self.after_cr = byte == b'\r';
                    let word = String::from_utf8_lossy(&std::mem::take(&mut self.word)).into_owned();
                    self.handle_word(word);
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
        }
    }

    fn handle_hangup(&mut self, _now: Now) {
        self.outcome.get_or_insert(Err(LoginFailure::LineLost));
    }

    fn poll_transmit(&mut self, _now: Now, out: &mut Vec<u8>) {
        out.append(&mut self.out);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Some(self.deadline)
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

    fn check(input: &str, said: &str, outcome: Option<Result<&str, &str>>) {
        let mut prompt = LoginPrompt::new(Now::default(), Box::new(OneUser));
        let (mut out, mut got, mut unread) = (Vec::new(), None, Vec::new());
        for byte in input.bytes() {
            prompt.poll_transmit(Now::default(), &mut out);
            match got {
                None => prompt.handle_input(Now::default(), &[byte]),
                Some(_) => unread.push(byte),
            }
            if let Some(Request::Finish { outcome, .. }) = prompt.poll_request() {
                got = Some(outcome.map_err(|e| e.to_string()));
            }
        }
        prompt.poll_transmit(Now::default(), &mut out);
        let got = got.as_ref().map(|o| o.as_deref().map_err(String::as_str));
        assert_eq!((String::from_utf8_lossy(&out).as_ref(), got), (said, outcome));
    }

    #[test]
    fn a_login_is_asked_for_and_checked() {
        check("Uvillage\rsecret\r", "login: Password:", Some(Ok("Uvillage")));
        check("\rUvillage\r\nsecret\r", "login: login: Password:", Some(Ok("Uvillage")));
        let three = "a\rb\ra\rb\ra\rb\r";
        let said = "login: Password:\r\nLogin incorrect\r\n".repeat(3);
        check(three, &said, Some(Err("wrong password for `a`")));
        check(&"x".repeat(5000), "login: ", None);
    }
}
