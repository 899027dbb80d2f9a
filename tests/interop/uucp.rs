//! Calls between Taylor UUCP and us that go wrong: refused, cut, and gone on with.

use std::fs;
use std::sync::atomic::Ordering;

use super::line::inetd;
use super::matrix::{complete, our_port, pipe, village};
use super::ours::{Ours, assert_same, noise, until};
use super::taylor::Taylor;

#[test]
fn taylor_calls_our_daemon_that_asks_for_no_login() {
    let config = our_port("type = \"tcp\"\naddress = \"127.0.0.1:1\"", "i");
    let ours = village();
    ours.configure(&format!("[listen]\nuucp = \"127.0.0.1:0\"\nuucp-login = false\n\n{config}"));
    let _daemon = ours.daemon();
    let address = ours.address("uucp ");
    let (_, port) = address.rsplit_once(':').expect("a port");
    let port = format!("type tcp\nservice {port}");
    let Some(taylor) = Taylor::new("hub", "village", &port, "address 127.0.0.1\nprotocol i") else { return };
    fs::write(taylor.path("file"), "theirs\n").expect("a file");
    taylor.uucp(&[&taylor.path("file").display().to_string(), "village!~/"]);
    let output = taylor.call("village");
    assert!(output.status.success(), "{}", taylor.log());
    assert_same(&ours.public().join("file"), b"theirs\n");
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

/// The line is cut in the middle of a million bytes; the next call moves the rest, and 64 kB at most beside it.
fn cut(protocol: &str, percent: u64, from_us: bool) {
    let Some(taylor) = Taylor::new("hub", "village", "type stdin", &format!("protocol {protocol}")) else { return };
    let limit = percent * 10_000;
    let (address, carried) = inetd(taylor.uucico(), vec![limit]);
    let ours = village();
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
    // j writes some bytes as two; in a small packet of g and G much is not the file's.
    let overhead = if matches!(protocol, "g" | "G" | "j") { 140 } else { 102 };
    let allowed = (1_000_000 - first * 100 / overhead + 64_000) * overhead / 100 + 4_000;
    assert!(
        second <= allowed,
        "{protocol} {percent} %: {second} bytes in the second call, {first} in the first; allowed {allowed}"
    );
}

/// The call in which one of us fetches from another is cut at half of a million bytes; gives what came in the next one.
fn fetch_after_a_cut(protocol: &str, meanwhile: impl Fn(&std::path::Path)) -> u64 {
    let hub = Ours::new("hub", &format!("[sites.village]\nprotocols = \"{protocol}\"\n"));
    let (address, carried) = inetd(hub.uucico(), vec![500_000]);
    let ours = village();
    let statistics = ours.folder.path().join("Stats");
    let port = our_port(&format!("type = \"tcp\"\naddress = \"{address}\"\nchat = \"\""), protocol);
    ours.configure(&format!("taylor-stats = {statistics:?}\n\n{port}"));
    let there = hub.public().join("big");
    fs::create_dir_all(hub.public()).expect("a folder");
    fs::write(&there, noise(1, 1_000_000)).expect("a file");
    let here = ours.folder.path().join("fetched");
    ours.run(&["uucp", "hub!~/big", &here.display().to_string()], b"");
    assert!(!ours.call("hub").status.success(), "the first call is cut");
    carried.back.store(0, Ordering::SeqCst);
    meanwhile(&there);
    until("the second call", || Some(ours.call("hub")).filter(|o| o.status.success()), || "it fails".to_owned());
    assert_same(&here, &fs::read(&there).expect("their file"));
    let left = fs::read_dir(ours.folder.path().join("spool/partial")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "{protocol}: nothing is left of what came first");
    let told = fs::read_to_string(&statistics).expect("statistics");
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].contains(" hub (20") && lines[0].contains(") failed after received "), "{told}");
    assert!(lines.last().is_some_and(|line| line.contains(") received ")), "{told}");
    carried.back.load(Ordering::SeqCst)
}

#[test]
fn a_file_that_one_of_us_fetches_from_another_goes_on_where_it_stopped() {
    for protocol in ["t", "g", "i", "e", "y", "G", "v", "j", "a"] {
        let came = fetch_after_a_cut(protocol, |_| {});
        assert!(came < 680_000, "{protocol}: {came} bytes in the second call");
    }
    // Of the same name and size, it is another one.
    for protocol in ["t", "i"] {
        let came = fetch_after_a_cut(protocol, |file| fs::write(file, noise(2, 1_000_000)).expect("a file"));
        assert!(came > 1_000_000, "{protocol}: {came} bytes in the second call");
    }
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
fn cut_files_go_on_with_the_rarer_protocols_too() {
    for protocol in ["G", "v", "j", "a"] {
        for from_us in [true, false] {
            cut(protocol, 50, from_us);
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
    let ours = village();
    ours.configure(&our_port(&pipe(&taylor.uucico()), "i"));
    let who = std::process::Command::new("id").arg("-un").output().expect("our name");
    let user = String::from_utf8_lossy(&who.stdout).trim().to_owned();
    ours.run(&["user", "add", &user], b"");
    ours.run(&["uucp", &ours.config.display().to_string(), "hub!/etc/motd"], b"");
    complete(&ours.call("hub"));
    assert!(ours.mail(&user).contains("/etc/motd"));
    assert!(ours.run(&["dead", "list"], b"").contains("/etc/motd"));
}
