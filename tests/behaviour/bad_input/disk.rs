//! Bodies that the disk has lost: one of them must not stop the rest.

use super::*;
use bangpath::store::{LockKind, Store};

fn bodies(site: &Site) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(site.spool().join("bodies")).expect("a folder");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

fn large() -> Vec<u8> {
    [b"Subject: large\n\n".as_slice(), "0123456789abcdef\n".repeat(10_000).as_bytes()].concat()
}

/// Takes what the hub offers, as village; gives the commands offered.
fn offers(hub: &Site) -> Vec<String> {
    let (mut peer, mut offers) = (Peer::talking(hub), Vec::new());
    assert_eq!(peer.ask("H"), "HN");
    let mut offer = peer.reply();
    while offer != "H" {
        assert!(offer.starts_with("E "), "{offer}");
        offers.push(offer.split(' ').next_back().unwrap_or_default().to_owned());
        offer = peer.ask("EN2");
    }
    peer.hang_up();
    offers
}

#[test]
fn mail_that_is_lost_does_not_keep_the_rest_of_its_site_waiting() {
    for cut_short in [false, true] {
        let hub = hub();
        hub.run(&["sendmail", "-f", "alice", "ann@far.example"], &large());
        hub.run(&["sendmail", "-f", "alice", "ben@far.example"], b"Subject: small\n\nHi\n");
        for path in bodies(&hub) {
            match cut_short {
                true => std::fs::write(path, b"Subject: la").expect("written"),
                false => std::fs::remove_file(path).expect("removed"),
            }
        }
        assert_eq!(offers(&hub), ["ben@far.example"]);
        // What is there and cannot be right is out of the way; what is not there may come back with its disk.
        assert_eq!((hub.dead().len(), hub.queued()), if cut_short { (1, 0) } else { (0, 1) });
        assert!(hub.run(&["log"], b"").contains("buried") == cut_short);
    }
}

#[test]
fn a_received_file_that_is_lost_does_not_keep_the_rest_from_being_unpacked() {
    for cut_short in [false, true] {
        let hub = hub();
        let store = Store::open(&hub.spool()).expect("a store");
        let unpacking = store.lock(LockKind::Unpack, "unpack").expect("a lock").expect("nobody unpacks");
        let mut peer = Peer::talking(&hub);
        for (number, letter) in [large(), b"Subject: small\n\nHi\n".to_vec()].iter().enumerate() {
            let size = letter.len();
            let offer = format!("E D.0 D.x ann -CR D.000{number} 0666 ann 0x{size:x} rmail bob");
            assert_eq!(peer.give(&offer, letter), ("EY".to_owned(), "CY".to_owned()));
        }
        peer.bye();
        for path in bodies(&hub) {
            match cut_short {
                true => std::fs::write(path, b"Subject: la").expect("written"),
                false => std::fs::remove_file(path).expect("removed"),
            }
        }
        drop((unpacking, store));
        Peer::talking(&hub).bye();
        assert_eq!(hub.mail("bob").len(), 1);
        assert_eq!((hub.dead().len(), hub.is_unpacked()), if cut_short { (1, true) } else { (0, false) });
    }
}

#[test]
fn a_daemon_starts_where_it_cannot_note_its_addresses() {
    let hub = hub();
    // As on a full disk.
    std::fs::create_dir(hub.spool().join("listening.new")).expect("a folder");
    let log = hub.path("log");
    let mut command = Command::new(BANGPATH);
    command.args(["run", "-c"]).arg(hub.config()).stderr(std::fs::File::create(&log).expect("a file"));
    let mut daemon = command.spawn().expect("it starts");
    let words = until("it runs, or has ended", || {
        let words = std::fs::read_to_string(&log).expect("a file");
        (words.contains("running") || daemon.try_wait().expect("a process").is_some()).then_some(words)
    });
    assert!(words.contains("cannot be noted") && words.contains("running"), "{words}");
    daemon.kill().expect("it runs");
    daemon.wait().expect("a process");
}

#[test]
fn what_was_offered_to_a_site_is_held_and_dropped_with_a_word_of_warning() {
    let hub = hub();
    for to in ["ann@far.example", "ben@far.example"] {
        hub.run(&["sendmail", "-f", "alice", to], b"Subject: small\n\nHi\n");
    }
    let mut peer = Peer::talking(&hub);
    assert_eq!(peer.ask("H"), "HN");
    assert!(peer.reply().ends_with("ann@far.example"));
    drop(peer);
    until("the call is over", || hub.run(&["queue", "list"], b"").contains("not confirmed").then_some(()));
    let number = |to: &str| {
        let list = hub.run(&["queue", "list"], b"");
        let line = list.lines().find(|line| line.contains(to)).expect("it waits").to_owned();
        line.split_whitespace().next().expect("a number").to_owned()
    };
    let warned = |words: &[&str]| {
        let output = hub.try_run(words, b"", None);
        assert!(output.status.success(), "{words:?}: {}", said(&output));
        said(&output).contains("may arrive there all the same")
    };
    let (ann, ben) = (number("ann@far"), number("ben@far"));
    assert!(warned(&["queue", "hold", &ann]) && !warned(&["queue", "hold", &ben]));
    assert!(warned(&["queue", "drop", "--force", &ann]) && !warned(&["queue", "drop", &ben]));
}
