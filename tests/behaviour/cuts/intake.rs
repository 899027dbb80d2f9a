//! Each way in, cut at every point: what was acknowledged is there once; what was not, at most once.

use std::ops::RangeInclusive;

use super::super::site::Client;
use super::*;

const LARGE: usize = 70_000;
/// How many a client sends.
const COUNT: u64 = 4;
const LISTEN: &str = "[listen]\nsmtp = \"127.0.0.1:0\"\nnntp = \"127.0.0.1:0\"\n\n[news]\ncreate = \"*\"\n";

fn local(rest: &str) -> Site {
    Site::in_memory("village", rest)
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

/// Of a batch all or nothing is taken, for who hears of no success hands it in again.
#[test]
fn rsmtp_acknowledges_only_what_is_there_and_takes_all_letters_or_none() {
    let fresh = local("");
    let wrapped = |number, size| {
        let head = b"MAIL FROM:<ann@x.example>\nRCPT TO:<alice>\nDATA\n";
        [&head[..], &letter(number, size), b".\n"].concat()
    };
    let input = [wrapped(1, 100), wrapped(2, LARGE), wrapped(3, 100)].concat();
    let cuts = every_point(|at| {
        let site = fresh.copy("");
        let output = site.try_run(&["rsmtp"], &input, Some(at));
        let cut = was_cut(&output);
        assert!(cut || output.status.success(), "{at}: {}", said(&output));
        let found = [1, 2, 3].map(|number| letters(&site, "alice", number));
        assert!(found == [1; 3] || cut && found == [0; 3], "{at}: {found:?}");
        cut
    });
    assert!(cuts >= 4, "{cuts}");
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

/// How far a client came.
#[derive(Default)]
struct Sent {
    begun: u64,
    acknowledged: Vec<u64>,
}

/// A client of the daemon that sends number after number until the connection dies; `one` gives nothing then.
fn send(address: Option<String>, hello: &str, mut one: impl FnMut(&mut Client, u64) -> Option<String>) -> Sent {
    let mut sent = Sent::default();
    let session = || -> Option<()> {
        let mut client = Client::connect(&address?)?;
        client.hear()?;
        client.ask(hello)?;
        for number in 1..=COUNT {
            sent.begun = number;
            let answer = one(&mut client, number)?;
            assert!(answer.starts_with('2'), "{answer}");
            sent.acknowledged.push(number);
        }
        Some(())
    };
    // A dead connection is what we are after.
    let _ = session();
    sent
}

/// Lines as they are sent, with the dot at the end.
fn dotted(text: &[u8]) -> String {
    String::from_utf8_lossy(text).replace('\n', "\r\n") + "."
}

fn size(number: u64) -> usize {
    if number.is_multiple_of(2) { LARGE } else { 100 }
}

fn letter_by_smtp(client: &mut Client, number: u64) -> Option<String> {
    client.ask("MAIL FROM:<ann@x.example>")?;
    client.ask("RCPT TO:<alice@village.example>")?;
    client.ask("RCPT TO:<bob@village.example>")?;
    client.ask("DATA")?;
    client.ask(&dotted(&letter(number, size(number))))
}

fn article_by_nntp(client: &mut Client, number: u64) -> Option<String> {
    let answer = match number {
        1 | 2 => client.ask("POST")?,
        _ => client.ask(&format!("IHAVE <a{number}@x.example>"))?,
    };
    if !answer.starts_with('3') {
        return Some(answer);
    }
    client.ask(&dotted(&article(number, size(number))))
}

/// Cuts the daemon; after its restart each number is there as often as may be. `times`: after the client has sent once
/// more what was not acknowledged.
fn daemon_cut_everywhere(
    service: &str,
    hello: &str,
    one: impl Fn(&mut Client, u64) -> Option<String>,
    found: impl Fn(&Site, u64) -> Vec<usize>,
    times: RangeInclusive<usize>,
) -> usize {
    let fresh = local(LISTEN);
    fresh.run(&["group", "add", "local.test"], b"");
    every_point(|at| {
        let site = fresh.copy(LISTEN);
        let mut daemon = site.daemon(Some(at));
        let sent = send(daemon.address(service), hello, &one);
        let cut = daemon.has_ended() || sent.acknowledged.len() < COUNT as usize;
        drop(daemon);
        let restarted = site.daemon(None);
        for number in 1..=COUNT {
            let possible = match sent.acknowledged.contains(&number) {
                true => 1..=1,
                false => 0..=usize::from(number <= sent.begun),
            };
            let found = found(&site, number);
            assert!(found.iter().all(|n| possible.contains(n)), "{service} at {at}: {number} is there {found:?} times");
            assert!(found.windows(2).all(|pair| pair[0] == pair[1]), "{service} at {at}: for some, not for all");
        }
        // What the client would send again.
        let again =
            send(restarted.address(service), hello, |client, number| match sent.acknowledged.contains(&number) {
                true => Some("2".to_owned()),
                false => one(client, number).map(|_| "2".to_owned()),
            });
        assert_eq!(again.acknowledged.len(), COUNT as usize, "{service} at {at}: the restarted daemon serves");
        for number in 1..=COUNT {
            let found = found(&site, number);
            assert!(found.iter().all(|n| times.contains(n)), "{service} at {at}: {number}, again: {found:?}");
        }
        cut
    })
}

#[test]
fn smtp_acknowledges_only_what_is_there() {
    let found = |site: &Site, number| ["alice", "bob"].map(|user| letters(site, user, number)).into();
    let cuts = daemon_cut_everywhere("smtp", "HELO client.example", letter_by_smtp, found, 1..=2);
    // A commit for each of four, and a rename for two.
    assert!(cuts >= 12, "{cuts}");
}

#[test]
fn nntp_acknowledges_only_what_is_there() {
    let cuts =
        daemon_cut_everywhere("nntp", "DATE", article_by_nntp, |site, number| vec![articles(site, number)], 1..=1);
    assert!(cuts >= 12, "{cuts}");
}
