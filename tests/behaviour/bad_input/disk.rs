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
