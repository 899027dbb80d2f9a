//! SMTP intake beside Postfix, and `rnews` beside INN, where they are installed.

use std::process::Command;
use std::time::Instant;

use super::ours::{Ours, run};
use super::{Row, median, peers};

pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    rows.extend(smtp());
    rows.push(rnews());
    rows
}

const MESSAGES: usize = 2000;

/// `smtp-source`, ten connections, 3 kB, each message synced.
fn smtp() -> Option<Row> {
    let source = peers::find("usr/sbin/smtp-source")?;
    let ours = Ours::new("village", "[listen]\nsmtp = \"127.0.0.1:0\"\n");
    let _daemon = ours.daemon();
    let address = ours.address("smtp ");
    let libraries = source.parent().and_then(|p| p.parent()).map(|p| p.join("lib/postfix")).expect("a folder");
    let load = |address: &str, to: &str| {
        let mut command = Command::new(&source);
        let count = MESSAGES.to_string();
        command.env("LD_LIBRARY_PATH", &libraries);
        command.args(["-s", "10", "-l", "3000", "-m", &count, "-f", "a@x.example", "-t", to, address]);
        let begun = Instant::now();
        let output = run(command, b"");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        MESSAGES as f64 / begun.elapsed().as_secs_f64()
    };
    let postfix = std::env::var("BANGPATH_BENCH_POSTFIX").ok();
    let (mut mine, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        mine.push(load(&address, "alice@village.example"));
        theirs.extend(postfix.as_deref().map(|address| load(address, "b@y.example")));
    }
    let what = format!("SMTP intake, {MESSAGES} messages of 3 kB, 10 connections");
    let theirs = (!theirs.is_empty()).then(|| median(theirs));
    Some(Row { what, unit: "messages/s", ours: median(mine), theirs, wanted: 1.0 })
}

const ARTICLES: usize = 2000;

/// A batch of 2,000 articles of 2.2 kB.
fn rnews() -> Row {
    let batch = |seed: usize| {
        let mut batch = Vec::new();
        for n in 0..ARTICLES {
            let text = "A line of some words, as an article has many of them.\n".repeat(35);
            let article = format!(
                "Path: x!not-for-mail\nFrom: a@x.example\nNewsgroups: comp.graphics\nSubject: {n}\nDate: Mon, 23 Nov 2026 10:00:00 GMT\nMessage-ID: <{seed}.{n}@x.example>\n\n{text}"
            );
            batch.extend_from_slice(format!("#! rnews {}\n", article.len()).as_bytes());
            batch.extend_from_slice(article.as_bytes());
        }
        batch
    };
    let ours = Ours::new("village", "[news]\ncreate = \"*\"\n");
    let inn: Option<Vec<String>> = std::env::var("BANGPATH_BENCH_RNEWS")
        .ok()
        .map(|words| words.split_ascii_whitespace().map(str::to_owned).collect());
    let (mut mine, mut theirs) = (Vec::new(), Vec::new());
    for seed in 0..3 {
        let batch = batch(std::process::id() as usize * 10 + seed);
        let begun = Instant::now();
        ours.run(&["rnews"], &batch);
        mine.push(ARTICLES as f64 / begun.elapsed().as_secs_f64());
        if let Some(words) = &inn {
            let mut command = Command::new(&words[0]);
            command.args(&words[1..]);
            let begun = Instant::now();
            let output = run(command, &batch);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            theirs.push(ARTICLES as f64 / begun.elapsed().as_secs_f64());
        }
    }
    let what = format!("rnews, {ARTICLES} articles of 2 kB");
    let theirs = (!theirs.is_empty()).then(|| median(theirs));
    Row { what, unit: "articles/s", ours: median(mine), theirs, wanted: 2.0 }
}
