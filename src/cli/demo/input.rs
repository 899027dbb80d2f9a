//! What the demo sends: a few letters and articles of its own, or the user's.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cli::{DATA, Failure};
use crate::wire::header::Header;

/// A letter or an article, with LF line ends.
#[derive(Debug, Clone)]
pub struct Message {
    /// For the list of what was refused.
    pub name: String,
    pub bytes: Vec<u8>,
    /// With its angle brackets; articles have one.
    pub message_id: Option<String>,
}

impl Message {
    pub fn new(name: String, bytes: Vec<u8>) -> Self {
        let bytes = to_lf(bytes);
        let header = Header::parse(&bytes).map(|(header, _)| header).unwrap_or_default();
        Self { name, message_id: header.text("Message-ID"), bytes }
    }
}

fn to_lf(bytes: Vec<u8>) -> Vec<u8> {
    if !bytes.contains(&b'\r') {
        return bytes;
    }
    let mut out = Vec::with_capacity(bytes.len());
    for (at, byte) in bytes.iter().enumerate() {
        if *byte != b'\r' || bytes.get(at + 1) != Some(&b'\n') {
            out.push(*byte);
        }
    }
    out
}

/// Letters of our own.
pub fn own_mail(count: usize, from: &str) -> Vec<Message> {
    let texts = [
        "The well is repaired. Please send the invoice to the usual address.\n",
        "Grüße aus dem Dorf! Eight-bit text passes unchanged.\n",
        "From here on, lines that begin with From are only lines.\nFrom me to you.\n.\n..\nand dots are only dots.\n",
        "The clinic needs 40 boxes of the blue bandages by the end of the month,\nand somebody to look at the generator.\n",
    ];
    let letter = |n: usize| {
        let text = texts[n % texts.len()].repeat(1 + n % 3);
        let bytes = format!(
            "From: Ann <ann@{from}>\nTo: Bob\nSubject: Letter {n} from {from}\nDate: Mon, 23 Nov 2026 10:00:{:02} +0000\n\
             Message-ID: <demo-mail-{n}@{from}>\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\
             Content-Transfer-Encoding: 8bit\n\n{text}",
            n % 60
        );
        Message::new(format!("letter {n} from {from}"), bytes.into_bytes())
    };
    (0..count).map(letter).collect()
}

/// Articles of our own. Those from elsewhere have a `Path` already.
pub fn own_news(count: usize, from: &str, path: Option<&str>) -> Vec<Message> {
    let article = |n: usize| {
        let path = path.map_or(String::new(), |p| format!("Path: {p}!not-for-mail\n"));
        let text = "The tide tables for the next week, hour by hour.\n".repeat(5 + n % 4 * 5);
        let bytes = format!(
            "{path}From: Carl <carl@{from}>\nNewsgroups: local.demo\nSubject: Article {n} from {from}\n\
             Date: Mon, 23 Nov 2026 11:00:{:02} +0000\nMessage-ID: <demo-news-{n}@{from}>\n\n{text}",
            n % 60
        );
        Message::new(format!("article {n} from {from}"), bytes.into_bytes())
    };
    (0..count).map(article).collect()
}

/// Mail from an mbox file, or from a folder with one message a file.
pub fn read_mail(path: &Path) -> Result<Vec<Message>, Failure> {
    if path.is_dir() {
        return read_folder(path);
    }
    let bytes = fs::read(path).map_err(|e| cannot(path, &e))?;
    Ok(split_mbox(&bytes, &path.display().to_string()))
}

/// Articles from a folder, or a tree of folders such as a news spool.
pub fn read_news(path: &Path) -> Result<Vec<Message>, Failure> {
    if !path.is_dir() {
        return Err(Failure::new(DATA, format!("{} is no folder", path.display())));
    }
    read_folder(path)
}

fn cannot(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(DATA, format!("cannot read {}: {error}", path.display()))
}

fn read_folder(top: &Path) -> Result<Vec<Message>, Failure> {
    let mut folders = vec![top.to_owned()];
    let mut files: Vec<PathBuf> = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(|e| cannot(&folder, &e))? {
            let path = entry.map_err(|e| cannot(&folder, &e))?.path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    let read = |path: PathBuf| {
        let name = path.strip_prefix(top).unwrap_or(&path).display().to_string();
        let bytes = fs::read(&path).map_err(|e| cannot(&path, &e))?;
        Ok(Message::new(name, bytes))
    };
    files.into_iter().map(read).collect()
}

/// `From ann Mon Jan  5 10:00:00 1998`: a sentence that begins with From has no time in it.
fn is_separator(line: &[u8]) -> bool {
    let is_time = |w: &[u8]| w.len() >= 5 && w[2] == b':' && [w[0], w[1], w[3], w[4]].iter().all(u8::is_ascii_digit);
    line.starts_with(b"From ") && line.split(|b| *b == b' ').any(is_time)
}

/// A message begins at a line `From ` behind a blank line or at the top; that line is not part of it.
fn split_mbox(bytes: &[u8], name: &str) -> Vec<Message> {
    let mut messages: Vec<Vec<u8>> = Vec::new();
    let mut blank = true;
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        if blank && is_separator(line) {
            messages.push(Vec::new());
        } else if let Some(message) = messages.last_mut() {
            message.extend_from_slice(line);
        }
        blank = matches!(line, b"\n" | b"\r\n");
    }
    for message in &mut messages {
        // The blank line before the next `From ` is the mailbox's.
        if message.ends_with(b"\n\n") {
            message.pop();
        }
    }
    let numbered = messages.into_iter().enumerate();
    numbered.map(|(n, bytes)| Message::new(format!("{name} number {}", n + 1), bytes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_is_split_at_from_lines() {
        let mbox = b"From a Mon Jan  5 10:00:00 1998\nSubject: 1\n\nFrom here\n\nFrom b Tue Jan  6 9:0\n\nFrom b Tue Jan  6 09:00 1998\nSubject: 2\r\n\r\ntwo\n";
        let texts: Vec<String> =
            split_mbox(mbox, "x").into_iter().map(|m| String::from_utf8(m.bytes).expect("text")).collect();
        assert_eq!(texts, ["Subject: 1\n\nFrom here\n\nFrom b Tue Jan  6 9:0\n", "Subject: 2\n\ntwo\n"]);
    }
}
