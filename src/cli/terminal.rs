//! A port by hand: `terminal`, and `learn`, which makes a chat script of a login.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};

use tokio::sync::{Notify, broadcast};

use super::signals::{self, Signals};
use super::{Failure, Here, TEMPORARY, runtime};
use crate::base::limits::LEARNT_PIECE_MAX;
use crate::base::time::{Instant, Now};
use crate::call;
use crate::config::Port;
use crate::dialogue::{Dialogue, LineRequest, Nudge, Request};
use crate::link::{self, RawTerminal};
use crate::store::LockKind;

/// Talk over a port by hand.
///
/// At the beginning of a line `~.` ends it, `~#` sends a break, `~>` sends a file (its name is asked for), `~~` sends
/// a tilde, `~?` shows these. What has been typed or sent leaves before the end; `~.` once more does not wait for it.
#[derive(clap::Args)]
pub struct Terminal {
    /// A port of the configuration that says where it leads
    port: String,
}

/// Log in over a port by hand, and get the chat script that does the same.
///
/// Log in as you would; when the other side has begun its session (or waits for it), end with `~.`. What was typed
/// without an echo, or where a password was asked for, is taken to be the password and is not shown.
#[derive(clap::Args)]
pub struct Learn {
    /// A port of the configuration that says where it leads
    port: String,
    /// The login name: where it is typed, the script says \L
    #[arg(long, value_name = "NAME")]
    login: Option<String>,
}

pub fn terminal(here: &Here, arguments: &Terminal) -> Result<(), Failure> {
    converse(here, &arguments.port, false).map(drop)
}

pub fn learn(here: &Here, arguments: &Learn) -> Result<(), Failure> {
    let said = converse(here, &arguments.port, true)?;
    let script = script_of(&said, arguments.login.as_deref());
    eprintln!("\nThe script, for the port or for a site's call entry:");
    println!("\nchat = '{script}'");
    Ok(())
}

fn converse(here: &Here, name: &str, learns: bool) -> Result<Vec<Said>, Failure> {
    let opened = here.open()?;
    let Port { name: port, kind, .. } = opened.port(name)?;
    let Some(_lock) = opened.store.lock(LockKind::Port, port.as_str())? else {
        return Err(Failure::new(TEMPORARY, format!("port {port} is in use")));
    };
    runtime()?.block_on(async {
        let mut signals = Signals::listen()?;
        let opened = tokio::select! {
            opened = call::open_port(kind) => opened,
            () = signals.next() => return Err(signals::ended()),
        };
        let mut link = opened.map_err(|error| Failure::of(TEMPORARY, &error))?;
        eprintln!("bangpath: connected to {}; ~. ends, ~? helps", link.facts);
        let _raw = RawTerminal::begin()?;
        let (wake, mut nudges) = broadcast::channel(64);
        let mut hand = ByHand::new(keyboard(wake), learns);
        let quit = Arc::clone(&hand.quit);
        let ended = tokio::select! {
            _ = link::drive(&mut link, &mut hand, &[], &mut nudges, crate::daemon::now) => Ok(()),
            () = quit.notified() => Ok(()),
            () = signals.next() => Err(signals::ended()),
        };
        link.close().await;
        ended.map(|()| hand.said)
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
    out: VecDeque<Waiting>,
    line: Option<LineRequest>,
    /// The conversation is noted.
    learns: bool,
    said: Vec<Said>,
    over: bool,
    /// Who types does not wait for what has not left.
    quit: Arc<Notify>,
}

/// Bytes given to the line at once.
const SENT_AT_ONCE: usize = 1024;

/// What waits for the line. A file is read as the line takes it: it may be larger than memory.
enum Waiting {
    Keys(Vec<u8>),
    File(File),
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
    fn new(keys: Receiver<Vec<u8>>, learns: bool) -> Self {
        Self {
            keys,
            typing: Typing::LineBegin,
            out: VecDeque::new(),
            line: None,
            learns,
            said: Vec::new(),
            over: false,
            quit: Arc::default(),
        }
    }

    fn note(&mut self, new: Said) {
        if !self.learns {
            return;
        }
        match (self.said.last_mut(), &new) {
            (Some(Said::Typed(old)), Said::Typed(more)) => old.extend_from_slice(more),
            (Some(Said::Heard(old)), Said::Heard(more)) => {
                old.extend_from_slice(more);
                // The echo stands at its beginning, the prompt at its end.
                if old.len() > LEARNT_PIECE_MAX {
                    old.drain(LEARNT_PIECE_MAX / 4..old.len() - LEARNT_PIECE_MAX / 2);
                }
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
        match self.out.back_mut() {
            Some(Waiting::Keys(keys)) => keys.push(key),
            Some(Waiting::File(_)) | None => self.out.push_back(Waiting::Keys(vec![key])),
        }
        self.note(Said::Typed(vec![key]));
        self.typing = if key == b'\r' { Typing::LineBegin } else { Typing::Within };
    }

    fn handle_tilde(&mut self, key: u8) {
        self.typing = Typing::LineBegin;
        match key {
            b'.' if self.over => self.quit.notify_one(),
            b'.' => self.over = true,
            b'#' => self.line = Some(LineRequest::Break),
            b'>' => {
                show(b"\r\nfile: ");
                self.typing = Typing::FileName(Vec::new());
            }
            b'~' => self.pass(b'~'),
            b'?' => show(b"\r\n~. end (twice: at once)   ~# break   ~> send a file   ~~ a tilde\r\n"),
            _ => {
                self.pass(b'~');
                self.pass(key);
            }
        }
    }

    fn send_file(&mut self, name: &str) {
        match open(name.trim()) {
            Ok((file, bytes)) => {
                show(format!("\r\nsending {bytes} bytes\r\n").as_bytes());
                self.out.push_back(Waiting::File(file));
            }
            Err(error) => show(format!("\r\ncannot read {}: {error}\r\n", name.trim()).as_bytes()),
        }
    }
}

/// A file, and its length in bytes. Nothing else: a FIFO may keep us, and a device has no end.
fn open(name: &str) -> io::Result<(File, u64)> {
    let file = File::options().read(true).custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY).open(name)?;
    let facts = file.metadata()?;
    if !facts.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    Ok((file, facts.len()))
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
        // It goes nowhere any more.
        self.out.clear();
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
        while out.is_empty()
            && let Some(first) = self.out.front_mut()
        {
            let is_sent = match first {
                Waiting::Keys(keys) => {
                    out.extend(keys.drain(..keys.len().min(SENT_AT_ONCE)));
                    keys.is_empty()
                }
                Waiting::File(file) => match file.take(SENT_AT_ONCE as u64).read_to_end(out) {
                    Ok(count) => count == 0,
                    Err(error) => {
                        show(format!("\r\ncannot read it to its end: {error}\r\n").as_bytes());
                        true
                    }
                },
            };
            if is_sent {
                self.out.pop_front();
            }
        }
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

/// Each typed line becomes what stood before it and what was typed. What has not come back as an echo is the password, and
/// what was asked for as one.
fn script_of(said: &[Said], login: Option<&str>) -> String {
    let mut words = Vec::new();
    let mut heard: &[u8] = b"";
    let mut typed: Vec<u8> = Vec::new();
    let mut prompt: Option<Vec<u8>> = None;
    // The echo of what is typed comes in pieces between the keys.
    let mut echo: Vec<u8> = Vec::new();
    // The last line came back, so what comes next begins with the rest of it.
    let mut seen = false;
    for (at, piece) in said.iter().enumerate() {
        match piece {
            Said::Heard(bytes) if prompt.is_none() => heard = if seen { behind_line(bytes) } else { bytes },
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
                    let asked = prompt.as_deref().unwrap_or_default();
                    seen = !line.is_empty() && is_echo(&echo, &line);
                    let secret = !line.is_empty() && (!seen || asks_password(asked));
                    words.push(expected(asked));
                    words.push(match &line[..] {
                        line if login.is_some_and(|login| login.as_bytes() == line) => "\\L".to_owned(),
                        _ if secret => "\\P".to_owned(),
                        b"" => "\\r\\c".to_owned(),
                        // Words of the script's own.
                        b"BREAK" | b"EOT" => format!("\\{:03o}{}", line[0], escaped(&line[1..])),
                        line => escaped(line),
                    });
                    // What came behind the return is what the next line is typed at.
                    heard = match said.get(at + 1) {
                        Some(Said::Heard(after)) if seen => behind_line(after),
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

/// Whether what came since a line was begun begins with it as an echo, behind the rest of a prompt perhaps. It may occur in
/// what comes later by chance, which makes no password one that may be shown.
fn is_echo(heard: &[u8], line: &[u8]) -> bool {
    let heard: Vec<u8> = heard.iter().map(|b| b & 0x7f).take_while(|b| !is_line_end(*b)).collect();
    let heard = edited(&heard);
    let line: Vec<u8> = line.iter().map(|b| b & 0x7f).collect();
    heard.starts_with(&line) || heard.ends_with(&line)
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte & 0x7f, b'\r' | b'\n')
}

/// What comes behind the rest of an echo.
fn behind_line(heard: &[u8]) -> &[u8] {
    let end = heard.iter().position(|b| is_line_end(*b));
    &heard[end.unwrap_or(0)..]
}

fn asks_password(prompt: &[u8]) -> bool {
    last_line(prompt).to_ascii_lowercase().windows(5).any(|w| w == b"passw")
}

/// The last line with something in it, without the highest bits: some prompts end in a line end, in NULs or in an XON.
fn last_line(heard: &[u8]) -> Vec<u8> {
    let heard: Vec<u8> = heard.iter().map(|b| b & 0x7f).collect();
    let end = heard.iter().rposition(u8::is_ascii_graphic).map_or(0, |at| at + 1);
    heard[..end].rsplit(|b| is_line_end(*b)).next().unwrap_or_default().to_vec()
}

/// The end of the last line heard: enough to know it by, without its first letter, which may come in either case.
fn expected(heard: &[u8]) -> String {
    let line = last_line(heard);
    let tail = &line[line.len().saturating_sub(12)..];
    let tail = tail.rsplit(|b| !b.is_ascii_graphic()).next().unwrap_or_default();
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
            b'!'..=b'~' if !matches!(byte, b'\'' | b'"') => out.push(char::from(*byte)),
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
    fn a_password_is_not_shown_because_it_occurs_in_what_comes_behind_it() {
        check(
            &[
                heard("login: "),
                typed("hub1\r"),
                heard("hub1\r\nPassword: "),
                typed("hub\r"),
                heard("\r\nThis is hub\r\n%"),
            ],
            "ogin: hub1 assword: \\P",
        );
    }

    #[test]
    fn a_password_that_was_asked_for_is_not_shown_if_it_was_echoed() {
        check(
            &[
                heard("PASSWORD? "),
                typed("se"),
                heard("se"),
                typed("cret\r"),
                heard("cret\r\n"),
                typed("go\r"),
                heard("go\r\n"),
            ],
            "ASSWORD? \\P \"\" go",
        );
    }

    #[test]
    fn prompts_that_end_in_line_ends_and_fillers_are_known_by_their_words() {
        check(
            &[heard("Name?\r\n\0\0"), typed("a\r"), heard("a\r\nNumber:\r\n \u{11}"), typed("1\r"), heard("1\r\n")],
            "ame? a umber: 1",
        );
        let parity = |text: &[u8]| Said::Heard(text.iter().map(|b| b | 0x80).collect());
        check(&[parity(b"login: "), typed("abc\r"), parity(b"abc\r\n")], "ogin: abc");
    }

    #[test]
    fn words_and_quotes_of_scripts_are_sent_as_they_were_typed() {
        let said = [heard("\"\""), typed("EOT\r"), heard("EOT\r\n>"), typed("\"\"x\r"), heard("\"\"x\r\n")];
        check(&said, "\\042\\042 \\105OT > \\042\\042x");
    }

    #[test]
    fn a_far_end_that_talks_for_ever_is_not_remembered_for_ever() {
        for (learns, most) in [(true, LEARNT_PIECE_MAX), (false, 0)] {
            let mut hand = ByHand::new(std::sync::mpsc::channel().1, learns);
            for _ in 0..100 {
                hand.note(Said::Heard(vec![b'x'; 4096]));
            }
            hand.note(heard("login: "));
            let kept: Vec<u8> = hand.said.iter().flat_map(|(Said::Heard(b) | Said::Typed(b))| b).copied().collect();
            assert!(kept.len() <= most, "{} bytes", kept.len());
            assert_eq!(kept.ends_with(b"login: "), learns);
        }
    }

    #[test]
    fn tildes_are_for_us_at_the_beginning_of_a_line_only() {
        let (sender, keys) = std::sync::mpsc::channel();
        sender.send(b"a~.b\n~~x\r~#".to_vec()).expect("open");
        let mut hand = ByHand::new(keys, true);
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
