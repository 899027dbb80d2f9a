//! Two sites and the telephone between them.

use std::fs;
use std::io::{Read, Write};
use std::process::Stdio;

use super::exchange::{Exchange, Setup};
use crate::site::{Site, said, until};

pub fn modem(device: &std::path::Path, more: &str) -> String {
    format!(
        "[port.modem]\ntype = \"serial\"\ndevice = \"{}\"\nspeed = 115200\nflow = \"none\"\nmodem = \"hayes\"\n{more}\n",
        device.display()
    )
}

/// A pty has no carrier whose loss could be seen: only silence tells.
const IMPATIENT: &str = "[sites.village.protocol.i]\ntimeout = \"1s\"\nretries = 3\n";

/// A hub that answers calls by modem, and knows the village's number.
pub fn hub(exchange: &Exchange, at: usize) -> Site {
    let port = modem(&exchange.devices[at], "answer = true");
    let rest = format!(
        "{port}[sites.village]\ncall = [{{ port = \"modem\", phone = \"222\", chat = \"\" }}]\ncalled-login = \"Uvillage\"\n\
         schedule = []\n{IMPATIENT}"
    );
    let hub = Site::new("hub", &rest);
    hub.run(&["user", "add", "Uvillage", "--password", "secret"], b"");
    hub
}

pub fn village(ports: &str, call: &str) -> Site {
    let rest = format!(
        "{ports}[sites.hub]\ncall = [{call}]\nlogin = \"Uvillage\"\npassword-file = \"pass\"\n\
         {}[[mail.route]]\nto = \"*\"\nvia = \"uucp:hub\"\n",
        IMPATIENT.replace("village", "hub")
    );
    let village = Site::new("village", &rest);
    fs::write(village.path("pass"), "secret\n").expect("a file");
    village
}

pub const LETTER: &[u8] = b"From: bob@village.example\nSubject: by telephone\n\nHello\n";

#[test]
fn a_call_is_dialled_answered_logged_in_and_hung_up() {
    let exchange = Exchange::new(&[Setup::number("111"), Setup::number("222")]);
    let hub = hub(&exchange, 0);
    let village = village(&modem(&exchange.devices[1], ""), "{ port = \"modem\", phone = \"111\" }");
    let _daemon = hub.daemon(None);
    for round in 1..=2 {
        village.run(&["sendmail", "alice@hub.example"], LETTER);
        let call = village.try_run(&["call", "hub"], b"", None);
        assert!(call.status.success(), "{}: {}", said(&call), fs::read_to_string(hub.path("log")).unwrap_or_default());
        until("the letter arrives", || (hub.mail("alice").len() == round).then_some(()));
        until("both modems have hung up", || exchange.is_quiet().then_some(()));
    }
    assert_eq!(exchange.commands(1)[..4], ["ATZ", "ATE0V1Q0X4S0=0", "AT&C1&D2", "ATDT111"]);
    assert!(exchange.commands(0).contains(&"ATA".to_owned()));
}

#[test]
fn a_busy_number_is_reported_at_once_and_the_next_way_tried() {
    let busy = Setup { busy: true, ..Setup::number("333") };
    let exchange = Exchange::new(&[Setup::number("111"), Setup::number("222"), busy]);
    let hub = hub(&exchange, 0);
    let ports = modem(&exchange.devices[1], "");
    let village = village(&ports, "{ port = \"modem\", phone = \"333\" }");
    village.run(&["sendmail", "alice@hub.example"], LETTER);
    let call = village.try_run(&["call", "hub"], b"", None);
    assert_eq!(call.status.code(), Some(75));
    assert!(said(&call).contains("the modem says `BUSY`"), "{}", said(&call));

    let second = ports.replace("[port.modem]", "[port.second]");
    let rest = format!(
        "{ports}{second}[sites.hub]\ncall = [{{ port = \"modem\", phone = \"333\" }}, {{ port = \"second\", phone = \"111\" }}]\n\
         login = \"Uvillage\"\npassword-file = \"pass\"\n"
    );
    village.configure(&rest);
    let _daemon = hub.daemon(None);
    // The busy way failed a moment ago, so the other one goes first.
    let dialled = || exchange.commands(1).iter().filter(|c| c.starts_with("ATDT")).cloned().collect::<Vec<_>>();
    let call = village.run(&["call", "hub"], b"");
    assert!(call.contains("call complete"), "{call}");
    until("the letter arrives", || (hub.mail("alice").len() == 1).then_some(()));
    assert_eq!(dialled(), ["ATDT333", "ATDT111"]);
    let shown = village.run(&["site", "show", "hub"], b"");
    assert!(shown.contains("over second: call complete"), "{shown}");
}

#[test]
fn a_way_that_fails_gives_place_to_the_next_in_the_same_call() {
    let exchange = Exchange::new(&[Setup::number("111"), Setup::number("222")]);
    let hub = hub(&exchange, 0);
    let _daemon = hub.daemon(None);
    let ports = modem(&exchange.devices[1], "");
    let first = ports.replace("[port.modem]", "[port.first]");
    let village = village(
        &format!("{first}{ports}"),
        "{ port = \"first\", phone = \"999\" }, { port = \"modem\", phone = \"111\" }",
    );
    let call = village.run(&["call", "hub"], b"");
    assert!(call.contains("call complete"), "{call}");
    let shown = village.run(&["site", "show", "hub"], b"");
    assert!(shown.contains("over first: the modem says `NO CARRIER`; over modem: call complete"), "{shown}");
}

/// A pool `all` of these modems of the exchange.
fn pool(exchange: &Exchange, modems: &[usize]) -> String {
    let port = |at: &usize| modem(&exchange.devices[*at], "").replace("[port.modem]", &format!("[port.m{at}]"));
    let names: Vec<String> = modems.iter().map(|at| format!("m{at}")).collect();
    modems.iter().map(port).collect::<String>() + &format!("[pool.all]\nports = {names:?}\n")
}

/// The numbers that a modem has dialled.
fn dialled(exchange: &Exchange, at: usize) -> Vec<String> {
    exchange.commands(at).iter().filter_map(|c| c.strip_prefix("ATDT")).map(str::to_owned).collect()
}

#[test]
fn a_site_is_called_over_whichever_port_of_a_pool_is_free() {
    let numbers = ["111", "222", "333", "444"];
    let exchange = Exchange::new(&numbers.map(Setup::number));
    let hub = hub(&exchange, 0);
    let _daemon = hub.daemon(None);
    let locks = tempfile::tempdir().expect("a folder");
    let lock = |at: usize| {
        let name = exchange.devices[at].strip_prefix("/dev").expect("a device").to_string_lossy().replace('/', "_");
        let path = locks.path().join(format!("LCK..{name}"));
        fs::write(&path, format!("{:10}\n", std::process::id())).expect("a lock");
        path
    };
    let folder = format!("locks = \"{}\"\n", locks.path().display());
    let ports = pool(&exchange, &[1, 2, 3]).replace("type =", &format!("{folder}type ="));
    // Minicom has the first, and the second is unplugged.
    let minicom = lock(1);
    let ports = ports.replace(&format!("{:?}", exchange.devices[2]), "\"/dev/bangpath-is-not-here\"");
    let village = village(&ports, "{ port = \"all\", phone = \"111\" }");
    let call = village.run(&["call", "hub"], b"");
    assert!(call.contains("call complete"), "{call}");
    let dials = || [1, 2, 3].map(|at| dialled(&exchange, at).len());
    assert_eq!(dials(), [0, 0, 1]);
    let show = || village.run(&["site", "show", "hub"], b"");
    assert!(show().contains("failures      0") && show().contains("over m3: call complete"), "{}", show());
    // What was busy does not rest, and what did not work does.
    fs::remove_file(minicom).expect("removed");
    until("all have hung up", || exchange.is_quiet().then_some(()));
    let call = until("the hub waits again", || {
        let call = village.try_run(&["call", "hub"], b"", None);
        call.status.success().then(|| said(&call))
    });
    assert!(call.contains("call complete"), "{call}");
    assert!(show().contains("result        over m1: call complete"), "{}", show());
    // All are in use.
    let held = [lock(1), lock(3)];
    let call = village.try_run(&["call", "hub", "--port", "all"], b"", None);
    assert_eq!(call.status.code(), Some(75));
    drop(held);
}

#[test]
fn a_number_that_leads_nowhere_is_not_dialled_again_over_the_rest_of_its_pool() {
    let busy = Setup { busy: true, ..Setup::number("111") };
    let numbers = ["222", "333", "444", "555"].map(Setup::number);
    let exchange = Exchange::new(&[&[busy], &numbers[..]].concat());
    let hub = hub(&exchange, 1);
    let _daemon = hub.daemon(None);
    let ports = pool(&exchange, &[2, 3]) + &modem(&exchange.devices[4], "");
    let village = village(&ports, "{ port = \"all\", phone = \"111\" }, { port = \"modem\", phone = \"222\" }");
    let call = village.run(&["call", "hub"], b"");
    assert!(call.contains("call complete"), "{call}");
    assert_eq!([2, 3, 4].map(|at| dialled(&exchange, at)), [vec!["111"], vec![], vec!["222"]]);
    let shown = village.run(&["site", "show", "hub"], b"");
    assert!(shown.contains("over m2: the modem says `BUSY`; over modem: call complete"), "{shown}");
    assert!(shown.contains("m2 of all ("), "{shown}");
    // The daemon, too, tries a number that failed after the others.
    until("all have hung up", || exchange.is_quiet().then_some(()));
    let _daemon = village.daemon(None);
    village.run(&["sendmail", "alice@hub.example"], LETTER);
    until("the letter arrives", || (hub.mail("alice").len() == 1).then_some(()));
    assert_eq!([2, 3].map(|at| dialled(&exchange, at)), [vec!["111"], vec![]]);
}

#[test]
fn a_line_that_waits_for_callers_can_be_used_to_call() {
    let exchange = Exchange::new(&[Setup::number("111"), Setup::number("222")]);
    let hub = hub(&exchange, 0);
    let port = modem(&exchange.devices[1], "answer = true\nask-login = false");
    let village = Site::new("village", &format!("{port}[sites.hub]\n"));
    let (_hub_daemon, _village_daemon) = (hub.daemon(None), village.daemon(None));
    until("both wait", || (exchange.commands(0).len() >= 3 && exchange.commands(1).len() >= 3).then_some(()));
    let call = until("the line is free", || {
        let call = hub.try_run(&["call", "village"], b"", None);
        (!said(&call).contains("in use")).then(|| said(&call))
    });
    assert!(call.contains("call complete"), "{call}");
    // And afterwards it waits again.
    until("the hub's modem has been made ready again", || {
        exchange.commands(0).iter().filter(|c| *c == "ATZ").nth(2).map(|_| ())
    });
}

#[test]
fn who_answers_may_want_a_word_before_the_login() {
    let exchange = Exchange::new(&[Setup::number("111"), Setup::number("222")]);
    let hub = hub(&exchange, 0);
    let text = fs::read_to_string(hub.config()).expect("a file");
    fs::write(hub.config(), text.replace("answer = true", "answer = true\nanswer-chat = 'sesame\\W2 open'"))
        .expect("a file");
    let daemon = hub.daemon(None);
    let call = |chat: &str| {
        let way = format!("{{ port = \"modem\", phone = \"111\", chat = '{chat}' }}");
        let village = village(&modem(&exchange.devices[1], ""), &way);
        until("the hub waits", || exchange.is_quiet().then_some(()));
        said(&village.try_run(&["call", "hub"], b"", None))
    };
    let right = call("\"\" sesame open\\W5 \\c ogin: \\L word: \\P");
    assert!(right.contains("call complete"), "{right}");
    until("the hub waits again", || (exchange.commands(0).iter().filter(|c| *c == "ATZ").count() == 2).then_some(()));
    let wrong = call("\"\" rhubarb ogin:\\W5 \\L word: \\P");
    assert!(wrong.contains("login failed"), "{wrong}");
    let log =
        until("the hub has hung up", || fs::read_to_string(hub.path("log")).ok().filter(|log| log.contains("caller")));
    assert!(log.contains("the chat with whoever called failed: `sesame` did not come within 2 s"), "{log}");
    drop(daemon);
}

const PROFILE: &str = "name = \"mine\"\nmanual = \"none\"\ntried = \"here\"\ninit = [\"ATXYZZY\"]\n";

#[test]
fn a_modem_that_answers_by_itself_is_noticed() {
    let exchange = Exchange::new(&[Setup::number("111"), Setup::number("222")]);
    let hub = hub(&exchange, 0);
    fs::write(hub.path("mine.toml"), PROFILE.replace("XYZZY", "S0=2S7=20")).expect("a file");
    let text = fs::read_to_string(hub.config()).expect("a file");
    let own = text.replace("\"hayes\"", "\"mine.toml\"").replace("answer = true", "answer = true\nrings = 9");
    fs::write(hub.config(), own).expect("a file");
    let village = village(&modem(&exchange.devices[1], ""), "{ port = \"modem\", phone = \"111\" }");
    let _daemon = hub.daemon(None);
    until("the hub waits", || (!exchange.commands(0).is_empty()).then_some(()));
    village.run(&["sendmail", "alice@hub.example"], LETTER);
    let call = village.try_run(&["call", "hub"], b"", None);
    assert!(call.status.success(), "{}: {}", said(&call), fs::read_to_string(hub.path("log")).unwrap_or_default());
    until("the letter arrives", || (hub.mail("alice").len() == 1).then_some(()));
    assert!(!exchange.commands(0).contains(&"ATA".to_owned()), "{:?}", exchange.commands(0));
}

/// A computer with a modem that is no site of ours.
struct Computer(fs::File);

impl Computer {
    fn at(exchange: &Exchange, modem: usize) -> Self {
        Self(fs::OpenOptions::new().read(true).write(true).open(&exchange.devices[modem]).expect("a device"))
    }

    /// Says something, and hears what comes up to and with these words.
    fn ask(&mut self, words: &[u8], end: &str) -> String {
        self.0.write_all(words).expect("it is on");
        let (mut heard, mut byte) = (String::new(), [0]);
        while !heard.ends_with(end) {
            assert_eq!(self.0.read(&mut byte).expect("it is on"), 1);
            heard.push(char::from(byte[0]));
        }
        heard
    }
}

#[test]
fn the_registers_of_the_modem_twin_are_kept_told_and_heeded() {
    let exchange = Exchange::new(&[Setup::number("111"), Setup::number("222")]);
    let [mut near, mut far] = [0, 1].map(|at| Computer::at(&exchange, at));
    near.ask(b"ATE0\r", "OK\r\n");
    let check = |near: &mut Computer, command: &str, end: &str, told: &str| {
        assert_eq!(near.ask(format!("{command}\r").as_bytes(), end), told.replace('|', "\r\n"), "{command}");
    };
    check(&mut near, "ATS0?", "OK\r\n", "|000||OK|");
    check(&mut near, "ATS7?", "OK\r\n", "|050||OK|");
    check(&mut near, "ATS7=1S0=3", "OK\r\n", "|OK|");
    check(&mut near, "ATS0?S7?", "OK\r\n", "|003||001||OK|");
    check(&mut near, "ATS99=1", "ERROR\r\n", "|ERROR|");
    // S7: nobody answers there within a second.
    check(&mut near, "ATDT222", "NO CARRIER\r\n", "|NO CARRIER|");
    check(&mut near, "ATZ", "OK\r\n", "|OK|");
    near.ask(b"ATE0\r", "OK\r\n");
    check(&mut near, "ATS0?", "OK\r\n", "|000||OK|");
    // S0: answered at the second ring.
    far.ask(b"ATE0\r", "OK\r\n");
    far.ask(b"ATS0=2\r", "OK\r\n");
    check(&mut near, "ATDT222", "ARQ\r\n", "|CONNECT 9600/ARQ|");
    let heard = far.ask(b"", "ARQ\r\n");
    assert!(heard.ends_with("RING\r\n\r\nRING\r\n\r\nCONNECT 9600/ARQ\r\n"), "{heard}");
}

#[test]
fn a_connection_that_modems_correct_changes_the_protocols_that_are_offered() {
    for (connect, offered) in [("CONNECT 2400/ARQ", "iyjvGgfL"), ("CONNECT 2400", "ijvGgL")] {
        let exchange = Exchange::new(&[Setup { connect, ..Setup::number("111") }, Setup::number("222")]);
        let hub = hub(&exchange, 0);
        let text = fs::read_to_string(hub.config()).expect("a file");
        let own =
            text.replace("\"hayes\"", "\"usr-courier\"").replace("answer = true", "answer = true\nask-login = false");
        fs::write(hub.config(), own.replace("called-login = \"Uvillage\"\n", "")).expect("a file");
        let _daemon = hub.daemon(None);
        until("the hub waits", || (exchange.commands(0).len() >= 2).then_some(()));
        let mut caller = Computer::at(&exchange, 1);
        caller.ask(b"ATDT111\r", "Shere=hub\0");
        let answer = caller.ask(b"\x10Svillage\0", "L\0");
        assert!(answer.ends_with(&format!("\x10P{offered}\0")), "{connect}: {answer:?}");
    }
}

#[test]
fn a_modem_that_is_off_or_not_of_this_kind_is_told_apart() {
    let exchange = Exchange::new(&[Setup::number("111")]);
    let port = modem(&exchange.devices[0], "").replace("\"hayes\"", "\"mine.toml\"");
    let village = village(&port, "{ port = \"modem\", phone = \"111\", chat = \"\" }");
    fs::write(village.path("mine.toml"), PROFILE).expect("a file");
    let call = said(&village.try_run(&["call", "hub"], b"", None));
    assert!(call.contains("the modem does not take `ATXYZZY`: is this its profile?"), "{call}");
}

#[test]
fn a_connection_that_is_lost_is_no_end_of_the_mail() {
    let cut = Setup { cut_after: Some(3000), ..Setup::number("222") };
    let exchange = Exchange::new(&[Setup::number("111"), cut]);
    let hub = hub(&exchange, 0);
    let _daemon = hub.daemon(None);
    let village = village(&modem(&exchange.devices[1], ""), "{ port = \"modem\", phone = \"111\" }");
    let mut letter = LETTER.to_vec();
    letter.extend(b"many words\n".repeat(1000));
    village.run(&["sendmail", "alice@hub.example"], &letter);
    let call = village.try_run(&["call", "hub"], b"", None);
    assert_eq!(call.status.code(), Some(75), "{}", said(&call));
    until("both modems are free", || exchange.is_quiet().then_some(()));
    let call = until("the hub waits again", || {
        let call = village.try_run(&["call", "hub"], b"", None);
        call.status.success().then(|| said(&call))
    });
    assert!(call.contains("call complete"), "{call}");
    until("the letter arrives", || (hub.mail("alice").len() == 1).then_some(()));
}

#[test]
fn a_line_that_another_program_has_locked_is_left_alone() {
    let exchange = Exchange::new(&[Setup::number("111")]);
    let locks = tempfile::tempdir().expect("a folder");
    let port = modem(&exchange.devices[0], &format!("locks = \"{}\"", locks.path().display()));
    let village = village(&port, "{ port = \"modem\", phone = \"999\" }");
    let name = exchange.devices[0].strip_prefix("/dev").expect("a device").to_string_lossy().replace('/', "_");
    let lock = locks.path().join(format!("LCK..{name}"));
    fs::write(&lock, format!("{:10}\n", std::process::id())).expect("a lock");
    let call = village.try_run(&["call", "hub"], b"", None);
    assert!(said(&call).contains("is in use by another program"), "{}", said(&call));
    assert_eq!(exchange.commands(0), [""; 0]);
    fs::remove_file(&lock).expect("removed");
    let call = village.try_run(&["call", "hub"], b"", None);
    assert!(said(&call).contains("NO CARRIER"), "{}", said(&call));
    assert!(!lock.exists(), "the lock is removed after the call");
}

#[test]
fn a_modem_can_be_talked_to_by_hand_and_a_login_learnt() {
    let exchange = Exchange::new(&[Setup::number("111"), Setup::number("222")]);
    let hub = hub(&exchange, 0);
    let village = village(&modem(&exchange.devices[1], ""), "{ port = \"modem\", phone = \"111\" }");
    let typed = |words: &[&str], lines: &[(&str, &str)]| {
        let mut command = std::process::Command::new(crate::site::BANGPATH);
        command.args(words).env("BANGPATH_CONFIG", village.config());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let (mut keys, mut screen) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let mut shown = String::new();
        for (wanted, line) in lines {
            while !shown.ends_with(wanted) {
                let mut byte = [0];
                assert_eq!(screen.read(&mut byte).expect("readable"), 1, "{wanted} does not come: {shown}");
                shown.push(char::from(byte[0]));
            }
            keys.write_all(line.as_bytes()).expect("typed");
        }
        screen.read_to_string(&mut shown).expect("readable");
        assert!(child.wait().expect("it ends").success());
        shown
    };
    let shown = typed(&["terminal", "modem"], &[("", "ATI\n"), ("OK\r\n", "~.")]);
    assert!(shown.contains("OK"), "{shown}");

    let _daemon = hub.daemon(None);
    until("the hub waits", || (exchange.commands(0).len() >= 3).then_some(()));
    let login = [("", "ATDT111\n"), ("login: ", "Uvillage\n"), ("Password:", "secret\n"), ("Shere=hub\0", "\n~.")];
    let shown = typed(&["learn", "modem", "--login", "Uvillage"], &login);
    let script = shown.lines().last().expect("a script");
    assert_eq!(script, "chat = '\"\" ATDT111 ogin: \\L assword: \\P'");
}
