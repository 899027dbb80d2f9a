//! Files that a site wants sent on: with `X`, or with a `uucp` command that it has us run.

use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;

use super::{Context, Site};
use crate::base::limits::{FORWARD_HOPS_MAX, WIRE_NAME_MAX};
use crate::base::names::{Grade, SiteName};
use crate::base::time::Timestamp;
use crate::base::wishes::{CopyWishes, Reports};
use crate::base::words::with_causes;
use crate::files::public::PublicDirectory;
use crate::store::ledger::Fact;
use crate::store::{BodyId, Cargo, Change, Draft, Hop, NewItem, StoreError};

/// Who asks, and what they wish beside the copies. The user is what the site says, and not to be trusted.
pub(super) struct Asker<'a> {
    pub site: &'a Site,
    pub user: &'a str,
    pub wishes: CopyWishes,
}

/// What is to be copied.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    /// It came along with the command, under this name.
    Brought(&'a str, BodyId),
    /// Here or at another site, perhaps with wildcards: `~/x`, `far!~/x`.
    Named(&'a str),
}

/// Why nothing is sent on.
#[derive(Debug, thiserror::Error)]
pub(super) enum RelayError {
    #[error("{0}")]
    NotPermitted(&'static str),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot copy a file")]
    Io(#[from] io::Error),
}

use RelayError::NotPermitted;

/// One thing to be queued for a neighbour.
pub(super) struct Copy {
    hop: SiteName,
    what: What,
}

impl Copy {
    /// The same, with other bytes.
    pub fn with(mut self, draft: Draft) -> Self {
        if let What::File { data, .. } = &mut self.what {
            *data = Data::New(draft);
        }
        self
    }
}

enum What {
    File { name: String, rest: String, mode: u32, data: Data },
    Ask { from: String, to: String },
}

enum Data {
    New(Draft),
    Kept(BodyId),
}

/// Finds out what goes where, as far as the policy of the asking site lets it. Bounded in matches and hops.
pub(super) fn copies(
    context: &Context,
    asker: &Asker<'_>,
    source: Source<'_>,
    target: &str,
) -> Result<Vec<Copy>, RelayError> {
    let target = beyond_us(context, asker.site, target);
    if target.len() > WIRE_NAME_MAX || target.contains(|c: char| c.is_control()) {
        return Err(NotPermitted("the target is no name"));
    }
    if target.matches('!').count() > FORWARD_HOPS_MAX {
        return Err(NotPermitted("the path is too long"));
    }
    // What the asker sends for itself it sends as a file.
    let (next, rest) = target.split_once('!').ok_or(NotPermitted("the target is here"))?;
    let hop = context.site(next).ok_or(NotPermitted("we do not know the next site"))?;
    let back = hop.name == asker.site.name;
    if !back && !asker.site.forward_to.admits(&hop.name) {
        return Err(NotPermitted("forward-to does not name the next site"));
    }
    match source {
        Source::Brought(name, body) => {
            can_be_said(name, rest).map_err(NotPermitted)?;
            let (name, rest) = (name.to_owned(), rest.to_owned());
            let what = What::File { name, rest, mode: 0o666, data: Data::Kept(body) };
            Ok(vec![Copy { hop: hop.name.clone(), what }])
        }
        Source::Named(name) => match beyond_us(context, asker.site, name).split_once('!') {
            Some((host, file)) => {
                let holder = context.site(host).ok_or(NotPermitted("we do not know the site of the file"))?;
                if !asker.site.forward_from.admits(&holder.name) {
                    return Err(NotPermitted("forward-from does not name the site of the file"));
                }
                let what = What::Ask { from: file.to_owned(), to: format!("{}!{target}", holder.our_name) };
                Ok(vec![Copy { hop: holder.name.clone(), what }])
            }
            None if !asker.site.may_request => Err(NotPermitted("the site may not ask for files")),
            None => ours(context, hop, beyond_us(context, asker.site, name), rest),
        },
    }
}

/// Files of the public directory.
fn ours(context: &Context, hop: &Site, pattern: &str, rest: &str) -> Result<Vec<Copy>, RelayError> {
    let public = PublicDirectory::new(&context.public);
    let unreadable = |error| {
        tracing::info!(error = with_causes(&error), "a request is refused");
        NotPermitted("no such file is there for others")
    };
    let mut copies = Vec::new();
    let mut bytes = 0;
    for name in public.matching(pattern).map_err(unreadable)? {
        can_be_said(&name, rest).map_err(NotPermitted)?;
        let mut file = public.open(&name).map_err(unreadable)?;
        let facts = file.metadata()?;
        bytes += facts.len();
        context.store.room_for(bytes)?;
        let mut draft = context.store.draft();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            draft.write_all(&buffer[..count])?;
        }
        let (mode, data) = (facts.permissions().mode() & 0o777, Data::New(draft));
        let what = What::File { name, rest: rest.to_owned(), mode, data };
        copies.push(Copy { hop: hop.name.clone(), what });
    }
    match copies.is_empty() {
        true => Err(NotPermitted("nothing matches")),
        false => Ok(copies),
    }
}

/// A path without our own name in front of it.
fn beyond_us<'a>(context: &Context, site: &Site, mut path: &'a str) -> &'a str {
    while let Some((first, rest)) = path.split_once('!')
        && (first.is_empty() || first == context.our_name || first == site.our_name)
    {
        path = rest;
    }
    path
}

/// Whether a file can be sent on: where the next site has to send it further, names are words of a command.
pub fn can_be_said(name: &str, rest: &str) -> Result<(), &'static str> {
    if !rest.contains('!') {
        return Ok(());
    }
    word_of(name)?;
    if rest.starts_with('-') || rest.contains(odd) { Err(NO_WORD) } else { Ok(()) }
}

const NO_WORD: &str = "a name holds a blank or a special character, and would have to stand in a command";

/// The last part of a path, which can stand in a command.
pub fn word_of(path: &str) -> Result<&str, &'static str> {
    let last = path.rsplit('/').next().unwrap_or(path);
    let bad = last.is_empty() || last.starts_with(['.', '-']) || last.contains('!') || last.contains(odd);
    if bad { Err(NO_WORD) } else { Ok(last) }
}

/// What a shell or a line of words would not take for a part of a name.
fn odd(c: char) -> bool {
    c.is_whitespace() || c.is_control() || "<>|;&'\"`$\\()".contains(c)
}

/// Queues the copies, each with its fact.
pub(super) fn queue(
    change: &mut Change<'_>,
    asker: &Asker<'_>,
    copies: Vec<Copy>,
    now: Timestamp,
) -> Result<(), StoreError> {
    for Copy { hop, what } in copies {
        let user = format!("{}!{}", asker.site.name, asker.user);
        let (cargo, id) = match what {
            What::Ask { from, to } => {
                let id = from.clone();
                (Cargo::Expand { from, to, user, wishes: asker.wishes.clone() }, id)
            }
            What::File { name, rest, mode, data } => {
                let body = match data {
                    Data::New(draft) => change.keep(draft)?,
                    Data::Kept(body) => body,
                };
                let id = rest.clone();
                let outgoing = Outgoing { from: name, to: rest, user, mode, wishes: asker.wishes.clone() };
                (file_cargo(outgoing, body), id)
            }
        };
        let place = hop.to_string();
        let item = change.enqueue(NewItem { hop: Hop::Site(hop), cargo, grade: Grade::FILE, queued: now })?;
        let detail = format!("for site {}, item {}", asker.site.name, item.0);
        change.record(Fact { at: now, verb: "accepted", what: "file", place, id, bytes: 0, detail })?;
    }
    Ok(())
}

/// A file for a neighbour, without its bytes.
pub struct Outgoing {
    pub from: String,
    pub to: String,
    pub user: String,
    pub mode: u32,
    pub wishes: CopyWishes,
}

/// What carries a file to the neighbour that its target is to be understood by: as a file, or with a command that sends it on.
pub fn file_cargo(outgoing: Outgoing, body: BodyId) -> Cargo {
    let Outgoing { from, to, user, mode, wishes } = outgoing;
    if !to.contains('!') {
        return Cargo::File { from, to, user, mode, wishes, execution: None, body };
    }
    let last = from.rsplit('/').next().unwrap_or(&from).to_owned();
    let line = copy_command(&wishes, Grade::FILE, &last, &to);
    Cargo::Command { line, user, requestor: None, reports: Reports::Unsaid, file: Some(last), input: body }
}

/// The command that has a site copy a file, as Taylor's `uucp` words it.
pub fn copy_command(wishes: &CopyWishes, grade: Grade, from: &str, to: &str) -> String {
    let folders = if wishes.no_folders { "-f" } else { "-d" };
    let tell = if wishes.tell_asker { " -m" } else { "" };
    let notify = wishes.notify.as_deref().map(|user| format!(" -n {user}")).unwrap_or_default();
    format!("uucp -C {folders} -g {grade}{tell}{notify} {from} {to}")
}

/// Whether a user to be told can be named in every command that may carry the wish.
pub fn can_be_notified(user: &str) -> bool {
    !user.is_empty() && user.len() <= WIRE_NAME_MAX && !user.starts_with('-') && !user.contains(odd)
}

/// The sources and the target of a `uucp` command line, and what its options wish.
pub(super) fn words<'a>(arguments: &[&'a str]) -> Option<(Vec<&'a str>, &'a str, CopyWishes)> {
    let mut rest = Vec::new();
    let mut wishes = CopyWishes::default();
    let mut arguments = arguments.iter();
    while let Some(word) = arguments.next() {
        let Some(option) = word.strip_prefix('-') else {
            rest.push(*word);
            continue;
        };
        match option {
            "f" => wishes.no_folders = true,
            "d" => wishes.no_folders = false,
            "m" => wishes.tell_asker = true,
            "n" => wishes.notify = arguments.next().map(|user| (*user).to_owned()),
            // These have a value behind them.
            "g" | "s" | "x" | "I" => drop(arguments.next()),
            other => wishes.notify = other.strip_prefix('n').map(str::to_owned).or(wishes.notify),
        }
    }
    wishes.notify = wishes.notify.filter(|user| can_be_notified(user));
    let target = rest.pop()?;
    (!rest.is_empty()).then_some((rest, target, wishes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_a_copy_are_no_files() {
        let words = |line: &str| {
            let arguments: Vec<&str> = line.split(' ').collect();
            super::words(&arguments).map(|(sources, target, wishes)| {
                format!("{} > {target} {}{}", sources.join(" "), wishes.letters(), wishes.notify.unwrap_or_default())
            })
        };
        assert_eq!(words("-C -d -g N letter far!~/").as_deref(), Some("letter > far!~/ d"));
        assert_eq!(words("-gN -n ann a b ~/").as_deref(), Some("a b > ~/ dnann"));
        assert_eq!(words("-C -f -g N -m -nbob a ~/").as_deref(), Some("a > ~/ fmnbob"));
        assert_eq!(words("-n a;b a ~/").as_deref(), Some("a > ~/ d"));
        assert_eq!(words("-C far!~/"), None);
    }

    #[test]
    fn what_cannot_be_a_word_of_a_command_is_not_sent_further() {
        for (name, rest, expected) in [
            ("~/a b", "~/x", true),
            ("~/a", "far!~/x", true),
            ("~/a b", "far!~/x", false),
            ("a;b", "far!~/x", false),
            ("-I", "far!~/x", false),
            ("a", "far!~/x -I /etc/x", false),
        ] {
            assert_eq!(can_be_said(name, rest).is_ok(), expected, "{name} {rest}");
        }
    }
}
