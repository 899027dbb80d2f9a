//! Commands as people and programs use them: help, exit statuses, what is said.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bangpath::store::ledger::Fact;
use bangpath::store::{Store, StoreError};
use nix::sys::signal::{Signal, kill};

use crate::site::{BANGPATH, Site, said, until};

const LETTER: &[u8] = b"Subject: hi\n\nHello\n";

/// The status, and what was said on standard output and standard error.
fn check(site: &Site, words: &[&str], input: &[u8], status: i32, expected: &str) {
    let output = site.try_run(words, input, None);
    let told = said(&output);
    assert_eq!(output.status.code(), Some(status), "{words:?}: {told}");
    assert!(told.contains(expected), "{words:?}: {told}");
}

#[test]
fn classic_commands_say_what_they_take_and_keep_their_own_options() {
    let site = Site::new("village", "[sites.hub]\n");
    let classic = [
        "uucico", "uux", "uucp", "uuname", "rmail", "rsmtp", "bsmtp", "rcsmtp", "csmtp", "rgsmtp", "gsmtp", "rnews",
        "sendmail",
    ];
    for name in classic {
        check(&site, &[name, "--help"], b"", 0, &format!("Usage: {name} "));
        check(&site, &[name, "--version"], b"", 0, "(bangpath) 0.");
    }
    // Letters that are options of bangpath elsewhere.
    let file = site.path("file");
    fs::write(&file, "x").expect("a file");
    site.run(&["uucp", "-c", &file.display().to_string(), "hub!~/"], b"");
    site.run(&["sendmail", "-v", "-oi", "-oem", "-odb", "-N", "never", "-fann@village.example", "alice"], LETTER);
    assert_eq!((site.queued(), site.mail("alice").len()), (1, 1));
    let config = site.config().display().to_string();
    site.run(&["-c", &config, "sendmail", "-t"], b"To: alice\n\nHello\n");
    site.run(&["sendmail", "-I", &config, "--", "alice"], LETTER);
    assert_eq!(site.mail("alice").len(), 3);
}

#[test]
fn an_address_that_cannot_be_one_is_refused_at_once() {
    let site = Site::new("village", "");
    check(&site, &["sendmail", "a@b@c"], LETTER, 65, "a@b@c: bad address: it holds a second @");
    check(&site, &["sendmail", "-t"], b"To: bob@@x\n\nHello\n", 65, "bad address");
    assert_eq!((site.queued(), site.dead().len()), (0, 0));
}

#[test]
fn a_mixed_address_is_read_as_by_who_will_carry_it() {
    let site = Site::new("village", "[sites.hub]\n\n[sites.far]\n\n[[mail.route]]\nto = \"*\"\nvia = \"uucp:hub\"\n");
    check(&site, &["route", "far!x@hub.example"], b"", 0, "over UUCP to hub: rmail hub.example!far!x");
    check(&site, &["route", "--rmail", "far!x@hub.example"], b"", 0, "over UUCP to far: rmail x@hub.example");
}

#[test]
fn a_dead_letter_that_is_tried_again_tells_what_became_of_it() {
    let site = Site::new("village", "");
    // From nobody and for nobody: there is nobody to tell.
    site.run(&["sendmail", "-f", "<>", "carol"], LETTER);
    check(&site, &["dead", "retry", "1"], b"", 0, "routed anew: failed again for 1 recipient");
    site.add_user("carol", None);
    check(&site, &["dead", "retry", "2"], b"", 0, "routed anew: delivered to 1 local user");
    assert_eq!((site.mail("carol").len(), site.dead().len()), (1, 0));
    check(&site, &["dead", "retry", "2"], b"", 69, "no dead letter 2");
}

#[test]
fn a_refused_caller_is_told_of_by_name_and_login_and_no_password_is() {
    let site = Site::new("hub", "[sites.village]\ncalled-login = \"Uvillage\"\n");
    site.add_user("Uvillage", Some(bangpath::base::password::record("right").expect("a record")));
    let uucico = |words: &[&str], input: &[u8]| {
        let config = site.config().display().to_string();
        let output = site.try_run(&[&["uucico", "-I", &config], words].concat(), input, None);
        assert_ne!(output.status.code(), Some(0));
        let told = said(&output);
        assert!(!told.contains("sesame"), "{told}");
        told
    };
    let wrong = "it came in by login `Uother`, and its login is `Uvillage`";
    assert!(uucico(&["-u", "Uother"], b"\x10Svillage\0").contains(wrong));
    assert!(site.run(&["site", "show", "village"], b"").contains(wrong));
    assert!(uucico(&["-u", "Uother"], b"\x10Sstranger\0").contains("refused caller `stranger`: not in our"));
    let login = |words: &str| uucico(&["-l"], words.repeat(3).as_bytes());
    assert!(login("Uvillage\rsesame\r").contains("wrong password for `Uvillage`"));
    // Out of step: the password stands where the name should.
    assert!(login("sesame\rUvillage\r").contains("there is no such login"));
    let log = site.run(&["log"], b"");
    assert!(!log.contains("sesame"), "{log}");
    let lines: Vec<&str> = log.lines().map(|l| l.split_once("Z ").expect("a time").1).collect();
    assert_eq!(
        lines,
        [
            &format!("refused call village {wrong}"),
            "refused call stranger not in our configuration",
            "refused call village wrong password for `Uvillage`",
            "refused call there is no such login; `bangpath user list` names them",
        ]
    );
}

#[test]
fn a_call_under_way_is_shown() {
    let site = Site::new("hub", "[sites.village]\n");
    let shown = || site.run(&["site", "list", "--json"], b"") + &site.run(&["site", "show", "village"], b"");
    assert!(shown().contains("\"in_call\": false"));
    let store = Store::open(&site.spool()).expect("a store");
    let lock = store.lock(bangpath::store::LockKind::Site, "village").expect("lockable");
    let during = shown();
    assert!(during.contains("\"in_call\": true") && during.contains("next call     a call is going on"), "{during}");
    drop(lock);
    assert!(shown().contains("it must call us"));
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let place = tempfile::tempdir().expect("a folder");
        let entries = |path: &Path| fs::read_dir(path).expect("a folder").map(|e| e.expect("an entry").path());
        let mut command = Command::new(BANGPATH);
        command
            .args(["demo", "--speed", "300"])
            .env("TMPDIR", place.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut demo = command.spawn().expect("it starts");
        // All three run, and the hub answers the first call.
        let folder = until("the demo begins", || entries(place.path()).next());
        until("the hub answers", || folder.join("answer.log").exists().then_some(()));
        let children = |id: u32| {
            let found = fs::read_dir(format!("/proc/{id}/task")).expect("its threads").flatten();
            let of_thread = found.map(|t| fs::read_to_string(t.path().join("children")).unwrap_or_default());
            of_thread
                .flat_map(|t| t.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>())
                .collect::<Vec<_>>()
        };
        let ours = until("its programs run", || Some(children(demo.id())).filter(|found| found.len() == 4));
        kill(nix::unistd::Pid::from_raw(demo.id() as i32), signal).expect("it runs");
        let status = until("it ends", || demo.try_wait().expect("a process"));
        assert_eq!(status.code(), Some(130), "{signal}");
        assert_eq!(entries(place.path()).count(), 0, "{signal}");
        let left: Vec<&String> = ours.iter().filter(|id| Path::new("/proc").join(id).exists()).collect();
        assert!(left.is_empty(), "{signal}: {left:?}");
    }
}

#[test]
fn trouble_with_the_machine_comes_with_a_hint() {
    let site = Site::new("village", "");
    fs::remove_dir_all(site.spool()).expect("removed");
    fs::write(site.spool(), "").expect("a file");
    check(&site, &["queue", "list"], b"", 78, "site.spool: it is no folder");
    fs::remove_file(site.spool()).expect("removed");
    fs::create_dir(site.spool()).expect("a folder");
    fs::write(site.spool().join("bangpath.db"), [b'x'; 5000]).expect("a file");
    check(&site, &["queue", "list"], b"", 75, "it is no database; put back a copy of it");
    fs::remove_file(site.spool().join("bangpath.db")).expect("removed");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    site.configure(&format!("[listen]\nsmtp = \"{}\"\n", taken.local_addr().expect("its address")));
    check(&site, &["run"], b"", 69, "(another program listens there)");
}

#[test]
fn a_host_that_cannot_be_reached_waits_as_a_whole() {
    let site = Site::new("village", "");
    let route = "[[mail.route]]\nto = \"*\"\nvia = \"smtp:127.0.0.1:PORT\"\n";
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("its address");
    site.configure(&route.replace("PORT", &closed.port().to_string()));
    for _ in 0..3 {
        site.run(&["sendmail", "bob@far.example"], LETTER);
    }
    let _daemon = site.daemon(None);
    let listed = until("the host is tried", || {
        let text = site.run(&["queue", "list", "--json"], b"");
        text.contains("refused").then_some(text)
    });
    assert_eq!(listed.matches("Connection refused").count(), 3, "{listed}");
    assert_eq!(listed.matches("\"attempts\": 0").count(), 3, "{listed}");
    // Tried at once when an operator says so.
    let tries = || fs::read_to_string(site.path("log")).expect("a log").matches("cannot be reached").count();
    assert_eq!(tries(), 1);
    site.run(&["queue", "release", "1"], b"");
    until("it is tried again", || (tries() == 2).then_some(()));
}

#[test]
fn the_daemon_removes_what_is_too_old() {
    let site = Site::new("village", "[news]\nmax-age = \"30d\"\n");
    let day = |days: u64| bangpath::daemon::now().wall - Duration::from_secs(days * 86_400);
    let store = Store::open(&site.spool()).expect("a store");
    let fact = |at, id: &str| Fact {
        at,
        verb: "accepted",
        what: "mail",
        place: "x".to_owned(),
        id: id.to_owned(),
        bytes: 0,
        detail: String::new(),
    };
    let aged: Result<(), StoreError> = store.write(|change| {
        change.record(fact(day(366), "old"))?;
        change.record(fact(day(364), "young"))?;
        change.remember("<old@x>", day(38))?;
        change.remember("<young@x>", day(36))
    });
    aged.expect("written");
    let _daemon = site.daemon(None);
    until("the old ones go", || (!site.run(&["log", "-n", "1000"], b"").contains(" old")).then_some(()));
    assert!(site.run(&["log", "-n", "1000"], b"").contains(" young"));
    let gone = |id| store.read::<_, StoreError>(|view| Ok(view.history(id)?.is_some())).expect("readable");
    until("the history is trimmed", || (!gone("<old@x>")).then_some(()));
    assert!(gone("<young@x>"));
}

#[test]
fn programs_are_told_to_come_again_while_the_reserve_is_all_there_is() {
    let site = Site::new("village", "");
    let text = fs::read_to_string(site.config()).expect("readable");
    fs::write(site.config(), text.replace("\"1M\"", "\"9000000G\"")).expect("writable");
    for words in [["sendmail", "alice"], ["rmail", "alice"]] {
        check(&site, &words, LETTER, 75, "no space left in");
    }
    check(&site, &["rnews"], b"", 75, "no space left in");
    assert_eq!(site.mail("alice"), [""; 0]);
}

#[test]
fn a_password_that_is_typed_is_not_shown() {
    let site = Site::new("hub", "");
    let without = site.try_run(&["user", "add", "eve"], b"", None);
    assert!(without.status.success() && said(&without).contains("nobody can log in as eve"), "{}", said(&without));

    let pty = nix::pty::openpty(None, None).expect("a pty");
    let terminal = || Stdio::from(pty.slave.try_clone().expect("another descriptor"));
    let mut command = Command::new(BANGPATH);
    command.args(["user", "password", "eve", "--password-stdin"]).env("BANGPATH_CONFIG", site.config());
    let mut asking = command.stdin(terminal()).stdout(terminal()).stderr(terminal()).spawn().expect("it starts");
    let mut master = fs::File::from(pty.master);
    let mut shown = String::new();
    let mut read_to = |end: &str, master: &mut fs::File| {
        while !shown.ends_with(end) {
            let mut piece = [0; 100];
            let count = master.read(&mut piece).expect("the terminal is open");
            shown.push_str(&String::from_utf8_lossy(&piece[..count]));
        }
        shown.clone()
    };
    read_to("Password: ", &mut master);
    master.write_all(b"hush-hush\n").expect("it reads");
    let shown = read_to("\n", &mut master);
    assert!(asking.wait().expect("it ends").success());
    assert_eq!(shown.trim(), "Password:");
    assert!(site.run(&["user", "list"], b"").contains("eve    yes"));
}
