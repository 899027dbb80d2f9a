//! What arrived where, compared byte by byte with what was sent.

use std::collections::HashMap;

use super::input::Message;
use super::site::Site;
use crate::base::names::UserName;
use crate::cli::Failure;
use crate::store::StoreError;
use crate::wire::header::Header;

/// Largest message that is compared.
const COMPARED_MAX: u64 = 256 * 1024 * 1024;

/// One stream of the demo: messages of a kind from one place to another.
pub struct Stream {
    pub what: &'static str,
    pub from: &'static str,
    pub to: &'static str,
    pub accepted: Vec<Message>,
    /// What was refused, and why.
    pub refused: Vec<(String, String)>,
}

/// What became of a stream.
#[derive(Debug, Default)]
pub struct Verdict {
    pub arrived: usize,
    pub unchanged: usize,
    /// Names of those that did not arrive, or arrived changed.
    pub missing: Vec<String>,
    /// Messages that arrived more than once, or that nobody sent.
    pub surplus: usize,
}

impl Verdict {
    pub fn is_good(&self, stream: &Stream) -> bool {
        self.unchanged == stream.accepted.len() && self.missing.is_empty() && self.surplus == 0
    }
}

/// How many messages of a stream have arrived so far.
pub fn count(stream: &Stream, at: &Site) -> Result<usize, Failure> {
    Ok(at.store.read::<_, StoreError>(|view| match stream.what {
        "mail" => Ok(view.mailbox(&recipient())?.len()),
        _ => {
            let mut count = 0;
            for message in &stream.accepted {
                let id = message.message_id.as_deref().unwrap_or("");
                count += usize::from(view.history(id)?.is_some());
            }
            Ok(count)
        }
    })?)
}

/// Compares what arrived with what was sent.
pub fn judge(stream: &Stream, at: &Site) -> Result<Verdict, Failure> {
    match stream.what {
        "mail" => judge_mail(stream, at),
        _ => judge_news(stream, at),
    }
}

/// Who gets all mail of the demo.
pub fn recipient() -> UserName {
    UserName::parse("demo").expect("a user name")
}

fn judge_mail(stream: &Stream, at: &Site) -> Result<Verdict, Failure> {
    let bodies = at.store.read::<_, StoreError>(|view| {
        let entries = view.mailbox(&recipient())?;
        entries.iter().map(|entry| view.body(entry.body)).collect::<Result<Vec<_>, _>>()
    })?;
    let mut arrived: HashMap<Vec<u8>, usize> = HashMap::new();
    for body in &bodies {
        *arrived.entry(essence(&body.bytes(COMPARED_MAX)?, &["Received"])).or_default() += 1;
    }
    let mut verdict = Verdict { arrived: bodies.len(), ..Verdict::default() };
    for message in &stream.accepted {
        match arrived.get_mut(&essence(&message.bytes, &["Received"])) {
            Some(count) if *count > 0 => {
                *count -= 1;
                verdict.unchanged += 1;
            }
            _ => verdict.missing.push(message.name.clone()),
        }
    }
    verdict.surplus = arrived.values().sum();
    Ok(verdict)
}

fn judge_news(stream: &Stream, at: &Site) -> Result<Verdict, Failure> {
    let mut verdict = Verdict::default();
    for message in &stream.accepted {
        let id = message.message_id.as_deref().unwrap_or("");
        let found = at.store.read::<_, StoreError>(|view| view.article(id)?.map(|a| view.body(a.body)).transpose())?;
        let Some(body) = found else {
            verdict.missing.push(message.name.clone());
            continue;
        };
        verdict.arrived += 1;
        let trace = ["Path", "Xref"];
        if essence(&body.bytes(COMPARED_MAX)?, &trace) == essence(&message.bytes, &trace) {
            verdict.unchanged += 1;
        } else {
            verdict.missing.push(format!("{} (changed)", message.name));
        }
    }
    Ok(verdict)
}

/// A message without the trace headers that a relay adds, and with a line end at its end.
fn essence(bytes: &[u8], trace: &[&str]) -> Vec<u8> {
    let Ok((mut header, body_at)) = Header::parse(bytes) else { return bytes.to_vec() };
    header.take_from_lines();
    for name in trace {
        header.remove(name);
    }
    // What a client left out and its first relay added.
    let mut out = header.as_bytes().to_vec();
    out.extend_from_slice(&bytes[body_at..]);
    if out.last() != Some(&b'\n') {
        out.push(b'\n');
    }
    out
}
