//! Mail in batches: between two of our sites, and as a command of this machine.

use std::io::Write as _;
use std::process::Command;

use bangpath::store::LockKind;

use crate::site::{BANGPATH, Site, run, said, until};

/// A text of its own for each number, with whatever a batch must not stumble over.
fn text(number: usize) -> String {
    let line = format!("letter {number} says more\n");
    let odd = "\n.\n..\n.dot\nFrom here on\nMAIL FROM:<x>\nQUIT\nDATA\n";
    let header = "From: alice@village.example\nDate: Mon, 5 Jan 2026 10:00:00 GMT\n";
    format!(
        "Subject: s{number};\n{header}Message-ID: <{number}@village.example>\n{odd}\u{e4}\u{f6}\n{}",
        line.repeat(20)
    )
}

fn letter(sender: &str, recipient: &str, text: &str) -> String {
    let stuffed: String =
        text.split_inclusive('\n').map(|l| if l.starts_with('.') { format!(".{l}") } else { l.to_owned() }).collect();
    format!("MAIL FROM:<{sender}>\nRCPT TO:<{recipient}>\nDATA\n{stuffed}.\n")
}

/// A village that calls this hub over a pipe; `mail` is how it packs.
fn village(hub: &Site, mail: &str) -> Site {
    let answering = format!("\"{BANGPATH}\", \"uucico\", \"-I\", \"{}\", \"-u\", \"village\"", hub.config().display());
    Site::new(
        "village",
        &format!(
            "[port.p]\ntype = \"pipe\"\ncommand = [{answering}]\n[sites.hub]\ncall = [{{ port = \"p\" }}]\nmail = {{ {mail} }}\n\
             [[mail.route]]\nto = \"*\"\nvia = \"uucp:hub\"\n"
        ),
    )
}

/// One call, in which this many files go up.
fn call(village: &Site, files: usize) {
    village.run(&["call", "hub"], b"");
    let log = village.run(&["log"], b"");
    let last = log.lines().rfind(|line| line.contains("call complete")).unwrap_or_default();
    assert!(last.contains(&format!("sent {files} file")), "{log}");
}

#[test]
fn fifty_letters_go_as_one_batch_and_each_arrives_once_and_unchanged() {
    for (format, program) in [("rsmtp", "rsmtp"), ("rcsmtp", "csmtp"), ("rgsmtp", "bsmtp")] {
        let hub = Site::new("hub", "[sites.village]\nmail = { relay = true }\n");
        let village = village(&hub, &format!("format = \"{format}\""));
        let letters: String = (1..=50).map(|n| letter("alice@village.example", "bob@hub.example", &text(n))).collect();
        village.run(&[program], letters.as_bytes());
        assert_eq!(village.queued(), 50);
        call(&village, 1);
        assert!(village.is_idle() && hub.is_idle(), "{format}");
        let mail = hub.mail("bob");
        assert_eq!(mail.len(), 50, "{format}");
        for (number, found) in (1..=50).zip(&mail) {
            assert!(found.ends_with(&text(number)), "{format}: {found}");
            let trace = "Received: from village by hub.example (bangpath) with BSMTP";
            assert!(found.starts_with(trace), "{format}: {found}");
        }
        assert!(hub.dead().is_empty());
    }
}

#[test]
fn a_batch_holds_what_the_size_lets_it_and_a_large_letter_goes_alone() {
    let hub = Site::new("hub", "[sites.village]\n");
    let village = village(&hub, "format = \"rsmtp\", size = \"2K\"");
    let large = text(9) + &"0123456789abcde\n".repeat(20_000);
    for body in [&text(1), &text(2), &large, &text(3), &text(4), &text(5), &text(6)] {
        village.run(&["sendmail", "-i", "bob@hub.example"], body.as_bytes());
    }
    // Of some 700 bytes two fit in one: with their Received and envelopes.
    call(&village, 4);
    let mail = hub.mail("bob");
    assert!(mail.len() == 7 && mail[2].ends_with(&large), "{}", mail.len());
}

#[test]
fn senders_are_told_of_what_is_refused_behind_a_batch_and_the_others_go_on() {
    let back = "[sites.village]\n[[mail.route]]\nto = \"far.example\"\nvia = \"smtp:127.0.0.1:9\"\n[[mail.route]]\nto = \"village.example\"\nvia = \"uucp:village\"\n";
    let hub = Site::new("hub", back);
    let village = village(&hub, "format = \"rgsmtp\"");
    let looping = "Received: from x by y\n".repeat(101) + "Message-ID: <loop@x>\n\nround\n";
    let letters = [
        letter("alice@village.example", "nobody@hub.example", &text(1)),
        // Not for the village to send on through the hub.
        letter("alice@village.example", "x@far.example", &text(2)),
        letter("bob@village.example", "bob@hub.example", &text(4)),
        letter("", "nobody@hub.example", &text(5)),
    ];
    village.run(&["rsmtp"], letters.concat().as_bytes());
    // What goes round is refused here already; so a few lines less, and the hub adds its own.
    let output =
        village.try_run(&["rsmtp"], letter("alice@village.example", "bob@hub.example", &looping).as_bytes(), None);
    assert_eq!(output.status.code(), Some(65), "{}", said(&output));
    let last = "Received: from x by y\n".repeat(100) + "Message-ID: <loop@x>\n\nround\n";
    village.run(&["rsmtp"], letter("alice@village.example", "bob@hub.example", &last).as_bytes());
    call(&village, 1);
    call(&village, 0);
    assert_eq!(hub.mail("bob").len(), 1);
    let told = village.mail("alice");
    let statuses: Vec<&str> = told.iter().filter_map(|t| t.lines().find(|l| l.starts_with("Status: "))).collect();
    assert_eq!(statuses, ["Status: 5.1.1", "Status: 5.7.1", "Status: 5.4.6"], "{told:?}");
    // A letter from nobody has nobody to be told.
    assert_eq!(hub.dead().len(), 1);
    assert!(hub.dead()[0].why.contains("there is no user nobody"), "{:?}", hub.dead());
}

#[test]
fn the_right_to_rmail_brings_that_to_batches_and_each_can_be_named_alone() {
    for (commands, taken) in [
        ("", true),
        ("commands = [\"rmail\"]\n", true),
        ("commands = [\"rsmtp\"]\n", true),
        ("commands = [\"rnews\", \"rgsmtp\"]\n", false),
    ] {
        let hub = Site::new("hub", &format!("[sites.village]\n{commands}"));
        let village = village(&hub, "format = \"rsmtp\"");
        village.run(&["sendmail", "-i", "bob@hub.example"], text(1).as_bytes());
        village.run(&["sendmail", "-i", "bob@hub.example"], text(2).as_bytes());
        village.run(&["call", "hub"], b"");
        assert_eq!(hub.mail("bob").len(), if taken { 2 } else { 0 }, "{commands}");
        let user = nix::unistd::User::from_uid(nix::unistd::getuid()).expect("readable").expect("somebody").name;
        let returned = village.run(&["log"], b"").matches("returned").count() + village.dead().len();
        assert_eq!(returned >= 2, !taken, "{commands}: each letter is returned to {user}");
        assert_eq!(village.queued(), 0);
    }
}

#[test]
fn a_letter_that_cannot_be_said_or_read_stops_no_batch() {
    let hub = Site::new("hub", "[sites.village]\n");
    let village = village(&hub, "format = \"rsmtp\", size = \"1M\"");
    let large = text(2) + &"0123456789abcde\n".repeat(10_000);
    let letters = [
        letter("alice@village.example", "bob@hub.example", &text(1)),
        letter("alice@village.example", "bob@hub.example", &large),
        letter("alice@village.example", "\"a b\"@hub.example", &text(3)),
        letter("alice@village.example", "bob@hub.example", &text(4)),
    ];
    village.run(&["rsmtp"], letters.concat().as_bytes());
    assert_eq!(village.queued(), 4);
    let bodies = std::fs::read_dir(village.spool().join("bodies")).expect("a folder");
    for body in bodies.map(|entry| entry.expect("an entry").path()) {
        std::fs::rename(&body, body.with_extension("away")).expect("renamed");
    }
    let config = std::fs::read_to_string(village.config()).expect("a file");
    std::fs::write(village.config(), config.replace("format = \"rsmtp\"", "format = \"rsmtp\", addresses = \"bang\""))
        .expect("a file");
    call(&village, 1);
    let mail = hub.mail("bob");
    assert!(mail.len() == 2 && mail[0].ends_with(&text(1)) && mail[1].ends_with(&text(4)), "{mail:?}");
    let told = village.mail("alice");
    assert!(told.len() == 1 && told[0].contains("cannot be sent over UUCP"), "{told:?}");
    assert_eq!(village.queued(), 1, "the one that cannot be read waits");
}

#[test]
fn what_waits_goes_as_the_site_wants_it_now() {
    let hub = Site::new("hub", "[sites.village]\n");
    let village = village(&hub, "format = \"rsmtp\"");
    for number in 1..=3 {
        village.run(&["sendmail", "-i", "bob@hub.example"], text(number).as_bytes());
    }
    let config = std::fs::read_to_string(village.config()).expect("a file");
    std::fs::write(village.config(), config.replace("format = \"rsmtp\"", "format = \"rmail\"")).expect("a file");
    call(&village, 3);
    assert_eq!(hub.mail("bob").len(), 3);
    let shown = village.run(&["route", "bob@hub.example"], b"");
    assert!(shown.contains("over UUCP to hub: rmail bob@hub.example"), "{shown}");
    std::fs::write(village.config(), config).expect("a file");
    let shown = village.run(&["route", "bob@hub.example"], b"");
    assert!(shown.contains("over UUCP to hub: rsmtp <bob@hub.example>"), "{shown}");
}

#[test]
fn a_command_takes_a_batch_says_what_it_refused_and_ends_as_scripts_expect() {
    let site = Site::new("village", "");
    let check = |name: &str, input: &str, status: i32, expected: &str| {
        let output = site.try_run(&[name], input.as_bytes(), None);
        let told = said(&output);
        assert_eq!(output.status.code(), Some(status), "{input}: {told}");
        assert!(told.contains(expected), "{input}: {told}");
    };
    let good = letter("ann@x.example", "alice", "A: 1\n\nHi\n");
    check("rsmtp", &good, 0, "");
    check("gsmtp", &format!("HELO x\n{good}QUIT\n"), 0, "");
    assert_eq!(site.mail("alice").len(), 2);
    check("rsmtp", &letter("alice", "nobody", "A: 1\n\nHi\n"), 0, "letter 1 from <alice");
    assert_eq!(site.mail("alice").len(), 3, "the sender is told");
    check(
        "rsmtp",
        &(good.clone() + "MAIL FROM:<ann@x>\nRCPT TO:<alice>\nDATA\nA: 1\n"),
        65,
        "in the middle of a letter",
    );
    assert_eq!(site.mail("alice").len(), 4, "what was whole is there");
    check("rsmtp", "Subject: no batch\n\nat all\n", 65, "this is no command: Subject: no batch");
    check("rcsmtp", "BZh91AY", 65, "bzip2");
    let output = site.try_run(&["rsmtp", "alice"], good.as_bytes(), None);
    assert_eq!(output.status.code(), Some(64), "{}", said(&output));
    // The name it is run by.
    let link = site.path("rgsmtp");
    std::os::unix::fs::symlink(BANGPATH, &link).expect("a link");
    let mut command = Command::new(&link);
    command.env("BANGPATH_CONFIG", site.config());
    let output = run(command, good.as_bytes());
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(site.mail("alice").len(), 5);
    // No room, so nothing of it: a script brings it again.
    let full = Site::new("village", "");
    let config = std::fs::read_to_string(full.config()).expect("a file");
    std::fs::write(full.config(), config.replace("reserve = \"1M\"", "reserve = \"900000G\"")).expect("a file");
    let output = full.try_run(&["rsmtp"], good.as_bytes(), None);
    assert_eq!(output.status.code(), Some(75), "{}", said(&output));
    assert_eq!(full.mail("alice").len(), 0);
}

#[test]
fn a_batch_that_another_uucp_program_runs_for_a_site_comes_from_that_site() {
    let mut site = Site::new("village", "[sites.hub]\n");
    site.set_environment(vec![("UU_MACHINE".to_owned(), "hub".to_owned())]);
    let far = letter("ann@x.example", "bob@far.example", "A: 1\n\nHi\n") + &letter("ann", "alice", "A: 1\n\nHi\n");
    let output = site.try_run(&["rsmtp"], far.as_bytes(), None);
    // Hub may not relay through us, and a bare name is one there.
    assert!(
        output.status.success() && said(&output).contains("letter 1 from <ann@x.example>: returned"),
        "{}",
        said(&output)
    );
    let mail = site.run(&["mailbox", "list", "alice"], b"");
    assert!(mail.contains("hub!ann"), "{mail}");
    assert!(site.mail("alice")[0].starts_with("Received: from hub by village.example (bangpath) with BSMTP"));
}

#[test]
fn a_site_that_nobody_knows_is_not_this_machine() {
    let mut site = Site::new("village", "[sites.hub]\n[[mail.route]]\nto = \"*\"\nvia = \"uucp:hub\"\n");
    let far = letter("ann@x.example", "bob@far.example", "A: 1\n\nHi\n");
    let mut check = |machine: &str, command: &str, status: i32, queued: usize| {
        site.set_environment(vec![("UU_MACHINE".to_owned(), machine.to_owned())]);
        let output = match command {
            "rsmtp" => site.try_run(&["rsmtp"], far.as_bytes(), None),
            _ => site.try_run(&["rmail", "bob@far.example"], b"From ann Thu Jan  1 00:00:00 1970\nA: 1\n\nHi\n", None),
        };
        assert_eq!(output.status.code(), Some(status), "{machine:?}, {command}: {}", said(&output));
        let waiting = site.run(&["queue", "list", "--json"], b"");
        assert_eq!(waiting.matches("bob@far.example").count(), queued, "{machine:?}, {command}: {waiting}");
    };
    // It may not relay through us; we ourselves may.
    for command in ["rsmtp", "rmail"] {
        check("nosuch", command, 0, 0);
        check("", command, 64, 0);
        check("x\ny", command, 64, 0);
    }
    check("village", "rsmtp", 0, 1);
    check("village", "rmail", 0, 2);
}

/// The village brings a batch with gzip, which is for this command, and a letter behind it; nobody unpacks yet.
fn batch_waiting(hub: &Site, command: &str, batch: &str) {
    let village = village(hub, "format = \"rmail\"");
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(batch.as_bytes()).expect("written to memory");
    let store = hub.store();
    let _unpacking = store.lock(LockKind::Unpack, "unpack").expect("a lock").expect("nobody unpacks");
    village.run(&["uux", "-p", "-gA", &format!("hub!{command}")], &packed.finish().expect("written to memory"));
    village.run(&["sendmail", "-i", "alice@hub.example"], text(1).as_bytes());
    call(&village, 2);
}

fn letters(count: usize) -> String {
    (1..=count).map(|n| letter("alice@village.example", "bob", &format!("A: {n};\n"))).collect()
}

fn articles(count: usize) -> String {
    let article = |n| {
        format!(
            "Path: x!not-for-mail\nFrom: a@x.example\nNewsgroups: local.talk\nSubject: {n};\n\
             Date: Mon, 23 Nov 2026 10:00:00 GMT\nMessage-ID: <{n}@x.example>\n\nHi\n"
        )
    };
    (1..=count).map(article).map(|article| format!("#! rnews {}\n{article}", article.len())).collect()
}

/// A long batch is left for the file behind it and when the daemon stops, and goes on where it was.
fn check_turns(command: &str, batch: &str, count: usize, taken: fn(&Site) -> Vec<String>) {
    let hub = Site::in_memory("hub", "[news]\ncreate = \"*\"\n[sites.village]\n");
    batch_waiting(&hub, command, batch);
    let daemon = hub.daemon(None);
    until("the letter behind the batch is there", || (hub.mail("alice").len() == 1).then_some(()));
    daemon.stop();
    let before = taken(&hub).len();
    assert!((500..count).contains(&before), "{command}: {before}");
    let _daemon = hub.daemon(None);
    until("all are unpacked", || hub.is_unpacked().then_some(()));
    let all = taken(&hub);
    assert_eq!((all.len(), hub.dead().len()), (count, 0), "{command}");
    for (number, found) in (1..).zip(&all) {
        assert!(found.contains(&format!("{number};")), "{command}, {number}: {found}");
    }
}

#[test]
fn a_batch_of_very_many_letters_lets_others_have_their_turn_and_the_daemon_its_end() {
    check_turns("rgsmtp", &letters(6000), 6000, |hub| hub.mail("bob"));
}

#[test]
fn a_batch_of_very_many_articles_lets_others_have_their_turn_and_the_daemon_its_end() {
    let subjects = |hub: &Site| hub.articles().into_iter().map(|article| article.subject).collect();
    check_turns("rnews", &articles(6000), 6000, subjects);
}

#[test]
fn a_packed_batch_leaves_the_reserve_free() {
    for (command, batch) in [("rgsmtp", letters(10)), ("rnews", articles(10))] {
        let hub = Site::new("hub", "[news]\ncreate = \"*\"\n[sites.village]\n");
        batch_waiting(&hub, command, &batch);
        let config = std::fs::read_to_string(hub.config()).expect("a file");
        std::fs::write(hub.config(), config.replace("reserve = \"1M\"", "reserve = \"900000G\"")).expect("a file");
        let _daemon = hub.daemon(None);
        // It comes behind the batch, and is not packed.
        until("the letter behind the batch is there", || (hub.mail("alice").len() == 1).then_some(()));
        let taken = hub.mail("bob").len() + hub.articles().len();
        assert_eq!((taken, hub.is_unpacked(), hub.dead().len()), (0, false, 0), "{command}");
    }
}
