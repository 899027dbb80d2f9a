//! `uux`: commands for another site, with what they read and the files that go along.

use std::io;
use std::path::PathBuf;

use super::{Here, Opened, Told, Tool, at_site, parse, queue, read_file};
use crate::base::limits::{EXECUTION_FILE_MAX, EXECUTION_FILES_MAX, WIRE_NAME_MAX};
use crate::base::names::{Grade, SiteName};
use crate::base::wishes::CopyWishes;
use crate::call::{spool_name, word_of};
use crate::cli::{Failure, USAGE};
use crate::store::ledger::Fact;
use crate::store::{BodyId, Cargo, Change, Draft, Hop, ItemId, NewItem, StoreError};
use crate::wire::uucp::{ExecutionFile, Output};

/// What a command line for a site comes to.
#[derive(Default)]
struct Wanted {
    /// Program and arguments, as they are there.
    line: String,
    /// The file of ours that the command reads (`<!file`).
    input: Option<String>,
    /// Files of ours that go along, and what the command calls them.
    files: Vec<(String, String)>,
    output: Option<Output>,
}

/// `uux - -r -gC hub!rmail '(bob)'`, `uux 'hub!lp' '!letter'`
pub fn uux(here: &Here, words: Vec<String>) -> Result<(), Failure> {
    let told = parse(Tool::Uux, words)?;
    let opened = here.with(told.config.clone()).open()?;
    // The command may come as one word or as many.
    let line = told.rest.join(" ");
    let mut words = line.split_ascii_whitespace();
    let command =
        words.next().ok_or_else(|| Failure::new(USAGE, "uux needs a command: uux - site!command arguments"))?;
    let (site, program) = match at_site(&opened, command)? {
        Some(found) => found,
        None => return Err(Failure::new(USAGE, format!("`{command}` names no site: write site!command"))),
    };
    let wanted = wanted(&opened, &site, program, words)?;
    let input = match (&wanted.input, told.input) {
        (Some(_), true) => return Err(Failure::new(USAGE, "the command has two inputs: leave out `-` or `<`")),
        (Some(file), false) => Some(read_file(&opened, file)?.1),
        (None, true) => {
            let mut draft = opened.store.draft();
            io::copy(&mut io::stdin().lock(), &mut draft)?;
            Some(draft)
        }
        (None, false) => None,
    };
    if !wanted.files.is_empty() || wanted.output.is_some() {
        return queue_with_files(&opened, &site, &told, wanted, input);
    }
    let line = wanted.line;
    let user = user();
    let (requestor, what) = (told.requestor.clone(), line.clone());
    let cargo = |input: BodyId| Cargo::Command { line, user, requestor, reports: told.reports, file: None, input };
    let draft = input.unwrap_or_else(|| opened.store.draft());
    queue(&opened, site, grade(&told), draft, told.print_id, ("command", what), cargo)
}

fn user() -> String {
    crate::cli::local::user_name().unwrap_or_else(|| "uucp".to_owned())
}

fn grade(told: &Told) -> Grade {
    told.grade.unwrap_or(Grade::FILE)
}

/// Sorts the arguments: words, files of ours, files that are at the site already.
fn wanted<'a>(
    opened: &Opened,
    site: &SiteName,
    program: &str,
    mut words: impl Iterator<Item = &'a str>,
) -> Result<Wanted, Failure> {
    let usage = |why: String| Failure::new(USAGE, why);
    let mut wanted = Wanted { line: program.to_owned(), ..Wanted::default() };
    while let Some(word) = words.next() {
        // Parentheses keep an address with a `!` from being taken for a file.
        let plain = word.strip_prefix('(').and_then(|word| word.strip_suffix(')'));
        if let Some(file) = word.strip_prefix('>').filter(|_| plain.is_none()) {
            let file = if file.is_empty() { words.next().unwrap_or_default() } else { file };
            wanted.write(opened, site, file)?;
            continue;
        }
        let (word, read) = match (plain, word.strip_prefix('<')) {
            (None, Some("")) => (words.next().unwrap_or_default(), true),
            (None, Some(file)) => (file, true),
            (Some(_), _) | (None, None) => (word, false),
        };
        if plain.is_none() && word.contains(['<', '>', '|', ';', '&']) {
            let why = "no shell runs the command: leave out";
            return Err(usage(format!("{why} `{word}`, or put it in parentheses if it is an address")));
        }
        let argument = match plain.map_or_else(|| word.split_once('!'), |_| None) {
            Some((host, file)) if host.is_empty() || host == opened.context.our_name => {
                let name = word_of(file).map_err(|why| usage(format!("`{word}`: {why}")))?;
                if read {
                    wanted.read(file)?;
                    continue;
                }
                wanted.bring(file, name)?;
                name
            }
            Some((host, file)) if host == site.as_str() && !read => file,
            Some(_) => {
                let why = "lies at another site: fetch it first, or put it in parentheses if it is an address";
                return Err(usage(format!("`{word}` {why}")));
            }
            None if read => return Err(usage(format!("a file of this site is to be read: write `<!{word}`"))),
            None => plain.unwrap_or(word),
        };
        wanted.line.push(' ');
        wanted.line.push_str(argument);
    }
    Ok(wanted)
}

impl Wanted {
    fn read(&mut self, file: &str) -> Result<(), Failure> {
        match self.input.replace(file.to_owned()) {
            None => Ok(()),
            Some(_) => Err(Failure::new(USAGE, "the command has two inputs: leave out one `<`")),
        }
    }

    /// `>!~/file` comes back to us, `>site!~/file` goes there.
    fn write(&mut self, opened: &Opened, site: &SiteName, word: &str) -> Result<(), Failure> {
        let usage = |why: &str| Failure::new(USAGE, format!("`>{word}`: {why}"));
        let (host, file) = word.split_once('!').ok_or_else(|| usage("write `>!~/file` for a file of this site"))?;
        let host = if host.is_empty() { opened.context.our_name.as_str() } else { host };
        let file = file.to_owned();
        let odd = |c: char| c.is_control() || "<>|;&!".contains(c);
        if file.is_empty() || file.contains(odd) || file.len() > WIRE_NAME_MAX || SiteName::parse(host).is_err() {
            return Err(usage("this is no name of a file"));
        }
        let output = match (host == site.as_str(), host == opened.context.our_name) {
            (true, _) => Output { file, site: None },
            // It comes as any file of a neighbour does.
            (false, true) if !file.starts_with("~/") || file.split('/').any(|part| part == "..") => {
                return Err(usage("what comes back lies in the public directory: ~/file"));
            }
            (false, true) => Output {
                file,
                site: Some(opened.context.site(site.as_str()).map_or(host, |site| &site.our_name).to_owned()),
            },
            (false, false) => Output { file, site: Some(host.to_owned()) },
        };
        match self.output.replace(output) {
            None => Ok(()),
            Some(_) => Err(usage("the command has two outputs: leave out one")),
        }
    }

    fn bring(&mut self, file: &str, name: &str) -> Result<(), Failure> {
        match self.files.iter().find(|(_, known)| known == name) {
            Some((known, _)) if known == file => return Ok(()),
            Some((known, _)) => {
                return Err(Failure::new(
                    USAGE,
                    format!("`{known}` and `{file}` would have one name there: rename one"),
                ));
            }
            None => {}
        }
        // One is for the input.
        if self.files.len() + 1 >= EXECUTION_FILES_MAX {
            return Err(Failure::new(USAGE, format!("a command takes fewer than {EXECUTION_FILES_MAX} files")));
        }
        self.files.push((file.to_owned(), name.to_owned()));
        Ok(())
    }
}

/// A file for the site's spool, with what it is called there.
struct Part {
    from: String,
    name: Option<String>,
    draft: Draft,
}

/// Each file is an item of its own, and so is the execution file, which goes last: it names them all. All of it is one change.
fn queue_with_files(
    opened: &Opened,
    site: &SiteName,
    told: &Told,
    wanted: Wanted,
    input: Option<Draft>,
) -> Result<(), Failure> {
    let mut parts = Vec::new();
    for (file, name) in wanted.files {
        let (path, draft, _): (PathBuf, _, _) = read_file(opened, &file)?;
        parts.push(Part { from: path.display().to_string(), name: Some(name), draft });
    }
    let has_input = input.is_some();
    parts.extend(input.map(|draft| Part { from: "-".to_owned(), name: None, draft }));
    let us = opened.context.site(site.as_str()).map_or("", |site| site.our_name.as_str()).to_owned();
    let execution = ExecutionFile {
        command: wanted.line,
        output: wanted.output,
        user: user(),
        system: us,
        requestor: told.requestor.clone(),
        reports: told.reports,
        ..ExecutionFile::default()
    };
    let last = Queueing { opened, site, grade: grade(told) }.run(parts, execution, has_input)?;
    opened.nudge();
    if told.print_id {
        crate::cli::ui::print(&format!("{}\n", last.0))?;
    }
    Ok(())
}

struct Queueing<'a> {
    opened: &'a Opened,
    site: &'a SiteName,
    grade: Grade,
}

impl Queueing<'_> {
    /// Gives the item of the execution file.
    fn run(&self, parts: Vec<Part>, mut execution: ExecutionFile, has_input: bool) -> Result<ItemId, Failure> {
        let now = self.opened.context.now();
        let count = parts.len();
        self.opened.store.write::<_, Failure>(|change| {
            let mut bytes = 0;
            let last = self.name(change, 'X', &execution.system)?;
            for part in parts {
                let name = self.name(change, 'D', &execution.system)?;
                bytes += part.draft.len();
                let body = change.keep(part.draft)?;
                self.enqueue(change, (part.from, name.clone(), body), &execution.user, &last)?;
                execution.files.push((name, part.name));
            }
            execution.input = execution.files.last().filter(|_| has_input).map(|(name, _)| name.clone());
            let text = execution.print();
            if text.len() > EXECUTION_FILE_MAX {
                return Err(Failure::new(USAGE, "the command is too long"));
            }
            let body = change.keep_bytes(text.as_bytes())?;
            let item = self.enqueue(change, (last.clone(), last.clone(), body), &execution.user, &last)?;
            let (place, id) = (self.site.to_string(), execution.command.clone());
            let detail = format!("item {} and {count} before it", item.0);
            change.record(Fact { at: now, verb: "accepted", what: "command", place, id, bytes, detail })?;
            Ok(item)
        })
    }

    /// What a file is called in the spool of the site. The number is taken now: the execution file names it.
    fn name(&self, change: &mut Change<'_>, letter: char, us: &str) -> Result<String, StoreError> {
        let sequence = change.next_sequence(self.site, self.opened.context.now())?;
        Ok(spool_name(letter, us, self.grade, &sequence))
    }

    fn enqueue(
        &self,
        change: &mut Change<'_>,
        (from, to, body): (String, String, BodyId),
        user: &str,
        execution: &str,
    ) -> Result<ItemId, StoreError> {
        let (user, wishes, execution) = (user.to_owned(), CopyWishes::default(), Some(execution.to_owned()));
        let cargo = Cargo::File { from, to, user, mode: 0o666, wishes, execution, body };
        let hop = Hop::Site(self.site.clone());
        change.enqueue(NewItem { hop, cargo, grade: self.grade, queued: self.opened.context.now() })
    }
}
