//! Each way in, cut at every point: what was acknowledged is there once; what was not, at most once.

use super::super::site::Client;
use super::*;

const LARGE: usize = 70_000;
const LISTEN: &str = "[listen]\nsmtp = \"127.0.0.1:0\"\n";

fn local(rest: &str) -> Site {
    Site::in_memory("village", &format!("{rest}\n[news]\ncreate = \"*\"\n"))
}

/// Cuts a command of one letter for alice.
fn letter_cut_everywhere(words: &[&str], head: &str) {
    let fresh = local("");
    let input = [head.as_bytes(), &letter(1, LARGE)].concat();
    let cuts = every_point(|at| {
        let site = fresh.copy("");
        let output = site.try_run(words, &input, Some(at));
        let cut = was_cut(&output);
        assert!(cut || output.status.success(), "{words:?} at {at}: {}", said(&output));
        let found = letters(&site, "alice", 1);
        assert!(found == 1 || cut && found == 0, "{words:?} at {at}: {found}");
        if cut {
            site.run(words, &input);
            assert_eq!(letters(&site, "alice", 1), found + 1, "{words:?} at {at}, again");
        }
        cut
    });
    // At least the rename of the body and the commit.
    assert!(cuts >= 4, "{words:?}: {cuts}");
}

#[test]
fn sendmail_acknowledges_only_what_is_there() {
    letter_cut_everywhere(&["sendmail", "alice@village.example"], "");
}

#[test]
fn rmail_acknowledges_only_what_is_there() {
    letter_cut_everywhere(&["rmail", "alice"], "From ann Mon Jan  5 10:00:00 2026 remote from hub\n");
}

/// A batch that was cut off is handed in again: what came in the first time is known by its Message-ID.
#[test]
fn rnews_files_each_article_once_however_often_the_batch_is_cut_off() {
    let fresh = local("");
    let input = batch(&[article(1, 100), article(2, LARGE), article(3, 100)]);
    let cuts = every_point(|at| {
        let site = fresh.copy("[news]\ncreate = \"*\"\n");
        let cut = was_cut(&site.try_run(&["rnews"], &input, Some(at)));
        if cut {
            assert!(site.articles().len() <= 3, "{at}");
            site.run(&["rnews"], &input);
        }
        assert_eq!([1, 2, 3].map(|n| articles(&site, n)), [1; 3], "{at}");
        cut
    });
    assert!(cuts >= 4, "{cuts}");
}

/// Sends letters until the connection dies: how many were begun, and the numbers of those acknowledged.
fn send_letters(client: Option<Client>, count: u64) -> (u64, Vec<u64>) {
    let (mut begun, mut taken) = (0, Vec::new());
    let Some(mut client) = client else { return (begun, taken) };
    let mut session = || -> Option<()> {
        client.hear()?;
        client.ask("HELO client.example")?;
        for number in 1..=count {
            let text = String::from_utf8(letter(number, if number % 2 == 0 { LARGE } else { 100 })).expect("text");
            begun = number;
            client.ask("MAIL FROM:<ann@x.example>")?;
            client.ask("RCPT TO:<alice@village.example>")?;
            client.ask("RCPT TO:<bob@village.example>")?;
            client.ask("DATA")?;
            let answer = client.ask(&format!("{}.", text.replace('\n', "\r\n")))?;
            assert!(answer.starts_with("250"), "{answer}");
            taken.push(number);
        }
        Some(())
    };
    // A dead connection is what we are after.
    let _ = session();
    (begun, taken)
}

#[test]
fn smtp_acknowledges_only_what_is_there() {
    let fresh = local(LISTEN);
    let cuts = every_point(|at| {
        let site = fresh.copy(LISTEN);
        let mut daemon = site.daemon(Some(at));
        let client = daemon.address("smtp").and_then(|a| Client::connect(&a));
        let (begun, taken) = send_letters(client, 4);
        let cut = daemon.has_ended() || taken.len() < 4;
        drop(daemon);
        let _restarted = site.daemon(None);
        for user in ["alice", "bob"] {
            for number in 1..=4 {
                let found = letters(&site, user, number);
                let possible = if taken.contains(&number) { 1..=1 } else { 0..=usize::from(number <= begun) };
                assert!(possible.contains(&found), "{at}: letter {number} is there {found} times for {user}");
            }
        }
        assert_eq!(site.mail("alice").len(), site.mail("bob").len(), "{at}: for all recipients or for none");
        cut
    });
    // A commit for each of four, and a rename for two.
    assert!(cuts >= 12, "{cuts}");
}
