//! Callers on a direct line: what we are told of the line counts for them as for calls of ours.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

use bangpath::base::limits::WRONG_LOGINS_MAX;
use bangpath::call::{self, Attended};
use bangpath::store::Store;
use bangpath::{config, daemon};
use nix::poll::{PollFd, PollFlags, poll};

use super::carrier::run;
use super::exchange::raw_pty;
use crate::site::{Site, until};

/// A line with somebody at its other end.
struct Far {
    device: PathBuf,
    _slave: OwnedFd,
    end: File,
}

impl Far {
    fn new() -> Self {
        let (device, slave, master) = raw_pty();
        Self { device, _slave: slave, end: master.into() }
    }

    fn say(&mut self, words: &[u8]) {
        self.end.write_all(words).expect("said");
    }

    /// What comes up to the next NUL.
    fn hear(&mut self) -> String {
        let mut heard = Vec::new();
        let mut byte = [0];
        while self.end.read(&mut byte).expect("heard") == 1 && byte[0] != 0 {
            heard.push(byte[0]);
        }
        heard.escape_ascii().to_string()
    }
}

/// The protocols that a caller is offered on a port with these keys, and what the log says of the line.
fn check(keys: &str, offered: &str, line: &str) {
    let mut far = Far::new();
    let port = format!("type = \"serial\"\ndevice = \"{}\"\nspeed = 115200\n", far.device.display());
    let answering = "answer = true\nask-login = false";
    let hub = Site::new("hub", &format!("[port.line]\n{port}{answering}\n{keys}\n[sites.village]\n"));
    let _daemon = hub.daemon(None);
    // What comes before the line is waited on is not meant for us.
    let greeting = until("the hub answers", || {
        far.say(b"\r");
        let log = fs::read_to_string(hub.path("log")).expect("a log");
        log.contains("somebody calls").then(|| far.hear())
    });
    assert_eq!(greeting, "\\x10Shere=hub", "{keys}");
    far.say(b"\x10Svillage\0");
    let heard = [far.hear(), far.hear()];
    assert_eq!(heard, ["\\x10ROK".to_owned(), format!("\\x10P{offered}")], "{keys}");
    let log = fs::read_to_string(hub.path("log")).expect("a log");
    let told = log.lines().find(|l| l.contains("somebody calls")).expect("it was said");
    assert!(told.ends_with(&format!("{}{line}", far.device.display())), "{keys}: {told}");
}

#[test]
fn what_a_port_says_of_its_line_counts_for_callers_too() {
    check("", "ijvGgL", " at 115200 bit/s");
    check("reliable = true", "iyjvGgfL", " at 115200 bit/s");
    check("reliable = true\nhalf-duplex = true", "iyjvGgf", " at 115200 bit/s, half duplex");
    check("half-duplex = true", "ijvGgL", " at 115200 bit/s, half duplex");
    check("transparent = false", "jL", " at 115200 bit/s");
    check("eight-bit = false", "fL", " at 115200 bit/s");
}

#[test]
fn a_port_on_which_logins_are_guessed_is_not_answered_for_a_while() {
    let mut far = Far::new();
    let port = format!("type = \"serial\"\ndevice = \"{}\"\nspeed = 115200\nlocks = \"\"\n", far.device.display());
    let hub = Site::new("hub", &format!("[port.line]\n{port}answer = true\n[sites.village]\n"));
    let config = config::load(&hub.config()).expect("it is right");
    let context = daemon::context(&config, Store::open(&config.spool).expect("a store"));
    let answering = &config.answering[0];
    let origin = format!("port {}", answering.name);
    for _ in 1..WRONG_LOGINS_MAX {
        crate::lines::servers::guess_wrong(&context.store, &origin);
    }
    let guessing = std::thread::spawn(move || {
        // What comes before the line is waited on is not meant for us, so it is said until it is heard.
        let is_heard = |far: &Far| {
            let mut look = [PollFd::new(far.end.as_fd(), PollFlags::POLLIN)];
            poll(&mut look, 100_u16).expect("a device") > 0
        };
        while !is_heard(&far) {
            far.say(b"\r");
        }
        for (wanted, word) in [("login: ", "Uvillage\r"), ("Password:", "guess\r"), ("incorrect", "")] {
            let mut heard = String::new();
            while !heard.ends_with(wanted) {
                let mut byte = [0];
                assert_eq!(far.end.read(&mut byte).expect("heard"), 1);
                heard.push(char::from(byte[0]));
            }
            far.say(word.as_bytes());
        }
    });
    run(async {
        let (_wake, mut nudges) = tokio::sync::broadcast::channel(1);
        let outcome = call::attend(&context, answering, &mut nudges).await.expect("a line");
        assert!(matches!(outcome, Attended::Call(Err(_))), "{outcome:?}");
        let outcome = call::attend(&context, answering, &mut nudges).await.expect("a line");
        assert!(matches!(outcome, Attended::Barred), "{outcome:?}");
    });
    guessing.join().expect("it was heard");
}

#[test]
fn a_device_that_is_unplugged_and_comes_back_is_answered_on_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let by_id = folder.path().join("usb-FTDI_FT232R-if00-port0");
    let plug = |far: &Far| {
        let _ = fs::remove_file(&by_id);
        std::os::unix::fs::symlink(&far.device, &by_id).expect("a link");
    };
    // Both at once, so that they have not the same name.
    let mut adapters = [Far::new(), Far::new()];
    assert_ne!(adapters[0].device, adapters[1].device);
    plug(&adapters[0]);
    let port = format!("type = \"serial\"\ndevice = \"{}\"\nspeed = 115200\nlocks = \"\"\n", by_id.display());
    let hub = Site::new("hub", &format!("[port.line]\n{port}answer = true\nask-login = false\n[sites.village]\n"));
    let daemon = hub.daemon(None);
    let log = || fs::read_to_string(hub.path("log")).expect("a log");
    let call = |far: &mut Far, times: usize| {
        let greeting = until("the hub answers", || {
            far.say(b"\r");
            (log().matches("somebody calls").count() == times).then(|| far.hear())
        });
        assert_eq!(greeting, "\\x10Shere=hub");
        // A caller that hangs up in time, so that the line is waited on anew.
        far.say(b"\x10Snobody\0");
        until("the call is over", || (log().matches("nobody").count() > 0).then_some(()));
    };
    let [first, second] = &mut adapters;
    call(first, 1);
    until("the call is told", || (log().matches("caller").count() > 0).then_some(()));
    let files = || fs::read_dir(format!("/proc/{}/fd", daemon.id())).expect("it runs").flatten();
    let is_open = || files().any(|file| fs::read_link(file.path()).is_ok_and(|to| to == first.device));
    until("the hub waits again", || is_open().then_some(()));
    *first = Far::new();
    fs::remove_file(&by_id).expect("it is gone");
    until("it is missed", || log().contains("cannot wait for callers on the line").then_some(()));
    assert_eq!(log().matches("somebody calls").count(), 1, "what goes away does not call: {}", log());
    plug(second);
    call(second, 2);
    assert!(log().contains("the device is there again"), "{}", log());
}
