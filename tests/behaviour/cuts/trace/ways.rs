//! Each way in and a call, recorded, and cut at every sync.

use std::fs;

use super::*;

const LARGE: usize = 70_000;

/// What is written in a letter or article, behind its header.
fn text(message: &[u8]) -> String {
    String::from_utf8_lossy(message).split_once("\n\n").expect("a header").1.to_owned()
}

/// How often the letter is among these. Where it is, it is whole.
fn count(mail: &[String], number: u64) -> usize {
    let (subject, text) = (format!("Subject: m{number};"), text(&letter(number, size(number))));
    let found = mail.iter().filter(|m| m.lines().any(|l| l == subject));
    found.inspect(|m| assert!(m.ends_with(&text), "letter {number} is damaged")).count()
}

/// The same for an article among those that stand in groups.
fn count_article(articles: &[(String, String)], number: u64) -> usize {
    let (id, text) = (format!("<a{number}@x.example>"), text(&article(number, size(number))));
    let found = articles.iter().filter(|(found, _)| *found == id);
    found.inspect(|(_, a)| assert!(a.ends_with(&text), "article {number} is damaged")).count()
}

fn size(number: u64) -> usize {
    if number.is_multiple_of(2) { LARGE } else { 100 }
}

/// Once if it was acknowledged, at most once if not; and everywhere, or nowhere.
fn check_found(found: &[usize], number: u64, acknowledged: &[u64], what: &str) {
    let least = usize::from(acknowledged.contains(&number));
    assert!(found.iter().all(|n| (least..=1).contains(n)), "{what}: {number} is there {found:?} times");
    assert!(found.windows(2).all(|pair| pair[0] == pair[1]), "{what}: {number} is there for some: {found:?}");
}

/// Mail for other sites waits for the hub, which never calls.
const REST: &str = "[sites.hub]\nmail = { relay = true }\n\n[[mail.route]]\nto = \"*\"\nvia = \"uucp:hub\"\n\n\
     [news]\ncreate = \"*\"\n";

fn waiting_for_hub(site: &Site) -> Vec<String> {
    let is_hub = |hop: &bangpath::store::Hop| matches!(hop, bangpath::store::Hop::Site(_));
    site.waiting_mail().into_iter().filter(|(hop, _)| is_hub(hop)).map(|(_, mail)| mail).collect()
}

/// From the first command of a new site on.
#[test]
fn commands_lose_nothing_in_a_power_cut() {
    const USER: u64 = 100;
    let mut site = Site::empty("village");
    site.configure(REST);
    let trace = Trace::record(vec![&mut site], |sites, recorder| {
        let site = sites[0];
        site.run(&["user", "add", "alice"], b"");
        recorder.seen(USER);
        for number in [1, 2] {
            site.run(&["sendmail", "alice@village.example", "carl@hub.example"], &letter(number, size(number)));
            recorder.seen(number);
        }
        let envelope = b"From ann Mon Jan  5 10:00:00 2026 remote from hub\n";
        site.run(&["rmail", "alice", "carl@hub.example"], &[envelope.as_slice(), &letter(3, size(3))].concat());
        recorder.seen(3);
        site.run(&["rnews"], &batch(&[11, 12, 13].map(|n| article(n, size(n)))));
        [11, 12, 13].into_iter().for_each(|n| recorder.seen(n));
    });
    let ruins = trace.check(1, |ruin| {
        let site = ruin.site(0, "village");
        let seen = ruin.seen();
        assert!(site.has_user("alice") || !seen.contains(&USER), "{}: the user is gone", ruin.what);
        let (places, articles) = ([site.mail("alice"), waiting_for_hub(&site)], site.article_texts());
        for number in 1..=3 {
            check_found(&places.each_ref().map(|mail| count(mail, number)), number, &seen, &ruin.what);
        }
        for number in 11..=13 {
            check_found(&[count_article(&articles, number)], number, &seen, &ruin.what);
        }
    });
    assert!(ruins > 60, "{ruins}");
}

/// A letter for a mailbox, a Maildir and the queue, or an article.
fn hand_in(client: &mut Client, number: u64) {
    let dotted = |text: &[u8]| String::from_utf8_lossy(text).replace('\n', "\r\n") + ".";
    let mut ask = |line: &str| client.ask(line).expect("an answer");
    let answer = match number {
        1..=10 => {
            ask("MAIL FROM:<ann@x.example>");
            for user in ["alice@village", "bob@village", "carl@hub"] {
                ask(&format!("RCPT TO:<{user}.example>"));
            }
            ask("DATA");
            ask(&dotted(&letter(number, size(number))))
        }
        11 | 12 => {
            ask("POST");
            ask(&dotted(&article(number, size(number))))
        }
        _ => {
            ask(&format!("IHAVE <a{number}@x.example>"));
            ask(&dotted(&article(number, size(number))))
        }
    };
    assert!(answer.starts_with('2'), "{answer}");
}

const LETTERS: [u64; 3] = [1, 2, 3];
const ARTICLES: [u64; 3] = [11, 12, 13];

fn gateway(site: &Site) {
    site.configure(&format!(
        "[listen]\nsmtp = \"127.0.0.1:0\"\nnntp = \"127.0.0.1:0\"\n\n[mail.maildir]\nbob = \"{}\"\n\n{REST}",
        site.path("Maildir").display()
    ));
}

/// The messages in bob's Maildir.
fn maildir(site: &Site) -> Vec<String> {
    let mut found = Vec::new();
    for entry in ["new", "cur"].iter().filter_map(|part| fs::read_dir(site.path("Maildir").join(part)).ok()).flatten() {
        found.push(fs::read_to_string(entry.expect("an entry").path()).expect("readable"));
    }
    found
}

/// Nothing waits but for the hub.
fn is_delivered(site: &Site) -> bool {
    site.queued() == waiting_for_hub(site).len()
}

#[test]
fn smtp_nntp_and_maildir_lose_nothing_in_a_power_cut() {
    let mut site = Site::in_memory("village", "");
    gateway(&site);
    site.run(&["group", "add", "local.test"], b"");
    // The daemon finds this one open, and what it writes there is of no weight.
    fs::write(site.path("log"), "").expect("room");
    let trace = Trace::record(vec![&mut site], |sites, _| {
        let site = sites[0];
        let daemon = site.daemon(None);
        for (service, hello, numbers) in [("smtp", "HELO client.example", LETTERS), ("nntp", "DATE", ARTICLES)] {
            let mut client = Client::connect(&daemon.address(service).expect("an address")).expect("it listens");
            client.hear();
            client.ask(hello);
            for number in numbers {
                hand_in(&mut client, number);
            }
        }
        until("the Maildir is written", || is_delivered(site).then_some(()));
        daemon.stop();
    });
    let ruins = trace.check(1, |ruin| {
        let site = ruin.site(0, "village");
        gateway(&site);
        let said = ruin.said(&[LETTERS, ARTICLES].concat());
        if !is_delivered(&site) {
            let _daemon = site.daemon(None);
            until("the Maildir is written", || is_delivered(&site).then_some(()));
        }
        let places = [site.mail("alice"), maildir(&site), waiting_for_hub(&site)];
        for number in LETTERS {
            check_found(&places.each_ref().map(|mail| count(mail, number)), number, &said, &ruin.what);
        }
        let articles = site.article_texts();
        for number in ARTICLES {
            check_found(&[count_article(&articles, number)], number, &said, &ruin.what);
        }
    });
    assert!(ruins > 60, "{ruins}");
}

/// Mail, news and a file both ways.
#[test]
fn both_sides_of_a_call_lose_nothing_in_a_power_cut() {
    const FILE: usize = 100_000;
    let mut pair = Pair::new("rmail");
    // Its public directory is made in the call, and the folder above it as well.
    let configure = |hub: &Site| {
        let public = hub.path("outside/public");
        hub.configure(&format!("public = \"{}\"\n\n{}", public.display(), hub_config("rmail")));
        public
    };
    let bytes = crate::sim::chance::Chance::new(1, 1).text(FILE);
    for (site, to, peer, first) in
        [(&pair.village, "bob@hub.example", "hub", 1), (&pair.hub, "alice@village.example", "village", 11)]
    {
        for number in [first, first + 1] {
            site.run(&["sendmail", to], &letter(number, size(number)));
        }
        site.run(&["rnews"], &batch(&[article(first, size(first))]));
        fs::write(site.path("file"), &bytes).expect("room");
        let file = site.path("file").display().to_string();
        site.run(&["uucp", &file, &format!("{peer}!~/made/by/us/file")], b"");
    }
    let Pair { village, hub, .. } = &mut pair;
    let config = village_config(hub, "rmail", None);
    village.configure(&config);
    fs::remove_dir(village.spool().join("public")).expect("an empty folder");
    configure(hub);
    let trace = Trace::record(vec![village, hub], |sites, _| {
        sites[0].run(&["call", "hub"], b"");
    });
    let ruins = trace.check(2, |ruin| {
        let pair = Pair { village: ruin.site(0, "village"), hub: ruin.site(1, "hub"), format: "rmail" };
        let public = [configure(&pair.hub), pair.village.spool().join("public")];
        pair.call_until_idle(&ruin.what);
        for (site, user, first, public) in [(&pair.hub, "bob", 1, &public[0]), (&pair.village, "alice", 11, &public[1])]
        {
            let (mail, articles) = (site.mail(user), site.article_texts());
            let found = [first, first + 1].map(|number| count(&mail, number));
            assert_eq!((found, mail.len()), ([1, 1], 2), "{}: letters for {user}", ruin.what);
            let found = [1, 11].map(|number| count_article(&articles, number));
            assert_eq!(found, [1; 2], "{}: articles of {user}'s site", ruin.what);
            let file = fs::read(public.join("made/by/us/file")).ok();
            assert!(file.as_ref() == Some(&bytes), "{}: the file of {user}'s site is not there", ruin.what);
        }
    });
    assert!(ruins > 150, "{ruins}");
}
