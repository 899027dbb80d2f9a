//! Chat scripts: expect and send until the peer's uucico runs, with Taylor's escapes.

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::limits::HANDSHAKE_NOISE_MAX;
use crate::base::time::{Instant, Now};
use crate::dialogue::{Dialogue, LineRequest, Nudge, Request};

/// How long each expected string may take, unless the script says otherwise (Taylor's `chat-timeout`).
pub const EXPECT_TIMEOUT: Duration = Duration::from_secs(10);
/// `\d` and `\p`.
const DELAY: Duration = Duration::from_millis(1500);
const PAUSE: Duration = Duration::from_millis(250);
/// A break lasts about a quarter of a second; nothing is sent meanwhile.
const BREAK_TIME: Duration = Duration::from_millis(300);
/// How much of what came is remembered, to be searched and to be shown after a failure.
const HEARD_MAX: usize = 1024;

/// Why a script is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("bad chat script at `{word}`: {why}")]
pub struct BadScript {
    pub word: String,
    pub why: &'static str,
}

/// A script, parsed once: pairs of what to wait for and what to say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Script {
    pairs: Vec<(Expect, Send)>,
    /// Strings that mean failure whenever they are heard.
    fail: Vec<Vec<u8>>,
}

/// What to wait for: each alternative is a string, and what to say when it has not come.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Expect {
    first: Wanted,
    otherwise: Vec<(Send, Wanted)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Wanted {
    /// Empty: nothing is waited for.
    text: Vec<u8>,
    timeout: Option<Duration>,
}

type Send = Vec<Token>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Byte(u8),
    Pause(Duration),
    Break,
    Login,
    Password,
    /// From here on every byte is sent only when the last has come back; or no more so.
    Echo(bool),
}

impl Script {
    /// Words separated by blanks: expect, send, expect, send ... `fail` are strings that end the chat.
    pub fn parse(text: &str, fail: &[String]) -> Result<Self, BadScript> {
        let mut pairs = Vec::new();
        let mut words = text.split_ascii_whitespace();
        while let Some(word) = words.next() {
            pairs.push((Expect::parse(word)?, parse_send(words.next().unwrap_or("\"\"\\c"))?));
        }
        let fail = fail.iter().map(|f| Ok(parse_expected(f)?.text)).collect::<Result<_, _>>()?;
        Ok(Self { pairs, fail })
    }

    /// The login that every uucp daemon on TCP asks for. No carriage return goes ahead of it: some take it for an empty name.
    pub fn login() -> Self {
        Self::parse("ogin: \\L word: \\P", &[]).expect("the script is well formed")
    }

    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Whether it says the login name or password, so that they must be configured.
    pub fn needs_login(&self) -> bool {
        let says = |send: &Send| send.iter().any(|t| matches!(t, Token::Login | Token::Password));
        self.pairs.iter().any(|(expect, send)| says(send) || expect.otherwise.iter().any(|(s, _)| says(s)))
    }
}

impl Expect {
    fn parse(word: &str) -> Result<Self, BadScript> {
        let mut parts = split_alternatives(word).into_iter();
        let first = parse_expected(&parts.next().unwrap_or_default())?;
        let mut otherwise = Vec::new();
        while let Some(send) = parts.next() {
            otherwise.push((parse_send(&send)?, parse_expected(&parts.next().unwrap_or_default())?));
        }
        Ok(Self { first, otherwise })
    }
}

/// Splits at minus signs that no backslash stands before.
fn split_alternatives(word: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = word.chars();
    while let Some(c) = chars.next() {
        let part = parts.last_mut().expect("there is always a part");
        match c {
            '-' => parts.push(String::new()),
            '\\' => {
                part.push(c);
                part.extend(chars.next());
            }
            _ => part.push(c),
        }
    }
    parts
}

/// One escape or byte of a script word.
enum Piece {
    Byte(u8),
    Letter(char),
}

/// Takes a word apart; escapes that mean a byte are bytes already.
fn pieces(word: &str) -> Result<Vec<Piece>, BadScript> {
    let bad = |why| BadScript { word: word.chars().take(60).collect(), why };
    let mut out = Vec::new();
    let mut chars = word.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            let mut buffer = [0; 4];
            out.extend(c.encode_utf8(&mut buffer).bytes().map(Piece::Byte));
            continue;
        }
        let letter = chars.next().ok_or(bad("it ends in a backslash"))?;
        match letter {
            'b' => out.push(Piece::Byte(8)),
            'n' => out.push(Piece::Byte(b'\n')),
            'r' => out.push(Piece::Byte(b'\r')),
            't' => out.push(Piece::Byte(b'\t')),
            's' => out.push(Piece::Byte(b' ')),
            'N' => out.push(Piece::Byte(0)),
            '\\' | '-' => out.push(Piece::Byte(letter as u8)),
            'x' => {
                let digits: String = std::iter::from_fn(|| chars.next_if(char::is_ascii_hexdigit)).take(2).collect();
                out.push(Piece::Byte(u8::from_str_radix(&digits, 16).map_err(|_| bad("no digits follow \\x"))?));
            }
            '0'..='7' => {
                let mut value = u32::from(letter) - u32::from('0');
                for _ in 0..2 {
                    if let Some(d) = chars.next_if(|c| ('0'..='7').contains(c)) {
                        value = value * 8 + (u32::from(d) - u32::from('0'));
                    }
                }
                out.push(Piece::Byte(u8::try_from(value).map_err(|_| bad("an octal number above 377"))?));
            }
            _ => out.push(Piece::Letter(letter)),
        }
    }
    Ok(out)
}

fn parse_expected(word: &str) -> Result<Wanted, BadScript> {
    let bad = |why| BadScript { word: word.chars().take(60).collect(), why };
    if word == "\"\"" {
        return Ok(Wanted::default());
    }
    let (word_text, timeout) = match split_time(word) {
        Some((text, seconds)) => {
            let seconds: u64 = seconds.parse().map_err(|_| bad("no number of seconds follows \\W"))?;
            (text, Some(Duration::from_secs(seconds.min(3600))))
        }
        None => (word, None),
    };
    let mut text = Vec::new();
    for piece in pieces(word_text)? {
        match piece {
            Piece::Byte(b) => text.push(b),
            // Carrier, echo and the like say nothing about what is expected.
            Piece::Letter('c' | 'e' | 'E' | 'm' | 'M') => {}
            Piece::Letter(_) => return Err(bad("an unknown escape in what is expected")),
        }
    }
    Ok(Wanted { text, timeout })
}

/// What stands before `\W`, and behind it. A backslash may be escaped itself.
fn split_time(word: &str) -> Option<(&str, &str)> {
    let mut chars = word.char_indices();
    while let Some((at, c)) = chars.next() {
        if c == '\\'
            && let Some((next, 'W')) = chars.next()
        {
            return Some((&word[..at], &word[next + 1..]));
        }
    }
    None
}

fn parse_send(word: &str) -> Result<Send, BadScript> {
    let bad = |why| BadScript { word: word.chars().take(60).collect(), why };
    match word {
        "BREAK" => return Ok(vec![Token::Break]),
        "EOT" => return Ok(vec![Token::Byte(4)]),
        _ => {}
    }
    let word = word.strip_prefix("\"\"").unwrap_or(word);
    let mut tokens = Vec::new();
    let mut end = true;
    for piece in pieces(word)? {
        match piece {
            Piece::Byte(b) => tokens.push(Token::Byte(b)),
            Piece::Letter('c') => end = false,
            Piece::Letter('d') => tokens.push(Token::Pause(DELAY)),
            Piece::Letter('p') => tokens.push(Token::Pause(PAUSE)),
            Piece::Letter('K') => tokens.push(Token::Break),
            Piece::Letter('L') => tokens.push(Token::Login),
            Piece::Letter('P') => tokens.push(Token::Password),
            Piece::Letter('E') => tokens.push(Token::Echo(true)),
            Piece::Letter('e') => tokens.push(Token::Echo(false)),
            Piece::Letter('m' | 'M') => {}
            Piece::Letter(_) => return Err(bad("an unknown escape in what is sent")),
        }
    }
    if end {
        tokens.push(Token::Byte(b'\r'));
    }
    Ok(tokens)
}

/// What `\L` and `\P` say.
#[derive(Clone, Default)]
pub struct Credentials {
    pub login: String,
    pub password: String,
}

/// How a chat failed, with the last words heard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChatFailure {
    #[error("`{expected}` did not come within {} s; heard `{heard}`", .waited.as_secs())]
    Silence { expected: String, waited: Duration, heard: String },
    #[error("heard `{0}`, which means failure")]
    Refused(String),
    #[error("the line was lost; heard `{heard}`")]
    LineLost { heard: String },
    #[error("endless noise instead of `{expected}`")]
    Noise { expected: String },
    #[error("it was stopped with us")]
    Stopped,
}

/// A script being played. Ends with the bytes that came behind the last expected string.
pub struct Chat {
    steps: VecDeque<Step>,
    credentials: Credentials,
    fail: Vec<Vec<u8>>,
    heard: Vec<u8>,
    /// All that has come while waiting for one string.
    noise: usize,
    wait: Wait,
    out: VecDeque<Token>,
    echo: bool,
    line: Option<LineRequest>,
    outcome: Option<Result<(), ChatFailure>>,
}

enum Step {
    Expect(Expect),
    Send(Send),
}

enum Wait {
    /// Saying what is in `out`; `until`: a pause.
    Saying {
        until: Option<Instant>,
        echo_of: Option<u8>,
    },
    Expecting {
        wanted: Wanted,
        otherwise: VecDeque<(Send, Wanted)>,
        deadline: Instant,
    },
}

impl Chat {
    pub fn new(now: Now, script: &Script, credentials: Credentials) -> Self {
        let mut steps = VecDeque::new();
        for (expect, send) in &script.pairs {
            steps.push_back(Step::Expect(expect.clone()));
            steps.push_back(Step::Send(send.clone()));
        }
        let mut chat = Self {
            steps,
            credentials,
            fail: script.fail.clone(),
            heard: Vec::new(),
            noise: 0,
            wait: Wait::Saying { until: None, echo_of: None },
            out: VecDeque::new(),
            echo: false,
            line: None,
            outcome: None,
        };
        chat.go_on(now);
        chat
    }

    /// Takes the next steps until there is something to wait for.
    fn go_on(&mut self, now: Now) {
        while self.outcome.is_none()
            && self.out.is_empty()
            && matches!(self.wait, Wait::Saying { until: None, echo_of: None })
        {
            match self.steps.pop_front() {
                None => self.outcome = Some(Ok(())),
                Some(Step::Send(tokens)) => self.say(tokens),
                Some(Step::Expect(expect)) if expect.first.text.is_empty() && expect.otherwise.is_empty() => {}
                Some(Step::Expect(Expect { first, otherwise })) => self.expect(now, first, otherwise.into()),
            }
        }
    }

    fn say(&mut self, tokens: Send) {
        for token in tokens {
            match token {
                Token::Login => self.out.extend(self.credentials.login.bytes().map(Token::Byte)),
                Token::Password => self.out.extend(self.credentials.password.bytes().map(Token::Byte)),
                token => self.out.push_back(token),
            }
        }
    }

    fn expect(&mut self, now: Now, wanted: Wanted, otherwise: VecDeque<(Send, Wanted)>) {
        let deadline = now.instant + wanted.timeout.unwrap_or(EXPECT_TIMEOUT);
        self.noise = 0;
        self.wait = Wait::Expecting { wanted, otherwise, deadline };
        self.search(now, find);
    }

    /// Looks for what is expected in what has come, or only at its end; keeps what stands behind it.
    fn search(&mut self, now: Now, find: fn(&[u8], &[u8]) -> Option<usize>) {
        let Wait::Expecting { wanted, .. } = &self.wait else { return };
        let found = find(&self.heard, &wanted.text);
        // What came first counts, however much came with it.
        let failed = self.fail.iter().filter_map(|fail| Some((find(&self.heard, fail)?, fail))).min();
        if let Some((_, fail)) = failed.filter(|(end, _)| found.is_none_or(|found| *end <= found)) {
            self.outcome = Some(Err(ChatFailure::Refused(show(fail))));
            return;
        }
        if let Some(end) = found {
            self.heard.drain(..end);
            self.wait = Wait::Saying { until: None, echo_of: None };
            self.go_on(now);
            return;
        }
        if self.noise > HANDSHAKE_NOISE_MAX {
            self.outcome = Some(Err(ChatFailure::Noise { expected: show(&wanted.text) }));
        }
        // Cut seldom, not at every byte.
        if self.heard.len() > 2 * HEARD_MAX {
            self.heard.drain(..HEARD_MAX);
        }
    }

    /// The last words heard, for people. A password that the line echoed is not for them.
    fn show_heard(&self) -> String {
        let heard = show(&self.heard);
        match self.credentials.password.as_str() {
            "" => heard,
            password => heard.replace(password, "***"),
        }
    }

    fn expired(&mut self) {
        let Wait::Expecting { wanted, otherwise, .. } = &mut self.wait else { return };
        match otherwise.pop_front() {
            Some((send, next)) => {
                // The sub-expect comes next, with the alternatives that are left.
                let rest = Expect { first: next, otherwise: std::mem::take(otherwise).into() };
                self.steps.push_front(Step::Expect(rest));
                self.wait = Wait::Saying { until: None, echo_of: None };
                self.say(send);
            }
            None => {
                let waited = wanted.timeout.unwrap_or(EXPECT_TIMEOUT);
                let (expected, heard) = (show(&wanted.text), self.show_heard());
                let failure = ChatFailure::Silence { expected, waited, heard };
                self.outcome = Some(Err(failure));
            }
        }
    }
}

/// Where the first occurrence of `wanted` ends, the eighth bit not looked at.
fn find(heard: &[u8], wanted: &[u8]) -> Option<usize> {
    if wanted.is_empty() {
        return Some(0);
    }
    heard.windows(wanted.len()).position(|window| is_same(window, wanted)).map(|at| at + wanted.len())
}

/// The same for a byte that has just come: all before it has been searched.
fn find_at_end(heard: &[u8], wanted: &[u8]) -> Option<usize> {
    let tail = heard.len().checked_sub(wanted.len()).map(|at| &heard[at..])?;
    is_same(tail, wanted).then_some(heard.len())
}

fn is_same(heard: &[u8], wanted: &[u8]) -> bool {
    heard.iter().zip(wanted).all(|(a, b)| a & 0x7f == b & 0x7f)
}

/// For messages: printable, the last part.
fn show(bytes: &[u8]) -> String {
    let tail = &bytes[bytes.len().saturating_sub(60)..];
    tail.iter().map(|b| b & 0x7f).flat_map(std::ascii::escape_default).map(char::from).collect()
}

impl Dialogue for Chat {
    type Outcome = Result<(), ChatFailure>;

    fn handle_input(&mut self, now: Now, bytes: &[u8]) {
        for (n, byte) in bytes.iter().enumerate() {
            self.heard.push(*byte);
            self.noise += 1;
            match &mut self.wait {
                Wait::Saying { echo_of: Some(echo), .. } if (*echo ^ *byte) & 0x7f == 0 => {
                    self.wait = Wait::Saying { until: None, echo_of: None };
                    self.go_on(now);
                }
                Wait::Saying { .. } => {
                    if self.heard.len() > 2 * HEARD_MAX {
                        self.heard.drain(..HEARD_MAX);
                    }
                }
                Wait::Expecting { .. } => self.search(now, find_at_end),
            }
            if self.outcome.is_some() {
                self.heard.extend_from_slice(&bytes[n + 1..]);
                return;
            }
        }
    }

    fn handle_timeout(&mut self, now: Now) {
        match &mut self.wait {
            Wait::Saying { until, echo_of } if until.is_some_and(|t| t <= now.instant) => {
                // An echo that does not come is not worth more than its wait.
                *until = None;
                *echo_of = None;
                self.go_on(now);
            }
            Wait::Expecting { deadline, .. } if *deadline <= now.instant => {
                self.expired();
                self.go_on(now);
            }
            Wait::Saying { .. } | Wait::Expecting { .. } => {}
        }
    }

    fn handle_hangup(&mut self, _now: Now) {
        let failure = ChatFailure::LineLost { heard: self.show_heard() };
        self.outcome.get_or_insert(Err(failure));
    }

    fn handle_nudge(&mut self, _now: Now, nudge: Nudge) {
        if nudge == Nudge::HangUp {
            self.outcome.get_or_insert(Err(ChatFailure::Stopped));
        }
    }

    fn poll_transmit(&mut self, now: Now, out: &mut Vec<u8>) {
        while let Wait::Saying { until: None, echo_of: None } = self.wait {
            match self.out.pop_front() {
                Some(Token::Byte(b)) => {
                    out.push(b);
                    if self.echo {
                        self.wait = Wait::Saying { until: Some(now.instant + EXPECT_TIMEOUT), echo_of: Some(b) };
                    }
                }
                Some(Token::Pause(time)) => self.wait = Wait::Saying { until: Some(now.instant + time), echo_of: None },
                Some(Token::Break) => {
                    self.line = Some(LineRequest::Break);
                    self.wait = Wait::Saying { until: Some(now.instant + BREAK_TIME), echo_of: None };
                }
                Some(Token::Echo(on)) => self.echo = on,
                Some(Token::Login | Token::Password) => unreachable!("spelled out when the string was begun"),
                None => {
                    self.go_on(now);
                    if self.out.is_empty() {
                        return;
                    }
                }
            }
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match &self.wait {
            Wait::Saying { until, .. } => *until,
            Wait::Expecting { deadline, .. } => Some(*deadline),
        }
    }

    fn poll_request(&mut self) -> Option<Request<Self::Outcome>> {
        if let Some(line) = self.line.take() {
            return Some(Request::Line(line));
        }
        let failed = matches!(self.outcome, Some(Err(_)));
        if !failed && !self.out.is_empty() {
            return None;
        }
        let unread = std::mem::take(&mut self.heard);
        match self.outcome.take() {
            Some(outcome) => Some(Request::Finish { outcome, unread }),
            None => {
                self.heard = unread;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now { instant: Instant::from_micros(ms * 1000), ..Now::default() }
    }

    /// Plays `heard` (milliseconds, text) against a script; gives what was said and the outcome.
    fn play(script: &str, heard: &[(u64, &str)]) -> (String, Option<Result<(), String>>, String) {
        let script = Script::parse(script, &["BUSY".to_owned()]).expect("a good script");
        let credentials = Credentials { login: "Uvillage".to_owned(), password: "secret".to_owned() };
        let mut chat = Chat::new(at(0), &script, credentials);
        let (mut said, mut inputs, mut now) = (Vec::new(), heard.iter().peekable(), 0);
        for _ in 0..10_000 {
            chat.poll_transmit(at(now), &mut said);
            match chat.poll_request() {
                Some(Request::Finish { outcome, unread }) => {
                    let outcome = outcome.map_err(|e| e.to_string());
                    return (show(&said), Some(outcome), String::from_utf8(unread).expect("text"));
                }
                Some(Request::Line(_)) => said.extend_from_slice(b"<break>"),
                None => {}
            }
            let timeout = chat.poll_timeout().map_or(u64::MAX, |t| t.as_micros() / 1000);
            match inputs.next_if(|(when, _)| *when <= timeout) {
                Some((when, text)) => {
                    now = now.max(*when);
                    chat.handle_input(at(now), text.as_bytes());
                }
                None if timeout == u64::MAX => break,
                None => {
                    now = timeout;
                    chat.handle_timeout(at(now));
                }
            }
        }
        (show(&said), None, String::new())
    }

    fn check(script: &str, heard: &[(u64, &str)], said: &str, outcome: Result<&str, &str>) {
        let (got_said, got_outcome, unread) = play(script, heard);
        let got = got_outcome.expect("an outcome");
        assert_eq!(
            (got_said.as_str(), got.as_ref().map(|()| unread.as_str()).map_err(String::as_str)),
            (said, outcome),
            "{script}"
        );
    }

    #[test]
    fn a_login_is_said_and_what_follows_is_handed_on() {
        let prompts = [(100, "Welcome\r\nlog"), (150, "in: "), (200, "Password:")];
        check("ogin: \\L word: \\P", &prompts, "Uvillage\\rsecret\\r", Ok(""));
        check(
            "ogin: \\L word: \\P host",
            &[(1, "login:"), (2, "Password:"), (3, "\r\nhost\x10Shere")],
            "Uvillage\\rsecret\\r",
            Ok("\x10Shere"),
        );
    }

    #[test]
    fn alternatives_are_tried_in_turn() {
        let script = "\"\" \\r\\c ogin:-BREAK-ogin:-EOT-ogin: \\L";
        check(script, &[(15_000, "login:")], "\\r<break>Uvillage\\r", Ok(""));
        let silence = "`ogin:` did not come within 10 s; heard ``";
        check(script, &[], "\\r<break>\\x04", Err(silence));
    }

    #[test]
    fn failures_say_what_was_heard_but_never_the_password() {
        check("CONNECT \\c", &[(10, "BUSY\r\n")], "", Err("heard `BUSY`, which means failure"));
        check(
            "word: \\P ok\\W3 \\c",
            &[(1, "word:"), (2, "secret no")],
            "secret\\r",
            Err("`ok` did not come within 3 s; heard `*** no`"),
        );
    }

    #[test]
    fn escapes() {
        check("\"\" a\\sb\\x41\\102\\N\\\\\\c", &[], "a bAB\\x00\\\\", Ok(""));
        check("\"\" \\dx\\c", &[], "x", Ok(""));
        check("\"\" \\Eab\\c", &[(10, "a"), (20, "b")], "ab", Ok("ab"));
        check("x\\\\W \\c", &[(1, "x\\W")], "", Ok(""));
        for bad in ["\\", "a \\q", "\\z", "a\\Wx b", "a \\777"] {
            assert!(Script::parse(bad, &[]).is_err(), "{bad}");
        }
        assert!(Script::login().needs_login());
    }

    #[test]
    fn what_came_first_counts_however_much_came_with_it() {
        check("ogin: \\L word: \\c", &[(1, "ogin:word:BUSY")], "Uvillage\\r", Ok("BUSY"));
        check("ogin: \\L word: \\c", &[(1, "ogin:BUSYword:")], "Uvillage\\r", Err("heard `BUSY`, which means failure"));
    }

    #[test]
    fn a_stop_ends_a_chat_at_its_last_moment() {
        let script = Script::parse("ogin:\\W3600 \\L", &[]).expect("a good script");
        let mut chat = Chat::new(at(0), &script, Credentials::default());
        chat.handle_nudge(at(0), Nudge::WindDown);
        assert_eq!(chat.poll_request(), None);
        chat.handle_nudge(at(0), Nudge::HangUp);
        let stopped = Request::Finish { outcome: Err(ChatFailure::Stopped), unread: Vec::new() };
        assert_eq!(chat.poll_request(), Some(stopped));
    }

    #[test]
    fn noise_without_end_is_given_up() {
        let noise = "x".repeat(HANDSHAKE_NOISE_MAX + 2);
        check("ogin: \\L", &[(1, &noise)], "", Err("endless noise instead of `ogin:`"));
    }
}
