//! Files that a site wants sent on: with `X`, or with a `uucp` command that it has us run.

use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;

use super::{Context, Site};
use crate::base::limits::{FORWARD_HOPS_MAX, WIRE_NAME_MAX};
use crate::base::names::{Grade, SiteName};
use crate::base::time::Timestamp;
use crate::base::words::with_causes;
use crate::files::public::PublicDirectory;
use crate::store::ledger::Fact;
use crate::store::{BodyId, Cargo, Change, Draft, Hop, NewItem, StoreError};

/// Who asks. The user is what the site says, and not to be trusted.
pub(super) struct Asker<'a> {
    pub site: &'a Site,
    pub user: &'a str,
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
    let last = name.rsplit('/').next().unwrap_or(name);
    let odd = |c: char| c.is_whitespace() || c.is_control() || "<>|;&'\"`$\\()".contains(c);
    let bad = last.is_empty() || last.starts_with(['.', '-']) || last.contains('!') || last.contains(odd);
    match rest.contains('!') && (bad || rest.starts_with('-') || rest.contains(odd)) {
        true => Err("a name holds a blank or a special character, and would have to stand in a command"),
        false => Ok(()),
    }
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
                (Cargo::Expand { from, to, user }, id)
            }
            What::File { name, rest, mode, data } => {
                let body = match data {
                    Data::New(draft) => change.keep(draft)?,
                    Data::Kept(body) => body,
                };
                let id = rest.clone();
                (file_cargo(name, rest, user, mode, body), id)
            }
        };
        let place = hop.to_string();
        let item = change.enqueue(NewItem { hop: Hop::Site(hop), cargo, grade: Grade::FILE, queued: now })?;
        let detail = format!("for site {}, item {}", asker.site.name, item.0);
        change.record(Fact { at: now, verb: "accepted", what: "file", place, id, bytes: 0, detail })?;
    }
    Ok(())
}

/// What carries a file to the neighbour that `rest` is to be understood by: as a file, or with a command that sends it on.
pub fn file_cargo(name: String, rest: String, user: String, mode: u32, body: BodyId) -> Cargo {
    if !rest.contains('!') {
        return Cargo::File { from: name, to: rest, user, mode, notify: None, body };
    }
    let last = name.rsplit('/').next().unwrap_or(&name).to_owned();
    let line = format!("uucp -C -d -g {} {last} {rest}", Grade::FILE);
    Cargo::Command { line, user, requestor: None, file: Some(last), input: body }
}

/// The sources and the target of a `uucp` command line, without its options.
pub(super) fn words<'a>(arguments: &[&'a str]) -> Option<(Vec<&'a str>, &'a str)> {
    let mut rest = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(word) = arguments.next() {
        match word.strip_prefix('-') {
            // These have a value behind them.
            Some("g" | "n" | "s" | "x" | "I") => drop(arguments.next()),
            Some(_) => {}
            None => rest.push(*word),
        }
    }
    let target = rest.pop()?;
    (!rest.is_empty()).then_some((rest, target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_a_copy_are_no_files() {
        let words = |line: &str| {
            let arguments: Vec<&str> = line.split(' ').collect();
            super::words(&arguments).map(|(sources, target)| format!("{} > {target}", sources.join(" ")))
        };
        assert_eq!(words("-C -d -g N letter far!~/").as_deref(), Some("letter > far!~/"));
        assert_eq!(words("-gN -n ann a b ~/").as_deref(), Some("a b > ~/"));
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
