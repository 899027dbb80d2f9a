//! Mail and news from programs on this machine: `sendmail`, `rmail`, `rsmtp` and its like, `rnews`. Success means: on the disk.

use std::io;
use std::path::PathBuf;

use super::{DATA, Failure, Here, Opened, PERMISSION, TEMPORARY, USAGE, ui};
use crate::base::address::Address;
use crate::base::names::SiteName;
use crate::base::words::count;
use crate::call::unpack::{LocalError as BatchError, local_letters, local_rnews};
use crate::mail::local::{Arguments, LocalError, Mode, submission};
use crate::mail::rmail::incoming_rmail;
use crate::mail::{self, IntakeError, Origin, Refused, Submission};

/// The name of who runs us.
pub fn user_name() -> Option<String> {
    name_of(nix::unistd::getuid())
}

/// The name of a user, if it has one.
pub fn name_of(user: nix::unistd::Uid) -> Option<String> {
    Some(nix::unistd::User::from_uid(user).ok().flatten()?.name)
}

/// Whether who runs us may say whom mail is from: root, the spool's owner, and the users that mailers run as.
fn is_trusted(opened: &Opened) -> bool {
    use std::os::unix::fs::MetadataExt;
    let uid = nix::unistd::getuid();
    let owner = std::fs::metadata(&opened.config.spool).map(|m| m.uid());
    uid.is_root()
        || owner.is_ok_and(|o| o == uid.as_raw())
        || matches!(user_name().as_deref(), Some("uucp" | "news" | "daemon"))
}

/// Takes a leading `-I FILE` off the words of a classic command.
fn configuration(words: &mut Vec<String>) -> Option<PathBuf> {
    if words.first().is_some_and(|w| w == "-I") && words.len() > 1 {
        let file = words.remove(1);
        words.remove(0);
        return Some(file.into());
    }
    None
}

impl From<IntakeError> for Failure {
    fn from(error: IntakeError) -> Self {
        let status = match error {
            IntakeError::HeaderTooLong(_) | IntakeError::TooLarge(_) => DATA,
            IntakeError::Io(_) => TEMPORARY,
        };
        Self::of(status, &error)
    }
}

impl From<LocalError> for Failure {
    fn from(error: LocalError) -> Self {
        match error {
            LocalError::Intake(error) => error.into(),
            LocalError::Input(_) => Self::of(TEMPORARY, &error),
            LocalError::NoRecipients => Self::of(USAGE, &error),
            LocalError::Address(..) | LocalError::TooManyRecipients => Self::of(DATA, &error),
        }
    }
}

fn accept(opened: &Opened, submission: Submission) -> Result<(), Failure> {
    let now = (opened.context.clock)();
    let accepted = opened.store.write(|change| mail::accept(change, &opened.config.mail, now, submission));
    match accepted {
        Ok(_) => {
            opened.nudge();
            Ok(())
        }
        Err(Refused::Store(error)) => Err(error.into()),
        Err(error) => Err(Failure::of(DATA, &error)),
    }
}

/// `sendmail [-t] [-f sender] [-i] recipient…`
pub fn sendmail(here: &Here, mut words: Vec<String>) -> Result<(), Failure> {
    let file = configuration(&mut words);
    let arguments = Arguments::parse(&words).map_err(|e| Failure::of(USAGE, &e))?;
    match arguments.mode {
        Mode::ListQueue => return super::queue::queue(&here.with(file), super::queue::list_all()),
        // There is no database of aliases to rebuild.
        Mode::Aliases => return Ok(()),
        Mode::Submit => {}
    }
    let opened = here.with(file).open()?;
    opened.store.room_for(0)?;
    if arguments.sender.is_some() && !is_trusted(&opened) {
        return Err(Failure::new(PERMISSION, "only root, uucp, news and daemon may use -f"));
    }
    let user = user_name().unwrap_or_else(|| opened.config.postmaster.to_string());
    let now = (opened.context.clock)();
    let submission = submission(&opened.store, &opened.config.mail, now, &user, &arguments, io::stdin().lock())?;
    accept(&opened, submission)
}

/// Who brings mail by a command that other machines run here; `of_site` if it is one of them.
fn brought_by(opened: &Opened, of_site: fn(SiteName) -> Origin) -> Result<(Origin, String), Failure> {
    let user = user_name().unwrap_or_else(|| "uucp".to_owned());
    let machine = std::env::var("UU_MACHINE").ok().filter(|_| is_trusted(opened));
    let Some(name) = machine.filter(|name| *name != opened.config.name.as_str()) else {
        return Ok((Origin::Local(user.clone()), user));
    };
    // A site that the configuration does not know has no rights, but it is not this machine.
    let site = match opened.context.site(&name) {
        Some(known) => known.name.clone(),
        None => SiteName::parse(&name)
            .map_err(|_| Failure::new(USAGE, format!("UU_MACHINE={}: that is no site's name", ui::plain(&name))))?,
    };
    Ok((of_site(site), user))
}

/// `rmail recipient…`, with `From_` lines on standard input. `$UU_MACHINE` names the site it comes from, as uuxqt sets it.
pub fn rmail(here: &Here, mut words: Vec<String>) -> Result<(), Failure> {
    let file = configuration(&mut words);
    if words.is_empty() {
        return Err(Failure::new(USAGE, "rmail needs recipients"));
    }
    let opened = here.with(file).open()?;
    opened.store.room_for(0)?;
    let (origin, user) = brought_by(&opened, Origin::rmail)?;
    let now = (opened.context.clock)();
    let arguments: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut submission =
        incoming_rmail(&opened.store, &opened.config.mail, now, (origin, &user), &arguments, io::stdin().lock())?;
    if !is_trusted(&opened) {
        // In their own name, whatever the `From_` line says.
        submission.envelope.sender = Address::parse_smtp(&user).ok();
    }
    accept(&opened, submission)
}

/// `rnews`: an article or a batch on standard input.
pub fn rnews(here: &Here, mut words: Vec<String>) -> Result<(), Failure> {
    let file = configuration(&mut words);
    let opened = here.with(file).open()?;
    opened.store.room_for(0)?;
    let user = user_name().unwrap_or_else(|| "news".to_owned());
    let taken = local_rnews(&opened.context, &user, io::stdin().lock());
    opened.nudge();
    match taken {
        Ok((_, 0)) => Ok(()),
        // Refused articles are in the log; the batch has been dealt with, so nobody should send it again.
        Ok((taken, refused)) => {
            let taken = count(taken as u64, "article");
            eprintln!("bangpath: {taken} taken, {refused} refused: see `bangpath log`");
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

impl From<BatchError> for Failure {
    fn from(error: BatchError) -> Self {
        match error {
            BatchError::Store(error) => error.into(),
            BatchError::Disk(_) => Self::of(TEMPORARY, &error),
            BatchError::Io(_) | BatchError::Damaged(_) => Self::of(DATA, &error),
        }
    }
}

/// `rsmtp`, `bsmtp` and their like: a batch of mail on standard input, in any of its forms. Status 65: something of it was lost, and
/// the rest is on the disk; 75: nothing of it was taken.
pub fn rsmtp(here: &Here, mut words: Vec<String>) -> Result<(), Failure> {
    let file = configuration(&mut words);
    if let Some(word) = words.first() {
        return Err(Failure::new(USAGE, format!("`{word}`: whom the letters are for is said in the batch alone")));
    }
    let opened = here.with(file).open()?;
    opened.store.room_for(0)?;
    let (origin, user) = brought_by(&opened, Origin::batch)?;
    let batched = local_letters(&opened.context, (origin, &user), !is_trusted(&opened), io::stdin().lock())?;
    opened.nudge();
    for refused in &batched.refused {
        eprintln!("bangpath: {}", ui::plain(refused));
    }
    match batched.lost.first() {
        None => Ok(()),
        Some(_) => {
            let taken = count(batched.taken as u64, "letter");
            Err(Failure::new(DATA, format!("{}\n{taken} taken", batched.lost.join("\n"))))
        }
    }
}
