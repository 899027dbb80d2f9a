//! What the classic commands are told, for their `--help`, and the manual pages of all commands.

use std::path::PathBuf;

use clap::{Arg, ArgAction, Command, CommandFactory};

use super::{Arguments, CLASSIC, Failure, ui};

/// Where every classic command finds its configuration.
const CONFIGURATION: &str = "The configuration is FILE of -I, else $BANGPATH_CONFIG, else /etc/bangpath/bangpath.toml.";

/// A classic command. Its words are parsed by its own old rules, so clap knows it from here only to describe it.
struct Classic {
    name: &'static str,
    about: &'static str,
    /// What stands behind the options.
    operands: &'static str,
    /// A letter, the name of its value or nothing, what it does.
    options: &'static [(&'static str, &'static str, &'static str)],
}

const COMMANDS: [Classic; CLASSIC.len()] = [
    Classic {
        name: "uucico",
        about: "UUCP session with whoever called us, on standard input and output; or a call",
        operands: "",
        options: &[
            ("l", "", "Ask the caller for a login first; with -u only for the password"),
            ("e", "", "The same; one call, not one after the other as Taylor's"),
            ("u", "LOGIN", "The login the caller came in by; default: the user who runs us"),
            ("S", "SITE", "Call this site, whatever its windows say"),
            ("s", "SITE", "Call this site if its windows are open and no pause after a failure runs"),
            ("C", "", "With -S or -s: only if something waits for the site"),
            ("r", "ROLE", "1: call every site for which something waits; 0: answer"),
            ("p", "PORT", "Over this port; without -S the caller is on it"),
            ("x", "LEVEL", "Ignored, as are -X LEVEL, -i TYPE, -P TYPE, -c -D -f -q -w -z: use $BANGPATH_LOG"),
            ("I", "FILE", "The configuration"),
        ],
    },
    Classic {
        name: "uux",
        about: "Queue a command for another site, with the files that it takes",
        operands: "[-] SITE!COMMAND [ARGUMENT | !FILE | '(ADDRESS)']... [<!FILE] [>!~/PLACE]",
        options: &[
            ("p", "", "Standard input becomes that of the command; so does a lone -"),
            ("g", "GRADE", "One of 0-9, A-Z, a-z; 0 is the most urgent"),
            ("a", "ADDRESS", "Who is told by mail of a failure; default: who asks"),
            ("n", "", "Nobody is told by mail"),
            ("z", "", "Mail tells of a failure only (the default, but some sites want to hear it)"),
            ("j", "", "Print the number of the item in the queue"),
            ("x", "LEVEL", "Ignored, as are -b -c -C -l -r -W"),
            ("I", "FILE", "The configuration"),
        ],
    },
    Classic {
        name: "uucp",
        about: "Queue a file for another site, or ask for one",
        operands: "FILE... SITE!~/PLACE | SITE!FILE... PLACE",
        options: &[
            ("g", "GRADE", "One of 0-9, A-Z, a-z; 0 is the most urgent"),
            ("d", "", "Make folders that are missing where the file goes (the default)"),
            ("f", "", "Make none: where one is missing the copy fails"),
            ("m", "", "Mail tells you when the site has the file, or the file is here"),
            ("n", "USER", "Who at the site is told by mail that it has come"),
            ("j", "", "Print the number of the item in the queue"),
            ("x", "LEVEL", "Ignored, as are -c -C -r -R -t -u -W"),
            ("I", "FILE", "The configuration"),
        ],
    },
    Classic {
        name: "uuname",
        about: "The names of the sites",
        operands: "",
        options: &[("l", "", "Our own name instead"), ("a", "", "Ignored"), ("I", "FILE", "The configuration")],
    },
    Classic {
        name: "rmail",
        about: "Take mail from a UUCP site, or from a mailer that was written for rmail: From_ lines and a message on \
                standard input. $UU_MACHINE names the site it comes from",
        operands: "ADDRESS...",
        options: &[("I", "FILE", "The configuration; only as the first option")],
    },
    batch("rsmtp"),
    batch("bsmtp"),
    batch("rcsmtp"),
    batch("csmtp"),
    batch("rgsmtp"),
    batch("gsmtp"),
    Classic {
        name: "rnews",
        about: "Take news: an article or a batch on standard input",
        operands: "",
        options: &[("I", "FILE", "The configuration; only as the first option")],
    },
    Classic {
        name: "sendmail",
        about: "Send the message on standard input",
        operands: "[ADDRESS]...",
        options: &[
            ("t", "", "Take more recipients from To, Cc and Bcc, and remove Bcc"),
            ("i", "", "A dot alone on a line does not end the message; -oi is the same"),
            ("f", "ADDRESS", "The sender: for root, uucp, news, daemon and the owner of the spool; -r is the same"),
            ("F", "NAME", "The name in a From line that is added"),
            ("b", "MODE", "Attached: m takes mail (the default), p lists the queue, i does nothing (newaliases)"),
            (
                "o",
                "OPTION",
                "Attached: i is -i; others are ignored, as are -A -B -C -d -D -e -G -h -L -m -M -n -N -O -p -q -R -U -v -V -X",
            ),
            ("I", "FILE", "The configuration; only as the first option"),
        ],
    },
];

/// One of the commands that take a batch of mail: they differ in their names alone.
const fn batch(name: &'static str) -> Classic {
    Classic {
        name,
        about: "Take a batch of mail on standard input: MAIL, RCPT and DATA as in SMTP, plain, compressed (.Z) or with gzip, whichever \
                it is. $UU_MACHINE names the site it comes from. Exit status 65: part of the batch was damaged, and what was whole \
                has been taken; 75: nothing has been taken, try later",
        operands: "",
        options: &[("I", "FILE", "The configuration; only as the first option")],
    }
}

impl Classic {
    fn command(&self) -> Command {
        let option = |(letter, value, help): &(&'static str, &'static str, &'static str)| {
            let option = Arg::new(*letter).short(letter.chars().next()).help(*help);
            if value.is_empty() { option.action(ArgAction::SetTrue) } else { option.value_name(*value) }
        };
        Command::new(self.name)
            .about(self.about)
            .version(env!("CARGO_PKG_VERSION"))
            .override_usage(format!("{} [OPTION]... {}", self.name, self.operands).trim_end().to_owned())
            .args(self.options.iter().map(option))
            .disable_help_flag(true)
            .disable_version_flag(true)
            .arg(Arg::new("help").long("help").action(ArgAction::Help).help("Say this"))
            .arg(Arg::new("version").long("version").action(ArgAction::Version).help("Say which version this is"))
            .after_help(CONFIGURATION)
    }
}

/// What a classic command says when its only word is `--help` or `--version`.
pub fn answer(name: &str, words: &[String]) -> Option<String> {
    let classic = COMMANDS.iter().find(|c| c.name == name)?;
    match words {
        [word] if word == "--help" => Some(classic.command().render_help().to_string()),
        [word] if word == "--version" => Some(format!("{name} (bangpath) {}\n", env!("CARGO_PKG_VERSION"))),
        _ => None,
    }
}

/// Write manual pages.
#[derive(clap::Args)]
pub struct Man {
    /// The folder that gets them: /usr/local/share/man/man1, say
    folder: PathBuf,
}

/// A page for each command, and one for each classic command under its own name.
pub fn man(arguments: &Man) -> Result<(), Failure> {
    std::fs::create_dir_all(&arguments.folder)?;
    let mut ours = Arguments::command().disable_help_subcommand(true);
    for name in CLASSIC {
        ours = ours.mut_subcommand(name, |command| command.hide(true));
    }
    clap_mangen::generate_to(ours, &arguments.folder)?;
    for classic in &COMMANDS {
        clap_mangen::Man::new(classic.command()).generate_to(&arguments.folder)?;
    }
    let count = std::fs::read_dir(&arguments.folder)?.count();
    ui::print(&format!("{count} pages in {}: man -l {0}/bangpath.1\n", arguments.folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_classic_command_is_described() {
        for name in CLASSIC {
            let help = answer(name, &["--help".to_owned()]).expect("it is described");
            assert!(help.contains(&format!("Usage: {name} ")) && help.contains("-I <FILE>"), "{help}");
            assert!(answer(name, &["--version".to_owned()]).is_some_and(|v| v.starts_with(name)));
            // A recipient or an option like any other.
            assert_eq!(answer(name, &["--help".to_owned(), "x".to_owned()]), None);
        }
    }

    #[test]
    fn every_argument_says_what_it_is_for() {
        fn look(command: &Command, path: &str, silent: &mut Vec<String>) {
            let path = format!("{path} {}", command.get_name());
            if command.get_about().is_none() {
                silent.push(path.clone());
            }
            let arguments = command.get_arguments().filter(|a| !a.is_hide_set() && a.get_help().is_none());
            silent.extend(arguments.map(|a| format!("{path} {}", a.get_id())));
            command.get_subcommands().for_each(|command| look(command, &path, silent));
        }
        let mut silent = Vec::new();
        look(&Arguments::command(), "", &mut silent);
        assert_eq!(silent, [""; 0]);
    }

    #[test]
    fn manual_pages_are_written_for_all_commands() {
        let folder = tempfile::tempdir().expect("a folder");
        man(&Man { folder: folder.path().to_owned() }).expect("written");
        for (page, word) in [
            ("bangpath.1", "bangpath\\-queue"),
            ("bangpath-queue.1", "bangpath\\-queue\\-list"),
            ("bangpath-queue-list.1", "UUCP site"),
            ("bangpath-call.1", "grade"),
            ("sendmail.1", "Bcc"),
            ("uux.1", "BANGPATH_CONFIG"),
        ] {
            let text = std::fs::read_to_string(folder.path().join(page)).expect(page);
            assert!(text.contains(word), "{page}: {text}");
        }
        assert!(!folder.path().join("bangpath-uux.1").exists());
    }
}
