//! Damaged batches and articles, and messages of absurd size.

use super::*;

fn article(number: u64) -> String {
    format!(
        "Path: village!not-for-mail\nFrom: ann@village.example\nNewsgroups: local.test\nSubject: a{number}\n\
         Date: Mon, 5 Jan 2026 10:00:00 GMT\nMessage-ID: <{number}@village.example>\n\nNews.\n"
    )
}

fn batch(articles: &[(usize, String)]) -> Vec<u8> {
    articles.iter().map(|(size, text)| format!("#! rnews {size}\n{text}")).collect::<String>().into_bytes()
}

/// Sends a batch as a site does.
fn feed(hub: &Site, batch: &[u8]) {
    let mut peer = Peer::talking(hub);
    let size = batch.len();
    let taken = peer.give(&format!("E D.hubN1 D.hubN1 news -C D.0007 0666 news 0x{size:x} rnews"), batch);
    assert_eq!(taken.1, "CY", "{taken:?}");
    peer.bye();
}

fn subjects(site: &Site) -> Vec<String> {
    site.articles().into_iter().map(|o| o.subject).collect()
}

#[test]
fn a_batch_that_lies_about_its_lengths_is_kept_and_what_can_be_read_is_filed() {
    let size = article(1).len();
    for (lie, filed) in [(size - 9, ["a1", "a2", "a3"]), (size / 2, ["a1", "a2", "a3"])] {
        let hub = hub();
        feed(&hub, &batch(&[(size, article(1)), (lie, article(2)), (size, article(3))]));
        let found = subjects(&hub);
        assert!(found.contains(&filed[0].to_owned()) && found.contains(&filed[2].to_owned()), "{lie}: {found:?}");
        let dead = hub.dead();
        assert_eq!(dead.len(), 1, "{lie}");
        assert!(dead[0].why.contains("its lengths are wrong"), "{lie}: {}", dead[0].why);
        assert_eq!(dead[0].size as usize, batch(&[(size, article(1)), (lie, article(2)), (size, article(3))]).len());
    }
    let hub = hub();
    feed(&hub, &batch(&[(size, article(1)), (size + 1000, article(2))]));
    assert!(subjects(&hub).contains(&"a1".to_owned()));
    let dead = hub.dead();
    assert!(dead.len() == 1 && dead[0].why.contains("ends 1000 bytes too early"), "{dead:?}");
}

#[test]
fn a_batch_of_noise_is_kept() {
    let hub = hub();
    let batches =
        [&b"#! cunbatch\n\x1f\x9d\x90not compressed at all"[..], b"#! gunbatch\nnor this", b"#! rnews many\n"];
    for (number, noise) in batches.iter().enumerate() {
        feed(&hub, noise);
        assert_eq!(hub.dead().len(), number + 1, "{noise:?}");
    }
    // Without a `#!` it is one article, and a bad one is refused as any other.
    feed(&hub, b"\0\x01\x02");
    assert!(hub.run(&["log"], b"").contains("refused"));
    assert!(subjects(&hub).is_empty());
}

#[test]
fn an_article_without_message_id_is_refused_in_words() {
    let hub = hub();
    let text =
        article(1).lines().filter(|l| !l.starts_with("Message-ID")).map(|l| format!("{l}\n")).collect::<String>();
    let output = hub.try_run(&["rnews"], &batch(&[(text.len(), text), (article(2).len(), article(2))]), None);
    assert!(said(&output).contains("1 article taken, 1 refused"), "{}", said(&output));
    assert_eq!(subjects(&hub), ["a2"]);
    let log = hub.run(&["log"], b"");
    assert!(log.contains("Message-ID"), "{log}");
}

/// Begins a message and sends this much of it; the answer at its end, if the connection is still there.
fn pour(client: &mut Client, head: &str, line: &[u8], times: usize) -> Option<String> {
    client.ask("MAIL FROM:<ann@x.example>")?;
    client.ask("RCPT TO:<bob@hub.example>")?;
    assert!(client.ask("DATA")?.starts_with("354"));
    client.send(head.as_bytes())?;
    for _ in 0..times {
        client.send(line)?;
    }
    client.ask("\r\n.")
}

#[test]
fn a_huge_header_and_an_endless_line_are_refused_in_bounded_memory() {
    let hub = hub();
    let daemon = hub.daemon(None);
    let before = super::memory::peak(daemon.id());
    let header = "X-Header: ".to_owned() + &"x".repeat(990) + "\r\n";
    let long = vec![b'x'; 1 << 20];
    for (head, line, times) in [("", header.as_bytes(), 10_000), ("\r\n", &long[..], 50), ("Subject: x", &long[..], 50)]
    {
        let mut client = connect(&daemon, "smtp");
        client.hear().expect("a greeting");
        client.ask("HELO x.example").expect("an answer");
        let answer = pour(&mut client, head, line, times).unwrap_or_default();
        assert!(answer.starts_with('5'), "{head:?}: {answer}");
    }
    let mut client = connect(&daemon, "smtp");
    client.hear().expect("a greeting");
    client.ask("HELO x.example").expect("an answer");
    assert!(pour(&mut client, "Subject: good\r\n\r\n", b"Hi\r\n", 1).expect("an answer").starts_with("250"));
    let peak = super::memory::peak(daemon.id());
    assert!(peak < 40 << 20, "{before} bytes before, {peak} at most");
    assert_eq!(hub.mail("bob").len(), 1);
    assert!(hub.mail("bob")[0].contains("Subject: good"));
}

#[test]
fn a_client_for_whom_there_is_no_place_is_told_so() {
    let site = Site::new("village", "[listen]\nsmtp = \"127.0.0.1:0\"\nnntp = \"127.0.0.1:0\"\n");
    let daemon = site.daemon(None);
    for (service, busy) in [("smtp", "421 4.3.2 "), ("nntp", "400 ")] {
        let address = daemon.address(service).expect("it listens");
        let connect = || {
            let mut client = Client::connect(&address).expect("a connection");
            let greeting = client.hear().expect("a greeting");
            (client, greeting)
        };
        let clients: Vec<_> = (0..bangpath::base::limits::CLIENTS_OF_ONE_MAX).map(|_| connect()).collect();
        assert!(clients.iter().all(|(_, greeting)| greeting.starts_with('2')), "{service}");
        assert!(connect().1.starts_with(busy), "{service}");
        drop(clients);
        until("there is a place again", || connect().1.starts_with('2').then_some(()));
    }
}
