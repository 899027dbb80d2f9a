//! News with INN, and with batches that `compress` and `gzip` made.

use std::fs;
use std::process::Command;

use super::ours::{Ours, noise, run, until};
use super::peers;
use super::servers::Inn;
use super::taylor::Taylor;

/// An article that tries what changes on bad ways: dots, bytes above 127, long lines, folded headers.
fn article(number: usize, site: &str) -> String {
    let noise: String = noise(number as u64, 300).iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "Path: {site}!not-for-mail\nFrom: ann@{site}\nNewsgroups: comp.graphics\nSubject: number {number}\n\tand more\n\
         Date: Mon, 23 Nov 2026 10:00:00 GMT\nMessage-ID: <{number}@{site}>\nReferences: <0@{site}>\n <00@{site}>\n\n\
         .\n..\n.dot\nFrom there\n\u{e4}\u{f6}\u{fc} \u{2713}\n{noise}\n\nlast\n"
    )
}

/// The article without what each server on the way adds or changes: `Xref`, and its name in `Path`.
fn without_trace(article: &str) -> String {
    let (header, body) = article.split_once("\n\n").expect("an article");
    let kept = header.lines().filter(|l| !l.starts_with("Xref:") && !l.starts_with("Path:"));
    kept.map(|l| format!("{l}\n")).collect::<String>() + "\n" + body
}

fn path(article: &str) -> &str {
    article.lines().find_map(|l| l.strip_prefix("Path: ")).expect("a path")
}

fn batch(articles: &[String]) -> Vec<u8> {
    articles.iter().flat_map(|a| [format!("#! rnews {}\n", a.len()).as_bytes(), a.as_bytes()].concat()).collect()
}

fn through(mut program: Command, input: &[u8]) -> Vec<u8> {
    program.arg("-c");
    let output = run(program, input);
    assert!(!output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// What stands in a group of ours, by number, as a reader gets it.
fn ours_in(site: &Ours, group: &str) -> Vec<String> {
    use std::io::{BufRead, BufReader, Write};
    let stream = std::net::TcpStream::connect(site.address("nntp ")).expect("the daemon answers");
    stream.set_nodelay(true).expect("a socket");
    let mut lines = BufReader::new(stream.try_clone().expect("a socket")).split(b'\n').map(|l| {
        let line = String::from_utf8(l.expect("the daemon answers")).expect("text");
        line.strip_suffix('\r').expect("CRLF").to_owned()
    });
    let say = |words: &str| (&stream).write_all(format!("{words}\r\n").as_bytes()).expect("the daemon listens");
    lines.next();
    say(&format!("GROUP {group}"));
    let answer = lines.next().expect("an answer");
    let numbers: Vec<usize> = answer.split(' ').skip(2).take(2).map(|n| n.parse().unwrap_or(0)).collect();
    let [low, high] = numbers[..] else { return Vec::new() };
    let mut articles = Vec::new();
    for number in low..=high {
        say(&format!("ARTICLE {number}"));
        if lines.next().expect("an answer").starts_with("220") {
            let text = lines.by_ref().take_while(|l| l != ".");
            articles.push(text.map(|l| l.strip_prefix('.').unwrap_or(&l).to_owned() + "\n").collect());
        }
    }
    articles
}

#[test]
fn batches_of_compress_and_gzip_are_unpacked() {
    let Some(compress) = peers::find("usr/bin/compress") else { return };
    let ours = Ours::new("village", "[listen]\nnntp = \"127.0.0.1:0\"\n\n[news]\ncreate = \"*\"\n");
    let compress = |bits: &str| {
        let mut command = Command::new(&compress);
        command.arg(format!("-b{bits}"));
        command
    };
    // Not 9: what ncompress writes with so few it cannot read itself.
    let packers = [
        ("cunbatch", compress("10")),
        ("cunbatch", compress("12")),
        ("cunbatch", compress("16")),
        ("gunbatch", Command::new("gzip")),
    ];
    let mut sent = Vec::new();
    for (round, (name, packer)) in packers.into_iter().enumerate() {
        let articles: Vec<String> = (0..200).map(|n| article(round * 1000 + n, "old.example")).collect();
        let packed = [format!("#! {name}\n").as_bytes(), &through(packer, &batch(&articles))].concat();
        ours.run(&["rnews"], &packed);
        sent.extend(articles);
    }
    let _daemon = ours.daemon();
    let got: Vec<String> = ours_in(&ours, "comp.graphics").iter().map(|a| without_trace(a)).collect();
    let sent: Vec<String> = sent.iter().map(|a| without_trace(a)).collect();
    assert!(got == sent, "{} articles of {}", got.len(), sent.len());
}

#[test]
fn uncompress_reads_the_batches_that_we_compress() {
    let Some(compress) = peers::find("usr/bin/compress") else { return };
    let Some(hub) = Taylor::new("hub", "village", "type stdin", "") else { return };
    let ours = Ours::new(
        "village",
        &format!(
            "[port.out]\ntype = \"pipe\"\ncommand = {:?}\n\n[sites.hub]\ncall = [{{ port = \"out\" }}]\n\
             news = {{ groups = \"*\", format = \"cunbatch\" }}\n\n[news]\ncreate = \"*\"\n",
            hub.uucico()
        ),
    );
    let articles: Vec<String> = (0..100).map(|n| article(n, "old.example")).collect();
    ours.run(&["rnews"], &batch(&articles));
    assert!(ours.call("hub").status.success(), "{}", hub.log());
    let batches = hub.execute("news.");
    assert!(!batches.is_empty(), "{}", hub.log());
    let mut got = String::new();
    for packed in &batches {
        let mut command = Command::new(&compress);
        command.arg("-d");
        let packed = packed.strip_prefix(b"#! cunbatch\n").expect("a compressed batch");
        got += &String::from_utf8(through(command, packed)).expect("text");
    }
    for article in &articles {
        let (_, rest) = article.split_once('\n').expect("Path first");
        assert!(got.contains(rest), "missing: {article}");
    }
}

/// Everything has come to INN, in any order, unchanged but for the traces, by way of `site`.
fn check_inn(inn: &Inn, sent: &[String], by: &str) {
    let arrived = until(
        "the articles reach INN",
        || Some(inn.articles("comp.graphics")).filter(|a| a.len() >= sent.len()),
        || inn.log(),
    );
    assert!(arrived.iter().all(|a| path(a).starts_with(&format!("{}!{by}", Inn::NAME))), "{}", path(&arrived[0]));
    let sorted = |articles: &[String]| {
        let mut plain: Vec<String> = articles.iter().map(|a| without_trace(a)).collect();
        plain.sort();
        plain
    };
    assert!(sorted(&arrived) == sorted(sent), "articles have changed: {:?}", arrived.first());
}

#[test]
fn inn_takes_what_we_feed_it_by_ihave() {
    let Some(inn) = Inn::start(&["comp.graphics"]) else { return };
    let feed = format!(
        "[listen]\nnntp = \"127.0.0.1:0\"\n\n[news]\ncreate = \"*\"\n\n[news.peers.inn]\nhost = \"{}\"\nsend = \"comp.*\"\n\
         path-names = [\"{}\"]\n",
        inn.address,
        Inn::NAME
    );
    let ours = Ours::new("village", &feed);
    let _daemon = ours.daemon();
    let mut articles: Vec<String> = (0..50).map(|n| article(n, "old.example")).collect();
    ours.run(&["rnews"], &batch(&articles));
    check_inn(&inn, &articles, "village!");
    // It has been there: it does not go there again.
    let known = article(1000, "old.example").replace("Path: ", &format!("Path: {}!", Inn::NAME));
    ours.run(&["rnews"], known.as_bytes());
    articles.push(article(1001, "old.example"));
    ours.run(&["rnews"], articles.last().expect("just put there").as_bytes());
    check_inn(&inn, &articles, "village!");
    let empty = || ours.run(&["queue", "list", "--json"], b"").trim().to_owned();
    until("the queue empties", || (empty() == "[]").then_some(()), empty);
}

#[test]
fn inn_feeds_us() {
    let Some(inn) = Inn::start(&["comp.graphics"]) else { return };
    let ours = Ours::new("village", "[listen]\nnntp = \"127.0.0.1:0\"\n\n[news]\ncreate = \"*\"\n");
    let _daemon = ours.daemon();
    let articles: Vec<String> = (0..50).map(|n| article(n, "old.example")).collect();
    let (_, port) = inn.address.rsplit_once(':').expect("a port");
    let mut rnews = inn.command("rnews");
    rnews.args(["-S", "127.0.0.1", "-P", port]);
    let output = run(rnews, &batch(&articles));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    check_inn(&inn, &articles, "old.example!");
    let list: String = (1..=articles.len()).map(|n| format!("comp/graphics/{n} <{}@old.example>\n", n - 1)).collect();
    let to_send = ours.folder.path().join("to-send");
    fs::write(&to_send, list).expect("a file");
    let address = ours.address("nntp ");
    let (_, port) = address.rsplit_once(':').expect("a port");
    // Twice: what it offers again is refused, and stands there once.
    for _ in 0..2 {
        fs::copy(&to_send, to_send.with_extension("now")).expect("a file");
        let mut innxmit = inn.command("innxmit");
        innxmit.args(["-d", "-P", port, "127.0.0.1"]).arg(to_send.with_extension("now"));
        let output = run(innxmit, b"");
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    }
    let arrived = ours_in(&ours, "comp.graphics");
    assert!(
        arrived.iter().all(|a| path(a) == "village!inn.example.net!old.example!not-for-mail"),
        "{:?}",
        arrived.first()
    );
    let arrived: Vec<String> = arrived.iter().map(|a| without_trace(a)).collect();
    let sent: Vec<String> = articles.iter().map(|a| without_trace(a)).collect();
    assert!(arrived == sent, "{} articles of {}: {:?}", arrived.len(), sent.len(), arrived.first());
}

#[test]
fn articles_posted_at_the_village_come_through_taylor_into_inn() {
    let Some(inn) = Inn::start(&["comp.graphics"]) else { return };
    let Some(hub) = Taylor::new("hub", "village", "type stdin", "") else { return };
    let (_, port) = inn.address.rsplit_once(':').expect("a port");
    hub.provide("rnews", &inn.script("rnews", &format!("-S 127.0.0.1 -P {port}")));
    for format in ["rnews", "gunbatch"] {
        let ours = Ours::new(
            "village",
            &format!(
                "[port.out]\ntype = \"pipe\"\ncommand = {:?}\n\n[sites.hub]\ncall = [{{ port = \"out\" }}]\n\
                 news = {{ groups = \"*\", format = \"{format}\", size = \"20K\" }}\n\n[news]\ncreate = \"*\"\n",
                hub.uucico()
            ),
        );
        let articles: Vec<String> = (0..50).map(|n| article(n, &format!("{format}.example"))).collect();
        ours.run(&["rnews"], &batch(&articles));
        assert!(ours.call("hub").status.success(), "{}", hub.log());
        hub.run_arrived();
    }
    let sent: Vec<String> =
        ["rnews", "gunbatch"].iter().flat_map(|f| (0..50).map(move |n| article(n, &format!("{f}.example")))).collect();
    check_inn(&inn, &sent, "village!");
}
