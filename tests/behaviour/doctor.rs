//! `bangpath doctor`: what it finds of an installation, of ports on ptys, and of the lines behind them.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use bangpath::store::StoreError;
use bangpath::store::sites::{KnownLine, SiteState, TestedLine};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::lines::exchange::{Exchange, Setup, raw_pty};
use crate::site::{BANGPATH, Site, said};

/// Two devices; what is written to one comes out of the other as the line makes it. With one device: a plug.
struct Cable {
    devices: Vec<PathBuf>,
    _slaves: Vec<std::os::fd::OwnedFd>,
}

impl Cable {
    fn new(ends: usize, line: fn(u8) -> Option<u8>) -> Self {
        let (mut devices, mut slaves, mut masters) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ends {
            let (device, slave, master) = raw_pty();
            devices.push(device);
            slaves.push(slave);
            masters.push(master);
        }
        for from in 0..ends {
            let mut input = File::from(masters[from].try_clone().expect("a descriptor"));
            let mut output = File::from(masters[(from + 1) % ends].try_clone().expect("a descriptor"));
            thread::spawn(move || {
                let mut buffer = [0; 512];
                while let Ok(count @ 1..) = input.read(&mut buffer) {
                    let bytes: Vec<u8> = buffer[..count].iter().copied().filter_map(line).collect();
                    let _ = output.write_all(&bytes);
                }
            });
        }
        Self { devices, _slaves: slaves }
    }
}

fn port(device: &std::path::Path, more: &str) -> String {
    format!("[port.line]\ntype = \"serial\"\ndevice = \"{}\"\nspeed = 115200\n{more}\n", device.display())
}

/// Runs the doctor; gives what it found, by what was looked at, and its status.
fn findings(site: &Site, words: &[&str]) -> (Vec<Value>, i32) {
    let output = site.try_run(&[&["doctor", "--json"], words].concat(), b"", None);
    let found: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{words:?}: {}", said(&output)));
    (found.as_array().expect("an array").clone(), output.status.code().expect("a status"))
}

#[track_caller]
fn check(found: &[Value], what: &str, state: &str, text: &str) {
    let is = |f: &&Value| {
        f["check"] == what && f["state"] == state && format!("{} {}", f["text"], f["advice"]).contains(text)
    };
    assert!(found.iter().any(|f| is(&f)), "{what} {state} {text}: {found:#?}");
}

#[test]
fn an_installation_in_order_is_said_to_be() {
    let site = Site::new("village", "[sites.hub]\n");
    let (found, status) = findings(&site, &[]);
    assert_eq!(status, 0, "{found:#?}");
    for what in ["configuration", "spool", "owner", "database", "clock", "dead letters", "site"] {
        check(&found, what, "good", "");
    }
    check(&found, "daemon", "note", "it does not run");
    let told = site.run(&["doctor"], b"");
    assert!(told.contains("ok    database      whole"), "{told}");
}

#[test]
fn what_ails_an_installation_is_told_with_a_remedy() {
    let ports = "[port.line]\ntype = \"serial\"\ndevice = \"/dev/ttyNone\"\n[port.null]\ntype = \"serial\"\ndevice = \"/dev/null\"\n[port.zero]\ntype = \"serial\"\ndevice = \"/dev/zero\"\n";
    let site = Site::new(
        "village",
        &format!("[listen]\nsmtp = \"127.0.0.1:0\"\n{ports}[sites.hub]\n[sites.far]\n[sites.near]\n"),
    );
    // A dead letter: from nobody and for nobody.
    site.run(&["sendmail", "-f", "<>", "carol"], b"Subject: x\n\nx\n");
    let now = bangpath::base::time::Timestamp::from_jiff(jiff::Timestamp::now());
    let failing = SiteState { failures: 7, last_result: Some("no carrier".to_owned()), ..SiteState::default() };
    let reached =
        SiteState { last_call: Some(now + Duration::from_secs(9000)), last_success: Some(now), ..SiteState::default() };
    let name = |name: &str| bangpath::base::names::SiteName::parse(name).expect("a name");
    let held = SiteState { held: Some("holidays".to_owned()), ..SiteState::default() };
    site.store()
        .write::<_, StoreError>(|change| {
            change.set_site_state(&name("hub"), &failing)?;
            change.set_site_state(&name("far"), &held)?;
            change.set_site_state(&name("near"), &reached)
        })
        .expect("a store");
    let _daemon = site.daemon(None);
    let (found, status) = findings(&site, &[]);
    assert_eq!(status, 69);
    check(&found, "daemon", "good", "");
    check(&found, "service", "good", "smtp");
    check(&found, "port", "trouble", "/dev/ttyNone is not there");
    check(&found, "port", "trouble", "/dev/null is no terminal");
    check(&found, "port", "trouble", "/dev/zero is no terminal");
    check(&found, "dead letters", "note", "bangpath dead list");
    check(&found, "site", "note", "hub: 7 calls in a row failed; the last: no carrier");
    check(&found, "site", "note", "far: held (holidays)");
    check(&found, "clock", "trouble", "the last call was at");
}

#[test]
fn a_device_that_is_no_terminal_is_not_opened() {
    let full = PathBuf::from("/dev/full");
    let site = Site::new("village", &port(&full, ""));
    let openings = Inotify::init(InitFlags::IN_NONBLOCK).expect("a watch");
    openings.add_watch(&full, AddWatchFlags::IN_OPEN).expect("a watch");
    for words in [&[][..], &["line"]] {
        let (found, status) = findings(&site, words);
        assert_eq!(status, 69);
        check(&found, if words.is_empty() { "port" } else { "device" }, "trouble", "/dev/full is no terminal");
    }
    assert_eq!(openings.read_events().err(), Some(nix::Error::EAGAIN));
    drop(File::open(&full).expect("it can be"));
    assert_eq!(openings.read_events().expect("seen").len(), 1);
}

#[test]
fn a_daemon_that_hangs_is_told_from_one_that_answers() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("uucp");
    let services = format!("nntp = \"127.0.0.1:0\"\nuucp = \"{}\"\nuucp-login = false", socket.display());
    let site = Site::new("village", &format!("[listen]\nsmtp = \"127.0.0.1:0\"\n{services}\n"));
    let daemon = site.daemon(None);
    let (found, status) = findings(&site, &[]);
    assert_eq!(status, 0, "{found:#?}");
    for service in ["smtp", "nntp", "uucp"] {
        check(&found, "service", "good", service);
    }
    daemon.signal(Signal::SIGSTOP);
    let (found, status) = findings(&site, &[]);
    daemon.signal(Signal::SIGCONT);
    assert_eq!(status, 69);
    for service in ["smtp", "nntp", "uucp"] {
        check(&found, "service", "trouble", service);
    }
    check(&found, "service", "trouble", "it hangs");
}

#[test]
fn a_damaged_database_and_a_wrong_configuration_are_troubles() {
    let site = Site::new("village", "");
    let database = site.spool().join("bangpath.db");
    site.run(&["sendmail", "alice"], &[b"Subject: x\n\n", &[b'x'; 60_000][..]].concat());
    let mut bytes = fs::read(&database).expect("a database");
    // Not its head, which says what it is.
    let end = bytes.len();
    bytes[4096 * 3..end].iter_mut().step_by(5).for_each(|byte| *byte ^= 0x55);
    fs::write(&database, bytes).expect("a file");
    let (found, status) = findings(&site, &[]);
    assert_eq!(status, 69);
    assert!(
        found.iter().any(|f| f["state"] == "trouble" && (f["check"] == "database" || f["check"] == "spool")),
        "{found:#?}"
    );
    // Now its head as well: the store does not even open. The first page begins with the type of the page, behind 100 bytes.
    let mut bytes = fs::read(&database).expect("a database");
    bytes[100] = 0xff;
    fs::write(&database, bytes).expect("a file");
    let (found, status) = findings(&site, &[]);
    assert_eq!(status, 69);
    check(&found, "spool", "trouble", "restore the last backup");
    site.configure("[port.x]\ntype = \"serail\"\n");
    let (found, status) = findings(&site, &[]);
    assert_eq!(status, 69);
    check(&found, "configuration", "trouble", "no port type `serail`");
}

/// The partner of a test, at the line of this site.
fn partner(site: &Site) -> Child {
    let mut doctor = Command::new(BANGPATH);
    doctor.args(["doctor", "line", "--answer", "--json"]).env("BANGPATH_CONFIG", site.config());
    doctor.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("a doctor")
}

/// Two doctors at the two ends of a cable; gives what each found.
fn both(line: fn(u8) -> Option<u8>) -> [Vec<Value>; 2] {
    let cable = Cable::new(2, line);
    let [here, there] = [0, 1].map(|end| Site::new("village", &port(&cable.devices[end], "")));
    let answer = partner(&there);
    let (found, status) = findings(&here, &["line"]);
    let answer = answer.wait_with_output().expect("an end");
    assert_eq!((status, answer.status.code()), (0, Some(0)), "{found:#?}");
    let theirs: Value = serde_json::from_slice(&answer.stdout).expect("JSON");
    [found, theirs.as_array().expect("an array").clone()]
}

#[test]
fn two_doctors_find_out_what_a_line_does_and_what_suits_it() {
    for found in both(Some) {
        check(&found, "sent", "good", "eight bits");
        check(&found, "received", "good", "eight bits");
        check(&found, "protocols", "good", "best first: ijvGg");
        check(&found, "round trip", "good", "s");
    }
    for found in both(|byte| Some(byte & 0x7f)) {
        check(&found, "sent", "note", "seven bits only");
        check(&found, "protocols", "good", "best first: f");
        check(&found, "protocols", "good", "write eight-bit = false");
    }
    for found in both(|byte| (!matches!(byte, 0x11 | 0x13)).then_some(byte)) {
        check(&found, "received", "note", "lost: 11.13");
        check(&found, "protocols", "good", "write transparent = false");
        let details = found.iter().find(|f| f["check"] == "protocols").expect("a finding")["details"].clone();
        assert_eq!((&details["protocols"], &details["sent"]["lost"]), (&"j".into(), &serde_json::json!([17, 19])));
    }
}

#[test]
fn a_call_over_an_unknown_line_tests_it_once_and_the_next_believes_that() {
    let cable = Cable::new(2, |byte| (!matches!(byte, 0x11 | 0x13)).then_some(byte));
    let hub =
        Site::new("hub", &format!("{}[sites.village]\n", port(&cable.devices[0], "answer = true\nask-login = false")));
    let way = "[sites.hub]\ncall = [{ port = \"line\", chat = '\"\" \\r\\c' }]\n[[mail.route]]\nto = \"*\"\nvia = \"uucp:hub\"\n";
    let village = Site::new("village", &format!("{}{way}", port(&cable.devices[1], "")));
    let _daemon = hub.daemon(None);
    let name = |name: &str| bangpath::base::names::SiteName::parse(name).expect("a name");
    let line = bangpath::base::names::PortName::parse("line").expect("a name");
    // Calls with another program there have measured the round trip, and nothing else.
    let measured = Some(Duration::from_millis(40));
    let known = KnownLine { round_trip: measured, ..KnownLine::default() };
    let set = village.store().write::<_, StoreError>(|change| change.set_known_line(&name("hub"), &line, &known));
    set.expect("a store");
    for round in 0..3 {
        village.run(&["sendmail", "alice@hub.example"], b"Subject: hi\n\nHello \x11\n");
        let call = village.try_run(&["-v", "call", "hub"], b"", None);
        let told = said(&call);
        assert!(call.status.success() && told.contains("protocol j"), "{round}: {told}");
        assert_eq!(told.contains("line tested"), round == 0, "{round}: {told}");
        let known =
            village.store().read::<_, StoreError>(|view| view.known_line(&name("hub"), &line)).expect("a store");
        assert_eq!(known.tested, Some(TestedLine { eight_bit: true, transparent: false, calls: round }));
        let counted = known.counted.expect("errors are counted, if there are any");
        assert!(counted.carried > 0 && counted.damaged == 0, "{counted:?}");
        crate::site::until("the letter arrives", || (hub.mail("alice").len() == round as usize + 1).then_some(()));
        // It waits a moment before it looks for the next caller.
        thread::sleep(Duration::from_millis(1000));
    }
    // Whatever goes wrong, nothing is believed any more.
    drop(cable);
}

#[test]
fn what_was_found_long_ago_is_not_believed_where_no_test_comes_about() {
    let cable = Cable::new(2, Some);
    // With a list the hub offers no test.
    let hub = Site::new(
        "hub",
        &format!(
            "{}[sites.village]\nprotocols = \"ij\"\n",
            port(&cable.devices[0], "answer = true\nask-login = false")
        ),
    );
    let way = "[sites.hub]\ncall = [{ port = \"line\", chat = '\"\" \\r\\c' }]\n";
    let village = Site::new("village", &format!("{}{way}", port(&cable.devices[1], "")));
    let _daemon = hub.daemon(None);
    let name = bangpath::base::names::SiteName::parse("hub").expect("a name");
    let line = bangpath::base::names::PortName::parse("line").expect("a name");
    for (calls, then, protocol) in [(19, Some(20), "protocol j"), (20, None, "protocol i")] {
        let tested = Some(TestedLine { eight_bit: true, transparent: false, calls });
        let known = KnownLine { tested, ..KnownLine::default() };
        let set = village.store().write::<_, StoreError>(|change| change.set_known_line(&name, &line, &known));
        set.expect("a store");
        let call = village.try_run(&["-v", "call", "hub"], b"", None);
        let told = said(&call);
        assert!(call.status.success() && told.contains(protocol), "{calls}: {told}");
        let known = village.store().read::<_, StoreError>(|view| view.known_line(&name, &line)).expect("a store");
        assert_eq!(known.tested.map(|tested| tested.calls), then, "what is too old is forgotten");
        assert!(known.round_trip.is_some(), "as measured");
        // The answerer waits a moment before it looks for the next caller.
        thread::sleep(Duration::from_millis(2500));
    }
}

#[test]
fn a_plug_tests_a_port_without_a_partner() {
    let cable = Cable::new(1, Some);
    let site = Site::new("village", &port(&cable.devices[0], ""));
    let (found, status) = findings(&site, &["line", "--wait", "10"]);
    assert_eq!(status, 0);
    check(&found, "there and back", "good", "eight bits");
    check(&found, "protocols", "good", "ijvGg");
}

#[test]
fn a_port_without_anybody_is_looked_at_as_far_as_it_goes() {
    let cable = Cable::new(2, |_| None);
    let site =
        Site::new("village", &port(&cable.devices[0], &format!("locks = \"{}\"", std::env::temp_dir().display())));
    let (found, status) = findings(&site, &["line", "--wait", "1"]);
    assert_eq!(status, 0);
    check(&found, "device", "good", "is there");
    check(&found, "line", "note", "nobody answers");
    // Another program has the line.
    let name = cable.devices[0].strip_prefix("/dev").expect("a device").display().to_string().replace('/', "_");
    let lock = std::env::temp_dir().join(format!("LCK..{name}"));
    fs::write(&lock, format!("{:10}\n", std::process::id())).expect("a file");
    let (found, status) = findings(&site, &["line", "--wait", "1"]);
    let _ = fs::remove_file(&lock);
    assert_eq!(status, 69);
    check(&found, "lock", "trouble", &format!("locked by process {}", std::process::id()));
    // Whoever may write to the folder puts something else there.
    nix::unistd::mkfifo(&lock, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    let (found, status) = findings(&site, &["line", "--wait", "1"]);
    let (all, _) = findings(&site, &[]);
    let _ = fs::remove_file(&lock);
    assert_eq!(status, 69);
    check(&found, "lock", "trouble", &format!("{} names no process", lock.display()));
    check(&all, "port", "note", &format!("{} names no process", lock.display()));
    let output = site.try_run(&["doctor", "other"], b"", None);
    assert!(said(&output).contains("no port `other` that says where it leads; there are: line"), "{}", said(&output));
}

#[test]
fn a_partner_behind_a_program_is_on_its_standard_streams() {
    let site = Site::new("village", "");
    let command = format!("[\"{BANGPATH}\", \"doctor\", \"-\", \"--answer\"]");
    site.configure(&format!("[port.ssh]\ntype = \"pipe\"\ncommand = {command}\n"));
    let (found, status) = findings(&site, &["ssh"]);
    assert_eq!(status, 0, "{found:#?}");
    check(&found, "protocols", "good", "best first: iteyjvGgf");
}

#[test]
fn a_modem_is_asked_dialled_and_the_line_behind_it_tested() {
    let busy = Setup { busy: true, ..Setup::number("333") };
    let exchange = Exchange::new(&[Setup::number("111"), Setup::number("222"), busy]);
    let modem = "flow = \"none\"\nmodem = \"hayes\"";
    let [here, there] = [1, 0].map(|at| Site::new("village", &port(&exchange.devices[at], modem)));
    let (found, status) = findings(&here, &["line"]);
    assert_eq!(status, 0, "{found:#?}");
    check(&found, "modem", "good", "takes the profile Hayes Smartmodem 2400 and what follows its commands; 2400");
    check(&found, "line", "note", "the modem has no connection");
    let (found, status) = findings(&here, &["line", "--phone", "333"]);
    assert_eq!(status, 69);
    check(&found, "call", "trouble", "the modem says `BUSY`");
    let answer = partner(&there);
    // Once its modem has been made ready.
    crate::site::until("the other doctor waits", || exchange.commands(0).contains(&"ATI6".to_owned()).then_some(()));
    let (found, status) = findings(&here, &["line", "--phone", "111"]);
    let answer = answer.wait_with_output().expect("an end");
    let theirs = String::from_utf8_lossy(&answer.stdout).into_owned();
    assert_eq!((status, answer.status.code()), (0, Some(0)), "{found:#?} {theirs}");
    check(&found, "call", "good", "CONNECT 9600/ARQ");
    check(&found, "sent", "good", "eight bits");
    assert!(theirs.contains("eight bits"), "{theirs}");
}

#[test]
fn what_the_configuration_says_of_a_line_counts_for_its_examination() {
    let server = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = server.local_addr().expect("an address");
    let port = format!("[port.far]\ntype = \"tcp\"\naddress = \"{address}\"\n");
    let site = Site::new("hub", &format!("{port}reliable = false\nhalf-duplex = true\nspeed = 1200\n"));
    let hanging_up = std::thread::spawn(move || drop(server.accept().expect("somebody")));
    let told = said(&site.try_run(&["doctor", "far"], b"", None));
    assert!(told.contains("at 1200 bit/s, half duplex"), "{told}");
    hanging_up.join().expect("a server");
}
