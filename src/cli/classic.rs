//! `uux`, `uucp` and `uuname`, as scripts and mailers know them.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{DATA, Failure, Here, Opened, PERMISSION, UNAVAILABLE, USAGE};
use crate::base::names::{Grade, SiteName};
use crate::base::wishes::{CopyWishes, Reports};
use crate::call::{Outgoing, can_be_notified, can_be_said, copy_command, file_cargo};
use crate::store::ledger::Fact;
use crate::store::{BodyId, Cargo, Draft, Hop, NewItem, StoreError};

mod uux;

pub use uux::uux;

/// The words behind a classic command, which has its own rules for options.
#[derive(clap::Args)]
pub struct Words {
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<String>,
}

/// What `uux` and `uucp` were told.
#[derive(Default)]
struct Told {
    config: Option<PathBuf>,
    grade: Option<Grade>,
    /// Read standard input.
    input: bool,
    /// Where mail about a failure goes.
    requestor: Option<String>,
    reports: Reports,
    wishes: CopyWishes,
    print_id: bool,
    rest: Vec<String>,
}

/// Which of the two commands is told something: `-n` and `-R` are not the same in both.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tool {
    Uux,
    Uucp,
}

/// The options before the first word that is none. Letters without a value may stand together.
fn parse(tool: Tool, words: Vec<String>) -> Result<Told, Failure> {
    let mut told = Told::default();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let letters = match word.strip_prefix('-') {
            Some("") => {
                told.input = true;
                continue;
            }
            Some(letters) if told.rest.is_empty() => letters,
            _ => {
                told.rest.push(word);
                continue;
            }
        };
        for_each_option(
            letters,
            &mut words,
            |letter| takes_value(tool, letter),
            |option| match option {
                (letter, Some(value)) => told.set_value(letter, value),
                (letter, None) => told.set(tool, letter).ok_or_else(|| unknown(letter)),
            },
        )?;
    }
    Ok(told)
}

/// The options of one word: letters without a value may stand together, and a value may follow its letter at once or be the
/// next word.
pub(super) fn for_each_option(
    letters: &str,
    words: &mut impl Iterator<Item = String>,
    takes_value: impl Fn(char) -> bool,
    mut told: impl FnMut((char, Option<String>)) -> Result<(), Failure>,
) -> Result<(), Failure> {
    for (at, letter) in letters.char_indices() {
        if !takes_value(letter) {
            told((letter, None))?;
            continue;
        }
        let value = match &letters[at + letter.len_utf8()..] {
            "" => words.next().ok_or_else(|| Failure::new(USAGE, format!("`-{letter}` needs a value")))?,
            attached => attached.to_owned(),
        };
        return told((letter, Some(value)));
    }
    Ok(())
}

pub(super) fn unknown(letter: char) -> Failure {
    Failure::new(USAGE, format!("no option `-{letter}` is known; --help names them"))
}

fn takes_value(tool: Tool, letter: char) -> bool {
    matches!(letter, 'a' | 'I' | 'g' | 'x' | 's') || (letter == 'n' && tool == Tool::Uucp)
}

impl Told {
    fn set_value(&mut self, letter: char, value: String) -> Result<(), Failure> {
        match letter {
            'a' => self.requestor = Some(value),
            'I' => self.config = Some(value.into()),
            'g' => {
                let grade = value.chars().next().and_then(Grade::parse);
                self.grade = Some(grade.ok_or_else(|| Failure::new(USAGE, format!("`{value}` is no grade")))?);
            }
            'n' if can_be_notified(&value) => self.wishes.notify = Some(value),
            'n' => return Err(Failure::new(USAGE, format!("`{value}` is no user of another site"))),
            _ => {}
        }
        Ok(())
    }

    /// `None`: there is no such letter.
    fn set(&mut self, tool: Tool, letter: char) -> Option<()> {
        match (tool, letter) {
            (_, 'p') => self.input = true,
            (_, 'j') => self.print_id = true,
            (Tool::Uux, 'n') => self.reports = Reports::Never,
            (Tool::Uux, 'z') if self.reports == Reports::Unsaid => self.reports = Reports::Failures,
            (Tool::Uucp, 'f') => self.wishes.no_folders = true,
            (Tool::Uucp, 'd') => self.wishes.no_folders = false,
            (Tool::Uucp, 'm') => self.wishes.tell_asker = true,
            // When it is sent is the scheduler's; files are always copied.
            (_, 'r' | 'z' | 'b' | 'c' | 'C' | 'l' | 'W' | 'd' | 'f' | 'm' | 'R' | 't' | 'u') => {}
            _ => return None,
        }
        Some(())
    }
}

/// `hub!rmail` → the site and what stands behind.
fn at_site<'a>(opened: &Opened, word: &'a str) -> Result<Option<(SiteName, &'a str)>, Failure> {
    let Some((name, rest)) = word.split_once('!') else { return Ok(None) };
    if name.is_empty() || name == opened.context.our_name {
        return Ok(None);
    }
    if rest.is_empty() || rest.contains(char::is_control) {
        return Err(Failure::new(USAGE, format!("`{name}!` is followed by nothing, or by control characters")));
    }
    match opened.context.site(name) {
        Some(site) => Ok(Some((site.name.clone(), rest))),
        None => Err(Failure::new(UNAVAILABLE, format!("no site `{name}`; `bangpath site list` names them"))),
    }
}

/// `uucp file… site!~/place`, `uucp site!file place`
pub fn uucp(here: &Here, words: Vec<String>) -> Result<(), Failure> {
    let told = parse(Tool::Uucp, words)?;
    let opened = here.with(told.config.clone()).open()?;
    let Some((target, sources)) = told.rest.split_last().filter(|(_, sources)| !sources.is_empty()) else {
        return Err(Failure::new(USAGE, "uucp needs a source and a target: uucp file site!~/place"));
    };
    let grade = told.grade.unwrap_or(Grade::FILE);
    let user = super::local::user_name().unwrap_or_else(|| "uucp".to_owned());
    for source in sources {
        match (at_site(&opened, source)?, at_site(&opened, target)?) {
            (None, Some((site, place))) => {
                let (path, draft, mode) = read_file(&opened, source)?;
                let from = path.display().to_string();
                can_be_said(&from, place).map_err(|why| Failure::new(USAGE, why))?;
                let (to, user, wishes) = (place.to_owned(), user.clone(), told.wishes.clone());
                let cargo = |body| file_cargo(Outgoing { from, to, user, mode, wishes }, body);
                queue(&opened, site, grade, draft, told.print_id, ("file", place.to_owned()), cargo)?;
            }
            (Some((site, file)), None) if file.contains(['*', '?', '[', '!']) => {
                let place = target.trim_start_matches('!');
                if !place.starts_with('~') {
                    let why =
                        "what other sites choose and send comes into the public directory: write ~/ as the target";
                    return Err(Failure::new(USAGE, why));
                }
                let us = opened.context.site(site.as_str()).map_or("", |site| site.our_name.as_str());
                queue_request(&opened, &site, grade, &told, (&user, file, &format!("{us}!{place}")))?;
            }
            (Some((site, file)), None) => {
                let to = local_target(target, file)?;
                let (from, user, wishes) = (file.to_owned(), user.clone(), told.wishes.clone());
                let cargo = |_| Cargo::Fetch { from, to, user, wishes };
                queue(&opened, site, grade, opened.store.draft(), told.print_id, ("file", file.to_owned()), cargo)?;
            }
            (None, None) => return Err(Failure::new(USAGE, "neither source nor target is at another site: use cp")),
            (Some((site, file)), Some(_)) => {
                queue_request(&opened, &site, grade, &told, (&user, file, target))?;
            }
        }
    }
    Ok(())
}

/// Has a site send files: its own, which it finds by itself (`X`), or through it those of a site behind it.
fn queue_request(
    opened: &Opened,
    site: &SiteName,
    grade: Grade,
    told: &Told,
    (user, file, to): (&str, &str, &str),
) -> Result<(), Failure> {
    let (user, from, to) = (user.to_owned(), file.to_owned(), to.to_owned());
    let id = from.clone();
    if from.contains('!') && (from.contains(char::is_whitespace) || to.contains(char::is_whitespace)) {
        return Err(Failure::new(USAGE, "names with blanks cannot be asked of a site behind another"));
    }
    let cargo = |input: BodyId| match from.contains('!') {
        true => {
            let line = copy_command(&told.wishes, grade, &from, &to);
            Cargo::Command { line, user, requestor: None, reports: Reports::Unsaid, file: None, input }
        }
        false => Cargo::Expand { from, to, user, wishes: told.wishes.clone() },
    };
    queue(opened, site.clone(), grade, opened.store.draft(), told.print_id, ("file", id), cargo)
}

fn read_file(opened: &Opened, source: &str) -> Result<(PathBuf, Draft, u32), Failure> {
    let cannot = |error: io::Error| Failure::new(DATA, format!("cannot read {source}: {error}"));
    let mut file = File::open(source).map_err(cannot)?;
    let facts = file.metadata().map_err(cannot)?;
    if !facts.is_file() {
        return Err(Failure::new(DATA, format!("{source} is no file")));
    }
    let mut draft = opened.store.draft();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = file.read(&mut buffer).map_err(cannot)?;
        if count == 0 {
            break;
        }
        draft.write_all(&buffer[..count])?;
    }
    let path = std::path::absolute(source).map_err(cannot)?;
    Ok((path, draft, facts.permissions().mode() & 0o777))
}

/// Where a fetched file goes: the public directory, or a place where the user may write now.
fn local_target(target: &str, file: &str) -> Result<String, Failure> {
    let target = target.trim_start_matches('!');
    if target.starts_with('~') {
        return Ok(target.to_owned());
    }
    let mut path = std::path::absolute(target)?;
    if path.is_dir() {
        path.push(file.rsplit('/').next().unwrap_or(file));
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    let writable = nix::unistd::access(folder, nix::unistd::AccessFlags::W_OK);
    match writable {
        Ok(()) => Ok(path.display().to_string()),
        Err(error) => Err(Failure::new(PERMISSION, format!("you cannot write to {}: {error}", folder.display()))),
    }
}

fn queue(
    opened: &Opened,
    site: SiteName,
    grade: Grade,
    draft: Draft,
    print_id: bool,
    (what, id): (&'static str, String),
    cargo: impl FnOnce(BodyId) -> Cargo,
) -> Result<(), Failure> {
    let now = opened.context.now();
    let bytes = draft.len();
    let item = opened.store.write::<_, StoreError>(|change| {
        let body = change.keep(draft)?;
        let item = change.enqueue(NewItem { hop: Hop::Site(site.clone()), cargo: cargo(body), grade, queued: now })?;
        let place = site.to_string();
        change.record(Fact {
            at: now,
            verb: "accepted",
            what,
            place,
            id,
            bytes,
            detail: format!("item {}", item.0),
        })?;
        Ok(item)
    })?;
    opened.nudge();
    if print_id {
        super::ui::print(&format!("{}\n", item.0))?;
    }
    Ok(())
}

/// The names of the sites, or with `-l` our own.
pub fn uuname(here: &Here, words: Vec<String>) -> Result<(), Failure> {
    let mut words = words.into_iter();
    let (mut own, mut config) = (false, None);
    while let Some(word) = words.next() {
        match word.as_str() {
            "-l" => own = true,
            "-I" => config = words.next().map(PathBuf::from),
            "-a" => {}
            _ => return Err(Failure::new(USAGE, format!("uuname knows no `{word}`; uuname --help"))),
        }
    }
    let config = here.with(config).config()?;
    let names: Vec<String> = match own {
        true => vec![config.name.to_string()],
        false => config.sites.iter().map(|s| s.name.to_string()).collect(),
    };
    super::ui::print(&names.iter().map(|n| format!("{n}\n")).collect::<String>())
}
