//! Commands of sites that are programs of this machine: those alone that the operator has listed for the site.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;
use std::time::Duration;

use super::{Execution, Fate, KEPT, LATER, fact, waiting};
use crate::base::limits::{EXECUTION_OUTPUT_MAX, EXECUTION_S_MAX, PROGRAM_WORDS_MAX};
use crate::base::time::Now;
use crate::base::wishes::CopyWishes;
use crate::base::words::with_causes;
use crate::call::relay::{self, Asker, Copy, Source};
use crate::call::{Context, Site};
use crate::files::public::{PublicDirectory, Target};
use crate::link::{Program, ProgramFailure};
use crate::store::workroom::Workroom;
use crate::store::{Draft, StoreError};
use crate::wire::uucp::Output;

/// Where programs find others.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// What a file is called that holds the output, until it has its own name.
const OUTPUT: &str = "output";
/// What is noted of a command line.
const LINE_SHOWN: usize = 200;
/// The status by which a program asks to be run later (`EX_TEMPFAIL` of sysexits).
const TEMPORARY: i32 = 75;

/// Where the output goes.
enum Place {
    Nowhere,
    Here(Target),
    There(Copy),
}

impl Execution<'_> {
    /// Runs the program once. If the machine went down meanwhile, nobody knows how far it came: a person decides.
    pub(super) fn program(
        &self,
        context: &Context,
        now: Now,
        (site, program): (&Site, &Path),
        arguments: &[&str],
    ) -> Result<Fate, StoreError> {
        let name = program.display().to_string();
        let (arguments, place) = match (words(context, site, arguments), self.place(context, site)) {
            (Ok(words), Ok(place)) => (words, place),
            (Err(why), _) | (_, Err(why)) => {
                tracing::info!(site = %self.site, why, "a command is refused");
                return self.refuse(context, now, &name);
            }
        };
        // Counts from when the file came, or was taken up again by hand.
        let begun = self.file.received.as_micros().unsigned_abs();
        if self.file.progress == begun {
            let why = "it was begun, and we were ended before its end: nobody knows whether it is done; `bangpath dead retry` \
                       runs it again";
            return Ok(Fate::Bad(why.to_owned()));
        }
        let room = context.store.workroom()?;
        let input = match self.furnish(context, &room) {
            Err(error @ StoreError::Full(_)) => return Ok(Fate::Later(LATER, with_causes(&error))),
            furnished => furnished?,
        };
        let (output, errors) = (room.scratch("output")?, room.scratch("errors")?);
        context.store.write::<_, StoreError>(|change| change.note_progress(self.file.id, begun))?;
        tracing::info!(site = %self.site, program = name, "running a program");
        let user: String = self.user.chars().filter(|c| !c.is_control()).collect();
        let running = Program {
            path: program,
            arguments: &arguments,
            folder: room.folder(),
            environment: &[
                ("PATH", PATH.to_owned()),
                ("HOME", room.home().display().to_string()),
                ("UU_MACHINE", self.site.to_string()),
                ("UU_USER", user),
            ],
            owner: context.store.owner(),
            input,
            output: &output,
            errors: &errors,
            longest: Duration::from_secs(EXECUTION_S_MAX),
            output_max: EXECUTION_OUTPUT_MAX,
        };
        match running.run(self.told_to_stop) {
            Ok(()) => self.done(context, site, place, output),
            Err(ProgramFailure::Failed { status, .. }) if status.code() == Some(TEMPORARY) => {
                context.store.write::<_, StoreError>(|change| change.note_progress(self.file.id, 0))?;
                let never = || format!("{name} could not do it for a week");
                Ok(waiting(now.wall, self.file, KEPT, (format!("{name} asks for later{}", said(errors)), never)))
            }
            Err(error) => Ok(Fate::Bad(format!("{error}{}", said(errors)))),
        }
    }

    /// Puts the files in their places, and gives the standard input.
    fn furnish(&self, context: &Context, room: &Workroom<'_>) -> Result<File, StoreError> {
        let body = |id| {
            let body = context.store.read::<_, StoreError>(|view| view.body(id))?;
            context.store.room_for(body.len()).map(|()| body)
        };
        for (name, id) in &self.brought.files {
            room.put(name, &body(*id)?)?;
        }
        match self.brought.input {
            Some(id) => room.input(&body(id)?),
            None => room.scratch("input"),
        }
    }

    fn place(&self, context: &Context, site: &Site) -> Result<Place, &'static str> {
        let Some(Output { file, site: to }) = self.output else { return Ok(Place::Nowhere) };
        let Some(to) = to.as_deref().filter(|to| *to != context.our_name && *to != site.our_name) else {
            let target = PublicDirectory::new(&context.public).target(&below(context, file), OUTPUT, false);
            return target.map(Place::Here).map_err(|_| "its output has no place in the public directory");
        };
        // Asked before anything is run; the output takes the place of what is named here.
        let copies =
            relay::copies(context, &self.asker(site), Source::Brought(OUTPUT, self.file.body), &format!("{to}!{file}"));
        let copy = copies.ok().and_then(|mut copies| copies.pop());
        copy.map(Place::There).ok_or("its output may not go where it is to go")
    }

    fn asker<'s>(&'s self, site: &'s Site) -> Asker<'s> {
        Asker { site, user: self.user, wishes: CopyWishes::default() }
    }

    /// Its end, with what it has written on its way, in one change.
    fn done(&self, context: &Context, site: &Site, place: Place, output: File) -> Result<Fate, StoreError> {
        let now = (context.clock)();
        let copies = match keep(context, place, output) {
            Ok(copies) => copies,
            Err(why) => return Ok(Fate::Bad(format!("it is done, but what it wrote cannot be kept: {why}"))),
        };
        context.store.write(|change| {
            relay::queue(change, &self.asker(site), copies, now.wall)?;
            let line: String = self.command.chars().filter(|c| !c.is_control()).take(LINE_SHOWN).collect();
            change.record(fact(now.wall, "done", "command", self.site, self.file.size, line))?;
            self.succeed(context, now, change)
        })?;
        Ok(Fate::Done)
    }
}

/// What is to be sent of the output; a file here is written at once.
fn keep(context: &Context, place: Place, mut output: File) -> io::Result<Vec<Copy>> {
    let mut draft = || -> io::Result<Draft> {
        let mut draft = context.store.draft();
        // What has left its group may write on, as fast as we read.
        let length = output.metadata()?.len();
        output.rewind()?;
        io::copy(&mut (&mut output).take(length), &mut draft)?;
        draft.seal()?;
        Ok(draft)
    };
    match place {
        Place::Nowhere => Ok(Vec::new()),
        Place::Here(target) => draft()?.copy_to(&target.path(), 0o644).map(|()| Vec::new()),
        Place::There(copy) => Ok(vec![copy.with(draft()?)]),
    }
}

/// Arguments as the program gets them: a file of ours is one of the public directory.
fn words(context: &Context, site: &Site, arguments: &[&str]) -> Result<Vec<String>, &'static str> {
    let word = |word: &&str| match word.contains('/') || word.starts_with('~') {
        true => public_path(context, site, word),
        false => Ok((*word).to_owned()),
    };
    arguments.iter().map(word).collect()
}

/// The path of a file of the public directory that the site may have.
fn public_path(context: &Context, site: &Site, word: &str) -> Result<String, &'static str> {
    let name = below(context, word);
    match PublicDirectory::new(&context.public).open(&name) {
        Ok(_) if site.may_request => Ok(context.public.join(name.trim_start_matches(['~', '/'])).display().to_string()),
        Ok(_) | Err(_) => Err("an argument leads to files that are not for others"),
    }
}

/// A name as the public directory knows it, if it is a path into that.
fn below(context: &Context, name: &str) -> String {
    let inner = Path::new(name).strip_prefix(&context.public);
    inner.map_or_else(|_| name.to_owned(), |below| format!("~/{}", below.display()))
}

/// What a program has said of its failure, in one line.
fn said(mut errors: File) -> String {
    let mut bytes = Vec::new();
    if errors.rewind().and_then(|()| errors.take(PROGRAM_WORDS_MAX as u64).read_to_end(&mut bytes)).is_err() {
        return String::new();
    }
    let text = String::from_utf8_lossy(&bytes);
    let text: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.is_empty() { text } else { format!(": {text}") }
}
