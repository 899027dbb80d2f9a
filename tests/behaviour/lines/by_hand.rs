//! `terminal`: what is typed that is not for the other side.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::exchange::raw_pty;
use super::port_server::PortServer;
use crate::site::{BANGPATH, Site, until};

/// Somebody at the terminal of a port. Ends with the test.
struct Hand {
    child: Child,
    keys: ChildStdin,
    screen: ChildStdout,
    shown: String,
}

impl Hand {
    fn at(site: &Site) -> Self {
        let mut command = Command::new(BANGPATH);
        command.args(["terminal", "line"]).env("BANGPATH_CONFIG", site.config());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let (keys, screen) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        Self { child, keys, screen, shown: String::new() }
    }

    fn types(&mut self, keys: &[u8]) {
        self.keys.write_all(keys).expect("typed");
    }

    fn sees(&mut self, wanted: &str) {
        while !self.shown.ends_with(wanted) {
            let mut byte = [0];
            assert_eq!(self.screen.read(&mut byte).expect("readable"), 1, "{wanted} does not come: {}", self.shown);
            self.shown.push(char::from(byte[0]));
        }
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_file_is_sent_as_it_is_and_one_that_cannot_be_read_is_said_so() {
    let (device, _slave, master) = raw_pty();
    let port =
        format!("[port.line]\ntype = \"serial\"\ndevice = \"{}\"\nspeed = 230400\nlocks = \"\"\n", device.display());
    let site = Site::new("hub", &port);
    // All values, and what would be for the terminal if it were typed.
    let bytes: Vec<u8> = b"~.\n~#".iter().copied().chain((0..=255).cycle().take(20_000)).collect();
    fs::write(site.path("letter"), &bytes).expect("a file");
    let mut far = File::from(master);
    let mut hand = Hand::at(&site);
    hand.types(b"~>");
    hand.sees("file: ");
    hand.types(format!("{}\n", site.path("no-letter").display()).as_bytes());
    hand.sees("No such file or directory (os error 2)\r\n");
    hand.types(b"~>");
    hand.sees("file: ");
    hand.types(format!("{}x\x7f\r", site.path("letter").display()).as_bytes());
    hand.sees(&format!("sending {} bytes\r\n", bytes.len()));
    let mut heard = vec![0; bytes.len()];
    far.read_exact(&mut heard).expect("it comes");
    assert!(heard == bytes, "it is another file");
    // And what is typed next is a line of its own.
    hand.types(b"x\n~.");
    let mut rest = [0; 2];
    far.read_exact(&mut rest).expect("it comes");
    assert_eq!(&rest, b"x\r");
    assert!(hand.child.wait().expect("it ends").success());
}

#[test]
fn a_break_that_is_typed_reaches_the_line() {
    let server = PortServer::new();
    let port = format!("[port.line]\ntype = \"serial\"\nserver = \"{}\"\nspeed = 9600\n", server.address);
    let site = Site::new("hub", &port);
    let mut hand = Hand::at(&site);
    hand.types(b"~#");
    let is_break = |(code, value): &(u8, Vec<u8>)| *code == 5 && matches!(value[..], [5] | [6]);
    let breaks = || server.asked().into_iter().filter(is_break).map(|(_, value)| value[0]).collect::<Vec<_>>();
    until("the break ends", || (breaks().len() == 2).then_some(()));
    assert_eq!(breaks(), [5, 6]);
    hand.types(b"~.");
    assert!(hand.child.wait().expect("it ends").success());
}
