//! Calls between Taylor UUCP and us: either calls, with each protocol, over each kind of line.

use std::fs;
use std::sync::atomic::Ordering;

use super::line::{NullModem, inetd};
use super::ours::{Ours, assert_same, noise, until};
use super::taylor::Taylor;

const SIZES: [usize; 10] = [0, 1, 63, 64, 65, 4095, 4096, 4097, 100_000, 1_000_000];

fn our_port(kind: &str, protocol: &str) -> String {
    format!(
        "[port.out]\n{kind}\n\n[sites.hub]\ncall = [{{ port = \"out\" }}]\nprotocols = \"{protocol}\"\nlogin = \"Uvillage\"\n\
         password-file = \"password\"\nmail = {{ relay = true }}\nnews = {{ groups = \"*\" }}\n\n\
         [[mail.route]]\nto = \"*\"\nvia = \"uucp:hub\"\n\n[news]\ncreate = \"*\"\n"
    )
}

fn pipe(argv: &[String]) -> String {
    format!("type = \"pipe\"\ncommand = {argv:?}")
}

const LETTER: &[u8] = b"From ann Mon Jan  5 10:00:00 1998 remote from hub\nSubject: test\n\nHi Alice\n";
const ARTICLE: &[u8] =
    b"Path: hub!not-for-mail\nFrom: ann@hub.example\nNewsgroups: local.test\nSubject: 1\nDate: Mon, 5 Jan 1998 10:00:00 GMT\nMessage-ID: <1@hub.example>\n\nNews\n";

/// Queues everything at both ends: files of every size, a request, mail, news.
fn queue(ours: &Ours, taylor: &Taylor) {
    fs::create_dir_all(ours.public()).expect("a folder");
    for size in SIZES {
        let (here, there) = (ours.folder.path().join(format!("up{size}")), taylor.path(&format!("down{size}")));
        fs::write(&here, noise(size as u64 + 1, size)).expect("a file");
        fs::write(&there, noise(size as u64 + 2, size)).expect("a file");
        ours.run(&["uucp", &here.display().to_string(), "hub!~/"], b"");
        taylor.uucp(&[&there.display().to_string(), "village!~/"]);
    }
    fs::write(ours.public().join("ours"), "ours\n").expect("a file");
    fs::write(taylor.path("pub/theirs"), "theirs\n").expect("a file");
    ours.run(&["uucp", "hub!~/theirs", "~/"], b"");
    taylor.uucp(&["village!~/ours", &taylor.path("pub/").display().to_string()]);
    ours.run(&["sendmail", "-f", "alice@village.example", "bob@hub.example"], b"Subject: up\n\nHello Bob\n");
    taylor.uux(&["-", "village!rmail", "(alice)"], LETTER);
    let batch = [format!("#! rnews {}\n", ARTICLE.len()).as_bytes(), ARTICLE].concat();
    taylor.uux(&["-", "village!rnews"], &batch);
    let article = String::from_utf8_lossy(ARTICLE).replace("hub", "elsewhere").replace("<1@", "<2@");
    ours.run(&["rnews"], article.as_bytes());
}

/// Everything is where it belongs, byte for byte.
fn check(ours: &Ours, taylor: &Taylor) {
    for size in SIZES {
        assert_same(&taylor.path(&format!("pub/up{size}")), &noise(size as u64 + 1, size));
        assert_same(&ours.public().join(format!("down{size}")), &noise(size as u64 + 2, size));
    }
    assert_same(&ours.public().join("theirs"), b"theirs\n");
    assert_same(&taylor.path("pub/ours"), b"ours\n");
    let letter = until(
        "the letter",
        || Some(ours.try_run(&["mailbox", "show", "alice"], b"")).filter(|o| o.status.success()),
        String::new,
    );
    let letter = String::from_utf8_lossy(&letter.stdout).into_owned();
    assert!(
        letter.starts_with("Received: from hub by village.example") && letter.ends_with("Subject: test\n\nHi Alice\n"),
        "{letter}"
    );
    assert!(ours.run(&["group", "list"], b"").contains("local.test"), "the article has come");
    let mail = taylor.execute("mail.");
    assert_eq!(mail.len(), 1);
    let mail = String::from_utf8_lossy(&mail[0]).into_owned();
    assert!(
        mail.starts_with("ARGS bob@hub.example\nFrom alice@village.example ")
            && mail.contains(" remote from village\n"),
        "{mail}"
    );
    assert!(mail.ends_with("\n\nHello Bob\n"), "{mail}");
    let news = taylor.execute("news.");
    assert_eq!(news.len(), 1, "one batch");
    assert!(news[0].starts_with(b"#! gunbatch\n\x1f\x8b"));
    assert_eq!(ours.run(&["queue", "list", "--json"], b"").trim(), "[]", "nothing is left");
}

fn complete(output: &std::process::Output) {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("call complete"),
        "{text} {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn we_call_over_a_pipe(protocol: &str) {
    let Some(taylor) = Taylor::new("hub", "village", "type stdin", &format!("protocol {protocol}")) else { return };
    let ours = Ours::new("village", "");
    fs::write(ours.folder.path().join("password"), "secret\n").expect("a file");
    ours.configure(&our_port(&pipe(&taylor.uucico()), protocol));
    queue(&ours, &taylor);
    complete(&ours.call("hub"));
    check(&ours, &taylor);
}

fn taylor_calls_over_a_pipe(protocol: &str) {
    let ours = Ours::new("village", "");
    fs::write(ours.folder.path().join("password"), "secret\n").expect("a file");
    ours.configure(&our_port("type = \"tcp\"\naddress = \"127.0.0.1:1\"", protocol));
    let port = format!("type pipe\ncommand {}", ours.uucico().join(" "));
    let Some(taylor) = Taylor::new("hub", "village", &port, &format!("protocol {protocol}")) else { return };
    queue(&ours, &taylor);
    let output = taylor.call("village");
    assert!(output.status.success(), "{}", taylor.log());
    check(&ours, &taylor);
}

#[test]
fn we_call_taylor_with_t() {
    we_call_over_a_pipe("t");
}

#[test]
fn we_call_taylor_with_g() {
    we_call_over_a_pipe("g");
}

#[test]
fn we_call_taylor_with_i() {
    we_call_over_a_pipe("i");
}

#[test]
fn taylor_calls_us_with_t() {
    taylor_calls_over_a_pipe("t");
}

#[test]
fn taylor_calls_us_with_g() {
    taylor_calls_over_a_pipe("g");
}

#[test]
fn taylor_calls_us_with_i() {
    taylor_calls_over_a_pipe("i");
}

#[test]
fn we_call_taylor_with_e() {
    we_call_over_a_pipe("e");
}

#[test]
fn we_call_taylor_with_y() {
    we_call_over_a_pipe("y");
}

#[test]
fn taylor_calls_us_with_e() {
    taylor_calls_over_a_pipe("e");
}

#[test]
fn taylor_calls_us_with_y() {
    taylor_calls_over_a_pipe("y");
}

#[test]
fn we_call_taylor_with_g_large() {
    we_call_over_a_pipe("G");
}

#[test]
fn taylor_calls_us_with_g_large() {
    taylor_calls_over_a_pipe("G");
}

#[test]
fn we_call_taylor_with_v() {
    we_call_over_a_pipe("v");
}

#[test]
fn taylor_calls_us_with_v() {
    taylor_calls_over_a_pipe("v");
}

#[test]
fn we_call_taylor_with_f() {
    we_call_over_a_pipe("f");
}

#[test]
fn taylor_calls_us_with_f() {
    taylor_calls_over_a_pipe("f");
}

#[test]
fn we_call_taylor_with_j() {
    we_call_over_a_pipe("j");
}

#[test]
fn taylor_calls_us_with_j() {
    taylor_calls_over_a_pipe("j");
}

#[test]
fn we_call_taylor_with_a() {
    we_call_over_a_pipe("a");
}

#[test]
fn taylor_calls_us_with_a() {
    taylor_calls_over_a_pipe("a");
}

#[test]
fn we_log_in_to_taylor_over_tcp() {
    for protocol in ["t", "g", "i", "e", "y", "G", "v", "f", "j", "a"] {
        let Some(taylor) =
            Taylor::new("hub", "village", "type stdin", &format!("called-login Uvillage\nprotocol {protocol}"))
        else {
            return;
        };
        let (address, _) = inetd(taylor.uucico_with_login(), Vec::new());
        let ours = Ours::new("village", "");
        fs::write(ours.folder.path().join("password"), "secret\n").expect("a file");
        ours.configure(&our_port(&format!("type = \"tcp\"\naddress = \"{address}\""), protocol));
        queue(&ours, &taylor);
        complete(&ours.call("hub"));
        check(&ours, &taylor);
    }
}

/// Taylor calls our daemon, which asks for a login or does not.
fn taylor_calls_over_tcp(protocol: &str, login: bool) {
    let listen = format!(
        "[listen]\nuucp = \"127.0.0.1:0\"\nuucp-login = {login}\n\n[sites.hub]\nprotocols = \"{protocol}\"\nmail = {{ relay = true }}\nnews = {{ groups = \"*\" }}\n\n[[mail.route]]\nto = \"*\"\nvia = \"uucp:hub\"\n\n[news]\ncreate = \"*\"\n"
    );
    let ours = Ours::new("village", &listen);
    ours.run(&["user", "add", "hub", "--password-stdin"], b"hubsecret\n");
    let _daemon = ours.daemon();
    let address = ours.address("uucp ");
    let (_, port) = address.rsplit_once(':').expect("a port");
    let chat = if login {
        "chat \"\" \\r\\c ogin:-\\r\\c-ogin: \\L word: \\P\ncall-login hub\ncall-password hubsecret"
    } else {
        ""
    };
    let more = format!("address 127.0.0.1\nprotocol {protocol}\n{chat}");
    let Some(taylor) = Taylor::new("hub", "village", &format!("type tcp\nservice {port}"), &more) else { return };
    queue(&ours, &taylor);
    let output = taylor.call("village");
    assert!(output.status.success(), "{}", taylor.log());
    check(&ours, &taylor);
}

#[test]
fn taylor_calls_our_daemon_over_tcp() {
    for protocol in ["t", "g", "i", "e", "y", "G", "v", "f", "j", "a"] {
        taylor_calls_over_tcp(protocol, false);
    }
}

#[test]
fn taylor_logs_in_to_our_daemon_over_tcp() {
    for protocol in ["t", "g", "i", "e", "y", "G", "v", "f", "j", "a"] {
        taylor_calls_over_tcp(protocol, true);
    }
}

#[test]
fn a_wrong_password_is_refused_and_nothing_is_lost() {
    let Some(taylor) = Taylor::new("hub", "village", "type stdin", "called-login Uvillage") else { return };
    let (address, _) = inetd(taylor.uucico_with_login(), Vec::new());
    let ours = Ours::new("village", "");
    fs::write(ours.folder.path().join("password"), "wrong\n").expect("a file");
    let port =
        format!("type = \"tcp\"\naddress = \"{address}\"\nchat = 'ogin: \\L word: \\P'\nchat-fail = [\"incorrect\"]");
    ours.configure(&our_port(&port, "i"));
    ours.run(&["sendmail", "-f", "alice@village.example", "bob@hub.example"], b"Subject: up\n\nHello\n");
    let output = ours.call("hub");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("wrong\n") && said.starts_with("bangpath: "), "{said}");
    assert!(ours.run(&["queue", "list"], b"").contains("bob@hub.example"));
}

/// `protocol` is what both are told to use; empty: whatever they find in common.
fn over_a_null_modem(protocol: &str, we_call: bool) {
    let modem = NullModem::new();
    let [near, far] = modem.devices.clone().map(|d| d.display().to_string());
    let ours = Ours::new("village", "");
    fs::write(ours.folder.path().join("password"), "secret\n").expect("a file");
    // As fast as a pty is: a million bytes at 115200 would take a minute and a half.
    let serial = format!("type = \"serial\"\ndevice = \"{near}\"\nspeed = 4000000");
    ours.configure(&our_port(&serial, protocol).replace("protocols = \"\"\n", ""));
    let port = format!("type direct\ndevice {far}\nspeed 115200\nhardflow false");
    let list = if protocol.is_empty() { String::new() } else { format!("protocol {protocol}") };
    let Some(taylor) = Taylor::new("hub", "village", &port, &list) else { return };
    queue(&ours, &taylor);
    let (words, device, calling_end) = match we_call {
        true => (taylor.uucico(), &far, 0),
        false => (ours.uucico(), &near, 1),
    };
    let mut answering = std::thread::scope(|scope| {
        let calling = scope.spawn(|| if we_call { ours.call("hub") } else { taylor.call("village") });
        // As a getty: it answers when somebody is on the line.
        until("the caller opens the line", || modem.is_open(calling_end).then_some(()), String::new);
        let open = || fs::OpenOptions::new().read(true).write(true).open(device).expect("the pty");
        let answering = std::process::Command::new(&words[0])
            .args(&words[1..])
            .stdin(open())
            .stdout(open())
            .spawn()
            .expect("it starts");
        let output = calling.join().expect("the call ends");
        if we_call {
            complete(&output);
        } else {
            assert!(output.status.success(), "{}", taylor.log());
        }
        answering
    });
    until("the answering program ends", || answering.try_wait().expect("a child").map(drop), || taylor.log());
    check(&ours, &taylor);
}

#[test]
fn we_call_taylor_over_a_serial_line() {
    for protocol in ["t", "g", "i", "e", "y", "G", "v", "f", "j", "a"] {
        over_a_null_modem(protocol, true);
    }
}

#[test]
fn taylor_calls_us_over_a_serial_line() {
    for protocol in ["t", "g", "i", "e", "y", "G", "v", "f", "j", "a"] {
        over_a_null_modem(protocol, false);
    }
}

#[test]
fn taylor_is_not_disturbed_by_the_letter_of_the_line_test() {
    over_a_null_modem("", false);
    over_a_null_modem("", true);
}

/// The line is cut in the middle of a million bytes; the next call moves the rest, and 64 kB at most beside it.
fn cut(protocol: &str, percent: u64, from_us: bool) {
    let Some(taylor) = Taylor::new("hub", "village", "type stdin", &format!("protocol {protocol}")) else { return };
    let limit = percent * 10_000;
    let (address, carried) = inetd(taylor.uucico(), vec![limit]);
    let ours = Ours::new("village", "");
    fs::write(ours.folder.path().join("password"), "secret\n").expect("a file");
    ours.configure(&our_port(&format!("type = \"tcp\"\naddress = \"{address}\"\nchat = \"\""), protocol));
    let bytes = noise(percent, 1_000_000);
    if from_us {
        let file = ours.folder.path().join("big");
        fs::write(&file, &bytes).expect("a file");
        ours.run(&["uucp", &file.display().to_string(), "hub!~/"], b"");
    } else {
        fs::write(taylor.path("big"), &bytes).expect("a file");
        taylor.uucp(&["-C", &taylor.path("big").display().to_string(), "village!~/"]);
    }
    let output = ours.call("hub");
    assert!(!output.status.success(), "the first call is cut");
    let counter = if from_us { &carried.forth } else { &carried.back };
    let first = counter.swap(0, Ordering::SeqCst).min(limit);
    // Taylor keeps the lock of a call until it has noticed that the line is dead.
    let complete = until("the second call", || Some(ours.call("hub")).filter(|o| o.status.success()), || taylor.log());
    drop(complete);
    let second = counter.load(Ordering::SeqCst);
    let place = if from_us { taylor.path("pub/big") } else { ours.public().join("big") };
    assert_same(&place, &bytes);
    let overhead = if protocol == "g" { 140 } else { 102 };
    let allowed = (1_000_000 - first * 100 / overhead + 64_000) * overhead / 100 + 4_000;
    assert!(
        second <= allowed,
        "{protocol} {percent} %: {second} bytes in the second call, {first} in the first; allowed {allowed}"
    );
}

#[test]
fn cut_files_go_on_where_they_stopped_when_we_send() {
    for protocol in ["t", "g", "i", "e", "y"] {
        for percent in [25, 50, 75] {
            cut(protocol, percent, true);
        }
    }
}

#[test]
fn cut_files_go_on_where_they_stopped_when_taylor_sends() {
    for protocol in ["t", "g", "i", "e", "y"] {
        for percent in [25, 50, 75] {
            cut(protocol, percent, false);
        }
    }
}

#[test]
fn what_taylor_refuses_is_told_to_its_user_and_kept() {
    let Some(taylor) = Taylor::new("hub", "village", "type stdin", "protocol i") else { return };
    let ours = Ours::new("village", "");
    fs::write(ours.folder.path().join("password"), "secret\n").expect("a file");
    ours.configure(&our_port(&pipe(&taylor.uucico()), "i"));
    let who = std::process::Command::new("id").arg("-un").output().expect("our name");
    let user = String::from_utf8_lossy(&who.stdout).trim().to_owned();
    ours.run(&["user", "add", &user], b"");
    ours.run(&["uucp", &ours.config.display().to_string(), "hub!/etc/motd"], b"");
    complete(&ours.call("hub"));
    assert!(ours.mail(&user).contains("/etc/motd"));
    assert!(ours.run(&["dead", "list"], b"").contains("/etc/motd"));
}
