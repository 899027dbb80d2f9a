//! Calls over telnet, Unix sockets, and sockets that somebody else has opened: inetd, systemd.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use bangpath::base::limits::WRONG_LOGINS_MAX;
use bangpath::daemon;
use bangpath::store::{Change, Store, StoreError};

use super::exchange::raw_pty;
use crate::site::{BANGPATH, Site, said, until};

/// A hub whose neighbour the village logs in as `Uvillage`.
fn hub(rest: &str) -> Site {
    let hub = Site::new("hub", &format!("{rest}\n[sites.village]\ncalled-login = \"Uvillage\"\n"));
    hub.run(&["user", "add", "Uvillage", "--password", "secret"], b"");
    hub
}

fn village(port: &str) -> Site {
    let rest = format!(
        "[port.out]\n{port}\n[sites.hub]\ncall = [{{ port = \"out\" }}]\nlogin = \"Uvillage\"\npassword-file = \"pass\"\n\
         [[mail.route]]\nto = \"*\"\nvia = \"uucp:hub\"\n"
    );
    let village = Site::new("village", &rest);
    fs::write(village.path("pass"), "secret\n").expect("a file");
    village
}

/// A letter with every byte value goes from the village to the hub.
fn call(village: &Site, hub: &Site) {
    let mut letter = b"From: bob@village.example\nSubject: test\n\n".to_vec();
    letter.extend((1..=255).filter(|byte| !matches!(byte, b'\r' | b'\n')));
    letter.extend(b"\xff\xff\xff\xfb\x01\n");
    village.run(&["sendmail", "alice@hub.example"], &letter);
    let call = village.try_run(&["call", "hub"], b"", None);
    let log = fs::read_to_string(hub.path("log")).unwrap_or_default();
    assert!(call.status.success(), "{}: {log}", said(&call));
    until("the letter arrives", || (hub.mail("alice").len() == 1).then_some(()));
}

#[test]
fn a_call_over_telnet_passes_every_byte() {
    let hub = hub("[listen]\nuucp-telnet = \"127.0.0.1:0\"\nuucp-login = false");
    let daemon = hub.daemon(None);
    let address = daemon.address("uucp-telnet").expect("it listens");
    call(&village(&format!("type = \"tcp\"\ntelnet = true\naddress = \"{address}\"")), &hub);
}

#[test]
fn a_telnet_client_is_recognised_where_a_login_is_asked_for() {
    let hub = hub("[listen]\nuucp = \"127.0.0.1:0\"");
    let daemon = hub.daemon(None);
    let address = daemon.address("uucp ").expect("it listens");
    call(&village(&format!("type = \"tcp\"\ntelnet = true\naddress = \"{address}\"")), &hub);
}

#[test]
fn a_caller_that_sets_the_line_is_answered_and_the_speed_it_names_is_that_of_the_call() {
    let hub = hub("[listen]\nuucp-telnet = \"127.0.0.1:0\"");
    let daemon = hub.daemon(None);
    let address = daemon.address("uucp-telnet").expect("it listens");
    let port = format!("type = \"serial\"\nserver = \"{address}\"\nspeed = 38400\nreliable = true");
    call(&village(&format!("{port}\nchat = '\"\" \\r ogin:--ogin: \\L word: \\P'")), &hub);
    // How much of the line a call made use of is known only where its speed is.
    let statistics = hub.run(&["site", "statistics", "village", "--json"], b"");
    assert!(statistics.contains("\"answered\": 1") && !statistics.contains("\"line_share\": null"), "{statistics}");
}

#[test]
fn a_caller_that_wants_to_hear_nothing_and_goes_leaves_its_place_to_others() {
    let hub = hub("[listen]\nuucp-telnet = \"127.0.0.1:0\"");
    let daemon = hub.daemon(None);
    let mut caller = TcpStream::connect(daemon.address("uucp-telnet").expect("it listens")).expect("a connection");
    // WILL COM-PORT-OPTION, FLOWCONTROL-SUSPEND (RFC 2217 section 5): what is to be said from now on cannot be.
    caller.write_all(b"\xff\xfb\x2c\xff\xfa\x2c\x08\xff\xf0").expect("it listens");
    drop(caller);
    let log = || fs::read_to_string(hub.path("log")).unwrap_or_default();
    until("the call is over", || log().contains("the caller hung up during the login").then_some(()));
}

#[test]
fn a_unix_socket_serves_our_group_and_replaces_what_a_dead_daemon_left() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("uucp.sock");
    let hub = hub(&format!("[listen]\nuucp = \"{}\"", path.display()));
    // Nobody listens any more.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
    let daemon = hub.daemon(None);
    let mode = fs::metadata(&path).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    call(&village(&format!("type = \"tcp\"\naddress = \"{}\"", path.display())), &hub);
    daemon.stop();
    assert!(!path.exists(), "it goes with the daemon");
    // What is no socket is somebody's file.
    fs::write(&path, "precious").expect("a file");
    let refused = hub.try_run(&["run"], b"", None);
    assert!(said(&refused).contains("cannot listen on"), "{}", said(&refused));
    assert_eq!(fs::read(&path).expect("it stays"), b"precious");
}

/// `uucico` on a socket as inetd gives it: as standard input, output and error.
fn answer_as_inetd(hub: &Site, words: &[&str], listener: TcpListener) -> std::thread::JoinHandle<bool> {
    let mut command = Command::new(BANGPATH);
    command.args(["uucico", "-I"]).arg(hub.config()).args(words).env("BANGPATH_LOG", "bangpath=trace");
    std::thread::spawn(move || {
        let (socket, _) = listener.accept().expect("a caller");
        let socket = OwnedFd::from(socket);
        let clone = || Stdio::from(socket.try_clone().expect("a descriptor"));
        let status = command.stdin(clone()).stdout(clone()).stderr(clone()).status();
        status.expect("uucico starts").success()
    })
}

#[test]
fn inetd_gives_us_its_socket_and_no_word_of_the_log_goes_to_the_caller() {
    // A getty has asked for the name, in the last.
    let after_getty = "chat = 'word: \\P'";
    for (words, chat) in
        [(&["-l"][..], ""), (&["-u", "Uvillage"], "chat = \"\""), (&["-l", "-u", "Uvillage"], after_getty)]
    {
        let hub = hub("");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let answering = answer_as_inetd(&hub, words, listener);
        call(&village(&format!("type = \"tcp\"\naddress = \"{address}\"\n{chat}")), &hub);
        assert!(answering.join().expect("no panic"), "{words:?}");
    }
}

#[test]
fn the_log_of_an_inetd_call_is_not_heard_by_whoever_calls() {
    let hub = hub("");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut caller = TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
    let answering = answer_as_inetd(&hub, &["-l"], listener);
    caller.write_all(b"\xff\xfd\x03Uvillage\r\0secret\r\0").expect("said");
    caller.shutdown(std::net::Shutdown::Write).expect("closed");
    let mut heard = Vec::new();
    caller.read_to_end(&mut heard).expect("heard");
    // Prompts, our offers, the first word of the session, in the order in which words come and go; and nothing of the trace
    // that was asked for.
    let said = [r"\xff\xfb\x03\xff\xfd\x03\xff\xfb\x00\xff\xfd\x00", "login: ", "Password:", r"\x10Shere=hub\x00"];
    let shown = heard.escape_ascii().to_string();
    let rest = said.iter().fold(shown.clone(), |rest, words| rest.replacen(words, "", 1));
    assert!(rest.is_empty() && shown.contains("login: "), "{shown}");
    let _ = answering.join();
}

#[test]
fn systemd_passes_sockets_and_hears_how_we_are() {
    let hub = hub("[listen]\nnntp = \"127.0.0.1:0\"");
    let told = UnixDatagram::bind(hub.path("notify")).expect("a socket");
    told.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    let hear = || {
        let mut datagram = [0; 100];
        let count = told.recv(&mut datagram).expect("it tells");
        String::from_utf8_lossy(&datagram[..count]).into_owned()
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    // The process id must be that of the daemon, so a shell becomes it.
    let mut daemon = Command::new("sh")
        .args(["-c", "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=uucp exec \"$@\"", "sh"])
        .args([BANGPATH, "run", "-c"])
        .arg(hub.config())
        .env("NOTIFY_SOCKET", hub.path("notify"))
        .stdin(OwnedFd::from(listener))
        .stderr(fs::File::create(hub.path("log")).expect("a file"))
        .spawn()
        .expect("it starts");
    assert_eq!(hear(), "READY=1");
    let listening = fs::read_to_string(hub.spool().join("listening")).expect("it listens");
    assert!(listening.starts_with(&format!("uucp {address}\nnntp 127.0.0.1:")), "{listening}");
    let flags = fs::read_to_string(format!("/proc/{}/fdinfo/3", daemon.id())).expect("the socket");
    // O_CLOEXEC, octal: no program of a port keeps it.
    let flags = flags.lines().find_map(|l| l.strip_prefix("flags:")).expect("flags").trim().to_owned();
    assert_ne!(i32::from_str_radix(&flags, 8).expect("octal") & nix::libc::O_CLOEXEC, 0);
    call(&village(&format!("type = \"tcp\"\naddress = \"{address}\"")), &hub);
    let id = nix::unistd::Pid::from_raw(daemon.id() as i32);
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM).expect("it runs");
    assert_eq!(hear(), "STOPPING=1");
    assert!(daemon.wait().expect("it ends").success());
}

/// Says a wrong login and hangs up; whether it was heard at all.
fn guess(address: &str) -> bool {
    let mut caller = TcpStream::connect(address).expect("connected");
    caller.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    let mut hear = |words: &[u8]| {
        let mut heard = Vec::new();
        let mut byte = [0];
        while !heard.ends_with(words) {
            match caller.read(&mut byte) {
                Ok(1) => heard.push(byte[0]),
                Ok(_) | Err(_) => return false,
            }
        }
        let said = if words == b"login: " { "Uvillage\r" } else { "guess\r" };
        caller.write_all(said.as_bytes()).is_ok()
    };
    hear(b"login: ") && hear(b"Password:")
}

#[test]
fn who_guesses_logins_is_not_heard_for_a_while_on_any_port() {
    let hub = hub("[listen]\nuucp = \"127.0.0.1:0\"\nuucp-telnet = \"127.0.0.1:0\"\nnntp = \"127.0.0.1:0\"");
    let daemon = hub.daemon(None);
    let [uucp, telnet] = ["uucp ", "uucp-telnet"].map(|service| daemon.address(service).expect("it listens"));
    let mut heard = 0;
    until("it is barred", || {
        let address = if heard % 2 == 0 { &uucp } else { &telnet };
        match guess(address) {
            true => heard += 1,
            false => return Some(()),
        }
        None
    });
    // More may have been let in while the first were looked at, but of theirs nothing is looked at.
    assert!(heard >= WRONG_LOGINS_MAX, "{heard}");
    assert!(!guess(&uucp) && !guess(&telnet));
    let mut reader = crate::site::Client::connect(&daemon.address("nntp").expect("it listens")).expect("connected");
    assert!(reader.hear().expect("a greeting").starts_with("20"), "where there is no login nobody is barred");
}

/// A wrong login of before.
pub fn guess_wrong(store: &Store, origin: &str) {
    let guess = |change: &mut Change<'_>| {
        let Ok(login) = change.count_login(origin, daemon::now().wall)? else { panic!("barred") };
        change.judge_login(login, false)
    };
    store.write::<_, StoreError>(guess).expect("a store");
}

fn guessed(hub: &Site, origin: &str, times: usize) {
    let store = hub.store();
    (0..times).for_each(|_| guess_wrong(&store, origin));
}

#[test]
fn many_callers_of_one_address_log_in_at_once() {
    let hub = hub("[listen]\nuucp = \"127.0.0.1:0\"");
    let daemon = hub.daemon(None);
    let address = daemon.address("uucp ").expect("it listens");
    let callers = (0..4 * WRONG_LOGINS_MAX).map(|_| {
        let address = address.clone();
        std::thread::spawn(move || {
            let mut caller = TcpStream::connect(address).expect("connected");
            caller.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
            let mut heard = String::new();
            for (wanted, word) in [("login: ", "Uvillage\r"), ("Password:", "secret\r"), ("Shere=hub", "")] {
                while !heard.ends_with(wanted) {
                    let mut byte = [0];
                    assert_eq!(caller.read(&mut byte).expect("heard"), 1, "{heard}");
                    heard.push(char::from(byte[0]));
                }
                caller.write_all(word.as_bytes()).expect("said");
            }
        })
    });
    let callers: Vec<_> = callers.collect();
    callers.into_iter().for_each(|caller| caller.join().expect("it is let in"));
}

#[test]
fn who_guesses_logins_is_not_heard_by_processes_of_their_own_either() {
    let hub = hub("");
    guessed(&hub, "127.0.0.1", WRONG_LOGINS_MAX - 1);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    for wanted in [true, false] {
        let address = listener.local_addr().expect("an address").to_string();
        let guessing = std::thread::spawn(move || guess(&address));
        let (caller, _) = listener.accept().expect("a caller");
        let input = OwnedFd::from(caller.try_clone().expect("a descriptor"));
        let mut uucico = Command::new(BANGPATH);
        uucico.args(["uucico", "-l", "-I"]).arg(hub.config()).stdin(input).stdout(OwnedFd::from(caller));
        let mut running = uucico.spawn().expect("it runs");
        // What we have of the connection would keep it open.
        drop(uucico);
        assert_eq!(guessing.join().expect("no panic"), wanted);
        running.wait().expect("it ends");
    }
}

#[test]
fn nobody_is_heard_on_a_terminal_on_which_logins_are_guessed() {
    let hub = hub("");
    let (device, terminal, _far) = raw_pty();
    guessed(&hub, &format!("terminal {}", device.display()), WRONG_LOGINS_MAX);
    let mut uucico = Command::new(BANGPATH);
    uucico.args(["uucico", "-l", "-I"]).arg(hub.config()).stdin(terminal).stdout(Stdio::null());
    let ended = uucico.stderr(Stdio::piped()).output().expect("it runs");
    assert_eq!(ended.status.code(), Some(75));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("too many wrong logins"), "{ended:?}");
}
