//! A port by hand: `terminal`, and `learn`, which makes a chat script of a login.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, TryRecvError};

use tokio::sync::broadcast;

use super::{Failure, Here, TEMPORARY, runtime};
use crate::base::time::{Instant, Now};
use crate::call;
use crate::config::Port;
use crate::dialogue::{Dialogue, LineRequest, Nudge, Request};
use crate::link::{self, RawTerminal};
use crate::store::LockKind;

/// Talk over a port by hand.
///
/// At the beginning of a line `~.` ends it, `~#` sends a break, `~>` sends a file (its name is asked for), `~~` sends
/// a tilde, `~?` shows these.
#[derive(clap::Args)]
pub struct Terminal {
    /// A port of the configuration that says where it leads
    port: String,
}

/// Log in over a port by hand, and get the chat script that does the same.
///
/// Log in as you would; when the other side has begun its session (or waits for it), end with `~.`. What was typed
/// without an echo is taken to be the password and is not shown.
#[derive(clap::Args)]
pub struct Learn {
    /// A port of the configuration that says where it leads
    port: String,
    /// The login name: where it is typed, the script says \L
    #[arg(long, value_name = "NAME")]
    login: Option<String>,
}

pub fn terminal(here: &Here, arguments: &Terminal) -> Result<(), Failure> {
    converse(here, &arguments.port).map(drop)
}

pub fn learn(here: &Here, arguments: &Learn) -> Result<(), Failure> {
    let said = converse(here, &arguments.port)?;
    let script = script_of(&said, arguments.login.as_deref());
    eprintln!("\nThe script, for the port or for a site's call entry:");
    println!("\nchat = '{script}'");
    Ok(())
}

fn converse(here: &Here, name: &str) -> Result<Vec<Said>, Failure> {
    let opened = here.open()?;
    let Port { name: port, kind, .. } = opened.port(name)?;
    let Some(_lock) = opened.store.lock(LockKind::Port, port.as_str())? else {
        return Err(Failure::new(TEMPORARY, format!("port {port} is in use")));
    };
    runtime()?.block_on(async {
        let mut link = call::open_port(kind).await.map_err(|error| Failure::of(TEMPORARY, &error))?;
        eprintln!("bangpath: connected to {}; ~. ends, ~? helps", link.facts);
        let _raw = RawTerminal::begin()?;
        let (wake, mut nudges) = broadcast::channel(64);
        let mut hand = ByHand::new(keyboard(wake));
        link::drive(&mut link, &mut hand, &[], &mut nudges, crate::daemon::now).await;
        link.close().await;
        Ok(hand.said)
    })
}

/// What is typed, as it comes; the end of the input closes it.
fn keyboard(wake: broadcast::Sender<Nudge>) -> Receiver<Vec<u8>> {
    let (sender, keys) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 256];
        while let Ok(count @ 1..) = std::io::stdin().read(&mut buffer) {
            if sender.send(buffer[..count].to_vec()).is_err() {
                return;
            }
            let _ = wake.send(Nudge::Store);
        }
        drop(sender);
        let _ = wake.send(Nudge::Store);
    });
    keys
}

/// A piece of the conversation.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Heard(Vec<u8>),
    Typed(Vec<u8>),
}

/// One who types and reads.
struct ByHand {
    keys: Receiver<Vec<u8>>,
    typing: Typing,
    out: VecDeque<u8>,
    line: Option<LineRequest>,
    said: Vec<Said>,
    over: bool,
}

/// Where in a line of typing we are, for the tilde.
enum Typing {
    LineBegin,
    Tilde,
    Within,
    /// The name of a file to be sent.
    FileName(Vec<u8>),
}

impl ByHand {
    fn new(keys: Receiver<Vec<u8>>) -> Self {
        Self { keys, typing: Typing::LineBegin, out: VecDeque::new(), line: None, said: Vec::new(), over: false }
    }

    fn note(&mut self, new: Said) {
        match (self.said.last_mut(), &new) {
            (Some(Said::Heard(old)), Said::Heard(more)) | (Some(Said::Typed(old)), Said::Typed(more)) => {
                old.extend_from_slice(more);
            }
            (Some(_) | None, _) => self.said.push(new),
        }
    }

    fn handle_key(&mut self, key: u8) {
        match &mut self.typing {
            Typing::LineBegin if key == b'~' => self.typing = Typing::Tilde,
            Typing::LineBegin | Typing::Within => self.pass(key),
            Typing::Tilde => self.handle_tilde(key),
            Typing::FileName(_) if matches!(key, b'\r' | b'\n') => {
                let Typing::FileName(name) = std::mem::replace(&mut self.typing, Typing::LineBegin) else { return };
                self.send_file(&String::from_utf8_lossy(&name));
            }
            Typing::FileName(name) => {
                match key {
                    8 | 127 => drop(name.pop()),
                    _ => name.push(key),
                }
                show(&[key]);
            }
        }
    }

    fn pass(&mut self, key: u8) {
        // A line feed is what a pipe or a script has where a keyboard has a return.
        let key = if key == b'\n' { b'\r' } else { key };
        self.out.push_back(key);
        self.note(Said::Typed(vec![key]));
        self.typing = if key == b'\r' { Typing::LineBegin } else { Typing::Within };
    }

    fn handle_tilde(&mut self, key: u8) {
        self.typing = Typing::LineBegin;
        match key {
            b'.' => self.over = true,
            b'#' => self.line = Some(LineRequest::Break),
            b'>' => {
                show(b"\r\nfile: ");
                self.typing = Typing::FileName(Vec::new());
            }
            b'~' => self.pass(b'~'),
            b'?' => show(b"\r\n~. end   ~# break   ~> send a file   ~~ a tilde\r\n"),
            _ => {
                self.pass(b'~');
                self.pass(key);
            }
        }
    }

    fn send_file(&mut self, name: &str) {
        match std::fs::read(PathBuf::from(name.trim())) {
            Ok(bytes) => {
                show(format!("\r\nsending {} bytes\r\n", bytes.len()).as_bytes());
                self.out.extend(bytes);
            }
            Err(error) => show(format!("\r\ncannot read {}: {error}\r\n", name.trim()).as_bytes()),
        }
    }
}

fn show(bytes: &[u8]) {
    let mut screen = std::io::stdout().lock();
    let _ = screen.write_all(bytes).and_then(|()| screen.flush());
}

impl Dialogue for ByHand {
    type Outcome = ();

    fn handle_input(&mut self, _now: Now, bytes: &[u8]) {
        show(bytes);
        self.note(Said::Heard(bytes.to_vec()));
    }

    fn handle_timeout(&mut self, _now: Now) {}

    fn handle_hangup(&mut self, _now: Now) {
        show(b"\r\nthe line is closed\r\n");
        self.over = true;
    }

    fn handle_nudge(&mut self, _now: Now, _nudge: Nudge) {
        loop {
            match self.keys.try_recv() {
                Ok(keys) => keys.into_iter().for_each(|key| self.handle_key(key)),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.over = true;
                    return;
                }
            }
        }
    }

    fn poll_transmit(&mut self, _now: Now, out: &mut Vec<u8>) {
        let count = self.out.len().min(1024);
        out.extend(self.out.drain(..count));
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn poll_request(&mut self) -> Option<Request<()>> {
        if let Some(line) = self.line.take() {
            return Some(Request::Line(line));
        }
        (self.over && self.out.is_empty()).then_some(Request::Finish { outcome: (), unread: Vec::new() })
    }
}

/// With this the login is over.
const SESSION: &[u8] = b"\x10Shere";

/// Each typed line becomes what stood before it and what was typed. What has not come back as an echo is the password.
fn script_of(said: &[Said], login: Option<&str>) -> String {
    let mut words = Vec::new();
    let mut heard: &[u8] = b"";
    let mut typed: Vec<u8> = Vec::new();
    let mut prompt: Option<Vec<u8>> = None;
    // The echo of what is typed comes in pieces between the keys.
    let mut echo: Vec<u8> = Vec::new();
    for (at, piece) in said.iter().enumerate() {
        match piece {
            Said::Heard(bytes) if prompt.is_none() => heard = bytes,
            Said::Heard(bytes) => echo.extend_from_slice(bytes),
            Said::Typed(keys) => {
                if heard.windows(SESSION.len()).any(|w| w == SESSION) {
                    break;
                }
                prompt.get_or_insert_with(|| heard.to_vec());
                for key in keys {
                    if *key != b'\r' {
                        typed.push(*key);
                        continue;
                    }
                    if let Some(Said::Heard(after)) = said.get(at + 1) {
                        echo.extend_from_slice(after);
                    }
                    let line = edited(&typed);
                    let unseen = !line.is_empty() && !edited(&echo).windows(line.len()).any(|w| w == line);
                    words.push(expected(prompt.as_deref().unwrap_or_default()));
                    words.push(match &line[..] {
                        line if login.is_some_and(|login| login.as_bytes() == line) => "\\L".to_owned(),
                        _ if unseen => "\\P".to_owned(),
                        b"" => "\\r\\c".to_owned(),
                        line => escaped(line),
                    });
                    // What came behind the return is what the next line is typed at.
                    heard = match said.get(at + 1) {
                        Some(Said::Heard(after)) => after,
                        Some(Said::Typed(_)) | None => b"",
                    };
                    (prompt, typed, echo) = (None, Vec::new(), Vec::new());
                }
            }
        }
    }
    words.join(" ")
}

/// Without what was taken back while typing.
fn edited(typed: &[u8]) -> Vec<u8> {
    let mut line = Vec::new();
    for key in typed {
        match key {
            8 | 127 => drop(line.pop()),
            _ => line.push(*key),
        }
    }
    line
}

/// The end of the last line heard: enough to know it by, without its first letter, which may come in either case.
fn expected(heard: &[u8]) -> String {
    let line = heard.rsplit(|b| matches!(b, b'\r' | b'\n')).next().unwrap_or_default();
    let line: Vec<u8> = line.iter().map(|b| b & 0x7f).collect();
    let tail = line.trim_ascii();
    let tail = &tail[tail.len().saturating_sub(12)..];
    let tail = tail.rsplit(|b| *b == b' ').next().unwrap_or_default();
    let tail = if tail.len() > 3 { &tail[1..] } else { tail };
    if tail.is_empty() { "\"\"".to_owned() } else { escaped(tail) }
}

fn escaped(text: &[u8]) -> String {
    let mut out = String::new();
    for byte in text {
        match byte {
            b' ' => out.push_str("\\s"),
            b'\\' => out.push_str("\\\\"),
            b'-' => out.push_str("\\-"),
            b'!'..=b'~' if *byte != b'\'' => out.push(char::from(*byte)),
            _ => out.push_str(&format!("\\{byte:03o}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::chat::Script;

    fn heard(text: &str) -> Said {
        Said::Heard(text.as_bytes().to_vec())
    }

    fn typed(text: &str) -> Said {
        Said::Typed(text.as_bytes().to_vec())
    }

    #[track_caller]
    fn check(said: &[Said], expected: &str) {
        let script = script_of(said, Some("Uvillage"));
        assert_eq!(script, expected);
        Script::parse(&script, &[]).expect("a script that can be used");
    }

    #[test]
    fn a_login_by_hand_becomes_a_script() {
        check(
            &[
                typed("\r"),
                heard("\r\nWelcome to hub\r\nhub login: "),
                typed("Uvil"),
                heard("Uvil"),
                typed("lage\r"),
                heard("lage\r\nPassword: "),
                typed("secret\r"),
                heard("\r\n\u{10}Shere=hub\0"),
            ],
            "\"\" \\r\\c ogin: \\L assword: \\P",
        );
    }

    #[test]
    fn menus_mistakes_and_odd_characters() {
        check(
            &[
                heard("Choose (a-z)? "),
                typed("uu\u{8}u"),
                heard("uu\u{8} \u{8}u"),
                typed("cp -x\r"),
                heard("cp -x\r\n%"),
                typed("go 'now'\r"),
                heard("go 'now'\r\n"),
            ],
            "a\\-z)? uucp\\s\\-x % go\\s\\047now\\047",
        );
    }

    #[test]
    fn tildes_are_for_us_at_the_beginning_of_a_line_only() {
        let (sender, keys) = std::sync::mpsc::channel();
        sender.send(b"a~.b\n~~x\r~#".to_vec()).expect("open");
        let mut hand = ByHand::new(keys);
        hand.handle_nudge(Now::default(), Nudge::Store);
        let mut out = Vec::new();
        hand.poll_transmit(Now::default(), &mut out);
        assert_eq!(String::from_utf8_lossy(&out), "a~.b\r~x\r");
        assert_eq!(hand.poll_request(), Some(Request::Line(LineRequest::Break)));
        assert_eq!(hand.poll_request(), None);
        sender.send(b"~.".to_vec()).expect("open");
        hand.handle_nudge(Now::default(), Nudge::Store);
        assert!(matches!(hand.poll_request(), Some(Request::Finish { .. })));
    }
}
