//! `mailbox`, `user` and `route`.

use std::io::{self, BufRead};

use nix::sys::termios::{self, LocalFlags, SetArg};
use serde_json::json;

use super::ui::{self, Table};
use super::{DATA, Failure, Here, Opened, UNAVAILABLE, USAGE};
use crate::base::address::Address;
use crate::base::names::UserName;
use crate::base::password;
use crate::mail;
use crate::mail::rmail::BodyReader;
use crate::store::StoreError;
use crate::store::mailboxes;

fn user_of(name: &str) -> Result<UserName, Failure> {
    UserName::parse(name).map_err(|e| Failure::of(USAGE, &e))
}

/// Mail of local users.
#[derive(clap::Subcommand)]
pub enum Mailbox {
    /// Every mailbox, or the messages of one
    List {
        /// Whose messages; without it, every mailbox with its size
        user: Option<String>,
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// A message as it was received: the newest, or by number
    Show {
        /// Whose mailbox
        user: String,
        /// Which message, as `mailbox list USER` numbers them; without it, the newest
        number: Option<u64>,
    },
}

pub fn mailbox(here: &Here, command: Mailbox) -> Result<(), Failure> {
    let opened = here.open()?;
    match command {
        Mailbox::List { user: None, json } => list_mailboxes(&opened, json),
        Mailbox::List { user: Some(user), json } => list_messages(&opened, &user_of(&user)?, json),
        Mailbox::Show { user, number } => show(&opened, &user_of(&user)?, number),
    }
}

fn list_mailboxes(opened: &Opened, as_json: bool) -> Result<(), Failure> {
    let mailboxes = opened.store.read::<_, StoreError>(|view| view.mailboxes())?;
    if as_json {
        let row = |(user, messages, bytes): &(UserName, u64, u64)| json!({"user": user.as_str(), "messages": messages, "bytes": bytes});
        return ui::print_json(&mailboxes.iter().map(row).collect::<Vec<_>>());
    }
    let mut table = Table::new(["USER", "MESSAGES", "SIZE"]);
    for (user, messages, bytes) in mailboxes {
        table.row([user.to_string(), messages.to_string(), ui::bytes(bytes)]);
    }
    table.print()
}

fn list_messages(opened: &Opened, user: &UserName, as_json: bool) -> Result<(), Failure> {
    let entries = opened.store.read::<_, StoreError>(|view| view.mailbox(user))?;
    if as_json {
        let row = |e: &mailboxes::MailEntry| json!({"number": e.number, "received": e.received.to_string(), "sender": e.sender, "bytes": e.size});
        return ui::print_json(&entries.iter().map(row).collect::<Vec<_>>());
    }
    let mut table = Table::new(["NUMBER", "RECEIVED", "SENDER", "SIZE"]);
    for entry in entries {
        let sender = if entry.sender.is_empty() { "<>".to_owned() } else { entry.sender };
        table.row([entry.number.to_string(), entry.received.to_string(), sender, ui::bytes(entry.size)]);
    }
    table.print()
}

fn show(opened: &Opened, user: &UserName, number: Option<u64>) -> Result<(), Failure> {
    let found = opened.store.read::<_, StoreError>(|view| {
        let entry = match number {
            Some(number) => view.mail_entry(user, number)?,
            None => view.mailbox(user)?.pop(),
        };
        entry.map(|entry| view.body(entry.body)).transpose()
    })?;
    let body = found.ok_or_else(|| match number {
        Some(number) => Failure::new(UNAVAILABLE, format!("{user} has no message {number}")),
        None => Failure::new(UNAVAILABLE, format!("{user} has no mail")),
    })?;
    match io::copy(&mut BodyReader::new(body), &mut io::stdout().lock()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result.map(drop)?),
    }
}

/// Local users and UUCP logins.
#[derive(clap::Subcommand)]
pub enum User {
    /// A new user, or login for a site that calls us
    Add {
        /// The user, or the login by which the site comes in
        name: String,
        /// The password; seen by others on this machine while the command runs
        #[arg(long, conflicts_with = "password_stdin")]
        password: Option<String>,
        /// Read the password from standard input
        #[arg(long)]
        password_stdin: bool,
    },
    /// All of them, whether they have a password, and since when
    List {
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Change a password
    Password {
        /// Whose
        name: String,
        /// The new password; seen by others on this machine while the command runs
        #[arg(long, conflicts_with = "password_stdin")]
        password: Option<String>,
        /// Read the new password from standard input
        #[arg(long)]
        password_stdin: bool,
    },
    /// Remove a user; the mailbox stays
    Remove {
        /// Whom
        name: String,
    },
}

pub fn user(here: &Here, command: User) -> Result<(), Failure> {
    let opened = here.open()?;
    match command {
        User::Add { name, password, password_stdin } => {
            let record = password_record(password, password_stdin)?;
            let without = record.is_none();
            set_user(&opened, &user_of(&name)?, record, true)?;
            if without {
                eprintln!(
                    "{name} has no password, so nobody can log in as {name}; `bangpath user password {name} --password-stdin` gives one"
                );
            }
            Ok(())
        }
        User::Password { name, password, password_stdin } => {
            let record = password_record(password, password_stdin)?;
            if record.is_none() {
                return Err(Failure::new(USAGE, "give --password or --password-stdin"));
            }
            set_user(&opened, &user_of(&name)?, record, false)
        }
        User::List { json } => list_users(&opened, json),
        User::Remove { name } => {
            let name = user_of(&name)?;
            let found = opened.store.write::<_, StoreError>(|change| change.remove_user(&name))?;
            if found { Ok(()) } else { Err(Failure::new(UNAVAILABLE, format!("no user {name}"))) }
        }
    }
}

fn password_record(password: Option<String>, from_input: bool) -> Result<Option<String>, Failure> {
    let password = match (password, from_input) {
        (Some(password), _) => password,
        (None, false) => return Ok(None),
        (None, true) => {
            let line = read_hidden("Password: ")?;
            line.trim_end_matches(['\r', '\n']).to_owned()
        }
    };
    if password.is_empty() {
        return Err(Failure::new(DATA, "the password is empty"));
    }
    password::record(&password).map(Some).map_err(|e| Failure::of(super::TEMPORARY, &e))
}

/// A line of standard input; a terminal asks for it, and does not show what is typed.
fn read_hidden(question: &str) -> io::Result<String> {
    let stdin = io::stdin();
    let mut line = String::new();
    let Ok(before) = termios::tcgetattr(&stdin) else {
        stdin.lock().read_line(&mut line)?;
        return Ok(line);
    };
    let mut hidden = before.clone();
    hidden.local_flags.remove(LocalFlags::ECHO);
    termios::tcsetattr(&stdin, SetArg::TCSAFLUSH, &hidden)?;
    eprint!("{question}");
    let read = stdin.lock().read_line(&mut line);
    termios::tcsetattr(&stdin, SetArg::TCSAFLUSH, &before)?;
    eprintln!();
    read.map(|_| line)
}

fn set_user(opened: &Opened, name: &UserName, record: Option<String>, add: bool) -> Result<(), Failure> {
    let now = opened.context.now();
    let done = opened.store.write::<_, StoreError>(|change| {
        let known = change.user(name)?;
        if known.is_some() == add {
            return Ok(false);
        }
        let added = known.map_or(now, |user| user.added);
        change.set_user(&mailboxes::User { name: name.clone(), password: record.clone(), added })?;
        Ok(true)
    })?;
    match (done, add) {
        (true, _) => Ok(()),
        (false, true) => Err(Failure::new(
            DATA,
            format!("there is a user {name} already; `bangpath user password` changes the password"),
        )),
        (false, false) => Err(Failure::new(UNAVAILABLE, format!("no user {name}"))),
    }
}

fn list_users(opened: &Opened, as_json: bool) -> Result<(), Failure> {
    let users = opened.store.read::<_, StoreError>(|view| view.users())?;
    if as_json {
        let row = |u: &mailboxes::User| json!({"user": u.name.as_str(), "password": u.password.is_some(), "added": u.added.to_string()});
        return ui::print_json(&users.iter().map(row).collect::<Vec<_>>());
    }
    let mut table = Table::new(["USER", "PASSWORD", "ADDED"]);
    for user in users {
        let password = if user.password.is_some() { "yes" } else { "no" };
        table.row([user.name.to_string(), password.to_owned(), user.added.to_string()]);
    }
    table.print()
}

/// How mail to an address would go.
#[derive(clap::Args)]
pub struct Route {
    /// user@domain, or a path as hub!bob
    address: String,
    /// Read it as mail from UUCP sites is read: in a!b@c the path goes first
    #[arg(long)]
    rmail: bool,
}

pub fn route(here: &Here, arguments: &Route) -> Result<(), Failure> {
    let opened = here.open()?;
    let parsed = match arguments.rmail {
        true => Address::parse_uucp(&arguments.address),
        false => Address::parse_smtp(&arguments.address),
    };
    let address = parsed.map_err(|e| Failure::of(DATA, &e))?;
    let steps = opened.store.read::<_, StoreError>(|view| mail::explain(view, &opened.config.mail, &address))?;
    ui::print(&steps.iter().map(|s| format!("{s}\n")).collect::<String>())
}
