//! Bad input from peers, clients and users: each gets a clear answer within bounds, and nothing is lost.

mod batches;
pub mod chats;
mod disk;
mod files;
mod handshake;
mod mail_and_news;
mod memory;

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::site::{BANGPATH, Client, Daemon, Site, said, until};

const HUB: &str = "[listen]\nsmtp = \"127.0.0.1:0\"\nuucp = \"127.0.0.1:0\"\nuucp-login = false\n\n[sites.village]\nrequests = true\nmail = { relay = true }\n\n\
     [[mail.route]]\nto = \"*\"\nvia = \"uucp:village\"\n\n[news]\ncreate = \"*\"\n";

/// A caller that says what it likes to a `uucico` of ours.
struct Peer {
    child: Child,
    /// `None`: hung up.
    to: Option<ChildStdin>,
    from: ChildStdout,
}

impl Peer {
    fn new(site: &Site, options: &[&str]) -> Self {
        let mut command = Command::new(BANGPATH);
        command.args(["uucico", "-I"]).arg(site.config()).args(options);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let (to, from) = (child.stdin.take(), child.stdout.take().expect("piped"));
        Self { child, to, from }
    }

    /// A call in which protocol t runs already.
    fn talking(site: &Site) -> Self {
        let mut peer = Self::new(site, &[]);
        assert_eq!(peer.message(), "Shere=hub");
        peer.say("Svillage -R -N047");
        assert_eq!(peer.message(), "ROKN047");
        assert!(peer.message().contains('t'));
        peer.say("Ut");
        peer
    }

    fn send(&mut self, bytes: &[u8]) {
        // It may have gone; then its answer tells.
        let _ = self.to.as_mut().expect("not hung up").write_all(bytes);
    }

    fn byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        self.from.read_exact(&mut byte).ok().map(|()| byte[0])
    }

    /// Everything up to one of these bytes.
    fn hear(&mut self, ends: &[u8]) -> String {
        let mut text = Vec::new();
        while let Some(byte) = self.byte().filter(|b| !ends.contains(b)) {
            text.push(byte);
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// The next handshake message.
    fn message(&mut self) -> String {
        self.hear(&[0x10]);
        self.hear(&[0])
    }

    fn say(&mut self, message: &str) {
        self.send(format!("\x10{message}\0").as_bytes());
    }

    /// A command in a block of protocol t, and the answer.
    fn ask(&mut self, command: &str) -> String {
        let mut block = command.as_bytes().to_vec();
        block.resize((block.len() / 512 + 1) * 512, 0);
        self.send(&block);
        self.reply()
    }

    fn reply(&mut self) -> String {
        let text = self.hear(&[0]);
        let mut rest = vec![0; 511 - text.len() % 512];
        // At the end of the line there is no rest.
        let _ = self.from.read_exact(&mut rest);
        text
    }

    /// Offers a file, and sends it if it is wanted; the answer to the offer, and to the file.
    fn give(&mut self, command: &str, file: &[u8]) -> (String, String) {
        let answer = self.ask(command);
        if !answer[1..].starts_with('Y') {
            return (answer, String::new());
        }
        for block in file.chunks(1024) {
            self.send(&(block.len() as u32).to_be_bytes());
            self.send(block);
        }
        self.send(&[0; 4]);
        let taken = self.reply();
        (answer, taken)
    }

    /// Ends the call in order, and waits for the other side's deeds.
    fn bye(mut self) {
        assert!(self.ask("H").starts_with('H'));
        self.hang_up();
    }

    /// The line is dead: gives whether the other side was content, and what it said of it.
    fn hang_up(mut self) -> (bool, String) {
        drop(self.to.take());
        let mut rest = Vec::new();
        let _ = self.from.read_to_end(&mut rest);
        let mut said = String::new();
        let _ = self.child.stderr.take().expect("piped").read_to_string(&mut said);
        (self.child.wait().expect("it ends").success(), said)
    }
}

fn hub() -> Site {
    Site::new("hub", HUB)
}

/// The service of a running daemon.
fn connect(daemon: &Daemon, service: &str) -> Client {
    Client::connect(&daemon.address(service).expect("the service is on")).expect("connected")
}
